"""Frames: the two framings of R|Protocol and the WebSocket header, each made once per message however many read it.

Some clients put a four-byte big-endian length before the protobuf message and some do not; the gateway answers in
kind. A frame is kept as the bytes that go to the transport, WebSocket header included: a message from a server is
unmasked (RFC 6455, 5.2), so the same bytes serve every client of the same framing.
"""

from enum import Enum

from nightdesk.simulator.wire.templates import MalformedFrameError

FRAME_BYTES_MAX = 1 << 20
"""The longest frame that a client may send; async_rithmic's own limit for what it receives is the same."""

_LENGTH_BYTES = 4
_BINARY_FINAL = 0x82


class Framing(Enum):
    """Whether a connection puts the length before each message."""

    PREFIXED = "prefixed"
    BARE = "bare"


def detect_framing(frame: bytes) -> Framing:
    """The framing of a connection, from its first frame."""
    if len(frame) >= _LENGTH_BYTES and int.from_bytes(frame[:_LENGTH_BYTES], "big") == len(frame) - _LENGTH_BYTES:
        return Framing.PREFIXED
    return Framing.BARE


def unwrap(frame: bytes, framing: Framing) -> bytes:
    """The message inside a client's frame; raises MalformedFrameError when the length does not fit."""
    if framing is Framing.BARE:
        return frame
    if detect_framing(frame) is not Framing.PREFIXED:
        raise MalformedFrameError("the length before the message does not fit the frame")
    return frame[_LENGTH_BYTES:]


def _websocket_frame(body: bytes) -> bytes:
    length = len(body)
    if length < 126:
        return bytes((_BINARY_FINAL, length)) + body
    if length < 1 << 16:
        return bytes((_BINARY_FINAL, 126)) + length.to_bytes(2, "big") + body
    return bytes((_BINARY_FINAL, 127)) + length.to_bytes(8, "big") + body


class OutgoingFrame:
    """One message for any number of clients; each framing is built when the first client of that framing needs it."""

    __slots__ = ("_bare", "_payload", "_prefixed")

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._prefixed: bytes | None = None
        self._bare: bytes | None = None

    @property
    def payload(self) -> bytes:
        """The protobuf message alone."""
        return self._payload

    def transport_bytes(self, framing: Framing) -> bytes:
        """What to write to the transport of a connection with this framing."""
        if framing is Framing.PREFIXED:
            if self._prefixed is None:
                self._prefixed = _websocket_frame(len(self._payload).to_bytes(_LENGTH_BYTES, "big") + self._payload)
            return self._prefixed
        if self._bare is None:
            self._bare = _websocket_frame(self._payload)
        return self._bare
