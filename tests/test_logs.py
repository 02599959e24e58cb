"""Log lines: their form, their keys, and that a process writes each of them at once."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from nightdesk.logs import LINE_BYTES_MAX

REPOSITORY = Path(__file__).resolve().parents[1]


def written_by(code: str, log_format: str = "json", level: str = "info") -> list[bytes]:
    """The lines that a process writes whose logging is set up as an actor's."""
    head = (
        "import logging\nfrom nightdesk.logs import configure, drain, get_logger\n"
        f"configure(log_format={log_format!r}, level={level!r}, actor='X', child_id='plants/order', incarnation=3)\n"
        "log = get_logger()\n"
    )
    done = subprocess.run([sys.executable, "-c", head + code], capture_output=True, check=True, cwd=REPOSITORY)
    assert done.stderr == b""
    return done.stdout.splitlines()


def records_of(code: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in written_by(code)]


def test_line_has_the_fixed_keys_first_and_a_utc_timestamp() -> None:
    """timestamp, level, event and the keys of the process, then what the line says itself."""
    (record,) = records_of("log.info('order_submitted', symbol='ESH4', quantity=2, price=None)")
    assert list(record) == [
        *("timestamp", "level", "event", "actor", "child_id", "incarnation"),
        *("symbol", "quantity", "price"),
    ]
    assert (record["actor"], record["child_id"], record["incarnation"]) == ("X", "plants/order", 3)
    age = datetime.now(UTC) - datetime.fromisoformat(record["timestamp"])
    assert age.total_seconds() < 60


def test_what_a_line_says_itself_has_precedence_over_the_process() -> None:
    """A supervisor's report carries its child's id."""
    (record,) = records_of("log.info('child_started', child_id='strategies/a')")
    assert record["child_id"] == "strategies/a"


def test_level_below_the_threshold_is_not_written() -> None:
    """And an unknown one is refused."""
    assert written_by("log.debug('quiet')") == []
    with pytest.raises(subprocess.CalledProcessError):
        written_by("", level="loud")


def test_exception_is_one_line_with_its_traceback() -> None:
    """In JSON; nothing spills over to a second line."""
    (record,) = records_of("try:\n    1/0\nexcept ZeroDivisionError:\n    log.exception('boom')")
    assert "ZeroDivisionError" in record["exception"]


def test_console_form_shows_no_local_variables_of_a_traceback() -> None:
    """A secret may be among them."""
    code = (
        "def f():\n    password = 'canary' + '123'\n    1/0\n"
        "try:\n    f()\nexcept ZeroDivisionError:\n    log.exception('x')"
    )
    text = b"\n".join(written_by(code, log_format="console"))
    assert b"ZeroDivisionError" in text
    assert b"canary123" not in text


def test_libraries_warnings_join_in_as_our_lines() -> None:
    """What comes through the standard logging is no second format on the same stream."""
    (record,) = records_of("logging.getLogger('websockets').warning('bad %s', 'thing')")
    assert (record["event"], record["logger"], record["text"]) == ("library_message", "websockets", "bad thing")


@pytest.mark.parametrize(
    ("code", "event"),
    [
        ("class A:\n    def __del__(self):\n        raise ValueError\nA()", "error_ignored"),
        ("import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()", "thread_failed"),
        ("import warnings\nwarnings.warn('old')", "library_message"),
    ],
)
def test_what_python_itself_complains_of_is_a_line_of_ours(code: str, event: str) -> None:
    """Standard error may be the same stalled pipe: a finalizer that fails must not stop the loop that ran it."""
    assert [record["event"] for record in records_of(code)] == [event]


@pytest.mark.parametrize("text", ["'x' * 20_000", "'é' * 9_000", "'\\x00' * 9_000", "['y' * 10] * 2_000"])
def test_long_line_is_cut_to_what_a_pipe_keeps_whole(text: str) -> None:
    """The other keys stay, and the line remains JSON."""
    (line,) = written_by(f"log.info('long', text={text}, after=1)")
    assert len(line) + 1 <= LINE_BYTES_MAX
    assert orjson.loads(line)["after"] == 1


@pytest.mark.parametrize(
    "keys",
    ["text='\\ud800'", "number=2 ** 70", "**{'\\ud800': 1}", "value=Bad()", "values=[Bad(), 'x' * 9000]"],
)
def test_value_that_json_has_no_form_for_is_written_in_words(keys: str) -> None:
    """A lone surrogate, a huge integer, an object whose repr raises: no log call ends its caller."""
    bad = "class Bad:\n    def __repr__(self):\n        raise ValueError\n"
    lines = written_by(f"{bad}log.info('odd', {keys})\nlog.info('after')")
    assert [orjson.loads(line)["event"] for line in lines] == ["odd", "after"]


def test_line_with_too_many_keys_keeps_the_fixed_ones() -> None:
    """Cutting texts is of no use there; what remains is marked and valid."""
    (line,) = written_by("log.info('long', **{f'key_number_{n}': n for n in range(2000)})")
    record = orjson.loads(line)
    assert (record["event"], record["child_id"], record["cut"]) == ("long", "plants/order", "…[cut]")


def test_of_a_long_traceback_the_end_is_kept() -> None:
    """The last line names the error."""
    (record,) = records_of("log.error('actor_crashed', traceback='frame ' * 5000 + 'ValueError: the end')")
    assert record["traceback"].startswith("…[cut]")
    assert record["traceback"].endswith("ValueError: the end")


def test_console_form_is_cut_to_what_a_pipe_keeps_whole() -> None:
    """Its middle is left out, at whole characters."""
    text = b"\n".join(written_by("log.info('long', text='é' * 9000, after=1)", log_format="console"))
    assert len(text) + 1 <= LINE_BYTES_MAX
    assert "…[cut]…" in text.decode()


def test_closed_standard_output_stops_nobody() -> None:
    """A pager that went away must not end an actor."""
    code = (
        "from nightdesk.logs import configure, get_logger\nimport os\n"
        "configure(log_format='json', level='info')\nos.close(1)\nget_logger().info('lost')\nos._exit(7)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=REPOSITORY).returncode == 7


def test_lines_of_many_processes_do_not_interleave() -> None:
    """Each line is one write."""
    code = (
        "import os\nfor _ in range(4):\n    pid = os.fork()\n    if pid == 0:\n"
        "        for n in range(200):\n            log.info('line', text='z' * 500, n=n)\n"
        "        drain(20)\n        os._exit(0)\n"
        "for _ in range(4):\n    os.wait()"
    )
    lines = written_by(code)
    assert len(lines) == 800
    assert all(orjson.loads(line)["text"] == "z" * 500 for line in lines)
