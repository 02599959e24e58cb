"""The base of every actor: the shell (a Thespian actor on the main thread) and the thread that runs its body.

A body is written against ``Body`` and ``Context`` alone. This is the one module that catches every error: a failing
body says its last words and its process ends; restarting it is its supervisor's job and nobody else's.
"""

# ruff: noqa: BLE001 - see above.

import asyncio
import os
import threading
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

import uvloop
from thespian.actors import ActorAddress, ThespianWatch

from actors.body import ALERTS, ALERTS_PER_SECOND_MAX, Body, Context, Finished, IgnoreStart, load_body
from actors.crash_report import TRACEBACK_CHARACTERS_MAX, shortened, write_crash_report
from actors.mailbox import LAST_WORDS_S, MAIL_QUEUE_MAX, MailActor, Port
from actors.process import die_with_parent, take_over
from nightdesk.clocks import SystemClock
from nightdesk.errors import InvariantError, NightdeskError
from nightdesk.logs import configure, flush, get_logger
from nightdesk.messages import (
    ChildId,
    Down,
    ExitReason,
    Heartbeat,
    Ignored,
    Mail,
    Message,
    Shutdown,
    StartChild,
    Started,
    decode,
)
from nightdesk.printed import divert_prints

__all__ = [
    "ALERTS",
    "ALERTS_PER_SECOND_MAX",
    "Body",
    "Context",
    "Finished",
    "GuardedActor",
    "IgnoreStart",
    "Port",
    "Shell",
    "exit_code_of",
]

SUPERVISOR = ChildId("supervisor")
"""The address of one's own supervisor, whatever its id."""

CANCEL_S = 1.0
"""What the tasks of a body have after its ``stop`` to end."""

TERMINATE_DEADLINE_S = 5.0
"""What a body has to stop when its process gets SIGTERM from somebody else than its supervisor."""


class GuardedActor(MailActor):
    """Catches everything first, because Thespian runs a handler that raised a second time with the same message."""

    def __init__(self) -> None:
        # First of all: until then Thespian's handlers take every signal, and its logger every line.
        take_over(self.request_terminate)
        super().__init__()
        self._failing = False

    def receiveMessage(self, message: object, sender: ActorAddress) -> ThespianWatch:
        """Called by Thespian for each message; never raises."""
        try:
            return self.handle(message, sender)
        except BaseException as error:
            if self._failing:
                os._exit(1)
            self._failing = True
            try:
                self.on_failure(error)
            except BaseException:
                os._exit(1)
            return ThespianWatch(self.watched())

    def on_failure(self, error: BaseException) -> None:
        """End this process with an error of its own; raising here, or a second failure, ends it without a word."""
        raise NotImplementedError

    def begin(self, mail: Mail, actor: str) -> StartChild:
        """Take the first mail: who we are. Exits if the parent that sent it is not there any more."""
        start = decode(mail.payload)
        if not isinstance(start, StartChild):
            raise InvariantError(f"the first mail was {type(start).__name__}, not StartChild")
        die_with_parent(start.parent_pid)
        self.child_id = start.child_id
        self.incarnation = start.incarnation
        configure(
            log_format=start.log_format,
            level=start.log_level,
            actor=start.body.partition(":")[2] or actor,
            child_id=start.child_id,
            incarnation=start.incarnation,
        )
        divert_prints(get_logger(), SystemClock())
        return start


class Shell(GuardedActor):
    """A worker: passes mail between its supervisor and its body, and ends the process with the body."""

    def __init__(self) -> None:
        super().__init__()
        self._supervisor: Port | None = None
        self._runner: BodyRunner | None = None
        self._outgoing: deque[tuple[ChildId, Message]] = deque()
        self._stopping = False

    def on_mail(self, mail: Mail, sender: ActorAddress) -> None:
        if self._supervisor is None:
            start = self.begin(mail, "Shell")
            self._supervisor = Port(self, sender)
            self._runner = BodyRunner(start, os.getpid(), self._post)
            self._runner.begin()
            return
        if self._runner is None or not self.is_news(mail):
            return
        message = decode(mail.payload)
        if isinstance(message, Shutdown):
            self._stop(message.deadline_s, message.reason)
        else:
            self._runner.deliver(mail.origin, message)

    def on_ready(self, ready: list[int]) -> None:
        while self._outgoing and self._supervisor is not None:
            destination, message = self._outgoing.popleft()
            if isinstance(message, Down):
                orderly = message.reason in (ExitReason.SHUTDOWN, ExitReason.NORMAL)
                self.last_words(self._supervisor, message, destination, 0 if orderly else 1)
                return
            self._supervisor.send(self.make_mail(destination, message))

    def on_terminate(self) -> None:
        if self._stopping or self._runner is None:
            os._exit(1)
        self._stop(TERMINATE_DEADLINE_S, "SIGTERM")

    def on_failure(self, error: BaseException) -> None:
        if self._runner is None:
            raise error
        self._runner.crash(error)

    def _stop(self, deadline_s: float, reason: str) -> None:
        self._stopping = True
        if self._runner is not None:
            self._runner.shutdown(deadline_s, reason)

    def _post(self, destination: ChildId, message: Message) -> None:
        """Called on the body's thread. A full queue means that the main thread or the supervisor does not get on."""
        if len(self._outgoing) >= MAIL_QUEUE_MAX and not isinstance(message, Down):
            if not isinstance(message, Heartbeat):
                get_logger().warning("mail_dropped", destination=destination, message=type(message).__name__)
            return
        self._outgoing.append((destination, message))
        self.wake()


class BodyRunner:
    """One body on one event loop in one thread, beside the shell's main thread.

    ``post`` is called on that thread with (destination, message) for everything that leaves; it does not block. The
    last message is always ``Down``, and nothing follows it.
    """

    def __init__(self, start: StartChild, pid: int, post: Callable[[ChildId, Message], None]) -> None:
        self._start = start
        self._identity: dict[str, Any] = {"child_id": start.child_id, "incarnation": start.incarnation, "pid": pid}
        self._post = post
        self._log = get_logger()
        self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._loop.set_exception_handler(self._on_loop_error)
        self._context = Context(
            child_id=start.child_id,
            incarnation=start.incarnation,
            config=start.config,
            clock=SystemClock(),
            log=self._log,
            post=post,
            end=self.crash,
        )
        self._body: Body | None = None
        self._starting: asyncio.Task[None] | None = None
        self._stop_task: asyncio.Task[None] | None = None
        self._ready = False
        self._stopping = False
        self._ended = False
        self._held: list[tuple[ChildId, Message]] = []
        self._thread = threading.Thread(target=self._run, name="body", daemon=True)

    def begin(self) -> None:
        """Start the thread; ``Started`` or ``Down`` follows through ``post``."""
        self._thread.start()

    def deliver(self, origin: ChildId, message: Message) -> None:
        """Hand the body a message. Called from the main thread."""
        self._loop.call_soon_threadsafe(self._receive, origin, message)

    def shutdown(self, deadline_s: float, reason: str = "") -> None:
        """Stop the body in order; ``Down`` follows. Called from the main thread; a second call changes nothing."""
        self._loop.call_soon_threadsafe(self._begin_stop, deadline_s, reason)

    def crash(self, error: BaseException) -> None:
        """End with an error; the first one counts. May be called from any thread."""
        if threading.current_thread() is self._thread:
            self._end_crashed(error)
        else:
            self._loop.call_soon_threadsafe(self._end_crashed, error)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._starting = self._loop.create_task(self._life(), name="start")
        try:
            self._loop.run_forever()
        except BaseException as error:
            # SystemExit and KeyboardInterrupt pass through an event loop; of a body they are failures like others.
            self._end_crashed(error)
        # The main thread exits as soon as the last words have arrived. Should it hang, the process ends all the same.
        threading.Event().wait(2 * LAST_WORDS_S)
        os._exit(1)

    async def _life(self) -> None:
        try:
            # The body's modules are imported here, in its own process and thread, and nowhere before.
            self._body = load_body(self._start.body)(self._context)
            returned: object = await self._body.start()  # type: ignore[func-returns-value]
            if returned is not None:
                raise TypeError(f"bad_return: start returned {returned!r}")
        except IgnoreStart:
            self._post(SUPERVISOR, Ignored(**self._identity))
            self._end(Down(**self._identity, reason=ExitReason.NORMAL))
            return
        except BaseException as error:
            if self._stopping and isinstance(error, asyncio.CancelledError):
                self._end(Down(**self._identity, reason=ExitReason.SHUTDOWN))
            else:
                self._end_crashed(error)
            return
        if self._ended:
            return
        self._ready = True
        self._post(SUPERVISOR, Started(**self._identity, info=self._body.start_info))
        self._beat()
        held, self._held = self._held, []
        for origin, message in held:
            self._receive(origin, message)

    def _beat(self) -> None:
        if not self._ended:
            self._post(SUPERVISOR, Heartbeat(**self._identity))
            flush()
            self._loop.call_later(self._start.heartbeat_interval_s, self._beat)

    def _receive(self, origin: ChildId, message: Message) -> None:
        if self._ended:
            return
        if not self._ready or self._body is None:
            if len(self._held) < MAIL_QUEUE_MAX:
                self._held.append((origin, message))
            else:
                self._log.warning("mail_dropped", reason="the body has not started", message=type(message).__name__)
            return
        try:
            self._body.receive(origin, message)
        except BaseException as error:
            self._end_crashed(error)

    def _begin_stop(self, deadline_s: float, reason: str, end: ExitReason = ExitReason.SHUTDOWN) -> None:
        if self._stopping or self._ended:
            return
        self._stopping = True
        if self._ready and self._body is not None:
            self._body.stop_reason, self._body.stop_deadline_s = reason, deadline_s
            self._stop_task = self._loop.create_task(self._stop(self._body, deadline_s, end), name="stop")
        elif self._starting is not None:
            self._starting.cancel()

    async def _stop(self, body: Body, deadline_s: float, end: ExitReason) -> None:
        words: dict[str, Any] = {"reason": end}
        try:
            try:
                async with asyncio.timeout(deadline_s):
                    await body.stop()
            except TimeoutError as error:
                # A time-out of the body's own ends here too; either way it did not end in order.
                text = str(error) or f"stop took more than {deadline_s} s"
                words |= {"error_type": "TimeoutError", "error_message": text}
            words["exit_code"] = body.exit_code()
            try:
                async with asyncio.timeout(CANCEL_S):
                    await self._context.cancel_tasks()
            except TimeoutError:
                self._log.warning("tasks_left", reason="they did not end when they were cancelled")
        except BaseException as error:
            self._end_crashed(error)
            return
        self._end(Down(**self._identity, **words))

    def _on_loop_error(self, _loop: asyncio.AbstractEventLoop, details: dict[str, Any]) -> None:
        error = details.get("exception")
        if error is None:
            self._log.warning("event_loop_message", text=str(details.get("message", "")))
        else:
            self.crash(error)

    def _end_crashed(self, error: BaseException) -> None:
        if self._ended:
            return
        if isinstance(error, Finished) and self._ready and not self._stopping:
            self._begin_stop(TERMINATE_DEADLINE_S, "finished", ExitReason.NORMAL)
            return
        kind, message = type(error).__name__, shortened(str(error))
        if self._stop_task is not None and asyncio.current_task(self._loop) is not self._stop_task:
            # What a body's tasks meet while everything is being closed does not make an ordered stop a crash.
            self._log.warning("task_failed_while_stopping", error_type=kind, error_message=message)
            return
        # Errors with an exit code are the operator's to mend: their message says all, and no stack is shown.
        frames = traceback.format_exception(error) if exit_code_of(error) is None else ()
        text = "".join(frames)[-TRACEBACK_CHARACTERS_MAX:]
        write_crash_report(kind, message, text)
        words: dict[str, Any] = {"error_type": kind, "error_message": message, "traceback": text}
        self._end(Down(**self._identity, reason=ExitReason.CRASHED, exit_code=exit_code_of(error), **words))

    def _end(self, down: Down) -> None:
        self._ended = True
        self._post(SUPERVISOR, down)
        # Nothing of the body runs after this turn of its loop.
        self._loop.stop()


def exit_code_of(error: BaseException) -> int | None:
    """The code with which an error ends the whole system, None for one that a restart may mend."""
    if isinstance(error, NightdeskError):
        return error.exit_code
    if isinstance(error, BaseExceptionGroup):
        codes = (exit_code_of(inner) for inner in error.exceptions)
        return next((code for code in codes if code is not None), None)
    return None
