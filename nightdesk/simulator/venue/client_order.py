"""A client's order inside the exchange: the matcher's order plus everything that reports and lists tell of it."""

from nightdesk.simulator.model import Completion, Execution, NewOrder, OrderState, Stage
from nightdesk.simulator.venue.ledger import Scale
from nightdesk.simulator.venue.matching import Change, Order


class ClientOrder(Order):
    """Mutable; what leaves the venue is its ``picture``."""

    __slots__ = (
        "basket_id",
        "completion",
        "executions",
        "filled",
        "notional_ticks",
        "original_sequence_number",
        "price",
        "quantity",
        "scale",
        "sequence_number",
        "stage",
        "terms",
        "text",
        "trigger_price",
        "ts_created_ns",
        "ts_last_ns",
    )
    is_client = True

    def __init__(
        self, basket_id: str, terms: NewOrder, scale: Scale, limit: int | None, trigger: int | None, now_ns: int
    ) -> None:
        super().__init__(terms.side == "BUY", terms.quantity, limit, trigger, terms.time_in_force)
        self.basket_id = basket_id
        self.terms = terms
        self.scale = scale
        self.quantity = terms.quantity
        self.price = terms.price
        self.trigger_price = terms.trigger_price
        self.filled = 0
        self.notional_ticks = 0
        self.executions: list[Execution] = []
        self.sequence_number = ""
        self.original_sequence_number = ""
        self.stage = Stage.RECEIVED
        self.completion: Completion | None = None
        self.text = ""
        self.ts_created_ns = now_ns
        self.ts_last_ns = now_ns

    @property
    def account_id(self) -> str:
        return self.terms.account_id

    @property
    def is_accepted(self) -> bool:
        """Whether a market took the order; a refused one keeps the terms it came with."""
        return self.stage is not Stage.RECEIVED and self.completion is not Completion.FAILED

    def book(self, execution: Execution, price_ticks: int) -> None:
        """Count a fill."""
        self.filled += execution.quantity
        self.notional_ticks += price_ticks * execution.quantity
        self.executions.append(execution)

    def take_terms(self, quantity: int, change: Change, price: float | None, trigger_price: float | None) -> None:
        """What a modify changes in the reports; the matcher changes the rest."""
        self.quantity = quantity
        self.price = price if change.limit is not None else None
        if change.is_pending:
            self.trigger_price = trigger_price
        else:
            self.stage = Stage.OPEN

    def complete(self, completion: Completion, text: str = "") -> None:
        """The order is finished."""
        self.stage = Stage.COMPLETE
        self.completion = completion
        if text:
            self.text = text

    def picture(self) -> OrderState:
        """The order at this moment; ``leaves_quantity`` is what is still to be filled, 0 once complete."""
        is_complete = self.stage is Stage.COMPLETE
        return OrderState(
            basket_id=self.basket_id,
            terms=self.terms,
            stage=self.stage,
            order_type=self.present_type if self.is_accepted else self.terms.order_type,
            quantity=self.quantity,
            price=self.price,
            trigger_price=self.trigger_price,
            filled_quantity=self.filled,
            leaves_quantity=0 if is_complete else self.quantity - self.filled,
            average_price=self.scale.average(self.notional_ticks, self.filled),
            sequence_number=self.sequence_number,
            original_sequence_number=self.original_sequence_number,
            completion=self.completion,
            text=self.text,
            ts_created_ns=self.ts_created_ns,
            ts_last_ns=self.ts_last_ns,
        )
