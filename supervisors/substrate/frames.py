"""What is said on a mailbox connection: frames one way, one byte for each of them the other way.

A frame is a mark, the length of its payload, and the payload: a pickled (sender, message). Whoever may connect is
of the same user and could do as he likes with this process anyway; the mark and the limit keep out accidents, and
the limit stands before any byte is unpickled.
"""

import pickle
import struct
from typing import Any

FRAME_BYTES_MAX = 8 * 1024 * 1024
"""The largest payload; whoever announces more is cut off before it is read, whoever sends more gets an error."""

MARK = b"NDM1"
HEADER = struct.Struct(">4sI")

ACCEPTED = b"\x06"
"""The peer has the frame in its queue."""

UNREADABLE = b"\x15"
"""The peer could not unpickle the frame; it closes the connection after this."""

UNPICKLING_ERRORS = (
    pickle.UnpicklingError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a damaged pickle, or one of a class that is not known here, is seen to raise."""


class FrameError(Exception):
    """The other end does not keep to the rules above; its connection is closed."""


def pack(content: object, bytes_max: int = FRAME_BYTES_MAX) -> bytes:
    """One frame. Raises FrameError when it is too large, and whatever pickle raises."""
    payload = pickle.dumps(content, pickle.HIGHEST_PROTOCOL)
    if len(payload) > bytes_max:
        raise FrameError(f"a message of {len(payload)} bytes; the mailbox takes {bytes_max}")
    return HEADER.pack(MARK, len(payload)) + payload


def unpack(payload: bytes) -> tuple[Any, Any]:
    """Sender and message; raises one of ``UNPICKLING_ERRORS``."""
    sender, message = pickle.loads(payload)
    return sender, message


class FrameReader:
    """Takes bytes as they come and gives whole payloads."""

    def __init__(self, bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._buffer = bytearray()
        self._size: int | None = None

    @property
    def half(self) -> bool:
        """Whether the beginning of a frame waits for its end."""
        return bool(self._buffer) or self._size is not None

    def add(self, received: bytes) -> None:
        """Bytes from the connection."""
        self._buffer += received

    def next(self) -> bytes | None:
        """The next payload, None while it is not complete; raises FrameError as soon as a header is wrong."""
        if self._size is None:
            size = HEADER.size
            if not MARK.startswith(self._buffer[: len(MARK)]):
                raise FrameError(f"not a frame: it begins with {bytes(self._buffer[: len(MARK)])!r}")
            if len(self._buffer) < size:
                return None
            self._size = HEADER.unpack_from(self._buffer)[1]
            if self._size > self._bytes_max:
                raise FrameError(f"a frame of {self._size} bytes was announced; the limit is {self._bytes_max}")
            del self._buffer[:size]
        if len(self._buffer) < self._size:
            return None
        payload = bytes(self._buffer[: self._size])
        del self._buffer[: self._size]
        self._size = None
        return payload
