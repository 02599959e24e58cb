"""The naive exchange's risk system: everything is counted anew from the list of orders and the list of fills."""

from dataclasses import dataclass
from fractions import Fraction

from tests.naive_follow import NaiveFollow
from tests.naive_orders import NaiveFill, NaiveMarket, NaiveOrder, NaiveTerms

RISK = "Rejected at RMS - "
WARNING = Fraction(80, 100)
NO_LIMITS = NaiveTerms(0)


@dataclass
class NaivePosition:
    """From one account's fills in one contract; money in micro-dollars."""

    net: int = 0
    cost: Fraction = Fraction(0)
    """What the open contracts cost, negative for a short position, at the average price."""
    realized: Fraction = Fraction(0)
    commission: int = 0

    def book(self, fill: NaiveFill) -> None:
        market = fill.order.market
        self.commission += fill.quantity * market.commission_micros
        value = fill.price * market.tick_micros
        sign = 1 if fill.signed > 0 else -1
        closing = sign * min(fill.quantity, abs(self.net)) if self.net * sign < 0 else 0
        if closing:
            average = self.cost / self.net
            self.realized -= closing * (value - average)
            self.cost += closing * average
        self.cost += (fill.signed - closing) * value
        self.net += fill.signed


class NaiveRisk(NaiveFollow):
    """What accounts may do, and what they have."""

    def __init__(
        self, self_match: str, markets: list[NaiveMarket], terms: dict[str, NaiveTerms], first_id: int
    ) -> None:
        super().__init__(self_match, markets, first_id)
        self.terms = terms
        self.warnings: list[int | str] = []
        """The orders with which accounts were warned."""
        self._warned: set[str] = set()

    # Money.

    def position(self, account: str, market: NaiveMarket, before: int | None = None) -> NaivePosition:
        """From the fills (before a second)."""
        position = NaivePosition()
        for fill in self.fills:
            is_mine = fill.order.account == account and fill.order.market is market
            if is_mine and (before is None or fill.now < before):
                position.book(fill)
        return position

    def balance(self, account: str, before: int | None = None) -> Fraction:
        positions = [self.position(account, market, before) for market in self.markets]
        return self.terms[account].start_micros + sum((p.realized - p.commission for p in positions), Fraction(0))

    def open_profit(self, account: str) -> Fraction:
        found = Fraction(0)
        for market in self.markets:
            position = self.position(account, market)
            found += position.net * (market.last or 0) * market.tick_micros - position.cost
        return found

    def equity(self, account: str) -> Fraction:
        return self.balance(account) + self.open_profit(account)

    # What working orders may become.

    def working(self, account: str, market: NaiveMarket, is_buy: bool) -> int:
        """Contracts that the account's working orders may still trade."""
        mine = [o for o in self.orders if o.is_working and (o.account, o.market, o.is_buy) == (account, market, is_buy)]
        total = sum(o.leaves for o in mine if not o.group and o.entry is None)
        for group in {id(o.group): o.group for o in mine if o.group}.values():
            total += max(o.leaves for o in group if o in mine)
        for entry in {id(o.entry): o.entry for o in mine if o.entry}.values():
            exits = sum(o.leaves for o in mine if o.entry is entry)
            total += min(exits, entry.filled - (entry.bracket.closed() if entry.bracket else 0))
        return total

    def margin(self, account: str) -> tuple[int, int]:
        """Of the positions, and what the worst case needs beyond it."""
        used = reserved = 0
        for market in self.markets:
            net = self.position(account, market).net
            all_bought = abs(net + self.working(account, market, True))
            all_sold = abs(net - self.working(account, market, False))
            used += abs(net) * market.margin_micros
            reserved += (max(abs(net), all_bought, all_sold) - abs(net)) * market.margin_micros
        return used, reserved

    # The checks.

    def refusal(self, order: NaiveOrder, quantity: int | None = None, midnight: int = 0) -> str:
        """Why a new order is not let in, or a working one may not have another quantity; empty: it may."""
        terms = self.terms.get(order.account, NO_LIMITS)
        names = {order.market.symbol, order.market.symbol[:2]}
        if quantity is None and terms.products and not names & set(terms.products):
            return "Product code not permissioned"
        asked = order.requested if quantity is None else quantity
        if any(most and asked > most for most in (order.market.max_quantity, terms.max_quantity)):
            return "Maximum order quantity exceeded"
        if order.entry is not None or (quantity is not None and quantity <= order.quantity):
            return ""
        net = self.position(order.account, order.market).net
        working_before = self.working(order.account, order.market, order.is_buy)
        margin_before = sum(self.margin(order.account))
        was = order.is_accepted, order.quantity
        order.is_accepted, order.quantity = True, order.quantity if quantity is None else quantity
        text = self._money(order, terms, net, working_before, margin_before, midnight)
        order.is_accepted, order.quantity = was
        return text

    def _money(
        self, order: NaiveOrder, terms: NaiveTerms, net: int, working_before: int, margin_before: int, midnight: int
    ) -> str:
        """With the order among the working ones."""
        account = order.account
        more = self.working(account, order.market, order.is_buy) - working_before
        against = -net if order.is_buy else net
        if more <= max(0, against - working_before):
            return ""
        held = {market.symbol: self.position(account, market).net for market in self.markets}
        long = sum(max(0, held[m.symbol] + self.working(account, m, True)) for m in self.markets)
        short = sum(max(0, self.working(account, m, False) - held[m.symbol]) for m in self.markets)
        if order.is_buy and terms.buy_limit and long > terms.buy_limit:
            return "Buy limit exceeded"
        if not order.is_buy and terms.sell_limit and short > terms.sell_limit:
            return "Sell limit exceeded"
        equity = self.equity(account)
        lost = self.balance(account, midnight) - equity
        if terms.loss_limit_micros and lost >= terms.loss_limit_micros:
            return "Loss limit reached"
        if terms.min_balance_micros and equity < terms.min_balance_micros:
            return "Account balance is below the minimum"
        needed = sum(self.margin(account))
        return "Available margin exhausted" if margin_before < needed > equity else ""

    def look_at_margin(self, order: NaiveOrder, *, may_warn: bool) -> None:
        """A warning is given when the account comes above its share, and again only after it was below."""
        account = order.account
        if account not in self.terms:
            return
        is_above = sum(self.margin(account)) > self.equity(account) * WARNING
        if not is_above or not any(market.margin_micros for market in self.markets):
            self._warned.discard(account)
        elif may_warn and account not in self._warned:
            self._warned.add(account)
            self.warnings.append(order.identity)
