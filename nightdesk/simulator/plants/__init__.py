"""What each plant answers."""
