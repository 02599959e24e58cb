"""What moves the market: synthetic flow and recorded tapes, and the motor that plays them."""
