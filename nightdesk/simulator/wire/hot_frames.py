"""The two messages of every tick, written byte by byte: half of what protobuf's own serialiser costs from Python.

The field numbers come from the same descriptors as everything else, and the tests hold both ways to the same messages.
Fields go in the order of their numbers, as protobuf writes them.
"""

from functools import lru_cache
from struct import Struct

from nightdesk.simulator.wire.peek import varint as _plain
from nightdesk.simulator.wire.templates import CLASSES, encode

NS_PER_S = 1_000_000_000

_VARINT, _DOUBLE, _BYTES = 0, 1, 2
_CHUNK = 1 << 14
_TWO_CHUNKS = 1 << 28
_THREE_CHUNKS = 1 << 42
_double = Struct("<d").pack


_LAST = [_plain(number) for number in range(_CHUNK)]
_CONTINUED = [bytes((number & 0x7F | 0x80, number >> 7 | 0x80)) for number in range(_CHUNK)]


def varint(number: int) -> bytes:
    """A whole number as protobuf writes it; negative ones as 64 bits."""
    if 0 <= number < _CHUNK:
        return _LAST[number]
    if 0 < number < _TWO_CHUNKS:
        return _CONTINUED[number & 0x3FFF] + _LAST[number >> 14]
    if 0 < number < _THREE_CHUNKS:
        # Most nanoseconds of a second.
        return _CONTINUED[number & 0x3FFF] + _CONTINUED[number >> 14 & 0x3FFF] + _LAST[number >> 28]
    return _plain(number & 0xFFFF_FFFF_FFFF_FFFF)


def _tag(template_id: int, name: str, wire_type: int) -> bytes:
    return _plain(CLASSES[template_id].DESCRIPTOR.fields_by_name[name].number << 3 | wire_type)


_SYMBOL = _tag(150, "symbol", _BYTES)
_EXCHANGE = _tag(150, "exchange", _BYTES)
_SNAPSHOT = {
    None: b"",
    False: _tag(150, "is_snapshot", _VARINT) + b"\0",
    True: _tag(150, "is_snapshot", _VARINT) + b"\1",
}
_PRESENCE = [_tag(150, "presence_bits", _VARINT) + _plain(bits) for bits in range(32)]
_CLEAR = [_tag(150, "clear_bits", _VARINT) + _plain(bits) for bits in range(32)]
_SSBOE = _tag(150, "ssboe", _VARINT)
_USECS = _tag(150, "usecs", _VARINT)

_HEAD_150 = encode(150)
_TRADE_PRICE = _tag(150, "trade_price", _DOUBLE)
_NET_CHANGE = _tag(150, "net_change", _DOUBLE)
_VOLUME = _tag(150, "volume", _VARINT)
_PERCENT_CHANGE = _tag(150, "percent_change", _DOUBLE)
_TRADE_SIZE = _tag(150, "trade_size", _VARINT)
_VWAP = _tag(150, "vwap", _DOUBLE)
_AGGRESSOR = [b"", *[_tag(150, "aggressor", _VARINT) + _plain(side) for side in (1, 2)]]
_SOURCE_SSBOE = _tag(150, "source_ssboe", _VARINT)
_SOURCE_USECS = _tag(150, "source_usecs", _VARINT)
_SOURCE_NSECS = _tag(150, "source_nsecs", _VARINT)

_HEAD_151 = encode(151)
_BID = (_tag(151, "bid_price", _DOUBLE), _tag(151, "bid_size", _VARINT), _tag(151, "bid_orders", _VARINT))
_ASK = (_tag(151, "ask_price", _DOUBLE), _tag(151, "ask_size", _VARINT), _tag(151, "ask_orders", _VARINT))
_LEAN_PRICE = _tag(151, "lean_price", _DOUBLE)

Level = tuple[float, int, int]
"""Price, size and number of orders of one side of a quote."""


@lru_cache(maxsize=1024)
def _names(symbol: str, exchange: str) -> bytes:
    encoded = b""
    for tag, name in ((_SYMBOL, symbol.encode()), (_EXCHANGE, exchange.encode())):
        encoded += tag + varint(len(name)) + name
    return encoded


@lru_cache(maxsize=4)
def _second(ssboe: int) -> tuple[bytes, bytes]:
    encoded = varint(ssboe)
    return _SSBOE + encoded + _USECS, _SOURCE_SSBOE + encoded + _SOURCE_USECS


def last_trade(
    names: tuple[str, str],
    presence: int,
    is_snapshot: bool | None,
    trade: tuple[float, int, int, int, float],
    changes: tuple[float | None, float | None],
    ts_ns: int,
) -> bytes:
    """Template 150. ``trade`` is price, size, aggressor (0: unknown), volume, vwap; ``changes`` net and percent."""
    price, size, aggressor, volume, vwap = trade
    net, percent = changes
    ssboe, nanoseconds = divmod(ts_ns, NS_PER_S)
    second, source_second = _second(ssboe)
    usecs = varint(nanoseconds // 1000)
    return b"".join(
        (
            _HEAD_150,
            _TRADE_PRICE,
            _double(price),
            _NET_CHANGE + _double(net) if net is not None else b"",
            _VOLUME,
            varint(volume),
            _PERCENT_CHANGE + _double(percent) if percent is not None else b"",
            _TRADE_SIZE,
            varint(size),
            _VWAP,
            _double(vwap),
            _names(*names),
            _SNAPSHOT[is_snapshot],
            _AGGRESSOR[aggressor],
            _PRESENCE[presence],
            second,
            usecs,
            source_second,
            usecs,
            _SOURCE_NSECS,
            varint(nanoseconds),
            _CLEAR[0],
        )
    )


def best_bid_offer(
    names: tuple[str, str],
    bits: tuple[int, int],
    is_snapshot: bool | None,
    bid: Level | None,
    ask: Level | None,
    lean_price: float | None,
    ts_ns: int,
) -> bytes:
    """Template 151. ``bits`` are presence and clear; a side or a lean price of None is left out."""
    ssboe, nanoseconds = divmod(ts_ns, NS_PER_S)
    second, _ = _second(ssboe)
    bid_price, bid_size, bid_orders = _side(_BID, bid) if bid is not None else _NOTHING
    ask_price, ask_size, ask_orders = _side(_ASK, ask) if ask is not None else _NOTHING
    return b"".join(
        (
            _HEAD_151,
            bid_price,
            ask_price,
            bid_size,
            ask_size,
            _names(*names),
            _SNAPSHOT[is_snapshot],
            _PRESENCE[bits[0]],
            second,
            varint(nanoseconds // 1000),
            bid_orders,
            ask_orders,
            _CLEAR[bits[1]],
            _LEAN_PRICE + _double(lean_price) if lean_price is not None else b"",
        )
    )


_NOTHING = (b"", b"", b"")


def _side(tags: tuple[bytes, bytes, bytes], side: Level) -> tuple[bytes, bytes, bytes]:
    return tags[0] + _double(side[0]), tags[1] + varint(side[1]), tags[2] + varint(side[2])
