"""Packing: every registered message to bytes and back, for the mailbox and for the lanes."""

from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Any, cast

import msgspec

from nightdesk.messages import control, lifecycle, market, orders
from nightdesk.messages.base import Message

_ABSTRACT = frozenset({Message, orders.OrderEvent})


def _concrete(module: Any) -> list[type[Message]]:
    return [
        item
        for item in vars(module).values()
        if isinstance(item, type)
        and issubclass(item, Message)
        and item not in _ABSTRACT
        and item.__module__ == module.__name__
    ]


MESSAGE_TYPES: tuple[type[Message], ...] = tuple(
    kind for module in (market, orders, lifecycle, control) for kind in _concrete(module)
)
"""Every message type that may cross a process border."""

_union = cast(Any, reduce(or_, MESSAGE_TYPES))
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_union)
_packet_decoder = msgspec.msgpack.Decoder(cast(Any, list)[_union])

DecodeError = msgspec.DecodeError
"""Raised by ``decode`` and ``decode_packet`` for bytes that are no message of ours."""


def encode(message: Message) -> bytes:
    """Pack one message."""
    return _encoder.encode(message)


def decode(payload: bytes) -> Message:
    """Unpack one message; raises ``DecodeError`` (also ``msgspec.ValidationError``) for anything else."""
    return cast(Message, _decoder.decode(payload))


def encode_packet(messages: Sequence[Message]) -> bytes:
    """Pack several messages into one lane packet."""
    return _encoder.encode(messages)


def decode_packet(payload: bytes) -> list[Message]:
    """Unpack one lane packet; raises ``DecodeError`` for anything else."""
    return cast(list[Message], _packet_decoder.decode(payload))
