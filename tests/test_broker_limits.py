"""What the broker says of its own limits and of the account's money, and who is told."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from actors.plants.margin_watch import AGAIN_S, MarginWatch
from nightdesk.clocks import ManualClock
from nightdesk.errors import LinkError
from nightdesk.messages import Denial, OrderRejected, Side
from nightdesk.rithmic.library import TEMPLATES
from nightdesk.rithmic.limits import decode_limits, decode_money
from nightdesk.rithmic.session import RequestRefused
from nightdesk.trading.risk_terms import BrokerLimits
from tests.fakes import FakeContext
from tests.order_plant_support import ACCOUNT_ID, FakePeer, FakeSession, Plant, answer, complete, notice, submit, turns
from tests.risk_plant_support import alerts, begun, code, kill, play


def limits(**fields: Any) -> Any:
    """305."""
    return TEMPLATES[305](template_id=305, **({"account_id": ACCOUNT_ID} | fields))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, BrokerLimits()),
        (
            {"buy_limit": 3, "sell_limit": 2, "max_order_quantity": 5, "loss_limit": 1000.5, "presence_bits": 15},
            BrokerLimits(max_order_quantity=5, buy_limit=3, sell_limit=2, loss_limit_micros=1_000_500_000),
        ),
        # A value whose bit is not set is none of its limits; without any bit at all the values count.
        ({"buy_limit": 3, "sell_limit": 2, "presence_bits": 1}, BrokerLimits(buy_limit=3)),
        ({"buy_limit": 3, "sell_limit": 2}, BrokerLimits(buy_limit=3, sell_limit=2)),
        ({"buy_limit": 0, "max_order_quantity": -1, "presence_bits": 15}, BrokerLimits()),
        ({"loss_limit": float("nan")}, BrokerLimits()),
        ({"loss_limit": float("inf")}, BrokerLimits()),
    ],
)
def test_limits_of_the_wire(fields: dict[str, Any], expected: BrokerLimits) -> None:
    """Zero is no limit, and what cannot be one is none."""
    assert decode_limits(limits(**fields)) == expected


def test_each_login_reads_them_anew_and_they_hold_at_once(tmp_path: Path) -> None:
    """At the limit an order passes, beyond it it does not; a broker that has tightened them is believed."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        assert await code(body, peer, epoch, "free", quantity=5) is None
        for most in (4, 3):
            body.link_down()
            second = FakeSession(body)
            second.limits = limits(max_order_quantity=most, presence_bits=8)
            body.session = second  # type: ignore[assignment]
            await body.on_link_up(second)  # type: ignore[arg-type]
            body.account.reconciling = False
            assert [template for template, _ in second.requests].count(304) == 1
            assert await code(body, peer, epoch, f"at {most}", quantity=most, price=4000.0 + most) is None
            assert await code(body, peer, epoch, f"over {most}", quantity=most + 1) is Denial.RISK_BROKER_LIMIT
            # However large it is, an exit is one.
            assert await code(body, peer, epoch, f"sell {most}", quantity=1, side=Side.SELL, price=6000.0) is None

    play(tmp_path, scene)


@pytest.mark.parametrize("how", ["empty", "another account", "refused"])
def test_answer_without_our_account_is_no_answer(tmp_path: Path, how: str) -> None:
    """What was known before holds on, and a person is told, once."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.account.risk.book.broker = BrokerLimits(max_order_quantity=1)
        for _ in range(2):
            body.link_down()
            second = FakeSession(body)
            second.limits = limits(account_id="B") if how == "another account" else None
            if how == "refused":
                ask = second.request

                async def refuse(template_id: int, *, ask: Any = ask, **fields: Any) -> list[Any]:
                    if template_id == 304:
                        raise RequestRefused("13", "permission denied")
                    found: list[Any] = await ask(template_id, **fields)
                    return found

                second.request = refuse  # type: ignore[assignment]
            body.session = second  # type: ignore[assignment]
            await body.on_link_up(second)  # type: ignore[arg-type]
        body.account.reconciling = False
        assert await code(body, peer, epoch, quantity=2) is Denial.RISK_BROKER_LIMIT
        assert len(alerts(body, "broker_limits_unknown")) == 1

    play(tmp_path, scene)


def test_login_without_an_answer_fails(tmp_path: Path) -> None:
    """Nobody knows whether there are limits: the link is tried anew, as for any question at a login."""

    async def run() -> None:
        body = await begun(tmp_path)
        session = FakeSession(body)
        ask = session.request

        async def silent(template_id: int, **fields: Any) -> list[Any]:
            if template_id == 304:
                raise LinkError("no answer")
            found: list[Any] = await ask(template_id, **fields)
            return found

        session.request = silent  # type: ignore[method-assign]
        with pytest.raises(LinkError):
            await body.on_link_up(session)  # type: ignore[arg-type]
        assert not body.account.connected
        await kill(body)

    asyncio.run(run())


def money(**texts: str) -> Any:
    """451 as our own struct."""
    return decode_money(TEMPLATES[451](template_id=451, account_id=ACCOUNT_ID, **texts))


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({}, ""),
        ({"margin_balance": "", "min_margin_balance": "x", "available_buying_power": "nan"}, ""),
        ({"margin_balance": "999.99", "min_margin_balance": "1000.00"}, "margin balance 999.99 is below"),
        ({"margin_balance": "1000.00", "min_margin_balance": "1000.00"}, ""),
        ({"margin_balance": "-5.00", "min_margin_balance": "0.00"}, ""),
        ({"account_balance": "499.00", "min_account_balance": "500.00"}, "account balance 499.00 is below"),
        ({"percent_maximum_allowable_loss": "79.99"}, ""),
        ({"percent_maximum_allowable_loss": "80.00"}, "80 % of the broker's loss limit"),
        ({"available_buying_power": "201", "used_buying_power": "400", "reserved_buying_power": "399"}, ""),
        ({"available_buying_power": "200", "used_buying_power": "400", "reserved_buying_power": "400"}, "80 % of the"),
        ({"available_buying_power": "-1", "used_buying_power": "5"}, "100 % of the buying power"),
        ({"available_buying_power": "0.00", "used_buying_power": "0.00", "reserved_buying_power": "0.00"}, ""),
    ],
)
def test_money_that_becomes_short_is_told(texts: dict[str, str], words: str) -> None:
    """By the broker's figures; what it does not say is no shortage."""
    context = FakeContext("plants/pnl")
    MarginWatch(context).on_money(money(**texts))
    told = [alert.text for alert in context.alerts]
    assert [alert.event for alert in context.alerts] == ["margin_warning"] * bool(words)
    assert all(words in text and ACCOUNT_ID in text for text in told)


def test_shortage_is_told_once_until_it_is_over() -> None:
    """Its figures change with each report, and go to and fro about the threshold with each quote."""
    clock = ManualClock()
    context = FakeContext("plants/pnl", clock=clock)
    watch = MarginWatch(context)
    for percent in ("80.00", "85.50", "50.00", "81.00", "50.00", "90.00"):
        watch.on_money(money(percent_maximum_allowable_loss=percent))
        clock.advance(AGAIN_S - 1)
    assert len(context.alerts) == 1
    watch.on_money(money(percent_maximum_allowable_loss="95.00"))
    assert len(context.alerts) == 1
    clock.advance(AGAIN_S)
    for percent in ("50.00", "90.00"):
        watch.on_money(money(percent_maximum_allowable_loss=percent))
    assert len(context.alerts) == 2


def test_words_of_the_broker_about_margin_are_told(tmp_path: Path) -> None:
    """A warning beside an order that goes on, and a refusal; the same words again after a minute."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("o1", epoch))
        await turns()
        body.on_push(313, answer(313, user_tag="o1", basket_id="b1", rq_handler_rp_code=["0"]))
        for percent in (85, 86, 85):
            body.on_push(352, notice(352, 9, "o1", "b1", report_type="generic", text=f"Margin warning - {percent} %"))
        assert alerts(body, "margin_warning") == ["the broker says: Margin warning - 85 %"]
        body.context.clock.advance(AGAIN_S)  # type: ignore[attr-defined]
        body.on_push(352, notice(352, 9, "o1", "b1", report_type="generic", text="Margin warning - 85 %"))
        assert len(alerts(body, "margin_warning")) == 2
        refusal = "Rejected at RMS - Available margin exhausted"
        body.on_push(351, complete("o1", "b1", "FA", 0, 2, report_text=refusal))
        assert alerts(body, "margin_warning")[-1] == f"the broker says: {refusal}"
        assert len(peer.of(OrderRejected)) == 1

    play(tmp_path, scene)
