"""Rules of markets that close and open, of conditions, of moved bracket levels and of accounts with limits."""

from fractions import Fraction
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from nightdesk.simulator.model import Condition
from nightdesk.simulator.venue.venue import VenueRefusal
from tests.exchange_machine import (
    OrderRules,
    accounts,
    distances,
    in_force,
    picks,
    places,
    plain_kinds,
    prices,
    quantities,
    sides,
)
from tests.exchange_world import ACCOUNTS, MIDDLE, Contract
from tests.naive_orders import TOUCHES, NaiveBracket, NaiveCondition, NaiveOrder

conditions = st.tuples(
    places,
    st.sampled_from([str(condition) for condition in Condition]),
    st.sampled_from(["TRADE", "TRADE", "TRADE", "BID", "OFFER", "LEAN"]),
    st.builds(lambda ticks, part: Fraction(ticks) + Fraction(part, 2), prices, st.sampled_from([0, 0, 0, 1])),
)
queued = st.tuples(
    sides,
    quantities,
    prices,
    st.sampled_from(["", *ACCOUNTS]),
    st.sampled_from(["LIMIT", "LIMIT", "LIMIT", "LIMIT", "MARKET", "STOP_MARKET", *TOUCHES]),
    in_force,
)
"""Side, quantity, price, whose (the flow's without an account), kind and time in force."""
modes = st.sampled_from(["Open", "Open", "Open", "Pre Open", "Reserved", "Halted", "Closed", "Close"])


moves = st.tuples(
    st.sampled_from(["TARGET", "STOP"]),
    st.sampled_from([True, True, True, False]),
    st.sampled_from([1, 2, 3, 4, 5, 6, 0]),
    st.sampled_from([True, True, True, False]),
)
"""Of a bracket's level: which, whether its present distance is named, the new distance, whether by its own account."""


class BracketRules(OrderRules):
    """332 and 334."""

    @rule(
        place=places,
        account=accounts,
        is_buy=sides,
        price=prices,
        quantity=quantities,
        stop=distances,
        moves=st.lists(moves, min_size=1, max_size=4),
        is_filled=sides,
    )
    def client_brackets_far_away(
        self,
        place: int,
        account: str,
        is_buy: bool,
        price: int,
        quantity: int,
        stop: int,
        moves: list[tuple[str, bool, int, bool]],
        is_filled: bool,
    ) -> None:
        """An entry that mostly waits, so that its levels can still be moved; then it is filled."""
        bracket = NaiveBracket(quantity, stop + 1, quantity, stop)
        limit = price - 6 if is_buy else price + 6
        terms = {"account": account, "is_buy": is_buy, "kind": "LIMIT", "quantity": quantity, "limit": limit}
        self.client_sends_with({**terms, "place": place, "trigger": None, "bracket": bracket})
        entry = next(o for o in self.naive.orders if o.bracket is bracket)
        for move in moves:
            self._move_level(entry, *move)
        if is_filled:
            self._add(self._contract(place), not is_buy, quantity, limit)
            self._move_level(entry, *moves[0])

    @rule(pick=picks, move=moves)
    def client_moves_level(self, pick: int, move: tuple[str, bool, int, bool]) -> None:
        entries = [o for o in self.naive.orders if o.bracket]
        if entries:
            self._move_level(entries[pick % len(entries)], *move)

    def _move_level(self, entry: NaiveOrder, role: str, is_level_known: bool, ticks: int, is_mine: bool) -> None:
        level = (entry.bracket.ticks(role) if entry.bracket else 0) + (0 if is_level_known else 1)
        account = entry.account if is_mine else next(each for each in ACCOUNTS if each != entry.account)
        expected = self.naive.move_exit(entry, role, level, ticks) if is_mine else "refused"
        try:
            events = self.venue.update_bracket(
                account,
                str(entry.identity),
                is_target=role == "TARGET",
                level=level,
                ticks=ticks,
                now_ns=self._now(),
            )
        except VenueRefusal:
            assert expected == "refused"
            return
        self._take(events)
        kinds = [getattr(event, "kind", "moved") for event in events]
        assert kinds == [{"failed": "MODIFY_FAILED"}.get(expected, expected)]


class ConditionRules(OrderRules):
    """Orders that wait for prices, of another contract too."""

    @rule(
        place=places,
        account=accounts,
        is_buy=sides,
        kind=plain_kinds,
        quantity=quantities,
        limit=prices,
        trigger=prices,
        tif=in_force,
        release_s=st.sampled_from([0, 0, 0, 3]),
        condition=conditions,
    )
    def client_sends_conditional(self, *, condition: tuple[int, str, str, Fraction], **terms: Any) -> None:
        self.client_sends_with({**terms, "condition": self._condition(condition)})

    @rule(pick=picks, condition=conditions, quantity=quantities, limit=prices, trigger=prices, is_same=sides)
    def client_brings_another_condition(
        self,
        pick: int,
        condition: tuple[int, str, str, Fraction],
        quantity: int,
        limit: int,
        trigger: int,
        is_same: bool,
    ) -> None:
        waiting = [o for o in self._working() if o.state in ("COND", "HELD")] or self._working()
        if not waiting:
            return
        order = waiting[pick % len(waiting)]
        if is_same:
            limit, trigger, quantity = order.limit or limit, order.trigger or trigger, order.quantity
        self._modify(order, quantity, limit, trigger, None, self._condition(condition))

    @rule(
        place=places,
        account=accounts,
        is_buy=sides,
        kind=st.sampled_from(["LIMIT", "STOP_MARKET", *TOUCHES]),
        comparison=st.sampled_from([str(condition) for condition in Condition]),
        what=st.sampled_from(["", "TRADE", "TRADE", "BID", "OFFER", "LEAN", "LEAN"]),
        base=prices,
        sizes=st.tuples(quantities, quantities),
        quarters=st.integers(0, 8),
        sweeps=st.lists(st.integers(-2, 2), max_size=3),
    )
    def market_comes_to_condition(
        self,
        place: int,
        account: str,
        is_buy: bool,
        kind: str,
        comparison: str,
        what: str,
        base: int,
        sizes: tuple[int, int],
        quarters: int,
        sweeps: list[int],
    ) -> None:
        """Bid and offer stand two ticks apart, prints come before and after the order; ``what`` empty: no condition."""
        contract = self._contract(place)
        for step in sweeps[:1]:
            self._sweep(contract, base + step)
        self._add(contract, True, sizes[0], base)
        self._add(contract, False, sizes[1], base + 2)
        at = Fraction(base) + (Fraction(quarters, 4) if what == "LEAN" else quarters // 3)
        condition = NaiveCondition(contract.naive, comparison, what, at) if what else None
        terms = {"account": account, "is_buy": is_buy, "kind": kind, "quantity": 1, "limit": base + 1}
        terms |= {"place": 0 if what else place, "trigger": base + quarters // 3, "condition": condition}
        self.client_sends_with(terms)
        for step in sweeps[1:]:
            self._sweep(contract, base + step)

    def _sweep(self, contract: Contract, price: int) -> None:
        """One aggressor that prints at several prices."""
        for away in range(3):
            self._add(contract, False, 1, price + away)
        self._add(contract, True, 3, price + 2)

    def _condition(self, drawn: tuple[int, str, str, Fraction]) -> NaiveCondition:
        place, comparison, what, at = drawn
        return NaiveCondition(self._contract(place).naive, comparison, what, at)


class ModeRules(OrderRules):
    """Markets that do not trade."""

    @rule(place=places, mode=modes)
    def mode_is_set(self, place: int, mode: str) -> None:
        contract = self._contract(place)
        self._take(self.venue.set_mode(contract.product.symbol, mode, "", "20231114", self._now()))
        self.naive.set_mode(contract.naive, mode, self.now_s)

    @rule(pick=picks, price=st.integers(MIDDLE - 10, MIDDLE + 10), quantity=quantities)
    def client_moves_price(self, pick: int, price: int, quantity: int) -> None:
        """A working order of its kind, to a price that may be outside of the limits."""
        priced = [o for o in self._working() if o.state in ("PENDING", "OPEN")]
        stops = [o for o in priced if o.state == "PENDING"]
        priced = stops if stops and pick % 2 else priced
        if priced:
            order = priced[pick % len(priced)]
            limit = order.limit or price if order.state == "PENDING" else price
            self._modify(order, max(quantity, order.filled + 1), limit, price, None)

    @rule(
        place=places,
        mode=st.sampled_from(["Pre Open", "Pre Open", "Reserved", "Halted"]),
        orders=st.lists(queued, min_size=2, max_size=6),
        last=st.none() | prices,
        change=st.none() | st.tuples(picks, quantities, prices, prices, st.sampled_from([None, "MARKET", *TOUCHES])),
    )
    def market_opens_with_a_cross(
        self,
        place: int,
        mode: str,
        orders: list[tuple[bool, int, int, str, str, str]],
        last: int | None,
        change: tuple[int, int, int, int, str | None] | None,
    ) -> None:
        """A pause in which the book crosses, after a print or before the first one."""
        contract = self._contract(place)
        self.mode_is_set(place, "Open")
        if last is not None:
            self._add(contract, True, 1, last)
            self._add(contract, False, 1, last)
        self.mode_is_set(place, mode)
        for is_buy, quantity, price, account, kind, tif in orders:
            if account:
                terms = {"account": account, "is_buy": is_buy, "kind": kind, "quantity": quantity, "limit": price}
                self.client_sends_with({**terms, "place": place, "trigger": price, "tif": tif})
            else:
                self._add(contract, is_buy, quantity, price)
        if change is not None:
            self.client_modifies(*change, is_same_price=False)
        self.mode_is_set(place, "Open")

    @rule(
        place=places,
        mode=st.sampled_from(["Closed", "Close", "Halt", "Pause", "Halted"]),
        seconds=st.sampled_from([0, 0, 2]),
        order=queued,
    )
    def market_is_interrupted(
        self, place: int, mode: str, seconds: int, order: tuple[bool, int, int, str, str, str]
    ) -> None:
        """It closes while an order waits, takes nothing, and opens again."""
        contract = self._contract(place)
        is_buy, quantity, price, account, kind, tif = order
        terms = {"account": account or ACCOUNTS[0], "is_buy": is_buy, "kind": kind, "quantity": quantity}
        terms |= {"limit": price - 5 if is_buy else price + 5, "trigger": price, "tif": tif, "place": place}
        self.client_sends_with(terms)
        self.mode_is_set(place, mode)
        self.client_sends_with(terms)
        self._add(contract, is_buy, quantity, price)
        if seconds:
            self.time_passes(seconds)
        self.mode_is_set(place, "Open")


class TimedRules(ModeRules):
    """Exits that become market orders at a time."""

    @rule(
        place=places,
        account=accounts,
        is_buy=sides,
        price=prices,
        times=st.tuples(st.sampled_from([0, 0, 1, 3]), st.sampled_from([0, 0, 2]), st.sampled_from([0, 2, 2])),
        steps=st.lists(st.sampled_from(["fill", "fill", "wait", "wait", "halt", "cancel"]), min_size=3, max_size=7),
    )
    def entry_fills_while_time_passes(
        self, place: int, account: str, is_buy: bool, price: int, times: tuple[int, int, int], steps: list[str]
    ) -> None:
        """Two contracts a time; the market may halt and the client cancel an exit in between."""
        contract = self._contract(place)
        self.mode_is_set(place, "Open")
        queue = self.naive.side(contract.naive, is_buy)
        if queue:
            price = (queue[0].limit or 0) + (1 if is_buy else -1)
        at = {role: self.now_s + after for role, after in zip(("TARGET", "STOP"), times[:2], strict=True) if after}
        bracket = NaiveBracket(6, 4, 6, 4, market_at=at, target_after=times[2])
        terms = {"account": account, "is_buy": is_buy, "kind": "LIMIT", "quantity": 6, "limit": price}
        self.client_sends_with({**terms, "place": place, "trigger": None, "bracket": bracket})
        for step in steps:
            if step == "fill":
                # Somebody stands behind the entry, so that an exit finds another side.
                self._add(contract, is_buy, 2, price - 1 if is_buy else price + 1)
                self._add(contract, not is_buy, 2, price)
            elif step == "cancel":
                exits = [o for o in self._working() if o.entry is not None and o.entry.bracket is bracket]
                for order in exits[:1]:
                    self._take(self.venue.cancel(account, str(order.identity), self._now()))
                    self.naive.cancel(order, self.now_s)
            else:
                if step == "halt":
                    self.mode_is_set(place, "Halted")
                self.time_passes(2 if step == "halt" else 1)
                self.mode_is_set(place, "Open")
