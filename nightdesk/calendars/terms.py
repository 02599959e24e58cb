"""Tick sizes and point values of products, for configurations that leave them out. A table.

From the symbol properties of QuantConnect's LEAN (CBOT, CME, COMEX, NYMEX); prices as R|Protocol quotes them.
"""

from typing import NamedTuple


class ProductTerms(NamedTuple):
    """The smallest step of a product's price, and what one whole point of one contract is worth in US dollars."""

    tick_size: float
    point_value: float


TERMS: dict[str, ProductTerms] = {
    "ES": ProductTerms(0.25, 50.0),
    "MES": ProductTerms(0.25, 5.0),
    "NQ": ProductTerms(0.25, 20.0),
    "MNQ": ProductTerms(0.25, 2.0),
    "RTY": ProductTerms(0.1, 50.0),
    "M2K": ProductTerms(0.1, 5.0),
    "YM": ProductTerms(1.0, 5.0),
    "MYM": ProductTerms(1.0, 0.5),
    "ZT": ProductTerms(0.00390625, 2_000.0),
    "ZF": ProductTerms(0.0078125, 1_000.0),
    "ZN": ProductTerms(0.015625, 1_000.0),
    "ZB": ProductTerms(0.03125, 1_000.0),
    "6B": ProductTerms(0.0001, 62_500.0),
    "6E": ProductTerms(0.00005, 125_000.0),
    "6J": ProductTerms(0.0000005, 12_500_000.0),
    "GC": ProductTerms(0.1, 100.0),
    "MGC": ProductTerms(0.1, 10.0),
    "SI": ProductTerms(0.005, 5_000.0),
    "SIL": ProductTerms(0.005, 1_000.0),
    "HG": ProductTerms(0.0005, 25_000.0),
    "CL": ProductTerms(0.01, 1_000.0),
    "MCL": ProductTerms(0.01, 100.0),
    "NG": ProductTerms(0.001, 10_000.0),
}


def terms_of(product: str) -> ProductTerms | None:
    """A product's terms; None for one that is not in the table."""
    return TERMS.get(product)
