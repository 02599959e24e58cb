"""What the gateway refuses to one plant counts for all of them: brokers lock users who are refused again and again."""

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from actors.plants.history import HistoryPlantBody
from actors.plants.link_schedule import LinkSchedule
from actors.plants.login_gate import LoginGate, LoginPostponedError, LoginsEndedError
from actors.plants.plant import PlantBody
from actors.plants.ticker import TickerPlantBody
from nightdesk.calendars.load import load_calendar
from nightdesk.clocks import ManualClock, ManualTime
from nightdesk.errors import ConfigurationError, CredentialsError
from nightdesk.rithmic.login_refusals import LoginRefusals, Refusals, forget
from nightdesk.trading.schedule import MarketSchedule
from tests.calendar_support import at
from tests.fake_gateway import FakeGateway
from tests.fakes import FakeContext
from tests.support import wait_until_async
from tests.test_plants_break import SkippingClock, is_up, plant
from tests.test_plants_integration import LOG, SYMBOL, configuration, run, started, write_endpoint
from tests.test_plants_integration import folder as folder

TRADING, BREAK, PRE_OPEN = "2026-11-23 10:00", "2026-11-23 16:10", "2026-11-23 16:45"
REASON = "the gateway refused the login of plant ticker: permission denied"


class Desk:
    """Several plants' gates on one file, at a time of the exchange's clocks that a test sets."""

    def __init__(self, folder: Path, moment: str) -> None:
        self.clock = ManualClock(5 * 10**18)
        self.time = ManualTime(self.clock, at(moment))
        self.refusals = LoginRefusals(str(folder))

    def gate(self, *, has_logged_in: bool = False) -> LoginGate:
        schedule = MarketSchedule({SYMBOL: load_calendar("cme_equity")})
        gate = LoginGate(
            self.refusals,
            refusals_max=3,
            link_schedule=LinkSchedule(schedule, self.time, self.clock),
            market_time=self.time,
            clock=self.clock,
            log=LOG,
        )
        gate.has_logged_in = has_logged_in
        return gate

    def refuse(self, gate: LoginGate, times: int = 1) -> None:
        for _ in range(times):
            gate.before_login()
            gate.login_refused(REASON)


def test_file_is_there_from_a_refusal_to_the_next_good_login(tmp_path: Path) -> None:
    """It is whole at any moment, readable by its owner only, and says what, when and how often."""
    desk = Desk(tmp_path, TRADING)
    assert desk.refusals.read() == Refusals()
    desk.clock.advance(7.0)
    desk.refuse(desk.gate())
    assert desk.refusals.read() == Refusals(
        counted=1, wall_ns=desk.clock.now_ns(), market_ns=desk.time.now_ns(), monotonic_s=7.0, reason=REASON
    )
    assert stat.S_IMODE(desk.refusals.path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["login_refusals.json"]
    desk.gate().login_accepted()
    desk.gate().login_accepted()
    assert os.listdir(tmp_path) == []


def test_limit_is_that_of_all_plants_and_of_those_that_are_started_again(tmp_path: Path) -> None:
    """Three, whoever was refused; then none, by anybody; a good login in between begins the count anew."""
    desk = Desk(tmp_path, TRADING)
    one, other = desk.gate(), desk.gate()
    desk.refuse(one)
    desk.refuse(other)
    assert (one.last.counted, other.last.counted, other.is_last_quiet) == (1, 2, False)
    one.before_login()
    one.login_accepted()
    desk.refuse(other, 2)
    desk.gate().before_login()
    desk.refuse(other)
    for again in (one, other, desk.gate(), desk.gate(has_logged_in=True)):
        with pytest.raises(LoginsEndedError, match=r"has refused 3 logins .* permission denied") as ended:
            again.before_login()
        assert ended.value.exit_code == 3
    desk.time.set(at(BREAK))
    with pytest.raises(LoginsEndedError):
        one.before_login()


def test_plants_that_were_logged_in_wait_together(tmp_path: Path) -> None:
    """One try a minute after the first refusal, one five minutes after the second: not one of each plant."""
    desk = Desk(tmp_path, TRADING)
    one, other = desk.gate(has_logged_in=True), desk.gate(has_logged_in=True)
    for wait_s in (60.0, 300.0):
        desk.refuse(one)
        for gate in (one, other):
            with pytest.raises(LoginPostponedError) as postponed:
                gate.before_login()
            assert postponed.value.delay_s == wait_s
        desk.clock.advance(wait_s - 0.5)
        with pytest.raises(LoginPostponedError) as postponed:
            other.before_login()
        assert postponed.value.delay_s == 0.5
        desk.clock.advance(0.5)
        one, other = other, one
    desk.refuse(one)
    with pytest.raises(LoginsEndedError):
        other.before_login()


def test_file_of_another_boot_makes_nobody_wait_longer(tmp_path: Path) -> None:
    """Its monotonic time may be later than this machine's."""
    desk = Desk(tmp_path, TRADING)
    desk.refusals.write(Refusals(counted=1, monotonic_s=1e6))
    with pytest.raises(LoginPostponedError) as postponed:
        desk.gate(has_logged_in=True).before_login()
    assert postponed.value.delay_s == 60.0


def test_quiet_refusals_are_three_together_and_then_one_at_each_event(tmp_path: Path) -> None:
    """In the break: four plants, three tries; with the calendar's next event one more, by whoever comes first."""
    desk = Desk(tmp_path, BREAK)
    plants = [desk.gate(has_logged_in=True) for _ in range(4)]
    for gate in plants[:3]:
        desk.refuse(gate)
    assert (plants[2].last.quiet, plants[2].last.counted, plants[2].is_last_quiet) == (3, 0, True)
    for gate in plants:
        with pytest.raises(LoginPostponedError) as postponed:
            gate.before_login()
        assert postponed.value.delay_s == 86_400
    desk.time.set(at(PRE_OPEN))
    for gate in plants:
        gate.event_ns = at(PRE_OPEN)
    desk.clock.advance(0.1)
    desk.refuse(plants[3])
    for gate in (*plants, desk.gate(has_logged_in=True)):
        with pytest.raises(LoginPostponedError):
            gate.before_login()
    desk.time.set(at("2026-11-23 17:00"))
    plants[0].before_login()


def test_damaged_file_lets_nobody_log_in(tmp_path: Path) -> None:
    """It may have held three: only somebody who starts the system anew may say that it did not."""
    desk = Desk(tmp_path, TRADING)
    for content in (b"", b"{", b'{"counted":-1}', b'{"counted":"1"}', b'{"others":1}', b"[]", b"\xff"):
        desk.refusals.path.write_bytes(content)
        with pytest.raises(CredentialsError, match="cannot be read"):
            desk.gate().before_login()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_process_without_descriptors_ends_alone(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it cannot open is no refusal, and no reason to end the system; its successor can open it."""
    desk = Desk(tmp_path, TRADING)

    def fail(path: Path) -> bytes:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(OSError, match=os.strerror(number)):
        desk.gate().before_login()


def test_start_by_hand_forgets_and_says_so(tmp_path: Path) -> None:
    """One warning with the number, the newest and its reason; nothing where there is nothing to forget."""
    desk = Desk(tmp_path, TRADING)
    with capture_logs() as lines:
        forget(str(tmp_path), LOG)
        assert lines == []
        desk.refuse(desk.gate(), 2)
        forget(str(tmp_path), LOG)
        desk.refusals.path.write_bytes(b"{")
        forget(str(tmp_path), LOG)
        forget(str(tmp_path), LOG)
    assert [(line["event"], line["log_level"]) for line in lines] == [("login_refusals_forgotten", "warning")] * 2
    assert (lines[0]["tries"], lines[0]["reason"]) == ("2", REASON)
    assert lines[0]["last"].startswith("2128-06-11T")
    assert "cannot be read" in lines[1]["reason"]
    assert desk.refusals.read() == Refusals()
    desk.refusals.path.mkdir()
    with pytest.raises(ConfigurationError, match=r"cannot be removed .*; remove it yourself"):
        forget(str(tmp_path), LOG)


def two_plants(folder: Path, *, incarnation: int = 1) -> list[PlantBody]:
    configured = configuration(folder).to_json()
    return [
        kind(FakeContext(f"plants/{kind.kind}", configured, SkippingClock(), incarnation=incarnation))
        for kind in (TickerPlantBody, HistoryPlantBody)
    ]


def test_two_plants_make_three_refused_logins_and_their_successors_none(folder: Path) -> None:
    """The password is wrong: both end with code 3, and so does what a supervisor would start in their place."""

    async def scenario() -> None:
        async with FakeGateway() as gateway:
            for incarnation in (1, 2):
                bodies = two_plants(folder, incarnation=incarnation)
                write_endpoint(bodies[0].run, gateway, "wrong")
                async with AsyncExitStack() as stack:
                    contexts = [await stack.enter_async_context(started(body)) for body in bodies]
                    await wait_until_async(lambda contexts=contexts: all(each.crashed for each in contexts))  # type: ignore[misc]
                    assert all(isinstance(each.crashed, CredentialsError) for each in contexts)
                    told = [alert.event for each in contexts for alert in each.alerts]
                    assert told == ["login_refused"] * (3 if incarnation == 1 else 0)
                assert len(gateway.of(10)) == 3

    run(scenario)


def test_plants_that_lose_a_good_link_together_are_not_refused_three_times_at_once(folder: Path) -> None:
    """A gateway that is not ready yet refuses the first of them; the other does not even try."""

    async def scenario() -> None:
        bodies = two_plants(folder)
        async with FakeGateway() as gateway, AsyncExitStack() as stack:
            write_endpoint(bodies[0].run, gateway, gateway.password)
            contexts = [await stack.enter_async_context(started(body)) for body in bodies]
            for body in bodies:
                await is_up(body)
            good, gateway.password = gateway.password, "another"
            with capture_logs() as lines:
                for connection in list(gateway.connections):
                    await connection.close()
                await wait_until_async(lambda: _count(lines, "login_refused") + _count(lines, "login_postponed") == 2)
            assert (_count(lines, "login_refused"), len(gateway.of(10))) == (1, 3)
            gateway.password = good
            for body in bodies:
                clock = body.context.clock
                assert isinstance(clock, SkippingClock)
                clock.skipped_s += 61.0
            for body in bodies:
                await is_up(body)
            assert len(gateway.of(10)) == 5
            assert not LoginRefusals(bodies[0].run.state_dir).path.exists()
            assert [context.crashed for context in contexts] == [None, None]
            assert all(body._failures <= 2 for body in bodies), "what was not tried is no failed attempt"

    run(scenario)


def _count(lines: Sequence[Mapping[str, Any]], event: str) -> int:
    return sum(line["event"] == event for line in lines)


def test_refusals_that_cannot_be_written_are_counted_by_each_plant(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: three tries of this plant, not for ever; and a line says that nobody else knows of them."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LoginRefusals, "write", full)

    async def scenario() -> None:
        (body, _) = two_plants(folder)
        async with FakeGateway() as gateway:
            write_endpoint(body.run, gateway, "wrong")
            with capture_logs() as lines:
                async with started(body) as context:
                    await wait_until_async(lambda: context.crashed)
                    assert isinstance(context.crashed, CredentialsError)
            assert len(gateway.of(10)) == 3
            assert _count(lines, "login_refusals_unwritten") == 3

    run(scenario)


def test_plants_in_the_break_try_once_more_together_at_its_next_event(folder: Path) -> None:
    """Three refusals of two plants and one hint; with the pre-open a fourth, and the good login frees the other."""

    async def scenario() -> None:
        body, context, time = plant(folder, "2026-11-23 22:10")
        other = HistoryPlantBody(FakeContext("plants/history", context.config, context.clock, market_time=time))
        async with FakeGateway() as gateway:
            good, gateway.password = gateway.password, "another"
            write_endpoint(body.run, gateway, good)
            async with started(body), started(other) as other_context:
                tried = partial(_logins, gateway)
                with capture_logs() as lines:
                    await wait_until_async(lambda: tried() == 3 and _count(lines, "login_postponed") >= 1)
                hints = [alert.event for each in (context, other_context) for alert in each.alerts]
                assert hints == ["login_refused"]
                with capture_logs() as lines:
                    time.set(at("2026-11-23 16:45:01"))
                    await wait_until_async(lambda: _count(lines, "login_refused") == 1)
                    await wait_until_async(lambda: _count(lines, "login_postponed") >= 1)
                assert (tried(), _count(lines, "login_refused")) == (4, 1)
                gateway.password = good
                time.set(at("2026-11-23 17:00:00"))
                for each in (body, other):
                    await is_up(each)
                assert tried() == 6

    run(scenario)


def _logins(gateway: FakeGateway) -> int:
    return len(gateway.of(10))
