"""Every fault once, and what an unmodified async_rithmic client saw; prints Markdown.

Run it with ``python -m tests.clients.fault_table``, or with some of its rows' names.

Each fault has an exchange and a client of its own. The client subscribes to ticks and positions; the fault is injected
through the exchange's command socket; the client sends a market order and asks for its orders and positions; then the
fault is healed and it tries again. What really reached the exchange is read from the exchange's own wire log.
"""

import asyncio
import contextlib
import logging
import re
import ssl
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from async_rithmic import DataType, OrderType, RithmicClient, SysInfraType, TransactionType
from async_rithmic.objects import ReconnectionSettings, RetrySettings

from nightdesk.clocks import SystemClock
from nightdesk.console.client import request
from nightdesk.settings.folders import EXCHANGE_SOCKET, Folders
from nightdesk.settings.models import Exchange, Instrument, Risk, Settings, SyntheticSource
from nightdesk.settings.runtime import ExchangeEndpoint, RunConfiguration
from nightdesk.simulator.assembly import listening
from nightdesk.simulator.wire.wire_log_reader import WireLogReader

ES = {"symbol": "ESH4", "exchange": "CME"}
PLANTS = [SysInfraType.ORDER_PLANT, SysInfraType.TICKER_PLANT, SysInfraType.PNL_PLANT]
TIMEOUT_S = 1.5
"""The client's own patience for one answer; the library's default is 30."""
LOGIN_S = 2.0
ORDER_PATIENCE_S = 3.0
UNHURRIED_S = 15.0
"""For everything before and after the fault."""
WATCH_S = 0.6
AT_ONCE_MAX = 7
SETTLE_S = 0.2
NEW_ORDER = 312
TOLD = ("open", "complete")
"""Of the notifications 351 those that the table names; the others stand between them."""

CASES: dict[str, dict[str, str]] = {
    "drop": {},
    "rst": {},
    "half_open": {},
    "delay": {"latency_s": "0.3", "jitter_s": "0.1"},
    "slow_read": {"bytes_per_s": "60"},
    "trickle": {"bytes_per_s": "3000"},
    "mute": {"templates": "312"},
    "mute (lost)": {"templates": "312", "lost": "true"},
    "duplicate": {},
    "reorder": {"templates": "[351, 352]", "window": "8", "hold_s": "0.4"},
    "corrupt (flip)": {"how": "flip", "templates": "[150, 151]"},
    "corrupt (length)": {"how": "length", "templates": "[150, 151]"},
    "corrupt (varint)": {"how": "varint", "templates": "[150, 151]"},
    "corrupt (text)": {"how": "text", "templates": "[150, 151]"},
    "corrupt (oversize)": {"how": "oversize", "templates": "[150, 151]"},
    "unknown_template": {},
    "partial_list": {"templates": "320", "cut": "1"},
    "partial_list (no end)": {"templates": "320", "cut": "0", "terminal": "false"},
    "refused_login": {},
    "forced_logout": {},
    "maintenance": {},
    "reserved_market": {},
    "foreign_orders": {"quantity": "3"},
    "wrong_positions": {"offset": "7"},
    "late_ack": {"templates": "[313, 351]", "delay_s": "0.5"},
    "fill_before_ack": {},
    "clock_skew": {"offset_s": "3600"},
}
"""What is injected, by the row's name; its first word is the fault."""

_NUMBERS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]+")
INSTANT = ("drop", "rst", "forced_logout")


@dataclass
class Seen:
    """What one client saw while the fault was there, and afterwards."""

    order: str = ""
    events: list[str] = field(default_factory=list)
    """What the client was told of its order, in the order of arrival."""
    orders: str = ""
    positions: str = ""
    ticks: int = 0
    disconnected: list[str] = field(default_factory=list)
    reconnected: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    """The library's own warnings and errors."""
    received: int = 0
    """How often the exchange received the order."""
    after: str = ""
    skew_s: int = 0

    def sentence(self) -> str:
        """One cell of the table."""
        counts = Counter(self.events)
        told = " → ".join(f"{event}{f' x{count}' if count > 1 else ''}" for event, count in counts.items()) or "nothing"
        parts = [f"order: {self.order}, received x{self.received}, told {told}"]
        parts.append(f"orders: {self.orders}; positions: {self.positions}")
        parts.append(f"{self.ticks} ticks")
        if self.disconnected or self.reconnected:
            lost, back = ", ".join(self.disconnected) or "nobody", ", ".join(self.reconnected) or "nobody"
            parts.append(f"`on_disconnected` {lost}, logged in again {back}")
        if abs(self.skew_s) > 60:
            parts.append(f"ticks are {self.skew_s:+d} s off")
        if self.log:
            parts.append(f"{len(self.log)} warnings in its log, first “{self.log[0]}”")
        return "; ".join(parts)


class _Collecting(logging.Handler):
    """The library's warnings of one client."""

    def __init__(self, suffix: str, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._suffix = suffix
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.endswith(self._suffix):
            error = f" ({type(record.exc_info[1]).__name__})" if record.exc_info and record.exc_info[1] else ""
            text = _NUMBERS.sub("…", (record.getMessage().splitlines() or [""])[0])
            self._lines.append(text[:90] + error)


def configuration(folder: Path) -> RunConfiguration:
    """One contract, forty ticks a second."""
    source = SyntheticSource(kind="synthetic", seed=3, ticks_per_second=40.0)
    settings = Settings(
        name="faults",
        mode="sim",
        instruments=[Instrument(**ES, tick_size=0.25, point_value=50.0, commission=2.0)],
        risk=Risk(max_order_quantity=10, max_position=10, max_open_orders=10, max_orders_per_second=10),
        exchange=Exchange(source=source, sessions="always"),
    )
    return RunConfiguration(
        settings=settings, config_file="test.yaml", state_dir=str(folder / "s"), runtime_dir=str(folder / "r")
    )


class Observer:
    """One client of one exchange, and the commands to that exchange."""

    def __init__(self, name: str, run: RunConfiguration, endpoint: ExchangeEndpoint) -> None:
        self.name = name
        self.seen = Seen()
        self._run = run
        self._suffix = "." + "".join(filter(str.isalnum, name))
        self.handler = _Collecting(self._suffix, self.seen.log)
        self.client = self._client(endpoint)
        self._ticks: list[dict[str, Any]] = []
        self._filled = 0
        self._order = 0

    def _client(self, endpoint: ExchangeEndpoint) -> RithmicClient:
        client = RithmicClient(
            endpoint.user, endpoint.password, endpoint.system_name, "fault table", "1.0", endpoint.url,
            retry_settings=RetrySettings(max_retries=1, timeout=TIMEOUT_S, jitter_range=None),
            reconnection_settings=ReconnectionSettings(backoff_type="constant", interval=0.2),
            logger_name_suffix=self._suffix,
        )  # fmt: skip
        client.ssl_context = ssl.create_default_context(cafile=endpoint.ca_file)
        client.on_tick += self._on_tick
        client.on_rithmic_order_notification += self._on_notification
        client.on_exchange_order_notification += self._on_report
        client.on_disconnected += lambda plant: self.seen.disconnected.append(plant)
        client.on_connected += lambda plant: self.seen.reconnected.append(plant)
        return client

    def _on_tick(self, tick: dict[str, Any]) -> None:
        self._ticks.append(tick)

    def _on_notification(self, notification: Any) -> None:
        if notification.status in TOLD:
            self.seen.events.append(f"351 {notification.status}")

    def _on_report(self, report: Any) -> None:
        if not report.is_snapshot:
            self.seen.events.append(f"352 {report.report_type}")

    async def command(self, verb: str, **arguments: str) -> Any:
        """One command to the exchange, as the command line sends it."""
        folders = Folders("faults", self._run.state_dir, self._run.runtime_dir, "test.yaml")
        return await asyncio.to_thread(request, folders, verb, arguments, socket_name=EXCHANGE_SOCKET)

    def be_patient(self, timeout_s: float) -> None:
        """How long the client waits for an answer; a busy machine must not look like a fault."""
        self.client.retry_settings.timeout = timeout_s

    async def connect(self, patience_s: float) -> str:
        """Log in on the plants; what came of it."""
        outcome = await _outcome(self.client.connect(plants=PLANTS, plant_connect_delay=0.0), patience_s)
        return "connected" if outcome == "None" else outcome

    async def subscribe(self) -> None:
        """Ticks and positions, and a first order so that the lists have something in them."""
        await self.client.subscribe_to_pnl_updates()
        for kind in (DataType.LAST_TRADE, DataType.BBO):
            await self.client.subscribe_to_market_data(*ES.values(), kind)
        await self.order()
        await asyncio.sleep(SETTLE_S)
        self.seen.events.clear()
        self.seen.disconnected.clear()
        self.seen.reconnected.clear()
        self._ticks.clear()

    async def order(self) -> str:
        """Buy one at the market; how the call ended, and after how long."""
        self._order += 1
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        sending = self.client.submit_order(
            f"{self._suffix}-{self._order}", **ES, qty=1, transaction_type=TransactionType.BUY,
            order_type=OrderType.MARKET,
        )  # fmt: skip
        outcome = await _outcome(sending, self.client.retry_settings.timeout + ORDER_PATIENCE_S)
        spent_s = loop.time() - began_s
        self.seen.events += ["313"] * outcome.startswith("[")
        return f"{'acknowledged' if outcome.startswith('[') else outcome} after {spent_s:.1f} s"

    async def use(self) -> None:
        """An order, the lists, and some ticks."""
        before = len(self._ticks)
        self.seen.order = await self.order()
        await asyncio.sleep(WATCH_S)
        self.seen.ticks = len(self._ticks) - before
        self.seen.orders = await _outcome(_count(self.client.list_orders()), 3.0)
        self.seen.positions = await _outcome(_net(self.client.list_positions()), 3.0)
        if self._ticks:
            self.seen.skew_s = round(self._ticks[-1]["datetime"].timestamp() - SystemClock().now_ns() / 1e9)

    async def close(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.client.disconnect(timeout=0.5), 3.0)


async def _count(listing: Awaitable[Any]) -> str:
    return str(len(await listing))


async def _net(listing: Awaitable[Any]) -> str:
    return ",".join(f"{each.net_quantity:+d}" for each in await listing) or "flat"


async def _outcome(work: Awaitable[Any], patience_s: float) -> str:
    """What an await gave, or how it failed."""
    try:
        return str(await asyncio.wait_for(work, patience_s))[:80]
    except TimeoutError:
        return "TimeoutError"
    except Exception as error:  # noqa: BLE001 - whatever the library throws is what the client saw.
        text = str(error).split(" for the request")[0].splitlines() or [""]
        return f"{type(error).__name__}: {text[0][:80]}".rstrip(": ")


async def observe(name: str) -> Seen:
    """Run one row of the table."""
    fault = name.partition(" ")[0]
    with tempfile.TemporaryDirectory(prefix="nd-") as temporary:
        run = configuration(Path(temporary))
        found: list[ExchangeEndpoint] = []
        async with listening(
            run,
            clock=SystemClock(),
            logger=structlog.wrap_logger(None, processors=[_nothing]),
            on_listening=found.append,
        ):
            observer = Observer(name, run, found[0])
            library = logging.getLogger("rithmic")
            # Nightdesk's own adapter switches the library's log off for the whole process; this client is as it ships.
            before = library.level
            library.setLevel(logging.WARNING)
            library.addHandler(observer.handler)
            try:
                seen = await _scenario(observer, fault, CASES[name])
            finally:
                await observer.close()
                library.removeHandler(observer.handler)
                library.setLevel(before)
        tag = f"{observer._suffix}-2"
        orders = WireLogReader(run.state_dir).received(NEW_ORDER)
        seen.received = sum(each.message.user_tag == tag for each in orders)
        return seen


async def _scenario(observer: Observer, fault: str, parameters: dict[str, str]) -> Seen:
    observer.be_patient(UNHURRIED_S)
    if fault == "refused_login":
        await observer.command("fault", fault=fault, **parameters)
        observer.seen.order = f"login: {await observer.connect(LOGIN_S)}"
        seen = deepcopy(observer.seen)
        await observer.command("heal")
        seen.after = await observer.connect(UNHURRIED_S)
        return seen
    assert await observer.connect(UNHURRIED_S) == "connected"
    await observer.subscribe()
    observer.be_patient(TIMEOUT_S)
    await observer.command("fault", fault=fault, **parameters)
    await observer.use()
    if fault not in INSTANT:
        await observer.command("heal")
    await asyncio.sleep(WATCH_S)
    observer.be_patient(UNHURRIED_S)
    # What comes from now on is no longer the fault's doing.
    seen = deepcopy(observer.seen)
    seen.after = await observer.order()
    return seen


async def observe_all(names: list[str]) -> dict[str, Seen]:
    """Run several rows, some at once."""
    places = asyncio.Semaphore(AT_ONCE_MAX)

    async def one(name: str) -> Seen:
        async with places:
            return await observe(name)

    return dict(zip(names, await asyncio.gather(*map(one, names)), strict=True))


def _nothing(*_: Any) -> Any:
    raise structlog.DropEvent


@contextlib.contextmanager
def quiet_library() -> Iterator[None]:
    """The library prints its log to standard output; here only the handlers of the observers listen."""
    logger = logging.getLogger("rithmic")
    handlers = list(logger.handlers)
    for handler in handlers:
        logger.removeHandler(handler)
    is_propagating, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.propagate = is_propagating
        for handler in handlers:
            logger.addHandler(handler)


def table(rows: dict[str, Seen]) -> str:
    """Markdown."""
    lines = ["| fault | parameters | what the client saw | an order after it |", "|---|---|---|---|"]
    for name, seen in rows.items():
        parameters = " ".join(f"{key}={value}" for key, value in CASES[name].items())
        cells = (name, parameters, seen.sentence(), seen.after)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    with quiet_library():
        print(table(asyncio.run(observe_all(sys.argv[1:] or list(CASES)))))
