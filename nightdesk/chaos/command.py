"""The verb ``chaos``: checks its words, runs, prints, and says by its exit code whether everything holds."""

import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import orjson
import typer

from nightdesk.clocks import SystemClock
from nightdesk.console import render
from nightdesk.console.verbs import JsonOption
from nightdesk.errors import ConfigurationError

EXIT_BROKEN = 1
EXIT_INTERRUPTED = 130
SEED_MAX = 2**31 - 1
MINUTES_MAX = 60.0
"""The audit holds all of a run in memory."""
STRATEGIES_MAX = 16
REPORT_FILE = "report.json"
"""In a folder that is kept."""

FOLDER_BYTES_MAX = 60
"""What Unix sockets leave for the name of the folder."""


def chaos(
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the market and of every choice.")] = 1,
    minutes: Annotated[
        float, typer.Option("--minutes", metavar="M", help=f"How long faults come; at most {MINUTES_MAX:g}.")
    ] = 1.0,
    strategies: Annotated[
        int, typer.Option("--strategies", metavar="N", help=f"Busy strategies, 1 to {STRATEGIES_MAX}.")
    ] = 4,
    faults: Annotated[
        str | None,
        typer.Option("--faults", metavar="LIST", help="Only these: names, and row:N for a row of the fault matrix."),
    ] = None,
    keep_folder: Annotated[
        str | None, typer.Option("--keep-folder", metavar="PATH", help="Work in this new folder and leave it there.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Random faults under live trading against an exchange of its own, then the audit; exit code 0: everything holds.

    Example: python run.py chaos --seed 7 --minutes 2
    """
    _check(seed, minutes, strategies, faults)
    with _folder(keep_folder) as folder:
        raise typer.Exit(_run(folder, seed, minutes, strategies, faults, as_json=as_json))


def _check(seed: int, minutes: float, strategies: int, faults: str | None) -> None:
    if not 0 <= seed <= SEED_MAX:
        raise ConfigurationError(f"--seed: expected a number from 0 to {SEED_MAX}, not {seed}")
    if not 0 < minutes <= MINUTES_MAX:
        raise ConfigurationError(f"--minutes: expected more than 0 and at most {MINUTES_MAX:g}, not {minutes:g}")
    if not 1 <= strategies <= STRATEGIES_MAX:
        raise ConfigurationError(f"--strategies: expected 1 to {STRATEGIES_MAX}, not {strategies}")
    if faults is not None:
        # The table brings the exchange's reader with it; the other verbs do without.
        from nightdesk.chaos.choice import chosen
        from nightdesk.chaos.table import FAULTS

        chosen(faults, FAULTS)


@contextlib.contextmanager
def _folder(kept: str | None) -> Iterator[Path]:
    if kept is None:
        with tempfile.TemporaryDirectory(prefix="nd-chaos-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    folder = Path(kept).expanduser().absolute()
    if len(str(folder).encode()) > FOLDER_BYTES_MAX:
        raise ConfigurationError(
            f"--keep-folder: {folder} is longer than {FOLDER_BYTES_MAX} bytes, too long for the sockets in it"
        )
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        raise ConfigurationError(f"--keep-folder: {folder} is there already; name a new folder") from None
    except OSError as error:
        raise ConfigurationError(f"--keep-folder: {folder} cannot be created ({error.strerror})") from None
    yield folder


def _run(folder: Path, seed: int, minutes: float, strategies: int, faults: str | None, *, as_json: bool) -> int:
    # The exchange's reader brings the protobuf classes with it; the other verbs do without.
    from nightdesk.chaos.choice import chosen
    from nightdesk.chaos.driver import Driver
    from nightdesk.chaos.job import make_job
    from nightdesk.chaos.report import Report, document, tables
    from nightdesk.chaos.table import FAULTS

    driver = Driver(make_job(folder, seed, strategies), SystemClock(), minutes, _tell, chosen(faults, FAULTS))

    async def run() -> Report:
        task = asyncio.create_task(driver.run())

        def interrupt() -> None:
            # A second Ctrl-C must not end the cleaning up.
            if not task.cancelling():
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, interrupt)
        return await task

    try:
        report = asyncio.run(run())
    except asyncio.CancelledError:
        return EXIT_INTERRUPTED
    text = orjson.dumps(document(report), option=orjson.OPT_INDENT_2)
    (folder / REPORT_FILE).write_bytes(text)
    if as_json:
        render.write(text.decode())
    else:
        render.show(tables(report))
    return 0 if report.ok else EXIT_BROKEN


def _tell(text: str) -> None:
    """Progress, for whoever watches; the result alone goes to standard output."""
    if sys.stderr is not None:
        typer.echo(text, err=True)
