"""The pnl and repository plants on the wire: every field of 450 and 451, who gets them, and agreements."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from nightdesk.simulator.model import AccountState, AccountTerms, PositionState
from nightdesk.simulator.plants.pnl import account_update, instrument_update
from nightdesk.simulator.wire.session import User
from nightdesk.simulator.wire.templates import decode
from tests.history_support import fields
from tests.simulator_support import ACCOUNT, FIRM, START_NS, USER, RawClient, add_liquidity, running_exchange

ORDER, PNL, REPOSITORY = 2, 4, 5
ES = {"symbol": "ESH4", "exchange": "CME"}
MARKET = {"quantity": 1, "transaction_type": 1, "duration": 1, "price_type": 2, "trade_route": "simulator"}
START_S = START_NS // 10**9
Act = Callable[[Any, Callable[..., Awaitable[RawClient]]], Awaitable[None]]


def scenario(folder: Path, act: Act, **options: Any) -> None:
    """Run ``act(exchange, log_in)``; ``log_in(plant)`` gives a client of a plant."""

    async def whole() -> None:
        async with running_exchange(folder, **options) as (exchange, server):

            async def log_in(plant: int, user: User = USER) -> RawClient:
                client = await RawClient.open(folder, server)
                answer = await client.login(plant, user=user.name, password=user.password)
                assert list(answer.rp_code) == ["0"]
                return client

            await act(exchange, log_in)

    asyncio.run(asyncio.wait_for(whole(), 20.0))


POSITION = PositionState(
    account_id="SIM-1",
    symbol="ESH4",
    exchange="CME",
    net_quantity=-2,
    average_price=5000.125,
    buy_quantity=3,
    sell_quantity=5,
    realized_pnl=150.0,
    unrealized_pnl=-37.5,
    commission=16.0,
    working_buy_quantity=4,
    working_sell_quantity=1,
)
MONEY = AccountState("SIM-1", 100_134.0, 150.0, -37.5, 16.0, margin_used=24_000.0, margin_reserved=12_000.0)
NO_OPTIONS = {
    "open_long_options_value": "0.00",
    "open_short_options_value": "0.00",
    "closed_options_value": "0.00",
    "option_cash_reserved": "0.00",
}
QUANTITIES = {
    "fill_buy_qty": 3,
    "fill_sell_qty": 5,
    "order_buy_qty": 4,
    "order_sell_qty": 1,
    "buy_qty": 7,
    "sell_qty": 6,
    "open_position_quantity": 2,
    "closed_position_quantity": 3,
    "net_quantity": -2,
}


def test_position_update_has_these_fields() -> None:
    """450: prices and day values are numbers, other money is text; zeros are there; no day_realized_pnl exists."""
    template_id, message = decode(instrument_update(POSITION, START_NS + 5000))
    assert template_id == 450
    assert fields(message) == ACCOUNT | ES | QUANTITIES | NO_OPTIONS | {
        "product_code": "ES",
        "instrument_type": "Future",
        "avg_open_fill_price": 5000.125,
        "day_open_pnl": -37.5,
        "day_closed_pnl": 150.0,
        "day_pnl": 112.5,
        "day_open_pnl_offset": 0.0,
        "day_closed_pnl_offset": 0.0,
        "mtm_security": "112.50",
        "open_position_pnl": "-37.50",
        "closed_position_pnl": "150.00",
        "ssboe": START_S,
        "usecs": 5,
    }
    assert fields(decode(instrument_update(POSITION, START_NS, is_snapshot=True))[1])["is_snapshot"] is True


def test_account_update_has_these_fields() -> None:
    """451: every amount is text; buying power is what the account is worth less the margin used and reserved."""
    terms = AccountTerms("SIM-1", 100_000.0, loss_limit=1000.0, min_account_balance=5000.0)
    template_id, message = decode(account_update(MONEY, [POSITION], START_NS, terms=terms, is_snapshot=True))
    assert template_id == 451
    assert fields(message) == ACCOUNT | QUANTITIES | NO_OPTIONS | {
        "is_snapshot": True,
        "option_open_pnl": "0.00",
        "option_closed_pnl": "0.00",
        "rms_account_commission": "16.00",
        "open_position_pnl": "-37.50",
        "closed_position_pnl": "150.00",
        "account_balance": "100134.00",
        "cash_on_hand": "100134.00",
        "min_account_balance": "5000.00",
        "margin_balance": "76096.50",
        "min_margin_balance": "0.00",
        "excess_buy_margin": "64096.50",
        "excess_sell_margin": "64096.50",
        "available_buying_power": "64096.50",
        "used_buying_power": "24000.00",
        "reserved_buying_power": "12000.00",
        "percent_maximum_allowable_loss": "0.00",
        "mtm_account": "112.50",
        "day_open_pnl": "-37.50",
        "day_closed_pnl": "150.00",
        "day_pnl": "112.50",
        "day_open_pnl_offset": "0.00",
        "day_closed_pnl_offset": "0.00",
        "ssboe": START_S,
        "usecs": 0,
    }


@pytest.mark.parametrize(
    ("realized", "unrealized", "limit", "percent"),
    [(-200.0, -50.0, 1000.0, "25.00"), (200.0, 0.0, 1000.0, "0.00"), (-200.0, 0.0, 0.0, "0.00")],
)
def test_loss_is_told_as_part_of_its_limit(realized: float, unrealized: float, limit: float, percent: str) -> None:
    """Nothing lost, or no limit: nothing of it."""
    terms = AccountTerms("SIM-1", 0.0, loss_limit=limit)
    _, message = decode(account_update(AccountState("SIM-1", 0.0, realized, unrealized, 0.0), [], 0, terms=terms))
    assert message.percent_maximum_allowable_loss == percent


def test_amount_that_rounds_to_nothing_has_no_sign() -> None:
    """-0.00 would be text that no client expects."""
    _, message = decode(account_update(AccountState("SIM-1", 0.0, -0.001, -0.0, 0.0), [], 0))
    assert (message.day_closed_pnl, message.day_open_pnl, message.day_pnl) == ("0.00", "0.00", "0.00")


def test_money_alone_can_be_asked_for(tmp_path: Path) -> None:
    """With rms_updates_only a fill brings 451 and no 450; another 400 without it brings both; UNSUBSCRIBE neither."""

    async def act(exchange: Any, log_in: Any) -> None:
        add_liquidity(exchange.venue)
        pnl, orders = await log_in(PNL), await log_in(ORDER)
        for wanted, templates in (({"rms_updates_only": True}, [451]), ({}, [450, 451])):
            assert list((await pnl.ask(400, **ACCOUNT, request=1, **wanted))[1].rp_code) == ["0"]
            await orders.send(312, **ACCOUNT, **ES, **MARKET)
            assert [(await pnl.receive())[0] for _ in templates] == templates
        await pnl.ask(400, **ACCOUNT, request=2)
        await orders.ask_all(312, **ACCOUNT, **ES, **MARKET)
        assert (await pnl.ask(18))[0] == 19

    scenario(tmp_path, act)


def test_image_has_open_positions_alone(tmp_path: Path) -> None:
    """What was closed again is not in the image; its profit is in the 451, which is always there."""

    async def act(exchange: Any, log_in: Any) -> None:
        add_liquidity(exchange.venue)
        pnl, orders = await log_in(PNL), await log_in(ORDER)
        await orders.ask_all(312, **ACCOUNT, **ES, **MARKET)
        assert [t for t, _ in await pnl.ask_all(402, **ACCOUNT)] == [450, 451, 403]
        await orders.ask_all(312, **ACCOUNT, **ES, **(MARKET | {"transaction_type": 2}))
        flat = await pnl.ask_all(402, **ACCOUNT)
        assert [t for t, _ in flat] == [451, 403]
        assert (flat[0][1].closed_position_pnl, flat[0][1].closed_position_quantity) == ("-12.50", 1)
        denied = await pnl.ask_all(402, **FIRM, account_id="other")
        assert [(t, list(m.rp_code)) for t, m in denied] == [(403, ["13", "permission denied"])]

    scenario(tmp_path, act)


def test_agreements_are_listed_shown_and_accepted(tmp_path: Path) -> None:
    """Each user has one to accept and one accepted; what is accepted stays so for the run and for that user alone."""
    other = User("other", "x", ("SIM-1",))

    async def act(_: Any, log_in: Any) -> None:
        client = await log_in(REPOSITORY)
        listed = [fields(m) for _, m in await client.ask_all(500)]
        assert listed == [
            FIRM
            | {
                "rq_handler_rp_code": ["0"],
                "agreement_title": "Market Data Self-Certification",
                "agreement_id": "2",
                "agreement_acceptance_request": "self certification",
            },
            {"rp_code": ["0"]},
        ]
        (accepted, _) = [fields(m) for _, m in await client.ask_all(502)]
        assert accepted == FIRM | {
            "rq_handler_rp_code": ["0"],
            "agreement_acceptance_ssboe": 0,
            "agreement_acceptance_status": "Accepted",
            "agreement_acceptance_request": "accept",
            "agreement_title": "Nightdesk Simulator Terms of Use",
            "agreement_id": "1",
        }
        (shown, last) = [fields(m) for _, m in await client.ask_all(506, agreement_id="2")]
        assert (shown["agreement_status"], shown["agreement_mandatory_flag"]) == ("Not accepted", "true")
        assert shown["agreement"] in shown["agreement_html"]
        assert last == {"rp_code": ["0"]}
        assert fields((await client.ask(504, agreement_id="2"))[1]) == {"rp_code": ["0"]}
        again = await log_in(REPOSITORY)
        assert [list(m.rp_code) for _, m in await again.ask_all(500)] == [["7", "no data"]]
        accepted_ids = [m.agreement_id for _, m in (await again.ask_all(502))[:-1]]
        assert accepted_ids == ["1", "2"]
        stranger = await log_in(REPOSITORY, other)
        assert len(await stranger.ask_all(500)) == 2
        certified = {"agreement_id": "2", "market_data_usage_capacity": "Non-Professional"}
        assert fields((await stranger.ask(508, **certified))[1]) == {"rp_code": ["0"]}
        assert len(await stranger.ask_all(500)) == 1

    scenario(tmp_path, act, users=(USER, other))


AGREEMENT_REFUSALS: dict[str, tuple[int, dict[str, Any], str]] = {
    "no agreement of this id": (506, {"agreement_id": "99"}, "7"),
    "none to accept": (504, {"agreement_id": "99"}, "7"),
    "not a self-certification": (508, {"agreement_id": "1", "market_data_usage_capacity": "x"}, "6"),
    "no capacity": (508, {"agreement_id": "2"}, "6"),
    "an endless capacity": (508, {"agreement_id": "2", "market_data_usage_capacity": "x" * 65}, "6"),
}


def test_requests_about_agreements_that_cannot_be(tmp_path: Path) -> None:
    """One frame with the code; nothing is accepted by it."""

    async def act(_: Any, log_in: Any) -> None:
        client = await log_in(REPOSITORY)
        for what, (request_id, asked, code) in AGREEMENT_REFUSALS.items():
            frames = await client.ask_all(request_id, **asked)
            assert [(t, m.rp_code[0]) for t, m in frames] == [(request_id + 1, code)], what
        assert len(await client.ask_all(500)) == 2

    scenario(tmp_path, act)
