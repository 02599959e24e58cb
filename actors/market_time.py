"""Which market time an actor reads: the embedded exchange's in a simulation, the wall clock at a real one."""

from nightdesk.clocks import Clock, MarketTime, WallTime
from nightdesk.market_clock_file import PublishedTime
from nightdesk.settings.runtime import RunConfiguration


def market_time_of(run: RunConfiguration, clock: Clock) -> MarketTime:
    """The market time of a run."""
    if run.settings.mode != "sim":
        return WallTime(clock)
    exchange = run.settings.exchange
    return PublishedTime(run.runtime_dir, speed=1.0 if exchange is None else exchange.speed, clock=clock)
