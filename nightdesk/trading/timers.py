"""A strategy's timers on the market clock. Pure: time comes in with each call."""

import msgspec


class _Timer(msgspec.Struct):
    due_ns: int
    interval_ns: int
    repeat: bool


class TimerTable:
    """Named timers. A repeating timer that time has jumped over fires once and goes on from then, or as often as it was
    due, as its user likes."""

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

    def pop_next(self, to_ns: int, *, together: bool = True) -> str | None:
        """The name of the earliest timer that is due by a time, None where there is none.

        A repeating one is set anew: ``together`` for after ``to_ns``, however often it was due until then, else for its
        next turn.
        """
        due_ns, name = min(((timer.due_ns, name) for name, timer in self._timers.items()), default=(to_ns + 1, ""))
        if due_ns > to_ns:
            return None
        timer = self._timers[name]
        if timer.repeat:
            missed = (to_ns - due_ns) // timer.interval_ns if together else 0
            timer.due_ns = due_ns + (missed + 1) * timer.interval_ns
        else:
            del self._timers[name]
        return name

    def shift(self, delta_ns: int) -> None:
        """The market clock was set to another time: keep what is left of each timer."""
        for timer in self._timers.values():
            timer.due_ns += delta_ns
