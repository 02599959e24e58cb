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
_TEXT_FINAL = 0x81


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


def _websocket_frame(body: bytes, first: int = _BINARY_FINAL) -> bytes:
    length = len(body)
    if length < 126:
        return bytes((first, length)) + body
    if length < 1 << 16:
        return bytes((first, 126)) + length.to_bytes(2, "big") + body
    return bytes((first, 127)) + length.to_bytes(8, "big") + body


class OutgoingFrame:
    """One message for any number of clients; each framing is built when the first client of that framing needs it."""

    __slots__ = ("_bare", "_prefixed", "payload")

    is_spoiled = False
    """Whether a fault made it into something that is no proper frame."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        """The protobuf message alone."""
        self._prefixed: bytes | None = None
        self._bare: bytes | None = None

    def transport_bytes(self, framing: Framing) -> bytes:
        """What to write to the transport of a connection with this framing."""
        if framing is Framing.PREFIXED:
            if self._prefixed is None:
                self._prefixed = _websocket_frame(len(self.payload).to_bytes(_LENGTH_BYTES, "big") + self.payload)
            return self._prefixed
        if self._bare is None:
            self._bare = _websocket_frame(self.payload)
        return self._bare


class SpoiledFrame(OutgoingFrame):
    """A frame that a fault has made wrong: any bytes, with any length before them, as binary or as text."""

    __slots__ = ("_is_text", "_length")

    is_spoiled = True

    def __init__(self, payload: bytes, *, length: int | None = None, is_text: bool = False) -> None:
        """``length`` is what a prefixed client is told; None is the true one."""
        super().__init__(payload)
        self._length = len(payload) if length is None else length
        self._is_text = is_text

    def transport_bytes(self, framing: Framing) -> bytes:
        """What to write to the transport of a connection with this framing."""
        body = self.payload
        if self._is_text:
            return _websocket_frame(body, _TEXT_FINAL)
        if framing is Framing.PREFIXED:
            body = self._length.to_bytes(_LENGTH_BYTES, "big") + body
        return _websocket_frame(body)
