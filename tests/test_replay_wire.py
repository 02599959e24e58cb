"""Recorded markets as a client on the wire sees them: the book by level and by order, several contracts at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from nightdesk.clocks import SystemClock
from nightdesk.settings.models import ReplaySource
from nightdesk.simulator.engine import Exchange, ExchangeSetup
from nightdesk.simulator.flows.mbo import MboTape
from nightdesk.simulator.flows.replay import ReplayFlow
from nightdesk.simulator.model import Product
from nightdesk.simulator.plants.bars import BarStore
from nightdesk.simulator.venue.ledger import Scale
from nightdesk.simulator.venue.log import ExchangeLog
from nightdesk.simulator.venue.venue import Venue
from nightdesk.simulator.wire.certificates import load_or_create
from nightdesk.simulator.wire.server import ExchangeServer
from tests.replay_support import text_file
from tests.simulator_support import ES, SYSTEM, USER, RawClient
from tests.support import SHARED_DATA

_needs_shared_data = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="recorded data in ../shared/data are absent")

NQ = Product("NQH4", "CME", 0.25, 20.0, 2.0)
TICKER = 1
SNAPSHOT_ROWS = 8_725
PLAYED_ROWS = 5_000
Levels = tuple[list[tuple[float, int, int]], list[tuple[float, int, int]]]


@asynccontextmanager
async def _replaying(folder: Path, **source: Any) -> AsyncIterator[ExchangeServer]:
    """An exchange at speed 0 that plays tapes; the market waits for its first subscriber."""
    products = (ES, NQ)
    venue = Venue(products, ["SIM-1"], 100_000.0)
    replay = ReplaySource(kind="replay", **source)
    exchange_log = ExchangeLog(folder / "exchange.log")
    played = frozenset(each.symbol for each in replay.recordings)
    exchange = Exchange(
        ExchangeSetup(SYSTEM, products, (USER,), speed=0.0, played_symbols=played),
        venue=venue,
        flow=ReplayFlow(replay, venue),
        bars=BarStore(),
        exchange_log=exchange_log,
        clock=SystemClock(),
        logger=structlog.get_logger(),
    )
    async with ExchangeServer(exchange, load_or_create(str(folder)), 0) as server:
        yield server
    exchange_log.close()


async def _ticker(folder: Path, server: ExchangeServer) -> RawClient:
    client = await RawClient.open(folder, server)
    await client.login(TICKER)
    return client


class _SeenBook:
    """What a client makes of 156, 160 and 116."""

    def __init__(self) -> None:
        self.levels: dict[int, dict[float, tuple[int, int]]] = {1: {}, 2: {}}
        self.orders: dict[str, tuple[int, float, int]] = {}

    def take_levels(self, frame: Any) -> None:
        if frame.update_type == 3:
            self.levels = {1: {}, 2: {}}
        for side, name in ((1, "bid"), (2, "ask")):
            sizes, orders = getattr(frame, f"{name}_size"), getattr(frame, f"{name}_orders")
            for price, size, count in zip(getattr(frame, f"{name}_price"), sizes, orders, strict=True):
                if size:
                    self.levels[side][price] = (size, count)
                else:
                    self.levels[side].pop(price, None)

    def take_image(self, frame: Any) -> None:
        for order_id, size in zip(frame.exchange_order_id, frame.depth_size, strict=True):
            self.orders[order_id] = (frame.depth_side, frame.depth_price, size)

    def take_orders(self, frame: Any) -> None:
        columns = (
            frame.update_type,
            frame.transaction_type,
            frame.depth_price,
            frame.depth_size,
            frame.exchange_order_id,
        )
        for kind, side, price, size, order_id in zip(*columns, strict=True):
            if kind == 3:
                del self.orders[order_id]
            else:
                self.orders[order_id] = (side, price, size)

    def by_level(self) -> Levels:
        return tuple(  # type: ignore[return-value]
            [(price, *self.levels[side][price]) for price in sorted(self.levels[side], reverse=side == 1)[:10]]
            for side in (1, 2)
        )

    def by_order(self) -> Levels:
        found: dict[int, dict[float, list[int]]] = {1: {}, 2: {}}
        for side, price, size in self.orders.values():
            found[side].setdefault(price, []).append(size)
        return tuple(  # type: ignore[return-value]
            [
                (price, sum(found[side][price]), len(found[side][price]))
                for price in sorted(found[side], reverse=side == 1)[:10]
            ]
            for side in (1, 2)
        )


def _recorded_levels(rows: int) -> list[Levels]:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(SHARED_DATA / "esh24_depth10_20231225.parquet").slice(0, rows)
    return [
        tuple(  # type: ignore[misc]
            [(row[f"{side}_px_{n}"], row[f"{side}_sz_{n}"], row[f"{side}_ct_{n}"]) for n in range(10)]
            for side in ("bid", "ask")
        )
        for row in table.to_pylist()
    ]


@_needs_shared_data
def test_order_book_and_depth_by_order_equal_the_recorded_market(tmp_path: Path) -> None:
    """156 gives the recorded ten levels row by row; 160 and 161 rebuild the same levels from single orders."""

    async def scenario() -> None:
        source: dict[str, Any] = {
            "path": str(SHARED_DATA / "esh24_mbo_20231225.parquet"),
            "symbol": ES.symbol,
            "limit": SNAPSHOT_ROWS + PLAYED_ROWS,
        }
        async with _replaying(tmp_path, **source) as server:
            client = await _ticker(tmp_path, server)
            seen = _SeenBook()
            contract = {"symbol": ES.symbol, "exchange": ES.exchange}
            for _, frame in await client.ask_all(115, **contract):
                if frame.exchange_order_id:
                    seen.take_image(frame)
            assert len(seen.orders) == SNAPSHOT_ROWS
            await client.send(100, **contract, request=1, update_bits=4)
            await client.send(117, **contract, request=1)
            recorded = _recorded_levels(PLAYED_ROWS)
            tape = MboTape(source["path"], Scale(ES), source["limit"])
            expected = sum(any(each.action in "ACM" for each in event.messages) for event in tape.events()) - 1
            assert expected > 4_000
            states: list[Levels] = []
            compared = 0
            while compared < expected:
                template_id, frame = await client.receive()
                if template_id == 156:
                    seen.take_levels(frame)
                    if frame.update_type in (3, 6, 7) and (not states or states[-1] != seen.by_level()):
                        states.append(seen.by_level())
                elif template_id == 160:
                    seen.take_orders(frame)
                elif template_id == 161:
                    compared += 1
                    if compared % 50 == 0:
                        assert seen.by_order() == seen.by_level()
            assert len(states) > 1_000
            # The first is the image: the snapshot, before the first event.
            assert states[1:] == recorded[: len(states) - 1]
            await client.socket.close()

    asyncio.run(scenario())


def test_tapes_of_two_contracts_wait_for_a_subscriber_of_either(tmp_path: Path) -> None:
    """A client of the second contract sets both tapes going and gets its own ticks only."""
    es = text_file(tmp_path / "es.csv", "ts_event_ns,price,size\n1000000000,5000,1\n3000000000,5000,2\n")
    nq = text_file(tmp_path / "nq.csv", "ts_event_ns,price,size\n2000000000,15000,3\n4000000000,15000,4\n")

    async def scenario() -> None:
        tapes = [{"path": str(es), "symbol": ES.symbol}, {"path": str(nq), "symbol": NQ.symbol}]
        async with _replaying(tmp_path, tapes=tapes) as server:
            client = await _ticker(tmp_path, server)
            await client.ask(100, symbol=NQ.symbol, exchange="CME", request=1, update_bits=1)
            sizes: list[tuple[str, int]] = []
            while len(sizes) < 2:
                template_id, frame = await client.receive()
                if template_id == 150 and frame.HasField("trade_size"):
                    sizes.append((frame.symbol, frame.trade_size))
            assert sizes == [(NQ.symbol, 3), (NQ.symbol, 4)]
            await client.socket.close()

    asyncio.run(scenario())


def test_order_book_of_a_tape_of_quotes_is_each_quote_in_its_turn(tmp_path: Path) -> None:
    """Also when many rows are played at once: 156 never shows a quote before the 151 of it."""
    header = "ts_event_ns,kind,price,size,bid,bid_size,ask,ask_size"
    rows = [
        f"{number},quote,,,{5000 + number // 4},{number},{5001 + number // 4},{number + 1}" for number in range(1, 30)
    ]
    tape = text_file(tmp_path / "quotes.csv", "\n".join([header, *rows]) + "\n")

    async def scenario() -> None:
        async with _replaying(tmp_path, path=str(tape), symbol=ES.symbol) as server:
            client = await _ticker(tmp_path, server)
            await client.ask(100, symbol=ES.symbol, exchange=ES.exchange, request=1, update_bits=2 | 4)
            seen = _SeenBook()
            quotes: list[Levels] = []
            books: list[Levels] = []
            sides: dict[str, tuple[float, int, int]] = {}
            while len(books) < len(rows):
                template_id, frame = await client.receive()
                if template_id == 151:
                    for name, bit in (("bid", 1), ("ask", 2)):
                        if frame.presence_bits & bit:
                            values = (getattr(frame, f"{name}_{each}") for each in ("price", "size", "orders"))
                            sides[name] = tuple(values)
                    quotes.append(([sides["bid"]], [sides["ask"]]))
                elif template_id == 156 and frame.update_type != 2:
                    seen.take_levels(frame)
                    books.append(seen.by_level())
            assert books == quotes
            await client.socket.close()

    asyncio.run(scenario())
