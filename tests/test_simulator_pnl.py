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


def position(**changed: Any) -> PositionState:
    """A contract in which nothing was traded and nothing works, with changes."""
    fields: dict[str, Any] = {
        "account_id": "SIM-1", "symbol": "ESH4", "exchange": "CME", "net_quantity": 0, "average_price": 0.0,
        "buy_quantity": 0, "sell_quantity": 0, "realized_pnl": 0.0, "unrealized_pnl": 0.0, "commission": 0.0,
        "working_buy_quantity": 0, "working_sell_quantity": 0,
    }  # fmt: skip
    return PositionState(**(fields | changed))


NO_OPTIONS = {
    "open_long_options_value": "0.00",
    "open_short_options_value": "0.00",
    "closed_options_value": "0.00",
    "option_cash_reserved": "0.00",
}
NOTHING_WORKS = {"order_buy_qty": 0, "order_sell_qty": 0}
NO_OFFSETS = {"day_open_pnl_offset": 0.0, "day_closed_pnl_offset": 0.0}

LONG = position(net_quantity=1, average_price=0.6743, day_buy_quantity=1, day_commission=0.6)
SHORT = position(
    net_quantity=-1,
    average_price=0.6741,
    unrealized_pnl=-1.0,
    day_buy_quantity=1,
    day_sell_quantity=2,
    day_realized_pnl=-2.0,
    day_commission=1.8,
)
SHORT_OF_MANY = position(
    net_quantity=-3,
    average_price=20457.41666667,
    unrealized_pnl=-11.0,
    day_buy_quantity=80,
    day_sell_quantity=83,
    day_realized_pnl=-246.5,
)
LONG_QUANTITIES = {
    "fill_buy_qty": 1, "fill_sell_qty": 0, "buy_qty": 1, "sell_qty": -1, "open_position_quantity": 1,
    "closed_position_quantity": 0, "net_quantity": 1,
}  # fmt: skip
SHORT_QUANTITIES = {
    "fill_buy_qty": 1, "fill_sell_qty": 2, "buy_qty": -1, "sell_qty": 1, "open_position_quantity": 1,
    "closed_position_quantity": 2, "net_quantity": -1,
}  # fmt: skip
SHORT_OF_MANY_QUANTITIES = {
    "fill_buy_qty": 80, "fill_sell_qty": 83, "buy_qty": -3, "sell_qty": 3, "open_position_quantity": 3,
    "closed_position_quantity": 160, "net_quantity": -3,
}  # fmt: skip


@pytest.mark.parametrize(
    ("state", "quantities", "average", "opened", "closed"),
    [
        (LONG, LONG_QUANTITIES, 0.6743, 0.0, 0.0),
        (SHORT, SHORT_QUANTITIES, 0.6741, -1.0, -2.0),
        (SHORT_OF_MANY, SHORT_OF_MANY_QUANTITIES, 20457.41666667, -11.0, -246.5),
    ],
)
def test_position_update_is_the_captured_one(
    state: PositionState, quantities: dict[str, int], average: float, opened: float, closed: float
) -> None:
    """450 of three live positions: which values are numbers and which text, what closed contracts count, zeros."""
    template_id, message = decode(instrument_update(state, START_NS + 5000, is_snapshot=True))
    assert template_id == 450
    assert fields(message) == ACCOUNT | ES | quantities | NO_OPTIONS | NOTHING_WORKS | NO_OFFSETS | {
        "is_snapshot": True,
        "product_code": "ES",
        "instrument_type": "Future",
        "avg_open_fill_price": average,
        "day_open_pnl": opened,
        "day_closed_pnl": closed,
        "day_pnl": opened + closed,
        "mtm_security": f"{opened + closed:.2f}",
        "open_position_pnl": f"{opened:.2f}",
        "closed_position_pnl": f"{closed:.2f}",
        "ssboe": START_S,
        "usecs": 5,
    }
    assert "is_snapshot" not in fields(decode(instrument_update(state, START_NS))[1])


CAPTURED_MONEY = {
    "long": (
        LONG, -1.0, "0.60",
        LONG_QUANTITIES | {
            "account_balance": "49998.40", "cash_on_hand": "50000.00", "open_position_pnl": "-1.00",
            "closed_position_pnl": "0.00", "percent_maximum_allowable_loss": "0.16", "mtm_account": "-1.60",
            "day_open_pnl": "-1.00", "day_closed_pnl": "0.00", "day_pnl": "-1.60",
        },
    ),
    "short": (
        SHORT, -1.0, "1.80",
        SHORT_QUANTITIES | {
            "account_balance": "49995.20", "cash_on_hand": "50000.00", "open_position_pnl": "-1.00",
            "closed_position_pnl": "-2.00", "percent_maximum_allowable_loss": "0.48", "mtm_account": "-4.80",
            "day_open_pnl": "-1.00", "day_closed_pnl": "-2.00", "day_pnl": "-4.80",
        },
    ),
}  # fmt: skip
"""Of two live accounts that began the day with 50,000 and may lose 1,000: the position, the open profit, the
commission, and what their 451 said."""


@pytest.mark.parametrize("name", CAPTURED_MONEY)
def test_account_update_is_the_captured_one(name: str) -> None:
    """451: all amounts are text; balance and the day's profit are after commission and with what is open."""
    state, opened, commission, captured = CAPTURED_MONEY[name]
    terms = AccountTerms("SIM-1", 50_000.0, loss_limit=1000.0)
    balance = 50_000.0 + state.day_realized_pnl - float(commission)
    money = AccountState("SIM-1", balance, state.day_realized_pnl, opened, float(commission), day_start_balance=5e4)
    template_id, message = decode(account_update(money, [state], START_NS, terms=terms, is_snapshot=True))
    assert template_id == 451
    found = fields(message)
    margin = {name: found.pop(name) for name in list(found) if "margin" in name or "buying_power" in name}
    worth = captured["account_balance"]
    assert margin == {
        "margin_balance": worth, "min_margin_balance": "0.00", "excess_buy_margin": worth, "excess_sell_margin": worth,
        "available_buying_power": worth, "used_buying_power": "0.00", "reserved_buying_power": "0.00",
    }  # fmt: skip
    assert found == ACCOUNT | captured | NO_OPTIONS | NOTHING_WORKS | {
        "is_snapshot": True,
        "option_open_pnl": "0.00",
        "option_closed_pnl": "0.00",
        "min_account_balance": "0.00",
        "rms_account_commission": commission,
        "day_open_pnl_offset": "0.00",
        "day_closed_pnl_offset": "0.00",
        "ssboe": START_S,
        "usecs": 0,
    }


def test_working_orders_count_with_the_position_that_they_would_make() -> None:
    """buy_qty is the position if all working buys were filled, sell_qty the short one if all working sells were."""
    state = position(net_quantity=-2, working_buy_quantity=4, working_sell_quantity=1)
    found = fields(decode(instrument_update(state, START_NS))[1])
    assert {name: found[name] for name in ("order_buy_qty", "order_sell_qty", "buy_qty", "sell_qty")} == {
        "order_buy_qty": 4, "order_sell_qty": 1, "buy_qty": 2, "sell_qty": 3,
    }  # fmt: skip


def test_buying_power_is_the_worth_less_what_margin_takes() -> None:
    """Used by positions, reserved by working orders; the rest is available on both sides."""
    money = AccountState(
        "SIM-1", 100_134.0, 150.0, -37.5, 16.0, margin_used=24_000.0, margin_reserved=12_000.0, day_start_balance=1e5
    )
    terms = AccountTerms("SIM-1", 100_000.0, min_account_balance=5000.0)
    found = fields(decode(account_update(money, [], START_NS, terms=terms))[1])
    expected = {
        "account_balance": "100096.50", "margin_balance": "76096.50", "excess_buy_margin": "64096.50",
        "excess_sell_margin": "64096.50", "available_buying_power": "64096.50", "used_buying_power": "24000.00",
        "reserved_buying_power": "12000.00", "min_account_balance": "5000.00", "day_pnl": "96.50",
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("realized", "unrealized", "limit", "percent"),
    [(-200.0, -50.0, 1000.0, "25.00"), (200.0, 0.0, 1000.0, "0.00"), (-200.0, 0.0, 0.0, "0.00")],
)
def test_loss_is_told_as_part_of_its_limit(realized: float, unrealized: float, limit: float, percent: str) -> None:
    """Nothing lost, or no limit: nothing of it."""
    terms = AccountTerms("SIM-1", 0.0, loss_limit=limit)
    _, message = decode(account_update(AccountState("SIM-1", realized, realized, unrealized, 0.0), [], 0, terms=terms))
    assert message.percent_maximum_allowable_loss == percent


def test_amount_that_rounds_to_nothing_has_no_sign() -> None:
    """-0.00 would be text that no client expects."""
    _, message = decode(account_update(AccountState("SIM-1", -0.001, -0.001, -0.0, 0.0), [], 0))
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
        assert (flat[0][1].closed_position_pnl, flat[0][1].closed_position_quantity) == ("-12.50", 2)
        assert (flat[0][1].cash_on_hand, flat[0][1].account_balance) == ("100000.00", "99983.50")
        denied = await pnl.ask_all(402, **FIRM, account_id="other")
        assert [(t, list(m.rp_code)) for t, m in denied] == [(403, ["1088", "user has no permission to this account"])]

    scenario(tmp_path, act)


def test_day_begins_with_no_fills_and_the_balance_of_the_day_before(tmp_path: Path) -> None:
    """What was bought yesterday stays open; fills, closed profit and commission count from midnight UTC on."""

    async def act(exchange: Any, log_in: Any) -> None:
        add_liquidity(exchange.venue)
        pnl, orders = await log_in(PNL), await log_in(ORDER)
        await orders.ask_all(312, **ACCOUNT, **ES, **(MARKET | {"quantity": 2}))
        day_ns = 86_400 * 10**9
        tomorrow_ns = (exchange.now_ns() // day_ns + 1) * day_ns + 5 * 10**9
        exchange.now_ns = lambda: tomorrow_ns
        images = await pnl.ask_all(402, **ACCOUNT)
        assert [t for t, _ in images] == [450, 451, 403]
        for _, image in images[:2]:
            assert (image.fill_buy_qty, image.net_quantity, image.buy_qty) == (0, 2, 2)
        money = images[1][1]
        assert (money.cash_on_hand, money.day_pnl, money.rms_account_commission) == ("99996.00", "0.00", "0.00")
        await orders.ask_all(312, **ACCOUNT, **ES, **(MARKET | {"transaction_type": 2}))
        _, closed = (await pnl.ask_all(402, **ACCOUNT))[1]
        assert (closed.fill_sell_qty, closed.closed_position_quantity) == (1, 2)
        assert (closed.closed_position_pnl, closed.rms_account_commission) == ("-12.50", "2.00")

    scenario(tmp_path, act)


def test_orders_that_wait_or_go_are_told_to_those_who_follow_positions(tmp_path: Path) -> None:
    """A stop, an order for later and a limit order count as working within a second, and no longer when canceled."""
    kinds: list[dict[str, Any]] = [
        {"price_type": 1, "price": 4990.0},
        {"price_type": 4, "trigger_price": 5010.0},
        {"price_type": 1, "price": 4990.0, "release_at_ssboe": 2_000_000_000},
    ]

    async def act(exchange: Any, log_in: Any) -> None:
        add_liquidity(exchange.venue)
        pnl, orders = await log_in(PNL), await log_in(ORDER)
        await pnl.ask(400, **ACCOUNT, request=1)
        for kind in kinds:
            _, accepted = (await orders.ask_all(312, **ACCOUNT, **ES, **(MARKET | kind)))[0]
            assert await working(pnl) == 1, kind
            await orders.ask_all(316, **ACCOUNT, basket_id=accepted.basket_id)
            assert await working(pnl) == 0, kind

    async def working(pnl: RawClient) -> int:
        (first, position), (second, money) = await pnl.receive(), await pnl.receive()
        assert (first, second) == (450, 451)
        assert position.order_buy_qty == money.order_buy_qty
        return int(position.order_buy_qty)

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
