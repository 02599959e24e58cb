"""What the order plant knows of contracts: which may be traded now, when they end, and which rolls are due."""

from typing import Final, NamedTuple

from actors.contracts import Contracts
from actors.plants.market_herald import utc_text
from actors.plants.order_market import Markets
from nightdesk.clocks import MarketTime
from nightdesk.messages import StrategyId
from nightdesk.settings.contracts import expiry_for
from nightdesk.settings.market_time import calendar_for
from nightdesk.settings.models import Instrument, Roll
from nightdesk.trading.contracts import parse_contract
from nightdesk.trading.rolls import Leg, last_close_ns
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


class ContractBook:
    """One per account; the markets learn the contracts of aliases here."""

    def __init__(self, contracts: Contracts, markets: Markets, market_time: MarketTime) -> None:
        self._contracts = contracts
        self._markets = markets
        self._time = market_time
        self._ends: dict[str, int | None] = {}
        self._settings = contracts.settings
        markets.last_trade_ns = self.last_trade_ns

    @property
    def aliases(self) -> list[str]:
        """All aliases."""
        return list(self._contracts.aliases)

    def refresh(self) -> bool:
        """Read the table of instruments anew; whether anything may have changed."""
        return self._contracts.refresh()

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
        """When trading in a contract ends; None where no rule says so, and in a market that never closes."""
        if symbol not in self._ends:
            self._ends[symbol] = self._last_trade_ns(symbol)
        return self._ends[symbol]

    def mismatch(self, symbol: str) -> str:
        """How the gateway contradicts the configured terms of a contract; empty where it does not."""
        facts = self._contracts.facts(symbol)
        return "" if facts is None else facts.problem

    def left(self, symbol: str) -> str:
        """Why no position may be opened in a contract of an alias now; empty for every other one."""
        alias = self._contracts.configured(symbol)
        if alias is None or alias == symbol:
            return ""
        place = self._contracts.index(alias, symbol)
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

    def due(self, alias: str) -> list[DueRoll]:
        """The rolls of an alias whose positions are to be moved: the coming one in its time, and the last one."""
        policy = self._contracts.aliases[alias].roll
        if policy is None or not self._time.is_known:
            return []
        last, coming = self._contracts.last_roll(alias), self._contracts.next_roll(alias)
        found = [] if last is None else [DueRoll(alias, policy, *last)]
        lead_ns = round(max(policy.before_close_s, LEAD_S * self._time.speed) * NS_PER_S)
        if coming is not None and self._time.now_ns() >= self._closes_ns(alias, coming[1]) - lead_ns:
            found.append(DueRoll(alias, policy, *coming))
        return found

    def strategies(self, alias: str) -> list[StrategyId]:
        """Who trades an alias."""
        return [StrategyId(each.name) for each in self._settings.strategies if alias in each.symbols]

    def _closes_ns(self, alias: str, new: Leg) -> int:
        return last_close_ns(calendar_for(alias, self._settings), new.from_ns)

    def _last_trade_ns(self, symbol: str) -> int | None:
        if not self._time.is_known or parse_contract(symbol, 2000) is None:
            return None
        configured = self._contracts.configured(symbol)
        if configured is None or calendar_for(configured, self._settings).never_closes:
            return None
        year = int(utc_text(self._time.now_ns())[:4])
        expiry = expiry_for(symbol, self._settings, year)
        return None if expiry is None else expiry.ends_ns
