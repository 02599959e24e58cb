"""The grammar of every request of the order plant: shapes of answers, refusals, who may ask, and of which account."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nightdesk.simulator.engine import Exchange
from nightdesk.simulator.plants.order_plant import ACTIONS, HANDLERS
from nightdesk.simulator.wire.session import User
from nightdesk.simulator.wire.templates import CLASSES, MESSAGE_NAMES
from tests.simulator_order_support import ES, LIMIT, fields_of, order, order_client, receive_all, run
from tests.simulator_support import ACCOUNT, FIRM, USER, RawClient, add_liquidity, running_exchange
from tests.support import wait_until_async

TICKER, ORDER, HISTORY, PNL = 1, 2, 3, 4
TRADER = FIRM | {"user_type": 3}
EXITS = {"bracket_type": 6, "target_quantity": [1], "target_ticks": [8], "stop_quantity": [1], "stop_ticks": [8]}
RESTING = {"price_type": LIMIT, "price": 4990.0}
BRACKET = order(**RESTING) | EXITS | {"user_type": 3}
_COLUMNS = ("symbol", "exchange", "quantity", "transaction_type", "duration", "price_type", "trade_route", "price")
OCO = ACCOUNT | {name: [order(**RESTING)[name], order(**RESTING)[name]] for name in _COLUMNS}
SPAN = {"start_index": 1, "finish_index": 2_000_000_000}
DATE = {"date": "20260101"}
NO_ACCOUNT = ["1088", "user has no permission to this account"]
NEW = "basket_id"
"""Stands for the basket id of an order that rests, which is made for the test."""


def linked(count: int = 2) -> dict[str, Any]:
    """The columns of a link."""
    return {name: [value] * count for name, value in ACCOUNT.items()}


REQUESTS: dict[int, tuple[dict[str, Any], int]] = {
    300: ({}, 1),
    302: (TRADER, 2),
    304: (TRADER, 2),
    306: (ACCOUNT, 2),
    308: (ACCOUNT, 1),
    310: ({}, 5),
    312: (order(), 2),
    314: (ACCOUNT | ES | RESTING | {"quantity": 2, NEW: NEW}, 1),
    316: (ACCOUNT | {NEW: NEW}, 1),
    318: ({}, 2),
    320: (ACCOUNT, 1),
    322: (ACCOUNT | {NEW: NEW}, 1),
    324: (ACCOUNT | DATE, 1),
    326: (ACCOUNT | DATE | {NEW: NEW}, 1),
    328: (OCO, 2),
    330: (BRACKET, 2),
    332: (ACCOUNT | {NEW: NEW, "level": 8, "target_ticks": 9}, 1),
    334: (ACCOUNT | {NEW: NEW, "level": 8, "stop_ticks": 9}, 1),
    336: (ACCOUNT, 1),
    338: (ACCOUNT, 2),
    340: (ACCOUNT, 2),
    342: ({}, 2),
    344: (linked() | {NEW: [NEW, NEW]}, 1),
    346: (ACCOUNT | {"user_type": 3}, 1),
    348: ({"request": 1}, 1),
    3500: (ACCOUNT | {NEW: NEW, "user_tag": "renamed"}, 1),
    3502: ({"should_defer_request": True}, 1),
    3504: (ACCOUNT | ES, 1),
    3506: (ACCOUNT | SPAN, 1),
    3508: (ACCOUNT | {"request": "subscribe", "update_bits": 1}, 1),
    3510: ({}, 2),
    3512: (ACCOUNT | SPAN, 1),
}
"""A request of each template that is in order, and of how many frames its answer consists at least."""

SEVERAL = {302, 304, 306, 310, 312, 318, 328, 330, 338, 340, 342, 3510}
"""Whose answer has frames of data before the bare last one."""


async def made(client: RawClient, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with the ids of orders that rest."""
    wanted = fields.get(NEW)
    if wanted is None:
        return fields
    baskets = []
    for _ in range(len(wanted) if isinstance(wanted, list) else 1):
        _, accepted = await client.ask(330, **BRACKET)
        await client.receive()
        baskets.append(accepted.basket_id)
    return fields | {NEW: baskets if isinstance(wanted, list) else baskets[0]}


async def answer(client: RawClient, template_id: int, fields: dict[str, Any]) -> list[Any]:
    """The frames of the answer's own template, until the last one."""
    await client.send(template_id, user_msg=["one", "two"], **fields)
    frames: list[Any] = []
    while not frames or not frames[-1].rp_code:
        response_id, message = await client.receive()
        if response_id == template_id + 1:
            frames.append(message)
    return frames


def test_every_request_of_the_order_plant_is_served() -> None:
    """No template between 300 and 350, nor from 3500 on, is without a handler, and the tables here know them all."""
    requests = {each for each, name in MESSAGE_NAMES.items() if name.startswith("Request") and each // 100 in (3, 35)}
    assert set(HANDLERS) == requests == set(REQUESTS)


@pytest.mark.parametrize("template_id", sorted(REQUESTS))
def test_answer_echoes_its_request_in_each_frame_and_ends_once(template_id: int, tmp_path: Path) -> None:
    """user_msg in all frames; rq_handler_rp_code and nothing else in those before the last; rp_code in the last."""
    fields, count_min = REQUESTS[template_id]

    async def scenario() -> None:
        async with order_client(tmp_path, subscribed=False) as (_, client):
            await client.ask(336, **ACCOUNT)
            frames = await answer(client, template_id, await made(client, fields))
            if template_id in (318, 338, 340) and len(frames) == 1:
                await made(client, {NEW: NEW})
                frames = await answer(client, template_id, fields)
            assert len(frames) >= count_min
            assert all(list(frame.user_msg) == ["one", "two"] for frame in frames)
            for frame in frames[:-1]:
                assert (list(frame.rq_handler_rp_code), list(frame.rp_code)) == (["0"], [])
            last = frames[-1]
            expected = "7" if template_id in (324, 326, 348, 3502, 3506, 3512) else "0"
            assert last.rp_code[0] == expected
            assert not getattr(last, "rq_handler_rp_code", ())
            if template_id in SEVERAL:
                assert set(fields_of(last)) == {"template_id", "user_msg", "rp_code"}

    run(scenario())


MANDATORY: list[tuple[int, str, str, str]] = [
    *((template_id, "fcm_id", "1039", "FCM Id") for template_id, (fields, _) in REQUESTS.items() if "fcm_id" in fields),
    *((template_id, "user_type", "1041", "User Type") for template_id in (302, 304, 330, 346)),
    *((template_id, "symbol", "1003", "Symbol") for template_id in (312, 314, 328, 330, 3504)),
    *((template_id, "trade_route", "1047", "Trade route") for template_id in (312, 330)),
    *((template_id, "price_type", "1051", "Price type") for template_id in (312, 314, 330)),
    *((template_id, "start_index", "1013", "Start index") for template_id in (3506, 3512)),
    *((template_id, "finish_index", "1014", "Finish index") for template_id in (3506, 3512)),
    *((template_id, "exchange", "6", "Exchange") for template_id in (312, 314, 330)),
    *((template_id, "quantity", "6", "Quantity") for template_id in (312, 314, 330)),
    *((template_id, "price", "6", "Price") for template_id in (314, 330)),
    *((template_id, "transaction_type", "6", "Transaction type") for template_id in (312, 330)),
    *((template_id, "duration", "6", "Duration") for template_id in (312, 330)),
    *((template_id, "basket_id", "6", "Basket id") for template_id in (314, 316, 322, 326, 332, 334, 3500)),
    *((template_id, "date", "6", "Date") for template_id in (324, 326)),
    *((template_id, "request", "6", "Request") for template_id in (348, 3508)),
    (330, "bracket_type", "6", "Bracket type"),
    (332, "target_ticks", "6", "Target ticks"),
    (334, "stop_ticks", "6", "Stop ticks"),
    (3500, "user_tag", "6", "User tag"),
]
"""Template, the field that is left out, and the code and the name in the refusal."""


def test_missing_field_is_refused_by_its_code_and_its_name(tmp_path: Path) -> None:
    """One frame with the field's own code, or 6 where no source knows one, and the field's name; user_msg is echoed."""

    async def scenario() -> None:
        async with order_client(tmp_path, subscribed=False) as (exchange, client):
            before = len(exchange.venue.orders("SIM-1"))
            for template_id, name, code, words in MANDATORY:
                fields = {key: value for key, value in REQUESTS[template_id][0].items() if key != name}
                (refused,) = await answer(client, template_id, fields)
                assert list(refused.rp_code) == [code, f"{words} field is not received."], (template_id, name)
                assert list(refused.user_msg) == ["one", "two"]
            assert len(exchange.venue.orders("SIM-1")) == before

    run(scenario())


def test_account_of_somebody_else_is_refused_everywhere(tmp_path: Path) -> None:
    """Code 1088, whatever the request, for an unknown account, another firm and another introducing broker."""

    async def scenario() -> None:
        async with order_client(tmp_path, subscribed=False) as (_, client):
            named = {template_id: set(fields) for template_id, (fields, _) in REQUESTS.items()} | {3510: set(FIRM)}
            for template_id, (fields, _) in REQUESTS.items():
                for name in {"fcm_id", "ib_id", "account_id"} & named[template_id]:
                    other = ["OTHER"] * 2 if template_id == 344 else "OTHER"
                    (refused,) = await answer(client, template_id, fields | {name: other})
                    assert list(refused.rp_code) == NO_ACCOUNT, (template_id, name)

    run(scenario())


@pytest.mark.parametrize("plant", [TICKER, HISTORY, PNL])
def test_request_on_another_plant_is_bad_input(plant: int, tmp_path: Path) -> None:
    """Code 6 in the answer's own template; 302 is served on the pnl and 342 on the ticker plant, 3502 has code 13."""

    async def scenario() -> None:
        async with running_exchange(tmp_path) as (_, server):
            client = await RawClient.open(tmp_path, server)
            await client.login(plant)
            for template_id, (fields, _) in REQUESTS.items():
                (refused, *_rest) = await answer(client, template_id, fields)
                if template_id == 3502:
                    assert list(refused.rp_code) == ["13", "an error occurred while parsing data."]
                elif (plant, template_id) not in ((PNL, 302), (TICKER, 342)):
                    assert list(refused.rp_code) == ["6", "bad input"], template_id

    run(scenario())


def user(name: str, *accounts: str, **changed: Any) -> User:
    """Somebody who may log in with the password of the others."""
    return User(name, USER.password, accounts, **changed)


@asynccontextmanager
async def several_users(folder: Path, *users: User) -> AsyncIterator[tuple[Exchange, list[RawClient]]]:
    """One client of the order plant for each of these users."""
    async with running_exchange(folder, users=users) as (exchange, server):
        add_liquidity(exchange.venue)
        clients = [await RawClient.open(folder, server) for _ in users]
        for client, each in zip(clients, users, strict=True):
            assert list((await client.login(ORDER, user=each.name)).rp_code) == ["0"]
        yield exchange, clients


def test_user_without_the_entitlement_may_look_but_not_act(tmp_path: Path) -> None:
    """Every request that acts on orders is code 13; lists, subscriptions and limits are served."""

    async def scenario() -> None:
        watcher = user("watcher", "SIM-1", entitlements=frozenset({"market_data"}))
        async with several_users(tmp_path, watcher) as (exchange, (client,)):
            for template_id, (fields, _) in REQUESTS.items():
                frames = await answer(client, template_id, fields)
                is_denied = list(frames[-1].rp_code) == ["13", "permission denied"]
                assert is_denied == (template_id in ACTIONS), template_id
            assert exchange.venue.orders("SIM-1") == []

    run(scenario())


def test_each_user_sees_its_own_accounts_and_all_of_its_sessions_are_told(tmp_path: Path) -> None:
    """Two sessions of one user get the same frames, another user none; lists name nobody else's account."""

    async def scenario() -> None:
        mine, other = user("trader", "SIM-1", "SIM-2"), user("other", "SIM-3")
        async with several_users(tmp_path, mine, mine, other) as (_, (first, second, third)):
            for client in (first, second):
                for account_id in mine.accounts:
                    await client.ask(308, **ACCOUNT | {"account_id": account_id})
            await third.ask(308, **ACCOUNT | {"account_id": "SIM-3"})
            await first.send(312, **order(account_id="SIM-2"))
            assert [template_id for template_id, _, _ in await receive_all(first, 10)][:2] == [313, 313]
            told = [message for _, _, message in await receive_all(second, 8)]
            assert {(message.account_id, message.user_id) for message in told} == {("SIM-2", "trader")}
            await receive_all(third, 0)
            for client, accounts in ((first, ["SIM-1", "SIM-2"]), (third, ["SIM-3"])):
                frames = await answer(client, 302, TRADER)
                assert [frame.account_id for frame in frames[:-1]] == accounts
                frames = await answer(client, 304, TRADER)
                assert [frame.account_id for frame in frames[:-1]] == accounts
            for account_id, count in (("SIM-1", 0), ("SIM-2", 1)):
                await second.send(320, **ACCOUNT | {"account_id": account_id})
                assert [each for each, _, _ in await receive_all(second, count + 1)] == [352] * count + [321]

    run(scenario())


def test_subscriptions_end_with_their_session(tmp_path: Path) -> None:
    """Nothing is pushed to a session that is gone, and the others still get everything."""

    async def scenario() -> None:
        async with several_users(tmp_path, USER, USER) as (exchange, (leaving, staying)):
            for client in (leaving, staying):
                for template_id in (308, 336):
                    await client.ask(template_id, **ACCOUNT)
                await client.send(3508, **ACCOUNT, request="subscribe")
                await receive_all(client, 2)
                await answer(client, 310, {"subscribe_for_updates": True})
            await leaving.ask(12)
            await leaving.closed()
            await wait_until_async(lambda: len(exchange.sessions) == 1)
            exchange.order_feed.set_route_status("CME", "DOWN")
            assert [template_id for template_id, _, _ in await receive_all(staying, 1)] == [350]

    run(scenario())


@pytest.mark.parametrize("template_id", sorted(HANDLERS))
def test_request_with_nothing_in_it_is_answered(template_id: int, tmp_path: Path) -> None:
    """Every request of zero fields has an answer with a code."""

    async def scenario() -> None:
        async with order_client(tmp_path, subscribed=False) as (_, client):
            frames = await answer(client, template_id, {})
            assert frames[-1].rp_code[0]

    run(scenario())


def test_answers_have_the_templates_that_the_handlers_use() -> None:
    """Each request's answer is the template after it, and exists."""
    assert all(template_id + 1 in CLASSES for template_id in HANDLERS)
