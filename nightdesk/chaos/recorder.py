"""Follows the system's log while it runs: who lives as which process, and what the audit will want to know."""

from collections import Counter
from typing import Any

from nightdesk.chaos.evidence import GENERATION, KEPT_EVENTS, ORDER_PLANT, Line, PlantLife
from nightdesk.chaos.invariants_life import EXIT, ROOT, STARTS
from nightdesk.chaos.process import is_over

SENT = "order_submitted"
EXIT_PREFIX = "exit-"


class Recorder:
    """One for a whole run; ``generation`` is counted by whoever starts the system anew."""

    def __init__(self) -> None:
        self.generation = 0
        self.lines: list[Line] = []
        """Those with an event of ``KEPT_EVENTS``."""
        self.counts: Counter[str] = Counter()
        """How often each event was logged."""
        self.alerts: Counter[str] = Counter()
        """How often the operator was called, by what for."""
        self.pids: dict[str, int] = {}
        """The newest process of each child, root included."""
        self.alive_together: list[str] = []
        self.order_plants = 0
        self.sent = 0
        """Orders that the order plant has sent, those that close a position for a flatten left out."""
        self._order_pids: set[int] = set()
        self._lives: dict[tuple[int, int], tuple[str, str]] = {}

    def begin(self) -> None:
        """The system is about to be started anew."""
        self.generation += 1
        self.pids.clear()

    def take(self, line: dict[str, Any]) -> None:
        """One record of the log."""
        event = line.get("event")
        self.counts[str(event)] += 1
        child_id = line.get("child_id")
        if event == "alert":
            self.alerts[str(line.get("alert_event"))] += 1
        if event == SENT and not str(line.get("client_order_id")).startswith(EXIT_PREFIX):
            self.sent += 1
        if child_id == ORDER_PLANT and event not in (*STARTS, EXIT):
            self._note_life(line)
        if event not in KEPT_EVENTS:
            return
        self.lines.append({**line, GENERATION: self.generation})
        if event in STARTS:
            self.pids[str(child_id)] = line["pid"]
            if child_id == ORDER_PLANT:
                self._note_order_plant(line["pid"])
        elif event == "system_started":
            self.pids[ROOT] = line["root_pid"]

    def look(self) -> None:
        """Whether two order plants live at this moment; called again and again."""
        self._order_pids = {pid for pid in self._order_pids if not is_over(pid)}
        if len(self._order_pids) > 1:
            self.alive_together.append(f"order plants {sorted(self._order_pids)} live at the same time")

    def lives(self) -> list[PlantLife]:
        """From when to when each order plant wrote."""
        return [PlantLife(*place, *stamps) for place, stamps in self._lives.items()]

    def events(self, event: str, **keys: object) -> list[Line]:
        """The kept lines with this event and these values."""
        return [
            line
            for line in self.lines
            if line["event"] == event and all(line.get(key) == value for key, value in keys.items())
        ]

    def _note_order_plant(self, pid: int) -> None:
        self.order_plants += 1
        self._order_pids.add(pid)
        self.look()

    def _note_life(self, line: dict[str, Any]) -> None:
        place = (self.generation, line.get("incarnation", 0))
        stamp = line["timestamp"]
        first, last = self._lives.get(place, (stamp, stamp))
        self._lives[place] = (min(first, stamp), max(last, stamp))
