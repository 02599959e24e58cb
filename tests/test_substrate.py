"""The mailbox's transport: order, windows, limits, and what becomes of peers that hang, die or misbehave."""

import os
import pickle
import socket
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thespian.actors import ActorAddress, WatchMessage
from thespian.system.transport import ReceiveEnvelope, SendStatus, TransmitIntent

from nightdesk.clocks import ManualClock
from nightdesk.errors import ConfigurationError
from supervisors.substrate import MailboxAddress, UnixTransport, clear, folder, prepare
from supervisors.substrate.frames import HEADER, MARK, FrameError, FrameReader, pack
from supervisors.substrate.inbox import FIRST_FRAME_S, HALF_FRAME_S, NEWCOMERS_MAX, Inbox
from supervisors.substrate.outbox import CREDIT_WINDOW, PEER_FRAMES_MAX
from supervisors.substrate.poller import Poller
from supervisors.substrate.transport import Endpoint
from tests.e2e.harness import short_folder

TURN = timedelta(milliseconds=2)


class Ends:
    """How each intent ended."""

    def __init__(self) -> None:
        self.statuses: list[object] = []

    def intent(self, to: ActorAddress, message: object) -> TransmitIntent:
        def done(status: object, _intent: object) -> None:
            self.statuses.append(status)

        return TransmitIntent(to, message, onSuccess=done, onError=done)


class House:
    """Transports of one folder, turned by hand."""

    def __init__(self, runtime: Path) -> None:
        self.folder = prepare(str(runtime))
        self.all: list[UnixTransport] = []
        self.received: dict[int, list[Any]] = {}

    def transport(self) -> UnixTransport:
        admin = ActorAddress(MailboxAddress(os.path.join(self.folder, "admin")))
        made = UnixTransport(Endpoint(None, None, admin, self.folder))
        self.all.append(made)
        self.received[id(made)] = []
        return made

    def turn(self, *transports: UnixTransport) -> None:
        """Let each take what has come."""
        for transport in transports or tuple(self.all):
            taken = self.received[id(transport)]

            def handle(envelope: ReceiveEnvelope, taken: list[Any] = taken) -> bool:
                taken.append(envelope.message)
                return True

            transport.run(handle, TURN)

    def mail(self, transport: UnixTransport) -> list[Any]:
        return self.received[id(transport)]

    def turn_until(self, predicate: Any, *transports: UnixTransport) -> None:
        for _ in range(500):
            if predicate():
                return
            self.turn(*transports)
        raise AssertionError("not within 500 turns")


@pytest.fixture
def house() -> Iterator[House]:
    with short_folder() as runtime:
        made = House(runtime)
        yield made
        for transport in made.all:
            transport.close()
        assert os.listdir(made.folder) == []
        clear(made.folder)


def test_address_is_equal_by_path_hashable_and_picklable() -> None:
    """Thespian sends addresses in messages and compares them when they come back."""
    address = MailboxAddress("/run/x/m/12-ab")
    assert pickle.loads(pickle.dumps(address)) == address
    assert len({address, MailboxAddress("/run/x/m/12-ab"), MailboxAddress("/run/x/m/13-ab")}) == 2
    assert ActorAddress(address) == ActorAddress(MailboxAddress("/run/x/m/12-ab"))
    assert str(address) == "(U|12-ab)"


def test_folder_and_sockets_are_for_their_owner_only(house: House) -> None:
    """0700 and 0600: what the kernel lets no other user pass."""
    path = house.transport().myAddress.addressDetails.path
    assert stat.S_IMODE(os.stat(house.folder).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_squatted_folder_is_refused(tmp_path: Path) -> None:
    """A link, or a file, where the folder should be: nobody may lead our sockets elsewhere."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "m").symlink_to(tmp_path)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "m").write_text("")
    for name in "ab":
        with pytest.raises(ConfigurationError, match="not a folder"):
            prepare(str(tmp_path / name))


def test_stale_sockets_are_removed_and_served_ones_are_kept(house: House) -> None:
    """At boot by asking who listens; later, when a process starts, by the pid in the name."""
    served = house.transport().myAddress.addressDetails.path
    stale = os.path.join(house.folder, "999999999-stale")
    folder.listen_at(stale).close()
    prepare(os.path.dirname(house.folder))
    assert os.listdir(house.folder) == [os.path.basename(served)]
    folder.listen_at(stale).close()
    house.transport()
    assert os.path.basename(stale) not in os.listdir(house.folder)


def test_paths_are_never_used_twice_and_must_fit(house: House) -> None:
    """A name is one process in one incarnation; a runtime_dir that is too long is told, not cut."""
    assert len({folder.new_path(house.folder) for _ in range(1_000)}) == 1_000
    with pytest.raises(ConfigurationError, match="too long"):
        folder.new_path("/" + "x" * 100)


@settings(max_examples=50, deadline=None)
@given(payloads=st.lists(st.binary(max_size=300), max_size=8), sizes=st.lists(st.integers(1, 200), max_size=40))
def test_frames_survive_any_cutting(payloads: list[bytes], sizes: list[int]) -> None:
    """However the bytes come, the same messages come out."""
    stream = b"".join(pack(payload) for payload in payloads)
    reader, found = FrameReader(), []
    for size in [*sizes, len(stream) + 1]:
        reader.add(stream[:size])
        stream = stream[size:]
        while (payload := reader.next()) is not None:
            found.append(pickle.loads(payload))
    assert found == payloads
    assert not reader.half


@pytest.mark.parametrize("garbage", [b"-5>", b"-", b"GET / HTTP/1.1", b"NDM2", b"\x16\x03\x01", b"\0" * 3])
def test_garbage_is_refused_at_its_first_bytes(garbage: bytes) -> None:
    """Nothing is unpickled, nothing is waited for."""
    reader = FrameReader()
    reader.add(garbage)
    with pytest.raises(FrameError):
        reader.next()


def test_announced_size_is_checked_before_anything_is_read() -> None:
    """Four gigabytes are refused by their header."""
    reader = FrameReader(1_000)
    reader.add(HEADER.pack(MARK, 1_001))
    with pytest.raises(FrameError, match="1001"):
        reader.next()


def test_message_over_the_limit_raises_at_the_sender(house: House) -> None:
    """The peer never sees it, and mail before and after it is not touched."""
    one, two = house.transport(), house.transport()
    one.frame_bytes_max = 10_000
    one.scheduleTransmit(None, TransmitIntent(two.myAddress, "before"))
    with pytest.raises(FrameError):
        one.scheduleTransmit(None, TransmitIntent(two.myAddress, "x" * 20_000))
    one.scheduleTransmit(None, TransmitIntent(two.myAddress, "after"))
    house.turn_until(lambda: len(house.mail(two)) == 2)
    assert house.mail(two) == ["before", "after"]


def test_mail_both_ways_keeps_its_order_and_none_is_lost(house: House) -> None:
    """Thespian's own transport turned 65 of 6,000 around; a connection of one's own for each direction turns none."""
    one, two = house.transport(), house.transport()
    for number in range(1_000):
        one.scheduleTransmit(None, TransmitIntent(two.myAddress, number))
        two.scheduleTransmit(None, TransmitIntent(one.myAddress, number))
    house.turn_until(lambda: len(house.mail(one)) == len(house.mail(two)) == 1_000)
    assert house.mail(one) == house.mail(two) == list(range(1_000))


def test_message_larger_than_a_socket_buffer_arrives(house: House) -> None:
    """It is written in pieces as the peer reads."""
    one, two = house.transport(), house.transport()
    text = "x" * 3_000_000
    one.scheduleTransmit(None, TransmitIntent(two.myAddress, text))
    house.turn_until(lambda: house.mail(two))
    assert house.mail(two) == [text]


def test_hung_peers_make_nobody_mute(house: House) -> None:
    """Twenty messages to hung peers stopped Thespian's own transport; here each peer has a window of its own."""
    one, two = house.transport(), house.transport()
    hung = [house.transport() for _ in range(30)]
    ends = Ends()
    for peer in hung:
        for number in range(40):
            one.scheduleTransmit(None, ends.intent(peer.myAddress, number))
    one.scheduleTransmit(None, TransmitIntent(two.myAddress, "hello"))
    house.turn(one, two)
    assert house.mail(two) == ["hello"]
    assert ends.statuses == []
    house.turn(hung[0])
    assert house.mail(hung[0]) == list(range(CREDIT_WINDOW))
    house.turn_until(lambda: len(ends.statuses) == 30 * 40)
    assert set(ends.statuses) == {SendStatus.Sent}
    assert house.mail(hung[7]) == list(range(40))


def test_what_waits_for_one_peer_is_bounded(house: House) -> None:
    """More fails at once; what waited before is not lost."""
    one, two = house.transport(), house.transport()
    ends = Ends()
    for number in range(PEER_FRAMES_MAX + CREDIT_WINDOW + 5):
        one.scheduleTransmit(None, ends.intent(two.myAddress, number))
    house.turn(one)
    assert ends.statuses == [SendStatus.Failed] * 5


def test_mail_to_a_dead_peer_fails_at_once(house: House) -> None:
    """All that waits, and all that follows; the file that the dead process left is removed."""
    one = house.transport()
    stale = os.path.join(house.folder, f"{os.getpid()}-dead")
    listener = folder.listen_at(stale)
    ends = Ends()
    peer = ActorAddress(MailboxAddress(stale))
    for number in range(10):
        one.scheduleTransmit(None, ends.intent(peer, number))
    listener.close()
    house.turn_until(lambda: len(ends.statuses) == 10, one)
    one.scheduleTransmit(None, ends.intent(peer, "later"))
    house.turn(one)
    assert ends.statuses == [SendStatus.DeadTarget] * 11
    assert not os.path.exists(stale)


def test_intent_that_is_too_old_is_given_up(house: House) -> None:
    """A peer that hangs does not keep mail for ever; its late acknowledgement is not taken for another one's."""
    one, hung = house.transport(), house.transport()
    ends = Ends()

    def done(status: object, _intent: object) -> None:
        ends.statuses.append(status)

    soon = timedelta(milliseconds=10)
    one.scheduleTransmit(None, TransmitIntent(hung.myAddress, "old", onSuccess=done, onError=done, maxPeriod=soon))
    house.turn_until(lambda: ends.statuses, one)
    one.scheduleTransmit(None, ends.intent(hung.myAddress, "new"))
    house.turn_until(lambda: len(ends.statuses) == 2)
    assert ends.statuses == [SendStatus.Failed, SendStatus.Sent]
    assert house.mail(hung) == ["old", "new"]


def test_message_that_cannot_be_unpickled_fails_alone(house: House) -> None:
    """The sender is told, and what was behind it arrives on the next connection."""
    one, two = house.transport(), house.transport()
    ends = Ends()
    broken = ends.intent(two.myAddress, "broken")
    one.scheduleTransmit(None, ends.intent(two.myAddress, 1))
    broken.serMsg = HEADER.pack(MARK, 5) + b"c__ma"
    one._schedulePreparedIntent(broken)
    one.scheduleTransmit(None, ends.intent(two.myAddress, 2))
    house.turn_until(lambda: len(ends.statuses) == 3)
    assert house.mail(two) == [1, 2]
    assert ends.statuses == [SendStatus.Sent, SendStatus.BadPacket, SendStatus.Sent]


def test_idle_connections_do_not_keep_out_real_mail(house: House) -> None:
    """Of 300 that say nothing a few are kept; one that says something is heard."""
    one, two = house.transport(), house.transport()
    idle = []
    for _ in range(300):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(two.myAddress.addressDetails.path)
        idle.append(sock)
        if len(idle) % 50 == 0:
            house.turn(two)
    one.scheduleTransmit(None, TransmitIntent(two.myAddress, "hello"))
    house.turn_until(lambda: house.mail(two))
    for sock in idle:
        sock.setblocking(False)
    open_still = sum(_is_open(sock) for sock in idle)
    for sock in idle:
        sock.close()
    assert open_still <= NEWCOMERS_MAX


def _is_open(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


@pytest.mark.parametrize(("said", "allowed_s"), [(b"", FIRST_FRAME_S), (pack("x")[:9], HALF_FRAME_S)])
def test_who_does_not_finish_is_cut_off(house: House, said: bytes, allowed_s: float) -> None:
    """Neither an idle connection nor half a frame is kept."""
    clock, poller = ManualClock(), Poller()
    path = os.path.join(house.folder, "inbox")
    taken: list[Any] = []
    inbox = Inbox(folder.listen_at(path), poller, lambda _sender, message: taken.append(message), clock)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.connect(path)
        if said:
            peer.sendall(pack(("sender", "first")) + said)
        poller.dispatch(poller.wait(0.1))
        inbox.turn()
        peer.setblocking(False)
        before = _is_open(peer)
        clock.advance(allowed_s + 0.1)
        inbox.turn()
        if said:
            peer.recv(1)
        after = _is_open(peer)
    inbox.close()
    poller.close()
    folder.remove(path)
    assert (before, after) == (True, False)
    assert taken == (["first"] if said else [])


def test_watched_descriptors_are_reported_after_the_mail(house: House) -> None:
    """A child's last words come before the end of its process; a closed descriptor is not waited for."""
    one, two = house.transport(), house.transport()
    event, closed = os.eventfd(1), os.eventfd(1)
    os.close(closed)
    two.set_watch([event, closed])
    one.scheduleTransmit(None, TransmitIntent(two.myAddress, "last words"))
    first, second = two.run(None, TURN), two.run(None, TURN)
    two.set_watch([])
    os.close(event)
    assert first.message == "last words"
    assert isinstance(second.message, WatchMessage)
    assert second.message.ready == [event]


def test_wakeups_come_in_time_and_in_order(house: House) -> None:
    """Also while mail comes."""
    one = house.transport()
    for payload, milliseconds in (("b", 20), ("a", 5)):
        one.run_time = one._pendingWakeups[0][0] if one._pendingWakeups else _forever()
        one.addWakeup(timedelta(milliseconds=milliseconds), payload)
    house.turn_until(lambda: len(house.mail(one)) == 2, one)
    assert [wakeup.payload for wakeup in house.mail(one)] == ["a", "b"]


def _forever() -> Any:
    from thespian.system.timing import ExpirationTimer

    return ExpirationTimer(None)
