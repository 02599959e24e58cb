"""What could come to be at worst, counted order by order from a naive exchange and from what is on its way to it.

Nothing of the gate's has a part in it: no order of the table, no exposure, no ledger.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.stateful_exchange import BUY, Exchange, VenueOrder
from tests.stateful_plant import NAMES

EXTERNAL = "external"


class Worst(NamedTuple):
    """What could come to be, by what limits it."""

    account: dict[str, int]
    """Contracts by symbol, all owners together."""
    one: dict[str, int]
    contracts: int
    """In tenths."""
    contracts_one: int
    bought: int
    """Net, over all symbols, as the broker counts."""
    sold: int
    open_orders: int
    open_orders_one: int


def may_fill(order: VenueOrder, inbox: list[tuple[int, dict[str, Any]]]) -> int:
    """What works of an order, or will when the changes on their way to it are made."""
    asked = [
        fields["quantity"]
        for template_id, fields in inbox
        if template_id == 314 and fields["basket_id"] == order.basket
    ]
    return 0 if order.end else max([order.quantity, *asked]) - order.filled


class Stake(NamedTuple):
    """Of one owner in one symbol: what is held, and what may still be bought and sold."""

    held: int
    buy: int
    sell: int

    @property
    def farthest(self) -> int:
        return max(self.held + self.buy, self.sell - self.held)


class NaiveCount:
    """``owners`` has the strategy of each order by its tag; ``weights`` a contract's, in tenths, by symbol."""

    def __init__(self, exchange: Exchange, owners: Mapping[str, str], weights: Mapping[str, int]) -> None:
        self._exchange = exchange
        self._owners = owners
        self._weights = weights

    def owner_of(self, order: VenueOrder) -> str:
        return EXTERNAL if order.is_foreign else self._owners[(order.entry or order).tag]

    def at_stake(self, owner: str, symbol: str) -> Stake:
        """Of linked orders one fills, so that the largest of each side counts; what is in the inbox may be taken."""
        exchange = self._exchange
        orders = [each for each in exchange.orders.values() if each.symbol == symbol and self.owner_of(each) == owner]
        held = sum(each.signed for each in orders)
        most = {True: 0, False: 0}
        for order in orders:
            is_buy = order.side == BUY
            if not order.legs:
                most[is_buy] += may_fill(order, exchange.inbox)
            elif order is order.legs[0]:
                for side in (True, False):
                    legs = [may_fill(leg, exchange.inbox) for leg in order.legs if (leg.side == BUY) is side]
                    most[side] += max(legs, default=0)
        for pair in new_orders(exchange):
            if pair[0]["symbol"] == symbol and self._is_of(pair, owner):
                for side in (True, False):
                    mine = [leg["quantity"] for leg in pair if (leg["transaction_type"] == BUY) is side]
                    most[side] += max(mine, default=0)
        return Stake(held, most[True], most[False])

    def open_orders(self, owner: str) -> int:
        """At work or on their way, and the exits that a bracket may still bring."""
        count = sum(
            len(legs) + bracket_exits(legs[0]) for legs in new_orders(self._exchange) if self._is_of(legs, owner)
        )
        for order in self._exchange.orders.values():
            if not order.end and self.owner_of(order) == owner:
                has_exits = any(each.entry is order for each in self._exchange.orders.values())
                count += 1 + (0 if has_exits else bool(order.stop_ticks) + bool(order.target_ticks))
        return count

    def _is_of(self, legs: list[dict[str, Any]], owner: str) -> bool:
        return self._owners[legs[0]["user_tag"]] == owner

    def worst(self) -> Worst:
        owners, symbols = (*NAMES, EXTERNAL), self._weights
        stakes = {(owner, symbol): self.at_stake(owner, symbol) for owner in owners for symbol in symbols}
        account = {symbol: sum(stakes[owner, symbol].farthest for owner in owners) for symbol in symbols}
        one = {symbol: stakes["one", symbol].farthest for symbol in symbols}
        net = {
            symbol: [sum(column) for column in zip(*(stakes[owner, symbol] for owner in owners), strict=True)]
            for symbol in symbols
        }
        return Worst(
            account=account,
            one=one,
            contracts=sum(account[symbol] * self._weights[symbol] for symbol in self._weights),
            contracts_one=sum(one[symbol] * self._weights[symbol] for symbol in self._weights),
            bought=sum(max(0, held + buy) for held, buy, _ in net.values()),
            sold=sum(max(0, sell - held) for held, _, sell in net.values()),
            open_orders=sum(self.open_orders(owner) for owner in NAMES),
            open_orders_one=self.open_orders("one"),
        )


def new_orders(exchange: Exchange) -> list[list[dict[str, Any]]]:
    """What is in the inbox and not an order yet: one, or the two of a pair."""
    found = []
    for template_id, fields in exchange.inbox:
        if template_id in (312, 330):
            found.append([fields])
        elif template_id == 328:
            columns = ("user_tag", "symbol", "quantity", "transaction_type")
            found.append([{name: fields[name][leg] for name in columns} for leg in range(len(fields["user_tag"]))])
    return found


def bracket_exits(fields: dict[str, Any]) -> int:
    return bool(fields.get("stop_ticks")) + bool(fields.get("target_ticks"))
