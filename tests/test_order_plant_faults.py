"""The order plant against what should not happen: late commands, lists that disagree, values that are none."""

import asyncio
import math
from collections import Counter
from pathlib import Path

import pytest

from actors.body import ALERTS_PER_SECOND_MAX
from actors.plants.order_denials import DENIALS_KEPT_PER_SECOND
from nightdesk.errors import ConfigurationError, LinkError
from nightdesk.messages import (
    AccountIdentity,
    CancelAllOrders,
    CancelOrder,
    ChildId,
    ClientOrderId,
    Denial,
    ModifyOrder,
    OrderCancelRejected,
    OrderDenied,
    OrderFilled,
    OrderInDoubt,
    OrderStatus,
    OrderType,
    Side,
    StrategyHello,
    StrategyId,
    StrategyWelcome,
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
    notice,
    opened,
    play,
    started,
    submit,
    turns,
    working,
)

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
        assert denials == [Denial.RISK_MAX_OPEN_ORDERS] * 9_980
        told = Counter(alerts(body))
        assert told["order_denied"] == ALERTS_PER_SECOND_MAX
        # The summary of the others, and how many were not kept: once each, as soon as a loop that was busy comes to it.
        assert told["alerts_suppressed"] <= 1
        assert told["orders_denied_unkept"] <= 1
        assert told.keys() <= {"order_denied", "alerts_suppressed", "orders_denied_unkept"}
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
