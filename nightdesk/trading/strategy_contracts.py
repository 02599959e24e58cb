"""A strategy's aliases: which contract each means, and their rolls as a source of its agenda. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from nightdesk.trading.agenda import NEVER_NS
from nightdesk.trading.host_api import InstrumentTerms


class RollInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An alias means another contract from the opening of ``trade_date`` (YYYYMMDD) on."""

    alias: str
    old_symbol: str
    new_symbol: str
    trade_date: int


class ContractLeg(NamedTuple):
    """A time during which an alias means a contract: from ``from_ns`` on, the opening of ``trade_date``."""

    terms: InstrumentTerms
    from_ns: int
    trade_date: int


class AliasLegs(NamedTuple):
    """The legs of an alias, oldest first; ``in_force`` is the index of the present one."""

    legs: tuple[ContractLeg, ...]
    in_force: int


class StrategyContracts:
    """The contracts that a strategy's aliases mean, and which they will mean next."""

    def __init__(self, aliases: Mapping[str, AliasLegs], on_roll: Callable[[RollInfo], None]) -> None:
        self._on_roll = on_roll
        self._present = {alias: each.legs[each.in_force] for alias, each in aliases.items()}
        self._coming: dict[str, list[ContractLeg]] = {}
        self._owners: dict[str, str] = {}
        self.grace_ns = 0
        for alias, each in aliases.items():
            self.expect(alias, each.legs)

    def contract(self, symbol: str) -> str:
        """The contract that a symbol means now; a contract means itself."""
        leg = self._present.get(symbol)
        return symbol if leg is None else leg.terms.symbol

    def configured(self, symbol: str) -> str:
        """The alias that means, has meant or will mean a contract; any other symbol is configured itself."""
        return self._owners.get(symbol, symbol)

    def starts_ns(self, symbol: str) -> int:
        """From when on a contract is meant by its alias; 0 for one that is or was."""
        legs = self._coming.get(self.configured(symbol), ())
        return next((leg.from_ns for leg in legs if leg.terms.symbol == symbol), 0)

    def expect(self, alias: str, legs: Sequence[ContractLeg]) -> None:
        """What comes after the present contract, as it is known now."""
        present = self._present[alias]
        self._owners.update(dict.fromkeys((leg.terms.symbol for leg in legs), alias))
        self._coming[alias] = [leg for leg in legs if leg.from_ns > present.from_ns]

    @property
    def due_ns(self) -> int:
        """When the next roll takes effect."""
        return min((legs[0].from_ns for legs in self._coming.values() if legs), default=NEVER_NS)

    def fire(self, to_ns: int, *, together: bool) -> None:
        """Let the alias that rolls first mean the next contract, and say so."""
        alias = min(
            (each for each, legs in self._coming.items() if legs), key=lambda each: self._coming[each][0].from_ns
        )
        old, new = self._present[alias], self._coming[alias].pop(0)
        self._present[alias] = new
        self._on_roll(
            RollInfo(alias=alias, old_symbol=old.terms.symbol, new_symbol=new.terms.symbol, trade_date=new.trade_date)
        )


def contracts_in(aliases: Mapping[str, AliasLegs]) -> list[InstrumentTerms]:
    """Every contract of some aliases."""
    return [leg.terms for each in aliases.values() for leg in each.legs]
