"""The light audit: the list of orders is looked at while trading goes on, and what differs is settled, then told."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from actors.plants.order_audit import MISMATCH_S
from actors.plants.order_list_audit import RECHECK_S
from nightdesk.errors import LinkError
from nightdesk.messages import AuditHello, BrokerPosition, BrokerSnapshotEnd, ChildId, StrategyId, TradingState
from nightdesk.rithmic import lists as wire
from nightdesk.settings.audit import Audit
from tests.calendar_support import at
from tests.order_plant_session_support import CLOSED, OPEN, alerts, time_of
from tests.order_plant_session_support import play as play_at
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    complete,
    configuration,
    filled,
    image,
    play,
    started,
    submit,
    turns,
    working,
)
from tests.support import wait_until_async

EVERY_S = 300.0
Scene = Callable[["Desk"], Awaitable[None]]


class Desk:
    """An order plant with an order working, whose lists are asked for when time passes."""

    def __init__(self, body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        self.body, self.session, self.peer, self.epoch = body, session, peer, epoch

    async def passes(self, seconds: float) -> None:
        """Time of this machine, and whatever is asked for in it is answered."""
        for _ in range(round(seconds)):
            self.body.context.clock.advance(1.0)  # type: ignore[attr-defined]
            self.body.audit.check()
            await turns(20)
            await wait_until_async(lambda: not self.body.account.reconciling)

    def lists(self) -> int:
        """How often the list of orders was asked for."""
        return len(self.session.asked(wire.SHOW_ORDERS))

    def replays(self) -> int:
        """How often a reconciliation asked for executions."""
        return len(self.session.asked(wire.REPLAY_EXECUTIONS))

    def shows(self, *images: Any) -> None:
        """From now on the broker's list has these."""
        self.session.lists[wire.SHOW_ORDERS] = list(images)

    def told(self) -> list[str]:
        """What somebody might be called for, but for the state, and for positions that nobody brings here."""
        return [name for name in alerts(self.body) if name not in ("trading_state_changed", "audit_stale")]


def watch(folder: Path, scene: Scene, **changes: Any) -> None:
    async def run(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        desk = Desk(body, session, peer, epoch)
        desk.shows(image("o1", "b1"))
        await scene(desk)

    play(folder, run, **changes)


def test_list_is_asked_for_every_five_minutes_and_nothing_is_blocked(tmp_path: Path) -> None:
    """Its images change nothing; while it is on its way orders pass."""

    async def scene(desk: Desk) -> None:
        known = desk.lists()
        await desk.passes(EVERY_S - 1)
        assert desk.lists() == known
        blocked: list[bool] = []
        desk.session.on_request = lambda template_id, fields: blocked.append(desk.body.account.reconciling)
        await desk.passes(2)
        assert (desk.lists(), blocked) == (known + 1, [False])
        await desk.passes(EVERY_S)
        assert desk.lists() == known + 2
        assert desk.told() == []

    watch(tmp_path, scene)


def test_nothing_is_asked_while_nothing_can_be_concluded(tmp_path: Path) -> None:
    """No market trades, or there is no link, or a reconciliation is under way."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        desk = Desk(body, session, peer, epoch)
        time_of(body).set(at(CLOSED))
        known = desk.lists()
        await desk.passes(2 * EVERY_S)
        assert desk.lists() == known
        time_of(body).set(at(OPEN))
        await desk.passes(1)
        assert desk.lists() == known + 1

    play_at(tmp_path, OPEN, scene)


def test_difference_in_one_list_is_looked_at_again_and_forgotten(tmp_path: Path) -> None:
    """It was a matter of timing: no reconciliation, no alert."""

    async def scene(desk: Desk) -> None:
        replays = desk.replays()
        desk.shows(image("o1", "b1"), image("", "x1"))
        await desk.passes(EVERY_S)
        desk.shows(image("o1", "b1"))
        await desk.passes(RECHECK_S)
        await desk.passes(EVERY_S)
        assert desk.replays() == replays
        assert desk.told() == []

    watch(tmp_path, scene)


def test_difference_in_two_lists_is_settled_by_a_reconciliation(tmp_path: Path) -> None:
    """A foreign order that no report has told of: adopted, and the next list agrees."""

    async def scene(desk: Desk) -> None:
        replays = desk.replays()
        desk.shows(image("o1", "b1"), image("", "x1"))
        await desk.passes(EVERY_S)
        assert desk.replays() == replays
        await desk.passes(RECHECK_S)
        assert desk.replays() == replays + 1
        assert desk.body.account.table.worst_case("ESH4") == (4, 0)
        for _ in range(4):
            await desk.passes(EVERY_S)
        assert desk.replays() == replays + 1
        assert desk.told() == ["order_external"]
        assert desk.body.account.trading_state is TradingState.ACTIVE

    watch(tmp_path, scene)


def test_end_that_no_report_told_of_is_found(tmp_path: Path) -> None:
    """The list shows our order as canceled: settled, and its strategy hears of it."""

    async def scene(desk: Desk) -> None:
        desk.shows(image("o1", "b1", "complete", 0, 2, notify_type=3))
        await desk.passes(EVERY_S)
        await desk.passes(RECHECK_S)
        assert desk.body.account.table.open_count() == 0
        assert desk.peer.kinds().count("OrderCanceled") == 1

    watch(tmp_path, scene)


def test_difference_that_a_reconciliation_does_not_settle_reduces_trading(tmp_path: Path) -> None:
    """One critical alert with the three numbers and the order; it stays REDUCING when the difference ends."""

    async def scene(desk: Desk) -> None:
        account = desk.body.account
        apply = desk.body.reconciler.judge.judge
        # Whatever the lists say, nothing of it is taken over: the difference lasts.
        desk.body.reconciler.judge.judge = lambda seen, policy, counts: []  # type: ignore[method-assign,misc]
        account.on_update = lambda update: None  # type: ignore[method-assign]
        desk.shows(image("o1", "b1"), image("", "x1", total=1, left=1))
        for seconds in (EVERY_S, RECHECK_S, RECHECK_S, RECHECK_S, EVERY_S):
            await desk.passes(seconds)
        # Nothing is taken over here, so that the cancels of REDUCING have no answer either.
        assert [event for event in desk.told() if event != "answer_overdue"] == ["orders_mismatch"]
        text = next(alert.text for alert in desk.body.context.alerts if alert.event == "orders_mismatch")  # type: ignore[attr-defined]
        assert "the journal says 0, the broker's list of orders 1, its positions unknown" in text
        assert "x1 is listed as OPEN and nobody here knows it" in text
        assert account.trading_state is TradingState.REDUCING
        desk.shows(image("o1", "b1"))
        await desk.passes(RECHECK_S)
        assert account.trading_state is TradingState.REDUCING
        desk.shows(image("o1", "b1"), image("", "x1", total=1, left=1))
        desk.body.reconciler.judge.judge = apply  # type: ignore[method-assign]

    watch(tmp_path, scene)


def test_answer_without_any_of_our_orders_or_without_an_end_says_nothing(tmp_path: Path) -> None:
    """An empty list is no list, and silence is none either: nothing is settled by them, and nobody is called."""

    async def scene(desk: Desk) -> None:
        replays = desk.replays()
        desk.shows()
        for _ in range(3):
            await desk.passes(EVERY_S)
        desk.session.refusals = {wire.SHOW_ORDERS: LinkError("no answer")}
        for _ in range(3):
            await desk.passes(EVERY_S)
        assert desk.replays() == replays
        assert desk.body.account.table.open_count() == 1
        assert desk.told() == []

    watch(tmp_path, scene)


def lasting_mismatch(folder: Path, on_mismatch: str) -> tuple[list[str], TradingState]:
    """The broker holds three contracts that nobody here knows: the texts of the alerts, and the state that follows."""
    texts: list[str] = []
    states: list[TradingState] = []

    async def run() -> None:
        audit = Audit.model_validate({"on_mismatch": on_mismatch})
        body = await started(configuration(folder, audit=audit))
        session = await body.link_up()
        peer, welcome = body.hello()
        desk, pnl = Desk(body, session, peer, welcome.fencing_epoch), FakePeer()

        def broker(quantity: int) -> None:
            fields = {"account_id": "SIM-1", "symbol": "ESH4", "exchange": "CME", "average_price": 1.0}
            position = BrokerPosition(**fields, quantity=quantity, ts_event_ns=1, is_snapshot=True)  # type: ignore[arg-type]
            body.audit.on_message(pnl, position)  # type: ignore[arg-type]
            body.audit.on_message(pnl, BrokerSnapshotEnd(account_id="SIM-1", ts_event_ns=1))  # type: ignore[arg-type]

        body.audit.on_message(pnl, AuditHello(child_id=ChildId("plants/pnl"), incarnation=1))  # type: ignore[arg-type]
        # A finished order of somebody else, one of whose fills is told by nothing but the list.
        desk.shows(image("", "x9", "complete", 1, 1, notify_type=3))
        await desk.passes(1)
        broker(3)
        for _ in range(5):
            await desk.passes(MISMATCH_S + 1)
        assert desk.told() == ["position_mismatch"]
        found = [alert for alert in body.context.alerts if alert.event == "position_mismatch"]  # type: ignore[attr-defined]
        texts.extend(alert.text for alert in found)
        states.append(body.account.trading_state)
        broker(0)
        await desk.passes(1)
        names = [alert.event for alert in body.context.alerts]  # type: ignore[attr-defined]
        assert names.count("position_mismatch_ended") == 1
        assert body.account.trading_state is states[0]
        body.say(peer, submit("o1", welcome.fencing_epoch))
        await turns()
        assert len(session.of(312)) == (states[0] is TradingState.ACTIVE)
        await body.stop()

    asyncio.run(run())
    return texts, states[0]


def test_lasting_mismatch_names_three_numbers_and_the_order_and_reduces(tmp_path: Path) -> None:
    """Ours, the list's, the broker's positions; entries are denied until the operator resumes."""
    texts, state = lasting_mismatch(tmp_path, "reduce")
    assert texts == [
        "ESH4: the journal says 0, the broker's list of orders 1, its positions 3; first order that differs: "
        "x9 is listed as COMPLETE_CANCELED and nobody here knows it"
    ]
    assert state is TradingState.REDUCING


def test_lasting_mismatch_is_only_told_where_that_is_configured(tmp_path: Path) -> None:
    """``audit.on_mismatch: alert``."""
    texts, state = lasting_mismatch(tmp_path, "alert")
    assert len(texts) == 1
    assert state is TradingState.ACTIVE


def test_mismatch_that_a_lost_report_explains_is_healed_and_not_told(tmp_path: Path) -> None:
    """The broker holds two, we none: a reconciliation finds the execution, and both agree."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        desk, pnl = Desk(body, session, peer, epoch), FakePeer()
        await working(body, peer, epoch)
        body.audit.on_message(pnl, AuditHello(child_id=ChildId("plants/pnl"), incarnation=1))  # type: ignore[arg-type]
        await desk.passes(1)
        fields = {"account_id": "SIM-1", "symbol": "ESH4", "exchange": "CME", "average_price": 1.0}
        position = BrokerPosition(**fields, quantity=2, ts_event_ns=1, is_snapshot=True)  # type: ignore[arg-type]
        body.audit.on_message(pnl, position)  # type: ignore[arg-type]
        body.audit.on_message(pnl, BrokerSnapshotEnd(account_id="SIM-1", ts_event_ns=1))  # type: ignore[arg-type]
        desk.shows(image("o1", "b1", "complete", 2, 0, notify_type=5))
        session.lists[3506] = [filled("o1", "b1", "f1", 2, 2, 0, is_snapshot=True)]
        for _ in range(3):
            await desk.passes(MISMATCH_S + 1)
        assert body.account.ledger.quantity(StrategyId("one"), "ESH4") == 2
        assert desk.told() == []
        assert body.account.trading_state is TradingState.ACTIVE
        body.on_push(351, complete("o1", "b1", "F", 2, 0))

    play(tmp_path, scenario)
