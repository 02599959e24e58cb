"""Rules: hypothesis gives the venue and the naive exchange the same flow and the same clients' orders."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from nightdesk.messages.enums import OrderType, Side, TimeInForce
from nightdesk.simulator.model import Condition, IfTouched, NewOrder, OrderHappened, PriceField
from nightdesk.simulator.venue.book import Order
from tests.exchange_comparison import ComparedExchanges
from tests.exchange_world import ACCOUNTS, MIDDLE, SECOND_NS, Contract, Watched, terms_of
from tests.naive_orders import PRICED, STOPS, TOUCHES, NaiveBracket, NaiveCondition, NaiveOrder

accounts = st.sampled_from(ACCOUNTS)
sides = st.booleans()
quantities = st.integers(1, 9)
prices = st.one_of(st.integers(MIDDLE - 3, MIDDLE + 3), st.integers(MIDDLE - 9, MIDDLE + 9))
"""Most of them near each other, so that orders share levels and one print sets several off."""
picks = st.integers(0, 10_000)
plain_kinds = st.sampled_from(["LIMIT", "LIMIT", "LIMIT", "MARKET", "STOP_MARKET", "STOP_LIMIT", *TOUCHES])
in_force = st.sampled_from(["DAY", "DAY", "GTC", "IOC", "FOK"])
distances = st.integers(1, 6)
places = st.sampled_from([0, 0, 0, 1])
"""Which contract; the first one where there is one alone."""


class OrderRules(ComparedExchanges):
    """Accounts' and anonymous orders; every rule is one command to both exchanges."""

    # Anonymous orders.

    @rule(
        place=places,
        is_buy=sides,
        quantity=quantities,
        price=prices,
        is_market=st.sampled_from([False, False, False, True]),
    )
    def flow_adds(self, place: int, is_buy: bool, quantity: int, price: int, is_market: bool) -> None:
        self._add(self._contract(place), is_buy, quantity, None if is_market else price)

    @rule(pick=picks)
    def flow_withdraws(self, pick: int) -> None:
        resting = [o for o in self.naive.orders if o.account == "" and o.state == "OPEN"]
        if resting:
            chosen = resting[pick % len(resting)]
            contract = self._contract_of(chosen)
            contract.engine.cancel(self.anonymous[str(chosen.identity)])
            self._take(self.venue.step(contract.product.symbol, [], self._now()))
            self.naive.cancel(chosen, self.now_s)

    # Clients' orders.

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
        cancel_s=st.sampled_from([0, 0, 0, 5]),
    )
    def client_sends(self, **terms: Any) -> None:
        self.client_sends_with(terms)

    @rule(
        place=places,
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
        place=places,
        account=accounts,
        is_buy=sides,
        kind=st.sampled_from(["LIMIT", "LIMIT", "MARKET", "STOP_MARKET"]),
        quantity=quantities,
        limit=prices,
        trigger=prices,
        profit=st.tuples(st.integers(0, 9), distances),
        stop=st.tuples(st.integers(0, 9), distances),
        times=st.tuples(st.sampled_from([0, 0, 0, 2]), st.sampled_from([0, 0, 0, 3]), st.sampled_from([0, 0, 0, 2])),
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
        times: tuple[int, int, int],
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
            {role: self.now_s + after for role, after in zip(("TARGET", "STOP"), times[:2], strict=True) if after},
            times[2],
        )
        if not bracket.roles:
            bracket.stop_quantity = quantity
        self.client_sends_with({**terms, "bracket": bracket})

    @rule(
        legs=st.lists(st.tuples(places, sides, plain_kinds, quantities, prices, prices), min_size=2, max_size=3),
        account=accounts,
    )
    def client_sends_oco(self, legs: list[tuple[int, bool, str, int, int, int]], account: str) -> None:
        pairs = [
            self._pair(
                place=place,
                account=account,
                is_buy=is_buy,
                kind=kind,
                quantity=quantity,
                limit=limit,
                trigger=trigger,
            )
            for place, is_buy, kind, quantity, limit, trigger in legs
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
        is_same_price=st.booleans(),
    )
    def client_modifies(
        self, pick: int, quantity: int, limit: int, trigger: int, kind: str | None, is_same_price: bool
    ) -> None:
        working = self._working()
        if not working:
            return
        order = working[pick % len(working)]
        if is_same_price:
            # Whether it keeps its place depends on the quantity alone.
            kind, limit, trigger = None, order.limit or limit, order.trigger or trigger
        self._modify(order, quantity, limit, trigger, kind)

    @rule(pick=picks, change=st.integers(-2, 3))
    def client_resizes_before_another(self, pick: int, change: int) -> None:
        """Somebody stands behind the order, so that its place shows."""
        resting = [o for o in self._working() if o.state == "OPEN" and o.limit is not None]
        if resting:
            order = resting[pick % len(resting)]
            limit = order.limit or 0
            self._add(self._contract_of(order), order.is_buy, 1, limit)
            self._modify(order, max(1, order.quantity + change), limit, order.trigger or limit, None)

    @rule(seconds=st.integers(1, 4))
    def time_passes(self, seconds: int) -> None:
        self.now_s += seconds
        self._take(self.venue.advance(self._now()))
        self.naive.advance(self.now_s)

    # Watching.

    @rule(place=places)
    def somebody_watches(self, place: int) -> None:
        contract = self._contract(place)
        symbol = contract.product.symbol
        if contract.watched is not None:
            self.venue.watch_depth(symbol, False)
            contract.watched = None
            return
        self.venue.watch_depth(symbol, True)
        contract.watched = Watched(
            {order.exchange_order_id: order for order in self._book(contract)},
            {(level.side, level.price): level for level in self.venue.book(symbol)},
            self.venue.book_sequence(symbol),
        )

    # What the rules share.

    def _contract(self, place: int) -> Contract:
        return self.contracts[min(place, len(self.contracts) - 1)]

    def _add(self, contract: Contract, is_buy: bool, quantity: int, limit: int | None) -> None:
        order = Order(is_buy, quantity, limit)
        name = f"anonymous {len(self.anonymous)}"
        self.anonymous[name] = order
        self._take(self.venue.step(contract.product.symbol, contract.engine.submit(order), self._now()))
        kind = "MARKET" if limit is None else "LIMIT"
        self.naive.submit(NaiveOrder(name, contract.naive, "", is_buy, kind, quantity, limit), self.now_s)

    def _modify(
        self,
        order: NaiveOrder,
        quantity: int,
        limit: int,
        trigger: int,
        kind: str | None,
        condition: NaiveCondition | None = None,
    ) -> None:
        price = self._contract_of(order).price
        events = self.venue.modify(
            order.account,
            str(order.identity),
            quantity=quantity,
            price=price(limit),
            trigger_price=price(trigger),
            order_type=OrderType(kind) if kind else None,
            now_ns=self._now(),
            if_touched=self._if_touched(condition),
        )
        self._take(events)
        is_taken = self.naive.modify(order, quantity, limit, trigger, kind, self.now_s, condition)
        first = next(event for event in events if isinstance(event, OrderHappened))
        assert (first.kind == "MODIFIED") is is_taken

    def client_sends_with(self, terms: dict[str, Any]) -> None:
        order, request = self._pair(**terms)
        basket_id, events = self.venue.submit(request, self._now())
        assert basket_id == str(order.identity)
        self._take(events)
        self.naive.submit(order, self.now_s)

    def _if_touched(self, condition: NaiveCondition | None) -> IfTouched | None:
        if condition is None:
            return None
        contract = next(each for each in self.contracts if each.naive is condition.market)
        return IfTouched(
            contract.product.symbol,
            contract.product.exchange,
            Condition(condition.comparison),
            PriceField(condition.what),
            contract.price(condition.at) or 0.0,
        )

    def _pair(
        self,
        *,
        place: int,
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
        condition: NaiveCondition | None = None,
    ) -> tuple[NaiveOrder, NewOrder]:
        """The same order for both."""
        contract = self._contract(place)
        if kind in STOPS:
            tif = "GTC" if tif == "GTC" else "DAY"
        naive = NaiveOrder(
            self.naive.take_id(bracket),
            contract.naive,
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
            condition,
        )
        request = NewOrder(
            account_id=account,
            user="user",
            user_tag="",
            symbol=contract.product.symbol,
            exchange=contract.product.exchange,
            side=Side.BUY if is_buy else Side.SELL,
            order_type=OrderType(kind),
            quantity=quantity,
            price=contract.price(naive.limit),
            trigger_price=contract.price(naive.trigger),
            time_in_force=TimeInForce(tif),
            trail_by_ticks=trail,
            trail_by=PriceField(trail_by),
            release_at_ns=self._now() + release_s * SECOND_NS if release_s else None,
            cancel_after_s=cancel_s,
            if_touched=self._if_touched(condition),
            bracket=terms_of(bracket) if bracket else None,
        )
        return naive, request
