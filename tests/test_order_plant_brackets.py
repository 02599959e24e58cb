"""Brackets in the order plant: exits are found to be ours whatever comes first, and whenever the process dies."""

import asyncio
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest

from actors.plants.journal import JournalWriteError
from actors.plants.journal_verify import verify
from actors.plants.order_held import STRAY_WAIT_S
from nightdesk.errors import LinkError
from nightdesk.messages import (
    ClientOrderId,
    Denial,
    ModifyBracket,
    ModifyOrder,
    OrderAccepted,
    OrderDenied,
    OrderFilled,
    OrderInitialized,
    OrderModifyRejected,
    OrderPendingUpdate,
    OrderStatus,
    OrderType,
    OrderUpdated,
    Side,
    StrategyId,
)
from nightdesk.rithmic.library import TEMPLATES
from nightdesk.rithmic.session import RequestRefused
from nightdesk.trading.order import Purpose
from tests.bracket_frames import (
    AT_THE_END,
    ENTRY,
    SECOND,
    STOP,
    TARGET,
    exit_complete,
    exit_fields,
    exit_filled,
    exit_open,
    image,
    life,
    lists_at_the_end,
)
from tests.order_plant_session_support import OPEN, alerts, begun, play
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    answer,
    complete,
    filled,
    notice,
    opened,
    submit,
    turns,
)
from tests.support import wait_until_async

ONE = StrategyId("one")
EXITS = {"stop_ticks": 40, "target_ticks": 20}
S = OrderStatus


async def sent(body: Plant, peer: FakePeer, epoch: int, name: str = "e1", **changes: Any) -> None:
    """A bracket for two is on its way."""
    body.say(peer, submit(name, epoch, **(EXITS | changes)))
    await turns()


async def resting(body: Plant, peer: FakePeer, epoch: int) -> None:
    """A bracket whose entry works."""
    await sent(body, peer, epoch)
    for template_id, message in life()[:2]:
        body.on_push(template_id, message)


def states(body: Plant) -> dict[str, OrderStatus]:
    """By id, of all orders that the journal knows."""
    return {order.client_order_id: order.status for order in body.journal.newest_orders(100)}


def is_over(body: Plant) -> None:
    """Each of the three orders is one row of its owner's, each execution counts once, and nobody is alarmed."""
    assert states(body) == AT_THE_END
    assert {each.fill_id for each in body.journal.newest_fills(100)} == {"f1", "f2", "f3", "f4"}
    assert len(body.journal.newest_fills(100)) == 4
    assert body.account.ledger.quantity(ONE, "ESH4") == 0
    assert {each.strategy_id for each in body.journal.newest_orders(100)} == {"one"}
    assert set(alerts(body)) <= {"order_in_doubt"}
    assert body.account.table.worst_case("ESH4") == (0, 0)
    found = verify(body.run.state_dir, ("one", "two"))
    assert found["sound"], [check for check in found["checks"] if check["violations"]]


def test_the_bracket_is_committed_with_its_terms_before_its_frame(tmp_path: Path) -> None:
    """One row, one frame, and no row yet for what it will bring."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        rows: list[Any] = []
        session.on_send = lambda template_id, fields: rows.append(body.journal.find_order(fields["user_tag"]))
        await sent(body, peer, epoch)
        ((template_id, fields),) = session.sent
        assert (template_id, fields["stop_ticks"], fields["target_ticks"]) == (330, 40, 20)
        assert (rows[0].stop_ticks, rows[0].target_ticks, rows[0].status) == (40, 20, S.INITIALIZED)
        assert list(states(body)) == ["e1"]

    play(tmp_path, OPEN, scene)


def test_each_frame_in_its_order_tells_the_strategy_of_its_exits(tmp_path: Path) -> None:
    """They come initialized with their entry's id, are accepted, grow, fill and end as any order does."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await sent(body, peer, epoch)
        for template_id, message in life():
            body.on_push(template_id, message)
        is_over(body)
        made = [event for event in peer.of(OrderInitialized) if event.parent_client_order_id]
        assert [(each.client_order_id, each.parent_client_order_id, each.protective) for each in made] == [
            ("e1-t1", "e1", True),
            ("e1-s1", "e1", True),
        ]
        assert [each.client_order_id for each in peer.of(OrderAccepted)] == ["e1", "e1-t1", "e1-s1"]
        assert [(each.client_order_id, each.quantity) for each in peer.of(OrderUpdated)] == [
            ("e1-t1", 2),
            ("e1-s1", 2),
            ("e1-s1", 1),
        ]
        assert [each.client_order_id for each in peer.of(OrderFilled)] == ["e1", "e1", "e1-t1", "e1-t1"]
        # Executions of an exit are asked for from the time on from which its entry's are.
        entry, target = (body.account.find(ClientOrderId(each)) for each in ("e1", "e1-t1"))
        assert entry is not None
        assert target is not None
        assert target.broker_ts_ns == entry.broker_ts_ns < SECOND * 10**9

    play(tmp_path, OPEN, scene)


@pytest.mark.parametrize("seed", range(40))
def test_any_order_of_the_frames_with_duplicates_ends_the_same(seed: int) -> None:
    """An exit before its entry's answer, its fill before its opening, its end before all: nobody is a stranger."""
    chance = random.Random(seed)
    frames = life()
    frames += chance.choices(frames, k=6)
    chance.shuffle(frames)

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await sent(body, peer, epoch)
        for template_id, message in frames:
            body.on_push(template_id, message)
        is_over(body)
        assert len(peer.of(OrderFilled)) == 4
        assert session.of(316) == session.of(314) == []

    with tempfile.TemporaryDirectory() as folder:
        play(Path(folder), OPEN, scene)


class Death:
    """Ends a process at its ``number``-th write, once it is made or before: nothing later is written or sent."""

    def __init__(self, body: Plant, number: int, *, is_written: bool) -> None:
        self.writes = 0
        self._body = body
        self._number, self._is_written = number, is_written
        for name in ("write_intent", "write_order"):
            setattr(body.journal, name, self._watched(getattr(body.journal, name)))

    @property
    def is_over(self) -> bool:
        return self.writes >= self._number

    def _watched(self, write: Any) -> Any:
        def watched(*arguments: Any, **named: Any) -> Any:
            if self._body.journal.failed:
                raise JournalWriteError("dead")
            self.writes += 1
            if self.writes == self._number and not self._is_written:
                self._body.journal.failed = True
                raise JournalWriteError("killed")
            result = write(*arguments, **named)
            self._body.journal.failed = self.writes >= self._number
            return result

        return watched


WRITES = 16
"""Of a whole life; more would be more prefixes to try."""


async def lived(folder: Path, number: int, *, is_written: bool) -> int:
    """The life of a bracket with a death at one of its writes, and the next process; how often the first one wrote."""
    body = await begun(folder, OPEN)
    session = await body.link_up()
    peer, welcome = body.hello()
    death = Death(body, number, is_written=is_written)
    await sent(body, peer, welcome.fencing_epoch)
    is_sent = bool(session.of(330))
    for template_id, message in life() if is_sent else ():
        if not death.is_over:
            body.on_push(template_id, message)
    await body.context.cancel_tasks()
    await body.stop()
    body = await begun(folder, OPEN)
    lists: dict[str, Any] = lists_at_the_end() if is_sent else {}
    await body.link_up(**lists)
    if is_sent:
        is_over(body)
        for template_id, message in life()[1:]:
            body.on_push(template_id, message)
        is_over(body)
    else:
        assert set(states(body).values()) <= {S.REJECTED}
    # And one more start finds everything settled.
    await body.stop()
    body = await begun(folder, OPEN)
    await body.link_up(**lists)
    assert body.account.table.open_count() == 0
    assert not is_sent or states(body) == AT_THE_END
    await body.stop()
    return death.writes


def test_a_life_without_a_death_writes_so_often() -> None:
    """The prefixes below are all of them."""
    with tempfile.TemporaryDirectory() as folder:
        assert asyncio.run(lived(Path(folder), 1000, is_written=True)) == WRITES


@pytest.mark.parametrize("number", range(1, WRITES + 1))
@pytest.mark.parametrize("is_written", [True, False], ids=["after", "before"])
def test_a_death_at_any_write_loses_and_doubles_nothing(number: int, is_written: bool) -> None:
    """The lists of the next process bring what is missing: one row for each order, one for each execution."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(lived(Path(folder), number, is_written=is_written))


def test_an_exit_of_an_unknown_entry_is_somebody_elses(tmp_path: Path) -> None:
    """Nobody here waits for an answer: it is a stranger at once, and so are its entry's other exits."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.on_push(351, exit_open(TARGET, 2, 1))
        assert states(body) == {"external-SIM-1-b2": S.ACCEPTED}
        assert alerts(body) == ["order_external"]

    play(tmp_path, OPEN, scene)


def test_exits_of_a_strangers_bracket_are_strangers(tmp_path: Path) -> None:
    """Their entry is known and not ours."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.on_push(351, opened("", ENTRY))
        body.on_push(351, exit_open(TARGET, 2, 1))
        assert set(states(body)) == {"external-SIM-1-b1", "external-SIM-1-b2"}
        assert {order.purpose for order in body.account.table} == {Purpose.EXTERNAL}

    play(tmp_path, OPEN, scene)


def test_an_exit_waits_for_the_answer_of_an_entry_and_no_longer(tmp_path: Path) -> None:
    """A lost answer: the broker's lists are asked, and when they have shown all, what is nobody's is a stranger's."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await sent(body, peer, epoch)
        body.on_push(351, exit_open(TARGET, 2, 1))
        assert list(states(body)) == ["e1"]
        session.lists[320] = [image(TARGET, "", 1, status="open", total_unfilled_size=2)]
        body.context.clock.advance(STRAY_WAIT_S + 0.1)  # type: ignore[attr-defined]
        body.account.held.sweep()
        assert body.account.reconciling
        body.on_push(331, answer(331, user_msg=["e1"], rp_code=["6", "no"]))
        await wait_until_async(lambda: not body.account.reconciling)
        assert states(body) == {"e1": S.REJECTED, "external-SIM-1-b2": S.ACCEPTED}

    play(tmp_path, OPEN, scene)


def test_an_exit_whose_entry_no_list_shows_is_somebody_elses(tmp_path: Path) -> None:
    """The entry in doubt counts as never received: its tombstone keeps nobody's report waiting."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        session.fail = LinkError("reset")
        await sent(body, peer, epoch)
        session.lists[320] = [image(TARGET, "", 1, status="open", total_unfilled_size=2)]
        await wait_until_async(lambda: not body.account.reconciling)
        assert states(body) == {"e1": S.REJECTED, "external-SIM-1-b2": S.ACCEPTED}
        assert body.account.ledger.quantity(ONE, "ESH4") == 0

    play(tmp_path, OPEN, scene)


def test_an_exit_that_carries_its_entrys_tag_is_an_exit_all_the_same(tmp_path: Path) -> None:
    """Captures show none; a server that copies it makes no second entry of it."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await resting(body, peer, epoch)
        message = exit_open(TARGET, 2, 3)
        message.user_tag = "e1"
        body.on_push(351, message)
        assert states(body) == {"e1": S.ACCEPTED, "e1-t1": S.ACCEPTED}

    play(tmp_path, OPEN, scene)


def test_a_report_that_names_an_entry_of_its_own_side_is_no_exit(tmp_path: Path) -> None:
    """An exit is of the other side and of the same contract."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await resting(body, peer, epoch)
        body.on_push(351, notice(351, 13, "", "x", status="open", **exit_fields(TARGET, transaction_type=1)))
        assert states(body) == {"e1": S.ACCEPTED, "external-SIM-1-x": S.ACCEPTED}

    play(tmp_path, OPEN, scene)


def test_a_second_exit_of_a_kind_gets_the_next_number(tmp_path: Path) -> None:
    """One that was canceled stays canceled; the server makes another with the entry's next fill."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await resting(body, peer, epoch)
        body.on_push(352, filled("e1", ENTRY, "f1", 1, 1, 1, ssboe=SECOND + 2))
        body.on_push(351, exit_open(STOP, 1, 3))
        body.on_push(351, exit_complete(STOP, "C", 0, 4))
        another = exit_open(STOP, 1, 5)
        another.basket_id = "b9"
        body.on_push(351, another)
        body.on_push(351, another)
        assert states(body) == {"e1": S.PARTIALLY_FILLED, "e1-s1": S.CANCELED, "e1-s2": S.ACCEPTED}

    play(tmp_path, OPEN, scene)


def test_exits_are_not_cut_before_the_server_has_had_the_time_to(tmp_path: Path) -> None:
    """A fill of one is taken from the other by the server; where it is not, we do."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await sent(body, peer, epoch)
        for template_id, message in life()[:10]:
            body.on_push(template_id, message)
        body.guard.look()
        assert body.account.ledger.quantity(ONE, "ESH4") == 1
        assert session.of(314) == []
        body.context.clock.advance(2.1)  # type: ignore[attr-defined]
        body.guard.look()
        await turns()
        assert [(each["basket_id"], each["quantity"]) for each in session.of(314)] == [(STOP, 1)]

    play(tmp_path, OPEN, scene)


def test_exits_are_not_cut_while_fills_are_missing(tmp_path: Path) -> None:
    """The entry is reported as filled and its executions have not come: what looks like too much is not."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await resting(body, peer, epoch)
        body.on_push(351, complete("e1", ENTRY, "F", 2, 0, ssboe=SECOND + 4))
        body.on_push(351, exit_open(STOP, 2, 5))
        body.guard.look()
        body.context.clock.advance(10.0)  # type: ignore[attr-defined]
        body.guard.look()
        await turns()
        assert session.of(316) == session.of(314) == []

    play(tmp_path, OPEN, scene)


def test_an_exit_that_comes_after_the_position_is_closed_is_canceled(tmp_path: Path) -> None:
    """A position that was flattened meanwhile: what would open another one does not stay."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await resting(body, peer, epoch)
        for index in (2, 5, 6):
            template_id, message = life()[index]
            body.on_push(template_id, message)
        body.say(peer, submit("out", epoch, side=Side.SELL, order_type=OrderType.MARKET, price=None))
        await turns()
        body.on_push(352, filled("out", "b7", "f9", 2, 2, 0, transaction_type=2))
        body.on_push(351, complete("out", "b7", "F", 2, 0, transaction_type=2))
        body.on_push(351, exit_open(STOP, 2, 9))
        body.guard.look()
        body.context.clock.advance(2.1)  # type: ignore[attr-defined]
        body.guard.look()
        await turns()
        assert [each["basket_id"] for each in session.of(316)] == [STOP]

    play(tmp_path, OPEN, scene)


def test_a_fill_of_an_exit_before_its_entrys_is_no_position_that_nobody_asked_for(tmp_path: Path) -> None:
    """For a moment our books are short: the entry's fills are on their way, and nobody is called."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await resting(body, peer, epoch)
        body.on_push(352, exit_filled(TARGET, "f3", 1, 1, 6))
        assert body.account.ledger.quantity(ONE, "ESH4") == -1
        assert alerts(body) == []

    play(tmp_path, OPEN, scene)


MOVES: dict[str, Any] = {"stop_ticks": 60, "target_ticks": 30}


def move(body: Plant, peer: FakePeer, epoch: int, name: str = "e1", **ticks: Any) -> None:
    about: dict[str, Any] = {"client_order_id": ClientOrderId(name), "strategy_id": ONE, "fencing_epoch": epoch}
    body.say(peer, ModifyBracket(**about, **ticks))


def moved(template_id: int, *codes: str) -> tuple[int, Any]:
    """333 or 335."""
    return template_id, answer(template_id, user_msg=["e1"], rp_code=list(codes) or ["0"])


def levels(stop_ticks: int, target_ticks: int) -> tuple[int, Any]:
    """353."""
    values = {"account_id": "SIM-1", "basket_id": ENTRY, "stop_ticks": stop_ticks, "target_ticks": target_ticks}
    return 353, TEMPLATES[353](template_id=353, **values)


@pytest.mark.parametrize(
    "pushes",
    [
        [moved(335), moved(333)],
        [levels(60, 20), moved(335), levels(60, 30), moved(333)],
        [moved(335), levels(60, 20), moved(333), levels(60, 30)],
        [levels(60, 20), levels(60, 20), levels(60, 30)],
    ],
)
def test_distances_are_sent_once_each_whatever_confirms_them(tmp_path: Path, pushes: list[tuple[int, Any]]) -> None:
    """By the answers, by the server's own reports, or both: first the stop, then the target, then it is told."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await resting(body, peer, epoch)
        move(body, peer, epoch, **MOVES)
        await turns()
        assert [(each["level"], each["stop_ticks"]) for each in session.of(334)] == [(40, 60)]
        assert session.of(332) == []
        for template_id, message in pushes:
            body.on_push(template_id, message)
            await turns()
        assert [(each["level"], each["target_ticks"]) for each in session.of(332)] == [(20, 30)]
        assert len(session.of(334)) == 1
        (told,) = peer.of(OrderUpdated)
        assert (told.stop_ticks, told.target_ticks) == (60, 30)
        kept = body.journal.find_order(ClientOrderId("e1"))
        assert kept is not None
        assert (kept.levels(), kept.status) == ((60, 30), S.ACCEPTED)

    play(tmp_path, OPEN, scene)


def test_a_refused_distance_leaves_what_was_moved_before(tmp_path: Path) -> None:
    """The stop has moved, the target has not; the strategy hears of both."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await resting(body, peer, epoch)
        move(body, peer, epoch, **MOVES)
        await turns()
        body.on_push(*moved(335))
        await turns()
        body.on_push(*moved(333, "6", "level 20 is not the bracket's present level"))
        (refused,) = peer.of(OrderModifyRejected)
        assert "present level" in refused.text
        order = body.account.find(ClientOrderId("e1"))
        assert order is not None
        assert (order.levels(), order.status, order.operation) == ((60, 20), S.ACCEPTED, None)

    play(tmp_path, OPEN, scene)


def test_a_change_that_comes_too_late_is_refused_by_its_report(tmp_path: Path) -> None:
    """The server takes it and says afterwards that it failed: the entry had filled."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await resting(body, peer, epoch)
        move(body, peer, epoch, stop_ticks=60)
        await turns()
        body.on_push(352, filled("e1", ENTRY, "f1", 1, 1, 1, ssboe=SECOND + 2))
        body.on_push(*moved(335))
        assert peer.of(OrderUpdated) == []
        failed = {"text": "The bracket order management system rejected request", "ssboe": SECOND + 3}
        body.on_push(351, notice(351, 16, "e1", ENTRY, **failed))
        (refused,) = peer.of(OrderModifyRejected)
        assert "rejected request" in refused.text
        order = body.account.find(ClientOrderId("e1"))
        assert order is not None
        assert (order.levels(), order.status) == ((40, 20), S.PARTIALLY_FILLED)

    play(tmp_path, OPEN, scene)


@pytest.mark.parametrize(
    ("shown", "told"), [("60", OrderUpdated), ("40", OrderModifyRejected), ("", OrderModifyRejected)]
)
def test_an_answer_that_is_lost_is_settled_by_the_servers_lists(tmp_path: Path, shown: str, told: type) -> None:
    """338 and 340 are asked for with the others; a bracket that they leave out was never changed."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await resting(body, peer, epoch)
        move(body, peer, epoch, stop_ticks=60)
        await turns()
        session.lists[320] = [image(ENTRY, "e1", 1, status="open", total_unfilled_size=2)]
        request = session.request

        async def answers(template_id: int, **fields: Any) -> list[Any]:
            rows = await request(template_id, **fields)
            return [TEMPLATES[341](basket_id=ENTRY, stop_ticks=shown)] if template_id == 340 and shown else rows

        session.request = answers  # type: ignore[method-assign]
        body.context.clock.advance(6.0)  # type: ignore[attr-defined]
        body.sender.sweep()
        await wait_until_async(lambda: not body.account.reconciling)
        assert len(peer.of(told)) == 1
        order = body.account.find(ClientOrderId("e1"))
        assert order is not None
        assert (order.stop_ticks, order.status) == (60 if shown == "60" else 40, S.ACCEPTED)
        assert len(session.of(334)) == 1

    play(tmp_path, OPEN, scene)


def test_a_gateway_without_lists_of_brackets_does_not_keep_trading_blocked(tmp_path: Path) -> None:
    """It refuses 340: the former distance is assumed, and would be refused as a key if it were wrong."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await resting(body, peer, epoch)
        move(body, peer, epoch, stop_ticks=60)
        await turns()
        session.lists[320] = [image(ENTRY, "e1", 1, status="open", total_unfilled_size=2)]
        request = session.request

        async def answers(template_id: int, **fields: Any) -> list[Any]:
            if template_id == 340:
                raise RequestRefused("1099", "unknown template")
            return await request(template_id, **fields)

        session.request = answers  # type: ignore[method-assign]
        body.context.clock.advance(6.0)  # type: ignore[attr-defined]
        body.sender.sweep()
        await wait_until_async(lambda: not body.account.reconciling)
        assert len(peer.of(OrderModifyRejected)) == 1

    play(tmp_path, OPEN, scene)


@pytest.mark.parametrize(
    ("ticks", "code"),
    [
        ({"stop_ticks": 0}, Denial.ORDER_INVALID),
        ({"stop_ticks": -5}, Denial.ORDER_INVALID),
        ({"target_ticks": 100_001}, Denial.ORDER_INVALID),
        ({"stop_ticks": 40}, Denial.ORDER_INVALID),
        ({}, Denial.ORDER_INVALID),
        ({"stop_ticks": 20_000}, Denial.ORDER_INVALID),
    ],
)
def test_the_gate_trusts_no_distance(tmp_path: Path, ticks: dict[str, Any], code: Denial) -> None:
    """Zeros, nonsense, what holds already, what would be below zero: refused, and nothing is sent."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await resting(body, peer, epoch)
        move(body, peer, epoch, **ticks)
        await turns()
        (refused,) = peer.of(OrderModifyRejected)
        assert refused.text.startswith(code)
        assert session.of(334) == session.of(332) == []
        assert peer.of(OrderPendingUpdate) == []

    play(tmp_path, OPEN, scene)


def test_distances_of_what_is_no_bracket_or_has_filled_are_refused(tmp_path: Path) -> None:
    """And those of another strategy's, and a second change while one is in flight."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await resting(body, peer, epoch)
        body.say(peer, submit("plain", epoch, price=4990.0))
        move(body, peer, epoch, "plain", stop_ticks=8)
        move(body, peer, epoch, "never", stop_ticks=8)
        move(body, peer, epoch, stop_ticks=8)
        move(body, peer, epoch, stop_ticks=9)
        await turns()
        body.on_push(*moved(335))
        body.on_push(352, filled("e1", ENTRY, "f1", 1, 1, 1, ssboe=SECOND + 2))
        move(body, peer, epoch, stop_ticks=10)
        codes = [event.text.partition(":")[0] for event in peer.of(OrderModifyRejected)]
        assert codes == ["ORDER_INVALID", "ORDER_UNKNOWN", "ORDER_OPERATION_IN_FLIGHT", "ORDER_NOT_WORKING"]

    play(tmp_path, OPEN, scene)


def test_a_brackets_entry_cannot_grow_beyond_its_exits(tmp_path: Path) -> None:
    """Their quantity was given with the entry's: what is more would be without a stop."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await resting(body, peer, epoch)
        about: dict[str, Any] = {"client_order_id": ClientOrderId("e1"), "strategy_id": ONE, "fencing_epoch": epoch}
        body.say(peer, ModifyOrder(**about, quantity=3))
        (refused,) = peer.of(OrderModifyRejected)
        assert refused.text.startswith("ORDER_INVALID: quantity 3, the bracket's exits are for 2")
        body.say(peer, ModifyOrder(**about, quantity=1))
        await turns()
        assert [each["quantity"] for each in session.of(314)] == [1]

    play(tmp_path, OPEN, scene)


@pytest.mark.parametrize(
    "changes",
    [
        {"stop_ticks": -1},
        {"target_ticks": 100_001},
        {"protective": True},
        {"trail_by_ticks": 4},
        {"stop_ticks": 20_000},
        {"order_type": OrderType.STOP_MARKET, "price": None, "trigger_price": 5010.0, "trail_by_ticks": 4},
        {"stop_ticks": 0, "target_ticks": 0, "trail_by_ticks": 4},
    ],
)
def test_the_gate_denies_brackets_that_make_no_sense(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Whatever process sends them: ORDER_INVALID, and nothing leaves."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await sent(body, peer, epoch, **changes)
        (denied,) = peer.of(OrderDenied)
        assert denied.code is Denial.ORDER_INVALID
        assert session.sent == []

    play(tmp_path, OPEN, scene)
