"""Sessions of the exchange: the rules that hold on every plant, logins over the limit, users and what they may."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from nightdesk.simulator.wire import gateway
from nightdesk.simulator.wire.framing import FRAME_BYTES_MAX, Framing
from nightdesk.simulator.wire.session import ENTITLEMENTS, Plant, User
from nightdesk.simulator.wire.templates import encode
from tests.simulator_support import ACCOUNT, FIRM, SYSTEM, USER, RawClient, running_exchange
from tests.support import wait_until_async

TICKER, ORDER, HISTORY, PNL, REPOSITORY = list(Plant)
ES = {"symbol": "ESH4", "exchange": "CME"}
BAD_INPUT = ["6", "bad input"]
DENIED = ["13", "permission denied"]
NOT_LOGGED_IN = ["1034", "invalid operation before login."]
NO_ACCOUNT = ["1088", "user has no permission to this account"]


def run(coroutine: Any) -> None:
    """Run one test's coroutine."""
    asyncio.run(asyncio.wait_for(coroutine, 20.0))


def scenario(folder: Path, act: Callable[..., Awaitable[None]], **options: Any) -> None:
    """Run ``act(exchange, open_client)`` with an exchange that listens."""

    async def whole() -> None:
        async with running_exchange(folder, **options) as (exchange, server):

            async def open_client(framing: Framing = Framing.PREFIXED) -> RawClient:
                return await RawClient.open(folder, server, framing)

            await act(exchange, open_client)

    run(whole())


REQUESTS_ELSEWHERE = {TICKER: 312, ORDER: 202, HISTORY: 100, PNL: 312, REPOSITORY: 400}
"""Of each plant, a request that belongs to another one."""

RULES: dict[str, tuple[int, dict[str, Any], int, list[str]]] = {
    "system info comes before a login": (16, {}, 17, BAD_INPUT),
    "gateway info comes before a login": (20, {"system_name": SYSTEM}, 21, BAD_INPUT),
    "an answer's template is no request": (11, {}, 75, BAD_INPUT),
    "an update's template is no request": (150, {}, 75, BAD_INPUT),
    "a heartbeat is answered": (18, {}, 19, ["0"]),
    "reference data are on every plant": (14, ES, 15, ["0"]),
    "a logout is answered": (12, {}, 13, ["0"]),
}
"""Sentence: (request, fields, answer, code); the same on every plant."""


@pytest.mark.parametrize("plant", list(Plant))
def test_every_plant_answers_alike(plant: Plant, tmp_path: Path) -> None:
    """Each request has its answer's template and code, and its user_msg comes back."""

    async def act(_: Any, open_client: Any) -> None:
        client = await open_client()
        await client.login(plant)
        for rule, (request_id, fields, answer_id, code) in RULES.items():
            echoed = {"user_msg": ["a", "b"]} if answer_id != 75 else {}
            template_id, answer = await client.ask(request_id, **fields, **echoed)
            assert (template_id, list(answer.rp_code)) == (answer_id, code), rule
            assert list(answer.user_msg) == echoed.get("user_msg", []), rule

    scenario(tmp_path, act)


@pytest.mark.parametrize("plant", list(Plant))
def test_requests_of_other_plants_and_unknown_ones_are_refused(plant: Plant, tmp_path: Path) -> None:
    """Code 6 in the request's own answer; a template id that nobody knows, damaged and empty frames get a Reject."""

    async def act(_: Any, open_client: Any) -> None:
        client = await open_client()
        await client.login(plant)
        elsewhere = REQUESTS_ELSEWHERE[plant]
        template_id, refused = await client.ask(elsewhere, user_msg=["x"])
        assert (template_id, list(refused.rp_code), list(refused.user_msg)) == (elsewhere + 1, BAD_INPUT, ["x"])
        unknown = encode(18)[:3] + bytes((0xFF, 0x7F))
        for body in (unknown, b"\xff\xff\xff", b"no protobuf message", encode(18)[3:]):
            await client.send_raw(len(body).to_bytes(4, "big") + body)
            template_id, rejected = await client.receive()
            assert (template_id, list(rejected.rp_code)) == (75, BAD_INPUT)
        for frame in (b"", b"\x00\x00", encode(18)):
            await client.send_raw(frame)
            assert (await client.receive())[0] == 75
        await client.send(10, user="somebody", infra_type=int(plant))
        assert (await client.ask(18))[0] == 19
        await client.send_raw("text")
        assert (await client.receive())[0] == 75
        assert await client.closed() == 1003
        large = await open_client()
        await large.login(plant)
        await large.send_raw(bytes(FRAME_BYTES_MAX + 1))
        assert await large.closed() == 1009

    scenario(tmp_path, act)


def test_request_before_the_login_is_rejected(tmp_path: Path) -> None:
    """A Reject with the code that was seen and the request's user_msg; the login works afterwards."""

    async def act(_: Any, open_client: Any) -> None:
        client = await open_client()
        for request_id in (100, 312, 202, 402, 500, 18, 12, 14):
            template_id, rejected = await client.ask(request_id, user_msg=["early"])
            assert (template_id, list(rejected.rp_code), list(rejected.user_msg)) == (75, NOT_LOGGED_IN, ["early"])
        assert list((await client.login(TICKER)).rp_code) == ["0"]

    scenario(tmp_path, act)


MISSING = {
    "firm of an account list": (ORDER, 302, {"user_type": 3}, 303, "1039"),
    "user type of an account list": (ORDER, 302, FIRM, 303, "1041"),
    "firm of an account list of the pnl plant": (PNL, 302, {"user_type": 3}, 303, "1039"),
    "firm of position updates": (PNL, 400, {"account_id": "SIM-1", "request": 1}, 401, "1039"),
    "firm of a position image": (PNL, 402, {"account_id": "SIM-1"}, 403, "1039"),
    "request of position updates": (PNL, 400, ACCOUNT, 401, "6"),
    "symbol of time bars": (HISTORY, 202, {}, 203, "1003"),
    "start of time bars": (HISTORY, 202, ES | {"finish_index": 2}, 203, "1013"),
    "finish of time bars": (HISTORY, 202, ES | {"start_index": 1}, 203, "1014"),
    "type of time bars": (HISTORY, 202, ES | {"start_index": 1, "finish_index": 2}, 203, "6"),
    "symbol of tick bars": (HISTORY, 206, {}, 207, "1003"),
    "start of tick bars": (HISTORY, 206, ES | {"finish_index": 2}, 207, "1013"),
    "finish of tick bars": (HISTORY, 206, ES | {"start_index": 1}, 207, "1014"),
    "type of tick bars": (HISTORY, 206, ES | {"start_index": 1, "finish_index": 2}, 207, "6"),
    "symbol of volume profiles": (HISTORY, 208, {}, 209, "1003"),
    "start of volume profiles": (HISTORY, 208, ES | {"finish_index": 2}, 209, "1013"),
    "finish of volume profiles": (HISTORY, 208, ES | {"start_index": 1}, 209, "1014"),
    "key of a resumption": (HISTORY, 210, {}, 211, "6"),
    "symbol of live time bars": (HISTORY, 200, {"request": 1, "bar_type": 1}, 201, "1003"),
    "type of live time bars": (HISTORY, 200, ES | {"request": 1}, 201, "6"),
    "request of live time bars": (HISTORY, 200, ES | {"bar_type": 1}, 201, "6"),
    "symbol of live tick bars": (HISTORY, 204, {"request": 1, "bar_type": 1}, 205, "1003"),
    "type of live tick bars": (HISTORY, 204, ES | {"request": 1}, 205, "6"),
    "request of live tick bars": (HISTORY, 204, ES | {"bar_type": 1}, 205, "6"),
    "agreement to show": (REPOSITORY, 506, {}, 507, "6"),
    "agreement to accept": (REPOSITORY, 504, {}, 505, "6"),
    "agreement to certify": (REPOSITORY, 508, {"market_data_usage_capacity": "Professional"}, 509, "6"),
}
"""What is missing: (plant, request, fields, answer, code)."""


@pytest.mark.parametrize("plant", [ORDER, HISTORY, PNL, REPOSITORY])
def test_missing_mandatory_field_has_its_code(plant: Plant, tmp_path: Path) -> None:
    """One frame, with the code that the sources name, or 6 where they name none."""

    async def act(_: Any, open_client: Any) -> None:
        client = await open_client()
        assert (await client.login(plant, template_version=None)).rp_code[0] == "1084"
        await client.login(plant)
        for what, (its_plant, request_id, fields, answer_id, code) in MISSING.items():
            if its_plant is plant:
                template_id, refused = await client.ask(request_id, **fields)
                assert (template_id, refused.rp_code[0], len(refused.rp_code)) == (answer_id, code, 2), what

    scenario(tmp_path, act)


def test_gateway_info_names_the_address_and_closes_the_socket(tmp_path: Path) -> None:
    """21 has lists of names and addresses, or code 7; it is served as a socket's first request only."""

    async def act(exchange: Any, open_client: Any) -> None:
        client = await open_client()
        template_id, info = await client.ask(20, system_name=SYSTEM, user_msg=["g"])
        assert (template_id, list(info.rp_code), info.system_name) == (21, ["0"], SYSTEM)
        assert (len(info.gateway_name), list(info.gateway_uri)) == (1, [exchange.url])
        assert await client.closed() == 1000
        other = await open_client()
        assert list((await other.ask(20, system_name="Rithmic 01"))[1].rp_code) == ["7", "no data"]
        assert await other.closed() == 1000
        late = await open_client()
        assert list((await late.login(TICKER, password="wrong")).rp_code) == DENIED
        assert list((await late.ask(20, system_name=SYSTEM))[1].rp_code) == BAD_INPUT
        assert list((await late.login(TICKER)).rp_code) == ["0"]

    scenario(tmp_path, act)


def test_frames_without_length_can_be_forbidden(tmp_path: Path) -> None:
    """In the strict mode a frame without the length before it gets a Reject, which has one."""

    async def act(_: Any, open_client: Any) -> None:
        client = await open_client()
        await client.send_raw(encode(16))
        assert (await client.receive())[0] == 75
        assert (await client.ask(16))[0] == 17

    scenario(tmp_path, act, is_prefix_required=True)


def test_framing_is_told_by_the_first_message_not_by_noise(tmp_path: Path) -> None:
    """An empty or a damaged frame before it decides nothing."""

    async def act(_: Any, open_client: Any) -> None:
        client = await open_client()
        for noise in (b"", b"\x00\x00\x00\x02\xff\xff"):
            await client.send_raw(noise)
            assert (await client.receive())[0] == 75
        assert list((await client.login(TICKER)).rp_code) == ["0"]

    scenario(tmp_path, act)


def test_login_over_the_limit_ends_the_oldest_session(tmp_path: Path) -> None:
    """The oldest of the same user and plant gets 77 and is closed with 1011; other plants and users stay."""
    users = (User("a", "x", ("A-1",), sessions_per_plant_max=2), User("b", "y", ("B-1",), sessions_per_plant_max=1))

    async def act(exchange: Any, open_client: Any) -> None:
        clients = [await open_client() for _ in range(5)]
        await clients[0].login(ORDER, user="a", password="x")
        await clients[1].login(TICKER, user="b", password="y")
        for client in clients[2:4]:
            await client.login(TICKER, user="a", password="x")
        assert list((await clients[4].login(TICKER, user="a", password="x")).rp_code) == ["0"]
        assert (await clients[2].receive())[0] == 77
        assert await clients[2].closed() == 1011
        for client in (clients[0], clients[1], clients[3], clients[4]):
            assert (await client.ask(18))[0] == 19
        await wait_until_async(lambda: len(exchange.sessions) == 4)

    scenario(tmp_path, act, users=users)


def test_login_over_the_limit_can_be_refused(tmp_path: Path) -> None:
    """Code 13 and nothing else; once a session has ended the next login has room."""
    user = User("a", "x", ("A-1",), sessions_per_plant_max=1, is_refused_over_limit=True)

    async def act(exchange: Any, open_client: Any) -> None:
        first, second = await open_client(), await open_client()
        await first.login(TICKER, user="a", password="x")
        assert list((await second.login(TICKER, user="a", password="x")).rp_code) == DENIED
        assert list((await second.login(HISTORY, user="a", password="x")).rp_code) == ["0"]
        await first.ask(12)
        await wait_until_async(lambda: len(exchange.sessions) == 1)
        third = await open_client()
        assert list((await third.login(TICKER, user="a", password="x")).rp_code) == ["0"]

    scenario(tmp_path, act, users=(user,))


def test_users_see_their_own_accounts_alone(tmp_path: Path) -> None:
    """Two users at once: each has its accounts, and the other's are refused with code 1088."""
    users = (User("a", "x", ("A-1", "A-2")), User("b", "y", ("B-1",)))

    async def act(_: Any, open_client: Any) -> None:
        mine, other = await open_client(), await open_client()
        await mine.login(PNL, user="a", password="x")
        await other.login(PNL, user="b", password="y")
        for account_id in ("A-1", "A-2"):
            frames = await mine.ask_all(402, **FIRM, account_id=account_id)
            assert [(t, m.account_id if t == 451 else "") for t, m in frames] == [(451, account_id), (403, "")]
        assert list((await other.ask(402, **FIRM, account_id="A-1"))[1].rp_code) == NO_ACCOUNT
        accounts = await mine.ask_all(302, **FIRM, user_type=3)
        assert [m.account_id for _, m in accounts[:-1]] == ["A-1", "A-2"]

    scenario(tmp_path, act, users=users)


def test_history_without_its_entitlement_is_denied(tmp_path: Path) -> None:
    """The login is not refused; each request of the plant is, in its own answer."""
    user = User("a", "x", ("A-1",), entitlements=ENTITLEMENTS - {"history"})

    async def act(_: Any, open_client: Any) -> None:
        client = await open_client()
        assert list((await client.login(HISTORY, user="a", password="x")).rp_code) == ["0"]
        for request_id in (200, 202, 204, 206, 208, 210):
            template_id, refused = await client.ask(request_id, user_msg=["h"])
            assert (template_id, list(refused.rp_code), list(refused.user_msg)) == (request_id + 1, DENIED, ["h"])

    scenario(tmp_path, act, users=(user,))


def test_entitlements_are_everything_unless_told() -> None:
    """A user of old settings may do all."""
    assert USER.entitlements == ENTITLEMENTS


def test_frames_behind_the_end_of_a_session_are_not_read(tmp_path: Path) -> None:
    """What a client had sent before it heard of its end neither acts nor logs it in again, and pushes nobody out."""
    user = User("a", "x", ("A-1",), sessions_per_plant_max=1)
    login = {"template_version": "3.9", "user": "a", "password": "x", "system_name": SYSTEM, "infra_type": int(ORDER)}

    async def act(exchange: Any, open_client: Any) -> None:
        first, second = await open_client(), await open_client()
        await first.login(ORDER, user="a", password="x")
        (ended,) = [each for each in exchange.sessions if each.plant is ORDER]
        await second.login(ORDER, user="a", password="x")
        frame = encode(10, **login)
        gateway.receive(ended, len(frame).to_bytes(4, "big") + frame)
        assert (ended.plant, ended.user) == (None, None)
        assert (await second.ask(18))[0] == 19

    scenario(tmp_path, act, users=(user,))


def test_name_of_a_refused_login_does_not_fill_the_log(tmp_path: Path) -> None:
    """An unknown user's name may be as long as a frame; the log has its beginning."""

    async def act(_: Any, open_client: Any) -> None:
        client = await open_client()
        with capture_logs() as logged:
            assert list((await client.login(ORDER, user="n" * 100_000)).rp_code) == DENIED
        (refused,) = [each for each in logged if each["event"] == "exchange_login_refused"]
        assert refused["user"] == "n" * gateway.LOGGED_NAME_MAX

    scenario(tmp_path, act)
