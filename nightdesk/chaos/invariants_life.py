"""The invariants I5 to I10, which are about processes, connections, ticks and secrets. Pure."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from nightdesk.chaos.evidence import GENERATION, Evidence, Kill, Line, PlantLife, RoundRecord, Span
from nightdesk.chaos.invariants import (
    Verdict,
    each_fill_is_booked_once,
    each_order_has_one_row,
    no_tag_came_twice,
    positions_agree,
    verdict,
)

STARTS = ("child_started", "child_restarted")
EXIT = "child_exited"
ROOT = "root"

TOLERANCE_NS = 5_000_000
"""Two processes may round an exchange's time differently."""

NEVER_NS = 1 << 63


def each_death_is_logged(evidence: Evidence) -> Verdict:
    """I5: who was killed has one exit line and is started anew; and nobody is started anew without a logged death."""
    life = [line for line in evidence.lines if line["event"] in (*STARTS, EXIT)]
    found = [text for line in life for text in _unnamed(line)]
    found += _unexplained_starts(life)
    # Where the whole system went in the same round, nobody was left to tell.
    ended = {each.number for each in evidence.rounds if ROOT in each.must_change}
    for kill in evidence.kills:
        found += _unlogged(kill, life, is_ended=kill.round in ended)
    exits = sum(line["event"] == EXIT for line in life)
    text = f"{len(evidence.kills)} processes made to fail, {exits} exit lines, {len(life) - exits} start lines"
    return verdict("I5", "each death and restart is logged with pid, incarnation, reason", len(life), text, found)


def _unnamed(line: Line) -> Iterator[str]:
    """What a line about a process lacks; a start that follows nothing has no reason."""
    keys = ["child_id", "pid", "incarnation"]
    if line["event"] != "child_started":
        keys.append("reason")
    for key in keys:
        if not line.get(key):
            yield f"{line['event']} of {line.get('child_id')}: without {key}"


def _ancestors(child_id: str) -> list[str]:
    """The supervisors above a child, root left out: its death ends the generation."""
    branch = child_id.partition("/")[0]
    return [branch] if branch != child_id else []


def _unexplained_starts(life: list[Line]) -> Iterator[str]:
    """Each start has an incarnation of its own, and the process before it has ended, itself or with its branch."""
    alive: dict[tuple[int, str], int] = {}
    seen: set[tuple[int, str, int]] = set()
    for line in life:
        generation, child_id = line[GENERATION], line["child_id"]
        place = (generation, child_id)
        if line["event"] == EXIT:
            for other in [
                each for each in alive if each[0] == generation and child_id in (each[1], *_ancestors(each[1]))
            ]:
                del alive[other]
            continue
        name = f"{child_id} pid {line['pid']} incarnation {line['incarnation']}"
        if (generation, child_id, line["incarnation"]) in seen:
            yield f"{name}: this incarnation is started twice"
        if place in alive:
            yield f"{name}: started while pid {alive[place]} had no logged end"
        seen.add((generation, child_id, line["incarnation"]))
        alive[place] = line["pid"]


def _unlogged(kill: Kill, life: list[Line], *, is_ended: bool) -> Iterator[str]:
    """The end of this process and the start of the next one; or those of its whole branch, or of the system."""
    own = [line for line in life if line[GENERATION] == kill.generation]
    exits = [line for line in own if line["event"] == EXIT and line["pid"] == kill.pid]
    begun = next((index for index, line in enumerate(own) if line["event"] in STARTS and line["pid"] == kill.pid), 0)
    later = own[begun:]
    branch = _ancestors(kill.child_id)
    with_branch = [line for line in later if line["event"] == EXIT and line["child_id"] in branch]
    if len(exits) > 1:
        yield f"{kill.child_id} pid {kill.pid}: {len(exits)} exit lines for one death"
    if not exits and not with_branch and not is_ended:
        yield f"{kill.child_id} pid {kill.pid}: no exit line for its death"
    ended = (exits or with_branch)[:1]
    again = [
        line
        for line in later
        if line["event"] in STARTS and line["child_id"] == kill.child_id and line["pid"] != kill.pid
    ]
    if ended and not again and not is_ended:
        yield f"{kill.child_id} pid {kill.pid}: died and was not started again"


def unrelated_processes_are_kept(evidence: Evidence) -> Verdict:
    """I6: a fault changes the processes that it is about, and no others."""
    found = [text for each in evidence.rounds for text in _changes(each)]
    looked_at = sum(len(each.before) for each in evidence.rounds)
    text = f"{looked_at} pids before and after {len(evidence.rounds)} rounds"
    return verdict("I6", "the pids of unrelated actors are unchanged", looked_at, text, found)


def _changes(record: RoundRecord) -> Iterator[str]:
    changed = {child for child, pid in record.before.items() if record.after.get(child) != pid}
    what = f"round {record.number} ({', '.join(record.faults)})"
    for child in sorted(changed - record.may_change):
        yield f"{what}: {child} was {record.before[child]} and is {record.after.get(child, 'gone')}"
    for child in sorted(record.must_change & record.before.keys() - changed):
        yield f"{what}: {child} is still {record.before[child]}"


def one_order_plant_lives(evidence: Evidence) -> Verdict:
    """I7: by the processes, by their own log lines, and by what the exchange read on which connection."""
    found = [*evidence.alive_together, *_interleaved(evidence.plant_lives)]
    logins = sorted(evidence.order_logins, key=lambda login: login.logged_in_ns)
    for index, older in enumerate(logins):
        for newer in logins[index + 1 :]:
            is_late = older.last_received_ns > newer.logged_in_ns
            was_on_its_way = older.client_last_ns is not None and older.client_last_ns <= newer.logged_in_ns
            if is_late and not was_on_its_way:
                found.append(
                    f"connection {older.connection} was spoken on after connection {newer.connection} had logged in"
                )
    text = f"{evidence.order_plants} processes, {len(logins)} logins"
    return verdict("I7", "exactly one order plant lives", min(evidence.order_plants, len(logins)), text, found)


def _interleaved(lives: list[PlantLife]) -> Iterator[str]:
    """No line of an earlier life after the first one of a later."""
    for before, after in pairwise(sorted(lives)):
        if after.first < before.last:
            yield (
                f"incarnation {after.incarnation} of start {after.generation} writes at {after.first}, incarnation "
                f"{before.incarnation} of start {before.generation} still at {before.last}"
            )


def missing_ticks_are_announced(evidence: Evidence) -> Verdict:
    """I8: where exchange time jumped for a strategy, it was told a gap over that time; or no tick was sent then."""
    told: dict[tuple[Any, ...], list[Span]] = defaultdict(list)
    missing: dict[tuple[Any, ...], list[Span]] = defaultdict(list)
    for line in evidence.lines:
        place = (line[GENERATION], line.get("child_id"), line.get("incarnation"), line.get("symbol"))
        if line["event"] == "chaos_gap_told":
            told[place].append(Span(line["ts_from_ns"], line["ts_to_ns"]))
        elif line["event"] == "chaos_ticks_missing":
            missing[place].append(Span(line["ts_from_ns"], line["ts_to_ns"]))
    found, natural = [], 0
    for place, spans in missing.items():
        for span in spans:
            if any(_covers(gap, span) for gap in told[place]):
                continue
            if _was_silent(evidence, str(place[3]), span):
                natural += 1
                continue
            what = f"{place[1]} {place[3]}: {(span.to_ns - span.from_ns) / 1e9:.1f} s from {span.from_ns}"
            found.append(f"{what} without a tick, and no gap told")
    gaps, jumps = sum(map(len, told.values())), sum(map(len, missing.values()))
    witnesses = sum(line["event"] in STARTS and line["child_id"].startswith("strategies/") for line in evidence.lines)
    text = f"{witnesses} witnesses, {gaps} gaps told, {jumps} silences seen, {natural} of them the market's own"
    return verdict("I8", "a tick gap is measured and announced", witnesses, text, found)


def _covers(gap: Span, span: Span) -> bool:
    return gap.from_ns - TOLERANCE_NS <= span.from_ns and span.to_ns <= gap.to_ns + TOLERANCE_NS


def _was_silent(evidence: Evidence, symbol: str, span: Span) -> bool:
    """Whether the exchange has sent, on one connection, what is at both ends of this time and nothing between them.

    A damaged frame may tell any time: what begins or ends with one is no silence.
    """
    spoiled = evidence.spoiled_times.get(symbol, [])
    if any(_next(spoiled, end_ns - TOLERANCE_NS) <= end_ns + TOLERANCE_NS for end_ns in span):
        return True
    for (_, name), times in evidence.tick_times.items():
        begun = name == symbol and times[0] <= span.from_ns + TOLERANCE_NS
        if begun and span.to_ns - TOLERANCE_NS <= _next(times, span.from_ns + TOLERANCE_NS + 1) < NEVER_NS:
            return True
    return False


def _next(times: list[int], from_ns: int) -> int:
    """The first of these times from a moment on."""
    index = bisect_left(times, from_ns)
    return times[index] if index < len(times) else NEVER_NS


def no_secret_is_written(evidence: Evidence) -> Verdict:
    """I9: the canary credentials are in no output and in no file."""
    text = f"{evidence.searched} files and outputs searched for the password as text, in hexadecimal and in base64"
    return verdict("I9", "no secret in any output", evidence.searched, text, evidence.leaks)


def no_process_is_left(evidence: Evidence) -> Verdict:
    """I10: after each end of the system, ordered or not."""
    text = f"looked for after {evidence.ends} ends of the system"
    return verdict("I10", "no process is left after stop", evidence.ends, text, evidence.left)


INVARIANTS = (
    each_order_has_one_row,
    no_tag_came_twice,
    positions_agree,
    each_fill_is_booked_once,
    each_death_is_logged,
    unrelated_processes_are_kept,
    one_order_plant_lives,
    missing_ticks_are_announced,
    no_secret_is_written,
    no_process_is_left,
)
"""I1 to I10, in this order."""


def judge(evidence: Evidence) -> list[Verdict]:
    """Every invariant's verdict."""
    return [invariant(evidence) for invariant in INVARIANTS]
