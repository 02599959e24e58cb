"""The protection check in the order plant: proven in time, or placed again, or closed; told each time, over kills."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nightdesk.messages import OrderStatus, OrderType, Side, StrategyId, TimeInForce, TradingState
from nightdesk.settings.strategy_protection import StrategyProtection
from tests.calendar_support import at
from tests.order_plant_exchange import Exchange
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    answer,
    complete,
    filled,
    image,
    notice,
    opened,
    submit,
    turns,
    working,
)
from tests.risk_plant_support import alerts, begun, bought, kill, pass_time, play, quiet_trade, risk, time_of
from tests.support import wait_until_async

ONE = StrategyId("one")
REPLACE = {"required": True, "within_s": 2.0, "on_failure": "replace", "stop_ticks": 40}
FLATTEN = {"required": True, "within_s": 2.0, "on_failure": "flatten"}
STOP: dict[str, Any] = {
    "side": Side.SELL,
    "order_type": OrderType.STOP_MARKET,
    "price": None,
    "trigger_price": 4980.0,
    "protective": True,
    "time_in_force": TimeInForce.GTC,
}


def look(body: Plant, *seconds: float) -> None:
    """So much time passes, and after each of it the plant looks."""
    for each in seconds:
        pass_time(body, each)
        body.limits.look()


def placed(session: FakeSession) -> list[dict[str, Any]]:
    """The stops that the plant has sent by itself."""
    return [fields for fields in session.of(312) if fields["user_tag"].startswith("stop-")]


def exits(session: FakeSession) -> int:
    """How many closing orders have left."""
    return sum(fields["user_tag"].startswith("exit-") for fields in session.of(312))


def told(body: Plant) -> list[str]:
    """The alerts about protection, in their order."""
    return [
        each.event
        for each in body.context.alerts  # type: ignore[attr-defined]
        if each.event.startswith("protection_")
    ]


async def stopped(body: Plant, peer: FakePeer, epoch: int, tag: str = "stop", **changes: Any) -> None:
    """The strategy's own stop works at the exchange."""
    body.say(peer, submit(tag, epoch, **STOP | changes))
    await turns()
    quantity = changes.get("quantity", 2)
    totals = {"quantity": quantity, "total_unfilled_size": quantity, "price_type": 4, "orig_price_type": 4}
    fields = {"transaction_type": 2, "status": "trigger pending", "trigger_price": 4980.0}
    body.on_push(351, notice(351, 18, tag, f"b-{tag}", **totals, **fields))


def taken(body: Plant, fields: dict[str, Any]) -> None:
    """The exchange holds a stop that the plant has placed."""
    tag = fields["user_tag"]
    totals = {"quantity": fields["quantity"], "total_unfilled_size": fields["quantity"]}
    body.on_push(313, answer(313, user_tag=tag, basket_id=f"b-{tag}", rq_handler_rp_code=["0"]))
    body.on_push(351, notice(351, 18, tag, f"b-{tag}", transaction_type=2, status="trigger pending", **totals))


def rejected(body: Plant, tag: str) -> None:
    """The exchange refuses a stop."""
    body.on_push(313, answer(313, user_tag=tag, basket_id=f"b-{tag}", rq_handler_rp_code=["0"]))
    body.on_push(351, complete(tag, f"b-{tag}", "FA", 0, 2, transaction_type=2, report_text="wrong side"))


def test_position_with_its_stop_in_time_is_left_alone(tmp_path: Path) -> None:
    """Whole, at the exchange, within the time."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        look(body, 0.5, 1.4)
        await stopped(body, peer, epoch)
        look(body, 0.5, 60.0, 60.0)
        assert (told(body), placed(session), exits(session)) == ([], [], 0)

    play(tmp_path, scene, protection=REPLACE)


def test_missing_stop_is_placed_for_the_whole_position(tmp_path: Path) -> None:
    """Forty ticks from the average price, good till canceled, the strategy's own; told; and proven it is enough."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch, 5000.0)
        look(body, 0.5, 1.4)
        assert placed(session) == []
        look(body, 0.2)
        await turns()
        (fields,) = placed(session)
        assert (fields["transaction_type"], fields["price_type"], fields["quantity"]) == (2, 4, 2)
        assert (fields["trigger_price"], fields["duration"]) == (4990.0, 2)
        assert told(body) == ["protection_missing", "protection_placed"]
        order = body.account.table.get(fields["user_tag"])
        assert order is not None
        assert (order.strategy_id, order.protective) == (ONE, True)
        taken(body, fields)
        look(body, 1.0, 60.0)
        assert (len(placed(session)), exits(session), len(told(body))) == (1, 0, 2)

    play(tmp_path, scene, protection=REPLACE)


def test_partly_protected_position_gets_a_stop_for_the_rest(tmp_path: Path) -> None:
    """One of two has one."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        await stopped(body, peer, epoch, quantity=1)
        look(body, 1.0, 1.1)
        await turns()
        assert [fields["quantity"] for fields in placed(session)] == [1]

    play(tmp_path, scene, protection=REPLACE)


@pytest.mark.parametrize("how", ["rejected", "unproven", "beyond"])
def test_position_is_closed_where_no_stop_can_be_had(tmp_path: Path, how: str) -> None:
    """Refused, without the exchange's word for as long again, or the market is beyond its trigger already."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        quiet_trade(body, 4985.0 if how == "beyond" else 5000.0)
        if how == "beyond":
            Exchange(body, session).fills = True
        look(body, 1.0, 1.1)
        await turns()
        if how == "beyond":
            assert placed(session) == []
        else:
            (fields,) = placed(session)
            if how == "rejected":
                rejected(body, fields["user_tag"])
            else:
                # Its answer came, and nothing more: the gateway has it, and the exchange perhaps not.
                tag = fields["user_tag"]
                body.on_push(313, answer(313, user_tag=tag, basket_id="b-s", rq_handler_rp_code=["0"]))
                look(body, 1.0)
                assert exits(session) == 0
                look(body, 1.1)
                assert exits(session) == 0
                assert told(body)[-1] == "protection_failed"
                body.on_push(351, complete(tag, "b-s", "C", 0, 2, transaction_type=2))
        if how != "beyond":
            Exchange(body, session).fills = True
        look(body, 0.1)
        await wait_until_async(lambda: body.account.ledger.quantity(ONE, "ESH4") == 0)
        assert told(body)[-1] == "protection_failed"
        assert exits(session) == 1

    play(tmp_path, scene, protection=REPLACE)


def test_flatten_is_at_once_where_it_is_configured(tmp_path: Path) -> None:
    """No stop is tried."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        Exchange(body, session).fills = True
        look(body, 1.9)
        await turns()
        assert exits(session) == 0
        look(body, 0.2)
        await wait_until_async(lambda: body.account.ledger.quantity(ONE, "ESH4") == 0)
        assert (placed(session), told(body)) == ([], ["protection_missing", "protection_failed"])

    play(tmp_path, scene, protection=FLATTEN)


def test_stop_in_doubt_gets_no_second_one_beside_it(tmp_path: Path) -> None:
    """Two could turn the position over; a person is told that nothing can be done."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        body.say(peer, submit("stop", epoch, **STOP))
        await turns()
        look(body, 1.0, 1.1, 1.0)
        await turns()
        assert (placed(session), exits(session)) == ([], 0)
        (text,) = alerts(body, "protection_failed")
        assert "nothing can be done about it: stop stop is SUBMITTED; position 2" in text
        rejected(body, "stop")
        look(body, 0.1)
        await turns()
        assert len(placed(session)) == 1

    play(tmp_path, scene, protection=REPLACE)


def test_stop_that_the_strategy_takes_away_is_placed_again_and_told_again(tmp_path: Path) -> None:
    """At every moment, not only after an entry."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        await stopped(body, peer, epoch)
        look(body, 10.0)
        body.on_push(351, complete("stop", "b-stop", "C", 0, 2, transaction_type=2))
        look(body, 1.0, 1.1)
        await turns()
        assert len(placed(session)) == 1
        taken(body, placed(session)[0])
        look(body, 1.0)
        tag = placed(session)[0]["user_tag"]
        body.on_push(351, complete(tag, f"b-{tag}", "C", 0, 2, transaction_type=2))
        look(body, 1.0, 1.1)
        await turns()
        assert (len(placed(session)), told(body).count("protection_missing")) == (2, 2)

    play(tmp_path, scene, protection=REPLACE)


def test_clock_stands_while_the_market_does(tmp_path: Path) -> None:
    """A second is left at the close; it is left at the opening."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        look(body, 1.0)
        time_of(body).set(at("2024-02-27 16:10:00"))
        look(body, 60.0, 600.0)
        assert told(body) == []
        time_of(body).set(at("2024-02-27 17:00:00"))
        look(body, 0.9)
        assert told(body) == []
        look(body, 0.2)
        assert told(body) == ["protection_missing", "protection_placed"]

    play(tmp_path, scene, protection=REPLACE)


def test_killed_plant_goes_on_from_what_the_position_and_the_orders_say(tmp_path: Path) -> None:
    """Nothing is written down: the next process finds a position without a stop."""

    async def dies(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        look(body, 1.9)

    async def back(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        look(body, 1.0, 1.1)
        await turns()
        assert len(placed(session)) == 1

    play(tmp_path, dies, protection=REPLACE)
    play(tmp_path, back, protection=REPLACE)


def test_stop_of_before_the_kill_is_proven_by_the_brokers_list_alone(tmp_path: Path) -> None:
    """What the journal has of it is our own belief; a list that does not show it says that it is gone."""

    async def dies(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        await stopped(body, peer, epoch)

    async def back(shows: bool) -> list[str]:
        body = await begun(tmp_path, protection=REPLACE)
        stop = image("stop", "b-stop", "trigger pending")
        stop.transaction_type, stop.price_type, stop.orig_price_type = 2, 4, 4
        await body.link_up(orders=[stop] if shows else [])
        look(body, 1.0, 1.1)
        events = told(body)
        await kill(body)
        return events

    play(tmp_path, dies, protection=REPLACE)
    assert asyncio.run(back(shows=True)) == []
    assert asyncio.run(back(shows=False)) == ["protection_missing", "protection_placed"]


def test_halted_trading_keeps_its_word_and_somebody_is_told(tmp_path: Path) -> None:
    """No order leaves while trading is HALTED, this one neither; afterwards it does."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        body.account.set_trading_state(TradingState.HALTED, "test")
        look(body, 1.0, 1.1, 10.0)
        assert (placed(session), "trading is HALTED" in alerts(body, "protection_failed")[0]) == ([], True)
        body.account.set_trading_state(TradingState.ACTIVE, "test")
        look(body, 0.1)
        await turns()
        assert len(placed(session)) == 1

    play(tmp_path, scene, protection=REPLACE)


def test_position_that_is_being_closed_needs_no_stop(tmp_path: Path) -> None:
    """A flatten takes the protection away itself."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        Exchange(body, session)
        body.flattener.begin_strategy(ONE, "ESH4")
        await wait_until_async(lambda: exits(session) == 1)
        look(body, 1.0, 1.1, 10.0)
        assert (told(body), placed(session)) == ([], [])

    play(tmp_path, scene, protection=REPLACE)


def test_growing_position_has_the_time_for_each_of_its_stops(tmp_path: Path) -> None:
    """Each entry's stop comes a second later, and there is always one that is still missing."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch, tag="i0")
        for number in range(1, 5):
            await bought(body, peer, epoch, tag=f"i{number}")
            look(body, 0.6)
            await stopped(body, peer, epoch, f"s{number}")
            look(body, 0.9)
        assert told(body) == []

    play(tmp_path, scene, protection=REPLACE)


def test_large_position_is_protected_in_orders_of_the_allowed_size(tmp_path: Path) -> None:
    """The broker would refuse one that is larger."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        for number in range(3):
            await bought(body, peer, epoch, tag=f"i{number}")
        look(body, 1.0, 1.1)
        await turns()
        assert [fields["quantity"] for fields in placed(session)] == [4, 2]

    play(tmp_path, scene, risk(max_order_quantity=4), protection=REPLACE)


async def bracket(body: Plant, peer: FakePeer, epoch: int, *, tag: str = "entry") -> None:
    """An entry of a bracket is filled; the server has brought nothing yet."""
    await working(body, peer, epoch, tag, f"b-{tag}", stop_ticks=20, target_ticks=20)
    body.on_push(352, filled(tag, f"b-{tag}", f"f-{tag}", 2, 2, 0))
    body.on_push(351, complete(tag, f"b-{tag}", "F", 2, 0))


def brought(body: Plant, basket: str = "b-child") -> None:
    """The server's own stop of that bracket works."""
    fields = {
        "original_basket_id": "b-entry",
        "linked_basket_ids": f"{basket},b-other",
        "transaction_type": 2,
        "price_type": 4,
        "orig_price_type": 4,
        "price": 0.0,
        "trigger_price": 4995.0,
        "status": "trigger pending",
        "quantity": 2,
        "total_unfilled_size": 2,
    }
    body.on_push(351, notice(351, 18, "", basket, **fields))


def test_stop_of_a_bracket_counts_and_its_absence_is_mended_without_any_rule() -> None:
    """An entry that asks for a stop itself is checked by default; where the server brings none, it is placed."""

    async def served(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bracket(body, peer, epoch)
        look(body, 1.0)
        brought(body)
        look(body, 10.0, 10.0)
        assert told(body) == []

    async def forsaken(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bracket(body, peer, epoch)
        look(body, 4.9)
        assert told(body) == []
        look(body, 0.2)
        await turns()
        assert [fields["trigger_price"] for fields in placed(session)] == [4995.0]

    async def after_a_kill(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        look(body, 5.1)
        await turns()
        assert len(placed(session)) == 1

    with short_folders() as (first, second, third):
        play(first, served)
        play(second, forsaken)
        play(third, bracket_only)
        play(third, after_a_kill)


@contextmanager
def short_folders() -> Iterator[tuple[Path, ...]]:
    """Three whose paths are short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="nd-") as name:
        folders = tuple(Path(name) / number for number in "123")
        for folder in folders:
            folder.mkdir()
        yield folders


async def bracket_only(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
    """Filled, and the process dies."""
    await bracket(body, peer, epoch)


def test_bracket_whose_stop_was_there_and_was_taken_away_is_the_strategys_matter(tmp_path: Path) -> None:
    """Without required nobody else decides that a position needs a stop; with it the rule holds."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bracket(body, peer, epoch)
        brought(body)
        look(body, 1.0)
        child = next(order for order in body.account.table.open_orders() if order.parent_id)
        assert child.status is OrderStatus.ACCEPTED
        body.on_push(351, complete("", "b-child", "C", 0, 2, transaction_type=2, original_basket_id="b-entry"))
        look(body, 10.0, 10.0)
        assert told(body) == []

    play(tmp_path, scene)


def test_plain_entry_of_a_strategy_without_rules_is_left_alone(tmp_path: Path) -> None:
    """It asked for nothing."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        look(body, 60.0, 60.0)
        assert told(body) == []

    play(tmp_path, scene)


def test_replacement_needs_a_distance() -> None:
    """The complaint names what to add."""
    with pytest.raises(ValueError, match="on_failure: replace needs stop_ticks"):
        StrategyProtection(required=True)
    assert StrategyProtection(required=True, on_failure="flatten").within_s == 5.0


def test_opened_order_is_no_stop(tmp_path: Path) -> None:
    """A target beside the position is none of its protection."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        target = {"side": Side.SELL, "price": 5010.0, "protective": True}
        body.say(peer, submit("target", epoch, **target))
        await turns()
        body.on_push(351, opened("target", "b-t", transaction_type=2))
        look(body, 1.0, 1.1)
        assert told(body)[:1] == ["protection_missing"]

    play(tmp_path, scene, protection=REPLACE)
