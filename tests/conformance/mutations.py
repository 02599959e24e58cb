"""Proof that the engine's tests bite: each rule is flipped in a copy, and the tests that name it must fail there.

``python -m tests.conformance.mutations`` runs all of them; numbers as arguments run those only.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TESTS = (
    "tests/test_engine.py",
    "tests/conformance/test_engine_start_and_stop.py",
    "tests/conformance/test_engine_strategies.py",
    "tests/conformance/test_engine_api.py",
    "tests/conformance/test_engine_exit_codes.py",
    "tests/conformance/test_engine_processes_lost.py",
    "tests/test_runner.py",
)
COPIED = ("supervisors", "actors", "nightdesk", "tests")
TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Mutation:
    """One rule, the edit that breaks it, and the beginnings of the names of the tests that must fail then."""

    rule: str
    file: str
    old: str
    new: str
    killers: tuple[str, ...]


def _restarts(rule: str, old: str, new: str, *killers: str) -> Mutation:
    return Mutation(rule, "supervisors/restarts.py", old, new, killers)


def _requests(rule: str, old: str, new: str, *killers: str) -> Mutation:
    return Mutation(rule, "supervisors/requests.py", old, new, killers)


def _engine(rule: str, old: str, new: str, *killers: str) -> Mutation:
    return Mutation(rule, "supervisors/engine.py", old, new, killers)


def _turn(rule: str, old: str, new: str, *killers: str) -> Mutation:
    return Mutation(rule, "supervisors/turn.py", old, new, killers)


MUTATIONS = (
    # start
    _restarts("the boot is acknowledged", "turn.effects.append(Acknowledge())", "pass", "test_case_1_"),
    _restarts(
        "the next starts only after the previous acknowledged",
        "        turn.launch(child)\n    return False",
        "        turn.launch(child)\n    return True",
        "test_case_87_",
        "test_children_start_in_list_order",
    ),
    _restarts(
        "a boot that fails ends the supervisor without a retry",
        "in_job and escalates and turn.state.phase is Phase.BOOTING",
        "False and turn.state.phase is Phase.BOOTING",
        "test_case_51_",
        "test_case_9_",
    ),
    _engine(
        "IGNORE is no failed start",
        "before.state is ChildState.STARTING and before.ignored",
        "before.state is ChildState.STARTING and False",
        "test_case_3_",
        "test_case_5_",
    ),
    _engine(
        "an ignored temporary child is dropped",
        'it has no process")\n    if child.spec.restart is RestartType.TEMPORARY',
        'it has no process")\n    if False',
        "test_case_4_",
        "test_case_5_",
    ),
    _restarts(
        "a failing start_child drops the spec",
        'f"start_error: {error}")\n            turn.drop(child)',
        'f"start_error: {error}")',
        "test_case_11_",
    ),
    _requests(
        "a manual restart that fails is not retried",
        "origin = Origin.SUPERVISOR if child.state is ChildState.RESTARTING else Origin.MANUAL",
        "origin = Origin.SUPERVISOR",
        "test_case_10_",
    ),
    _engine(
        "no Started in time is the end of that start",
        'turn.kill(replace(child, deadline_s=None), "start_timeout")',
        "turn.put(replace(child, deadline_s=None))",
        "test_ours_4_",
    ),
    # exits and restart types
    _restarts(
        "permanent: an orderly exit restarts",
        "case RestartType.TRANSIENT if reason in ORDERLY",
        "case RestartType.TRANSIENT | RestartType.PERMANENT if reason in ORDERLY",
        "test_case_45_",
        "test_case_48_",
    ),
    _restarts(
        "transient: SHUTDOWN does not restart",
        "case RestartType.TRANSIENT if reason in ORDERLY",
        "case RestartType.TRANSIENT if reason is ExitReason.NORMAL",
        "test_case_49_",
    ),
    _restarts(
        "transient: NORMAL does not restart",
        "case RestartType.TRANSIENT if reason in ORDERLY",
        "case RestartType.TRANSIENT if reason is ExitReason.SHUTDOWN",
        "test_case_46_",
    ),
    _restarts(
        "transient: an abnormal exit restarts",
        "case RestartType.TRANSIENT if reason in ORDERLY",
        "case RestartType.TRANSIENT",
        "test_case_52_53_",
    ),
    _restarts(
        "temporary: the spec is deleted",
        "        case RestartType.TEMPORARY:\n            turn.drop(child)",
        "        case RestartType.TEMPORARY:\n            return",
        "test_case_47_",
        "test_case_50_",
        "test_case_54_",
        "test_case_75_76_",
    ),
    _turn(
        "an orderly exit of a child that is not permanent is silent",
        "return child.spec.restart is RestartType.PERMANENT or words.reason not in ORDERLY",
        "return True",
        "test_case_46_",
        "test_case_47_",
    ),
    _turn(
        "an orderly exit of a permanent child is reported",
        "return child.spec.restart is RestartType.PERMANENT or words.reason not in ORDERLY",
        "return words.reason not in ORDERLY",
        "test_case_45_",
        "test_case_48_",
    ),
    _turn(
        "news of a stale incarnation is ignored",
        "child is not None and child.alive and child.incarnation == incarnation",
        "child is not None and child.alive",
        "test_ours_1_duplicate_notice_of",
        "test_ours_2_news",
    ),
    _turn(
        "only a process that lives can die",
        "child is not None and child.alive and child.incarnation == incarnation",
        "child is not None and child.incarnation == incarnation",
        "test_ours_1_duplicate_notice_during",
    ),
    _engine(
        "an exit without Down is KILLED",
        "before.last_words or LastWords(ExitReason.KILLED)",
        "before.last_words or LastWords(ExitReason.CRASHED)",
        "test_ours_3_",
    ),
    _requests(
        "incarnations grow over a deletion",
        "incarnation=turn.state.incarnation_floor",
        "incarnation=0",
        "test_ours_2_child_added",
    ),
    _engine(
        "a silent child is killed in its watchdog's time",
        "if silent_s >= child.spec.watchdog_s",
        "if silent_s >= 2 * child.spec.watchdog_s",
        "test_ours_9_",
    ),
    # strategies
    _restarts(
        "one_for_one restarts that child alone",
        "case Strategy.ONE_FOR_ONE:\n            turn.launch(child)",
        "case Strategy.ONE_FOR_ONE:\n            turn.state = replace(turn.state, job=Job(ids, ids))\n"
        "            advance(turn)",
        "test_case_30_",
    ),
    _restarts(
        "one_for_all terminates all others",
        "Job(stopping=ids, starting=ids)",
        "Job(starting=ids)",
        "test_case_32_",
        "test_case_34_",
    ),
    _restarts(
        "rest_for_one leaves the earlier ones alone",
        "Job(stopping=ids[place + 1 :], starting=ids[place:])",
        "Job(stopping=ids, starting=ids)",
        "test_case_41_",
        "test_case_43_",
    ),
    _restarts(
        "rest_for_one terminates the later ones",
        "Job(stopping=ids[place + 1 :], starting=ids[place:])",
        "Job(starting=ids[place:])",
        "test_case_41_",
        "test_case_87_",
    ),
    _restarts(
        "bystanders are terminated in reverse",
        "job.stopping[-1]):\n                return\n"
        "            turn.state = replace(turn.state, job=replace(job, stopping=job.stopping[:-1]))",
        "job.stopping[0]):\n                return\n"
        "            turn.state = replace(turn.state, job=replace(job, stopping=job.stopping[1:]))",
        "test_case_32_",
        "test_case_87_",
    ),
    _engine(
        "temporary bystanders are dropped",
        "    elif child.spec.restart is RestartType.TEMPORARY:\n        turn.drop(child)\n    restarts.settled",
        "    restarts.settled",
        "test_case_78_",
    ),
    _engine(
        "a group restart counts once",
        "elif before.state is ChildState.STOPPING:\n        _after_stop(turn, child)",
        "elif before.state is ChildState.STOPPING:\n        restarts.after_exit(turn, child, words.reason)",
        "test_case_32_",
        "test_case_41_",
    ),
    _restarts(
        "a group restart ends with the child that failed, whose retry decides anew",
        "        turn.state = replace(turn.state, job=None)\n    if child.spec.backoff_initial_s > 0:",
        "        pass\n    if child.spec.backoff_initial_s > 0:",
        "test_case_34_",
        "test_case_43_",
    ),
    _engine(
        "an exit during a group restart waits for its end",
        "elif job is not None and turn.state.spec.strategy is not Strategy.ONE_FOR_ONE",
        "elif False",
        "test_exit_during_a_group_restart",
    ),
    # intensity
    _restarts(
        "the window is inclusive",
        "stamp for stamp in stamps if stamp >= now - period_s",
        "stamp for stamp in stamps if stamp > now - period_s",
        "test_case_29_",
    ),
    _restarts(
        "restarts older than the period do not count",
        "stamp for stamp in stamps if stamp >= now - period_s",
        "stamp for stamp in stamps",
        "test_case_29_",
    ),
    _restarts(
        "the present attempt counts",
        "if stamp >= now - period_s), now)",
        "if stamp >= now - period_s), *(() if stamps else (now,)))",
        "test_case_30_",
    ),
    _restarts(
        "intensity restarts are allowed, not one less",
        "if len(stamps) > turn.state.spec.intensity",
        "if len(stamps) >= turn.state.spec.intensity",
        "test_case_30_",
        "test_case_32_",
    ),
    _restarts(
        "giving up exits with SHUTDOWN",
        "turn.begin_stop(Ending(ExitReason.SHUTDOWN, GAVE_UP",
        "turn.begin_stop(Ending(ExitReason.CRASHED, GAVE_UP",
        "test_case_30_",
        "test_case_31_",
        "test_case_41_",
    ),
    _restarts(
        "giving up is reported with the context shutdown",
        "context=ErrorContext.SHUTDOWN,",
        "context=ErrorContext.CHILD_TERMINATED,",
        "test_case_30_",
        "test_case_89_90_exact",
    ),
    _restarts(
        "each try counts",
        "    else:\n        try_again(turn, child)\n\n\ndef try_again",
        "    else:\n        _restart(turn, child)\n\n\ndef try_again",
        "test_case_31_",
        "test_case_33_",
    ),
    _restarts(
        "a retry comes from the mailbox",
        "turn.put(replace(child, state=ChildState.RESTARTING, deadline_s=turn.now))",
        "try_again(turn, child)",
        "test_case_31_",
        "test_case_80_81_",
    ),
    # stop
    _turn(
        "children are stopped in reverse",
        "for child in reversed(self.state.children):",
        "for child in self.state.children:",
        "test_case_16_",
        "test_case_87_",
    ),
    _turn(
        "one child is stopped after the other",
        "            if child.state is ChildState.STOPPING:\n                return\n            if child.alive:",
        "            if child.alive and child.state is not ChildState.STOPPING:",
        "test_case_21_",
    ),
    _turn(
        "BRUTAL_KILL does not ask",
        "if allowed is not None and allowed <= BRUTAL_KILL",
        "if allowed is not None and allowed < BRUTAL_KILL",
        "test_case_19_",
    ),
    _turn("no rung is left out", "min(child.rung + 1,", "min(child.rung + 2,", "test_case_17_"),
    _turn(
        "INFINITY waits",
        "[spec.shutdown_s] if spec.shutdown_s is not None else []",
        "[spec.shutdown_s] if spec.shutdown_s is not None else [5.0]",
        "test_case_17_infinity",
    ),
    _turn(
        "a child that had to be killed is a shutdown_error",
        "return child.cause != BRUTALLY",
        "return False",
        "test_case_17_",
        "test_case_21_",
    ),
    _turn("a brutal kill is no shutdown_error", "return child.cause != BRUTALLY", "return True", "test_case_19_"),
    _engine(
        "during the shutdown nothing restarts",
        "    if turn.stopping:\n        if turn.state.exit_code is None:",
        "    if False:\n        if turn.state.exit_code is None:",
        "test_case_21_",
    ),
    # api
    _requests(
        "start_child of a running child is already_started",
        "known is not None and known.alive and not turn.state.is_restarting(known)",
        "False and known",
        "test_case_23_whole",
        "test_case_91_",
    ),
    _requests(
        "start_child of a restarting child is already_present",
        "known is not None and known.alive and not turn.state.is_restarting(known)",
        "known is not None and known.alive",
        "test_case_80_81_calls",
    ),
    _requests(
        "start_child of a child of another branch is refused",
        "elif not spec.id.startswith(prefix_of(turn.state.spec.id))",
        "elif False",
        "test_case_91_",
    ),
    _requests(
        "restart_child of a running child is refused",
        "elif event.running_too and child.alive",
        "elif child.alive",
        "test_case_23_whole",
    ),
    _requests(
        "restart_child of a restarting child is refused",
        "elif turn.state.is_restarting(child) and not event.running_too",
        "elif False",
        "test_case_80_81_calls",
    ),
    _requests(
        "delete_child of a restarting child is refused",
        'elif turn.state.is_restarting(child):\n        turn.answer(event.caller, False, f"{RESTARTING}',
        'elif False:\n        turn.answer(event.caller, False, f"{RESTARTING}',
        "test_case_80_81_calls",
    ),
    _requests(
        "terminate_child cancels restarting",
        "    if child.state is ChildState.RESTARTING:\n        turn.put",
        "    if False:\n        turn.put",
        "test_case_80_81_calls",
    ),
    _requests(
        "terminate_child is answered when the child has ended",
        "stoppers=(*child.stoppers, event.caller), start_again=False",
        "start_again=False",
        "test_case_23_",
    ),
    _requests(
        "a restarting child is not active",
        "return child.state in (ChildState.RUNNING, ChildState.STOPPING)",
        "return child.state is not ChildState.STOPPED",
        "test_case_73_",
    ),
    # ours
    _restarts(
        "a spent budget of its own parks the child",
        "if spec.on_give_up is GiveUp.PARK",
        "if False",
        "test_spent_budget_of_its_own_parks",
    ),
    _restarts(
        "a child that is to park does not charge its supervisor",
        "if spec.on_give_up is GiveUp.ESCALATE:\n        stamps",
        "if True:\n        stamps",
        "test_spent_budget_of_its_own_parks",
    ),
    _restarts(
        "a spent budget of its own escalates where the spec says so",
        "if spec.intensity is not None and len(child.stamps) > spec.intensity",
        "if spec.intensity is not None and spec.on_give_up is GiveUp.PARK and len(child.stamps) > spec.intensity",
        "test_spent_budget_of_its_own_escalates",
    ),
    _restarts(
        "a group restart does not start what is parked",
        "(ChildState.RUNNING, ChildState.PARKED)",
        "(ChildState.RUNNING,)",
        "test_parked_child_whose_revival_fails",
    ),
    _restarts("a backoff doubles", "2.0 ** min(tries - 1, 60)", "1.0 ** min(tries - 1, 60)", "test_backoff_doubles"),
    _restarts("a backoff is bounded", "min(spec.backoff_max_s, ", "max(0.0, ", "test_backoff_doubles"),
    _restarts("jitter spreads a backoff", "(0.5 + 0.5 * jitter)", "(0.4 + 0.5 * jitter)", "test_jitter_spreads"),
    _restarts(
        "children are told that their supervisor gives up",
        ', f"{child.id}: {child.last_error}"), told)',
        ', f"{child.id}: {child.last_error}"), GROUP_REASON)',
        "test_children_of_a_supervisor_that_gives_up",
    ),
    _restarts(
        "only root's giving up is the system's",
        "GAVE_UP_REASON if turn.state.spec.id == ROOT else BRANCH_GAVE_UP_REASON",
        "GAVE_UP_REASON",
        "test_children_of_a_branch_that_gives_up",
    ),
    _engine(
        "a crash with an exit code ends the system",
        "elif words.exit_code is not None and words.reason is ExitReason.CRASHED",
        "elif False",
        "test_crash_with_an_exit_code_stops_everything",
        "test_ours_11_crash_with_an_exit_code",
        "test_ours_11_neither_strategy",
        "test_ours_11_budget_of_its_own_alone",
    ),
    _engine(
        "an exit code of a child that is to be parked is nobody's",
        "if before.spec.on_give_up is GiveUp.PARK",
        "if False",
        "test_exit_code_of_a_child_that_is_parked",
        "test_ours_11_exit_code_of_a_child_that_is_to_be_parked_ends",
        "test_ours_11_exit_code_of_a_child_that_is_to_be_parked_is_ignored",
    ),
    _engine(
        "only what parks loses its exit code, not all that has a budget",
        "if before.spec.on_give_up is GiveUp.PARK",
        "if before.spec.intensity is not None",
        "test_ours_11_budget_of_its_own_alone",
    ),
    _engine(
        "an exit code of an end that is no crash does not end the system",
        "elif words.exit_code is not None and words.reason is ExitReason.CRASHED",
        "elif words.exit_code is not None",
        "test_exit_code_after_an_ordered_stop",
        "test_ours_11_exit_code_of_an_end",
    ),
    _engine(
        "an exit code counts in the stop",
        "replace(turn.state, exit_code=words.exit_code)",
        "replace(turn.state, exit_code=None)",
        "test_exit_code_after_an_ordered_stop",
        "test_ours_11_exit_code_of_an_end",
    ),
    _engine(
        "the first exit code counts",
        "if turn.state.exit_code is None",
        "if words.exit_code is not None",
        "test_crash_with_an_exit_code_stops_everything",
        "test_ours_11_first_exit_code",
    ),
    _engine(
        "last words are taken once",
        "if child is not None and child.last_words is None",
        "if child is not None",
        "test_ours_5_",
        "test_ours_6_",
    ),
    _engine(
        "a rebuilt supervisor numbers its children anew",
        "first = (incarnation - 1) * INCARNATIONS_PER_SUPERVISOR + 1",
        "first = 1",
        "test_ours_7_",
        "test_ours_10_child",
        "test_incarnations_grow_over_a_rebuild",
    ),
    _engine(
        "a kill that is on its way is not repeated at each turn",
        'turn.kill(replace(child, beat_s=turn.now), "watchdog")',
        'turn.kill(replace(child, beat_s=turn.now - 1.0), "watchdog")',
        "test_engine_is_not_patient",
    ),
    _turn(
        "a supervisor that was stopped itself blames no child",
        "if last is not None and self.now - last > STALL_S",
        "if False",
        "test_supervisor_that_was_stopped_itself",
        "test_ours_9_supervisor_that_was_frozen",
    ),
    Mutation(
        "root is not lost before its last words were looked for behind older mail",
        "supervisors/system.py",
        "if self._left_last_words()",
        "if False",
        ("test_last_words_of_a_root", "test_other_mail_before"),
    ),
    _restarts(
        "whom the spec names is told of a parked child",
        "if child.spec.park_notify:",
        "if False:",
        "test_parking_is_told_once",
    ),
)


def copy_to(folder: Path) -> None:
    """The sources and the tests, so that a mutated file never stands where anybody else reads it."""
    for name in COPIED:
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    (folder / "setup.cfg").write_text((REPOSITORY / "setup.cfg").read_text())


def applies(mutation: Mutation) -> bool:
    """True if the text to be replaced is there exactly once."""
    return (REPOSITORY / mutation.file).read_text().count(mutation.old) == 1


def survivors(mutation: Mutation, folder: Path) -> list[str]:
    """The tests that ought to fail under the mutation and do not; ``folder`` holds a copy."""
    path = folder / mutation.file
    original = path.read_text()
    path.write_text(original.replace(mutation.old, mutation.new))
    try:
        failed = _failed_tests(folder, " or ".join(mutation.killers))
    finally:
        path.write_text(original)
    return [killer for killer in mutation.killers if not any(name.startswith(killer) for name in failed)]


def _failed_tests(folder: Path, selection: str) -> set[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", selection, *TESTS]
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"pytest ended with {done.returncode}: {done.stdout}{done.stderr}")
    return set(re.findall(r"^(?:FAILED|ERROR) \S+::(\w+)", done.stdout, re.M))


def main() -> int:
    """Run the mutations whose numbers are given, or all; 1 if one of them survives."""
    chosen = [int(word) for word in sys.argv[1:]] or range(1, len(MUTATIONS) + 1)
    bad = 0
    with tempfile.TemporaryDirectory(prefix="nd-mutations-") as name:
        folder = Path(name)
        copy_to(folder)
        for number in chosen:
            mutation = MUTATIONS[number - 1]
            alive = survivors(mutation, folder) if applies(mutation) else ["the text to be replaced is not there once"]
            verdict = f"SURVIVED {', '.join(alive)}" if alive else f"killed by {', '.join(mutation.killers)}"
            print(f"{number:3} {mutation.rule}: {verdict}", flush=True)
            bad += bool(alive)
    print(f"{len(list(chosen)) - bad} of {len(list(chosen))} mutations are killed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
