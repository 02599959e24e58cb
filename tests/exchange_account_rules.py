"""Rules of accounts that come to their limits."""

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.exchange_machine import OrderRules, accounts, picks, places, prices, quantities, sides
from tests.naive_orders import NaiveBracket, NaiveOrder

HOUR_S = 3_600


class AccountRules(OrderRules):
    """Accounts that come to their limits."""

    @rule(account=accounts, place=places)
    def client_flattens(self, account: str, place: int) -> None:
        """An order of the exchange's own making, like any other of the account's."""
        contract = self._contract(place)
        net = self.naive.position(account, contract.naive).net
        events = self.venue.exit_position(account, contract.product.symbol, "user", self._now())
        assert bool(events) is bool(net)
        self._take(events)
        if net:
            identity = self.naive.take_id()
            order = NaiveOrder(identity, contract.naive, account, net < 0, "MARKET", abs(net))
            self.naive.submit(order, self.now_s)

    @rule(account=accounts)
    def client_cancels_all(self, account: str) -> None:
        self._take(self.venue.cancel_all(account, self._now()))
        for order in [o for o in self.naive.orders if o.account == account and o.is_working]:
            if order.state != "DONE":
                self.naive.cancel(order, self.now_s)

    @rule(
        place=places,
        account=accounts,
        is_buy=sides,
        quantity=quantities,
        price=prices,
        loss=st.integers(0, 20),
        closing=st.lists(quantities, max_size=2),
    )
    def market_turns_against_client(
        self, place: int, account: str, is_buy: bool, quantity: int, price: int, loss: int, closing: list[int]
    ) -> None:
        """A position is opened, the last trade is elsewhere, and the client wants to get out."""
        contract = self._contract(place)
        self._add(contract, not is_buy, quantity, price)
        self._limit(place, account, is_buy, quantity, price)
        last = price - loss if is_buy else price + loss
        self._add(contract, True, 1, last)
        self._add(contract, False, 1, last)
        for wanted in closing:
            self._limit(place, account, not is_buy, wanted, last + 8 if is_buy else last - 8)

    @rule(
        place=places,
        account=accounts,
        is_buy=sides,
        price=prices,
        legs=st.tuples(quantities, quantities),
        filled=st.sampled_from([0, 2, 4]),
        grown=st.integers(1, 12),
        pick=picks,
    )
    def client_grows_leg(
        self,
        place: int,
        account: str,
        is_buy: bool,
        price: int,
        legs: tuple[int, int],
        filled: int,
        grown: int,
        pick: int,
    ) -> None:
        """Two legs on one side; the first may be filled in part before the second is sent."""
        contract = self._contract(place)
        queue = self.naive.side(contract.naive, not is_buy)
        if filled:
            price = (queue[0].limit or 0) + (-1 if is_buy else 1) if queue else price
            self._add(contract, not is_buy, filled, price)
        away = -6 if is_buy else 6
        pairs = [
            self._pair(place=place, account=account, is_buy=is_buy, kind="LIMIT", quantity=q, limit=at, trigger=None)
            for q, at in zip(legs, (price, price + away), strict=True)
        ]
        self._take(self.venue.submit_oco([request for _, request in pairs], self._now())[1])
        self.naive.submit_oco([order for order, _ in pairs], self.now_s)
        working = [order for order, _ in pairs if order.is_working]
        if working:
            order = working[pick % len(working)]
            self._modify(order, order.quantity + grown, order.limit or 0, 0, None)

    @rule(place=places, account=accounts, is_buy=sides, price=prices, quantity=quantities, grown=st.integers(1, 12))
    def client_grows_exit(self, place: int, account: str, is_buy: bool, price: int, quantity: int, grown: int) -> None:
        """It is taken, and reduced again at once."""
        bracket = NaiveBracket(quantity, 9, quantity, 9)
        self._add(self._contract(place), not is_buy, quantity, price)
        self._limit(place, account, is_buy, quantity, price, bracket)
        for order in [o for o in self._working() if o.entry is not None and o.entry.bracket is bracket]:
            if order.is_working:
                self._modify(order, order.quantity + grown, order.limit or 0, order.trigger or 0, None)

    def _limit(
        self, place: int, account: str, is_buy: bool, quantity: int, price: int, bracket: NaiveBracket | None = None
    ) -> None:
        terms = {"account": account, "is_buy": is_buy, "kind": "LIMIT", "quantity": quantity, "limit": price}
        self.client_sends_with({**terms, "place": place, "trigger": None, "bracket": bracket})

    @rule(hours=st.sampled_from([1, 5, 12]))
    def hours_pass(self, hours: int) -> None:
        """The session began before midnight; a third day would make the log drop the first one."""
        if self.now_s + hours * HOUR_S < 25 * HOUR_S:
            self.time_passes(hours * HOUR_S)
