"""The conformance table of docs/supervision.md, made from the tests' names: ``python -m tests.conformance.table``.

A test is named ``test_case_<number>_…``, or ``test_case_<number>_<number>_…`` for several, or ``test_ours_<number>_…``.
"""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
DOCUMENT = FOLDER.parents[1] / "docs" / "supervision.md"
BEGIN = "<!-- conformance table: python -m tests.conformance.table -->"
END = "<!-- end of the conformance table -->"
_NAME = re.compile(r"test_(case|ours)_((?:\d+_)+)")


@dataclass(frozen=True, slots=True)
class Case:
    """One case: K as OTP has it, A adapted to us; ``how`` says in which way, and what the engine's share is."""

    what: str
    kind: str = "K"
    how: str = ""


OTP = {
    1: Case("an empty supervisor starts and stops with shutdown"),
    3: Case("an ignored permanent child keeps its spec, counts 2/1/0/2"),
    4: Case("an ignored temporary static child is dropped"),
    5: Case("the same through start_child"),
    8: Case(
        "a bad init value is `bad_return`",
        how="a body whose `start` returns something or that is no body; a supervisor whose configuration is no spec",
    ),
    9: Case("a raising init gives the error with its stack and nothing leaks"),
    10: Case("a manual restart that fails: error, the spec stays, no retry"),
    11: Case("a failing start_child: error, no spec"),
    13: Case("defaults filled in, get_child_spec complete, unknown id `not_found`"),
    15: Case("faulty specs are rejected by the name of the field; unknown keys too", "A", "our fields, not OTP's keys"),
    16: Case("both types obey and end `shutdown`"),
    17: Case("obedient → shutdown, sleeper → killed at its time", how="the kill has two polite rungs before it"),
    19: Case("brutal kill: killed, its sibling shutdown"),
    21: Case("every restart type by 4 reasons exits by itself during shutdown"),
    23: Case("the start/terminate/restart/delete matrix with every error"),
    25: Case(
        "extra start info reaches the caller and survives an automatic restart",
        "A",
        "`Body.start_info`, a text that `Started` carries",
    ),
    26: Case("each bad field has its own error, the valid grid is accepted"),
    27: Case("duplicate id refused"),
    28: Case("bad flags are named"),
    29: Case("crashes spaced wider than the period never trip the intensity"),
    30: Case("one_for_one: only the dead one changes pid; the 3rd restart at intensity 2 ends the supervisor"),
    31: Case("a child that cannot restart: supervisor and sibling die"),
    32: Case("one_for_all: all pids change; intensity trips"),
    33: Case("a sibling that cannot restart escalates"),
    34: Case("a child restarted already is terminated again when a later one fails, then all retried"),
    41: Case("rest_for_one: earlier pid kept, later ones change; intensity trips"),
    42: Case("a later child that cannot restart escalates"),
    43: Case("the retry starts at the failed child; the earlier restarted one is left alone"),
    45: Case("permanent + normal restarts"),
    46: Case("transient + normal does not, spec kept"),
    47: Case("temporary + normal: spec gone"),
    48: Case("permanent + shutdown restarts"),
    49: Case("transient + shutdown does not"),
    50: Case("temporary + shutdown: gone"),
    51: Case(
        "a boot failure surfaces as failed_to_start_child with its stack",
        "A",
        "in the exit code 70 of the run and in its log",
    ),
    52: Case("permanent abnormal restarts"),
    53: Case("transient abnormal restarts"),
    54: Case("temporary abnormal: gone"),
    55: Case(
        "a child that breaks its link cannot hang the supervisor",
        "A",
        "it closes every descriptor, its mailbox too; the ladder ends it",
    ),
    56: Case("a crash touches only its own branch; escalation rebuilds it; dynamic children are lost"),
    71: Case("count_children exact at 200", "A", "processes: 24 in the default run, 200 with `-m chaos`"),
    73: Case("a restarting child is listed but not active", "A", "between tries, and while a try is under way"),
    75: Case("nothing of a temporary child is kept, whatever the strategy"),
    76: Case("nor whatever the way of dying"),
    78: Case("a temporary bystander is dropped and the supervisor survives"),
    79: Case(
        "kill the supervisor / kill the worker / exit the worker / manual restart each give a new pid",
        "A",
        "children have ids instead of registered names; with SIGKILL, and no orphan stays",
    ),
    80: Case("while a child is restarting: start → already_present, restart and delete → restarting"),
    81: Case("while a child is restarting: terminate and supervisor shutdown still work"),
    87: Case("forward start and reverse stop, for a partial restart and the full stop, ids unsorted"),
    89: Case("the exact keys of every report", "A", "our lines' keys: `PROGRESS_KEYS`, `SUPERVISOR_KEYS`"),
    90: Case("truncation of reports", "A", "texts of at most 1,000 characters, cut with a mark"),
    91: Case(
        "a name conflict is reported and the supervisor lives",
        "A",
        "an id that is taken, or of another branch; the caller is told",
    ),
    92: Case("which_children", how="in start order"),
}
OURS = {
    1: Case("a duplicate `ChildActorExited` gives one restart", "A"),
    2: Case("news of a stale incarnation is ignored", "A"),
    3: Case("an exit without `Down` is `KILLED`", "A"),
    4: Case("no `Started` in time → killed and `start_error`", "A"),
    5: Case(
        "a handler that raises runs exactly once and crashes",
        "A",
        "handlers are the base class's; engine: their crash counts once, however often it is told",
    ),
    6: Case("the crash report precedes the supervisor report", "A"),
    7: Case(
        "a SIGKILLed supervisor leaves no orphan",
        "A",
        "orphans are the kernel's; engine: nothing that one still says is believed",
    ),
    8: Case("`Shutdown` during `restarting`", "A"),
    9: Case("a busy or blocked body is detected by its missed heartbeats and killed in time", "A"),
    10: Case(
        "the parent dies during a child's start",
        "A",
        "the child's end is the kernel's; engine: that start is void, the parent's own a failed try",
    ),
    11: Case("an exit code of a child ends the system, unless the child is to be parked", "A"),
}


def by_case(pattern: str) -> dict[tuple[str, int], list[str]]:
    """The tests of the files that match, by (``case`` or ``ours``, number)."""
    found: dict[tuple[str, int], list[str]] = {}
    for path in sorted(FOLDER.glob(pattern)):
        for node in ast.parse(path.read_text()).body:
            match = _NAME.match(node.name) if isinstance(node, ast.FunctionDef) else None
            if match is not None and isinstance(node, ast.FunctionDef):
                for number in match[2].strip("_").split("_"):
                    found.setdefault((match[1], int(number)), []).append(f"{path.stem}::{node.name}")
    return found


def rendered() -> str:
    """The table with its markers."""
    engine, processes = by_case("test_engine_*.py"), by_case("test_processes_*.py")
    lines = [BEGIN, "", "| case | | what | engine | processes |", "|---|---|---|---|---|"]
    for word, cases, prefix in (("case", OTP, ""), ("ours", OURS, "ours ")):
        for number, case in cases.items():
            what = f"{case.what} ({case.how})" if case.how else case.what
            cells = [_links(found.get((word, number), [])) for found in (engine, processes)]
            lines.append(f"| {prefix}{number} | {case.kind} | {what} | {cells[0]} | {cells[1]} |")
    return "\n".join([*lines, "", END])


def _links(names: list[str]) -> str:
    """The beginnings of the names, which ``pytest -k`` finds; in the file's short form."""
    short = [name.removeprefix("test_").replace("::test_", "::") for name in names]
    return "<br>".join(f"`{name}`" for name in short) or "-"


def current(text: str) -> str:
    """The document with the table as it ought to be."""
    before, _, rest = text.partition(BEGIN)
    return before + rendered() + rest.partition(END)[2]


def main() -> None:
    DOCUMENT.write_text(current(DOCUMENT.read_text()))


if __name__ == "__main__":
    main()
