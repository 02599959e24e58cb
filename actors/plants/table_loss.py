"""Notices that the files of the table of instruments are gone or damaged, and says what that means."""

from actors.base import Context
from actors.contracts import Contracts
from nightdesk.messages import Severity


class TableLoss:
    """The ticker plant's look at the files, which nobody else writes. ``begun_ns`` belongs into the table."""

    def __init__(self, context: Context, contracts: Contracts) -> None:
        self._context = context
        self._contracts = contracts
        self._told: dict[str, str] = {}
        self.begun_ns = contracts.table.begun_ns
        """The market time at which the table was made from nothing; 0 where that is not known."""

    def look(self) -> bool:
        """Whether the files must be written anew; each loss is told once. Call it when market time is known."""
        contracts, problems = self._contracts, dict(self._contracts.file.problems)
        is_news, self._told = problems != self._told, problems
        if not problems:
            return False
        if is_news:
            if contracts.file.is_missing and not contracts.has_read and self._context.incarnation == 1:
                # The first start in this folder; the order plant's journal knows whether it is none.
                self.begun_ns = self._context.market_time.now_ns()
            else:
                self._tell(", ".join(f"{name} {problem}" for name, problem in problems.items()))
        return True

    def mended(self) -> None:
        """Both files were written: what happens to them from now on is news."""
        self._told = {}

    def _tell(self, reason: str) -> None:
        if self._contracts.has_read or not self._contracts.aliases:
            self._context.log.warning("instrument_table_restored", reason=reason)
            self._context.alert(
                "instrument_table_restored", Severity.WARNING, f"{reason}: written anew, nothing is lost"
            )
        else:
            tell_lost(self._context, self._contracts, reason)


def tell_lost(context: Context, contracts: Contracts, reason: str) -> None:
    """Nobody knows any more which rolls were decided by watching the market."""
    fronts = ", ".join(f"{alias} is {contracts.front(alias)}" for alias in contracts.aliases)
    context.log.critical("instrument_table_lost", reason=reason, fronts=fronts)
    text = f"{reason}: by dates alone {fronts}; rolls that were decided sooner are lost, look at the positions"
    context.alert("instrument_table_lost", Severity.CRITICAL, text)


def tell_lost_since(context: Context, contracts: Contracts, newest_order_ns: int | None) -> None:
    """The order plant's part: its journal may remember orders (``newest_order_ns``) that the table does not."""
    reason = contracts.lost_since(newest_order_ns)
    if reason:
        tell_lost(context, contracts, reason)
