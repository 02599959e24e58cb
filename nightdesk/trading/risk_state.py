"""Whether a row of the journal's table ``risk_state`` is one that some version of ours has written. Pure."""

from collections.abc import Callable, Mapping

from nightdesk.errors import JournalError
from nightdesk.trading.risk_book import DAILY_LOSS_KEY, DRAWDOWN_KEY, REJECTS_KEY
from nightdesk.trading.risk_breaches import BREACHES_KEY, BreachRecord
from nightdesk.trading.risk_losses import DailyLoss, TrailingDrawdown
from nightdesk.trading.risk_terms import MarkTime
from nightdesk.trading.risk_windows import RejectCounts

_READERS: Mapping[str, Callable[[str], object]] = {
    DAILY_LOSS_KEY: DailyLoss.from_row,
    DRAWDOWN_KEY: lambda text: TrailingDrawdown.from_row(text, MarkTime.INTRADAY),
    REJECTS_KEY: RejectCounts.from_row,
    BREACHES_KEY: BreachRecord.from_row,
}


def row_fault(key: str, text: str) -> str:
    """What is wrong with a row; empty for nothing."""
    reader = _READERS.get(key)
    if reader is None:
        return f"no state of the limits is named {key!r}"
    try:
        reader(text)
    except JournalError as error:
        return str(error).partition(";")[0]
    return ""
