"""Exits while the market does not trade by our calendar: the exchange's word counts, a person's, then ours."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nightdesk.messages import (
    AggressorSide,
    ClientOrderId,
    CommandResult,
    Denial,
    Flatten,
    OperatorFlatten,
    OrderDenied,
    OrderStatus,
    OrderType,
    SetTradingState,
    Side,
    StrategyId,
    TradeTick,
    TradingState,
)
from nightdesk.trading.market_evidence import VALID_S
from tests.calendar_support import at
from tests.order_plant_session_support import (
    CLOSED,
    CONTROL,
    ONE,
    OPEN,
    WEEKEND,
    alerts,
    canceled,
    exits,
    holding,
    obeys,
    park,
    play,
    time_of,
)
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    answer,
    complete,
    notice,
    opened,
    submit,
    turns,
)
from tests.support import wait_until_async

DAY = "2024-02-27 "
SELL: dict[str, Any] = {"side": Side.SELL, "order_type": OrderType.MARKET, "price": None}


def trade(ts_event_ns: int, symbol: str = "ESH4") -> TradeTick:
    """A print on the tape."""
    return TradeTick(
        symbol=symbol,
        exchange="CME",
        price=5000.0,
        quantity=1,
        aggressor_side=AggressorSide.BUY,
        ts_event_ns=ts_event_ns,
        ts_recv_ns=ts_event_ns,
    )


def ask(body: Plant, peer: FakePeer, epoch: int, tag: str, **changes: Any) -> Denial | None:
    """An order's code of denial, None where it passed."""
    body.say(peer, submit(tag, epoch, **changes))
    return next((event.code for event in peer.of(OrderDenied) if event.client_order_id == tag), None)


def answers(body: Plant) -> list[CommandResult]:
    """What the operator was answered."""
    return list(body.context.of(CommandResult))  # type: ignore[attr-defined]


def flatten(body: Plant, *, force: bool) -> None:
    """The operator's command, for the whole account."""
    command = OperatorFlatten(request_id="1", reply_to=CONTROL, strategy_id=StrategyId(""), force=force)
    body.receive(CONTROL, command)


@pytest.mark.parametrize(
    ("clock", "passes"),
    [
        ("15:59:59", True),
        ("16:00:04", True),
        ("16:00:06", False),
        ("16:59:54", False),
        ("16:59:56", True),
        ("17:00:00", True),
    ],
)
def test_seconds_beside_a_close_and_an_opening_an_exit_goes_and_an_entry_does_not(
    tmp_path: Path, clock: str, passes: bool
) -> None:
    """Clocks differ by seconds: an exit that the exchange refuses costs nothing, one that we refuse may cost all."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        time_of(body).set(at(DAY + clock))
        trades = clock in ("15:59:59", "17:00:00")
        assert ask(body, peer, epoch, "entry2", order_type=OrderType.MARKET, price=None) is (
            None if trades else Denial.SESSION_CLOSED
        )
        too_much = ask(body, peer, epoch, "over", **SELL | {"quantity": 3})
        assert too_much is (None if trades else Denial.SESSION_CLOSED)
        if not trades:
            assert ask(body, peer, epoch, "exit", **SELL) is (None if passes else Denial.SESSION_CLOSED)

    play(tmp_path, OPEN, scene)


def test_trades_of_the_exchange_let_exits_pass_in_a_market_that_our_calendar_closed(tmp_path: Path) -> None:
    """A holiday that is none: one critical alert, exits pass, entries do not; without trades the calendar is back."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        body.on_push(351, complete("stop", "b3", "C", 0, 2, transaction_type=2))
        time_of(body).set(at(CLOSED))
        assert ask(body, peer, epoch, "e1", **SELL) is Denial.SESSION_CLOSED
        for second in range(3):
            body._on_market(trade(at(CLOSED) + second * 10**9))
        assert [each for each in alerts(body) if each != "order_denied"] == ["market_contradicts_calendar"]
        assert body.account.markets.contradicted("ESH4")
        assert ask(body, peer, epoch, "n1", order_type=OrderType.MARKET, price=None) is Denial.SESSION_CLOSED
        assert ask(body, peer, epoch, "e2", **SELL) is None
        body.context.clock.advance(VALID_S + 1)  # type: ignore[attr-defined]
        assert ask(body, peer, epoch, "e3", **SELL | {"quantity": 1}) is Denial.SESSION_CLOSED

    play(tmp_path, OPEN, scene)


def test_a_flatten_and_a_last_will_follow_the_exchange_and_not_the_calendar(tmp_path: Path) -> None:
    """In a break that trades contradict both close the position."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        obeys(body, session)
        time_of(body).set(at(CLOSED))
        body._on_market(trade(at(CLOSED)))
        flatten(body, force=False)
        await wait_until_async(lambda: body.flattener.is_flat(ONE))
        assert len(exits(session)) == 1
        assert [each.ok for each in answers(body)] == [True]

    play(tmp_path, OPEN, scene)


def test_a_last_will_is_carried_out_in_a_break_that_trades_contradict(tmp_path: Path) -> None:
    """Until then it waits, with the protection; then it does not wait for the opening that the calendar names."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        obeys(body, session)
        time_of(body).set(at(CLOSED))
        park(body)
        await asyncio.sleep(0.05)
        assert exits(session) == []
        body._on_market(trade(at(CLOSED)))
        await wait_until_async(lambda: body.flattener.is_flat(ONE))
        assert len(exits(session)) == 1

    play(tmp_path, OPEN, scene, last_will="flatten")


@pytest.mark.parametrize("moment", [CLOSED, WEEKEND])
def test_a_forced_flatten_asks_the_exchange_and_keeps_the_protection_until_it_has_filled(
    tmp_path: Path, moment: str
) -> None:
    """Refused: position and stop are as before, and the operator reads the exchange's own words."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        time_of(body).set(at(moment))
        flatten(body, force=False)
        await wait_until_async(lambda: len(answers(body)) == 1)
        assert not answers(body)[0].ok
        assert exits(session) == []

        def refuse(template_id: int, fields: dict[str, Any]) -> None:
            loop = asyncio.get_running_loop()
            if template_id == 312:
                tag, text = fields["user_tag"], "market is closed"
                loop.call_soon(body.on_push, 313, answer(313, user_tag=tag, rq_handler_rp_code=["1", text]))
            elif template_id == 316:
                loop.call_soon(body.on_push, 351, complete("entry", "b2", "C", 0, 2))

        session.on_send = refuse
        flatten(body, force=True)
        await wait_until_async(lambda: len(answers(body)) == 2)
        assert not answers(body)[1].ok
        assert "one ESH4: refused: market is closed" in answers(body)[1].text
        assert len(exits(session)) == 1
        assert canceled(session) == ["b2"]
        assert body.account.ledger.quantity(ONE, "ESH4") == 2

    play(tmp_path, OPEN, scene)


def test_a_forced_flatten_that_fills_takes_the_protection_back(tmp_path: Path) -> None:
    """The calendar was wrong: the position is closed, and nothing is left that could open another."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        obeys(body, session)
        time_of(body).set(at(CLOSED))
        flatten(body, force=True)
        await wait_until_async(lambda: len(answers(body)) == 1)
        assert answers(body)[0].ok
        for _ in range(3):
            body.guard.look()
            await turns()
        await wait_until_async(lambda: body.flattener.is_flat(ONE))
        assert canceled(session) == ["b2", "b3"]
        assert len(exits(session)) == 1

    play(tmp_path, OPEN, scene)


def test_a_forced_flatten_while_halted_says_that_trading_stays_so(tmp_path: Path) -> None:
    """Only the operator's closing orders leave; nobody else's do afterwards either."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        obeys(body, session)
        halt = SetTradingState(request_id="0", reply_to=CONTROL, trading_state=TradingState.HALTED, reason="test")
        body.receive(CONTROL, halt)
        time_of(body).set(at(CLOSED))
        flatten(body, force=True)
        await wait_until_async(lambda: len(answers(body)) == 2)
        assert answers(body)[1].text == "1 closing orders sent; trading stays HALTED"
        body.say(peer, Flatten(strategy_id=ONE, fencing_epoch=epoch))
        await turns()
        assert len(exits(session)) == 1
        assert body.account.trading_state is TradingState.HALTED

    play(tmp_path, OPEN, scene)


def test_a_command_without_the_word_force_is_an_ordinary_one() -> None:
    """A control service of before it sends three fields."""
    old = msgspec.json.encode(["OperatorFlatten", "1", "services/control", ""])
    assert msgspec.json.decode(old, type=OperatorFlatten).force is False


async def reports(body: Plant, peer: FakePeer, epoch: int, ahead_s: float, count: int) -> None:
    """Live reports, two seconds apart, of an exchange that our clock is ahead of."""
    for index in range(count):
        tag = f"r{ahead_s}-{index}"
        body.say(peer, submit(tag, epoch))
        await turns()
        body.context.clock.advance(2.0)  # type: ignore[attr-defined]
        moment_ns = time_of(body).now_ns() - round(ahead_s * 1e9)
        stamp = {"ssboe": moment_ns // 10**9, "usecs": moment_ns % 10**9 // 1000}
        body.on_push(351, opened(tag, f"b-{tag}", **stamp))
        body.on_push(351, complete(tag, f"b-{tag}", "C", 0, 2, **stamp))


def told_of_skew(body: Plant) -> list[str]:
    """The texts of the alerts."""
    return [each.text for each in body.context.alerts if each.event == "clock_skew"]  # type: ignore[attr-defined]


def live(body: Plant) -> None:
    """At a broker the exchange has a clock of its own."""
    body.witness._skews = {}


def test_a_clock_that_differs_from_the_brokers_is_told_once_an_hour(tmp_path: Path) -> None:
    """Five live reports agree; half a second is the way of a report."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        live(body)
        await reports(body, peer, epoch, 0.5, 9)
        assert told_of_skew(body) == []
        await reports(body, peer, epoch, 7.0, 9)
        assert len(told_of_skew(body)) == 1
        assert "7.0 s ahead of the exchange's" in told_of_skew(body)[0]
        body.context.clock.advance(3600.0)  # type: ignore[attr-defined]
        await reports(body, peer, epoch, 7.5, 9)
        assert len(told_of_skew(body)) == 2

    play(tmp_path, OPEN, scene)


def test_trades_tell_of_a_wrong_clock_before_the_first_order(tmp_path: Path) -> None:
    """Each symbol by itself; an embedded exchange has our own clock and never does."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        for is_live in (False, True):
            if is_live:
                live(body)
            for _ in range(9):
                body.context.clock.advance(2.0)  # type: ignore[attr-defined]
                body._on_market(trade(time_of(body).now_ns() + 4 * 10**9))
            assert len(told_of_skew(body)) == int(is_live)
        assert "4.0 s behind the exchange's" in told_of_skew(body)[0]

    play(tmp_path, OPEN, scene)


def test_lists_of_the_broker_say_nothing_of_the_clock(tmp_path: Path) -> None:
    """An image or a replayed execution is of another time."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        live(body)
        for index in range(9):
            body.context.clock.advance(2.0)  # type: ignore[attr-defined]
            stamp = at(OPEN) // 10**9 - 60 + 2 * index
            body.on_push(352, notice(352, 1, "x", "bx", is_snapshot=True, status="complete", ssboe=stamp))
        assert told_of_skew(body) == []

    play(tmp_path, OPEN, scene)


def test_an_exit_that_passed_is_an_order_like_any_other(tmp_path: Path) -> None:
    """Refused by the exchange it is over, and the strategy hears of it."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        time_of(body).set(at(DAY + "16:00:02"))
        assert ask(body, peer, epoch, "exit", **SELL) is None
        await turns()
        body.on_push(313, answer(313, user_tag="exit", rq_handler_rp_code=["1", "market is closed"]))
        order = body.account.table.get(ClientOrderId("exit"))
        assert order is not None
        assert order.status is OrderStatus.REJECTED

    play(tmp_path, OPEN, scene)
