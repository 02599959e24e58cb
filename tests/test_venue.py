"""The venue: the sequence of events of each kind of order, refusals, lists and limits."""

import pytest

from nightdesk.messages.enums import AggressorSide, OrderType, Side, TimeInForce
from nightdesk.simulator.model import Completion, NewOrder, OrderState, Product, Stage, VenueEvent
from nightdesk.simulator.venue.venue import Venue, VenueRefusal
from tests.market_support import (
    ACCOUNT,
    ES,
    NOW_NS,
    add_liquidity,
    booked_venue,
    kinds,
    new_order,
    order_events,
    prints,
    quiet_venue,
    quotes,
)


def test_market_order_fills_and_prints_and_moves_the_quote() -> None:
    """RECEIVED, OPENED, one fill per partner, a print per price behind its fills, and the new quote last."""
    venue = booked_venue()
    _, events = venue.submit(new_order(Side.BUY, 10), NOW_NS)
    assert kinds(events) == ["RECEIVED", "OPENED", "FILLED", "Traded", "FILLED", "COMPLETED(F)", "Traded", "Quoted"]
    assert [(p.price, p.quantity, p.aggressor) for p in prints(events)] == [
        (5000.0, 9, AggressorSide.BUY),
        (5000.25, 1, AggressorSide.BUY),
    ]
    state = order_events(events)[-1].order
    assert (state.filled_quantity, state.leaves_quantity, state.average_price) == (10, 0, 5000.025)
    quote = quotes(events)[-1]
    assert (quote.ask_price, quote.ask_size, quote.ask_changed, quote.bid_changed) == (5000.25, 9, True, False)


def test_resting_limit_is_filled_by_others_flow() -> None:
    """A step of the flow returns the client's fills with its print."""
    venue = booked_venue()
    basket_id, events = venue.submit(new_order(Side.BUY, 3, 4999.75), NOW_NS)
    assert kinds(events) == ["RECEIVED", "OPENED", "Quoted"]
    events = add_liquidity(venue, False, 4999.75, 11)
    assert kinds(events) == ["FILLED", "Traded", "Quoted"]
    events = add_liquidity(venue, False, 4999.75, 5)
    assert kinds(events) == ["FILLED", "COMPLETED(F)", "Traded", "Quoted"]
    assert order_events(events)[-1].order.basket_id == basket_id


def test_ids_come_from_increasing_counters() -> None:
    """Basket ids and report ids are increasing numbers, sequence numbers base 36; a cancel makes a new one."""
    venue = booked_venue()
    first, events = venue.submit(new_order(Side.BUY, 1), NOW_NS)
    second, more = venue.submit(new_order(Side.BUY, 1, 4990.0), NOW_NS)
    events += more + venue.cancel(ACCOUNT, second, NOW_NS)
    assert int(second) == int(first) + 1
    reports = [int(event.report_id) for event in order_events(events) if event.report_id]
    assert reports == list(range(reports[0], reports[0] + len(reports)))
    canceled = order_events(events)[-1].order
    assert int(canceled.sequence_number, 36) > int(canceled.original_sequence_number, 36)


def test_cancel_is_canceled_then_completed() -> None:
    """The client's cancel ends the order, and the quote shows it gone."""
    venue = booked_venue()
    basket_id, _ = venue.submit(new_order(Side.BUY, 2, 4999.75), NOW_NS)
    events = venue.cancel(ACCOUNT, basket_id, NOW_NS)
    assert kinds(events) == ["CANCELED", "COMPLETED(C)", "Quoted"]
    with pytest.raises(VenueRefusal, match="already cancelled"):
        venue.cancel(ACCOUNT, basket_id, NOW_NS)


def test_synchronous_refusals_name_the_reason() -> None:
    """Unknown orders, other accounts' orders and finished ones are refused at once."""
    venue = booked_venue()
    filled, _ = venue.submit(new_order(Side.BUY, 1), NOW_NS)
    with pytest.raises(VenueRefusal, match="already filled"):
        venue.cancel(ACCOUNT, filled, NOW_NS)
    with pytest.raises(VenueRefusal, match="order not found"):
        venue.cancel("SIM-2", filled, NOW_NS)
    with pytest.raises(VenueRefusal, match="order not found"):
        _modify(venue, "999", 1, 4990.0)


@pytest.mark.parametrize("time_in_force", [TimeInForce.IOC, TimeInForce.FOK])
def test_immediate_order_without_fill_ends_canceled(time_in_force: TimeInForce) -> None:
    """There is no expired state: the exchange cancels."""
    venue = booked_venue()
    _, events = venue.submit(new_order(Side.BUY, 5, 4990.0, time_in_force=time_in_force), NOW_NS)
    assert kinds(events) == ["RECEIVED", "OPENED", "CANCELED", "COMPLETED(C)"]


def test_stop_market_waits_triggers_and_fills() -> None:
    """TRIGGER_PENDING, never OPENED; triggered by a print, then a market order."""
    venue = booked_venue()
    _, events = venue.submit(_stop(Side.BUY, 2, 5000.25), NOW_NS)
    assert kinds(events) == ["RECEIVED", "TRIGGER_PENDING"]
    assert order_events(events)[-1].order.order_type is OrderType.STOP_MARKET
    events = add_liquidity(venue, True, 5000.25, 10)
    assert kinds(events) == ["Traded", "Traded", "TRIGGERED", "FILLED", "COMPLETED(F)", "Traded", "Quoted"]
    triggered = order_events(events)[0].order
    assert (triggered.order_type, triggered.terms.order_type) == (OrderType.MARKET, OrderType.STOP_MARKET)


def test_stop_limit_rests_after_its_trigger() -> None:
    """A triggered stop-limit beyond its limit stands in the book."""
    venue = booked_venue()
    order = _stop(Side.SELL, 2, 4999.75, price=5000.5, order_type=OrderType.STOP_LIMIT)
    basket_id, _ = venue.submit(order, NOW_NS)
    events = add_liquidity(venue, False, 4999.75, 1)
    assert kinds(events) == ["Traded", "TRIGGERED", "Quoted"]
    state = _state(venue, basket_id)
    assert (state.stage, state.order_type, state.price) == (Stage.OPEN, OrderType.LIMIT, 5000.5)


def test_wrong_side_stop_is_refused_by_the_exchange() -> None:
    """A stop that would trigger at the last trade is rejected and completes FA with a text."""
    venue = booked_venue()
    _, events = venue.submit(_stop(Side.BUY, 1, 4999.0), NOW_NS)
    assert kinds(events) == ["RECEIVED", "REJECTED", "COMPLETED(FA)"]
    assert "wrong side" in order_events(events)[-1].text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"symbol": "NQZ6"}, "unknown"),
        ({"exchange": "NYMEX"}, "unknown"),
        ({"account_id": "OTHER"}, "account OTHER"),
        ({"quantity": 0}, "quantity"),
        ({"quantity": -3}, "quantity"),
        ({"price": None}, "price is missing"),
        ({"order_type": OrderType.STOP_MARKET}, "trigger price is missing"),
        ({"order_type": OrderType.MARKET_IF_TOUCHED}, "trigger price is missing"),
        ({"trail_by_ticks": 3}, "only stop orders can trail"),
        ({"cancel_at_ns": NOW_NS}, "in the past"),
    ],
)
def test_risk_check_fails_the_order_with_a_text(changes: dict[str, object], text: str) -> None:
    """The order is received, then completes FA; nothing else happens and its terms stay as they came."""
    venue = booked_venue()
    order = new_order(Side.BUY, 1, 4990.0, **changes)
    basket_id, events = venue.submit(order, NOW_NS)
    assert kinds(events) == ["RECEIVED", "COMPLETED(FA)"]
    state = order_events(events)[-1].order
    assert text in state.text
    assert (state.basket_id, state.terms, state.completion) == (basket_id, order, Completion.FAILED)


@pytest.mark.parametrize("price", [5000.1, float("nan"), -5000.0, 0.0])
def test_price_that_is_not_on_a_tick_is_refused_by_the_exchange(price: float) -> None:
    """The risk system has no ticks; the exchange's rejection comes before the end."""
    venue = booked_venue()
    _, events = venue.submit(new_order(Side.BUY, 1, price), NOW_NS)
    assert kinds(events) == ["RECEIVED", "REJECTED", "COMPLETED(FA)"]
    assert "not on a tick" in order_events(events)[-1].text


def test_modify_reports_and_takes_a_new_sequence_number() -> None:
    """MODIFIED carries the new terms; the basket id stays."""
    venue = booked_venue()
    basket_id, _ = venue.submit(new_order(Side.BUY, 2, 4990.0), NOW_NS)
    events = _modify(venue, basket_id, 4, 4991.0)
    assert kinds(events) == ["MODIFIED"]
    state = order_events(events)[0].order
    assert (state.basket_id, state.quantity, state.price) == (basket_id, 4, 4991.0)
    assert state.sequence_number != state.original_sequence_number
    assert kinds(_modify(venue, basket_id, 4, 5000.0)) == ["MODIFIED", "FILLED", "COMPLETED(F)", "Traded", "Quoted"]


def test_modify_below_filled_quantity_fails_later() -> None:
    """A modify that cannot be done is answered by MODIFY_FAILED and changes nothing."""
    venue = booked_venue()
    basket_id, _ = venue.submit(new_order(Side.BUY, 15, 5000.0), NOW_NS)
    before = _state(venue, basket_id)
    assert before.filled_quantity == 9
    events = _modify(venue, basket_id, 9, 5000.0)
    assert kinds(events) == ["MODIFY_FAILED"]
    assert _state(venue, basket_id) == before
    assert kinds(_modify(venue, basket_id, 10, 5000.1)) == ["MODIFY_FAILED"]


def test_modify_of_a_triggered_stop_may_repeat_its_original_type() -> None:
    """A replace carries the whole order, also what it was at first: the stop does not wait again."""
    venue = booked_venue()
    order = _stop(Side.BUY, 2, 5000.25, price=4999.0, order_type=OrderType.STOP_LIMIT)
    basket_id, _ = venue.submit(order, NOW_NS)
    add_liquidity(venue, True, 5000.25, 10)
    events = venue.modify(
        ACCOUNT,
        basket_id,
        quantity=3,
        price=4999.5,
        trigger_price=5000.25,
        order_type=OrderType.STOP_LIMIT,
        now_ns=NOW_NS,
    )
    assert kinds(events) == ["MODIFIED"]
    assert _state(venue, basket_id).order_type is OrderType.LIMIT


def test_cancel_all_and_exit_position_leave_the_account_flat() -> None:
    """The two commands of an operator's flatten, for one account only."""
    venue = booked_venue()
    venue.submit(new_order(Side.BUY, 5), NOW_NS)
    venue.submit(new_order(Side.BUY, 1, 4990.0), NOW_NS)
    venue.submit(_stop(Side.SELL, 1, 4990.0), NOW_NS)
    other, _ = venue.submit(new_order(Side.BUY, 1, 4990.0, account_id="SIM-2"), NOW_NS)
    events = venue.cancel_all(ACCOUNT, NOW_NS)
    assert kinds(events) == ["CANCELED", "COMPLETED(C)"] * 2
    events = venue.exit_position(ACCOUNT, None, "nightdesk", NOW_NS)
    assert order_events(events)[0].order.terms.side is Side.SELL
    assert [position.net_quantity for position in venue.positions(ACCOUNT)] == [0]
    assert _state(venue, other, "SIM-2").stage is Stage.OPEN


def test_two_clients_trade_with_each_other() -> None:
    """Each gets its own fill; the print is one."""
    venue = quiet_venue()
    venue.submit(new_order(Side.BUY, 2, 5000.0), NOW_NS)
    _, events = venue.submit(new_order(Side.SELL, 2, 5000.0, account_id="SIM-2"), NOW_NS)
    assert kinds(events) == [
        "RECEIVED",
        "OPENED",
        "FILLED",
        "COMPLETED(F)",
        "FILLED",
        "COMPLETED(F)",
        "Traded",
        "Quoted",
    ]
    assert venue.positions(ACCOUNT)[0].net_quantity == 2
    assert venue.positions("SIM-2")[0].net_quantity == -2


def test_positions_and_account_follow_fills() -> None:
    """Average price, profit at the last trade, commission and working quantities."""
    venue = booked_venue()
    venue.submit(new_order(Side.BUY, 9), NOW_NS)
    venue.submit(new_order(Side.SELL, 4, 5010.0), NOW_NS)
    venue.submit(_stop(Side.SELL, 9, 4990.0), NOW_NS)
    position = venue.positions(ACCOUNT)[0]
    assert (position.net_quantity, position.average_price, position.working_sell_quantity) == (9, 5000.0, 13)
    assert (position.unrealized_pnl, position.commission) == (0.0, 20.25)
    add_liquidity(venue, True, 5000.25, 1)
    assert venue.account(ACCOUNT).unrealized_pnl == 9 * 12.5
    assert venue.account(ACCOUNT).balance == 100_000.0 - 20.25


def test_executions_are_listed_by_second() -> None:
    """Both ends of the interval are inside."""
    venue = booked_venue()
    venue.submit(new_order(Side.BUY, 1), NOW_NS)
    venue.submit(new_order(Side.BUY, 2), NOW_NS + 5_000_000_000)
    second = NOW_NS // 1_000_000_000
    assert [fill.quantity for _, fill in venue.executions(ACCOUNT, second, second + 5)] == [1, 2]
    assert [fill.quantity for _, fill in venue.executions(ACCOUNT, second + 1, second + 5)] == [2]


def test_finished_orders_are_kept_up_to_a_limit() -> None:
    """Memory is bounded; open orders are never forgotten."""
    venue = quiet_venue(orders_kept_max=10)
    resting, _ = venue.submit(new_order(Side.BUY, 1, 4000.0), NOW_NS)
    for _ in range(50):
        basket_id, _ = venue.submit(new_order(Side.BUY, 1, 4990.0), NOW_NS)
        venue.cancel(ACCOUNT, basket_id, NOW_NS)
    listed = [order.basket_id for order in venue.orders(ACCOUNT)]
    assert (listed[0], len(listed)) == (resting, 11)


def test_decimal_ticks_give_the_nearest_float() -> None:
    """A price of a hundredths tick is the float that its decimal form reads as."""
    venue = Venue([Product("CLZ6", "NYMEX", 0.01, 1000.0, 0.0)], [ACCOUNT], 0.0)
    for price in (70.01, 70.29, 69.99):
        _, events = venue.submit(new_order(Side.BUY, 1, price, symbol="CLZ6", exchange="NYMEX"), NOW_NS)
        assert order_events(events)[-1].order.price == price
    quote = venue.quote("CLZ6")
    assert quote is not None
    assert (quote.bid_price, quote.bid_size, quote.ask_size) == (70.29, 1, 0)


def _stop(side: Side, quantity: int, trigger: float, **changes: object) -> NewOrder:
    return new_order(side, quantity, **{"order_type": OrderType.STOP_MARKET, "trigger_price": trigger, **changes})


def _modify(venue: Venue, basket_id: str, quantity: int, price: float) -> list[VenueEvent]:
    return venue.modify(
        ACCOUNT, basket_id, quantity=quantity, price=price, trigger_price=None, order_type=None, now_ns=NOW_NS
    )


def _state(venue: Venue, basket_id: str, account_id: str = ACCOUNT) -> OrderState:
    return next(order for order in venue.orders(account_id) if order.basket_id == basket_id)


def test_quote_keeps_an_empty_sides_last_price() -> None:
    """A side without orders is shown with size 0 at its last price."""
    venue = quiet_venue()
    add_liquidity(venue, True, 5000.0, 1)
    events = add_liquidity(venue, False, 5000.0, 1)
    quote = quotes(events)[-1]
    assert (quote.bid_price, quote.bid_size) == (5000.0, 0)
    assert venue.last_trade(ES.symbol) == prints(events)[-1]
