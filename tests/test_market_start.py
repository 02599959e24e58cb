"""Where market time begins: the values of ``exchange.start``, and what an earlier exchange has left behind."""

from pathlib import Path
from typing import Any

import pytest

from nightdesk.calendars.load import load_calendar
from nightdesk.errors import CalendarError, ConfigurationError
from nightdesk.market_clock_file import ClockRecord
from nightdesk.settings.instants import instant_ns, iso_utc
from nightdesk.settings.load import load_settings
from nightdesk.simulator.start import SAME_RUN_S, Former, Start, start_of
from nightdesk.trading.sessions import NS_PER_S, AlwaysOpen, SessionCalendar
from tests.calendar_support import at
from tests.e2e.harness import sim_configuration, write_configuration

ES, GRAINS = "cme_equity", "cme_grains"
NOBODY = Former(None, 0)
FAR_NS = 1 << 62


def start(word: str, wall: str, *names: str, former: Former = NOBODY, monotonic_s: float = 5_000.0) -> Start:
    calendars: list[SessionCalendar] = [load_calendar(name) for name in names or (ES,)]
    return start_of(word, calendars, at(wall), monotonic_s, former)


def published(text: str, monotonic_s: float, *, stopped: bool = False, rate: float = 60.0) -> Former:
    """What an exchange has left that told this time at that monotonic time."""
    return Former(ClockRecord(at(text), monotonic_s, rate, 60.0, FAR_NS, 0, 1, int(stopped)), 0)


@pytest.mark.parametrize(
    ("wall", "names", "begins"),
    [
        pytest.param("2026-11-18 10:00", (ES,), "2026-11-18 10:00", id="open"),
        pytest.param("2026-11-18 15:49", (ES,), "2026-11-18 15:49", id="eleven minutes left"),
        pytest.param("2026-11-18 15:51", (ES,), "2026-11-18 16:59:55", id="nine minutes left"),
        pytest.param("2026-11-18 16:10", (ES,), "2026-11-18 16:59:55", id="the daily break"),
        pytest.param("2026-11-18 16:50", (ES,), "2026-11-18 16:59:55", id="in the pre-open"),
        pytest.param("2026-11-18 16:59:57", (ES,), "2026-11-18 16:59:57", id="three seconds before"),
        pytest.param("2026-11-21 09:00", (ES,), "2026-11-22 16:59:55", id="on a weekend"),
        pytest.param("2026-11-18 13:30", (GRAINS, ES), "2026-11-18 13:30", id="one of two is open"),
        pytest.param("2026-12-25 12:00", (ES,), "2026-12-27 16:59:55", id="Christmas and a weekend"),
    ],
)
def test_open_is_now_or_just_before_the_next_opening(wall: str, names: tuple[str, ...], begins: str) -> None:
    """Now while there are ten minutes left, else five seconds before the next opening: nobody waits for an hour."""
    assert iso_utc(start("open", wall, *names).ns) == iso_utc(at(begins))


def test_now_and_an_instant_are_what_they_say() -> None:
    """Whether any market is open or not; a market without sessions opens at once."""
    saturday = "2026-11-21 09:00"
    assert start("now", saturday).ns == at(saturday)
    assert start("2024-03-10T16:55:00-05:00", saturday).ns == at("2024-03-10 16:55")
    assert start_of("open", [AlwaysOpen()], at(saturday), 0.0, NOBODY).ns == at(saturday)


def test_exchange_that_was_killed_goes_on_with_the_clock_that_everybody_reads() -> None:
    """Also in a break, also where its start would be earlier or later."""
    former = published("2024-03-12 16:20", 4_990.0)
    for word in ("open", "now", "2024-03-10T16:55:00-05:00"):
        assert iso_utc(start(word, "2026-11-18 10:00", former=former).ns) == iso_utc(at("2024-03-12 16:30"))


def test_new_run_begins_at_its_start_or_where_the_last_one_ended() -> None:
    """Never earlier than it had come; ``open`` waits for no closed market, wherever it goes on."""
    for former in (
        published("2024-03-12 16:20", 4_990.0, stopped=True, rate=0.0),
        Former(None, at("2024-03-12 16:20")),
    ):
        assert start("now", "2026-11-18 10:00", former=former).ns == at("2026-11-18 10:00")
        assert start("2024-03-10T16:55:00-05:00", "2026-11-18 10:00", former=former).ns == at("2024-03-12 16:20")
    ahead = published("2027-03-12 16:20", 4_990.0, stopped=True, rate=0.0)
    assert start("now", "2026-11-18 10:00", former=ahead).ns == at("2027-03-12 16:20")
    assert iso_utc(start("open", "2026-11-18 10:00", former=ahead).ns) == iso_utc(at("2027-03-14 16:59:55"))
    assert start("open", "2026-11-18 10:00", former=ahead).wanted_ns == at("2026-11-18 10:00")


def test_clock_that_nobody_has_kept_for_long_is_another_run_s() -> None:
    """All was killed, and begins again an hour or a reboot later: real time has gone on."""
    for monotonic_s in (4_990.0 + SAME_RUN_S + 11, 10.0):
        former = published("2026-11-18 09:00", 4_990.0, rate=0.0)
        assert start("now", "2026-11-18 10:00", former=former, monotonic_s=monotonic_s).ns == at("2026-11-18 10:00")


def test_start_that_a_calendar_does_not_know_is_refused_with_the_mend() -> None:
    """In one line, not with a traceback."""
    with pytest.raises(CalendarError, match="compile a longer one"):
        start("open", "2090-01-01 10:00")


@pytest.mark.parametrize(
    ("text", "seconds", "rest_ns"),
    [
        ("2024-03-10T16:55:00-05:00", 1_710_107_700, 0),
        ("2024-03-10 21:55Z", 1_710_107_700, 0),
        ("2024-03-10T21:55:00.000000001+0000", 1_710_107_700, 1),
        ("2024-03-10t21:55:00.5z", 1_710_107_700, 500_000_000),
    ],
)
def test_instants_are_exact_to_the_nanosecond(text: str, seconds: int, rest_ns: int) -> None:
    """Any offset, any number of decimals."""
    assert instant_ns(text) == seconds * NS_PER_S + rest_ns


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("2024-03-10T16:55:00", "has no offset"),
        ("2024-03-10", "is no instant"),
        ("2024-13-10T16:55:00Z", "month must be in 1..12"),
        ("opne", "is no instant; write open, now, or an instant with its offset"),
        ("1066-10-14T09:00:00Z", "is not between 1971 and 2200"),
        (5, "must be text"),
    ],
)
def test_start_that_is_none_is_refused_with_place_and_mend(tmp_path: Path, value: Any, complaint: str) -> None:
    """Strictly: a time without an offset could be anywhere."""
    with pytest.raises(ConfigurationError, match=complaint) as raised:
        loaded(tmp_path, f"start: {value}")
    assert "exchange.start" in str(raised.value)


def test_start_may_stand_without_quotes_and_only_tapes_have_none(tmp_path: Path) -> None:
    """YAML makes a time of its own of an instant: the same instant."""
    for value in ("2024-03-10T16:55:00-05:00", '"2024-03-10T16:55:00-05:00"', "2024-03-10 21:55:00Z"):
        exchange = loaded(tmp_path, f"start: {value}")
        assert instant_ns(exchange.start) == 1_710_107_700 * NS_PER_S
    (tmp_path / "tape.csv").write_text("ts_event_ns,price,size\n1,5000,1\n")
    tape = "source: {kind: replay, path: tape.csv, symbol: ESZ6}"
    with pytest.raises(ConfigurationError, match="a tape brings its own time"):
        loaded(tmp_path, f"{tape}, start: now")
    assert loaded(tmp_path, tape).start == "open"


def loaded(folder: Path, exchange: str) -> Any:
    """The section ``exchange`` of a file with these keys in it."""
    path = write_configuration(folder, sim_configuration(folder, exchange="HERE"))
    path.write_text(path.read_text().replace("HERE", f"{{{exchange}}}"))
    return load_settings(path).settings.exchange
