"""The section ``market_time``: whose calendar is whose, days that a user corrects, and what each mistake is told."""

from pathlib import Path

import pytest

from nightdesk.calendars.load import load_calendar
from nightdesk.errors import CalendarError, ConfigurationError
from nightdesk.settings.load import load_settings
from nightdesk.settings.market_time import calendar_for, calendar_name_for, is_always_open
from nightdesk.settings.runtime import RunConfiguration
from nightdesk.trading.sessions import MarketPhase, SessionCalendar
from tests.calendar_support import at, utc

DESK = """\
name: desk
mode: sim
instruments:
  - {symbol: ESZ6, exchange: CME, tick_size: 0.25, point_value: 50.0}
risk: {max_order_quantity: 5, max_position: 10, max_open_orders: 20, max_orders_per_second: 20}
"""
DAYS = """\
# The desk's own days.
cme_equity:
  2026-11-30: closed
  2026-12-01: {closes_at: "12:15"}
  2026-12-02: {opens_at: "18:00", closes_at: 2026-12-02 15:00}
  2026-12-03:
    segments:
      - {opens_at: 2026-12-02 17:00, closes_at: 2026-12-03 08:00}
      - {opens_at: 2026-12-03 09:30, closes_at: 2026-12-03 16:00}
  2026-12-25:
    segments: [{opens_at: 2026-12-25 09:00, closes_at: 2026-12-25 10:00}]
"""


def load(folder: Path, text: str, days: str | None = None) -> RunConfiguration:
    if days is not None:
        (folder / "days.yaml").write_text(days)
        text += "market_time: {overrides: days.yaml}\n"
    (folder / "desk.yaml").write_text(text)
    return load_settings(folder / "desk.yaml", environ={}, check_strategies=False)


def complaint(folder: Path, text: str, days: str | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(folder, text, days)
    line = str(caught.value)
    assert "\n" not in line
    return line.removeprefix(f"{folder}/")


def spans(calendar: SessionCalendar, trade_date: int) -> list[tuple[int, int]]:
    for session in calendar.sessions:
        if session.trade_date == trade_date:
            return [(each.opens_ns, each.closes_ns) for each in session.segments]
    return []


def test_instrument_keeps_the_calendar_of_its_product(tmp_path: Path) -> None:
    """Contract, alias and product are asked for alike, and without the section."""
    run = load(tmp_path, DESK)
    for symbol in ("ESZ6", "MESH27", "ES.front", "NQ"):
        assert calendar_for(symbol, run.settings) is load_calendar("cme_equity")
    assert calendar_for("ZCH7", run.settings) is load_calendar("cme_grains")


def test_product_may_be_given_another_calendar(tmp_path: Path) -> None:
    """One that is not known, and one that is."""
    text = DESK.replace("ESZ6", "ABCZ6") + "market_time: {calendars: {ABC: always, NQ: cme_fx}}\n"
    run = load(tmp_path, text)
    assert calendar_for("ABCZ6", run.settings).never_closes
    assert calendar_name_for("NQZ6", run.settings) == "cme_fx"
    assert calendar_name_for("ESZ6", run.settings) == "cme_equity"


def test_unknown_product_is_refused_where_a_calendar_is_needed(tmp_path: Path) -> None:
    """Not so on an exchange that never closes: tapes by themselves, others by configuration."""
    text = DESK.replace("ESZ6", "ABCZ6")
    line = complaint(tmp_path, text)
    assert line.startswith("desk.yaml:4: instruments[0].symbol: no calendar is known for product 'ABC'; ")
    assert "market_time.calendars" in line
    with pytest.raises(CalendarError):
        calendar_for("ABCZ6", load(tmp_path, DESK).settings)
    always = load(tmp_path, text + "exchange: {sessions: always}\n")
    assert is_always_open(always.settings)
    assert calendar_for("ABCZ6", always.settings).never_closes
    (tmp_path / "tape.csv").write_text("")
    tape = load(tmp_path, text + "exchange: {source: {kind: replay, path: tape.csv, symbol: ABCZ6}}\n")
    assert calendar_for("ABCZ6", tape.settings).never_closes
    kept = DESK + "exchange: {sessions: calendar, source: {kind: replay, path: tape.csv, symbol: ESZ6}}\n"
    assert calendar_for("ESZ6", load(tmp_path, kept).settings) is load_calendar("cme_equity")


def test_days_of_the_file_take_the_place_of_the_table_s(tmp_path: Path) -> None:
    """Closed, other ends, whole segments, and a day that had no session."""
    calendar = calendar_for("ESZ6", load(tmp_path, DESK, DAYS).settings)
    assert calendar is not load_calendar("cme_equity")
    assert spans(calendar, 20261127) == spans(load_calendar("cme_equity"), 20261127)
    assert spans(calendar, 20261130) == []
    assert spans(calendar, 20261201) == [(at("2026-11-30 17:00"), at("2026-12-01 12:15"))]
    assert spans(calendar, 20261202) == [(at("2026-12-01 18:00"), at("2026-12-02 15:00"))]
    assert spans(calendar, 20261203) == [
        (at("2026-12-02 17:00"), at("2026-12-03 08:00")),
        (at("2026-12-03 09:30"), at("2026-12-03 16:00")),
    ]
    assert spans(calendar, 20261225) == [(at("2026-12-25 09:00"), at("2026-12-25 10:00"))]
    assert calendar.phase(at("2026-11-30 10:00")) is MarketPhase.CLOSED
    assert calendar.phase(at("2026-12-25 08:30")) is MarketPhase.PRE_OPEN


def test_corrected_calendar_is_one_object_too(tmp_path: Path) -> None:
    """It is built once per process, whoever asks."""
    run = load(tmp_path, DESK, DAYS)
    assert calendar_for("ESZ6", run.settings) is calendar_for("MESZ6", run.settings)


def test_days_travel_with_the_settings(tmp_path: Path) -> None:
    """What an actor is told does not change when the file does."""
    run = load(tmp_path, DESK, DAYS)
    sent = run.to_json()
    (tmp_path / "days.yaml").unlink()
    received = RunConfiguration.from_json(sent)
    assert spans(calendar_for("ESZ6", received.settings), 20261130) == []
    assert calendar_for("ESZ6", received.settings) == calendar_for("ESZ6", run.settings)


def test_days_may_stand_in_the_configuration_itself(tmp_path: Path) -> None:
    """A file of its own is not needed for one day."""
    text = DESK + "market_time:\n  days:\n    cme_equity:\n      2026-12-24: closed\n"
    assert spans(calendar_for("ESZ6", load(tmp_path, text).settings), 20261224) == []
    line = complaint(tmp_path, text.replace("closed", "shut"))
    assert line.startswith("desk.yaml:9: market_time.days.cme_equity.2026-12-24: must be closed, or a mapping")


def test_opening_of_a_holiday_session_belongs_to_its_first_evening(tmp_path: Path) -> None:
    """A time of day replaces an end on the end's own day; halts that fall outside go."""
    days = 'cme_equity:\n  2026-11-27: {opens_at: "18:00"}\n  2026-12-01: {opens_at: 2026-12-01 08:00}\n'
    calendar = calendar_for("ESZ6", load(tmp_path, DESK, days).settings)
    assert spans(calendar, 20261127)[0] == (at("2026-11-25 18:00"), at("2026-11-26 12:00"))
    only_day = "cme_equity:\n  2026-11-27: {opens_at: 2026-11-26 18:00}\n"
    calendar = calendar_for("ESZ6", load(tmp_path, DESK, only_day).settings)
    assert spans(calendar, 20261127) == [(at("2026-11-26 18:00"), at("2026-11-27 12:15"))]


def test_orders_may_be_taken_from_another_time_on(tmp_path: Path) -> None:
    """``pre_open_at`` of one day, by the clocks of its opening; the day after has the usual quarter of an hour."""
    days = 'cme_equity:\n  2026-11-25: {opens_at: "16:07", pre_open_at: "16:05"}\n'
    calendar = calendar_for("ESZ6", load(tmp_path, DESK, days).settings)
    assert calendar.phase(at("2026-11-24 16:04")) is MarketPhase.CLOSED
    assert calendar.phase(at("2026-11-24 16:05")) is MarketPhase.PRE_OPEN
    assert calendar.phase(at("2026-11-24 16:07")) is MarketPhase.OPEN
    assert calendar.phase(at("2026-11-25 16:44")) is MarketPhase.CLOSED
    assert calendar.phase(at("2026-11-25 16:45")) is MarketPhase.PRE_OPEN


BAD = {
    "unknown calendar": ("cme_equty:\n  2026-12-24: closed\n", "1: cme_equty: is no calendar; did you mean cme_eq"),
    "far from any": ("lse:\n  2026-12-24: closed\n", "1: lse: is no calendar; there are cme_equity, "),
    "no mapping": ("cme_equity: closed\n", "1: cme_equity: must be a mapping of trade dates"),
    "no date": ("cme_equity:\n  24.12.2026: closed\n", "2: cme_equity.24.12.2026: is no trade date; write it as 20"),
    "no such date": ("cme_equity:\n  2026-02-30: closed\n", "2: cme_equity.2026-02-30: is no trade date"),
    "given twice": (
        "cme_equity:\n  2026-12-24: closed\n  2026-12-24: closed\n",
        "3: cme_equity.2026-12-24: is given twice (first on line 2)",
    ),
    "empty": ("cme_equity:\n  2026-12-24:\n", "2: cme_equity.2026-12-24: must be closed, or a mapping"),
    "unknown key": (
        "cme_equity:\n  2026-12-24:\n    close_at: \"12:15\"\n",
        "3: cme_equity.2026-12-24.close_at: is not a known key; did you mean closes_at?",
    ),
    "unquoted time": ("cme_equity:\n  2026-12-24: {closes_at: 12:15}\n", "12:15 is ambiguous"),
    "no time": (
        "cme_equity:\n  2026-12-24: {closes_at: noon}\n",
        "2: cme_equity.2026-12-24.closes_at: must be a local time such as \"12:15\" or 2026-12-24 17:00, not 'noon'",
    ),
    "hour 25": ("cme_equity:\n  2026-12-24: {closes_at: \"25:00\"}\n", "must be a local time"),
    "both forms": (
        "cme_equity:\n  2026-12-24: {closes_at: \"12:00\", segments: []}\n",
        "2: cme_equity.2026-12-24.segments: are the whole day; remove opens_at and closes_at",
    ),
    "no segments": ("cme_equity:\n  2026-12-24: {segments: []}\n", "for none write closed"),
    "segment without an end": (
        "cme_equity:\n  2026-12-24: {segments: [{opens_at: 2026-12-24 08:00}]}\n",
        "2: cme_equity.2026-12-24.segments[0]: has no closes_at; add it",
    ),
    "segment without a date": (
        "cme_equity:\n  2026-12-24: {segments: [{opens_at: \"08:00\", closes_at: \"09:00\"}]}\n",
        "segments[0].opens_at: needs its date, too",
    ),
    "segments out of order": (
        "cme_equity:\n  2026-12-24:\n    segments:\n"
        "      - {opens_at: 2026-12-24 10:00, closes_at: 2026-12-24 11:00}\n"
        "      - {opens_at: 2026-12-24 08:00, closes_at: 2026-12-24 09:00}\n",
        "5: cme_equity.2026-12-24.segments[1]: begins before the segment above it ends",
    ),
    "closed already": ("cme_equity:\n  2026-12-25: closed\n", "there is no session on this date anyway; remove it"),
    "nothing to change": (
        "cme_equity:\n  2026-12-25: {closes_at: \"12:00\"}\n",
        "2: cme_equity.2026-12-25: there is no session on this date to change; give it whole segments",
    ),
    "overlap": (
        "cme_equity:\n  2026-12-23: {closes_at: 2026-12-23 18:00}\n",
        "trading of 20261224 would begin before that of 20261223 ends",
    ),
    "closes first": ("cme_equity:\n  2026-12-23: {closes_at: 2026-12-22 16:00}\n", "it would close before it opens"),
    "orders too late": (
        "cme_equity:\n  2026-12-23: {pre_open_at: 2026-12-22 17:30}\n",
        "2: cme_equity.2026-12-23: orders would be taken after trading begins; mend pre_open_at",
    ),
    "outside": ("cme_equity:\n  2036-12-23: closed\n", "knows the trade dates 20121227 to 20320109 only"),
    "hour that is skipped": (
        "cme_equity:\n  2026-03-09: {opens_at: 2026-03-08 02:30}\n",
        "2026-03-08 02:30 does not exist in America/Chicago; the clocks are put forward then",
    ),
    "no yaml": ("cme_equity: [\n", "is not valid YAML"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_mistake_in_the_days_is_one_line_with_place_and_mend(tmp_path: Path, case: str) -> None:
    """File, line and key, when the system is started and not when the day comes."""
    text, words = BAD[case]
    line = complaint(tmp_path, DESK, text)
    assert line.startswith("days.yaml:")
    assert words in line


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{overrides: none.yaml}", "market_time.overrides: "),
        (
            "{calendars: {ES: cme_eqity}}",
            "market_time.calendars.ES: there is no calendar 'cme_eqity'; did you mean cme_eq",
        ),
        ("{calendars: {es: always}}", "market_time.calendars.es"),
        ("{calendar: {ES: always}}", "market_time.calendar: is not a known key; did you mean calendars?"),
        ("{days: {cme_equity: {2026-12-25: closed}}}", "there is no session on this date anyway"),
    ],
)
def test_mistake_in_the_section_is_one_line(tmp_path: Path, section: str, words: str) -> None:
    """As of every other section."""
    assert words in complaint(tmp_path, DESK + f"market_time: {section}\n")


def test_days_in_two_places_are_refused(tmp_path: Path) -> None:
    """Nobody should have to think which of them holds."""
    (tmp_path / "days.yaml").write_text("cme_equity:\n  2026-12-24: closed\n")
    text = DESK + "market_time: {overrides: days.yaml, days: {cme_fx: {2026-12-24: closed}}}\n"
    assert "market_time.days: stands beside overrides; put all days into one of them" in complaint(tmp_path, text)


def test_live_market_needs_a_calendar(tmp_path: Path) -> None:
    """A gateway's markets are never taken for always open."""
    text = DESK.replace("mode: sim", "mode: paper").replace("ESZ6", "ABCZ6")
    text += "gateway: {url: 'wss://gateway.example:443', system_name: Paper}\ncredentials:\n"
    text += "  user: ${U}\n  password: ${P}\n"
    assert "no calendar is known for product 'ABC'" in complaint(tmp_path, text)
    assert utc("2026-11-27 18:15") == at("2026-11-27 12:15")
