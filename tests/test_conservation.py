"""Nothing is made and nothing is lost: a client's fills, the exchange's log, its positions and its money agree."""

import asyncio
import json
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import structlog

from nightdesk.clocks import SystemClock
from nightdesk.settings.models import Exchange, Instrument, ReplaySource, Risk, Settings, SyntheticSource
from nightdesk.settings.runtime import RunConfiguration
from nightdesk.simulator.assembly import assemble
from nightdesk.simulator.engine import Exchange as RunningExchange
from nightdesk.simulator.venue.summary import read_summary
from nightdesk.simulator.wire.certificates import load_or_create
from nightdesk.simulator.wire.server import ExchangeServer
from tests.chaos.seeds import seeded
from tests.support import SHARED_DATA, wait_until_async

CLIENT = Path(__file__).parent / "clients" / "random_trader.py"
MBO = SHARED_DATA / "esh24_mbo_20231225.parquet"
_needs_shared_data = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="recorded data in ../shared/data are absent")

ACCOUNT = "SIM-1"
POINT_VALUE, COMMISSION, START = Fraction(50), Fraction("2.07"), Fraction(100_000)
CENT = Fraction(1, 100)
NS_PER_S = 1_000_000_000
ORDERS_MIN = 60
"""However slow the machine, the client goes on until it has sent so many."""


@_needs_shared_data
@pytest.mark.parametrize("rows", [20_000, pytest.param(0, id="whole", marks=pytest.mark.chaos)])
def test_money_is_conserved_over_the_recorded_book(tmp_path: Path, request: pytest.FixtureRequest, rows: int) -> None:
    """The hour of the recorded book as fast as the client takes it: its pre-open, its opening, its first hour."""
    source = ReplaySource(kind="replay", path=str(MBO), symbol="ESH4", limit=rows)
    with seeded(request, 21) as rng:
        _conserved(tmp_path, rng.randrange(2**32), lambda exchange: exchange.drive.ended, source=source, speed=0.0)


@pytest.mark.parametrize(
    ("market_s", "ticks_per_s", "speed"),
    [
        pytest.param(600, 20.0, 300.0, id="short"),
        pytest.param(86_400, 5.0, 1_000.0, id="day", marks=pytest.mark.chaos),
    ],
)
def test_money_is_conserved_over_a_synthetic_market(
    tmp_path: Path, request: pytest.FixtureRequest, market_s: int, ticks_per_s: float, speed: float
) -> None:
    """A market that runs hundreds of times as fast as the clock, midnight included in the long form."""
    begun_ns: list[int] = []

    def is_over(exchange: RunningExchange) -> bool:
        begun_ns.append(exchange.now_ns())
        return exchange.now_ns() - begun_ns[0] > market_s * NS_PER_S

    with seeded(request, 22) as rng:
        seed = rng.randrange(2**32)
        source = SyntheticSource(kind="synthetic", seed=seed, ticks_per_second=ticks_per_s)
        _conserved(tmp_path, seed, is_over, source=source, speed=speed)


def _conserved(folder: Path, seed: int, is_over: Callable[[RunningExchange], bool], **exchange: Any) -> None:
    seen = asyncio.run(_traded(folder, seed, is_over, exchange))
    print(json.dumps({key: value for key, value in seen.items() if key != "fills"}), len(seen["fills"]), "fills")
    logged = read_summary(folder / "exchange.log")[ACCOUNT]
    assert [_row(each) for each in logged.fills] == seen["fills"], "the client saw other fills than were logged"
    assert len({each.fill_id for each in logged.fills}) == len(logged.fills)
    assert logged.orders_by_state.keys() <= {"FILLED", "CANCELED", "FAILED"}
    assert seen["fills_until_then"] >= 10
    assert min(seen["done"][kind] for kind in ("market", "limit", "modify", "cancel")) >= 5
    for name, fills in (("open", seen["fills"][: seen["fills_until_then"]]), ("flat", seen["fills"])):
        net, balance = _books(fills)
        told = seen[name]
        assert told["net"] == net, name
        # Worth and open profit are each rounded to a cent.
        assert abs(Fraction(told["balance"]) - balance) <= CENT * Fraction(1001, 1000), (name, float(balance))
    assert logged.positions["ESH4"] == 0
    # Without a position money is no matter of method: what came in less what went out, and nothing is rounded.
    cash = sum(
        ((-1 if side == "BUY" else 1) * size * Fraction(price) * POINT_VALUE - size * COMMISSION)
        for _, _, side, price, size in seen["fills"]
    )
    assert Fraction(seen["flat"]["balance"]) == START + cash


def _row(fill: Any) -> list[Any]:
    return [fill.fill_id, fill.basket_id, fill.side.name, fill.price, fill.quantity]


def _books(fills: list[list[Any]]) -> tuple[int, Fraction]:
    """Net quantity and balance from the fills alone: realized profit against the average price, in fractions."""
    net, average, balance = 0, Fraction(0), START
    for _, _, side, price, size in fills:
        signed = size if side == "BUY" else -size
        balance -= size * COMMISSION
        closing = min(size, abs(net)) if net * signed < 0 else 0
        direction = 1 if net > 0 else -1
        balance += closing * direction * (Fraction(price) - average) * POINT_VALUE
        opening = size - closing
        after = net + signed
        if opening:
            held = abs(after) - opening
            average = (average * held + Fraction(price) * opening) / abs(after)
        net = after
    return net, balance


async def _traded(
    folder: Path, seed: int, is_over: Callable[[RunningExchange], bool], settings: dict[str, Any]
) -> dict[str, Any]:
    """Run the exchange and the client until the market is over; what the client saw, and the exchange's books."""
    run = RunConfiguration(
        settings=Settings(
            name="test",
            mode="sim",
            instruments=[
                Instrument(
                    symbol="ESH4",
                    exchange="CME",
                    tick_size=0.25,
                    point_value=float(POINT_VALUE),
                    commission=float(COMMISSION),
                )
            ],
            risk=Risk(max_order_quantity=10, max_position=10, max_open_orders=10, max_orders_per_second=10),
            exchange=Exchange(**{"sessions": "always"} | settings),
        ),
        config_file="test.yaml",
        state_dir=str(folder),
        runtime_dir=str(folder),
    )
    exchange, log = assemble(run, clock=SystemClock(), logger=structlog.get_logger())
    async with ExchangeServer(exchange, load_or_create(str(folder)), 0) as server:
        client = await asyncio.create_subprocess_exec(
            sys.executable,
            str(CLIENT),
            server.url,
            str(folder / "exchange-ca.pem"),
            str(seed),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert client.stdin is not None
        assert client.stdout is not None
        # Read all the time: the library logs there, and with a full pipe the client would stand still.
        output = asyncio.create_task(client.stdout.read())
        try:
            await wait_until_async(
                lambda: (
                    client.returncode is not None
                    or (is_over(exchange) and len(exchange.venue.orders(ACCOUNT)) >= ORDERS_MIN)
                ),
                1_200.0,
            )
            client.stdin.write(b"stop\n")
            await asyncio.wait_for(client.wait(), 60)
        finally:
            if client.returncode is None:
                client.kill()
                await client.wait()
        assert client.returncode == 0
        seen: dict[str, Any] = json.loads((await output).splitlines()[-1])
        assert [each.net_quantity for each in exchange.venue.positions(ACCOUNT)] == [0]
        assert f"{exchange.venue.account(ACCOUNT).balance:.2f}" == seen["flat"]["balance"]
    log.close()
    return seen
