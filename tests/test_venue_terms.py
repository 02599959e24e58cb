"""The venue's richer orders: held ones, trailing ones, times, self-match, limits, modes."""

from typing import Any

import pytest

from nightdesk.messages.enums import OrderType, Side, TimeInForce
from nightdesk.simulator.model import (
    Condition,
    Hold,
    IfTouched,
    NewOrder,
    OrderHappened,
    OrderState,
    PriceField,
    Product,
    Quoted,
    Stage,
    VenueEvent,
)
from nightdesk.simulator.venue.matching import SelfMatch
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
    quiet_venue,
)

SECOND_NS = 1_000_000_000


def _touch(side: Side, quantity: int, trigger: float, **changes: Any) -> NewOrder:
    fields = {"order_type": OrderType.MARKET_IF_TOUCHED, "trigger_price": trigger, **changes}
    return new_order(side, quantity, **fields)


def _stop(side: Side, trigger: float | None, **changes: Any) -> NewOrder:
    return new_order(side, 1, **{"order_type": OrderType.STOP_MARKET, "trigger_price": trigger, **changes})


def _state(venue: Venue, basket_id: str) -> OrderState:
    return next(order for order in venue.orders(ACCOUNT) if order.basket_id == basket_id)


def _texts(events: list[VenueEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, OrderHappened) and event.text]


def test_touched_order_waits_on_the_other_side_than_a_stop() -> None:
    """A buy below the market waits at the server, becomes a market order at a print there, and is never OPENED."""
    venue = booked_venue()
    basket_id, events = venue.submit(_touch(Side.BUY, 2, 4999.75), NOW_NS)
    assert kinds(events) == ["RECEIVED", "TRIGGER_PENDING"]
    assert (_state(venue, basket_id).hold, _state(venue, basket_id).order_type) == (
        Hold.TOUCH,
        OrderType.MARKET_IF_TOUCHED,
    )
    events = add_liquidity(venue, False, 4999.75, 1)
    assert kinds(events) == ["Traded", "TRIGGERED", "FILLED", "COMPLETED(F)", "Traded", "Quoted"]
    assert order_events(events)[0].order.order_type is OrderType.MARKET


def test_limit_if_touched_rests_after_its_touch() -> None:
    """It becomes a limit order at its own price."""
    venue = booked_venue()
    order = _touch(Side.BUY, 2, 4999.75, order_type=OrderType.LIMIT_IF_TOUCHED, price=4999.5)
    basket_id, _ = venue.submit(order, NOW_NS)
    assert kinds(add_liquidity(venue, False, 4999.75, 1)) == ["Traded", "TRIGGERED", "Quoted"]
    state = _state(venue, basket_id)
    assert (state.stage, state.order_type, state.price) == (Stage.OPEN, OrderType.LIMIT, 4999.5)


@pytest.mark.parametrize(
    ("field", "condition", "price", "is_met_at_once"),
    [
        (PriceField.TRADE, Condition.GREATER_EQUAL, 5000.0, True),
        (PriceField.TRADE, Condition.GREATER, 5000.0, False),
        (PriceField.BID, Condition.EQUAL, 4999.75, True),
        (PriceField.BID, Condition.NOT_EQUAL, 4999.75, False),
        (PriceField.OFFER, Condition.LESSER_EQUAL, 5000.0, True),
        (PriceField.OFFER, Condition.LESSER, 5000.0, False),
        (PriceField.LEAN, Condition.GREATER, 4999.875, True),
        (PriceField.LEAN, Condition.GREATER, 4999.9, False),
    ],
)
def test_condition_looks_at_one_price_of_the_market(
    field: PriceField, condition: Condition, price: float, is_met_at_once: bool
) -> None:
    """The order goes to the exchange when the condition is met, at once if it already is; a threshold needs no tick."""
    venue = booked_venue()
    touched = IfTouched(ES.symbol, ES.exchange, condition, field, price)
    _, events = venue.submit(new_order(Side.BUY, 1, 4990.0, if_touched=touched), NOW_NS)
    sent = ["RECEIVED", "TRIGGER_PENDING", *(["TRIGGERED", "OPENED"] if is_met_at_once else [])]
    assert kinds(events) == sent


def test_condition_may_look_at_another_contract() -> None:
    """An order in one contract waits for a print of another; an unknown one is refused."""
    nq = Product("NQZ6", "CME", 0.25, 20.0, 0.0)
    venue = Venue([ES, nq], [ACCOUNT], 1e6)
    touched = IfTouched(ES.symbol, "CME", Condition.LESSER_EQUAL, PriceField.TRADE, 5000.0)
    order = new_order(Side.BUY, 1, 100.0, symbol="NQZ6", if_touched=touched)
    assert kinds(venue.submit(order, NOW_NS)[1]) == ["RECEIVED", "TRIGGER_PENDING"]
    add_liquidity(venue, False, 5000.0, 1)
    events = add_liquidity(venue, True, 5000.0, 1)
    assert [kind for kind in kinds(events) if kind in ("TRIGGERED", "OPENED")] == ["TRIGGERED", "OPENED"]
    assert venue.book("NQZ6")[0].price == 100.0
    elsewhere = IfTouched("XX", "CME", Condition.EQUAL, PriceField.TRADE, 1.0)
    assert "unknown" in _texts(venue.submit(new_order(Side.BUY, 1, 5000.0, if_touched=elsewhere), NOW_NS)[1])[0]


def test_condition_can_be_replaced_while_it_waits() -> None:
    """A modify brings another condition; once the order is at the exchange it is too late."""
    venue = booked_venue()
    far = IfTouched(ES.symbol, "CME", Condition.GREATER, PriceField.TRADE, 6000.0)
    near = IfTouched(ES.symbol, "CME", Condition.GREATER, PriceField.TRADE, 4000.0)
    basket_id, _ = venue.submit(new_order(Side.BUY, 1, 4990.0, if_touched=far), NOW_NS)
    fields: dict[str, Any] = {"quantity": 1, "price": 4990.0, "trigger_price": None, "order_type": None}
    events = venue.modify(ACCOUNT, basket_id, **fields, now_ns=NOW_NS, if_touched=near)
    assert kinds(events) == ["MODIFIED", "TRIGGERED", "OPENED"]
    events = venue.modify(ACCOUNT, basket_id, **fields, now_ns=NOW_NS, if_touched=far)
    assert kinds(events) == ["MODIFY_FAILED"]


def test_replaced_condition_may_look_at_another_contract() -> None:
    """One that this contract's price meets already lets the order go at once."""
    nq = Product("NQZ6", "CME", 0.25, 20.0, 0.0)
    venue = Venue([ES, nq], [ACCOUNT], 1e6)
    for is_buy in (False, True):
        add_liquidity(venue, is_buy, 5000.0, 1)
    never = IfTouched("NQZ6", "CME", Condition.GREATER, PriceField.TRADE, 1.0)
    basket_id, _ = venue.submit(new_order(Side.BUY, 1, 100.0, symbol="NQZ6", if_touched=never), NOW_NS)
    met = IfTouched(ES.symbol, "CME", Condition.EQUAL, PriceField.TRADE, 5000.0)
    fields: dict[str, Any] = {"quantity": 1, "price": 100.0, "trigger_price": None, "order_type": None}
    events = venue.modify(ACCOUNT, basket_id, **fields, now_ns=NOW_NS, if_touched=met)
    assert kinds(events)[:3] == ["MODIFIED", "TRIGGERED", "OPENED"]


def test_trailing_stop_follows_and_never_turns_back() -> None:
    """A sell stop three ticks behind the last trade rises with it, stays when it falls, and triggers."""
    venue = booked_venue()
    basket_id, events = venue.submit(_stop(Side.SELL, None, trail_by_ticks=3), NOW_NS)
    assert kinds(events) == ["RECEIVED", "TRIGGER_PENDING"]
    assert _state(venue, basket_id).trigger_price == 4999.25
    events = add_liquidity(venue, True, 5000.25, 10)
    assert [kind for kind in kinds(events) if kind == "MODIFIED"] == ["MODIFIED"]
    assert _state(venue, basket_id).trigger_price == 4999.5
    assert "MODIFIED" not in kinds(add_liquidity(venue, False, 5000.25, 1))
    assert "TRIGGERED" in kinds(add_liquidity(venue, False, 4999.5, 30))


def test_trailing_stop_limit_takes_its_limit_along() -> None:
    """Trigger and limit move by the same ticks; a distance of 0 in a modify ends the trailing."""
    venue = booked_venue()
    order = _stop(Side.SELL, 4999.25, trail_by_ticks=3, order_type=OrderType.STOP_LIMIT, price=4999.0)
    basket_id, _ = venue.submit(order, NOW_NS)
    add_liquidity(venue, True, 5000.25, 10)
    state = _state(venue, basket_id)
    assert (state.trigger_price, state.price) == (4999.5, 4999.25)
    fields: dict[str, Any] = {"price": 4999.25, "trigger_price": 4999.5, "order_type": None, "now_ns": NOW_NS}
    venue.modify(ACCOUNT, basket_id, quantity=1, trail_by_ticks=0, **fields)
    add_liquidity(venue, True, 5000.5, 20)
    assert _state(venue, basket_id).trigger_price == 4999.5


def test_trailing_stop_without_a_price_to_follow_is_rejected() -> None:
    """Before the first trade there is nothing to trail."""
    events = quiet_venue().submit(_stop(Side.SELL, None, trail_by_ticks=3), NOW_NS)[1]
    assert kinds(events) == ["RECEIVED", "REJECTED", "COMPLETED(FA)"]


def test_order_is_held_until_its_release_and_canceled_at_its_time() -> None:
    """Market time brings both; ``next_timer_ns`` says when to come back."""
    venue = booked_venue()
    order = new_order(Side.BUY, 1, 4990.0, release_at_ns=NOW_NS + SECOND_NS, cancel_at_ns=NOW_NS + 3 * SECOND_NS)
    basket_id, events = venue.submit(order, NOW_NS)
    assert kinds(events) == ["RECEIVED", "RELEASE_PENDING"]
    assert venue.next_timer_ns == NOW_NS + SECOND_NS
    assert venue.advance(NOW_NS + SECOND_NS - 1) == []
    assert kinds(venue.advance(NOW_NS + SECOND_NS)) == ["OPENED"]
    assert kinds(venue.advance(NOW_NS + 9 * SECOND_NS)) == ["CANCELED", "COMPLETED(C)"]
    assert _state(venue, basket_id).completion == "C"
    assert not venue.next_timer_ns
    after, _ = venue.submit(new_order(Side.BUY, 1, 4990.0, cancel_after_s=2), NOW_NS)
    assert kinds(venue.advance(NOW_NS + 2 * SECOND_NS)) == ["CANCELED", "COMPLETED(C)"]
    assert _state(venue, after).stage is Stage.COMPLETE


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (SelfMatch.ALLOW, ["OPENED", "FILLED", "COMPLETED(F)", "FILLED", "COMPLETED(F)", "Traded"]),
        (SelfMatch.CANCEL_RESTING, ["OPENED", "CANCELED", "COMPLETED(C)"]),
        (SelfMatch.CANCEL_AGGRESSOR, ["OPENED", "CANCELED", "COMPLETED(C)"]),
    ],
)
def test_account_meets_itself_as_the_policy_says(policy: SelfMatch, expected: list[str]) -> None:
    """Both trade, the resting order goes, or the new one does; another account's order always trades."""
    venue = quiet_venue(self_match=policy)
    resting, _ = venue.submit(new_order(Side.SELL, 2, 5000.0), NOW_NS)
    new, events = venue.submit(new_order(Side.BUY, 2, 5000.0), NOW_NS)
    assert [kind for kind in kinds(events) if kind not in ("RECEIVED", "Quoted")] == expected
    if policy is not SelfMatch.ALLOW:
        gone = resting if policy is SelfMatch.CANCEL_RESTING else new
        assert "self match" in _state(venue, gone).text
        other = new_order(Side.BUY if gone == new else Side.SELL, 2, 5000.0, account_id="SIM-2")
        assert "FILLED" in kinds(venue.submit(other, NOW_NS)[1])


@pytest.mark.parametrize(("policy", "is_filled"), [(SelfMatch.ALLOW, True), (SelfMatch.CANCEL_RESTING, False)])
def test_fill_or_kill_counts_own_orders_only_where_they_may_trade(policy: SelfMatch, is_filled: bool) -> None:
    """All or nothing is decided before anything is canceled: the account's own resting order stays."""
    venue = quiet_venue(self_match=policy)
    own, _ = venue.submit(new_order(Side.SELL, 2, 5000.0), NOW_NS)
    add_liquidity(venue, False, 5000.0, 2)
    killed, _ = venue.submit(new_order(Side.BUY, 3, 5000.0, time_in_force=TimeInForce.FOK), NOW_NS)
    assert _state(venue, killed).completion == ("F" if is_filled else "C")
    assert _state(venue, own).completion == ("F" if is_filled else None)


def test_rest_of_a_market_order_becomes_a_limit_order() -> None:
    """It rests at its protection price, and the client is told by a modify."""
    venue = quiet_venue()
    add_liquidity(venue, False, 5000.0, 1)
    basket_id, events = venue.submit(new_order(Side.BUY, 3), NOW_NS)
    assert kinds(events) == ["RECEIVED", "OPENED", "FILLED", "Traded", "MODIFIED", "Quoted"]
    state = _state(venue, basket_id)
    assert (state.stage, state.order_type, state.price) == (Stage.OPEN, OrderType.LIMIT, 5003.0)
    assert order_events(events)[2].order.order_type is OrderType.MARKET


def test_price_limits_bind_clients_and_flow() -> None:
    """Beyond the limits around the session's first price nothing is taken; market orders stop there."""
    venue = Venue([Product(ES.symbol, "CME", 0.25, 50.0, 0.0, price_limit_percent=0.02)], [ACCOUNT], 1e6)
    assert venue.price_limits(ES.symbol) is None
    add_liquidity(venue, False, 5000.0, 1)
    add_liquidity(venue, True, 5000.0, 1)
    assert venue.price_limits(ES.symbol) == (4999.0, 5001.0)
    events = venue.submit(new_order(Side.BUY, 1, 5001.25), NOW_NS)[1]
    assert kinds(events) == ["RECEIVED", "REJECTED", "COMPLETED(FA)"]
    assert "price limits" in _texts(events)[0]
    assert add_liquidity(venue, False, 5001.25, 1) == []
    add_liquidity(venue, False, 5000.0, 1)
    basket_id, _ = venue.submit(new_order(Side.BUY, 2), NOW_NS)
    assert _state(venue, basket_id).price == 5001.0
    fields: dict[str, Any] = {"quantity": 2, "trigger_price": None, "order_type": None, "now_ns": NOW_NS}
    assert kinds(venue.modify(ACCOUNT, basket_id, price=5001.25, **fields)) == ["MODIFY_FAILED"]


def test_reserved_market_queues_orders_and_opens_at_one_price() -> None:
    """Limit orders cross without trading, market orders are refused; the opening trades the most at one price."""
    venue = booked_venue()
    assert kinds(venue.set_mode(ES.symbol, "Reserved", "reason", "20231114", NOW_NS)) == ["ModeChanged"]
    crossing, events = venue.submit(new_order(Side.BUY, 30, 5000.5), NOW_NS)
    assert kinds(events) == ["RECEIVED", "OPENED", "Quoted"]
    assert "REJECTED" in kinds(venue.submit(new_order(Side.BUY, 1), NOW_NS)[1])
    events = venue.set_mode(ES.symbol, "Open", "", "20231114", NOW_NS)
    assert {event.execution.price for event in order_events(events) if event.execution} == {5000.5}
    assert _state(venue, crossing).filled_quantity == 29
    best = venue.market(ES.symbol).matcher.best()
    assert best.bid is not None
    assert best.ask is not None
    assert best.bid < best.ask


def test_closed_market_takes_cancels_only_and_ends_day_orders() -> None:
    """DAY orders end with the close, GTC orders stay; nothing new is taken until it opens."""
    venue = booked_venue()
    day, _ = venue.submit(new_order(Side.BUY, 1, 4990.0), NOW_NS)
    kept, _ = venue.submit(new_order(Side.BUY, 1, 4990.0, time_in_force=TimeInForce.GTC), NOW_NS)
    events = venue.set_mode(ES.symbol, "Closed", "", "20231114", NOW_NS)
    assert kinds(events) == ["ModeChanged", "CANCELED", "COMPLETED(C)"]
    assert _state(venue, day).stage is Stage.COMPLETE
    assert "REJECTED" in kinds(venue.submit(new_order(Side.BUY, 1, 4990.0), NOW_NS)[1])
    assert add_liquidity(venue, True, 5000.0, 5) == []
    fields: dict[str, Any] = {"quantity": 2, "price": 4990.0, "trigger_price": None, "order_type": None}
    assert kinds(venue.modify(ACCOUNT, kept, **fields, now_ns=NOW_NS)) == ["MODIFY_FAILED"]
    assert kinds(venue.cancel(ACCOUNT, kept, NOW_NS)) == ["CANCELED", "COMPLETED(C)"]
    with pytest.raises(VenueRefusal, match="no mode"):
        venue.set_mode(ES.symbol, "Sideways", "", "", NOW_NS)
    assert venue.mode(ES.symbol) == "Closed"


def test_closed_market_says_no_prices() -> None:
    """What the close and cancels after it do to the best bid is told with the opening, not before."""
    venue = booked_venue()
    venue.submit(new_order(Side.BUY, 1, 4999.75), NOW_NS)
    kept, _ = venue.submit(new_order(Side.BUY, 1, 4999.75, time_in_force=TimeInForce.GTC), NOW_NS)
    assert "Quoted" not in kinds(venue.set_mode(ES.symbol, "Closed", "", "20231114", NOW_NS))
    assert kinds(venue.cancel(ACCOUNT, kept, NOW_NS)) == ["CANCELED", "COMPLETED(C)"]
    events = venue.set_mode(ES.symbol, "Pre Open", "", "20231115", NOW_NS)
    assert [event.bid_size for event in events if isinstance(event, Quoted)] == [10]


def test_close_of_one_market_leaves_the_others_alone() -> None:
    """Modes and the end of DAY orders belong to one contract."""
    nq = Product("NQZ6", "CME", 0.25, 20.0, 0.0)
    venue = Venue([ES, nq], [ACCOUNT], 1e6)
    kept, _ = venue.submit(new_order(Side.BUY, 1, 100.0, symbol="NQZ6"), NOW_NS)
    venue.set_mode(ES.symbol, "Closed", "", "20231114", NOW_NS)
    assert _state(venue, kept).stage is Stage.OPEN
    assert kinds(venue.submit(new_order(Side.SELL, 1, 100.0, symbol="NQZ6"), NOW_NS)[1])[2] == "FILLED"


def test_histories_and_dates_tell_an_orders_whole_life() -> None:
    """Each step with the state after it, per order; orders by the day they were made."""
    venue = booked_venue()
    first, _ = venue.submit(new_order(Side.BUY, 2, 4990.0), NOW_NS)
    venue.cancel(ACCOUNT, first, NOW_NS + 1)
    venue.submit(new_order(Side.BUY, 1, 4990.0), NOW_NS + 86_400 * SECOND_NS)
    assert [step.kind for step in venue.order_history(ACCOUNT, first)] == [
        "RECEIVED",
        "OPENED",
        "CANCELED",
        "COMPLETED",
    ]
    assert venue.order_history("SIM-2", first) == []
    assert venue.order_dates(ACCOUNT) == ["20231114", "20231115"]
    assert [order.basket_id for order in venue.orders(ACCOUNT, "20231114")] == [first]


def test_depth_is_reported_only_while_somebody_watches() -> None:
    """Changes come with a sequence number; a modify that moves an order is one CHANGE with its previous price."""
    venue = booked_venue()
    assert venue.has_orders(ES.symbol)
    assert len(venue.book_orders(ES.symbol)) == 20
    basket_id, events = venue.submit(new_order(Side.BUY, 1, 4990.0), NOW_NS)
    assert "BookChanged" not in kinds(events)
    venue.watch_depth(ES.symbol, True)
    fields: dict[str, Any] = {"quantity": 1, "trigger_price": None, "order_type": None, "now_ns": NOW_NS}
    events = venue.modify(ACCOUNT, basket_id, price=4989.75, **fields)
    changed: Any = events[-1]
    assert (changed.sequence, venue.book_sequence(ES.symbol)) == (1, 1)
    assert [(o.kind, o.price, o.previous_price, o.exchange_order_id) for o in changed.orders] == [
        ("CHANGE", 4989.75, 4990.0, basket_id)
    ]
    assert [(level.price, level.size) for level in changed.levels] == [(4990.0, 0), (4989.75, 1)]
    venue.watch_depth(ES.symbol, False)
    assert "BookChanged" not in kinds(venue.cancel(ACCOUNT, basket_id, NOW_NS))
