"""Recovery of the exchange from its log."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import msgspec

from nightdesk.errors import ConfigurationError
from nightdesk.messages.enums import OrderType
from nightdesk.simulator.model import (
    BracketChanged,
    BracketKind,
    Completion,
    DayEvent,
    Execution,
    ExitRole,
    Hold,
    IfTouched,
    NewOrder,
    OrderEventKind,
    PositionSettled,
    Product,
    Settled,
    Stage,
)
from nightdesk.simulator.venue.client_order import PRICED_TYPES, STOP_TYPES, ClientOrder
from nightdesk.simulator.venue.counters import Counters
from nightdesk.simulator.venue.day_book import DayBook, day_event
from nightdesk.simulator.venue.ledger import Scale
from nightdesk.simulator.venue.log_file import ExchangeLog, damaged_record, read_records, session_record
from nightdesk.simulator.venue.snapshot import LOG_BYTES_MAX, records_of, restore_ledger
from nightdesk.simulator.venue.venue import ORDERS_KEPT_MAX, Venue

_STAGES = {stage.value: stage for stage in Stage}
_TYPES = {order_type.value: order_type for order_type in OrderType}
_TAKES_PLACE = (
    OrderEventKind.OPENED,
    OrderEventKind.TRIGGER_PENDING,
    OrderEventKind.TRIGGERED,
    OrderEventKind.RELEASE_PENDING,
)
_NO_PRODUCT = Product("", "", 1.0, 0.0, 0.0)


def rebuild(log: ExchangeLog, venue: Venue, *, log_bytes_max: int = LOG_BYTES_MAX) -> int:
    """Bring a fresh venue to the state that the log describes; returns the number of records read.

    Start and recovery are one path: call it at each start, with an empty log too, and before a flow is made. Orders
    that the exchange was working on when it died end canceled, in the log as well. A log over the limit is replaced
    by a snapshot first.
    """
    recovery = Recovery(venue)
    records = 0
    for number, record in read_records(log.path):
        try:
            recovery.take(record)
            log.newest_ns = max(log.newest_ns, record.get("t", 0))
        except (KeyError, ValueError, TypeError, msgspec.ValidationError) as error:
            raise damaged_record(log.path, number, error) from error
        records += 1
    priority = recovery.settle()
    if log.size_bytes > log_bytes_max:
        session = session_record(recovery.products.values(), recovery.ledger.accounts)
        log.replace([session, *recovery.snapshot(priority)])
    events = venue.restore(
        products=recovery.products.values(),
        orders=recovery.orders.values(),
        priority=priority,
        groups=recovery.groups,
        brackets=recovery.brackets.values(),
        ledger=recovery.ledger,
        counters=recovery.counters,
        marks=recovery.marks,
        day_book=recovery.day_book,
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
        self.day_book = DayBook()
        self.groups: list[tuple[str, ...]] = []
        self.brackets: dict[tuple[str, int], BracketChanged] = {}
        """The last report of each bracket's level, by its entry and its number."""
        self._scales = {symbol: Scale(product) for symbol, product in self.products.items()}
        self._no_scale = Scale(_NO_PRODUCT)
        self._finished: deque[str] = deque()
        self._places: dict[str, tuple[Any, ...]] = {}
        """Working orders in the order of their places, with the terms that a place depends on."""
        self._snapshot_places: list[str] | None = None
        """Set while the orders of a snapshot are read: its head has booked their fills."""

    def take(self, record: dict[str, Any]) -> None:
        """One record of the log."""
        kind = record["k"]
        event = day_event(record)
        if event is not None:
            self._day(event)
            return
        match kind:
            case "PRICE":
                self._mark(record["s"], record["p"])
            case "SESSION":
                self._session(record)
            case "LINK":
                self._link(tuple(record["b"]), record.get("f"))
            case "BRACKET":
                changed = msgspec.convert(record["c"], BracketChanged)
                self.brackets[changed.basket_id, changed.level] = changed
            case "SNAPSHOT":
                self._begin_snapshot(record)
            case "SNAPSHOT_END":
                self._end_snapshot()
            case _:
                self._order(OrderEventKind(kind), record)

    def settle(self) -> list[str]:
        """Give the working orders their prices in ticks; their ids in the order of their places."""
        working = []
        for basket_id in self._places:
            order = self.orders[basket_id]
            order.leaves = order.quantity - order.filled
            _set_ticks(order)
            if order.hold is not None or order.limit is not None or order.is_pending:
                working.append(basket_id)
        return working

    def snapshot(self, priority: list[str]) -> Iterator[dict[str, Any]]:
        """What replaces a log that has grown too long."""
        marks = {symbol: self._scales[symbol].price(ticks) for symbol, ticks in self.marks.items()}
        brackets = list(self.brackets.values())
        # Before the head, whose last prices are newer than those of the settlements.
        yield from self.day_book.records()
        yield from records_of(self.orders, priority, self.ledger, self.counters, marks, self.groups, brackets)

    def _begin_snapshot(self, record: dict[str, Any]) -> None:
        basket, report, sequence = record["counters"]
        self.counters.basket, self.counters.report, self.counters.sequence = int(basket), int(report), int(sequence)
        for symbol, price in record["marks"].items():
            self._mark(symbol, price)
        restore_ledger(self.ledger, record, self._scales)
        self._snapshot_places = [str(basket_id) for basket_id in record["places"]]

    def _end_snapshot(self) -> None:
        places, self._snapshot_places = self._snapshot_places or [], None
        self._places = {basket_id: self._places[basket_id] for basket_id in places}

    def _link(self, ids: tuple[str, ...], followed: list[int] | None) -> None:
        """Fills from before the link do not count; a snapshot says what each leg had followed by then."""
        self.groups.append(ids)
        filled = [self.orders[basket_id].filled for basket_id in ids]
        for place, basket_id in enumerate(ids):
            self.orders[basket_id].linked_ids = ids
            self.orders[basket_id].linked_fills = followed[place] if followed else sum(filled) - filled[place]

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

    def _day(self, event: DayEvent) -> None:
        self.day_book.take(event)
        if isinstance(event, Settled):
            self._mark(event.symbol, event.price)
        elif isinstance(event, PositionSettled):
            scale = self._scales[event.symbol]
            position = self.ledger.position(event.account_id, event.symbol, scale)
            if position.net != event.net_quantity:
                raise ValueError(f"a position of {position.net} cannot be settled as one of {event.net_quantity}")
            self.ledger.roll(event.ts_ns)
            position.settle(scale.ticks(event.price) or 0)

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
        if kind is OrderEventKind.RETAGGED:
            order.terms = msgspec.convert(record["o"], NewOrder)
        stage, order_type, quantity, price, trigger_price, _, sequence_number, completion, text = record["p"]
        order.stage = _STAGES[stage]
        order.order_type = _TYPES[order_type]
        order.quantity, order.price, order.trigger_price = quantity, price, trigger_price
        order.sequence_number, order.text = sequence_number, text
        extras = record.get("x", {})
        _take_extras(order, extras)
        report_id = record.get("r", "")
        self.counters.note("", report_id, sequence_number)
        execution = None
        if kind is OrderEventKind.FILLED:
            execution = self._fill(order, record)
        elif kind is OrderEventKind.COMPLETED:
            order.completion = Completion(completion)
            self._finish(order)
        else:
            self._place(kind, order)
        order.happened(kind, record["t"], report_id=report_id, execution=execution, text=extras.get("text", order.text))

    def _receive(self, basket_id: str, record: dict[str, Any]) -> None:
        terms = msgspec.convert(record["o"], NewOrder)
        scale = self._scales.get(terms.symbol, self._no_scale)
        order = ClientOrder(basket_id, terms, scale, None, None, record["t"])
        order.original_sequence_number = record["p"][6]
        self.counters.note(basket_id, "", "")
        if terms.bracket is not None:
            # The ids behind the entry's belong to its exits, whether they were needed yet or not.
            self.counters.note(str(int(basket_id) + terms.bracket.exit_count), "", "")
        self.orders[basket_id] = order

    def _place(self, kind: OrderEventKind, order: ClientOrder) -> None:
        terms = (order.order_type, order.price, order.trigger_price, order.if_touched)
        if kind is OrderEventKind.MODIFIED:
            before = self._places.get(order.basket_id)
            if before is None or before[:4] != terms or order.quantity > before[4]:
                self._places.pop(order.basket_id, None)
            self._places[order.basket_id] = (*terms, order.quantity)
        elif kind in _TAKES_PLACE:
            self._places.pop(order.basket_id, None)
            self._places[order.basket_id] = (*terms, order.quantity)

    def _fill(self, order: ClientOrder, record: dict[str, Any]) -> Execution:
        fill_id, price, quantity, commission = record["f"]
        symbol = order.terms.symbol
        execution = Execution(fill_id, price, quantity, commission, record["t"])
        if self._snapshot_places is not None:
            order.book(execution, order.scale.ticks(price) or 0)
            return execution
        self._mark(symbol, price)
        ticks = self.marks[symbol]
        order.book(execution, ticks)
        signed = quantity if order.is_buy else -quantity
        self.ledger.roll(record["t"])
        self.ledger.position(order.account_id, symbol, order.scale).apply(signed, ticks)
        return execution

    def _finish(self, order: ClientOrder) -> None:
        self._places.pop(order.basket_id, None)
        if order.terms.bracket is not None or order.linked_ids:
            # Others may still need it; the venue forgets it when they do not.
            return
        self._finished.append(order.basket_id)
        if len(self._finished) > ORDERS_KEPT_MAX:
            del self.orders[self._finished.popleft()]


def _take_extras(order: ClientOrder, extras: dict[str, Any]) -> None:
    hold = extras.get("hold")
    order.hold = Hold(hold) if hold else None
    if "exit" in extras:
        order.entry_id, role, kind, order.released = extras["exit"]
        order.exit_role, order.bracket_kind = ExitRole(role), BracketKind(kind)
        order.exit_level = extras.get("level", 0)
    if "linked" in extras:
        ids, order.linked_fills = extras["linked"]
        order.linked_ids = tuple(ids)
    order.trail_by_ticks = extras.get("trail", order.terms.trail_by_ticks)
    order.if_touched = (
        msgspec.convert(extras["touch"], IfTouched | None) if "touch" in extras else order.terms.if_touched
    )


def _set_ticks(order: ClientOrder) -> None:
    """The matcher's part of the order."""
    scale = order.scale
    is_priced = order.order_type in PRICED_TYPES and order.price is not None
    order.limit = scale.ticks(order.price) if is_priced and order.price is not None else None
    order.is_pending = order.order_type in STOP_TYPES
    order.trigger = scale.ticks(order.trigger_price) if order.trigger_price is not None else None
