"""Random faults under live trading, and the audit after them: ``python run.py chaos`` (docs/reliability.md).

The exchange runs in a process outside of the supervision tree and is the oracle: nothing of the system under test is
believed that its log does not say as well. Nothing here is loaded by a system that trades, but for the strategies.
"""
