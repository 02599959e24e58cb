"""From the instruments of a configuration to contracts: chains of aliases, and what a configuration cannot mean."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from nightdesk.calendars.load import load_calendar, product_of
from nightdesk.clocks import NS_PER_S
from nightdesk.errors import CalendarError
from nightdesk.instrument_table import InstrumentTable, standing_legs
from nightdesk.settings.instants import START_NOW, START_OPEN, instant_ns
from nightdesk.settings.market_time import calendar_for, calendar_name_for
from nightdesk.settings.models import Instrument, ReplaySource, Settings
from nightdesk.settings.yaml_source import KeyPath
from nightdesk.trading.contracts import Expiry, expiry_of, parse_contract
from nightdesk.trading.rolls import (
    ALIAS_MARK,
    CYCLES,
    FRONT,
    Leg,
    Link,
    alias_of,
    around,
    chain_of,
    has_rule,
    is_alias,
    legs_of,
)

NO_DECISIONS: Mapping[str, Leg] = {}


def aliases_of(settings: Settings) -> list[Instrument]:
    """The instruments that are aliases."""
    return [each for each in settings.instruments if is_alias(each.symbol)]


def alias_for(symbol: str, settings: Settings) -> Instrument | None:
    """The alias that a contract may belong to; None for one that is configured by itself, or of no alias."""
    symbols = {each.symbol: each for each in settings.instruments}
    return None if symbol in symbols else symbols.get(alias_of(product_of(symbol)))


def chain_for(alias: Instrument, settings: Settings, now_ns: int) -> list[Link]:
    """The contracts of an alias; those of a watching rule hand over at the latest moment."""
    product = product_of(alias.symbol)
    return chain_of(product, calendar_for(alias.symbol, settings), now_ns, days_before_end(alias))


def days_before_end(alias: Instrument) -> int:
    """How many days before its last trade date a contract of an alias is left, at the latest."""
    cycle = CYCLES[product_of(alias.symbol)]
    if alias.roll is not None and alias.roll.days_before_expiry is not None:
        return alias.roll.days_before_expiry
    return cycle.days if is_dated(alias) else cycle.latest_days


def is_dated(alias: Instrument) -> bool:
    """Whether an alias rolls by dates alone."""
    return alias.roll is None or alias.roll.rule == "date"


def legs_for(
    alias: Instrument, settings: Settings, now_ns: int, standing: Mapping[str, Leg] = NO_DECISIONS
) -> list[Leg]:
    """When an alias means which contract; ``standing`` are legs (by contract) that begin sooner than the dates say."""
    return legs_of(chain_for(alias, settings, now_ns), "date" if is_dated(alias) else "latest", standing)


def standing_for(alias: Instrument, table: InstrumentTable | None) -> dict[str, Leg]:
    """The legs of an alias that stand in a table, as its present rule takes them."""
    entry = table.aliases.get(alias.symbol) if table is not None else None
    return {} if table is None or entry is None else standing_legs(entry, table.market_ns, is_dated=is_dated(alias))


def contract_of(alias: Instrument, symbol: str) -> Instrument:
    """One contract of an alias, with the alias's terms."""
    return alias.model_copy(update={"symbol": symbol, "roll": None})


def expiry_for(symbol: str, settings: Settings, near_year: int) -> Expiry | None:
    """When a contract ends; None where no rule says so."""
    return expiry_of(symbol, near_year, calendar_for(symbol, settings))


def next_roll_of(product: str, settings: Settings, now_ns: int, table: InstrumentTable | None) -> dict[str, Any] | None:
    """The next roll of a product's front contract, as plain values; None where its contracts are not known.

    By the alias that is configured, else by the product's usual date; ``table`` is the table of instruments.
    """
    if not has_rule(product):
        return None
    alias = next((each for each in aliases_of(settings) if each.symbol == alias_of(product)), None)
    if alias is None:
        legs = legs_of(chain_of(product, calendar_for(product, settings), now_ns), "date")
    else:
        legs = legs_for(alias, settings, now_ns, standing_for(alias, table))
    old, new = around(legs, now_ns, behind=0, ahead=1)
    ends = expiry_for(old.symbol, settings, _year(now_ns))
    return {
        "old": old.symbol,
        "new": new.symbol,
        "opening_ns": new.from_ns,
        "trade_date": new.trade_date,
        "rule": new.reason,
        "position": alias.roll.position if alias is not None and alias.roll is not None else None,
        "old_ends": ends.trade_date if ends is not None else None,
    }


def expired(settings: Settings, wall_ns: int) -> list[str]:
    """The configured contracts that have ended, each with the mend. None of a market that never closes.

    At an embedded exchange that begins at another time, that is what counts.
    """
    found = []
    start = settings.exchange.start if settings.exchange is not None else START_NOW
    now_ns = wall_ns if start in (START_NOW, START_OPEN) else instant_ns(start)
    for each in settings.instruments:
        if is_alias(each.symbol) or calendar_for(each.symbol, settings).never_closes:
            continue
        ends = expiry_for(each.symbol, settings, _year(now_ns))
        if ends is not None and ends.ends_ns <= now_ns:
            alias = alias_of(product_of(each.symbol))
            found.append(
                f"instruments: {each.symbol} ended on {ends.trade_date}: its orders are denied (INSTRUMENT_EXPIRED); "
                f"name a later contract, or {alias} with roll"
            )
    return found


def _year(now_ns: int) -> int:
    return datetime.fromtimestamp(now_ns // NS_PER_S, UTC).year


def start_complaints(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    """An embedded exchange whose market time begins where a calendar knows nothing; once, for the first instrument."""
    start = settings.exchange.start if settings.exchange is not None else START_NOW
    if start in (START_NOW, START_OPEN):
        return
    now_ns = instant_ns(start)
    for each in settings.instruments:
        try:
            # Corrections change days within a table; they are read later.
            calendar = load_calendar(calendar_name_for(each.symbol, settings))
        except CalendarError:
            # A product without a calendar is complained of at its own place.
            continue
        try:
            calendar.phase(now_ns)
        except CalendarError as error:
            yield ("exchange", "start"), f"{start[:40]}: {error}"
            return


def contract_complaints(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    """What is wrong with aliases, rolls, and their use."""
    for index, instrument in enumerate(settings.instruments):
        yield from _of_instrument(("instruments", index), instrument)
    for index, strategy in enumerate(settings.strategies):
        aliases = {product_of(symbol) for symbol in strategy.symbols if is_alias(symbol)}
        for place, symbol in enumerate(strategy.symbols):
            if not is_alias(symbol) and product_of(symbol) in aliases:
                path: KeyPath = ("strategies", index, "symbols", place)
                text = f"{symbol} may be {alias_of(product_of(symbol))}, and the positions could not be told apart"
                yield path, f"{text}; give each to a strategy of its own"
    if settings.exchange is None:
        return
    for where, symbol in _recorded(settings):
        if is_alias(symbol):
            yield where, f"a recording is of one contract, not of {symbol}; name the contract here and in instruments"
    if isinstance(settings.exchange.source, ReplaySource) and aliases_of(settings):
        first = next(index for index, each in enumerate(settings.instruments) if is_alias(each.symbol))
        text = "a recorded tape plays single contracts; name the tape's contract instead of an alias"
        yield ("instruments", first, "symbol"), text


def _of_instrument(path: KeyPath, instrument: Instrument) -> Iterator[tuple[KeyPath, str]]:
    if not is_alias(instrument.symbol):
        if instrument.roll is not None:
            product = product_of(instrument.symbol)
            yield (*path, "roll"), f"{instrument.symbol} is one contract; remove roll, or write {alias_of(product)}"
        return
    product, _, meaning = instrument.symbol.partition(ALIAS_MARK)
    if meaning != FRONT or parse_contract(product, 2000) is not None:
        yield (*path, "symbol"), f"{instrument.symbol} is no alias; an alias is a product and .front, such as ES.front"
    elif not has_rule(product):
        yield (
            (*path, "symbol"),
            f"the contracts of {product} are not known here ({', '.join(CYCLES)} are); name the contract itself",
        )
    elif instrument.roll is None:
        text = "an alias needs a roll; add roll: {position: roll}, or flatten, or keep"
        yield (*path, "symbol"), text


def _recorded(settings: Settings) -> Iterable[tuple[KeyPath, str]]:
    exchange = settings.exchange
    if exchange is None:
        return
    for index, recording in enumerate(exchange.history):
        yield ("exchange", "history", index, "symbol"), recording.symbol
    if isinstance(exchange.source, ReplaySource):
        for index, recording in enumerate(exchange.source.recordings):
            where: KeyPath = ("exchange", "source", "tapes", index) if exchange.source.tapes else ("exchange", "source")
            yield (*where, "symbol"), recording.symbol
