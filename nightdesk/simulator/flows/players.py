"""What the rows of a recorded tape do to one contract's market."""

from collections.abc import Callable, Iterator
from typing import Any

from nightdesk.errors import ConfigurationError
from nightdesk.messages.enums import AggressorSide, Side
from nightdesk.simulator.flows.bar_tape import BarTape
from nightdesk.simulator.flows.depth_tape import DepthRow, DepthTape
from nightdesk.simulator.flows.mbo import MboEvent, MboTape, Message
from nightdesk.simulator.flows.tape import Tape, TapeRow
from nightdesk.simulator.model import LevelDepth, VenueEvent
from nightdesk.simulator.venue.book import Best
from nightdesk.simulator.venue.market import Market, Phase
from nightdesk.simulator.venue.replay_book import RecordingError, ReplayBook
from nightdesk.simulator.venue.replay_matching import ReplayMatcher
from nightdesk.simulator.venue.venue import Venue

Play = Callable[[Any, int], list[VenueEvent]]
"""Does to the market what a row tells, at a market time."""

Item = tuple[int, int, Play, Any]
"""A row's time, the number of its tape, how to play it, and the row."""

_AGGRESSORS = {1: AggressorSide.BUY, -1: AggressorSide.SELL, 0: AggressorSide.NONE}


class TickPlayer:
    """Trades, quotes, bars and book levels of one contract; the rules of clients' fills are in ``replay_matching``.

    A trade row is one ``Traded``. A quote row is one ``Quoted`` that carries the sides that changed; one that repeats
    the quote before it carries the bid, so that it is a tick as well. A side without price or size is an empty side:
    size 0 at its last price. Crossed quotes are shown as recorded. A quote beside a trade in one row moves fills but
    is not shown. A row of levels is the public book, and a quote when it changes the best of a side.
    """

    def __init__(self, venue: Venue, symbol: str, *, has_quotes: bool) -> None:
        self._venue = venue
        self._symbol = symbol
        self._market = venue.market(symbol)
        self._shown: Best | None = None
        self._matcher = ReplayMatcher(has_quotes=has_quotes, is_halted=lambda: is_halted(self._market))
        venue.install_matcher(symbol, self._matcher)

    def items(self, number: int, tape: Tape | BarTape | DepthTape) -> Iterator[Item]:
        """The rows of a tape. Raises ``ConfigurationError`` for what cannot be played."""
        if isinstance(tape, DepthTape):
            play_depth = self._play_depth
            for levels in tape.rows():
                yield levels.ts_ns, number, play_depth, levels
            return
        play_quote, play_trade = self._play_quote, self._play_trade
        for row in tape.rows():
            yield row.ts_ns, number, play_trade if row.is_trade else play_quote, row

    def _play_quote(self, row: TapeRow, now_ns: int) -> list[VenueEvent]:
        best = Best(
            row.bid,
            row.bid_size if row.bid is not None else 0,
            0,
            row.ask,
            row.ask_size if row.ask is not None else 0,
            0,
        )
        before, self._shown = self._shown, best
        bid_changed = before is None or best[:2] != before[:2]
        ask_changed = before is None or best[3:5] != before[3:5]
        shown = self._venue.show_quote(
            self._symbol, best, now_ns, bid_changed=bid_changed or not ask_changed, ask_changed=ask_changed
        )
        outcomes = self._matcher.on_quote(best)
        events = self._venue.step(self._symbol, outcomes, now_ns) if outcomes else self._venue.advance(now_ns)
        return [shown, *events]

    def _play_trade(self, row: TapeRow, now_ns: int) -> list[VenueEvent]:
        outcomes = []
        if row.bid is not None or row.ask is not None:
            outcomes = self._matcher.on_quote(Best(row.bid, row.bid_size, 0, row.ask, row.ask_size, 0))
        printed = self._venue.print_trade(self._symbol, row.price, row.size, _AGGRESSORS[row.aggressor], now_ns)
        outcomes += self._matcher.on_trade(row.price, row.size)
        events = self._venue.step(self._symbol, outcomes, now_ns) if outcomes else self._venue.advance(now_ns)
        return [printed, *events]

    def _play_depth(self, row: DepthRow, now_ns: int) -> list[VenueEvent]:
        best = row.best
        before, self._shown = self._shown, best
        events: list[VenueEvent] = []
        if best != before:
            bid_changed = before is None or best[:3] != before[:3]
            ask_changed = before is None or best[3:] != before[3:]
            events.append(
                self._venue.show_quote(self._symbol, best, now_ns, bid_changed=bid_changed, ask_changed=ask_changed)
            )
        price = self._market.scale.price
        levels = tuple(
            LevelDepth(side, price(level.price), level.size, level.orders)
            for side, half in ((Side.BUY, row.bids), (Side.SELL, row.asks))
            for level in half
        )
        changed = self._market.show_levels(levels, now_ns)
        if changed is not None:
            events.append(changed)
        outcomes = self._matcher.on_quote(best)
        events += self._venue.step(self._symbol, outcomes, now_ns) if outcomes else self._venue.advance(now_ns)
        return events


class BookPlayer:
    """The order messages of one contract; the rules of clients' fills are in ``replay_book``.

    A trade message is one ``Traded``; an event that changes price, size or number of orders of the best bid or offer
    ends with one ``Quoted``. The snapshot at the head of the first tape is the book that the market begins with.
    """

    def __init__(self, venue: Venue, symbol: str) -> None:
        self._venue = venue
        self._symbol = symbol
        self._market = venue.market(symbol)
        self._book = ReplayBook(lambda: is_halted(self._market))
        self._has_begun = False

    def items(self, number: int, tape: MboTape) -> Iterator[Item]:
        """The events of a tape, but for a first snapshot, which is in the book at once.

        Raises ``ConfigurationError`` for what cannot be played.
        """

        def play(event: MboEvent, now_ns: int) -> list[VenueEvent]:
            return self._play(event, now_ns, tape)

        events = tape.events()
        if not self._has_begun:
            self._has_begun = True
            first = next(events, None)
            if first is not None and first.is_snapshot:
                self._apply(first, first.ts_ns, tape)
                self._book.end_event()
            self._venue.install_matcher(self._symbol, self._book)
            if first is not None and first.is_snapshot:
                self._market.refresh_quote(first.ts_ns)
            elif first is not None:
                yield first.ts_ns, number, play, first
        for event in events:
            yield event.ts_ns, number, play, event

    def _play(self, event: MboEvent, now_ns: int, tape: MboTape) -> list[VenueEvent]:
        book = self._book
        events = self._apply(event, now_ns, tape)
        outcomes = book.end_event()
        quote = self._market.refresh_quote(now_ns)
        if quote is not None:
            events.append(quote)
        is_changed = outcomes or book.changes
        events += self._venue.step(self._symbol, outcomes, now_ns) if is_changed else self._venue.advance(now_ns)
        return events

    def _apply(self, event: MboEvent, now_ns: int, tape: MboTape) -> list[VenueEvent]:
        book = self._book
        prints: list[VenueEvent] = []
        if event.is_snapshot:
            book.record_clear()
        for message in event.messages:
            try:
                record(book, message)
            except RecordingError as error:
                raise ConfigurationError(
                    f"{tape.file.path}: row {message.number}: {error}; a tape of orders begins with the snapshot of "
                    "its book and leaves no message out"
                ) from error
            if message.action == "T":
                aggressor = _AGGRESSORS[message.side]
                prints.append(self._venue.print_trade(self._symbol, message.price, message.size, aggressor, now_ns))
        if event.is_snapshot:
            book.rejoin()
        return prints


def is_halted(market: Market) -> bool:
    """Whether a command has stopped the market; the recording goes on."""
    return market.phase is not Phase.TRADES


def record(book: ReplayBook, message: Message) -> None:
    """Play one message. Raises ``RecordingError``."""
    _, action, side, price, size, order_id = message
    if action == "A":
        book.record_add(order_id, side > 0, price, size)
    elif action == "M":
        book.record_modify(order_id, price, size)
    elif action == "C":
        book.record_cancel(order_id, size)
    elif action == "F":
        book.record_fill(order_id, size)
    elif action == "T":
        book.record_trade(price, size, side)
    elif action == "R":
        book.record_clear()
