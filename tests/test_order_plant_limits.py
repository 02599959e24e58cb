"""The limits in the order plant: what they count, and that no death of the process makes one begin anew."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from nightdesk.errors import JournalError
from nightdesk.messages import (
    CancelOrder,
    ChildId,
    ClientOrderId,
    CommandResult,
    Denial,
    ModifyOrder,
    OrderModifyRejected,
    OrderType,
    QueryRisk,
    ResetRisk,
    RiskReport,
    SetTradingState,
    Side,
    StrategyId,
    TradingState,
)
from tests.calendar_support import at
from tests.fakes import FakeContext
from tests.order_plant_exchange import guarded
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    answer,
    complete,
    configuration,
    filled,
    opened,
    submit,
    turns,
    working,
)
from tests.risk_plant_support import (
    NEXT_DAY,
    alerts,
    begun,
    bought,
    code,
    kill,
    pass_time,
    play,
    quote,
    records,
    risk,
    sold,
    time_of,
    trade,
)

ONE = StrategyId("one")
CONTROL = ChildId("services/control")
MARKET: dict[str, Any] = {"order_type": OrderType.MARKET, "price": None}


async def refused(body: Plant, peer: FakePeer, epoch: int, tag: str) -> None:
    """The broker takes an order and its risk system refuses it."""
    body.say(peer, submit(tag, epoch))
    await turns()
    body.on_push(313, answer(313, user_tag=tag, basket_id=f"b-{tag}", rq_handler_rp_code=["0"]))
    body.on_push(351, complete(tag, f"b-{tag}", "FA", 0, 2, report_text="Rejected at RMS"))


def reset(body: Plant, owner: str) -> str:
    """The operator's word; what is answered."""
    body.receive(CONTROL, ResetRisk(request_id="r", reply_to=CONTROL, owner=StrategyId(owner), reason="mended", uid=5))
    return body.context.of(CommandResult)[-1].text  # type: ignore[attr-defined,no-any-return]


def test_daily_loss_denies_over_a_kill_until_the_next_trade_date(tmp_path: Path) -> None:
    """Open profit and commissions count; the price's return changes nothing, and the day's end everything."""
    limits = risk(daily_loss_limit=900)

    async def loses(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        trade(body, 4991.25)
        assert await code(body, peer, epoch, "at 879.50", price=4990.0) is None
        trade(body, 4991.0)
        assert await code(body, peer, epoch, "at 904.50", price=4990.0) is Denial.STATE_REDUCING
        assert len(alerts(body, "risk_breach")) == 1

    async def goes_on(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        trade(body, 5050.0)
        assert await code(body, peer, epoch, "long back", price=4990.0) is Denial.STATE_REDUCING
        assert alerts(body, "risk_breach") == []
        time_of(body).set(at(NEXT_DAY))
        trade(body, 5050.0)
        assert await code(body, peer, epoch, "another day", price=4990.0) is None

    play(tmp_path, loses, limits)
    play(tmp_path, goes_on, limits)


def test_loss_of_a_strategy_denies_that_strategy_alone(tmp_path: Path) -> None:
    """Its own limit, its own code; exits pass."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        trade(body, 4998.0)
        assert await code(body, peer, epoch, "entry", price=4990.0) is Denial.RISK_DAILY_LOSS
        assert await code(body, peer, epoch, "exit", side=Side.SELL, **MARKET) is None
        other, welcome = body.hello("two")
        two = {"strategy_id": StrategyId("two"), "price": 4990.0}
        assert await code(body, other, welcome.fencing_epoch, "other", **two) is None

    play(tmp_path, scene, risk={"daily_loss_limit": 150})


@pytest.mark.parametrize("basis", ["total", "realized"])
def test_highest_profit_survives_a_kill(tmp_path: Path, basis: str) -> None:
    """A mark of before the kill, and a fall after it: together they are the drawdown."""
    limits = risk(trailing_drawdown_limit=900, drawdown_basis=basis)

    async def rises(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        trade(body, 5020.0)
        if basis == "realized":
            await sold(body, peer, epoch, 5020.0)

    async def falls(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        if basis == "realized":
            await bought(body, peer, epoch, 5020.0, "again")
            trade(body, 5000.0)
            await sold(body, peer, epoch, 5011.25, "loss")
            assert await code(body, peer, epoch, "not yet", price=4990.0) is None
            await bought(body, peer, epoch, 5011.25, "third")
            await sold(body, peer, epoch, 5011.0, "more")
        else:
            trade(body, 5011.25)
            assert await code(body, peer, epoch, "not yet", price=4990.0) is None
            trade(body, 5011.0)
        body.limits.look()
        (text,) = alerts(body, "risk_breach")
        assert "trailing_drawdown_limit" in text
        time_of(body).set(at(NEXT_DAY))
        trade(body, 5011.0)
        assert await code(body, peer, epoch, "no day ends it", price=4990.0) is Denial.STATE_REDUCING
        assert reset(body, "").startswith("losses and refusals of account count from here (RISK_TRAILING_DRAWDOWN)")
        body.limits.look()
        assert await code(body, peer, epoch, "reset", price=4990.0) is None

    play(tmp_path, rises, limits)
    play(tmp_path, falls, limits)


def test_refusals_in_a_row_survive_a_kill(tmp_path: Path) -> None:
    """Two before it, one after it; an order that the exchange takes would have ended the row."""
    limits = risk(rejects_in_row_max=3)

    async def twice(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await refused(body, peer, epoch, "r0")
        await working(body, peer, epoch, "good", "b-good")
        for number in (1, 2):
            await refused(body, peer, epoch, f"r{number}")
        assert await code(body, peer, epoch, "on its way") is None

    async def once_more(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await refused(body, peer, epoch, "r3")
        assert await code(body, peer, epoch, "fourth") is Denial.RISK_REJECTS
        assert reset(body, "") == "losses and refusals of account count from here (3 refusals in a row)"
        assert await code(body, peer, epoch, "fifth") is None
        assert records(tmp_path)[-1]["what"] == "risk_reset"

    play(tmp_path, twice, limits)
    play(tmp_path, once_more, limits)


def test_refusal_of_the_gateway_itself_counts_too(tmp_path: Path) -> None:
    """An answer with a code, and no report at all."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("r", epoch))
        await turns()
        body.on_push(313, answer(313, user_tag="r", rq_handler_rp_code=["6", "no"]))
        assert await code(body, peer, epoch, "next") is Denial.RISK_REJECTS

    play(tmp_path, scene, risk(rejects_in_row_max=1))


def test_equal_orders_are_known_after_a_kill(tmp_path: Path) -> None:
    """Within the window an equal order is one too many, whoever of the two processes sent the first."""
    limits = risk(duplicate_window_s=2)

    async def first(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        pass_time(body, 0.5)
        assert await code(body, peer, epoch, "a") is None
        assert await code(body, peer, epoch, "b", quantity=50) is Denial.RISK_MAX_ORDER_QUANTITY

    async def second(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        pass_time(body, 2.4)
        assert await code(body, peer, epoch, "c") is Denial.RISK_DUPLICATE_ORDER
        assert await code(body, peer, epoch, "d", quantity=3) is None
        pass_time(body, 0.2)
        assert await code(body, peer, epoch, "e") is None

    play(tmp_path, first, limits)
    play(tmp_path, second, limits)


def test_reversal_of_two_equal_orders_is_none_too_many(tmp_path: Path) -> None:
    """One closes, and the other one, of the same kind, opens as much; a third is a duplicate of that."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        pass_time(body, 5.0)
        await sold(body, peer, epoch, 5000.0)
        assert await code(body, peer, epoch, "turn", side=Side.SELL) is None
        assert await code(body, peer, epoch, "twice", side=Side.SELL) is Denial.RISK_DUPLICATE_ORDER

    play(tmp_path, scene, risk(duplicate_window_s=2))


def test_cancels_deny_new_orders_and_pass_themselves(tmp_path: Path) -> None:
    """Those that a strategy asks for, not those that the system sends; each order once."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        for number in range(3):
            await working(body, peer, epoch, f"o{number}", f"b{number}")
        for number in (0, 0, 1, 2):
            cancel = CancelOrder(client_order_id=ClientOrderId(f"o{number}"), strategy_id=ONE, fencing_epoch=epoch)
            body.say(peer, cancel)
            await turns()
            denial = await code(body, peer, epoch, f"after {number}", price=1.0)
            assert denial is (Denial.RISK_CANCEL_RATE if number == 2 else None) or number == 0
        assert len(session.of(316)) == 3
        pass_time(body, 1.0)
        assert await code(body, peer, epoch, "later") is None

    play(tmp_path, scene, risk(max_cancels_per_second=2))


def test_ages_are_the_machines_own(tmp_path: Path) -> None:
    """Ticks and the broker's list, each from its last one on."""
    limits = risk(market_data_stale_s=5, position_stale_s=90, price_collar={"ticks": 40})

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        assert await code(body, peer, epoch, "no list") is Denial.STATE_POSITION_STALE
        body.account.risk.on_broker_positions()
        assert await code(body, peer, epoch, "no tick") is Denial.STATE_DATA_STALE
        quote(body, 4999.75, 5000.0)
        pass_time(body, 5.0)
        assert await code(body, peer, epoch, "good") is None
        assert await code(body, peer, epoch, "far", price=5010.25) is Denial.RISK_PRICE_COLLAR
        pass_time(body, 0.1)
        assert await code(body, peer, epoch, "stale") is Denial.STATE_DATA_STALE
        quote(body, 4999.75, 5000.0)
        pass_time(body, 85.0)
        quote(body, 4999.75, 5000.0)
        assert await code(body, peer, epoch, "old list", price=4999.0) is Denial.STATE_POSITION_STALE

    play(tmp_path, scene, limits)


@pytest.mark.parametrize("key", ["daily_loss", "trailing_drawdown", "rejects", "breaches"])
def test_a_row_that_cannot_be_read_stops_the_plant(tmp_path: Path, key: str) -> None:
    """No limit begins anew in silence."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)

    play(tmp_path, scene)
    with sqlite3.connect(tmp_path / "state" / "journal.db") as connection:
        keys = {key for (key,) in connection.execute("SELECT key FROM risk_state")}
        assert keys == {"daily_loss", "trailing_drawdown"}
        sealed = connection.execute("SELECT row_sum FROM risk_state").fetchall()
        assert all(each[0] is not None for each in sealed)
    connection.close()

    async def spoils(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.journal.write_risk_state({key: "{}"}, 1)

    async def starts() -> None:
        body = Plant(FakeContext("plants/order", configuration(tmp_path).to_json()))
        try:
            await body.start()
        finally:
            assert [each.event for each in body.context.alerts] == ["journal_refused"]  # type: ignore[attr-defined]
            body.journal.close()

    play(tmp_path, spoils)
    with pytest.raises(JournalError, match="cannot be read"):
        asyncio.run(starts())


def test_limits_are_shown_with_their_use(tmp_path: Path) -> None:
    """What the verb ``risk`` prints."""
    limits = risk(daily_loss_limit=900, price_collar={"ticks": 40})

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        trade(body, 4992.5)
        body.receive(CONTROL, QueryRisk(request_id="q", reply_to=CONTROL))
        (report,) = body.context.of(RiskReport)  # type: ignore[attr-defined]
        rows = {(row.level, row.name): row for row in report.limits}
        loss = rows[("account", "daily_loss_limit")]
        assert (loss.limit, loss.use, loss.percent, loss.state) == (900.0, 754.5, 83.8, "near")
        position = rows[("account", "max_position")]
        assert (position.symbol, position.limit, position.use, position.state) == ("ESH4", 20, 2, "ok")
        assert rows[("strategy one", "max_open_orders")].limit == 3
        assert rows[("account", "price_collar")].limit == "40 ticks"
        assert (report.trading_state.value, report.breaches) == ("ACTIVE", ())

    play(tmp_path, scene, limits, risk={"max_open_orders": 3})


def test_state_of_trading_is_shown_with_its_reason_also_after_a_kill(tmp_path: Path) -> None:
    """Whoever finds trading halted in the morning reads why."""

    def shown(body: Plant) -> tuple[str, str]:
        body.receive(CONTROL, QueryRisk(request_id="q", reply_to=CONTROL))
        report = body.context.of(RiskReport)[-1]  # type: ignore[attr-defined]
        return report.trading_state.value, report.reason

    async def halts(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        assert shown(body) == ("ACTIVE", "")
        state = SetTradingState(
            request_id="h", reply_to=CONTROL, trading_state=TradingState.HALTED, reason="wrong prices", uid=1, pid=2
        )
        body.receive(CONTROL, state)
        await turns()
        assert shown(body) == ("HALTED", "wrong prices")

    async def looks(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        assert shown(body) == ("HALTED", "wrong prices")
        assert alerts(body, "trading_state_kept") == ["trading is still HALTED: wrong prices; resume-trading ends it"]

    play(tmp_path, halts)
    play(tmp_path, looks)


def test_fills_of_before_the_limits_count_from_the_trade_dates_beginning(tmp_path: Path) -> None:
    """A journal of an earlier version has no rows: what was made today counts, what was made before it does not."""
    limits = risk(daily_loss_limit=900)

    async def loses(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        for number, price in enumerate((4990.0, 4995.0)):
            stamp = {"ssboe": at("2024-02-26 10:00:00" if number == 0 else "2024-02-27 09:00:00") // 10**9}
            await working(body, peer, epoch, f"i{number}", f"bi{number}")
            body.on_push(352, _fill(f"i{number}", 5000.0, 1, **stamp))
            body.on_push(351, complete(f"i{number}", f"bi{number}", "F", 2, 0, **stamp))
            await working(body, peer, epoch, f"o{number}", f"bo{number}", side=Side.SELL)
            body.on_push(352, _fill(f"o{number}", price, 2, **stamp))
            body.on_push(351, complete(f"o{number}", f"bo{number}", "F", 2, 0, transaction_type=2, **stamp))

    play(tmp_path, loses)
    with sqlite3.connect(tmp_path / "state" / "journal.db") as connection:
        connection.execute("DELETE FROM risk_state")
    connection.close()

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        assert await code(body, peer, epoch, "a") is None
        # 1,000 dollars and commissions of the day before are not of today; 500 and commissions are.
        assert body.account.risk.book.daily_loss is not None
        (row,) = [each for each in body.account.risk.report() if each.name == "daily_loss_limit"]
        assert row.use == 509.0

    play(tmp_path, scene, limits)


def _fill(tag: str, price: float, side: int, **stamp: Any) -> Any:
    fields = {"fill_price": price, "transaction_type": side}
    return filled(tag, f"b{tag}", f"f-{tag}", 2, 2, 0, **fields, **stamp)


def test_exit_passes_beside_a_stop_and_a_loss_limit(tmp_path: Path) -> None:
    """Trading is REDUCING for the loss; the stop works, the exit goes out beside it, a second one does not."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await guarded(body, peer, epoch)
        trade(body, 4991.0)
        assert await code(body, peer, epoch, "exit", side=Side.SELL, **MARKET) is None
        assert await code(body, peer, epoch, "twice", side=Side.SELL, price=4990.0) is Denial.STATE_REDUCING

    play(tmp_path, scene, risk(daily_loss_limit=900))


def test_state_is_written_whole_once_a_minute_and_at_the_end(tmp_path: Path) -> None:
    """Open profit that follows prices alone; less than a minute of it may be missing after a kill."""

    async def run() -> None:
        body = await begun(tmp_path)
        await body.link_up()
        peer, welcome = body.hello()
        await bought(body, peer, welcome.fencing_epoch)
        written = body.journal.risk_state()["daily_loss"]
        trade(body, 5010.0)
        assert body.journal.risk_state()["daily_loss"] == written
        pass_time(body, 60.0)
        trade(body, 5011.0)
        minute = body.journal.risk_state()["daily_loss"]
        assert minute != written
        trade(body, 5012.0)
        await body.stop()
        with sqlite3.connect(tmp_path / "state" / "journal.db") as connection:
            ((ended,),) = connection.execute("SELECT value FROM risk_state WHERE key = 'daily_loss'")
        connection.close()
        assert ended not in (written, minute)

    asyncio.run(run())


def test_changes_are_held_against_the_limits_with_what_they_add(tmp_path: Path) -> None:
    """Two work; as ten they are too many for the position, with eight more beside them."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "o1", "b1")
        assert await code(body, peer, epoch, "beside", quantity=7) is None
        for quantity, refusals in ((4, 1), (3, 1)):
            change = ModifyOrder(
                client_order_id=ClientOrderId("o1"), strategy_id=ONE, fencing_epoch=epoch, quantity=quantity
            )
            body.say(peer, change)
            await turns()
            assert len(peer.of(OrderModifyRejected)) == refusals
        assert "RISK_MAX_POSITION" in peer.of(OrderModifyRejected)[0].text
        assert [fields["quantity"] for fields in session.of(314)] == [3]

    play(tmp_path, scene, risk(max_position=10))


def test_killed_plant_that_never_wrote_anything_begins_anew(tmp_path: Path) -> None:
    """An empty journal is none that is damaged."""

    async def run() -> None:
        for _ in range(2):
            body = await begun(tmp_path, risk(daily_loss_limit=900, rejects_in_row_max=1))
            await kill(body)

    asyncio.run(run())


def test_opened_is_what_ends_a_row_of_refusals(tmp_path: Path) -> None:
    """The exchange's word, not the gateway's: its answer says only that the order arrived."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await refused(body, peer, epoch, "r0")
        body.say(peer, submit("o", epoch))
        await turns()
        body.on_push(313, answer(313, user_tag="o", basket_id="b-o", rq_handler_rp_code=["0"]))
        assert body.account.risk.book.rejects.count(ONE) == 1
        body.on_push(351, opened("o", "b-o"))
        assert body.account.risk.book.rejects.count(ONE) == 0

    play(tmp_path, scene, risk(rejects_in_row_max=2))
