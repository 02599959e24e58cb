"""A second client, by other authors, with another reading of the protocol: ``rithmic-rapi`` as it is on PyPI."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.clients.environment import rapi_python
from tests.test_simulator_client import configuration, serving

CLIENT = Path(__file__).parent / "clients" / "rapi_client.py"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the client saw on its walk through all plants."""
    python = rapi_python()
    return asyncio.run(_walk(python, tmp_path_factory.mktemp("exchange")))


async def _walk(python: Path, folder: Path) -> dict[str, Any]:
    async with serving(configuration(folder)) as endpoint:
        process = await asyncio.create_subprocess_exec(
            python,
            CLIENT,
            endpoint.url,
            env={**os.environ, "SSL_CERT_FILE": endpoint.ca_file},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await asyncio.wait_for(process.communicate(), 120)
        assert process.returncode == 0, errors.decode()
        walked: dict[str, Any] = json.loads(output)
        return walked


def test_gateway_is_discovered_and_logged_in_to(seen: dict[str, Any]) -> None:
    """16 and 20 each on a socket of its own, then four plants."""
    assert seen["discover"] == {"systems": ["Nightdesk Simulator"], "gateways": [True]}
    assert seen["login"] == {"firm": True, "accounts": ["SIM-1"]}


def test_every_kind_of_market_data_arrives(seen: dict[str, Any]) -> None:
    """All bits of one subscription; what the client has a callback for."""
    assert (seen["data"]["front"], seen["data"]["tick"]) == ("ESH4", 0.25)
    assert {"last_trade", "best_bid_offer", "trade_statistics", "quote_statistics", "market_mode"} <= set(
        seen["data"]["pushed"]
    )


def test_order_lives_its_whole_life(seen: dict[str, Any]) -> None:
    """Rests, is modified, is canceled; a second one is filled; lists and histories know them."""
    orders = seen["orders"]
    assert list(dict.fromkeys(orders["rests"])) == ["SUBMITTED", "WORKING", "MODIFYING", "CANCELLING", "CANCELLED"]
    assert list(dict.fromkeys(orders["other"])) == ["SUBMITTED", "WORKING", "CANCELLING", "CANCELLED"]
    assert orders["open"] == [[True, 2]]
    assert orders["filled"] == "FILLED"
    assert (orders["fill_history"], orders["commissions"], orders["summary"]) == (2, 2, 4)
    assert (orders["rms"], orders["products"]) == (True, ["ES"])


def test_brackets_exits_follow_its_entry(seen: dict[str, Any]) -> None:
    """Levels move before the fill; both exits appear with it; the position's end and a cancel-all end them."""
    assert seen["brackets"] == {"entry": "FILLED", "exits": 2, "targets": [500], "stops": [300]}


def test_one_leg_of_a_pair_ends_the_other(seen: dict[str, Any]) -> None:
    """OCO: the filled leg cancels the resting one."""
    assert seen["oco"] == {"first": "CANCELLED", "second": "FILLED"}


def test_history_is_replayed_and_streamed(seen: dict[str, Any]) -> None:
    """Bars of time and of ticks, live and past, and volume profiles."""
    history = seen["history"]
    assert {history["seconds"], history["ticks"]} == {True}
    assert min(history["minutes"], history["profile"]) >= 1


def test_profit_and_loss_are_told(seen: dict[str, Any]) -> None:
    """A position's profit is pushed, and the account pays for it."""
    assert seen["pnl"] == {"balance": True, "net": [1], "costs": True}
