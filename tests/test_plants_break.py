"""A plant's link through the exchange's break: quiet while no market trades, loud when it is missing afterwards."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from actors.plants import plant as plant_module
from actors.plants.plant import PlantBody
from actors.plants.ticker import TickerPlantBody
from nightdesk.clocks import Clock, ManualTime, SystemClock
from nightdesk.errors import CredentialsError, LinkError
from nightdesk.messages import ConnectionLost, DataGap
from tests.fake_gateway import FakeGateway, frame
from tests.fakes import FakeContext
from tests.support import utc_ns, wait_until_async
from tests.test_plants_integration import (
    EXCHANGE,
    SYMBOL,
    configuration,
    market_listener,
    run,
    started,
    write_endpoint,
)
from tests.test_plants_integration import folder as folder

QUICK = 20.0
"""Ten seconds without a link are half a second of this machine; those who wait for them wait a whole one."""

IN_SESSION, IN_BREAK, REOPENED = "2026-11-23 15:00", "2026-11-23 22:10", "2026-11-23 23:00:20"


class SkippingClock(SystemClock):
    """The machine's clock, and what was skipped of it."""

    skipped_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.skipped_s


def plant(
    folder: Path, start: str, *, speed: float = 1.0, incarnation: int = 1, clock: Clock | None = None, **changes: Any
) -> tuple[TickerPlantBody, FakeContext, ManualTime]:
    """A ticker plant whose market time begins at ``start`` and passes ``speed`` times as fast as this machine's."""
    clock = clock or SystemClock()
    time = ManualTime(clock, utc_ns(start), speed=speed)
    exchange = {"sessions": "calendar", "source": {"kind": "synthetic"}}
    configured = configuration(folder, **{"exchange": exchange, **changes})
    context = FakeContext("plants/ticker", configured.to_json(), clock, incarnation=incarnation, market_time=time)
    return TickerPlantBody(context), context, time


def events(context: FakeContext) -> list[str]:
    return [alert.event for alert in context.alerts]


async def is_up(body: PlantBody) -> None:
    await wait_until_async(lambda: body.session is not None)


async def is_down(body: PlantBody) -> None:
    await wait_until_async(lambda: body.session is None)


def reconnected(body: PlantBody, count: int) -> bool:
    return body.reconnects == count


async def drop(gateway: FakeGateway) -> None:
    await gateway.connections[-1].close()


def test_loss_in_the_break_is_nobodys_alert_and_spends_no_attempts(folder: Path) -> None:
    """Lost, restored, lost again: not an alert, and the counters of a bad link stay where they were."""

    async def scenario() -> None:
        body, context, _ = plant(folder, IN_BREAK)
        async with FakeGateway() as gateway:
            write_endpoint(body.run, gateway, gateway.password)
            async with started(body), market_listener(body.run, "strategies/one") as listener:
                await is_up(body)
                await wait_until_async(lambda: len(gateway.of(100)))
                for count in (1, 2, 3):
                    await drop(gateway)
                    await wait_until_async(partial(reconnected, body, count))
                assert events(context) == []
                assert body._failures == 0
                await wait_until_async(lambda: len(listener.of(ConnectionLost)) == 3)
                assert all(lost.scheduled for lost in listener.of(ConnectionLost))

    run(scenario)


def test_loss_in_a_session_is_told_and_so_is_the_return(folder: Path) -> None:
    """While a market trades nothing has become quieter."""

    async def scenario() -> None:
        body, context, _ = plant(folder, IN_SESSION)
        async with FakeGateway() as gateway:
            write_endpoint(body.run, gateway, gateway.password)
            async with started(body):
                await is_up(body)
                await drop(gateway)
                await wait_until_async(lambda: body.reconnects == 1)
                assert events(context) == ["connection_lost", "connection_restored"]
                assert body._failures == 1

    run(scenario)


@pytest.mark.parametrize(("stable_s", "failures"), [(30.0, 3), (0.0, 1)])
def test_link_that_stood_for_long_makes_the_next_loss_the_first_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, stable_s: float, failures: int
) -> None:
    """Losses of links that stood a moment only add up: such a gateway is none."""
    monkeypatch.setattr(plant_module, "LINK_STABLE_S", stable_s)

    async def scenario() -> None:
        body, _, _ = plant(folder, IN_SESSION)
        async with FakeGateway() as gateway:
            write_endpoint(body.run, gateway, gateway.password)
            async with started(body):
                await is_up(body)
                for count in (1, 2, 3):
                    await drop(gateway)
                    await wait_until_async(partial(reconnected, body, count))
                assert body._failures == failures

    run(scenario)


def test_link_that_is_missing_after_the_reopening_alerts_once_and_its_return_is_told(folder: Path) -> None:
    """Lost in the break without a word; when trading has begun without it, that is critical at once."""

    async def scenario() -> None:
        body, context, time = plant(folder, IN_BREAK, speed=QUICK)
        async with FakeGateway() as gateway:
            write_endpoint(body.run, gateway, gateway.password)
            async with started(body):
                await is_up(body)
                refuse(gateway)
                await drop(gateway)
                await is_down(body)
                await asyncio.sleep(0.5)
                assert events(context) == []
                time.set(utc_ns("2026-11-23 23:00:00"))
                await wait_until_async(lambda: context.alerts, timeout_s=30)
                assert time.now_ns() >= utc_ns("2026-11-23 23:00:10")
                await asyncio.sleep(0.6)
                (alert,) = context.alerts
                assert (alert.event, alert.severity) == ("reconnect_overdue", "critical")
                gateway.answers.clear()
                await is_up(body)
                await wait_until_async(lambda: events(context) == ["reconnect_overdue", "connection_restored"])

    run(scenario)


def test_loss_just_before_the_close_is_critical_where_it_lasts_into_the_next_trading(folder: Path) -> None:
    """The warning of a second before the close is no news an hour later; the opening without a link is."""

    async def scenario() -> None:
        body, context, time = plant(folder, IN_SESSION, speed=QUICK)
        async with FakeGateway() as gateway:
            write_endpoint(body.run, gateway, gateway.password)
            async with started(body):
                await is_up(body)
                refuse(gateway)
                await drop(gateway)
                await wait_until_async(lambda: events(context) == ["connection_lost"])
                await wait_until_async(lambda: body.link_schedule.is_watching)
                await asyncio.sleep(1.7)
                assert events(context) == ["connection_lost"], "what was told in this trading is not told again"
                time.set(utc_ns("2026-11-23 22:00:00"))
                await wait_until_async(lambda: not body.link_schedule.is_watching)
                time.set(utc_ns("2026-11-23 23:00:00"))
                await wait_until_async(lambda: len(context.alerts) == 2, timeout_s=30)
                assert (context.alerts[1].event, context.alerts[1].severity) == ("reconnect_overdue", "critical")
                gateway.answers.clear()
                await wait_until_async(lambda: events(context)[2:] == ["connection_restored"], timeout_s=60)

    run(scenario)


def refuse(gateway: FakeGateway) -> None:
    """Every login finds its socket closed."""

    async def close(_: Any, connection: ServerConnection) -> list[bytes]:
        await connection.close()
        return []

    gateway.answers[10] = close


def test_attempts_in_the_break_never_end_the_actor(folder: Path) -> None:
    """More failures than ``reconnect_attempts_max``; as soon as the market trades they count."""

    async def scenario() -> None:
        limits = {"reconnect_initial_s": 0.001, "reconnect_max_s": 0.002, "reconnect_attempts_max": 3}
        gateway = {"url": "wss://127.0.0.1", "system_name": "-", **limits}
        body, context, time = plant(folder, IN_BREAK, gateway=gateway)
        async with started(body):
            await wait_until_async(lambda: body._quiet_failures > 6)
            assert context.crashed is None
            time.set(utc_ns(REOPENED))
            await wait_until_async(lambda: context.crashed, timeout_s=15)
            assert body._quiet_failures == 0, "the waits of the break are over with it"
            assert isinstance(context.crashed, LinkError)

    run(scenario)


def test_refused_logins_in_the_break_wait_for_its_end(folder: Path) -> None:
    """Three refusals, one hint to whoever has just started the system, then none before the calendar's next event.

    A wall clock that is put right, into trading, ends the wait as well.
    """

    async def scenario() -> None:
        body, context, time = plant(folder, IN_BREAK)
        async with FakeGateway() as gateway:
            write_endpoint(body.run, gateway, "wrong")
            async with started(body):
                await wait_until_async(lambda: len(gateway.of(10)) == 3)
                await asyncio.sleep(0.5)
                assert len(gateway.of(10)) == 3
                assert context.crashed is None
                assert [(alert.event, alert.severity) for alert in context.alerts] == [("login_refused", "warning")]
                time.set(utc_ns(IN_SESSION))
                await wait_until_async(lambda: context.crashed)
                assert len(gateway.of(10)) == 6

    run(scenario)


def test_plant_that_is_restarted_in_the_break_has_no_word_for_its_refusals(folder: Path) -> None:
    """Its login was good before: this is maintenance, and nobody has just typed a password."""

    async def scenario() -> None:
        body, context, _ = plant(folder, IN_BREAK, incarnation=2)
        async with FakeGateway() as gateway:
            write_endpoint(body.run, gateway, "wrong")
            async with started(body):
                await wait_until_async(lambda: body._quiet_refusals == 3)
                assert context.alerts == []

    run(scenario)


def test_refused_logins_in_a_session_still_end_the_system(folder: Path) -> None:
    """The break excuses nothing that lasts into the session."""

    async def scenario() -> None:
        body, context, _ = plant(folder, IN_SESSION)
        async with FakeGateway() as gateway:
            write_endpoint(body.run, gateway, "wrong")
            async with started(body):
                await wait_until_async(lambda: context.crashed)
                assert isinstance(context.crashed, CredentialsError)
                assert events(context) == ["login_refused"] * 3

    run(scenario)


def test_forced_logout_right_after_a_login_in_the_break_is_maintenance(folder: Path) -> None:
    """A gateway that throws everybody out is no session war then."""

    async def scenario() -> None:
        body, context, _ = plant(folder, IN_BREAK)
        async with FakeGateway() as gateway:
            gateway.answers[18] = lambda *_: [frame(77)]
            write_endpoint(body.run, gateway, gateway.password)
            async with started(body):
                await wait_until_async(lambda: len(gateway.of(10)) > 4, timeout_s=15)
                assert context.crashed is None
                assert events(context) == []

    run(scenario)


def trade(ssboe: int) -> bytes:
    return frame(
        150, symbol=SYMBOL, exchange=EXCHANGE, presence_bits=1, trade_price=5000.0, trade_size=1, ssboe=ssboe, usecs=0
    )


def test_outage_within_the_break_is_no_gap_and_one_over_the_opening_is(folder: Path) -> None:
    """Nothing was lost where nothing traded."""

    async def scenario() -> None:
        body, context, time = plant(folder, IN_BREAK)
        async with FakeGateway() as gateway:
            write_endpoint(body.run, gateway, gateway.password)
            async with started(body), market_listener(body.run, "strategies/one") as listener:
                await is_up(body)
                await wait_until_async(lambda: gateway.of(100))
                await gateway.push(trade(1_795_471_190))
                await wait_until_async(lambda: body.ticks == 1)
                await drop(gateway)
                await is_down(body)
                await is_up(body)
                await wait_until_async(lambda: len(gateway.of(100)) == 2)
                time.set(utc_ns(REOPENED))
                await gateway.push(trade(1_795_474_820))
                await wait_until_async(lambda: body.ticks == 2)
                assert listener.of(DataGap) == []
                await drop(gateway)
                await is_down(body)
                await is_up(body)
                await wait_until_async(lambda: len(gateway.of(100)) == 3)
                await gateway.push(trade(1_795_474_830))
                await wait_until_async(lambda: len(listener.of(DataGap)) == 1)
                assert "data_gap" in events(context)

    run(scenario)


def test_refusals_after_a_good_login_are_minutes_apart(folder: Path) -> None:
    """A gateway that refuses everybody right after its maintenance must not end the night within a second."""

    async def scenario() -> None:
        clock = SkippingClock()
        body, context, _ = plant(folder, IN_SESSION, clock=clock)
        waits: list[float] = []

        async def wait(delay_s: float, *, is_quiet: bool = False) -> None:
            waits.append(delay_s)
            clock.skipped_s += delay_s
            await asyncio.sleep(0)

        body.link_schedule.wait = wait  # type: ignore[method-assign]
        async with FakeGateway() as gateway:
            write_endpoint(body.run, gateway, gateway.password)
            async with started(body):
                await is_up(body)
                gateway.password = "another"
                await drop(gateway)
                await wait_until_async(lambda: context.crashed)
                assert isinstance(context.crashed, CredentialsError)
                assert waits[1:] == [60.0, 300.0]
                assert events(context) == ["connection_lost", *["login_refused"] * 3]

    run(scenario)
