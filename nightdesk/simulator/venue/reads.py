"""What can be asked of the venue; nothing here changes it."""

from collections.abc import Iterable

from nightdesk.messages.enums import Side
from nightdesk.simulator.model import (
    AccountState,
    AccountTerms,
    BracketChanged,
    Execution,
    LevelDepth,
    OrderDepth,
    OrderHappened,
    OrderState,
    PositionState,
    Product,
    Quoted,
    Traded,
)
from nightdesk.simulator.venue.client_order import ClientOrder
from nightdesk.simulator.venue.floor import Floor
from nightdesk.simulator.venue.ledger import Ledger, Position, dollars
from nightdesk.simulator.venue.market import Market
from nightdesk.simulator.venue.order_table import OrderTable
from nightdesk.simulator.venue.refusal import VenueRefusal
from nightdesk.simulator.venue.risk import Risk
from nightdesk.simulator.venue.trade_dates import TradeDates

_SECOND_NS = 1_000_000_000


class VenueReads:
    """The venue's lists and states."""

    _ledger: Ledger
    _markets: dict[str, Market]
    _table: OrderTable
    _floor: Floor
    _risk: Risk
    _terms: dict[str, AccountTerms]
    _starting_balance: float
    dates: TradeDates

    @property
    def next_timer_ns(self) -> int | None:
        """When ``advance`` has something to do next, in market time."""
        return self._floor.timers.next_ns

    def orders(self, account_id: str, date: str | None = None) -> list[OrderState]:
        """All kept orders (of one trade date, YYYYMMDD), finished ones too, oldest first."""
        return [order.picture() for order in self._orders_of(account_id) if date in (None, self._date_of(order))]

    def order_dates(self, account_id: str) -> list[str]:
        """The trade dates (YYYYMMDD) of which orders are kept, oldest first."""
        return sorted({self._date_of(order) for order in self._orders_of(account_id)})

    def order_history(self, account_id: str, basket_id: str) -> list[OrderHappened]:
        """What happened to an order, oldest first; empty for an unknown one."""
        order = self._table.orders.get(basket_id)
        return list(order.history) if order is not None and order.account_id == account_id else []

    def executions(self, account_id: str, start_s: int, finish_s: int) -> list[tuple[OrderState, Execution]]:
        """Fills whose second is in ``[start_s, finish_s]``, oldest first, each with its order's present state."""
        found = [
            (order.picture(), execution)
            for order in self._orders_of(account_id)
            for execution in order.executions
            if start_s <= execution.ts_ns // _SECOND_NS <= finish_s
        ]
        return sorted(found, key=lambda pair: int(pair[1].fill_id))

    def brackets(self, account_id: str) -> list[BracketChanged]:
        """The present state of each kept bracket, oldest first, level by level."""
        brackets = self._floor.brackets.of_account(account_id)
        return [row for each in brackets for row in each.rows(each.entry.ts_last_ns)]

    def positions(self, account_id: str, now_ns: int | None = None, *, also: Iterable[str] = ()) -> list[PositionState]:
        """One per contract that the account ever traded or has working orders in, and of those in ``also``.

        Without ``now_ns`` the day is that of the last fill.
        """
        is_new_day = now_ns is not None and self._ledger.is_new_day(now_ns)
        working: dict[tuple[str, Side], int] = {}
        positions = dict(self._ledger.positions(account_id))
        for order in self._table.open_of_account.get(account_id, {}).values():
            key = (order.terms.symbol, order.terms.side)
            working[key] = working.get(key, 0) + order.quantity - order.filled
            positions.setdefault(order.terms.symbol, Position(order.scale))
        for symbol in also:
            if symbol in self._markets:
                positions.setdefault(symbol, Position(self._markets[symbol].scale))
        states = []
        for symbol, position in positions.items():
            market = self._markets[symbol]
            today = position.turnover.since(position.turnover if is_new_day else position.before)
            states.append(
                PositionState(
                    account_id=account_id,
                    symbol=symbol,
                    exchange=market.product.exchange,
                    net_quantity=position.net,
                    average_price=position.average_price,
                    buy_quantity=position.bought,
                    sell_quantity=position.sold,
                    realized_pnl=dollars(position.realized_micros),
                    unrealized_pnl=dollars(position.unrealized_micros(market.mark_ticks)),
                    commission=dollars(position.commission_micros),
                    working_buy_quantity=working.get((symbol, Side.BUY), 0),
                    working_sell_quantity=working.get((symbol, Side.SELL), 0),
                    day_buy_quantity=today.bought,
                    day_sell_quantity=today.sold,
                    day_realized_pnl=dollars(today.realized_micros),
                    day_commission=dollars(today.commission_micros),
                )
            )
        return states

    def position(self, account_id: str, symbol: str) -> Position:
        """The account's exact position in a listed contract, flat if there was none."""
        return self._ledger.positions(account_id).get(symbol) or Position(self._markets[symbol].scale)

    def account(self, account_id: str, now_ns: int | None = None) -> AccountState:
        """The account's money; the day is that of the last fill without ``now_ns``.

        Raises ``VenueRefusal`` for an unknown account.
        """
        if account_id not in self._ledger.accounts:
            raise VenueRefusal(f"account {account_id} not found")
        positions = self._ledger.positions(account_id)
        balance = self._ledger.balance_micros(account_id)
        used, reserved = self._risk.margin(account_id)
        is_new_day = now_ns is not None and self._ledger.is_new_day(now_ns)
        return AccountState(
            account_id=account_id,
            balance=dollars(balance),
            realized_pnl=dollars(sum(p.realized_micros for p in positions.values())),
            unrealized_pnl=dollars(self._risk.equity_micros(account_id) - balance),
            commission=dollars(sum(p.commission_micros for p in positions.values())),
            margin_used=dollars(used),
            margin_reserved=dollars(reserved),
            day_start_balance=dollars(balance if is_new_day else self._ledger.day_start_micros(account_id)),
        )

    def terms(self, account_id: str) -> AccountTerms:
        """The account's money and limits. Raises ``VenueRefusal`` for an unknown account."""
        if account_id in self._terms:
            return self._terms[account_id]
        if account_id in self._ledger.accounts:
            return AccountTerms(account_id, self._starting_balance)
        raise VenueRefusal(f"account {account_id} not found")

    def quote(self, symbol: str) -> Quoted | None:
        """The last published quote."""
        market = self._markets.get(symbol)
        return market.quote if market else None

    def last_trade(self, symbol: str) -> Traded | None:
        """The last print since the exchange started."""
        market = self._markets.get(symbol)
        return market.trade if market else None

    def mark_price(self, symbol: str) -> float | None:
        """The last known price, from before a restart if nothing has traded since."""
        market = self._markets.get(symbol)
        return market.scale.price(market.mark_ticks) if market and market.mark_ticks is not None else None

    def price_limits(self, symbol: str) -> tuple[float, float] | None:
        """The lowest and highest price that may trade now; None: there are no limits, or no reference price yet."""
        market = self._markets.get(symbol)
        if market is None or market.limits is None:
            return None
        return market.scale.price(market.limits[0]), market.scale.price(market.limits[1])

    def mode(self, symbol: str) -> str:
        """The market's mode, "Open" unless ``set_mode`` changed it."""
        market = self._markets.get(symbol)
        return market.mode if market else "Closed"

    def watch_depth(self, symbol: str, on: bool) -> None:
        """Somebody begins or ends to watch the book (counted); commands report ``BookChanged`` while somebody does."""
        market = self._markets.get(symbol)
        if market is not None:
            market.watch(on)

    def book(self, symbol: str) -> tuple[LevelDepth, ...]:
        """Bids best first, then offers best first; of a market without a book the best quote alone."""
        market = self._markets.get(symbol)
        return market.levels() if market else ()

    def book_orders(self, symbol: str) -> tuple[OrderDepth, ...]:
        """Every resting order, in the order of side, price and priority; empty without a book."""
        market = self._markets.get(symbol)
        return market.resting() if market else ()

    def book_sequence(self, symbol: str) -> int:
        """The sequence number of the last ``BookChanged``."""
        market = self._markets.get(symbol)
        return market.sequence if market else 0

    def has_levels(self, symbol: str) -> bool:
        """Whether the market has a recorded book of levels, without single orders."""
        market = self._markets.get(symbol)
        return market is not None and bool(market.displayed)

    def has_orders(self, symbol: str) -> bool:
        """Whether the market has a book of single orders."""
        market = self._markets.get(symbol)
        return market is not None and market.depth is not None

    def products(self) -> list[Product]:
        """All listed contracts."""
        return [market.product for market in self._markets.values()]

    def accounts(self) -> tuple[str, ...]:
        """All accounts."""
        return self._ledger.accounts

    def market(self, symbol: str) -> Market:
        """The market of a listed contract."""
        return self._markets[symbol]

    def fresh_ledger(self) -> Ledger:
        """A ledger of the configured accounts as they were opened."""
        return Ledger(tuple(self._terms.values()), self._starting_balance, day_of=self.dates.day_of)

    def _date_of(self, order: ClientOrder) -> str:
        return self.dates.date_of(order.terms.symbol, order.ts_created_ns)

    def _orders_of(self, account_id: str) -> list[ClientOrder]:
        return list(self._table.of_account.get(account_id, {}).values())
