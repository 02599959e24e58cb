"""The exchange alone, as ``run.py simulator`` starts it, against async_rithmic as its authors ship it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import structlog

from actors.exchange import ExchangeBody
from nightdesk.clocks import SystemClock
from nightdesk.settings.models import Exchange, Instrument, Risk, Settings, SyntheticSource
from nightdesk.settings.runtime import ExchangeEndpoint, RunConfiguration
from nightdesk.simulator.standalone import serve
from tests.fakes import FakeContext

CLIENT = Path(__file__).parent / "clients" / "unmodified_client.py"


def configuration(folder: Path, **exchange: Any) -> RunConfiguration:
    """A simulation of one contract whose folders are below ``folder``."""
    source = SyntheticSource(kind="synthetic", seed=3, ticks_per_second=200.0)
    settings = Settings(
        name="test",
        mode="sim",
        instruments=[Instrument(symbol="ESH4", exchange="CME", tick_size=0.25, point_value=50.0, commission=2.0)],
        risk=Risk(max_order_quantity=10, max_position=10, max_open_orders=10, max_orders_per_second=10),
        exchange=Exchange(**({"source": source, "sessions": "always"} | exchange)),
    )
    return RunConfiguration(
        settings=settings, config_file="test.yaml", state_dir=str(folder / "state"), runtime_dir=str(folder / "runtime")
    )


@asynccontextmanager
async def serving(run: RunConfiguration) -> AsyncIterator[ExchangeEndpoint]:
    """The exchange in a task, until the block ends."""
    listening: asyncio.Future[ExchangeEndpoint] = asyncio.get_running_loop().create_future()
    server = asyncio.create_task(
        serve(run, log=structlog.get_logger(), clock=SystemClock(), on_listening=listening.set_result)
    )
    await asyncio.wait({server, listening}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    try:
        yield listening.result()
    finally:
        server.cancel()
        with suppress(asyncio.CancelledError):
            await server


async def run_client(endpoint: ExchangeEndpoint, tag: str) -> dict[str, Any]:
    """Run the script of the unmodified client; what it saw."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(CLIENT), endpoint.url, endpoint.ca_file, tag, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, output.decode()
    seen: dict[str, Any] = json.loads(output.splitlines()[-1])
    return seen


def test_unmodified_client_trades_on_all_four_plants(tmp_path: Path) -> None:
    """Ticks, a limit order with modify and cancel, a market order with its fill, bars, ticks, positions, lists."""

    async def scenario() -> None:
        async with serving(configuration(tmp_path)) as endpoint:
            seen = await run_client(endpoint, "a")
        assert seen["ticks"] >= 20
        assert min(seen["seconds"], seen["minutes"], seen["history"], seen["pnl"]) >= 1
        # 313 is two frames; the library keeps its terminal as well.
        assert seen["accepted"] == 2
        assert (seen["modified"], seen["canceled"]) == (True, True)
        assert seen["fill"] == ["a-fills", True]
        assert (seen["position"], seen["flat"]) == ([2], [])
        # What is held is worth what the market pays for it just then.
        assert float(seen["balance"]) - float(seen["open_pnl"]) == 99_996.0
        # Answers without data come back from the library as an empty list.
        assert (seen["cancel_all"], seen["exit"]) == (0, 0)
        assert (seen["front"], seen["tick_size"]) == ("ESH4", 0.25)
        assert seen["orders"] == [["a-rests", "complete", 0], ["a-fills", "complete", 2], ["", "complete", 2]]

    asyncio.run(scenario())


def test_exchange_that_is_started_again_knows_its_orders_and_keeps_its_authority(tmp_path: Path) -> None:
    """Orders come back from the log; a client's CA file stays good; the endpoint file goes when it stops."""

    async def scenario() -> None:
        run = configuration(tmp_path)
        authority_path = tmp_path / "runtime" / "exchange-ca.pem"
        async with serving(run) as endpoint:
            assert endpoint.ca_file == str(authority_path)
            authority = authority_path.read_bytes()
            written = (tmp_path / "runtime" / "exchange.json").read_bytes()
            assert ExchangeEndpoint.model_validate_json(written) == endpoint
            first = await run_client(endpoint, "a")
        assert not (tmp_path / "runtime" / "exchange.json").exists()
        async with serving(run) as endpoint:
            assert authority_path.read_bytes() == authority
            second = await run_client(endpoint, "b")
        assert second["orders"][:3] == first["orders"]
        assert len(second["orders"]) == 6

    asyncio.run(scenario())


def test_exchange_actor_listens_while_it_runs_and_stops_without_a_crash(tmp_path: Path) -> None:
    """The actor serves the same clients as the exchange alone, and its end is an orderly one."""

    async def scenario() -> None:
        context = FakeContext("exchange", configuration(tmp_path).to_json(), SystemClock())
        body = ExchangeBody(context)
        await body.start()
        endpoint_path = tmp_path / "runtime" / "exchange.json"
        endpoint = ExchangeEndpoint.model_validate_json(endpoint_path.read_bytes())
        assert endpoint_path.stat().st_mode & 0o777 == 0o600
        seen = await run_client(endpoint, "a")
        assert seen["fill"] == ["a-fills", True]
        await body.stop()
        await context.cancel_tasks()
        assert context.crashed is None
        assert not endpoint_path.exists()

    asyncio.run(scenario())
