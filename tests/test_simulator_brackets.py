"""Orders that hang together, on a socket: brackets as captured, OCO, links, and orders that time releases or ends."""

from pathlib import Path
from typing import Any

from nightdesk.simulator.engine import Exchange
from nightdesk.simulator.plants.order_feed import OrderFeed
from nightdesk.simulator.venue.matching import Order
from tests.simulator_order_support import (
    AT_EXCHANGE,
    ES,
    HEAD,
    LIMIT,
    SEQUENCES,
    STOP_MARKET,
    UNFILLED,
    assert_fields,
    codes,
    fields_of,
    order,
    order_client,
    receive_all,
    run,
)
from tests.simulator_support import ACCOUNT, RawClient

NS_PER_S = 10**9
BRACKET = order() | {
    "user_type": 3, "bracket_type": 6, "target_quantity": [1], "target_ticks": [8], "stop_quantity": [1],
    "stop_ticks": [4],
}  # fmt: skip
FROM_THE_EXCHANGE = HEAD | SEQUENCES | {"exchange_order_id"}
Frame = tuple[int, int | None, Any]


def trade(exchange: Exchange, price: float, quantity: int, *, is_buy: bool) -> None:
    """Somebody else's order comes to the market."""
    now_ns = exchange.now_ns()
    outcomes = exchange.venue.market("ESH4").matcher.submit(Order(is_buy, quantity, round(price / 0.25)))
    exchange.publish(exchange.venue.step("ESH4", outcomes, now_ns))


async def everything(client: RawClient) -> list[Frame]:
    """All frames that are on their way."""
    await client.send(18, user_msg=["end"])
    frames: list[Frame] = []
    while True:
        template_id, message = await client.receive()
        if template_id == 19 and list(message.user_msg) == ["end"]:
            return frames
        frames.append((template_id, message.notify_type if template_id in (351, 352) else None, message))


def of(frames: list[Frame], basket_id: str, template_id: int | None = None) -> list[Frame]:
    """The notifications of one order."""
    return [
        frame
        for frame in frames
        if frame[0] in (351, 352) and frame[2].basket_id == basket_id and template_id in (None, frame[0])
    ]


async def filled_bracket(client: RawClient, **changed: Any) -> tuple[list[Frame], str, str, str]:
    """A bracket whose market entry has filled: its frames and the ids of entry, target and stop."""
    await client.ask(336, **ACCOUNT)
    await client.send(330, **(BRACKET | changed))
    frames = await everything(client)
    entry = int(frames[0][2].basket_id)
    return frames, str(entry), str(entry + 1), str(entry + 2)


def test_bracket_is_the_captured_sequence(tmp_path: Path) -> None:
    """Entry N, target N+1 as a limit, stop N+2 as a stop, linked to each other; the stop fills, the target ends."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            frames, entry, target, stop = await filled_bracket(client)
            assert [template_id for template_id, _, _ in frames[:2]] == [331, 331]
            assert codes(of(frames, entry)) == [
                (351, 1), (351, 4), (351, 7), (351, 10), (352, 1), (351, 13), (352, 5), (351, 15),
            ]  # fmt: skip
            assert {message.bracket_type for _, _, message in of(frames, entry)} == {6}
            opened = [(351, 1), (351, 4), (351, 7), (351, 10), (352, 1)]
            assert codes(of(frames, target)) == [*opened, (351, 13)]
            assert codes(of(frames, stop)) == [*opened, (351, 18)]
            exit_fields = AT_EXCHANGE | UNFILLED | {
                "notify_type": 1, "report_type": "status", "confirmed_size": 1, "transaction_type": 2,
                "manual_or_auto": 2, "bracket_type": 6, "linked_basket_ids": f"{target},{stop}",
                "original_basket_id": entry,
            }  # fmt: skip
            ids = (FROM_THE_EXCHANGE - {"user_tag"}) | {"confirmed_id", "confirmed_time", "confirmed_date"}
            (_, _, report), (_, _, stop_report) = of(frames, target, 352)[0], of(frames, stop, 352)[0]
            assert_fields(report, exit_fields | {"price": 5002.25, "price_type": 1, "orig_price_type": 1}, ids)
            waiting = {"trigger_price": 4999.25, "price_type": 4, "orig_price_type": 4}
            assert_fields(stop_report, exit_fields | waiting, ids)

            trade(exchange, 5000.0, 100, is_buy=False)
            trade(exchange, 4999.25, 5, is_buy=True)
            trade(exchange, 4999.25, 1, is_buy=False)
            ended = await everything(client)
            assert codes(of(ended, stop)) == [(352, 4), (352, 5), (351, 15)]
            assert codes(of(ended, target)) == [(352, 3), (351, 15)]
            cancel = of(ended, target)[0][2]
            assert (cancel.report_type, cancel.cancelled_size, cancel.total_unfilled_size) == ("cancel", 1, 1)
            assert cancel.sequence_number != cancel.orig_sequence_number == cancel.cor_sequence_number
            assert [each.net_quantity for each in exchange.venue.positions("SIM-1")] == [0]

    run(scenario())


def test_exits_of_an_account_that_nobody_follows_are_rejected(tmp_path: Path) -> None:
    """Without 336 the entry fills, and both of its exits end at once with reason FA."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            await client.send(330, **BRACKET)
            frames = await everything(client)
            entry = int(frames[0][2].basket_id)
            for basket_id in (entry + 1, entry + 2):
                assert of(frames, str(basket_id))[-1][2].completion_reason == "FA"
            assert [each.net_quantity for each in exchange.venue.positions("SIM-1")] == [1]

    run(scenario())


def test_exits_can_be_moved_by_level_until_the_entry_fills(tmp_path: Path) -> None:
    """332 and 334 move a waiting bracket; later they are acknowledged and fail; a wrong level fails as well."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            _, entry, target, _ = await filled_bracket(client, price_type=LIMIT, price=4990.0)
            for template_id, fields, listed in (
                (332, {"level": 8, "target_ticks": 10}, (338, "target_ticks", "10")),
                (334, {"level": 4, "stop_ticks": 6}, (340, "stop_ticks", "6")),
            ):
                await client.send(template_id, **ACCOUNT, basket_id=entry, **fields)
                assert list((await everything(client))[0][2].rp_code) == ["0"]
                frames = await client.ask_all(listed[0], **ACCOUNT)
                assert [getattr(message, listed[1]) for _, message in frames[:-1]] == [listed[2]]
            trade(exchange, 5000.0, 100, is_buy=False)
            trade(exchange, 4990.0, 1, is_buy=False)
            frames_of_exits = await everything(client)
            assert of(frames_of_exits, target, 352)[0][2].price == 4992.5
            await client.send(332, **ACCOUNT, basket_id=entry, level=10, target_ticks=12)
            late = await everything(client)
            assert (late[0][0], list(late[0][2].rp_code)) == (333, ["0"])
            assert late[-1][1] == 16
            assert late[-1][2].text == "The bracket order management system rejected request"

    run(scenario())


LADDER = BRACKET | {
    "quantity": 3, "target_quantity": [2, 1], "target_ticks": [8, 12], "stop_quantity": [3], "stop_ticks": [4],
}  # fmt: skip
"""Two targets and one stop."""


def test_levels_of_a_bracket_are_orders_and_rows_of_their_own(tmp_path: Path) -> None:
    """330 with columns: targets N+1 and N+2, stop N+3; a 353 for each row, 339 and 341 for each level."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            frames, entry, first, second = await filled_bracket(client, **LADDER)
            stop = str(int(entry) + 3)
            opened = [of(frames, basket_id, 352)[0][2] for basket_id in (first, second, stop)]
            assert {message.linked_basket_ids for message in opened} == {f"{first},{second},{stop}"}
            assert [(message.price, message.trigger_price, message.confirmed_size) for message in opened] == [
                (5002.25, 0.0, 2), (5003.25, 0.0, 1), (0.0, 4999.25, 3),
            ]  # fmt: skip
            updates = [fields_of(message) for template_id, _, message in frames if template_id == 353]
            owner = {"template_id": 353, "basket_id": entry} | {name: ACCOUNT[name] for name in ACCOUNT}
            assert updates == [
                owner | {"stop_ticks": 4, "stop_quantity": 3, "stop_quantity_released": 3, "target_ticks": 8,
                         "target_quantity": 2, "target_quantity_released": 2},
                owner | {"target_ticks": 12, "target_quantity": 1, "target_quantity_released": 1},
            ]  # fmt: skip
            for template_id, name, listed in ((338, "target", [("2", "8"), ("1", "12")]), (340, "stop", [("3", "4")])):
                shown = [message for _, message in (await client.ask_all(template_id, **ACCOUNT))[:-1]]
                found = [(getattr(each, f"{name}_quantity"), getattr(each, f"{name}_ticks")) for each in shown]
                assert found == listed
                assert {each.basket_id for each in shown} == {entry}
            trade(exchange, 5002.25, 300, is_buy=True)
            ended = await everything(client)
            assert codes(of(ended, first))[-1] == (351, 15)
            assert codes(of(ended, stop)) == [(352, 2), (351, 14)]
            assert of(ended, stop)[0][2].modified_size == 1

    run(scenario())


def test_levels_are_moved_one_by_one(tmp_path: Path) -> None:
    """332 names the level by its distance; without one it is refused as long as the targets stand at several."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            _, entry, *_ = await filled_bracket(client, **LADDER | {"price_type": LIMIT, "price": 4990.0})

            async def moved(**fields: int) -> list[str]:
                await client.send(332, **ACCOUNT, basket_id=entry, **fields)
                answer, *updates = [message for _, _, message in await everything(client)]
                return [*answer.rp_code, *(f"{each.target_ticks}/{each.stop_ticks}" for each in updates)]

            text = "the bracket has 2 levels of target_ticks; level says which is meant"
            assert await moved(target_ticks=10) == ["6", text]
            assert await moved(level=10, target_ticks=8) == ["6", "level 10 is not the bracket's present level"]
            assert await moved(level=12, target_ticks=8) == ["0", "8/0"]
            assert await moved(target_ticks=10) == ["0", "10/4", "10/0"]

    run(scenario())


def test_oco_orders_end_together(tmp_path: Path) -> None:
    """329 names both legs; one fills, the other is canceled by 352 3 and 351 C, without a client's stages."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            one, two = order(price_type=LIMIT, price=4990.0), order(price_type=STOP_MARKET, trigger_price=5010.0)
            columns = {
                name: [one[name], two[name]]
                for name in ("symbol", "exchange", "quantity", "transaction_type", "duration", "price_type",
                             "trade_route", "user_tag")
            } | {"price": [4990.0, 0.0], "trigger_price": [0.0, 5010.0]}  # fmt: skip
            await client.send(328, **ACCOUNT, **columns, user_msg=["oco"])
            frames = await everything(client)
            data, bare = frames[0][2], frames[1][2]
            first, second = data.basket_id
            assert (len(data.ssboe), len(data.usecs), list(data.user_tag)) == (2, 2, ["tag-1", "tag-1"])
            assert fields_of(bare) == {"template_id": 329, "user_msg": ["oco"], "rp_code": ["0"]}
            assert (codes(of(frames, first))[-1], codes(of(frames, second))[-1]) == ((351, 13), (351, 18))
            for basket_id in (first, second):
                # The first stage is told before the legs are linked.
                linked = [message.linked_basket_ids for _, _, message in of(frames, basket_id)]
                assert set(linked[1:]) == {f"{first},{second}"}
            trade(exchange, 5000.0, 100, is_buy=False)
            trade(exchange, 4990.0, 1, is_buy=False)
            ended = await everything(client)
            assert codes(of(ended, first)) == [(352, 5), (351, 15)]
            assert codes(of(ended, second)) == [(352, 3), (351, 15)]
            assert of(ended, second)[-1][2].completion_reason == "C"

    run(scenario())


def test_linked_orders_end_together(tmp_path: Path) -> None:
    """344 lets one order end the other; the cancel that a client asked for has its stages, the other one has none."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            baskets = []
            for price in (4990.0, 4989.0):
                await client.send(312, **order(price_type=LIMIT, price=price))
                baskets.append((await everything(client))[0][2].basket_id)
            columns = {name: [value] * 2 for name, value in ACCOUNT.items()}
            await client.send(344, **columns, basket_id=baskets)
            assert list((await everything(client))[0][2].rp_code) == ["0"]
            await client.send(316, **ACCOUNT, basket_id=baskets[0])
            ended = await everything(client)
            assert codes(of(ended, baskets[0])) == [
                (351, 3), (351, 6), (351, 9), (351, 12), (352, 3), (351, 15),
            ]  # fmt: skip
            assert codes(of(ended, baskets[1])) == [(352, 3), (351, 15)]

    run(scenario())


def test_order_is_released_and_ended_by_time(tmp_path: Path) -> None:
    """release_at: 351 21 until then; cancel_after_secs: a cancel that nobody asked for."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            now_s = exchange.now_ns() // NS_PER_S
            fields = order(price_type=LIMIT, price=4990.0, release_at_ssboe=now_s + 60, cancel_after_secs=90)
            await client.send(312, **fields)
            waiting = await receive_all(client, 4)
            assert codes(waiting) == [(313, None), (313, None), (351, 1), (351, 21)]
            exchange.publish(exchange.venue.advance((now_s + 61) * NS_PER_S))
            released = await receive_all(client, 5)
            assert codes(released) == [(351, 4), (351, 7), (351, 10), (352, 1), (351, 13)]
            exchange.publish(exchange.venue.advance((now_s + 120) * NS_PER_S))
            assert codes(await receive_all(client, 2)) == [(352, 3), (351, 15)]

    run(scenario())


def test_stop_that_follows_the_market_reports_each_move(tmp_path: Path) -> None:
    """A move that no client asked for is 352 2 and 351 14 with a text, without the stages of a client's modify."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            await client.send(312, **order())
            trail = {"trailing_stop": True, "trail_by_ticks": 8, "trail_by_price_id": 3}
            fields = order(transaction_type=2, price_type=STOP_MARKET, trigger_price=4998.25, **trail)
            await client.send(312, **fields)
            stop = next(message for _, notify, message in await everything(client) if notify == 18).basket_id
            trade(exchange, 5000.25, 99, is_buy=True)
            trade(exchange, 5001.0, 1, is_buy=False)
            trade(exchange, 5001.0, 1, is_buy=True)
            moves = of(await everything(client), stop)
            assert codes(moves) == [(352, 2), (351, 14)]
            report = moves[0][2]
            assert (report.trigger_price, report.trail_by_ticks, report.trail_by_price_id) == (4999.0, 8, 3)
            assert report.text == moves[1][2].text != ""

    run(scenario())


def test_limit_order_that_becomes_a_stop_is_not_new_at_the_exchange(tmp_path: Path) -> None:
    """314 with another type: the stages of the modify, then 351 18, and no second 352 1."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            await client.send(312, **order(price_type=LIMIT, price=4990.0))
            basket_id = (await everything(client))[0][2].basket_id
            change = {"quantity": 1, "price_type": STOP_MARKET, "trigger_price": 5010.0}
            await client.send(314, **ACCOUNT, **ES, basket_id=basket_id, **change)
            assert codes(of(await everything(client), basket_id)) == [
                (351, 2), (351, 5), (351, 8), (351, 11), (352, 2), (351, 14), (351, 18),
            ]  # fmt: skip

    run(scenario())


def test_account_with_brackets_of_a_former_run_counts_as_followed(tmp_path: Path) -> None:
    """A bracket that was taken while somebody followed it gets its exits after a restart, before anybody is back."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            await client.ask(336, **ACCOUNT)
            assert (await client.ask(330, **BRACKET | {"price_type": LIMIT, "price": 4990.0}))[0] == 331
            feed = OrderFeed()
            assert not feed.follows_brackets("SIM-1")
            feed.attach(exchange.venue)
            assert feed.follows_brackets("SIM-1")

    run(scenario())
