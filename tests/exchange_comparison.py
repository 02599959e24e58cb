"""Two exchanges side by side: everything that must be the same after each command, and what the log must rebuild."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nightdesk.messages.enums import Side
from nightdesk.simulator.model import (
    BookChanged,
    Completion,
    OrderDepth,
    OrderDepthKind,
    OrderEventKind,
    OrderHappened,
    OrderState,
    PositionState,
    Stage,
    Traded,
    VenueEvent,
)
from nightdesk.simulator.venue.book import Order
from nightdesk.simulator.venue.log import ExchangeLog, rebuild
from nightdesk.simulator.venue.matching import MatchingEngine, SelfMatch
from nightdesk.simulator.venue.venue import Venue
from tests.exchange_world import (
    ACCOUNTS,
    MICROS,
    SECOND_NS,
    START_NS,
    Contract,
    World,
    naive_market,
    naive_terms,
)
from tests.naive_exchange import NaiveExchange
from tests.naive_matching import EXCHANGE
from tests.naive_orders import PRICED, STOPS, TOUCHES, NaiveFill, NaiveOrder

FAR = 1_000
"""More ticks than any price limit of these worlds allows."""

_STAGES = {
    "HELD": Stage.RELEASE_PENDING,
    "COND": Stage.TRIGGER_PENDING,
    "TOUCH": Stage.TRIGGER_PENDING,
    "PENDING": Stage.TRIGGER_PENDING,
    "OPEN": Stage.OPEN,
    "DONE": Stage.COMPLETE,
}
_HOLDS = {"HELD": "RELEASE", "COND": "CONDITION", "TOUCH": "TOUCH"}


class ComparedExchanges(RuleBasedStateMachine):
    """The venue, the naive exchange, the log and somebody who follows the public books; no commands yet."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="venue-")
        self.now_s = 0
        self.anonymous: dict[str, Order] = {}
        self.events: list[VenueEvent] = []
        self.fills_seen = self.prints_seen = self.warnings_seen = 0

    def open_both(self, world: World) -> None:
        self.world = world
        markets = [naive_market(product) for product in world.products]
        terms = {each.account_id: naive_terms(each) for each in world.accounts}
        self.venue = self._fresh()
        self.naive = NaiveExchange(world.self_match, markets, terms, 10_000_001)
        self.naive.start = START_NS // SECOND_NS
        self.log = ExchangeLog(Path(self.folder.name) / "exchange.log")
        rebuild(self.log, self.venue)
        self.contracts = []
        for product, market in zip(world.products, markets, strict=True):
            engine = self.venue.market(product.symbol).matcher
            assert isinstance(engine, MatchingEngine)
            self.contracts.append(Contract(product, market, engine))

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
        naive = {str(o.identity): self._naive_state(o) for o in self.naive.orders if o.account}
        venue = {s.basket_id: _state(s) for account in ACCOUNTS for s in self.venue.orders(account)}
        assert venue == naive

    @invariant()
    def books_are_the_same_and_not_crossed(self) -> None:
        for contract in self.contracts:
            shown = [(o.exchange_order_id, o.side, o.price, o.size) for o in self._book(contract)]
            expected = [
                (
                    self.anonymous[str(o.identity)].exchange_order_id if not o.account else str(o.identity),
                    Side.BUY if o.is_buy else Side.SELL,
                    contract.price(o.limit),
                    o.leaves,
                )
                for is_buy in (True, False)
                for o in self.naive.side(contract.naive, is_buy)
            ]
            assert shown == expected
            best = contract.engine.best()
            is_crossed = best.bid is not None and best.ask is not None and best.bid >= best.ask
            assert not (is_crossed and contract.naive.is_trading)

    @invariant()
    def watched_books_are_the_books(self) -> None:
        for contract in self.contracts:
            watched = contract.watched
            if watched is None:
                continue
            book = self._book(contract)
            by_side = {
                side: sorted(
                    (o for o in watched.orders.values() if o.side is side),
                    key=lambda o: (-o.price if o.side is Side.BUY else o.price, o.priority),
                )
                for side in Side
            }
            mirrored = [(o.exchange_order_id, o.price, o.size, o.priority) for side in Side for o in by_side[side]]
            assert mirrored == [(o.exchange_order_id, o.price, o.size, o.priority) for o in book]
            levels = {(level.side, level.price): level for level in self.venue.book(contract.product.symbol)}
            assert {key: level for key, level in watched.levels.items() if level.size} == levels

    @invariant()
    def money_is_conserved(self) -> None:
        """What clients won, anonymous orders lost, to the millionth of a dollar."""
        for contract in self.contracts:
            market = contract.naive
            fills = [fill for fill in self.naive.fills if fill.order.market is market]
            assert sum(fill.signed for fill in fills) == sum(fill.signed * fill.price for fill in fills) == 0
            for account in ACCOUNTS:
                position = self.venue.position(account, market.symbol)
                mine = [fill for fill in fills if fill.order.account == account]
                assert position.net == sum(fill.signed for fill in mine)
                cash = -sum(fill.signed * fill.price for fill in mine)
                gain = position.realized_micros + position.unrealized_micros(market.last)
                assert gain == (cash + position.net * (market.last or 0)) * market.tick_micros
                assert position.commission_micros == sum(fill.quantity for fill in mine) * market.commission_micros

    @invariant()
    def accounts_are_the_same(self) -> None:
        """Balances with the average cost counted in fractions, where the venue rounds to the millionth of a dollar."""
        for account in ACCOUNTS:
            state = self.venue.account(account)
            used, reserved = self.naive.margin(account)
            assert (state.margin_used, state.margin_reserved) == (used / MICROS, reserved / MICROS)
            assert abs(state.balance - float(self.naive.balance(account) / MICROS)) < 1e-3
            assert abs(state.unrealized_pnl - float(self.naive.open_profit(account) / MICROS)) < 1e-3

    @invariant()
    def brackets_are_the_same(self) -> None:
        """Distances and released quantities of each entry that was let in."""
        shown = {
            row.basket_id: (
                (row.target_ticks, row.target_quantity_released),
                (row.stop_ticks, row.stop_quantity_released),
            )
            for account in ACCOUNTS
            for row in self.venue.brackets(account)
        }
        assert shown == {
            str(entry.identity): tuple(
                (bracket.ticks(role), bracket.released[role]) if role in bracket.roles else (0, 0)
                for role in ("TARGET", "STOP")
            )
            for entry in self.naive.orders
            if (bracket := entry.bracket) is not None and entry.end != "FA"
        }

    @invariant()
    def markets_are_the_same(self) -> None:
        for contract in self.contracts:
            symbol, market = contract.product.symbol, contract.naive
            assert self.venue.mode(symbol) == market.mode
            assert self.venue.mark_price(symbol) == contract.price(market.last)
            limits = self.venue.price_limits(symbol)
            if market.first is None or not market.limit_percent:
                assert limits is None
            else:
                expected = (market.inside(market.first - FAR), market.inside(market.first + FAR))
                assert limits == (contract.price(expected[0]), contract.price(expected[1]))

    @invariant()
    def fills_are_the_same(self) -> None:
        """Who traded with whom, in the same order; each print carries what was traded at its price."""
        happened = [event for event in self.events if isinstance(event, OrderHappened)]
        clients = [(e.order.basket_id, e.execution.price, e.execution.quantity) for e in happened if e.execution]
        new = self.naive.fills[self.fills_seen :]
        assert clients == [self._shown(fill) for fill in new if fill.order.account]
        shown = [(event.symbol, event.price, event.quantity) for event in self.events if isinstance(event, Traded)]
        prints = self.naive.prints[self.prints_seen :]
        price_of = {contract.product.symbol: contract.price for contract in self.contracts}
        assert shown == [(symbol, price_of[symbol](price), quantity) for symbol, price, quantity in prints]
        assert sum(fill.quantity for fill in new) == 2 * sum(quantity for _, _, quantity in prints)
        warned = [event.order.basket_id for event in happened if event.kind is OrderEventKind.WARNED]
        assert warned == [str(identity) for identity in self.naive.warnings[self.warnings_seen :]]
        self.fills_seen, self.prints_seen = len(self.naive.fills), len(self.naive.prints)
        self.warnings_seen = len(self.naive.warnings)
        self.events = []

    # What the rules share.

    def _fresh(self) -> Venue:
        world = self.world
        return Venue(world.products, world.accounts, 100_000.0, self_match=SelfMatch(world.self_match))

    def _book(self, contract: Contract) -> Sequence[OrderDepth]:
        return self.venue.book_orders(contract.product.symbol)

    def _contract_of(self, order: NaiveOrder) -> Contract:
        return next(contract for contract in self.contracts if contract.naive is order.market)

    def _naive_state(self, order: NaiveOrder) -> tuple[Any, ...]:
        head = (_STAGES[order.state], order.end, order.why, order.quantity, order.filled)
        if order.end is not None:
            return head
        price, condition = self._contract_of(order).price, order.condition
        looks_at = next((c for c in self.contracts if condition is not None and c.naive is condition.market), None)
        return (
            *head,
            order.kind,
            _HOLDS.get(order.state),
            looks_at.price(condition.at) if condition is not None and looks_at is not None else None,
            price(order.limit) if order.kind in PRICED else None,
            price(order.trigger) if order.kind in STOPS + TOUCHES else None,
            {str(o.identity) for o in order.group} if order.entry is None else None,
        )

    def _shown(self, fill: NaiveFill) -> tuple[str, float | None, int]:
        return str(fill.order.identity), self._contract_of(fill.order).price(fill.price), fill.quantity

    def _now(self) -> int:
        return START_NS + self.now_s * SECOND_NS

    def _working(self) -> list[NaiveOrder]:
        return [o for o in self.naive.orders if o.account and o.state != "DONE"]

    def _take(self, events: list[VenueEvent]) -> None:
        """Log the events as the exchange does and let the watcher see them."""
        self.log.append(events)
        for event in events:
            if isinstance(event, BookChanged):
                watched = next(c.watched for c in self.contracts if c.product.symbol == event.symbol)
                assert watched is not None
                watched.sequence += 1
                assert event.sequence == watched.sequence
                for change in event.orders:
                    _apply(watched.orders, change)
                watched.levels |= {(level.side, level.price): level for level in event.levels}
        self.events = self.events + events

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
            assert _held(rebuilt, account, self._now()) == _held(self.venue, account, self._now())
            assert _money(rebuilt, account) == _money(self.venue, account)
            assert rebuilt.brackets(account) == self.venue.brackets(account)
            for state in rebuilt.orders(account):
                history = self.venue.order_history(account, state.basket_id)
                assert rebuilt.order_history(account, state.basket_id) == history
        for contract in self.contracts:
            symbol, best = contract.product.symbol, contract.engine.best()
            own = [o.exchange_order_id for o in self._book(contract) if len(o.exchange_order_id) < 10]
            if best.bid is not None and best.ask is not None and best.bid >= best.ask:
                # Modes begin anew: what crossed in a market that did not trade waits outside of the book.
                continue
            assert [o.exchange_order_id for o in rebuilt.book_orders(symbol)] == own


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


def _held(venue: Venue, account: str, now_ns: int) -> list[PositionState]:
    """Positions by symbol without their open profit: the log has a last price only now and then."""
    held = [msgspec.structs.replace(position, unrealized_pnl=0.0) for position in venue.positions(account, now_ns)]
    return sorted(held, key=lambda position: position.symbol)


def _money(venue: Venue, account: str) -> tuple[float, ...]:
    state = venue.account(account)
    return state.balance, state.realized_pnl, state.commission


def _state(state: OrderState) -> tuple[Any, ...]:
    why = state.text if state.completion is Completion.FAILED else ""
    head = (
        state.stage,
        state.completion,
        EXCHANGE if why.startswith(EXCHANGE) else why,
        state.quantity,
        state.filled_quantity,
    )
    if state.completion is not None:
        return head
    kind = str(state.order_type)
    return (
        *head,
        kind,
        state.hold,
        state.if_touched.price if state.if_touched else None,
        state.price if kind in PRICED else None,
        state.trigger_price if kind in STOPS + TOUCHES else None,
        {*state.linked_basket_ids} if not state.original_basket_id else None,
    )
