"""An exchange that is obviously right: plain lists, a full search for everything, one contract, prices in ticks.

It shares no code with the venue. Its rules are those of docs/simulator.md: price-time priority, protection, stops,
touched orders, trailing, times, one-cancels-other, brackets, self-match prevention.
"""

from tests.naive_orders import PRICED, STOPS, TOUCHES, NaiveBracket, NaiveOrder

PROTECTION = 12


class NaiveExchange:
    """Everything by searching ``orders``."""

    def __init__(self, self_match: str) -> None:
        self.self_match = self_match
        self.orders: list[NaiveOrder] = []
        self.fills: list[tuple[int | str, int, int]] = []
        """Of both sides, the older order first: who, price, quantity."""
        self.prints: list[tuple[int, int]] = []
        self.last: int | None = None
        self.next_id = 10_000_001
        self._time = 0
        self._wave: list[int] = []
        self._seen: list[int] = []
        self._progress: list[NaiveOrder] = []
        self._trailers: list[NaiveOrder] = []

    def side(self, is_buy: bool) -> list[NaiveOrder]:
        """The queue of one side."""
        queue = [o for o in self.orders if o.state == "OPEN" and o.is_buy == is_buy]
        return sorted(queue, key=lambda o: (-(o.limit or 0) if is_buy else (o.limit or 0), o.place))

    def take_id(self, bracket: NaiveBracket | None = None) -> int:
        """The next basket id; a bracket's exits have the ids behind it."""
        found = self.next_id
        self.next_id += 1
        for role in bracket.roles if bracket else ():
            if bracket is not None:
                bracket.ids[role] = self.next_id
            self.next_id += 1
        return found

    # Commands.

    def submit(self, order: NaiveOrder, now: int) -> None:
        self._receive(order)
        self._proceed(order, "", now)
        self.finish(now)

    def submit_oco(self, legs: list[NaiveOrder], now: int) -> None:
        for leg in legs:
            self._receive(leg)
            leg.group = legs
        for leg in legs:
            if leg.state != "DONE":
                self._proceed(leg, "", now)
                self.finish(now)

    def cancel(self, order: NaiveOrder, now: int) -> None:
        self._end(order, "C")
        self.finish(now)

    def modify(self, order: NaiveOrder, quantity: int, price: int, trigger: int, kind: str | None, now: int) -> bool:
        """Whether it was taken."""
        was_set_off = order.state == "OPEN" and order.original in STOPS + TOUCHES
        wanted = order.kind if kind is None or (was_set_off and kind == order.original) else kind
        if wanted in STOPS and order.tif in ("IOC", "FOK"):
            return False
        if quantity <= order.filled:
            return False
        if wanted in STOPS and order.state not in ("HELD", "TOUCH"):
            is_same = order.state == "PENDING" and order.trigger == trigger
            if not is_same and self._is_wrong_side(order.is_buy, trigger):
                return False
        limit = price if wanted in PRICED else None
        new_trigger = trigger if wanted in STOPS + TOUCHES else None
        self._change(order, wanted, quantity, limit, new_trigger, order.trail if wanted in STOPS else 0, now)
        self._progress.append(order)
        self.finish(now)
        return True

    def advance(self, now: int) -> None:
        while True:
            due = [
                (at, o.timer, what, o)
                for o in self.orders
                if o.state != "DONE"
                for at, what in ((o.cancel_at, "C"), (o.release_at if o.state == "HELD" else None, "R"))
                if at is not None and at <= now
            ]
            if not due:
                break
            _, _, what, order = min(due, key=lambda found: (found[0], found[1], found[2]))
            if what == "C":
                self._end(order, "C")
            else:
                self._proceed(order, "RELEASE", now)
            self.finish(now)

    # An order's way.

    def _receive(self, order: NaiveOrder) -> None:
        order.original = order.kind
        order.timer = len(self.orders)
        self.orders.append(order)

    def _proceed(self, order: NaiveOrder, passed: str, now: int) -> None:
        if not passed and order.release_at is not None and order.release_at > now:
            order.state = "HELD"
        elif passed != "TOUCH" and order.kind in TOUCHES:
            if not any(o.state == "TOUCH" for o in self.orders):
                self._seen = []
            order.state = "TOUCH"
            order.place = self._tick()
        else:
            self._send(order)

    def _send(self, order: NaiveOrder) -> None:
        if order.kind not in STOPS:
            self._execute(order, None)
            self._set_off()
            return
        if order.trigger is None:
            reference = self._price(order.trail_by)
            if reference is None:
                self._end(order, "FA")
                return
            order.trigger = reference + (order.trail if order.is_buy else -order.trail)
        if self._is_wrong_side(order.is_buy, order.trigger):
            order.was_rejected = True
            self._end(order, "FA")
            return
        self._pend(order)

    def _pend(self, order: NaiveOrder) -> None:
        order.state = "PENDING"
        order.place = self._tick()
        if order not in self._trailers:
            self._trailers.append(order)

    def _execute(self, order: NaiveOrder, stop_price: int | None) -> None:
        sign = 1 if order.is_buy else -1
        order.state = "OPEN"
        order.place = 10**9
        queue = [o for o in self.side(not order.is_buy) if o is not order]
        bound = order.limit
        if bound is None:
            reference = stop_price if stop_price is not None else (queue[0].limit if queue else None)
            if reference is None:
                self._end(order, "C")
                return
            bound = reference + sign * PROTECTION
        inside = [o for o in queue if sign * (o.limit or 0) <= sign * bound]
        if order.tif == "FOK":
            others = [o for o in inside if not self._is_own(order, o)]
            if sum(o.leaves for o in others) < order.leaves:
                self._end(order, "C")
                return
        printed: dict[int, int] = {}
        for maker in inside:
            if not order.leaves or order.state == "DONE":
                break
            if self._is_own(order, maker):
                self._end(order if self.self_match == "CANCEL_AGGRESSOR" else maker, "C")
                continue
            self._trade(maker, order, maker.limit or 0, printed)
        for price, quantity in printed.items():
            self.prints.append((price, quantity))
            self._wave.append(price)
            self._seen.append(price)
            self.last = price
        if order.state == "DONE":
            return
        if order.tif in ("IOC", "FOK"):
            self._end(order, "C")
            return
        if order.limit is None:
            order.limit, order.kind = bound, "LIMIT"
        order.place = self._tick()

    def _is_own(self, order: NaiveOrder, other: NaiveOrder) -> bool:
        return self.self_match != "ALLOW" and order.account != "" and order.account == other.account

    def _trade(self, maker: NaiveOrder, taker: NaiveOrder, price: int, printed: dict[int, int]) -> None:
        quantity = min(maker.leaves, taker.leaves)
        printed[price] = printed.get(price, 0) + quantity
        for order in (maker, taker):
            order.filled += quantity
            order.notional += quantity * price
            self.fills.append((order.identity, price, quantity))
            self._progress.append(order)
            if not order.leaves:
                self._end(order, "F")

    def _set_off(self) -> None:
        while self._wave:
            low, high, self._wave = min(self._wave), max(self._wave), []
            pending = [o for o in self.orders if o.state == "PENDING"]
            buys = [o for o in pending if o.is_buy and (o.trigger or 0) <= high]
            sells = [o for o in pending if not o.is_buy and (o.trigger or 0) >= low]
            buys.sort(key=lambda o: (o.trigger or 0, o.place))
            sells.sort(key=lambda o: (-(o.trigger or 0), o.place))
            for order in buys + sells:
                order.kind = "MARKET" if order.kind == "STOP_MARKET" else "LIMIT"
                self._execute(order, order.trigger)

    def _end(self, order: NaiveOrder, end: str) -> None:
        order.state, order.end = "DONE", end
        self._progress.append(order)

    def _change(
        self,
        order: NaiveOrder,
        kind: str,
        quantity: int,
        limit: int | None,
        trigger: int | None,
        trail: int,
        now: int,
    ) -> None:
        before = (order.kind, order.limit, order.trigger if order.kind in STOPS + TOUCHES else None)
        keeps_place = before == (kind, limit, trigger) and quantity <= order.quantity
        was = order.state
        order.kind, order.quantity, order.limit, order.trail = kind, quantity, limit, trail
        if trigger is not None:
            order.trigger = trigger
        if was == "HELD" or keeps_place:
            return
        if kind in TOUCHES:
            if was != "TOUCH":
                if not any(o.state == "TOUCH" for o in self.orders):
                    self._seen = []
                order.state = "TOUCH"
            order.place = self._tick()
        elif was == "TOUCH":
            self._send(order)
        elif kind in STOPS:
            self._pend(order)
        else:
            self._execute(order, None)
            self._set_off()

    def _tick(self) -> int:
        self._time += 1
        return self._time

    def _is_wrong_side(self, is_buy: bool, trigger: int) -> bool:
        return self.last is not None and (trigger <= self.last if is_buy else trigger >= self.last)

    def _price(self, what: str) -> int | None:
        if what == "TRADE":
            return self.last
        queue = self.side(what == "BID")
        return queue[0].limit if queue else None

    # What follows.

    def finish(self, now: int) -> None:
        while True:
            acted = self._follow_links(now)
            acted |= self._follow_brackets(now)
            acted |= self._follow_market(now)
            acted |= self._touch(now)
            if not acted:
                return

    def _follow_links(self, now: int) -> bool:
        acted = False
        for leg in self.orders:
            if leg.state == "DONE" or not leg.group:
                continue
            others = [o for o in leg.group if o is not leg]
            filled = sum(o.filled for o in others)
            if any(o.state == "DONE" and not o.is_ended_by_link for o in others):
                self._end(leg, "C")
                leg.is_ended_by_link = True
                acted = True
            elif filled > leg.followed:
                self._resize(leg, leg.leaves - (filled - leg.followed), now)
                leg.is_ended_by_link = leg.state == "DONE"
                leg.followed = filled
                acted = True
        return acted

    def _resize(self, order: NaiveOrder, leaves: int, now: int) -> None:
        if leaves <= 0:
            self._end(order, "C")
        else:
            trigger = order.trigger if order.kind in STOPS + TOUCHES else None
            self._change(order, order.kind, order.filled + leaves, order.limit, trigger, order.trail, now)

    def _follow_brackets(self, now: int) -> bool:
        acted = False
        while self._progress:
            entries = [o.entry or o for o in self._progress if o.entry or o.bracket]
            if not entries:
                self._progress = []
                break
            entry = entries[0]
            self._progress = [o for o in self._progress if (o.entry or o) is not entry]
            bracket = entry.bracket
            if bracket is None or not entry.filled:
                continue
            acted = True
            if bracket.anchor is None:
                bracket.anchor = (2 * entry.notional + entry.filled) // (2 * entry.filled)
            for role in bracket.roles:
                self._settle(entry, bracket, role, now)
        return acted

    def _settle(self, entry: NaiveOrder, bracket: NaiveBracket, role: str, now: int) -> None:
        closed = sum(o.filled for exits in bracket.exits.values() for o in exits)
        exposed = entry.filled - closed
        grown = min(bracket.quantity(role), entry.filled) - bracket.released[role]
        bracket.released[role] += grown
        exits = bracket.exits[role]
        working = exits[-1] if exits and exits[-1].state != "DONE" else None
        if working is not None:
            wanted = min(working.leaves + grown, exposed)
            if wanted != working.leaves:
                self._resize(working, wanted, now)
        elif min(grown, exposed) > 0:
            self._make_exit(entry, bracket, role, min(grown, exposed), False, now)
        elif exposed > 0 and exits and exits[-1].was_rejected and role == "STOP" and bracket.market_on_reject:
            self._make_exit(entry, bracket, role, min(exits[-1].quantity, exposed), True, now)

    def _make_exit(
        self, entry: NaiveOrder, bracket: NaiveBracket, role: str, quantity: int, is_market: bool, now: int
    ) -> None:
        sign = 1 if entry.is_buy else -1
        away = bracket.target_ticks if role == "TARGET" else -bracket.stop_ticks
        at = (bracket.anchor or 0) + sign * away
        kind = "MARKET" if is_market else ("LIMIT" if role == "TARGET" else "STOP_MARKET")
        exit_order = NaiveOrder(
            identity=bracket.ids.pop(role) if role in bracket.ids else self.take_id(),
            account=entry.account,
            is_buy=not entry.is_buy,
            kind=kind,
            quantity=quantity,
            limit=at if kind == "LIMIT" else None,
            trigger=at if kind == "STOP_MARKET" else None,
            tif="GTC" if entry.tif == "GTC" else "DAY",
            entry=entry,
            role=role,
        )
        bracket.exits[role].append(exit_order)
        self._receive(exit_order)
        self._proceed(exit_order, "", now)

    def _follow_market(self, now: int) -> bool:
        acted = False
        for order in list(self._trailers):
            if order.state != "PENDING":
                continue
            wanted = [order.trigger or 0]
            reference = self._price(order.trail_by) if order.trail else None
            if reference is not None:
                wanted.append(reference + (order.trail if order.is_buy else -order.trail))
            wanted += self._bracket_prices(order)
            best = min(wanted) if order.is_buy else max(wanted)
            if best == order.trigger or self._is_wrong_side(order.is_buy, best):
                continue
            limit = order.limit + best - (order.trigger or 0) if order.limit is not None else None
            self._change(order, order.kind, order.quantity, limit, best, order.trail, now)
            acted = True
        return acted

    def _bracket_prices(self, order: NaiveOrder) -> list[int]:
        bracket = order.entry.bracket if order.entry else None
        if bracket is None or order.role != "STOP" or order.entry is None:
            return []
        sign = 1 if order.entry.is_buy else -1
        reference = self._price("TRADE" if bracket.by_last else ("BID" if order.entry.is_buy else "OFFER"))
        if reference is None or bracket.anchor is None:
            return []
        gain = sign * (reference - bracket.anchor)
        wanted = []
        if bracket.trail_trigger and gain >= bracket.trail_trigger:
            wanted.append(reference - sign * bracket.stop_ticks)
        if bracket.even_trigger and gain >= bracket.even_trigger:
            wanted.append(bracket.anchor + sign * bracket.even_ticks)
        return wanted

    def _touch(self, now: int) -> bool:
        held = [o for o in self.orders if o.state == "TOUCH"]
        seen, self._seen = self._seen, []
        if not held or self.last is None:
            return False
        low, high = min([*seen, self.last]), max([*seen, self.last])
        buys = [o for o in held if o.is_buy and (o.trigger or 0) >= low]
        sells = [o for o in held if not o.is_buy and (o.trigger or 0) <= high]
        buys.sort(key=lambda o: (-(o.trigger or 0), o.place))
        sells.sort(key=lambda o: (o.trigger or 0, o.place))
        for order in buys + sells:
            order.kind = "MARKET" if order.kind == "MARKET_IF_TOUCHED" else "LIMIT"
            self._proceed(order, "TOUCH", now)
        return bool(buys + sells)
