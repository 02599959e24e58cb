"""The sequences of notifications in an order's life: one test for each that is known, frame by frame, on a socket."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from nightdesk.messages.enums import OrderType, Side
from nightdesk.simulator.engine import Exchange
from nightdesk.simulator.model import (
    BracketKind,
    BracketTerms,
    Completion,
    Condition,
    Hold,
    IfTouched,
    OrderEventKind,
    PriceField,
    Stage,
    VenueEvent,
)
from nightdesk.simulator.venue.matching import Order
from tests.simulator_order_support import (
    AT_EXCHANGE,
    ES,
    LIMIT,
    STOP_LIMIT,
    STOP_MARKET,
    assert_fields,
    codes,
    completed,
    happened,
    order,
    order_client,
    receive_all,
    run,
    state,
)
from tests.simulator_support import ACCOUNT, START_NS, RawClient

RECEIVED, ACCEPTED, OPEN = [(351, 1)], [(351, 4), (351, 7), (351, 10), (352, 1)], [(351, 13)]
MODIFY_STAGES, CANCEL_STAGES = [(351, 2), (351, 5), (351, 8), (351, 11)], [(351, 3), (351, 6), (351, 9), (351, 12)]
ACKNOWLEDGED: list[tuple[int, int | None]] = [(313, None), (313, None)]


def hit(exchange: Exchange, price: float, quantity: int, *, is_buy: bool = False) -> None:
    """Somebody else's limit order comes to the market and trades what it meets."""
    outcomes = exchange.venue.market("ESH4").matcher.submit(Order(is_buy, quantity, round(price / 0.25)))
    exchange.publish(exchange.venue.step("ESH4", outcomes, START_NS))


async def frames_after(
    exchange: Exchange, client: RawClient, count: int, *events: VenueEvent
) -> list[tuple[int, int | None, Any]]:
    """What the client gets when these things happen at the venue, and nothing more."""
    exchange.publish(events)
    return await receive_all(client, count)


async def resting(client: RawClient, **changed: Any) -> str:
    """The basket id of a limit order that rests."""
    await client.send(312, **order(price_type=LIMIT, price=4990.0, quantity=3, **changed))
    opened = await receive_all(client, 8)
    assert codes(opened) == [*ACKNOWLEDGED, *RECEIVED, *ACCEPTED, *OPEN]
    return str(opened[0][2].basket_id)


def test_resting_order_fills_in_parts_with_one_report_each(tmp_path: Path) -> None:
    """One 352 fill for each execution, with the totals; the only 351 is the last one, when nothing is left."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            await resting(client)
            hit(exchange, 5000.0, 100)
            for filled in (1, 2):
                hit(exchange, 4990.0, 1)
                (part,) = await receive_all(client, 1)
                assert codes([part]) == [(352, 5)]
                report = part[2]
                assert (report.fill_size, report.total_fill_size, report.total_unfilled_size) == (1, filled, 3 - filled)
            hit(exchange, 4990.0, 1)
            last = await receive_all(client, 2)
            assert codes(last) == [(352, 5), (351, 15)]
            complete = last[1][2]
            assert (complete.completion_reason, complete.total_fill_size, complete.avg_fill_price) == ("F", 3, 4990.0)

    run(scenario())


def test_cancel_of_a_finished_order_is_acknowledged_and_then_fails(tmp_path: Path) -> None:
    """317 ok; the order management system refuses by 352 8 and 351 17, with the text that was seen."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            await client.send(312, **order())
            basket_id = (await receive_all(client, 10))[0][2].basket_id
            await client.send(316, **ACCOUNT, basket_id=basket_id, user_msg=["late"])
            frames = await receive_all(client, 4)
            assert codes(frames) == [(317, None), (351, 3), (352, 8), (351, 17)]
            assert (list(frames[0][2].rp_code), list(frames[0][2].user_msg)) == (["0"], ["late"])
            for _, _, refused in frames[2:]:
                assert refused.text.startswith("Cancellation rejected by the Order Management System - Order is compl")
                assert refused.report_text == refused.text

    run(scenario())


def test_modify_that_the_exchange_refuses_fails_after_its_answer(tmp_path: Path) -> None:
    """315 ok, 351 2/5/8/11, then 352 7 and 351 16 with the reason; the order keeps its terms."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            basket_id = await resting(client)
            off_tick = {"quantity": 3, "price_type": LIMIT, "price": 4990.1}
            await client.send(314, **ACCOUNT, **ES, basket_id=basket_id, **off_tick)
            frames = await receive_all(client, 7)
            assert codes(frames) == [(315, None), *MODIFY_STAGES, (352, 7), (351, 16)]
            assert list(frames[0][2].rp_code) == ["0"]
            for _, _, refused in frames[5:]:
                assert refused.text
                assert (refused.report_text, refused.price) == (refused.text, 4990.0)

    run(scenario())


@pytest.mark.parametrize("text", ["Rejected at RMS - x", "The bracket order management system rejected request"])
def test_modify_that_never_reached_the_exchange_has_no_report_of_it(text: str, tmp_path: Path) -> None:
    """What risk management or the bracket's own system refuses is told by 351 2 and 16 alone."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            failed = happened(OrderEventKind.MODIFY_FAILED, state(), text)
            frames = await frames_after(exchange, client, 2, failed)
            assert codes(frames) == [(351, 2), (351, 16)]
            assert frames[1][2].text == text

    run(scenario())


def test_cancel_that_the_exchange_refuses_leaves_the_order_open(tmp_path: Path) -> None:
    """351 3/6/9/12 as for any cancel, then 352 8 and 351 17."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            failed = happened(OrderEventKind.CANCEL_FAILED, state(), "too late to cancel")
            frames = await frames_after(exchange, client, 6, failed)
            assert codes(frames) == [*CANCEL_STAGES, (352, 8), (351, 17)]

    run(scenario())


def test_order_that_the_exchange_rejects_was_sent_to_it_first(tmp_path: Path) -> None:
    """351 4/7/10, 352 6 with the reason, then 351 15 with reason FA."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            events = (
                happened(OrderEventKind.RECEIVED, state(stage=Stage.RECEIVED)),
                happened(OrderEventKind.REJECTED, state(stage=Stage.RECEIVED), "price band"),
                completed(state(), Completion.FAILED, "price band"),
            )
            frames = await frames_after(exchange, client, 6, *events)
            assert codes(frames) == [*RECEIVED, (351, 4), (351, 7), (351, 10), (352, 6), (351, 15)]
            reject, complete = frames[4][2], frames[5][2]
            assert (reject.report_type, reject.text, reject.report_text) == ("reject", "price band", "price band")
            assert (complete.completion_reason, complete.report_text) == ("FA", "price band")

    run(scenario())


def test_stop_on_the_wrong_side_is_rejected_by_the_exchange(tmp_path: Path) -> None:
    """A sell stop above the last price was accepted by risk management; the exchange says no by 352 6."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            await client.send(312, **order())
            await receive_all(client, 10)
            await client.send(312, **order(price_type=STOP_MARKET, trigger_price=5001.0, transaction_type=2))
            frames = await receive_all(client, 8)
            assert codes(frames) == [
                *ACKNOWLEDGED, *RECEIVED, (351, 4), (351, 7), (351, 10), (352, 6), (351, 15),
            ]  # fmt: skip
            assert frames[-1][2].completion_reason == "FA"

    run(scenario())


@pytest.mark.parametrize(
    ("price_type", "prices"),
    [(5, {"trigger_price": 4995.0}), (6, {"trigger_price": 4995.0, "price": 4995.25})],
)
def test_if_touched_order_waits_and_then_is_what_it_hides(
    price_type: int, prices: dict[str, float], tmp_path: Path
) -> None:
    """MIT and LIT: 351 18, never 13 before; touched they report 352 4 with a market or limit type, and the old one."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            await client.send(312, **order())
            await receive_all(client, 10)
            await client.send(312, **order(price_type=price_type, **prices))
            waiting = await receive_all(client, 8)
            assert codes(waiting) == [*ACKNOWLEDGED, *RECEIVED, *ACCEPTED, (351, 18)]
            assert (waiting[-1][2].price_type, waiting[-1][2].orig_price_type) == (price_type, price_type)
            hit(exchange, 5000.0, 100)
            hit(exchange, 4995.0, 1, is_buy=True)
            hit(exchange, 4995.0, 5)
            frames = [await client.receive()]
            while frames[-1][0] != 351 or frames[-1][1].notify_type != 15:
                frames.append(await client.receive())
            seen = [(template_id, message.notify_type) for template_id, message in frames]
            assert seen[0] == (352, 4)
            assert seen[-2:] == [(352, 5), (351, 15)]
            assert (351, 13) not in seen
            present = {5: 2, 6: 1}[price_type]
            assert {(m.price_type, m.orig_price_type) for _, m in frames} == {(present, price_type)}

    run(scenario())


def test_trigger_report_says_what_was_confirmed(tmp_path: Path) -> None:
    """A captured trigger has the size and the time of a confirmation, but no id of one, and its own id."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            stop = state(terms_order_type=OrderType.STOP_MARKET, terms_price=None, terms_trigger_price=5001.0)
            triggered = happened(OrderEventKind.TRIGGERED, replace(stop, order_type=OrderType.MARKET))
            ((_, _, report),) = await frames_after(exchange, client, 1, triggered)
            values = AT_EXCHANGE | {
                "notify_type": 4, "report_type": "trigger", "price_type": 2, "orig_price_type": 4, "confirmed_size": 2,
                "trigger_price": 5001.0, "total_fill_size": 0, "total_unfilled_size": 2, "manual_or_auto": 2,
            }  # fmt: skip
            assert_fields(report, values, {
                "template_id", "basket_id", "exchange_order_id", "ssboe", "usecs", "user_tag", "sequence_number",
                "orig_sequence_number", "cor_sequence_number", "trigger_id", "confirmed_time", "confirmed_date",
            })  # fmt: skip

    run(scenario())


@pytest.mark.parametrize("duration", [3, 4])
def test_order_that_must_fill_at_once_and_cannot_is_canceled(duration: int, tmp_path: Path) -> None:
    """IOC and FOK end as a cancel without a client's stages; there is no state of having expired."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            await client.send(312, **order(price_type=LIMIT, price=4990.0, duration=duration))
            frames = await receive_all(client, 10)
            assert codes(frames) == [*ACKNOWLEDGED, *RECEIVED, *ACCEPTED, *OPEN, (352, 3), (351, 15)]
            assert frames[-1][2].completion_reason == "C"

    run(scenario())


def test_order_for_later_waits_for_its_release(tmp_path: Path) -> None:
    """351 21 with the quantity that waits, nothing of the exchange; then the stages of any new order."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            later = {"terms_release_at_ns": START_NS + 10**9}
            events = (
                happened(OrderEventKind.RECEIVED, state(stage=Stage.RECEIVED, **later)),
                happened(OrderEventKind.RELEASE_PENDING, state(stage=Stage.RELEASE_PENDING, **later)),
            )
            waiting = await frames_after(exchange, client, 2, *events)
            assert codes(waiting) == [*RECEIVED, (351, 21)]
            pending = waiting[1][2]
            assert (pending.status, pending.quan_release_pending, pending.quantity) == ("release pending", 2, 2)
            assert not pending.HasField("exchange_order_id")
            released = await frames_after(exchange, client, 5, happened(OrderEventKind.OPENED, state(**later)))
            assert codes(released) == [*ACCEPTED, *OPEN]

    run(scenario())


def test_order_held_by_a_condition_is_not_at_the_exchange(tmp_path: Path) -> None:
    """351 18 alone; when the other market was touched the stages of a new order follow."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            touch = IfTouched("ESH4", "CME", Condition.GREATER_EQUAL, PriceField.TRADE, 5005.0)
            held = state(stage=Stage.TRIGGER_PENDING, hold=Hold.CONDITION, terms_if_touched=touch)
            waiting = await frames_after(exchange, client, 1, happened(OrderEventKind.TRIGGER_PENDING, held))
            assert codes(waiting) == [(351, 18)]
            events = (
                happened(OrderEventKind.TRIGGERED, state(stage=Stage.RECEIVED, terms_if_touched=touch)),
                happened(OrderEventKind.OPENED, state(terms_if_touched=touch)),
            )
            assert codes(await frames_after(exchange, client, 5, *events)) == [*ACCEPTED, *OPEN]

    run(scenario())


def test_exits_of_a_bracket_name_their_entry_and_each_other(tmp_path: Path) -> None:
    """original_basket_id, linked_basket_ids with their own, AUTO, the bracket's type, no tag; the entry its type."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            terms = BracketTerms(BracketKind.TARGET_AND_STOP_STATIC, 2, 8, 2, 4)
            entry = state(terms_bracket=terms, terms_is_automatic=False)
            ((_, _, opened), *_rest) = await frames_after(exchange, client, 5, happened(OrderEventKind.OPENED, entry))
            assert (opened.bracket_type, opened.original_basket_id, opened.linked_basket_ids) == (6, "", "")
            child = {
                "original_basket_id": "1001", "linked_basket_ids": ("1002", "1003"), "terms_user_tag": "",
                "bracket_kind": BracketKind.TARGET_AND_STOP_STATIC, "terms_side": Side.SELL, "basket_id": "1002",
            }  # fmt: skip
            events = (
                happened(OrderEventKind.RECEIVED, state(**child)),
                happened(OrderEventKind.CANCELED, state(**child)),
                completed(state(**child), Completion.CANCELED),
            )
            frames = await frames_after(exchange, client, 3, *events)
            assert codes(frames) == [(351, 1), (352, 3), (351, 15)]
            for _, _, frame in frames:
                assert (frame.original_basket_id, frame.linked_basket_ids) == ("1001", "1002,1003")
                assert (frame.bracket_type, frame.manual_or_auto) == (6, 2)
                assert not frame.HasField("user_tag")

    run(scenario())


def test_timed_and_trailing_orders_say_so_in_their_reports(tmp_path: Path) -> None:
    """cancel_at and cancel_after are in every frame, the trail in those of the exchange, as the definitions have it."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            terms = {
                "terms_order_type": OrderType.STOP_LIMIT, "terms_trigger_price": 4985.0, "terms_trail_by_ticks": 6,
                "terms_trail_by": PriceField.BID, "terms_cancel_at_ns": 1_700_000_100_000_250_000,
                "terms_cancel_after_s": 90,
            }  # fmt: skip
            stop = state(stage=Stage.TRIGGER_PENDING, **terms)
            frames = await frames_after(exchange, client, 5, happened(OrderEventKind.TRIGGER_PENDING, stop))
            assert codes(frames) == [*ACCEPTED, (351, 18)]
            for template_id, _, frame in frames:
                assert (frame.cancel_at_ssboe, frame.cancel_at_usecs, frame.cancel_after_secs) == (
                    1_700_000_100,
                    250,
                    90,
                )
                assert (frame.price_type, frame.orig_price_type) == (STOP_LIMIT, STOP_LIMIT)
                if template_id == 352:
                    assert (frame.trail_by_ticks, frame.trail_by_price_id) == (6, 1)

    run(scenario())


def test_warning_of_the_risk_system_is_a_report_of_its_own(tmp_path: Path) -> None:
    """A margin warning is 352 9 with its text; the order goes on."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            exchange.publish([happened(OrderEventKind.WARNED, state(), "margin is low")])
            ((template_id, notify_type, warning),) = await receive_all(client, 1)
            assert (template_id, notify_type, warning.text) == (352, 9, "margin is low")

    run(scenario())
