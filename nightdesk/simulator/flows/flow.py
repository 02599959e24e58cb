"""What moves the market: a source of steps in market time, synthetic or recorded."""

from collections.abc import Callable, Sequence
from typing import Protocol

from nightdesk.settings.models import ReplaySource, SyntheticSource
from nightdesk.simulator.flows.replay import ReplayFlow
from nightdesk.simulator.flows.synthetic import SyntheticFlow
from nightdesk.simulator.model import Product, Step
from nightdesk.simulator.venue.venue import Venue


class Flow(Protocol):
    """The source of market events."""

    def next(self) -> tuple[int, Step] | None:
        """The market time (ns, UTC, never backwards) of the next step and the step itself; None: the tape ended.

        The step is called before ``next`` is called again.
        """
        ...


def make_flow(
    source: SyntheticSource | ReplaySource,
    venue: Venue,
    products: Sequence[Product],
    start_ns: int,
    share: Callable[[str, int], float] | None = None,
) -> Flow:
    """The flow that a configuration names; ``start_ns`` is the market time at which a synthetic one begins.

    ``share`` divides a synthetic one's ticks between the products; without it all have the same.

    Call it after ``rebuild`` so that a synthetic market goes on from the log's last prices.
    Raises ``ConfigurationError`` for a tape that cannot be played.
    """
    if isinstance(source, SyntheticSource):
        return SyntheticFlow(source, venue, products, start_ns, share=share)
    return ReplayFlow(source, venue)
