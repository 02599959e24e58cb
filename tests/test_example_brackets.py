"""The example with brackets against an order plant that does what a server does with exits."""

from nightdesk.examples.bracket_breakout import BracketBreakout
from nightdesk.messages import (
    ClientOrderId,
    Flatten,
    ModifyOrder,
    OrderAccepted,
    OrderCanceled,
    OrderInitialized,
    OrderRejected,
    OrderType,
    Side,
    StrategyId,
    SubmitOrder,
    TimeInForce,
    VenueOrderId,
)
from tests.strategy_support import Bench

PARAMETERS = {"bars": 3, "period_s": 2, "quantity": 2, "stop_ticks": 8, "target_ticks": 16, "lock_ticks": 6}


def begun() -> Bench:
    """Three bars around 5000."""
    bench = Bench(BracketBreakout, PARAMETERS)
    bench.start()
    for price in (5000.0, 5001.0, 5000.0, 5001.0, 5000.0):
        bench.trade(price, after_s=2.0)
    return bench


def exits(bench: Bench, entry: SubmitOrder) -> None:
    """The server makes them of the entry's fill."""
    sign = 1 if entry.side == Side.BUY else -1
    for mark, order_type, away in (("s1", OrderType.STOP_MARKET, -2.0), ("t1", OrderType.LIMIT, 4.0)):
        at = 5002.0 + sign * away
        about = bench.common(entry) | {"client_order_id": ClientOrderId(f"{entry.client_order_id}-{mark}")}
        bench.runner.on_order_event(
            OrderInitialized(
                **about,
                side=Side.SELL if sign > 0 else Side.BUY,
                order_type=order_type,
                quantity=entry.quantity,
                price=at if order_type is OrderType.LIMIT else None,
                trigger_price=at if order_type is OrderType.STOP_MARKET else None,
                time_in_force=TimeInForce.DAY,
                protective=True,
                parent_client_order_id=entry.client_order_id,
            )
        )
        bench.runner.on_order_event(OrderAccepted(**about, venue_order_id=VenueOrderId(mark)))


def entered(bench: Bench) -> SubmitOrder:
    """A close above the range, and its fill at 5002."""
    bench.trade(5002.0, after_s=2.0)
    bench.trade(5002.0, after_s=2.0)
    entry: SubmitOrder = bench.of(SubmitOrder)[0]
    bench.fill(entry, price=5002.0)
    exits(bench, entry)
    return entry


def test_a_close_beyond_the_range_is_one_bracket() -> None:
    """With its distances, at the market; and none before the range is known, or while the position is held."""
    bench = begun()
    assert bench.sent == []
    entry = entered(bench)
    assert (entry.side, entry.quantity, entry.stop_ticks, entry.target_ticks) == (Side.BUY, 2, 8, 16)
    for price in (5003.0, 5000.0, 4990.0):
        bench.trade(price, after_s=2.0)
    assert bench.of(SubmitOrder) == [entry]


def test_a_close_below_the_range_is_sold() -> None:
    """The same on the other side."""
    bench = begun()
    bench.trade(4998.0, after_s=2.0)
    bench.trade(4998.0, after_s=2.0)
    assert [command.side for command in bench.of(SubmitOrder)] == [Side.SELL]


def test_the_stop_goes_to_the_entry_once_the_price_is_far_enough() -> None:
    """Once, by a change of the stop itself."""
    bench = begun()
    entry = entered(bench)
    bench.trade(5003.25)
    assert bench.of(ModifyOrder) == []
    bench.trade(5003.5)
    bench.trade(5004.0)
    (change,) = bench.of(ModifyOrder)
    assert (change.client_order_id, change.trigger_price) == (f"{entry.client_order_id}-s1", 5002.0)


def test_a_position_whose_stop_is_gone_is_closed() -> None:
    """Canceled or refused by anybody, as long as something is held."""
    for kind in (OrderCanceled, OrderRejected):
        bench = begun()
        entry = entered(bench)
        about = bench.common(entry) | {"client_order_id": ClientOrderId(f"{entry.client_order_id}-s1"), "text": "gone"}
        bench.runner.on_order_event(kind(**about))
        assert len(bench.of(Flatten)) == 1


def test_the_target_cancels_the_stop_and_nothing_is_left_to_do() -> None:
    """The normal end: flat, and free for the next breakout."""
    bench = begun()
    entry = entered(bench)
    target = SubmitOrder(
        client_order_id=ClientOrderId(f"{entry.client_order_id}-t1"),
        strategy_id=StrategyId("test"),
        fencing_epoch=7,
        symbol="ESZ6",
        exchange="CME",
        side=Side.SELL,
        order_type=OrderType.LIMIT,
        quantity=2,
        price=5006.0,
    )
    bench.fill(target, price=5006.0)
    about = bench.common(entry) | {"client_order_id": ClientOrderId(f"{entry.client_order_id}-s1")}
    bench.runner.on_order_event(OrderCanceled(**about))
    assert bench.of(Flatten) == []
    assert bench.strategy.position().quantity == 0
    assert bench.strategy.orders() == ()
