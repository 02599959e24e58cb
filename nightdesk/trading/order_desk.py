"""A strategy's side of the order lane: commands up, the view of what it owns, and answers while nobody is there."""

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypedDict

from msgspec.structs import replace

from nightdesk.messages import (
    CancelAllOrders,
    CancelOrder,
    ClientOrderId,
    Denial,
    Flatten,
    Message,
    ModifyBracket,
    ModifyOrder,
    OrderCancelRejected,
    OrderDenied,
    OrderEvent,
    OrderModifyRejected,
    OrderPendingCancel,
    OrderPendingUpdate,
    OrderReport,
    OrderStatus,
    QueryOrder,
    StrategyId,
    StrategyWelcome,
    SubmitOco,
    SubmitOrder,
)
from nightdesk.trading.host_api import InstrumentTerms, OrderTerms
from nightdesk.trading.order_ids import ClientOrderIds
from nightdesk.trading.strategy_orders import FINISHED, StrategyOrders, as_new, missed_events

DISCONNECTED_TEXT = "the order plant is not connected; nothing was sent"


class _Common(TypedDict):
    """The fields that every order event has."""

    client_order_id: ClientOrderId
    strategy_id: StrategyId
    symbol: str
    exchange: str
    ts_event_ns: int


class OrderOutlet(Protocol):
    """The way to the order plant and to the next turn of the loop."""

    def is_order_lane_open(self) -> bool: ...

    def send_order(self, message: Message) -> None:
        """Raises ``LaneError`` when the order plant does not take what was sent before."""
        ...

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call after the present callback has returned."""
        ...


class OrderDesk:
    """Sends a strategy's commands and keeps its orders.

    Before the first welcome, and between the loss of the lane and the next welcome, nothing is sent and nothing is
    queued: a submit is answered with ``OrderDenied`` (``STATE_DISCONNECTED``), a modify and a cancel with their
    rejections, on the loop's next turn, so that a strategy needs no second way of error handling.
    """

    def __init__(
        self,
        strategy_id: StrategyId,
        *,
        outlet: OrderOutlet,
        ids: ClientOrderIds,
        now_ns: Callable[[], int],
        deliver: Callable[[OrderEvent], None],
    ) -> None:
        self.orders = StrategyOrders()
        self._welcomed = False
        self.sent = 0
        """New orders that were handed to the lane."""
        self._strategy_id = strategy_id
        self._epoch = 0
        self._outlet = outlet
        self._ids = ids
        self._now_ns = now_ns
        self._deliver = deliver

    @property
    def connected(self) -> bool:
        """True from a welcome until the lane is lost; the lane itself knows first."""
        return self._welcomed and self._outlet.is_order_lane_open()

    def lane_lost(self) -> None:
        """Nothing can be sent until the next welcome."""
        self._welcomed = False

    def submit(self, terms: OrderTerms, instrument: InstrumentTerms) -> ClientOrderId:
        """Send a new order, whose terms were checked."""
        client_order_id = self._ids.next()
        order = _new_report(client_order_id, self._strategy_id, terms, instrument, self._now_ns())
        if not self.connected:
            self.orders.put(order)
            self._deny(order)
            return client_order_id
        self._outlet.send_order(self._command(client_order_id, terms, instrument))
        self.orders.put(order)
        self.sent += 1
        return client_order_id

    def submit_oco(
        self, first: OrderTerms, second: OrderTerms, instrument: InstrumentTerms
    ) -> tuple[ClientOrderId, ClientOrderId]:
        """Send two new orders of which one cancels the other; their terms were checked."""
        ids = self._ids.next(), self._ids.next()
        orders = [
            replace(
                _new_report(each, self._strategy_id, terms, instrument, self._now_ns()), linked_client_order_id=other
            )
            for each, other, terms in zip(ids, reversed(ids), (first, second), strict=True)
        ]
        if self.connected:
            commands = [self._command(*leg, instrument) for leg in zip(ids, (first, second), strict=True)]
            self._outlet.send_order(
                SubmitOco(
                    strategy_id=self._strategy_id,
                    fencing_epoch=self._epoch,
                    first=commands[0],
                    second=commands[1],
                )
            )
            self.sent += len(ids)
        for order in orders:
            self.orders.put(order)
            if not self.connected:
                self._deny(order)
        return ids

    def modify_bracket(
        self, client_order_id: ClientOrderId, *, stop_ticks: int | None, target_ticks: int | None
    ) -> None:
        """Send new distances of a bracket's exits; refused here for an order that is finished or unknown."""
        refusal = self._refusal(client_order_id)
        if refusal:
            self._later(OrderModifyRejected(**self._of(client_order_id), text=refusal))
            return
        self._outlet.send_order(
            ModifyBracket(
                client_order_id=client_order_id,
                strategy_id=self._strategy_id,
                fencing_epoch=self._epoch,
                stop_ticks=stop_ticks,
                target_ticks=target_ticks,
            )
        )
        self._note_pending_update(client_order_id)

    def modify(
        self, client_order_id: ClientOrderId, *, quantity: int | None, price: float | None, trigger_price: float | None
    ) -> None:
        """Send new terms; refused here for an order that is finished or unknown."""
        refusal = self._refusal(client_order_id)
        if refusal:
            self._later(OrderModifyRejected(**self._of(client_order_id), text=refusal))
            return
        self._outlet.send_order(
            ModifyOrder(
                client_order_id=client_order_id,
                strategy_id=self._strategy_id,
                fencing_epoch=self._epoch,
                quantity=quantity,
                price=price,
                trigger_price=trigger_price,
            )
        )
        self._note_pending_update(client_order_id)

    def cancel(self, client_order_id: ClientOrderId) -> None:
        """Send a cancel; refused here for an order that is finished or unknown."""
        refusal = self._refusal(client_order_id)
        if refusal:
            self._later(OrderCancelRejected(**self._of(client_order_id), text=refusal))
            return
        self._outlet.send_order(
            CancelOrder(client_order_id=client_order_id, strategy_id=self._strategy_id, fencing_epoch=self._epoch)
        )
        self.orders.apply(OrderPendingCancel(**self._of(client_order_id)))

    def cancel_all(self, symbol: str) -> None:
        """Cancel all of one symbol, or (empty) of all."""
        working = self.orders.working(symbol or None)
        if not self.connected:
            for order in working:
                self._later(OrderCancelRejected(**self._of(order.client_order_id), text=DISCONNECTED_TEXT))
            return
        self._outlet.send_order(
            CancelAllOrders(strategy_id=self._strategy_id, fencing_epoch=self._epoch, symbol=symbol)
        )
        for order in working:
            self.orders.apply(OrderPendingCancel(**self._of(order.client_order_id)))

    def flatten(self, symbol: str, exchange: str) -> None:
        """Cancel all and close the position; the order plant makes the closing order, so only it can be denied."""
        if self.connected:
            self._outlet.send_order(Flatten(strategy_id=self._strategy_id, fencing_epoch=self._epoch, symbol=symbol))
            return
        self._later(
            OrderDenied(
                client_order_id=ClientOrderId(""),
                strategy_id=self._strategy_id,
                symbol=symbol,
                exchange=exchange,
                ts_event_ns=self._now_ns(),
                code=Denial.STATE_DISCONNECTED,
                text=f"flatten: {DISCONNECTED_TEXT}",
            )
        )

    def welcome(self, welcome: StrategyWelcome, *, is_first: bool) -> list[OrderEvent]:
        """The order plant is there (again): take over what it says we own; returns the events that we missed.

        At the first welcome of this process all of it is history. An order of ours that a later welcome does not name
        has finished or never arrived, and is asked for.
        """
        self._epoch = welcome.fencing_epoch
        self._welcomed = True
        missed: list[OrderEvent] = []
        for report in welcome.orders:
            events = self.report(report, is_first=is_first)
            missed += events
        named = {report.client_order_id for report in welcome.orders}
        for order in self.orders.working():
            if order.client_order_id not in named:
                self._query(order.client_order_id)
        if not is_first:
            for client_order_id in self.orders.exits_unheard_of():
                self._query(client_order_id)
        return missed

    def report(self, report: OrderReport, *, is_first: bool = False) -> list[OrderEvent]:
        """Take one order's present state; returns the events of it that we missed, none at the first welcome."""
        before = self.orders.get(report.client_order_id)
        self.orders.put(report)
        if before is None and report.parent_client_order_id:
            # An exit of a bracket is made without us: all that happened to it was missed.
            before = as_new(report)
        return [] if is_first or before is None else missed_events(before, report)

    def _query(self, client_order_id: ClientOrderId) -> None:
        self._outlet.send_order(QueryOrder(client_order_id=client_order_id, strategy_id=self._strategy_id))

    def _note_pending_update(self, client_order_id: ClientOrderId) -> None:
        order = self.orders.get(client_order_id)
        if order is not None and order.status != OrderStatus.PENDING_CANCEL:
            self.orders.apply(OrderPendingUpdate(**self._of(client_order_id)))

    def _command(self, client_order_id: ClientOrderId, terms: OrderTerms, instrument: InstrumentTerms) -> SubmitOrder:
        return SubmitOrder(
            client_order_id=client_order_id,
            strategy_id=self._strategy_id,
            fencing_epoch=self._epoch,
            symbol=terms.symbol,
            exchange=instrument.exchange,
            side=terms.side,
            order_type=terms.order_type,
            quantity=terms.quantity,
            price=terms.price,
            trigger_price=terms.trigger_price,
            time_in_force=terms.time_in_force,
            protective=terms.protective,
            trail_by_ticks=terms.trail_by_ticks,
            stop_ticks=terms.stop_ticks,
            target_ticks=terms.target_ticks,
        )

    def _refusal(self, client_order_id: ClientOrderId) -> str:
        order = self.orders.get(client_order_id)
        if order is None:
            return f"{Denial.ORDER_UNKNOWN}: no order of ours has this id"
        if order.status in FINISHED:
            return f"{Denial.ORDER_NOT_WORKING}: the order is {order.status}"
        return "" if self.connected else f"{Denial.STATE_DISCONNECTED}: {DISCONNECTED_TEXT}"

    def _deny(self, order: OrderReport) -> None:
        common = self._of(order.client_order_id)
        self._later(OrderDenied(**common, code=Denial.STATE_DISCONNECTED, text=DISCONNECTED_TEXT))

    def _later(self, event: OrderEvent) -> None:
        self._outlet.call_soon(partial(self._deliver, event))

    def _of(self, client_order_id: ClientOrderId) -> _Common:
        order = self.orders.get(client_order_id)
        return {
            "client_order_id": client_order_id,
            "strategy_id": self._strategy_id,
            "symbol": order.symbol if order else "",
            "exchange": order.exchange if order else "",
            "ts_event_ns": self._now_ns(),
        }


def _new_report(
    client_order_id: ClientOrderId,
    strategy_id: StrategyId,
    terms: OrderTerms,
    instrument: InstrumentTerms,
    now_ns: int,
) -> OrderReport:
    return OrderReport(
        client_order_id=client_order_id,
        venue_order_id=None,
        strategy_id=strategy_id,
        symbol=terms.symbol,
        exchange=instrument.exchange,
        side=terms.side,
        order_type=terms.order_type,
        time_in_force=terms.time_in_force,
        status=OrderStatus.INITIALIZED,
        quantity=terms.quantity,
        filled_quantity=0,
        leaves_quantity=terms.quantity,
        price=terms.price,
        trigger_price=terms.trigger_price,
        average_price=None,
        protective=terms.protective,
        ts_init_ns=now_ns,
        ts_last_ns=now_ns,
        trail_by_ticks=terms.trail_by_ticks,
        stop_ticks=terms.stop_ticks,
        target_ticks=terms.target_ticks,
    )
