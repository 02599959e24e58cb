"""Brackets, OCO orders, trailing stops and leases against the embedded exchange, over its real socket."""

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.plants.order import OrderPlantBody
from nightdesk.messages import (
    CancelAllOrders,
    CancelOrder,
    ClientOrderId,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderInitialized,
    OrderModifyRejected,
    OrderRejected,
    OrderStatus,
    OrderTriggered,
    OrderType,
    OrderUpdated,
    Side,
    TimeInForce,
)
from nightdesk.trading.ledger import ACCOUNT
from tests.held_order_support import (
    ASK,
    BID,
    ONE,
    SIM,
    SYMBOL,
    Floor,
    Holder,
    exchange,
    plant,
    quiet,
    settled,
    status_of,
    trading,
)
from tests.support import wait_until_async
from tests.test_order_plant_integration import ROOT, run
from tests.test_order_plant_integration import folder as folder

S = OrderStatus


def exits_have(body: OrderPlantBody, quantity: int) -> bool:
    """Whether stop and target of the bracket ``b`` work for so much."""
    exits = [body.account.find(ClientOrderId(each)) for each in ("b-s1", "b-t1")]
    return all(order is not None and order.quantity == quantity and not order.is_final for order in exits)


def test_a_bracket_brings_its_exits_and_the_target_ends_the_stop(folder: Path) -> None:
    """One request; the exits are ours, protective, and told as any order; when one fills the other is canceled."""

    async def scenario() -> None:
        async with trading(quiet(folder)) as (floor, body, trader):
            trader.bracket("b")
            await wait_until_async(lambda: len(trader.of(OrderAccepted)) == 3)
            entry, stop, target = (body.account.find(ClientOrderId(each)) for each in ("b", "b-s1", "b-t1"))
            assert entry is not None
            assert stop is not None
            assert target is not None
            assert entry.status is S.FILLED
            assert (stop.trigger_price, target.price) == (ASK - 10, ASK + 5)
            for each in (stop, target):
                assert (each.parent_id, each.strategy_id, each.protective, each.quantity) == ("b", ONE, True, 2)
                assert body.journal.find_order(each.client_order_id) == each
            assert {m.parent_client_order_id for m in trader.of(OrderInitialized)} == {"", "b"}
            floor.print_at(ASK + 5)
            await wait_until_async(lambda: trader.about(OrderCanceled, "b-s1"))
            await settled(floor, body)
            assert (status_of(body, "b-t1"), status_of(body, "b-s1")) == (S.FILLED, S.CANCELED)
            assert body.account.ledger.quantity(ONE, SYMBOL) == 0
            assert [each.fields["symbol"] for each in body.context.alerts if each.event == "order_external"] == []  # type: ignore[attr-defined]

    run(scenario)


def test_a_stop_that_fills_ends_the_target(folder: Path) -> None:
    """The position is closed at the loss that was asked for, and nothing is left at work."""

    async def scenario() -> None:
        async with trading(quiet(folder)) as (floor, body, trader):
            trader.bracket("b", Side.SELL)
            await wait_until_async(lambda: len(trader.of(OrderAccepted)) == 3)
            stop = body.account.find(ClientOrderId("b-s1"))
            assert stop is not None
            assert (stop.side, stop.trigger_price) == (Side.BUY, BID + 10)
            floor.rest(False, 5, BID + 10.25)
            floor.print_at(BID + 10)
            await wait_until_async(lambda: trader.about(OrderCanceled, "b-t1"))
            await settled(floor, body)
            assert trader.about(OrderTriggered, "b-s1")
            assert status_of(body, "b-s1") is S.FILLED
            assert body.account.ledger.quantity(ONE, SYMBOL) == 0

    run(scenario)


def test_exits_grow_with_the_entrys_fills_and_shrink_with_each_others(folder: Path) -> None:
    """An entry that fills bit by bit; the quantities are the server's doing, and no overfill halts anything."""

    async def scenario() -> None:
        async with trading(quiet(folder)) as (floor, body, trader):
            trader.bracket("b", quantity=3, price=4999.0)
            await wait_until_async(lambda: trader.about(OrderAccepted, "b"))
            floor.sell(101, 4999.0)
            await wait_until_async(lambda: exits_have(body, 1))
            floor.sell(2, 4999.0)
            await wait_until_async(lambda: exits_have(body, 3))
            assert body.account.ledger.quantity(ONE, SYMBOL) == 3
            floor.buy(102, 5004.0)
            await wait_until_async(lambda: body.account.ledger.quantity(ONE, SYMBOL) == 1)
            await settled(floor, body)
            stop = body.account.find(ClientOrderId("b-s1"))
            assert stop is not None
            assert (stop.quantity, stop.status) == (1, S.ACCEPTED)
            assert body.account.trading_state == "ACTIVE"
            assert body.account.table.worst_case(SYMBOL) == (0, 1)

    run(scenario)


def test_what_a_bracket_did_while_nobody_listened_is_found_by_the_next_process(folder: Path) -> None:
    """The entry filled, its exits came, the target filled: each has one row, each execution counts once."""

    async def scenario() -> None:
        run_of = quiet(folder)
        async with exchange(run_of) as server:
            floor = Floor(server)
            async with plant(run_of), Holder(run_of) as trader:
                await wait_until_async(lambda: trader.permitted)
                floor.clear()
                trader.bracket("b", price=4999.0)
                trader.bracket("c", price=4990.0)
                await wait_until_async(lambda: len(trader.of(OrderAccepted)) == 2)
            floor.sell(102, 4999.0)
            floor.print_at(5004.0)
            floor.sell(1_000, 4990.0)
            for attempt in range(2):
                async with plant(run_of) as body, Holder(run_of) as trader:
                    await settled(floor, body)
                    assert {each: status_of(body, each) for each in ("b", "b-s1", "b-t1", "c", "c-s1", "c-t1")} == {
                        "b": S.FILLED,
                        "b-s1": S.CANCELED,
                        "b-t1": S.FILLED,
                        "c": S.FILLED,
                        "c-s1": S.ACCEPTED,
                        "c-t1": S.ACCEPTED,
                    }
                    assert body.account.ledger.quantity(ONE, SYMBOL) == 2
                    fills = body.journal.newest_fills(100)
                    assert len(fills) == len({fill.fill_id for fill in fills})
                    (welcome,) = trader.got[:1]
                    if attempt:
                        owned = {order.client_order_id: order.parent_client_order_id for order in welcome.orders}  # type: ignore[attr-defined]
                        assert owned == {"c-s1": "c", "c-t1": "c"}

    run(scenario)


@pytest.mark.parametrize("cut", range(5))
def test_a_restart_between_any_two_steps_changes_nothing(folder: Path, cut: int) -> None:
    """Sent, resting, filled in part, filled, target filled in part: the next process goes on where the last ended."""

    async def scenario() -> None:
        run_of = quiet(folder)
        async with exchange(run_of) as server:
            floor = Floor(server)
            async with plant(run_of) as body, Holder(run_of) as trader:
                await wait_until_async(lambda: trader.permitted)
                floor.clear()
                trader.bracket("b", quantity=3, price=4999.0)
                await wait_until_async(lambda: floor.orders())
                await take_steps(floor, body, range(cut))
            async with plant(run_of) as body, Holder(run_of) as trader:
                await settled(floor, body)
                await take_steps(floor, body, range(cut, len(STEPS)))
                await settled(floor, body)
                assert [status_of(body, each) for each in ("b", "b-t1", "b-s1")] == [S.FILLED, S.FILLED, S.CANCELED]
                assert body.account.ledger.quantity(ONE, SYMBOL) == 0
                executions = floor.venue.executions(SIM, 0, 2**40)
                assert sorted(each.fill_id for each in body.journal.newest_fills(100)) == sorted(
                    execution.fill_id for _, execution in executions
                )
                assert not [each for each in body.context.alerts if each.event == "order_external"]  # type: ignore[attr-defined]

    run(scenario)


STEPS: list[tuple[Callable[[Floor], None], Callable[[OrderPlantBody], bool]]] = [
    (lambda floor: None, lambda body: status_of(body, "b") is S.ACCEPTED),
    (lambda floor: floor.sell(101, 4999.0), lambda body: exits_have(body, 1)),
    (lambda floor: floor.sell(2, 4999.0), lambda body: exits_have(body, 3)),
    (lambda floor: floor.buy(102, 5004.0), lambda body: body.account.ledger.quantity(ONE, SYMBOL) == 1),
    (lambda floor: floor.buy(1, 5004.0), lambda body: body.account.ledger.quantity(ONE, SYMBOL) == 0),
]
"""What others do in the market, and what our books come to say of it."""


async def take_steps(floor: Floor, body: OrderPlantBody, steps: range) -> None:
    for act, is_known in (STEPS[step] for step in steps):
        act(floor)
        await wait_until_async(lambda is_known=is_known: is_known(body))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("kind", "point", "arrives"),
    [
        ("bracket", "commit", False),
        ("bracket", "send", True),
        ("bracket", "answer", True),
        ("bracket", "fill", True),
        ("bracket", "exit", True),
        ("oco", "commit", False),
        ("oco", "send", True),
        ("oco", "answer", True),
    ],
)
def test_a_kill_at_any_point_of_its_way_is_settled(folder: Path, kind: str, point: str, arrives: bool) -> None:
    """SIGKILL of the plant's process: the exchange has one request or none, and the next process knows all of it."""

    async def scenario() -> None:
        run_of = quiet(folder)
        async with exchange(run_of) as server:
            floor = Floor(server)
            config_file = folder / "run.json"
            config_file.write_bytes(run_of.to_json())
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.order_plant_child", str(config_file), point, cwd=ROOT
            )
            async with Holder(run_of) as trader:
                await wait_until_async(lambda: trader.permitted)
                floor.clear()
                if kind == "bracket":
                    trader.bracket("b")
                else:
                    trader.oco(trader.command("x", price=ASK), trader.command("y", trigger_price=5050.0))
                assert await child.wait() == -signal.SIGKILL
            async with plant(run_of) as body:
                await settled(floor, body)
                names = ("b", "b-s1", "b-t1") if kind == "bracket" else ("x", "y")
                expected = (S.FILLED, S.ACCEPTED, S.ACCEPTED) if kind == "bracket" else (S.FILLED, S.CANCELED)
                lost: set[OrderStatus | None] = {None, S.REJECTED}
                found = [status_of(body, each) for each in names]
                assert found == list(expected) if arrives else set(found) <= lost
                assert len(floor.orders()) == (len(names) if arrives else 0)
                fills = body.journal.newest_fills(100)
                assert len(fills) == len(floor.venue.executions(SIM, 0, 2**40))
                assert not [each for each in body.context.alerts if each.event == "order_external"]  # type: ignore[attr-defined]

    run(scenario)


def test_a_price_of_an_exit_is_changed_as_any_orders(folder: Path) -> None:
    """By a replace of the exit itself; the other one stays."""

    async def scenario() -> None:
        async with trading(quiet(folder)) as (floor, body, trader):
            trader.bracket("b")
            await wait_until_async(lambda: len(trader.of(OrderAccepted)) == 3)
            trader.move("b-s1", trigger_price=ASK - 5)
            await wait_until_async(lambda: trader.about(OrderUpdated, "b-s1"))
            assert [order.trigger_price for order in floor.orders().values() if order.trigger_price] == [ASK - 5]
            trader.send(CancelOrder(client_order_id=ClientOrderId("b-t1"), strategy_id=ONE, fencing_epoch=trader.epoch))
            await wait_until_async(lambda: trader.about(OrderCanceled, "b-t1"))
            await settled(floor, body)
            assert status_of(body, "b-s1") is S.ACCEPTED

    run(scenario)


def test_exits_are_moved_before_the_entry_fills(folder: Path) -> None:
    """Both distances, one after the other; the exits then stand where they were moved to."""

    async def scenario() -> None:
        async with trading(quiet(folder)) as (floor, body, trader):
            trader.bracket("b", price=4999.0)
            await wait_until_async(lambda: trader.about(OrderAccepted, "b"))
            trader.move_exits("b", stop_ticks=8, target_ticks=12)
            await wait_until_async(lambda: trader.about(OrderUpdated, "b"))
            (told,) = trader.about(OrderUpdated, "b")
            assert (told.stop_ticks, told.target_ticks) == (8, 12)
            (held,) = floor.venue.brackets(SIM)
            assert (held.stop_ticks, held.target_ticks) == (8, 12)
            trader.move_exits("b", target_ticks=16)
            await wait_until_async(lambda: len(trader.about(OrderUpdated, "b")) == 2)
            floor.sell(200, 4999.0)
            await wait_until_async(lambda: status_of(body, "b-t1") is S.ACCEPTED)
            stop, target = (body.account.find(ClientOrderId(each)) for each in ("b-s1", "b-t1"))
            assert stop is not None
            assert target is not None
            assert (stop.trigger_price, target.price) == (4997.0, 5003.0)
            trader.move_exits("b", target_ticks=20)
            await wait_until_async(lambda: trader.about(OrderModifyRejected, "b"))

    run(scenario)


def test_of_an_entry_that_is_canceled_in_part_the_exits_stay(folder: Path) -> None:
    """What has filled keeps its protection, and nothing more comes."""

    async def scenario() -> None:
        async with trading(quiet(folder)) as (floor, body, trader):
            trader.bracket("b", quantity=3, price=4999.0)
            await wait_until_async(lambda: trader.about(OrderAccepted, "b"))
            floor.sell(101, 4999.0)
            await wait_until_async(lambda: status_of(body, "b-s1") is S.ACCEPTED)
            trader.send(CancelOrder(client_order_id=ClientOrderId("b"), strategy_id=ONE, fencing_epoch=trader.epoch))
            await wait_until_async(lambda: trader.about(OrderCanceled, "b"))
            await settled(floor, body)
            assert {each: status_of(body, each) for each in ("b-s1", "b-t1")} == {
                "b-s1": S.ACCEPTED,
                "b-t1": S.ACCEPTED,
            }
            assert body.account.ledger.quantity(ONE, SYMBOL) == 1

    run(scenario)


def test_a_flatten_takes_the_exits_off_and_closes(folder: Path) -> None:
    """Entry, exits and position: afterwards there is nothing of any of them."""

    async def scenario() -> None:
        async with trading(quiet(folder)) as (floor, body, trader):
            trader.bracket("b", quantity=3, price=4999.0)
            await wait_until_async(lambda: trader.about(OrderAccepted, "b"))
            floor.sell(101, 4999.0)
            await wait_until_async(lambda: status_of(body, "b-s1") is S.ACCEPTED)
            floor.rest(True, 100, 4999.0)
            trader.flatten()
            await wait_until_async(lambda: body.account.ledger.quantity(ACCOUNT, SYMBOL) == 0)
            await settled(floor, body)
            assert body.account.table.open_count() == 0
            assert all(order.completion is not None for order in floor.orders().values())

    run(scenario)


def test_a_cancel_of_all_takes_each_of_them_off_once(folder: Path) -> None:
    """Entry, exits, both legs of an OCO order: no cancel meets an order that is over, which a broker would mind."""

    async def scenario() -> None:
        async with trading(quiet(folder)) as (floor, body, trader):
            trader.bracket("b")
            trader.bracket("e", price=4990.0)
            trader.oco(trader.command("x", price=4991.0), trader.command("y", trigger_price=5050.0))
            await wait_until_async(lambda: len(trader.of(OrderAccepted)) == 6)
            trader.send(CancelAllOrders(strategy_id=ONE, fencing_epoch=trader.epoch))
            await wait_until_async(lambda: len(trader.of(OrderCanceled)) == 5)
            await settled(floor, body)
            assert body.account.table.open_count() == 0
            assert "Further cancellations" not in repr(trader.got)
            assert not [each for each in trader.got if type(each).__name__ == "OrderCancelRejected"]

    run(scenario)


def test_an_oco_order_binds_both_legs_and_one_ends_the_other(folder: Path) -> None:
    """One request, two orders with our tags; the fill of one cancels the other; a cancel of one cancels both."""

    async def scenario() -> None:
        async with trading(quiet(folder)) as (floor, body, trader):
            trader.oco(trader.command("x", price=4999.0), trader.command("y", trigger_price=5002.0))
            await wait_until_async(lambda: len(trader.of(OrderAccepted)) == 2)
            assert body.account.table.worst_case(SYMBOL) == (2, 0)
            assert sorted(order.terms.user_tag for order in floor.orders().values()) == ["x", "y"]
            floor.rest(False, 5, 5002.25)
            floor.print_at(5002.0)
            await wait_until_async(lambda: trader.about(OrderCanceled, "x"))
            await settled(floor, body)
            assert status_of(body, "y") is S.FILLED
            assert body.account.ledger.quantity(ONE, SYMBOL) == 2
            trader.oco(trader.command("u", price=4990.0), trader.command("v", price=4991.0))
            await wait_until_async(lambda: len(trader.of(OrderAccepted)) >= 4)
            trader.send(CancelOrder(client_order_id=ClientOrderId("v"), strategy_id=ONE, fencing_epoch=trader.epoch))
            await wait_until_async(lambda: len(trader.of(OrderCanceled)) == 3)

    run(scenario)


def test_a_partial_fill_of_one_leg_reduces_the_other(folder: Path) -> None:
    """The position can never be more than the larger leg asked for, and the books follow each report."""

    async def scenario() -> None:
        async with trading(quiet(folder)) as (floor, body, trader):
            trader.oco(
                trader.command("x", price=4999.0, quantity=3), trader.command("y", trigger_price=5002.0, quantity=3)
            )
            await wait_until_async(lambda: len(trader.of(OrderAccepted)) == 2)
            floor.sell(101, 4999.0)
            await wait_until_async(lambda: trader.about(OrderUpdated, "y"))
            await settled(floor, body)
            other = body.account.find(ClientOrderId("y"))
            assert other is not None
            assert (other.quantity, other.status) == (2, S.ACCEPTED)
            assert body.account.table.worst_case(SYMBOL) == (2, 0)

    run(scenario)


def test_a_leg_that_the_exchange_refuses_ends_the_other(folder: Path) -> None:
    """The exchange refuses one of them, and takes the other off with it."""

    async def scenario() -> None:
        async with trading(quiet(folder)) as (floor, body, trader):
            floor.print_at(BID)
            # A stop to buy below the market has been reached before it is there.
            trader.oco(trader.command("x", price=4999.0), trader.command("y", trigger_price=4998.0))
            await wait_until_async(lambda: trader.of(OrderRejected))
            await settled(floor, body)
            assert body.account.table.open_count() == 0

    run(scenario)


def test_a_trailing_stop_is_moved_by_the_server_and_told(folder: Path) -> None:
    """It follows the trades up, never back; a change of ours keeps its distance; it closes the position in the end."""

    async def scenario() -> None:
        async with trading(quiet(folder)) as (floor, body, trader):
            trader.order("m")
            await wait_until_async(lambda: trader.about(OrderFilled, "m"))
            trader.order("s", side=Side.SELL, trigger_price=4995.0, trail_by_ticks=20, protective=True)
            await wait_until_async(lambda: trader.about(OrderAccepted, "s"))
            floor.print_at(5002.0)
            await wait_until_async(lambda: [m.trigger_price for m in trader.about(OrderUpdated, "s")][-1:] == [4997.0])
            trader.move("s", quantity=1)
            await wait_until_async(lambda: trader.about(OrderUpdated, "s")[-1].quantity == 1)
            floor.print_at(5004.0)
            await wait_until_async(lambda: trader.about(OrderUpdated, "s")[-1].trigger_price == 4999.0)
            floor.print_at(5003.0)
            floor.rest(True, 5, 4998.5)
            floor.print_at(4999.0)
            await wait_until_async(lambda: trader.about(OrderFilled, "s"))
            await settled(floor, body)
            assert body.account.ledger.quantity(ONE, SYMBOL) == 1

    run(scenario)


@pytest.mark.parametrize(
    ("order_type", "terms"),
    [
        (OrderType.LIMIT, {"price": 4990.0}),
        (OrderType.STOP_MARKET, {"trigger_price": 5010.0}),
        (OrderType.STOP_LIMIT, {"trigger_price": 5010.0, "price": 5011.0}),
        (OrderType.MARKET_IF_TOUCHED, {"trigger_price": 4990.0}),
        (OrderType.LIMIT_IF_TOUCHED, {"trigger_price": 4990.0, "price": 4991.0}),
    ],
)
@pytest.mark.parametrize("time_in_force", [TimeInForce.DAY, TimeInForce.GTC])
def test_orders_of_each_type_rest_at_the_exchange(
    folder: Path, order_type: OrderType, terms: dict[str, float], time_in_force: TimeInForce
) -> None:
    """With the prices and the duration that were asked for."""

    async def scenario() -> None:
        async with trading(quiet(folder)) as (floor, _, trader):
            floor.print_at(BID)
            trader.order("o", order_type=order_type, time_in_force=time_in_force, **terms)
            await wait_until_async(lambda: trader.about(OrderAccepted, "o"))
            (held,) = floor.orders().values()
            assert (held.terms.order_type, held.terms.time_in_force) == (order_type, time_in_force)
            assert (held.price, held.trigger_price) == (terms.get("price"), terms.get("trigger_price"))

    run(scenario)


@pytest.mark.parametrize(
    ("time_in_force", "price", "quantity", "filled"),
    [
        (TimeInForce.IOC, ASK, 40, 40),
        (TimeInForce.IOC, BID, 2, 0),
        (TimeInForce.FOK, ASK, 40, 40),
        (TimeInForce.FOK, 5000.0, 2, 0),
    ],
)
def test_immediate_orders_take_what_there_is(
    folder: Path, time_in_force: TimeInForce, price: float, quantity: int, filled: int
) -> None:
    """The rest of an IOC order, and all of a FOK order that cannot be filled whole, is canceled."""

    async def scenario() -> None:
        async with trading(quiet(folder)) as (floor, body, trader):
            trader.order("o", price=price, quantity=quantity, time_in_force=time_in_force)
            await wait_until_async(lambda: status_of(body, "o") in (S.FILLED, S.CANCELED))
            await settled(floor, body)
            assert body.account.ledger.quantity(ONE, SYMBOL) == filled

    run(scenario)


def test_an_entry_with_a_lease_ends_by_itself_and_its_protection_stays(folder: Path) -> None:
    """The exchange takes it off with nobody connected; the next process hears that its time was over."""

    async def scenario() -> None:
        run_of = quiet(folder, entry_lease_s=1.0)
        async with exchange(run_of) as server:
            floor = Floor(server)
            async with plant(run_of) as body, Holder(run_of) as trader:
                await wait_until_async(lambda: trader.permitted)
                floor.clear()
                trader.bracket("b")
                trader.order("e", price=4990.0)
                trader.order("p", side=Side.SELL, trigger_price=4985.0, protective=True)
                await wait_until_async(lambda: len(trader.of(OrderAccepted)) == 5)
                entry = body.account.find(ClientOrderId("e"))
                assert entry is not None
                assert entry.expire_ns % 10**9 == 0
            done = {order.terms.user_tag: order for order in floor.orders().values()}
            assert done["e"].terms.cancel_at_ns == entry.expire_ns
            assert done["p"].terms.cancel_at_ns is None

            def is_off() -> bool:
                return all(o.completion is not None for o in floor.orders().values() if o.terms.user_tag == "e")

            await wait_until_async(is_off)
            async with plant(run_of) as body, Holder(run_of) as trader:
                await settled(floor, body)
                assert status_of(body, "e") is S.EXPIRED
                assert {each: status_of(body, each) for each in ("b", "b-s1", "b-t1", "p")} == {
                    "b": S.FILLED,
                    "b-s1": S.ACCEPTED,
                    "b-t1": S.ACCEPTED,
                    "p": S.ACCEPTED,
                }

    run(scenario)


def test_the_end_of_a_lease_is_told_as_such(folder: Path) -> None:
    """To a strategy that is there; an OCO order of entries has one lease for both legs."""

    async def scenario() -> None:
        async with trading(quiet(folder, entry_lease_s=1.0)) as (floor, body, trader):
            trader.oco(trader.command("x", price=4990.0), trader.command("y", price=4991.0))
            trader.order("e", price=4992.0)
            await wait_until_async(lambda: len(trader.of(OrderAccepted)) == 3)
            await wait_until_async(lambda: trader.about(OrderExpired, "e"))
            await settled(floor, body)
            assert {status_of(body, each) for each in ("x", "y")} <= {S.EXPIRED, S.CANCELED}
            assert S.EXPIRED in {status_of(body, each) for each in ("x", "y")}

    run(scenario)
