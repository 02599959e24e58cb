"""What follows from a reached loss limit: once, told, written down, over kills, and undone with its reason."""

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest

from actors.plants.state_audit import FILE_NAME, TEXT_MAX, Author, StateAudit
from nightdesk.clocks import ManualClock
from nightdesk.messages import (
    ChildId,
    CommandResult,
    Denial,
    OrderStatus,
    PauseStrategy,
    ResetRisk,
    SetTradingState,
    Side,
    StrategyId,
    TradingState,
)
from tests.calendar_support import at
from tests.order_plant_exchange import Exchange, guarded
from tests.order_plant_support import FakePeer, FakeSession, Plant, turns, working
from tests.risk_plant_support import (
    NEXT_DAY,
    alerts,
    begun,
    bought,
    code,
    kill,
    play,
    quiet_trade,
    records,
    risk,
    sold,
    time_of,
    trade,
)
from tests.support import wait_until_async

ONE = StrategyId("one")
CONTROL = ChildId("services/control")
LOST = 4990.0
"""The price at which two contracts bought at 5,000 have lost 1,004.50."""


def limits(on_breach: str, **more: Any) -> Any:
    """A daily loss of 900 dollars, and what follows."""
    return risk(daily_loss_limit=900, on_breach=on_breach, **more)


def say(body: Plant, trading_state: TradingState, reason: str = "by hand") -> str:
    """The operator sets a state; what is answered."""
    command = SetTradingState(
        request_id="r", reply_to=CONTROL, trading_state=trading_state, reason=reason, uid=1000, pid=77
    )
    body.receive(CONTROL, command)
    return body.context.of(CommandResult)[-1].text  # type: ignore[attr-defined,no-any-return]


def canceled(session: FakeSession) -> list[str]:
    """The broker's ids of all orders that were canceled."""
    return sorted(fields["basket_id"] for fields in session.of(316))


async def exposed(body: Plant, peer: FakePeer, epoch: int) -> None:
    """Two are held with a stop for both, and two more are bid for."""
    quiet_trade(body, 5000.0)
    await guarded(body, peer, epoch)
    await working(body, peer, epoch, "entry", "b9", price=4980.0)


@pytest.mark.parametrize(("on_breach", "state"), [("reducing", TradingState.REDUCING), ("halt", TradingState.HALTED)])
def test_entries_go_protection_stays_and_the_state_is_set(tmp_path: Path, on_breach: str, state: TradingState) -> None:
    """And undone with the next trade date, because it was the rule's."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await exposed(body, peer, epoch)
        trade(body, LOST)
        body.guard.look()
        await turns()
        assert (canceled(session), body.account.trading_state) == (["b9"], state)
        (text,) = alerts(body, "risk_breach")
        assert text.startswith("the account has lost 1004.50 today, which reaches its daily_loss_limit: entries are")
        for _ in range(5):
            trade(body, LOST - 10)
        assert len(alerts(body, "risk_breach")) == len(alerts(body, "trading_state_changed")) == 1
        breach, change = records(tmp_path)
        assert (breach["what"], breach["rule"], breach["owner"]) == ("breach", "RISK_DAILY_LOSS", "account")
        assert (change["what"], change["rule"], change["before"]) == ("trading_state", "RISK_DAILY_LOSS", "ACTIVE")
        time_of(body).set(at(NEXT_DAY))
        trade(body, LOST)
        assert body.account.trading_state is TradingState.ACTIVE
        assert records(tmp_path)[-1]["rule"] == "risk"

    play(tmp_path, scene, limits(on_breach))


def test_kill_between_the_breach_and_its_consequences_leaves_them_to_the_next_process(tmp_path: Path) -> None:
    """The fill that reached the limit is committed with the breach; the rest follows at the next start, once."""

    async def dies(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        body.account.risk.on_breach = lambda breaches: None
        await sold(body, peer, epoch, LOST)
        assert body.account.trading_state is TradingState.ACTIVE

    async def goes_on(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.limits.look()
        assert body.account.trading_state is TradingState.REDUCING
        assert len(alerts(body, "risk_breach")) == 1

    async def again(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.limits.look()
        assert body.account.trading_state is TradingState.REDUCING
        assert alerts(body, "risk_breach") == []
        time_of(body).set(at(NEXT_DAY))
        body.limits.look()
        assert body.account.trading_state is TradingState.ACTIVE

    for scene in (dies, goes_on, again):
        play(tmp_path, scene, limits("reducing"))


def test_later_rule_may_tighten_what_an_earlier_one_has_set(tmp_path: Path) -> None:
    """Reducing for the day's loss; then the configuration says halt, and the drawdown is reached, too."""

    async def loses(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        trade(body, LOST)
        assert body.account.trading_state is TradingState.REDUCING

    async def more(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        trade(body, LOST)
        assert body.account.trading_state is TradingState.REDUCING
        trade(body, LOST - 10.0)
        assert body.account.trading_state is TradingState.HALTED
        time_of(body).set(at(NEXT_DAY))
        trade(body, LOST - 10.0)
        assert body.account.trading_state is TradingState.HALTED
        body.receive(CONTROL, ResetRisk(request_id="r", reply_to=CONTROL, owner=StrategyId(""), reason="go on"))
        body.limits.look()
        assert body.account.trading_state is TradingState.ACTIVE

    play(tmp_path, loses, limits("reducing"))
    play(tmp_path, more, limits("halt", trailing_drawdown_limit=1900))


def test_fill_that_reaches_the_limit_has_its_consequences_at_once(tmp_path: Path) -> None:
    """Not with the next look: the strategy may be about to send."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        await sold(body, peer, epoch, LOST)
        assert body.account.trading_state is TradingState.REDUCING

    play(tmp_path, scene, limits("reducing"))


@pytest.mark.parametrize("said", [TradingState.HALTED, TradingState.ACTIVE, TradingState.REDUCING])
def test_state_that_the_operator_sets_after_the_rule_is_the_operators(tmp_path: Path, said: TradingState) -> None:
    """A new trade date does not undo it, over a kill neither; resumed by hand, the limit denies all the same."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        trade(body, LOST)
        answer = say(body, said)
        if said is TradingState.ACTIVE:
            assert answer == "trading is ACTIVE; still reached: account RISK_DAILY_LOSS (risk-reset ends that)"
            assert await code(body, peer, epoch, price=4980.0) is Denial.RISK_DAILY_LOSS
        assert (records(tmp_path)[-1]["uid"], records(tmp_path)[-1]["pid"]) == (1000, 77)

    async def another_day(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        trade(body, LOST)
        assert body.account.trading_state is said
        time_of(body).set(at(NEXT_DAY))
        trade(body, LOST)
        assert body.account.trading_state is said

    play(tmp_path, scene, limits("reducing"))
    play(tmp_path, another_day, limits("reducing"))


def test_rule_never_loosens_what_the_operator_has_set(tmp_path: Path) -> None:
    """Halted by hand, then the limit is reached, then the day ends: still halted."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        say(body, TradingState.HALTED)
        trade(body, LOST)
        assert (body.account.trading_state, len(alerts(body, "risk_breach"))) == (TradingState.HALTED, 1)
        time_of(body).set(at(NEXT_DAY))
        trade(body, LOST)
        assert body.account.trading_state is TradingState.HALTED

    play(tmp_path, scene, limits("reducing"))


def test_reset_of_the_operator_undoes_what_the_rule_has_set(tmp_path: Path) -> None:
    """And the same limit can be reached again: it is another episode."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        trade(body, LOST)
        body.receive(CONTROL, ResetRisk(request_id="r", reply_to=CONTROL, owner=StrategyId(""), reason="go on"))
        body.limits.look()
        assert body.account.trading_state is TradingState.ACTIVE
        trade(body, LOST - 8.0)
        assert body.account.trading_state is TradingState.ACTIVE
        trade(body, LOST - 9.0)
        assert body.account.trading_state is TradingState.REDUCING
        assert len(alerts(body, "risk_breach")) == 2
        assert [each["what"] for each in records(tmp_path)].count("risk_reset") == 1

    play(tmp_path, scene, limits("reducing"))


def test_halt_of_a_strategy_is_a_pause_until_its_day_is_over(tmp_path: Path) -> None:
    """The account trades on; a pause that the operator has set meanwhile stays."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        trade(body, LOST)
        assert (body.account.trading_state, set(body.account.pauses)) == (TradingState.ACTIVE, {ONE})
        assert await code(body, peer, epoch, side=Side.SELL, price=4990.0) is Denial.STATE_PAUSED

    async def another_day(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        assert set(body.account.pauses) == {ONE}
        time_of(body).set(at(NEXT_DAY))
        trade(body, LOST)
        assert body.account.pauses == {}
        trade(body, LOST - 10.0)
        assert set(body.account.pauses) == {ONE}
        body.receive(CONTROL, PauseStrategy(request_id="p", reply_to=CONTROL, strategy_id=ONE, reason="by hand"))
        time_of(body).set(at("2024-02-28 17:00:01"))
        trade(body, LOST)
        assert body.account.pauses == {ONE: "by hand"}

    own = {"daily_loss_limit": 900}
    play(tmp_path, scene, risk(on_breach="halt"), risk=own)
    play(tmp_path, another_day, risk(on_breach="halt"), risk=own)


def test_flatten_closes_until_nothing_is_left(tmp_path: Path) -> None:
    """A closing order that the exchange refuses is followed by another, never by two at once."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await exposed(body, peer, epoch)
        exchange = Exchange(body, session)
        exchange.fills = True
        trade(body, LOST)
        await wait_until_async(lambda: body.account.ledger.quantity(ONE, "ESH4") == 0)
        body.guard.look()
        await wait_until_async(lambda: body.account.table.open_orders() == [])
        assert exchange.open_exits == [1]
        for _ in range(3):
            trade(body, LOST)
            await turns()
        assert len(session.of(312)) == 1 + 1 + 1 + 1
        assert body.account.trading_state is TradingState.REDUCING

    play(tmp_path, scene, limits("flatten"))


def test_closing_order_that_rests_is_waited_for(tmp_path: Path) -> None:
    """Whoever watches closing orders replaces it in its time: nobody is called, nothing is begun beside it."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        Exchange(body, session)
        trade(body, LOST)
        await wait_until_async(lambda: len(session.of(312)) == 2)
        for _ in range(5):
            trade(body, LOST)
            await turns()
        assert (len(session.of(312)), alerts(body, "flatten_incomplete")) == (2, [])

    play(tmp_path, scene, limits("flatten"))


def test_flatten_of_a_strategy_leaves_the_other_one_alone(tmp_path: Path) -> None:
    """Its own limit, its own positions."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        other, welcome = body.hello("two")
        await bought(body, peer, epoch)
        await working(body, other, welcome.fencing_epoch, "two-in", "b-two", strategy_id=StrategyId("two"))
        Exchange(body, session).fills = True
        trade(body, LOST)
        await wait_until_async(lambda: body.account.ledger.quantity(ONE, "ESH4") == 0)
        assert body.account.table.get("two-in").status is OrderStatus.ACCEPTED  # type: ignore[union-attr,arg-type]
        assert body.account.trading_state is TradingState.ACTIVE

    play(tmp_path, scene, risk(on_breach="flatten"), risk={"daily_loss_limit": 900})


def test_flatten_in_a_break_waits_for_the_opening(tmp_path: Path) -> None:
    """The last price of the session reached the limit; the protection of the position stays until it can be closed."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await guarded(body, peer, epoch)
        quiet_trade(body, LOST)
        time_of(body).set(at("2024-02-27 16:10:00"))
        for _ in range(3):
            body.limits.look()
            await turns()
        assert (len(session.of(312)), canceled(session)) == (2, [])
        Exchange(body, session).fills = True
        # The next trade date does not make the loss of the old one good: the position was to be closed in it.
        time_of(body).set(at("2024-02-27 16:59:57"))
        body.limits.look()
        await wait_until_async(lambda: len(session.of(312)) == 3)

    play(tmp_path, scene, limits("flatten", trailing_drawdown_limit=900))


def test_audit_file_is_private_bounded_and_complete(tmp_path: Path) -> None:
    """Only its owner reads it; a line is never longer than a page; a torn one spoils none that follows."""
    clock, failures = ManualClock(1_709_049_600_000_000_000), []
    audit = StateAudit(str(tmp_path), clock, failures.append)
    audit.write("trading_state", Author(uid=1000, pid=5), reason="r" * 10_000, trading_state="HALTED", number=1)
    path = tmp_path / FILE_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with path.open("ab") as file:
        file.write(b'{"time": "torn')
    audit.write("trading_state", Author("RISK_DAILY_LOSS"), reason="lost", trading_state="REDUCING", number=2)
    first, torn, second = path.read_bytes().splitlines()
    assert (len(first) < 4096, b"r" * TEXT_MAX in first, torn) == (True, True, b'{"time": "torn')
    assert b'"rule":"RISK_DAILY_LOSS"' in second
    assert audit.last_number() == 2
    path.unlink()
    path.mkdir()
    audit.write("trading_state", Author(), reason="disk")
    audit.write("trading_state", Author(), reason="disk")
    assert len(failures) == 1


def test_change_that_has_no_line_gets_one_at_the_next_start(tmp_path: Path) -> None:
    """Killed after the journal's commit and before the line: the journal is asked what is missing."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        say(body, TradingState.REDUCING, "first")
        body.account.states.audit.write = lambda *_, **__: None  # type: ignore[method-assign,assignment]
        say(body, TradingState.HALTED, "second")
        assert len(records(tmp_path)) == 1

    async def once(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        lines = records(tmp_path)
        assert [(line["number"], line["reason"]) for line in lines] == [(1, "first"), (2, "second")]
        assert lines[1]["found"] == "in the journal"

    play(tmp_path, scene)
    play(tmp_path, once)
    play(tmp_path, once)


def test_operators_reduce_takes_entries_back(tmp_path: Path) -> None:
    """What works may not open what may not be sent any more; exits and stops stay."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await exposed(body, peer, epoch)
        await working(body, peer, epoch, "target", "b8", side=Side.SELL, price=5010.0)
        assert say(body, TradingState.REDUCING) == "trading is REDUCING"
        body.guard.look()
        await turns()
        assert canceled(session) == ["b9"]

    play(tmp_path, scene)


def test_breach_is_known_to_a_plant_without_a_link(tmp_path: Path) -> None:
    """Orders in doubt, no prices: what was reached is reached."""

    async def run() -> None:
        body = await begun(tmp_path, limits("reducing"))
        body.limits.look()
        assert body.account.trading_state is TradingState.REDUCING
        await kill(body)

    async def dies(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        body.account.risk.on_breach = lambda breaches: None
        await sold(body, peer, epoch, LOST)

    play(tmp_path, dies, limits("reducing"))
    asyncio.run(run())
