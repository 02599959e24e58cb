"""Tiny bodies for the tests that run real processes; each does one thing well or ill."""

import asyncio
import json
import threading
from pathlib import Path

from actors.base import Body, Context, Finished, IgnoreStart
from nightdesk.errors import CredentialsError
from nightdesk.messages import Alert, ChildId, Message, QueryStatus, Severity, StopSystem, StrategyStatus
from tests.support import wait_until_async


class Quiet(Body):
    """Starts, runs and stops without a word; tells the test's log when it stops."""

    async def stop(self) -> None:
        self.context.log.info("body_stopped")


class SlowToStart(Body):
    async def start(self) -> None:
        await asyncio.sleep(0.2)


class NeverStarts(Body):
    async def start(self) -> None:
        await asyncio.sleep(3600)


class FailsAtStart(Body):
    async def start(self) -> None:
        raise ValueError("no luck")


class FailsWhileRunning(Body):
    """Runs a moment, then a task of it fails."""

    async def start(self) -> None:
        self.context.spawn(self._fail(), name="fail")

    async def _fail(self) -> None:
        await asyncio.sleep(0.02)
        raise RuntimeError("out of luck")


class RefusedCredentials(Body):
    """Ends the whole system with exit code 3."""

    async def start(self) -> None:
        self.context.spawn(self._fail(), name="login")

    async def _fail(self) -> None:
        await asyncio.sleep(0.05)
        raise CredentialsError("permission denied")


class RefusedWhenTold(Body):
    """The same, as soon as the file exists that its configuration names."""

    async def start(self) -> None:
        self._look()

    def _look(self) -> None:
        if Path(json.loads(self.context.config)["flag"]).exists():
            self.context.crash(CredentialsError("permission denied"))
        else:
            asyncio.get_running_loop().call_later(0.02, self._look)


class HangsLater(Body):
    """Blocks its own event loop a moment after its start, the first time only."""

    async def start(self) -> None:
        if self.context.incarnation == 1:
            asyncio.get_running_loop().call_later(0.05, threading.Event().wait, 3600)


class HangsAtStop(Body):
    async def stop(self) -> None:
        threading.Event().wait(3600)


class HaltedAtStop(Body):
    """Asks for exit code 5 after an ordered stop."""

    def exit_code(self) -> int | None:
        return 5


class RaisesOnMail(Body):
    """Counts its mail in a file before it raises, so that a second delivery would show."""

    def receive(self, origin: ChildId, message: Message) -> None:
        path = Path(json.loads(self.context.config)["count_file"])
        with path.open("a") as file:
            file.write("x")
        raise RuntimeError("cannot take mail")


class Alarm(Body):
    """An alert channel: writes each alert to the log."""

    def receive(self, origin: ChildId, message: Message) -> None:
        if isinstance(message, Alert):
            self.context.log.info("alert_seen", alert=message.event, text=message.text, about=dict(message.fields))


class Answers(Body):
    """Answers a status query, across the tree."""

    def receive(self, origin: ChildId, message: Message) -> None:
        if isinstance(message, QueryStatus):
            status = StrategyStatus(
                request_id=message.request_id,
                strategy_id=self.context.child_id,  # type: ignore[arg-type]
                state="running",
                ticks=0,
                trades=0,
                quotes=0,
                orders_sent=0,
                fills=0,
                last_event_ns=0,
            )
            self.context.tell(message.reply_to, status)


class Asks(Body):
    """Sends the messages that its configuration names, one after the other, and logs what comes back.

    Where the configuration names a file as ``begin``, it waits until that is there.
    """

    async def start(self) -> None:
        self.context.spawn(self._ask(), name="ask")

    async def _ask(self) -> None:
        from nightdesk.messages import decode

        content = json.loads(self.context.config)
        if content["begin"]:
            await wait_until_async(Path(content["begin"]).exists)
        for step in content["script"]:
            await asyncio.sleep(step["after_s"])
            self.context.tell(ChildId(step["to"]), decode(bytes.fromhex(step["message"])))

    def receive(self, origin: ChildId, message: Message) -> None:
        self.context.log.info("answer_seen", kind=type(message).__name__, text=repr(message), origin=origin)


class DoesNotWantToRun(Body):
    async def start(self) -> None:
        raise IgnoreStart


class ReturnsFromStart(Body):
    async def start(self) -> None:
        return 5  # type: ignore[return-value]


class FinishesLater(Body):
    """Its work is done a moment after its start; it stops in order then."""

    async def start(self) -> None:
        self.start_info = "soon done"
        self.context.spawn(self._finish(), name="finish")

    async def stop(self) -> None:
        self.context.alert("stopped", Severity.INFO, self.stop_reason)

    async def _finish(self) -> None:
        await asyncio.sleep(0.01)
        raise Finished


class TellsWhyItStops(Body):
    async def stop(self) -> None:
        self.context.alert("stopped", Severity.INFO, self.stop_reason)


class AlertsMuch(Body):
    async def start(self) -> None:
        for number in range(100):
            self.context.alert("noise", Severity.INFO, f"number {number}")


class StopsAll(Body):
    """Asks root to stop the system."""

    async def start(self) -> None:
        stop = StopSystem(request_id="1", reply_to=self.context.child_id, reason="enough")
        asyncio.get_running_loop().call_later(0.05, self.context.tell, ChildId("root"), stop)


class NotABody:
    def __init__(self, context: Context) -> None: ...
