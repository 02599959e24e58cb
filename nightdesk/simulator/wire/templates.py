"""R|Protocol's messages with presence: async_rithmic's descriptors rebuilt as proto2 in a pool of our own.

The published definitions are proto2; async_rithmic converts them to proto3, whose classes drop every zero and every
empty string when they serialise. Captured servers do send them (``quantity=0``), and clients other than async_rithmic
look at presence, so the same descriptors are loaded again here with the original syntax. Messages that async_rithmic
does not know are built from definitions of our own, into the same pool.
"""

from collections.abc import Iterator
from typing import Any

import async_rithmic.protocol_buffers as published
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from nightdesk.errors import NightdeskError
from nightdesk.simulator.wire.definitions import BITS, ENUMS, FIELDS, MESSAGES
from nightdesk.simulator.wire.peek import TEMPLATE_ID, head_of

_PUBLISHED: dict[int, str] = {
    10: "RequestLogin",
    11: "ResponseLogin",
    12: "RequestLogout",
    13: "ResponseLogout",
    14: "RequestReferenceData",
    15: "ResponseReferenceData",
    16: "RequestRithmicSystemInfo",
    17: "ResponseRithmicSystemInfo",
    18: "RequestHeartbeat",
    19: "ResponseHeartbeat",
    75: "Reject",
    76: "UserAccountUpdate",
    77: "ForcedLogout",
    100: "RequestMarketDataUpdate",
    101: "ResponseMarketDataUpdate",
    109: "RequestSearchSymbols",
    110: "ResponseSearchSymbols",
    111: "RequestProductCodes",
    112: "ResponseProductCodes",
    113: "RequestFrontMonthContract",
    114: "ResponseFrontMonthContract",
    115: "RequestDepthByOrderSnapshot",
    116: "ResponseDepthByOrderSnapshot",
    117: "RequestDepthByOrderUpdates",
    118: "ResponseDepthByOrderUpdates",
    121: "RequestAuxilliaryReferenceData",
    122: "ResponseAuxilliaryReferenceData",
    150: "LastTrade",
    151: "BestBidOffer",
    156: "OrderBook",
    160: "DepthByOrder",
    161: "DepthByOrderEndEvent",
    200: "RequestTimeBarUpdate",
    201: "ResponseTimeBarUpdate",
    202: "RequestTimeBarReplay",
    203: "ResponseTimeBarReplay",
    204: "RequestTickBarUpdate",
    205: "ResponseTickBarUpdate",
    206: "RequestTickBarReplay",
    207: "ResponseTickBarReplay",
    250: "TimeBar",
    251: "TickBar",
    300: "RequestLoginInfo",
    301: "ResponseLoginInfo",
    302: "RequestAccountList",
    303: "ResponseAccountList",
    304: "RequestAccountRmsInfo",
    305: "ResponseAccountRmsInfo",
    306: "RequestProductRmsInfo",
    307: "ResponseProductRmsInfo",
    308: "RequestSubscribeForOrderUpdates",
    309: "ResponseSubscribeForOrderUpdates",
    310: "RequestTradeRoutes",
    311: "ResponseTradeRoutes",
    312: "RequestNewOrder",
    313: "ResponseNewOrder",
    314: "RequestModifyOrder",
    315: "ResponseModifyOrder",
    316: "RequestCancelOrder",
    317: "ResponseCancelOrder",
    318: "RequestShowOrderHistoryDates",
    319: "ResponseShowOrderHistoryDates",
    320: "RequestShowOrders",
    321: "ResponseShowOrders",
    324: "RequestShowOrderHistorySummary",
    325: "ResponseShowOrderHistorySummary",
    326: "RequestShowOrderHistoryDetail",
    327: "ResponseShowOrderHistoryDetail",
    330: "RequestBracketOrder",
    331: "ResponseBracketOrder",
    332: "RequestUpdateTargetBracketLevel",
    333: "ResponseUpdateTargetBracketLevel",
    334: "RequestUpdateStopBracketLevel",
    335: "ResponseUpdateStopBracketLevel",
    336: "RequestSubscribeToBracketUpdates",
    337: "ResponseSubscribeToBracketUpdates",
    338: "RequestShowBrackets",
    339: "ResponseShowBrackets",
    340: "RequestShowBracketStops",
    341: "ResponseShowBracketStops",
    342: "RequestListExchangePermissions",
    343: "ResponseListExchangePermissions",
    346: "RequestCancelAllOrders",
    347: "ResponseCancelAllOrders",
    350: "TradeRoute",
    351: "RithmicOrderNotification",
    352: "ExchangeOrderNotification",
    353: "BracketUpdates",
    356: "AccountRmsUpdates",
    400: "RequestPnLPositionUpdates",
    401: "ResponsePnLPositionUpdates",
    402: "RequestPnLPositionSnapshot",
    403: "ResponsePnLPositionSnapshot",
    450: "InstrumentPnLPositionUpdate",
    451: "AccountPnLPositionUpdate",
    500: "RequestListUnacceptedAgreements",
    501: "ResponseListUnacceptedAgreements",
    502: "RequestListAcceptedAgreements",
    503: "ResponseListAcceptedAgreements",
    506: "RequestShowAgreement",
    507: "ResponseShowAgreement",
    3504: "RequestExitPosition",
    3505: "ResponseExitPosition",
    3506: "RequestReplayExecutions",
    3507: "ResponseReplayExecutions",
    3512: "RequestShowFillHistory",
    3513: "ResponseShowFillHistory",
}

MESSAGE_NAMES = dict(sorted((_PUBLISHED | {each: name for each, (name, _) in MESSAGES.items()}).items()))
"""The template ids that are known here, from the protocol's reference; a request has a name that begins so."""

_VALUES_MISSING = {
    "PriceType": {"MARKET_IF_TOUCHED": 5, "LIMIT_IF_TOUCHED": 6},
    "NotifyType": {"RELEASE_PENDING": 21},
}
"""Values newer than the published enums, by enum: a proto2 enum would refuse them. The notifications' PriceType ends
at 4 though orders of types 5 and 6 are legal."""
_VALUE_OF_THE_ENUM = {"PriceType": "STOP_MARKET", "NotifyType": "TRIGGER_PENDING"}
"""Tells the enum that is meant from others of the same name: 352 has a NotifyType of its own, for exchange reports."""
_REPEATED = {"RequestBracketOrder": ("target_quantity", "target_ticks", "stop_quantity", "stop_ticks")}
"""Fields of which newer definitions have one entry for each exit of a bracket: read as one, all but the last were lost.
One entry is the same bytes either way."""
_TYPES = {
    name: getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{name.upper()}")
    for name in ("bool", "double", "int32", "string", "uint32", "uint64")
}


class MalformedFrameError(NightdeskError):
    """The bytes are no R|Protocol message: the client is told so with a Reject."""


class UnknownTemplateError(NightdeskError):
    """The message has a template id that is not known here: the client is told so with a Reject."""


def _descriptor_files() -> Iterator[descriptor_pb2.FileDescriptorProto]:
    for module in vars(published).values():
        descriptor = getattr(module, "DESCRIPTOR", None)
        if descriptor is None:
            continue
        file = descriptor_pb2.FileDescriptorProto()
        descriptor.CopyToProto(file)
        file.syntax = "proto2"
        for message in file.message_type:
            del message.oneof_decl[:]
            for field in message.field:
                field.ClearField("proto3_optional")
                field.ClearField("oneof_index")
                if field.name in _REPEATED.get(message.name, ()):
                    field.label = field.LABEL_REPEATED
            for enum in message.enum_type:
                known = {value.name for value in enum.value}
                if _VALUE_OF_THE_ENUM.get(enum.name) in known:
                    for name, number in _VALUES_MISSING[enum.name].items():
                        if name not in known:
                            enum.value.add(name=name, number=number)
        yield file


def _defined_file(template_id: int) -> descriptor_pb2.FileDescriptorProto:
    """A message that is not published, from the table of definitions."""
    message_name, fields = MESSAGES[template_id]
    file = descriptor_pb2.FileDescriptorProto(name=f"{message_name}.proto", package="rti", syntax="proto2")
    message = file.message_type.add(name=message_name)
    _add_field(message, "template_id", TEMPLATE_ID, "int32", is_repeated=False)
    for word in fields.split():
        name, _, override = word.rstrip("*").partition("=")
        number, kind = FIELDS[name]
        if override:
            digits, _, kind = override.partition(":")
            number = int(digits)
        _add_field(message, name, number, kind, is_repeated=word.endswith("*"))
    if template_id in BITS:
        bits = message.enum_type.add(name="Bits")
        for name, bit in BITS[template_id].items():
            bits.value.add(name=name, number=bit)
    return file


def _add_field(message: Any, name: str, number: int, kind: str, *, is_repeated: bool) -> None:
    field = message.field.add(name=name, number=number)
    field.label = field.LABEL_REPEATED if is_repeated else field.LABEL_OPTIONAL
    if kind not in ENUMS:
        field.type = _TYPES[kind]
        return
    field.type = field.TYPE_ENUM
    field.type_name = f".rti.{message.name}.{kind}"
    if all(enum.name != kind for enum in message.enum_type):
        enum = message.enum_type.add(name=kind)
        for value_name, value in ENUMS[kind].items():
            enum.value.add(name=value_name, number=value)


def _build_classes() -> tuple[Any, dict[int, Any]]:
    pool = descriptor_pool.DescriptorPool()
    for file in _descriptor_files():
        pool.Add(file)
    for template_id in MESSAGES:
        pool.Add(_defined_file(template_id))
    classes = {
        template_id: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"rti.{name}"))
        for template_id, name in MESSAGE_NAMES.items()
    }
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("rti.Base")), classes


_BASE, CLASSES = _build_classes()
_HEADS = {template_id: head_of(template_id) for template_id in MESSAGE_NAMES}
"""The encoded template id of each message: servers put it first in the frame, protobuf would sort it to the back."""


def encode(template_id: int, **fields: object) -> bytes:
    """One message as bytes; a field given as None stays absent, a zero or an empty string goes on the wire."""
    return _HEADS[template_id] + bytes(CLASSES[template_id](**fields).SerializeToString())


def decode(payload: bytes) -> tuple[int, Any]:
    """The template id and the message; every string in it is known to be UTF-8.

    Raises MalformedFrameError or UnknownTemplateError.
    """
    try:
        base = _BASE.FromString(payload)
    except DecodeError as error:
        raise MalformedFrameError("not a protobuf message") from error
    if not base.HasField("template_id"):
        raise MalformedFrameError("no template id")
    template_id: int = base.template_id
    if template_id not in CLASSES:
        raise UnknownTemplateError(f"template {template_id} is not known")
    try:
        message = CLASSES[template_id].FromString(payload)
    except DecodeError as error:
        raise MalformedFrameError(f"not a message of template {template_id}") from error
    for field, value in message.ListFields():
        # Proto2 does not check strings: what is not UTF-8 is handed out as bytes, which no handler expects.
        values = (value,) if isinstance(value, (str, bytes, int, float)) else value
        if field.type == field.TYPE_STRING and not all(isinstance(each, str) for each in values):
            raise MalformedFrameError(f"a string of template {template_id} is not UTF-8")
    return template_id, message
