"""Which calendar a product keeps, and which product a contract is of. Tables; nothing is read or computed."""

import difflib
import re

from nightdesk.errors import CalendarError

CALENDARS: dict[str, tuple[str, ...]] = {
    "cme_equity": tuple("ES MES NQ MNQ RTY M2K YM MYM EMD NKD".split()),  # noqa: SIM905
    "cme_fx": tuple("6A 6B 6C 6E 6J 6L 6M 6N 6R 6S 6Z E7 J7 M6A M6B M6E MCD MIR MJY MSF".split()),  # noqa: SIM905
    "cme_energy_metals": tuple("CL MCL QM NG QG MNG RB HO BZ GC MGC QO SI SIL QI HG MHG QC PL PA ALI".split()),  # noqa: SIM905
    "cme_rates": tuple("ZT ZF ZN TN ZB UB TWE SR1 SR3 ZQ 2YY 5YY 10Y 30Y".split()),  # noqa: SIM905
    "cme_crypto": tuple("BTC MBT BFF ETH MET".split()),  # noqa: SIM905
    "cme_grains": tuple("ZC ZS ZW ZM ZL ZO ZR KE XC XK XW".split()),  # noqa: SIM905
    "cme_livestock": tuple("LE HE GF".split()),  # noqa: SIM905
}
"""Every calendar with the product codes, as CME Globex and Rithmic write them, that keep it."""

_CALENDAR_OF = {product: name for name, products in CALENDARS.items() for product in products}
_CONTRACT = re.compile(r"(?P<product>[A-Z0-9]{1,13}?)(?P<month>[FGHJKMNQUVXZ])(?P<year>[0-9]{1,2})")
ALIAS_MARK = "."
"""Between a product and what is meant of it: ``ES.front``."""


def calendar_names() -> tuple[str, ...]:
    """The names of all calendars that are shipped."""
    return tuple(CALENDARS)


def is_known(product: str) -> bool:
    """Whether a calendar is shipped for a product."""
    return product in _CALENDAR_OF


def calendar_of(product: str) -> str:
    """The name of a product's calendar; raises ``CalendarError`` for a product that has none."""
    name = _CALENDAR_OF.get(product)
    if name is None:
        near = difflib.get_close_matches(product, _CALENDAR_OF, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}? else " if near else ""
        raise CalendarError(
            f"no calendar is known for product {product[:40]!r}",
            f"{hint}name one under market_time.calendars ({', '.join(CALENDARS)}, or always)",
        )
    return name


def product_of(symbol: str) -> str:
    """The product of a contract (``ESZ6``, ``M2KH27``) or alias (``ES.front``); a bare product is itself."""
    head = symbol.partition(ALIAS_MARK)[0]
    if head in _CALENDAR_OF:
        return head
    match = _CONTRACT.fullmatch(head)
    return match["product"] if match else head
