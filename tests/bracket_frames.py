"""The life of a bracket as the server reports it, frame by frame: an entry for two that fills bit by bit.

The target fills in two pieces; each piece is taken from the stop, which is canceled with the last one.
"""

from typing import Any

from nightdesk.messages import OrderStatus
from tests.order_plant_support import answer, complete, filled, notice, opened

ENTRY, TARGET, STOP = "b1", "b2", "b3"
"""The broker's ids."""

SECOND = 1_700_000_000
S = OrderStatus


def exit_fields(basket: str, **fields: Any) -> dict[str, Any]:
    """What every frame of an exit has: no tag, but the entry's id."""
    is_target = basket == TARGET
    return {
        "original_basket_id": ENTRY,
        "linked_basket_ids": f"{TARGET},{STOP}",
        "transaction_type": 2,
        "price_type": 1 if is_target else 4,
        "orig_price_type": 1 if is_target else 4,
        "price": 5005.0 if is_target else 0.0,
        "trigger_price": 0.0 if is_target else 4990.0,
        "bracket_type": 6,
    } | fields


def exit_open(basket: str, quantity: int, second: int) -> Any:
    """351 open, or of a stop trigger pending."""
    about = {"quantity": quantity, "total_fill_size": 0, "total_unfilled_size": quantity, "ssboe": SECOND + second}
    kind = (13, "open") if basket == TARGET else (18, "trigger pending")
    return notice(351, kind[0], "", basket, status=kind[1], **exit_fields(basket, **about))


def exit_changed(basket: str, filled_quantity: int, left: int, second: int) -> Any:
    """352 modify: the server has given an exit another quantity."""
    totals = {"total_fill_size": filled_quantity, "total_unfilled_size": left, "ssboe": SECOND + second}
    return notice(352, 2, "", basket, report_type="modify", text="server", **exit_fields(basket, **totals))


def exit_filled(basket: str, fill_id: str, total: int, left: int, second: int) -> Any:
    """352 fill of one contract."""
    return filled("", basket, fill_id, 1, total, left, **exit_fields(basket, ssboe=SECOND + second))


def exit_complete(basket: str, reason: str, total: int, second: int) -> Any:
    """351 complete."""
    return complete("", basket, reason, total, 0, **exit_fields(basket, ssboe=SECOND + second))


def life(tag: str = "e1") -> list[tuple[int, Any]]:
    """Every frame, in order."""
    return [
        (331, answer(331, user_tag=tag, basket_id=ENTRY, rq_handler_rp_code=["0"])),
        (351, opened(tag, ENTRY, ssboe=SECOND + 1)),
        (352, filled(tag, ENTRY, "f1", 1, 1, 1, ssboe=SECOND + 2)),
        (351, exit_open(TARGET, 1, 3)),
        (351, exit_open(STOP, 1, 3)),
        (352, filled(tag, ENTRY, "f2", 1, 2, 0, ssboe=SECOND + 4)),
        (351, complete(tag, ENTRY, "F", 2, 0, ssboe=SECOND + 4)),
        (352, exit_changed(TARGET, 0, 2, 5)),
        (352, exit_changed(STOP, 0, 2, 5)),
        (352, exit_filled(TARGET, "f3", 1, 1, 6)),
        (352, exit_changed(STOP, 0, 1, 7)),
        (352, exit_filled(TARGET, "f4", 2, 0, 8)),
        (351, exit_complete(TARGET, "F", 2, 8)),
        (352, notice(352, 3, "", STOP, report_type="cancel", **exit_fields(STOP, ssboe=SECOND + 9))),
        (351, exit_complete(STOP, "C", 0, 9)),
    ]


def image(basket: str, tag: str, notify_type: int, **fields: Any) -> Any:
    """352 of a list."""
    about = {"is_snapshot": True, "quantity": 2, "ssboe": SECOND + 9} | fields
    about = about if basket == ENTRY else exit_fields(basket, **about)
    return notice(352, notify_type, tag, basket, **about)


def lists_at_the_end(tag: str = "e1") -> dict[str, list[Any]]:
    """What the broker's lists show when all of it is over, the exits before their entry."""
    done = {"status": "complete", "total_unfilled_size": 0}
    return {
        "orders": [
            image(STOP, "", 3, status="complete", total_fill_size=0),
            image(TARGET, "", 5, total_fill_size=2, **done),
            image(ENTRY, tag, 5, total_fill_size=2, **done),
        ],
        "fills": [
            exit_replayed("f3", 1, 1, 6),
            exit_replayed("f4", 2, 0, 8),
            filled(tag, ENTRY, "f1", 1, 1, 1, is_snapshot=True, ssboe=SECOND + 2),
            filled(tag, ENTRY, "f2", 1, 2, 0, is_snapshot=True, ssboe=SECOND + 4),
        ],
    }


def exit_replayed(fill_id: str, total: int, left: int, second: int) -> Any:
    """A fill of the target in the replay of executions."""
    about = exit_fields(TARGET, ssboe=SECOND + second, is_snapshot=True)
    return filled("", TARGET, fill_id, 1, total, left, **about)


AT_THE_END = {"e1": S.FILLED, "e1-t1": S.FILLED, "e1-s1": S.CANCELED}
"""Every order's state when all of it is over."""
