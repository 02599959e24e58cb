"""A client's order inside the exchange: the matcher's order plus everything that reports and lists tell of it."""

from datetime import UTC, datetime

from nightdesk.messages.enums import OrderType
from nightdesk.simulator.model import (
    BracketKind,
    Completion,
    Execution,
    ExitRole,
    Hold,
    NewOrder,
    OrderEventKind,
    OrderHappened,
    OrderState,
    Stage,
)
from nightdesk.simulator.venue.book import Order
from nightdesk.simulator.venue.ledger import Scale

HISTORY_MAX = 1_000
"""Steps kept of one order's life; beyond it the oldest modifies (a trailing stop makes many) are forgotten."""

STOP_TYPES = frozenset({OrderType.STOP_MARKET, OrderType.STOP_LIMIT})
TOUCH_TYPES = frozenset({OrderType.MARKET_IF_TOUCHED, OrderType.LIMIT_IF_TOUCHED})
PRICED_TYPES = frozenset({OrderType.LIMIT, OrderType.STOP_LIMIT, OrderType.LIMIT_IF_TOUCHED})


class ClientOrder(Order):
    """Mutable; what leaves the venue is its ``picture``.

    ``limit`` and ``trigger`` are its prices in ticks, also while the server holds it back; ``is_pending`` says that
    it is a stop (at the exchange, or on its way there). ``order_type`` is the present type as it was last reported.
    """

    __slots__ = (
        "account_id",
        "basket_id",
        "bracket_kind",
        "completion",
        "entry_id",
        "executions",
        "exit_level",
        "exit_role",
        "filled",
        "history",
        "hold",
        "if_touched",
        "linked_fills",
        "linked_ids",
        "notional_ticks",
        "order_type",
        "original_sequence_number",
        "price",
        "quantity",
        "released",
        "scale",
        "sequence_number",
        "stage",
        "terms",
        "text",
        "trail_by_ticks",
        "trigger_price",
        "ts_created_ns",
        "ts_last_ns",
        "waits_from",
    )
    is_client = True

    def __init__(
        self, basket_id: str, terms: NewOrder, scale: Scale, limit: int | None, trigger: int | None, now_ns: int
    ) -> None:
        super().__init__(terms.side == "BUY", terms.quantity, limit, trigger, terms.time_in_force)
        self.is_pending = terms.order_type in STOP_TYPES
        self.account_id = terms.account_id
        self.basket_id = basket_id
        self.terms = terms
        self.scale = scale
        self.order_type = terms.order_type
        self.quantity = terms.quantity
        self.price = terms.price
        self.trigger_price = terms.trigger_price
        self.trail_by_ticks = terms.trail_by_ticks
        self.if_touched = terms.if_touched
        self.hold: Hold | None = None
        self.waits_from = 0
        """While it is held for a price: the number of the last print of that market that does not count."""
        self.filled = 0
        self.notional_ticks = 0
        self.executions: list[Execution] = []
        self.history: list[OrderHappened] = []
        self.sequence_number = ""
        self.original_sequence_number = ""
        self.stage = Stage.RECEIVED
        self.completion: Completion | None = None
        self.text = ""
        self.ts_created_ns = now_ns
        self.ts_last_ns = now_ns
        self.bracket_kind: BracketKind | None = terms.bracket.kind if terms.bracket else None
        self.entry_id = ""
        self.exit_role: ExitRole | None = None
        self.exit_level = 0
        self.released = 0
        self.linked_ids: tuple[str, ...] = ()
        self.linked_fills = 0

    @property
    def exchange_order_id(self) -> str:
        """The exchange knows a client's order by its basket id."""
        return self.basket_id

    @property
    def is_at_exchange(self) -> bool:
        """Whether a matcher has it."""
        return self.hold is None and self.stage in (Stage.OPEN, Stage.TRIGGER_PENDING)

    def book(self, execution: Execution, price_ticks: int) -> None:
        """Count a fill."""
        self.filled += execution.quantity
        self.notional_ticks += price_ticks * execution.quantity
        self.executions.append(execution)

    def show_prices(self) -> None:
        """Report the prices that the matcher works with."""
        self.price = self.scale.price(self.limit) if self.limit is not None else None
        if self.trigger is not None:
            self.trigger_price = self.scale.price(self.trigger)

    def complete(self, completion: Completion, text: str = "") -> None:
        """The order is finished."""
        self.stage = Stage.COMPLETE
        self.completion = completion
        self.hold = None
        if text:
            self.text = text

    def happened(
        self, kind: OrderEventKind, now_ns: int, *, report_id: str = "", execution: Execution | None = None, text: str
    ) -> OrderHappened:
        """One more step in its history."""
        self.ts_last_ns = now_ns
        step = OrderHappened(kind, self.picture(), now_ns, report_id=report_id, execution=execution, text=text)
        self.history.append(step)
        if len(self.history) > HISTORY_MAX:
            for place, old in enumerate(self.history):
                if old.kind is OrderEventKind.MODIFIED:
                    del self.history[place]
                    break
        return step

    def picture(self) -> OrderState:
        """The order at this moment; ``leaves_quantity`` is what is still to be filled, 0 once complete."""
        is_complete = self.stage is Stage.COMPLETE
        return OrderState(
            self.basket_id,
            self.terms,
            self.stage,
            self.order_type,
            self.quantity,
            self.price,
            self.trigger_price,
            self.filled,
            0 if is_complete else self.quantity - self.filled,
            self.scale.average(self.notional_ticks, self.filled),
            self.sequence_number,
            self.original_sequence_number,
            self.completion,
            self.text,
            self.ts_created_ns,
            self.ts_last_ns,
            self.entry_id,
            self.linked_ids,
            self.bracket_kind,
            self.hold,
            self.exit_role,
            self.released,
            self.linked_fills,
            self.trail_by_ticks,
            self.if_touched,
            self.exit_level,
        )


def utc_date(ts_ns: int) -> str:
    """The day in UTC as YYYYMMDD."""
    return datetime.fromtimestamp(ts_ns // 1_000_000_000, UTC).strftime("%Y%m%d")
