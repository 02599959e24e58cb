"""What the naive exchange's markets do: queues, trades, stops, the opening; plain lists, full searches."""

from tests.naive_orders import PRICED, STOPS, TOUCHES, NaiveFill, NaiveMarket, NaiveOrder

PROTECTION = 12
EXCHANGE = "Rejected by exchange"


class NaiveMatching:
    """Everything by searching ``orders``; ``now`` is the time of the present command in seconds."""

    def __init__(self, self_match: str, markets: list[NaiveMarket]) -> None:
        self.self_match = self_match
        self.markets = markets
        self.orders: list[NaiveOrder] = []
        self.fills: list[NaiveFill] = []
        """Of both sides, the older order first."""
        self.prints: list[tuple[str, int, int]] = []
        """Contract, price, quantity."""
        self.now = 0
        self._time = 0
        self._progress: list[NaiveOrder] = []
        self._trailers: list[NaiveOrder] = []
        self._touched: list[NaiveMarket] = []
        """Markets in the order in which the present command came upon them."""

    def side(self, market: NaiveMarket, is_buy: bool) -> list[NaiveOrder]:
        """The queue of one side."""
        queue = [o for o in self.orders if o.state == "OPEN" and o.is_buy == is_buy and o.market is market]
        return sorted(queue, key=lambda o: (-(o.limit or 0) if is_buy else (o.limit or 0), o.place))

    def send(self, order: NaiveOrder) -> None:
        """To the exchange, which may refuse it."""
        market = order.market
        self.touch(market)
        is_stop = order.kind in STOPS
        if is_stop and order.trigger is None:
            reference = self.price(market, order.trail_by)
            if reference is None:
                self.end(order, "FA", EXCHANGE)
                return
            order.trigger = int(reference) + (order.trail if order.is_buy else -order.trail)
        is_refused = (
            not (market.is_trading or market.is_queueing)
            or (order.kind == "MARKET" and not market.is_trading)
            or market.is_outside(order.limit, order.trigger if is_stop else None)
            or (is_stop and self.is_wrong_side(order, order.trigger or 0))
        )
        if is_refused:
            self.end(order, "FA", EXCHANGE)
        elif is_stop:
            self.pend(order)
        else:
            self.execute(order, None)
            self.set_off(market)

    def pend(self, order: NaiveOrder) -> None:
        order.state = "PENDING"
        order.place = self.tick()
        if order not in self._trailers:
            self._trailers.append(order)

    def execute(self, order: NaiveOrder, stop_price: int | None) -> None:
        market = order.market
        sign = 1 if order.is_buy else -1
        order.state = "OPEN"
        order.place = 10**9
        queue = [o for o in self.side(market, not order.is_buy) if o is not order]
        bound = order.limit
        if bound is None:
            reference = stop_price if stop_price is not None else (queue[0].limit if queue else None)
            if reference is None or not market.is_trading:
                self.end(order, "C")
                return
            bound = market.inside(reference + sign * PROTECTION)
        inside = [o for o in queue if sign * (o.limit or 0) <= sign * bound] if market.is_trading else []
        if order.tif == "FOK":
            others = [o for o in inside if not self._is_own(order, o)]
            if sum(o.leaves for o in others) < order.leaves:
                self.end(order, "C")
                return
        printed: dict[int, int] = {}
        for maker in inside:
            if not order.leaves or order.state == "DONE":
                break
            if self._is_own(order, maker):
                self.end(order if self.self_match == "CANCEL_AGGRESSOR" else maker, "C")
                continue
            self._trade(maker, order, maker.limit or 0)
            printed[maker.limit or 0] = printed.get(maker.limit or 0, 0) + self.fills[-1].quantity
        for price, quantity in printed.items():
            self._print(market, price, quantity)
        if order.state == "DONE":
            return
        if order.tif in ("IOC", "FOK"):
            self.end(order, "C")
            return
        if order.limit is None:
            order.limit, order.kind = bound, "LIMIT"
        order.place = self.tick()

    def auction(self, market: NaiveMarket) -> None:
        """The market opens: what crosses trades at one price."""
        bids, offers = self.side(market, True), self.side(market, False)
        if bids and offers and (bids[0].limit or 0) >= (offers[0].limit or 0):
            ranks = []
            for price in range(offers[0].limit or 0, (bids[0].limit or 0) + 1):
                wanted = sum(o.leaves for o in bids if (o.limit or 0) >= price)
                offered = sum(o.leaves for o in offers if (o.limit or 0) <= price)
                away = abs(price - market.last) if market.last is not None else 0
                ranks.append((-min(wanted, offered), abs(wanted - offered), away, price))
            price = min(ranks)[-1]
            buyers = [o for o in bids if (o.limit or 0) >= price]
            sellers = [o for o in offers if (o.limit or 0) <= price]
            traded = 0
            while buyers and sellers:
                pair = sorted((buyers[0], sellers[0]), key=lambda o: o.place)
                self._trade(pair[0], pair[1], price)
                traded += self.fills[-1].quantity
                buyers = [o for o in buyers if o.state != "DONE"]
                sellers = [o for o in sellers if o.state != "DONE"]
            self._print(market, price, traded)
        self.set_off(market)

    def _is_own(self, order: NaiveOrder, other: NaiveOrder) -> bool:
        return self.self_match != "ALLOW" and order.account != "" and order.account == other.account

    def _trade(self, older: NaiveOrder, younger: NaiveOrder, price: int) -> None:
        quantity = min(older.leaves, younger.leaves)
        for order in (older, younger):
            order.filled += quantity
            order.notional += quantity * price
            self.fills.append(NaiveFill(order, price, quantity, self.now))
            self._progress.append(order)
            if not order.leaves:
                self.end(order, "F")

    def _print(self, market: NaiveMarket, price: int, quantity: int) -> None:
        self.prints.append((market.symbol, price, quantity))
        market.wave.append(price)
        market.last = price
        market.first = price if market.first is None else market.first
        for order in self.orders:
            if order.state in ("COND", "TOUCH") and order.waits_for is market:
                order.seen.append(price)

    def set_off(self, market: NaiveMarket) -> None:
        """Stops that prints have reached."""
        while market.wave:
            low, high, market.wave = min(market.wave), max(market.wave), []
            pending = [o for o in self.orders if o.state == "PENDING" and o.market is market]
            buys = [o for o in pending if o.is_buy and (o.trigger or 0) <= high]
            sells = [o for o in pending if not o.is_buy and (o.trigger or 0) >= low]
            buys.sort(key=lambda o: (o.trigger or 0, o.place))
            sells.sort(key=lambda o: (-(o.trigger or 0), o.place))
            for order in buys + sells:
                order.kind = "MARKET" if order.kind == "STOP_MARKET" else "LIMIT"
                self.execute(order, order.trigger)

    def end(self, order: NaiveOrder, end: str, why: str = "") -> None:
        order.state, order.end, order.why = "DONE", end, why
        self._progress.append(order)

    def change(self, order: NaiveOrder, kind: str, quantity: int, limit: int | None, trigger: int | None) -> None:
        """New terms; a stop alone keeps trailing."""
        before = (order.kind, order.limit, order.trigger if order.kind in STOPS + TOUCHES else None)
        keeps_place = before == (kind, limit, trigger) and quantity <= order.quantity
        was = order.state
        order.kind, order.quantity, order.limit = kind, quantity, limit
        order.trail = order.trail if kind in STOPS else 0
        if trigger is not None:
            order.trigger = trigger
        if was not in ("HELD", "COND", "TOUCH"):
            self.touch(order.market)
        if was == "HELD" or keeps_place:
            return
        if was == "COND":
            order.place = self.tick()
        elif kind in TOUCHES:
            self.wait(order, "TOUCH")
        elif was == "TOUCH":
            self.send(order)
        elif kind in STOPS:
            self.pend(order)
        else:
            self.execute(order, None)
            self.set_off(order.market)

    def resize(self, order: NaiveOrder, leaves: int) -> None:
        if leaves <= 0:
            self.cancel_now(order)
        else:
            trigger = order.trigger if order.kind in STOPS + TOUCHES else None
            self.change(order, order.kind, order.filled + leaves, order.limit, trigger)

    def cancel_now(self, order: NaiveOrder) -> None:
        if order.state in ("PENDING", "OPEN"):
            self.touch(order.market)
        self.end(order, "C")

    def wait(self, order: NaiveOrder, state: str) -> None:
        """For prices; what was printed before does not count."""
        if order.state != state:
            order.seen = []
        order.state = state
        order.place = self.tick()
        self.touch(order.waits_for)

    def touch(self, market: NaiveMarket) -> None:
        if market not in self._touched:
            self._touched.append(market)

    def tick(self) -> int:
        self._time += 1
        return self._time

    def is_wrong_side(self, order: NaiveOrder, trigger: int) -> bool:
        last = order.market.last
        return last is not None and (trigger <= last if order.is_buy else trigger >= last)

    def price(self, market: NaiveMarket, what: str) -> int | None:
        """Last trade, best bid or best offer."""
        if what == "TRADE":
            return market.last
        queue = self.side(market, what == "BID")
        return queue[0].limit if queue else None


__all__ = ["EXCHANGE", "PRICED", "NaiveMatching"]
