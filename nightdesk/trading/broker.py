"""What the broker says about an order, in our words: ``rithmic/orders.py`` makes these, the order table takes them."""

from enum import StrEnum

import msgspec

from nightdesk.messages import ClientOrderId, FillId, OrderType, Side, TimeInForce, VenueOrderId

EXTERNAL_STRATEGY = "external"
"""The owner of orders that nobody here sent; they count in the account's position."""


class UpdateKind(StrEnum):
    """Which step of an order's life one broker update reports."""

    RECEIVED = "RECEIVED"
    """The broker has the order; it is on its way to the exchange."""
    OPEN = "OPEN"
    TRIGGER_PENDING = "TRIGGER_PENDING"
    TRIGGERED = "TRIGGERED"
    FILLED = "FILLED"
    MODIFIED = "MODIFIED"
    MODIFY_FAILED = "MODIFY_FAILED"
    CANCEL_CONFIRMED = "CANCEL_CONFIRMED"
    """The exchange took the order off; its exposure ends with the completion that follows."""
    CANCEL_FAILED = "CANCEL_FAILED"
    COMPLETE_FILLED = "COMPLETE_FILLED"
    COMPLETE_CANCELED = "COMPLETE_CANCELED"
    COMPLETE_FAILED = "COMPLETE_FAILED"
    COMPLETE_OTHER = "COMPLETE_OTHER"
    """Complete for a reason that no source documents; the order is over all the same."""
    LINK_FAILED = "LINK_FAILED"
    """What was to cancel the order when another one ends does not hold: both may fill."""
    NOTE = "NOTE"
    """A report that moves nothing."""


COMPLETIONS = frozenset(
    {
        UpdateKind.COMPLETE_FILLED,
        UpdateKind.COMPLETE_CANCELED,
        UpdateKind.COMPLETE_FAILED,
        UpdateKind.COMPLETE_OTHER,
    }
)


class FillKey(msgspec.Struct, frozen=True):
    """What makes one execution unique; a second report with the same key is the same execution."""

    account_id: str
    exchange: str
    venue_order_id: VenueOrderId
    fill_id: FillId


class BrokerUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """One report of the broker about one order. Quantities and prices are None where the report does not carry them."""

    kind: UpdateKind
    account_id: str
    symbol: str
    exchange: str
    venue_order_id: VenueOrderId
    client_order_id: ClientOrderId
    """Our tag as the broker returned it; empty for orders that carry none, such as a bracket's exits."""
    entry_venue_order_id: VenueOrderId = VenueOrderId("")
    """Of a bracket's exit: the broker's id of the entry that brought it."""
    linked_venue_order_ids: tuple[VenueOrderId, ...] = ()
    """The broker's ids of the orders of which one cancels the others, this one among them."""
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce = TimeInForce.DAY
    quantity: int | None = None
    price: float | None = None
    trigger_price: float | None = None
    total_filled: int | None = None
    total_unfilled: int | None = None
    fill_id: FillId = FillId("")
    fill_price: float | None = None
    fill_quantity: int = 0
    is_snapshot: bool = False
    text: str = ""
    ts_event_ns: int = 0

    def fill_key(self) -> FillKey:
        """The key of the execution that this update reports (meaningful for ``FILLED`` only)."""
        return FillKey(self.account_id, self.exchange, self.venue_order_id, self.fill_id)
