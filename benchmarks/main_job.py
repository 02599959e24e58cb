"""Times of the main job, from outside: ``python -m benchmarks.main_job [TAPE ...]`` prints a Markdown table.

Boot and trading are measured on the shipped config/sim.yaml in private folders; each tape is played at speed 0 to two
strategies that count, through the exchange, the ticker plant and the market lanes.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from nightdesk.errors import ConfigurationError
from nightdesk.simulator.flows.tape import Tape
from nightdesk.simulator.model import Product
from nightdesk.simulator.venue.ledger import Scale
from tests.e2e.agreement import exchange_orders
from tests.e2e.harness import System, running, short_folder, sim_configuration, write_configuration
from tests.e2e.test_replay import replay_configuration, rows_of

STRATEGIES = ("strategies/sma_es", "strategies/quoter_es")
TRADING_TIMEOUT_S = 120.0
REPLAY_TIMEOUT_S = 600.0
ES = Product("ESZ6", "CME", 0.25, 50.0, 1.25)
"""Whose prices the tapes hold, as the job plays them."""

USAGE = "usage: python -m benchmarks.main_job [TAPE.parquet ...]"
EXIT_USAGE = 2


def main(arguments: Sequence[str]) -> int:
    """Measure and print; the exit code. Bad arguments are one line, before anything is measured."""
    try:
        tapes = tapes_of(arguments)
    except ConfigurationError as error:
        print(f"main_job: {error} ({USAGE})", file=sys.stderr)
        return EXIT_USAGE
    print("| measured | value |\n|---|---|")
    for name, value in main_job().items():
        print(f"| {name} | {value} |")
    for tape in tapes:
        rows, seconds = replay(tape)
        print(f"| replay of {tape.name}, {rows:,} ticks | {seconds:.1f} s, {rows / seconds:,.0f} ticks/s |")
    return 0


def tapes_of(arguments: Sequence[str]) -> list[Path]:
    """The tapes that are named, the first row of each read. Raises ``ConfigurationError``."""
    found = []
    for argument in arguments:
        if argument.startswith("-"):
            raise ConfigurationError(f"{argument[:60]!r} is no option; there are none, only tapes")
        path = Path(argument).resolve()
        if path.suffix != ".parquet" or not path.is_file():
            raise ConfigurationError(f"{argument[:200]!r} is no Parquet file that is there; name a recorded tape")
        next(Tape(str(path), Scale(ES)).rows())
        found.append(path)
    return found


def main_job() -> dict[str, str]:
    """Start the default job, wait until both examples have filled, stop it."""
    with short_folder() as folder:
        configuration = write_configuration(folder, sim_configuration(folder))
        begin_s = time.monotonic()
        with running(configuration) as system:

            def since() -> str:
                return f"{time.monotonic() - begin_s:.1f} s"

            system.wait_for("plant_logged_in", count=4)
            found = {"start to four plants logged in": since()}
            system.wait_for("reconciled")
            found["start to reconciled"] = since()
            system.wait_status(lambda status: _filled(status, 1), TRADING_TIMEOUT_S)
            found["start to a fill of both examples"] = since()
            found["resident memory of all processes"] = (
                f"{_resident_mib(system)} MiB in {len(system.processes())} processes"
            )
            found["orders received by the exchange until then"] = str(len(exchange_orders(system.state_dir)))
            begin_s = time.monotonic()
            code = system.stop()
            found["SIGTERM to the end"] = f"{since()}, exit code {code}"
    return found


def replay(tape: Path) -> tuple[int, float]:
    """Play one tape at speed 0; ticks, and seconds from the first to the last of them."""
    rows = rows_of(tape)
    with short_folder() as folder, running(write_configuration(folder, replay_configuration(folder, tape))) as system:
        system.wait_for("strategy_started", count=2)
        begin_s = time.monotonic()
        system.wait_status(
            lambda status: all(one["ticks"] >= rows for one in status["strategies"].values()), REPLAY_TIMEOUT_S
        )
        return rows, time.monotonic() - begin_s


def _filled(status: dict[str, dict[str, dict[str, int]]], fills: int) -> bool:
    return all(status["strategies"][name]["fills"] >= fills for name in STRATEGIES)


def _resident_mib(system: System) -> int:
    """The sum of the proportional set sizes: shared pages are counted once."""
    total_kib = 0
    for pid in system.processes():
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total_kib += int(line.split()[1])
    return total_kib // 1024


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
