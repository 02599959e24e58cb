"""What a strategy's section ``session`` says of the time to be flat, and which break the present trading came after."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nightdesk.calendars.load import load_calendar
from nightdesk.errors import ConfigurationError
from nightdesk.settings.load import load_settings
from nightdesk.settings.models import Strategy
from nightdesk.settings.rules import complaints
from nightdesk.settings.session_rules import rules_of
from nightdesk.settings.strategy_session import StrategySession
from nightdesk.trading.session_rules import SessionRules
from nightdesk.trading.sessions import NS_PER_S, Break, SessionCalendar
from tests.calendar_support import at, calendars, moments
from tests.order_plant_support import configuration

ES = load_calendar("cme_equity")
EVERY = frozenset(Break)
PAPER = """\
name: desk
mode: paper
instruments:
  - {symbol: ESZ6, exchange: CME, tick_size: 0.25, point_value: 50.0}
risk: {max_order_quantity: 5, max_position: 10, max_open_orders: 20, max_orders_per_second: 20}
strategies:
  - {name: one, class: "m:C", symbols: [ESZ6], session: {over_break: flatten, flatten_before_close_s: 30.0}}
gateway: {url: "wss://example.com:443", system_name: Rithmic Test}
credentials: {user: "${NIGHTDESK_USER}", password: "${NIGHTDESK_PASSWORD}"}
"""


def told(folder: Path, mode: str, before_s: float) -> list[str]:
    """The complaints about this time to be flat in such a mode."""
    section = {"over_break": "flatten", "flatten_before_close_s": before_s}
    strategy = Strategy.model_validate({"name": "one", "class": "m:C", "symbols": ["ESH4"], "session": section})
    settings = configuration(folder).settings.model_copy(update={"mode": mode, "strategies": [strategy]})
    return [text for path, text in complaints(settings) if path[-1:] == ("flatten_before_close_s",)]


def test_time_to_be_flat_of_a_broker_has_a_minute(tmp_path: Path) -> None:
    """Less is refused; at the embedded exchange anything goes."""
    for mode in ("paper", "live"):
        assert told(tmp_path, mode, 60.0) == []
        assert told(tmp_path, mode, 59.9) == [
            "59.9 s are too few for cancels, a closing order and a lost link; write at least 60"
        ]
    assert told(tmp_path, "sim", 0.5) == []


def test_complaint_names_the_line(tmp_path: Path) -> None:
    """As all mistakes of a configuration do."""
    (tmp_path / "desk.yaml").write_text(PAPER)
    with pytest.raises(
        ConfigurationError, match=r"desk\.yaml:7: strategies\[0\]\.session\.flatten_before_close_s: 30 s"
    ):
        load_settings(tmp_path / "desk.yaml", environ={}, check_strategies=False)


@pytest.mark.parametrize(
    ("section", "closes"),
    [
        ({}, False),
        ({"over_break": "flatten"}, True),
        ({"over_weekend": "flatten", "if_not_flat": "close_at_open"}, True),
        ({"over_break": "flatten", "if_not_flat": "keep"}, False),
    ],
)
def test_who_is_to_be_flat_is_closed_at_the_opening_unless_he_says_otherwise(
    section: dict[str, str], closes: bool
) -> None:
    """And nobody else."""
    assert rules_of(StrategySession.model_validate(section)).closes_at_open is closes


def test_what_becomes_of_the_rest_needs_something_to_be_left() -> None:
    """``if_not_flat`` alone is a slip."""
    with pytest.raises(ValidationError, match="add over_break: flatten"):
        StrategySession.model_validate({"if_not_flat": "keep"})


@pytest.mark.parametrize(
    ("flat_over", "moment", "stops"),
    [
        (EVERY, "2026-11-24 10:00", "2026-11-23 16:00"),
        (EVERY, "2026-11-24 16:30", None),
        (EVERY, "2026-11-23 10:00", "2026-11-20 16:00"),
        (frozenset({Break.WEEKEND}), "2026-11-24 10:00", None),
        # After Thanksgiving's halt the session goes on: it is neither the daily break nor long enough for another.
        (EVERY, "2026-11-26 18:00", None),
        (EVERY, "2026-11-26 10:00", "2026-11-25 16:00"),
    ],
)
def test_missed_break_is_the_one_before_the_opening(
    flat_over: frozenset[Break], moment: str, stops: str | None
) -> None:
    """None while the market does not trade, and none of a kind that nobody named."""
    found = SessionRules(flat_over=flat_over, flat_before_ns=300 * NS_PER_S).missed_at(ES, at(moment))
    assert (None if found is None else found.stops_ns) == (None if stops is None else at(stops))


def test_short_halt_before_a_time_to_be_flat_is_no_missed_break() -> None:
    """2020: trading paused from 15:15 to 15:30. An hour before the close begins earlier than that."""
    rules = SessionRules(flat_over=EVERY, flat_before_ns=3600 * NS_PER_S)
    flat = rules.flat_at(ES, at("2020-06-10 15:29:59"))
    assert flat is not None
    assert flat.stops_ns == at("2020-06-10 16:00")
    assert rules.missed_at(ES, at("2020-06-10 15:45")) is None


@given(data=st.data(), calendar=calendars(), before_s=st.integers(1, 7200))
def test_missed_break_is_over_and_was_a_time_to_be_flat(
    data: st.DataObject, calendar: SessionCalendar, before_s: int
) -> None:
    """Whatever the calendar: its end is the opening of the present trading, and a moment within it was flat."""
    rules = SessionRules(flat_over=EVERY, flat_before_ns=before_s * NS_PER_S)
    now_ns = data.draw(moments(calendar))
    found = rules.missed_at(calendar, now_ns)
    if found is None:
        return
    assert calendar.is_open(now_ns)
    assert found.stops_ns < found.opens_ns == calendar.stretch(now_ns)[0]
    assert rules.flat_at(calendar, found.stops_ns) == found
