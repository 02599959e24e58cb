"""The ticker plant's care for contracts: rolls by the exchange's word, reference data, the files of the table."""

from pathlib import Path
from typing import Any

import pytest

from nightdesk.calendars.load import load_calendar
from nightdesk.instrument_table import COPY_NAME, FILE_NAME, TableFile
from nightdesk.settings.models import Instrument
from tests.calendar_support import at
from tests.front_watch_support import World, play
from tests.roll_support import NEW, OLD

INSTRUMENT = Instrument(symbol="NQZ3", exchange="CME", tick_size=0.25, point_value=20.0)


def test_the_exchange_s_front_month_rolls_with_the_next_opening(tmp_path: Path) -> None:
    """Asked for once in a while; a decision outlives the process that made it."""

    async def scene() -> None:
        world = World(tmp_path, "2023-12-05 10:00", rule="exchange")
        await world.login()
        assert world.opening() == (NEW, 20231214)
        world.session.front = NEW
        await world.look("2023-12-05 10:05")
        assert world.opening() == (NEW, 20231214)
        await world.look("2023-12-05 10:16")
        assert world.opening() == (NEW, 20231206)
        again = World(tmp_path, "2023-12-05 11:00", rule="exchange")
        again.watch.look()
        assert again.opening() == (NEW, 20231206)

    play(scene)


def test_a_front_month_that_was_changed_too_late_waits_for_the_next_session(tmp_path: Path) -> None:
    """Positions need their time before the last close."""

    async def scene() -> None:
        world = World(tmp_path, "2023-12-05 15:50", rule="exchange")
        world.session.front = NEW
        await world.login()
        assert world.opening() == (NEW, 20231207)

    play(scene)


def test_terms_that_the_gateway_contradicts_stop_the_contract(tmp_path: Path) -> None:
    """A critical alert, once, and a word in the table that the gate reads; other contracts trade on."""

    async def scene() -> None:
        world = World(tmp_path, "2023-12-05 10:00")
        world.session.terms[OLD]["min_qprice_change"] = 0.1
        for _ in range(2):
            await world.login()
        assert world.alerts() == ["instrument_mismatch"]
        table = world.file.read()
        assert table is not None
        assert "tick size 0.1, the configuration says 0.25" in table.contracts[OLD].problem
        assert table.contracts[NEW].problem == ""
        world.session.terms[OLD]["min_qprice_change"] = 0.25
        await world.login()
        table = world.file.read()
        assert table is not None
        assert table.contracts[OLD].problem == ""

    play(scene)


def test_a_gateway_without_reference_data_stops_nothing(tmp_path: Path) -> None:
    """Refused, or unknown: what is configured counts."""

    async def scene() -> None:
        world = World(tmp_path, "2023-12-05 10:00", rule="exchange")
        world.session.terms.clear()
        await world.login()
        world.session.refused = True
        await world.login()
        assert world.alerts() == []
        table = world.file.read()
        assert table is not None
        assert (table.contracts, table.aliases["ES.front"].contract) == ({}, OLD)

    play(scene)


def test_nothing_is_written_before_market_time_is_known(tmp_path: Path) -> None:
    """The wall clock of a simulation's machine says nothing about its contracts."""

    async def scene() -> None:
        world = World(tmp_path, "2023-12-05 10:00")
        world.time.is_known = False  # type: ignore[misc]
        world.watch.look()
        assert world.file.read() is None

    play(scene)


# When contracts end.


@pytest.mark.parametrize(
    ("said", "severity", "ends", "openings_end"),
    [
        ("20231215", None, "2023-12-15 08:30", "2023-12-15 08:30"),
        ("20231213", "ERROR", "2023-12-13 08:30", "2023-12-13 08:30"),
        ("20231204", "CRITICAL", "2023-12-04 08:30", "2023-12-04 08:30"),
        ("20231218", "WARNING", "2023-12-18 08:30", "2023-12-15 08:30"),
        ("", None, "2023-12-15 08:30", "2023-12-15 08:30"),
        ("Dec 15", None, "2023-12-15 08:30", "2023-12-15 08:30"),
        ("20231399", None, "2023-12-15 08:30", "2023-12-15 08:30"),
        ("99991231", None, "2023-12-15 08:30", "2023-12-15 08:30"),
    ],
)
def test_the_exchange_s_word_on_a_contract_s_end_counts(
    tmp_path: Path, said: str, severity: str | None, ends: str, openings_end: str
) -> None:
    """All orders end with it, positions are opened until the earlier of both; a difference is told once."""

    async def scene() -> None:
        world = World(tmp_path, "2023-12-05 10:00")
        world.session.terms[OLD]["expiration_date"] = said
        for _ in range(2):
            await world.login()
        found = world.contracts.ends(OLD)
        assert (found.last_ns, found.openings_ns) == (at(ends), at(openings_end))
        assert world.severities() == ({} if severity is None else {"expiration_mismatch": severity})
        assert len(world.alerts()) == (severity is not None)

    play(scene)


@pytest.mark.parametrize(
    ("said", "now", "opening"),
    [
        ("20231213", "2023-12-01 10:00", 20231205),  # eight days before, the usual distance
        ("20231215", "2023-12-01 10:00", 20231207),
        ("20231222", "2023-12-01 10:00", 20231207),
        ("20231201", "2023-12-01 07:00", 20231204),  # it is late already: the next opening that leaves time
        ("20231201", "2023-12-01 15:50", 20231205),
    ],
)
@pytest.mark.parametrize("rule", ["date", "volume"])
def test_an_alias_leaves_sooner_what_the_exchange_ends_sooner(
    tmp_path: Path, said: str, now: str, opening: int, rule: str
) -> None:
    """With an opening before which there is time, and decided no sooner than the last session needs."""

    async def scene() -> None:
        world = World(tmp_path, now, rule=rule, days_before_expiry=8)
        world.session.terms[OLD]["expiration_date"] = said
        await world.login()
        await world.look("2023-12-01 15:55")
        await world.look("2023-12-04 10:00")
        await world.look("2023-12-04 10:01")
        legs = {leg.symbol: leg for leg in world.process().legs("ES.front", ahead=1)}
        assert legs[NEW].trade_date == opening

    play(scene)


def test_a_contract_of_a_product_without_a_rule_ends_when_the_exchange_says(tmp_path: Path) -> None:
    """Nobody contradicts it: no alert; a market that never closes has no ends at all."""

    async def scene() -> None:
        other = INSTRUMENT.model_copy(update={"symbol": "SR3H4"})
        world = World(tmp_path, "2023-12-05 10:00", beside=[other])
        world.session.terms["SR3H4"] = {"min_qprice_change": 0.25, "expiration_date": "20240318"}
        assert world.contracts.ends("SR3H4") == (None, None)
        await world.login()
        ends = world.contracts.ends("SR3H4").last_ns
        assert ends is not None
        assert at("2024-03-18 16:00") <= ends <= at("2024-03-18 19:00")
        assert world.alerts() == []
        world.time.is_known = False  # type: ignore[misc]
        assert world.contracts.ends("SR3H4") == (None, None)

    play(scene)


def test_a_problem_of_an_earlier_configuration_is_judged_anew_at_the_start(tmp_path: Path) -> None:
    """Mended instruments trade before the gateway has answered; what is wrong by today's terms does not."""

    async def scene() -> None:
        wrong = INSTRUMENT.model_copy(update={"tick_size": 0.1})
        world = World(tmp_path, "2023-12-05 10:00", beside=[wrong])
        world.session.terms["NQZ3"] = {"min_qprice_change": 0.25, "single_point_value": 20.0}
        await world.login()
        for beside, is_wrong in ((INSTRUMENT, False), (wrong, True)):
            again = World(tmp_path, "2023-12-05 10:00", beside=[beside])
            again.watch.look()
            table = again.file.read()
            assert table is not None
            assert bool(table.contracts["NQZ3"].problem) == is_wrong

    play(scene)


# The files.


@pytest.mark.parametrize("names", [(FILE_NAME,), (COPY_NAME,), (FILE_NAME, COPY_NAME)])
@pytest.mark.parametrize("content", [None, b"{"])
def test_files_that_are_lost_while_the_system_runs_are_written_anew(
    tmp_path: Path, names: tuple[str, ...], content: bytes | None
) -> None:
    """Decisions and the gateway's problems with them; it is told once, and again when it happens again."""

    async def scene() -> None:
        world = World(tmp_path, "2023-12-05 10:00", rule="exchange")
        world.session.front = NEW
        world.session.terms[OLD]["min_qprice_change"] = 0.1
        await world.login()
        before = world.file.read()
        assert before is not None
        for _ in range(2):
            for name in names:
                path = world.file.path.with_name(name)
                path.unlink()
                if content is not None:
                    path.write_bytes(content)
            for _ in range(3):
                world.watch.look()
            found = world.file.read()
            assert found is not None
            assert found.same_as(before)
            assert world.file.problems == {}
        assert world.alerts() == ["instrument_mismatch", *["instrument_table_restored"] * 2]
        assert found.contracts[OLD].problem
        assert found.aliases["ES.front"].decided[0].symbol == NEW

    play(scene)


@pytest.mark.parametrize(
    ("content", "incarnation", "severity"),
    [(None, 1, None), (None, 2, "CRITICAL"), (b"{", 1, "CRITICAL"), (b"", 2, "CRITICAL")],
)
def test_a_table_that_is_lost_at_the_start_is_told(
    tmp_path: Path, content: bytes | None, incarnation: int, severity: str | None
) -> None:
    """Damaged, or gone although this process was there before; a first start has none yet."""
    (tmp_path / "state").mkdir()
    for name in (FILE_NAME, COPY_NAME):
        if content is not None:
            (tmp_path / "state" / name).write_bytes(content)
    world = World(tmp_path, "2023-12-05 10:00", rule="volume", incarnation=incarnation)
    for _ in range(3):
        world.watch.look()
    assert world.severities() == ({} if severity is None else {"instrument_table_lost": severity})
    assert len(world.alerts()) == (severity is not None)
    table = world.file.read()
    assert table is not None
    assert table.begun_ns == (at("2023-12-05 10:00") if severity is None else 0)
    again = World(tmp_path, "2023-12-06 10:00", rule="volume")
    again.watch.look()
    table = again.file.read()
    assert table is not None
    assert table.begun_ns == (at("2023-12-05 10:00") if severity is None else 0)


def test_a_roll_that_cannot_be_written_is_not_decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk past the opening: nobody rolls in the midst of a session; it is told once and decided anew."""

    async def scene() -> None:
        world = World(tmp_path, "2023-12-05 10:00", rule="exchange")
        await world.login()
        world.session.front = NEW

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(TableFile, "write", full)
            world.file.path.unlink()
            for moment in ("2023-12-05 10:16", "2023-12-05 18:00", "2023-12-06 10:00"):
                await world.look(moment)
                assert world.contracts.front("ES.front") == OLD
        assert world.alerts() == ["instrument_table_restored", "instrument_table_unwritten"]
        await world.look("2023-12-06 10:01")
        assert world.contracts.front("ES.front") == OLD
        assert world.opening() == (NEW, 20231207)
        assert len(world.alerts()) == 2

    play(scene)


def test_the_end_of_the_calendars_is_looked_at(tmp_path: Path) -> None:
    """By whoever looks after contracts, once a second; past the end nothing raises, and nothing is decided."""

    async def scene() -> None:
        world = World(tmp_path, "2023-12-05 10:00", rule="exchange")
        await world.login()
        assert world.alerts() == []
        end_ns = load_calendar("cme_equity").last_ns
        for days in (20, -1, -400):
            world.time.set(end_ns - days * 86_400_000_000_000)
            await world.login()
        assert world.alerts().count("calendar_ending") == 1
        assert world.alerts().count("calendar_ended") == 2

    play(scene)
