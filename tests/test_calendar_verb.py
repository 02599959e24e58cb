"""``run.py calendar``: sessions as the system will live them, what the market does now, and one line for nonsense."""

import json
from pathlib import Path
from typing import Any

import pytest

import run
from nightdesk.calendars.listing import present
from nightdesk.calendars.load import load_calendar
from nightdesk.clocks import ManualClock
from nightdesk.console import calendar as verb
from nightdesk.market_clock_file import MarketClockWriter
from tests.calendar_support import CHICAGO, at

DESK = """\
name: desk
mode: sim
runtime_dir: r
instruments:
  - {symbol: ESZ6, exchange: CME, tick_size: 0.25, point_value: 50.0}
  - {symbol: ZCZ6, exchange: CBOT, tick_size: 0.25, point_value: 50.0}
risk: {max_order_quantity: 5, max_position: 10, max_open_orders: 20, max_orders_per_second: 20}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "desk.yaml"
    file.write_text(DESK)
    return file


def shown(capsys: pytest.CaptureFixture[str], config: Path, *arguments: str) -> str:
    assert run.main(["calendar", "--config", str(config), *arguments]) == 0
    return capsys.readouterr().out


def answers(capsys: pytest.CaptureFixture[str], config: Path, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(shown(capsys, config, "--json", *arguments))
    return found


def test_thanksgiving_week_is_shown_as_it_will_be_lived(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trade dates, pre-open, halts and closes in Chicago's time and in UTC, holidays and early closes marked."""
    text = shown(capsys, config, "--product", "ES", "--from", "2026-11-25", "--to", "2026-11-30")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "ES: calendar cme_equity, times of America/Chicago"
    assert lines[2:8] == [
        "Wed 2026-11-25 16:45 Tue 11-24 17:00 Wed 11-25 16:00 Tue 11-24 23:00 Wed 11-25 22:00",
        "Thu 2026-11-26 no trade date of its own: counts to 2026-11-27",
        "Fri 2026-11-27 16:45 Wed 11-25 17:00 Thu 11-26 12:00 Wed 11-25 23:00 Thu 11-26 18:00 then a halt",
        "16:45 Thu 11-26 17:00 Fri 11-27 12:15 Thu 11-26 23:00 Fri 11-27 18:15 "
        "holiday Thu 2026-11-26 counts to this trade date; early close (usually 16:00)",
        "Mon 2026-11-30 16:00 Sun 11-29 17:00 Mon 11-30 16:00 Sun 11-29 23:00 Mon 11-30 22:00",
        lines[7],
    ]
    assert lines[7].startswith("now ")


def test_answer_for_programs_holds_the_same(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One entry for each trade date, and for each weekday that is none."""
    (answer,) = answers(capsys, config, "--product", "ESZ6", "--from", "2026-12-24", "--to", "2026-12-28")
    assert answer["product"] == "ES"
    assert [each["trade_date"] for each in answer["sessions"]] == ["2026-12-24", "2026-12-25", "2026-12-28"]
    assert answer["sessions"][0]["segments"] == [
        {
            "pre_open": "2026-12-23T16:45:00-06:00",
            "pre_open_utc": "2026-12-23T22:45:00Z",
            "opens": "2026-12-23T17:00:00-06:00",
            "opens_utc": "2026-12-23T23:00:00Z",
            "closes": "2026-12-24T12:15:00-06:00",
            "closes_utc": "2026-12-24T18:15:00Z",
        }
    ]
    assert answer["sessions"][1] == {
        "trade_date": "2026-12-25",
        "segments": [],
        "marks": ["closed; the next session is that of 2026-12-28"],
    }
    assert answer["now"]["phase"] in {"open", "pre_open", "halt", "closed"}


def test_without_a_product_all_of_the_configuration_s_are_shown(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each once."""
    found = answers(capsys, config)
    assert [each["product"] for each in found] == ["ES", "ZC"]
    assert all(len(each["sessions"]) >= 9 for each in found)


def test_times_may_be_of_another_zone(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those in UTC stay, the marks speak of the exchange's."""
    (answer,) = answers(
        capsys, config, "--product", "ES", "--from", "2026-10-26", "--to", "2026-11-02", "--time-zone", "Europe/Berlin"
    )
    assert answer["zone"] == "Europe/Berlin"
    assert answer["sessions"][0]["segments"][0]["opens"] == "2026-10-25T23:00:00+01:00"
    assert answer["sessions"][0]["segments"][0]["opens_utc"] == "2026-10-25T22:00:00Z"
    assert answer["sessions"][-1]["marks"] == ["clocks changed since the session before"]


def test_corrected_days_are_marked(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is the user's own is seen as such, closed days too."""
    days = '{cme_equity: {2026-12-01: {closes_at: "12:00"}, 2026-12-02: closed}}'
    config.write_text(f"{DESK}market_time: {{days: {days}}}\n")
    (answer,) = answers(capsys, config, "--product", "ES", "--from", "2026-11-30", "--to", "2026-12-02")
    assert [each["marks"] for each in answer["sessions"]] == [
        [],
        ["early close (usually 16:00)", "corrected by market_time"],
        ["closed; the next session is that of 2026-12-03", "corrected by market_time"],
    ]


def test_market_that_never_closes_says_so(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There are no sessions to show."""
    config.write_text(f"{DESK}exchange: {{sessions: always}}\n")
    assert "It never closes." in shown(capsys, config, "--product", "ES")
    (answer,) = answers(capsys, config, "--product", "ES")
    assert (answer["calendar"], answer["sessions"], answer["now"]["phase"]) == ("always", [], "open")


def test_now_is_the_market_s_time_where_an_exchange_publishes_it(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A simulation may live in another year than its trader."""
    folder = config.parent / "r"
    folder.mkdir()
    clock = ManualClock(at("2030-01-01 00:00"))
    writer = MarketClockWriter(folder, speed=0.0, clock=clock)
    writer.begin(at("2019-07-04 13:00"))
    try:
        (answer,) = answers(capsys, config, "--product", "ES")
    finally:
        writer.close()
    assert answer["time_of"] == "market"
    assert answer["now"]["at"] == "2019-07-04T13:00:00-05:00"
    assert answer["now"]["phase"] == "halt"
    assert answer["now"]["trade_date"] == "2019-07-05"
    assert answer["now"]["next_event"]["kind"] == "pre_open"
    assert answer["now"]["next_event"]["at"] == "2019-07-04T16:45:00-05:00"
    assert answer["sessions"][0]["trade_date"] == "2019-07-04"
    (answer,) = answers(capsys, config, "--product", "ES")
    assert answer["time_of"] == "machine", "an exchange that has ended leaves a file behind, but no time"


@pytest.mark.parametrize(
    ("now", "phase", "pause", "begin", "end"),
    [
        ("2026-11-23 10:00", "open", "daily", "2026-11-23T16:00", "2026-11-23T17:00"),
        ("2026-11-23 16:50", "pre_open", "daily", "2026-11-23T16:00", "2026-11-23T17:00"),
        ("2026-11-27 10:00", "open", "weekend", "2026-11-27T12:15", "2026-11-29T17:00"),
        ("2026-06-19 10:00", "open", "weekend", "2026-06-19T12:00", "2026-06-21T17:00"),
        ("2025-12-24 14:00", "closed", "holiday", "2025-12-24T12:15", "2025-12-25T17:00"),
    ],
)
def test_next_break_is_the_present_one_or_the_coming(now: str, phase: str, pause: str, begin: str, end: str) -> None:
    """With its kind and both ends; a holiday on a Friday is a halt over the weekend."""
    answer = present(load_calendar("cme_equity"), at(now), zone=CHICAGO)
    assert answer["phase"] == phase
    assert answer["next_break"]["kind"] == pause
    assert answer["next_break"]["from"].startswith(begin)
    assert answer["next_break"]["to"].startswith(end)
    assert answer["next_break"]["is_halt"] == (now == "2026-06-19 10:00")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--product", "XX"], "--product: no calendar is known for product 'XX'"),
        (["--product", ""], "--product: no calendar is known for product ''"),
        (["--from", "2026-13-01"], "--from: expected a date such as 2026-11-27, not '2026-13-01'"),
        (["--to", "tomorrow"], "--to: expected a date"),
        (["--from", "20261127"], "--from: expected a date"),
        (["--from", "2026-12-01", "--to", "2026-11-01"], "--to: 2026-11-01 is before --from 2026-12-01"),
        (["--from", "2013-01-02", "--to", "2031-01-02"], "--to: more than 4000 days after --from"),
        (["--from", "2012-01-02", "--to", "2012-02-02"], "knows the trade dates 2012-12-27 to 2032-01-09"),
        (["--from", "9999-12-31"], "knows the trade dates 2012-12-27 to 2032-01-09"),
        (["--time-zone", "Mars"], "--time-zone: time zone 'Mars' is not known"),
        (["--time-zone", "../../etc/passwd"], "--time-zone: time zone '../../etc/passwd' is not known"),
        (["ES"], "ES"),
    ],
)
def test_nonsense_is_one_line_and_code_two(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    """With what was expected; never a traceback."""
    assert run.main(["calendar", "--config", str(config), *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert words in captured.err


def test_verb_has_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    """As every other verb."""
    assert run.main(["calendar", "--help"]) == 0
    assert "Example: python run.py calendar --product ES --from 2026-11-20" in capsys.readouterr().out
    assert verb.DAYS_SHOWN < verb.DAYS_MAX
