"""The table of templates that docs/simulator.md shows, and how the command makes it."""

from pathlib import Path

import msgspec
import pytest

from nightdesk.simulator.wire.coverage import TemplateCounts, main, rows
from nightdesk.simulator.wire.templates import MESSAGE_NAMES


def test_every_template_is_in_exactly_one_row() -> None:
    """A request and its answers share a row; what only the exchange sends has one of its own."""
    listed = [int(each) for row in rows(None) for each in row.templates.split("/")]
    assert sorted(listed) == sorted(MESSAGE_NAMES)


def test_row_tells_the_plants_and_the_tests() -> None:
    """Served is what a plant has a handler for; a message that no test ever saw sent is called so."""
    counts = TemplateCounts(tests=9, taken={100: 7, 102: 1}, sent={101: 6, 104: 2, 103: 1, 150: 3})
    by_name = {row.name: row for row in rows(counts)}
    data = by_name["MarketDataUpdate"]
    assert (data.templates, data.plants, data.status, data.taken, data.sent) == ("100/101", "TICKER", "served", 7, 6)
    assert (by_name["GetInstrumentByUnderlying"].templates, by_name["GetInstrumentByUnderlying"].sent) == (
        "102/103/104",
        2,
    )
    assert by_name["Heartbeat"].plants == "all"
    assert by_name["Login"].plants.startswith("before login")
    assert (by_name["LastTrade"].status, by_name["BestBidOffer"].status) == ("sent", "never sent")


def test_command_prints_markdown_and_refuses_what_is_no_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of counts makes a table with a line for each row and the sum of each class; anything else is exit 2."""
    path = tmp_path / "counts.json"
    path.write_bytes(msgspec.json.encode(TemplateCounts(tests=3, taken={18: 3}, sent={19: 3})))
    assert main([str(path)]) == 0
    printed = capsys.readouterr().out
    assert "| 18/19 | Heartbeat | all | served | 3 | 3 |" in printed
    assert printed.count("\n| ") == len(rows(None)) + 1 - printed.startswith("| ")
    assert "Counted over 3 tests" in printed
    path.write_text("[1]")
    assert main([str(path)]) == 2
    assert main([str(tmp_path / "absent.json")]) == 2
    assert main(["a", "b"]) == 2
    assert capsys.readouterr().out == ""
