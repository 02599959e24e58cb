"""Brackets of several levels under random commands and kills: what must hold after each command, said contract by
contract. Nothing of the venue's own counting is used."""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from nightdesk.messages.enums import Side
from nightdesk.simulator.model import (
    BracketChanged,
    BracketKind,
    BracketLevel,
    BracketTerms,
    ExitRole,
    OrderHappened,
    OrderState,
    VenueEvent,
)
from nightdesk.simulator.venue.book import Order
from nightdesk.simulator.venue.brackets import TEXT_EXITED
from nightdesk.simulator.venue.log import ExchangeLog, rebuild
from nightdesk.simulator.venue.venue import TEXT_RESTARTED, Venue, VenueRefusal
from tests.market_support import ACCOUNT, ES, NOW_NS, new_order, quiet_venue

SECOND_NS = 1_000_000_000
MIDDLE = 20_000
TARGET, STOP = ExitRole.TARGET, ExitRole.STOP
Sides = dict[ExitRole, list[OrderState]]

prices = st.one_of(st.integers(MIDDLE - 2, MIDDLE + 2), st.integers(MIDDLE - 8, MIDDLE + 8))
quantities = st.integers(1, 6)
distances = st.integers(1, 6)
picks = st.integers(0, 10_000)


@st.composite
def levels(draw: st.DrawFn, total: int) -> list[BracketLevel]:
    """Some levels of so many contracts together."""
    found = []
    while total:
        found.append(BracketLevel(draw(st.integers(1, total)), draw(distances)))
        total -= found[-1].quantity
    return found


@st.composite
def brackets(draw: st.DrawFn) -> tuple[int, BracketTerms]:
    """A bracket and its entry's quantity; one kind of exit alone may leave a part of the entry open."""
    quantity = draw(quantities)
    kind = draw(st.sampled_from([BracketKind.TARGET_AND_STOP] * 3 + [BracketKind.TARGET_ONLY, BracketKind.STOP_ONLY]))
    total = quantity if kind is BracketKind.TARGET_AND_STOP else draw(st.integers(1, quantity))
    nothing = [BracketLevel(0, 0)]
    targets = draw(levels(total)) if "TARGET" in kind else nothing
    stops = draw(levels(total)) if "STOP" in kind else nothing
    return quantity, BracketTerms(
        kind,
        *(targets[0].quantity, targets[0].ticks, stops[0].quantity, stops[0].ticks),
        trailing_stop_trigger_ticks=draw(st.sampled_from([0, 0, 2])),
        trailing_by_last_trade=draw(st.booleans()),
        stop_market_on_reject=draw(st.booleans()),
        target_market_after_s=draw(st.sampled_from([0, 0, 4])),
        more_targets=tuple(targets[1:]),
        more_stops=tuple(stops[1:]),
    )


class BracketMachine(RuleBasedStateMachine):
    """One account with brackets, an anonymous market, and a log from which the exchange starts again."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="brackets-")
        self.path = Path(self.folder.name) / "exchange.log"
        self.now_ns = NOW_NS
        self.touched: set[str] = set()
        """Entries of which a client has changed an exit."""
        self.told: dict[tuple[str, int], BracketChanged] = {}
        self.net = 0
        self.venue = quiet_venue()
        self.log = ExchangeLog(self.path)
        rebuild(self.log, self.venue)
        self.lines = self._lines()

    def teardown(self) -> None:
        if hasattr(self, "log"):
            self.log.close()
            self.folder.cleanup()

    # Commands.

    @rule(is_buy=st.booleans(), quantity=quantities, price=prices)
    def market_moves(self, is_buy: bool, quantity: int, price: int) -> None:
        self._flow(is_buy, quantity, price)

    @rule(pick=picks, quantity=st.integers(1, 3))
    def market_reaches_an_exit(self, pick: int, quantity: int) -> None:
        """Somebody takes a part of a target, or a print sets off a stop while so much is asked for behind it."""
        order = self._pick(pick, True)
        if order is None:
            return
        is_buy = order.terms.side is Side.SELL
        if order.price is not None:
            self._flow(is_buy, quantity, round(order.price / ES.tick_size))
        elif order.trigger_price is not None:
            at = round(order.trigger_price / ES.tick_size)
            self._flow(is_buy, quantity + 1, at)
            self._flow(not is_buy, 1, at)

    @rule(is_buy=st.booleans(), price=st.none() | prices, terms=brackets(), liquidity=st.integers(0, 9))
    def client_brackets(self, is_buy: bool, price: int | None, terms: tuple[int, BracketTerms], liquidity: int) -> None:
        quantity, bracket = terms
        side = Side.BUY if is_buy else Side.SELL
        at = None if price is None else price * ES.tick_size
        if price is None:
            self._flow(not is_buy, quantity, MIDDLE)
        self._take(self.venue.submit(new_order(side, quantity, at, bracket=bracket), self.now_ns)[1])
        if price is not None and liquidity:
            self._flow(not is_buy, liquidity, price)

    @rule(pick=picks, is_exit=st.sampled_from([True, False, False]))
    def client_cancels(self, pick: int, is_exit: bool) -> None:
        order = self._pick(pick, is_exit)
        if order is not None:
            self.touched.add(order.original_basket_id)
            self._take(self.venue.cancel(ACCOUNT, order.basket_id, self.now_ns))

    @rule(pick=picks, is_exit=st.booleans(), quantity=st.integers(1, 8))
    def client_resizes(self, pick: int, is_exit: bool, quantity: int) -> None:
        order = self._pick(pick, is_exit)
        if order is not None:
            self.touched.add(order.original_basket_id)
            fields: dict[str, Any] = {"price": order.price, "trigger_price": order.trigger_price, "order_type": None}
            fields |= {"quantity": quantity, "now_ns": self.now_ns}
            self._take(self.venue.modify(ACCOUNT, order.basket_id, **fields))

    @rule(pick=picks, is_target=st.booleans(), ticks=distances)
    def client_moves_a_level(self, pick: int, is_target: bool, ticks: int) -> None:
        rows = self.venue.brackets(ACCOUNT)
        if rows:
            row = rows[pick % len(rows)]
            level = row.target_ticks if is_target else row.stop_ticks
            fields: dict[str, Any] = {"level": level, "ticks": ticks, "now_ns": self.now_ns}
            try:
                self._take(self.venue.update_bracket(ACCOUNT, row.basket_id, is_target=is_target, **fields))
            except VenueRefusal:
                assert not level, "only a level that is not there is refused"

    @rule(seconds=st.integers(1, 3))
    def time_passes(self, seconds: int) -> None:
        self.now_ns += seconds * SECOND_NS
        self._take(self.venue.advance(self.now_ns))

    @rule(pick=picks, is_compact=st.booleans())
    def exchange_is_killed(self, pick: int, is_compact: bool) -> None:
        """At any line of the last command; the next start finishes what was begun, the one after finds nothing."""
        self.log.close()
        lines = self._lines()
        lost = pick % (len(lines) - len(self.lines) + 1)
        self.path.write_bytes(b"".join(lines[: len(lines) - lost]))
        before = self.venue
        first = self._restart(1 if is_compact else 2**30)
        if not lost:
            assert first.orders(ACCOUNT) == before.orders(ACCOUNT)
            assert first.brackets(ACCOUNT) == before.brackets(ACCOUNT)
        self.log.close()
        settled = len(self._lines())
        assert first.orders(ACCOUNT) == self._restart(2**30).orders(ACCOUNT)
        assert len(self._lines()) == settled + 1, "nothing was left to do but to note the start"
        assert self.venue.brackets(ACCOUNT) == first.brackets(ACCOUNT)
        self.lines = self._lines()
        self.told = {(row.basket_id, row.level): row for row in self.venue.brackets(ACCOUNT)}
        self.net = sum(position.net_quantity for position in self.venue.positions(ACCOUNT))

    # What holds after each command.

    @invariant()
    def exits_never_ask_for_more_than_is_open(self) -> None:
        for entry, sides in self._brackets().items():
            for side in sides.values():
                assert _leaves(side) <= max(0, _exposed(entry, sides))

    @invariant()
    def all_that_is_open_is_covered(self) -> None:
        """As long as nobody but the exchange itself ends or changes exits."""
        for entry, sides in self._brackets().items():
            least = min(sum(each.quantity for each in found) for found in _terms(entry).values())
            if entry.basket_id in self.touched or entry.filled_quantity > least:
                continue
            if all(is_orderly(order) for side in sides.values() for order in side):
                for side in sides.values():
                    assert _leaves(side) == max(0, _exposed(entry, sides))

    @invariant()
    def fills_release_one_contract_after_the_other(self) -> None:
        rows = {(row.basket_id, row.level): row for row in self.venue.brackets(ACCOUNT)}
        for entry in self._entries():
            for role, found in _terms(entry).items():
                contracts = [number for number, level in enumerate(found) for _ in range(level.quantity)]
                due = Counter(contracts[: entry.filled_quantity])
                for number in range(len(found)):
                    row = rows[entry.basket_id, number]
                    released = row.target_quantity_released if role is TARGET else row.stop_quantity_released
                    assert released == due[number]

    @invariant()
    def what_was_told_is_what_is(self) -> None:
        told = getattr(self, "told", {})
        for row in self.venue.brackets(ACCOUNT) if told else ():
            if (row.basket_id, row.level) in told:
                assert msgspec.structs.replace(told[row.basket_id, row.level], ts_ns=row.ts_ns) == row

    @invariant()
    def position_is_the_sum_of_the_fills(self) -> None:
        assert self.net == sum(position.net_quantity for position in self.venue.positions(ACCOUNT))

    # What the rules share.

    def _take(self, events: list[VenueEvent]) -> None:
        """Log the events; compare what the exits had before with what they have now."""
        self.lines = self._lines()
        self.log.append(events)
        for event in events:
            if isinstance(event, BracketChanged):
                self.told[event.basket_id, event.level] = event
            elif isinstance(event, OrderHappened) and event.execution is not None:
                sign = 1 if event.order.terms.side is Side.BUY else -1
                self.net += sign * event.execution.quantity

    def _flow(self, is_buy: bool, quantity: int, price: int) -> None:
        """An anonymous order; where it only fills exits, the other side loses as much, the first level first."""
        before = self._brackets()
        engine: Any = self.venue.market(ES.symbol).matcher
        outcomes = engine.submit(Order(is_buy, quantity, price))
        self._take(self.venue.step(ES.symbol, outcomes, self.now_ns))
        after = self._brackets()
        for entry, sides in before.items():
            now = next(each for each in after if each.basket_id == entry.basket_id)
            if now.filled_quantity != entry.filled_quantity:
                continue
            for role, side in sides.items():
                later = after[now][role]
                if sum(o.filled_quantity for o in side) == sum(o.filled_quantity for o in later):
                    had, has = _by_level(side), _by_level(later)
                    left = [level for level in sorted(had) for _ in range(had[level])]
                    assert Counter(left[len(left) - sum(has.values()) :]) == +has

    def _restart(self, log_bytes_max: int) -> Venue:
        self.venue = quiet_venue()
        self.log = ExchangeLog(self.path)
        rebuild(self.log, self.venue, log_bytes_max=log_bytes_max)
        return self.venue

    def _lines(self) -> list[bytes]:
        return self.path.read_bytes().splitlines(keepends=True)

    def _pick(self, pick: int, is_exit: bool) -> OrderState | None:
        orders = self.venue.orders(ACCOUNT)
        working = [o for o in orders if o.completion is None and bool(o.original_basket_id) is is_exit]
        return working[pick % len(working)] if working else None

    def _entries(self) -> list[OrderState]:
        venue = getattr(self, "venue", None)
        return [o for o in venue.orders(ACCOUNT) if o.terms.bracket and o.completion != "FA"] if venue else []

    def _brackets(self) -> dict[OrderState, Sides]:
        found: dict[str, Sides] = {entry.basket_id: {TARGET: [], STOP: []} for entry in self._entries()}
        for order in self.venue.orders(ACCOUNT) if found else ():
            if order.exit_role is not None:
                found[order.original_basket_id][order.exit_role].append(order)
        return {
            entry: {role: found[entry.basket_id][role] for role, terms in _terms(entry).items() if terms}
            for entry in self._entries()
        }


def _terms(entry: OrderState) -> dict[ExitRole, tuple[BracketLevel, ...]]:
    terms = entry.terms.bracket
    return {role: found for role, found in ((TARGET, terms.targets), (STOP, terms.stops)) if found} if terms else {}


def _leaves(side: list[OrderState]) -> int:
    return sum(order.leaves_quantity for order in side)


def _by_level(side: list[OrderState]) -> Counter[int]:
    found: Counter[int] = Counter()
    for order in side:
        found[order.exit_level] += order.leaves_quantity
    return found


def _exposed(entry: OrderState, sides: Sides) -> int:
    return entry.filled_quantity - sum(order.filled_quantity for side in sides.values() for order in side)


def is_orderly(order: OrderState) -> bool:
    """Whether it works, was filled, or was ended by what another exit filled or by a kill."""
    return order.completion in (None, "F") or (order.completion == "C" and order.text in (TEXT_EXITED, TEXT_RESTARTED))
