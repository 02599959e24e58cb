"""What the aliases of a configuration mean, as one actor sees it; all actors see the same at the same market time."""

from collections.abc import Iterable

from nightdesk.clocks import MarketTime
from nightdesk.instrument_table import ContractFacts, InstrumentTable, TableFile
from nightdesk.settings.contracts import alias_for, aliases_of, contract_of, legs_for
from nightdesk.settings.models import Instrument
from nightdesk.settings.runtime import RunConfiguration
from nightdesk.trading.rolls import Leg, around, leg_at
from nightdesk.trading.sessions import NS_PER_S

DERIVE_EVERY_NS = 86_400 * NS_PER_S
"""A chain holds the contracts of years; it is made anew long before they are used up."""


class Contracts:
    """Reads the table of instruments; what the table does not say is derived from the calendar."""

    def __init__(self, run: RunConfiguration, market_time: MarketTime) -> None:
        self.settings = run.settings
        self.file = TableFile(run.state_dir)
        self.aliases = {each.symbol: each for each in aliases_of(run.settings)}
        self._market_time = market_time
        self._table = InstrumentTable()
        self._legs: dict[str, list[Leg]] = {}
        self._derived_ns: int | None = None
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
            self._table = self.file.read() or InstrumentTable()
        self._derived_ns = now_ns
        before, self._legs = self._legs, {}
        for symbol, alias in self.aliases.items():
            entry = self._table.aliases.get(symbol)
            decided = {leg.symbol: leg for leg in entry.decided} if entry is not None else {}
            self._legs[symbol] = legs_for(alias, self.settings, now_ns, decided)
        return is_new or self._legs != before

    def legs(self, alias: str, *, behind: int = 0, ahead: int = 0) -> list[Leg]:
        """The leg in force, with so many before and after it. Raises ``KeyError`` for what is no alias."""
        return around(self._legs[alias], self._market_time.now_ns(), behind=behind, ahead=ahead)

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

    def index(self, alias: str, symbol: str) -> int:
        """Where a contract stands in the chain of an alias, counted from the one in force; far behind: not at all."""
        legs = self._legs[alias]
        now = leg_at(legs, self._market_time.now_ns())
        return next((place - now for place, leg in enumerate(legs) if leg.symbol == symbol), -len(legs))
