"""Frames of the wire as our messages."""

from typing import Any

import pytest

from nightdesk.messages import AggressorSide, Bar, BrokerPosition, OrderType, Side, TimeInForce
from nightdesk.rithmic import words
from nightdesk.rithmic.decode import MarketDecoder, decode_bar, decode_position, decode_tick
from nightdesk.rithmic.library import TEMPLATES

RECV_NS = 42


def message(template_id: int, **fields: Any) -> Any:
    """As it comes from the wire: packed and parsed by the library's classes."""
    kind = TEMPLATES[template_id]
    return kind.FromString(kind(template_id=template_id, symbol="ESH4", exchange="CME", **fields).SerializeToString())


def test_trade_carries_price_size_aggressor_and_the_exchanges_time() -> None:
    """source_ssboe and source_nsecs, where present, are finer and earlier than the gateway's own stamp."""
    tick = MarketDecoder().trade(
        message(
            150,
            presence_bits=1 | 8,
            trade_price=4800.25,
            trade_size=3,
            aggressor=2,
            ssboe=1_700_000_001,
            usecs=5,
            source_ssboe=1_700_000_000,
            source_usecs=999_999,
            source_nsecs=999_999_123,
        ),
        RECV_NS,
    )
    assert tick is not None
    assert (tick.price, tick.quantity, tick.aggressor_side) == (4800.25, 3, AggressorSide.SELL)
    assert (tick.ts_event_ns, tick.ts_recv_ns) == (1_700_000_000_999_999_123, RECV_NS)


def test_trade_without_source_time_has_the_gateways() -> None:
    """ssboe and usecs are always there."""
    tick = MarketDecoder().trade(message(150, presence_bits=1, ssboe=1_700_000_001, usecs=5), RECV_NS)
    assert tick is not None
    assert (tick.ts_event_ns, tick.aggressor_side) == (1_700_000_001_000_005_000, AggressorSide.NONE)


def test_frame_with_volume_only_is_no_print() -> None:
    """Without the LAST_TRADE bit the price in the frame means nothing."""
    assert MarketDecoder().trade(message(150, presence_bits=8 | 16, trade_price=4800.25), RECV_NS) is None


def test_one_sided_quote_keeps_the_other_side() -> None:
    """An update carries only the side that changed."""
    decoder = MarketDecoder()
    decoder.quote(
        message(151, presence_bits=3, bid_price=10.0, bid_size=5, ask_price=10.25, ask_size=7, is_snapshot=True), 1
    )
    quote = decoder.quote(message(151, presence_bits=1, bid_price=10.25, bid_size=2, ssboe=9), RECV_NS)
    assert quote is not None
    assert (quote.bid_price, quote.bid_size, quote.ask_price, quote.ask_size) == (10.25, 2, 10.25, 7)
    assert quote.ts_event_ns == 9_000_000_000
    assert decoder.last_quote("ESH4", "CME") == quote


def test_cleared_side_has_size_zero_and_its_last_price() -> None:
    """A side without orders is not a side at price zero."""
    decoder = MarketDecoder()
    decoder.quote(message(151, presence_bits=3, bid_price=10.0, bid_size=5, ask_price=10.25, ask_size=7), 1)
    quote = decoder.quote(message(151, clear_bits=2), RECV_NS)
    assert quote is not None
    assert (quote.bid_size, quote.ask_price, quote.ask_size) == (5, 10.25, 0)


def test_quote_that_changes_neither_side_is_ignored() -> None:
    """LEAN_PRICE alone is no quote."""
    assert MarketDecoder().quote(message(151, presence_bits=4, lean_price=10.0), RECV_NS) is None


def test_quotes_of_symbols_do_not_mix_and_are_forgotten_with_the_link() -> None:
    """The state of a lost connection says nothing about the market now."""
    decoder = MarketDecoder()
    decoder.quote(message(151, presence_bits=1, bid_price=10.0, bid_size=5), 1)
    assert decoder.last_quote("NQH4", "CME") is None
    decoder.forget()
    assert decoder.last_quote("ESH4", "CME") is None


@pytest.mark.parametrize("template_id", [203, 250])
def test_intraday_marker_is_the_end_of_the_bar(template_id: int) -> None:
    """The bar that the library stamps with a naive local time ends at its integer marker, UTC."""
    frame = message(
        template_id,
        type=2,
        period="60",
        marker=1_700_000_040,
        open_price=1.0,
        high_price=4.0,
        low_price=0.5,
        close_price=2.0,
        volume=10,
        num_trades=3,
    )
    assert decode_bar(frame) == Bar(
        symbol="ESH4",
        exchange="CME",
        period_s=60,
        open=1.0,
        high=4.0,
        low=0.5,
        close=2.0,
        volume=10,
        trades=3,
        ts_event_ns=1_699_999_980_000_000_000,
        ts_close_ns=1_700_000_040_000_000_000,
    )


def test_daily_marker_is_the_trade_date() -> None:
    """YYYYMMDD, not seconds."""
    bar = decode_bar(message(203, type=3, period="1", marker=20231225))
    assert bar is not None
    assert (bar.ts_event_ns, bar.period_s) == (1_703_462_400_000_000_000, 86_400)


def test_frame_without_marker_is_no_bar() -> None:
    """The terminal of a replay may come as an empty bar."""
    assert decode_bar(message(203)) is None


@pytest.mark.parametrize(
    ("volumes", "side"),
    [
        ({"ask_volume": 2}, AggressorSide.BUY),
        ({"bid_volume": 2}, AggressorSide.SELL),
        ({}, AggressorSide.NONE),
    ],
)
def test_one_tick_bar_is_one_print(volumes: dict[str, int], side: AggressorSide) -> None:
    """Volume at the ask was bought by the aggressor, at the bid sold."""
    frame = message(207, close_price=5.0, volume=2, data_bar_ssboe=[9, 10], data_bar_usecs=[0, 7], **volumes)
    tick = decode_tick(frame, RECV_NS)
    assert tick is not None
    assert (tick.price, tick.quantity, tick.aggressor_side, tick.ts_event_ns) == (5.0, 2, side, 10_000_007_000)


def test_position_is_net_with_its_average_price() -> None:
    """450 is per account and instrument; a snapshot says so."""
    frame = message(450, account_id="SIM-1", net_quantity=-2, avg_open_fill_price=4800.5, ssboe=7, is_snapshot=True)
    assert decode_position(frame) == BrokerPosition(
        account_id="SIM-1",
        symbol="ESH4",
        exchange="CME",
        quantity=-2,
        average_price=4800.5,
        ts_event_ns=7_000_000_000,
        is_snapshot=True,
    )


def test_every_word_of_ours_has_one_on_the_wire_and_back() -> None:
    """No order type, side or duration is left out."""
    assert set(words.ORDER_TYPE_TO_WIRE) == set(OrderType)
    assert set(words.SIDE_TO_WIRE) == set(Side)
    assert set(words.TIME_IN_FORCE_TO_WIRE) == set(TimeInForce)
    assert set(words.AGGRESSOR_FROM_WIRE.values()) == set(AggressorSide)
    assert all(words.ORDER_TYPE_FROM_WIRE[number] is kind for kind, number in words.ORDER_TYPE_TO_WIRE.items())
