"""Faults on command: what the exchange does wrong when it is told to, by a script or by a command."""
