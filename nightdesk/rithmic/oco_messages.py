"""OCO orders as protobuf classes: async_rithmic has none of them. Their fields are those of the public definitions.

Built as proto2, as the protocol itself is: a column with a zero in it is sent as long as the others are.
"""

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE: Final = "nightdesk_oco"
_Field = descriptor_pb2.FieldDescriptorProto
_TYPES: Final = {
    "string": _Field.TYPE_STRING,
    "int32": _Field.TYPE_INT32,
    "double": _Field.TYPE_DOUBLE,
    "bool": _Field.TYPE_BOOL,
}
"""Enumerations are on the wire as whole numbers are, and are read and written as such here."""

_REQUEST: Final = """
    template_id=154467:int32 user_msg*=132760:string user_tag*=154119:string fcm_id=154013:string ib_id=154014:string
    account_id=154008:string symbol*=110100:string exchange*=110101:string quantity*=112004:int32 price*=110306:double
    trigger_price*=149247:double transaction_type*=112003:int32 duration*=112005:int32 price_type*=112008:int32
    trade_route*=112016:string manual_or_auto*=154710:int32 trailing_stop*=157063:bool trail_by_ticks*=157064:int32
    trail_by_price_id*=157065:int32 cancel_at_ssboe=157085:int32 cancel_at_usecs=157086:int32
"""
_ANSWER: Final = """
    template_id=154467:int32 user_msg*=132760:string user_tag*=154119:string rq_handler_rp_code*=132764:string
    rp_code*=132766:string basket_id*=110300:string ssboe*=150100:int32 usecs*=150101:int32
"""


def _classes(messages: dict[str, str]) -> dict[str, Any]:
    described = descriptor_pb2.FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto2")
    for message_name, fields in messages.items():
        message = described.message_type.add(name=message_name)
        for field in fields.split():
            name, _, rest = field.partition("=")
            number, _, kind = rest.partition(":")
            label = _Field.LABEL_REPEATED if name.endswith("*") else _Field.LABEL_OPTIONAL
            message.field.add(name=name.rstrip("*"), number=int(number), type=_TYPES[kind], label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(described)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in messages
    }


_CLASSES = _classes({"RequestOCOOrder": _REQUEST, "ResponseOCOOrder": _ANSWER})

OCO_TEMPLATES: Final[dict[int, Any]] = {328: _CLASSES["RequestOCOOrder"], 329: _CLASSES["ResponseOCOOrder"]}
"""Template id to protobuf class."""
