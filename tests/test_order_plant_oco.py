"""OCO orders in the order plant: two orders in one commit and one frame, bound and settled together."""

import asyncio
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from actors.plants.journal_verify import verify
from nightdesk.clocks import ManualClock, ManualTime
from nightdesk.errors import LinkError
from nightdesk.messages import (
    CancelOrder,
    ClientOrderId,
    Denial,
    Message,
    ModifyOrder,
    OrderCanceled,
    OrderDenied,
    OrderFilled,
    OrderInDoubt,
    OrderInitialized,
    OrderModifyRejected,
    OrderRejected,
    OrderStatus,
    OrderSubmitted,
    OrderType,
    Side,
    StrategyId,
    SubmitOco,
    SubmitOrder,
    TimeInForce,
)
from nightdesk.rithmic.session import NotSentError
from nightdesk.settings.models import Risk
from tests.calendar_support import at
from tests.fakes import FakeContext
from tests.order_plant_session_support import OPEN, alerts, begun, play
from tests.order_plant_support import (
    FAST,
    FakePeer,
    FakeSession,
    Plant,
    answer,
    complete,
    configuration,
    filled,
    image,
    notice,
    opened,
    submit,
    turns,
)
from tests.support import wait_until_async
from tests.test_order_plant_brackets import Death, states

ONE = StrategyId("one")
S = OrderStatus
SECOND = 1_700_000_000
LINKED = {"linked_basket_ids": "b1,b2"}


def legs(epoch: int, **changes: Any) -> tuple[SubmitOrder, SubmitOrder]:
    """Two of one side, one below the other."""
    own = [changes.pop(name, {}) for name in ("first", "second")]
    return (
        replace(submit("a", epoch, **changes), **own[0]),
        replace(submit("b", epoch, **({"price": 4990.0} | changes)), **own[1]),
    )


def oco(epoch: int, **changes: Any) -> Message:
    first, second = legs(epoch, **changes)
    return SubmitOco(strategy_id=ONE, fencing_epoch=epoch, first=first, second=second)


async def sent(body: Plant, peer: FakePeer, epoch: int, **changes: Any) -> None:
    body.say(peer, oco(epoch, **changes))
    await turns()


def answered(
    *codes: str, ids: tuple[str, ...] = ("a", "b"), baskets: tuple[str, ...] = ("b1", "b2")
) -> tuple[int, Any]:
    """329."""
    if codes:
        return 329, answer(329, user_msg=list(ids), rp_code=list(codes))
    return 329, answer(329, user_msg=list(ids), basket_id=list(baskets), rq_handler_rp_code=["0"])


def life() -> list[tuple[int, Any]]:
    """The first leg fills in two pieces; the second loses the first piece and is canceled with the other."""
    return [
        answered(),
        (351, opened("a", "b1", ssboe=SECOND + 1, **LINKED)),
        (351, opened("b", "b2", ssboe=SECOND + 1, price=4990.0, **LINKED)),
        (352, filled("a", "b1", "f1", 1, 1, 1, ssboe=SECOND + 2, **LINKED)),
        (352, notice(352, 2, "b", "b2", total_unfilled_size=1, price=4990.0, ssboe=SECOND + 3, text="t", **LINKED)),
        (352, filled("a", "b1", "f2", 1, 2, 0, ssboe=SECOND + 4, **LINKED)),
        (351, complete("a", "b1", "F", 2, 0, ssboe=SECOND + 4, **LINKED)),
        (352, notice(352, 3, "b", "b2", price=4990.0, ssboe=SECOND + 5, **LINKED)),
        (351, complete("b", "b2", "C", 0, 0, price=4990.0, ssboe=SECOND + 5, **LINKED)),
    ]


def untagged(frames: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """The same from a server that tags the first leg alone."""
    for _, message in frames:
        if getattr(message, "basket_id", "") == "b2":
            message.user_tag = ""
    return frames


AT_THE_END = {"a": S.FILLED, "b": S.CANCELED}


def is_over(body: Plant) -> None:
    assert states(body) == AT_THE_END
    assert sorted(each.fill_id for each in body.journal.newest_fills(10)) == ["f1", "f2"]
    assert body.account.ledger.quantity(ONE, "ESH4") == 2
    assert set(alerts(body)) <= {"order_in_doubt"}
    found = verify(body.run.state_dir, ("one", "two"))
    assert found["sound"], [check for check in found["checks"] if check["violations"]]


def test_both_legs_are_committed_at_once_and_sent_in_one_frame(tmp_path: Path) -> None:
    """When the frame leaves, both rows are there, each with the other's id; both are told."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        rows: list[Any] = []
        session.on_send = lambda template_id, fields: rows.extend(
            body.journal.find_order(each) for each in fields["user_tag"]
        )
        await sent(body, peer, epoch)
        ((template_id, fields),) = session.sent
        assert (template_id, fields["price"]) == (328, [5000.0, 4990.0])
        assert [(row.client_order_id, row.linked_id) for row in rows] == [("a", "b"), ("b", "a")]
        assert [event.linked_client_order_id for event in peer.of(OrderInitialized)] == ["b", "a"]
        assert [event.client_order_id for event in peer.of(OrderSubmitted)] == ["a", "b"]
        ids = [event.event_id for event in peer.of(OrderInitialized)]
        assert ids[1] > ids[0]

    play(tmp_path, OPEN, scene)


@pytest.mark.parametrize("tagged", [True, False], ids=["tagged", "first_tagged"])
@pytest.mark.parametrize("seed", range(15))
def test_any_order_of_the_frames_binds_each_leg(seed: int, tagged: bool) -> None:
    """By the answer's places, by tags, or by the ids that linked orders name each other with."""
    chance = random.Random(seed)
    frames = life() if tagged else untagged(life())
    frames += chance.choices(frames, k=4)
    chance.shuffle(frames)

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await sent(body, peer, epoch)
        for template_id, message in frames:
            body.on_push(template_id, message)
        is_over(body)
        assert len(peer.of(OrderFilled)) == 2

    with tempfile.TemporaryDirectory() as folder:
        play(Path(folder), OPEN, scene)


def test_a_leg_without_a_tag_is_bound_without_any_answer(tmp_path: Path) -> None:
    """The answer is lost: the tagged leg's report names the other one."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await sent(body, peer, epoch)
        for template_id, message in untagged(life())[1:]:
            body.on_push(template_id, message)
        is_over(body)

    play(tmp_path, OPEN, scene)


def test_an_untagged_leg_before_any_word_of_the_other_waits(tmp_path: Path) -> None:
    """Nobody knows yet whose it is; with the answer it is known, and nobody was alarmed."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await sent(body, peer, epoch)
        frames = untagged(life())
        body.on_push(*frames[2])
        assert set(states(body)) == {"a", "b"}
        body.on_push(*frames[0])
        assert states(body)["b"] is S.ACCEPTED
        assert alerts(body) == []

    play(tmp_path, OPEN, scene)


WRITES = 10


async def lived(folder: Path, number: int, *, is_written: bool, tagged: bool) -> int:
    """The life of an OCO order with a death at one of its writes, and the next process; how often the first wrote."""
    body = await begun(folder, OPEN)
    session = await body.link_up()
    peer, welcome = body.hello()
    death = Death(body, number, is_written=is_written)
    await sent(body, peer, welcome.fencing_epoch)
    is_sent = bool(session.of(328))
    frames = life() if tagged else untagged(life())
    for template_id, message in frames if is_sent else ():
        if not death.is_over:
            body.on_push(template_id, message)
    await body.context.cancel_tasks()
    await body.stop()
    images = [
        notice(352, 3, "b" * tagged, "b2", is_snapshot=True, status="complete", price=4990.0, **LINKED),
        image("a", "b1", "complete", 2, 0, notify_type=5),
    ]
    replay = [filled("a", "b1", f"f{n}", 1, n, 2 - n, is_snapshot=True, ssboe=SECOND + 2 * n) for n in (1, 2)]
    body = await begun(folder, OPEN)
    lists: dict[str, Any] = {"orders": images, "fills": replay} if is_sent else {}
    await body.link_up(**lists)
    if is_sent:
        is_over(body)
    else:
        assert set(states(body)) in (set(), {"a", "b"})
        assert set(states(body).values()) <= {S.REJECTED}
    await body.stop()
    return death.writes


def test_a_life_without_a_death_writes_so_often() -> None:
    """The prefixes below are all of them."""
    with tempfile.TemporaryDirectory() as folder:
        assert asyncio.run(lived(Path(folder), 1000, is_written=True, tagged=True)) == WRITES


@pytest.mark.parametrize("tagged", [True, False], ids=["tagged", "first_tagged"])
@pytest.mark.parametrize("number", range(1, WRITES + 1))
@pytest.mark.parametrize("is_written", [True, False], ids=["after", "before"])
def test_a_death_at_any_write_settles_both_legs(number: int, is_written: bool, tagged: bool) -> None:
    """Both are known or none, and each execution counts once."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(lived(Path(folder), number, is_written=is_written, tagged=tagged))


def test_a_failed_send_puts_both_in_doubt_and_neither_is_sent_again(tmp_path: Path) -> None:
    """The broker's lists settle each of them."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        session.fail = LinkError("reset")
        await sent(body, peer, epoch)
        assert [event.client_order_id for event in peer.of(OrderInDoubt)] == ["a", "b"]
        session.lists[320] = [image("b", "b2")]
        await wait_until_async(lambda: not body.account.reconciling)
        assert states(body) == {"a": S.REJECTED, "b": S.ACCEPTED}
        assert len(session.of(328)) == 1

    play(tmp_path, OPEN, scene)


def test_what_was_not_sent_is_denied_whole(tmp_path: Path) -> None:
    """Both legs, once each, and nothing is in doubt."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        session.fail = NotSentError("down")
        await sent(body, peer, epoch)
        denied = [(event.client_order_id, event.code) for event in peer.of(OrderDenied)]
        assert denied == [("a", Denial.STATE_DISCONNECTED), ("b", Denial.STATE_DISCONNECTED)]
        assert body.account.table.open_count() == 0

    play(tmp_path, OPEN, scene)


@pytest.mark.parametrize("ids", [("a", "b"), ("a",), ("b",)])
def test_a_refusal_is_of_both_whomever_it_names(tmp_path: Path, ids: tuple[str, ...]) -> None:
    """One frame, one answer."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await sent(body, peer, epoch)
        body.on_push(*answered("6", "bad input", ids=ids))
        assert {event.client_order_id: event.text for event in peer.of(OrderRejected)} == {
            "a": "bad input",
            "b": "bad input",
        }
        assert body.account.table.worst_case("ESH4") == (0, 0)

    play(tmp_path, OPEN, scene)


@pytest.mark.parametrize(
    "changes",
    [
        {"second": {"symbol": "NQH4"}},
        {"second": {"price": 5000.0}},
        {"second": {"order_type": OrderType.MARKET, "price": None}},
        {"first": {"time_in_force": TimeInForce.IOC}},
        {"second": {"stop_ticks": 8}},
        {"second": {"client_order_id": "a"}},
        {"first": {"quantity": 0}},
        {"second": {"trail_by_ticks": 8}},
    ],
)
def test_the_gate_denies_pairs_that_make_no_sense(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Both legs, with one code, whatever process sends them; nothing is kept as an order that was sent."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await sent(body, peer, epoch, **changes)
        assert [event.code for event in peer.of(OrderDenied)] == [Denial.ORDER_INVALID] * 2
        assert session.sent == []
        assert body.account.table.open_count() == 0

    play(tmp_path, OPEN, scene)


def test_a_leg_that_a_check_denies_keeps_both(tmp_path: Path) -> None:
    """An off-tick price of the second leg; a used id; an epoch of a former process."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await sent(body, peer, epoch, second={"price": 4990.1})
        await sent(body, peer, epoch)
        await sent(body, peer, epoch - 1)
        codes = [event.code for event in peer.of(OrderDenied)]
        assert codes == [Denial.PRICE_OFF_TICK] * 2 + [Denial.ORDER_DUPLICATE_ID] * 2 + [Denial.EPOCH_STALE] * 2
        assert session.sent == []

    play(tmp_path, OPEN, scene)


def test_names_and_epochs_inside_of_a_pair_count_for_nothing(tmp_path: Path) -> None:
    """The command's own are checked: no process sends an order for another one by way of a leg."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await sent(body, peer, epoch, strategy_id=StrategyId("two"))
        assert {order.strategy_id for order in body.account.table} == {"one"}

    play(tmp_path, OPEN, scene)


async def limited(folder: str, **limits: int) -> Plant:
    """A plant whose account has these limits, in a market that trades."""
    values: dict[str, Any] = {"max_order_quantity": 10, "max_position": 20, "max_open_orders": 20}
    risk = Risk(**(values | {"max_orders_per_second": 100} | limits))
    clock = ManualClock()
    config = configuration(Path(folder), risk=risk).to_json()
    body = Plant(FakeContext("plants/order", config, clock, market_time=ManualTime(clock, at(OPEN))))
    body.reconcile_policy = FAST
    await body.start()
    return body


@pytest.mark.parametrize(
    ("limits", "sides", "code"),
    [
        ({"max_position": 2}, (Side.BUY, Side.BUY), None),
        ({"max_position": 2}, (Side.BUY, Side.SELL), None),
        ({"max_position": 1}, (Side.BUY, Side.BUY), Denial.RISK_MAX_POSITION),
        ({"max_open_orders": 2}, (Side.BUY, Side.BUY), None),
        ({"max_open_orders": 1}, (Side.BUY, Side.BUY), Denial.RISK_MAX_OPEN_ORDERS),
        ({"max_orders_per_second": 2}, (Side.BUY, Side.BUY), None),
        ({"max_orders_per_second": 1}, (Side.BUY, Side.BUY), Denial.RISK_ORDER_RATE),
    ],
)
def test_a_pair_is_one_position_and_two_orders(
    limits: dict[str, int], sides: tuple[Side, Side], code: Denial | None
) -> None:
    """Of the limits on positions the larger leg counts, of those on orders both; at the boundary it passes."""

    async def scene() -> None:
        with tempfile.TemporaryDirectory() as folder:
            body = await limited(folder, **limits)
            session = await body.link_up()
            peer, welcome = body.hello()
            prices = {Side.BUY: 4990.0, Side.SELL: 5010.0}
            second = {"side": sides[1], "price": prices[sides[1]]}
            await sent(body, peer, welcome.fencing_epoch, first={"side": sides[0]}, second=second)
            assert [event.code for event in peer.of(OrderDenied)] == [code] * 2 * (code is not None)
            assert len(session.of(328)) == (code is None)
            await body.stop()

    asyncio.run(scene())


def test_a_pair_at_the_limit_leaves_room_for_nothing(tmp_path: Path) -> None:
    """One leg fills: then that much is held, and what the other one asked for is free again."""

    async def scene() -> None:
        with tempfile.TemporaryDirectory() as folder:
            body = await limited(folder, max_position=2)
            await body.link_up()
            peer, welcome = body.hello()
            epoch = welcome.fencing_epoch
            await sent(body, peer, epoch)
            body.say(peer, submit("more", epoch, quantity=1))
            assert [event.code for event in peer.of(OrderDenied)] == [Denial.RISK_MAX_POSITION]
            for template_id, message in life():
                body.on_push(template_id, message)
            body.say(peer, submit("again", epoch, quantity=1))
            assert [event.code for event in peer.of(OrderDenied)] == [Denial.RISK_MAX_POSITION] * 2
            body.say(peer, submit("out", epoch, quantity=2, side=Side.SELL))
            assert len(peer.of(OrderDenied)) == 2
            await body.stop()

    asyncio.run(scene())


def test_a_leg_at_the_limit_may_change_its_price(tmp_path: Path) -> None:
    """It asks for no more than before; a larger quantity does."""

    async def scene() -> None:
        with tempfile.TemporaryDirectory() as folder:
            body = await limited(folder, max_position=2)
            session = await body.link_up()
            peer, welcome = body.hello()
            epoch = welcome.fencing_epoch
            await sent(body, peer, epoch)
            for template_id, message in life()[:3]:
                body.on_push(template_id, message)
            about: dict[str, Any] = {"client_order_id": ClientOrderId("b"), "strategy_id": ONE, "fencing_epoch": epoch}
            body.say(peer, ModifyOrder(**about, quantity=3))
            body.say(peer, ModifyOrder(**about, price=4991.0))
            await turns()
            assert [event.text.partition(":")[0] for event in peer.of(OrderModifyRejected)] == ["RISK_MAX_POSITION"]
            assert [each["price"] for each in session.of(314)] == [4991.0]
            await body.stop()

    asyncio.run(scene())


def test_the_cancel_of_the_second_leg_waits_for_that_of_the_first(tmp_path: Path) -> None:
    """The server ends both; where it does not, the second cancel goes out all the same."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await sent(body, peer, epoch)
        for template_id, message in life()[:3]:
            body.on_push(template_id, message)
        for name in ("a", "b"):
            about: dict[str, Any] = {"client_order_id": ClientOrderId(name), "strategy_id": ONE, "fencing_epoch": epoch}
            body.say(peer, CancelOrder(**about))
        await turns()
        assert [each["basket_id"] for each in session.of(316)] == ["b1"]
        body.context.clock.advance(1.1)  # type: ignore[attr-defined]
        body.sender.sweep()
        await turns()
        assert [each["basket_id"] for each in session.of(316)] == ["b1", "b2"]
        body.on_push(351, complete("a", "b1", "C", 0, 0, **LINKED))
        body.on_push(351, complete("b", "b2", "C", 0, 0, **LINKED))
        assert [event.client_order_id for event in peer.of(OrderCanceled)] == ["a", "b"]

    play(tmp_path, OPEN, scene)


def test_a_link_that_the_server_could_not_make_is_counted_twice(tmp_path: Path) -> None:
    """Both orders work and neither cancels the other: the worst case says so from then on, after a restart, too."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await sent(body, peer, epoch)
        for template_id, message in life()[:3]:
            body.on_push(template_id, message)
        body.on_push(351, notice(351, 20, "a", "b1", text="link orders failed", ssboe=SECOND + 2))
        assert body.account.table.worst_case("ESH4") == (4, 0)
        kept = body.journal.find_order(ClientOrderId("a"))
        assert kept is not None
        assert kept.linked_id == ""

    play(tmp_path, OPEN, scene)
