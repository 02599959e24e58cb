"""The order plant over a scripted session: the way of an order, what is sent, when, how often, and who hears of it."""

from pathlib import Path

from nightdesk.messages import (
    CancelAllOrders,
    CancelOrder,
    ClientOrderId,
    Denial,
    ModifyOrder,
    OrderAccepted,
    OrderCanceled,
    OrderCancelRejected,
    OrderDenied,
    OrderFilled,
    OrderModifyRejected,
    OrderRejected,
    OrderReport,
    OrderStatus,
    OrderType,
    OrderUpdated,
    PositionReport,
    QueryOrder,
    StrategyId,
)
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    answer,
    complete,
    filled,
    notice,
    opened,
    play,
    submit,
    turns,
    working,
)

ONE = StrategyId("one")


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
            Denial.PRICE_OFF_TICK,
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
        await turns()
        assert session.of(312) == []
        assert [each.code for each in peer.of(OrderDenied)] == [Denial.EPOCH_STALE]
        assert fresh.got == []
        body.say(fresh, submit("o2", welcome.fencing_epoch))
        await turns()
        assert len(session.of(312)) == 1

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


def test_a_market_order_of_a_strategy_reaches_the_wire_without_prices(tmp_path: Path) -> None:
    """Prices that an order does not have are left out of its frame."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("o1", epoch, order_type=OrderType.MARKET, price=None))
        await turns()
        fields = session.of(312)[0]
        assert (fields["price"], fields["trigger_price"], fields["price_type"]) == (None, None, 2)

    play(tmp_path, scenario)
