"""What the server holds beyond a single order, on the wire: brackets (330 to 341, 353) and OCO orders (328)."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from nightdesk.messages import ClientOrderId, VenueOrderId
from nightdesk.rithmic.orders import (
    BRACKET_ORDER,
    MODIFY_STOP,
    MODIFY_TARGET,
    NEW_ORDER,
    OCO_ORDER,
    OrderAnswer,
    decode_answer,
    expiry_fields,
    new_order_fields,
    refusal_of,
)
from nightdesk.rithmic.words import (
    ORDER_PLACEMENT_AUTO,
    ORDER_TYPE_TO_WIRE,
    SIDE_TO_WIRE,
    TIME_IN_FORCE_TO_WIRE,
    TRAIL_BY_TRADES,
    BracketType,
)
from nightdesk.trading.order import Levels, Order

SHOW_TARGETS: Final = 338
SHOW_STOPS: Final = 340
BRACKET_UPDATE: Final = 353
OCO_ANSWER: Final = 329


class BracketReport(msgspec.Struct, frozen=True):
    """How far a bracket's exits are now, as the server says; 0 where it has no such exit."""

    account_id: str
    venue_order_id: VenueOrderId
    """The entry's."""
    levels: Levels


def new_frame(orders: tuple[Order, ...], trade_route: str) -> tuple[int, dict[str, Any]]:
    """The template and the fields that send a new order: one alone, one with exits, or two of which one cancels the
    other."""
    if len(orders) > 1:
        return OCO_ORDER, oco_order_fields(orders, trade_route)
    order = orders[0]
    if order.is_bracket:
        return BRACKET_ORDER, bracket_order_fields(order, trade_route)
    return NEW_ORDER, new_order_fields(order, trade_route)


def bracket_order_fields(order: Order, trade_route: str) -> dict[str, Any]:
    """The fields of 330: the entry, and exits for all of it."""
    fields = new_order_fields(order, trade_route)
    fields.pop("trail_by_price_id")
    bracket_type = BracketType.TARGET_AND_STOP_STATIC
    if not order.target_ticks:
        bracket_type = BracketType.STOP_ONLY_STATIC
    elif not order.stop_ticks:
        bracket_type = BracketType.TARGET_ONLY_STATIC
    fields["bracket_type"] = int(bracket_type)
    for name, ticks in (("stop", order.stop_ticks), ("target", order.target_ticks)):
        if ticks:
            fields |= {f"{name}_ticks": ticks, f"{name}_quantity": order.quantity}
    return fields


def oco_order_fields(orders: tuple[Order, ...], trade_route: str) -> dict[str, Any]:
    """The fields of 328: a column for each term, a row for each leg; prices that a leg has no use for are zeros."""
    ids = [order.client_order_id for order in orders]
    fields: dict[str, Any] = {
        "user_msg": ids,
        "user_tag": ids,
        "account_id": orders[0].account_id,
        "symbol": [order.symbol for order in orders],
        "exchange": [order.exchange for order in orders],
        "quantity": [order.quantity for order in orders],
        "price": [order.price or 0.0 for order in orders],
        "trigger_price": [order.trigger_price or 0.0 for order in orders],
        "transaction_type": [SIDE_TO_WIRE[order.side] for order in orders],
        "duration": [TIME_IN_FORCE_TO_WIRE[order.time_in_force] for order in orders],
        "price_type": [ORDER_TYPE_TO_WIRE[order.order_type] for order in orders],
        "trade_route": [trade_route] * len(orders),
        "manual_or_auto": [ORDER_PLACEMENT_AUTO] * len(orders),
        **expiry_fields(orders[0]),
    }
    if any(order.trail_by_ticks for order in orders):
        fields |= {
            "trailing_stop": [bool(order.trail_by_ticks) for order in orders],
            "trail_by_ticks": [order.trail_by_ticks for order in orders],
            "trail_by_price_id": [TRAIL_BY_TRADES if order.trail_by_ticks else 0 for order in orders],
        }
    return fields


def level_frames(order: Order, levels: Levels) -> list[tuple[int, dict[str, Any]]]:
    """The frames that move a bracket's exits, to be sent one after the other's answer: what protects comes first.

    The present distance is the key by which the server finds what is to be moved.
    """
    about = {"user_msg": order.client_order_id, "account_id": order.account_id, "basket_id": order.venue_order_id}
    frames = []
    if levels.stop_ticks != order.stop_ticks:
        frames.append((MODIFY_STOP, about | {"level": order.stop_ticks, "stop_ticks": levels.stop_ticks}))
    if levels.target_ticks != order.target_ticks:
        frames.append((MODIFY_TARGET, about | {"level": order.target_ticks, "target_ticks": levels.target_ticks}))
    return frames


def decode_answers(template_id: int, message: Any) -> list[OrderAnswer]:
    """What an answer says of each order that it is about; nothing for a frame that only ends one."""
    if template_id == OCO_ANSWER:
        return _decode_oco_answer(message)
    answer = decode_answer(template_id, message)
    return [] if answer is None else [answer]


def decode_bracket_report(message: Any) -> BracketReport:
    """353."""
    levels = Levels(stop_ticks=message.stop_ticks, target_ticks=message.target_ticks)
    return BracketReport(message.account_id, VenueOrderId(message.basket_id), levels)


def decode_levels(stops: Iterable[Any], targets: Iterable[Any]) -> dict[VenueOrderId, Levels]:
    """The brackets that 341 and 339 name, each with its newest distances.

    Some sources have these lists as what is held now, others as a log of changes that leaves out what was never
    changed: the last row of an entry is right by both, and an entry without any is at its first distances.
    """
    found: defaultdict[VenueOrderId, Levels] = defaultdict(lambda: Levels(0, 0))
    for name, rows in (("stop_ticks", stops), ("target_ticks", targets)):
        for row in rows:
            ticks = getattr(row, name)
            if row.basket_id and ticks.isdecimal():
                basket_id = VenueOrderId(row.basket_id)
                found[basket_id] = found[basket_id]._replace(**{name: int(ticks)})
    return dict(found)


def _decode_oco_answer(message: Any) -> list[OrderAnswer]:
    """329: the broker's ids by leg; a refusal is of both, and echoes what was sent."""
    is_refused, text = refusal_of(message)
    tags, basket_ids = list(message.user_msg) or list(message.user_tag), list(message.basket_id)
    if not is_refused and not basket_ids:
        return []
    ids = basket_ids + [""] * (len(tags) - len(basket_ids))
    seconds = [*message.ssboe, *[0] * len(tags)]
    return [
        OrderAnswer(
            request=OCO_ORDER,
            client_order_id=ClientOrderId(tag),
            venue_order_id=VenueOrderId(basket_id),
            is_refused=is_refused,
            text=text,
            ts_event_ns=second * 1_000_000_000,
        )
        for tag, basket_id, second in zip(tags, ids, seconds, strict=False)
    ]
