"""The body's side of an actor: its context, and how a runner turns what happens to it into mail."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from actors.base import ALERTS_PER_SECOND_MAX, BodyRunner, exit_code_of
from actors.body import load_body
from nightdesk.clocks import ManualClock
from nightdesk.errors import CredentialsError, InvariantError
from nightdesk.messages import (
    Alert,
    ChildId,
    Down,
    ExitReason,
    Heartbeat,
    Ignored,
    Message,
    QueryStatus,
    Severity,
    StartChild,
    Started,
)
from supervisors.routing import Route, next_hops
from tests.fakes import FakeContext
from tests.support import wait_until


def on_loop(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(coroutine)


def test_task_that_fails_ends_the_actor_and_a_cancelled_one_does_not() -> None:
    """``spawn`` is for tasks that nobody awaits."""

    async def fail() -> None:
        raise ValueError("no luck")

    async def main() -> None:
        context = FakeContext()
        endless = context.spawn(asyncio.sleep(3600), name="endless")
        endless.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert context.crashed is None
        context.spawn(fail(), name="fail")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert str(context.crashed) == "no luck"

    on_loop(main())


def test_alerts_over_the_limit_are_counted_not_sent() -> None:
    """The limit is per second; in the next one alerts pass again. What somebody must see is not lost among fills."""

    async def main() -> None:
        clock = ManualClock()
        context = FakeContext(clock=clock)
        for number in range(ALERTS_PER_SECOND_MAX + 5):
            context.alert("noise", Severity.INFO, f"{number}", number=number)
        assert len(context.alerts) == ALERTS_PER_SECOND_MAX
        for severity in (Severity.ERROR, Severity.CRITICAL, Severity.WARNING):
            context.alert("matter", severity, "look")
        assert [alert.severity for alert in context.alerts if alert.event == "matter"] == ["error", "critical"]
        clock.advance(1.0)
        context.alert("noise", Severity.INFO, "later")
        assert context.alerts[-1].text == "later"
        assert context.alerts[3].fields == (("number", "3"),)

    on_loop(main())


def test_only_a_body_is_loaded_as_one() -> None:
    """A wrong path says what is wrong with it."""
    assert load_body("tests.bodies:Quiet").__name__ == "Quiet"
    with pytest.raises(TypeError, match="no actors"):
        load_body("tests.bodies:NotABody")
    with pytest.raises(ImportError):
        load_body("tests.no_such_module:Body")


def test_exit_code_is_found_within_a_group_of_errors() -> None:
    """A task group wraps what its tasks raise."""
    assert exit_code_of(CredentialsError("refused")) == 3
    assert exit_code_of(InvariantError("a defect")) is None
    assert exit_code_of(ExceptionGroup("both", [ValueError(), CredentialsError("refused")])) == 3
    assert exit_code_of(ValueError()) is None


class Run:
    """A body in its thread, and the mail that it sent."""

    def __init__(self, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
        # The thread ends its process some time after its last words; here it must not.
        monkeypatch.setattr("actors.base.os._exit", lambda _code: None)
        monkeypatch.setattr("actors.base.LAST_WORDS_S", 0.001)
        self.mail: list[Message] = []
        start = StartChild(
            child_id=ChildId("strategies/a"),
            incarnation=1,
            parent_pid=1,
            body=f"tests.bodies:{body}",
            config=b"{}",
            heartbeat_interval_s=0.01,
            log_format="json",
            log_level="critical",
        )
        self.runner = BodyRunner(start, 99, lambda _destination, message: self.mail.append(message))
        self.runner.begin()

    def of(self, kind: type[Message]) -> list[Any]:
        return [message for message in self.mail if isinstance(message, kind)]

    def down(self) -> Down:
        wait_until(lambda: self.of(Down))
        (down,) = self.of(Down)
        assert self.mail[-1] is down
        assert isinstance(down, Down)
        # The thread calls the exit that is replaced for this test only, so that it must have done so when it is over.
        wait_until(lambda: not self.runner._thread.is_alive())
        return down


def test_body_runs_beats_and_stops_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Started first, then heartbeats from the body's own loop, Down last and once."""
    run = Run("Quiet", monkeypatch)
    wait_until(lambda: len(run.of(Heartbeat)) >= 3)
    run.runner.shutdown(1.0)
    run.runner.shutdown(1.0)
    assert run.down().reason is ExitReason.SHUTDOWN
    assert isinstance(run.mail[0], Started)


def test_body_that_is_still_starting_is_cancelled_by_a_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends SHUTDOWN without having been Started."""
    run = Run("NeverStarts", monkeypatch)
    run.runner.shutdown(1.0)
    assert run.down().reason is ExitReason.SHUTDOWN
    assert run.of(Started) == []


def test_first_error_becomes_the_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its type, its message and its traceback; nothing follows."""
    run = Run("FailsWhileRunning", monkeypatch)
    down = run.down()
    run.runner.crash(ValueError("another one"))
    assert (down.reason, down.error_type, down.error_message) == (ExitReason.CRASHED, "RuntimeError", "out of luck")
    assert "_fail" in down.traceback
    assert len(run.of(Down)) == 1


def test_error_with_an_exit_code_takes_it_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the whole run ends with it."""
    assert Run("RefusedCredentials", monkeypatch).down().exit_code == 3


def test_mail_before_the_start_is_held_and_delivered_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body never receives before its ``start`` has returned."""
    run = Run("Answers", monkeypatch)
    run.runner.deliver(ChildId("root"), QueryStatus(request_id="7", reply_to=ChildId("root")))
    wait_until(lambda: [message for message in run.mail if getattr(message, "request_id", "") == "7"])
    kinds = [type(message).__name__ for message in run.mail]
    assert kinds.index("Started") < kinds.index("StrategyStatus")
    run.runner.shutdown(1.0)
    run.down()


CHILDREN = (ChildId("services"), ChildId("exchange"), ChildId("strategies"))

SERVICES = (ChildId("services/control"), ChildId("services/alerts/log"))


@pytest.mark.parametrize(
    ("own", "children", "destination", "expected"),
    [
        ("root", CHILDREN, "exchange", ("exchange",)),
        ("root", CHILDREN, "strategies/sma", ("strategies",)),
        ("root", CHILDREN, "services/alerts/*", ("services",)),
        ("root", CHILDREN, "root", (Route.SELF,)),
        ("root", CHILDREN, "supervisor", (Route.SELF,)),
        ("root", CHILDREN, "plants/order", ()),
        ("root", CHILDREN, "*", CHILDREN),
        ("services", ("services/control", "services/alerts/log"), "services/alerts/*", ("services/alerts/log",)),
        (
            "services",
            ("services/control", "services/alerts/log"),
            "services/*",
            ("services/control", "services/alerts/log"),
        ),
        ("services", ("services/control",), "services", (Route.SELF,)),
        ("services", ("services/control",), "services/controls", ()),
        ("services", ("services/control",), "strategies/sma", (Route.PARENT,)),
        ("services", ("services/control",), "root", (Route.PARENT,)),
        ("services", ("services/control",), "*", (Route.PARENT,)),
    ],
)
def test_mail_takes_the_way_that_ids_show(
    own: str, children: tuple[ChildId, ...], destination: str, expected: tuple[object, ...]
) -> None:
    """Down to a child or its branch, here, or up."""
    assert next_hops(ChildId(own), children, ChildId(destination)) == expected


def test_body_that_does_not_want_to_run_says_so_and_ends_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """``Ignored`` instead of ``Started``; its end is no crash."""
    run = Run("DoesNotWantToRun", monkeypatch)
    assert run.down().reason is ExitReason.NORMAL
    assert [type(message) for message in run.mail] == [Ignored, Down]


def test_start_that_returns_something_is_a_failed_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTP's bad_return."""
    down = Run("ReturnsFromStart", monkeypatch).down()
    assert (down.reason, down.error_type) == (ExitReason.CRASHED, "TypeError")
    assert "bad_return: start returned 5" in down.error_message


def test_body_whose_work_is_done_stops_in_order_with_the_reason_normal(monkeypatch: pytest.MonkeyPatch) -> None:
    """``Finished`` may be raised by any of its tasks; what it set as its start information is in ``Started``."""
    run = Run("FinishesLater", monkeypatch)
    assert run.down().reason is ExitReason.NORMAL
    assert run.of(Started)[0].info == "soon done"
    assert [alert.text for alert in run.of(Alert)] == ["finished"]


def test_body_knows_why_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """``stop_reason`` is there before ``stop`` is called."""
    run = Run("TellsWhyItStops", monkeypatch)
    wait_until(lambda: run.of(Started))
    run.runner.shutdown(1.0, "gave_up")
    assert run.down().reason is ExitReason.SHUTDOWN
    assert [alert.text for alert in run.of(Alert)] == ["gave_up"]
