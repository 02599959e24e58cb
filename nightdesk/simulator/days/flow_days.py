"""What the calendar does to the source of the market's events."""

from typing import Protocol

from nightdesk.simulator.venue.market import Phase


class FlowDays(Protocol):
    """The flow's side of the days; each call is for one contract. A recording takes no notice of any."""

    def begin(self, symbol: str, phase: Phase) -> None:
        """The phase in which the exchange starts."""
        ...

    def queue(self, symbol: str, now_ns: int) -> None:
        """Orders are taken for an opening."""
        ...

    def before_opening(self, symbol: str, now_ns: int) -> None:
        """The market trades in a moment: the last orders for the opening cross."""
        ...

    def trade(self, symbol: str, now_ns: int) -> None:
        """The market trades."""
        ...

    def sleep(self, symbol: str, now_ns: int) -> None:
        """Nothing happens until one of the others is called."""
        ...


class NoFlowDays:
    """Of a recording: it is played as it is."""

    def begin(self, symbol: str, phase: Phase) -> None:
        """Nothing."""

    def queue(self, symbol: str, now_ns: int) -> None:
        """Nothing."""

    def before_opening(self, symbol: str, now_ns: int) -> None:
        """Nothing."""

    def trade(self, symbol: str, now_ns: int) -> None:
        """Nothing."""

    def sleep(self, symbol: str, now_ns: int) -> None:
        """Nothing."""
