"""What follows by itself in the naive exchange: linked orders, brackets, stops that move, held orders."""

from fractions import Fraction

from tests.naive_matching import EXCHANGE, NaiveMatching
from tests.naive_orders import TOUCHES, NaiveBracket, NaiveMarket, NaiveOrder


class NaiveFollow(NaiveMatching):
    """The server beside the markets; timers are [second, number, what, order]."""

    def __init__(self, self_match: str, markets: list[NaiveMarket], first_id: int) -> None:
        super().__init__(self_match, markets)
        self.next_id = first_id
        self.timers: list[tuple[int, int, str, NaiveOrder]] = []

    def take_id(self, bracket: NaiveBracket | None = None) -> int:
        """The next basket id; a bracket's exits have the ids behind it."""
        found = self.next_id
        self.next_id += 1
        for role in bracket.roles if bracket else ():
            if bracket is not None:
                bracket.ids[role] = self.next_id
            self.next_id += 1
        return found

    def finish(self) -> None:
        """Until nothing more happens; markets in the order in which the command came upon them."""
        while True:
            acted = self._follow_links()
            acted |= self._follow_brackets()
            for market in self._touched + [m for m in self.markets if m not in self._touched]:
                acted |= self._follow_market(market)
                acted |= self._let_go(market)
            if not acted:
                self._touched = []
                return

    # An order's way.

    def receive(self, order: NaiveOrder) -> None:
        order.original, order.requested = order.kind, order.quantity
        self.orders.append(order)
        for role in ("TARGET", "STOP") if order.bracket else ():
            if order.bracket and role in order.bracket.market_at:
                self.set_timer(order.bracket.market_at[role], role, order)

    def accept(self, order: NaiveOrder) -> None:
        order.is_accepted = True
        if order.cancel_at is not None:
            self.set_timer(order.cancel_at, "CANCEL", order)
        if order.release_at is not None:
            self.set_timer(order.release_at, "RELEASE", order)
        self.proceed(order, "")

    def proceed(self, order: NaiveOrder, passed: str) -> None:
        """Release, then condition, then touch, then the exchange."""
        if not passed and order.release_at is not None and order.release_at > self.now:
            order.state = "HELD"
        elif passed in ("", "HELD") and order.condition is not None:
            self.wait(order, "COND")
        elif passed != "TOUCH" and order.kind in TOUCHES:
            self.wait(order, "TOUCH")
        else:
            self.send(order)

    def set_timer(self, at: int, what: str, order: NaiveOrder) -> None:
        self.timers.append((at, self.tick(), what, order))

    def advance(self, now: int) -> None:
        self.now = now
        while due := sorted(timer for timer in self.timers if timer[0] <= now):
            self.timers.remove(due[0])
            _, _, what, order = due[0]
            if what in ("TARGET", "STOP"):
                self._exit_at_market(order, what)
            elif what == "CANCEL" and order.state != "DONE":
                self.cancel_now(order)
            elif what == "RELEASE" and order.state == "HELD":
                self.proceed(order, "HELD")
            self.finish()

    # Orders that end together.

    def _follow_links(self) -> bool:
        acted = False
        for leg in self.orders:
            if leg.state == "DONE" or not leg.group:
                continue
            others = [o for o in leg.group if o is not leg]
            filled = sum(o.filled for o in others)
            if any(o.state == "DONE" and not o.is_ended_by_link for o in others):
                self.cancel_now(leg)
                leg.is_ended_by_link = True
                acted = True
            elif filled > leg.followed:
                self.resize(leg, leg.leaves - (filled - leg.followed))
                leg.is_ended_by_link = leg.end == "C"
                leg.followed = filled
                acted = True
        return acted

    # Brackets.

    def _follow_brackets(self) -> bool:
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
                if bracket.target_after and "TARGET" in bracket.roles:
                    first = next(fill.now for fill in self.fills if fill.order is entry)
                    self.set_timer(first + bracket.target_after, "TARGET", entry)
            for role in bracket.roles:
                self._settle(entry, bracket, role)
        return acted

    def _settle(self, entry: NaiveOrder, bracket: NaiveBracket, role: str) -> None:
        exposed = entry.filled - bracket.closed()
        grown = min(bracket.quantity(role), entry.filled) - bracket.released[role]
        bracket.released[role] += grown
        working = bracket.working(role)
        exits = bracket.exits[role]
        if working is not None:
            wanted = min(working.leaves + grown, exposed)
            if wanted != working.leaves:
                self.resize(working, wanted)
        elif min(grown, exposed) > 0:
            self._make_exit(entry, bracket, role, min(grown, exposed), self._is_late(entry, bracket, role))
        elif exposed > 0 and role == "STOP" and bracket.market_on_reject and _was_rejected(exits):
            self._make_exit(entry, bracket, role, min(exits[-1].quantity, exposed), True)

    def _make_exit(self, entry: NaiveOrder, bracket: NaiveBracket, role: str, quantity: int, is_market: bool) -> None:
        sign = 1 if entry.is_buy else -1
        away = bracket.target_ticks if role == "TARGET" else -bracket.stop_ticks
        at = (bracket.anchor or 0) + sign * away
        kind = "MARKET" if is_market else ("LIMIT" if role == "TARGET" else "STOP_MARKET")
        exit_order = NaiveOrder(
            identity=bracket.ids.pop(role) if role in bracket.ids else self.take_id(),
            market=entry.market,
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
        self.receive(exit_order)
        self.accept(exit_order)

    def _is_late(self, entry: NaiveOrder, bracket: NaiveBracket, role: str) -> bool:
        """Whether an exit made now is a market order from its beginning."""
        times = [bracket.market_at[role]] if role in bracket.market_at else []
        if role == "TARGET" and bracket.target_after:
            times.append(next(fill.now for fill in self.fills if fill.order is entry) + bracket.target_after)
        return any(at <= self.now for at in times)

    def _exit_at_market(self, entry: NaiveOrder, role: str) -> None:
        """Not while the market does not trade: tried again each second."""
        leg = entry.bracket.working(role) if entry.bracket else None
        if leg is None or leg.kind == "MARKET":
            return
        if entry.market.is_trading:
            self.change(leg, "MARKET", leg.quantity, None, None)
        else:
            self.set_timer(self.now + 1, role, entry)

    # Stops that follow the market.

    def _follow_market(self, market: NaiveMarket) -> bool:
        acted = False
        for order in list(self._trailers):
            if order.state != "PENDING" or order.market is not market:
                continue
            wanted = [order.trigger or 0]
            reference = self.price(market, order.trail_by) if order.trail else None
            if reference is not None:
                wanted.append(reference + (order.trail if order.is_buy else -order.trail))
            wanted += self._bracket_prices(order)
            best = min(wanted) if order.is_buy else max(wanted)
            if best == order.trigger or self.is_wrong_side(order, best):
                continue
            limit = order.limit + best - (order.trigger or 0) if order.limit is not None else None
            self.change(order, order.kind, order.quantity, limit, best)
            acted = True
        return acted

    def _bracket_prices(self, order: NaiveOrder) -> list[int]:
        bracket = order.entry.bracket if order.entry else None
        if bracket is None or order.role != "STOP" or order.entry is None:
            return []
        sign = 1 if order.entry.is_buy else -1
        what = "TRADE" if bracket.by_last else ("BID" if order.entry.is_buy else "OFFER")
        reference = self.price(order.market, what)
        if reference is None or bracket.anchor is None:
            return []
        gain = sign * (reference - bracket.anchor)
        wanted = []
        if bracket.trail_trigger and gain >= bracket.trail_trigger:
            wanted.append(reference - sign * bracket.stop_ticks)
        if bracket.even_trigger and gain >= bracket.even_trigger:
            wanted.append(bracket.anchor + sign * bracket.even_ticks)
        return wanted

    # Held orders.

    def _let_go(self, market: NaiveMarket) -> bool:
        """Conditions first, then touched buys and sells, the nearest first."""
        held = [o for o in self.orders if o.state in ("COND", "TOUCH") and o.waits_for is market]
        held.sort(key=lambda o: o.place)
        met = [o for o in held if o.state == "COND" and self._is_met(o)]
        touched = [o for o in held if o.state == "TOUCH" and self._is_touched(o)]
        met += sorted((o for o in touched if o.is_buy), key=lambda o: -(o.trigger or 0))
        met += sorted((o for o in touched if not o.is_buy), key=lambda o: o.trigger or 0)
        for order in held:
            order.seen = []
        for order in met:
            passed, order.state = order.state, "NEW"
            if passed == "TOUCH":
                order.kind = "MARKET" if order.kind == "MARKET_IF_TOUCHED" else "LIMIT"
            else:
                order.condition = None
            self.proceed(order, passed)
        return bool(met)

    def _is_touched(self, order: NaiveOrder) -> bool:
        last = order.market.last
        prints = [*order.seen, last] if last is not None else []
        return any(p <= (order.trigger or 0) if order.is_buy else p >= (order.trigger or 0) for p in prints)

    def _is_met(self, order: NaiveOrder) -> bool:
        condition = order.condition
        if condition is None:
            return True
        if condition.what == "LEAN":
            prices: list[Fraction | int | None] = [self._lean(condition.market)]
        else:
            prices = [self.price(condition.market, condition.what)]
        if condition.what == "TRADE":
            prices += order.seen
        return any(price is not None and condition.is_met_by(price) for price in prices)

    def _lean(self, market: NaiveMarket) -> Fraction | None:
        """Bid and offer weighted with each other's size."""
        best = []
        for is_buy in (True, False):
            queue = self.side(market, is_buy)
            if not queue:
                return None
            best.append((queue[0].limit or 0, sum(o.leaves for o in queue if o.limit == queue[0].limit)))
        (bid, bid_size), (offer, offer_size) = best
        return Fraction(bid * offer_size + offer * bid_size, bid_size + offer_size)


def _was_rejected(exits: list[NaiveOrder]) -> bool:
    return bool(exits) and exits[-1].why == EXCHANGE and exits[-1].original == "STOP_MARKET"
