"""Orders of which the server lets one fill and cancels the others: bracket exits and the legs of an OCO order. Pure."""

from collections.abc import Iterable, Iterator

from nightdesk.messages import ClientOrderId, OrderType, Side
from nightdesk.trading.order import Order

STOP_MARK, TARGET_MARK = "s", "t"
"""What the id of a bracket's exit has behind its entry's, with a number: ``-s1`` is its first stop."""

_TARGET_TYPES = frozenset({OrderType.LIMIT, OrderType.LIMIT_IF_TOUCHED})


def exit_mark(order_type: OrderType) -> str:
    """Which exit of a bracket an order of this type is; one at the market has been a stop, as a rule."""
    return TARGET_MARK if order_type in _TARGET_TYPES else STOP_MARK


def exit_id(entry_id: str, mark: str, number: int) -> ClientOrderId:
    """The id that an exit has with us: it carries no tag at the broker, so that every start must find the same one."""
    return ClientOrderId(f"{entry_id}-{mark}{number}")


def counted(orders: Iterable[Order]) -> Iterator[tuple[Order, int]]:
    """Orders, each with what it adds to the worst case of its side.

    That is its exposure. Of linked orders of one side the server lets no more fill than the largest of them asks for,
    so that one counts for all; what is reported as filled and not booked yet has happened and counts for each.
    """
    groups: dict[tuple[str, str, str], list[Order]] = {}
    for order in orders:
        if order.link_group:
            groups.setdefault((order.link_group, order.strategy_id, order.symbol), []).append(order)
        else:
            yield order, order.exposure
    for group in groups.values():
        for side in Side:
            largest, most = None, 0
            for order in (each for each in group if each.side is side):
                if order.missing_quantity:
                    yield order, order.missing_quantity
                leaves = _leaves(order)
                if leaves > most:
                    largest, most = order, leaves
            if largest is not None:
                yield largest, most


def _leaves(order: Order) -> int:
    """What may still fill of a linked order. What it has lost was filled by the others: as long as they have not said
    so, it counts here."""
    leaves = order.exposure - order.missing_quantity
    return leaves if order.is_final else leaves + max(0, order.link_losses - order.link_fills)


def exits_to_come(orders: Iterable[Order]) -> int:
    """How many orders the fills of working entries may still bring; ``orders`` are those at work."""
    orders = list(orders)
    there: dict[str, set[str]] = {}
    for order in orders:
        if order.parent_id:
            there.setdefault(order.parent_id, set()).add(exit_mark(order.order_type))
    return sum(
        bool(ticks) and mark not in there.get(order.client_order_id, ())
        for order in orders
        if order.is_bracket
        for ticks, mark in ((order.stop_ticks, STOP_MARK), (order.target_ticks, TARGET_MARK))
    )
