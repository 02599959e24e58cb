"""What the order plant answers beyond orders: limits, routes, the user, brackets' states, lists; field by field."""

from pathlib import Path
from typing import Any

import pytest

from nightdesk.simulator.engine import Exchange
from nightdesk.simulator.model import AccountTerms, BracketChanged, Product
from nightdesk.simulator.plants.order_history import RECORDS_MAX
from nightdesk.simulator.venue.log import ExchangeLog, rebuild
from nightdesk.simulator.venue.venue import Venue, VenueRefusal
from tests.simulator_order_support import (
    ES,
    LIMIT,
    codes,
    fields_of,
    order,
    order_client,
    receive_all,
    run,
)
from tests.simulator_support import ACCOUNT, FIRM, START_NS, USER, RawClient, add_liquidity, running_exchange

TRADER = FIRM | {"user_type": 3}
ENVELOPE = {"rq_handler_rp_code": ["0"], "user_msg": ["all"]}
CHANGED = BracketChanged("SIM-1", "1001", 4, 2, 1, 8, 2, 0, START_NS)


async def records(client: RawClient, template_id: int, **fields: Any) -> list[dict[str, Any]]:
    """The data frames of an answer that must end well, without what every one of them has."""
    frames = await client.ask_all(template_id, **fields)
    assert list(frames[-1][1].rp_code) == ["0"]
    found = [fields_of(message) for each, message in frames[:-1] if each == template_id + 1]
    for record in found:
        assert record.pop("template_id") == template_id + 1
        for name, value in ENVELOPE.items():
            assert record.pop(name) == value
    return found


def script(monkeypatch: pytest.MonkeyPatch, exchange: Exchange, **methods: Any) -> None:
    """Let the venue answer these questions so."""
    for name, method in methods.items():
        monkeypatch.setattr(exchange.venue, name, method)


def test_limits_of_an_account_are_present_only_where_it_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """305: a limit of 0 is absent and its bit is not set; what is always there says that nothing liquidates."""
    always = ACCOUNT | {
        "auto_liquidate": 2, "disable_on_auto_liquidate": 2, "auto_liquidate_criteria": "",
        "auto_liquidate_threshold": 0.0, "auto_liquidate_max_min_account_balance": 0.0, "currency": "USD",
        "status": "active",
    }  # fmt: skip
    limits = AccountTerms("SIM-1", 100.0, 5, 6, 7, 800.0, 9000.0)

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            plain = always | {"presence_bits": 128 + 256, "check_min_account_balance": False}
            assert await records(client, 304, **TRADER) == [plain]
            script(monkeypatch, exchange, terms=lambda _account_id: limits)
            full = always | {
                "presence_bits": 1 + 2 + 4 + 8 + 16 + 128 + 256, "check_min_account_balance": True, "buy_limit": 6,
                "sell_limit": 7, "loss_limit": 800.0, "max_order_quantity": 5, "min_account_balance": 9000.0,
            }  # fmt: skip
            assert await records(client, 304, **TRADER) == [full]
            assert (await records(client, 302, **TRADER))[0]["loss_limit"] == "800.00"

    run(scenario())


def test_limits_of_products_are_told_once_for_each_that_the_account_may_trade(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """307 per product code, with the commission even where it is nothing; none at all is code 7."""
    products = (
        Product("ESH4", "CME", 0.25, 50.0, 2.0, margin=12_000.0, max_order_quantity=20),
        Product("ESM4", "CME", 0.25, 50.0, 2.0),
        Product("NQH4", "CME", 0.25, 20.0, 0.0),
    )

    async def scenario() -> None:
        async with running_exchange(tmp_path, products=products) as (exchange, server):
            client = await RawClient.open(tmp_path, server)
            await client.login(2)
            es = ACCOUNT | {
                "product_code": "ES", "presence_bits": 8 + 16 + 32 + 64, "commission_fill_rate": 2.0,
                "max_order_quantity": 20, "buy_margin_rate": 12_000.0, "sell_margin_rate": 12_000.0,
            }  # fmt: skip
            nq = ACCOUNT | {"product_code": "NQ", "presence_bits": 64, "commission_fill_rate": 0.0}
            assert await records(client, 306, **ACCOUNT) == [es, nq]
            for allowed, expected in ((("NQ",), ["0"]), (("CL",), ["7", "no data"])):
                terms = AccountTerms("SIM-1", 100.0, products=allowed)
                script(monkeypatch, exchange, terms=lambda _account_id, terms=terms: terms)
                frames = await client.ask_all(306, **ACCOUNT)
                assert list(frames[-1][1].rp_code) == expected
                assert [m.product_code for _, m in frames[:-1]] == [each for each in allowed if each != "CL"]

    run(scenario())


def test_highest_balance_is_pushed_to_those_who_asked(tmp_path: Path) -> None:
    """3508: the present 356 at once, another when a fill brings a new high, none after ``unsubscribe``."""

    async def scenario() -> None:
        async with order_client(tmp_path, subscribed=False) as (exchange, client):
            await client.send(3508, **ACCOUNT, request="subscribe", update_bits=1)
            (_, (_, _, image)) = await receive_all(client, 2)
            assert fields_of(image) == ACCOUNT | {
                "template_id": 356, "update_bits": 1, "auto_liq_threshold_current_value": "0.00",
                "auto_liq_peak_account_balance": "100000.00",
                "auto_liq_peak_account_balance_ssboe": str(image.auto_liq_peak_account_balance_ssboe),
            }  # fmt: skip
            await client.send(312, **order())
            await receive_all(client, 2)
            add_liquidity(exchange.venue, bid=5010.0, ask=5011.0)
            await client.send(312, **order(transaction_type=2))
            pushed = await receive_all(client, 3)
            assert [template_id for template_id, _, _ in pushed] == [313, 313, 356]
            assert float(pushed[2][2].auto_liq_peak_account_balance) > 100_000.0
            await client.ask(3508, **ACCOUNT, request="unsubscribe")
            _, refused = await client.ask(3508, **ACCOUNT, request="sometimes")
            assert list(refused.rp_code) == ["6", "unknown request sometimes"]
            _, refused = await client.ask(3508, **ACCOUNT, request="subscribe", update_bits=3)
            assert list(refused.rp_code) == ["6", "bad input"]

    run(scenario())


def test_route_that_goes_down_is_told_and_takes_no_orders(tmp_path: Path) -> None:
    """350 to those who asked with subscribe_for_updates, 311 shows it, 313 refuses; up again, all is as before."""

    async def scenario() -> None:
        async with order_client(tmp_path, subscribed=False) as (exchange, client):
            routes = await records(client, 310, subscribe_for_updates=True)
            assert routes[0] == FIRM | {
                "exchange": "CME", "trade_route": "simulator", "status": "UP", "is_default": True,
            }  # fmt: skip
            exchange.order_feed.set_route_status("CME", "DOWN")
            exchange.order_feed.set_route_status("CME", "DOWN")
            ((template_id, _, pushed),) = await receive_all(client, 1)
            assert template_id == 350
            assert fields_of(pushed) == routes[0] | {"template_id": 350, "status": "DOWN"}
            assert (await records(client, 310))[0]["status"] == "DOWN"
            _, refused = await client.ask(312, **order())
            assert list(refused.rp_code) == ["6", "trade route simulator of CME is down"]
            exchange.order_feed.set_route_status("CME", "UP")
            await receive_all(client, 1)
            await client.send(312, **order())
            await receive_all(client, 2)

    run(scenario())


def test_user_is_told_of_itself_and_of_nobody_else(tmp_path: Path) -> None:
    """3511 and 343 for the user or without a name; code 13 for another one."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            limit = USER.sessions_per_plant_max
            me = FIRM | {
                "user": "trader", "first_name": "Nightdesk", "last_name": "Simulator", "type": "3",
                "tp_max_session_count": limit, "op_max_session_count": limit,
            }  # fmt: skip
            assert await records(client, 3510) == await records(client, 3510, user="trader") == [me]
            assert await records(client, 342) == [
                {"exchange": "CME", "level_1_market_data": "true", "level_2_market_data": "true", "entitlement_flag": 1}
            ]
            for template_id in (342, 3510):
                _, refused = await client.ask(template_id, user="somebody")
                assert list(refused.rp_code) == ["13", "permission denied"]

    run(scenario())


def test_nothing_here_is_borrowed(tmp_path: Path) -> None:
    """349 is code 7 for a subscription, ok for its end, code 6 when it says neither."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            for fields, code in (({"request": 1}, "7"), ({"request": 2}, "0"), ({}, "6")):
                assert (await client.ask(348, **fields))[1].rp_code[0] == code

    run(scenario())


def test_brackets_are_listed_as_they_are_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """339 has targets, 341 stops, all numbers as text; one without the exit is left out, an empty list is ok."""
    stop_only = BracketChanged("SIM-1", "1004", 6, 1, 0, 0, 0, 0, START_NS)

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            assert await records(client, 338, **ACCOUNT) == await records(client, 340, **ACCOUNT) == []
            script(monkeypatch, exchange, brackets=lambda _account_id: [CHANGED, stop_only])
            assert await records(client, 338, **ACCOUNT) == [
                {"basket_id": "1001", "target_quantity": "2", "target_quantity_released": "0", "target_ticks": "8"}
            ]
            assert await records(client, 340, **ACCOUNT) == [
                {"basket_id": "1001", "stop_quantity": "2", "stop_quantity_released": "1", "stop_ticks": "4"},
                {"basket_id": "1004", "stop_quantity": "1", "stop_quantity_released": "0", "stop_ticks": "6"},
            ]

    run(scenario())


def test_bracket_updates_go_to_those_who_follow_brackets(tmp_path: Path) -> None:
    """353 only after 336, with all of its numbers; 336 also lets the venue take the exits of the account's brackets."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            assert not exchange.venue.bracket_subscribers("SIM-1")
            exchange.publish([CHANGED])
            await receive_all(client, 0)
            await client.ask(336, **ACCOUNT)
            assert exchange.venue.bracket_subscribers("SIM-1")
            exchange.publish([CHANGED])
            ((_, _, update),) = await receive_all(client, 1)
            assert fields_of(update) == ACCOUNT | {
                "template_id": 353, "basket_id": "1001", "stop_ticks": 4, "stop_quantity": 2,
                "stop_quantity_released": 1, "target_ticks": 8, "target_quantity": 2, "target_quantity_released": 0,
            }  # fmt: skip

    run(scenario())


def test_exit_is_moved_from_the_level_that_the_client_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """332 moves the target and 334 the stop; without a level the present one is meant; a refusal is told at once."""
    asked: list[dict[str, Any]] = []

    def update(account_id: str, basket_id: str, **changes: Any) -> list[Any]:
        if basket_id == "1":
            raise VenueRefusal("order not found")
        assert changes.pop("now_ns")
        asked.append(changes)
        return [CHANGED]

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            await client.ask(336, **ACCOUNT)
            script(monkeypatch, exchange, update_bracket=update, brackets=lambda _account_id: [CHANGED])
            for template_id, fields in ((332, {"level": 7, "target_ticks": 9}), (334, {"stop_ticks": 5})):
                await client.send(template_id, **ACCOUNT, basket_id="1001", **fields)
                frames = await receive_all(client, 2)
                assert [each for each, _, _ in frames] == [template_id + 1, 353]
                assert fields_of(frames[0][2]) == {"template_id": template_id + 1, "rp_code": ["0"]}
            assert asked == [{"is_target": True, "level": 7, "ticks": 9}, {"is_target": False, "level": 4, "ticks": 5}]
            _, refused = await client.ask(332, **ACCOUNT, basket_id="1", target_ticks=9)
            assert list(refused.rp_code) == ["6", "order not found"]

    run(scenario())


def test_fill_history_keeps_to_its_limits(tmp_path: Path) -> None:
    """3512: 1 to 10,000 records, indices as seconds or days, anything else refused; a day without a fill is code 7."""

    async def scenario() -> None:
        async with order_client(tmp_path, subscribed=False) as (exchange, client):
            for _ in range(3):
                await client.send(312, **order())
                await receive_all(client, 2)
            second = exchange.now_ns() // 10**9
            seconds = ACCOUNT | {"start_index": second - 60, "finish_index": second + 60}
            for count, found in ((1, 1), (2, 2), (RECORDS_MAX, 3)):
                assert len(await records(client, 3512, **seconds, max_record_count=count)) == found
            day = int(exchange.venue.order_dates("SIM-1")[0])
            days = ACCOUNT | {"start_index": day, "finish_index": day, "index_format": "trade_date"}
            assert len(await records(client, 3512, **days)) == 3
            for changed, answer in (
                ({"max_record_count": 0}, ["6", "max_record_count is between 1 and 10000"]),
                ({"max_record_count": RECORDS_MAX + 1}, ["6", "max_record_count is between 1 and 10000"]),
                ({"index_format": "unknown"}, ["6", "bad input"]),
                ({"start_index": 20_240_231}, ["6", "bad input"]),
                ({"start_index": 20_200_101, "finish_index": 20_200_102}, ["7", "no data"]),
            ):
                _, refused = await client.ask(3512, **(days | changed))
                assert list(refused.rp_code) == answer

    run(scenario())


def test_orders_are_listed_by_day_and_each_with_its_history(tmp_path: Path) -> None:
    """318 names the days, 324 lists one, 322 and 326 send an order's 351 and 352 again as images, in their order."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            await client.send(312, **order(price_type=LIMIT, price=4990.0))
            opened = await receive_all(client, 8)
            basket_id = opened[0][2].basket_id
            (day,) = exchange.venue.order_dates("SIM-1")
            assert await records(client, 318) == [{"date": [day]}]
            for template_id, fields in (
                (322, {"basket_id": basket_id}),
                (326, {"basket_id": basket_id, "date": day}),
            ):
                frames = await client.ask_all(template_id, **ACCOUNT, **fields)
                assert list(frames[-1][1].rp_code) == ["0"]
                images = [(each, fields_of(message)) for each, message in frames[:-1]]
                assert [each for each, _ in images] == [each for each, _ in codes(opened)[2:]]
                assert all(image.pop("is_snapshot") for _, image in images)
                assert [image for _, image in images] == [fields_of(message) for _, _, message in opened[2:]]
            frames = await client.ask_all(324, **ACCOUNT, date=day)
            assert [each for each, _ in frames] == [352, 325]
            for template_id, fields, answer in (
                (324, {"date": "20010101"}, ["7", "no data"]),
                (324, {"date": "2001-1-1"}, ["6", "bad input"]),
                (324, {"date": "20011301"}, ["6", "bad input"]),
                (322, {"basket_id": "1"}, ["7", "no data"]),
                (326, {"basket_id": basket_id, "date": "20010101"}, ["7", "no data"]),
            ):
                _, nothing = await client.ask(template_id, **ACCOUNT, **fields)
                assert list(nothing.rp_code) == answer

    run(scenario())


def test_link_with_a_finished_order_fails_for_each_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """345 ok, then 351 20 for both; an order that never was, one order twice, two accounts are refused at once."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            baskets = []
            for fields, count in ((order(), 10), (order(price_type=LIMIT, price=4990.0), 8)):
                await client.send(312, **fields)
                baskets.append((await receive_all(client, count))[0][2].basket_id)
            columns = {name: [value] * 2 for name, value in ACCOUNT.items()}
            await client.send(344, **columns, basket_id=baskets)
            frames = await receive_all(client, 3)
            assert codes(frames) == [(345, None), (351, 20), (351, 20)]
            assert [message.basket_id for _, _, message in frames[1:]] == baskets
            assert all(message.text for _, _, message in frames[1:])
            for changed, text in (
                ({"basket_id": [baskets[1], "1"]}, "order not found"),
                ({"basket_id": [baskets[1]] * 2}, "a link has 2 to 10 different orders"),
                ({"account_id": ["SIM-1", "SIM-2"]}, "the orders of a link belong to one account"),
            ):
                _, refused = await client.ask(344, **(columns | {"basket_id": baskets} | changed))
                assert list(refused.rp_code) == ["6", text]

    run(scenario())


def test_position_of_an_unknown_contract_cannot_be_closed(tmp_path: Path) -> None:
    """3505 is code 7 for a contract that is not listed; without a symbol all positions of the account are closed."""

    async def scenario() -> None:
        async with order_client(tmp_path, subscribed=False) as (exchange, client):
            await client.send(312, **order())
            await receive_all(client, 2)
            _, refused = await client.ask(3504, **ACCOUNT, **ES | {"symbol": "NONE"})
            assert list(refused.rp_code) == ["7", "no data"]
            for name, words in (("symbol", "Exchange"), ("exchange", "Symbol")):
                _, refused = await client.ask(3504, **ACCOUNT, **{name: ES[name]})
                assert refused.rp_code[1] == f"{words} field is not received."
            _, refused = await client.ask(3504, **ACCOUNT, trading_algorithm="TWAP")
            assert list(refused.rp_code) == ["6", "trading_algorithm TWAP is not served by the simulator"]
            _, done = await client.ask(3504, **ACCOUNT, user_msg=["all"], manual_or_auto=1, window_name="w")
            assert fields_of(done) == {"template_id": 3505, "rp_code": ["0"], "user_msg": ["all"]}
            assert [each.net_quantity for each in exchange.venue.positions("SIM-1")] == [0]
            closing = exchange.venue.orders("SIM-1")[-1].terms
            assert (closing.is_automatic, closing.window_name) == (False, "w")

    run(scenario())


def test_renamed_order_has_its_new_tag_in_lists_and_after_a_restart(tmp_path: Path) -> None:
    """3500 changes the tag of a finished order too; nobody is told, lists have it, and the log brings it back."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            await client.send(312, **order())
            basket_id = (await receive_all(client, 10))[0][2].basket_id
            _, done = await client.ask(3500, **ACCOUNT, basket_id=basket_id, user_tag="renamed", user_msg=["r"])
            assert fields_of(done) == {"template_id": 3501, "rp_code": ["0"], "user_msg": ["r"]}
            ((_, listed), _) = await client.ask_all(320, **ACCOUNT)
            assert listed.user_tag == "renamed"
            _, refused = await client.ask(3500, **ACCOUNT, basket_id="1", user_tag="renamed")
            assert list(refused.rp_code) == ["6", "order not found"]
            again = Venue(exchange.venue.products(), exchange.venue.accounts(), 100_000.0)
            copy = tmp_path / "copy.log"
            copy.write_bytes((tmp_path / "exchange.log").read_bytes())
            rebuild(ExchangeLog(copy), again)
            assert [each.terms.user_tag for each in again.orders("SIM-1")] == ["renamed"]

    run(scenario())
