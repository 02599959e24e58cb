"""The gateway's maintenance is quiet whatever trades meanwhile, also beside a market that never closes."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from actors.plants.link_schedule import LinkSchedule
from actors.plants.ticker import TickerPlantBody
from nightdesk.calendars.load import load_calendar
from nightdesk.calendars.maintenance import MaintenanceHours
from nightdesk.clocks import ManualClock, ManualTime, SystemClock
from nightdesk.messages import ChildId, ConnectionLost, DataGap, SubscribeMarketData
from nightdesk.settings.maintenance import maintenance_hours
from nightdesk.settings.models import Settings
from nightdesk.trading.schedule import MarketSchedule
from nightdesk.trading.sessions import AlwaysOpen
from tests.calendar_support import at
from tests.fake_gateway import FakeGateway, frame
from tests.fakes import FakeContext
from tests.support import wait_until_async
from tests.test_plants_break import events, is_down, is_up
from tests.test_plants_integration import (
    EXCHANGE,
    SYMBOL,
    Listener,
    configuration,
    run,
    started,
    write_endpoint,
)
from tests.test_plants_integration import folder as folder

ALWAYS = "ABCZ6"
"""The market that never closes."""

DAILY = MaintenanceHours("16:00", "17:00", is_weekend=False)
WEEKEND = MaintenanceHours("16:00", "17:00", is_weekend=True)


@pytest.mark.parametrize(
    ("moment", "daily", "weekend"),
    [
        ("2026-07-06 15:59:59", False, False),
        ("2026-07-06 16:00:00", True, True),
        ("2026-11-23 16:59:59", True, True),
        ("2026-11-23 17:00:00", False, False),
        ("2026-07-09 23:00:00", False, False),
        ("2026-07-10 15:59:59", False, False),
        ("2026-07-10 17:30:00", False, True),
        ("2026-07-11 00:00:00", False, True),
        ("2026-07-11 16:30:00", True, True),
        ("2026-07-12 16:59:59", True, True),
        ("2026-07-12 17:00:00", False, False),
    ],
)
def test_maintenance_is_a_time_of_the_exchange_s_clocks(moment: str, daily: bool, weekend: bool) -> None:
    """In summer and in winter; its end belongs to it no more. Over a weekend it may last without a pause."""
    assert DAILY.covers(at(moment)) is daily
    assert WEEKEND.covers(at(moment)) is weekend


@pytest.mark.parametrize(
    ("begins", "ends", "daily", "weekend"),
    [
        ("2026-07-06 16:00:00", "2026-07-06 16:59:59", True, True),
        ("2026-07-06 15:59:00", "2026-07-06 16:30:00", False, False),
        ("2026-07-06 16:30:00", "2026-07-06 17:00:00", False, False),
        ("2026-07-06 16:30:00", "2026-07-07 16:30:00", False, False),
        ("2026-07-06 16:30:00", "2026-07-06 16:29:00", False, False),
        ("2026-07-10 16:30:00", "2026-07-12 16:30:00", False, True),
        ("2026-07-10 16:30:00", "2026-07-17 16:30:00", False, False),
    ],
)
def test_outage_is_one_of_maintenance_where_all_of_it_is(begins: str, ends: str, daily: bool, weekend: bool) -> None:
    """One that began before, lasts longer, or reaches into another day's maintenance is none."""
    assert DAILY.covers_all(at(begins), at(ends)) is daily
    assert WEEKEND.covers_all(at(begins), at(ends)) is weekend


def settings(**changes: Any) -> Settings:
    values: dict[str, Any] = {
        "name": "test",
        "mode": "paper",
        "gateway": {"url": "wss://a", "system_name": "-"},
        "credentials": {"user": {"env": "A"}, "password": {"env": "B"}},
        "instruments": [{"symbol": SYMBOL, "exchange": EXCHANGE}],
        "risk": {"max_order_quantity": 5, "max_position": 9, "max_open_orders": 9, "max_orders_per_second": 99},
    }
    return Settings.model_validate(values | changes)


def gateway(maintenance: dict[str, Any] | None) -> dict[str, Any]:
    return {"url": "wss://a", "system_name": "-", "maintenance": maintenance}


@pytest.mark.parametrize(
    ("changes", "at_16", "at_18", "on_saturday"),
    [
        ({}, True, False, False),
        ({"gateway": gateway(None)}, False, False, False),
        ({"gateway": gateway({"from": "17:45", "to": "18:15"})}, False, True, False),
        ({"gateway": gateway({"weekend": True})}, True, False, True),
        ({"mode": "sim", "gateway": None, "exchange": {"sessions": "calendar"}}, True, False, False),
        ({"mode": "sim", "gateway": None, "exchange": {"sessions": "always"}}, False, False, False),
    ],
)
def test_maintenance_has_a_default_and_can_be_set(
    changes: dict[str, Any], at_16: bool, at_18: bool, on_saturday: bool
) -> None:
    """CME's break; an empty value is never, and so is an embedded exchange that never closes."""
    if changes.get("mode") == "sim":
        changes |= {"credentials": None}
    hours = maintenance_hours(settings(**changes))
    moments = ("2026-07-06 16:30", "2026-07-06 18:00", "2026-07-11 12:00")
    found = [hours is not None and hours.covers(at(moment)) for moment in moments]
    assert found == [at_16, at_18, on_saturday]


def test_maintenance_that_ends_before_it_begins_is_refused() -> None:
    """Over midnight there is none: nobody could tell it from a slip."""
    with pytest.raises(ValueError, match="let it end later than it begins"):
        settings(gateway=gateway({"from": "23:00", "to": "01:00"}))


def test_link_need_not_stand_in_the_maintenance_whatever_trades() -> None:
    """Beside a market that never closes the link is missing, and told, from the end of the maintenance on."""
    clock = ManualClock()
    time = ManualTime(clock, at("2026-11-23 15:59:30"))
    schedule = MarketSchedule({SYMBOL: load_calendar("cme_equity"), ALWAYS: AlwaysOpen()})
    link = LinkSchedule(schedule, time, clock, DAILY)
    assert link.is_trading()
    clock.advance(30)
    assert not link.is_trading()
    for _ in range(60):
        assert not link.is_overdue(is_up=False)
        clock.advance(60)
    assert link.is_trading()
    assert not link.is_overdue(is_up=False)
    clock.advance(10)
    assert link.is_overdue(is_up=False)
    assert LinkSchedule(schedule, ManualTime(clock, at("2026-11-23 16:30")), clock).is_trading()


def plant(folder: Path, start: str, **changes: Any) -> tuple[TickerPlantBody, FakeContext, ManualTime]:
    """A ticker plant of one market that keeps CME's hours and of one that never closes."""
    clock = SystemClock()
    time = ManualTime(clock, at(start))
    terms = {"exchange": EXCHANGE, "tick_size": 0.25, "point_value": 50.0}
    maintenance = changes.pop("maintenance", {})
    limits = {"reconnect_initial_s": 0.02, "reconnect_max_s": 0.1, "maintenance": maintenance}
    configured = configuration(
        folder,
        exchange={"sessions": "calendar", "source": {"kind": "synthetic"}},
        instruments=[{"symbol": SYMBOL, **terms}, {"symbol": ALWAYS, **terms}],
        market_time={"calendars": {"ABC": "always"}},
        gateway={"url": "wss://127.0.0.1", "system_name": "-", **limits},
    )
    context = FakeContext("plants/ticker", configured.to_json(), clock, market_time=time)
    return TickerPlantBody(context), context, time


def subscriber(body: TickerPlantBody) -> Listener:
    request = SubscribeMarketData(subscriber=ChildId("strategies/one"), symbol=ALWAYS, exchange=EXCHANGE)
    return Listener(body.run, "plants/ticker", "market", request)


def trade(moment: str) -> bytes:
    fields = {"symbol": ALWAYS, "exchange": EXCHANGE, "presence_bits": 1, "trade_price": 5000.0, "trade_size": 1}
    return frame(150, **fields, ssboe=at(moment) // 10**9, usecs=0)


def test_plant_is_quiet_in_the_maintenance_beside_a_market_that_never_closes(folder: Path) -> None:
    """Lost, refused and back again: nobody's alert, no count; strategies hear of it, and of what they have missed."""

    async def scenario() -> None:
        body, context, time = plant(folder, "2026-11-23 15:00")
        async with FakeGateway() as gateway:
            write_endpoint(body.run, gateway, gateway.password)
            async with started(body), subscriber(body) as listener:
                await is_up(body)
                await wait_until_async(lambda: gateway.of(100))
                await gateway.push(trade("2026-11-23 15:00:01"))
                await wait_until_async(lambda: body.ticks == 1)
                time.set(at("2026-11-23 16:10"))
                good, gateway.password = gateway.password, "nobody"
                with capture_logs() as lines:
                    await gateway.connections[-1].close()
                    await wait_until_async(lambda: len(gateway.of(10)) == 4)
                    assert body.session is None
                    gateway.password = good
                    # The calendar's next event: the plants try again.
                    time.set(at("2026-11-23 16:45:01"))
                    await is_up(body)
                    await wait_until_async(lambda: len(gateway.of(100)) == 2)
                    await gateway.push(trade("2026-11-23 16:45:02"))
                    await wait_until_async(lambda: listener.of(DataGap))
                assert events(context) == []
                assert (body._failures, body._refusals) == (0, 0)
                assert [lost.scheduled for lost in listener.of(ConnectionLost)] == [True]
                told = [(line["event"], line["log_level"]) for line in lines if line.get("scheduled")]
                assert told == [("connection_lost", "info"), *[("login_refused", "info")] * 3, ("data_gap", "info")]

    run(scenario)


@pytest.mark.parametrize(("moment", "maintenance"), [("2026-11-23 18:00", {}), ("2026-11-23 16:10", None)])
def test_plant_is_loud_outside_of_the_maintenance(folder: Path, moment: str, maintenance: object) -> None:
    """Something trades: a loss is told, and so is what was missed."""

    async def scenario() -> None:
        body, context, _ = plant(folder, moment, maintenance=maintenance)
        async with FakeGateway() as gateway:
            write_endpoint(body.run, gateway, gateway.password)
            async with started(body), subscriber(body):
                await is_up(body)
                await wait_until_async(lambda: gateway.of(100))
                await gateway.push(trade(f"{moment}:01"))
                await wait_until_async(lambda: body.ticks == 1)
                await gateway.connections[-1].close()
                await is_down(body)
                await is_up(body)
                await wait_until_async(lambda: len(gateway.of(100)) == 2)
                await gateway.push(trade(f"{moment}:02"))
                await wait_until_async(partial(_has, body, 2))
                await wait_until_async(lambda: len(context.alerts) == 3)
                assert sorted(events(context)) == ["connection_lost", "connection_restored", "data_gap"]

    run(scenario)


def _has(body: TickerPlantBody, ticks: int) -> bool:
    return body.ticks == ticks
