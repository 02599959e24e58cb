"""The ticker plant's care for contracts: rolls by volume and by the exchange's word, reference data, the table."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from actors.contracts import Contracts
from actors.plants.front_watch import FrontWatch
from nightdesk.clocks import ManualClock, ManualTime
from nightdesk.instrument_table import TableFile
from nightdesk.rithmic.library import TEMPLATES
from nightdesk.rithmic.session import RequestRefused
from nightdesk.settings.market_time import calendars_of
from nightdesk.settings.runtime import RunConfiguration
from nightdesk.trading.schedule import MarketSchedule
from tests.calendar_support import at
from tests.fakes import FakeContext
from tests.order_plant_support import configuration
from tests.roll_support import NEW, OLD, front


class Session:
    """A gateway that knows terms of contracts and the front month."""

    def __init__(self) -> None:
        self.terms: dict[str, dict[str, Any]] = {
            symbol: {"min_qprice_change": 0.25, "single_point_value": 50.0, "expiration_date": "20231215"}
            for symbol in (OLD, NEW)
        }
        self.front = OLD
        self.refused = False
        self.asked: list[tuple[int, str]] = []

    async def request(self, template_id: int, **fields: Any) -> list[Any]:
        self.asked.append((template_id, fields["symbol"]))
        if self.refused:
            raise RequestRefused("13", "permission denied")
        if template_id == 14:
            known = self.terms.get(fields["symbol"])
            return [] if known is None else [TEMPLATES[15](template_id=15, exchange="CME", **known)]
        return [TEMPLATES[114](template_id=114, trading_symbol=self.front)]


class World:
    """A front watch, its files, and the market's clock."""

    def __init__(self, folder: Path, moment: str, **roll: Any) -> None:
        run = configuration(folder, instruments=front("roll", **roll), strategies=[])
        clock = ManualClock()
        self.time = ManualTime(clock, at(moment))
        self.context = FakeContext("plants/ticker", run.to_json(), clock, market_time=self.time)
        self.contracts = Contracts(run, self.time)
        self.wanted: list[str] = []
        schedule = MarketSchedule(calendars_of(run.settings))
        self.watch = FrontWatch(self.context, self.contracts, schedule, lambda symbol, _: self.wanted.append(symbol))
        self.session = Session()
        self.file = TableFile(run.state_dir)

    async def look(self, moment: str) -> None:
        """At another moment."""
        self.time.set(at(moment))
        await self.watch.look_and_poll(self.session)  # type: ignore[arg-type]

    def trade(self, symbol: str, moment: str, volume: int) -> None:
        """A print with the session's volume so far."""
        message = TEMPLATES[150](template_id=150, symbol=symbol, exchange="CME", presence_bits=9, volume=volume)
        self.watch.count(message, at(moment))

    def alerts(self) -> list[str]:
        return [alert.event for alert in self.context.alerts]

    def opening(self) -> tuple[str, int]:
        """The next roll's new contract and trade date, for any reader."""
        reader = Contracts(RunConfiguration.from_json(self.context.config), self.time)
        _, new = reader.next_roll("ES.front") or (None, None)
        assert new is not None
        return new.symbol, new.trade_date


def play(scene: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scene())  # type: ignore[arg-type]


def test_more_volume_in_the_next_contract_rolls_one_session_later(tmp_path: Path) -> None:
    """A whole session decides; the next one is the last under the alias; then the new contract opens."""

    async def scene() -> None:
        world = World(tmp_path, "2023-12-05 10:00", rule="volume")
        await world.watch.check(world.session)  # type: ignore[arg-type]
        assert set(world.wanted) == {OLD, NEW}
        assert world.watch.is_counting
        for moment, old, new in (("2023-12-05 15:59", 1000, 900), ("2023-12-06 15:59", 900, 1000)):
            world.trade(OLD, moment, old)
            world.trade(NEW, moment, new)
            await world.look(moment)
            assert world.opening() == (NEW, 20231214)
        await world.look("2023-12-06 16:01")
        assert world.opening() == (NEW, 20231208)
        assert world.contracts.front("ES.front") == OLD
        await world.look("2023-12-07 17:00")
        assert world.contracts.front("ES.front") == NEW
        assert world.alerts() == ["roll_done"]

    play(scene)


def test_the_exchange_s_front_month_rolls_with_the_next_opening(tmp_path: Path) -> None:
    """Asked for once in a while; a decision outlives the process that made it."""

    async def scene() -> None:
        world = World(tmp_path, "2023-12-05 10:00", rule="exchange")
        await world.watch.check(world.session)  # type: ignore[arg-type]
        assert world.opening() == (NEW, 20231214)
        world.session.front = NEW
        await world.look("2023-12-05 10:05")
        assert world.opening() == (NEW, 20231214)
        await world.look("2023-12-05 10:16")
        assert world.opening() == (NEW, 20231206)
        again = World(tmp_path, "2023-12-05 11:00", rule="exchange")
        again.watch.look()
        assert again.opening() == (NEW, 20231206)

    play(scene)


def test_a_front_month_that_was_changed_too_late_waits_for_the_next_session(tmp_path: Path) -> None:
    """Positions need their time before the last close."""

    async def scene() -> None:
        world = World(tmp_path, "2023-12-05 15:50", rule="exchange")
        world.session.front = NEW
        await world.watch.check(world.session)  # type: ignore[arg-type]
        assert world.opening() == (NEW, 20231207)

    play(scene)


def test_terms_that_the_gateway_contradicts_stop_the_contract(tmp_path: Path) -> None:
    """A critical alert, once, and a word in the table that the gate reads; other contracts trade on."""

    async def scene() -> None:
        world = World(tmp_path, "2023-12-05 10:00")
        world.session.terms[OLD]["min_qprice_change"] = 0.1
        for _ in range(2):
            await world.watch.check(world.session)  # type: ignore[arg-type]
        assert world.alerts() == ["instrument_mismatch"]
        table = world.file.read()
        assert table is not None
        assert "tick size 0.1, the configuration says 0.25" in table.contracts[OLD].problem
        assert table.contracts[NEW].problem == ""
        world.session.terms[OLD]["min_qprice_change"] = 0.25
        await world.watch.check(world.session)  # type: ignore[arg-type]
        table = world.file.read()
        assert table is not None
        assert table.contracts[OLD].problem == ""

    play(scene)


def test_a_gateway_without_reference_data_stops_nothing(tmp_path: Path) -> None:
    """Refused, or unknown: what is configured counts."""

    async def scene() -> None:
        world = World(tmp_path, "2023-12-05 10:00", rule="exchange")
        world.session.terms.clear()
        await world.watch.check(world.session)  # type: ignore[arg-type]
        world.session.refused = True
        await world.watch.check(world.session)  # type: ignore[arg-type]
        assert world.alerts() == []
        table = world.file.read()
        assert table is not None
        assert (table.contracts, table.aliases["ES.front"].contract) == ({}, OLD)

    play(scene)


def test_nothing_is_written_before_market_time_is_known(tmp_path: Path) -> None:
    """The wall clock of a simulation's machine says nothing about its contracts."""

    async def scene() -> None:
        world = World(tmp_path, "2023-12-05 10:00")
        world.time.is_known = False  # type: ignore[misc]
        world.watch.look()
        assert world.file.read() is None

    play(scene)
