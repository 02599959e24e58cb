"""The rows of the fault matrix, one test each: all ten invariants by the exchange's log, and what the row demands.

Each is a chaos run (the exchange outside of the tree) that is limited to the kinds of its row; what only one kind must
do is asserted by the kind itself (``nightdesk/chaos``), as a problem of its round, and no round may have one.
docs/reliability.md says which row is proven where.
"""

import os
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from actors.plants.journal_schema import SCHEMA_VERSION
from nightdesk.chaos.books import JOURNAL, journal_rows
from nightdesk.chaos.choice import chosen, matrix_rows
from nightdesk.chaos.invariants_life import ROOT
from nightdesk.chaos.schedule import Strike
from nightdesk.chaos.table import FAULTS
from nightdesk.chaos.toll import SYSTEM, Row, Toll
from nightdesk.chaos.world import RUN, World
from tests.chaos import fault_rows as rows
from tests.chaos.fault_rows import Check, run_row
from tests.chaos.seeds import seeded
from tests.e2e.harness import short_folder
from tests.journal_support import without_later_columns

SEED = 31
PROVEN = frozenset({*range(1, 9), *range(11, 24), 25, 31})
"""The rows whose kinds are in the table."""

FORMER_VERSION = 4
"""Of a journal whose rows have no sums."""

_DEATHS = (rows.orders_stay_owned, rows.nobody_is_given_up, rows.nothing_is_halted, rows.settled_before_trading)
_LINKS = (*_DEATHS, rows.nobody_dies)

ROWS: dict[str, tuple[str, int, tuple[Check, ...]]] = {
    "row_1": ("row:1", 6, _DEATHS),
    "rows_2_to_6": ("kill_order_plant,net_lost", 5, (*_DEATHS, rows.logged("order_in_doubt"))),
    "row_7": ("row:7", 1, _DEATHS),
    "row_8": ("row:8", 8, _DEATHS),
    "row_11": ("row:11", 4, (*_DEATHS, rows.every_failed_callback_sent_once)),
    "row_12": ("row:12", 3, (rows.orders_stay_owned, rows.called("child_parked"), rows.logged("strategy_revived"))),
    "row_13": ("row:13", 2, (rows.orders_stay_owned, rows.settled_before_trading, rows.called("journal_failed"))),
    "row_14": ("row:14", 2, (rows.orders_stay_owned, rows.nothing_is_halted, rows.settled_before_trading)),
    "row_15": ("row:15", 1, (rows.orders_stay_owned, rows.nothing_is_halted, rows.settled_before_trading)),
    "row_16": ("row:16", 4, (rows.orders_stay_owned, rows.nobody_dies, rows.logged("frame_dropped"))),
    "row_17": ("row:17", 3, (*_LINKS, rows.in_doubt_and_settled)),
    "row_18": ("row:18", 2, (*_LINKS, rows.in_doubt_and_settled)),
    "row_19": ("row:19", 3, _LINKS),
    "row_20": ("row:20", 2, (rows.nobody_dies, rows.strangers_are_counted, rows.settled_before_trading)),
    "row_21": ("row:21", 1, (rows.orders_stay_owned, rows.tries_to_log_in_at_most(3), rows.called("login_refused"))),
    "row_22": ("row:22", 4, (*_LINKS, rows.nobody_is_paged)),
    "row_23": ("row:23", 3, (rows.orders_stay_owned, rows.nobody_dies, rows.called("flatten_incomplete"))),
    "row_25": ("row:25", 1, (rows.orders_stay_owned, rows.nobody_dies, rows.called("position_mismatch"))),
    "row_31": ("restart_by_hand,restart_worker", 3, _DEATHS),
}
"""By row: kinds of fault, how often each must strike, and what is asserted beside the invariants."""


@pytest.mark.chaos
@pytest.mark.parametrize("row", ROWS)
def test_row_of_the_matrix(row: str, request: pytest.FixtureRequest) -> None:
    """Every invariant holds, each round is back in service in time, each kind does what it must, and the log agrees."""
    kinds, times, checks = ROWS[row]
    with seeded(request, SEED), short_folder() as folder:
        outcome = run_row(folder, SEED, chosen(kinds, FAULTS), times)
        for check in checks:
            check(outcome)


async def _upgrade(world: World, strike: Strike, chance: Random) -> Toll:
    """An ordered stop with open orders; the journal is as an earlier version wrote it; a new start."""
    everybody = frozenset(world.recorder.pids) | {ROOT, RUN}
    code = await world.stop_system()
    state_dir = Path(world.job.system.state_dir)
    open_orders = journal_rows(state_dir, "SELECT count(*) FROM orders WHERE status = 'ACCEPTED'")[0][0]
    problems = [] if code == 0 and open_orders else [f"the stop came to {code} with {open_orders} open orders"]
    with closing(sqlite3.connect(state_dir / JOURNAL, isolation_level=None)) as connection:
        connection.executescript(without_later_columns(FORMER_VERSION))
        connection.execute("UPDATE meta SET value = ? WHERE key = 'version'", (str(FORMER_VERSION),))
    await world.start_system()
    return Toll(everybody, frozenset({ROOT, RUN}), problems=tuple(problems))


SHIFTED = """
import os, sys, time
real, place, state = time.time_ns, {place!r}, [0.0, 0]
def shifted():
    if time.monotonic() - state[0] > 0.2:
        try:
            state[:] = time.monotonic(), int(open(place).read() or 0) * 1_000_000_000
        except (OSError, ValueError):
            pass
    return real() + state[1]
if "simulator" not in sys.orig_argv:
    time.time_ns = shifted
"""
"""Found by every Python of the run before its first import: the wall clock, but for the exchange's, goes wrong by the
seconds in a file."""

HOUR_S = 3600
NOTICED_S = 60.0
DENIED = "order_denied"


def _clock(place: Path) -> Row:
    """The fault of row 24."""

    def turn(offset_s: int) -> None:
        place.write_text(str(offset_s))

    async def act(world: World, strike: Strike, chance: Random) -> Toll:
        problems = []
        for offset_s in (HOUR_S, -HOUR_S):
            wanted = world.recorder.counts[DENIED] + 10
            turn(offset_s)
            if not await world.until(lambda wanted=wanted: world.recorder.counts[DENIED] > wanted, NOTICED_S):  # type: ignore[misc]
                problems.append(f"the clock was wrong by {offset_s} s, and orders were not denied")
        turn(0)
        return Toll(problems=tuple(problems))

    return Row(
        "clock_jumps", "24", 1, "the wall clock jumps by an hour", "a module of Python", act, frozenset({SYSTEM})
    )


@pytest.mark.chaos
def test_row_24_a_wall_clock_that_is_wrong_by_an_hour(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ahead, then behind: entries are denied with the clock's code, no process is taken for dead, and trading goes on.

    Deadlines, heartbeats and watchdogs follow the monotonic clock: nobody's pid changes (I6).
    """
    with seeded(request, SEED), short_folder() as folder, short_folder() as modules:
        place = modules / "offset"
        place.write_text("0")
        (modules / "sitecustomize.py").write_text(SHIFTED.format(place=str(place)))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(modules), os.environ.get("PYTHONPATH", "")]).rstrip(":"))
        outcome = run_row(folder, SEED, {"clock_jumps": _clock(place)}, 1)
        codes = Counter(line["code"] for line in outcome.events(DENIED))
        assert codes["STATE_CLOCK"] >= 20, codes
        for check in _LINKS:
            check(outcome)


@pytest.mark.chaos
def test_row_31_with_a_journal_of_an_earlier_version(request: pytest.FixtureRequest) -> None:
    """Open orders are adopted, the journal is migrated, and everything agrees."""
    row = Row("upgrade", "31", 1, "a new start on an old journal", "its files", _upgrade, frozenset({SYSTEM}))
    with seeded(request, SEED), short_folder() as folder:
        outcome = run_row(folder, SEED, {"upgrade": row}, 2)
        for check in _DEATHS:
            check(outcome)
        ((version,),) = journal_rows(outcome.state_dir, "SELECT value FROM meta WHERE key = 'version'")
        assert version == SCHEMA_VERSION


def test_every_kind_of_these_rows_is_in_a_test_of_its_row() -> None:
    """A kind that is added to the table is met by the tests of its rows, and no row is left without one."""
    named = {kind for kinds, _, _ in ROWS.values() for kind in chosen(kinds, FAULTS)}
    wanted = {name for name, row in FAULTS.items() if PROVEN & set(matrix_rows(row))}
    assert wanted - named == set()
    assert {number for kind in named for number in matrix_rows(FAULTS[kind])} >= PROVEN
