"""Each known sequence of notifications with every field of every frame: what is on the wire, and nothing beside it."""

from pathlib import Path
from typing import Any

import pytest

from tests.simulator_order_support import (
    AT_EXCHANGE,
    ES,
    HEAD,
    LIMIT,
    SEQUENCES,
    STOP_MARKET,
    WHO,
    assert_fields,
    codes,
    fields_of,
    order,
    order_client,
    receive_all,
    run,
)
from tests.simulator_support import ACCOUNT, RawClient, add_liquidity
from tests.test_simulator_order_rows import hit

Frames = list[tuple[int, int | None, Any]]

KNOWN = HEAD | SEQUENCES
PLACED = KNOWN | {"exchange_order_id"}
CONFIRMED = {"confirmed_id", "confirmed_time", "confirmed_date"}
MODIFIED = {"modify_id", "modified_time", "modified_date"}
CANCELED = {"cancelled_id", "cancelled_time", "cancelled_date"}
EXECUTED = {"fill_id", "fill_time", "fill_date"}
RESTING = {"price_type": LIMIT, "orig_price_type": LIMIT, "price": 4990.0}
STOP = {"price_type": STOP_MARKET, "orig_price_type": STOP_MARKET, "trigger_price": 5001.0}
MODIFY_STATUS = {
    2: "Modify received from client",
    5: "modify pending",
    8: "modify received by exch gateway",
    11: "modify sent to exch",
}
CANCEL_STATUS = {
    3: "Cancel received from client",
    6: "cancel pending",
    9: "cancel received by exch gateway",
    12: "cancel sent to exch",
}
NEW_STATUS = {4: "open pending", 7: "order received by exch gateway", 10: "order sent to exch"}
LATE = (
    "Cancellation rejected by the Order Management System - Order is complete. "
    "Further cancellations on this order may lead to logoff/disable"
)


def totals(filled: int, unfilled: int) -> dict[str, int]:
    """How much of an order is filled, and how much of it still works."""
    return {"total_fill_size": filled, "total_unfilled_size": unfilled}


def assert_stages(frames: Frames, statuses: dict[int, str], terms: dict[str, Any], present: set[str]) -> None:
    """One 351 for each stage, with its words and no quantity."""
    assert codes(frames) == [(351, notify_type) for notify_type in statuses]
    for (_, notify_type, message), status in zip(frames, statuses.values(), strict=True):
        assert_fields(
            message, AT_EXCHANGE | terms | {"notify_type": notify_type, "status": status, "quantity": 0}, present
        )


def assert_opened(frames: Frames, terms: dict[str, Any], quantity: int, stage: tuple[int, str]) -> None:
    """Both 313, 351 1/4/7/10, 352 1, and the stage in which the order waits."""
    assert_fields(frames[0][2], {"rq_handler_rp_code": ["0"]}, HEAD)
    assert_fields(frames[1][2], {"rp_code": ["0"]}, {"template_id"})
    received = {"notify_type": 1, "status": "Order received from client", "quantity": quantity}
    assert_fields(frames[2][2], WHO | terms | received, HEAD)
    working = terms | totals(0, quantity)
    assert_stages(frames[3:6], NEW_STATUS, working, KNOWN)
    status = {"notify_type": 1, "report_type": "status", "confirmed_size": quantity}
    assert_fields(frames[6][2], AT_EXCHANGE | working | status, PLACED | CONFIRMED)
    waits = {"notify_type": stage[0], "status": stage[1], "quantity": quantity}
    assert_fields(frames[7][2], AT_EXCHANGE | working | waits, PLACED)
    assert len(frames) == 8


async def resting(client: RawClient, quantity: int = 3) -> str:
    """A limit order to buy at 4990, whose frames are as they should be; its basket id."""
    await client.send(312, **order(price_type=LIMIT, price=4990.0, quantity=quantity))
    frames = await receive_all(client, 8)
    assert_opened(frames, RESTING, quantity, (13, "open"))
    return str(frames[0][2].basket_id)


def test_limit_order_rests_and_is_filled_in_parts(tmp_path: Path) -> None:
    """351 13 has the whole quantity; each 352 5 its own price and size and the totals; 351 15 comes with the last."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            await resting(client)
            hit(exchange, 5000.0, 100)
            terms = AT_EXCHANGE | RESTING | {"avg_fill_price": 4990.0}
            fill = {"notify_type": 5, "report_type": "fill", "fill_price": 4990.0}
            hit(exchange, 4990.0, 1)
            ((_, _, part),) = await receive_all(client, 1)
            assert_fields(part, terms | totals(1, 2) | fill | {"fill_size": 1}, PLACED | EXECUTED)
            hit(exchange, 4990.0, 2)
            (_, _, last), (_, _, complete) = await receive_all(client, 2)
            assert_fields(last, terms | totals(3, 0) | fill | {"fill_size": 2}, PLACED | EXECUTED)
            end = {"notify_type": 15, "status": "complete", "quantity": 3, "completion_reason": "F"}
            assert_fields(complete, terms | totals(3, 0) | end, PLACED)

    run(scenario())


def test_cancel_has_a_new_sequence_number_and_the_size_that_it_took(tmp_path: Path) -> None:
    """317; 351 3/6/9/12; 352 3 with size, time, date and id; 351 15 C without an average price."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            basket_id = await resting(client)
            await client.send(316, **ACCOUNT, basket_id=basket_id, user_msg=["c"])
            frames = await receive_all(client, 7)
            assert_fields(frames[0][2], {"rp_code": ["0"], "user_msg": ["c"]}, HEAD - {"user_tag"})
            assert_stages(frames[1:5], CANCEL_STATUS, RESTING | totals(0, 3), PLACED)
            terms = AT_EXCHANGE | RESTING
            report = {"notify_type": 3, "report_type": "cancel", "cancelled_size": 3}
            assert_fields(frames[5][2], terms | totals(0, 3) | report, PLACED | CANCELED)
            end = {"notify_type": 15, "status": "complete", "quantity": 3, "completion_reason": "C"}
            assert_fields(frames[6][2], terms | totals(0, 0) | end, PLACED)
            old, new = frames[4][2].sequence_number, frames[5][2].sequence_number
            assert (frames[5][2].orig_sequence_number, frames[6][2].sequence_number) == (old, new)
            assert new != old

    run(scenario())


def test_late_cancel_tells_the_order_as_it_ended(tmp_path: Path) -> None:
    """317 ok; 351 3, 352 8 and 351 17 of an order that is filled, the text in both."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            await client.send(312, **order())
            basket_id = (await receive_all(client, 10))[0][2].basket_id
            await client.send(316, **ACCOUNT, basket_id=basket_id)
            frames = await receive_all(client, 4)
            assert_fields(frames[0][2], {"rp_code": ["0"]}, HEAD - {"user_tag"})
            assert_stages(frames[1:2], {3: CANCEL_STATUS[3]}, totals(1, 0), PLACED)
            told = AT_EXCHANGE | totals(1, 0) | {"text": LATE, "report_text": LATE}
            assert_fields(frames[2][2], told | {"notify_type": 8, "report_type": "not cancelled"}, PLACED)
            failed = {"notify_type": 17, "status": "Cancellation Failed", "quantity": 1}
            assert_fields(frames[3][2], told | failed, PLACED)

    run(scenario())


def test_modify_has_the_new_terms_and_a_new_sequence_number(tmp_path: Path) -> None:
    """315; 351 2/5/8/11; 352 2 with size, time, date and id; 351 14; the basket id stays."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            basket_id = await resting(client)
            change = {"quantity": 2, "price_type": LIMIT, "price": 4991.0}
            await client.send(314, **ACCOUNT, **ES, **change, basket_id=basket_id, user_msg=["m"])
            frames = await receive_all(client, 7)
            assert_fields(frames[0][2], {"rp_code": ["0"], "user_msg": ["m"]}, HEAD - {"user_tag"})
            terms = RESTING | {"price": 4991.0} | totals(0, 2)
            assert_stages(frames[1:5], MODIFY_STATUS, terms, PLACED)
            report = {"notify_type": 2, "report_type": "modify", "modified_size": 2}
            assert_fields(frames[5][2], AT_EXCHANGE | terms | report, PLACED | MODIFIED)
            modified = {"notify_type": 14, "status": "modified", "quantity": 2}
            assert_fields(frames[6][2], AT_EXCHANGE | terms | modified, PLACED)
            assert frames[5][2].sequence_number != frames[5][2].orig_sequence_number
            assert {message.basket_id for _, _, message in frames} == {basket_id}

    run(scenario())


def test_modified_stop_says_that_it_waits(tmp_path: Path) -> None:
    """351 14 of a stop has the trigger in its words and its new price; no second 351 18 follows."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            await client.send(312, **order(price_type=STOP_MARKET, trigger_price=5001.0))
            basket_id = (await receive_all(client, 8))[0][2].basket_id
            change = {"quantity": 1, "price_type": STOP_MARKET, "trigger_price": 5002.0}
            await client.send(314, **ACCOUNT, **ES, **change, basket_id=basket_id)
            frames = await receive_all(client, 7)
            modified = {"notify_type": 14, "status": "modified, trigger pending", "quantity": 1}
            assert_fields(
                frames[6][2], AT_EXCHANGE | STOP | {"trigger_price": 5002.0} | totals(0, 1) | modified, PLACED
            )

    run(scenario())


def test_modify_that_fails_leaves_the_order_and_says_why(tmp_path: Path) -> None:
    """315 ok; 351 2/5/8/11, 352 7 and 351 16 with the order's own terms and the text twice."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            basket_id = await resting(client)
            change = {"quantity": 3, "price_type": LIMIT, "price": 4990.1}
            await client.send(314, **ACCOUNT, **ES, **change, basket_id=basket_id)
            frames = await receive_all(client, 7)
            terms = RESTING | totals(0, 3)
            assert_stages(frames[1:5], MODIFY_STATUS, terms, PLACED)
            text = "price 4990.1 is not on a tick of 0.25"
            told = AT_EXCHANGE | terms | {"text": text, "report_text": text}
            assert_fields(frames[5][2], told | {"notify_type": 7, "report_type": "not modified"}, PLACED)
            failed = {"notify_type": 16, "status": "Modification Failed", "quantity": 3}
            assert_fields(frames[6][2], told | failed, PLACED)

    run(scenario())


def test_modify_of_another_contract_than_the_orders_is_refused(tmp_path: Path) -> None:
    """315 code 6 names the order's contract; nothing has changed."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            basket_id = await resting(client)
            change = {"quantity": 2, "price_type": LIMIT, "price": 4991.0, "basket_id": basket_id}
            for other in ({"symbol": "NQH4"}, {"exchange": "CBOT"}):
                _, refused = await client.ask(314, **ACCOUNT, **(ES | other), **change)
                text = f"order {basket_id} is of ESH4.CME"
                assert fields_of(refused) == {"template_id": 315, "basket_id": basket_id, "rp_code": ["6", text]}
            assert exchange.venue.orders("SIM-1")[0].quantity == 3

    run(scenario())


def test_order_that_risk_refuses_has_no_report_of_the_exchange(tmp_path: Path) -> None:
    """313 ok; 351 1, then 351 15 FA with nothing filled, no exchange's id, and the text twice."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            await client.send(312, **order(quantity=100_001))
            frames = await receive_all(client, 4)
            text = "Rejected at RMS - quantity must be between 1 and 100000"
            end = {"notify_type": 15, "status": "complete", "quantity": 100_001, "completion_reason": "FA"}
            told = {"text": text, "report_text": text} | totals(0, 0)
            assert codes(frames[2:]) == [(351, 1), (351, 15)]
            assert_fields(frames[3][2], AT_EXCHANGE | end | told, KNOWN)

    run(scenario())


@pytest.mark.parametrize(
    ("changed", "terms", "text"),
    [
        (
            {"price_type": LIMIT, "price": 4990.1},
            RESTING | {"price": 4990.1},
            "price 4990.1 is not on a tick of 0.25",
        ),
        (
            {"price_type": STOP_MARKET, "trigger_price": 5001.0, "transaction_type": 2},
            STOP | {"transaction_type": 2},
            "stop price is on the wrong side of the last trade",
        ),
    ],
)
def test_order_that_the_exchange_rejects_was_never_placed(
    changed: dict[str, Any], terms: dict[str, Any], text: str, tmp_path: Path
) -> None:
    """351 1/4/7/10, 352 6 and 351 15 FA: a price off its tick, a stop on the wrong side."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            await client.send(312, **order())
            await receive_all(client, 10)
            await client.send(312, **order(**changed))
            frames = await receive_all(client, 8)
            assert codes(frames[2:]) == [(351, 1), (351, 4), (351, 7), (351, 10), (352, 6), (351, 15)]
            text_of = {"text": f"Rejected by exchange - {text}", "report_text": f"Rejected by exchange - {text}"}
            for frame, status in zip(frames[3:6], NEW_STATUS.values(), strict=True):
                assert (frame[2].status, frame[2].HasField("exchange_order_id")) == (status, False)
            reject = AT_EXCHANGE | terms | text_of | {"notify_type": 6, "report_type": "reject"}
            assert_fields(frames[6][2], reject | totals(0, 1), PLACED)
            end = {"notify_type": 15, "status": "complete", "quantity": 1, "completion_reason": "FA"}
            assert_fields(frames[7][2], AT_EXCHANGE | terms | text_of | end | totals(0, 0), KNOWN)

    run(scenario())


def test_stop_waits_and_is_triggered(tmp_path: Path) -> None:
    """351 18 and never 13; 352 4 with its own id and type 4 become 2, the same sequence number; fill and end after."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            await client.send(312, **order())
            await receive_all(client, 10)
            await client.send(312, **order(price_type=STOP_MARKET, trigger_price=5001.0))
            waiting = await receive_all(client, 8)
            assert_opened(waiting, STOP, 1, (18, "trigger pending"))
            add_liquidity(exchange.venue, bid=4999.0, ask=5001.0, size=5)
            hit(exchange, 5001.0, 100, is_buy=True)
            frames = await receive_all(client, 3)
            assert codes(frames) == [(352, 4), (352, 5), (351, 15)]
            terms = AT_EXCHANGE | {"orig_price_type": STOP_MARKET, "trigger_price": 5001.0}
            trigger = {"notify_type": 4, "report_type": "trigger", "confirmed_size": 1} | totals(0, 1)
            assert_fields(frames[0][2], terms | trigger, (PLACED | CONFIRMED | {"trigger_id"}) - {"confirmed_id"})
            filled = terms | totals(1, 0) | {"avg_fill_price": 5001.0}
            fill = {"notify_type": 5, "report_type": "fill", "fill_price": 5001.0, "fill_size": 1}
            assert_fields(frames[1][2], filled | fill, PLACED | EXECUTED)
            end = {"notify_type": 15, "status": "complete", "quantity": 1, "completion_reason": "F"}
            assert_fields(frames[2][2], filled | end, PLACED)
            assert frames[0][2].sequence_number == waiting[-1][2].sequence_number

    run(scenario())


@pytest.mark.parametrize("duration", [3, 4])
def test_order_that_cannot_fill_at_once_ends_as_a_cancel(duration: int, tmp_path: Path) -> None:
    """IOC and FOK: 351 13, 352 3, 351 15 C; no stage of a client's cancel and no other reason."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            await client.send(312, **order(price_type=LIMIT, price=4990.0, duration=duration))
            frames = await receive_all(client, 10)
            terms = RESTING | {"duration": duration}
            assert_opened(frames[:8], terms, 1, (13, "open"))
            report = {"notify_type": 3, "report_type": "cancel", "cancelled_size": 1}
            assert_fields(frames[8][2], AT_EXCHANGE | terms | totals(0, 1) | report, PLACED | CANCELED)
            text = "not filled at once"
            end = {"notify_type": 15, "status": "complete", "quantity": 1, "completion_reason": "C"}
            told = totals(0, 0) | {"text": text, "report_text": text}
            assert_fields(frames[9][2], AT_EXCHANGE | terms | told | end, PLACED)

    run(scenario())


def test_order_for_later_is_not_at_the_exchange(tmp_path: Path) -> None:
    """351 1, then 351 21 with the quantity that waits and no id of the exchange."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            await client.send(312, **order(price_type=LIMIT, price=4990.0, release_at_ssboe=2_000_000_000))
            frames = await receive_all(client, 4)
            assert codes(frames[2:]) == [(351, 1), (351, 21)]
            waits = {"notify_type": 21, "status": "release pending", "quantity": 1, "quan_release_pending": 1}
            assert_fields(frames[3][2], AT_EXCHANGE | RESTING | totals(0, 1) | waits, KNOWN)

    run(scenario())


def test_trailing_stop_may_leave_its_trigger_to_the_server(tmp_path: Path) -> None:
    """Without a trigger, or with a zero, it begins at its distance from the price that it follows."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            await client.send(312, **order())
            await receive_all(client, 10)
            trail = {"trailing_stop": True, "trail_by_ticks": 8, "trail_by_price_id": 3, "transaction_type": 2}
            for given in ({}, {"trigger_price": 0.0}):
                await client.send(312, **order(price_type=STOP_MARKET, **trail, **given))
                frames = await receive_all(client, 8)
                assert (frames[-1][1], frames[-1][2].trigger_price) == (18, 4998.25)

    run(scenario())


def test_words_of_a_client_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    """Texts that an order keeps have 255 characters at the most; nothing is taken beyond that."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            for name in ("user_tag", "window_name", "symbol", "exchange"):
                _, refused = await client.ask(312, **order(**{name: "x" * 256}))
                assert list(refused.rp_code) == ["6", f"{name} is longer than 255 characters"]
            assert exchange.venue.orders("SIM-1") == []
            basket_id = await resting(client)
            _, refused = await client.ask(3500, **ACCOUNT, basket_id=basket_id, user_tag="x" * 256)
            assert refused.rp_code[1] == "user_tag is longer than 255 characters"
            _, refused = await client.ask(3504, **ACCOUNT, window_name="x" * 256)
            assert refused.rp_code[1] == "window_name is longer than 255 characters"
            _, taken = await client.ask(3500, **ACCOUNT, basket_id=basket_id, user_tag="")
            assert list(taken.rp_code) == ["0"]
            for name, code in (("symbol", "1003"), ("exchange", "6"), ("trade_route", "1047")):
                _, refused = await client.ask(312, **order(**{name: ""}))
                assert refused.rp_code[0] == code, name

    run(scenario())
