"""A strategy's timers on the market clock. Pure: time comes in with each call."""

import msgspec


class _Timer(msgspec.Struct):
    due_ns: int
    interval_ns: int
    repeat: bool


class TimerTable:
    """Named timers. A repeating timer that time has jumped over fires once and goes on from then, never in a burst."""

    def __init__(self) -> None:
        self._timers: dict[str, _Timer] = {}

    @property
    def due_ns(self) -> int | None:
        """When the next timer is due; None without timers."""
        return min((timer.due_ns for timer in self._timers.values()), default=None)

    def set(self, name: str, interval_ns: int, now_ns: int, *, repeat: bool) -> None:
        """Start a timer, or start the one of this name anew."""
        self._timers[name] = _Timer(now_ns + interval_ns, interval_ns, repeat)

    def cancel(self, name: str) -> None:
        """Stop a timer; one that does not exist is no error."""
        self._timers.pop(name, None)

    def pop_due(self, now_ns: int) -> list[str]:
        """The names that are due by now, earliest first, each once."""
        due = sorted((timer.due_ns, name) for name, timer in self._timers.items() if timer.due_ns <= now_ns)
        for due_ns, name in due:
            timer = self._timers[name]
            if timer.repeat:
                missed = (now_ns - due_ns) // timer.interval_ns
                timer.due_ns = due_ns + (missed + 1) * timer.interval_ns
            else:
                del self._timers[name]
        return [name for _, name in due]

    def shift(self, delta_ns: int) -> None:
        """The market clock was set to another time: keep what is left of each timer."""
        for timer in self._timers.values():
            timer.due_ns += delta_ns
