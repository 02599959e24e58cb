"""The whole system over a close at high speed: a strategy meets each denial of the calendar through its own methods."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from nightdesk.trading.sessions import NS_PER_S
from tests.calendar_support import at
from tests.e2e.agreement import agree
from tests.e2e.harness import INSTRUMENT, System, running, short_folder, sim_configuration, write_configuration
from tests.support import wait_until

NAME = "prober"
ENDED = "ESU6"
FLAT_S, CLOSE_S = (at(f"2026-11-24 {clock}") // NS_PER_S for clock in ("15:55", "16:00"))


def configuration(folder: Path) -> Path:
    """Two market minutes a second, begun shortly before a close; flat over the break, and a no-trade window."""
    shutil.copy(Path(__file__).with_name("session_prober.py"), folder)
    section = {
        "name": NAME,
        "class": "session_prober:SessionProber",
        "path": str(folder),
        "symbols": ["ESZ6", ENDED],
        "session": {"over_break": "flatten", "no_trade": [{"from": "15:45", "to": "15:55"}]},
    }
    exchange = {
        "start": "2026-11-24T15:05:00-06:00",
        "speed": 120.0,
        "quiet_speed": 600.0,
        "source": {"kind": "synthetic", "seed": 3, "ticks_per_second": 1.0},
    }
    instruments = [INSTRUMENT, {**INSTRUMENT, "symbol": ENDED}]
    content = sim_configuration(folder, strategies=[section], exchange=exchange, instruments=instruments)
    return write_configuration(folder, content)


def probes(system: System, **keys: Any) -> list[dict[str, Any]]:
    return system.events("probe", **keys)


@pytest.mark.chaos
def test_each_denial_of_the_calendar_reaches_the_strategy() -> None:
    """In before the window, denied in it; flat five minutes before the close; closed, pre-open, and open again."""
    with short_folder() as folder, running(configuration(folder)) as system:
        system.wait_for("probe", timeout_s=90, what="open", trade_date=20261125)
        wait_until(lambda: probes(system, what="in", how="filled BUY", phase="open"))
        system.wait_for("probe", what="early market order", how="SESSION_CLOSED")
        assert probes(system, what="start", trade_date=20261124)
        assert probes(system, what="close", trade_date=20261124, position=0)
        assert probes(system, what="ended contract", how="INSTRUMENT_EXPIRED")
        assert probes(system, what="market order", how="SESSION_CLOSED", phase="closed")
        assert probes(system, what="early limit order", how="SESSION_NO_TRADE", phase="pre_open")
        window = [each["at_s"] for each in probes(system, what="market order", how="SESSION_NO_TRADE", phase="open")]
        assert any(FLAT_S - 600 <= each < FLAT_S for each in window)
        exits = [each["at_s"] for each in probes(system, what="exit", how="filled SELL")]
        assert exits
        assert all(FLAT_S <= each < CLOSE_S for each in exits)
        system.wait_for("break_flatten_done", strategy_id=NAME)
        alerts = system.events("alert")
        # The embedded exchange goes on trading a contract that is over by the rules: a person is told of it alone.
        contradicted = [line["text"] for line in alerts if line["alert_event"] == "market_contradicts_calendar"]
        assert all(ENDED in text for text in contradicted), contradicted
        allowed = {"execution_fill", "order_denied", "market_data_refused", "market_contradicts_calendar"}
        assert {line["alert_event"] for line in alerts} <= allowed
        agree(system)
        assert system.stop() == 0
