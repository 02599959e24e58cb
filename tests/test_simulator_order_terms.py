"""Every term that a client may give an order, a leg or a bracket reaches the venue; what cannot be one is refused."""

from pathlib import Path
from typing import Any

import pytest

from nightdesk.messages.enums import OrderType, Side, TimeInForce
from nightdesk.simulator.model import (
    BracketKind,
    BracketLevel,
    BracketTerms,
    Condition,
    IfTouched,
    NewOrder,
    PriceField,
)
from nightdesk.simulator.venue.links import LEGS_MAX
from tests.simulator_order_support import ES, LIMIT, MARKET, STOP_LIMIT, STOP_MARKET, order, order_client, run
from tests.simulator_support import ACCOUNT, RawClient

DOWN = {"if_touched_symbol": "ESH4", "if_touched_exchange": "CME", "if_touched_condition": 6}
TOUCH = DOWN | {"if_touched_price_field": 2, "if_touched_price": 4999.0}
TOUCHED = IfTouched("ESH4", "CME", Condition.LESSER_EQUAL, PriceField.OFFER, 4999.0)
TRAIL = {"trailing_stop": True, "trail_by_ticks": 6, "trail_by_price_id": 1}
STOP = {"price_type": STOP_MARKET, "trigger_price": 5010.0}
BRACKET = order() | {
    "user_type": 3, "bracket_type": 6, "target_quantity": [1], "target_ticks": [8], "stop_quantity": [1],
    "stop_ticks": [4],
}  # fmt: skip
LATER_S = 2_000_000_000
LATER_NS = LATER_S * 10**9


async def taken(client: RawClient, template_id: int, fields: dict[str, Any]) -> None:
    """Send an order that must be accepted."""
    answer_id, accepted = await client.ask(template_id, **fields)
    assert (answer_id, list(accepted.rq_handler_rp_code)) == (template_id + 1, ["0"]), accepted
    assert (await client.receive())[0] == template_id + 1


@pytest.mark.parametrize(
    ("fields", "terms"),
    [
        (order(), {"side": Side.BUY, "order_type": OrderType.MARKET, "price": None, "is_automatic": False}),
        (order(manual_or_auto=2, window_name="w"), {"is_automatic": True, "window_name": "w"}),
        (order(price=5.0, trigger_price=6.0), {"price": None, "trigger_price": None}),
        (order(transaction_type=2, duration=2, quantity=7), {
            "side": Side.SELL, "time_in_force": TimeInForce.GTC, "quantity": 7,
        }),
        (order(price_type=LIMIT, price=4990.0, duration=4), {
            "order_type": OrderType.LIMIT, "price": 4990.0, "time_in_force": TimeInForce.FOK,
        }),
        (order(price_type=STOP_LIMIT, price=5011.0, trigger_price=5010.0), {
            "order_type": OrderType.STOP_LIMIT, "price": 5011.0, "trigger_price": 5010.0,
        }),
        (order(price_type=5, trigger_price=4990.0), {
            "order_type": OrderType.MARKET_IF_TOUCHED, "trigger_price": 4990.0, "price": None,
        }),
        (order(price_type=6, trigger_price=4990.0, price=4990.25), {
            "order_type": OrderType.LIMIT_IF_TOUCHED, "trigger_price": 4990.0, "price": 4990.25,
        }),
        (order(**STOP, **TRAIL), {"trail_by_ticks": 6, "trail_by": PriceField.BID}),
        (order(release_at_ssboe=LATER_S, release_at_usecs=5), {"release_at_ns": LATER_NS + 5000}),
        (order(cancel_at_ssboe=LATER_S), {"cancel_at_ns": LATER_NS, "release_at_ns": None}),
        (order(cancel_after_secs=30), {"cancel_after_s": 30, "cancel_at_ns": None}),
        (order(**TOUCH), {"if_touched": TOUCHED}),
    ],
)  # fmt: skip
def test_terms_of_a_new_order_reach_the_venue(fields: dict[str, Any], terms: dict[str, Any], tmp_path: Path) -> None:
    """312: types, prices, durations, trailing, release, cancel times and the if-touched condition."""

    async def scenario() -> None:
        async with order_client(tmp_path, subscribed=False) as (exchange, client):
            await taken(client, 312, fields)
            found = exchange.venue.orders("SIM-1")[0].terms
            assert {name: getattr(found, name) for name in terms} == terms

    run(scenario())


MISSING = "field is not received."
REFUSALS: list[tuple[dict[str, Any], str, str]] = [
    ({"quantity": 0}, "6", "bad input"),
    ({"quantity": -1}, "6", "bad input"),
    ({"trade_route": "globex"}, "6", "unknown trade route globex"),
    ({"price_type": LIMIT}, "6", f"Price {MISSING}"),
    ({"price_type": LIMIT, "price": float("nan")}, "6", "bad input"),
    ({"price_type": STOP_MARKET}, "6", f"Trigger price {MISSING}"),
    ({"price_type": STOP_LIMIT, "price": 5.0}, "6", f"Trigger price {MISSING}"),
    (STOP | TRAIL | {"trail_by_price_id": 0}, "1112", f"Trail by price id {MISSING}"),
    (STOP | TRAIL | {"trail_by_price_id": 9}, "6", "unknown trail_by_price_id 9"),
    (STOP | TRAIL | {"trailing_stop": False}, "6", "trailing_stop needs a stop order and trail_by_ticks above 0"),
    (STOP | TRAIL | {"trail_by_ticks": 0}, "6", "trailing_stop needs a stop order and trail_by_ticks above 0"),
    (TRAIL, "6", "trailing_stop needs a stop order and trail_by_ticks above 0"),
    ({"release_at_usecs": 5}, "6", "bad input"),
    ({"cancel_at_ssboe": -1}, "6", "bad input"),
    ({"cancel_at_ssboe": 1, "cancel_at_usecs": 1_000_000}, "6", "bad input"),
    ({"cancel_after_secs": -5}, "6", "bad input"),
    (DOWN, "6", f"If touched price field {MISSING}"),
    (TOUCH | {"if_touched_symbol": "NONE"}, "6", "unknown instrument NONE.CME of the if_touched condition"),
    (TOUCH | {"if_touched_price": float("inf")}, "6", "bad input"),
]


def test_terms_that_cannot_be_an_order_are_refused_at_once(tmp_path: Path) -> None:
    """One 313 with the code, the text, user_tag and user_msg; nothing has reached the venue. 330 refuses the same."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            for template_id, base in ((312, order()), (330, BRACKET)):
                for changed, code, text in REFUSALS:
                    if template_id == 330 and "trailing_stop" in changed:
                        continue
                    answer_id, refused = await client.ask(template_id, user_msg=["m"], **(base | changed))
                    assert (answer_id, list(refused.rp_code)) == (template_id + 1, [code, text]), changed
                    assert (refused.user_tag, list(refused.user_msg)) == ("tag-1", ["m"])
            assert exchange.venue.orders("SIM-1") == []

    run(scenario())


@pytest.mark.parametrize(
    ("changed", "terms"),
    [
        ({}, BracketTerms(BracketKind.TARGET_AND_STOP_STATIC, 1, 8, 1, 4)),
        ({"bracket_type": 3, "break_even_ticks": 1, "break_even_trigger_ticks": 5}, BracketTerms(
            BracketKind.TARGET_AND_STOP, 1, 8, 1, 4, break_even_ticks=1, break_even_trigger_ticks=5,
        )),
        ({"trailing_stop_trigger_ticks": 6, "trailing_stop_by_last_trade_price": True}, BracketTerms(
            BracketKind.TARGET_AND_STOP_STATIC, 1, 8, 1, 4, trailing_stop_trigger_ticks=6, trailing_by_last_trade=True,
        )),
        ({"stop_market_on_reject": True, "target_market_order_after_secs": 9}, BracketTerms(
            BracketKind.TARGET_AND_STOP_STATIC, 1, 8, 1, 4, stop_market_on_reject=True, target_market_after_s=9,
        )),
        ({"target_market_at_ssboe": LATER_S, "stop_market_at_ssboe": LATER_S, "stop_market_at_usecs": 1}, BracketTerms(
            BracketKind.TARGET_AND_STOP_STATIC, 1, 8, 1, 4,
            target_market_at_ns=LATER_NS, stop_market_at_ns=LATER_NS + 1000,
        )),
        ({"bracket_type": 4, "target_quantity": [], "target_ticks": []}, BracketTerms(
            BracketKind.STOP_ONLY_STATIC, stop_quantity=1, stop_ticks=4,
        )),
        ({"bracket_type": 5, "stop_quantity": [0], "stop_ticks": [0]}, BracketTerms(
            BracketKind.TARGET_ONLY_STATIC, target_quantity=1, target_ticks=8,
        )),
        ({"quantity": 3, "target_quantity": [3], "stop_quantity": [1, 2], "stop_ticks": [4, 6]}, BracketTerms(
            BracketKind.TARGET_AND_STOP_STATIC, 3, 8, 1, 4, more_stops=(BracketLevel(2, 6),),
        )),
        ({"quantity": 4, "bracket_type": 2, "target_quantity": [1, 2], "target_ticks": [8, 8], "stop_quantity": [],
          "stop_ticks": []}, BracketTerms(
            BracketKind.TARGET_ONLY, 1, 8, more_targets=(BracketLevel(2, 8),),
        )),
    ],
)  # fmt: skip
def test_terms_of_a_bracket_reach_the_venue(changed: dict[str, Any], terms: BracketTerms, tmp_path: Path) -> None:
    """330: both kinds of exits, trailing, break-even, exits at the market by time; release and touch of the entry."""

    async def scenario() -> None:
        async with order_client(tmp_path, subscribed=False) as (exchange, client):
            fields = BRACKET | {"price_type": LIMIT, "price": 4990.0} | TOUCH | {"cancel_after_secs": 9} | changed
            await taken(client, 330, fields)
            found = exchange.venue.orders("SIM-1")[0].terms
            assert (found.bracket, found.if_touched, found.cancel_after_s) == (terms, TOUCHED, 9)

    run(scenario())


BRACKET_REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"target_ticks": [0]}, "target_ticks and target_quantity do not fit a bracket of type TARGET_AND_STOP_STATIC"),
    ({"stop_quantity": [2]}, "stop_ticks and stop_quantity do not fit a bracket of type TARGET_AND_STOP_STATIC"),
    ({"bracket_type": 1}, "a bracket of type STOP_ONLY has no target"),
    ({"bracket_type": 2}, "a bracket of type TARGET_ONLY has no stop"),
    ({"stop_ticks": [4, 6], "stop_quantity": [1]}, "stop_quantity has 1 entries and stop_ticks 2"),
    ({"stop_ticks": [], "stop_quantity": [1, 1]}, "stop_quantity has 2 entries and stop_ticks 0"),
    (
        {"stop_ticks": [4, 6], "stop_quantity": [1, 1]},
        "the quantities of the stops add up to 2, the entry's quantity is 1",
    ),
    (
        {"stop_ticks": [4, 6], "stop_quantity": [1, 1], "quantity": 2},
        "the quantities of the targets add up to 1, the entry's quantity is 2",
    ),
    (
        {"stop_ticks": [4, 0], "stop_quantity": [1, 1], "quantity": 2},
        "stop_ticks and stop_quantity do not fit a bracket of type TARGET_AND_STOP_STATIC",
    ),
    (
        {"bracket_type": 2, "stop_ticks": [0, 6], "stop_quantity": [0, 1]},
        "a bracket of type TARGET_ONLY has no stop",
    ),
    ({"target_quantity": [1, -1], "target_ticks": [1, 2]}, "bad input"),
    ({"stop_ticks": [-1]}, "bad input"),
    ({"order_operation_type": "OCA"}, "order_operation_type OCA is not served by the simulator"),
    ({"target_market_order_if_touched": True}, "target_market_order_if_touched is not served by the simulator"),
]


def test_bracket_that_cannot_be_one_is_refused_at_once(tmp_path: Path) -> None:
    """Exits that do not fit the type or the quantity, and what is not served, are code 6 by name."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            for changed, text in BRACKET_REFUSALS:
                answer_id, refused = await client.ask(330, **(BRACKET | changed))
                assert (answer_id, list(refused.rp_code)) == (331, ["6", text]), changed
            assert exchange.venue.orders("SIM-1") == []

    run(scenario())


LEGS = ACCOUNT | {
    "user_tag": ["group"], "symbol": ["ESH4", "ESH4"], "exchange": ["CME", "CME"], "quantity": [1, 2],
    "price": [4990.0, 0.0], "trigger_price": [0.0, 5010.0], "transaction_type": [1, 1], "duration": [1, 2],
    "price_type": [LIMIT, STOP_MARKET], "trade_route": ["simulator"] * 2, "manual_or_auto": [2, 1],
    "trailing_stop": [False, True], "trail_by_ticks": [0, 6], "trail_by_price_id": [0, 3], "cancel_after_secs": 60,
}  # fmt: skip


def test_legs_of_an_oco_order_are_read_across_its_columns(tmp_path: Path) -> None:
    """328: entry i of each column is leg i; a client's zeros for what a leg does not have are no prices."""

    async def scenario() -> None:
        async with order_client(tmp_path, subscribed=False) as (exchange, client):
            await taken(client, 328, LEGS)
            legs = [each.terms for each in exchange.venue.orders("SIM-1")]
            same = {"account_id": "SIM-1", "user": "trader", "symbol": "ESH4", "exchange": "CME", "side": Side.BUY}
            assert legs == [
                NewOrder(
                    **same, user_tag="group", order_type=OrderType.LIMIT, quantity=1, price=4990.0, trigger_price=None,
                    time_in_force=TimeInForce.DAY, cancel_after_s=60,
                ),
                NewOrder(
                    **same, user_tag="", order_type=OrderType.STOP_MARKET, quantity=2, price=None,
                    trigger_price=5010.0, time_in_force=TimeInForce.GTC, is_automatic=False, trail_by_ticks=6,
                    trail_by=PriceField.TRADE, cancel_after_s=60,
                ),
            ]  # fmt: skip

    run(scenario())


def test_oco_order_whose_columns_do_not_fit_is_refused(tmp_path: Path) -> None:
    """One leg, too many, columns of different lengths, a leg that cannot be an order: nothing of it is taken."""
    one = {name: value[:1] for name, value in LEGS.items() if isinstance(value, list)}
    many = {name: value * LEGS_MAX for name, value in LEGS.items() if isinstance(value, list)}

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            for changed, code, text in (
                (one, "6", f"an OCO order has 2 to {LEGS_MAX} legs, not 1"),
                (many, "6", f"an OCO order has 2 to {LEGS_MAX} legs, not {2 * LEGS_MAX}"),
                ({"symbol": []}, "1003", f"Symbol {MISSING}"),
                ({"quantity": [1]}, "6", "quantity has 1 entries for 2 legs"),
                ({"price": [4990.0]}, "6", "price has 1 entries for 2 legs"),
                ({"user_tag": ["a", "b", "c"]}, "6", "user_tag has 3 entries for 2 legs"),
                ({"quantity": [1, 0]}, "6", "bad input"),
                ({"trail_by_price_id": [0, 0]}, "1112", f"Trail by price id {MISSING}"),
                ({"trade_route": ["simulator", "ice"]}, "6", "unknown trade route ice"),
            ):
                answer_id, refused = await client.ask(328, **(LEGS | changed))
                assert (answer_id, list(refused.rp_code)) == (329, [code, text]), changed
            assert exchange.venue.orders("SIM-1") == []

    run(scenario())


def test_replace_hands_over_the_whole_terms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """314: quantity, type, prices, the trailing distance and the condition; a market order's price is no price."""

    async def scenario() -> None:
        async with order_client(tmp_path, subscribed=False) as (exchange, client):
            asked: list[dict[str, Any]] = []

            def modify(account_id: str, basket_id: str, **terms: Any) -> list[Any]:
                asked.append({"account_id": account_id, "basket_id": basket_id} | terms)
                return []

            monkeypatch.setattr(exchange.venue, "modify", modify)
            base = ACCOUNT | ES | {"basket_id": "1", "quantity": 3}
            for fields in (
                {"price_type": STOP_LIMIT, "price": 5.0, "trigger_price": 6.0, "trailing_stop": True,
                 "trail_by_ticks": 4, **TOUCH},
                {"price_type": MARKET, "price": 7.0},
            ):  # fmt: skip
                answer_id, done = await client.ask(314, **base, **fields)
                assert (answer_id, list(done.rp_code), done.basket_id) == (315, ["0"], "1")
            for each in asked:
                assert each.pop("now_ns")
            same = {"account_id": "SIM-1", "basket_id": "1", "quantity": 3}
            assert asked == [
                same | {"order_type": OrderType.STOP_LIMIT, "price": 5.0, "trigger_price": 6.0, "trail_by_ticks": 4,
                        "if_touched": TOUCHED},
                same | {"order_type": OrderType.MARKET, "price": None, "trigger_price": None, "trail_by_ticks": None,
                        "if_touched": None},
            ]  # fmt: skip

    run(scenario())
