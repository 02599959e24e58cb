"""A look into a message without its class: the template id and single numbers, of any bytes whatever."""

from collections.abc import Iterator

TEMPLATE_ID = 154467
"""The field that says which message it is; in every one of them."""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_VARINT_BYTES_MAX = 10
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}


def template_of(payload: bytes) -> int | None:
    """The template id of a message; None when the bytes are no message that has one."""
    found = None
    for number, value in _numbers(payload):
        if number == TEMPLATE_ID:
            found = value
    return found


def head_of(template_id: int) -> bytes:
    """The encoded template id, with which a server's message begins."""
    return varint(TEMPLATE_ID << 3) + varint(template_id)


def varint(number: int) -> bytes:
    """A whole number from 0 on as protobuf writes it."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _numbers(payload: bytes) -> Iterator[tuple[int, int]]:
    """Numbers of the varint fields with their values, up to the first byte that makes no sense."""
    position = 0
    while position < len(payload):
        tag, position = _decoded(payload, position)
        wire_type = tag & 7
        if wire_type == _VARINT:
            value, position = _decoded(payload, position)
            if position <= len(payload):
                yield tag >> 3, value
        elif wire_type == _LENGTH:
            length, position = _decoded(payload, position)
            position += length
        elif wire_type in _FIXED_BYTES:
            position += _FIXED_BYTES[wire_type]
        else:
            return


def _decoded(payload: bytes, position: int) -> tuple[int, int]:
    """A varint and the place behind it; the place is behind the end when the varint is torn or too long."""
    value = 0
    for index, byte in enumerate(payload[position : position + _VARINT_BYTES_MAX]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    return 0, len(payload) + 1
