"""The order plant when answers fail, links break and processes end: what is unknown is settled, never sent again."""

import asyncio
from pathlib import Path

from nightdesk.errors import LinkError
from nightdesk.messages import (
    AccountIdentity,
    AuditHello,
    BrokerPosition,
    BrokerSnapshotEnd,
    CancelOrder,
    ChildId,
    ClientOrderId,
    Denial,
    Flatten,
    ModifyOrder,
    OrderAccepted,
    OrderDenied,
    OrderFilled,
    OrderInDoubt,
    OrderRejected,
    OrderStatus,
    OrderUpdated,
    StrategyId,
    TradingPermissionChanged,
    TradingState,
)
from nightdesk.rithmic.session import NotSentError
from nightdesk.trading.ledger import ACCOUNT
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    configuration,
    filled,
    image,
    opened,
    play,
    started,
    submit,
    turns,
    working,
)
from tests.support import wait_until_async

ONE = StrategyId("one")


def test_a_failed_send_is_in_doubt_and_never_sent_again(tmp_path: Path) -> None:
    """Nobody knows whether the frame arrived: UNKNOWN, the gate closes, three lists later it is not found."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        session.fail = LinkError("reset")
        body.say(peer, submit("o1", epoch))
        await turns(1)
        await wait_until_async(lambda: peer.of(OrderInDoubt))
        body.say(peer, submit("o2", epoch))
        assert peer.of(OrderDenied)[0].code is Denial.STATE_RECONCILING
        assert not peer.of(TradingPermissionChanged)[0].permitted
        await wait_until_async(lambda: not body.account.reconciling)
        assert peer.of(OrderRejected)[0].text.startswith("NOT_FOUND")
        assert len(session.of(312)) == 1
        assert [template for template, _ in session.requests].count(320) == 1 + 3
        assert peer.of(TradingPermissionChanged)[-1].permitted

    play(tmp_path, scenario)


def test_a_frame_that_was_not_sent_is_denied(tmp_path: Path) -> None:
    """The session says that nothing left: the order is over at once and nothing is in doubt."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        session.fail = NotSentError("down")
        body.say(peer, submit("o1", epoch))
        await turns()
        assert peer.of(OrderDenied)[0].code is Denial.STATE_DISCONNECTED
        assert body.account.table.open_count() == 0

    play(tmp_path, scenario)


def test_an_answer_that_never_comes_puts_the_order_in_doubt(tmp_path: Path) -> None:
    """After the time-out the list shows it: adopted, not sent again."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("o1", epoch))
        await turns()
        session.lists[320] = [image("o1", "b1")]
        body.context.clock.advance(6.0)  # type: ignore[attr-defined]
        body.sender.sweep()
        assert len(peer.of(OrderInDoubt)) == 1
        await wait_until_async(lambda: not body.account.reconciling)
        assert [event.venue_order_id for event in peer.of(OrderAccepted)] == ["b1"]
        assert len(session.of(312)) == 1

    play(tmp_path, scenario)


def test_a_lost_link_denies_and_the_next_one_recovers_missed_fills_once(tmp_path: Path) -> None:
    """The fill that happened while we were away comes with the replay, twice in two lists, and counts once."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        body.link_down()
        body.say(peer, submit("o2", epoch))
        assert peer.of(OrderDenied)[0].code is Denial.STATE_DISCONNECTED
        done = image("o1", "b1", "complete", 2, 0, notify_type=5)
        replay = filled("o1", "b1", "f1", 2, 2, 0, is_snapshot=True)
        second = await body.link_up(orders=[done], fills=[replay, replay])
        assert second.of(312) == []
        assert len(peer.of(OrderFilled)) == 1
        assert body.account.ledger.quantity(ACCOUNT, "ESH4") == 2
        body.link_down()
        await body.link_up(orders=[done], fills=[replay])
        assert len(peer.of(OrderFilled)) == 1
        kinds = peer.kinds()
        assert kinds.count("ConnectionLost") == 2

    play(tmp_path, scenario)


def test_a_restart_settles_what_was_in_flight(tmp_path: Path) -> None:
    """A new process finds an intent without an answer: adopted when the broker shows it, a tombstone when not."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "o1", "b1")
        body.say(peer, submit("o2", epoch))
        body.say(peer, submit("o3", epoch))
        await turns()

    play(tmp_path, scenario)

    async def again() -> None:
        body = await started(configuration(tmp_path))
        assert body.account.table.counts[OrderStatus.UNKNOWN] == 2
        _, welcome = body.hello()
        assert not welcome.trading_permitted
        assert {order.client_order_id for order in welcome.orders} == {"o1", "o2", "o3"}
        session = await body.link_up(orders=[image("o1", "b1"), image("o2", "b2")])
        assert session.sent == []
        states = {order.client_order_id: order.status for order in body.account.table}
        assert states == {
            "o1": OrderStatus.ACCEPTED,
            "o2": OrderStatus.ACCEPTED,
            "o3": OrderStatus.REJECTED,
        }
        # The tombstone comes to life: its fill counts, its rest is canceled, the operator is told.
        body.on_push(351, opened("o3", "b3"))
        body.on_push(352, filled("o3", "b3", "f1", 1, 1, 1))
        await turns()
        assert [fields["basket_id"] for fields in session.of(316)] == ["b3"]
        assert body.account.ledger.quantity(ONE, "ESH4") == 1
        assert "order_resurrected" in {alert.event for alert in body.context.alerts}  # type: ignore[attr-defined]
        await body.stop()

    asyncio.run(again())


def test_a_list_that_fails_proves_nothing(tmp_path: Path) -> None:
    """While the broker is silent the gate stays closed and nothing is declared as not found."""

    async def run() -> None:
        body = await started(configuration(tmp_path))
        session = await body.link_up()
        peer, welcome = body.hello()
        await working(body, peer, welcome.fencing_epoch)
        body.link_down()
        session = await body.link_up(wait=False)
        session.fail_requests = LinkError("silence")
        await wait_until_async(lambda: len(session.requests) > 6)
        assert body.account.reconciling
        assert body.account.table.open_count() == 1
        body.context.clock.advance(11.0)  # type: ignore[attr-defined]
        await wait_until_async(
            lambda: "reconcile_unsettled" in {alert.event for alert in body.context.alerts}  # type: ignore[attr-defined]
        )
        await body.stop()

    asyncio.run(run())


def test_live_reports_wait_for_the_lists(tmp_path: Path) -> None:
    """A live report of an order that the list will show does not make it somebody else's."""

    async def run() -> None:
        body = await started(configuration(tmp_path))
        session = await body.link_up(wait=False)
        session.lists[320] = [image("foreign", "x1")]
        body.on_push(352, filled("", "x1", "f1", 1, 1, 1))
        await wait_until_async(lambda: not body.account.reconciling)
        assert body.account.ledger.quantity(StrategyId("external"), "ESH4") == 1
        assert body.account.table.worst_case("ESH4") == (1, 0)
        events = [alert.event for alert in body.context.alerts]  # type: ignore[attr-defined]
        assert events.count("order_external") == 1
        await body.stop()

    asyncio.run(run())


def test_an_exit_in_doubt_is_never_followed_by_a_second_one(tmp_path: Path) -> None:
    """The outcome of the first closing order decides; until then the answer is no."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "o1", "b1")
        body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
        session.fail = LinkError("reset")
        session.fail_requests = LinkError("silence")
        body.say(peer, Flatten(strategy_id=ONE, fencing_epoch=epoch))
        await wait_until_async(lambda: peer.of(OrderInDoubt))
        body.say(peer, Flatten(strategy_id=ONE, fencing_epoch=epoch))
        await wait_until_async(
            lambda: "flatten_incomplete" in {alert.event for alert in body.context.alerts}  # type: ignore[attr-defined]
        )
        assert len(session.of(312)) == 2

    play(tmp_path, scenario)


def test_a_journal_that_cannot_be_written_denies_and_lets_cancels_pass(tmp_path: Path) -> None:
    """The intent was not committed, so the frame is not sent; a known order can still be canceled."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        body.journal._connection.execute("PRAGMA query_only = 1")
        body.say(peer, submit("o2", epoch))
        await turns()
        assert peer.of(OrderDenied)[0].code is Denial.STATE_JOURNAL_FAILED
        assert len(session.of(312)) == 1
        body.say(peer, CancelOrder(client_order_id=ClientOrderId("o1"), strategy_id=ONE, fencing_epoch=epoch))
        await turns()
        assert len(session.of(316)) == 1
        events = [alert.event for alert in body.context.alerts]  # type: ignore[attr-defined]
        assert events.count("journal_failed") == 1

    play(tmp_path, scenario)


def test_an_overfill_is_booked_and_halts(tmp_path: Path) -> None:
    """More than was ordered is a position like any other, and an alarm."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
        body.on_push(352, filled("o1", "b1", "f2", 1, 3, 0))
        assert body.account.ledger.quantity(ONE, "ESH4") == 3
        assert body.account.trading_state is TradingState.HALTED

    play(tmp_path, scenario)


def test_a_position_that_differs_for_long_is_told_once(tmp_path: Path) -> None:
    """A short difference is a matter of timing; one that lasts is a critical alert, one per episode."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        def told() -> int:
            events = [alert.event for alert in body.context.alerts]  # type: ignore[attr-defined]
            return events.count("position_mismatch")

        def broker(quantity: int) -> None:
            position = BrokerPosition(
                account_id="SIM-1",
                symbol="ESH4",
                exchange="CME",
                quantity=quantity,
                average_price=5000.0,
                ts_event_ns=1,
                is_snapshot=True,
            )
            body.audit.on_message(pnl, position)  # type: ignore[arg-type]
            body.audit.on_message(pnl, BrokerSnapshotEnd(account_id="SIM-1", ts_event_ns=1))  # type: ignore[arg-type]

        async def pass_time(seconds: float) -> None:
            body.audit.check()
            body.context.clock.advance(seconds)  # type: ignore[attr-defined]
            body.audit.check()
            # A difference has a reconciliation settle it first.
            await wait_until_async(lambda: not body.account.reconciling)
            body.audit.check()

        pnl = FakePeer()
        body.audit.on_message(pnl, AuditHello(child_id=ChildId("plants/pnl"), incarnation=1))  # type: ignore[arg-type]
        assert pnl.of(AccountIdentity)[0].account_ids == ("SIM-1",)
        broker(3)
        await pass_time(4.0)
        assert told() == 0
        await pass_time(2.0)
        assert told() == 0
        await pass_time(6.0)
        await pass_time(60.0)
        assert told() == 1
        broker(0)
        await pass_time(60.0)
        broker(-1)
        await pass_time(6.0)
        await pass_time(6.0)
        assert told() == 2

    play(tmp_path, scenario)


def test_an_unreadable_report_is_dropped(tmp_path: Path) -> None:
    """A frame that names no order ends nothing and books nothing."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.on_push(352, filled("o1", "", "f1", 2, 2, 0))
        body.on_push(999, object())
        assert body.account.table.open_count() == 0

    play(tmp_path, scenario)


def test_a_change_in_flight_over_a_lost_link_is_settled_by_the_list(tmp_path: Path) -> None:
    """The list shows the new price: the change arrived, and it is told once; a cancel is sent again."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "o1", "b1")
        await working(body, peer, epoch, "o2", "b2")
        change = ModifyOrder(client_order_id=ClientOrderId("o1"), strategy_id=ONE, fencing_epoch=epoch, price=4999.75)
        body.say(peer, change)
        body.say(peer, CancelOrder(client_order_id=ClientOrderId("o2"), strategy_id=ONE, fencing_epoch=epoch))
        await turns()
        body.link_down()
        changed = image("o1", "b1")
        changed.price = 4999.75
        second = await body.link_up(orders=[changed, image("o2", "b2")])
        await turns()
        assert [(event.quantity, event.price) for event in peer.of(OrderUpdated)] == [(2, 4999.75)]
        assert second.of(314) == []
        assert [fields["basket_id"] for fields in second.of(316)] == ["b2"]

    play(tmp_path, scenario)
