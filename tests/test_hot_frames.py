"""The messages of every tick are written without protobuf: they must be the very bytes that it would write."""

from hypothesis import given
from hypothesis import strategies as st

from nightdesk.simulator.wire.hot_frames import NS_PER_S, best_bid_offer, last_trade, varint
from nightdesk.simulator.wire.templates import encode

PRICES = st.floats(allow_nan=False, allow_infinity=False)
SIZES = st.integers(0, (1 << 31) - 1)
TIMES = st.integers(0, (1 << 31) * NS_PER_S - 1)
NAMES = st.tuples(st.text(max_size=20), st.sampled_from(["CME", "COMEX", ""]))
FLAGS = st.sampled_from([None, True, False])
LEVELS = st.none() | st.tuples(PRICES, SIZES, SIZES)


@given(
    NAMES,
    st.integers(0, 31),
    FLAGS,
    st.tuples(PRICES, SIZES, st.integers(0, 2), st.integers(0, (1 << 64) - 1), PRICES),
    st.tuples(st.none() | PRICES, st.none() | PRICES),
    TIMES,
)
def test_last_trade_has_the_bytes_of_protobuf(
    names: tuple[str, str],
    presence: int,
    is_snapshot: bool | None,
    trade: tuple[float, int, int, int, float],
    changes: tuple[float | None, float | None],
    ts_ns: int,
) -> None:
    """150, whatever its fields: prices with their signs, the largest volume, absent and explicit flags."""
    price, size, aggressor, volume, vwap = trade
    ssboe, nanoseconds = divmod(ts_ns, NS_PER_S)
    assert last_trade(names, presence, is_snapshot, trade, changes, ts_ns) == encode(
        150,
        symbol=names[0],
        exchange=names[1],
        presence_bits=presence,
        clear_bits=0,
        is_snapshot=is_snapshot,
        trade_price=price,
        trade_size=size,
        aggressor=aggressor or None,
        net_change=changes[0],
        percent_change=changes[1],
        volume=volume,
        vwap=vwap,
        ssboe=ssboe,
        usecs=nanoseconds // 1000,
        source_ssboe=ssboe,
        source_usecs=nanoseconds // 1000,
        source_nsecs=nanoseconds,
    )


@given(NAMES, st.tuples(st.integers(0, 7), st.integers(0, 7)), FLAGS, LEVELS, LEVELS, st.none() | PRICES, TIMES)
def test_best_bid_offer_has_the_bytes_of_protobuf(
    names: tuple[str, str],
    bits: tuple[int, int],
    is_snapshot: bool | None,
    bid: tuple[float, int, int] | None,
    ask: tuple[float, int, int] | None,
    lean_price: float | None,
    ts_ns: int,
) -> None:
    """151 with both sides, with one and with none."""
    ssboe, nanoseconds = divmod(ts_ns, NS_PER_S)
    sides = {f"bid_{name}": value for name, value in zip(("price", "size", "orders"), bid or (), strict=False)}
    sides |= {f"ask_{name}": value for name, value in zip(("price", "size", "orders"), ask or (), strict=False)}
    assert best_bid_offer(names, bits, is_snapshot, bid, ask, lean_price, ts_ns) == encode(
        151,
        symbol=names[0],
        exchange=names[1],
        presence_bits=bits[0],
        clear_bits=bits[1],
        is_snapshot=is_snapshot,
        lean_price=lean_price,
        ssboe=ssboe,
        usecs=nanoseconds // 1000,
        **sides,
    )


def test_numbers_of_any_length_are_written_as_protobuf_does() -> None:
    """Around each limit of the tables, and a negative number, against the message with one field."""
    head = encode(250)
    numbers = [0, 1, 127, 128, (1 << 14) - 1, 1 << 14, (1 << 28) - 1, 1 << 28, (1 << 31) - 1, -1]
    tag = encode(250, marker=0)[len(head) : -1]
    assert [encode(250, marker=number) for number in numbers] == [head + tag + varint(number) for number in numbers]
    head = encode(150)
    numbers = [(1 << 28) + 1, 999_999_999, (1 << 42) - 1, 1 << 42, (1 << 64) - 1]
    tag = encode(150, volume=0)[len(head) : -1]
    assert [encode(150, volume=number) for number in numbers] == [head + tag + varint(number) for number in numbers]
