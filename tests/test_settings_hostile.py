"""Configurations that nobody means, and that people and programs write all the same."""

import os
import re
from pathlib import Path

import pytest

from nightdesk.errors import ConfigurationError
from nightdesk.settings.folders import default_state_dir, prepare_folder
from nightdesk.settings.load import load_folders, load_settings
from tests.test_settings import GOOD, LIVE, complaint, load, swap

PARAMETERS = "    parameters: {fast: VALUE}\n    symbols"


def with_parameter(value: str) -> str:
    return swap("    symbols", PARAMETERS.replace("VALUE", value))


HOSTILE: dict[str, tuple[str, str]] = {
    "deep flow": ("a: " + "[" * 5000 + "]" * 5000, r":1: file: is not valid YAML \(nested more than 32 deep\)"),
    "deep mappings": ("\n".join(" " * depth + "a:" for depth in range(200)), r":3\d: file: .*nested more than 32 deep"),
    "octal by a leading zero": (
        swap("max_position: 10", "max_position: 010"),
        r":5: risk\.max_position: 010 is ambiguous; write a plain decimal number, or put it in quotes",
    ),
    "sexagesimal": (swap("max_position: 10", "max_position: 1:30"), r":5: risk\.max_position: 1:30 is ambiguous"),
    "account number with zeros": (GOOD + "account: 00123\n", r":12: account: 00123 is ambiguous; .* put it in quotes"),
    "number of 5,000 digits": (swap("max_position: 10", "max_position: " + "9" * 5000), r":5: risk\.max_position: "),
    "number of 400 digits": (
        swap("max_position: 10", "max_position: " + "9" * 400),
        r":5: risk\.max_position: must be less than or equal to 1000000, not 9{80}$",
    ),
    "zero byte": (GOOD + 'state_dir: "a\\0b"\n', r":12: state_dir: contains a zero byte or half a character"),
    "half a character": (swap("name: desk", 'name: "\\ud800"'), r":1: name: contains a zero byte or half a char"),
    "key of several words": (GOOD + "[a, b]: 1\n", r":12: file: a key must be one word; mend this line"),
    "unknown home": (GOOD + "state_dir: ~nosuchuser/x\n", r":12: state_dir: ~nosuchuser/x names no home folder"),
    "empty folder": (GOOD + 'state_dir: ""\n', r":12: state_dir: must not be empty; write a value, or remove the key"),
    "date as parameter": (with_parameter("2024-01-01"), r":9: strategies\[0\]\.parameters\.fast: must be text \(put"),
    "bytes as parameter": (with_parameter('!!binary "//8="'), r":9: strategies\[0\]\.parameters\.fast: must be text"),
    "not a number as parameter": (with_parameter(".nan"), r":9: .*parameters\.fast: must be a finite number"),
    "too big a number as parameter": (with_parameter("1e400"), r":9: .*parameters\.fast: must be a finite number"),
    "symbol given twice": (swap("[ESZ6]", "[ESZ6, ESZ6]"), r":9: strategies\[0\]\.symbols\[1\]: ESZ6 is given twice"),
    "alert that does not exist": (
        swap("kind: log}", "kind: log, events: [child_parkd]}"),
        r":11: alerts\[0\]\.events\[0\]: child_parkd is no alert; did you mean child_parked\?",
    ),
    "alert far from any": (
        swap("kind: log}", "kind: log, events: [zzz]}"),
        r":11: alerts\[0\]\.events\[0\]: zzz is no alert; there are alerts_suppressed, ",
    ),
    "gateway's system without a name": (
        swap("system_name: Live", 'system_name: " "', LIVE),
        r"gateway\.system_name: must not be empty",
    ),
    "tape is a folder": (
        GOOD + "exchange: {source: {kind: replay, path: /tmp, symbol: ESZ6}}\n",
        r":12: exchange\.source\.path: /tmp is not a file",
    ),
    "backoff upside down": (
        swap("    symbols", "    supervision: {backoff_initial_s: 20, backoff_max_s: 1}\n    symbols"),
        r":9: strategies\[0\]\.supervision: backoff_initial_s is more than backoff_max_s",
    ),
    "park without a budget": (
        swap("    symbols", "    supervision: {intensity: infinity}\n    symbols"),
        r":9: strategies\[0\]\.supervision: a child that is parked needs an intensity of its own",
    ),
    "empty limit": (
        swap("    symbols", "    supervision:\n      watchdog_s:\n    symbols"),
        r":10: strategies\[0\]\.supervision\.watchdog_s: must not be empty; write a number, or infinity",
    ),
    "unknown branch strategy": (
        GOOD + "supervision: {plants: {strategy: one_for_none}}\n",
        r":12: supervision\.plants\.strategy: must be 'one_for_one', 'one_for_all' or 'rest_for_one'",
    ),
    "unknown plant": (
        GOOD + "supervision: {plants: {tickr: {}}}\n",
        r":12: supervision\.plants\.tickr: .* did you mean ticker\?",
    ),
}


@pytest.mark.parametrize(("text", "pattern"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_configuration_gets_one_line(tmp_path: Path, text: str, pattern: str) -> None:
    """File, line, key, what is wrong and how to mend it; never a traceback."""
    line = complaint(tmp_path, text)
    assert re.search(pattern, line), line


def test_numbers_are_read_as_people_write_them(tmp_path: Path) -> None:
    """YAML 1.1 takes 25e-2 for text."""
    run = load(tmp_path, swap("tick_size: 0.25", "tick_size: 25e-2"))
    assert run.settings.instruments[0].tick_size == 0.25


def test_file_that_does_not_end_is_refused() -> None:
    """A device is read no further than the largest configuration."""
    with pytest.raises(ConfigurationError, match="over 1000000 bytes"):
        load_settings("/dev/zero")


@pytest.mark.parametrize("name", ["x" * 300, "a/b\x00c", "nowhere/x.yaml"])
def test_impossible_file_name_is_not_found(name: str) -> None:
    """Whatever the operating system thinks of it."""
    with pytest.raises(ConfigurationError, match="not found"):
        load_settings(name)


def test_verbs_refuse_a_name_that_is_none(tmp_path: Path) -> None:
    """The verbs read no more than name and folders, but those as strictly as a run does."""
    file = tmp_path / "desk.yaml"
    for name in ("../../etc", "sïm", "a b"):
        file.write_text(f"name: {name}\n")
        with pytest.raises(ConfigurationError, match=r"desk\.yaml:1: name: must be 1 to 32 lower-case"):
            load_folders(file, environ={})


def test_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service without HOME and without an entry in the list of users."""

    def unknown(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", unknown)
    with pytest.raises(ConfigurationError, match=r"HOME is not set.; set state_dir in the configuration"):
        default_state_dir("desk", {})


def test_folder_that_cannot_be_written_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is started, not by the first file in it."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ConfigurationError, match=r"state_dir: .* cannot be written to"):
        prepare_folder("state_dir", tmp_path / "s")
