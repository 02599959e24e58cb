"""What the broker says of an account's limits and money: templates 305 and 451 in our own words."""

import math
from typing import Any, Final

import msgspec

from nightdesk.trading.risk_terms import BrokerLimits
from nightdesk.trading.units import to_micros

ACCOUNT_LIMITS: Final = 304
"""Answered with one 305 for each account of the login."""
ACCOUNT_MONEY: Final = 451

_BUY_LIMIT, _SELL_LIMIT, _LOSS_LIMIT, _MAX_ORDER_QUANTITY = 1, 2, 4, 8


class AccountMoney(msgspec.Struct, frozen=True, kw_only=True):
    """An account's margin and balance, in its currency; None where the report does not say."""

    account_id: str
    margin_balance: float | None
    min_margin_balance: float | None
    account_balance: float | None
    min_account_balance: float | None
    loss_percent: float | None
    """How much of the day's loss limit is used up."""
    available: float | None
    used: float | None
    reserved: float | None
    """Buying power: free, taken by positions, and held for working orders."""


def decode_limits(message: Any) -> BrokerLimits:
    """Template 305. A limit that is not named is none, and one of 0 neither."""
    return BrokerLimits(
        max_order_quantity=_limit(message, "max_order_quantity", _MAX_ORDER_QUANTITY),
        buy_limit=_limit(message, "buy_limit", _BUY_LIMIT),
        sell_limit=_limit(message, "sell_limit", _SELL_LIMIT),
        loss_limit_micros=_loss(message),
    )


def decode_money(message: Any) -> AccountMoney:
    """Template 451, whose amounts are text."""
    return AccountMoney(
        account_id=message.account_id,
        margin_balance=_amount(message.margin_balance),
        min_margin_balance=_amount(message.min_margin_balance),
        account_balance=_amount(message.account_balance),
        min_account_balance=_amount(message.min_account_balance),
        loss_percent=_amount(message.percent_maximum_allowable_loss),
        available=_amount(message.available_buying_power),
        used=_amount(message.used_buying_power),
        reserved=_amount(message.reserved_buying_power),
    )


def _is_named(message: Any, bit: int) -> bool:
    # A gateway that sets no bits at all leaves only the values to go by.
    bits = int(message.presence_bits)
    return not bits or bool(bits & bit)


def _limit(message: Any, name: str, bit: int) -> int | None:
    value = int(getattr(message, name))
    return value if value > 0 and _is_named(message, bit) else None


def _loss(message: Any) -> int | None:
    value = float(message.loss_limit)
    is_one = math.isfinite(value) and value > 0 and _is_named(message, _LOSS_LIMIT)
    return to_micros(value) if is_one else None


def _amount(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
