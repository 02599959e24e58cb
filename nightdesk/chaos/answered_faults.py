"""Faults that ask for a decision (a last will, a refusal to trade, an alarm); each tells what was decided wrongly."""

import asyncio
import shutil
import sqlite3
from asyncio.subprocess import DEVNULL
from collections.abc import Callable
from pathlib import Path
from random import Random

from nightdesk.chaos.books import JOURNAL, journal_rows
from nightdesk.chaos.control_faults import operate
from nightdesk.chaos.invariants_life import ROOT
from nightdesk.chaos.job import LAST_WILLS
from nightdesk.chaos.process import die_with_parent
from nightdesk.chaos.process_faults import JOURNAL_FAILED, PLANTS, sends_nothing, start_anew
from nightdesk.chaos.schedule import Strike
from nightdesk.chaos.strategies import STORM
from nightdesk.chaos.toll import EXCHANGE, STRANGERS, SYSTEM, Row, Toll
from nightdesk.chaos.world import ACTIVE, RUN, NotNowError, World
from nightdesk.messages.enums import OrderStatus
from nightdesk.trading.strategy_orders import FINISHED

TROUBLE = "a strategy of its own"
FILES = "its files"
COMMAND = "simulator fault"

PARKED, WILLED = "child_parked", "last_will_executed"
PARKED_S = 60.0
"""What a strategy's budget of restarts lasts, with the pauses between them."""

WILL_S = 90.0
"""What a last will has, beside other faults: an order whose fate is unknown takes more than 30 s of it."""

SIBLINGS_ORDERS = 5
SIBLINGS_S = 60.0

REFUSED_S = 60.0
REPAIRED_S = 60.0
EXIT_JOURNAL = 4
DAMAGED_BYTES = 64
PAGE_SIZE_AT, PAGE_SIZE_BYTES, PAGE_SIZE_LARGEST = 16, 2, 65_536
REPAIR = "python run.py journal repair"

NOTICED_S = 150.0
"""A difference must last for 30 s while orders of the symbol are on their way, and after the books were settled anew
for as long again."""

AGREES_S = 60.0
FLAT_S = 60.0
OFFSETS = (-3, 3, 500)
DISK_ERRORS = ("EIO", "EROFS", "ENOSPC")


async def _storm(world: World, strike: Strike, chance: Random) -> Toll:
    """A strategy that fails at each start is parked, its last will applies, and its siblings trade on."""
    name = chance.choice(sorted(world.job.strategies))
    child_id = f"strategies/{name}"
    world.note_kill(child_id)
    problems = []
    parked, willed = _counter(world, PARKED, child_id=child_id), _counter(world, WILLED, strategy_id=name)
    file = world.job.trouble_file(name)
    part = file.with_name(f"{file.name}.new")
    part.write_text(STORM)
    part.rename(file)
    try:
        if not await world.until(parked, PARKED_S):
            problems.append(f"{child_id} failed again and again for {PARKED_S:g} s and was not parked")
        elif not await world.until(willed, WILL_S):
            problems.append(f"{child_id} was parked, and its last will not carried out within {WILL_S:g} s")
        else:
            problems += _against_the_will(world, name)
        wanted = world.orders_at_exchange() + SIBLINGS_ORDERS
        if not await world.until(lambda: world.orders_at_exchange() >= wanted, SIBLINGS_S):
            problems.append(f"{child_id} was parked, and its siblings did not trade on")
    finally:
        file.unlink(missing_ok=True)
    await operate(world, "restart", id=child_id)
    return Toll(frozenset({child_id}), frozenset({child_id}), problems=tuple(problems))


def _counter(world: World, event: str, **keys: object) -> Callable[[], bool]:
    """Whether there is one more such line than now."""
    known = len(world.recorder.events(event, **keys))
    return lambda: len(world.recorder.events(event, **keys)) > known


def _against_the_will(world: World, name: str) -> list[str]:
    """What a parked strategy still has that its last will does not leave to it, by the journal."""
    state_dir, will = Path(world.job.system.state_dir), LAST_WILLS[name.partition("_")[0]]
    working = ", ".join(f"'{status}'" for status in OrderStatus if status not in FINISHED)
    entries = journal_rows(
        state_dir,
        f"SELECT count(*) FROM orders WHERE strategy_id = '{name}' AND NOT protective AND purpose = 'STRATEGY'"
        f" AND status IN ({working})",
    )[0][0]
    held = _held(world, name)
    if will == "keep":
        return []
    found = [f"{name} was parked with the last will {will}: {entries} entries still work"] if entries else []
    if will == "flatten" and held:
        found.append(f"{name} was parked with the last will {will}: it still holds {held}")
    return found


async def _damaged(world: World, strike: Strike, chance: Random) -> Toll:
    """The start is refused with the file and the mend; after the repair the books agree as if nothing had been."""
    everybody = frozenset(world.recorder.pids) | {ROOT, RUN}
    problems = []
    code = await world.stop_system()
    if code != 0:
        problems.append(f"the ordered stop ended with {code}")
    path = Path(world.job.system.state_dir) / JOURNAL
    damage(path, chance.choice(("fills", "events")))
    refused, sent = _counter(world, "journal_refused"), world.recorder.sent
    await world.start_system()
    code = await world.exit_code(REFUSED_S)
    if code != EXIT_JOURNAL or not refused():
        problems.append(f"a start with a damaged journal came to {code}, not to {EXIT_JOURNAL} with a line")
    else:
        reason = str(world.recorder.events("journal_refused")[-1].get("reason"))
        problems += [f"the refusal does not name {text}" for text in (str(path), REPAIR) if text not in reason]
    if world.recorder.sent != sent:
        problems.append("orders were sent on a damaged journal")
    if code is None:
        await world.stop_system()
    else:
        await world.system_ended()
    for verb, words in (("repair", ("--yes",)), ("verify", ())):
        code = await world.offline(("journal", verb, *words), REPAIRED_S)
        if code != 0:
            problems.append(f"journal {verb} came to {code}")
    await world.start_system()
    return Toll(everybody, frozenset({ROOT, RUN}), problems=tuple(problems))


def damage(path: Path, table: str) -> None:
    """Overwrite a part of the page at the root of a table: what was in it is elsewhere, too."""
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    finally:
        connection.close()
    with path.open("r+b") as file:
        file.seek(PAGE_SIZE_AT)
        size = int.from_bytes(file.read(PAGE_SIZE_BYTES), "big")
        file.seek((page - 1) * (PAGE_SIZE_LARGEST if size == 1 else size))
        file.write(b"\xff" * DAMAGED_BYTES)


async def _unwritable(world: World, strike: Strike, chance: Random) -> Toll:
    """Writes of the journal fail with an error of the disk: no order leaves, and the operator restarts the plant."""
    strace = shutil.which("strace")
    if strace is None:
        raise NotNowError("strace is not installed")
    pid = world.note_kill(PLANTS[0])
    known = world.recorder.counts[JOURNAL_FAILED]
    wal = Path(world.job.system.state_dir) / f"{JOURNAL}-wal"
    words = (
        "-f", "-qq", "-o", "/dev/null", "-p", str(pid), "-P", str(wal),
        "-e", f"inject=pwrite64,fdatasync,fsync,ftruncate:error={chance.choice(DISK_ERRORS)}",
    )  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        strace, *words, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, preexec_fn=die_with_parent
    )
    try:
        problems = await sends_nothing(world, strike, pid, known)
    finally:
        process.terminate()
        await process.wait()
    return await start_anew(world, pid, problems)


async def _wrong(world: World, strike: Strike, chance: Random) -> Toll:
    """The broker tells other positions than ours: trading is reduced, the operator is called, and resumes it."""
    problems = []
    told, ended = _counter(world, "position_mismatch"), _counter(world, "position_mismatch_ended")
    calls = world.recorder.alerts["position_mismatch"]
    number = await world.fault("wrong_positions", offset=chance.choice(OFFSETS))
    if not await world.until(told, NOTICED_S):
        problems.append(f"positions differed from the broker's for {NOTICED_S:g} s, and nobody said so")
    else:
        status = await world.status()
        if status is not None and status["trading_state"] == ACTIVE:
            problems.append("positions differ from the broker's, and trading is not reduced")
        if not await world.until(lambda: world.recorder.alerts["position_mismatch"] > calls, AGREES_S):
            problems.append("positions differ from the broker's, and nobody was called")
    await world.heal(number)
    if not problems and not await world.until(ended, AGREES_S):
        problems.append("positions agree again, and nobody said so")
    await operate(world, "resume-trading", reason="the broker's positions are right again")
    return Toll(may_halt=True, problems=tuple(problems))


async def _flatten_halted(world: World, strike: Strike, chance: Random) -> Toll:
    """A market that takes no order: a flatten waits for it, and is carried out when it trades again."""
    name = chance.choice(sorted(world.job.strategies))
    number = await world.fault("reserved_market", mode=chance.choice(("Reserved", "Halted")))
    await operate(world, "pause", id=f"strategies/{name}", reason="to be made flat")
    await operate(world, "flatten", id=f"strategies/{name}")
    await asyncio.sleep(strike.spell_s)
    await world.heal(number)
    is_flat = await world.until(lambda: not _held(world, name), FLAT_S)
    problems = () if is_flat else (f"{name} was to be flattened in a halted market and is not {FLAT_S:g} s later",)
    await operate(world, "resume", id=f"strategies/{name}")
    return Toll(problems=problems)


def _held(world: World, name: str) -> list[tuple[str, int]]:
    """Symbol and contracts of each position of a strategy, by the journal."""
    query = (
        "SELECT symbol, sum(CASE side WHEN 'BUY' THEN quantity ELSE -quantity END) AS net FROM fills "
        f"WHERE strategy_id = '{name}' GROUP BY symbol HAVING net != 0"
    )
    return [(str(symbol), int(net)) for symbol, net in journal_rows(Path(world.job.system.state_dir), query)]


_WHOLE = frozenset({SYSTEM})
_ALONE = frozenset({SYSTEM, EXCHANGE, STRANGERS})
_MARKET = "simulator fault, the control socket"

ANSWERED_FAULTS: tuple[Row, ...] = (
    Row(
        "strategy_storms", "12", 1, "fails at each start until it is parked; restarted by hand", TROUBLE, _storm, _WHOLE
    ),
    Row("journal_damaged", "14", 1, "a page is overwritten while down; refused, repaired", FILES, _damaged, _WHOLE),
    Row("journal_unwritable", "13", 1, "the journal's writes fail: EIO, EROFS, ENOSPC", "strace", _unwritable, _WHOLE),
    Row("flatten_halted", "23", 1, "flatten a strategy while the market is halted", _MARKET, _flatten_halted),
    Row("wrong_positions", "25", 0, "the broker tells wrong positions until it is noticed", COMMAND, _wrong, _ALONE),
)
"""Rows of the table that ask for a decision."""
