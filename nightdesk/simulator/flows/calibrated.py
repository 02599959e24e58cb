"""How the anonymous traders of the synthetic market behave, in numbers: rates, sizes and habits of one hour of the
E-mini S&P (2023-12-25, 23:01 to 24:00 UTC).

Only sums over the hour stand here. ``python -m benchmarks.calibration --fit`` measures from a recorded order book what
can be read off it; the rest was found by search: simulated hours were compared with the recorded one.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Calibration:
    """Sizes and lengths are tables of equally likely values, ``*_gaps_s`` quantiles at equal distances."""

    published_per_s: float = 7.65
    """Trades and quotes of one product in a second of the market's own time."""

    # When. Orders come in bursts: tens of microseconds between two actions of a burst, a third of a second between two
    # bursts.
    burst_gaps_s: tuple[float, ...] = (
        *(0.0,) * 8, 1.8e-07, 7.9e-07, 1.5e-06, 2.2e-06, 3.6e-06, 5.5e-06, 8.3e-06, 1.2e-05, 1.8e-05, 2.6e-05, 3.8e-05,
        5.0e-05, 6.8e-05, 8.8e-05, 9.8e-05, 1.06e-04, 1.16e-04, 1.32e-04, 1.66e-04, 2.18e-04, 2.76e-04, 3.4e-04,
        4.6e-04, 8.2e-04, 1.9e-03,
    )  # fmt: skip
    calm_gaps_s: tuple[float, ...] = (
        0.00278, 0.00451, 0.00605, 0.00826, 0.00941, 0.0112, 0.0141, 0.0179, 0.0217, 0.0262, 0.0335, 0.041, 0.05,
        0.0612, 0.0738, 0.0874, 0.102, 0.122, 0.141, 0.166, 0.194, 0.224, 0.258, 0.302, 0.355, 0.421, 0.504, 0.599,
        0.719, 0.875, 1.1, 1.56, 3.57,
    )  # fmt: skip
    quiet_burst_lengths: tuple[int, ...] = (*(1,) * 20, *(2,) * 8, 3, 3, 3, 4, 4, 4, 5, 6, 7, 9, 11, 22)
    trading_burst_lengths: tuple[int, ...] = (
        *(1,) * 5, *(2,) * 4, 3, 3, 3, 4, 4, 5, 6, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 19, 21, 24, 26, 28, 32, 36,
        40, 46, 53, 62, 74, 122,
    )  # fmt: skip
    trading_burst_share: float = 0.088
    """Bursts that begin with a trade."""
    mood_s: float = 90.0
    mood_deviation: float = 0.317
    """Busy and quiet minutes: the rate's logarithm wanders by so much and forgets in so many seconds."""

    # How much.
    touch_sizes: tuple[int, ...] = (*(1,) * 37, *(2,) * 6, *(3,) * 3, 4, 4, 5, 19)
    near_sizes: tuple[int, ...] = (*(1,) * 22, *(2,) * 13, *(3,) * 8, *(4,) * 4, 5, 6, 22)
    far_sizes: tuple[int, ...] = (*(1,) * 22, 2, *(3,) * 5, 4, 4, 6, 6, *(12,) * 15, 13, 13, 21)
    trade_sizes: tuple[int, ...] = (*(1,) * 34, *(2,) * 4, *(3,) * 3, *(4,) * 3, 5, 5, 6, 6, 14, 60)

    # Where orders are put and taken away: shares of the levels from the best price on; the rest goes further out.
    level_shares: tuple[float, ...] = (
        0.451, 0.102, 0.0604, 0.0505, 0.0348, 0.022, 0.0088, 0.0065, 0.0062, 0.017, 0.0187, 0.0055, 0.0056, 0.0072,
        0.0081, 0.0073, 0.0047, 0.0049, 0.0031, 0.0046, 0.0057, 0.0038, 0.0034,
    )  # fmt: skip
    level_orders: tuple[float, ...] = (33.0, 29.0, 24.5, 23.0, *(22.0,) * 19)
    """The number of orders at each of these levels that makers tend to; trades keep the first one below it."""
    far_orders: float = 12.0
    far_mean_ticks: float = 30.0
    touch_balance: float = 0.7
    """How strongly they tend to it at the best price: 1 is as elsewhere, 0 not at all."""
    newest_share: float = 0.57
    """Cancels that take the level's youngest order; the others take any."""

    # Trades. Large orders are worked off piece by piece (Lillo, Mike and Farmer): Pareto many of one side.
    trade_after_trade: float = 0.4
    trade_in_burst: float = 0.049
    repeat_share: float = 0.58
    """Trades on the side of the trade before them in the same burst."""
    thin_share: float = 0.3
    """Of the others: trades on the side with less to take, in proportion."""
    parent_share: float = 0.85
    """Of what is left: pieces of the large order that is being worked off. The rest is a toss of a coin."""
    parent_exponent: float = 1.68
    parent_length_max: int = 400
    clear_max: int = 13
    clear_share: float = 0.85
    """So many takers who find no more than so many contracts at the best price take all of them."""
    sweep_share: float = 0.1
    """Takers of more than the best price holds who go on to the next one; the others are content."""

    # What makes the price.
    lean: float = 0.95
    """During a burst of trades makers join the side that is bought or sold from less, by this share, the other more."""
    improve_share: float = 0.23
    """Actions at the touch that close a gap between bid and offer, where there is one."""
    follow_share: float = 0.97
    """Gaps that are closed by the other side following; else the cleared side comes back."""


CALIBRATED = Calibration()
