"""Recorded tapes at speed 0 through the whole system: every tick once, in order."""

import hashlib
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from tests.e2e.harness import running, short_folder, sim_configuration, write_configuration
from tests.support import SHARED_DATA

ESH24 = "esh24_trades_bbo_20231225.parquet"
ESU13 = "esu13_trades_20130901_20130903.parquet"
TAPES = {
    "esh24": (ESH24, {"rows": 28_412, "trades": 2_973, "limit": 0}),
    "esu13 begun": (ESU13, {"rows": 60_000, "trades": 60_000, "limit": 60_000}),
    "esu13 whole": (ESU13, {"rows": 500_000, "trades": 500_000, "limit": 0}),
}
LONG = "esu13 whole"
CASES = [pytest.param(*case, id=name, marks=pytest.mark.chaos if name == LONG else ()) for name, case in TAPES.items()]


def replay_configuration(folder: Path, tape: Path, limit: int = 0) -> dict[str, Any]:
    """The default job on a recorded tape at speed 0, with two strategies that only count."""
    source = {"kind": "replay", "path": str(tape), "symbol": "ESZ6", "limit": limit}
    strategies = [
        {
            "name": name,
            "class": "tests.e2e.counting:Counting",
            "path": str(Path(__file__).resolve().parents[2]),
            "symbols": ["ESZ6"],
        }
        for name in ("count_a", "count_b")
    ]
    return sim_configuration(
        folder,
        exchange={"source": source, "speed": 0},
        market_lane={"overflow": "block"},
        strategies=strategies,
    )


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the recorded data are not beside this checkout")
@pytest.mark.parametrize(("tape", "expected"), CASES)
def test_every_tick_of_the_tape_reaches_every_strategy_once_and_in_order(tape: str, expected: dict[str, int]) -> None:
    """At speed 0 nothing is lost, repeated or reordered between the file and two strategies."""
    with short_folder() as folder:
        configuration = write_configuration(folder, replay_configuration(folder, SHARED_DATA / tape, expected["limit"]))
        with running(configuration) as system:
            system.wait_status(
                lambda status: all(one["ticks"] >= expected["rows"] for one in status["strategies"].values()), 300
            )
            assert system.stop() == 0
            seen = system.events("tape_seen")
            assert [line["ticks"] for line in seen] == [expected["rows"]] * 2
            assert [line["trades"] for line in seen] == [expected["trades"]] * 2
            assert {line["digest"] for line in seen} == {digest_of(SHARED_DATA / tape, expected["limit"])}
            assert [line["out_of_order"] for line in seen] == [0, 0]
            assert system.events("data_gap") == []


def rows_of(path: Path) -> int:
    """The number of rows of a tape."""
    return int(pyarrow.parquet.read_metadata(path).num_rows)


def digest_of(path: Path, limit: int) -> str:
    """The order-sensitive digest of the file's own rows, computed without any of our code."""
    digest = hashlib.sha256()
    table = pyarrow.parquet.read_table(path)
    for row in table.slice(0, limit or table.num_rows).to_pylist():
        if row["kind"] == "trade":
            digest.update(f"T {row['price']:.2f} {row['size']};".encode())
        else:
            digest.update(f"Q {row['bid']:.2f} {row['bid_size']} {row['ask']:.2f} {row['ask_size']};".encode())
    return digest.hexdigest()
