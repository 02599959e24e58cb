"""The order plant's body over a scripted session: what is sent, when, how often, and what its strategy hears."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from nightdesk.errors import ConfigurationError, LinkError
from nightdesk.messages import (
    AccountIdentity,
    AccountStatus,
    CancelAllOrders,
    CancelOrder,
    ChildId,
    ClientOrderId,
    CommandResult,
    Denial,
    Flatten,
    ModifyOrder,
    OperatorFlatten,
    OrderAccepted,
    OrderCanceled,
    OrderCancelRejected,
    OrderDenied,
    OrderFilled,
    OrderInDoubt,
    OrderModifyRejected,
    OrderRejected,
    OrderReport,
    OrderStatus,
    OrderType,
    OrderUpdated,
    PauseChanged,
    PauseStrategy,
    PlantStatus,
    PositionReport,
    QueryOrder,
    QueryStatus,
    ResumeStrategy,
    SetTradingState,
    Side,
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
    answer,
    complete,
    configuration,
    filled,
    image,
    notice,
    opened,
    started,
    submit,
    turns,
)
from tests.support import wait_until_async

ONE = StrategyId("one")
CONSOLE = ChildId("services/control")
Scenario = Callable[[Plant, FakeSession, FakePeer, int], Awaitable[None]]


def play(folder: Path, scenario: Scenario, **changes: Any) -> None:
    """A plant that is connected and reconciled, and strategy ``one`` on its lane."""

    async def run() -> None:
        body = await started(configuration(folder, **changes))
        session = await body.link_up()
        peer, welcome = body.hello()
        assert welcome.trading_permitted
        await scenario(body, session, peer, welcome.fencing_epoch)
        await body.stop()
        assert body.context.crashed is None  # type: ignore[attr-defined]

    asyncio.run(run())


async def working(body: Plant, peer: FakePeer, epoch: int, tag: str = "o1", basket: str = "b1", **changes: Any) -> None:
    """An order of two that the exchange holds."""
    body.say(peer, submit(tag, epoch, **changes))
    await turns()
    body.on_push(313, answer(313, user_tag=tag, basket_id=basket, rq_handler_rp_code=["0"]))
    side = 2 if changes.get("side") is Side.SELL else 1
    body.on_push(351, opened(tag, basket, transaction_type=side))


def test_the_intent_is_committed_before_the_frame_is_sent(tmp_path: Path) -> None:
    """At the moment of the send another reader of the journal sees the order."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        seen: list[bool] = []
        session.on_send = lambda template_id, fields: seen.append(body.journal.has_order(fields["user_tag"]))
        body.say(peer, submit("o1", epoch))
        await turns()
        assert seen == [True]
        fields = session.of(312)[0]
        assert (fields["user_tag"], fields["manual_or_auto"], fields["trade_route"]) == ("o1", 2, "simulator")
        assert peer.kinds() == ["OrderInitialized", "OrderSubmitted"]

    play(tmp_path, scenario)


def test_an_order_lives_from_acceptance_to_fill(tmp_path: Path) -> None:
    """Accepted, filled in two parts, each with a position; the completion says nothing new."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        body.on_push(352, filled("o1", "b1", "f1", 1, 1, 1))
        body.on_push(352, filled("o1", "b1", "f2", 1, 2, 0))
        body.on_push(351, complete("o1", "b1", "F", 2, 0))
        fills = peer.of(OrderFilled)
        assert [(fill.filled_quantity, fill.leaves_quantity) for fill in fills] == [(1, 1), (2, 0)]
        assert [report.quantity for report in peer.of(PositionReport)] == [1, 2]
        assert fills[0].commission == 2.25
        ids = [event.event_id for event in peer.got if hasattr(event, "event_id")]
        assert ids == sorted(set(ids))
        assert [alert.event for alert in body.context.alerts].count("execution_fill") == 2  # type: ignore[attr-defined]

    play(tmp_path, scenario)


def test_reports_may_overtake_the_answer_and_come_twice(tmp_path: Path) -> None:
    """351 before 313, every frame doubled: one acceptance, one fill."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("o1", epoch))
        await turns()
        fill = filled("o1", "b1", "f1", 2, 2, 0)
        done = complete("o1", "b1", "F", 2, 0)
        for frame in (opened("o1", "b1"), opened("o1", "b1"), done, fill, fill, done):
            body.on_push(frame.template_id, frame)
        body.on_push(313, answer(313, user_tag="o1", basket_id="b1", rq_handler_rp_code=["0"]))
        assert (len(peer.of(OrderAccepted)), len(peer.of(OrderFilled))) == (1, 1)
        assert body.account.ledger.quantity(ONE, "ESH4") == 2
        assert body.account.table.worst_case("ESH4") == (0, 0)

    play(tmp_path, scenario)


def test_a_refusal_after_the_answer_is_a_rejection(tmp_path: Path) -> None:
    """313 says yes, then 351 complete FA: the order is rejected with the broker's text."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("o1", epoch))
        await turns()
        body.on_push(313, answer(313, user_tag="o1", basket_id="b1", rq_handler_rp_code=["0"]))
        body.on_push(351, complete("o1", "b1", "FA", 0, 2, report_text="Rejected at RMS - no margin"))
        assert peer.of(OrderRejected)[0].text == "Rejected at RMS - no margin"

    play(tmp_path, scenario)


def test_a_synchronous_refusal_is_a_rejection(tmp_path: Path) -> None:
    """313 with an error and only our user_msg ends the order."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("o1", epoch))
        await turns()
        body.on_push(313, answer(313, user_msg=["o1"], rp_code=["1051", "Trade route field is not received."]))
        assert peer.of(OrderRejected)[0].text == "Trade route field is not received."

    play(tmp_path, scenario)


def test_a_fill_may_win_against_the_cancel(tmp_path: Path) -> None:
    """The cancel is refused because the order filled; the strategy hears both and the exposure is gone."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        cancel = CancelOrder(client_order_id=ClientOrderId("o1"), strategy_id=ONE, fencing_epoch=epoch)
        body.say(peer, cancel)
        body.say(peer, cancel)
        await turns()
        assert len(session.of(316)) == 1
        body.on_push(317, answer(317, user_msg=["o1"], rp_code=["1", "already filled"]))
        body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
        assert (len(peer.of(OrderCancelRejected)), len(peer.of(OrderFilled))) == (1, 1)

    play(tmp_path, scenario)


def test_a_cancel_before_the_brokers_id_waits_for_it(tmp_path: Path) -> None:
    """One operation in flight per order: the cancel leaves when the new order was answered."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("o1", epoch))
        await turns()
        body.say(peer, CancelAllOrders(strategy_id=ONE, fencing_epoch=epoch))
        await turns()
        assert session.of(316) == []
        body.on_push(313, answer(313, user_tag="o1", basket_id="b1", rq_handler_rp_code=["0"]))
        await turns()
        assert [fields["basket_id"] for fields in session.of(316)] == ["b1"]
        body.on_push(351, complete("o1", "b1", "C", 0, 2))
        assert len(peer.of(OrderCanceled)) == 1

    play(tmp_path, scenario)


def test_a_change_sends_the_whole_order_and_is_told_once(tmp_path: Path) -> None:
    """352 modify and 351 modified are one change; a second change in flight is refused."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        change = ModifyOrder(client_order_id=ClientOrderId("o1"), strategy_id=ONE, fencing_epoch=epoch, price=4999.75)
        body.say(peer, change)
        body.say(peer, change)
        await turns()
        assert [(f["quantity"], f["price"], f["price_type"]) for f in session.of(314)] == [(2, 4999.75, 1)]
        assert peer.of(OrderModifyRejected)[0].text.startswith("ORDER_OPERATION_IN_FLIGHT")
        totals = {"total_fill_size": 0, "total_unfilled_size": 2, "price": 4999.75}
        body.on_push(352, notice(352, 2, "o1", "b1", **totals))
        body.on_push(351, notice(351, 14, "o1", "b1", **totals))
        assert [(event.quantity, event.price) for event in peer.of(OrderUpdated)] == [(2, 4999.75)]
        assert body.account.table.counts[OrderStatus.ACCEPTED] == 1

    play(tmp_path, scenario)


def test_orders_are_denied_with_their_codes(tmp_path: Path) -> None:
    """Stale epoch, used id, limits, bad price: never sent, journalled as denied, one warning each."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        before = len(session.sent)
        body.say(peer, submit("d1", epoch - 1))
        body.say(peer, submit("o1", epoch))
        body.say(peer, submit("d2", epoch, quantity=11))
        body.say(peer, submit("d3", epoch, price=5000.1))
        body.say(peer, submit("d4", epoch, quantity=2**62))
        await turns()
        assert [event.code for event in peer.of(OrderDenied)] == [
            Denial.EPOCH_STALE,
            Denial.ORDER_DUPLICATE_ID,
            Denial.RISK_MAX_ORDER_QUANTITY,
            Denial.ORDER_INVALID,
            Denial.RISK_MAX_ORDER_QUANTITY,
        ]
        assert len(session.sent) == before
        assert body.account.table.counts[OrderStatus.DENIED] == 3

    play(tmp_path, scenario)


def test_a_new_hello_makes_the_former_process_stale(tmp_path: Path) -> None:
    """Commands with the old epoch are denied to whoever sent them, and the new process hears nothing of it."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        fresh, welcome = body.hello()
        assert welcome.fencing_epoch == epoch + 1
        assert peer.closed
        body.say(peer, submit("o1", epoch))
        assert peer.of(OrderDenied)[0].code is Denial.EPOCH_STALE
        assert fresh.got == []
        body.say(fresh, submit("o2", welcome.fencing_epoch))
        await turns()
        assert len(session.of(312)) == 1

    play(tmp_path, scenario)


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


def test_a_pause_denies_cancels_entries_and_survives(tmp_path: Path) -> None:
    """Protective orders stay; the pause is there after a restart; resume lets orders pass."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "o1", "b1")
        await working(body, peer, epoch, "o2", "b2", side=Side.SELL, protective=True)
        body.receive(CONSOLE, PauseStrategy(request_id="r", reply_to=CONSOLE, strategy_id=ONE, reason="test"))
        await turns()
        assert [fields["basket_id"] for fields in session.of(316)] == ["b1"]
        body.say(peer, submit("o3", epoch))
        assert peer.of(OrderDenied)[0].code is Denial.STATE_PAUSED
        assert peer.of(PauseChanged)[0].paused

    play(tmp_path, scenario)

    async def again() -> None:
        body = await started(configuration(tmp_path))
        peer, welcome = body.hello()
        assert welcome.paused
        await body.link_up(orders=[image("o1", "b1"), notice_sell("o2", "b2")])
        body.receive(CONSOLE, ResumeStrategy(request_id="r", reply_to=CONSOLE, strategy_id=ONE))
        body.say(peer, submit("o4", welcome.fencing_epoch))
        await turns()
        assert peer.of(OrderDenied) == []
        await body.stop()

    asyncio.run(again())


def notice_sell(tag: str, basket: str) -> Any:
    """The image of a working order to sell."""
    frame = image(tag, basket)
    frame.transaction_type = 2
    return frame


def test_halted_denies_but_lets_cancels_pass_and_survives(tmp_path: Path) -> None:
    """The state is journalled; a system that stops in it says so by its exit code."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        assert body.exit_code() is None
        halt = SetTradingState(request_id="r", reply_to=CONSOLE, trading_state=TradingState.HALTED, reason="test")
        body.receive(CONSOLE, halt)
        body.say(peer, submit("o2", epoch))
        assert peer.of(OrderDenied)[0].code is Denial.STATE_HALTED
        body.say(peer, CancelOrder(client_order_id=ClientOrderId("o1"), strategy_id=ONE, fencing_epoch=epoch))
        await turns()
        assert len(session.of(316)) == 1
        assert body.exit_code() == 5

    play(tmp_path, scenario)

    async def again() -> None:
        body = await started(configuration(tmp_path))
        assert body.account.trading_state is TradingState.HALTED
        await body.stop()

    asyncio.run(again())


def test_flatten_cancels_first_and_closes_with_one_order(tmp_path: Path) -> None:
    """Allowed while halted; a second flatten sends no second exit while the first one is open."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "o1", "b1")
        body.on_push(352, filled("o1", "b1", "f1", 1, 1, 1))

        def cancels(template_id: int, fields: dict[str, Any]) -> None:
            if template_id == 316:
                body.on_push(351, complete("o1", "b1", "C", 1, 1))

        session.on_send = cancels
        body.account.set_trading_state(TradingState.HALTED, "test")
        command = OperatorFlatten(request_id="r", reply_to=CONSOLE, strategy_id=StrategyId(""))
        body.receive(CONSOLE, command)
        await wait_until_async(lambda: body.context.of(CommandResult))  # type: ignore[attr-defined]
        await turns()
        _, exit_order = session.of(312)
        assert (exit_order["transaction_type"], exit_order["quantity"], exit_order["price_type"]) == (2, 1, 2)
        body.receive(CONSOLE, command)
        await wait_until_async(lambda: len(body.context.of(CommandResult)) == 2)  # type: ignore[attr-defined]
        first, second = body.context.of(CommandResult)  # type: ignore[attr-defined]
        assert (first.ok, second.ok) == (True, False)
        assert len(session.of(312)) == 2

    play(tmp_path, scenario)


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


def test_an_order_that_nobody_received_is_denied_when_asked_for(tmp_path: Path) -> None:
    """A strategy that was cut off learns the fate of each of its orders."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        body.say(peer, QueryOrder(client_order_id=ClientOrderId("o1"), strategy_id=ONE))
        body.say(peer, QueryOrder(client_order_id=ClientOrderId("nope"), strategy_id=ONE))
        assert peer.of(OrderReport)[0].status is OrderStatus.ACCEPTED
        assert (peer.got[-1].client_order_id, peer.got[-1].code) == ("nope", Denial.ORDER_UNKNOWN)  # type: ignore[attr-defined]

    play(tmp_path, scenario)


def test_status_answers_with_the_link_and_the_account(tmp_path: Path) -> None:
    """One query, two answers."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        session.messages, session.last_message_s = 3, 0.0  # type: ignore[attr-defined]
        body.receive(CONSOLE, QueryStatus(request_id="q", reply_to=CONSOLE))
        status = body.context.of(AccountStatus)[0]  # type: ignore[attr-defined]
        assert (status.account_id, status.reconciled, status.orders.working) == ("SIM-1", True, 1)
        assert len(body.context.of(PlantStatus)) == 1  # type: ignore[attr-defined]

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


def test_several_accounts_need_a_choice(tmp_path: Path) -> None:
    """The message names what there is to choose from."""

    async def run() -> None:
        body = await started(configuration(tmp_path))
        session = FakeSession(body)
        session.identity = AccountIdentity(fcm_id="F", ib_id="I", user_type=3, account_ids=("A", "B"))
        with pytest.raises(ConfigurationError, match="A, B"):
            await body.on_link_up(session)  # type: ignore[arg-type]
        await body.stop()

    asyncio.run(run())


def test_a_market_order_of_a_strategy_reaches_the_wire_without_prices(tmp_path: Path) -> None:
    """Prices that an order does not have are left out of its frame."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("o1", epoch, order_type=OrderType.MARKET, price=None))
        await turns()
        fields = session.of(312)[0]
        assert (fields["price"], fields["trigger_price"], fields["price_type"]) == (None, None, 2)

    play(tmp_path, scenario)
