"""Replay of recorded tapes: their rows by time, each played on its contract, and nothing else is public."""

from collections.abc import Iterator
from functools import partial
from heapq import merge

from nightdesk.errors import ConfigurationError
from nightdesk.settings.exchange import Recording
from nightdesk.settings.models import ReplaySource
from nightdesk.simulator.flows.bar_tape import BarTape
from nightdesk.simulator.flows.columns import RecordedFile
from nightdesk.simulator.flows.depth_tape import DepthTape
from nightdesk.simulator.flows.mbo import MboTape
from nightdesk.simulator.flows.players import BookPlayer, Item, TickPlayer
from nightdesk.simulator.flows.tape import Tape
from nightdesk.simulator.model import Step
from nightdesk.simulator.venue.ledger import Scale
from nightdesk.simulator.venue.venue import Venue

AnyTape = Tape | BarTape | DepthTape | MboTape


class ReplayFlow:
    """Plays the tapes of a configuration; of rows with the same time, the earlier named tape's come first."""

    def __init__(self, source: ReplaySource, venue: Venue) -> None:
        """Opens the tapes and reads their first rows, so that a file that cannot be played fails here.

        Raises ``ConfigurationError``.
        """
        listed = {product.symbol for product in venue.products()}
        by_symbol: dict[str, list[tuple[int, AnyTape]]] = {}
        for number, recording in enumerate(source.recordings):
            if recording.symbol not in listed:
                place = f"tapes.{number}.symbol" if source.tapes else "symbol"
                raise ConfigurationError(
                    f"exchange.source.{place}: {recording.symbol} is not one of the instruments; list it or correct it"
                )
            tape = open_tape(recording, venue.market(recording.symbol).scale)
            by_symbol.setdefault(recording.symbol, []).append((number, tape))
        self._items = _by_time([each for symbol, tapes in by_symbol.items() for each in _play(venue, symbol, tapes)])
        self._next_item = next(self._items, None)
        self._now_ns = 0

    def next(self) -> tuple[int, Step] | None:
        """The next row; market time stands still where a file's time goes back a little."""
        item = self._next_item
        if item is None:
            return None
        self._next_item = next(self._items, None)
        ts_ns, _, play, row = item
        if ts_ns > self._now_ns:
            self._now_ns = ts_ns
        return self._now_ns, partial(play, row, self._now_ns)


def open_tape(recording: Recording, scale: Scale) -> AnyTape:
    """The tape of a file; its columns tell what is recorded in it. Raises ``ConfigurationError``."""
    names = RecordedFile(recording.path, recording.contract).names
    kind: type[AnyTape] = Tape
    if "action" in names and "order_id" in names:
        kind = MboTape
    elif "bid_px_0" in names:
        kind = DepthTape
    elif "price" not in names and ("open" in names or "bid_open" in names):
        kind = BarTape
    return kind(recording.path, scale, recording.limit, recording.contract)


def _play(venue: Venue, symbol: str, tapes: list[tuple[int, AnyTape]]) -> list[Iterator[Item]]:
    books = [(number, tape) for number, tape in tapes if isinstance(tape, MboTape)]
    ticks = [(number, tape) for number, tape in tapes if not isinstance(tape, MboTape)]
    if books and ticks:
        raise ConfigurationError(
            f"exchange.source.tapes: {symbol} has a tape of order messages beside other tapes; its market is whole by "
            "itself, leave the others out"
        )
    if books:
        by_order = BookPlayer(venue, symbol)
        # The book begins with the snapshot of the first day, in whatever order the days are named.
        by_day = sorted(books, key=lambda each: each[1].begins_ns) if len(books) > 1 else books
        return [by_order.items(number, tape) for number, tape in by_day]
    by_tick = TickPlayer(venue, symbol, has_quotes=any(tape.has_quotes for _, tape in ticks))
    return [by_tick.items(number, tape) for number, tape in ticks]


def _by_time(streams: list[Iterator[Item]]) -> Iterator[Item]:
    if len(streams) == 1:
        return streams[0]
    return merge(*(_held(stream) for stream in streams))


def _held(stream: Iterator[Item]) -> Iterator[Item]:
    """A tape whose time goes back a little keeps its own order."""
    newest_ns = 0
    for ts_ns, number, play, row in stream:
        newest_ns = max(newest_ns, ts_ns)
        yield newest_ns, number, play, row
