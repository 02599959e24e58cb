"""The time in which the exchange keeps everybody out: when it is, and what clients see of it."""

import asyncio
import itertools
import ssl
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from async_rithmic import DataType, ReconnectionSettings, RithmicClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from websockets.exceptions import ConnectionClosed, InvalidStatus

from nightdesk.calendars.load import load_calendar
from nightdesk.calendars.zones import local
from nightdesk.clocks import SystemClock
from nightdesk.settings.exchange import Exchange, Maintenance, SyntheticSource
from nightdesk.settings.runtime import ExchangeEndpoint
from nightdesk.simulator.assembly import listening
from nightdesk.simulator.days.maintenance import windows
from nightdesk.simulator.venue.trade_dates import TradeDates
from nightdesk.trading.schedule import MarketSchedule
from tests.calendar_support import CHICAGO, at
from tests.days_support import Lived
from tests.simulator_support import SYSTEM, USER, RawClient, running_exchange
from tests.support import wait_until_async
from tests.test_simulator_client import configuration

EQUITY, GRAINS, ALWAYS = (load_calendar(name) for name in ("cme_equity", "cme_grains", "always"))
LOGIN = {"system_name": SYSTEM, "user": USER.name, "password": USER.password, "template_version": "5.30"}


def shown(maintenance: Maintenance, start: str, count: int, **calendars: Any) -> list[tuple[str, str]]:
    """The first windows from a moment on."""
    schedule = MarketSchedule(calendars or {"ESZ6": EQUITY})
    found = itertools.islice(windows(maintenance, schedule, CHICAGO, at(start)), count)
    return [tuple(f"{local(each, CHICAGO):%a %d %H:%M}" for each in window) for window in found]  # type: ignore[misc]


def test_each_break_has_one_window_and_a_weekend_is_one_as_well() -> None:
    """The week of Thanksgiving: Thursday's is in a halt, the weekend's ends before the pre-open."""
    assert shown(Maintenance(), "2026-11-23 12:00", 5) == [
        ("Mon 23 16:10", "Mon 23 16:40"),
        ("Tue 24 16:10", "Tue 24 16:40"),
        ("Wed 25 16:10", "Wed 25 16:40"),
        ("Thu 26 16:10", "Thu 26 16:40"),
        ("Fri 27 16:10", "Sun 29 15:30"),
    ]


def test_window_is_left_out_on_a_day_on_which_a_market_trades_then() -> None:
    """Grains that trade at ten: none; with corn's pre-open after a holiday at 16:00 there is none either."""
    assert shown(Maintenance.model_validate({"from": "10:00", "to": "10:30"}), "2026-11-23 12:00", 1) == [
        ("Sat 28 10:00", "Sun 29 15:30")
    ]
    both = {"ESZ6": EQUITY, "ZCH7": GRAINS}
    assert ("Thu 26 16:10", "Thu 26 16:40") not in shown(Maintenance(), "2026-11-25 18:00", 3, **both)
    assert shown(Maintenance(), "2026-11-25 18:00", 1, ESZ6=EQUITY, X=ALWAYS) == []


def test_weekend_can_be_left_open() -> None:
    """Then it is each day's window, where nothing trades or queues."""
    assert shown(Maintenance(weekend=False), "2026-11-27 12:00", 4) == [
        ("Fri 27 16:10", "Fri 27 16:40"),
        ("Sat 28 16:10", "Sat 28 16:40"),
        ("Mon 30 16:10", "Mon 30 16:40"),
        ("Tue 01 16:10", "Tue 01 16:40"),
    ]


@given(st.integers(at("2019-01-01 00:00"), at("2027-12-01 00:00")), st.booleans())
def test_windows_never_touch_a_session_nor_each_other(now_ns: int, weekend: bool) -> None:
    """Whatever the moment: in order, apart, and only while everything is quiet."""
    schedule = MarketSchedule({"ESZ6": EQUITY, "ZCH7": GRAINS})
    last_ns = 0
    for window in itertools.islice(windows(Maintenance(weekend=weekend), schedule, CHICAGO, now_ns), 8):
        assert last_ns < window.from_ns < window.to_ns
        assert window.to_ns > now_ns
        assert schedule.is_quiet(window.from_ns)
        kinds = {each.event.kind.value for each in schedule.events(window.from_ns, window.to_ns - 1)}
        assert not kinds & {"open", "pre_open", "resume"}
        last_ns = window.to_ns


@pytest.mark.parametrize(
    "given_",
    [{"from": "16:40", "to": "16:10"}, {"from": "24:00"}, {"from": "6:10"}, {"from": 970}, {"until": "16:00"}],
)
def test_times_that_are_none_are_refused(given_: dict[str, Any]) -> None:
    """Hours and minutes of one day, two digits each, and the end after the beginning."""
    with pytest.raises(ValidationError):
        Exchange.model_validate({"maintenance": given_})


def test_no_maintenance_at_all_is_a_setting(tmp_path: Path) -> None:
    """Nobody is logged out in the break."""
    lived = Lived(tmp_path, "2026-11-24 15:59", maintenance=None).until("2026-11-24 16:30")
    assert not lived.exchange.is_down
    assert lived.logged("exchange_maintenance_began") == []


@pytest.mark.parametrize(
    ("moment", "is_down"),
    [
        ("2026-11-24 16:09", False),
        ("2026-11-24 16:10", True),
        ("2026-11-24 16:39", True),
        ("2026-11-24 16:40", False),
        ("2026-11-28 12:00", True),
        ("2026-11-29 15:29", True),
        ("2026-11-29 15:30", False),
    ],
)
def test_exchange_that_starts_in_a_maintenance_is_down(moment: str, is_down: bool, tmp_path: Path) -> None:
    """And comes up at its end."""
    lived = Lived(tmp_path, moment)
    assert lived.exchange.is_down is is_down
    assert not lived.through(lived.exchange._days.next_ns or 0).exchange.is_down or not is_down  # type: ignore[union-attr]


def test_clients_are_logged_out_kept_out_and_let_in_again(tmp_path: Path) -> None:
    """77 and 1011 for who is logged in, 1001 for who is not, 503 for who comes; afterwards as before."""

    async def scenario() -> None:
        calendars = {"ESH4": EQUITY}
        start_ns = at("2026-11-24 16:09:00")
        async with running_exchange(tmp_path, start_ns=start_ns, quiet_speed=30.0) as (exchange, server):
            exchange.venue.dates = TradeDates(calendars)
            exchange.keep_days(calendars, Maintenance.model_validate({"from": "16:10", "to": "16:11"}), None)
            logged_in, other = await RawClient.open(tmp_path, server), await RawClient.open(tmp_path, server)
            assert (await logged_in.ask(10, infra_type=1, **LOGIN))[1].rp_code == ["0"]
            template_id, _ = await logged_in.receive()
            assert template_id == 77
            for client, code in ((logged_in, 1011), (other, 1001)):
                with pytest.raises(ConnectionClosed) as closed:
                    await client.receive()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == code
            with pytest.raises(InvalidStatus) as refused:
                await RawClient.open(tmp_path, server)
            assert refused.value.response.status_code == 503
            await wait_until_async(lambda: not exchange.is_down, 10)
            again = await RawClient.open(tmp_path, server)
            assert (await again.ask(10, infra_type=1, **LOGIN))[1].rp_code == ["0"]

    asyncio.run(scenario())


def test_unmodified_client_loses_each_plant_once_in_a_break(tmp_path: Path) -> None:
    """async_rithmic at speed: logged out by the maintenance, in again after it, and served from the opening on."""
    lines: list[dict[str, Any]] = []

    def keep(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> str:
        lines.append(dict(line))
        raise structlog.DropEvent

    def count(event: str, **keys: Any) -> int:
        return sum(line["event"] == event and keys.items() <= line.items() for line in lines)

    async def scenario() -> None:
        start = {"start": "2026-11-24T15:58:00-06:00", "speed": 400.0, "quiet_speed": 1000.0}
        source = SyntheticSource(kind="synthetic", ticks_per_second=0.5)
        run = configuration(tmp_path, source=source, sessions="calendar", **start)
        found: list[ExchangeEndpoint] = []
        logger = structlog.wrap_logger(None, processors=[keep])
        async with listening(run, clock=SystemClock(), logger=logger, on_listening=found.append):
            endpoint, ticks = found[0], list[Any]()
            again = ReconnectionSettings(backoff_type="constant", interval=0.1)
            names = (endpoint.user, endpoint.password, endpoint.system_name)
            client = RithmicClient(*names, "break", "1.0", endpoint.url, reconnection_settings=again)
            client.ssl_context = ssl.create_default_context(cafile=endpoint.ca_file)
            client.on_tick += ticks.append
            await client.connect(plant_connect_delay=0.0)
            await client.subscribe_to_market_data("ESH4", "CME", DataType.LAST_TRADE)
            await wait_until_async(lambda: count("exchange_market_mode", mode="Open") == 1, 60)
            before = len(ticks)
            await wait_until_async(lambda: len(ticks) > before + 5, 30)
            await asyncio.wait_for(client.disconnect(timeout=1.0), 10)
        assert [count("exchange_login", plant=plant) for plant in ("ticker", "order", "pnl", "history")] == [2] * 4
        assert (count("exchange_maintenance_began", clients=4), count("exchange_maintenance_ended")) == (1, 1)

    asyncio.run(scenario())
