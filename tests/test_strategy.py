"""The public Strategy class and the runner behind it, without any process."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

import nightdesk
from nightdesk import OrderTerms, OrderType, Side, Strategy, StrategyError, StrategyParameters, TimeInForce
from nightdesk.errors import LaneError
from nightdesk.messages import (
    CancelAllOrders,
    CancelOrder,
    ClientOrderId,
    ConnectionLost,
    ConnectionRestored,
    DataGap,
    Denial,
    Flatten,
    ModifyOrder,
    OrderDenied,
    OrderInitialized,
    OrderModifyRejected,
    OrderPendingCancel,
    OrderStatus,
    PauseChanged,
    PositionReport,
    QueryOrder,
    StrategyId,
    SubmitOrder,
    TradingPermissionChanged,
)
from nightdesk.trading.order_ids import CLIENT_ORDER_ID_LENGTH_MAX, ClientOrderIds
from tests.strategy_support import ES, NQ, START_NS, Bench, quote_at, trade_at

CALLBACKS = [name for name in vars(Strategy) if name.startswith("on_")]


def _recorder(name: str) -> Any:
    def record(self: Any, *arguments: object) -> None:
        self.calls.append((name, *arguments))

    return record


class Recording(Strategy):
    """Writes down every callback."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []


for _name in CALLBACKS:
    setattr(Recording, _name, _recorder(_name))


def _names(bench: Bench) -> list[str]:
    return [call[0] for call in bench.strategy.calls]


@pytest.fixture
def bench() -> Bench:
    """A started strategy with one symbol."""
    bench = Bench(Recording)
    bench.start()
    bench.strategy.calls.clear()
    return bench


def test_public_names_are_importable_from_nightdesk() -> None:
    """Whatever dir() shows can be imported, and the first line of the class tells prints and fills apart."""
    for name in dir(nightdesk):
        assert getattr(nightdesk, name) is not None
    first_line = (Strategy.__doc__ or "").splitlines()[0]
    assert "on_trade`` is a print on the tape" in first_line
    assert "on_order_filled`` is our own fill" in first_line
    with pytest.raises(AttributeError):
        _ = nightdesk.NoSuchName


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, OrderType.MARKET),
        ({"price": 5000.25}, OrderType.LIMIT),
        ({"trigger_price": 5001.0}, OrderType.STOP_MARKET),
        ({"price": 5001.25, "trigger_price": 5001.0}, OrderType.STOP_LIMIT),
        ({"trigger_price": 4990.0, "order_type": OrderType.MARKET_IF_TOUCHED}, OrderType.MARKET_IF_TOUCHED),
    ],
)
def test_order_type_follows_from_the_prices(bench: Bench, arguments: dict[str, Any], expected: OrderType) -> None:
    """Without an order type the prices decide; a given one wins."""
    bench.strategy.buy(2, **arguments)
    (command,) = bench.of(SubmitOrder)
    assert (command.order_type, command.side, command.quantity) == (expected, Side.BUY, 2)
    assert (command.exchange, command.fencing_epoch, command.strategy_id) == ("CME", 7, "test")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"quantity": 0}, "quantity"),
        ({"quantity": -1}, "quantity"),
        ({"quantity": 1.5}, "quantity"),
        ({"quantity": True}, "quantity"),
        ({"quantity": 1, "symbol": "ZZ"}, "'ZZ' is no symbol"),
        ({"quantity": 1, "order_type": OrderType.LIMIT}, "needs a price"),
        ({"quantity": 1, "order_type": OrderType.STOP_MARKET}, "needs a trigger_price"),
        ({"quantity": 1, "order_type": OrderType.MARKET, "price": 5000.0}, "takes no price"),
        ({"quantity": 1, "price": 5000.1}, "round_to_tick"),
        ({"quantity": 1, "price": float("nan")}, "finite"),
    ],
)
def test_mistakes_raise_and_nothing_is_sent(bench: Bench, arguments: dict[str, Any], text: str) -> None:
    """A wrong argument is a StrategyError, which is a ValueError, that says what is wrong."""
    with pytest.raises(StrategyError, match=text) as caught:
        bench.strategy.sell(**arguments)
    assert isinstance(caught.value, ValueError)
    assert bench.sent == []


def test_prices_lose_their_floating_point_dust(bench: Bench) -> None:
    """A sum of ticks that is off by the last bits is sent as the exchange's price."""
    bench.strategy.buy(1, price=5000.0 + 0.25 + 1e-10)
    assert bench.of(SubmitOrder)[0].price == 5000.25


def test_symbol_must_be_named_where_there_are_several() -> None:
    """With one symbol it may be left out, with two it may not."""
    bench = Bench(Recording, instruments=(ES, NQ))
    bench.start()
    with pytest.raises(StrategyError, match="name the symbol"):
        bench.strategy.buy(1)
    bench.strategy.submit(OrderTerms(symbol="NQZ6", side=Side.SELL, quantity=1, time_in_force=TimeInForce.IOC))
    assert [(c.symbol, c.time_in_force) for c in bench.of(SubmitOrder)] == [("NQZ6", TimeInForce.IOC)]


def test_methods_before_the_start_say_so() -> None:
    """In __init__ nothing can be traded yet."""
    with pytest.raises(StrategyError, match="on_start"):
        Strategy().buy(1)


def test_client_order_ids_are_unique_short_and_differ_over_restarts() -> None:
    """The counter tells orders of one process apart, the random part processes."""
    name = "a" * 32
    first, second = ClientOrderIds(name, lambda: "0123456789abcdef"), ClientOrderIds(name, lambda: "fedcba9876543210")
    ids = [ids.next() for ids in (first, second) for _ in range(50)]
    assert len(set(ids)) == 100
    assert all(len(one) <= CLIENT_ORDER_ID_LENGTH_MAX and one.startswith(name + "-") for one in ids)


def test_submit_without_order_lane_is_denied_on_the_next_turn(bench: Bench) -> None:
    """No exception and no order: on_order_denied with STATE_DISCONNECTED, after the present callback."""
    bench.lane_open = False
    client_order_id = bench.strategy.buy(1)
    assert _names(bench) == []
    assert not bench.strategy.trading_permitted
    bench.turn()
    name, event = bench.strategy.calls[-1]
    assert (name, event.code, event.client_order_id) == ("on_order_denied", Denial.STATE_DISCONNECTED, client_order_id)
    assert bench.sent == []
    assert bench.strategy.orders() == ()


def test_commands_before_the_first_welcome_are_denied() -> None:
    """A lane that is open but has not welcomed us has no fencing epoch to send with."""
    bench = Bench(Recording)
    bench.runner.start()
    bench.strategy.buy(1)
    bench.strategy.flatten()
    bench.turn()
    assert _names(bench).count("on_order_denied") == 2
    assert bench.sent == []


def test_modify_and_cancel_of_what_cannot_be_changed_are_refused_later(bench: Bench) -> None:
    """Unknown, finished or disconnected: the rejection callbacks, never an exception."""
    bench.strategy.modify(ClientOrderId("nobody"), quantity=2)
    bench.strategy.buy(1)
    (command,) = bench.of(SubmitOrder)
    bench.fill(command)
    bench.strategy.cancel(command.client_order_id)
    bench.turn()
    calls = {call[0]: call[1].text for call in bench.strategy.calls if call[0].endswith("_rejected")}
    assert calls["on_order_modify_rejected"].startswith("ORDER_UNKNOWN")
    assert calls["on_order_cancel_rejected"].startswith("ORDER_NOT_WORKING")


def test_back_pressure_of_the_order_lane_is_an_exception(bench: Bench) -> None:
    """An order plant that does not read makes the call raise, and the order does not exist."""
    bench.lane_full = True
    with pytest.raises(LaneError):
        bench.strategy.buy(1)
    assert bench.strategy.orders() == ()


def test_order_moves_through_its_life_and_position_is_there_in_on_order_filled(bench: Bench) -> None:
    """Sent, accepted, partly filled, filled; orders() and position() are current in each callback."""
    bench.strategy.buy(3, price=5000.0)
    (command,) = bench.of(SubmitOrder)
    assert bench.order_of(command).status == OrderStatus.INITIALIZED
    bench.accept(command)
    bench.fill(command, 1)
    assert (bench.order_of(command).status, bench.position()) == (OrderStatus.PARTIALLY_FILLED, 1)
    bench.fill(command, 2)
    assert (bench.order_of(command).status, bench.position()) == (OrderStatus.FILLED, 3)
    assert bench.strategy.orders() == ()
    names = [name for name in _names(bench) if name != "on_order_event"]
    assert names == ["on_order_accepted", "on_order_filled", "on_position", "on_order_filled", "on_position"]


def test_fill_that_is_told_twice_counts_once(bench: Bench) -> None:
    """Neither the position nor the strategy sees a duplicate."""
    bench.strategy.sell(2)
    event = bench.fill(bench.of(SubmitOrder)[0], 1)
    bench.runner.on_order_event(event)
    assert bench.position() == -1
    assert bench.runner.fills == 1
    assert _names(bench).count("on_order_filled") == 1


def test_position_report_that_says_what_we_know_is_no_news(bench: Bench) -> None:
    """on_position comes once per change, and again when the order plant corrects us."""
    bench.strategy.buy(1)
    bench.fill(bench.of(SubmitOrder)[0], price=5000.0)
    report = bench.runner.position("ESZ6")
    bench.runner.on_position(report)
    assert _names(bench).count("on_position") == 1
    bench.runner.on_position(_position(4, 5000.0))
    bench.runner.on_position(_position(9, 5000.0, strategy_id=""))
    assert _names(bench).count("on_position") == 2
    assert bench.position() == 4


def _position(quantity: int, price: float, strategy_id: str = "test") -> PositionReport:
    return PositionReport(
        strategy_id=StrategyId(strategy_id),
        symbol="ESZ6",
        exchange="CME",
        quantity=quantity,
        average_price=price,
        realized_pnl=0.0,
        unrealized_pnl=0.0,
    )


def test_realized_profit_and_average_price_follow_the_fills(bench: Bench) -> None:
    """Opening averages, closing realizes, crossing zero starts anew at the fill's price."""
    for method, quantity, price in (("buy", 1, 5000.0), ("buy", 1, 5002.0), ("sell", 3, 5004.0)):
        getattr(bench.strategy, method)(quantity)
        bench.fill(bench.of(SubmitOrder)[-1], price=price)
    position = bench.strategy.position()
    assert (position.quantity, position.average_price, position.realized_pnl) == (-1, 5004.0, 300.0)


def test_modify_and_cancel_cover_the_status_until_they_are_answered(bench: Bench) -> None:
    """PENDING_UPDATE at once; a rejection brings the former status back, an update the new terms."""
    bench.strategy.buy(2, price=5000.0)
    (command,) = bench.of(SubmitOrder)
    bench.accept(command)
    bench.strategy.modify(command.client_order_id, price=5000.25)
    assert bench.order_of(command).status == OrderStatus.PENDING_UPDATE
    bench.runner.on_order_event(OrderModifyRejected(**bench.common(command), text="no"))
    assert (bench.order_of(command).status, bench.order_of(command).price) == (OrderStatus.ACCEPTED, 5000.0)
    bench.strategy.modify(command.client_order_id, price=5000.25)
    bench.update(command, 5000.25)
    assert (bench.order_of(command).status, bench.order_of(command).price) == (OrderStatus.ACCEPTED, 5000.25)
    bench.strategy.cancel(command.client_order_id)
    assert bench.order_of(command).status == OrderStatus.PENDING_CANCEL
    bench.cancel(command)
    assert bench.order_of(command).status == OrderStatus.CANCELED
    assert [type(c) for c in bench.sent] == [SubmitOrder, ModifyOrder, ModifyOrder, CancelOrder]


def test_cancel_all_and_flatten_are_one_command_each(bench: Bench) -> None:
    """The order plant does the work; an order that it makes for us appears in orders()."""
    bench.strategy.cancel_all()
    bench.strategy.flatten("ESZ6")
    assert [command.symbol for command in bench.of(CancelAllOrders)] == [""]
    assert [command.symbol for command in bench.of(Flatten)] == ["ESZ6"]
    exit_order = OrderInitialized(
        client_order_id=ClientOrderId("exit-1"),
        strategy_id=StrategyId("test"),
        symbol="ESZ6",
        exchange="CME",
        ts_event_ns=START_NS,
        side=Side.SELL,
        order_type=OrderType.MARKET,
        quantity=2,
        price=None,
        trigger_price=None,
        time_in_force=TimeInForce.DAY,
        protective=False,
    )
    bench.runner.on_order_event(exit_order)
    assert [order.client_order_id for order in bench.strategy.orders()] == ["exit-1"]


def test_first_welcome_is_history_and_tells_no_events() -> None:
    """After a restart orders and positions are there in on_start, without callbacks."""
    source = Bench(Recording)
    source.start()
    source.strategy.buy(1, price=4990.0)
    order = source.strategy.orders()[0]
    bench = Bench(Recording)
    bench.welcome(orders=(order,), positions=(_position(-2, 5001.0),))
    bench.runner.start()
    assert _names(bench) == ["on_start"]
    assert bench.strategy.orders() == (order,)
    assert bench.position() == -2


def test_later_welcome_tells_what_was_missed(bench: Bench) -> None:
    """A fill during the outage arrives as one fill with the missed quantity, after all views are right."""
    bench.strategy.buy(3, price=5000.0)
    (command,) = bench.of(SubmitOrder)
    bench.accept(command)
    bench.fill(command, 1, price=5000.0)
    bench.runner.desk.lane_lost()
    known = bench.order_of(command)
    now = _replaced(known, status=OrderStatus.FILLED, filled_quantity=3, leaves_quantity=0, average_price=4999.0)
    bench.strategy.calls.clear()
    bench.welcome(orders=(now,), positions=(_position(3, 4999.0),))
    assert [name for name in _names(bench) if name != "on_order_event"] == ["on_order_filled", "on_position"]
    fill = next(call[1] for call in bench.strategy.calls if call[0] == "on_order_filled")
    assert (fill.last_quantity, fill.last_price) == (2, 4998.5)
    assert (bench.position(), bench.strategy.orders()) == (3, ())


def _replaced(order: Any, **changes: Any) -> Any:
    return type(order)(**{field: getattr(order, field) for field in order.__struct_fields__} | changes)


def test_order_that_a_welcome_does_not_name_is_asked_for(bench: Bench) -> None:
    """It finished or never arrived: the answer tells which, and no position is counted twice."""
    bench.strategy.buy(1)
    (command,) = bench.of(SubmitOrder)
    bench.runner.desk.lane_lost()
    bench.welcome(positions=(_position(1, 5000.0),))
    assert [query.client_order_id for query in bench.of(QueryOrder)] == [command.client_order_id]
    known = bench.order_of(command)
    bench.runner.on_order_report(
        _replaced(known, status=OrderStatus.FILLED, filled_quantity=1, leaves_quantity=0, average_price=5000.0)
    )
    assert (bench.position(), bench.strategy.orders()) == (1, ())
    assert _names(bench).count("on_order_filled") == 1


def test_order_that_never_arrived_ends_with_a_denial(bench: Bench) -> None:
    """The order plant may answer the question with OrderDenied, too."""
    bench.strategy.buy(1)
    (command,) = bench.of(SubmitOrder)
    bench.runner.on_order_event(OrderDenied(**bench.common(command), code=Denial.ORDER_UNKNOWN, text="never seen"))
    assert bench.order_of(command).status == OrderStatus.DENIED


def test_pause_at_the_welcome_is_told_after_on_start() -> None:
    """A strategy that was paused before a restart hears it like any other pause, once."""
    bench = Bench(Recording)
    bench.start(paused=True)
    assert _names(bench) == ["on_start", "on_pause"]
    bench.runner.on_pause_changed(PauseChanged(strategy_id=StrategyId("test"), paused=True, reason="again"))
    bench.runner.on_pause_changed(PauseChanged(strategy_id=StrategyId("other"), paused=False, reason="not us"))
    assert bench.strategy.paused
    bench.runner.on_pause_changed(PauseChanged(strategy_id=StrategyId("test"), paused=False, reason=""))
    assert _names(bench) == ["on_start", "on_pause", "on_resume"]


def test_trading_permission_follows_the_order_plant(bench: Bench) -> None:
    """Permitted means connected and reconciled."""
    assert bench.strategy.trading_permitted
    change = TradingPermissionChanged(permitted=False, trading_state="ACTIVE", reason="reconciling")  # type: ignore[arg-type]
    bench.runner.on_permission_changed(change)
    assert not bench.strategy.trading_permitted


def test_on_tick_comes_before_the_specific_callback(bench: Bench) -> None:
    """Any market data first, then a trade or a quote; the newest quote is kept."""
    bench.runner.on_trade(trade_at(START_NS + 1))
    bench.runner.on_quote(quote_at(START_NS + 2))
    assert _names(bench) == ["on_tick", "on_trade", "on_tick", "on_quote"]
    assert bench.strategy.quote() == quote_at(START_NS + 2)
    assert (bench.runner.trades, bench.runner.quotes, bench.runner.last_event_ns) == (1, 1, START_NS + 2)


def test_bar_comes_before_the_trade_that_ends_it(bench: Bench) -> None:
    """Two subscriptions to the same bars give each bar once."""
    bench.strategy.subscribe_bars("ESZ6", 2)
    bench.strategy.subscribe_bars("ESZ6", 2)
    bench.trade(5000.0)
    bench.strategy.calls.clear()
    bench.trade(5001.0, after_s=2.0)
    assert _names(bench) == ["on_bar", "on_tick", "on_trade"]


def test_market_clock_ends_bars_and_calls_timers_without_ticks(bench: Bench) -> None:
    """The runner asks to be woken when the next of them is due."""
    bench.strategy.subscribe_bars("ESZ6", 2)
    bench.strategy.set_timer("beat", 1.0)
    bench.strategy.set_timer("once", 1.5, repeat=False)
    bench.trade(5000.0)
    bench.strategy.calls.clear()
    bench.pass_time(3.5)
    calls = [(call[0], call[1]) for call in bench.strategy.calls if call[0] == "on_timer"]
    assert calls == [("on_timer", "beat"), ("on_timer", "once"), ("on_timer", "beat"), ("on_timer", "beat")]
    assert _names(bench).count("on_bar") == 1
    bench.strategy.cancel_timer("beat")
    assert bench.due_ns is None


def test_gap_is_announced_after_the_market_lane_was_lost(bench: Bench) -> None:
    """From the last tick seen to the first newer one; an image of an old trade ends no gap."""
    bench.runner.on_trade(trade_at(START_NS + 10))
    bench.runner.on_market_lane_lost()
    bench.runner.on_trade(trade_at(START_NS + 10))
    assert "on_data_gap" not in _names(bench)
    bench.runner.on_trade(trade_at(START_NS + 50))
    bench.runner.on_trade(trade_at(START_NS + 60))
    gaps = [call[1] for call in bench.strategy.calls if call[0] == "on_data_gap"]
    assert [(gap.ts_from_ns, gap.ts_to_ns, gap.lost_trades) for gap in gaps] == [(START_NS + 10, START_NS + 50, -1)]


def test_gap_that_the_plant_announces_is_told_once(bench: Bench) -> None:
    """What the plant says makes our own guess needless."""
    bench.runner.on_trade(trade_at(START_NS + 10))
    bench.runner.on_market_lane_lost()
    gap = DataGap(
        symbol="ESZ6", exchange="CME", ts_from_ns=START_NS + 10, ts_to_ns=START_NS + 40, lost_trades=3, cause="restart"
    )
    bench.runner.on_data_gap(gap)
    bench.runner.on_trade(trade_at(START_NS + 50))
    assert [call[1] for call in bench.strategy.calls if call[0] == "on_data_gap"] == [gap]


def test_connection_loss_is_told_once_per_outage(bench: Bench) -> None:
    """The plant's word and the broken lane are one outage."""
    lost = ConnectionLost(plant="plants/ticker", reason="drop", ts_recv_ns=0)  # type: ignore[arg-type]
    restored = ConnectionRestored(plant="plants/ticker", downtime_ms=1, ts_recv_ns=0)  # type: ignore[arg-type]
    for step in (lost, lost):
        bench.runner.on_connection_lost(step)
    for back in (restored, restored):
        bench.runner.on_connection_restored(back)
    assert _names(bench) == ["on_connection_lost", "on_connection_restored"]


def test_nothing_is_delivered_after_the_stop(bench: Bench) -> None:
    """on_stop is the last callback."""
    bench.strategy.buy(1)
    bench.runner.stop()
    bench.runner.on_order_event(OrderPendingCancel(**bench.common(bench.of(SubmitOrder)[0])))
    bench.runner.stop()
    assert _names(bench)[-1] == "on_stop"
    assert _names(bench).count("on_stop") == 1


def test_declared_parameters_are_checked_and_typed() -> None:
    """A wrong or unknown name is one clear error; without a declaration the mapping is read-only."""

    class Typed(Strategy):
        class Parameters(StrategyParameters):
            size: int = Field(default=1, ge=1)

    assert Bench(Typed, {"size": 3}).strategy.parameters.size == 3
    with pytest.raises(StrategyError, match=r"parameters\.size"):
        Bench(Typed, {"size": 0})
    with pytest.raises(StrategyError, match=r"parameters\.speed"):
        Bench(Typed, {"speed": 1})
    free = Bench(Recording, {"anything": 1}).strategy.parameters
    assert free["anything"] == 1
    with pytest.raises(TypeError):
        free["anything"] = 2


def test_example_of_the_documentation_works_as_printed() -> None:
    """It buys the breakout once, guards it with a protective stop, and sends nothing while that works."""
    text = (Path(__file__).resolve().parents[1] / "docs" / "strategies.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {"__name__": "breakout"}
    exec(compile(code, "breakout.py", "exec"), names)
    bench = Bench(names["Breakout"], {"bars": 3, "stop_ticks": 4})
    bench.start()
    for number in range(10):
        bench.trade(5000.0 + number, after_s=60.0)
        if len(bench.of(SubmitOrder)) == 1:
            bench.fill(bench.of(SubmitOrder)[0], price=5004.0)
    entry, stop = bench.of(SubmitOrder)
    assert (entry.side, entry.order_type) == (Side.BUY, OrderType.MARKET)
    assert (stop.side, stop.order_type, stop.trigger_price, stop.protective) == (
        Side.SELL,
        OrderType.STOP_MARKET,
        5003.0,
        True,
    )
