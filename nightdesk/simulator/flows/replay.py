"""Replay of a recorded tape: each row is one public tick, in the file's order, and nothing else is public."""

from collections.abc import Iterator
from functools import partial

from nightdesk.errors import ConfigurationError
from nightdesk.messages.enums import AggressorSide
from nightdesk.settings.models import ReplaySource
from nightdesk.simulator.flows.tape import Tape, TapeRow
from nightdesk.simulator.model import Step, VenueEvent
from nightdesk.simulator.venue.matching import Best
from nightdesk.simulator.venue.replay_matching import ReplayMatcher
from nightdesk.simulator.venue.venue import Venue

_AGGRESSORS = {1: AggressorSide.BUY, -1: AggressorSide.SELL, 0: AggressorSide.NONE}


class ReplayFlow:
    """Plays one tape on one contract; the rules of clients' fills are in ``replay_matching``.

    A trade row is one ``Traded``. A quote row is one ``Quoted`` that carries the sides that changed; one that repeats
    the quote before it carries the bid, so that it is a tick as well. A side without price or size is an empty side:
    size 0 at its last price. Crossed quotes are shown as recorded. A quote beside a trade in one row moves fills but
    is not shown.
    """

    def __init__(self, source: ReplaySource, venue: Venue) -> None:
        """Opens the tape and reads its first row, so that a file that cannot be played fails here.

        Raises ``ConfigurationError``.
        """
        recording = source.recordings[0]
        if recording.symbol not in {product.symbol for product in venue.products()}:
            raise ConfigurationError(
                f"exchange.source.symbol: {recording.symbol} is not one of the instruments; list it or correct it"
            )
        tape = Tape(recording.path, venue.market(recording.symbol).scale, recording.limit)
        self._venue = venue
        self._symbol = recording.symbol
        self._rows: Iterator[TapeRow] = tape.rows()
        self._next_row = next(self._rows, None)
        self._now_ns = 0
        self._shown: Best | None = None
        self._matcher = ReplayMatcher(has_quotes=tape.has_quotes)
        venue.install_matcher(recording.symbol, self._matcher)

    def next(self) -> tuple[int, Step] | None:
        """The next row; market time stands still where the file's time goes back a little."""
        row = self._next_row
        if row is None:
            return None
        self._next_row = next(self._rows, None)
        if row.ts_ns > self._now_ns:
            self._now_ns = row.ts_ns
        return self._now_ns, partial(self._play, row, self._now_ns)

    def _play(self, row: TapeRow, now_ns: int) -> list[VenueEvent]:
        if row.is_trade:
            return self._play_trade(row, now_ns)
        best = Best(row.bid, row.bid_size if row.bid is not None else 0, 0, row.ask, row.ask_size if row.ask else 0, 0)
        before, self._shown = self._shown, best
        bid_changed = before is None or best[:2] != before[:2]
        ask_changed = before is None or best[3:5] != before[3:5]
        shown = self._venue.show_quote(
            self._symbol, best, now_ns, bid_changed=bid_changed or not ask_changed, ask_changed=ask_changed
        )
        outcomes = self._matcher.on_quote(best)
        return [shown, *self._venue.step(self._symbol, outcomes, now_ns)] if outcomes else [shown]

    def _play_trade(self, row: TapeRow, now_ns: int) -> list[VenueEvent]:
        outcomes = []
        if row.bid is not None or row.ask is not None:
            outcomes = self._matcher.on_quote(Best(row.bid, row.bid_size, 0, row.ask, row.ask_size, 0))
        printed = self._venue.print_trade(self._symbol, row.price, row.size, _AGGRESSORS[row.aggressor], now_ns)
        outcomes += self._matcher.on_trade(row.price, row.size)
        return [printed, *self._venue.step(self._symbol, outcomes, now_ns)] if outcomes else [printed]
