"""Live bars of the history plant: 250 when a time bar closes, 251 when a bar of trades, range or volume does."""

from collections.abc import Callable, Mapping
from typing import Any

from nightdesk.messages.enums import BarUnit
from nightdesk.simulator.model import Traded
from nightdesk.simulator.plants.bar_frames import tick_bar_fields, time_bar_fields
from nightdesk.simulator.plants.bars import BarState
from nightdesk.simulator.plants.tick_bars import TickBarBuilder, TickBarTerms
from nightdesk.simulator.wire.framing import OutgoingFrame
from nightdesk.simulator.wire.session import Session
from nightdesk.simulator.wire.templates import encode

LIVE_BARS_MAX = 200
"""Different live bars that one session may subscribe to: each costs work at every trade."""

BarKey = tuple[str, BarUnit, int]
TickBarKey = tuple[str, TickBarTerms]


class BarFeed:
    """Who gets which live bar when it closes; time bars are watched by the store, the others are built here."""

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        """``on_change`` is called after each new subscription and each end of one."""
        self._on_change = on_change
        self.changes = 0
        """Counts subscriptions, as the market feed does."""
        self._subscribers: dict[str | None, frozenset[Session]] = {}
        self._sessions: dict[BarKey, list[Session]] = {}
        self._tick_sessions: dict[TickBarKey, list[Session]] = {}
        self._builders: dict[str, dict[TickBarTerms, TickBarBuilder]] = {}

    def subscribe(self, session: Session, key: BarKey) -> bool:
        """True when the subscription is new and the bar has to be watched."""
        return self._changed(_added(self._sessions, key, session), by=1)

    def unsubscribe(self, session: Session, key: BarKey) -> bool:
        """True when there was such a subscription."""
        return self._changed(_removed(self._sessions, key, session))

    def subscribers(self, symbol: str | None) -> frozenset[Session]:
        """Sessions that get this contract's live bars; ``None``: any contract's."""
        found = self._subscribers.get(symbol)
        if found is None:
            tables: tuple[Mapping[tuple[Any, ...], list[Session]], ...] = (self._sessions, self._tick_sessions)
            found = frozenset(
                session
                for table in tables
                for key, sessions in table.items()
                if symbol in (None, key[0])
                for session in sessions
            )
            self._subscribers[symbol] = found
        return found

    def is_full(self, session: Session) -> bool:
        """Whether the session has all the subscriptions that it may have."""
        tables = (self._sessions.values(), self._tick_sessions.values())
        return sum(session in sessions for table in tables for sessions in table) >= LIVE_BARS_MAX

    def subscribe_ticks(self, session: Session, key: TickBarKey) -> None:
        """From the next trade on; who joins others gets the bar that they have begun."""
        symbol, terms = key
        self._builders.setdefault(symbol, {}).setdefault(terms, TickBarBuilder(terms))
        self._changed(_added(self._tick_sessions, key, session), by=1)

    def unsubscribe_ticks(self, session: Session, key: TickBarKey) -> None:
        """No more of these; the last one takes the builder away."""
        symbol, terms = key
        if self._changed(_removed(self._tick_sessions, key, session)) and key not in self._tick_sessions:
            del self._builders[symbol][terms]

    def forget(self, session: Session) -> list[BarKey]:
        """The session is gone; the time bars that it had watched."""
        for key in list(self._tick_sessions):
            self.unsubscribe_ticks(session, key)
        return [key for key in list(self._sessions) if self.unsubscribe(session, key)]

    def closed(self, bar: BarState) -> None:
        """Send a closed time bar to its subscribers."""
        sessions = self._sessions.get((bar.symbol, bar.unit, bar.period))
        if sessions:
            _send(sessions, 250, time_bar_fields(bar))

    def trade(self, trade: Traded) -> None:
        """A print: send the bars of trades, range and volume that it closes."""
        for terms, builder in self._builders.get(trade.symbol, {}).items():
            for bar in builder.add(trade):
                fields = tick_bar_fields(trade.symbol, trade.exchange, terms, bar)
                _send(self._tick_sessions[trade.symbol, terms], 251, fields)

    def _changed(self, is_changed: bool, by: int = 0) -> bool:
        if is_changed:
            self.changes += by
            self._subscribers.clear()
            self._on_change()
        return is_changed


def _added(table: dict[Any, list[Session]], key: object, session: Session) -> bool:
    sessions = table.setdefault(key, [])
    if session in sessions:
        return False
    sessions.append(session)
    return True


def _removed(table: dict[Any, list[Session]], key: object, session: Session) -> bool:
    sessions = table.get(key, [])
    if session not in sessions:
        return False
    sessions.remove(session)
    if not sessions:
        del table[key]
    return True


def _send(sessions: list[Session], template_id: int, fields: dict[str, object]) -> None:
    frame = OutgoingFrame(encode(template_id, **fields))
    for session in sessions:
        session.send(frame)
