"""Aliases as a strategy lives them: what it names, what it is told at a roll, and in which order."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.contracts import Contracts
from actors.strategies.contracts import ContractDesk
from nightdesk import RollInfo, Strategy, StrategyError
from nightdesk.clocks import ManualClock, ManualTime
from nightdesk.errors import LaneError
from nightdesk.examples.sma_cross import SmaCross
from nightdesk.messages import (
    Bar,
    Flatten,
    Message,
    PositionReport,
    StrategyId,
    SubmitOrder,
    SubscribeMarketData,
    TradeTick,
    UnsubscribeMarketData,
)
from nightdesk.trading.strategy_contracts import AliasLegs, ContractLeg
from tests.calendar_support import at
from tests.fakes import FakeContext
from tests.order_plant_support import configuration
from tests.roll_support import front
from tests.strategy_support import ES, START_NS, Bench, quote_at, trade_at

NS = 1_000_000_000
ROLL_NS = START_NS + 3600 * NS
OLD = ES
NEW = msgspec.structs.replace(ES, symbol="ESH7")
NEXT = msgspec.structs.replace(ES, symbol="ESM7")
FRONT = {"ES.front": AliasLegs((ContractLeg(OLD, 0, 20260910), ContractLeg(NEW, ROLL_NS, 20261210)), 0)}


OLD_3, NEW_3 = "ESZ3", "ESH4"
BEFORE_CLOSE, OPENING, AFTER = "2023-12-06 15:50", "2023-12-06 17:00", "2023-12-07 10:00"
"""Around the roll of ``ES.front`` by dates, in the exchange's time."""


class DeskBench(Bench):
    """A strategy that trades ``ES.front`` with its desk of contracts; ``subscribed`` is what the ticker plant sends."""

    def __init__(self, folder: Path, moment: str) -> None:
        run = configuration(folder, instruments=front("roll"), strategies=[])
        machine = ManualClock()
        self.market = ManualTime(machine, at(moment))
        context = FakeContext("strategies/test", run.to_json(), machine, market_time=self.market)
        contracts = Contracts(run, self.market)
        self.desk = ContractDesk(context, contracts, ["ES.front"])
        self.subscribed: set[str] = set()
        self.is_broken = False
        super().__init__(Diary, instruments=(), aliases=self.desk.aliases())
        self.desk.attach(self.runner, self._send)
        self.trade_now(self.market.now_ns())

    def rolled(self, roll: RollInfo) -> None:
        super().rolled(roll)
        self.desk.rolled(roll)

    def trade(self, symbol: str, seconds: float) -> None:
        """A print so many seconds after the moment; nothing comes of what is not subscribed to."""
        if symbol in self.subscribed:
            self.runner.on_trade(trade_at(self.market.now_ns() + round(seconds * NS), symbol=symbol))

    def trade_now(self, ts_ns: int) -> None:
        """Market time is known from the first tick on."""
        self.runner._clock.observe(ts_ns, self.monotonic_s())

    def move_to(self, moment: str) -> None:
        """The market's time and the strategy's."""
        self.market.set(at(moment))
        self.runner._clock.observe(at(moment), self.monotonic_s())
        self.runner.advance()
        self.look()

    def look(self) -> None:
        """What the desk does a few times a second."""
        self.desk._contracts.refresh()
        self.desk._look()

    def _send(self, message: Message) -> None:
        if self.is_broken:
            raise LaneError("broken")
        if isinstance(message, SubscribeMarketData):
            self.subscribed.add(message.symbol)
        elif isinstance(message, UnsubscribeMarketData):
            self.subscribed.discard(message.symbol)


class Diary(Strategy):
    """Writes down what it is told."""

    def on_start(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.subscribe_bars(None, 60)

    def on_trade(self, trade: TradeTick) -> None:
        self.told.append(("trade", trade.symbol, self.front()))

    def on_bar(self, bar: Bar) -> None:
        self.told.append(("bar", bar.symbol))

    def on_roll(self, roll: RollInfo) -> None:
        self.told.append(("roll", roll.alias, roll.old_symbol, roll.new_symbol, roll.trade_date, self.front()))


def bench() -> Bench:
    made = Bench(Diary, instruments=(), aliases=FRONT)
    made.start()
    return made


def desk_at(folder: Path, moment: str) -> DeskBench:
    """At a moment, started and subscribed."""
    made = DeskBench(folder, moment)
    made.start()
    made.desk.subscribe()
    return made


def bar(symbol: str, close: float) -> Bar:
    """A bar of one trade."""
    return Bar(
        symbol=symbol, exchange="CME", period_s=2, open=close, high=close, low=close, close=close, volume=1, trades=1,
        ts_event_ns=START_NS, ts_close_ns=START_NS + 2 * NS,
    )  # fmt: skip


def position(symbol: str, quantity: int) -> PositionReport:
    return PositionReport(
        strategy_id=StrategyId("test"),
        symbol=symbol,
        exchange="CME",
        quantity=quantity,
        average_price=5000.0,
        realized_pnl=0.0,
        unrealized_pnl=0.0,
    )


def test_an_alias_means_its_contract_everywhere() -> None:
    """Orders, positions, quotes and flattens go to the front contract; the strategy's symbols stay as configured."""
    here = bench()
    strategy, runner = here.strategy, here.runner
    runner.on_quote(quote_at(START_NS + 1))
    assert strategy.symbols == ("ES.front",)
    assert (strategy.front(), strategy.front("ES.front"), strategy.instrument().symbol) == ("ESZ6", "ESZ6", "ESZ6")
    assert strategy.quote("ES.front") == strategy.quote("ESZ6") == quote_at(START_NS + 1)
    runner.on_position(position("ESZ6", 3))
    assert strategy.position().quantity == 3
    strategy.buy(1)
    strategy.sell(1, "ES.front", price=5001.0)
    strategy.flatten()
    strategy.flatten("ES.front")
    assert [each.symbol for each in here.sent if isinstance(each, SubmitOrder)] == ["ESZ6", "ESZ6"]
    assert [each.symbol for each in here.sent if isinstance(each, Flatten)] == ["", "ESZ6"]
    assert len(strategy.orders("ES.front")) == 2
    with pytest.raises(StrategyError, match=r"ES\.front"):
        strategy.buy(1, "NQ.front")


def test_a_roll_comes_once_before_the_first_tick_of_its_session() -> None:
    """``on_roll`` stands between the old contract's last tick and the new one's first; bars go on in the new one."""
    here = bench()
    for symbol, seconds in (("ESZ6", -1800), ("ESZ6", -1799), ("ESH7", 1), ("ESH7", 90)):
        here.runner.on_trade(trade_at(ROLL_NS + seconds * NS, symbol=symbol))
    assert here.strategy.told == [
        ("trade", "ESZ6", "ESZ6"),
        ("trade", "ESZ6", "ESZ6"),
        ("bar", "ESZ6"),
        ("roll", "ES.front", "ESZ6", "ESH7", 20261210, "ESH7"),
        ("trade", "ESH7", "ESH7"),
        ("bar", "ESH7"),
        ("trade", "ESH7", "ESH7"),
    ]
    assert [each.new_symbol for each in here.rolls] == ["ESH7"]
    here.runner.on_trade(trade_at(ROLL_NS + 91 * NS, symbol="ESZ6"))
    assert len(here.strategy.told) == 7


def test_a_roll_comes_by_time_alone() -> None:
    """No tick is needed."""
    here = bench()
    here.clock.advance(3600)
    here.runner.advance()
    assert [each[0] for each in here.strategy.told] == ["roll"]
    assert here.due_ns is None


def test_the_next_contract_s_data_are_held_back_until_the_roll() -> None:
    """Its quotes of the pre-open are subscribed to already; a strategy must not take them for the front's."""
    here = bench()
    here.runner.hold_back("ESH7")
    here.runner.on_quote(quote_at(ROLL_NS - 10 * NS, symbol="ESH7"))
    assert (here.runner.quotes, here.strategy.quote("ESH7")) == (0, None)
    here.runner.on_trade(trade_at(ROLL_NS, symbol="ESH7"))
    assert here.strategy.told[-1] == ("trade", "ESH7", "ESH7")


def test_a_position_in_either_contract_is_known() -> None:
    """Before the roll the position is in the next contract already, after it one may have stayed in the former."""
    here = bench()
    here.runner.on_position(position("ESH7", 2))
    assert (here.strategy.position().quantity, here.strategy.position("ESH7").quantity) == (0, 2)
    here.clock.advance(3600)
    here.runner.advance()
    assert here.strategy.position().quantity == 2
    here.runner.on_position(position("ESZ6", 1))
    assert here.strategy.position("ESZ6").quantity == 1
    assert here.runner.holds("ESZ6")
    here.strategy.sell(1, "ESZ6")
    assert here.sent[-1].symbol == "ESZ6"  # type: ignore[attr-defined]


def test_a_roll_that_is_decided_later_is_taken_over() -> None:
    """The table of instruments names another opening, and contracts that nobody knew at the start."""
    here = bench()
    early = ContractLeg(NEW, START_NS + 60 * NS, 20261208)
    here.runner.expect("ES.front", [ContractLeg(OLD, 0, 20260910), early, ContractLeg(NEXT, ROLL_NS, 20270311)])
    here.runner.on_trade(trade_at(START_NS + 61 * NS, symbol="ESH7"))
    assert here.strategy.front() == "ESH7"
    here.runner.on_trade(trade_at(ROLL_NS, symbol="ESM7"))
    assert here.strategy.front() == "ESM7"
    assert [each[1:4] for each in here.strategy.told if each[0] == "roll"] == [
        ("ES.front", "ESZ6", "ESH7"),
        ("ES.front", "ESH7", "ESM7"),
    ]


# What is held beside the contract that the alias means.


def bars(here: Bench) -> list[str]:
    """Of which contracts bars have come."""
    return [each[1] for each in here.strategy.told if each[0] == "bar"]


def trades(here: Bench) -> list[str]:
    """Of which contracts trades have come."""
    return [each[1] for each in here.strategy.told if each[0] == "trade"]


def test_a_position_that_is_in_the_next_contract_already_has_its_data(tmp_path: Path) -> None:
    """It was moved before the close: trades, quotes and bars of both come until the roll, then the new one's."""
    here = desk_at(tmp_path, BEFORE_CLOSE)
    here.runner.on_position(position(NEW_3, 2))
    here.look()
    for minute in (1, 2):
        for symbol in (OLD_3, NEW_3):
            here.trade(symbol, minute * 60)
    assert trades(here) == [OLD_3, NEW_3] * 2
    assert bars(here) == [OLD_3, NEW_3]
    assert here.subscribed == {OLD_3, NEW_3}
    here.move_to(OPENING)
    for seconds in (1, 61):
        here.trade(OLD_3, seconds)
        here.trade(NEW_3, seconds)
    assert [each[0] for each in here.strategy.told].count("roll") == 1
    assert trades(here)[4:] == [NEW_3] * 2
    assert bars(here)[2:] == [OLD_3, NEW_3, NEW_3]
    assert here.subscribed == {NEW_3}


def test_a_position_that_stayed_in_the_former_contract_keeps_its_data(tmp_path: Path) -> None:
    """Both contracts' trades and bars come while it is held; afterwards those of the new one alone."""
    here = desk_at(tmp_path, BEFORE_CLOSE)
    here.runner.on_position(position(OLD_3, 1))
    here.look()
    here.move_to(OPENING)
    for seconds in (1, 61):
        for symbol in (OLD_3, NEW_3):
            here.trade(symbol, seconds)
    assert here.strategy.front() == NEW_3
    assert trades(here) == [OLD_3, NEW_3] * 2
    assert bars(here) == [OLD_3, NEW_3]
    assert here.subscribed == {OLD_3, NEW_3}
    here.runner.on_position(position(OLD_3, 0))
    here.look()
    assert here.subscribed == {NEW_3}
    # One that was on its way.
    here.runner.on_trade(trade_at(here.market.now_ns() + 100 * NS, symbol=OLD_3))
    for seconds in (121, 181):
        for symbol in (OLD_3, NEW_3):
            here.trade(symbol, seconds)
    assert trades(here)[4:] == [NEW_3] * 2
    assert bars(here)[2:] == [NEW_3] * 2


def test_a_strategy_that_starts_anew_with_a_former_contract_has_its_data(tmp_path: Path) -> None:
    """Its process was restarted after the roll; bars that it asks for later are of both. An order counts as held."""
    here = desk_at(tmp_path, AFTER)
    assert here.subscribed == {NEW_3}
    here.strategy.sell(1, OLD_3, price=4000.0)
    here.look()
    assert here.subscribed == {OLD_3, NEW_3}
    here.strategy.subscribe_bars("ES.front", 300)
    for seconds in (1, 301):
        for symbol in (OLD_3, NEW_3):
            here.trade(symbol, seconds)
    assert trades(here) == [OLD_3, NEW_3] * 2
    assert sorted(bars(here)) == [NEW_3, NEW_3, OLD_3, OLD_3]


def test_nothing_of_the_next_contract_is_asked_for_before_its_time(tmp_path: Path) -> None:
    """Hours before the roll, nothing is held in it; in the break it is subscribed to, and what comes is held back."""
    here = desk_at(tmp_path, "2023-12-06 10:00")
    here.look()
    assert here.subscribed == {OLD_3}
    here.move_to("2023-12-06 16:50")
    assert here.subscribed == {OLD_3, NEW_3}
    here.trade(NEW_3, 1)
    assert trades(here) == []


def test_a_lane_that_breaks_while_a_subscription_ends_is_no_error(tmp_path: Path) -> None:
    """Everything is asked for anew when it opens again."""
    here = desk_at(tmp_path, BEFORE_CLOSE)
    for quantity in (2, 0):
        for symbol in ("ESU3", NEW_3):
            here.runner.on_position(position(symbol, quantity))
        if quantity:
            here.look()
            assert here.subscribed == {"ESU3", OLD_3, NEW_3}
            here.is_broken = True
    here.move_to("2023-12-06 12:00")
    here.is_broken = False
    here.subscribed.clear()
    here.desk.subscribe()
    assert here.subscribed == {OLD_3}


def test_the_example_follows_its_front_contract_alone() -> None:
    """Bars of a contract that is held beside it are of other prices: they move no average."""
    made = Bench(SmaCross, {"fast": 1, "slow": 2}, instruments=(), aliases=FRONT)
    made.start()
    for symbol, close in (("ESZ6", 5000.0), ("ESH7", 5050.0), ("ESZ6", 5001.0), ("ESH7", 5051.0)):
        made.strategy.on_bar(bar(symbol, close))
    assert list(made.strategy._closes) == [5000.0, 5001.0]
