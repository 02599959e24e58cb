"""The wire log: what it records, what it leaves out, and what happens to it when the disk or the process dies."""

import os
import resource
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from nightdesk.clocks import ManualClock
from nightdesk.errors import ConfigurationError, JournalError
from nightdesk.simulator.wire.framing import Framing, OutgoingFrame, SpoiledFrame
from nightdesk.simulator.wire.templates import encode
from nightdesk.simulator.wire.wire_log import FRAME_BYTES_KEPT_MAX, WIRE_LOG_FILE, Kind, WireLog, segments
from nightdesk.simulator.wire.wire_log_reader import WireLogReader, line_of, lines_of, read_records

MIB = 1 << 20
START_NS = 1_700_000_000_000_000_000


def wire_log(folder: Path, limit_bytes: int = MIB, **arguments: Any) -> tuple[WireLog, ManualClock]:
    clock = ManualClock(START_NS)
    return WireLog(folder, limit_bytes=limit_bytes, clock=clock, logger=structlog.get_logger(), **arguments), clock


def prefixed(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


def tick(number: int) -> OutgoingFrame:
    return OutgoingFrame(encode(150, symbol="ESH4", trade_price=5000.0, trade_size=number))


def test_everything_comes_back_in_order_with_its_time(tmp_path: Path) -> None:
    """Connections, requests, answers and ticks, each with the moment at which it happened."""
    log, clock = wire_log(tmp_path)
    log.opened(1, "127.0.0.1:5")
    clock.advance(1)
    log.received(1, prefixed(encode(18)), None, is_logged_in=True)
    log.sent(OutgoingFrame(encode(19, ssboe=7)), 1)
    clock.advance(1)
    log.closed(1, "closed by the client with 1000", 3)
    log.close()
    records = list(read_records(tmp_path))
    assert [record.kind for record in records] == [Kind.STARTED, Kind.OPENED, Kind.RECEIVED, Kind.SENT, Kind.CLOSED]
    assert [(record.ts_ns - START_NS) / 1e9 for record in records] == [0, 0, 1, 1, 2]
    assert [record.template_id for record in records] == [None, None, 18, 19, None]
    assert records[3].message.ssboe == 7
    assert records[4].detail == {"reason": "closed by the client with 1000", "unsent_frames": 3}


def test_a_tick_is_written_once_however_many_get_it(tmp_path: Path) -> None:
    """One record per event, and still it says who got it."""
    log, _ = wire_log(tmp_path)
    for number in range(3):
        frame = tick(number + 1)
        for connection in (1, 2, 3)[number:]:
            log.sent(frame, connection)
    log.close()
    sent = WireLogReader(tmp_path).sent(150)
    assert [record.connections for record in sent] == [(1, 2, 3), (2, 3), (3,)]
    for connection in (1, 2, 3):
        sizes = [record.message.trade_size for record in WireLogReader(tmp_path).ticks_sent_to(connection)]
        assert sizes == list(range(1, connection + 1))


@pytest.mark.parametrize("segment_bytes", [300, 3_000, MIB])
def test_whatever_is_sent_to_whomever_is_read_again(segment_bytes: int, tmp_path: Path) -> None:
    """Frames short and long, to changing receivers, damaged ones and other records between; each file can be read."""
    random = Random(segment_bytes)
    log, _ = wire_log(tmp_path, 64 * MIB)
    log._segment_bytes, log._write_bytes_max = segment_bytes, max(1, segment_bytes // 2)
    expected: list[tuple[Kind, tuple[int, ...], bytes]] = [(Kind.STARTED, (), b"")]
    for number in range(800):
        body = str(number).encode() + bytes(
            random.choice((0, 10, 300, FRAME_BYTES_KEPT_MAX if number % 97 == 0 else 5))
        )
        receivers = tuple(range(1, random.choice((2, 2, 2, 3, 4)))) if number % 200 > 50 else (1, 2)
        match random.randrange(12):
            case 0:
                log.sent(SpoiledFrame(body), 7)
                expected.append((Kind.SPOILED, (7,), body))
            case 1:
                log.received(3, body, Framing.BARE, is_logged_in=True)
                expected.append((Kind.MALFORMED, (3,), body))
            case 2:
                log.flush()
            case _:
                frame = OutgoingFrame(body)
                for receiver in receivers:
                    log.sent(frame, receiver)
                expected.append((Kind.SENT, receivers, body))
    log.close()
    found = [(record.kind, record.connections, record.body) for record in read_records(tmp_path)]
    assert found == [(kind, receivers, body[:FRAME_BYTES_KEPT_MAX]) for kind, receivers, body in expected]
    assert log.records == len(expected)
    assert log.missed == 0


def test_images_are_no_ticks(tmp_path: Path) -> None:
    """What a subscription begins with is left out of the count of ticks."""
    log, _ = wire_log(tmp_path)
    log.sent(OutgoingFrame(encode(150, symbol="ESH4", trade_size=1, is_snapshot=True)), 1)
    log.sent(tick(2), 1)
    log.close()
    assert [each.message.trade_size for each in WireLogReader(tmp_path).ticks_sent_to(1)] == [2]


def test_connections_tell_who_logged_in_and_how_it_ended(tmp_path: Path) -> None:
    """From the login and its answer; a refused login leaves no user."""
    log, _ = wire_log(tmp_path)
    for number, code in ((1, "0"), (2, "13")):
        log.opened(number, "x")
        log.received(
            number, prefixed(encode(10, user="trader", password="secret", infra_type=2)), None, is_logged_in=False
        )
        log.sent(OutgoingFrame(encode(11, rp_code=[code])), number)
    log.closed(1, "fault: drop", 0)
    log.close()
    first, second = WireLogReader(tmp_path).connections().values()
    assert (first.user, first.plant, first.reason) == ("trader", 2, "fault: drop")
    assert (second.user, second.plant, second.closed_ns) == ("", 0, None)


def test_passwords_are_never_written(tmp_path: Path) -> None:
    """Neither of a login, nor of one in a frame that is no message, nor of a text frame, nor a wrong one of a login."""
    log, _ = wire_log(tmp_path, secrets=["hunter2"])
    login = encode(10, user="trader", password="hunter2", infra_type=1)
    log.received(1, prefixed(login), None, is_logged_in=False)
    log.received(1, login, Framing.PREFIXED, is_logged_in=False)
    log.received(1, "hunter2", None, is_logged_in=False)
    log.received(1, login[:-3], Framing.BARE, is_logged_in=False)
    log.received(1, prefixed(encode(10, user="trader", password="another1")), None, is_logged_in=False)
    log.close()
    written = (tmp_path / WIRE_LOG_FILE).read_bytes()
    assert b"hunter2" not in written
    assert b"another1" not in written
    assert WireLogReader(tmp_path).received(10)[0].message.user == "trader"


@pytest.mark.parametrize("frame", [b"", b"\x00", b"\xff" * 50, prefixed(b"\xff" * 9), prefixed(encode(150)[:4])])
def test_what_is_no_message_is_kept_as_it_came(frame: bytes, tmp_path: Path) -> None:
    """Any bytes whatever; a line for a person can be made of them, too."""
    log, _ = wire_log(tmp_path)
    log.received(1, frame, None, is_logged_in=True)
    log.sent(SpoiledFrame(frame), 1)
    log.close()
    _, received, spoiled = read_records(tmp_path)
    assert (received.kind, spoiled.kind) == (Kind.MALFORMED, Kind.SPOILED)
    assert received.body in frame
    assert spoiled.body == frame
    assert all(line_of(record) for record in (received, spoiled))


def test_a_long_frame_is_cut_and_its_length_kept(tmp_path: Path) -> None:
    """The first 64 KiB are there."""
    log, _ = wire_log(tmp_path)
    log.received(1, bytes(300_000), Framing.BARE, is_logged_in=True)
    log.sent(OutgoingFrame(bytes(200_000)), 1)
    log.close()
    _, received, sent = read_records(tmp_path)
    assert [(record.length, len(record.body)) for record in (received, sent)] == [
        (300_000, FRAME_BYTES_KEPT_MAX),
        (200_000, FRAME_BYTES_KEPT_MAX),
    ]


def test_the_space_is_bounded_and_the_oldest_goes_first(tmp_path: Path) -> None:
    """Ten times the space was written; what is left is the newest part, readable from its first record on."""
    log, _ = wire_log(tmp_path, 2 * MIB)
    payload = bytes(1_000)
    for number in range(20_000):
        log.sent(OutgoingFrame(encode(150, trade_size=number + 1, symbol="E") + payload), 1 + number % 3)
    log.close()
    files = segments(tmp_path / WIRE_LOG_FILE)
    assert sum(each.stat().st_size for each in files) <= 2 * MIB
    assert all(each.stat().st_mode & 0o777 == 0o600 for each in files)
    kept = [record.body for record in read_records(tmp_path) if record.kind is Kind.SENT]
    assert len(kept) > 500
    assert kept[-1].endswith(payload)


def test_each_start_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    """A torn end, as a kill leaves it, ends its own file only."""
    log, _ = wire_log(tmp_path)
    log.sent(tick(1), 1)
    log.sent(tick(2), 1)
    log.close()
    path = tmp_path / WIRE_LOG_FILE
    os.truncate(path, path.stat().st_size - 3)
    log, _ = wire_log(tmp_path)
    log.sent(tick(3), 1)
    log.close()
    assert [each.message.trade_size for each in WireLogReader(tmp_path).sent(150)] == [1, 3]


def test_a_file_that_is_something_else_is_named(tmp_path: Path) -> None:
    """No traceback for a wrong name, a foreign file, or damaged bytes in the middle."""
    with pytest.raises(ConfigurationError, match="there is no wire log"):
        list(read_records(tmp_path))
    log, _ = wire_log(tmp_path)
    log.sent(tick(1), 1)
    log.close()
    path = tmp_path / WIRE_LOG_FILE
    content = bytearray(path.read_bytes())
    content[21] = 99
    path.write_bytes(content)
    with pytest.raises(JournalError, match="damaged at byte 21"):
        list(read_records(tmp_path))
    path.write_bytes(b"something else altogether")
    with pytest.raises(JournalError, match="is no wire log"):
        list(read_records(path))


def test_a_full_disk_ends_the_record_with_one_error(tmp_path: Path) -> None:
    """Nobody else is concerned; what was not written is counted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    told = LogCapture()
    logger = structlog.wrap_logger(None, processors=[told])
    log = WireLog(tmp_path, limit_bytes=MIB, clock=ManualClock(START_NS), logger=logger)
    log.sent(tick(1), 1)
    log.flush()
    # The rest of this process's tests may write as much as they like.
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / WIRE_LOG_FILE).stat().st_size, hard))
    try:
        for number in range(100):
            log.sent(tick(number + 2), 1)
            log.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.close()
    assert log.is_stopped
    assert (log.records, log.missed) == (2, 100)
    events = [entry["event"] for entry in told.entries]
    assert events == ["exchange_wire_log_stopped", "exchange_wire_log_incomplete"]
    assert [each.message.trade_size for each in WireLogReader(tmp_path).sent(150)] == [1]


def test_lines_for_a_person_can_be_limited_to_the_last_seconds(tmp_path: Path) -> None:
    """Counted from the newest record."""
    log, clock = wire_log(tmp_path)
    for _ in range(5):
        log.received(1, prefixed(encode(18)), None, is_logged_in=True)
        clock.advance(10)
    log.close()
    assert len(list(lines_of(tmp_path, None))) == 6
    assert [line.split()[1:5] for line in lines_of(tmp_path, 15.0)] == [["received", "1", "18", "RequestHeartbeat"]] * 2


def test_kill_loses_no_more_than_what_waited(tmp_path: Path) -> None:
    """What was flushed is there after a SIGKILL."""
    code = (
        "import os, signal, structlog\n"
        "from tests.test_wire_log import tick, wire_log\n"
        "from pathlib import Path\n"
        f"log, _ = wire_log(Path({str(tmp_path)!r}))\n"
        "log.sent(tick(1), 1); log.flush(); log.sent(tick(2), 1)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=False)
    assert done.returncode == -9
    assert [each.message.trade_size for each in WireLogReader(tmp_path).sent(150)] == [1]
