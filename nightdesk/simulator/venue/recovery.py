"""Recovery of the exchange from its log, and the log's summary as an oracle for tests."""

from collections import Counter, deque
from pathlib import Path
from typing import Any

import msgspec

from nightdesk.errors import ConfigurationError
from nightdesk.messages.enums import OrderType, Side
from nightdesk.simulator.model import Completion, Execution, NewOrder, OrderEventKind, Product, Stage
from nightdesk.simulator.venue.client_order import ClientOrder
from nightdesk.simulator.venue.counters import Counters
from nightdesk.simulator.venue.ledger import Scale
from nightdesk.simulator.venue.log_file import PRICE, SESSION, ExchangeLog, damaged_record, read_records
from nightdesk.simulator.venue.venue import ORDERS_KEPT_MAX, Venue

_STAGES = {stage.value: stage for stage in Stage}
_TYPES = {order_type.value: order_type for order_type in OrderType}
_LIMITED = (OrderType.LIMIT, OrderType.STOP_LIMIT)
_TAKES_PLACE = (OrderEventKind.OPENED, OrderEventKind.TRIGGER_PENDING, OrderEventKind.TRIGGERED)
_NO_PRODUCT = Product("", "", 1.0, 0.0, 0.0)


def rebuild(log: ExchangeLog, venue: Venue) -> int:
    """Bring a fresh venue to the state that the log describes; returns the number of records read.

    Start and recovery are one path: call it at each start, with an empty log too, and before a flow is made. Orders
    that the exchange was working on when it died end canceled, in the log as well.
    """
    recovery = Recovery(venue)
    records = 0
    for number, record in read_records(log.path):
        try:
            recovery.take(record)
        except (KeyError, ValueError, TypeError, msgspec.ValidationError) as error:
            raise damaged_record(log.path, number, error) from error
        records += 1
    events = venue.restore(
        products=recovery.products.values(),
        orders=recovery.orders.values(),
        priority=recovery.settle(),
        ledger=recovery.ledger,
        counters=recovery.counters,
        marks=recovery.marks,
    )
    log.append_session(venue.products(), venue.accounts())
    log.append(events)
    return records


class Recovery:
    """The state of an exchange while its log is read."""

    def __init__(self, venue: Venue) -> None:
        self.products = {product.symbol: product for product in venue.products()}
        self.orders: dict[str, ClientOrder] = {}
        self.ledger = venue.fresh_ledger()
        self.counters = Counters()
        self.marks: dict[str, int] = {}
        self._scales = {symbol: Scale(product) for symbol, product in self.products.items()}
        self._no_scale = Scale(_NO_PRODUCT)
        self._finished: deque[str] = deque()
        self._places: dict[str, tuple[Any, ...]] = {}
        """Open orders in the order of their places, with the terms that a place depends on."""

    def take(self, record: dict[str, Any]) -> None:
        """One record of the log."""
        kind = record["k"]
        if kind == PRICE:
            self._mark(record["s"], record["p"])
        elif kind == SESSION:
            self._session(record)
        else:
            self._order(OrderEventKind(kind), record)

    def settle(self) -> list[str]:
        """Give the resting orders their prices in ticks; their ids in the order of their places."""
        resting = []
        for basket_id in self._places:
            order = self.orders[basket_id]
            order.leaves = order.quantity - order.filled
            order.is_pending = order.stage is Stage.TRIGGER_PENDING
            if order.limit is not None or order.is_pending:
                resting.append(basket_id)
        return resting

    def _session(self, record: dict[str, Any]) -> None:
        for product in msgspec.convert(record["products"], list[Product]):
            listed = self.products.setdefault(product.symbol, product)
            if (listed.tick_size, listed.point_value) != (product.tick_size, product.point_value):
                raise ConfigurationError(
                    f"{product.symbol}: tick_size or point_value differ from those of the exchange's log; "
                    "put them back or start with a new state_dir"
                )
            self._scales.setdefault(product.symbol, Scale(listed))
        for account in record["accounts"]:
            self.ledger.add_account(account)

    def _mark(self, symbol: str, price: float) -> None:
        ticks = self._scales[symbol].ticks(price)
        if ticks is None:
            raise ValueError(f"price {price} is not on a tick")
        self.marks[symbol] = ticks

    def _order(self, kind: OrderEventKind, record: dict[str, Any]) -> None:
        basket_id = record["b"]
        if kind is OrderEventKind.RECEIVED:
            self._receive(basket_id, record)
        order = self.orders[basket_id]
        stage, order_type, quantity, price, trigger_price, _, sequence_number, completion, text = record["p"]
        order.stage = _STAGES[stage]
        order.quantity, order.price, order.trigger_price = quantity, price, trigger_price
        order.sequence_number, order.text = sequence_number, text
        order.ts_last_ns = record["t"]
        self.counters.note("", record.get("r", ""), sequence_number)
        if kind is OrderEventKind.FILLED:
            self._fill(order, record)
        elif kind is OrderEventKind.COMPLETED:
            order.completion = Completion(completion)
            self._finish(order, _TYPES[order_type])
        else:
            self._place(kind, order, _TYPES[order_type])

    def _receive(self, basket_id: str, record: dict[str, Any]) -> None:
        terms = msgspec.convert(record["o"], NewOrder)
        scale = self._scales.get(terms.symbol, self._no_scale)
        order = ClientOrder(basket_id, terms, scale, None, None, record["t"])
        order.original_sequence_number = record["p"][6]
        self.counters.note(basket_id, "", "")
        self.orders[basket_id] = order

    def _place(self, kind: OrderEventKind, order: ClientOrder, order_type: OrderType) -> None:
        if kind is OrderEventKind.MODIFIED:
            terms = (order_type, order.price, order.trigger_price)
            before = self._places.get(order.basket_id)
            if before is None or before[:3] != terms or order.quantity > before[3]:
                self._places.pop(order.basket_id, None)
            self._places[order.basket_id] = (*terms, order.quantity)
        elif kind in _TAKES_PLACE:
            self._places.pop(order.basket_id, None)
            self._places[order.basket_id] = (order_type, order.price, order.trigger_price, order.quantity)
        _set_ticks(order, order_type)

    def _fill(self, order: ClientOrder, record: dict[str, Any]) -> None:
        fill_id, price, quantity, commission = record["f"]
        symbol = order.terms.symbol
        self._mark(symbol, price)
        ticks = self.marks[symbol]
        order.book(Execution(fill_id, price, quantity, commission, record["t"]), ticks)
        signed = quantity if order.is_buy else -quantity
        self.ledger.position(order.account_id, symbol, order.scale).apply(signed, ticks)

    def _finish(self, order: ClientOrder, order_type: OrderType) -> None:
        _set_ticks(order, order_type)
        self._places.pop(order.basket_id, None)
        self._finished.append(order.basket_id)
        if len(self._finished) > ORDERS_KEPT_MAX:
            del self.orders[self._finished.popleft()]


def _set_ticks(order: ClientOrder, order_type: OrderType) -> None:
    """The matcher's part of the order: it holds the present type as limit, trigger and whether it is pending."""
    scale = order.scale
    order.limit = scale.ticks(order.price) if order_type in _LIMITED and order.price is not None else None
    order.is_pending = order_type in (OrderType.STOP_MARKET, OrderType.STOP_LIMIT)
    order.trigger = scale.ticks(order.trigger_price) if order.is_pending and order.trigger_price is not None else None


class FillSummary(msgspec.Struct, frozen=True):
    """One execution as the log has it."""

    fill_id: str
    basket_id: str
    user_tag: str
    symbol: str
    side: Side
    price: float
    quantity: int


class AccountSummary(msgspec.Struct):
    """What the log says of one account."""

    orders_by_state: Counter[str]
    """Keys RECEIVED, TRIGGER_PENDING, OPEN, FILLED, CANCELED, FAILED."""
    user_tags: Counter[str]
    """How often an order with this tag was received; more than once is a fault."""
    fills: list[FillSummary]
    positions: Counter[str]
    """Net quantity by symbol; a flat one has 0."""


def read_summary(path: Path | str) -> dict[str, AccountSummary]:
    """The accounts as the log alone has them; the oracle against which journals are compared."""
    terms: dict[str, NewOrder] = {}
    states: dict[str, str] = {}
    accounts: dict[str, AccountSummary] = {}
    for number, record in read_records(path):
        if record.get("k") in (PRICE, SESSION):
            continue
        try:
            kind, basket_id = OrderEventKind(record["k"]), record["b"]
            if kind is OrderEventKind.RECEIVED:
                terms[basket_id] = msgspec.convert(record["o"], NewOrder)
            order = terms[basket_id]
            summary = accounts.setdefault(order.account_id, AccountSummary(Counter(), Counter(), [], Counter()))
            if kind is OrderEventKind.RECEIVED:
                summary.user_tags[order.user_tag] += 1
            completion = record["p"][7]
            states[basket_id] = Completion(completion).name if completion else record["p"][0]
            if kind is OrderEventKind.FILLED:
                fill_id, price, quantity, _ = record["f"]
                summary.fills.append(
                    FillSummary(fill_id, basket_id, order.user_tag, order.symbol, order.side, price, quantity)
                )
                summary.positions[order.symbol] += quantity if order.side is Side.BUY else -quantity
        except (KeyError, ValueError, TypeError, msgspec.ValidationError) as error:
            raise damaged_record(path, number, error) from error
    for basket_id, state in states.items():
        accounts[terms[basket_id].account_id].orders_by_state[state] += 1
    return accounts
