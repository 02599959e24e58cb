"""The risk system: what an account may do with its money, its limits and its permissions. Money in micro-dollars.

Working orders count with their worst case: per contract, the position if every working buy is filled or the position
if every working sell is. Of OCO legs on one side the largest counts, of a bracket's exits what their entry still holds.
Orders that can only make a position smaller pass every limit on money and position.
"""

import re
from collections.abc import Callable, Iterable

from nightdesk.messages.enums import Side
from nightdesk.simulator.model import AccountTerms, NewOrder
from nightdesk.simulator.venue.client_order import ClientOrder
from nightdesk.simulator.venue.ledger import Ledger, micros
from nightdesk.simulator.venue.market import Market
from nightdesk.simulator.venue.order_table import OrderTable

WARNING_PERCENT = 80
"""A margin warning is given when this share of an account's money is used or reserved."""

TEXT_MARGIN = "Available margin exhausted"
TEXT_PRODUCT = "Product code not permissioned"
TEXT_QUANTITY = "Maximum order quantity exceeded"
TEXT_BUY_LIMIT = "Buy limit exceeded"
TEXT_SELL_LIMIT = "Sell limit exceeded"
TEXT_LOSS = "Loss limit reached"
TEXT_BALANCE = "Account balance is below the minimum"

_MONTH_CODE = re.compile(r"[FGHJKMNQUVXZ]\d{1,2}$")


def product_code(symbol: str) -> str:
    """The product of a contract: ES of ESZ6."""
    return _MONTH_CODE.sub("", symbol)


class _Working:
    """An account's working quantities in one contract, with its position."""

    __slots__ = ("buys", "net", "sells")

    def __init__(self, net: int) -> None:
        self.net = net
        self.buys = 0
        self.sells = 0

    def add(self, is_buy: bool, quantity: int) -> None:
        if is_buy:
            self.buys += quantity
        else:
            self.sells += quantity

    @property
    def worst(self) -> int:
        return max(abs(self.net + self.buys), abs(self.net - self.sells), abs(self.net))


class Risk:
    """The checks of the risk system."""

    def __init__(
        self,
        terms: dict[str, AccountTerms],
        markets: dict[str, Market],
        ledger: Ledger,
        table: OrderTable,
        exposed: Callable[[str], int | None],
    ) -> None:
        """``exposed`` says of a bracket's entry what no exit has closed yet; None: there is no such bracket."""
        self._exposed = exposed
        self._terms = terms
        self._markets = markets
        self._ledger = ledger
        self._table = table
        self._warned: set[str] = set()

    def refusal(self, order: NewOrder, leaves: int, now_ns: int, linked_ids: tuple[str, ...] = ()) -> str:
        """Why the account may not send this order, a leg of ``linked_ids``; empty: it may.

        ``leaves`` is what is left of its quantity: an earlier leg may have been filled already.
        """
        terms = self._terms.get(order.account_id)
        market = self._markets[order.symbol]
        if terms is not None and terms.products and not {product_code(order.symbol), order.symbol} & {*terms.products}:
            return TEXT_PRODUCT
        for most in (market.product.max_order_quantity, terms.max_order_quantity if terms else 0):
            if most and order.quantity > most:
                return TEXT_QUANTITY
        more = max(0, leaves - self._largest_leg(order, linked_ids))
        return self._money(order.account_id, order.symbol, order.side, more, now_ns)

    def modify_refusal(self, working: ClientOrder, quantity: int, now_ns: int) -> str:
        """Why a working order may not have another quantity; empty: it may."""
        order = working.terms
        terms = self._terms.get(order.account_id)
        market = self._markets[order.symbol]
        for most in (market.product.max_order_quantity, terms.max_order_quantity if terms else 0):
            if most and quantity > most:
                return TEXT_QUANTITY
        if working.entry_id or quantity <= working.quantity:
            # A bracket's exit never closes more than its entry opened.
            return ""
        counted = max(working.quantity - working.filled, self._largest_leg(order, working.linked_ids, working))
        more = max(0, quantity - working.filled - counted)
        return self._money(order.account_id, order.symbol, order.side, more, now_ns)

    def margin(self, account_id: str) -> tuple[int, int]:
        """The margin of the open positions and what working orders reserve beyond it."""
        return self._margin(self._working(account_id))

    def equity_micros(self, account_id: str) -> int:
        """Balance and open profit."""
        positions = self._ledger.positions(account_id)
        unrealized = sum(p.unrealized_micros(self._markets[symbol].mark_ticks) for symbol, p in positions.items())
        return self._ledger.balance_micros(account_id) + unrealized

    def look(self, account_id: str) -> str:
        """The text of a margin warning when the account is over its share, and forget the last one when it is not."""
        if not any(market.scale.margin_micros for market in self._markets.values()):
            return ""
        used, reserved = self.margin(account_id)
        equity = self.equity_micros(account_id)
        if (used + reserved) * 100 <= equity * WARNING_PERCENT:
            self._warned.discard(account_id)
            return ""
        share = (used + reserved) * 100 // equity if equity > 0 else 100
        return f"Margin warning - {share} % of the account's money is used or reserved"

    def warning(self, account_id: str) -> str:
        """The text of a margin warning when the account has just come over its share; empty otherwise."""
        text = self.look(account_id)
        if not text or account_id in self._warned:
            return ""
        self._warned.add(account_id)
        return text

    def _money(self, account_id: str, symbol: str, side: Side, quantity: int, now_ns: int) -> str:
        terms = self._terms.get(account_id)
        has_margin = any(market.scale.margin_micros for market in self._markets.values())
        is_limited = terms is not None and bool(
            terms.buy_limit or terms.sell_limit or terms.loss_limit or terms.min_account_balance
        )
        if not has_margin and not is_limited:
            return ""
        working = self._working(account_id)
        before = sum(self._margin(working))
        mine = working.setdefault(symbol, _Working(0))
        is_buy = side is Side.BUY
        closes = max(0, -mine.net - mine.buys if is_buy else mine.net - mine.sells)
        mine.add(is_buy, quantity)
        if quantity <= closes:
            return ""
        if terms is not None:
            text = self._limits(terms, working, is_buy, now_ns)
            if text:
                return text
        needed = sum(self._margin(working))
        return TEXT_MARGIN if needed > before and needed > self.equity_micros(account_id) else ""

    def _limits(self, terms: AccountTerms, working: dict[str, _Working], is_buy: bool, now_ns: int) -> str:
        long = sum(max(0, each.net + each.buys) for each in working.values())
        short = sum(max(0, each.sells - each.net) for each in working.values())
        if is_buy and terms.buy_limit and long > terms.buy_limit:
            return TEXT_BUY_LIMIT
        if not is_buy and terms.sell_limit and short > terms.sell_limit:
            return TEXT_SELL_LIMIT
        if terms.loss_limit or terms.min_account_balance:
            equity = self.equity_micros(terms.account_id)
            self._ledger.roll(now_ns)
            lost = self._ledger.day_start_micros(terms.account_id) - equity
            if terms.loss_limit and lost >= micros(terms.loss_limit):
                return TEXT_LOSS
            if terms.min_account_balance and equity < micros(terms.min_account_balance):
                return TEXT_BALANCE
        return ""

    def _largest_leg(self, order: NewOrder, linked_ids: tuple[str, ...], besides: ClientOrder | None = None) -> int:
        """What the largest working leg of a group asks for on the order's side; the others do not count."""
        if not linked_ids:
            return 0
        legs = [leg for leg in self._open(order.account_id) if leg.linked_ids == linked_ids and leg is not besides]
        same = [leg for leg in legs if (leg.terms.symbol, leg.terms.side) == (order.symbol, order.side)]
        return max((leg.quantity - leg.filled for leg in same), default=0)

    def _open(self, account_id: str) -> Iterable[ClientOrder]:
        return self._table.open_of_account.get(account_id, {}).values()

    def _working(self, account_id: str) -> dict[str, _Working]:
        positions = self._ledger.positions(account_id)
        working = {symbol: _Working(position.net) for symbol, position in positions.items()}
        largest: dict[tuple[str, bool, tuple[str, ...]], int] = {}
        exits: dict[str, list[ClientOrder]] = {}
        for order in self._open(account_id):
            symbol = order.terms.symbol
            leaves = order.quantity - order.filled
            working.setdefault(symbol, _Working(0))
            if order.entry_id:
                exits.setdefault(order.entry_id, []).append(order)
                continue
            if order.linked_ids:
                # What one leg fills the others lose: only what is more than another's is added.
                key = (symbol, order.is_buy, order.linked_ids)
                known = largest.get(key, 0)
                largest[key] = max(leaves, known)
                leaves = largest[key] - known
            working[symbol].add(order.is_buy, leaves)
        for entry_id, legs in exits.items():
            leaves = sum(leg.quantity - leg.filled for leg in legs)
            exposed = self._exposed(entry_id)
            if exposed is not None:
                leaves = min(leaves, max(exposed, 0))
            working[legs[0].terms.symbol].add(legs[0].is_buy, leaves)
        return working

    def _margin(self, working: dict[str, _Working]) -> tuple[int, int]:
        used = reserved = 0
        for symbol, each in working.items():
            margin = self._markets[symbol].scale.margin_micros
            used += abs(each.net) * margin
            reserved += (each.worst - abs(each.net)) * margin
        return used, reserved
