"""From the settings to the exchange: users and what they may, history's limits, and a past that cannot be used."""

import textwrap
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import ValidationError

from nightdesk.clocks import ManualClock
from nightdesk.errors import ConfigurationError
from nightdesk.messages.enums import Side
from nightdesk.settings.models import Settings
from nightdesk.settings.runtime import RunConfiguration
from nightdesk.simulator.assembly import assemble
from nightdesk.simulator.engine import Exchange
from tests.market_support import new_order

HEAD = "ts_event_ns,open,high,low,close,volume\n"


def assembled(folder: Path, **exchange: Any) -> Exchange:
    """The exchange of these settings; its folders are made as a start makes them."""
    (folder / "s").mkdir(exist_ok=True)
    (folder / "r").mkdir(exist_ok=True)
    settings = {
        "name": "test",
        "mode": "sim",
        "gateway": {"url": "wss://127.0.0.1", "system_name": "-"},
        "instruments": [{"symbol": "ESH4", "exchange": "CME", "tick_size": 0.25, "point_value": 50.0}],
        "risk": {"max_order_quantity": 5, "max_position": 9, "max_open_orders": 9, "max_orders_per_second": 99},
        "exchange": {"sessions": "always"} | exchange,
    }
    run = RunConfiguration(
        settings=Settings.model_validate(settings),
        config_file=str(folder / "test.yaml"),
        state_dir=str(folder / "s"),
        runtime_dir=str(folder / "r"),
    )
    built, log = assemble(run, clock=ManualClock(1_700_000_000 * 10**9), logger=structlog.get_logger())
    log.close()
    return built


def test_users_have_what_the_settings_give_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entitlements, how many sessions, and what becomes of one more."""
    monkeypatch.setenv("SIM_USER", "u")
    monkeypatch.setenv("SIM_PASSWORD", "p")
    given = {
        "user": {"env": "SIM_USER"},
        "password": {"env": "SIM_PASSWORD"},
        "entitlements": ["market_data", "orders"],
    }
    limits = {"sessions_per_plant_max": 2, "on_session_limit": "refuse"}
    user = assembled(tmp_path, users=[given | limits]).users["u"]
    assert user.entitlements == {"market_data", "orders"}
    assert (user.sessions_per_plant_max, user.is_refused_over_limit) == (2, True)


def test_limits_of_history_and_framing_are_the_settings_own(tmp_path: Path) -> None:
    """The cap, and a strict gateway."""
    exchange = assembled(tmp_path, history_records_max=123, framing="prefixed")
    assert (exchange.history_records_max, exchange.is_prefix_required) == (123, True)


def test_recorded_past_belongs_to_its_instrument(tmp_path: Path) -> None:
    """It is known at the start and read at the first request."""
    path = tmp_path / "past.csv"
    path.write_text(HEAD + "".join(f"{number * 60}000000000,1,1,1,1,1\n" for number in (1, 2)))
    past = assembled(tmp_path, history=[{"path": str(path), "symbol": "ESH4"}]).past
    assert (past.has("ESH4"), past.is_ready("ESH4"), past.has("NQH4")) == (True, False, False)
    past.load("ESH4", 1_700_000_000)
    assert [len(columns.starts) for columns in past.of("ESH4")] == [2]


@pytest.mark.parametrize(
    ("name", "text", "symbol", "said"),
    [
        ("past.csv", HEAD, "NQH4", "exchange.history: NQH4 is none of instruments; add it there"),
        ("past.csv", "a,b\n", "ESH4", "column ts_event_ns is missing; a recorded past needs it"),
        ("past.csv", "ts_event_ns\n", "ESH4", "needs the columns price, size of trades, or open, high, low, close"),
        ("past.txt", HEAD, "ESH4", "is a .parquet or a .csv file; convert it"),
        ("past.parquet", HEAD, "ESH4", "not a Parquet file"),
        ("absent/past.csv", None, "ESH4", "there is no such file; correct exchange.history"),
    ],
)
def test_past_that_cannot_be_used_is_named_at_the_start(
    name: str, text: str | None, symbol: str, said: str, tmp_path: Path
) -> None:
    """The place and the mend, before anybody can log in."""
    path = tmp_path / name
    if text is not None:
        path.write_text(textwrap.dedent(text))
    with pytest.raises(ConfigurationError, match=said.replace(".", r"\.")):
        assembled(tmp_path, history=[{"path": str(path), "symbol": symbol}])


@pytest.mark.parametrize(
    ("setting", "completions"),
    [
        ({}, ["F", "F"]),
        ({"self_match": "cancel_resting"}, ["C", None]),
        ({"self_match": "cancel_aggressor"}, [None, "C"]),
    ],
)
def test_account_meets_itself_as_the_setting_says(
    setting: dict[str, Any], completions: list[str | None], tmp_path: Path
) -> None:
    """Nothing set: both trade; otherwise the order in the book or the new one is canceled."""
    venue = assembled(tmp_path, **setting).venue
    for side in (Side.SELL, Side.BUY):
        venue.submit(new_order(side, 1, 5000.0, symbol="ESH4"), 1_700_000_000 * 10**9)
    assert [order.completion for order in venue.orders("SIM-1")] == completions


def test_unknown_self_match_is_refused_by_name(tmp_path: Path) -> None:
    """The key, and what it may be."""
    with pytest.raises(ValidationError, match=r"exchange\.self_match\n.*'allow', 'cancel_resting' or 'cancel_agg"):
        assembled(tmp_path, self_match="CANCEL_RESTING")
