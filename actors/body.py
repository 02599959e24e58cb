"""What a worker runs: a body with its context. Nothing here knows of Thespian; ``actors.base`` runs it in a process."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from structlog.typing import FilteringBoundLogger

from actors.market_time import market_time_of
from nightdesk.clocks import Clock, MarketTime
from nightdesk.messages import Alert, ChildId, Message, Severity
from nightdesk.settings.runtime import RunConfiguration

ALERTS_PER_SECOND_MAX = 20
"""Alerts of one actor that are passed on within one second; what is over is counted and summed up in one alert."""

ALERTS = ChildId("services/alerts/*")
"""Where every alert goes: to all alert channels."""

ALERT_FIELD_LENGTH_MAX = 500
"""Characters of one field of an alert; a longer text is cut, so that a traceback cannot fill a channel."""


class IgnoreStart(Exception):
    """Raised from ``Body.start``: this actor does not want to run. Its spec stays without a process."""


class Finished(Exception):
    """Raised anywhere in a body once it runs: its work is done. It stops in order, with the exit reason NORMAL."""


class Context:
    """What a body is given by its process: who it is, and the ways out of it.

    Every method is called on the body's own event loop; only ``crash`` may be called from another thread, too.
    """

    def __init__(
        self,
        *,
        child_id: ChildId,
        incarnation: int,
        config: bytes,
        clock: Clock,
        log: FilteringBoundLogger,
        post: Callable[[ChildId, Message], None],
        end: Callable[[BaseException], None],
        market_time: MarketTime | None = None,
    ) -> None:
        """``market_time`` is chosen by ``config``, a ``RunConfiguration``, where it is not given."""
        self.child_id = child_id
        self.incarnation = incarnation
        self.config = config
        self.clock = clock
        self.log = log
        self._post = post
        self._end = end
        self._market_time = market_time
        self._tasks: set[asyncio.Task[Any]] = set()
        self._alert_second = -1
        self._alerts_in_second: Counter[bool] = Counter()
        self._alerts_suppressed = 0

    @property
    def market_time(self) -> MarketTime:
        """The market's clock: for whatever the market's own time decides (docs/market-time.md)."""
        if self._market_time is None:
            self._market_time = market_time_of(RunConfiguration.from_json(self.config), self.clock)
        return self._market_time

    def tell(self, destination: ChildId, message: Message) -> None:
        """Send mail along the supervision tree; for lifecycle, control and alerts, never for ticks or orders.

        ``destination`` is a child's id, a supervisor's id (``root``, ``plants``), ``supervisor`` for one's own, or a
        prefix that ends in ``*``. Mail to an unknown or dead destination is dropped.
        """
        self._post(destination, message)

    def alert(self, event: str, severity: Severity, text: str, **fields: object) -> None:
        """Tell the operator through every alert channel that selects this event.

        Errors and critical ones are counted apart: a second full of fills must not swallow them.
        """
        second = int(self.clock.monotonic_s())
        if second != self._alert_second:
            self._alert_second = second
            self._alerts_in_second.clear()
        is_severe = severity in (Severity.ERROR, Severity.CRITICAL)
        self._alerts_in_second[is_severe] += 1
        if self._alerts_in_second[is_severe] > ALERTS_PER_SECOND_MAX:
            self._suppress_alert()
            return
        self._send_alert(event, severity, text, fields)

    def spawn(self, coroutine: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Run a task for as long as it likes; its failure ends the actor."""
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def crash(self, error: BaseException) -> None:
        """End this actor with an error; its supervisor decides what follows."""
        self._end(error)

    async def cancel_tasks(self) -> None:
        """Cancel what ``spawn`` started and wait until it has ended; for the process that runs the body."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _task_done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            error = task.exception()
            if error is not None:
                self.crash(error)

    def _send_alert(self, event: str, severity: Severity, text: str, fields: dict[str, object]) -> None:
        pairs = tuple((key, str(value)[:ALERT_FIELD_LENGTH_MAX]) for key, value in fields.items())
        alert = Alert(
            event=event,
            severity=severity,
            origin=self.child_id,
            text=text[:ALERT_FIELD_LENGTH_MAX],
            ts_event_ns=self.clock.now_ns(),
            fields=pairs,
        )
        self.tell(ALERTS, alert)

    def _suppress_alert(self) -> None:
        self._alerts_suppressed += 1
        if self._alerts_suppressed == 1:
            asyncio.get_running_loop().call_later(1.0, self._sum_up_alerts)

    def _sum_up_alerts(self) -> None:
        count, self._alerts_suppressed = self._alerts_suppressed, 0
        text = f"{count} further alerts of {self.child_id} within a second were not sent one by one"
        self._send_alert("alerts_suppressed", Severity.WARNING, text, {"count": count})


class Body:
    """The domain code of one actor. Everything of it runs on one event loop in one thread.

    ``stop_reason`` is set before ``stop`` is called: why the actor is stopped, ``gave_up`` where root has given
    up; ``stop_deadline_s`` with it: how long ``stop`` may take. ``start_info`` may be set in ``start``: what
    whoever asked for the start is to know.
    """

    stop_reason: str = ""
    stop_deadline_s: float = 0.0
    start_info: str = ""

    def __init__(self, context: Context) -> None:
        self.context = context

    async def start(self) -> None:
        """Become ready to receive. Raising is a failed start, which the supervisor counts as a try; ``IgnoreStart`` is
        an answer of its own. Returning anything but None is a failed start, too (OTP's ``bad_return``)."""

    async def stop(self) -> None:
        """End in order, within the deadline that the supervisor gave; called once, never before ``start`` returned."""

    def receive(self, origin: ChildId, message: Message) -> None:
        """Take one message from the mailbox. Raising ends the actor; the message is not delivered again."""

    def exit_code(self) -> int | None:
        """Read after ``stop``: where not None, the run ends with this code."""
        return None


def load_body(path: str) -> type[Body]:
    """Import the class that ``module:Class`` names; raises ImportError, AttributeError or TypeError."""
    import importlib

    module_name, _, class_name = path.partition(":")
    found = getattr(importlib.import_module(module_name), class_name)
    if not (isinstance(found, type) and issubclass(found, Body)):
        raise TypeError(f"{path} is no actors.base.Body")
    return found
