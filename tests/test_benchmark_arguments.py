"""What a benchmark is called with is checked before it measures: bad words are one line, never a traceback."""

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from benchmarks import main_job


def write(folder: Path, name: str, **columns: list[object]) -> str:
    path = folder / name
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return str(path)


def bad_arguments(folder: Path) -> list[tuple[str, str]]:
    """Each with the words that its complaint must have."""
    (folder / "text.parquet").write_text("nonsense")
    (folder / "folder.parquet").mkdir()
    (folder / "tape.csv").write_text("ts_event_ns,price,size\n1,1.0,1\n")
    return [
        ("--tape", "'--tape' is no option"),
        ("-h", "'-h' is no option"),
        ("", "is no Parquet file that is there"),
        ("nonsense", "'nonsense' is no Parquet file that is there"),
        (str(folder / "absent.parquet"), "is no Parquet file that is there"),
        (str(folder / "folder.parquet"), "is no Parquet file that is there"),
        (str(folder / "tape.csv"), "is no Parquet file that is there"),
        (str(folder / "text.parquet"), "not a Parquet file"),
        (write(folder, "bars.parquet", ts_event_ns=[1], open=[1.0]), "column price is missing"),
        (write(folder, "empty.parquet", ts_event_ns=[], price=[], size=[]), "no rows"),
        (write(folder, "off.parquet", ts_event_ns=[1], price=[5000.1], size=[1]), "column price"),
    ]


def test_main_job_complains_in_one_line_before_it_measures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An option, a name that is no file, a file that is no tape; a good tape beside a bad one does not help."""

    def measured() -> dict[str, str]:
        raise AssertionError("nothing is measured with bad arguments")

    monkeypatch.setattr(main_job, "main_job", measured)
    good = write(tmp_path, "good.parquet", ts_event_ns=[1], price=[5000.25], size=[1])
    assert main_job.tapes_of([good]) == [Path(good)]
    assert main_job.tapes_of([]) == []
    for argument, words in bad_arguments(tmp_path):
        assert main_job.main([good, argument]) == 2, argument
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.count("\n") == 1
        assert words in output.err, argument
        assert "usage: python -m benchmarks.main_job [TAPE.parquet ...]" in output.err
