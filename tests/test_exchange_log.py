"""The exchange's log: nothing written is lost, damage is named, recovery restores the venue exactly."""

import os
import random
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nightdesk.errors import ConfigurationError, JournalError
from nightdesk.messages.enums import AggressorSide, OrderType, Side
from nightdesk.settings.models import SyntheticSource
from nightdesk.simulator.flows.synthetic import SyntheticFlow
from nightdesk.simulator.model import OrderHappened, Product, Stage, Traded, VenueEvent
from nightdesk.simulator.venue.log import ExchangeLog, read_summary, rebuild
from nightdesk.simulator.venue.venue import Venue, VenueRefusal
from tests.market_support import (
    ACCOUNT,
    ES,
    NOW_NS,
    add_liquidity,
    booked_venue,
    new_order,
    order_events,
    quiet_venue,
)
from tests.support import wait_until


def test_rebuilt_venue_equals_the_one_that_died(tmp_path: Path) -> None:
    """Orders, executions, positions and balances after random trading; counters go on without a repeat."""
    path = tmp_path / "exchange.log"
    venue = quiet_venue()
    log = ExchangeLog(path)
    rebuild(log, venue)
    _trade_at_random(venue, log, steps=3000, seed=12)
    log.append(venue.submit(new_order(Side.BUY, 3, 4000.0), NOW_NS)[1])
    stop = new_order(Side.BUY, 1, order_type=OrderType.STOP_MARKET, trigger_price=6000.0)
    log.append(venue.submit(stop, NOW_NS)[1])
    log.close()
    reopened = ExchangeLog(path)
    recovered = quiet_venue()
    assert rebuild(reopened, recovered) > 1000
    for account in (ACCOUNT, "SIM-2"):
        assert recovered.orders(account) == venue.orders(account)
        assert recovered.executions(account, 0, 2**40) == venue.executions(account, 0, 2**40)
        assert recovered.positions(account) == venue.positions(account)
        assert recovered.account(account) == venue.account(account)
    assert {order.stage for order in venue.orders(ACCOUNT)} == {Stage.OPEN, Stage.TRIGGER_PENDING, Stage.COMPLETE}
    _, old = venue.submit(new_order(Side.BUY, 1, 4000.0), NOW_NS)
    _, new = recovered.submit(new_order(Side.BUY, 1, 4000.0), NOW_NS)
    assert [_ids(event) for event in order_events(new)] == [_ids(event) for event in order_events(old)]


def test_open_orders_come_back_in_their_old_priority(tmp_path: Path) -> None:
    """An order that was raised stands behind the one that came after it, also after recovery."""
    log = ExchangeLog(tmp_path / "exchange.log")
    venue = quiet_venue()
    rebuild(log, venue)
    baskets = []
    for _ in range(3):
        basket_id, events = venue.submit(new_order(Side.BUY, 5, 5000.0), NOW_NS)
        baskets.append(basket_id)
        log.append(events)
    for basket_id, quantity in ((baskets[0], 6), (baskets[1], 4)):
        log.append(
            venue.modify(
                ACCOUNT,
                basket_id,
                quantity=quantity,
                price=5000.0,
                trigger_price=None,
                order_type=None,
                now_ns=NOW_NS,
            )
        )
    recovered = quiet_venue()
    rebuild(log, recovered)
    filled_events = order_events(add_liquidity(recovered, False, 5000.0, 15))
    filled = [event.order.basket_id for event in filled_events if event.execution]
    assert filled == [baskets[1], baskets[2], baskets[0]]


def test_torn_last_line_is_cut_and_the_rest_counts(tmp_path: Path) -> None:
    """A kill in the middle of a write loses only what was never acknowledged, at any byte of the last append."""
    path = tmp_path / "exchange.log"
    venue = booked_venue()
    log = ExchangeLog(path)
    rebuild(log, booked_venue())
    log.append(venue.submit(new_order(Side.BUY, 1, 4990.0, user_tag="first"), NOW_NS)[1])
    whole = path.stat().st_size
    log.append(venue.submit(new_order(Side.BUY, 12, user_tag="second"), NOW_NS)[1])
    payload = path.read_bytes()
    for size in range(whole, len(payload), 37):
        torn = tmp_path / "torn.log"
        torn.write_bytes(payload[:size])
        recovered = quiet_venue()
        reopened = ExchangeLog(torn)
        rebuild(reopened, recovered)
        reopened.close()
        assert [order.stage for order in recovered.orders(ACCOUNT) if order.terms.user_tag == "first"] == [Stage.OPEN]
        assert all(o.stage is Stage.COMPLETE for o in recovered.orders(ACCOUNT) if o.terms.user_tag == "second")
        summary = read_summary(torn)[ACCOUNT]
        net = {position.symbol: position.net_quantity for position in recovered.positions(ACCOUNT)}
        assert net[ES.symbol] == summary.positions[ES.symbol]


def test_order_in_work_at_the_kill_ends_canceled_in_the_log_too(tmp_path: Path) -> None:
    """A received order without its outcome is settled once; a second recovery finds it settled."""
    path = tmp_path / "exchange.log"
    venue = quiet_venue()
    log = ExchangeLog(path)
    rebuild(log, quiet_venue())
    _, events = venue.submit(new_order(Side.BUY, 1, 4990.0), NOW_NS)
    log.append(events[:1])
    first, second = quiet_venue(), quiet_venue()
    rebuild(log, first)
    rebuild(log, second)
    assert second.orders(ACCOUNT) == first.orders(ACCOUNT)
    assert "restarted" in first.orders(ACCOUNT)[0].text
    assert dict(read_summary(path)[ACCOUNT].orders_by_state) == {"CANCELED": 1}


@pytest.mark.parametrize("damage", [b"{broken\n", b"[]\n", b'{"k":"FILLED","b":"77"}\n', b'{"k":"WHAT"}\n'])
def test_damaged_line_is_named_with_file_and_line(tmp_path: Path, damage: bytes) -> None:
    """A corrupt line in the middle stops the exchange; it is never skipped."""
    path = tmp_path / "exchange.log"
    log = ExchangeLog(path)
    rebuild(log, quiet_venue())
    good = path.read_bytes()
    path.write_bytes(good + damage + good)
    with pytest.raises(JournalError, match=r"exchange\.log:2:"):
        rebuild(ExchangeLog(path), quiet_venue())
    with pytest.raises(JournalError, match=r"exchange\.log:2:"):
        read_summary(path)


def test_log_does_not_grow_with_the_market(tmp_path: Path) -> None:
    """A minute of prints is one record; the last price is written at the end."""
    log = ExchangeLog(tmp_path / "exchange.log")
    trades = [_trade(5000.0 + 0.25 * (n % 8), NOW_NS + n * 1_000_000) for n in range(50_000)]
    for trade in trades:
        log.append([trade])
    assert log.path.read_bytes().count(b"\n") == 1
    log.close()
    recovered = quiet_venue()
    rebuild(ExchangeLog(log.path), recovered)
    assert recovered.mark_price(ES.symbol) == trades[-1].price


def test_synthetic_flow_goes_on_from_the_last_price(tmp_path: Path) -> None:
    """After a restart the market opens where it was, not at the configured price."""
    log = ExchangeLog(tmp_path / "exchange.log")
    rebuild(log, quiet_venue())
    log.append([_trade(4321.25, NOW_NS)])
    venue = quiet_venue()
    rebuild(log, venue)
    flow = SyntheticFlow(SyntheticSource(kind="synthetic"), venue, [ES], NOW_NS)
    opening = flow.next()
    assert opening is not None
    opening[1]()
    quote = venue.quote(ES.symbol)
    assert quote is not None
    assert abs(quote.bid_price - 4321.25) <= 0.5


def test_log_file_belongs_to_its_user_alone(tmp_path: Path) -> None:
    """Mode 0600."""
    log = ExchangeLog(tmp_path / "exchange.log")
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


def test_delisted_product_keeps_its_position_and_a_changed_one_is_refused(tmp_path: Path) -> None:
    """What is held in a contract outlives its line in the configuration; another tick size is an error."""
    log = ExchangeLog(tmp_path / "exchange.log")
    venue = booked_venue()
    rebuild(log, quiet_venue())
    log.append(venue.submit(new_order(Side.BUY, 2), NOW_NS)[1])
    other = Venue([Product("NQZ6", "CME", 0.25, 20.0, 0.0)], [ACCOUNT], 100_000.0)
    rebuild(log, other)
    assert [(p.symbol, p.net_quantity) for p in other.positions(ACCOUNT)] == [(ES.symbol, 2)]
    changed = Venue([Product(ES.symbol, "CME", 0.5, 50.0, 2.25)], [ACCOUNT], 100_000.0)
    with pytest.raises(ConfigurationError, match="tick_size"):
        rebuild(log, changed)


def test_summary_tells_tags_fills_and_states(tmp_path: Path) -> None:
    """The oracle: a tag received twice is counted twice, and each fill has its id, tag and price."""
    log = ExchangeLog(tmp_path / "exchange.log")
    venue = booked_venue()
    for tag, price in (("a", None), ("b", 4000.0), ("b", 4001.0), ("c", 4000.1)):
        log.append(venue.submit(new_order(Side.SELL, 2, price, user_tag=tag, quantity=2), NOW_NS)[1])
    summary = read_summary(log.path)[ACCOUNT]
    assert dict(summary.user_tags) == {"a": 1, "b": 2, "c": 1}
    assert dict(summary.orders_by_state) == {"FILLED": 3, "FAILED": 1}
    assert dict(summary.positions) == {ES.symbol: -6}
    assert [fill.user_tag for fill in summary.fills] == ["a", "b", "b"]
    assert len({fill.fill_id for fill in summary.fills}) == 3


_WRITER = """
import sys
from nightdesk.messages.enums import Side
from nightdesk.simulator.venue.log import ExchangeLog, rebuild
from tests.market_support import NOW_NS, booked_venue, new_order, quiet_venue
log = ExchangeLog(sys.argv[1])
rebuild(log, quiet_venue())
venue = booked_venue()
number = 0
while True:
    number += 1
    log.append(venue.submit(new_order(Side.BUY, 1, 4000.0, user_tag=str(number)), NOW_NS)[1])
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def test_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Each order announced after its append is in the log of a process that was killed."""
    path = tmp_path / "exchange.log"
    said = tmp_path / "said"
    with open(said, "wb") as output:
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path)], stdout=output, cwd=Path(__file__).resolve().parents[1]
        )
        try:
            wait_until(lambda: said.stat().st_size > 500)
        finally:
            os.kill(writer.pid, signal.SIGKILL)
            writer.wait()
    announced = [int(number) for number in said.read_text().split("\n")[:-1]]
    recovered = quiet_venue()
    rebuild(ExchangeLog(path), recovered)
    received = {int(order.terms.user_tag) for order in recovered.orders(ACCOUNT)}
    assert set(announced) <= received
    assert len(received) <= len(announced) + 1


def _trade_at_random(venue: Venue, log: ExchangeLog, *, steps: int, seed: int) -> None:
    """Two clients in a synthetic market, everything they may do."""
    rng = random.Random(seed)
    flow = SyntheticFlow(SyntheticSource(kind="synthetic", seed=seed), venue, [ES], NOW_NS)
    for _ in range(steps):
        step = flow.next()
        assert step is not None
        now_ns, move = step
        log.append(move())
        if rng.random() < 0.3:
            log.append(_act_at_random(venue, rng, now_ns))


def _act_at_random(venue: Venue, rng: random.Random, now_ns: int) -> list[VenueEvent]:
    account = rng.choice([ACCOUNT, "SIM-2"])
    mine = [order.basket_id for order in venue.orders(account) if order.completion is None]
    price = (venue.mark_price(ES.symbol) or 5000.0) + 0.25 * rng.randint(-6, 6)
    if mine and rng.random() < 0.5:
        basket_id = rng.choice(mine)
        try:
            if rng.random() < 0.5:
                return venue.cancel(account, basket_id, now_ns)
            return venue.modify(
                account,
                basket_id,
                quantity=rng.randint(1, 8),
                price=price,
                trigger_price=price + 0.25 * rng.randint(-8, 8),
                order_type=rng.choice([None, *list(OrderType)[:4]]),
                now_ns=now_ns,
            )
        except VenueRefusal:
            return []
    order_type = rng.choice(list(OrderType))
    order = new_order(
        rng.choice(list(Side)),
        rng.randint(0, 9),
        None if order_type in (OrderType.MARKET, OrderType.STOP_MARKET) else price,
        account_id=account,
        order_type=order_type,
        trigger_price=price + 0.25 * rng.randint(-8, 8) if order_type.startswith("STOP") else None,
    )
    return venue.submit(order, now_ns)[1]


def _trade(price: float, ts_ns: int) -> Traded:
    return Traded(ES.symbol, ES.exchange, price, 1, AggressorSide.BUY, ts_ns, 1, price)


def _ids(event: OrderHappened) -> tuple[str, str, str]:
    return event.order.basket_id, event.report_id, event.order.sequence_number
