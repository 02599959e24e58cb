"""The messages' definitions: ids, fields and enums, those of our own as well as the published ones."""

import pytest

from nightdesk.simulator.wire.definitions import BITS, ENUMS, FIELDS, MESSAGES
from nightdesk.simulator.wire.templates import CLASSES, MESSAGE_NAMES, decode, encode

TEMPLATE_ID_FIELD = 154467


def _filled(template_id: int) -> dict[str, object]:
    values: dict[str, object] = {}
    for field in CLASSES[template_id].DESCRIPTOR.fields:
        if field.name == "template_id":
            continue
        if field.enum_type is not None:
            value: object = field.enum_type.values[-1].number
        elif field.type == field.TYPE_STRING:
            value = f"{field.name} ü"
        elif field.type == field.TYPE_BYTES:
            value = b"\x00\xff"
        elif field.type == field.TYPE_DOUBLE:
            value = 5000.25
        elif field.type == field.TYPE_BOOL:
            value = True
        else:
            value = (1 << 31) - 1
        values[field.name] = [value, value] if field.is_repeated else value
    return values


@pytest.mark.parametrize("template_id", sorted(MESSAGE_NAMES))
def test_every_field_of_every_message_survives_the_wire(template_id: int) -> None:
    """What is encoded with all its fields is decoded with the same fields, and the template id comes first."""
    fields = _filled(template_id)
    payload = encode(template_id, **fields)
    decoded_id, message = decode(payload)
    assert decoded_id == template_id
    present = {field.name: value for field, value in message.ListFields() if field.name != "template_id"}
    assert {name: list(v) if isinstance(fields[name], list) else v for name, v in present.items()} == fields


def test_own_definitions_never_replace_a_published_one() -> None:
    """A message that async_rithmic knows keeps its published fields; every id has one name and every name one id."""
    assert len(set(MESSAGE_NAMES.values())) == len(MESSAGE_NAMES) == len(CLASSES)
    assert set(MESSAGES) <= set(MESSAGE_NAMES)


def test_a_field_has_the_same_number_and_kind_in_published_messages() -> None:
    """Field numbers are global: what our definitions say of a name holds in at least one published message with it."""
    published: dict[tuple[str, int], set[str]] = {}
    kinds = {1: "double", 4: "uint64", 5: "int32", 8: "bool", 9: "string", 13: "uint32"}
    for template_id in set(MESSAGE_NAMES) - set(MESSAGES):
        for field in CLASSES[template_id].DESCRIPTOR.fields:
            kind = field.enum_type.name if field.enum_type is not None else kinds.get(field.type, "bytes")
            published.setdefault((field.name, field.number), set()).add(kind)
    names = {name for name, _ in published}
    disputed = {
        name: (number, kind)
        for name, (number, kind) in FIELDS.items()
        if name in names and kind not in published.get((name, number), set())
    }
    # These names mean other fields in messages that are published: the levels of a book's permission, a bar's period,
    # the status of an account, and how a list of changes is typed.
    assert set(disputed) == DISPUTED


DISPUTED = {
    "bar_type_period",
    "level_1_market_data",
    "level_2_market_data",
    "period",
    "status",
    "type",
}


def test_enums_and_bits_of_own_messages_are_numbered_as_documented() -> None:
    """Enum values are one, two, three …; bits are powers of two."""
    for values in ENUMS.values():
        assert list(values.values()) == list(range(1, len(values) + 1))
    for template_id, bits in BITS.items():
        assert list(bits.values()) == [1 << n for n in range(len(bits))], template_id


@pytest.mark.parametrize(
    ("template_id", "field", "value"),
    [(351, "notify_type", 21), (351, "price_type", 6), (352, "price_type", 5), (312, "price_type", 6)],
)
def test_values_newer_than_the_published_enums_are_kept(template_id: int, field: str, value: int) -> None:
    """RELEASE_PENDING and the if-touched types go over the wire, although the published enums end before them."""
    _, message = decode(encode(template_id, **{field: value}))
    assert message.HasField(field)
    assert getattr(message, field) == value
