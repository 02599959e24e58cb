"""Which trade date a moment belongs to. A market's next one begins when it takes orders for it, at its pre-open."""

from collections.abc import Mapping

from nightdesk.simulator.venue.client_order import utc_date
from nightdesk.trading.sessions import MarketPhase, SessionCalendar

DAY_NS = 86_400_000_000_000
NEVER_NS = 1 << 62


class TradeDates:
    """By the contracts' calendars. A contract that never closes, and any outside of its table, has the days of UTC."""

    def __init__(self, calendars: Mapping[str, SessionCalendar] | None = None) -> None:
        """``calendars`` by symbol; none: every contract is always open."""
        self._calendars = {symbol: each for symbol, each in (calendars or {}).items() if not each.never_closes}
        self._different = list(dict.fromkeys(self._calendars.values()))
        self._known: tuple[int, int, int] = (0, 0, 0)
        """The last answer of ``day_of``, and from when until when it holds."""

    def date_of(self, symbol: str, now_ns: int) -> str:
        """The trade date of a contract, YYYYMMDD: between two sessions the last one, until orders are taken again."""
        calendar = self._calendars.get(symbol)
        return utc_date(now_ns) if calendar is None else _date_in_force(calendar, now_ns)

    def day_of(self, now_ns: int) -> int:
        """A number of the accounts' day, the latest trade date of any contract: another day, another number."""
        if not self._different:
            return now_ns // DAY_NS
        day, from_ns, until_ns = self._known
        if not from_ns <= now_ns < until_ns:
            day = max(int(_date_in_force(each, now_ns)) for each in self._different)
            self._known = day, now_ns, min(_next_ns(each, now_ns) for each in self._different)
        return day

    def closes_ns(self, symbol: str, now_ns: int) -> int | None:
        """When an order for the day that is sent now ends; None: nobody says."""
        calendar = self._calendars.get(symbol)
        if calendar is None or not calendar.covers(now_ns):
            return None
        return calendar.next_close_ns(now_ns)


def _date_in_force(calendar: SessionCalendar, now_ns: int) -> str:
    if not calendar.covers(now_ns):
        return utc_date(now_ns)
    if calendar.phase(now_ns) is MarketPhase.CLOSED:
        closed = calendar.previous_session(now_ns)
        if closed is not None:
            return str(closed.trade_date)
    return str(calendar.trade_date(now_ns))


def _next_ns(calendar: SessionCalendar, now_ns: int) -> int:
    if not calendar.covers(now_ns):
        # The days of UTC change at any midnight.
        return (now_ns // DAY_NS + 1) * DAY_NS
    event = next(calendar.events(now_ns, NEVER_NS), None)
    return now_ns if event is None else event.ts_ns


ALWAYS_OPEN = TradeDates()
