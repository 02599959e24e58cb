"""The broker's lists of orders and executions: what is asked for, and what comes back with its answer.

320, 324 and 3506 push images (352) before their answer ends; 3512 brings its executions in the answer itself.
"""

import math
from typing import Any, Final

from nightdesk.messages import ClientOrderId, FillId, OrderType, Side, TimeInForce, VenueOrderId
from nightdesk.rithmic.orders import NS_PER_S, NS_PER_US, ReportUnreadable
from nightdesk.trading.broker import BrokerUpdate, UpdateKind

SHOW_ORDERS: Final = 320
SHOW_ORDERS_OF_DAY: Final = 324
REPLAY_EXECUTIONS: Final = 3506
SHOW_FILLS: Final = 3512
POSITION_SNAPSHOT: Final = 402

FILLS_MAX: Final = 10_000
"""The most that one answer of 3512 holds; one that holds so many may lack the rest."""

_SIDES: Final[dict[str, Side]] = {
    **dict.fromkeys(("BUY", "B", "1"), Side.BUY),
    **dict.fromkeys(("SELL", "S", "2", "SS", "3", "SELL SHORT"), Side.SELL),
}
"""3513 has the side as text, and no source shows which: the words of other clients and the numbers of 352."""


def orders_of_day(account_id: str, trade_date: int) -> dict[str, Any]:
    """The fields of 324; ``trade_date`` is YYYYMMDD."""
    return {"account_id": account_id, "date": str(trade_date)}


def executions_between(account_id: str, start_s: int, finish_s: int) -> dict[str, Any]:
    """The fields of 3506: unix seconds of the broker's time, both inclusive."""
    return {"account_id": account_id, "start_index": start_s, "finish_index": finish_s}


def fills_between(account_id: str, start_s: int, finish_s: int) -> dict[str, Any]:
    """The fields of 3512 for the same."""
    return {
        **executions_between(account_id, start_s, finish_s),
        "index_format": "ssboe",
        "max_record_count": FILLS_MAX,
    }


def second_of(frame: Any) -> int:
    """The broker's time of a 3513, in whole seconds: where the next part of a long answer begins."""
    return int(frame.ssboe)


def decode_fill(frame: Any) -> BrokerUpdate:
    """3513 as the execution that it tells of, without our tag, which it does not carry.

    Raises ``ReportUnreadable`` for one that names no order, no execution or no side.
    """
    side = _SIDES.get(frame.transaction_type.strip().upper())
    is_whole = frame.basket_id and frame.fill_id and frame.fill_size > 0 and math.isfinite(frame.fill_price)
    if side is None or not is_whole:
        raise ReportUnreadable(
            f"an execution of the history cannot be read: order {frame.basket_id!r}, execution {frame.fill_id!r}, "
            f"side {frame.transaction_type!r}"
        )
    return BrokerUpdate(
        kind=UpdateKind.FILLED,
        account_id=frame.account_id,
        symbol=frame.symbol,
        exchange=frame.exchange,
        venue_order_id=VenueOrderId(frame.basket_id),
        client_order_id=ClientOrderId(""),
        side=side,
        order_type=OrderType.MARKET,
        time_in_force=TimeInForce.DAY,
        fill_id=FillId(frame.fill_id),
        fill_price=frame.fill_price,
        fill_quantity=int(frame.fill_size),
        is_snapshot=True,
        ts_event_ns=int(frame.ssboe) * NS_PER_S + int(frame.usecs) * NS_PER_US,
    )
