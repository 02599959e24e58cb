"""What all alert channels share: which alerts pass, how many, and what is said about those that do not."""

import asyncio
from collections import Counter, deque

from actors.base import Body, Context
from nightdesk.errors import ConfigurationError
from nightdesk.messages import Alert, ChildId, Message, Severity
from nightdesk.settings.models import AlertChannel
from nightdesk.settings.runtime import RunConfiguration

QUEUE_MAX = 1000
"""Alerts that wait for a slow channel; what comes then is counted in the next summary."""

WINDOW_S = 60.0
SUMMARY_EVENTS_MAX = 10
"""Event names that one summary lists; the others are counted together."""

STOP_DELIVERY_S = 2.0
"""How long the end waits for what is in the queue."""

SUMMARY_EVENT = "alerts_suppressed"

_RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.ERROR: 2, Severity.CRITICAL: 3}


class RateLimiter:
    """At most ``per_minute`` in each minute, counted from the first one. Pure: the time comes in with each call."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._window_end_s = float("-inf")
        self._count = 0

    def admit(self, now_s: float) -> bool:
        """Count one; False when it is over the limit."""
        if now_s >= self._window_end_s:
            self._window_end_s = now_s + WINDOW_S
            self._count = 0
        self._count += 1
        return self._count <= self._per_minute

    def remaining_s(self, now_s: float) -> float:
        """Until the present minute is over."""
        return max(self._window_end_s - now_s, 0.0)


class AlertChannelBody(Body):
    """Filters, limits and queues alerts; a subclass delivers them, one after the other.

    Critical alerts have a limit of their own, so that a flood of fills cannot hide a parked child. What was suppressed
    is told in one summary when its minute is over.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.section = _section_of(context)
        self._events = frozenset(self.section.events)
        self._rank_min = _RANK[Severity(self.section.min_severity)]
        self._limiter = RateLimiter(self.section.rate_per_minute)
        self._critical_limiter = RateLimiter(self.section.rate_per_minute)
        self._suppressed: Counter[str] = Counter()
        self._summary: asyncio.TimerHandle | None = None
        self._queue: deque[Alert] = deque()
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self) -> None:
        self.context.spawn(self._deliver_all(), name="deliver_alerts")

    async def stop(self) -> None:
        if self._summary is not None:
            self._summary.cancel()
            self._summarize()
        try:
            async with asyncio.timeout(STOP_DELIVERY_S):
                await self._idle.wait()
        except TimeoutError:
            self.context.log.error("alerts_not_delivered", count=len(self._queue) + 1)

    def receive(self, origin: ChildId, message: Message) -> None:
        if isinstance(message, Alert) and self._is_selected(message):
            self._take(message)

    async def deliver(self, alert: Alert) -> None:
        """Bring one alert to where people see it; must not raise for a fault of the far side, must come to an end."""
        raise NotImplementedError

    def _is_selected(self, alert: Alert) -> bool:
        return _RANK[alert.severity] >= self._rank_min and ("*" in self._events or alert.event in self._events)

    def _take(self, alert: Alert) -> None:
        limiter = self._critical_limiter if alert.severity == Severity.CRITICAL else self._limiter
        now_s = self.context.clock.monotonic_s()
        if limiter.admit(now_s) and len(self._queue) < QUEUE_MAX:
            self._put(alert)
            return
        self._suppressed[alert.event] += 1
        if self._summary is None:
            # Where the queue is full within its limit, the rest of the minute is as good a moment as any.
            delay_s = limiter.remaining_s(now_s)
            self._summary = asyncio.get_running_loop().call_later(delay_s, self._summarize)

    def _put(self, alert: Alert) -> None:
        self._queue.append(alert)
        self._idle.clear()
        self._work.set()

    def _summarize(self) -> None:
        """Outside of the limit: there is at most one a minute."""
        self._summary = None
        suppressed, self._suppressed = self._suppressed, Counter()
        count = suppressed.total()
        listed = suppressed.most_common(SUMMARY_EVENTS_MAX)
        others = count - sum(number for _, number in listed)
        parts = [f"{event} {number}" for event, number in listed] + ([f"others {others}"] if others else [])
        self._put(
            Alert(
                event=SUMMARY_EVENT,
                severity=Severity.WARNING,
                origin=self.context.child_id,
                text=f"{count} alerts over the limit of this channel were not passed on: {', '.join(parts)}",
                ts_event_ns=self.context.clock.now_ns(),
                fields=tuple((event, str(number)) for event, number in listed),
            )
        )

    async def _deliver_all(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self._queue:
                await self.deliver(self._queue.popleft())
            self._idle.set()


def _section_of(context: Context) -> AlertChannel:
    name = context.child_id.rpartition("/")[2]
    for section in RunConfiguration.from_json(context.config).settings.alerts:
        if section.name == name:
            return section
    raise ConfigurationError(f"the configuration has no alert channel {name}")
