"""The questions that settle orders: which are asked, in which order, and what an answer that is none leaves open."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.plants import order_lists
from nightdesk.errors import LinkError
from nightdesk.messages import (
    ClientOrderId,
    OrderAccepted,
    OrderFilled,
    OrderStatus,
    StrategyId,
)
from nightdesk.rithmic import lists as wire
from nightdesk.trading.ledger import ACCOUNT
from tests.order_plant_session_support import OPEN, begun
from tests.order_plant_support import (
    FAST,
    FakePeer,
    FakeSession,
    Plant,
    complete,
    configuration,
    filled,
    historic,
    image,
    play,
    started,
    submit,
    working,
)
from tests.support import wait_until_async

ONE = StrategyId("one")
EXTERNAL = StrategyId("external")
LISTS = (wire.SHOW_ORDERS, wire.SHOW_ORDERS_OF_DAY, wire.REPLAY_EXECUTIONS, wire.SHOW_FILLS)


def alerts(body: Plant, event: str) -> list[str]:
    """The texts of one kind of alert."""
    return [alert.text for alert in body.context.alerts if alert.event == event]  # type: ignore[attr-defined]


def lists_of(session: FakeSession) -> list[int]:
    return [template for template, _ in session.requests if template in LISTS]


async def doubtful(body: Plant, session: FakeSession, peer: FakePeer, epoch: int, *tags: str) -> None:
    """Orders whose frames may have left: the link breaks in the send."""
    session.fail = LinkError("reset")
    session.refusals = dict.fromkeys(LISTS, LinkError("silence"))
    for tag in tags:
        body.say(peer, submit(tag, epoch))
    await wait_until_async(lambda: body.account.table.counts[OrderStatus.UNKNOWN] == len(tags))
    body.link_down()


def test_questions_come_in_their_order_after_the_subscription(tmp_path: Path) -> None:
    """308, then the list, this trade date and the one before, the replay, the history: of the same span of time."""

    async def run() -> None:
        body = await begun(tmp_path, OPEN)
        body.reconciler._policy = msgspec.structs.replace(FAST, replay_everything=False)
        session = await body.link_up()
        asked = [template for template, _ in session.requests if template in (308, *LISTS)]
        assert asked == [308, 320, 324, 324, 3506, 3512]
        assert [fields["date"] for fields in session.asked(324)] == ["20240227", "20240226"]
        replay, history = session.asked(3506)[0], session.asked(3512)[0]
        span = ("start_index", "finish_index", "account_id")
        assert [replay[name] for name in span] == [history[name] for name in span]
        assert history["index_format"] == "ssboe"
        limits_s = {fields["timeout_s"] for template in LISTS for fields in session.asked(template)}
        assert limits_s == {10.0, 15.0}
        await body.stop()

    asyncio.run(run())


def test_replay_begins_a_minute_before_the_oldest_intent(tmp_path: Path) -> None:
    """Of the broker's time that was known when the oldest open order was made, not of ours."""
    oldest_s = 1_700_000_000

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "o1", "b1")
        body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
        body.on_push(351, complete("o1", "b1", "F", 2, 0))
        await working(body, peer, epoch, "o2", "b2")
        body.on_push(352, filled("o2", "b2", "f2", 1, 1, 1, ssboe=oldest_s + 5000))
        body.link_down()
        body.reconciler._policy = msgspec.structs.replace(FAST, replay_everything=False)
        second = await body.link_up(orders=[image("o2", "b2", total=1, left=1)])
        assert [fields["start_index"] for fields in second.asked(3506)] == [oldest_s - 60]
        assert [fields["start_index"] for fields in second.asked(3512)] == [oldest_s - 60]

    play(tmp_path, scenario)


def test_report_that_follows_the_subscription_at_once_waits_for_the_lists(tmp_path: Path) -> None:
    """It is buffered from before the answer to 308 on: the list makes its order known, and nobody is alarmed twice."""

    async def run() -> None:
        body = await started(configuration(tmp_path))
        seen: list[int] = []

        def report(template_id: int, fields: dict[str, Any]) -> None:
            if template_id == 308:
                body.on_push(352, filled("o1", "b1", "f1", 1, 1, 1))
            if template_id == 320:
                seen.append(body.account.ledger.quantity(ACCOUNT, "ESH4"))

        def prepare(session: FakeSession) -> None:
            session.on_request = report

        await body.link_up(prepare=prepare, orders=[image("", "b1", total=0, left=2)])
        assert seen == [0]
        assert body.account.ledger.quantity(EXTERNAL, "ESH4") == 1
        assert len(alerts(body, "order_external")) == 1
        await body.stop()

    asyncio.run(run())


def test_order_that_only_a_days_list_shows_is_adopted(tmp_path: Path) -> None:
    """The list of the session left it out; it is not asked for again, and not sent again."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await doubtful(body, session, peer, epoch, "o1")

        def prepare(session: FakeSession) -> None:
            session.lists[wire.SHOW_ORDERS_OF_DAY] = [image("o1", "b1")]

        second = await body.link_up(prepare=prepare)
        assert [event.venue_order_id for event in peer.of(OrderAccepted)] == ["b1"]
        assert lists_of(second) == [320, 324, 324, 3506, 3512]
        assert second.of(312) == []

    play(tmp_path, scenario)


def test_execution_that_only_the_history_has_is_booked_once_and_told(tmp_path: Path) -> None:
    """Its key is the replay's; the next reconciliation finds it in the books, and so does a live report of it."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        body.link_down()
        history = {3512: [historic("b1", "f1", 2)]}
        done = image("o1", "b1", "complete", 2, 0, notify_type=5)
        for _ in range(2):
            await body.link_up(prepare=lambda session: session.answers.update(history), orders=[done])
            body.link_down()
        await body.link_up(prepare=lambda session: session.answers.update(history), orders=[done])
        body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
        assert [event.fill_id for event in peer.of(OrderFilled)] == ["f1"]
        assert body.account.ledger.quantity(ONE, "ESH4") == 2
        assert len(alerts(body, "fills_found_in_history")) == 1
        assert "f1" in alerts(body, "fills_found_in_history")[0]

    play(tmp_path, scenario)


def test_execution_that_both_answers_have_is_no_news(tmp_path: Path) -> None:
    """The replay has booked it; the history's, and one of another account, change nothing."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        body.link_down()
        history = {3512: [historic("b1", "f1", 2), historic("z1", "f2", 5, account_id="SOMEBODY")]}
        await body.link_up(
            prepare=lambda session: session.answers.update(history),
            orders=[image("o1", "b1", "complete", 2, 0, notify_type=5)],
            fills=[filled("o1", "b1", "f1", 2, 2, 0, is_snapshot=True)],
        )
        assert body.account.ledger.quantity(ACCOUNT, "ESH4") == 2
        assert alerts(body, "fills_found_in_history") == []

    play(tmp_path, scenario)


def test_execution_of_a_stranger_waits_until_no_order_of_ours_is_in_doubt(tmp_path: Path) -> None:
    """The history names no tag: it may be the order that nobody has answered for. In the end it is external, once."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await doubtful(body, session, peer, epoch, "o1")
        body.reconciler._policy = msgspec.structs.replace(FAST, attempts=4)
        positions: list[int] = []

        def prepare(session: FakeSession) -> None:
            session.answers = {3512: [historic("x1", "f1", 1)]}
            session.on_request = lambda template_id, fields: (
                positions.append(body.account.ledger.quantity(ACCOUNT, "ESH4")) if template_id == 320 else None
            )

        await body.link_up(prepare=prepare)
        assert positions == [0, 0, 0, 0]
        assert body.account.ledger.quantity(EXTERNAL, "ESH4") == 1
        assert body.account.find(ClientOrderId("o1")).status is OrderStatus.REJECTED  # type: ignore[union-attr]

    play(tmp_path, scenario)


def test_history_that_fills_its_answer_is_asked_for_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that holds as many as fit says nothing of what comes after it; without an end it is not known whole."""
    monkeypatch.setattr(wire, "FILLS_MAX", 2)
    monkeypatch.setattr(order_lists, "FILL_PAGES_MAX", 3)
    at = 1_700_000_000

    async def run() -> None:
        body = await started(configuration(tmp_path))
        pages = [
            [historic("x1", "f1", 1, ssboe=at), historic("x1", "f2", 1, ssboe=at + 1)],
            [historic("x1", "f2", 1, ssboe=at + 1), historic("x1", "f3", 1, ssboe=at + 2)],
            [historic("x1", "f3", 1, ssboe=at + 2)],
        ]

        def turn(session: FakeSession) -> None:
            session.on_request = lambda template_id, fields: (
                session.answers.update({3512: pages.pop(0)}) if template_id == 3512 and pages else None
            )

        session = await body.link_up(prepare=turn)
        assert [fields["start_index"] for fields in session.asked(3512)] == [1, at + 1, at + 2]
        assert body.account.ledger.quantity(ACCOUNT, "ESH4") == 3
        body.link_down()
        endless = {3512: [historic("x1", f"g{number}", 1, ssboe=at + number) for number in range(2)]}
        session = await body.link_up(wait=False, prepare=lambda session: session.answers.update(endless))
        await wait_until_async(lambda: alerts(body, "reconcile_query_unserved"))
        await wait_until_async(lambda: not body.account.reconciling)
        await body.stop()

    asyncio.run(run())


def test_connection_epochs_only_grow_over_restarts(tmp_path: Path) -> None:
    """An intent names its connection; that of another process is never taken for this one's."""
    epochs: list[int] = []

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        epochs.append(body.account.connection_epoch)
        body.say(peer, submit(f"o{len(epochs)}", epoch))
        assert body.account.find(ClientOrderId(f"o{len(epochs)}")).connection_epoch == epochs[-1]  # type: ignore[union-attr]
        body.link_down()
        # Nothing stays open that could tell of it.
        await body.link_up(orders=[image(f"o{len(epochs)}", f"b{len(epochs)}", "complete", 0, 2, notify_type=3)])
        assert body.account.table.open_count() == 0
        epochs.append(body.account.connection_epoch)

    play(tmp_path, scenario)
    play(tmp_path, scenario)
    assert epochs == sorted(set(epochs))


def test_execution_of_before_the_replay_is_not_missed_though_a_list_shows_an_older_one(tmp_path: Path) -> None:
    """The list of orders shows an execution of the morning; nobody has asked for those between it and the replay."""
    at = 1_700_000_000
    times = {"f1": at + 1, "f2": at + 500, "f3": at + 1000, "f4": at + 1001}

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, quantity=4)
        for number, (fill_id, ssboe) in enumerate(times.items(), 1):
            body.on_push(352, filled("o1", "b1", fill_id, 1, number, 4 - number, ssboe=ssboe))
        shown = filled("o1", "b1", "f1", 1, 1, 3, ssboe=times["f1"], is_snapshot=True)
        known = [historic("b1", fill_id, 1, ssboe=times[fill_id]) for fill_id in ("f3", "f4")]
        body.link_down()
        body.reconciler._policy = msgspec.structs.replace(FAST, replay_everything=False)
        second = await body.link_up(prepare=lambda session: session.answers.update({3512: known}), orders=[shown])
        assert [fields["start_index"] for fields in second.asked(3506)] == [times["f4"] - 60]
        assert alerts(body, "fills_unknown_to_broker") == []

    play(tmp_path, scenario)


def test_execution_in_the_books_that_the_broker_does_not_tell_of_is_told(tmp_path: Path) -> None:
    """It lies between others that both have; what is older or newer than all of them says nothing."""
    at = 1_700_000_000

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, quantity=5)
        frames = [filled("o1", "b1", f"f{number}", 1, number, 5 - number, ssboe=at + number) for number in range(1, 6)]
        for frame in frames:
            body.on_push(352, frame)
        known = [historic("b1", f"f{number}", 1, ssboe=at + number) for number in (2, 4)]
        for _ in range(2):
            body.link_down()
            await body.link_up(prepare=lambda session: session.answers.update({3512: known}))
        assert len(alerts(body, "fills_unknown_to_broker")) == 1
        assert "(f3)" in alerts(body, "fills_unknown_to_broker")[0]
        assert "1 executions" in alerts(body, "fills_unknown_to_broker")[0]
        assert body.account.ledger.quantity(ACCOUNT, "ESH4") == 5

    play(tmp_path, scenario)
