"""OTP's supervisor written down a second time, the plain way: it waits for each start and stop, and has a mailbox.

It shares no code with the engine. ``starts`` is asked how a start of a child goes: ``ok``, ``fail`` or ``ignore``.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from nightdesk.messages import ExitReason
from supervisors.spec import RestartType, Strategy

ORDERLY = (ExitReason.NORMAL, ExitReason.SHUTDOWN)


@dataclass(slots=True)
class Entry:
    """One child: ``pid`` is ``alive``, ``restarting`` or None."""

    id: str
    restart: RestartType
    pid: str | None = None


class Reference:
    """One supervisor; ``history`` has ``+id`` for each try to start and ``-id`` for each termination."""

    def __init__(
        self,
        strategy: Strategy,
        intensity: int,
        period_s: float,
        children: list[tuple[str, RestartType]],
        starts: Callable[[str], str],
    ) -> None:
        self.strategy, self.intensity, self.period_s = strategy, intensity, period_s
        self.entries = [Entry(name, restart) for name, restart in children]
        self.starts = starts
        self.history: list[str] = []
        self.stamps: list[float] = []
        self.mailbox: deque[str] = deque()
        self.end = ""
        if self._start_all(list(self.entries)) is not None:
            self._terminate_all("failed_to_start_child")

    def exit(self, name: str, reason: ExitReason, now: float) -> None:
        """A child has ended by itself."""
        entry = self._find(name)
        if entry is None or entry.pid != "alive":
            return
        entry.pid = None
        if entry.restart is RestartType.TEMPORARY:
            self.entries.remove(entry)
        elif entry.restart is RestartType.PERMANENT or reason not in ORDERLY:
            self._restart(entry, now)
        self._empty_mailbox(now)

    def add(self, name: str, restart: RestartType) -> None:
        """start_child"""
        if self._find(name) is None:
            entry = Entry(name, restart)
            self.entries.append(entry)
            outcome = self._start(entry)
            if outcome == "fail":
                self.entries.remove(entry)

    def terminate(self, name: str) -> None:
        """terminate_child"""
        entry = self._find(name)
        if entry is not None:
            self._terminate([entry])

    def start_again(self, name: str) -> None:
        """restart_child"""
        entry = self._find(name)
        if entry is not None and entry.pid is None:
            self._start(entry)

    def delete(self, name: str) -> None:
        """delete_child"""
        entry = self._find(name)
        if entry is not None and entry.pid is None:
            self.entries.remove(entry)

    @property
    def living(self) -> list[tuple[str, bool]]:
        return [(entry.id, entry.pid == "alive") for entry in self.entries]

    def _find(self, name: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.id == name), None)

    def _start(self, entry: Entry) -> str:
        self.history.append(f"+{entry.id}")
        outcome = self.starts(entry.id)
        entry.pid = "alive" if outcome == "ok" else None
        if outcome == "ignore" and entry.restart is RestartType.TEMPORARY:
            self.entries.remove(entry)
        return outcome

    def _start_all(self, entries: list[Entry]) -> Entry | None:
        """The one that failed, if any."""
        return next((entry for entry in entries if self._start(entry) == "fail"), None)

    def _terminate(self, entries: list[Entry]) -> None:
        for entry in reversed(entries):
            if entry.pid == "alive":
                self.history.append(f"-{entry.id}")
            entry.pid = None
            if entry.restart is RestartType.TEMPORARY:
                self.entries.remove(entry)

    def _terminate_all(self, end: str) -> None:
        self._terminate(list(self.entries))
        self.end = end
        self.mailbox.clear()

    def _restart(self, entry: Entry, now: float) -> None:
        self.stamps = [stamp for stamp in self.stamps if stamp >= now - self.period_s] + [now]
        if len(self.stamps) > self.intensity:
            self._terminate_all("reached_max_restart_intensity")
            return
        place = self.entries.index(entry)
        failed: Entry | None = None
        match self.strategy:
            case Strategy.ONE_FOR_ONE:
                failed = self._start_all([entry])
            case Strategy.REST_FOR_ONE:
                before = self.entries[:place]
                self._terminate(self.entries[place:])
                failed = self._start_all([other for other in self.entries if other not in before])
            case Strategy.ONE_FOR_ALL:
                self._terminate(list(self.entries))
                failed = self._start_all(list(self.entries))
        if failed is not None:
            failed.pid = "restarting"
            self.mailbox.append(failed.id)

    def _empty_mailbox(self, now: float) -> None:
        while self.mailbox:
            entry = self._find(self.mailbox.popleft())
            if entry is not None and entry.pid == "restarting":
                self._restart(entry, now)
