"""All clients' orders that the exchange still knows, and the reports of their steps."""

from collections import deque
from collections.abc import Callable

from nightdesk.simulator.model import Completion, Execution, OrderEventKind, VenueEvent
from nightdesk.simulator.venue.client_order import ClientOrder
from nightdesk.simulator.venue.counters import Counters
from nightdesk.simulator.venue.refusal import VenueRefusal

_UNNUMBERED = frozenset(
    {OrderEventKind.RECEIVED, OrderEventKind.COMPLETED, OrderEventKind.WARNED, OrderEventKind.RETAGGED}
)


class OrderTable:
    """Orders by basket id, oldest first; finished ones up to a limit."""

    def __init__(self, counters: Counters, kept_max: int) -> None:
        self.counters = counters
        self.orders: dict[str, ClientOrder] = {}
        self.open: dict[str, ClientOrder] = {}
        self.of_account: dict[str, dict[str, ClientOrder]] = {}
        """Each account's orders, finished ones too."""
        self.open_of_account: dict[str, dict[str, ClientOrder]] = {}
        self.on_progress: Callable[[ClientOrder], None] = lambda _order: None
        """Called after each fill and each completion of an order."""
        self.on_forgotten: Callable[[ClientOrder], None] = lambda _order: None
        self._finished: deque[str] = deque()
        self._kept_max = kept_max

    def add(self, order: ClientOrder) -> None:
        """Know the order from now on."""
        self.orders[order.basket_id] = order
        self.of_account.setdefault(order.account_id, {})[order.basket_id] = order

    def set_open(self, order: ClientOrder) -> None:
        """The order works, at the server or at the exchange."""
        self.open[order.basket_id] = order
        self.open_of_account.setdefault(order.account_id, {})[order.basket_id] = order

    def find_open(self, account_id: str, basket_id: str) -> ClientOrder:
        """Raises ``VenueRefusal`` with the reason why the order cannot be changed."""
        order = self.orders.get(basket_id)
        if order is None or order.account_id != account_id or order.completion is Completion.FAILED:
            raise VenueRefusal("order not found")
        if order.completion is not None:
            raise VenueRefusal("already filled" if order.completion is Completion.FILLED else "already cancelled")
        return order

    def report(
        self,
        kind: OrderEventKind,
        order: ClientOrder,
        now_ns: int,
        events: list[VenueEvent],
        *,
        text: str = "",
        execution: Execution | None = None,
    ) -> None:
        """One step, with the next report id unless the kind has none (a fill has its own)."""
        report_id = ""
        if execution is not None:
            report_id = execution.fill_id
        elif kind not in _UNNUMBERED:
            report_id = self.counters.next_report_id()
        events.append(order.happened(kind, now_ns, report_id=report_id, execution=execution, text=text))

    def cancel(self, order: ClientOrder, text: str, now_ns: int, events: list[VenueEvent]) -> None:
        """CANCELED, COMPLETED(C); the matcher has let it go before."""
        order.sequence_number = self.counters.next_sequence_number()
        order.text = text or order.text
        self.report(OrderEventKind.CANCELED, order, now_ns, events, text=text)
        self.complete(order, Completion.CANCELED, text, now_ns, events)

    def complete(
        self, order: ClientOrder, completion: Completion, text: str, now_ns: int, events: list[VenueEvent]
    ) -> None:
        """COMPLETED."""
        order.complete(completion, text)
        self.finish(order)
        self.report(OrderEventKind.COMPLETED, order, now_ns, events, text=text)
        self.on_progress(order)

    def finish(self, order: ClientOrder) -> None:
        """Keep it among the finished ones, and forget the oldest of those over the limit."""
        self.open.pop(order.basket_id, None)
        self.open_of_account.get(order.account_id, {}).pop(order.basket_id, None)
        self._finished.append(order.basket_id)
        if len(self._finished) > self._kept_max:
            old = self.orders.pop(self._finished.popleft())
            del self.of_account[old.account_id][old.basket_id]
            self.on_forgotten(old)
