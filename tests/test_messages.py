"""Every message that may cross a process border: one test over all of them."""

import enum
import pickle
import types
import typing
from typing import Any

import pytest

from nightdesk.messages import MESSAGE_TYPES, Message, decode, decode_packet, encode, encode_packet

_SCALARS: dict[Any, Any] = {str: "text", int: 7, float: 2.5, bytes: b"\x00payload", bool: True}


def _value(annotation: Any) -> Any:
    """A value of an annotated type; the first member of a union that is not None."""
    if isinstance(annotation, typing.NewType):
        return _value(annotation.__supertype__)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _value(next(item for item in arguments if item is not type(None)))
    if origin is tuple:
        items = arguments[:1] * 2 if arguments[-1] is Ellipsis else arguments
        return tuple(_value(item) for item in items)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return list(annotation)[-1]
    if isinstance(annotation, type) and issubclass(annotation, Message):
        return _instance(annotation)
    return _SCALARS[annotation]


def _instance(kind: type[Message]) -> Message:
    return kind(**{name: _value(annotation) for name, annotation in typing.get_type_hints(kind).items()})


def _name(kind: type[Message]) -> str:
    return kind.__name__


@pytest.mark.parametrize("kind", MESSAGE_TYPES, ids=_name)
def test_message_survives_every_way_of_travelling_and_cannot_be_changed(kind: type[Message]) -> None:
    """It comes back equal and of its own type from mail and lane, and assigning to any of its fields raises."""
    message = _instance(kind)
    assert decode(encode(message)) == message
    assert type(decode(encode(message))) is kind
    assert decode_packet(encode_packet([message, message])) == [message, message]
    assert pickle.loads(pickle.dumps(message)) == message
    for name in message.__struct_fields__:
        with pytest.raises(AttributeError):
            setattr(message, name, getattr(message, name))
    assert kind.__doc__ is not None


def test_message_types_have_names_of_their_own() -> None:
    """The name is the tag on the wire."""
    names = [kind.__name__ for kind in MESSAGE_TYPES]
    assert sorted(set(names)) == sorted(names)
