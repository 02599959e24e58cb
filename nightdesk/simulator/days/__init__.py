"""The embedded exchange's days: what the calendar, the contracts' ends and the maintenance bring, and when."""
