"""Stand-ins for what surrounds the code under test."""

import structlog

from actors.base import Context
from nightdesk.clocks import Clock, ManualClock, ManualTime, MarketTime
from nightdesk.messages import Alert, ChildId, Message


class FakeContext(Context):
    """A context without a process: it keeps what the body says instead of sending it.

    ``told`` has every (destination, message) that is no alert, ``alerts`` every alert, ``crashed`` the first error that
    ended the actor. ``spawn`` really creates tasks. Market time follows the clock unless it is given.
    """

    def __init__(
        self,
        child_id: str = "plants/order",
        config: bytes = b"{}",
        clock: Clock | None = None,
        *,
        incarnation: int = 1,
        market_time: MarketTime | None = None,
    ) -> None:
        self.told: list[tuple[ChildId, Message]] = []
        self.alerts: list[Alert] = []
        self.crashed: BaseException | None = None
        clock = clock if clock is not None else ManualClock()
        super().__init__(
            child_id=ChildId(child_id),
            incarnation=incarnation,
            config=config,
            clock=clock,
            log=structlog.get_logger().bind(child_id=child_id),
            post=self._keep,
            end=self._keep_error,
            market_time=market_time if market_time is not None else ManualTime(clock),
        )

    def of(self, kind: type[Message]) -> list[Message]:
        """The messages of one type that were told, oldest first."""
        return [message for _, message in self.told if isinstance(message, kind)]

    def _keep(self, destination: ChildId, message: Message) -> None:
        if isinstance(message, Alert):
            self.alerts.append(message)
        else:
            self.told.append((destination, message))

    def _keep_error(self, error: BaseException) -> None:
        if self.crashed is None:
            self.crashed = error
