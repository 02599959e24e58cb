"""The log with brackets of several levels: kills at any record, the snapshot, logs from before there were levels."""

import random
from pathlib import Path
from typing import Any

import orjson
import pytest

from nightdesk.messages.enums import Side
from nightdesk.simulator.model import BracketKind, BracketLevel, BracketTerms, ExitRole, VenueEvent
from nightdesk.simulator.venue.log import ExchangeLog, read_summary, rebuild
from nightdesk.simulator.venue.venue import Venue
from tests.bracket_machine import is_orderly
from tests.market_support import ACCOUNT, ES, NOW_NS, add_liquidity, new_order, quiet_venue

LADDER = BracketTerms(
    BracketKind.TARGET_AND_STOP,
    *(1, 2, 3, 3),
    trailing_stop_trigger_ticks=3,
    more_targets=(BracketLevel(2, 3), BracketLevel(1, 5)),
    more_stops=(BracketLevel(1, 6),),
)
"""Of an entry of four."""
SINGLE = BracketTerms(BracketKind.TARGET_AND_STOP, 3, 4, 3, 6)


def _recovered(path: Path, **options: Any) -> Venue:
    venue = quiet_venue()
    log = ExchangeLog(path)
    rebuild(log, venue, **options)
    log.close()
    return venue


def _assert_same(one: Venue, other: Venue) -> None:
    assert one.orders(ACCOUNT) == other.orders(ACCOUNT)
    assert one.brackets(ACCOUNT) == other.brackets(ACCOUNT)
    assert [p.net_quantity for p in one.positions(ACCOUNT)] == [p.net_quantity for p in other.positions(ACCOUNT)]
    for state in one.orders(ACCOUNT):
        assert one.order_history(ACCOUNT, state.basket_id) == other.order_history(ACCOUNT, state.basket_id)


def _assert_protected(venue: Venue) -> None:
    """Each side asks for all that is open, unless the market was against one of its exits, and never for more."""
    orders = venue.orders(ACCOUNT)
    for entry in (order for order in orders if order.terms.bracket):
        mine = [order for order in orders if order.original_basket_id == entry.basket_id]
        open_quantity = entry.filled_quantity - sum(order.filled_quantity for order in mine)
        for role in ExitRole:
            side = [order for order in mine if order.exit_role is role]
            leaves = sum(order.leaves_quantity for order in side)
            assert leaves <= max(0, open_quantity)
            assert leaves == max(0, open_quantity) or not all(is_orderly(order) for order in side)


def _act(venue: Venue, rng: random.Random) -> list[VenueEvent]:
    if rng.random() < 0.3:
        price = 5000.0 + 0.25 * rng.randint(-2, 2)
        return venue.submit(new_order(rng.choice(list(Side)), 4, price, bracket=LADDER), NOW_NS)[1]
    return add_liquidity(venue, rng.random() < 0.5, 5000.0 + 0.25 * rng.randint(-6, 6), rng.randint(1, 6))


def test_log_with_levels_that_ends_at_any_record_is_settled_once(tmp_path: Path) -> None:
    """What a kill cut off is finished by the next start, from the log as from its snapshot; all stays protected."""
    rng = random.Random(5)
    venue, log = quiet_venue(), ExchangeLog(tmp_path / "exchange.log")
    rebuild(log, venue)
    for _ in range(18):
        log.append(_act(venue, rng))
    log.close()
    exits = [order for order in venue.orders(ACCOUNT) if order.original_basket_id]
    assert {order.exit_level for order in exits if order.filled_quantity} >= {0, 1}
    lines = log.path.read_bytes().splitlines(keepends=True)
    path = tmp_path / "cut.log"
    for size in range(1, len(lines) + 1):
        path.write_bytes(b"".join(lines[:size]))
        first = _recovered(path)
        _assert_protected(first)
        settled = path.read_bytes().count(b"\n")
        _assert_same(_recovered(path), first)
        assert path.read_bytes().count(b"\n") == settled + 1
        path.write_bytes(b"".join(lines[:size]))
        _recovered(path, log_bytes_max=1)
        _assert_same(_recovered(path), first)
        net = {position.symbol: position.net_quantity for position in first.positions(ACCOUNT)}
        summary = read_summary(path)
        assert ACCOUNT not in summary or net == {symbol: summary[ACCOUNT].positions[symbol] for symbol in net}
    _assert_same(_recovered(path), venue)


@pytest.mark.parametrize("options", [{}, {"log_bytes_max": 1}])
def test_untouched_levels_keep_their_ids_and_distances(tmp_path: Path, options: dict[str, Any]) -> None:
    """Nothing is filled, one stop was moved: five ids stay reserved, and the exits come where they should."""
    path = tmp_path / "exchange.log"
    venue, log = quiet_venue(), ExchangeLog(path)
    rebuild(log, venue)
    entry, events = venue.submit(new_order(Side.BUY, 4, 5000.0, bracket=LADDER), NOW_NS)
    log.append(events)
    log.append(venue.update_bracket(ACCOUNT, entry, is_target=False, level=6, ticks=9, now_ns=NOW_NS))
    log.close()
    recovered = _recovered(path, **options)
    assert int(recovered.submit(new_order(Side.BUY, 1, 4000.0), NOW_NS)[0]) == int(entry) + 6
    add_liquidity(recovered, False, 5000.0, 4)
    found = {o.basket_id: (o.price, o.trigger_price) for o in recovered.orders(ACCOUNT) if o.original_basket_id}
    prices = [(5000.5, None), (5000.75, None), (5001.25, None), (None, 4999.25), (None, 4997.75)]
    assert found == {str(int(entry) + place): price for place, price in enumerate(prices, 1)}


def test_bracket_of_an_older_version_is_read(tmp_path: Path) -> None:
    """Its log knows of no levels: one target and one stop in the terms, in the exits and in the reports."""
    path = tmp_path / "exchange.log"
    venue, log = quiet_venue(), ExchangeLog(path)
    rebuild(log, venue)
    log.append(venue.submit(new_order(Side.BUY, 3, 5000.0, bracket=SINGLE), NOW_NS)[1])
    log.append(add_liquidity(venue, False, 5000.0, 2))
    log.close()
    records = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    for record in records:
        assert "level" not in record.get("x", {})
        for name in ("more_targets", "more_stops"):
            (record.get("o", {}).get("bracket") or {}).pop(name, None)
        record.get("c", {}).pop("level", None)
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    recovered = _recovered(path)
    # The terms are the same but for what the older log cannot say.
    assert recovered.orders(ACCOUNT) == venue.orders(ACCOUNT)
    assert recovered.brackets(ACCOUNT) == venue.brackets(ACCOUNT)
    add_liquidity(recovered, False, 5000.0, 1)
    assert recovered.brackets(ACCOUNT)[0].target_quantity_released == 3
    assert recovered.position(ACCOUNT, ES.symbol).net == 3
