"""Thespian's own test suite, run against our system base; and the attacks that the substrate must withstand."""
