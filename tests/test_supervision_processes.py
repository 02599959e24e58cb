"""Supervision with real processes: what the pure engine decides, carried out by Thespian actors."""

import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from nightdesk.messages import ChildId, QueryStatus, RestartChild, encode
from supervisors.spec import GiveUp
from tests.small_system import SmallSystem, supervisor, worker
from tests.support import wait_until

WATCHED = {"watchdog_s": 0.5}


def _script(*steps: tuple[float, str, bytes], begin: Path | None = None) -> bytes:
    script = [{"after_s": after, "to": to, "message": message.hex()} for after, to, message in steps]
    return json.dumps({"script": script, "begin": str(begin or "")}).encode()


def test_children_start_in_order_and_stop_in_reverse(tmp_path: Path) -> None:
    """The next child starts only after the previous one has; SIGTERM stops in reverse, ends with 0, leaves nothing."""
    first = supervisor("services", worker("services/slow", "SlowToStart"))
    second = supervisor("strategies", worker("strategies/b", "Quiet"), worker("strategies/a", "Quiet"))
    with SmallSystem(tmp_path, first, second) as system:
        system.wait_started()
        started = [line["child_id"] for line in system.lines("child_started")]
        system.process.send_signal(signal.SIGTERM)
        assert system.wait_ended() == 0
        stopped = [line["child_id"] for line in system.lines("child_exited")]
        reasons = {line["reason"] for line in system.lines("child_exited")}
        left = system.left()
    assert started == ["services/slow", "services", "strategies/b", "strategies/a", "strategies"]
    assert stopped == ["strategies/a", "strategies/b", "strategies", "services/slow", "services"]
    assert reasons == {"SHUTDOWN"}
    assert left == []


def test_killed_child_is_restarted_once_and_no_other_is_touched(tmp_path: Path) -> None:
    """kill -9 gives one exit line and one restart line, an alert, and leaves every other pid as it was."""
    services = supervisor("services", worker("services/alerts/log", "Alarm"))
    strategies = supervisor("strategies", worker("strategies/a", "Quiet"), worker("strategies/b", "Quiet"))
    with SmallSystem(tmp_path, services, strategies) as system:
        before = system.wait_started()
        os.kill(before["strategies/a"], signal.SIGKILL)
        system.wait_for("alert_seen")
        after = system.pids()
        exits = system.lines("child_exited")
        restarts = system.lines("child_restarted")
    assert [line["reason"] for line in exits] == ["KILLED"]
    assert [line["child_id"] for line in restarts] == ["strategies/a"]
    keys = {"child_id", "pid", "incarnation", "reason", "restart_count", "downtime_ms"}
    assert keys <= restarts[0].keys()
    assert (restarts[0]["incarnation"], restarts[0]["restart_count"], restarts[0]["reason"]) == (2, 1, "KILLED")
    assert after.pop("strategies/a") != before.pop("strategies/a")
    assert after == before


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGSTOP, signal.SIGTERM])
def test_faulted_or_frozen_or_terminated_child_is_restarted(tmp_path: Path, number: signal.Signals) -> None:
    """A real fault ends the process instead of spinning in a handler; a frozen one falls silent; SIGTERM is a stop."""
    child = worker("strategies/a", "Quiet", watchdog_s=0.5)
    with SmallSystem(tmp_path, supervisor("strategies", child)) as system:
        os.kill(system.wait_started()["strategies/a"], number)
        system.wait_for("child_restarted", "strategies/a")
        (exit_line,) = system.lines("child_exited")
    assert exit_line["reason"] == ("SHUTDOWN" if number is signal.SIGTERM else "KILLED")
    assert exit_line.get("cause") == ("watchdog" if number is signal.SIGSTOP else "")


def test_several_children_killed_at_once_are_all_restarted(tmp_path: Path) -> None:
    """Thespian loses exit notices when several children die together; the pidfds lose none."""
    names = [f"strategies/{name}" for name in "abcdef"]
    workers = [worker(name, "Quiet", intensity=3, on_give_up=GiveUp.PARK) for name in names]
    with SmallSystem(tmp_path, supervisor("strategies", *workers)) as system:
        before = system.wait_started()
        for name in names:
            os.kill(before[name], signal.SIGKILL)
        system.wait_for("child_restarted", count=len(names))
        restarted = sorted(line["child_id"] for line in system.lines("child_restarted"))
        assert len(system.lines("child_exited")) == len(names)
    assert restarted == names


def test_body_with_a_blocked_loop_is_killed_and_restarted(tmp_path: Path) -> None:
    """Heartbeats come from the body's own loop, so that a blocked loop is noticed and not only a dead process."""
    with SmallSystem(tmp_path, supervisor("strategies", worker("strategies/a", "HangsLater", **WATCHED))) as system:
        system.wait_for("child_restarted", "strategies/a")
        exits = system.lines("child_exited", "strategies/a")
    assert [(line["reason"], line["cause"]) for line in exits] == [("KILLED", "watchdog")]


def test_child_that_does_not_start_in_time_is_killed_and_counted(tmp_path: Path) -> None:
    """No ``Started`` in time is a failed start; a child that is to be parked does not hold up the boot."""
    policy = {"start_timeout_s": 0.3, "intensity": 1, "on_give_up": GiveUp.PARK}
    late = worker("strategies/late", "NeverStarts", **policy)
    with SmallSystem(tmp_path, supervisor("strategies", late, worker("strategies/b", "Quiet"))) as system:
        system.wait_for("child_parked", "strategies/late")
        system.wait_started()
        failures = system.lines("child_start_failed", "strategies/late")
    assert [line["cause"] for line in failures] == ["start_timeout", "start_timeout"]


def test_crash_loop_is_parked_and_its_siblings_run_on(tmp_path: Path) -> None:
    """After its own budget a child is set aside with its state; nothing else is touched, and the operator is told."""
    services = supervisor("services", worker("services/alerts/log", "Alarm"))
    failing = worker("strategies/a", "FailsWhileRunning", intensity=2, on_give_up=GiveUp.PARK)
    with SmallSystem(tmp_path, services, supervisor("strategies", failing, worker("strategies/b", "Quiet"))) as system:
        before = system.wait_started()
        system.wait_for("child_parked", "strategies/a")
        wait_until(lambda: "child_parked" in {line["alert"] for line in system.lines("alert_seen")})
        (alert,) = [line for line in system.lines("alert_seen") if line["alert"] == "child_parked"]
        exits = system.lines("child_exited", "strategies/a")
        crashes = system.lines("actor_crashed", "strategies/a")
        others = {name: pid for name, pid in system.pids().items() if name != "strategies/a"}
    assert (alert["about"]["cause"], alert["about"]["restart_count"]) == ("CRASHED (RuntimeError: out of luck)", "2")
    assert [line["reason"] for line in exits] == ["CRASHED"] * 3
    assert exits[0]["error_type"] == "RuntimeError"
    assert "out of luck" in crashes[0]["traceback"]
    assert others == {name: pid for name, pid in before.items() if name != "strategies/a"}


def test_spent_budget_of_root_ends_the_run_with_6(tmp_path: Path) -> None:
    """A child that escalates ends its supervisor; when root gives up too, the run ends with exit code 6."""
    plants = supervisor("plants", worker("plants/order", "FailsWhileRunning", intensity=1), intensity=10)
    with SmallSystem(tmp_path, plants, worker("exchange", "Quiet"), intensity=1) as system:
        assert system.wait_ended() == 6
        given_up = [line["supervisor"] for line in system.lines("supervisor_gave_up")]
        incarnations = [line["incarnation"] for line in system.lines("child_started", "plants/order")]
        left = system.left()
    assert given_up == ["plants", "plants", "root"]
    assert incarnations == [1, 1_000_001]
    assert left == []


def test_failing_boot_of_a_child_that_escalates_ends_the_run_with_70(tmp_path: Path) -> None:
    """As in OTP, a first start that fails is not retried: what runs is stopped and the reason is in the log."""
    plants = supervisor("plants", worker("plants/order", "FailsAtStart"))
    with SmallSystem(tmp_path, worker("exchange", "Quiet"), plants) as system:
        assert system.wait_ended() == 70
        failures = system.lines("child_start_failed")
    assert [line["child_id"] for line in failures] == ["plants/order", "plants"]
    assert "ValueError: no luck" in failures[1]["error_message"]


@pytest.mark.parametrize(("body", "code"), [("RefusedCredentials", 3), ("HaltedAtStop", 5)])
def test_exit_code_of_a_child_becomes_that_of_the_run(tmp_path: Path, body: str, code: int) -> None:
    """A body's error with an exit code stops the system in order; so does a code that it gives after its stop."""
    plants = supervisor("plants", worker("plants/order", body))
    with SmallSystem(tmp_path, worker("exchange", "Quiet"), plants, duration_s=0.3) as system:
        assert system.wait_ended() == code
        assert system.lines("child_restarted") == []
        assert system.lines("body_stopped", "exchange")


def test_child_that_does_not_stop_is_killed_in_its_time(tmp_path: Path) -> None:
    """The ladder: asked, then an exit request when its time is over; its siblings are stopped in order all the same."""
    stuck = worker("strategies/stuck", "HangsAtStop", shutdown_s=0.3)
    with SmallSystem(tmp_path, supervisor("strategies", worker("strategies/a", "Quiet"), stuck)) as system:
        system.wait_started()
        system.process.send_signal(signal.SIGTERM)
        assert system.wait_ended() == 0
        exits = {line["child_id"]: (line["reason"], line.get("cause")) for line in system.lines("child_exited")}
    assert exits["strategies/stuck"] == ("KILLED", "shutdown_timeout")
    assert exits["strategies/a"] == ("SHUTDOWN", "")


def test_second_signal_hurries(tmp_path: Path) -> None:
    """A child with a long time to stop does not hold up an operator who insists."""
    stuck = worker("strategies/stuck", "HangsAtStop", shutdown_s=60.0)
    with SmallSystem(tmp_path, supervisor("strategies", stuck), deadline_s=60.0) as system:
        system.wait_started()
        system.process.send_signal(signal.SIGINT)
        system.wait_for("system_stopping")
        system.process.send_signal(signal.SIGINT)
        assert system.wait_ended(timeout_s=20.0) == 0


@pytest.mark.parametrize("victim", ["runner", "admin"])
def test_nothing_survives_a_kill_of_the_runner_or_of_the_admin(tmp_path: Path, victim: str) -> None:
    """The kernel's parent-death signal runs down the tree; there is no process that could escape it."""
    with SmallSystem(tmp_path, supervisor("strategies", worker("strategies/a", "Quiet"))) as system:
        system.wait_started()
        assert len(system.processes()) >= 5
        admin = min(system.processes())
        os.kill(system.process.pid if victim == "runner" else admin, signal.SIGKILL)
        code = system.wait_ended()
        wait_until(lambda: system.left() == [])
    assert code == (-signal.SIGKILL if victim == "runner" else 70)


def test_killed_supervisor_is_rebuilt_with_its_branch(tmp_path: Path) -> None:
    """A supervisor's children die with it, and its branch is rebuilt; the other branch does not notice."""
    plants = supervisor("plants", worker("plants/order", "Quiet"))
    with SmallSystem(tmp_path, plants, supervisor("strategies", worker("strategies/a", "Quiet"))) as system:
        before = system.wait_started()
        os.kill(before["plants"], signal.SIGKILL)
        system.wait_for("child_restarted", "plants")
        after = system.pids()
        wait_until(lambda: not Path(f"/proc/{before['plants/order']}").exists())
    assert after["plants/order"] != before["plants/order"]
    assert after["strategies/a"] == before["strategies/a"]


def test_killed_root_ends_the_run_with_70(tmp_path: Path) -> None:
    """Root has no supervisor; the runner watches its process and ends what is left."""
    with SmallSystem(tmp_path, supervisor("strategies", worker("strategies/a", "Quiet"))) as system:
        system.wait_started()
        os.kill(system.lines("system_started")[0]["root_pid"], signal.SIGKILL)
        assert system.wait_ended() == 70
        assert system.left() == []


def test_message_whose_handler_raises_is_delivered_once(tmp_path: Path) -> None:
    """Thespian gives a message to a raising handler twice; the base class does not let it."""
    count_file = tmp_path / "count"
    target = worker(
        "strategies/b",
        "RaisesOnMail",
        config=json.dumps({"count_file": str(count_file)}).encode(),
        intensity=1,
        on_give_up=GiveUp.PARK,
    )
    query = QueryStatus(request_id="1", reply_to=ChildId("strategies/a"))
    asker = worker("strategies/a", "Asks", config=_script((0.3, "strategies/b", encode(query))))
    with SmallSystem(tmp_path, supervisor("strategies", target, asker)) as system:
        system.wait_for("child_restarted", "strategies/b")
    assert count_file.read_text() == "x"


def test_mail_finds_its_way_through_the_tree_and_back(tmp_path: Path) -> None:
    """A worker reaches other branches and supervisors and gets their answers; mail to the unknown is dropped."""
    asker_id = ChildId("services/control")
    steps = (
        (0.2, "nowhere/at/all", encode(QueryStatus(request_id="0", reply_to=asker_id))),
        (0.0, "strategies/b", encode(QueryStatus(request_id="1", reply_to=asker_id))),
        (0.0, "root", encode(QueryStatus(request_id="2", reply_to=asker_id))),
        (0.0, "strategies", encode(QueryStatus(request_id="3", reply_to=asker_id))),
    )
    services = supervisor("services", worker(asker_id, "Asks", config=_script(*steps, begin=tmp_path / "begin")))
    with SmallSystem(tmp_path, services, supervisor("strategies", worker("strategies/b", "Answers"))) as system:
        system.wait_started()
        (tmp_path / "begin").touch()
        system.wait_for("answer_seen", count=3)
        answers = {(line["kind"], line["origin"]): line["text"] for line in system.lines("answer_seen")}
    assert answers.keys() == {("StrategyStatus", "strategies/b"), ("TreeStatus", "root"), ("TreeStatus", "strategies")}
    assert "child_id='strategies'" in answers["TreeStatus", "root"]
    assert "child_id='strategies/b'" in answers["TreeStatus", "strategies"]


def test_operator_restarts_a_running_child_and_revives_a_parked_one(tmp_path: Path) -> None:
    """RestartChild works from any supervisor above and costs no budget; a start by hand that fails is told as such."""
    asker_id = ChildId("services/control")
    steps = tuple(
        (0.3, to, encode(RestartChild(request_id=str(number), reply_to=asker_id, child_id=ChildId(child))))
        for number, (to, child) in enumerate(
            [("root", "strategies/b"), ("strategies", "strategies/parked"), ("root", "strategies/unknown")]
        )
    )
    services = supervisor("services", worker(asker_id, "Asks", config=_script(*steps, begin=tmp_path / "begin")))
    parked = worker("strategies/parked", "FailsAtStart", intensity=0, on_give_up=GiveUp.PARK)
    running = worker("strategies/b", "Quiet", intensity=0)
    with SmallSystem(tmp_path, services, supervisor("strategies", parked, running, intensity=0)) as system:
        system.wait_started()
        (tmp_path / "begin").touch()
        system.wait_for("answer_seen", count=3)
        system.wait_for("child_restarted", "strategies/b")
        system.wait_for("child_start_failed", "strategies/parked", count=2)
        answers = [line["text"] for line in system.lines("answer_seen")]
        reason = system.lines("child_exited", "strategies/b")[0]["reason"]
    assert ["ok=True" in answer for answer in answers] == [True, False, False]
    assert "start_error: ValueError: no luck" in answers[1]
    assert "not_found" in answers[2]
    assert reason == "SHUTDOWN"


def test_operator_stops_the_system_through_root(tmp_path: Path) -> None:
    """StopSystem takes the same way as SIGTERM."""
    with SmallSystem(tmp_path, supervisor("services", worker("services/control", "StopsAll"))) as system:
        assert system.wait_ended() == 0
        assert [line["reason"] for line in system.lines("system_stopping")] == ["enough"]


def test_alerts_of_one_actor_are_limited_and_summed_up(tmp_path: Path) -> None:
    """Twenty within a second are passed on; what is over is counted and told once."""
    services = supervisor("services", worker("services/alerts/log", "Alarm"))
    noisy = supervisor("strategies", worker("strategies/noisy", "AlertsMuch"))
    with SmallSystem(tmp_path, services, noisy) as system:
        wait_until(lambda: any(line["alert"] == "alerts_suppressed" for line in system.lines("alert_seen")))
        seen = [line for line in system.lines("alert_seen") if line["alert"] == "noise"]
        total = [line for line in system.lines("alert_seen") if line["alert"] == "alerts_suppressed"]
    assert len(seen) == 20
    assert total[0]["about"]["count"] == "80"


def test_no_actor_listens_on_the_network(tmp_path: Path) -> None:
    """Mail travels over Unix-domain sockets; there is no port that another user or host could reach."""
    with SmallSystem(tmp_path, supervisor("strategies", worker("strategies/a", "Quiet"))) as system:
        system.wait_started()
        connections = [
            connection for pid in system.processes() for connection in psutil.Process(pid).net_connections("inet")
        ]
    assert connections == []
