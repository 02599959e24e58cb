"""Aliases in a configuration: what is refused, what may be left out, and the table that all actors read."""

from pathlib import Path
from typing import Any

import pytest

from actors.contracts import Contracts
from nightdesk.clocks import ManualClock, ManualTime
from nightdesk.errors import ConfigurationError
from nightdesk.instrument_table import AliasEntry, ContractFacts, InstrumentTable, TableFile
from nightdesk.settings.contracts import expired
from nightdesk.settings.load import load_settings
from nightdesk.settings.models import Instrument
from nightdesk.settings.runtime import RunConfiguration
from nightdesk.trading.rolls import Leg
from tests.calendar_support import at
from tests.e2e.harness import run_cli
from tests.order_plant_support import configuration
from tests.roll_support import front

TEXT = """
name: desk
mode: sim
instruments:
  - {symbol: ES.front, exchange: CME, roll: {position: roll}}
risk: {max_order_quantity: 5, max_position: 10, max_open_orders: 20, max_orders_per_second: 20}
strategies:
  - {name: one, class: "nightdesk.examples.sma_cross:SmaCross", symbols: [ES.front]}
"""


def load(folder: Path, text: str) -> RunConfiguration:
    file = folder / "desk.yaml"
    file.write_text(text)
    return load_settings(file, check_strategies=False)


def test_terms_of_a_known_product_may_be_left_out(tmp_path: Path) -> None:
    """Tick size and point value come from the shipped table; what the file says counts more."""
    (instrument,) = load(tmp_path, TEXT).settings.instruments
    assert (instrument.tick_size, instrument.point_value) == (0.25, 50.0)
    changed = TEXT.replace("exchange: CME,", "exchange: CME, point_value: 5.0,")
    assert load(tmp_path, changed).settings.instruments[0].point_value == 5.0


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("ES.front", "ES.next", "ES.next is no alias; an alias is a product and .front"),
        ("ES.front", "ESZ6.front", "ESZ6.front is no alias"),
        ("{symbol: ES.front", "{tick_size: 1, point_value: 1, symbol: FOO.front", "the contracts of FOO are not known"),
        (", roll: {position: roll}", "", "an alias needs a roll; add roll: {position: roll}"),
        ("{position: roll}", "{rule: date}", "roll.position: is missing"),
        ("{position: roll}", "{position: roll, rule: open_interest}", "must be 'date', 'volume' or 'exchange'"),
        ("symbol: ES.front", "symbol: ESZ6", "ESZ6 is one contract; remove roll, or write ES.front"),
        ("symbols: [ES.front]", "symbols: [ES.front, ESZ6]", "the positions could not be told apart"),
        ("risk:", "exchange: {source: {kind: replay, path: t.csv, symbol: ES.front}}\nrisk:", "is of one contract"),
    ],
)
def test_what_an_alias_cannot_mean_is_refused_in_one_line(
    tmp_path: Path, before: str, after: str, complaint: str
) -> None:
    """Each with its place and the mend."""
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, TEXT.replace(before, after))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_check_names_contracts_that_have_ended(tmp_path: Path) -> None:
    """``check`` warns; the exchange's own start is the time that counts, where it has one."""
    text = TEXT.replace("ES.front, exchange: CME, roll: {position: roll}", "ESZ5, exchange: CME").replace(
        "[ES.front]", "[ESZ5]"
    )
    run = load(tmp_path, text)
    assert expired(run.settings, at("2025-12-19 08:29")) == []
    (warning,) = expired(run.settings, at("2025-12-19 08:30"))
    assert "ESZ5 ended on 20251219" in warning
    then = load(tmp_path, text + "exchange: {start: 2025-12-01T12:00:00-06:00}\n")
    assert expired(then.settings, at("2026-01-05 12:00")) == []
    later = text + "exchange: {start: 2025-12-22T12:00:00-06:00}\n"
    (tmp_path / "later.yaml").write_text(later)
    answer = run_cli("check", "--config", str(tmp_path / "later.yaml"))
    assert answer.returncode == 0
    assert "warning: instruments: ESZ5 ended" in answer.stderr


@pytest.mark.parametrize(
    ("start", "complaint"),
    [
        ("2035-01-02T10:00:00-06:00", "calendar cme_equity ends before 2035-01-02 16:00 UTC; it knows "),
        ("1999-01-04T10:00:00-06:00", "calendar cme_equity begins after 1999-01-04 16:00 UTC; it knows "),
    ],
)
def test_a_start_outside_of_the_calendars_is_refused(tmp_path: Path, start: str, complaint: str) -> None:
    """In one line with its place; a market that never closes has no such limit."""
    text = TEXT + f"exchange: {{start: {start}}}\n"
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)
    assert f"desk.yaml:9: exchange.start: {start}: {complaint}" in str(caught.value)
    assert "\n" not in str(caught.value)
    always = text.replace("start:", "sessions: always, start:")
    assert load(tmp_path, always).settings.exchange is not None


def test_calendar_names_the_next_roll(tmp_path: Path) -> None:
    """Old and new contract, the opening from which it holds, and what becomes of positions."""
    (tmp_path / "desk.yaml").write_text(TEXT + f"state_dir: {tmp_path / 's'}\nruntime_dir: {tmp_path / 'r'}\n")
    answer = run_cli("calendar", "--config", str(tmp_path / "desk.yaml"), "--product", "ES")
    assert "next roll ES" in answer.stdout
    assert "positions: roll" in answer.stdout


# The table.


def contracts(folder: Path, moment: str, *beside: Instrument, **roll: Any) -> Contracts:
    run = configuration(folder, instruments=[*front("roll", **roll), *beside], strategies=[])
    return Contracts(run, ManualTime(ManualClock(), at(moment)))


def test_a_missing_or_damaged_table_is_derived_again(tmp_path: Path) -> None:
    """Whatever stands in one file, where the other is missing: everybody has a front contract, and the same one."""
    (tmp_path / "state").mkdir()
    file = tmp_path / "state" / "instruments.json"
    for content in (None, b"", b"{", b"[1]", b'{"version": 99}', b'{"aliases": {"ES.front": 5}}', b"\xff" * 100):
        if content is not None:
            file.write_bytes(content)
        found = contracts(tmp_path, "2023-12-06 15:59")
        assert found.front("ES.front") == "ESZ3"
        assert [leg.symbol for leg in found.next_roll("ES.front") or ()] == ["ESZ3", "ESH4"]


def test_all_readers_take_a_new_table_over(tmp_path: Path) -> None:
    """What a watching rule has decided moves the roll for everybody who reads the file."""
    reader = contracts(tmp_path, "2023-12-01 12:00", rule="volume")
    assert (reader.next_roll("ES.front") or ())[1].trade_date == 20231214
    early = Leg("ESH4", at("2023-12-03 17:00"), 20231204, "volume")
    table = InstrumentTable(
        aliases={"ES.front": AliasEntry(contract="ESZ3", rule="volume", decided=(early,))},
        contracts={"ESZ3": ContractFacts(exchange="CME", problem="wrong")},
    )
    TableFile(str(tmp_path / "state")).write(table)
    assert reader.refresh()
    assert not reader.refresh()
    assert (reader.next_roll("ES.front") or ())[1] == early
    assert (reader.facts("ESZ3") or table).problem == "wrong"  # type: ignore[union-attr]


def test_a_decision_of_a_rule_that_was_changed_to_dates_is_forgotten(tmp_path: Path) -> None:
    """The configuration counts."""
    early = Leg("ESH4", at("2023-12-03 17:00"), 20231204, "volume")
    entry = AliasEntry(contract="ESZ3", rule="volume", decided=(early,))
    (tmp_path / "state").mkdir()
    TableFile(str(tmp_path / "state")).write(InstrumentTable(aliases={"ES.front": entry}))
    found = contracts(tmp_path, "2023-12-01 12:00")
    assert (found.next_roll("ES.front") or ())[1].trade_date == 20231207


def test_contracts_belong_to_their_alias(tmp_path: Path) -> None:
    """By which configured symbol a contract may be traded, and where it stands in the chain."""
    found = contracts(tmp_path, "2023-12-01 12:00")
    assert [found.configured(symbol) for symbol in ("ESZ3", "ESH4", "ES.front", "NQZ3")] == [
        "ES.front",
        "ES.front",
        "ES.front",
        None,
    ]
    assert [found.index("ES.front", symbol) for symbol in ("ESU3", "ESZ3", "ESH4")] == [-1, 0, 1]
    assert found.index("ES.front", "ESZ9") < -1
    instrument = found.instrument("ESH4")
    assert instrument is not None
    assert (instrument.symbol, instrument.tick_size, instrument.roll) == ("ESH4", 0.25, None)
    assert found.instrument("ES.front") is None


def test_a_contract_that_is_configured_beside_its_alias_keeps_its_place_in_the_chain(tmp_path: Path) -> None:
    """It has its own terms, is listed once, and the alias means it all the same."""
    beside = Instrument(symbol="ESZ3", exchange="CME", tick_size=0.5, point_value=50.0)
    found = contracts(tmp_path, "2023-12-01 12:00", beside)
    assert found.front("ES.front") == "ESZ3"
    assert (found.configured("ESZ3"), found.configured("ESH4")) == ("ESZ3", "ES.front")
    assert [found.index("ES.front", symbol) for symbol in ("ESU3", "ESZ3", "ESH4")] == [-1, 0, 1]
    assert [(each.symbol, each.tick_size) for each in found.listed(ahead=1)] == [("ESZ3", 0.5), ("ESH4", 0.25)]
    assert found.ends("ESZ3").last_ns == at("2023-12-15 08:30")
