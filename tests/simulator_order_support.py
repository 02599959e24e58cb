"""What the tests of the order plant's wire share: a client of it, the fields of an order, frames field by field."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from nightdesk.messages.enums import OrderType, Side, TimeInForce
from nightdesk.simulator.engine import Exchange
from nightdesk.simulator.model import Completion, NewOrder, OrderEventKind, OrderHappened, OrderState, Stage
from tests.simulator_support import ACCOUNT, START_NS, RawClient, add_liquidity, running_exchange

ES = {"symbol": "ESH4", "exchange": "CME"}
LIMIT, MARKET, STOP_LIMIT, STOP_MARKET = 1, 2, 3, 4
IDS_AND_TIMES = {
    "template_id", "basket_id", "exchange_order_id", "ssboe", "usecs", "confirmed_id", "confirmed_time",
    "confirmed_date", "fill_id", "fill_time", "fill_date", "sequence_number", "orig_sequence_number",
    "cor_sequence_number", "cancelled_id", "cancelled_time", "cancelled_date", "modify_id", "modified_time",
    "modified_date", "trigger_id", "user_tag",
}  # fmt: skip
"""Compared for presence, and with each other."""

REPORT_IDS = {"confirmed_id", "fill_id", "cancelled_id", "modify_id", "trigger_id"}
TAG = "tag-1"
HAS_NEW_SEQUENCE = {351: {2, 5, 8, 11, 14, 15}, 352: {2, 3}}
"""Notify types that follow a modify or a cancel, by template: these give the order another sequence number."""

WHO = {
    "fcm_id": "Nightdesk-FCM", "ib_id": "Nightdesk-IB", "user_id": "trader", "account_id": "SIM-1", "symbol": "ESH4",
    "exchange": "CME", "trade_exchange": "CME", "trade_route": "simulator", "transaction_type": 1, "duration": 1,
    "price_type": 2, "orig_price_type": 2, "manual_or_auto": 1,
}  # fmt: skip
HEAD = {"template_id", "basket_id", "ssboe", "usecs", "user_tag"}
SEQUENCES = {"sequence_number", "orig_sequence_number", "cor_sequence_number"}
AT_EXCHANGE = WHO | {"instrument_type": "Future", "currency": "USD"}
UNFILLED = {"total_fill_size": 0, "total_unfilled_size": 1}
FILLED = {"total_fill_size": 1, "total_unfilled_size": 0, "avg_fill_price": 5000.25}


def run(coroutine: Any) -> None:
    """Run one test's coroutine."""
    asyncio.run(asyncio.wait_for(coroutine, 20.0))


def fields_of(message: Any) -> dict[str, Any]:
    """All fields that are on the wire, explicit zeros among them."""
    return {field.name: list(value) if field.is_repeated else value for field, value in message.ListFields()}


def assert_ids_fit(fields: dict[str, Any]) -> None:
    """Times and dates as text are those of the frame, in UTC; ids are numbers; sequence numbers belong together."""
    moment = datetime.fromtimestamp(fields.get("ssboe", 0), UTC)
    for name, value in fields.items():
        if name.endswith(("_time", "_date")):
            assert value == moment.strftime("%H:%M:%S" if name.endswith("_time") else "%Y%m%d"), name
        elif name in REPORT_IDS:
            assert value.isdecimal(), name
    assert fields.get("exchange_order_id", fields.get("basket_id")) == fields.get("basket_id")
    assert fields.get("user_tag", TAG) == TAG
    first = fields.get("orig_sequence_number")
    assert fields.get("cor_sequence_number") == first
    if first is not None and fields["notify_type"] not in HAS_NEW_SEQUENCE[fields["template_id"]]:
        assert fields["sequence_number"] == first


def assert_fields(message: Any, values: dict[str, Any], present: set[str]) -> None:
    """Exactly these values and, beside them, exactly these ids and times are on the wire, which fit each other."""
    fields = fields_of(message)
    assert_ids_fit(fields)
    found = {name: value for name, value in fields.items() if name not in IDS_AND_TIMES}
    wrong = {
        name: (found.get(name), values.get(name))
        for name in found | values
        if name not in found or name not in values or found[name] != values[name]
    }
    assert not wrong, f"template {fields['template_id']}, field: (on the wire, expected): {wrong}"
    ids = {name for name in fields if name in IDS_AND_TIMES}
    assert ids == present, f"only on the wire {ids - present}, only expected {present - ids}"


@asynccontextmanager
async def order_client(folder: Path, *, subscribed: bool = True) -> AsyncIterator[tuple[Exchange, RawClient]]:
    """A client of the order plant on a market with 100 contracts on each side."""
    async with running_exchange(folder) as (exchange, server):
        add_liquidity(exchange.venue)
        client = await RawClient.open(folder, server)
        await client.login(2)
        if subscribed:
            assert (await client.ask(308, **ACCOUNT))[0] == 309
        yield exchange, client


def order(**changed: Any) -> dict[str, Any]:
    """The fields of a market order to buy one contract, with changes."""
    fields = {"quantity": 1, "transaction_type": 1, "duration": 1, "price_type": MARKET, "manual_or_auto": 1}
    return ACCOUNT | ES | fields | {"trade_route": "simulator", "user_tag": TAG} | changed


async def receive_all(client: RawClient, count: int) -> list[tuple[int, int | None, Any]]:
    """The next frames as (template, notify type, message); nothing may follow them."""
    frames = []
    for _ in range(count):
        template_id, message = await client.receive()
        frames.append((template_id, message.notify_type if template_id in (351, 352) else None, message))
    template_id, _ = await client.ask(18)
    assert template_id == 19
    return frames


def state(**changed: Any) -> OrderState:
    """A resting limit order to buy two contracts at 4990, with changes; those of its terms begin with ``terms_``."""
    terms: dict[str, Any] = {
        "account_id": "SIM-1", "user": "trader", "user_tag": "tag-1", "symbol": "ESH4", "exchange": "CME",
        "side": Side.BUY, "order_type": OrderType.LIMIT, "quantity": 2, "price": 4990.0, "trigger_price": None,
        "time_in_force": TimeInForce.DAY,
    }  # fmt: skip
    terms |= {name.removeprefix("terms_"): value for name, value in changed.items() if name.startswith("terms_")}
    fields: dict[str, Any] = {
        "basket_id": "1001", "terms": NewOrder(**terms), "stage": Stage.OPEN, "order_type": terms["order_type"],
        "quantity": 2, "price": terms["price"], "trigger_price": terms["trigger_price"], "filled_quantity": 0,
        "leaves_quantity": 2, "average_price": 0.0, "sequence_number": "A1", "original_sequence_number": "A1",
        "completion": None, "text": "", "ts_created_ns": START_NS, "ts_last_ns": START_NS,
    }  # fmt: skip
    fields["trail_by_ticks"] = terms.get("trail_by_ticks", 0)
    fields["bracket_kind"] = terms["bracket"].kind if "bracket" in terms else None
    return OrderState(**(fields | {name: value for name, value in changed.items() if not name.startswith("terms_")}))


def happened(kind: OrderEventKind, order: OrderState, text: str = "") -> OrderHappened:
    """A step in the life of an order."""
    return OrderHappened(kind, order, START_NS, report_id="77", text=text)


def completed(order: OrderState, completion: Completion, text: str = "") -> OrderHappened:
    """The end of an order."""
    end = msgspec.structs.replace(order, stage=Stage.COMPLETE, completion=completion, leaves_quantity=0, text=text)
    return happened(OrderEventKind.COMPLETED, end, text)


def codes(frames: list[tuple[int, int | None, Any]]) -> list[tuple[int, int | None]]:
    """Template and notify type of each frame."""
    return [(template_id, notify_type) for template_id, notify_type, _ in frames]
