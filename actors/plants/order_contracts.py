"""What the order plant knows of contracts: which may be traded now, when they end, and which rolls are due."""

from collections.abc import Callable
from typing import Final, NamedTuple

from actors.contracts import Contracts, Ends
from actors.plants.market_herald import utc_text
from actors.plants.order_market import Markets
from nightdesk.calendars.load import product_of
from nightdesk.clocks import MarketTime
from nightdesk.messages import StrategyId
from nightdesk.settings.market_time import calendar_for
from nightdesk.settings.models import Instrument, Roll
from nightdesk.trading.rolls import Leg, alias_of, is_alias, last_close_ns
from nightdesk.trading.sessions import NS_PER_S

LEAD_S: Final = 2.0
"""What moving a position is given at least, in seconds of this machine, before the last close."""

LEGS_KEPT: Final = 2
"""Contracts before and after the one in force that are known by their terms."""


class DueRoll(NamedTuple):
    """An alias leaves a contract: its positions are to be moved now."""

    alias: str
    policy: Roll
    old: Leg
    new: Leg

    @property
    def moves(self) -> bool:
        """Whether the former contract is to be empty afterwards."""
        return self.policy.position != "keep"


Bar = Callable[[StrategyId, str, str], str]
"""Why a strategy may open nothing in a contract of an alias because of its own roll; empty for nothing."""


class ContractBook:
    """One per account; the markets learn the contracts of aliases here."""

    def __init__(self, contracts: Contracts, markets: Markets, market_time: MarketTime) -> None:
        self._contracts = contracts
        self._markets = markets
        self._time = market_time
        self._ends: dict[str, Ends] = {}
        self._settings = contracts.settings
        self._symbols = {StrategyId(each.name): each.symbols for each in contracts.settings.strategies}
        self.bar: Bar = lambda strategy_id, alias, symbol: ""
        """Set by whoever moves positions."""
        markets.last_trade_ns = self.last_trade_ns

    @property
    def aliases(self) -> list[str]:
        """All aliases."""
        return list(self._contracts.aliases)

    def refresh(self) -> bool:
        """Read the table of instruments anew; whether anything may have changed."""
        changed = self._contracts.refresh()
        if changed:
            self._ends.clear()
        return changed

    def listed(self) -> list[Instrument]:
        """The contracts that can be traded now, could be before or will be."""
        return self._contracts.listed(behind=LEGS_KEPT, ahead=LEGS_KEPT)

    def in_force(self) -> list[Instrument]:
        """The contracts that are configured, or meant by an alias now."""
        return self._contracts.listed()

    def instrument(self, symbol: str) -> Instrument | None:
        """The terms of a contract."""
        return self._contracts.instrument(symbol)

    def last_trade_ns(self, symbol: str) -> int | None:
        """When trading in a contract ends; None where nobody says so, and in a market that never closes."""
        return self._ends_of(symbol).last_ns

    def mismatch(self, symbol: str) -> str:
        """How the gateway contradicts the configured terms of a contract; empty where it does not."""
        facts = self._contracts.facts(symbol)
        return "" if facts is None else facts.problem

    def alias_of(self, symbol: str) -> str | None:
        """The alias that may mean a contract, whether or not the contract is configured by itself, too."""
        alias = alias_of(product_of(symbol))
        return alias if alias in self._contracts.aliases and not is_alias(symbol) else None

    def place(self, alias: str, symbol: str) -> int:
        """Where a contract stands in the chain of an alias, counted from the one in force."""
        return self._contracts.index(alias, symbol)

    def left(self, symbol: str, strategy_id: StrategyId) -> str:
        """Why a strategy opens no position in a contract of an alias now; empty where nothing stands against it.

        A contract that the strategy trades by its own name is no contract of an alias for it.
        """
        ends_ns = self._ends_of(symbol).openings_ns
        if ends_ns is not None and ends_ns <= self._time.now_ns():
            return f"{symbol} ended {utc_text(ends_ns)}, by its product's rule or by the exchange's word"
        alias = self.alias_of(symbol)
        if alias is None or symbol in self._symbols.get(strategy_id, ()):
            return ""
        bar = self.bar(strategy_id, alias, symbol)
        if bar:
            return bar
        place = self.place(alias, symbol)
        if place < 0:
            return f"{alias} is {self._contracts.front(alias)} now"
        coming = self._contracts.next_roll(alias)
        if place == 0:
            leaving = [due.new for due in self.due(alias) if due.old.symbol == symbol and due.moves]
            if not leaving:
                return ""
            return f"{alias} leaves {symbol}; it is {leaving[0].symbol} from {utc_text(leaving[0].from_ns)} on"
        if (
            coming is not None
            and symbol == coming[1].symbol
            and self._time.now_ns() >= self._closes_ns(alias, coming[1])
        ):
            return ""
        return f"{alias} is not {symbol} yet"

    def last_due(self, alias: str) -> DueRoll | None:
        """The roll by which an alias came to what it means now, whenever that was."""
        policy, last = self._contracts.aliases[alias].roll, self._contracts.last_roll(alias)
        return None if policy is None or last is None else DueRoll(alias, policy, *last)

    def policy(self, alias: str) -> Roll | None:
        """What becomes of positions when an alias rolls."""
        return self._contracts.aliases[alias].roll

    def lead_s(self, alias: str) -> float:
        """How long before the last close positions begin to move, in market time."""
        item = self._contracts.aliases.get(alias)
        before_s = item.roll.before_close_s if item is not None and item.roll is not None else 0.0
        return max(before_s, LEAD_S * self._time.speed)

    def due(self, alias: str) -> list[DueRoll]:
        """The rolls of an alias whose positions are to be moved: the coming one in its time, and the last one."""
        policy = self._contracts.aliases[alias].roll
        if policy is None or not self._time.is_known:
            return []
        last, coming = self.last_due(alias), self._contracts.next_roll(alias)
        found = [] if last is None else [last]
        lead_ns = round(self.lead_s(alias) * NS_PER_S)
        if coming is not None and self._time.now_ns() >= self._closes_ns(alias, coming[1]) - lead_ns:
            found.append(DueRoll(alias, policy, *coming))
        return found

    def strategies(self, alias: str) -> list[StrategyId]:
        """Who trades an alias; nobody where it is not configured any more."""
        return [StrategyId(each.name) for each in self._settings.strategies if alias in each.symbols]

    def _closes_ns(self, alias: str, new: Leg) -> int:
        return last_close_ns(calendar_for(alias, self._settings), new.from_ns)

    def _ends_of(self, symbol: str) -> Ends:
        if symbol in self._ends:
            return self._ends[symbol]
        ends = self._contracts.ends(symbol)
        if self._time.is_known:
            self._ends[symbol] = ends
        return ends
