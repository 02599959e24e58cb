"""Which contracts an embedded exchange lists where the configuration names aliases, and where its crowd trades."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from nightdesk.calendars.load import product_of
from nightdesk.settings.contracts import aliases_of, contract_of, legs_for
from nightdesk.settings.market_time import calendar_for
from nightdesk.settings.models import Instrument, Settings
from nightdesk.simulator.venue.log_file import SESSION, read_records
from nightdesk.trading.rolls import Leg, around, chain_of, is_alias, leg_at, legs_of

LISTED_AHEAD = 3
"""Contracts after the front one that are listed at a start, as the real exchange lists several."""

FRONT_SHARE, BESIDE_SHARE = 0.8, 0.1
"""Of a product's trading: what is in its front contract, and in the one before and the one after it."""

Share = Callable[[str, int], float]
"""A contract's part of the ticks of all configured instruments, at a market time; 0: nobody trades it."""


class Logged(NamedTuple):
    """What an exchange's log says of former starts."""

    newest_ns: int
    symbols: tuple[str, ...]


def logged(path: Path) -> Logged:
    """The newest time, and every contract that was ever listed. Raises ``JournalError`` for a damaged log."""
    newest_ns, symbols = 0, dict[str, None]()
    if path.exists():
        for _, record in read_records(path):
            newest_ns = max(newest_ns, record.get("t", 0))
            if record.get("k") == SESSION:
                symbols.update(dict.fromkeys(product["symbol"] for product in record["products"]))
    return Logged(newest_ns, tuple(symbols))


def listed(settings: Settings, now_ns: int, former: Iterable[str] = ()) -> list[Instrument]:
    """The contracts to list: those of ``former`` starts as well, since positions may be open in them."""
    found: dict[str, Instrument] = {}
    for each in settings.instruments:
        if not is_alias(each.symbol):
            found.setdefault(each.symbol, each)
            continue
        ahead = around(legs_for(each, settings, now_ns), now_ns, behind=0, ahead=LISTED_AHEAD)
        known = [symbol for symbol in former if product_of(symbol) == product_of(each.symbol)]
        for symbol in dict.fromkeys((*known, *(leg.symbol for leg in ahead))):
            found.setdefault(symbol, contract_of(each, symbol))
    return list(found.values())


def share_of(settings: Settings) -> Share | None:
    """How the crowd divides its trading; None where every instrument is one contract: each has the same.

    It leaves a contract when the product's traders usually do, whatever rule the configuration has.
    """
    if not aliases_of(settings):
        return None
    part = 1.0 / len(settings.instruments)
    single = {each.symbol for each in settings.instruments}
    legs: dict[tuple[str, int], list[Leg]] = {}

    def share(symbol: str, now_ns: int) -> float:
        if symbol in single:
            return part
        product, day = product_of(symbol), now_ns // _CHAIN_NS
        if (product, day) not in legs:
            legs[product, day] = legs_of(chain_of(product, calendar_for(symbol, settings), now_ns), "date")
        chain = legs[product, day]
        front = leg_at(chain, now_ns)
        place = next((index for index, leg in enumerate(chain) if leg.symbol == symbol), -1)
        if place == front:
            return part * FRONT_SHARE
        return part * BESIDE_SHARE if place >= 0 and abs(place - front) == 1 else 0.0

    return share


_CHAIN_NS = 30 * 86_400_000_000_000
"""A chain is made anew after so long."""
