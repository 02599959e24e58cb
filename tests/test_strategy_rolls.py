"""Aliases as a strategy lives them: what it names, what it is told at a roll, and in which order."""

from typing import Any

import msgspec
import pytest

from nightdesk import RollInfo, Strategy, StrategyError
from nightdesk.messages import Bar, Flatten, PositionReport, StrategyId, SubmitOrder, TradeTick
from nightdesk.trading.strategy_contracts import AliasLegs, ContractLeg
from tests.strategy_support import ES, START_NS, Bench, quote_at, trade_at

NS = 1_000_000_000
ROLL_NS = START_NS + 3600 * NS
OLD = ES
NEW = msgspec.structs.replace(ES, symbol="ESH7")
NEXT = msgspec.structs.replace(ES, symbol="ESM7")
FRONT = {"ES.front": AliasLegs((ContractLeg(OLD, 0, 20260910), ContractLeg(NEW, ROLL_NS, 20261210)), 0)}


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
