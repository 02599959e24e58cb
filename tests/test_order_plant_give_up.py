"""What an order plant leaves behind that is stopped because the system gives up."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from actors.plants import last_actions
from actors.plants.journal import Journal
from nightdesk.messages import (
    Denial,
    OrderDenied,
    Severity,
)
from nightdesk.trading.ledger import ACCOUNT
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    complete,
    configuration,
    filled,
    image,
    opened,
    started,
    submit,
    working,
)
from tests.test_order_plant_last_will import Scene, canceled, holding, play


def give_up(folder: Path, action: str, scene: Scene) -> Plant:
    """Play a scene and stop the plant as a supervisor does that gives up."""
    found: list[Plant] = []

    async def run(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        found.append(body)
        await scene(body, session, peer, epoch)
        body.stop_reason = "gave_up"
        body.stop_deadline_s = 2.0

    play(folder, run, on_system_give_up=action)
    return found[0]


def _completing(body: Plant, session: FakeSession) -> None:
    """An exchange that confirms each cancel and fills each closing order."""

    def on_send(template_id: int, fields: dict[str, Any]) -> None:
        later = asyncio.get_running_loop().call_soon
        if template_id == 316:
            basket = fields["basket_id"]
            side = 2 if basket == "b3" else 1
            later(body.on_push, 351, complete(fields["user_msg"], basket, "C", 0, 2, transaction_type=side))
        elif template_id == 312:
            tag = fields["user_tag"]
            later(body.on_push, 352, filled(tag, "b9", "f9", 2, 2, 0, transaction_type=2))

    session.on_send = on_send


@pytest.mark.parametrize(
    ("action", "gone", "position"), [("keep", [], 2), ("cancel", ["b2"], 2), ("flatten", ["b2", "b3"], 0)]
)
def test_a_system_that_gives_up_leaves_what_was_configured(
    tmp_path: Path, action: str, gone: list[str], position: int
) -> None:
    """Working entries canceled, or everything closed, before the plant logs out; and the journal knows it."""
    sessions: list[FakeSession] = []

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        _completing(body, session)
        sessions.append(session)

    body = give_up(tmp_path, action, scene)
    assert sorted(canceled(sessions[0])) == gone
    assert body.account.ledger.quantity(ACCOUNT, "ESH4") == position
    assert [alert.event for alert in body.context.alerts].count("last_actions") == 1  # type: ignore[attr-defined]

    async def again() -> None:
        after = await started(configuration(tmp_path))
        assert not after.journal.gave_up_done(), "a new run takes it back"
        await after.stop()

    assert _was_done(tmp_path)
    asyncio.run(again())
    assert not _was_done(tmp_path)


def _was_done(folder: Path) -> bool:
    journal = Journal.open(str(folder / "state"), system_name="Nightdesk Simulator", durability="process")
    try:
        return journal.gave_up_done()
    finally:
        journal.close()


def test_last_actions_that_could_not_be_done_say_so(tmp_path: Path) -> None:
    """No link, or no answer: a critical line and alert, and no note in the journal."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        body.link_down()

    body = give_up(tmp_path, "cancel", scene)
    told = [alert for alert in body.context.alerts if alert.event == "last_actions"]  # type: ignore[attr-defined]
    assert [alert.severity for alert in told] == [Severity.CRITICAL]
    assert "NOT done" in told[0].text
    assert not _was_done(tmp_path)


def test_an_ordinary_stop_cancels_nothing(tmp_path: Path) -> None:
    """Stopping, restarting or upgrading leaves orders to work; they are adopted by the next start."""
    sessions: list[FakeSession] = []

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        body.stop_reason = "operator"
        sessions.append(session)

    play(tmp_path, scene, on_system_give_up="flatten")
    assert sessions[0].of(316) == []


def test_no_order_is_opened_during_the_last_actions(tmp_path: Path) -> None:
    """Strategies may still be running when the plants' branch gives up: their orders are denied."""
    peers: list[FakePeer] = []

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "o1", "b1")
        peers.append(peer)
        asyncio.get_running_loop().call_later(0.1, body.say, peer, submit("o2", epoch))

    give_up(tmp_path, "cancel", scene)
    assert [event.code for event in peers[0].of(OrderDenied)] == [Denial.STATE_RECONCILING]


def test_a_list_that_shows_an_entry_again_is_canceled_before_the_end(tmp_path: Path) -> None:
    """An order plant that is still reconciling when the system gives up finishes that first."""
    sessions: list[FakeSession] = []

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "o1", "b1")
        body.link_down()
        second = await body.link_up(orders=[image("o1", "b1")], wait=False)
        _completing(body, second)
        sessions.append(second)
        body.on_push(351, opened("o1", "b1"))

    give_up(tmp_path, "cancel", scene)
    assert set(canceled(sessions[0])) == {"b1"}
    assert _was_done(tmp_path)


@pytest.mark.parametrize(
    ("action", "protective", "filled_quantity", "expected"),
    [
        ("cancel", True, 0, True),
        ("cancel", False, 0, False),
        ("flatten", True, 0, False),
        ("flatten", None, 2, False),
        ("cancel", None, 2, True),
    ],
)
def test_after_the_end_the_journal_says_whether_anything_is_left(
    tmp_path: Path, action: str, protective: bool | None, filled_quantity: int, expected: bool
) -> None:
    """A new order plant is not started for nothing; with the exchange gone, what is left cannot be done."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        if protective is not None:
            await working(body, peer, epoch, "o1", "b1", protective=protective)
        if filled_quantity:
            await working(body, peer, epoch, "o2", "b2")
            body.on_push(352, filled("o2", "b2", "f1", 2, 2, 0))

    play(tmp_path, scene)
    run = configuration(tmp_path, on_system_give_up=action)
    assert asyncio.run(last_actions.act(run)) is expected


def test_the_closing_word_is_not_done_where_the_journal_cannot_be_used(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The process of the last actions ends with an error of its own, and the runner says what that means."""
    run = configuration(tmp_path)
    (tmp_path / "state" / "journal.db").write_bytes(b"no journal" * 1000)
    assert last_actions.after_give_up(run, "json") == "not_done"
    out = capfd.readouterr().out
    assert "last_actions_failed" in out
    assert "the journal is damaged" in out
    assert last_actions.after_give_up(configuration(tmp_path, on_system_give_up="keep"), "json") == "keep"
