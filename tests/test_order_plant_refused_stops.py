"""How loud a refusal of the broker is: an entry's is a warning, that of a stop is an error."""

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from nightdesk.messages import OrderRejected, OrderType, Severity, Side
from tests.order_plant_support import FakePeer, FakeSession, Plant, answer, complete, notice, submit, turns
from tests.risk_plant_support import bought, play, risk
from tests.test_order_plant_protection import bracket

STOP: dict[str, Any] = {"side": Side.SELL, "order_type": OrderType.STOP_MARKET, "price": None, "trigger_price": 4980.0}


def refused_in_the_answer(body: Plant, tag: str, basket: str) -> None:
    """The gateway does not take it at all."""
    body.on_push(313, answer(313, user_tag=tag, rq_handler_rp_code=["3"], rp_code=["3", "no such order type"]))


def refused_in_a_report(body: Plant, tag: str, basket: str) -> None:
    """The gateway has it, and the exchange does not."""
    body.on_push(313, answer(313, user_tag=tag, basket_id=basket, rq_handler_rp_code=["0"]))
    body.on_push(351, complete(tag, basket, "FA", 0, 2, transaction_type=2, report_text="wrong side"))


def refusals(body: Plant) -> list[tuple[Severity, str]]:
    """The alerts about refused orders."""
    alerts = body.context.alerts  # type: ignore[attr-defined]
    return [(each.severity, each.text) for each in alerts if each.event == "order_rejected"]


@pytest.mark.parametrize("refused", [refused_in_the_answer, refused_in_a_report])
@pytest.mark.parametrize(("protective", "severity"), [(False, Severity.WARNING), (True, Severity.ERROR)])
def test_refused_stop_of_a_position_is_an_error_and_a_refused_entry_a_warning(
    tmp_path: Path, refused: Any, protective: bool, severity: Severity
) -> None:
    """In the alert and in the line of the log; the alert says that it was to protect."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        body.say(peer, submit("s1", epoch, **{**STOP, "protective": protective}))
        await turns()
        with capture_logs() as lines:
            refused(body, "s1", "b-s1")
        assert len(peer.of(OrderRejected)) == 1
        ((told, text),) = refusals(body)
        assert told is severity
        assert ("protective SELL" in text) is protective
        assert [line["log_level"] for line in lines if line["event"] == "order_rejected"] == [severity.value]

    play(tmp_path, scene, risk())


def test_refused_stop_of_a_bracket_is_an_error(tmp_path: Path) -> None:
    """No process of the strategy sent it: the server made it, and the exchange did not take it."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bracket(body, peer, epoch)
        child = {"original_basket_id": "b-entry", "linked_basket_ids": "b-child,b-other", "transaction_type": 2}
        terms = {"price_type": 4, "orig_price_type": 4, "price": 0.0, "trigger_price": 4995.0, "quantity": 2}
        body.on_push(351, notice(351, 18, "", "b-child", **child, **terms, total_unfilled_size=2))
        body.on_push(351, complete("", "b-child", "FA", 0, 2, **child, report_text="price beyond"))
        ((told, text),) = refusals(body)
        assert told is Severity.ERROR
        assert "price beyond" in text

    play(tmp_path, scene, risk())
