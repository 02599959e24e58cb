"""Brackets, OCO orders and trailing stops as a strategy asks for them and sees them."""

from typing import Any

import pytest
from msgspec.structs import replace

from nightdesk import OrderTerms, OrderType, Side, StrategyError, TimeInForce
from nightdesk.messages import (
    ClientOrderId,
    Denial,
    FillId,
    ModifyBracket,
    OrderAccepted,
    OrderDenied,
    OrderFilled,
    OrderInitialized,
    OrderModifyRejected,
    OrderReport,
    OrderStatus,
    OrderUpdated,
    QueryOrder,
    StrategyId,
    SubmitOco,
    SubmitOrder,
    VenueOrderId,
)
from tests.strategy_support import ES, NQ, Bench
from tests.test_strategy import Recording


@pytest.fixture
def bench() -> Bench:
    """A started strategy with one symbol."""
    bench = Bench(Recording)
    bench.start()
    bench.strategy.calls.clear()
    return bench


def limit(price: float, **changes: Any) -> OrderTerms:
    return OrderTerms(symbol="ESZ6", side=Side.SELL, quantity=2, order_type=OrderType.LIMIT, price=price, **changes)


def stop(trigger_price: float, **changes: Any) -> OrderTerms:
    values: dict[str, Any] = {"side": Side.SELL, "quantity": 2, "order_type": OrderType.STOP_MARKET}
    return OrderTerms(symbol="ESZ6", trigger_price=trigger_price, **(values | changes))


def exit_of(bench: Bench, entry: ClientOrderId, mark: str = "s1") -> OrderInitialized:
    """The order plant takes in an exit that the server has made."""
    return OrderInitialized(
        client_order_id=ClientOrderId(f"{entry}-{mark}"),
        strategy_id=StrategyId(bench.name),
        symbol="ESZ6",
        exchange="CME",
        ts_event_ns=bench.clock.now_ns(),
        side=Side.SELL,
        order_type=OrderType.STOP_MARKET if mark[0] == "s" else OrderType.LIMIT,
        quantity=2,
        price=None if mark[0] == "s" else 5001.0,
        trigger_price=4998.0 if mark[0] == "s" else None,
        time_in_force=TimeInForce.DAY,
        protective=True,
        parent_client_order_id=entry,
    )


def fill_of(bench: Bench, order_id: ClientOrderId, quantity: int = 2) -> OrderFilled:
    return OrderFilled(
        client_order_id=order_id,
        strategy_id=StrategyId(bench.name),
        symbol="ESZ6",
        exchange="CME",
        ts_event_ns=bench.clock.now_ns(),
        venue_order_id=VenueOrderId(f"v-{order_id}"),
        fill_id=FillId(f"f-{order_id}"),
        side=Side.SELL,
        last_quantity=quantity,
        last_price=4998.0,
        filled_quantity=quantity,
        leaves_quantity=0,
        average_price=4998.0,
        commission=2.0,
    )


@pytest.mark.parametrize(
    ("arguments", "order_type"),
    [
        ({}, OrderType.MARKET),
        ({"price": 5000.0}, OrderType.LIMIT),
        ({"trigger_price": 5010.0}, OrderType.STOP_MARKET),
        ({"price": 5011.0, "trigger_price": 5010.0}, OrderType.STOP_LIMIT),
        ({"trigger_price": 4990.0, "order_type": OrderType.MARKET_IF_TOUCHED}, OrderType.MARKET_IF_TOUCHED),
    ],
)
def test_a_bracket_is_one_command_with_its_distances(
    bench: Bench, arguments: dict[str, Any], order_type: OrderType
) -> None:
    """Whatever its entry is; what it brings is not known before it is there."""
    entry = bench.strategy.bracket(Side.BUY, 2, stop_ticks=8, target_ticks=16, **arguments)
    (command,) = bench.of(SubmitOrder)
    assert (command.order_type, command.stop_ticks, command.target_ticks) == (order_type, 8, 16)
    assert not command.protective
    report = bench.strategy.order(entry)
    assert (report.stop_ticks, report.target_ticks, bench.strategy.exits(entry)) == (8, 16, ())


def test_a_trailing_stop_carries_its_distance(bench: Bench) -> None:
    """With the trigger at which it begins."""
    bench.strategy.sell(2, trigger_price=4990.0, trail_by_ticks=40, protective=True)
    (command,) = bench.of(SubmitOrder)
    assert (command.order_type, command.trail_by_ticks, command.trigger_price) == (OrderType.STOP_MARKET, 40, 4990.0)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda s: s.bracket(Side.BUY, 1), "needs stop_ticks"),
        (lambda s: s.bracket(Side.BUY, 1, stop_ticks=-8), "stop_ticks must be a whole number of ticks"),
        (lambda s: s.bracket(Side.BUY, 1, stop_ticks=2.5), "stop_ticks must be a whole number of ticks"),
        (lambda s: s.bracket(Side.BUY, 1, stop_ticks=8, target_ticks=True), "target_ticks must be a whole number"),
        (lambda s: s.bracket(Side.BUY, 1, target_ticks=100_001), "from 1 to 100000, not 100001"),
        (lambda s: s.bracket(Side.BUY, 0, stop_ticks=8), "at least 1"),
        (lambda s: s.bracket(Side.BUY, 1, stop_ticks=8, price=5000.1), "tick"),
        (lambda s: s.buy(1, trigger_price=5010.0, time_in_force=TimeInForce.IOC), "cannot be IOC"),
        (lambda s: s.buy(1, price=5000.0, trail_by_ticks=8), "can trail, not a LIMIT order"),
        (lambda s: s.buy(1, trail_by_ticks=8), "can trail, not a MARKET order"),
        (lambda s: s.submit(limit(5000.0, stop_ticks=8, protective=True)), "not protective"),
        (lambda s: s.submit(stop(5000.0, stop_ticks=8, trail_by_ticks=8)), "cannot trail"),
        (lambda s: s.oco(limit(5000.0), limit(5000.0)), "the same order"),
        (lambda s: s.oco(limit(5000.0), replace(stop(4990.0), symbol="NQZ6")), "one symbol"),
        (lambda s: s.oco(limit(5000.0), limit(5001.0, time_in_force=TimeInForce.FOK)), "wait for their price"),
        (lambda s: s.oco(limit(5000.0), OrderTerms(symbol="ESZ6", side=Side.BUY, quantity=1)), "wait for their price"),
        (lambda s: s.oco(limit(5000.0), limit(5001.0, stop_ticks=8)), "entry of a bracket"),
        (lambda s: s.oco(limit(5000.0), limit(5001.13)), "tick"),
        (lambda s: s.modify_bracket("x"), "needs new"),
        (lambda s: s.modify_bracket("x", stop_ticks=0), "from 1 to 100000"),
        (lambda s: s.modify_bracket("x", target_ticks="8"), "whole number of ticks"),
    ],
)
def test_mistakes_raise_and_nothing_is_sent(call: Any, text: str) -> None:
    """Off the grid, out of range, or of no meaning: the author hears of it at once."""
    bench = Bench(Recording, instruments=(ES, NQ))
    bench.start()
    strategy = bench.strategy
    named = {"bracket": strategy.bracket, "buy": strategy.buy}

    class OnEs:
        """The same strategy, with its first symbol where none is named."""

        def __getattr__(self, name: str) -> Any:
            if name in named:
                return lambda *arguments, **more: named[name](*arguments, "ESZ6", **more)
            return getattr(strategy, name)

    with pytest.raises(StrategyError, match=text):
        call(OnEs())
    assert bench.sent == []


def test_an_oco_order_is_one_command_with_both_legs(bench: Bench) -> None:
    """Each of them knows the other, and both carry the strategy's name and epoch."""
    ids = bench.strategy.oco(limit(5010.0), stop(4990.0, trail_by_ticks=40))
    (command,) = bench.of(SubmitOco)
    assert (command.first.client_order_id, command.second.client_order_id) == ids
    assert command.second.trail_by_ticks == 40
    assert {leg.fencing_epoch for leg in (command, command.first, command.second)} == {7}
    links = [bench.strategy.order(each).linked_client_order_id for each in ids]
    assert links == [ids[1], ids[0]]
    assert bench.runner.desk.sent == 2


def test_an_oco_order_without_the_lane_is_denied_whole(bench: Bench) -> None:
    """On the next turn, once for each leg, and nothing is sent."""
    bench.lane_open = False
    ids = bench.strategy.oco(limit(5010.0), stop(4990.0))
    bench.turn()
    denied = [call[1] for call in bench.strategy.calls if call[0] == "on_order_denied"]
    assert [(event.client_order_id, event.code) for event in denied] == [
        (each, Denial.STATE_DISCONNECTED) for each in ids
    ]
    assert bench.sent == []
    assert bench.strategy.orders() == ()


def test_exits_are_orders_of_ours_that_name_their_entry(bench: Bench) -> None:
    """They come without our doing, have callbacks as every order has, and one that fills moves the position."""
    entry = bench.strategy.bracket(Side.BUY, 2, stop_ticks=8, target_ticks=4)
    (command,) = bench.of(SubmitOrder)
    bench.accept(command)
    bench.fill(command)
    for mark in ("s1", "t1"):
        bench.runner.on_order_event(exit_of(bench, entry, mark))
    assert [order.client_order_id for order in bench.strategy.exits(entry)] == [f"{entry}-s1", f"{entry}-t1"]
    target = ClientOrderId(f"{entry}-t1")
    about = bench.common(command) | {"client_order_id": target}
    bench.runner.on_order_event(OrderAccepted(**about, venue_order_id=VenueOrderId("v2")))
    bench.strategy.modify(target, price=5002.0)
    bench.runner.on_order_event(OrderUpdated(**about, quantity=2, price=5002.0, trigger_price=None))
    bench.runner.on_order_event(fill_of(bench, target))
    assert bench.strategy.position().quantity == 0
    report = bench.strategy.order(target)
    assert (report.parent_client_order_id, report.status, report.protective) == (entry, OrderStatus.FILLED, True)
    names = [call[0] for call in bench.strategy.calls if getattr(call[1], "client_order_id", "") == target]
    assert [name for name in names if name != "on_order_event"] == [
        *("on_order_accepted", "on_order_updated", "on_order_filled"),
    ]
    assert [order.client_order_id for order in bench.strategy.exits(entry)] == [f"{entry}-s1"]


def test_new_distances_are_one_command_and_show_when_they_hold(bench: Bench) -> None:
    """The entry is being updated until the order plant says so; a refusal restores what it was."""
    entry = bench.strategy.bracket(Side.BUY, 2, price=5000.0, stop_ticks=8, target_ticks=4)
    (command,) = bench.of(SubmitOrder)
    bench.accept(command)
    bench.strategy.modify_bracket(entry, stop_ticks=12)
    (change,) = bench.of(ModifyBracket)
    assert (change.client_order_id, change.stop_ticks, change.target_ticks) == (entry, 12, None)
    assert bench.order_of(command).status is OrderStatus.PENDING_UPDATE
    terms: dict[str, Any] = {"quantity": 2, "price": 5000.0, "trigger_price": None}
    terms |= {"stop_ticks": 12, "target_ticks": 4}
    bench.runner.on_order_event(OrderUpdated(**bench.common(command), **terms))
    assert (bench.order_of(command).status, bench.order_of(command).stop_ticks) == (OrderStatus.ACCEPTED, 12)
    bench.strategy.modify_bracket(entry, target_ticks=9)
    bench.runner.on_order_event(OrderModifyRejected(**bench.common(command), text="no"))
    assert (bench.order_of(command).status, bench.order_of(command).target_ticks) == (OrderStatus.ACCEPTED, 4)


def test_distances_of_a_finished_or_unknown_bracket_are_refused_later(bench: Bench) -> None:
    """As every change is."""
    bench.strategy.modify_bracket("never", stop_ticks=8)
    bench.turn()
    rejected = [call[1] for call in bench.strategy.calls if call[0] == "on_order_modify_rejected"]
    assert [event.text.split(":")[0] for event in rejected] == ["ORDER_UNKNOWN"]


def test_the_end_of_a_lease_shows_in_the_report(bench: Bench) -> None:
    """The order plant gives it with the order's row."""
    entry = bench.strategy.buy(2, price=5000.0)
    (command,) = bench.of(SubmitOrder)
    shown = exit_of(bench, entry)
    bench.runner.on_order_event(
        replace(shown, client_order_id=entry, parent_client_order_id=ClientOrderId(""), expire_ns=9_000_000_000)
    )
    assert bench.order_of(command).expire_ns == 9_000_000_000


def _report(bench: Bench, entry: ClientOrderId, status: OrderStatus, filled: int) -> OrderReport:
    """An exit as the order plant tells of it."""
    shown = exit_of(bench, entry)
    return OrderReport(
        client_order_id=shown.client_order_id,
        venue_order_id=VenueOrderId("v9"),
        strategy_id=shown.strategy_id,
        symbol="ESZ6",
        exchange="CME",
        side=shown.side,
        order_type=shown.order_type,
        time_in_force=shown.time_in_force,
        status=status,
        quantity=2,
        filled_quantity=filled,
        leaves_quantity=2 - filled,
        price=None,
        trigger_price=4998.0,
        average_price=4998.0 if filled else None,
        protective=True,
        ts_init_ns=1,
        ts_last_ns=2,
        parent_client_order_id=entry,
    )


def test_exits_that_came_while_the_order_plant_was_away_are_asked_for_and_told(bench: Bench) -> None:
    """A welcome names what works; of an entry that may have brought more, what nobody told of is asked for."""
    entry = bench.strategy.bracket(Side.BUY, 2, stop_ticks=8, target_ticks=4)
    (command,) = bench.of(SubmitOrder)
    bench.accept(command)
    bench.runner.desk.lane_lost()
    bench.strategy.calls.clear()
    bench.welcome(orders=(_report(bench, entry, OrderStatus.ACCEPTED, 0),))
    # The stop is named, and told as any order is; the target may have come and gone.
    assert [call[0] for call in bench.strategy.calls if call[0] == "on_order_accepted"] == ["on_order_accepted"]
    assert {query.client_order_id for query in bench.of(QueryOrder)} == {entry, f"{entry}-t1"}
    bench.strategy.calls.clear()
    target = replace(_report(bench, entry, OrderStatus.FILLED, 2), client_order_id=ClientOrderId(f"{entry}-t1"))
    bench.runner.on_order_report(target)
    assert [call[0] for call in bench.strategy.calls if call[0] != "on_order_event"] == [
        *("on_order_accepted", "on_order_filled"),
    ]


def test_an_exit_that_there_is_not_is_no_news(bench: Bench) -> None:
    """The order plant says that it does not know it: nobody is told of a denial of what nobody has sent."""
    entry = bench.strategy.bracket(Side.BUY, 2, stop_ticks=8)
    (command,) = bench.of(SubmitOrder)
    bench.accept(command)
    bench.welcome(orders=(replace(bench.order_of(command)),))
    asked = ClientOrderId(f"{entry}-s1")
    assert [query.client_order_id for query in bench.of(QueryOrder)] == [asked]
    bench.strategy.calls.clear()
    about = bench.common(command) | {"client_order_id": asked}
    bench.runner.on_order_event(OrderDenied(**about, code=Denial.ORDER_UNKNOWN, text="never received"))
    assert bench.strategy.calls == []
    # Its turn comes later.
    bench.runner.on_order_event(exit_of(bench, entry))
    assert [order.client_order_id for order in bench.strategy.exits(entry)] == [asked]


def test_entries_that_ended_without_a_fill_bring_nothing_to_ask_for(bench: Bench) -> None:
    """Their exits never came to be."""
    bench.strategy.bracket(Side.BUY, 2, price=4000.0, stop_ticks=8)
    (command,) = bench.of(SubmitOrder)
    bench.accept(command)
    bench.cancel(command)
    bench.welcome()
    assert bench.of(QueryOrder) == []
