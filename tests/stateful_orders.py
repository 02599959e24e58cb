"""Orders for the stateful tests of the table and the ledger: as the order plant has sent them."""

from dataclasses import dataclass, field
from typing import Any

from nightdesk.messages import ClientOrderId, FillId, OrderType, Side, StrategyId, TimeInForce
from nightdesk.trading.broker import UpdateKind
from nightdesk.trading.order import Operation, Order, Purpose, Terms
from nightdesk.trading.order_table import OrderTable
from nightdesk.trading.order_transitions import Step


@dataclass
class Truth:
    """An order as the exchange has it; ``end`` is the report that ended it."""

    quantity: int
    price: float
    trigger: float | None
    is_here: bool = False
    triggered: bool = False
    fills: list[tuple[FillId, int, float]] = field(default_factory=list)
    end: UpdateKind | None = None
    is_closing: bool = False
    """Its cancel is confirmed, and it is not complete yet: what was on its way to it may still fill."""
    request: tuple[Operation, Terms | None] | None = None
    """What of ours is on its way to it; at most one thing is."""

    @property
    def filled(self) -> int:
        return sum(quantity for _, quantity, _ in self.fills)

    @property
    def leaves(self) -> int:
        return 0 if self.end else self.quantity - self.filled


def sent_order(table: OrderTable, number: int, *, side: Side, quantity: int, **terms: Any) -> Order:
    """One that is in the table and on its way; a market order unless its terms say otherwise."""
    values: dict[str, Any] = {
        "strategy_id": StrategyId("one"),
        "symbol": "ESH4",
        "order_type": OrderType.MARKET,
        "price": None,
        "trigger_price": None,
    }
    order = Order(
        client_order_id=ClientOrderId(f"o{number}"),
        account_id="A",
        exchange="CME",
        side=side,
        quantity=quantity,
        time_in_force=TimeInForce.DAY,
        protective=False,
        purpose=Purpose.STRATEGY,
        fencing_epoch=1,
        connection_epoch=1,
        broker_ts_ns=0,
        ts_init_ns=0,
        **(values | terms),
    )
    table.add(order)
    table.step(order, Step.SEND)
    return order
