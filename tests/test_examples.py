"""The two examples against an order plant that obeys, denies, delays and disappears."""

import math
import random
from itertools import pairwise

import pytest

from nightdesk.errors import StrategyError
from nightdesk.examples.quoter import Quoter
from nightdesk.examples.sma_cross import SmaCross
from nightdesk.messages import (
    CancelAllOrders,
    CancelOrder,
    ConnectionLost,
    ConnectionRestored,
    DataGap,
    Denial,
    ModifyOrder,
    OrderModifyRejected,
    OrderRejected,
    OrderType,
    PauseChanged,
    Side,
    StrategyId,
    SubmitOrder,
)
from nightdesk.trading.sessions import MarketPhase
from nightdesk.trading.strategy_view import StrategyView
from tests.strategy_support import START_NS, TICK, Bench, quote_at, signed

QUANTITY = 2


def _sma(**parameters: object) -> Bench:
    bench = Bench(SmaCross, {"fast": 2, "slow": 4, "period_s": 2, "quantity": QUANTITY, **parameters})
    bench.start()
    return bench


def _rise(bench: Bench, bars: int, step: float) -> None:
    """So many bars, each ``step`` above the one before."""
    for _ in range(bars):
        bench.trade(bench.last_price + step, after_s=2.0)


def test_cross_gives_one_market_order_and_a_reversal_is_two_steps() -> None:
    """Up: buy. Down: close first, then open the other side, never more than the quantity in one order."""
    bench = _sma()
    _rise(bench, 6, 1.0)
    (entry,) = bench.of(SubmitOrder)
    assert (entry.side, entry.quantity, entry.order_type) == (Side.BUY, QUANTITY, OrderType.MARKET)
    bench.fill(entry)
    _rise(bench, 6, -2.0)
    closing = bench.of(SubmitOrder)[1]
    assert (len(bench.sent), closing.side, closing.quantity) == (2, Side.SELL, QUANTITY)
    bench.fill(closing)
    opening = bench.of(SubmitOrder)[2]
    assert (opening.side, opening.quantity) == (Side.SELL, QUANTITY)
    bench.fill(opening)
    assert bench.position() == -QUANTITY


def test_no_second_order_while_one_is_on_its_way() -> None:
    """However often the averages cross, an unanswered order is waited for."""
    bench = _sma()
    for sign in (1, -1, 1, -1):
        _rise(bench, 6, 2.0 * sign)
    assert len(bench.of(SubmitOrder)) == 1


def test_refused_entry_is_tried_again_later_and_not_at_once() -> None:
    """After a denial or rejection the next order waits for retry_s and a bar."""
    bench = _sma(retry_s=5.0)
    _rise(bench, 6, 1.0)
    bench.deny(bench.of(SubmitOrder)[0])
    _rise(bench, 2, 1.0)
    assert len(bench.of(SubmitOrder)) == 1
    _rise(bench, 2, 1.0)
    assert len(bench.of(SubmitOrder)) == 2
    rejected = bench.of(SubmitOrder)[1]
    bench.runner.on_order_event(OrderRejected(**bench.common(rejected), text="market closed"))
    _rise(bench, 4, 1.0)
    assert len(bench.of(SubmitOrder)) == 3


def test_sma_cross_survives_the_loss_of_the_order_plant() -> None:
    """Nothing is sent while it is away; the target is approached when it is back."""
    bench = _sma()
    bench.lane_open = False
    _rise(bench, 8, 1.0)
    bench.turn()
    assert bench.sent == []
    bench.lane_open = True
    bench.runner.on_connection_lost(_lost("plants/order"))
    bench.runner.on_connection_restored(_restored("plants/order"))
    assert len(bench.of(SubmitOrder)) == 1


def test_paused_sma_cross_sends_nothing_and_resumes_warm() -> None:
    """Averages go on during a pause; the order follows at once on resume."""
    bench = _sma()
    bench.runner.on_pause_changed(PauseChanged(strategy_id=StrategyId("test"), paused=True, reason=""))
    _rise(bench, 8, 1.0)
    assert bench.sent == []
    bench.runner.on_pause_changed(PauseChanged(strategy_id=StrategyId("test"), paused=False, reason=""))
    assert len(bench.of(SubmitOrder)) == 1


@pytest.mark.parametrize("seed", range(10))
def test_position_never_exceeds_the_quantity_whatever_the_market_answers(seed: int) -> None:
    """Random fills, partial fills, denials, cancels and delays: position and worst case stay within the quantity."""
    chance = random.Random(seed)
    bench = _sma(retry_s=1.0)
    for number in range(300):
        bench.trade(round((5000 + 10 * math.sin(number / 4)) / TICK) * TICK, after_s=chance.choice((0.3, 1.0, 2.5)))
        working = bench.runner.orders(None)
        assert len(working) <= 1
        for command in bench.of(SubmitOrder):
            assert command.quantity <= QUANTITY
            order = bench.order_of(command)
            if order in working:
                assert abs(bench.position() + signed(order)) <= QUANTITY
                match chance.randrange(6):
                    case 0:
                        bench.deny(command)
                    case 1:
                        bench.cancel(command)
                    case 2 if order.leaves_quantity > 1:
                        bench.fill(command, 1)
                    case 3 | 4:
                        bench.fill(command)
        assert abs(bench.position()) <= QUANTITY
    assert bench.runner.fills > 5


def test_parameters_of_the_examples_are_checked() -> None:
    """fast must be less than slow."""
    with pytest.raises(StrategyError, match="fast must be less than slow"):
        Bench(SmaCross, {"fast": 8, "slow": 3})
    with pytest.raises(StrategyError, match=r"parameters\.max_position"):
        Bench(Quoter, {"max_position": 0})


def _lost(plant: str) -> ConnectionLost:
    return ConnectionLost(plant=plant, reason="drop", ts_recv_ns=0)  # type: ignore[arg-type]


def _restored(plant: str) -> ConnectionRestored:
    return ConnectionRestored(plant=plant, downtime_ms=1, ts_recv_ns=0)  # type: ignore[arg-type]


def _quoter(**parameters: object) -> Bench:
    """A quoter whose first two quotes stand at 5000.00 and 5000.25."""
    bench = Bench(Quoter, {"max_position": 2, **parameters})
    bench.start()
    bench.quote(5000.0)
    bench.pass_time(2.1)
    for command in bench.of(SubmitOrder):
        bench.accept(command)
    return bench


def _sides(bench: Bench) -> list[tuple[Side, float]]:
    return [(command.side, command.price) for command in bench.of(SubmitOrder)]


def test_quoter_joins_the_touch_on_both_sides() -> None:
    """One bid and one ask, at the best prices."""
    assert _sides(_quoter()) == [(Side.BUY, 5000.0), (Side.SELL, 5000.25)]


def test_quoter_keeps_its_distance() -> None:
    """distance_ticks behind the touch."""
    assert _sides(_quoter(distance_ticks=3)) == [(Side.BUY, 4999.25), (Side.SELL, 5001.0)]


def test_quoter_moves_its_orders_instead_of_piling_up_and_not_too_often() -> None:
    """100 quotes within a requote interval give one modification per side."""
    bench = _quoter()
    for number in range(100):
        bench.quote(5001.0 + TICK * (number % 3), after_s=0.01)
    assert bench.of(ModifyOrder) == []
    bench.quote(5002.0)
    bench.pass_time(2.0)
    assert [command.price for command in bench.of(ModifyOrder)] == [5002.0, 5002.25]
    assert len(bench.of(SubmitOrder)) == 2
    bench.pass_time(10.0)
    assert len(bench.of(ModifyOrder)) == 2, "an unanswered modification is waited for"


def test_examples_send_nothing_while_the_market_does_not_trade(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars and timers may come after the close; what is wanted then is sent after the opening."""
    cross, quoter = _sma(), Bench(Quoter, {"max_position": 2})
    quoter.start()
    phases = (MarketPhase.CLOSED, MarketPhase.PRE_OPEN, MarketPhase.HALT)
    for phase in phases:
        monkeypatch.setattr(StrategyView, "phase", lambda _self, _symbol=None, phase=phase: phase)
        _rise(cross, 6, 1.0)
        quoter.quote(5000.0)
        quoter.pass_time(2.1)
        assert cross.sent == quoter.sent == []
    monkeypatch.undo()
    _rise(cross, 1, 1.0)
    quoter.pass_time(2.1)
    assert len(cross.sent) == 1
    assert len(quoter.sent) == 2


def test_quoter_leaves_an_order_in_its_place_alone() -> None:
    """No message without a reason."""
    bench = _quoter()
    bench.pass_time(20.0)
    assert len(bench.sent) == 2


def test_quoter_replaces_a_filled_side_and_respects_its_inventory_limit() -> None:
    """Bought up to the limit it only offers; after a sale it bids again."""
    bench = _quoter()
    for _ in range(2):
        bid = next(c for c in reversed(bench.of(SubmitOrder)) if c.side == Side.BUY)
        bench.accept(bid)
        bench.fill(bid)
        bench.pass_time(2.1)
    assert bench.position() == 2
    assert {order.side for order in bench.runner.orders(None)} == {Side.SELL}
    ask = next(c for c in bench.of(SubmitOrder) if c.side == Side.SELL)
    bench.fill(ask)
    bench.pass_time(2.1)
    assert {order.side for order in bench.runner.orders(None)} == {Side.BUY, Side.SELL}


@pytest.mark.parametrize(
    "trouble",
    [
        lambda bench: bench.runner.on_connection_lost(_lost("plants/ticker")),
        lambda bench: bench.runner.on_pause_changed(
            PauseChanged(strategy_id=StrategyId("test"), paused=True, reason="")
        ),
        lambda bench: bench.runner.on_data_gap(
            DataGap(symbol="ESZ6", exchange="CME", ts_from_ns=0, ts_to_ns=START_NS, lost_trades=-1, cause="test")
        ),
        lambda bench: bench.runner.stop(),
    ],
    ids=["connection_lost", "pause", "gap", "stop"],
)
def test_quoter_withdraws(trouble: object) -> None:
    """Trouble with the data, a pause or the end: both quotes are canceled."""
    bench = _quoter()
    trouble(bench)  # type: ignore[operator]
    assert len(bench.of(CancelAllOrders)) == 1


def test_quoter_comes_back_with_the_first_quote_after_the_trouble() -> None:
    """Not by the timer alone: prices from before say nothing."""
    bench = _quoter()
    bench.runner.on_connection_lost(_lost("plants/ticker"))
    for command in bench.of(SubmitOrder):
        bench.cancel(command)
    bench.pass_time(5.0)
    assert len(bench.of(SubmitOrder)) == 2
    bench.quote(5003.0)
    bench.pass_time(2.0)
    assert _sides(bench)[2:] == [(Side.BUY, 5003.0), (Side.SELL, 5003.25)]


def test_refused_quote_rests() -> None:
    """A denial keeps only that side away, for retry_s."""
    bench = _quoter(retry_s=10.0)
    bench.deny(bench.of(SubmitOrder)[0], Denial.RISK_MAX_OPEN_ORDERS)
    bench.pass_time(8.0)
    assert len(bench.of(SubmitOrder)) == 2
    bench.pass_time(4.0)
    assert _sides(bench)[2:] == [(Side.BUY, 5000.0)]


def test_quoter_takes_over_its_orders_after_a_restart() -> None:
    """Quotes that the former process left are moved, not doubled."""
    former = _quoter()
    bench = Bench(Quoter, {"max_position": 2})
    bench.welcome(orders=former.runner.orders(None))
    bench.runner.start()
    bench.quote(5004.0)
    bench.pass_time(2.1)
    assert (len(bench.of(ModifyOrder)), bench.of(SubmitOrder)) == (2, [])


@pytest.mark.parametrize("seed", range(10))
def test_quoter_stays_within_its_limits_whatever_the_market_answers(seed: int) -> None:
    """At most two orders, one a side; no possible fill takes the position beyond the limit; few messages."""
    chance = random.Random(seed)
    bench = _quoter()
    elapsed_s = 2.1
    for _ in range(400):
        step_s = chance.choice((0.1, 0.5, 1.0))
        elapsed_s += step_s
        bench.runner.on_quote(quote_at(bench.clock.now_ns(), 5000.0 + TICK * chance.randrange(-4, 5)))
        bench.pass_time(step_s)
        working = bench.runner.orders(None)
        assert len(working) <= 2
        assert len({order.side for order in working}) == len(working)
        for order in working:
            sign = 1 if order.side == Side.BUY else -1
            assert sign * bench.position() + order.leaves_quantity <= 2
            command = next(c for c in bench.of(SubmitOrder) if c.client_order_id == order.client_order_id)
            match chance.randrange(8):
                case 0:
                    bench.fill(command)
                case 1:
                    bench.accept(command)
                case 2 if order.status == "PENDING_UPDATE":
                    bench.update(command, 5000.0)
                case 3 if order.status == "PENDING_UPDATE":
                    bench.runner.on_order_event(OrderModifyRejected(**bench.common(command), text="too late"))
                case 4:
                    bench.cancel(command)
        assert abs(bench.position()) <= 2
    assert bench.runner.fills > 20
    assert len(bench.sent) <= 2 * (elapsed_s / 2.0 + 1)
    for earlier, later in pairwise(bench.of(CancelOrder)):
        assert earlier.client_order_id != later.client_order_id
