"""What a run was: taken from its status just before it stops, logged as its last line."""

from typing import Any

from nightdesk.clocks import Clock
from nightdesk.console.client import request
from nightdesk.errors import NightdeskError
from nightdesk.settings.folders import Folders

GATHER_TIMEOUT_S = 4.0


class RunSummary:
    """Collects while the system still answers; ``fields`` is logged, with ``complete`` false where it did not."""

    def __init__(self, folders: Folders, clock: Clock) -> None:
        self._folders = folders
        self._clock = clock
        self._began_s = clock.monotonic_s()
        self.fields: dict[str, Any] = {"complete": False}

    def collect(self) -> None:
        """Ask for the status; a system that cannot answer any more only makes the summary shorter."""
        try:
            self.fields = summarize(request(self._folders, "status", timeout_s=GATHER_TIMEOUT_S))
        except NightdeskError as error:
            self.fields = {"complete": False, "error": str(error)}
        self.fields["uptime_s"] = round(self._clock.monotonic_s() - self._began_s, 3)


def summarize(status: dict[str, Any]) -> dict[str, Any]:
    """The closing line's keys of a whole status."""
    strategies = status["strategies"].values()
    return {
        "complete": all(child["state"] != "unknown" for child in status["children"]),
        "ticks": sum(strategy["ticks"] for strategy in strategies),
        "orders": sum(strategy["orders_sent"] for strategy in strategies),
        "fills": sum(strategy["fills"] for strategy in strategies),
        "restarts": sum(child["restarts"] for child in status["children"]),
        "denied": status["orders"]["denied"],
        "positions": [{key: position[key] for key in ("symbol", "quantity")} for position in status["positions"]],
    }
