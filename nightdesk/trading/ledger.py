"""Positions and money from executions, in exact integers.

Points are kept as *billionths of a point times contracts* and turned into money only for a report, so that no sequence
of fills, however long, loses or invents anything. Closing follows average cost; a fill through zero closes first.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from nightdesk.messages import PositionReport, QuoteTick, Side, StrategyId, TradeTick
from nightdesk.trading.units import MONEY_SCALE, PRICE_SCALE, from_micros, to_micros, to_nanos

ACCOUNT = StrategyId("")
"""The owner under which the account's own net positions are kept."""


class ContractTerms(msgspec.Struct, frozen=True):
    """What the ledger must know of a contract; ``point_value_micros`` is 0 for a contract that nobody configured."""

    symbol: str
    exchange: str
    point_value_micros: int
    commission_micros: int

    @classmethod
    def of(cls, symbol: str, exchange: str, point_value: float, commission: float) -> "ContractTerms":
        """From the configuration's floats."""
        return cls(symbol, exchange, to_micros(point_value), to_micros(commission))


@dataclass(slots=True)
class Position:
    """A net position: long positive, short negative."""

    quantity: int = 0
    open_cost: int = 0
    """The signed cost of what is open: the sum of signed quantity times price (billionths of a point)."""
    realized: int = 0
    """Closed points times contracts, in billionths; ``realized == cash + open_cost`` at every moment."""
    commission_micros: int = 0

    def book(self, side: Side, quantity: int, price_nanos: int, commission_micros: int) -> None:
        """Count one execution."""
        self.commission_micros += commission_micros
        signed = quantity if side is Side.BUY else -quantity
        if self.quantity == 0 or (self.quantity > 0) == (signed > 0):
            self.quantity += signed
            self.open_cost += signed * price_nanos
            return
        held = abs(self.quantity)
        closing = min(quantity, held)
        direction = 1 if self.quantity > 0 else -1
        # Integer division may leave a billionth of a point in the open cost; the last contract closed takes it along.
        closed_cost = self.open_cost * closing // held
        self.realized += direction * closing * price_nanos - closed_cost
        self.open_cost -= closed_cost
        self.quantity -= direction * closing
        rest = quantity - closing
        if rest:
            self.quantity = -direction * rest
            self.open_cost = self.quantity * price_nanos

    def unrealized(self, mark_nanos: int | None) -> int:
        """Open points times contracts at a price; 0 before any price is known."""
        return 0 if mark_nanos is None else self.quantity * mark_nanos - self.open_cost


class Money(NamedTuple):
    """An owner's profit over all symbols, in millionths, rounded down; commissions are taken off what is realized."""

    realized_micros: int
    unrealized_micros: int
    unmarked: tuple[str, ...]
    """Symbols with a position and without a price: what is open there counts as nothing."""


@dataclass(slots=True)
class _Market:
    trade_nanos: int | None = None
    bid_nanos: int | None = None
    ask_nanos: int | None = None

    def mark(self) -> int | None:
        """The last trade, held inside the present quote: an old print must not value a position off the market."""
        price = self.trade_nanos
        if price is None:
            if self.bid_nanos is None or self.ask_nanos is None:
                return self.bid_nanos if self.ask_nanos is None else self.ask_nanos
            return (self.bid_nanos + self.ask_nanos) // 2
        if self.bid_nanos is not None:
            price = max(price, self.bid_nanos)
        if self.ask_nanos is not None:
            price = min(price, self.ask_nanos)
        return price


class Ledger:
    """Positions per (strategy, symbol), and per symbol for the account."""

    def __init__(self, contracts: Iterable[ContractTerms]) -> None:
        self._contracts = {contract.symbol: contract for contract in contracts}
        self._positions: dict[tuple[StrategyId, str], Position] = {}
        self._markets: dict[str, _Market] = {}

    def learn(self, contract: ContractTerms) -> None:
        """A further contract; before its first execution, or its money until then is none."""
        self._contracts[contract.symbol] = contract

    def book(
        self, strategy_id: StrategyId, symbol: str, exchange: str, side: Side, quantity: int, price_nanos: int
    ) -> int:
        """Count one execution for its strategy and for the account; the commission charged, in millionths."""
        commission = self.commission_micros(symbol, quantity)
        self.book_as_charged(strategy_id, symbol, exchange, side, quantity, price_nanos, commission)
        return commission

    def book_as_charged(
        self,
        strategy_id: StrategyId,
        symbol: str,
        exchange: str,
        side: Side,
        quantity: int,
        price_nanos: int,
        commission_micros: int,
    ) -> None:
        """The same with a commission that was settled before (a journal's row keeps what was charged then)."""
        if symbol not in self._contracts:
            # A contract that nobody configured still counts in quantity; its money is unknown, so it is none.
            self._contracts[symbol] = ContractTerms(symbol, exchange, 0, 0)
        for owner in (strategy_id, ACCOUNT):
            position = self._positions.setdefault((owner, symbol), Position())
            position.book(side, quantity, price_nanos, commission_micros)

    def commission_micros(self, symbol: str, quantity: int) -> int:
        """What the broker charges for a fill of so many contracts."""
        contract = self._contracts.get(symbol)
        return 0 if contract is None else contract.commission_micros * quantity

    def on_trade(self, trade: TradeTick) -> None:
        """Note a print on the tape."""
        self._markets.setdefault(trade.symbol, _Market()).trade_nanos = to_nanos(trade.price)

    def on_quote(self, quote: QuoteTick) -> None:
        """Note a best bid and offer; an empty side bounds nothing."""
        market = self._markets.setdefault(quote.symbol, _Market())
        market.bid_nanos = to_nanos(quote.bid_price) if quote.bid_size > 0 else None
        market.ask_nanos = to_nanos(quote.ask_price) if quote.ask_size > 0 else None

    def quantity(self, strategy_id: StrategyId, symbol: str) -> int:
        """The net position; ``ACCOUNT`` for the account's."""
        position = self._positions.get((strategy_id, symbol))
        return 0 if position is None else position.quantity

    def open_cost(self, strategy_id: StrategyId, symbol: str) -> int:
        """What is open has cost: the sum of signed quantity times price, in billionths of a point."""
        position = self._positions.get((strategy_id, symbol))
        return 0 if position is None else position.open_cost

    def money(self, strategy_id: StrategyId) -> Money:
        """What a strategy has made so far, or ``ACCOUNT``."""
        realized = unrealized = 0
        unmarked = []
        for (owner, symbol), position in self._positions.items():
            if owner != strategy_id:
                continue
            point_value = self._contracts[symbol].point_value_micros
            mark = self._markets.get(symbol, _Market()).mark()
            realized += position.realized * point_value // PRICE_SCALE - position.commission_micros
            unrealized += position.unrealized(mark) * point_value // PRICE_SCALE
            if position.quantity and mark is None:
                unmarked.append(symbol)
        return Money(realized, unrealized, tuple(unmarked))

    def contracts(self) -> tuple[ContractTerms, ...]:
        """The terms of every contract that is known."""
        return tuple(self._contracts.values())

    def point_value_micros(self, symbol: str) -> int:
        """What a point of one contract is worth, in millionths; 0 for a contract that nobody configured."""
        contract = self._contracts.get(symbol)
        return 0 if contract is None else contract.point_value_micros

    def owners(self) -> set[StrategyId]:
        """Every strategy that ever had a fill."""
        return {owner for owner, _ in self._positions if owner != ACCOUNT}

    def symbols(self) -> set[str]:
        """Every symbol that was ever filled."""
        return {symbol for _, symbol in self._positions}

    def pairs(self) -> list[tuple[StrategyId, str]]:
        """Every (strategy, symbol) that was ever filled, the account's own left out."""
        return [key for key in self._positions if key[0] != ACCOUNT]

    def report(self, strategy_id: StrategyId, symbol: str) -> PositionReport:
        """A position as others may see it."""
        position = self._positions.get((strategy_id, symbol), Position())
        contract = self._contracts.get(symbol, ContractTerms(symbol, "", 0, 0))
        mark = self._markets.get(symbol, _Market()).mark()
        return PositionReport(
            strategy_id=strategy_id,
            symbol=symbol,
            exchange=contract.exchange,
            quantity=position.quantity,
            average_price=position.open_cost / position.quantity / PRICE_SCALE if position.quantity else 0.0,
            realized_pnl=_money(position.realized, contract),
            unrealized_pnl=_money(position.unrealized(mark), contract),
            commission=from_micros(position.commission_micros),
        )

    def reports(self, strategy_id: StrategyId | None = None) -> tuple[PositionReport, ...]:
        """All positions, or those of one strategy; the account's come first."""
        keys = sorted(key for key in self._positions if strategy_id is None or key[0] == strategy_id)
        return tuple(self.report(*key) for key in keys)


def _money(points: int, contract: ContractTerms) -> float:
    return points * contract.point_value_micros / (PRICE_SCALE * MONEY_SCALE)
