"""Two exchanges side by side: everything that must be the same after each command, and what the log must rebuild."""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from nightdesk.messages.enums import Side
from nightdesk.simulator.model import (
    BookChanged,
    BracketKind,
    BracketTerms,
    LevelDepth,
    OrderDepth,
    OrderDepthKind,
    OrderHappened,
    OrderState,
    PositionState,
    Product,
    Stage,
    Traded,
    VenueEvent,
)
from nightdesk.simulator.venue.book import Order
from nightdesk.simulator.venue.log import ExchangeLog, rebuild
from nightdesk.simulator.venue.matching import MatchingEngine, SelfMatch
from nightdesk.simulator.venue.venue import Venue
from tests.naive_exchange import PRICED, STOPS, TOUCHES, NaiveBracket, NaiveExchange, NaiveOrder

PRODUCT = Product("ESZ6", "CME", 0.25, 50.0, 2.25)
ACCOUNTS = ("A", "B")
MIDDLE = 20_000
START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000

_STAGES = {
    "HELD": Stage.RELEASE_PENDING,
    "TOUCH": Stage.TRIGGER_PENDING,
    "PENDING": Stage.TRIGGER_PENDING,
    "OPEN": Stage.OPEN,
    "DONE": Stage.COMPLETE,
}


class ComparedExchanges(RuleBasedStateMachine):
    """The venue, the naive exchange, the log and somebody who follows the public book; no commands yet."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="venue-")
        self.now_s = 0
        self.anonymous: dict[str, Order] = {}
        self.watched: dict[str, OrderDepth] | None = None
        self.levels: dict[tuple[Side, float], LevelDepth] = {}
        self.sequence = 0
        self.fills_seen = 0
        self.prints_seen = 0

    @initialize(self_match=st.sampled_from(["ALLOW", "ALLOW", "CANCEL_RESTING", "CANCEL_AGGRESSOR"]))
    def open_both(self, self_match: str) -> None:
        self.self_match = SelfMatch(self_match)
        self.naive = NaiveExchange(self_match)
        self.venue = self._fresh()
        self.log = ExchangeLog(Path(self.folder.name) / "exchange.log")
        rebuild(self.log, self.venue)
        engine = self.venue.market(PRODUCT.symbol).matcher
        assert isinstance(engine, MatchingEngine)
        self.engine = engine

    @rule()
    def log_is_read(self) -> None:
        self._check_log()

    def teardown(self) -> None:
        if hasattr(self, "venue"):
            self._check_log()
            self.log.close()
        self.folder.cleanup()

    # What must hold after each command.

    @invariant()
    def orders_are_the_same(self) -> None:
        naive = {str(o.identity): _naive_state(o) for o in self.naive.orders if o.account}
        venue = {s.basket_id: _state(s) for account in ACCOUNTS for s in self.venue.orders(account)}
        assert venue == naive

    @invariant()
    def book_is_the_same_and_not_crossed(self) -> None:
        shown = [(o.exchange_order_id, o.side, o.price, o.size) for o in self.venue.book_orders(PRODUCT.symbol)]
        expected = [
            (
                self.anonymous[str(o.identity)].exchange_order_id if not o.account else str(o.identity),
                Side.BUY if o.is_buy else Side.SELL,
                price_of(o.limit),
                o.leaves,
            )
            for is_buy in (True, False)
            for o in self.naive.side(is_buy)
        ]
        assert shown == expected
        best = self.engine.best()
        assert best.bid is None or best.ask is None or best.bid < best.ask

    @invariant()
    def watched_book_is_the_book(self) -> None:
        if self.watched is None:
            return
        book = self.venue.book_orders(PRODUCT.symbol)
        by_side = {
            side: sorted(
                (o for o in self.watched.values() if o.side is side),
                key=lambda o: (-o.price if o.side is Side.BUY else o.price, o.priority),
            )
            for side in Side
        }
        mirrored = [(o.exchange_order_id, o.price, o.size, o.priority) for side in Side for o in by_side[side]]
        assert mirrored == [(o.exchange_order_id, o.price, o.size, o.priority) for o in book]
        levels = {(level.side, level.price): level for level in self.venue.book(PRODUCT.symbol)}
        assert {key: level for key, level in self.levels.items() if level.size} == levels

    @invariant()
    def money_is_conserved(self) -> None:
        """What clients won, anonymous orders lost, to the millionth of a dollar."""
        mark = self.naive.last
        if mark is None:
            return
        traded: Counter[str] = Counter()
        cash: Counter[str] = Counter()
        sides_of = {order.identity: order for order in self.naive.orders}
        for identity, price, quantity in self.naive.fills:
            order = sides_of[identity]
            traded[order.account] += quantity if order.is_buy else -quantity
            cash[order.account] -= (quantity if order.is_buy else -quantity) * price
        assert sum(traded.values()) == sum(cash.values()) == 0
        for account in ACCOUNTS:
            position = self.venue.position(account, PRODUCT.symbol)
            contracts = sum(q for identity, _, q in self.naive.fills if sides_of[identity].account == account)
            assert position.net == traded[account]
            gain = position.realized_micros + position.unrealized_micros(mark)
            assert gain == (cash[account] + traded[account] * mark) * position.scale.tick_micros
            assert position.commission_micros == contracts * position.scale.commission_micros

    @invariant()
    def fills_are_the_same(self) -> None:
        """Who traded with whom, in the same order; each print carries what was traded at its price."""
        events = getattr(self, "events", [])
        clients = [
            (event.order.basket_id, event.execution.price, event.execution.quantity)
            for event in events
            if isinstance(event, OrderHappened) and event.execution
        ]
        new = self.naive.fills[self.fills_seen :]
        assert clients == [(str(i), price_of(price), q) for i, price, q in new if str(i) not in self.anonymous]
        shown = [(event.price, event.quantity) for event in events if isinstance(event, Traded)]
        assert shown == [(price_of(price), quantity) for price, quantity in self.naive.prints[self.prints_seen :]]
        assert sum(q for _, _, q in new) == 2 * sum(q for _, q in self.naive.prints[self.prints_seen :])
        self.fills_seen, self.prints_seen = len(self.naive.fills), len(self.naive.prints)
        self.events = []

    # What the rules share.

    def _fresh(self) -> Venue:
        return Venue([PRODUCT], ACCOUNTS, 100_000.0, self_match=self.self_match)

    def _now(self) -> int:
        return START_NS + self.now_s * SECOND_NS

    def _working(self) -> list[NaiveOrder]:
        return [o for o in self.naive.orders if o.account and o.state != "DONE"]

    def _take(self, events: list[VenueEvent]) -> None:
        """Log the events as the exchange does and let the watcher see them."""
        self.log.append(events)
        for event in events:
            if isinstance(event, BookChanged):
                assert self.watched is not None
                self.sequence += 1
                assert event.sequence == self.sequence
                for change in event.orders:
                    _apply(self.watched, change)
                self.levels |= {(level.side, level.price): level for level in event.levels}
        self.events = events

    def _check_log(self) -> None:
        """A venue that starts from the log is the one that wrote it."""
        copy = Path(self.folder.name) / "copy.log"
        copy.write_bytes(self.log.path.read_bytes())
        log = ExchangeLog(copy)
        before = copy.read_bytes().count(b"\n")
        rebuilt = self._fresh()
        rebuild(log, rebuilt)
        assert copy.read_bytes().count(b"\n") == before + 1, "nothing was left to do but to note the start"
        self._check_rebuilt(rebuilt)
        # The start after that finds the log too long, and the next one reads what took its place.
        for bytes_max in (1, copy.stat().st_size * 2):
            rebuilt = self._fresh()
            rebuild(log, rebuilt, log_bytes_max=bytes_max)
            self._check_rebuilt(rebuilt)
        log.close()

    def _check_rebuilt(self, rebuilt: Venue) -> None:
        for account in ACCOUNTS:
            assert rebuilt.orders(account) == self.venue.orders(account)
            assert _held(rebuilt, account) == _held(self.venue, account)
            assert _money(rebuilt, account) == _money(self.venue, account)
            assert rebuilt.brackets(account) == self.venue.brackets(account)
            for state in rebuilt.orders(account):
                history = self.venue.order_history(account, state.basket_id)
                assert rebuilt.order_history(account, state.basket_id) == history
        own = [o.exchange_order_id for o in self.venue.book_orders(PRODUCT.symbol) if len(o.exchange_order_id) < 10]
        assert [o.exchange_order_id for o in rebuilt.book_orders(PRODUCT.symbol)] == own


def _apply(book: dict[str, OrderDepth], change: OrderDepth) -> None:
    if change.kind is OrderDepthKind.NEW:
        assert change.exchange_order_id not in book
    else:
        known = book[change.exchange_order_id]
        assert known.price == (change.previous_price or change.price)
    if change.kind is OrderDepthKind.DELETE:
        gone = book.pop(change.exchange_order_id)
        assert (gone.size, gone.priority) == (change.size, change.priority)
    else:
        book[change.exchange_order_id] = change


def price_of(ticks: int | None) -> float | None:
    return ticks * 0.25 if ticks is not None else None


def _held(venue: Venue, account: str) -> list[PositionState]:
    """Positions without their open profit: the log has a last price only now and then."""
    return [msgspec.structs.replace(position, unrealized_pnl=0.0) for position in venue.positions(account)]


def _money(venue: Venue, account: str) -> tuple[float, ...]:
    state = venue.account(account)
    return state.balance, state.realized_pnl, state.commission


def terms_of(bracket: NaiveBracket) -> BracketTerms:
    return BracketTerms(
        BracketKind("_AND_".join(bracket.roles) + ("_ONLY" if len(bracket.roles) == 1 else "")),
        bracket.target_quantity,
        bracket.target_ticks,
        bracket.stop_quantity,
        bracket.stop_ticks,
        bracket.trail_trigger,
        bracket.by_last,
        bracket.even_ticks,
        bracket.even_trigger,
        bracket.market_on_reject,
    )


def _state(state: OrderState) -> tuple[Any, ...]:
    head = (state.stage, state.completion, state.quantity, state.filled_quantity)
    if state.completion is not None:
        return head
    kind = str(state.order_type)
    return (
        *head,
        kind,
        state.price if kind in PRICED else None,
        state.trigger_price if kind in STOPS + TOUCHES else None,
        {*state.linked_basket_ids} if not state.original_basket_id else None,
    )


def _naive_state(order: NaiveOrder) -> tuple[Any, ...]:
    head = (_STAGES[order.state], order.end, order.quantity, order.filled)
    if order.end is not None:
        return head
    return (
        *head,
        order.kind,
        price_of(order.limit) if order.kind in PRICED else None,
        price_of(order.trigger) if order.kind in STOPS + TOUCHES else None,
        {str(o.identity) for o in order.group} if order.entry is None else None,
    )
