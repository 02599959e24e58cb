"""What the calendar does to the venue: modes, the end of DAY orders, settlement, the end of a contract."""

from collections.abc import Callable

from nightdesk.messages.enums import TimeInForce
from nightdesk.simulator.model import (
    DayEvent,
    Expired,
    Listed,
    ModeChanged,
    PositionSettled,
    Settled,
    VenueEvent,
)
from nightdesk.simulator.venue.client_order import ClientOrder
from nightdesk.simulator.venue.day_book import DayBook
from nightdesk.simulator.venue.market import ENDS_DAY, PHASES, Phase
from nightdesk.simulator.venue.matching import MatchingEngine
from nightdesk.simulator.venue.reads import VenueReads
from nightdesk.simulator.venue.refusal import VenueRefusal

TEXT_DAY_ENDED = "canceled - the day order's day is over"
TEXT_CONTRACT_ENDED = "canceled - the contract has expired"
CLOSED = "Closed"


class VenueDays(VenueReads):
    """Every method returns what has happened; nothing is derived from it again when the log is read."""

    day_book: DayBook

    def set_mode(self, symbol: str, mode: str, reason: str, trade_date: str, now_ns: int) -> list[VenueEvent]:
        """Open, close, halt or reserve a market; ``mode`` is one of ``market.PHASES``. Raises ``VenueRefusal``.

        DAY orders end with the modes ``ENDS_DAY``, all at once.
        """
        market = self._markets.get(symbol)
        if market is None or mode not in PHASES:
            raise VenueRefusal(f"there is no mode {mode} for instrument {symbol}")
        events: list[VenueEvent] = [ModeChanged(symbol, market.product.exchange, mode, reason, trade_date, now_ns)]
        self._floor.translate(market, market.set_mode(mode), now_ns, events)
        if mode in ENDS_DAY:
            self._end_orders(
                symbol, lambda order: order.time_in_force is TimeInForce.DAY, TEXT_DAY_ENDED, now_ns, events
            )
        self._floor.finish(now_ns, events)
        return events

    def begin_mode(self, symbol: str, mode: str, reason: str, trade_date: str, now_ns: int) -> list[VenueEvent]:
        """The mode with which an exchange starts: nothing trades by it.

        DAY orders whose session closed while there was no exchange end; those for the next session stay.
        """
        market = self._markets[symbol]
        market.begin_mode(mode)
        events: list[VenueEvent] = [ModeChanged(symbol, market.product.exchange, mode, reason, trade_date, now_ns)]

        def is_over(order: ClientOrder) -> bool:
            closes_ns = self.dates.closes_ns(symbol, order.ts_created_ns)
            return order.time_in_force is TimeInForce.DAY and closes_ns is not None and closes_ns <= now_ns

        self._end_orders(symbol, is_over, TEXT_DAY_ENDED, now_ns, events)
        self._floor.finish(now_ns, events)
        return events

    def begin_session(self, symbol: str) -> None:
        """Another trade date: volume is counted anew, and price limits from the last price."""
        self._markets[symbol].begin_session()

    def clear_flow(self, symbol: str, now_ns: int) -> list[VenueEvent]:
        """The anonymous orders of a market end with its session."""
        market, events = self._markets[symbol], list[VenueEvent]()
        if isinstance(market.matcher, MatchingEngine):
            market.matcher.cancel_anonymous()
            self._floor.translate(market, [], now_ns, events)
            self._floor.finish(now_ns, events)
        return events

    def list_contract(self, symbol: str, expires_ns: int | None, now_ns: int) -> list[VenueEvent]:
        """A contract is traded from now on, until ``expires_ns``; nothing for one that is listed already."""
        return [] if symbol in self.day_book.listed else [self._note(Listed(symbol, expires_ns, now_ns))]

    def settle(self, symbol: str, trade_date: str, now_ns: int, *, is_final: bool = False) -> list[VenueEvent]:
        """Fix a trade date's price, the last one; nothing for a date that is settled already, or without any price."""
        market = self._markets[symbol]
        last = self.day_book.settled.get(symbol)
        if market.mark_ticks is None or (last is not None and last.trade_date >= trade_date and not is_final):
            return []
        price = market.scale.price(market.mark_ticks)
        return [self._note(Settled(symbol, market.product.exchange, price, trade_date, is_final, now_ns))]

    def expire(self, symbol: str, trade_date: str, reason: str, now_ns: int) -> list[VenueEvent]:
        """The end of a contract: its orders are canceled, its positions become cash at the last price.

        Nothing for one that has expired already. All events belong into one record of the log.
        """
        market = self._markets[symbol]
        if symbol in self.day_book.expired:
            return []
        exchange = market.product.exchange
        events: list[VenueEvent] = [ModeChanged(symbol, exchange, CLOSED, reason, trade_date, now_ns)]
        market.set_mode(CLOSED)
        market.is_expired = True
        self._end_orders(symbol, lambda _order: True, TEXT_CONTRACT_ENDED, now_ns, events)
        self._floor.finish(now_ns, events)
        events += self.clear_flow(symbol, now_ns)
        events += self.settle(symbol, trade_date, now_ns, is_final=True)
        ticks = market.mark_ticks
        for account_id in self._ledger.accounts:
            position = self._ledger.positions(account_id).get(symbol)
            if position is not None and position.net and ticks is not None:
                price = market.scale.price(ticks)
                events.append(PositionSettled(account_id, symbol, exchange, position.net, price, now_ns))
                self._ledger.roll(now_ns)
                position.settle(ticks)
        events.append(self._note(Expired(symbol, exchange, trade_date, now_ns)))
        return events

    def adopt_days(self, day_book: DayBook) -> None:
        """Take over what the log says of the contracts' days."""
        self.day_book = day_book
        for symbol in day_book.expired:
            if symbol in self._markets:
                self._markets[symbol].is_expired = True
                self._markets[symbol].begin_mode(CLOSED)

    def is_expired(self, symbol: str) -> bool:
        """Whether a contract has ended."""
        return symbol in self.day_book.expired

    def is_trading(self, symbol: str) -> bool:
        """Whether a listed market trades."""
        return self._markets[symbol].phase is Phase.TRADES

    def _note(self, event: DayEvent) -> DayEvent:
        self.day_book.take(event)
        return event

    def _end_orders(
        self,
        symbol: str,
        is_meant: Callable[[ClientOrder], bool],
        text: str,
        now_ns: int,
        events: list[VenueEvent],
    ) -> None:
        for order in list(self._table.open.values()):
            if order.terms.symbol == symbol and order.completion is None and is_meant(order):
                self._floor.take_out(order, text, now_ns, events)
