"""The table of instruments in its two files: what is lost or damaged, and that no alias goes back for it."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.contracts import Contracts
from nightdesk.clocks import ManualClock, ManualTime
from nightdesk.instrument_table import COPY_NAME, FILE_NAME, AliasEntry, ContractFacts, InstrumentTable, TableFile
from nightdesk.trading.rolls import EXPIRATION, Leg
from tests.calendar_support import at
from tests.order_plant_support import configuration
from tests.roll_support import NEW, OLD, front

EARLY = Leg(NEW, at("2023-12-03 17:00"), 20231204, "volume")
DECIDED, ROLLED = "2023-12-01 15:00", "2023-12-04 10:00"
"""Before and after the early roll took effect; by dates it is that of December 6."""


class World:
    """The files, and processes that read them."""

    def __init__(self, folder: Path, **roll: Any) -> None:
        self.run = configuration(folder, instruments=front("roll", **roll), strategies=[])
        self.file = TableFile(self.run.state_dir)
        self.time = ManualTime(ManualClock(), at(DECIDED))

    def process(self, moment: str) -> Contracts:
        """One that starts at a moment."""
        self.time.set(at(moment))
        return Contracts(self.run, self.time)

    def write(self, moment: str, *decided: Leg, rule: str = "volume", **more: Any) -> None:
        """What the ticker plant would write at a moment."""
        legs = (Leg(OLD, at("2023-09-06 17:00"), 20230907, rule), *decided)
        present = tuple(leg for leg in legs if leg.from_ns <= at(moment))
        entry = AliasEntry(contract=present[-1].symbol, rule=rule, legs=present, decided=decided)
        self.file.write(InstrumentTable(aliases={"ES.front": entry}, market_ns=at(moment), **more))


def damage(path: Path, kind: str) -> None:
    """What may happen to a file."""
    content = path.read_bytes()
    if kind == "deleted":
        path.unlink()
    elif kind == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "changed":
        path.write_bytes(content.replace(b"20231204", b"20231203"))
    elif kind == "emptied":
        path.write_bytes(b"")
    else:
        path.write_bytes(content.replace(b'"version": 2', b'"version": 99'))


@pytest.mark.parametrize("kind", ["deleted", "cut", "changed", "emptied", "of another version"])
@pytest.mark.parametrize("name", [FILE_NAME, COPY_NAME])
def test_one_damaged_file_loses_nothing(tmp_path: Path, name: str, kind: str) -> None:
    """The decision and the gateway's word are in the other one; what is wrong is known."""
    world = World(tmp_path, rule="volume")
    world.write(DECIDED, EARLY, contracts={OLD: ContractFacts(exchange="CME", problem="wrong")})
    damage(Path(world.run.state_dir) / name, kind)
    found = world.process(ROLLED)
    assert found.front("ES.front") == NEW
    assert found.facts(OLD) == ContractFacts(exchange="CME", problem="wrong")
    assert list(found.file.problems) == [name]
    assert not found.file.is_missing


def test_what_a_process_has_read_it_does_not_forget(tmp_path: Path) -> None:
    """Both files go: the alias stays where it is, and what the gateway says still stands; a new process cannot know."""
    world = World(tmp_path, rule="volume")
    world.write(DECIDED, EARLY, contracts={OLD: ContractFacts(exchange="CME", problem="wrong")})
    found = world.process(ROLLED)
    for name in (FILE_NAME, COPY_NAME):
        (Path(world.run.state_dir) / name).unlink()
    assert found.refresh()
    assert found.front("ES.front") == NEW
    facts = found.facts(OLD)
    assert facts is not None
    assert facts.problem == "wrong"
    assert found.file.is_missing
    assert world.process(ROLLED).front("ES.front") == OLD


def test_an_older_table_does_not_take_an_alias_back(tmp_path: Path) -> None:
    """Somebody puts a backup in the place of both files."""
    world = World(tmp_path, rule="volume")
    world.write(DECIDED)
    state = Path(world.run.state_dir)
    for name in (FILE_NAME, COPY_NAME):
        shutil.copy(state / name, state / f"{name}.backup")
    world.write(DECIDED, EARLY)
    found = world.process(ROLLED)
    for name in (FILE_NAME, COPY_NAME):
        shutil.copy(state / f"{name}.backup", state / name)
    assert found.refresh()
    assert found.front("ES.front") == NEW


@pytest.mark.parametrize("name", [FILE_NAME, COPY_NAME])
@pytest.mark.parametrize("other", ["2023-12-01 14:30", "2023-12-01 15:30"])
def test_a_decision_that_only_one_file_has_counts(tmp_path: Path, name: str, other: str) -> None:
    """The ticker plant was killed between the two; of what else they say the newer one's counts."""
    world = World(tmp_path, rule="volume")
    world.write(other, contracts={OLD: ContractFacts(exchange="CME", problem=other)})
    kept = (Path(world.run.state_dir) / name).read_bytes()
    world.write(DECIDED, EARLY, contracts={OLD: ContractFacts(exchange="CME", problem=DECIDED)})
    (Path(world.run.state_dir) / name).write_bytes(kept)
    found = world.process(ROLLED)
    assert found.front("ES.front") == NEW
    assert found.facts(OLD) == ContractFacts(exchange="CME", problem=max(DECIDED, other))


@pytest.mark.parametrize("changed", [{"rule": "date"}, {"rule": "volume"}, {"rule": "date", "days_before_expiry": 2}])
def test_what_was_in_force_stays_whatever_the_configuration_says_later(tmp_path: Path, changed: dict[str, Any]) -> None:
    """An alias never goes back to a contract that it has left; its next roll is the new rule's."""
    world = World(tmp_path, **changed)
    world.write(ROLLED, EARLY)
    found = world.process(ROLLED)
    assert found.front("ES.front") == NEW
    assert [leg.symbol for leg in found.next_roll("ES.front") or ()] == [NEW, "ESM4"]


def test_a_leg_in_force_stands_without_a_decision(tmp_path: Path) -> None:
    """An alias that rolled by dates stays, although the days were changed to fewer."""
    world = World(tmp_path, days_before_expiry=2)
    assert world.process("2023-12-08 10:00").front("ES.front") == OLD
    by_date = Leg(NEW, at("2023-12-06 17:00"), 20231207, "date")
    entry = AliasEntry(contract=NEW, rule="date", legs=(Leg(OLD, 0, 0, "date"), by_date))
    world.file.write(InstrumentTable(aliases={"ES.front": entry}, market_ns=at("2023-12-07 10:00")))
    assert world.process("2023-12-08 10:00").front("ES.front") == NEW


def test_only_what_the_exchange_ends_sooner_moves_an_alias_that_rolls_by_dates(tmp_path: Path) -> None:
    """A decision of a former rule that has not taken effect is none; one for an expiration is."""
    world = World(tmp_path)
    for reason, expected in (("exchange", OLD), (EXPIRATION, NEW)):
        world.write(DECIDED, EARLY._replace(reason=reason))
        assert world.process(ROLLED).front("ES.front") == expected


def test_a_table_without_a_checksum_is_one_of_an_earlier_version_only(tmp_path: Path) -> None:
    """An update loses no decision; a table of today without its checksum is damaged."""
    world = World(tmp_path, rule="volume")
    entry = AliasEntry(contract=OLD, rule="volume", decided=(EARLY,))
    for version, expected in ((1, NEW), (2, OLD)):
        table = InstrumentTable(version=version, aliases={"ES.front": entry})
        world.file.path.write_bytes(msgspec.json.encode(table))
        assert world.process(ROLLED).front("ES.front") == expected


def test_orders_that_are_older_than_the_table_say_that_it_was_lost(tmp_path: Path) -> None:
    """Of both files nothing is left, or they were made anew since; by dates alone nothing is lost."""
    order_ns = at("2023-12-01 12:00")
    dated, watching = World(tmp_path), World(tmp_path, rule="volume")
    assert watching.process(ROLLED).lost_since(None) == ""
    assert "were lost" in watching.process(ROLLED).lost_since(order_ns)
    assert dated.process(ROLLED).lost_since(order_ns) == ""
    for begun, is_lost in (("2023-11-30 17:00", False), ("2023-12-04 09:00", True)):
        watching.write(ROLLED, begun_ns=at(begun))
        assert bool(watching.process(ROLLED).lost_since(order_ns)) == is_lost
    watching.file.copy.unlink()
    watching.write(ROLLED)
    assert watching.process(ROLLED).lost_since(order_ns) == ""


@given(content=st.binary(max_size=300))
def test_no_content_of_a_file_is_an_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever stands in both files, the alias means what the dates say."""
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    world = World(folder, rule="volume")
    for path in (world.file.path, world.file.copy):
        path.write_bytes(content)
    found = world.process(ROLLED)
    assert found.front("ES.front") == OLD
    assert set(found.file.problems) == {FILE_NAME, COPY_NAME}
