"""When the instruments trade: the section ``market_time``, and the one place that says which calendar is whose."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, JsonValue

from nightdesk.calendars.load import SessionCalendar, calendar_of, load_calendar, product_of
from nightdesk.calendars.overrides import NO_OVERRIDES
from nightdesk.settings.calendar_overrides import overrides_of
from nightdesk.settings.section import Path, SecondsOrInfinity, Section, Text

if TYPE_CHECKING:
    from nightdesk.settings.models import Settings

ALWAYS = "always"
"""The calendar of a market that never closes."""


class MarketTimeSettings(Section):
    """When the instruments trade. Without this section each product keeps the calendar of docs/market-time.md."""

    calendars: dict[Annotated[str, Field(pattern=r"^[A-Z0-9]{1,16}$")], Text] = {}
    """The calendar of a product, such as ``ABC: cme_equity``; ``always`` for one that never closes."""
    overrides: Path | None = None
    """A file with days on which a calendar is to be another one (YAML, docs/market-time.md)."""
    days: dict[str, dict[str, JsonValue]] = {}
    """The same days, written here: calendar, then trade date, then ``closed`` or hours."""
    stale_after_s: SecondsOrInfinity = 120.0
    """Market time without a tick of an open market, after which an alert says so; ``infinity``: never."""


def calendar_for(symbol: str, settings: "Settings") -> SessionCalendar:
    """The sessions that a contract, alias or product keeps, with the user's corrections. One object per process.

    All of an embedded exchange that never closes are always open. Raises ``CalendarError`` for a product without a
    calendar; a loaded configuration has one for each of its instruments.
    """
    name = calendar_name_for(symbol, settings)
    return load_calendar(name, overrides_of(settings.market_time.days).get(name, NO_OVERRIDES))


def calendars_of(settings: "Settings") -> dict[str, SessionCalendar]:
    """The sessions of all configured instruments, by symbol."""
    return {each.symbol: calendar_for(each.symbol, settings) for each in settings.instruments}


def calendar_name_for(symbol: str, settings: "Settings") -> str:
    """The name of that calendar."""
    if is_always_open(settings):
        return ALWAYS
    product = product_of(symbol)
    return settings.market_time.calendars.get(product) or calendar_of(product)


def is_always_open(settings: "Settings") -> bool:
    """Whether the embedded exchange never closes: of recorded tapes, unless the file says otherwise."""
    exchange = settings.exchange
    if settings.mode != "sim" or exchange is None:
        return False
    return exchange.sessions == ALWAYS if exchange.sessions else exchange.source.kind == "replay"


def begins_with_subscriber(settings: "Settings") -> bool:
    """Whether the embedded exchange's market begins with its first subscriber: a tape, one at speed 0, and one with
    sessions that runs faster than life."""
    exchange = settings.exchange
    if settings.mode != "sim" or exchange is None:
        return False
    if exchange.speed == 0 or exchange.source.kind == "replay":
        return True
    return exchange.speed > 1 and not is_always_open(settings)
