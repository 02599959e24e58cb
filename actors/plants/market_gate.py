"""Holds the market's beginning back until every strategy is there to see it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.plants.market_lane import Instrument

GRACE_S: Final = 10.0
"""From the newest strategy's subscription, how long the next one is waited for."""

FIRST_GRACE_S: Final = 60.0
"""The same while no strategy has subscribed at all."""


class MarketGate:
    """Keeps back what is asked for until each strategy has asked for all of its symbols, or the time is over.

    A tape, and a simulation that runs faster than life, begin with the first subscription at the exchange, whoever
    makes it: the order plant, which values positions, is there long before a strategy on a busy machine. Once the
    market has begun nobody is kept waiting any more.
    """

    def __init__(
        self,
        strategies: Mapping[str, Sequence[str]],
        *,
        is_closed: bool,
        want: Callable[[Instrument], None],
        log: FilteringBoundLogger,
    ) -> None:
        """``strategies`` by the name under which they subscribe, with their symbols as configured."""
        self._missing = {(name, symbol) for name, symbols in strategies.items() for symbol in symbols}
        self._names = frozenset(strategies)
        self._is_closed = is_closed and bool(self._missing)
        self._want = want
        self._log = log
        self._held: dict[Instrument, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, instrument: Instrument, *, name: str = "", symbol: str = "") -> None:
        """Somebody wants a contract's data; ``symbol`` is the configured one that means it."""
        if not self._is_closed:
            self._want(instrument)
            return
        self._held[instrument] = None
        self._missing.discard((name, symbol))
        if not self._missing:
            self._open()
        elif name in self._names:
            self._wait(GRACE_S)
        elif self._timer is None:
            self._wait(FIRST_GRACE_S)

    def drop(self, instrument: Instrument) -> None:
        """Nobody wants a contract any more that may still be kept back."""
        self._held.pop(instrument, None)

    def close(self) -> None:
        """The plant stops: nobody is waited for."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, grace_s: float) -> None:
        self.close()
        self._timer = asyncio.get_running_loop().call_later(grace_s, self._give_up)

    def _give_up(self) -> None:
        missing = sorted({name for name, _ in self._missing})
        self._log.warning("replay_starts_incomplete", symbols=sorted(each[0] for each in self._held), missing=missing)
        self._open()

    def _open(self) -> None:
        self.close()
        self._is_closed = False
        held, self._held = self._held, {}
        for instrument in held:
            self._want(instrument)
