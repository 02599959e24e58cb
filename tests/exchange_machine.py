"""The venue and the naive exchange side by side: hypothesis gives both the same commands and compares everything."""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nightdesk.messages.enums import OrderType, Side, TimeInForce
from nightdesk.simulator.model import (
    BookChanged,
    BracketKind,
    BracketTerms,
    LevelDepth,
    NewOrder,
    OrderDepth,
    OrderDepthKind,
    OrderHappened,
    OrderState,
    PositionState,
    PriceField,
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
BALANCE_MICROS = 100_000 * 1_000_000
START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000

_STAGES = {
    "HELD": Stage.RELEASE_PENDING,
    "TOUCH": Stage.TRIGGER_PENDING,
    "PENDING": Stage.TRIGGER_PENDING,
    "OPEN": Stage.OPEN,
    "DONE": Stage.COMPLETE,
}

accounts = st.sampled_from(ACCOUNTS)
sides = st.booleans()
quantities = st.integers(1, 9)
prices = st.integers(MIDDLE - 9, MIDDLE + 9)
picks = st.integers(0, 10_000)
plain_kinds = st.sampled_from(["LIMIT", "LIMIT", "LIMIT", "MARKET", "STOP_MARKET", "STOP_LIMIT", *TOUCHES])
in_force = st.sampled_from(["DAY", "DAY", "GTC", "IOC", "FOK"])
distances = st.integers(1, 6)


class ExchangeMachine(RuleBasedStateMachine):
    """One contract, two accounts, anonymous orders; every rule is one command to both exchanges."""

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

    # Anonymous orders.

    @rule(is_buy=sides, quantity=quantities, price=prices, is_market=st.sampled_from([False, False, False, True]))
    def flow_adds(self, is_buy: bool, quantity: int, price: int, is_market: bool) -> None:
        limit = None if is_market else price
        order = Order(is_buy, quantity, limit)
        name = f"anonymous {len(self.anonymous)}"
        self.anonymous[name] = order
        self._take(self.venue.step(PRODUCT.symbol, self.engine.submit(order), self._now()))
        kind = "MARKET" if is_market else "LIMIT"
        self.naive.submit(NaiveOrder(name, "", is_buy, kind, quantity, limit), self.now_s)

    @rule(pick=picks)
    def flow_withdraws(self, pick: int) -> None:
        resting = [o for o in self.naive.orders if o.account == "" and o.state == "OPEN"]
        if resting:
            chosen = resting[pick % len(resting)]
            self.engine.cancel(self.anonymous[str(chosen.identity)])
            self._take(self.venue.step(PRODUCT.symbol, [], self._now()))
            self.naive.cancel(chosen, self.now_s)

    # Clients' orders.

    @rule(
        account=accounts,
        is_buy=sides,
        kind=plain_kinds,
        quantity=quantities,
        limit=prices,
        trigger=prices,
        tif=in_force,
        release_s=st.sampled_from([0, 0, 0, 3]),
        cancel_s=st.sampled_from([0, 0, 0, 5]),
    )
    def client_sends(self, **terms: Any) -> None:
        order, request = self._pair(**terms)
        basket_id, events = self.venue.submit(request, self._now())
        assert basket_id == str(order.identity)
        self._take(events)
        self.naive.submit(order, self.now_s)

    @rule(
        account=accounts,
        is_buy=sides,
        kind=st.sampled_from(STOPS),
        quantity=quantities,
        limit=prices,
        trigger=prices,
        trail=distances,
        trail_by=st.sampled_from(["TRADE", "BID", "OFFER"]),
        has_trigger=st.booleans(),
    )
    def client_trails(self, *, has_trigger: bool, **terms: Any) -> None:
        self.client_sends_with(terms if has_trigger else {**terms, "trigger": None})

    @rule(
        account=accounts,
        is_buy=sides,
        kind=st.sampled_from(["LIMIT", "LIMIT", "MARKET", "STOP_MARKET"]),
        quantity=quantities,
        limit=prices,
        trigger=prices,
        profit=st.tuples(st.integers(0, 9), distances),
        stop=st.tuples(st.integers(0, 9), distances),
        trail_trigger=st.sampled_from([0, 0, 1, 3]),
        even=st.sampled_from([(0, 0), (0, 2), (1, 3)]),
        by_last=st.booleans(),
        market_on_reject=st.booleans(),
    )
    def client_brackets(
        self,
        *,
        profit: tuple[int, int],
        stop: tuple[int, int],
        trail_trigger: int,
        even: tuple[int, int],
        by_last: bool,
        market_on_reject: bool,
        **terms: Any,
    ) -> None:
        quantity = terms["quantity"]
        bracket = NaiveBracket(
            min(profit[0], quantity),
            profit[1],
            min(stop[0], quantity),
            stop[1],
            trail_trigger,
            by_last,
            *even,
            market_on_reject,
        )
        if not bracket.roles:
            bracket.stop_quantity = quantity
        self.client_sends_with({**terms, "bracket": bracket})

    @rule(
        legs=st.lists(st.tuples(sides, plain_kinds, quantities, prices, prices), min_size=2, max_size=3),
        account=accounts,
    )
    def client_sends_oco(self, legs: list[tuple[bool, str, int, int, int]], account: str) -> None:
        pairs = [
            self._pair(account=account, is_buy=is_buy, kind=kind, quantity=quantity, limit=limit, trigger=trigger)
            for is_buy, kind, quantity, limit, trigger in legs
        ]
        ids, events = self.venue.submit_oco([request for _, request in pairs], self._now())
        assert ids == [str(order.identity) for order, _ in pairs]
        self._take(events)
        self.naive.submit_oco([order for order, _ in pairs], self.now_s)

    @rule(pick=picks, other=picks)
    def client_links(self, pick: int, other: int) -> None:
        free = [o for o in self._working() if not o.group and o.entry is None]
        one, two = (free[n % len(free)] for n in (pick, other)) if free else (None, None)
        if one is None or two is None or one is two or one.account != two.account:
            return
        self._take(self.venue.link(one.account, [str(one.identity), str(two.identity)], self._now()))
        one.group = two.group = [one, two]
        one.followed, two.followed = two.filled, one.filled

    @rule(pick=picks)
    def client_cancels(self, pick: int) -> None:
        working = self._working()
        if working:
            order = working[pick % len(working)]
            self._take(self.venue.cancel(order.account, str(order.identity), self._now()))
            self.naive.cancel(order, self.now_s)

    @rule(
        pick=picks,
        quantity=quantities,
        limit=prices,
        trigger=prices,
        kind=st.sampled_from([None, None, None, "LIMIT", "MARKET", "STOP_MARKET", "LIMIT_IF_TOUCHED"]),
    )
    def client_modifies(self, pick: int, quantity: int, limit: int, trigger: int, kind: str | None) -> None:
        working = self._working()
        if not working:
            return
        order = working[pick % len(working)]
        events = self.venue.modify(
            order.account,
            str(order.identity),
            quantity=quantity,
            price=_price(limit),
            trigger_price=_price(trigger),
            order_type=OrderType(kind) if kind else None,
            now_ns=self._now(),
        )
        self._take(events)
        is_taken = self.naive.modify(order, quantity, limit, trigger, kind, self.now_s)
        first = next(event for event in events if isinstance(event, OrderHappened))
        assert (first.kind == "MODIFIED") is is_taken

    @rule(seconds=st.integers(1, 4))
    def time_passes(self, seconds: int) -> None:
        self.now_s += seconds
        self._take(self.venue.advance(self._now()))
        self.naive.advance(self.now_s)

    # Watching and restarting.

    @precondition(lambda self: self.watched is None)
    @rule()
    def somebody_watches(self) -> None:
        self.venue.watch_depth(PRODUCT.symbol, True)
        self.watched = {order.exchange_order_id: order for order in self.venue.book_orders(PRODUCT.symbol)}
        self.levels = {(level.side, level.price): level for level in self.venue.book(PRODUCT.symbol)}
        self.sequence = self.venue.book_sequence(PRODUCT.symbol)

    @precondition(lambda self: self.watched is not None)
    @rule()
    def nobody_watches(self) -> None:
        self.venue.watch_depth(PRODUCT.symbol, False)
        self.watched = None

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
                _price(o.limit),
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

    # What the rules share.

    def client_sends_with(self, terms: dict[str, Any]) -> None:
        order, request = self._pair(**terms)
        self._take(self.venue.submit(request, self._now())[1])
        self.naive.submit(order, self.now_s)

    def _fresh(self) -> Venue:
        return Venue([PRODUCT], ACCOUNTS, 100_000.0, self_match=self.self_match)

    def _now(self) -> int:
        return START_NS + self.now_s * SECOND_NS

    def _working(self) -> list[NaiveOrder]:
        return [o for o in self.naive.orders if o.account and o.state != "DONE"]

    def _pair(
        self,
        *,
        account: str,
        is_buy: bool,
        kind: str,
        quantity: int,
        limit: int,
        trigger: int | None,
        tif: str = "DAY",
        release_s: int = 0,
        cancel_s: int = 0,
        trail: int = 0,
        trail_by: str = "TRADE",
        bracket: NaiveBracket | None = None,
    ) -> tuple[NaiveOrder, NewOrder]:
        """The same order for both."""
        if kind in STOPS:
            tif = "GTC" if tif == "GTC" else "DAY"
        naive = NaiveOrder(
            self.naive.take_id(bracket),
            account,
            is_buy,
            kind,
            quantity,
            limit if kind in PRICED else None,
            trigger if kind in STOPS + TOUCHES else None,
            tif,
            trail,
            trail_by,
            self.now_s + release_s if release_s else None,
            self.now_s + cancel_s if cancel_s else None,
            bracket,
        )
        request = NewOrder(
            account_id=account,
            user="user",
            user_tag="",
            symbol=PRODUCT.symbol,
            exchange=PRODUCT.exchange,
            side=Side.BUY if is_buy else Side.SELL,
            order_type=OrderType(kind),
            quantity=quantity,
            price=_price(naive.limit),
            trigger_price=_price(naive.trigger),
            time_in_force=TimeInForce(tif),
            trail_by_ticks=trail,
            trail_by=PriceField(trail_by),
            release_at_ns=self._now() + release_s * SECOND_NS if release_s else None,
            cancel_after_s=cancel_s,
            bracket=_terms(bracket) if bracket else None,
        )
        return naive, request

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
        assert clients == [(str(i), _price(price), q) for i, price, q in new if str(i) not in self.anonymous]
        shown = [(event.price, event.quantity) for event in events if isinstance(event, Traded)]
        assert shown == [(_price(price), quantity) for price, quantity in self.naive.prints[self.prints_seen :]]
        assert sum(q for _, _, q in new) == 2 * sum(q for _, q in self.naive.prints[self.prints_seen :])
        self.fills_seen, self.prints_seen = len(self.naive.fills), len(self.naive.prints)
        self.events = []

    def _check_log(self) -> None:
        """A venue that starts from the log is the one that wrote it."""
        copy = Path(self.folder.name) / "copy.log"
        copy.write_bytes(self.log.path.read_bytes())
        log = ExchangeLog(copy)
        before = copy.read_bytes().count(b"\n")
        rebuilt = self._fresh()
        rebuild(log, rebuilt)
        log.close()
        assert copy.read_bytes().count(b"\n") == before + 1, "nothing was left to do but to note the start"
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


def _price(ticks: int | None) -> float | None:
    return ticks * 0.25 if ticks is not None else None


def _held(venue: Venue, account: str) -> list[PositionState]:
    """Positions without their open profit: the log has a last price only now and then."""
    return [msgspec.structs.replace(position, unrealized_pnl=0.0) for position in venue.positions(account)]


def _money(venue: Venue, account: str) -> tuple[float, ...]:
    state = venue.account(account)
    return state.balance, state.realized_pnl, state.commission


def _terms(bracket: NaiveBracket) -> BracketTerms:
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
        _price(order.limit) if order.kind in PRICED else None,
        _price(order.trigger) if order.kind in STOPS + TOUCHES else None,
        {str(o.identity) for o in order.group} if order.entry is None else None,
    )
