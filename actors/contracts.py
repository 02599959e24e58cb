"""What the aliases of a configuration mean, as one actor sees it; all actors see the same at the same market time."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from nightdesk.clocks import MarketTime
from nightdesk.instrument_table import ContractFacts, InstrumentTable, TableFile
from nightdesk.settings.contracts import alias_for, aliases_of, contract_of, legs_for, standing_for
from nightdesk.settings.market_time import calendar_for
from nightdesk.settings.models import Instrument
from nightdesk.settings.runtime import RunConfiguration
from nightdesk.trading.contracts import Expiry, ending_on, expiry_of, parse_contract, trade_date_of
from nightdesk.trading.rolls import DECIDED_REASONS, Leg, around, leg_at
from nightdesk.trading.sessions import NS_PER_S, SessionCalendar

DERIVE_EVERY_NS = 86_400 * NS_PER_S
"""A chain holds the contracts of years; it is made anew long before they are used up."""

_ANY_YEAR: Final = 2000
"""To see whether a symbol names a month at all."""


class Ends(NamedTuple):
    """When a contract ends: by its product's rule and by the exchange's word, each where there is one."""

    by_rule: Expiry | None
    by_exchange: Expiry | None

    @property
    def last_ns(self) -> int | None:
        """From when on nothing of it is traded: the exchange's word counts more than our rule."""
        expiry = self.by_exchange or self.by_rule
        return None if expiry is None else expiry.ends_ns

    @property
    def openings_ns(self) -> int | None:
        """From when on no position is opened in it: the earlier of both."""
        return min((each.ends_ns for each in self if each is not None), default=None)


class Contracts:
    """Reads the table of instruments; what the table does not say is derived from the calendar.

    What a process has once read of an alias it does not forget: no file that is lost or damaged takes an alias back.
    """

    def __init__(self, run: RunConfiguration, market_time: MarketTime) -> None:
        self.settings = run.settings
        self.file = TableFile(run.state_dir)
        self.aliases = {each.symbol: each for each in aliases_of(run.settings)}
        self._market_time = market_time
        self._table = InstrumentTable()
        self.has_read = False
        """Whether there ever was a table."""
        self._legs: dict[str, list[Leg]] = {}
        self._standing: dict[str, dict[str, Leg]] = {alias: {} for alias in self.aliases}
        self._derived_ns: int | None = None
        self._ends: dict[tuple[str, str, int], Ends] = {}
        self.refresh()

    @property
    def table(self) -> InstrumentTable:
        """The table as it was last read."""
        return self._table

    def refresh(self) -> bool:
        """Read the table anew where it is another one; whether anything may have changed. Cheap: call it often."""
        now_ns = self._market_time.now_ns()
        is_new = self.file.changed()
        is_old = self._derived_ns is None or abs(now_ns - self._derived_ns) > DERIVE_EVERY_NS
        if not is_new and not is_old:
            return False
        if is_new:
            found = self.file.read()
            self.has_read = self.has_read or found is not None
            self._table = found or self._table
        self._derived_ns = now_ns
        before, self._legs = self._legs, {}
        for symbol, alias in self.aliases.items():
            self._standing[symbol] |= standing_for(alias, self._table)
            self._legs[symbol] = legs_for(alias, self.settings, now_ns, self._standing[symbol])
        return is_new or self._legs != before

    def legs(self, alias: str, *, behind: int = 0, ahead: int = 0) -> list[Leg]:
        """The leg in force, with so many before and after it. Raises ``KeyError`` for what is no alias."""
        return around(self._legs[alias], self._market_time.now_ns(), behind=behind, ahead=ahead)

    def decided(self, alias: str) -> list[Leg]:
        """The legs of an alias, past and to come, that begin sooner than the dates say because something was seen."""
        return [leg for leg in self._legs[alias] if leg.reason in DECIDED_REASONS]

    def front(self, symbol: str) -> str:
        """The contract that a configured symbol means now."""
        return self.legs(symbol)[0].symbol if symbol in self.aliases else symbol

    def next_roll(self, alias: str) -> tuple[Leg, Leg] | None:
        """The leg in force and the one that follows it."""
        legs = self.legs(alias, ahead=1)
        return (legs[0], legs[1]) if len(legs) > 1 else None

    def last_roll(self, alias: str) -> tuple[Leg, Leg] | None:
        """The leg before the one in force, and that."""
        legs = self.legs(alias, behind=1)
        return (legs[0], legs[-1]) if len(legs) > 1 else None

    def configured(self, symbol: str) -> str | None:
        """By which configured symbol a contract may be traded: itself, or an alias; None: by none."""
        if any(each.symbol == symbol for each in self.settings.instruments):
            return symbol
        alias = alias_for(symbol, self.settings)
        return alias.symbol if alias is not None else None

    def instrument(self, symbol: str) -> Instrument | None:
        """A contract with its terms, whether it is configured or comes of an alias."""
        configured = self.configured(symbol)
        if configured is None or symbol in self.aliases:
            return None
        alias = self.aliases.get(configured)
        if alias is not None:
            return contract_of(alias, symbol)
        return next(each for each in self.settings.instruments if each.symbol == symbol)

    def listed(self, symbols: Iterable[str] | None = None, *, behind: int = 0, ahead: int = 0) -> list[Instrument]:
        """The contracts of configured symbols (all, without any), each once."""
        found: dict[str, Instrument] = {}
        for symbol in symbols if symbols is not None else [each.symbol for each in self.settings.instruments]:
            is_alias = symbol in self.aliases
            legs = self.legs(symbol, behind=behind, ahead=ahead) if is_alias else ()
            for name in [leg.symbol for leg in legs] if is_alias else [symbol]:
                instrument = self.instrument(name)
                if instrument is not None:
                    found.setdefault(name, instrument)
        return list(found.values())

    def facts(self, symbol: str) -> ContractFacts | None:
        """What the gateway says of a contract."""
        return self._table.contracts.get(symbol)

    def ends(self, symbol: str, facts: ContractFacts | None = None) -> Ends:
        """When a contract ends, with the gateway's word as the table has it, or as it is given.

        Nothing is said before market time is known, of symbols without a month, of what is not configured, and in a
        market that never closes.
        """
        configured = self.configured(symbol)
        if configured is None or not self._market_time.is_known or parse_contract(symbol, _ANY_YEAR) is None:
            return Ends(None, None)
        facts = self.facts(symbol) if facts is None else facts
        said = facts.expiration_date if facts is not None else ""
        year = datetime.fromtimestamp(self._market_time.now_ns() // NS_PER_S, UTC).year
        key = (symbol, said, year)
        if key not in self._ends:
            self._ends[key] = _ends(symbol, said, year, calendar_for(configured, self.settings))
        return self._ends[key]

    def index(self, alias: str, symbol: str) -> int:
        """Where a contract stands in the chain of an alias, counted from the one in force; far behind: not at all."""
        legs = self._legs[alias]
        now = leg_at(legs, self._market_time.now_ns())
        return next((place - now for place, leg in enumerate(legs) if leg.symbol == symbol), -len(legs))

    def lost_since(self, newest_order_ns: int | None) -> str:
        """What became of the table since an order was sent, at that market time; empty where it has outlived it.

        For the order plant, whose journal is elsewhere: both files may be gone, or made anew from nothing since then.
        None: there is no order.
        """
        if newest_order_ns is None or not any(each.roll and each.roll.rule != "date" for each in self.aliases.values()):
            return ""
        if self.file.is_missing or newest_order_ns < self._table.begun_ns:
            return f"{self.file.path.name} and {self.file.copy.name} were lost although orders were sent before"
        return ""


def _ends(symbol: str, said: str, year: int, calendar: SessionCalendar) -> Ends:
    if calendar.never_closes:
        return Ends(None, None)
    trade_date = trade_date_of(said)
    by_exchange = None if trade_date is None else ending_on(symbol, trade_date, year, calendar)
    return Ends(expiry_of(symbol, year, calendar), by_exchange)
