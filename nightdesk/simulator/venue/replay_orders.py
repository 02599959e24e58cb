"""What every replay does with a client's order that comes, changes or goes. Pure."""

from nightdesk.simulator.venue.matching import (
    TEXT_WRONG_SIDE,
    Change,
    Opened,
    Order,
    Outcome,
    Pending,
    Refused,
    is_wrong_side,
    keeps_place,
)


class ReplayOrders:
    """Stops wait in ``_stops``; how an order executes and rests beside its recording, a subclass says."""

    last_price: int | None
    _stops: dict[Order, None]

    def submit(self, order: Order) -> list[Outcome]:
        """Take a client's order."""
        if order.is_pending:
            if is_wrong_side(order.is_buy, order.trigger or 0, self.last_price):
                return [Refused(order, TEXT_WRONG_SIDE)]
            self._stops[order] = None
            return [Pending(order)]
        outcomes: list[Outcome] = [Opened(order)]
        self._execute(order, outcomes)
        return outcomes

    def cancel(self, order: Order) -> None:
        """Take a resting or pending order out."""
        self._stops.pop(order, None)
        self._remove(order)

    def modify(self, order: Order, change: Change) -> list[Outcome]:
        """Give an order new terms; it keeps its place as ``keeps_place`` says."""
        if keeps_place(order, change):
            order.leaves = change.leaves
            return []
        was_pending = order.is_pending
        self.cancel(order)
        order.leaves, order.limit, order.trigger, order.is_pending = change
        if order.is_pending:
            self._stops[order] = None
            return [] if was_pending else [Pending(order)]
        outcomes: list[Outcome] = []
        self._execute(order, outcomes)
        return outcomes

    def _execute(self, order: Order, outcomes: list[Outcome]) -> None:
        """Trade what the market gives now; the rest rests or ends."""
        raise NotImplementedError

    def _remove(self, order: Order) -> None:
        """Take a resting order out; one that does not rest is no error."""
        raise NotImplementedError
