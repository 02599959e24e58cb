"""Faults of processes: deaths, freezes, limits, and strategies that fail by themselves."""

import asyncio
import resource
import signal
from collections.abc import Callable
from random import Random

from nightdesk.chaos.control_faults import ON_ITS_WAY_S, operate
from nightdesk.chaos.invariants_life import ROOT
from nightdesk.chaos.job import WATCHDOG_S
from nightdesk.chaos.process import children_of, descriptors_of, is_over, kill, memory_bytes_of
from nightdesk.chaos.schedule import Strike
from nightdesk.chaos.toll import SYSTEM, Act, Row, Toll
from nightdesk.chaos.world import RUN, NotNowError, World

BRANCHES = ("services", "plants", "strategies")
PLANTS = ("plants/order", "plants/pnl", "plants/ticker", "plants/history")

JOURNAL_FAILED = "journal_failed"
TOLD_S = 15.0
"""A death is in the log far sooner, a freeze of ``WATCHDOG_S`` included."""

WRITES_S = 60.0
"""Until an order plant writes to its journal: for half a minute it may ask about orders in doubt and write nothing."""

SHORT_FREEZE_S = 1.0
LONG_FREEZE_S = 10.0
SEVERAL = (2, 2, 3, 4, 8)
MEMORY_LEFT_BYTES = 1 << 20
REAL_FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)

SIGNALS = "signals"
LIMITS = "prlimit"
TROUBLE = "a strategy of its own"


def _below(child_id: str, children: frozenset[str]) -> frozenset[str]:
    """A child, and what goes with it when it is a supervisor."""
    return frozenset(each for each in children if each == child_id or each.startswith(f"{child_id}/"))


def _workers(world: World) -> list[str]:
    """Never none. Raises ``NotNowError`` while nobody has been started yet."""
    found = sorted(child for child in world.recorder.pids if child not in (*BRANCHES, ROOT))
    if not found:
        raise NotNowError("nobody has been started yet")
    return found


def _everybody(world: World) -> frozenset[str]:
    return frozenset(world.recorder.pids) | {ROOT, RUN}


def _one_of(wanted: Callable[[str], bool]) -> Callable[[World, Random], str]:
    def choose(world: World, chance: Random) -> str:
        found = [child for child in sorted(world.recorder.pids) if wanted(child)]
        if not found:
            raise NotNowError("there is no such child")
        return chance.choice(found)

    return choose


async def _strike_child(world: World, child_id: str, number: signal.Signals) -> Toll:
    """Send a signal that ends a child, and wait until its death is in the log."""
    children = frozenset(world.recorder.pids)
    pid = world.note_kill(child_id)
    kill(pid, number)
    over_s = world.clock.monotonic_s()
    await _until_told(world, pid)
    return Toll(_below(child_id, children), frozenset({child_id}), over_s=over_s)


async def _until_told(world: World, pid: int) -> None:
    generation = world.recorder.generation

    def told() -> bool:
        return world.is_death_logged(pid) or world.recorder.generation != generation or world.has_system_ended

    # A supervisor that died beside it cannot tell any more: the audit knows both.
    await world.until(lambda: told() or (is_over(pid) and not _has_supervisor(world, pid)), TOLD_S)


def _has_supervisor(world: World, pid: int) -> bool:
    child_id = next((child for child, each in world.recorder.pids.items() if each == pid), "")
    branch = child_id.partition("/")[0]
    return not is_over(world.recorder.pids.get(branch if branch != child_id else ROOT, 0))


def _kill_one(wanted: Callable[[str], bool], number: signal.Signals = signal.SIGKILL) -> Act:
    choose = _one_of(wanted)

    async def act(world: World, strike: Strike, chance: Random) -> Toll:
        return await _strike_child(world, choose(world, chance), number)

    return act


async def _kill_several(world: World, strike: Strike, chance: Random) -> Toll:
    workers = _workers(world)
    tolls = []
    for child_id in chance.sample(workers, min(len(workers), chance.choice(SEVERAL))):
        try:
            pid = world.note_kill(child_id)
        except NotNowError:
            continue
        kill(pid)
        killed = frozenset({child_id})
        tolls.append((pid, Toll(killed, killed, over_s=world.clock.monotonic_s())))
    if not tolls:
        raise NotNowError("nobody lives")
    total = Toll()
    for pid, toll in tolls:
        await _until_told(world, pid)
        total = total.plus(toll)
    return total


async def _real_fault(world: World, strike: Strike, chance: Random) -> Toll:
    return await _strike_child(world, chance.choice(_workers(world)), chance.choice(REAL_FAULTS))


async def _freeze(world: World, strike: Strike, chance: Random) -> Toll:
    """Shorter than the watchdog's time: nobody may be replaced."""
    chosen = chance.choice([*_workers(world), *BRANCHES, ROOT])
    pid = world.recorder.pids.get(chosen, 0)
    if not pid or not kill(pid, signal.SIGSTOP):
        raise NotNowError(f"{chosen} does not live")
    await asyncio.sleep(SHORT_FREEZE_S)
    kill(pid, signal.SIGCONT)
    return Toll()


async def _freeze_long(world: World, strike: Strike, chance: Random) -> Toll:
    """Longer than the watchdog's time: killed and replaced once."""
    chosen = chance.choice([*_workers(world), *BRANCHES])
    children = frozenset(world.recorder.pids)
    pid = world.note_kill(chosen)
    kill(pid, signal.SIGSTOP)
    is_replaced = await world.until(lambda: is_over(pid), LONG_FREEZE_S)
    kill(pid, signal.SIGCONT)
    await _until_told(world, pid)
    late = () if is_replaced else (f"{chosen} was frozen for {LONG_FREEZE_S:g} s and not replaced",)
    return Toll(_below(chosen, children), frozenset({chosen}), problems=late)


def _kill_system(find: Callable[[World], int], *, must_end: bool = True) -> Act:
    """Kill what the whole system hangs on; everything must end by itself, and one system is started anew."""

    async def act(world: World, strike: Strike, chance: Random) -> Toll:
        pid = find(world)
        if not pid or is_over(pid):
            raise NotNowError("it does not live")
        everybody = _everybody(world)
        kill(pid)
        over_s = world.clock.monotonic_s()
        if not must_end and not await world.until(lambda: world.has_system_ended, WATCHDOG_S):
            return Toll()
        problems = () if await world.system_ended() else ("the system did not end by itself",)
        await world.start_system()
        return Toll(everybody, frozenset({ROOT, RUN}), problems=problems, over_s=over_s)

    return act


def _logger_pid(world: World) -> int:
    """Thespian's own logger: the admin's other child."""
    root = world.recorder.pids.get(ROOT, 0)
    return next((pid for pid in children_of(world.admin_pid) if pid != root), 0)


async def _restart_by_hand(world: World, strike: Strike, chance: Random) -> Toll:
    """An ordered stop and a new start with open orders, as for an upgrade."""
    everybody = _everybody(world)
    code = await world.stop_system()
    problems = () if code == 0 else (f"the ordered stop ended with {code}",)
    await world.start_system()
    return Toll(everybody, frozenset({ROOT, RUN}), problems=problems)


async def _full_disk(world: World, strike: Strike, chance: Random) -> Toll:
    """The order plant's files may not grow: no order may leave; the operator restarts it when there is room."""
    pid = world.note_kill(PLANTS[0])
    known = world.recorder.counts[JOURNAL_FAILED]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    problems = await sends_nothing(world, strike, pid, known)
    return await start_anew(world, pid, problems)


async def sends_nothing(world: World, strike: Strike, pid: int, known: int) -> list[str]:
    """What is wrong of an order plant that cannot write its journal: it says so, and no order leaves."""
    failed = await world.until(lambda: world.recorder.counts[JOURNAL_FAILED] > known or is_over(pid), WRITES_S)
    problems = [] if failed else ["the journal could not be written, and nobody said so"]
    # What was committed before may still be on its way to the socket.
    await asyncio.sleep(ON_ITS_WAY_S)
    before = world.recorder.sent
    await asyncio.sleep(strike.spell_s)
    if not is_over(pid) and world.recorder.sent != before:
        problems.append(f"{world.recorder.sent - before} orders were sent without a journal")
    return problems


async def start_anew(world: World, pid: int, problems: list[str]) -> Toll:
    """The operator restarts an order plant whose journal can be written again."""
    if not is_over(pid):
        await operate(world, "restart", id=PLANTS[0])
        await _until_told(world, pid)
    return Toll(frozenset({PLANTS[0]}), frozenset({PLANTS[0]}), problems=tuple(problems))


async def _few_descriptors(world: World, strike: Strike, chance: Random) -> Toll:
    """No further file can be opened while the links are reset: who cannot go on dies cleanly."""
    child_id = chance.choice(PLANTS)
    pid = world.recorder.pids.get(child_id, 0)
    held = descriptors_of(pid) if pid else 0
    if not held:
        raise NotNowError(f"{child_id} does not live")
    limit = resource.prlimit(pid, resource.RLIMIT_NOFILE, (held, _hard(pid, resource.RLIMIT_NOFILE)))
    world.proxy.reset()
    await asyncio.sleep(strike.spell_s)
    _restore(pid, resource.RLIMIT_NOFILE, limit)
    return Toll(frozenset({child_id}))


async def _little_memory(world: World, strike: Strike, chance: Random) -> Toll:
    """No further memory, and then work that needs some."""
    child_id = chance.choice([child for child in _workers(world) if child != "services/control"] or [PLANTS[0]])
    pid = world.recorder.pids.get(child_id, 0)
    size = memory_bytes_of(pid) if pid else 0
    if not size:
        raise NotNowError(f"{child_id} does not live")
    bound = (size + MEMORY_LEFT_BYTES, _hard(pid, resource.RLIMIT_AS))
    limit = resource.prlimit(pid, resource.RLIMIT_AS, bound)
    world.proxy.reset()
    await asyncio.sleep(strike.spell_s)
    _restore(pid, resource.RLIMIT_AS, limit)
    return Toll(frozenset({child_id}))


def _hard(pid: int, what: int) -> int:
    return resource.prlimit(pid, what)[1]


def _restore(pid: int, what: int, limit: tuple[int, int]) -> None:
    if not is_over(pid):
        try:
            resource.prlimit(pid, what, limit)
        except ProcessLookupError:
            return


def _trouble(word: str, limit_s: float) -> Act:
    """Tell a strategy to fail; it must be replaced within a time."""

    async def act(world: World, strike: Strike, chance: Random) -> Toll:
        name = chance.choice(sorted(world.job.strategies))
        child_id = f"strategies/{name}"
        pid = world.note_kill(child_id)
        file = world.job.trouble_file(name)
        # Written beside and renamed: a strategy that looks meanwhile must not find half a word.
        part = file.with_name(f"{file.name}.new")
        part.write_text(word)
        part.rename(file)
        is_replaced = await world.until(lambda: is_over(pid), limit_s)
        file.unlink(missing_ok=True)
        await _until_told(world, pid)
        late = () if is_replaced else (f"{child_id} was told to {word} and lived on for {limit_s:g} s",)
        return Toll(frozenset({child_id}), frozenset({child_id}), problems=late)

    return act


def _is(*names: str) -> Act:
    return _kill_one(lambda child: child in names)


def _row(
    name: str,
    matrix: str,
    weight: int,
    how: str,
    act: Act,
    groups: frozenset[str] = frozenset(),
    needs: str = SIGNALS,
) -> Row:
    return Row(name, matrix, weight, how, needs, act, groups)


def _is_strategy(child: str) -> bool:
    return child.startswith("strategies/")


def _is_alert_channel(child: str) -> bool:
    return child.startswith("services/alerts/")


def _is_worker(child: str) -> bool:
    return child not in (*BRANCHES, ROOT)


def _root_pid(world: World) -> int:
    return world.recorder.pids.get(ROOT, 0)


def _admin_pid(world: World) -> int:
    return world.admin_pid


def _run_pid(world: World) -> int:
    return world.system_pid


_raises_late = _trouble("raise_after_order", TOLD_S)
_WHOLE = frozenset({SYSTEM})
_NONE: frozenset[str] = frozenset()
_TERM = signal.SIGTERM
_HANGS_S = WATCHDOG_S + TOLD_S

PROCESS_FAULTS: tuple[Row, ...] = (
    _row("kill_strategy", "1", 4, "SIGKILL a strategy", _kill_one(_is_strategy)),
    _row("kill_order_plant", "2-7", 6, "SIGKILL the order plant", _is("plants/order")),
    _row("kill_pnl_plant", "7", 3, "SIGKILL the pnl plant", _is("plants/pnl")),
    _row("kill_ticker_plant", "7", 4, "SIGKILL the ticker plant", _is("plants/ticker")),
    _row("kill_history_plant", "7", 2, "SIGKILL the history plant", _is("plants/history")),
    _row("kill_alerts", "7", 2, "SIGKILL an alert channel", _kill_one(_is_alert_channel)),
    _row("kill_control", "7", 2, "SIGKILL control", _is("services/control")),
    _row("kill_services", "7", 2, "SIGKILL the supervisor of the services", _is("services")),
    _row("kill_plants", "7", 3, "SIGKILL the supervisor of the plants", _is("plants")),
    _row("kill_strategies", "7", 3, "SIGKILL the supervisor of the strategies", _is("strategies")),
    _row("kill_several", "8", 4, "SIGKILL 2 to 8 processes in one moment", _kill_several),
    _row("kill_root", "7", 1, "SIGKILL root; a new start", _kill_system(_root_pid), _WHOLE),
    _row("kill_admin", "7", 1, "SIGKILL Thespian's admin; a new start", _kill_system(_admin_pid), _WHOLE),
    _row("kill_logger", "7", 1, "SIGKILL Thespian's logger", _kill_system(_logger_pid, must_end=False), _WHOLE),
    _row("kill_run", "7", 1, "SIGKILL run.py; a new start", _kill_system(_run_pid), _WHOLE),
    _row("restart_by_hand", "30, 31", 1, "SIGTERM to run.py; a new start", _restart_by_hand, _WHOLE),
    _row("real_fault", "9", 3, "SIGSEGV, BUS, FPE, ILL or ABRT to a worker", _real_fault),
    _row("term_worker", "30", 2, "SIGTERM to a worker", _kill_one(_is_worker, _TERM)),
    _row("freeze_1s", "10", 3, "SIGSTOP for 1 s: forgiven", _freeze),
    _row("freeze_10s", "10", 1, "SIGSTOP until the watchdog has found it", _freeze_long),
    _row("full_disk", "13", 1, "the order plant's files cannot grow (RLIMIT_FSIZE)", _full_disk, _WHOLE, LIMITS),
    _row("few_descriptors", "9", 2, "a plant can open nothing more; links reset", _few_descriptors, _NONE, LIMITS),
    _row("little_memory", "9", 1, "a worker gets 1 MiB more; links reset", _little_memory, _NONE, LIMITS),
    _row("strategy_raises", "11", 3, "a callback raises", _trouble("raise", TOLD_S), _NONE, TROUBLE),
    _row("strategy_raises_late", "11", 3, "a callback raises after an order", _raises_late, _NONE, TROUBLE),
    _row("strategy_spins", "10", 1, "a callback never ends, busy", _trouble("spin", _HANGS_S), _NONE, TROUBLE),
    _row("strategy_blocks", "10", 1, "a callback never ends, asleep", _trouble("block", _HANGS_S), _NONE, TROUBLE),
)
"""Rows of the table about processes."""
