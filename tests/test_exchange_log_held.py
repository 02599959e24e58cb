"""The log with everything that the server holds: brackets, OCO, holds, trailing stops, times; and its snapshot."""

import random
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from nightdesk.messages.enums import OrderType, Side, TimeInForce
from nightdesk.simulator.model import (
    AccountTerms,
    BracketKind,
    BracketTerms,
    Condition,
    Hold,
    IfTouched,
    NewOrder,
    PriceField,
    Stage,
    VenueEvent,
)
from nightdesk.simulator.venue.log import ExchangeLog, read_summary, rebuild
from nightdesk.simulator.venue.venue import Venue, VenueRefusal
from tests.market_support import ACCOUNT, ES, NOW_NS, add_liquidity, kinds, new_order, order_events, quiet_venue

SECOND_NS = 1_000_000_000
_FIRST_FIELDS = (
    *("account_id", "user", "user_tag", "symbol", "exchange", "side", "order_type", "quantity", "price"),
    *("trigger_price", "time_in_force", "window_name", "is_automatic", "trade_route"),
)
BOTH = BracketTerms(BracketKind.TARGET_AND_STOP, 3, 4, 3, 6, break_even_ticks=1, break_even_trigger_ticks=2)


def _recovered(path: Path, **options: Any) -> Venue:
    venue = quiet_venue()
    log = ExchangeLog(path)
    rebuild(log, venue, **options)
    log.close()
    return venue


def _assert_same(one: Venue, other: Venue) -> None:
    for account in (ACCOUNT, "SIM-2"):
        assert one.orders(account) == other.orders(account)
        assert one.executions(account, 0, 2**40) == other.executions(account, 0, 2**40)
        assert [(p.symbol, p.net_quantity, p.realized_pnl) for p in one.positions(account)] == [
            (p.symbol, p.net_quantity, p.realized_pnl) for p in other.positions(account)
        ]
        assert one.account(account).balance == other.account(account).balance
        assert one.brackets(account) == other.brackets(account)
        assert one.order_dates(account) == other.order_dates(account)
        for state in one.orders(account):
            assert one.order_history(account, state.basket_id) == other.order_history(account, state.basket_id)


def _busy(path: Path, *, steps: int, seed: int) -> tuple[Venue, ExchangeLog]:
    """A venue that did a bit of everything, and its log."""
    rng = random.Random(seed)
    venue = quiet_venue()
    log = ExchangeLog(path)
    rebuild(log, venue)
    for step in range(steps):
        now_ns = NOW_NS + step * SECOND_NS
        log.append(venue.advance(now_ns))
        log.append(_flow(venue, rng))
        log.append(_act(venue, rng, now_ns))
    return venue, log


def _flow(venue: Venue, rng: random.Random) -> list[VenueEvent]:
    is_buy = rng.random() < 0.5
    return add_liquidity(venue, is_buy, 5000.0 + 0.25 * rng.randint(-8, 8), rng.randint(1, 6))


def _act(venue: Venue, rng: random.Random, now_ns: int) -> list[VenueEvent]:
    account = rng.choice([ACCOUNT, "SIM-2"])
    working = [order.basket_id for order in venue.orders(account) if order.completion is None]
    choice = rng.random()
    try:
        if choice < 0.1 and working:
            return venue.cancel(account, rng.choice(working), now_ns)
        if choice < 0.2 and len(working) > 1:
            return venue.link(account, rng.sample(working, 2), now_ns)
        if choice < 0.3:
            return venue.submit_oco([_order(rng, account, now_ns) for _ in range(2)], now_ns)[1]
        if choice < 0.4 and working:
            fields: dict[str, Any] = {"price": 4999.0, "trigger_price": 5001.0, "order_type": None, "now_ns": now_ns}
            return venue.modify(account, rng.choice(working), quantity=rng.randint(1, 9), **fields)
        return venue.submit(_order(rng, account, now_ns), now_ns)[1]
    except VenueRefusal:
        return []


def _order(rng: random.Random, account: str, now_ns: int) -> NewOrder:
    price = 5000.0 + 0.25 * rng.randint(-8, 8)
    order_type = rng.choice(list(OrderType))
    is_stop = order_type in (OrderType.STOP_MARKET, OrderType.STOP_LIMIT)
    touched = IfTouched(ES.symbol, "CME", Condition.GREATER_EQUAL, PriceField.TRADE, price)
    return new_order(
        rng.choice(list(Side)),
        rng.randint(3, 6),
        price,
        account_id=account,
        order_type=order_type,
        trigger_price=price,
        time_in_force=rng.choice([TimeInForce.DAY, TimeInForce.GTC]),
        trail_by_ticks=rng.randint(1, 4) if is_stop and rng.random() < 0.5 else 0,
        cancel_after_s=rng.choice([0, 0, 10]),
        release_at_ns=now_ns + 3 * SECOND_NS if rng.random() < 0.2 else None,
        if_touched=touched if rng.random() < 0.2 else None,
        bracket=BOTH if rng.random() < 0.4 else None,
    )


def test_everything_that_is_held_comes_back(tmp_path: Path) -> None:
    """Orders, brackets, histories and money are those of the venue that died; what it did next, the new one does."""
    path = tmp_path / "exchange.log"
    venue, log = _busy(path, steps=150, seed=8)
    log.close()
    recovered = _recovered(path)
    _assert_same(recovered, venue)
    stages = {order.stage for account in (ACCOUNT, "SIM-2") for order in venue.orders(account)}
    assert stages == set(Stage) - {Stage.RECEIVED}
    assert recovered.next_timer_ns is not None
    later_ns = NOW_NS + 1_000 * SECOND_NS
    old = sorted((e.order.basket_id, e.kind) for e in order_events(venue.advance(later_ns)))
    new = sorted((e.order.basket_id, e.kind) for e in order_events(recovered.advance(later_ns)))
    assert {each for each in new if each[1] == "CANCELED"} <= set(old)


def test_log_that_ends_at_any_record_is_settled_once(tmp_path: Path) -> None:
    """A kill may cut a command's records anywhere: the next start finishes it, the one after finds nothing to do."""
    _, log = _busy(tmp_path / "exchange.log", steps=40, seed=7)
    log.close()
    lines = log.path.read_bytes().splitlines(keepends=True)
    for size in range(1, len(lines)):
        path = tmp_path / "cut.log"
        path.write_bytes(b"".join(lines[:size]))
        first = _recovered(path)
        settled = path.read_bytes()
        second = _recovered(path)
        assert path.read_bytes().count(b"\n") == settled.count(b"\n") + 1
        _assert_same(second, first)
        _assert_protected(second)
        path.write_bytes(b"".join(lines[:size]))
        _recovered(path, log_bytes_max=1)
        _assert_same(_recovered(path), first)
        summary = read_summary(path)
        for account in (ACCOUNT, "SIM-2"):
            for position in second.positions(account):
                assert account not in summary or position.net_quantity == summary[account].positions[ES.symbol]


def _assert_protected(venue: Venue) -> None:
    """A bracket's working exits never ask for more than its entry filled."""
    for account in (ACCOUNT, "SIM-2"):
        orders = {order.basket_id: order for order in venue.orders(account)}
        for order in orders.values():
            if order.original_basket_id and order.completion is None:
                assert order.leaves_quantity <= orders[order.original_basket_id].filled_quantity


def test_exits_that_were_lost_in_the_kill_are_made_at_the_start(tmp_path: Path) -> None:
    """The entry's fill is in the log, its exits are not: the position is protected again."""
    path = tmp_path / "exchange.log"
    venue, log = quiet_venue(), ExchangeLog(path)
    rebuild(log, venue)
    add_liquidity(venue, False, 5000.0, 9)
    entry, events = venue.submit(new_order(Side.BUY, 3, bracket=BOTH), NOW_NS)
    place = kinds(events).index("COMPLETED(F)")
    log.append(events[: place + 1])
    log.close()
    recovered = _recovered(path)
    exits = {o.basket_id: (o.stage, o.leaves_quantity) for o in recovered.orders(ACCOUNT) if o.original_basket_id}
    assert exits == {
        str(int(entry) + 1): (Stage.OPEN, 3),
        str(int(entry) + 2): (Stage.TRIGGER_PENDING, 3),
    }


@pytest.mark.parametrize("options", [{}, {"log_bytes_max": 1}])
def test_untouched_bracket_keeps_its_ids_and_levels(tmp_path: Path, options: dict[str, Any]) -> None:
    """Before the entry is filled: the exits' basket ids stay reserved, a level that was moved stays moved."""
    path = tmp_path / "exchange.log"
    venue, log = quiet_venue(), ExchangeLog(path)
    rebuild(log, venue)
    entry, events = venue.submit(new_order(Side.BUY, 3, 5000.0, bracket=BOTH), NOW_NS)
    log.append(events)
    log.append(venue.update_bracket(ACCOUNT, entry, is_target=True, level=4, ticks=9, now_ns=NOW_NS))
    log.close()
    recovered = _recovered(path, **options)
    assert int(recovered.submit(new_order(Side.BUY, 1, 4000.0), NOW_NS)[0]) == int(entry) + 3
    add_liquidity(recovered, False, 5000.0, 3)
    prices = {o.basket_id: (o.price, o.trigger_price) for o in recovered.orders(ACCOUNT) if o.original_basket_id}
    assert prices == {str(int(entry) + 1): (5002.25, None), str(int(entry) + 2): (None, 4998.5)}


@pytest.mark.parametrize("options", [{}, {"log_bytes_max": 1}])
def test_oco_leg_follows_a_fill_that_it_had_not_seen(tmp_path: Path, options: dict[str, Any]) -> None:
    """The kill came between one leg's fill and the other's reduction; fills from before the link do not count."""
    path = tmp_path / "exchange.log"
    venue, log = quiet_venue(), ExchangeLog(path)
    rebuild(log, venue)
    filling, events = venue.submit(new_order(Side.BUY, 9, 5000.0), NOW_NS)
    log.append(events)
    log.append(add_liquidity(venue, False, 5000.0, 2))
    other, events = venue.submit(new_order(Side.SELL, 9, 5010.0), NOW_NS)
    log.append(events)
    log.append(venue.link(ACCOUNT, [filling, other], NOW_NS))
    events = add_liquidity(venue, False, 5000.0, 3)
    log.append(events[: kinds(events).index("FILLED") + 1])
    log.close()
    recovered = _recovered(path, **options)
    assert {o.basket_id: o.leaves_quantity for o in recovered.orders(ACCOUNT)} == {filling: 4, other: 6}


@pytest.mark.parametrize("options", [{}, {"log_bytes_max": 1}])
def test_days_loss_is_counted_over_a_restart(tmp_path: Path, options: dict[str, Any]) -> None:
    """The balance with which the day began is part of the state."""
    terms = AccountTerms(ACCOUNT, 10_000.0, loss_limit=100.0)
    path = tmp_path / "exchange.log"
    venue, log = Venue([ES], [terms], 0.0), ExchangeLog(path)
    rebuild(log, venue)
    add_liquidity(venue, False, 5000.0, 1)
    add_liquidity(venue, True, 4990.0, 1)
    log.append(venue.submit(new_order(Side.BUY, 1, 5000.0), NOW_NS)[1])
    log.append(venue.submit(new_order(Side.SELL, 1, 4990.0), NOW_NS)[1])
    log.close()
    rebuild(ExchangeLog(path), Venue([ES], [terms], 0.0), **options)
    recovered = Venue([ES], [terms], 0.0)
    rebuild(ExchangeLog(path), recovered)
    events = recovered.submit(new_order(Side.BUY, 1, 4990.0), NOW_NS)[1]
    assert "Loss limit" in order_events(events)[-1].text


def test_held_orders_act_after_the_restart(tmp_path: Path) -> None:
    """A touched order, a trailing stop and an OCO group go on where they were."""
    path = tmp_path / "exchange.log"
    venue, log = quiet_venue(), ExchangeLog(path)
    rebuild(log, venue)
    log.append(add_liquidity(venue, False, 5000.0, 1))
    log.append(add_liquidity(venue, True, 5000.0, 1))
    touch = new_order(Side.BUY, 1, order_type=OrderType.MARKET_IF_TOUCHED, trigger_price=4999.0)
    stop = new_order(Side.SELL, 1, order_type=OrderType.STOP_MARKET, trail_by_ticks=4)
    touched, events = venue.submit(touch, NOW_NS)
    log.append(events)
    trailing, events = venue.submit(stop, NOW_NS)
    log.append(events)
    ids, events = venue.submit_oco([new_order(Side.BUY, 2, 4990.0), new_order(Side.SELL, 2, 5010.0)], NOW_NS)
    log.append(events)
    log.close()
    recovered = _recovered(path)
    states = {order.basket_id: order for order in recovered.orders(ACCOUNT)}
    assert (states[touched].hold, states[trailing].trigger_price) == (Hold.TOUCH, 4999.0)
    add_liquidity(recovered, False, 5001.0, 2)
    events = add_liquidity(recovered, True, 5001.0, 1)
    assert [e.order.trigger_price for e in order_events(events) if e.kind == "MODIFIED"] == [5000.0]
    assert kinds(recovered.cancel(ACCOUNT, ids[0], NOW_NS))[2:4] == ["CANCELED", "COMPLETED(C)"]


def test_long_log_is_replaced_by_a_snapshot(tmp_path: Path) -> None:
    """Working orders, the last days' orders, positions, counters and places stay; the file is smaller and goes on."""
    path = tmp_path / "exchange.log"
    venue, log = _busy(path, steps=120, seed=9)
    days_later = NOW_NS + 3 * 86_400 * SECOND_NS
    for offset in (0, 86_400 * SECOND_NS):
        log.append(venue.submit(new_order(Side.BUY, 1, 4000.0), days_later + offset)[1])
    log.close()
    whole = path.stat().st_size
    plain = _recovered(path)
    compacted = _recovered(path, log_bytes_max=whole // 2)
    assert path.stat().st_size < whole
    assert path.stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "exchange.log.new").exists()
    again = _recovered(path)
    for found in (compacted, again):
        for account in (ACCOUNT, "SIM-2"):
            assert found.account(account) == plain.account(account)
            assert found.positions(account) == plain.positions(account)
            working = [order for order in plain.orders(account) if order.completion is None]
            assert [order for order in found.orders(account) if order.completion is None] == working
    _assert_same(again, _recovered(path))
    assert [o.exchange_order_id for o in again.book_orders(ES.symbol)] == [
        o.exchange_order_id for o in plain.book_orders(ES.symbol)
    ]
    assert (
        again.submit(new_order(Side.BUY, 1, 4000.0), days_later)[0]
        == plain.submit(new_order(Side.BUY, 1, 4000.0), days_later)[0]
    )
    summary = read_summary(path)
    for account in (ACCOUNT, "SIM-2"):
        net = {position.symbol: position.net_quantity for position in plain.positions(account)}
        assert {symbol: summary[account].positions[symbol] for symbol in net} == net


def test_snapshot_keeps_two_days_and_what_working_orders_need(tmp_path: Path) -> None:
    """Dropped: finished orders of older days. Kept: a working exit's entry. No id is given out twice.

    A replay that begins again goes back in time: its newest order may be of the oldest day.
    """
    path = tmp_path / "exchange.log"
    venue, log = quiet_venue(), ExchangeLog(path)
    rebuild(log, venue)
    add_liquidity(venue, False, 5000.0, 3)
    entry, events = venue.submit(new_order(Side.BUY, 3, bracket=BOTH, time_in_force=TimeInForce.GTC), NOW_NS)
    log.append(events)
    finished = []
    for day in (3, 2, 1, 0):
        basket_id, events = venue.submit(new_order(Side.BUY, 1, 4000.0), NOW_NS + day * 86_400 * SECOND_NS)
        log.append(events)
        log.append(venue.cancel(ACCOUNT, basket_id, NOW_NS + day * 86_400 * SECOND_NS))
        finished.append(basket_id)
    log.close()
    _recovered(path, log_bytes_max=1)
    recovered = _recovered(path)
    exits = [str(int(entry) + number) for number in (1, 2)]
    assert {order.basket_id for order in recovered.orders(ACCOUNT)} == {entry, *exits, *finished[:2]}
    assert [b.basket_id for b in recovered.brackets(ACCOUNT)] == [entry]
    basket_id, events = recovered.submit(new_order(Side.BUY, 1, 4000.0), NOW_NS)
    assert int(basket_id) == int(finished[-1]) + 1
    old = venue.order_history(ACCOUNT, finished[-1])[-2]
    new = order_events(events)[1]
    assert int(new.report_id) > int(old.report_id)
    assert int(new.order.sequence_number, 36) > int(old.order.sequence_number, 36)
    events = add_liquidity(recovered, True, 5001.0, 3)
    assert [e.order.basket_id for e in order_events(events) if e.kind == "CANCELED"] == exits[1:]


def test_kill_during_the_replacement_leaves_the_old_log(tmp_path: Path) -> None:
    """The new file takes the old one's name only when it is whole; a rest of a killed attempt is no hindrance."""
    path = tmp_path / "exchange.log"
    venue, log = _busy(path, steps=60, seed=3)
    log.close()
    (tmp_path / "exchange.log.new").write_bytes(b'{"k":"SNAPSHOT","torn')
    _assert_same(_recovered(path), venue)
    _recovered(path, log_bytes_max=1)
    assert orjson.loads(path.read_bytes().splitlines()[1])["k"] == "SNAPSHOT"
    _recovered(path)


@pytest.mark.parametrize("stage", ["OPEN", "TRIGGER_PENDING"])
def test_log_of_an_older_version_is_read(tmp_path: Path, stage: str) -> None:
    """Records without the newer fields mean what they meant."""
    order_type = "LIMIT" if stage == "OPEN" else "STOP_MARKET"
    order = new_order(Side.BUY, 2, 4990.0, order_type=order_type, trigger_price=5010.0)
    old_order = {field: value for field, value in msgspec.to_builtins(order).items() if field in _FIRST_FIELDS}
    product = {"symbol": ES.symbol, "exchange": "CME", "tick_size": 0.25, "point_value": 50.0, "commission": 2.25}
    picture = [order_type, 2, 4990.0, 5010.0, 0, "1000A", None, ""]
    kind = "OPENED" if stage == "OPEN" else stage
    records = [
        {"k": "SESSION", "products": [product], "accounts": [ACCOUNT]},
        {"k": "RECEIVED", "b": "10000001", "t": NOW_NS, "o": old_order, "p": ["RECEIVED", *picture]},
        {"k": kind, "b": "10000001", "t": NOW_NS, "r": "20000001", "p": [stage, *picture]},
    ]
    path = tmp_path / "exchange.log"
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    state = _recovered(path).orders(ACCOUNT)[0]
    assert (state.stage, state.leaves_quantity, state.hold) == (stage, 2, None)
