"""A strategy's side of contracts: what its aliases mean, and which contracts' data it asks for."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from actors.base import Context
from actors.contracts import Contracts
from nightdesk.errors import LaneError
from nightdesk.messages import Message, SubscribeMarketData, UnsubscribeMarketData
from nightdesk.settings.models import Instrument
from nightdesk.trading.host_api import InstrumentTerms
from nightdesk.trading.rolls import Leg
from nightdesk.trading.sessions import NS_PER_S
from nightdesk.trading.strategy_contracts import AliasLegs, ContractLeg, RollInfo

POLL_S: Final = 0.25
EARLY_S: Final = 7200.0
"""Market time before a roll at which the next contract's data are subscribed to: in the break, as a rule."""

EARLY_REAL_S: Final = 2.0
"""The same in seconds of this machine, where that is more: market time may run fast."""


class Rolling(Protocol):
    """What is kept informed: a strategy's runner."""

    started: bool

    def front(self, alias: str) -> str: ...

    def expect(self, alias: str, legs: Sequence[ContractLeg]) -> None: ...

    def hold_back(self, symbol: str) -> None: ...

    def let_through(self, symbol: str) -> None: ...

    def holds(self, symbol: str) -> bool: ...


class ContractDesk:
    """One for each strategy; everything happens on the actor's loop."""

    def __init__(self, context: Context, contracts: Contracts, symbols: Sequence[str]) -> None:
        self._context = context
        self._contracts = contracts
        self._symbols = list(dict.fromkeys(symbols))
        self._aliases = [symbol for symbol in self._symbols if symbol in contracts.aliases]
        self._runner: Rolling | None = None
        self._send: Callable[[Message], None] = lambda message: None
        self._subscribed: dict[str, str] = {}
        """Contract to exchange: what this process has asked the ticker plant for."""
        self._told: dict[str, list[Leg]] = {}
        """The legs of each alias that the runner has heard of."""

    def instruments(self) -> list[InstrumentTerms]:
        """The contracts that are configured by themselves."""
        symbols = [symbol for symbol in self._symbols if symbol not in self._aliases]
        return [_terms(each) for each in self._contracts.listed(symbols)]

    def aliases(self) -> dict[str, AliasLegs]:
        """What the aliases mean now, meant before and will mean."""
        found = {}
        for alias in self._aliases:
            legs = self._told[alias] = self._contracts.legs(alias, behind=1, ahead=1)
            in_force = next(i for i, leg in enumerate(legs) if leg.symbol == self._contracts.front(alias))
            found[alias] = AliasLegs(tuple(self._leg(leg) for leg in legs), in_force)
        return found

    def attach(self, runner: Rolling, send: Callable[[Message], None]) -> None:
        """The strategy's runner, and the way to the ticker plant."""
        self._runner, self._send = runner, send

    def subscribe(self) -> None:
        """The market lane is open: ask for everything."""
        self._subscribed.clear()
        for symbol in self._symbols:
            self._want(symbol if self._runner is None else self._runner.front(symbol))
        self._look()

    def lane_lost(self) -> None:
        """Nothing can be asked for until the lane opens again."""
        self._subscribed.clear()

    def rolled(self, roll: RollInfo) -> None:
        """An alias means another contract: its data, and the end of the former one's where nothing is held in it."""
        self._want(roll.new_symbol)
        self._look()

    async def run(self) -> None:
        """Until cancelled: follow the table of instruments, and what is held."""
        if not self._aliases:
            return
        while True:
            await asyncio.sleep(POLL_S)
            self._contracts.refresh()
            self._look()

    def _look(self) -> None:
        """Ask for the data of what an alias means, of what it will mean soon, and of what is held beside that."""
        runner = self._runner
        if runner is None:
            return
        time = self._context.market_time
        early_ns = round(max(EARLY_S, EARLY_REAL_S * time.speed) * NS_PER_S)
        needed = {symbol for symbol in self._symbols if symbol not in self._aliases}
        for alias in self._aliases:
            legs = self._contracts.legs(alias, behind=1, ahead=1)
            if legs != self._told.get(alias):
                self._told[alias] = legs
                runner.expect(alias, [self._leg(leg) for leg in legs])
            # By the strategy's own time, which may be a little behind.
            front = runner.front(alias)
            present = next((place for place, leg in enumerate(legs) if leg.symbol == front), 0)
            needed.add(front)
            for place, leg in enumerate(legs):
                if place == present:
                    continue
                if runner.holds(leg.symbol):
                    runner.let_through(leg.symbol)
                    needed.add(leg.symbol)
                    continue
                runner.hold_back(leg.symbol)
                if place == present + 1 and leg.from_ns - time.now_ns() <= early_ns:
                    needed.add(leg.symbol)
        if runner.started and self._subscribed:
            self._follow(needed)

    def _follow(self, needed: set[str]) -> None:
        for symbol in sorted(needed):
            self._want(symbol)
        child_id = self._context.child_id
        for symbol, exchange in list(self._subscribed.items()):
            if symbol in needed:
                continue
            self._subscribed.pop(symbol, None)
            self._tell(UnsubscribeMarketData(subscriber=child_id, symbol=symbol, exchange=exchange))

    def _want(self, symbol: str) -> None:
        instrument = self._contracts.instrument(symbol)
        if instrument is None or symbol in self._subscribed:
            return
        self._subscribed[symbol] = instrument.exchange
        child_id = self._context.child_id
        self._tell(SubscribeMarketData(subscriber=child_id, symbol=symbol, exchange=instrument.exchange))

    def _tell(self, message: Message) -> None:
        try:
            self._send(message)
        except LaneError:
            # The lane is gone, and everything is asked for anew when it opens.
            self._subscribed.clear()

    def _leg(self, leg: Leg) -> ContractLeg:
        instrument = self._contracts.instrument(leg.symbol)
        if instrument is None:
            raise KeyError(leg.symbol)
        return ContractLeg(_terms(instrument), leg.from_ns, leg.trade_date)


def _terms(instrument: Instrument) -> InstrumentTerms:
    return InstrumentTerms(
        symbol=instrument.symbol,
        exchange=instrument.exchange,
        tick_size=instrument.tick_size,
        point_value=instrument.point_value,
    )
