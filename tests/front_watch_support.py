"""A front watch of the ticker plant with its files, a gateway that knows terms and a front month, and a clock."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from actors.contracts import Contracts
from actors.plants.front_watch import FrontWatch
from nightdesk.clocks import ManualClock, ManualTime
from nightdesk.instrument_table import TableFile
from nightdesk.rithmic.library import TEMPLATES
from nightdesk.rithmic.session import RequestRefused
from nightdesk.settings.market_time import calendars_of
from nightdesk.settings.models import Instrument
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
            symbol: {"min_qprice_change": 0.25, "single_point_value": 50.0, "expiration_date": ends}
            for symbol, ends in ((OLD, "20231215"), (NEW, "20240315"))
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

    def __init__(
        self, folder: Path, moment: str, *, beside: Sequence[Instrument] = (), incarnation: int = 1, **roll: Any
    ) -> None:
        run = configuration(folder, instruments=[*front("roll", **roll), *beside], strategies=[])
        clock = ManualClock()
        self.time = ManualTime(clock, at(moment))
        self.context = FakeContext(
            "plants/ticker", run.to_json(), clock, market_time=self.time, incarnation=incarnation
        )
        self.contracts = Contracts(run, self.time)
        self.wanted: list[str] = []
        schedule = MarketSchedule(calendars_of(run.settings))
        self.watch = FrontWatch(self.context, self.contracts, schedule, lambda symbol, _: self.wanted.append(symbol))
        self.session = Session()
        self.file = TableFile(run.state_dir)

    async def login(self, moment: str = "") -> None:
        """The link is there, at another moment or now."""
        if moment:
            self.time.set(at(moment))
        await self.watch.check(self.session)  # type: ignore[arg-type]

    async def look(self, moment: str) -> None:
        """At another moment."""
        self.time.set(at(moment))
        await self.watch.look_and_poll(self.session)  # type: ignore[arg-type]

    def link_lost(self, moment: str) -> None:
        """At another moment."""
        self.time.set(at(moment))
        self.watch.link_lost()

    def trade(self, symbol: str, moment: str, volume: int) -> None:
        """A print with the session's volume so far."""
        self.time.set(at(moment))
        self.watch.count(print_of(symbol, volume), at(moment))

    def alerts(self) -> list[str]:
        return [alert.event for alert in self.context.alerts]

    def severities(self) -> dict[str, str]:
        """Of each kind of alert, the last one."""
        return {alert.event: alert.severity.name for alert in self.context.alerts}

    def process(self) -> Contracts:
        """Another process that starts now."""
        return Contracts(RunConfiguration.from_json(self.context.config), self.time)

    def opening(self) -> tuple[str, int]:
        """The next roll's new contract and trade date, for any reader."""
        _, new = self.process().next_roll("ES.front") or (None, None)
        assert new is not None
        return new.symbol, new.trade_date


def print_of(symbol: str, volume: int) -> Any:
    """A trade's frame with the session's volume so far."""
    return TEMPLATES[150](template_id=150, symbol=symbol, exchange="CME", presence_bits=9, volume=volume)


def play(scene: Callable[[], Awaitable[None]]) -> None:
    """Run what happens to a world."""
    asyncio.run(scene())  # type: ignore[arg-type]
