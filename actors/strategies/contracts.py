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
        self._left: set[str] = set()

    def instruments(self) -> list[InstrumentTerms]:
        """The contracts that are configured by themselves."""
        symbols = [symbol for symbol in self._symbols if symbol not in self._aliases]
        return [_terms(each) for each in self._contracts.listed(symbols)]

    def aliases(self) -> dict[str, AliasLegs]:
        """What the aliases mean now, meant before and will mean."""
        found = {}
        for alias in self._aliases:
            legs = self._contracts.legs(alias, behind=1, ahead=1)
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
        """An alias means another contract: its data, and the end of the former one's once nothing is held in it."""
        self._want(roll.new_symbol)
        self._left.add(roll.old_symbol)
        self._look()

    async def run(self) -> None:
        """Until cancelled: follow the table of instruments."""
        if not self._aliases:
            return
        while True:
            await asyncio.sleep(POLL_S)
            if self._contracts.refresh() and self._runner is not None:
                for alias in self._aliases:
                    legs = self._contracts.legs(alias, behind=1, ahead=1)
                    self._runner.expect(alias, [self._leg(leg) for leg in legs])
            self._look()

    def _look(self) -> None:
        runner = self._runner
        if runner is None or not runner.started or not self._subscribed:
            return
        time = self._context.market_time
        early_ns = round(max(EARLY_S, EARLY_REAL_S * time.speed) * NS_PER_S)
        for alias in self._aliases:
            legs = self._contracts.legs(alias, behind=1, ahead=1)
            # By the strategy's own time, which may be a little behind.
            present = next((place for place, leg in enumerate(legs) if leg.symbol == runner.front(alias)), 0)
            for leg in legs[:present]:
                if leg.symbol not in self._left and runner.holds(leg.symbol):
                    # A position that stayed in the contract before: its data are needed.
                    runner.let_through(leg.symbol)
                    self._want(leg.symbol)
                    self._left.add(leg.symbol)
            for leg in legs[present + 1 : present + 2]:
                if leg.from_ns - time.now_ns() <= early_ns and leg.symbol not in self._subscribed:
                    runner.hold_back(leg.symbol)
                    self._want(leg.symbol)
        for symbol in [each for each in self._left if not runner.holds(each)]:
            self._left.discard(symbol)
            exchange = self._subscribed.pop(symbol, None)
            if exchange is not None:
                child_id = self._context.child_id
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
