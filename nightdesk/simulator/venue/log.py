"""The exchange's log: writing it, recovering from it, and reading its summary."""

from nightdesk.simulator.venue.log_file import ExchangeLog
from nightdesk.simulator.venue.recovery import rebuild
from nightdesk.simulator.venue.summary import AccountSummary, FillSummary, read_summary

__all__ = ["AccountSummary", "ExchangeLog", "FillSummary", "read_summary", "rebuild"]
