"""The synthetic flow: lively, bounded, reproducible; and the rules by which orders fill in a replay."""

import itertools
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from nightdesk.errors import ConfigurationError
from nightdesk.messages.enums import OrderType, Side, TimeInForce
from nightdesk.settings.models import SyntheticSource
from nightdesk.simulator.flows.crowd import ORDERS_PER_LEVEL_MAX, TICKS_KEPT
from nightdesk.simulator.flows.synthetic import SyntheticFlow
from nightdesk.simulator.model import BookChanged, OrderHappened, Product, Quoted, Traded, VenueEvent
from nightdesk.simulator.venue.matching import PROTECTION_TICKS, Best, Matched, Order, Outcome, Triggered
from nightdesk.simulator.venue.replay_matching import ReplayMatcher
from nightdesk.simulator.venue.venue import Venue
from tests.market_support import ACCOUNT, ES, NOW_NS, new_order, quiet_venue


def test_flow_is_plausible_and_lively() -> None:
    """Spread mostly one tick, never crossed, the configured mean rate, prices that cross their averages often."""
    spreads: Counter[int] = Counter()
    closes: dict[int, float] = {}
    published = 0
    last_ns = NOW_NS
    for ts_ns, events in itertools.islice(_run(quiet_venue()), 60_000):
        assert ts_ns >= last_ns
        last_ns = ts_ns
        for event in events:
            published += 1
            if isinstance(event, Traded):
                closes[ts_ns // 2_000_000_000] = event.price
            elif isinstance(event, Quoted):
                assert event.bid_size > 0
                assert event.ask_size > 0
                spreads[round((event.ask_price - event.bid_price) / ES.tick_size)] += 1
    minutes = (last_ns - NOW_NS) / 60e9
    assert min(spreads) == 1
    assert spreads[1] > 0.6 * spreads.total()
    assert published / minutes / 60 == pytest.approx(20.0, rel=0.1)
    assert _crossings(list(closes.values()), 3, 8) / minutes > 1


def test_same_seed_gives_the_same_market() -> None:
    """The flow is a function of its seed, and another seed is another market."""
    first, again, other = (
        [events for _, events in itertools.islice(_run(quiet_venue(), seed=seed), 3_000)] for seed in (5, 5, 6)
    )
    assert again == first
    assert other != first


def test_rate_stretches_time_and_nothing_else() -> None:
    """At ten times the rate the same things happen in a tenth of the time."""
    slow, fast = (
        [(ts_ns - NOW_NS, _shape(events)) for ts_ns, events in itertools.islice(_run(quiet_venue(), rate=rate), 3_000)]
        for rate in (20.0, 200.0)
    )
    assert [shape for _, shape in slow] == [shape for _, shape in fast]
    assert slow[-1][0] == pytest.approx(10 * fast[-1][0], rel=1e-6)


def test_flow_runs_on_without_growing_or_drying_up() -> None:
    """150,000 steps: the book stays small, memory flat, both sides quoted, the price sane."""
    venue = quiet_venue()
    run = _run(venue)
    published = sum(len(events) for _, events in itertools.islice(run, 100_000))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    published += sum(len(events) for _, events in itertools.islice(run, 10_000))
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    published += sum(len(events) for _, events in itertools.islice(run, 40_000))
    matcher: Any = venue.market(ES.symbol).matcher
    quote = venue.quote(ES.symbol)
    # Orders that were there before tracing began are replaced by traced ones: at most a whole book of them.
    assert grown < 1_000_000
    assert published > 60_000
    assert quote is not None
    assert quote.bid_size > 0
    assert quote.ask_size > 0
    assert 2500.0 < quote.bid_price < 7500.0
    for side in (matcher.bids, matcher.asks):
        assert len(side.keys) <= TICKS_KEPT + 10
        assert all(len(level.orders) <= ORDERS_PER_LEVEL_MAX for level in side.levels.values())
        assert sum(len(level.orders) for level in side.levels.values()) < 3_000


def test_depth_that_is_watched_is_told_and_changes_nothing() -> None:
    """Changes behind the best prices are told only while somebody watches; trades and quotes are the same."""
    seen, watched = quiet_venue(), quiet_venue()
    watched.watch_depth(ES.symbol, True)
    plain, deep = ([events for _, events in itertools.islice(_run(venue), 3_000)] for venue in (seen, watched))
    assert [_shape(events) for events in plain] == [_shape(events) for events in deep]
    assert not any(isinstance(event, BookChanged) for events in plain for event in events)
    changes = sum(isinstance(event, BookChanged) for events in deep for event in events)
    assert changes > 1.3 * sum(bool(events) for events in plain)


def test_flow_trades_with_clients() -> None:
    """Resting limit orders near the touch are filled, market orders at once, and their trades are on the tape."""
    venue = quiet_venue()
    run = _run(venue)
    next(run)
    _, events = venue.submit(new_order(Side.BUY, 3), NOW_NS)
    assert sum(event.quantity for event in events if isinstance(event, Traded)) == 3
    for side in Side:
        quote = venue.quote(ES.symbol)
        assert quote is not None
        price = quote.bid_price if side is Side.BUY else quote.ask_price
        basket_id, _ = venue.submit(new_order(side, 2, price), NOW_NS)
        assert any(_is_filled(event, basket_id) for _, events in itertools.islice(run, 100_000) for event in events)


def test_order_beyond_all_liquidity_does_not_stop_the_flow() -> None:
    """A client's wall is chipped at; the market stays quoted on both sides."""
    venue = quiet_venue()
    run = _run(venue)
    next(run)
    venue.submit(new_order(Side.SELL, 100_000, 5000.5), NOW_NS)
    for _, events in itertools.islice(run, 10_000):
        for event in events:
            if isinstance(event, Quoted):
                assert event.bid_size > 0
                assert event.bid_price < event.ask_price <= 5000.5


def test_several_products_share_the_rate() -> None:
    """``ticks_per_second`` is the mean of all products together; each of them moves."""
    nq = Product("NQZ6", "CME", 0.25, 20.0, 2.25)
    venue = Venue([ES, nq], [ACCOUNT], 0.0)
    flow = SyntheticFlow(SyntheticSource(kind="synthetic", ticks_per_second=100.0), venue, [ES, nq], NOW_NS)
    counts: Counter[str] = Counter()
    last_ns = NOW_NS
    for _ in range(60_000):
        step = flow.next()
        assert step is not None
        last_ns = step[0]
        counts.update(event.symbol for event in step[1]() if not isinstance(event, OrderHappened))
    assert counts.total() / ((last_ns - NOW_NS) / 1e9) == pytest.approx(100.0, rel=0.15)
    assert min(counts.values()) > 10_000


def test_start_price_without_room_below_is_refused() -> None:
    """A price of a few ticks could not have ten levels of depth."""
    with pytest.raises(ConfigurationError, match="start_price"):
        SyntheticFlow(SyntheticSource(kind="synthetic", start_price=10.0), quiet_venue(), [ES], NOW_NS)


def test_replayed_quote_gives_its_displayed_size_once() -> None:
    """A market order takes the displayed size, then one tick worse per chunk; what was taken is gone for the next."""
    matcher = _quoted(bid=(100, 5), ask=(101, 4))
    assert _fills(matcher.submit(Order(True, 10, None))) == [(101, 4), (102, 4), (103, 2)]
    assert _fills(matcher.submit(Order(True, 1, None))) == [(102, 1)]
    matcher.on_quote(Best(100, 5, 0, 101, 6, 0))
    assert _fills(matcher.submit(Order(True, 1, None))) == [(101, 1)]


def test_replayed_market_order_stops_at_the_protection_band() -> None:
    """What the band does not hold is canceled."""
    matcher = _quoted(bid=(100, 5), ask=(101, 1))
    fills = _fills(matcher.submit(Order(True, 100, None)))
    assert (fills[-1][0], sum(size for _, size in fills)) == (101 + PROTECTION_TICKS, 1 + PROTECTION_TICKS)


def test_replayed_limit_joins_behind_the_displayed_size() -> None:
    """Prints at its price first use up the size ahead, then fill it."""
    matcher = _quoted(bid=(100, 5), ask=(101, 4))
    matcher.submit(Order(True, 3, 100))
    assert _fills(matcher.on_trade(100, 4)) == []
    assert _fills(matcher.on_trade(100, 2)) == [(100, 1)]
    assert _fills(matcher.on_trade(100, 9)) == [(100, 2)]


def test_replayed_queue_shrinks_with_the_displayed_size() -> None:
    """Nobody can stand ahead who is no longer shown."""
    matcher = _quoted(bid=(100, 50), ask=(101, 4))
    matcher.submit(Order(True, 3, 100))
    matcher.on_quote(Best(100, 2, 0, 101, 4, 0))
    matcher.on_quote(Best(100, 90, 0, 101, 4, 0))
    assert _fills(matcher.on_trade(100, 3)) == [(100, 1)]


def test_replayed_order_away_from_the_quote_waits_for_it() -> None:
    """Its place is behind what is displayed when the quote comes to its price."""
    matcher = _quoted(bid=(100, 5), ask=(101, 4))
    matcher.submit(Order(True, 3, 98))
    matcher.on_quote(Best(98, 7, 0, 99, 4, 0))
    assert _fills(matcher.on_trade(98, 7)) == []
    assert _fills(matcher.on_trade(98, 1)) == [(98, 1)]


@pytest.mark.parametrize("is_buy", [True, False])
def test_replayed_limit_fills_whole_when_the_market_goes_through(is_buy: bool) -> None:
    """A print through its price, or the opposite quote at its price, fills all of it at its own price."""
    sign = 1 if is_buy else -1
    by_print = _quoted(bid=(100, 5), ask=(101, 4))
    limit = 100 if is_buy else 101
    by_print.submit(Order(is_buy, 30, limit))
    assert _fills(by_print.on_trade(limit - sign, 1)) == [(limit, 30)]
    by_quote = _quoted(bid=(100, 5), ask=(101, 4))
    by_quote.submit(Order(is_buy, 30, limit))
    reached = Best(limit - 1, 1, 0, limit, 1, 0) if is_buy else Best(limit, 1, 0, limit + 1, 1, 0)
    assert _fills(by_quote.on_quote(reached)) == [(limit, 30)]


def test_marketable_limit_takes_the_displayed_size_and_rests() -> None:
    """Its rest waits for new size at the opposite quote and takes it there, not at its own worse price."""
    matcher = _quoted(bid=(100, 5), ask=(101, 4))
    assert _fills(matcher.submit(Order(True, 10, 103))) == [(101, 4)]
    assert _fills(matcher.on_quote(Best(100, 6, 0, 101, 4, 0))) == []
    assert _fills(matcher.on_quote(Best(100, 6, 0, 102, 5, 0))) == [(102, 5)]


def test_crossed_quotes_before_the_open_fill_nothing() -> None:
    """Market orders are canceled, limits wait; the opening print fills at its own price, never at the limit."""
    matcher = _quoted(bid=(120, 5), ask=(80, 4))
    assert _fills(matcher.submit(Order(True, 1, None))) == []
    assert _fills(matcher.submit(Order(True, 1, 130, time_in_force=TimeInForce.IOC))) == []
    waiting = Order(True, 3, 120)
    assert _fills(matcher.submit(waiting)) == []
    assert _fills(matcher.on_quote(Best(121, 5, 0, 80, 4, 0))) == []
    assert _fills(matcher.on_trade(100, 2)) == [(100, 2)]
    assert _fills(matcher.on_quote(Best(99, 5, 0, 101, 4, 0))) == [(101, 1)]


def test_stop_triggered_by_the_opening_print_fills_near_it() -> None:
    """The quote is still the crossed one then; the stop fills one tick worse than the print."""
    matcher = _quoted(bid=(120, 5), ask=(80, 4))
    matcher.submit(Order(True, 2, None, trigger=100))
    outcomes = matcher.on_trade(105, 44)
    assert isinstance(outcomes[0], Triggered)
    assert _fills(outcomes) == [(106, 2)]


def test_tape_of_trades_alone_fills_by_prints() -> None:
    """Market: last print plus one tick against it. Resting limit: a print through it, up to the print's size."""
    matcher = ReplayMatcher(has_quotes=False)
    assert _fills(matcher.submit(Order(True, 1, None))) == []
    matcher.on_trade(100, 1)
    assert _fills(matcher.submit(Order(True, 7, None))) == [(101, 7)]
    assert _fills(matcher.submit(Order(False, 7, 99))) == [(99, 7)]
    matcher.submit(Order(True, 5, 99))
    assert _fills(matcher.on_trade(99, 50)) == []
    assert _fills(matcher.on_trade(98, 3)) == [(99, 3)]
    assert _fills(matcher.on_trade(97, 30)) == [(99, 2)]


def test_replay_shares_a_print_among_orders_by_priority() -> None:
    """A print's size is filled once, the better price first."""
    matcher = ReplayMatcher(has_quotes=False)
    matcher.on_trade(105, 1)
    worse, better = Order(True, 5, 99), Order(True, 5, 100)
    matcher.submit(worse)
    matcher.submit(better)
    matches = [outcome for outcome in matcher.on_trade(98, 7) if isinstance(outcome, Matched)]
    assert [(match.taker, match.quantity) for match in matches] == [(better, 5), (worse, 2)]


def test_print_without_size_fills_and_triggers_nothing() -> None:
    """A recorded trade of size zero is shown, not traded with."""
    matcher = _quoted(bid=(100, 5), ask=(101, 4))
    matcher.submit(Order(True, 5, 100))
    matcher.submit(Order(False, 5, None, trigger=90))
    assert matcher.on_trade(80, 0) == []


def test_stop_in_a_replay_triggers_on_a_print_and_takes_the_quote() -> None:
    """The stop becomes a market order against the displayed size."""
    matcher = _quoted(bid=(100, 5), ask=(101, 4))
    matcher.on_trade(100, 1)
    matcher.submit(Order(False, 5, None, trigger=99))
    outcomes = matcher.on_trade(99, 1)
    assert isinstance(outcomes[0], Triggered)
    assert _fills(outcomes) == [(100, 5)]


def test_stop_order_type_is_kept_in_mind() -> None:
    """A pending order's present type is that of a stop."""
    assert Order(True, 1, None, trigger=5).present_type is OrderType.STOP_MARKET
    assert Order(True, 1, 6, trigger=5).present_type is OrderType.STOP_LIMIT


def _run(venue: Venue, seed: int = 1, rate: float = 20.0) -> Iterator[tuple[int, list[VenueEvent]]]:
    source = SyntheticSource(kind="synthetic", seed=seed, ticks_per_second=rate)
    flow = SyntheticFlow(source, venue, [ES], NOW_NS)
    while (step := flow.next()) is not None:
        yield step[0], step[1]()


def _shape(events: list[VenueEvent]) -> list[tuple[Any, ...]]:
    """What happened, without the time."""
    return [
        (event.price, event.quantity, event.aggressor)
        if isinstance(event, Traded)
        else (event.bid_price, event.bid_size, event.ask_price, event.ask_size)
        for event in events
        if isinstance(event, Traded | Quoted)
    ]


def _crossings(closes: list[float], fast: int, slow: int) -> int:
    signs = []
    for end in range(slow, len(closes)):
        gap = sum(closes[end - fast : end]) / fast - sum(closes[end - slow : end]) / slow
        if gap:
            signs.append(gap > 0)
    return sum(1 for before, after in itertools.pairwise(signs) if before != after)


def _is_filled(event: VenueEvent, basket_id: str) -> bool:
    return isinstance(event, OrderHappened) and event.order.basket_id == basket_id and event.order.completion == "F"


def _quoted(bid: tuple[int, int], ask: tuple[int, int]) -> ReplayMatcher:
    matcher = ReplayMatcher(has_quotes=True)
    matcher.on_quote(Best(*bid, 0, *ask, 0))
    return matcher


def _fills(outcomes: list[Outcome]) -> list[tuple[int, int]]:
    return [(outcome.price, outcome.quantity) for outcome in outcomes if isinstance(outcome, Matched)]
