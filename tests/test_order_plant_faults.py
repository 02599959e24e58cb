"""The order plant against what should not happen: late commands, lists that disagree, values that are none."""

import asyncio
import math
from pathlib import Path

import pytest

from actors.plants.order_gate import DENIALS_KEPT_PER_SECOND
from nightdesk.errors import ConfigurationError, LinkError
from nightdesk.messages import (
    AccountIdentity,
    CancelAllOrders,
    CancelOrder,
    ChildId,
    ClientOrderId,
    CommandResult,
    Denial,
    Flatten,
    ModifyOrder,
    OperatorCancelAll,
    OperatorFlatten,
    OrderCancelRejected,
    OrderDenied,
    OrderFilled,
    OrderInDoubt,
    OrderStatus,
    OrderType,
    PauseStrategy,
    SetTradingState,
    Side,
    StrategyHello,
    StrategyId,
    StrategyWelcome,
    TradingState,
    encode,
)
from nightdesk.settings.models import Risk
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
    play,
    started,
    submit,
    turns,
    working,
)
from tests.support import wait_until_async

ONE = StrategyId("one")
CONTROL = ChildId("services/control")


def alerts(body: Plant) -> list[str]:
    """The names of all alerts so far."""
    return [alert.event for alert in body.context.alerts]  # type: ignore[attr-defined]


def cancel(client_order_id: str, epoch: int) -> CancelOrder:
    return CancelOrder(client_order_id=ClientOrderId(client_order_id), strategy_id=ONE, fencing_epoch=epoch)


def test_a_process_that_never_said_hello_can_neither_order_nor_cancel(tmp_path: Path) -> None:
    """A fencing epoch is a small number that anybody can guess; the connection must be the strategy's own, too."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        stranger = FakePeer()
        body.say(stranger, submit("s1", epoch))
        body.say(stranger, submit("s2", -1, strategy_id=StrategyId("two")))
        body.say(stranger, submit("s3", -1, strategy_id=StrategyId("nobody")))
        body.say(stranger, cancel("o1", epoch))
        body.say(stranger, CancelAllOrders(strategy_id=ONE, fencing_epoch=epoch))
        await turns()
        assert [event.code for event in stranger.of(OrderDenied)] == [Denial.EPOCH_STALE] * 3
        assert len(stranger.of(OrderCancelRejected)) == 1
        assert len(session.of(312)) == 1
        assert session.of(316) == []

    play(tmp_path, scenario)


def test_a_welcome_with_many_orders_comes_in_parts_that_fit_a_packet(tmp_path: Path) -> None:
    """300 open orders do not fit 64 KiB; the strategy gets every one of them, and the position with the last part."""
    risk = Risk(max_order_quantity=10, max_position=10_000, max_open_orders=1_000, max_orders_per_second=10_000)

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        for number in range(300):
            body.say(peer, submit(f"order-{number:040d}", epoch))
        second = FakePeer()
        body.say(second, StrategyHello(strategy_id=ONE, child_id=ChildId("strategies/one"), incarnation=2))
        welcomes: list[StrategyWelcome] = second.of(StrategyWelcome)
        assert max(len(encode(welcome)) for welcome in welcomes) < 60_000
        assert [welcome.more for welcome in welcomes] == [True] * (len(welcomes) - 1) + [False]
        ids = [order.client_order_id for welcome in welcomes for order in welcome.orders]
        assert ids == [f"order-{number:040d}" for number in range(300)]
        assert len({welcome.fencing_epoch for welcome in welcomes}) == 1

    play(tmp_path, scenario, risk=risk)


@pytest.mark.parametrize(
    "terms",
    [
        {"price": math.nan},
        {"price": math.inf},
        {"price": -math.inf},
        {"price": 1e300},
        {"price": -0.0},
        {"quantity": 0},
        {"quantity": -1},
        {"quantity": 2**62},
        {"order_type": OrderType.STOP_MARKET, "price": None, "trigger_price": math.nan},
    ],
)
def test_values_that_are_no_order_are_denied_and_can_be_kept(tmp_path: Path, terms: dict[str, object]) -> None:
    """Neither a NaN nor a number beyond any column reaches the wire or breaks the journal."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("bad", epoch, **terms))
        await working(body, peer, epoch)
        values = {key: value for key, value in terms.items() if key != "order_type"}
        if values.get("price", 0) is not None:
            change = ModifyOrder(client_order_id=ClientOrderId("o1"), strategy_id=ONE, fencing_epoch=epoch, **values)  # type: ignore[arg-type]
            body.say(peer, change)
        await turns()
        assert len(peer.of(OrderDenied)) == 1
        assert [fields["user_tag"] for fields in session.of(312)] == ["o1"]
        assert session.of(314) == []
        assert not body.journal.failed

    play(tmp_path, scenario)


@pytest.mark.parametrize("client_order_id", ["a\x00b", "a\nb", "x" * 65, "naïve"])
def test_an_id_that_a_broker_might_change_is_denied(tmp_path: Path, client_order_id: str) -> None:
    """The id is looked for in the broker's lists: it must come back exactly as it went."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit(client_order_id, epoch))
        await turns()
        assert peer.of(OrderDenied)[0].code is Denial.ORDER_INVALID
        assert session.sent == []

    play(tmp_path, scenario)


def test_ten_thousand_orders_at_once_are_answered_one_by_one(tmp_path: Path) -> None:
    """What the rate allows is sent, each of the rest has its denial, and a cancel still passes afterwards."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        for number in range(10_000):
            body.say(peer, submit(f"m{number}", epoch, quantity=1, price=4000.0))
        await turns()
        assert len(session.of(312)) == 20
        denials = [event.code for event in peer.of(OrderDenied)]
        assert denials == [Denial.RISK_MAX_POSITION] * 9_980
        assert len(body.context.alerts) <= 21  # type: ignore[attr-defined]
        kept = body.journal.status_counts()[OrderStatus.DENIED]
        assert kept == DENIALS_KEPT_PER_SECOND
        assert body.account.table.counts[OrderStatus.DENIED] == 9_980
        body.context.clock.advance(2.0)  # type: ignore[attr-defined]
        body.gate.sweep()
        body.say(peer, submit("late", epoch, quantity=99))
        assert body.journal.status_counts()[OrderStatus.DENIED] == kept + 1
        body.on_push(313, answer(313, user_tag="m0", basket_id="b0", rq_handler_rp_code=["0"]))
        body.say(peer, cancel("m0", epoch))
        await turns()
        assert [fields["basket_id"] for fields in session.of(316)] == ["b0"]

    play(tmp_path, scenario)


def test_an_order_whose_link_drops_before_its_frame_is_denied_at_once(tmp_path: Path) -> None:
    """Committed, not sent, and the link is gone: nobody has to ask the broker about what never left."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("o1", epoch))
        body.link_down()
        await turns()
        assert session.of(312) == []
        assert peer.of(OrderDenied)[0].code is Denial.STATE_DISCONNECTED
        second = await body.link_up()
        assert second.of(312) == []
        assert [template for template, _ in second.requests].count(320) == 1
        row = body.journal.find_order(ClientOrderId("o1"))
        assert row is not None
        assert row.status is OrderStatus.DENIED

    play(tmp_path, scenario)


def test_a_link_that_is_back_does_not_send_what_the_lost_one_was_to_send(tmp_path: Path) -> None:
    """The order was judged before the loss; on the new connection it would be another decision."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("o1", epoch))
        body.link_down()
        second = FakeSession(body)
        body.link.session = second  # type: ignore[assignment]
        await turns()
        assert session.of(312) == second.of(312) == []

    play(tmp_path, scenario)


def test_an_order_that_filled_in_part_and_ended_while_we_were_away_is_over(tmp_path: Path) -> None:
    """The replay of its execution says that it filled once, not that the rest works: the list names it no more."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        body.link_down()
        await body.link_up(fills=[filled("o1", "b1", "f1", 1, 1, 1, is_snapshot=True)])
        assert body.account.table.open_count() == 0
        assert body.account.table.worst_case("ESH4") == (0, 0)
        assert body.account.ledger.quantity(ONE, "ESH4") == 1

    play(tmp_path, scenario)


def test_a_foreign_order_that_ended_after_a_partial_fill_is_not_held_open(tmp_path: Path) -> None:
    """Its image in the list comes before the execution that makes it known; both are taken in."""

    async def run() -> None:
        body = await started(configuration(tmp_path))
        ended = image("", "x1", "complete", 1, 1, notify_type=3)
        await body.link_up(orders=[ended], fills=[filled("", "x1", "f1", 1, 1, 1, is_snapshot=True)])
        assert body.account.ledger.quantity(ACCOUNT, "ESH4") == 1
        assert body.account.table.open_count() == 0
        assert body.account.table.worst_case("ESH4") == (0, 0)
        await body.stop()

    asyncio.run(run())


def test_a_completion_without_totals_asks_for_the_execution(tmp_path: Path) -> None:
    """Filled, says the broker, and nothing more: the execution is missing, and the position waits for it."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        session.lists[3506] = [filled("o1", "b1", "f1", 2, 2, 0, is_snapshot=True)]
        body.on_push(351, complete("o1", "b1", "F", 0, 0))
        assert body.account.table.worst_case("ESH4") == (2, 0)
        await wait_until_async(lambda: peer.of(OrderFilled))
        assert body.account.ledger.quantity(ONE, "ESH4") == 2

    play(tmp_path, scenario)


@pytest.mark.parametrize("broken", [{"fill_price": math.nan}, {"fill_price": math.inf}, {"fill_size": -2}])
def test_a_fill_with_an_impossible_value_is_asked_for_again(tmp_path: Path, broken: dict[str, float]) -> None:
    """Nothing is booked and nothing crashes: the totals say that an execution is missing."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        session.lists[320] = [image("o1", "b1", "complete", 2, 0, notify_type=5)]
        session.lists[3506] = [filled("o1", "b1", "f1", 2, 2, 0, is_snapshot=True)]
        frame = filled("o1", "b1", "f1", 2, 2, 0)
        for name, value in broken.items():
            setattr(frame, name, value)
        body.on_push(352, frame)
        assert peer.of(OrderFilled) == []
        await wait_until_async(lambda: peer.of(OrderFilled))
        assert body.account.ledger.quantity(ONE, "ESH4") == 2

    play(tmp_path, scenario)


def test_a_refusal_after_a_report_does_not_end_a_live_order(tmp_path: Path) -> None:
    """The exchange holds it and its gateway refuses it: the list decides, and the order stays in the books."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        session.lists[320] = [image("o1", "b1")]
        body.on_push(313, answer(313, user_tag="o1", rp_code=["6", "refused"]))
        assert body.account.reconciling
        await wait_until_async(lambda: not body.account.reconciling)
        assert [order.status for order in body.account.table.open_orders()] == [OrderStatus.ACCEPTED]

    play(tmp_path, scenario)


def test_a_cancel_that_was_refused_though_the_order_is_gone_is_found_out(tmp_path: Path) -> None:
    """'Order not found' and no end of it: a few seconds later the broker's lists are asked."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        body.say(peer, cancel("o1", epoch))
        await turns()
        body.on_push(317, answer(317, user_msg=["o1"], basket_id="b1", rp_code=["6", "order not found"]))
        assert not body.account.reconciling
        body.context.clock.advance(6.0)  # type: ignore[attr-defined]
        body.sender.sweep()
        assert body.account.reconciling
        await wait_until_async(lambda: not body.account.reconciling)
        assert body.account.table.open_count() == 0

    play(tmp_path, scenario)


def test_a_cancel_without_an_answer_is_told_to_the_operator(tmp_path: Path) -> None:
    """It is asked for again when the list still shows the order, and the operator knows that the broker is mute."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        session.lists[320] = [image("o1", "b1")]
        body.say(peer, cancel("o1", epoch))
        await turns()
        body.context.clock.advance(6.0)  # type: ignore[attr-defined]
        body.sender.sweep()
        assert alerts(body).count("answer_overdue") == 1
        await wait_until_async(lambda: len(session.of(316)) == 2)

    play(tmp_path, scenario)


def test_a_cancel_that_waits_survives_the_order_plant(tmp_path: Path) -> None:
    """Asked for while the link was down, and the process dies: the next one carries it out."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        body.link_down()
        body.receive(CONTROL, OperatorCancelAll(request_id="1", reply_to=CONTROL, strategy_id=StrategyId("")))

    play(tmp_path, scenario)

    async def again() -> None:
        body = await started(configuration(tmp_path))
        session = await body.link_up(orders=[image("o1", "b1")])
        await turns()
        assert [fields["basket_id"] for fields in session.of(316)] == ["b1"]
        await body.stop()

    asyncio.run(again())


def test_a_tombstone_that_lives_is_canceled_until_it_is_over(tmp_path: Path) -> None:
    """The first cancel is lost with the link: the next list that shows the order brings another one, not an alert."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        session.fail = LinkError("reset")
        body.say(peer, submit("o1", epoch))
        await wait_until_async(lambda: body.account.table.open_count() == 0 and not body.account.reconciling)
        body.on_push(351, opened("o1", "b1"))
        await turns()
        body.link_down()
        second = await body.link_up(orders=[image("o1", "b1")])
        await turns()
        assert [fields["basket_id"] for fields in second.of(316)] == ["b1"]
        body.on_push(351, complete("o1", "b1", "C", 0, 2))
        assert alerts(body).count("order_resurrected") == 1
        row = body.journal.find_order(ClientOrderId("o1"))
        assert row is not None
        assert not row.tombstone

    play(tmp_path, scenario)


async def _holding(body: Plant, peer: FakePeer, epoch: int) -> None:
    """Two contracts long, and one working entry."""
    await working(body, peer, epoch, "o1", "b1")
    body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
    body.on_push(351, complete("o1", "b1", "F", 2, 0))
    await working(body, peer, epoch, "o2", "b2")


@pytest.mark.parametrize("state", [Denial.STATE_HALTED, Denial.STATE_PAUSED])
def test_a_strategy_that_may_not_order_may_not_flatten_either(tmp_path: Path, state: Denial) -> None:
    """Its cancels pass; the closing order is a new order, which only the operator may send now."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await _holding(body, peer, epoch)
        if state is Denial.STATE_HALTED:
            halt = SetTradingState(request_id="1", reply_to=CONTROL, trading_state=TradingState.HALTED, reason="test")
            body.receive(CONTROL, halt)
        else:
            body.receive(CONTROL, PauseStrategy(request_id="1", reply_to=CONTROL, strategy_id=ONE, reason="test"))
        body.say(peer, Flatten(strategy_id=ONE, fencing_epoch=epoch))
        await turns()
        assert [event.code for event in peer.of(OrderDenied)] == [state]
        assert [fields["basket_id"] for fields in session.of(316)] == ["b2"]
        body.on_push(351, complete("o2", "b2", "C", 0, 2))
        assert len(session.of(312)) == 2
        flatten = OperatorFlatten(request_id="2", reply_to=CONTROL, strategy_id=StrategyId(""))
        body.receive(CONTROL, flatten)
        await wait_until_async(lambda: len(session.of(312)) == 3)

    play(tmp_path, scenario)


def test_neither_a_pause_nor_a_cancel_all_of_the_strategy_takes_back_a_flatten(tmp_path: Path) -> None:
    """The closing order is no entry: while it works, only the operator cancels it."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "o1", "b1")
        body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
        body.say(peer, Flatten(strategy_id=ONE, fencing_epoch=epoch))
        await wait_until_async(lambda: len(session.of(312)) == 2)
        tag = session.of(312)[1]["user_tag"]
        body.on_push(313, answer(313, user_tag=tag, basket_id="b9", rq_handler_rp_code=["0"]))
        body.on_push(351, opened(tag, "b9", transaction_type=2))
        body.say(peer, CancelAllOrders(strategy_id=ONE, fencing_epoch=epoch))
        body.receive(CONTROL, PauseStrategy(request_id="1", reply_to=CONTROL, strategy_id=ONE, reason="test"))
        await turns()
        assert session.of(316) == []
        body.receive(CONTROL, OperatorCancelAll(request_id="2", reply_to=CONTROL, strategy_id=StrategyId("")))
        await turns()
        assert [fields["basket_id"] for fields in session.of(316)] == ["b9"]

    play(tmp_path, scenario)


def test_a_flatten_says_which_cancels_were_not_confirmed(tmp_path: Path) -> None:
    """An entry that may still fill after the closing order is told to the operator and to the strategy."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await _holding(body, peer, epoch)
        body.say(peer, Flatten(strategy_id=ONE, fencing_epoch=epoch))
        await wait_until_async(lambda: "flatten_incomplete" in alerts(body))
        assert "1 orders are not known to be canceled" in peer.of(OrderDenied)[0].text
        assert len(session.of(312)) == 3

    play(tmp_path, scenario)


def test_missing_executions_of_one_strategy_do_not_keep_another_from_its_flatten(tmp_path: Path) -> None:
    """Only the position that is not certain cannot be closed."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "o1", "b1")
        body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
        other, welcome = body.hello("two")
        await working(body, other, welcome.fencing_epoch, "t1", "b2", strategy_id=StrategyId("two"))
        body.on_push(351, complete("t1", "b2", "C", 1, 1))
        body.say(peer, Flatten(strategy_id=ONE, fencing_epoch=epoch))
        await wait_until_async(lambda: len(session.of(312)) == 3)
        assert session.of(312)[2]["transaction_type"] == 2

    play(tmp_path, scenario)


def test_a_second_flatten_sends_no_second_closing_order(tmp_path: Path) -> None:
    """Whether the first is at work or its order works: one closing order, and the answer says so."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        def answers() -> list[str]:
            told = body.context.of(CommandResult)  # type: ignore[attr-defined]
            return [message.text for message in told]

        await working(body, peer, epoch, "o1", "b1")
        body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
        for number in range(3):
            body.receive(CONTROL, OperatorFlatten(request_id=str(number), reply_to=CONTROL, strategy_id=StrategyId("")))
        await wait_until_async(lambda: len(answers()) == 3)
        body.receive(CONTROL, OperatorFlatten(request_id="late", reply_to=CONTROL, strategy_id=ONE))
        await wait_until_async(lambda: len(answers()) == 4)
        assert [text.startswith("1 closing orders sent") for text in sorted(answers())] == [False] * 3 + [True]
        assert len(session.of(312)) == 2

    play(tmp_path, scenario)


def test_controls_during_a_reconciliation_take_effect_after_it_at_the_latest(tmp_path: Path) -> None:
    """A pause, a halt and a cancel-all while the lists are read: cancels go out at once, the states hold."""

    async def run() -> None:
        body = await started(configuration(tmp_path))
        session = await body.link_up()
        peer, welcome = body.hello()
        await working(body, peer, welcome.fencing_epoch)
        body.link_down()
        session = await body.link_up(wait=False)
        session.fail_requests = LinkError("silence")
        assert body.account.reconciling
        body.receive(CONTROL, PauseStrategy(request_id="1", reply_to=CONTROL, strategy_id=ONE, reason="test"))
        await turns()
        assert [fields["basket_id"] for fields in session.of(316)] == ["b1"]
        assert body.account.reconciling
        body.on_push(351, complete("o1", "b1", "C", 0, 2))
        session.fail_requests = None
        await wait_until_async(lambda: not body.account.reconciling)
        body.say(peer, submit("o2", welcome.fencing_epoch))
        assert peer.of(OrderDenied)[0].code is Denial.STATE_PAUSED
        await body.stop()

    asyncio.run(run())


def test_a_login_that_names_no_account_is_tried_again(tmp_path: Path) -> None:
    """An empty answer says that the gateway cannot tell now, not that the configuration is wrong."""

    async def run() -> None:
        body = await started(configuration(tmp_path))
        session = FakeSession(body)
        session.identity = AccountIdentity(fcm_id="F", ib_id="I", user_type=3, account_ids=())
        with pytest.raises(LinkError):
            await body.on_link_up(session)  # type: ignore[arg-type]
        session.identity = AccountIdentity(fcm_id="F", ib_id="I", user_type=3, account_ids=("A", "B"))
        with pytest.raises(ConfigurationError, match="account: name the account to trade; the login has A, B") as error:
            await body.on_link_up(session)  # type: ignore[arg-type]
        assert error.value.exit_code == 2
        assert session.sent == session.requests == []
        await body.stop()

    asyncio.run(run())


def test_fills_of_the_order_of_a_denied_intent_are_nobodys_but_count(tmp_path: Path) -> None:
    """A tag of ours that we never sent is somebody else's order; the position of the account has it all the same."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("o1", epoch, quantity=11))
        assert peer.of(OrderDenied)
        body.on_push(352, filled("o1", "b1", "f1", 1, 1, 0))
        assert body.account.ledger.quantity(ONE, "ESH4") == 0
        assert body.account.ledger.quantity(ACCOUNT, "ESH4") == 1
        assert "order_external" in alerts(body)

    play(tmp_path, scenario)


def test_reports_in_any_order_around_the_answer_end_in_the_same_books(tmp_path: Path) -> None:
    """Fill, completion, acceptance and answer in reverse: one fill, one end, and the gate does not stay shut."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("o1", epoch))
        await turns()
        body.on_push(351, complete("o1", "b1", "F", 2, 0))
        body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
        body.on_push(351, opened("o1", "b1"))
        body.on_push(351, notice(351, 1, "o1", "b1"))
        body.on_push(313, answer(313, user_tag="o1", basket_id="b1", rq_handler_rp_code=["0"]))
        assert len(peer.of(OrderFilled)) == 1
        assert peer.of(OrderInDoubt) == []
        assert body.account.table.open_count() == 0
        assert body.account.ledger.quantity(ONE, "ESH4") == 2
        assert body.account.table.missing_fills() == []

    play(tmp_path, scenario)


def test_a_sell_order_is_a_sell_order(tmp_path: Path) -> None:
    """The side on the wire and in the books is the one that was asked for."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "s1", "b1", side=Side.SELL)
        body.on_push(352, filled("s1", "b1", "f1", 2, 2, 0, transaction_type=2))
        assert session.of(312)[0]["transaction_type"] == 2
        assert body.account.ledger.quantity(ONE, "ESH4") == -2

    play(tmp_path, scenario)
