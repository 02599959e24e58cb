"""Bars as the fields of 203 and 250, 207 and 251, and 209."""

from datetime import UTC, datetime

from nightdesk.messages.enums import BarUnit
from nightdesk.simulator.plants.bars import BarState
from nightdesk.simulator.plants.market_frames import COUNT_MAX
from nightdesk.simulator.plants.reference import NS_PER_S
from nightdesk.simulator.plants.tick_bars import SECONDS_PER_DAY, TickBar, TickBarTerms
from nightdesk.simulator.plants.volume_profile import ProfileBar

UNITS = {1: BarUnit.SECOND, 2: BarUnit.MINUTE, 3: BarUnit.DAY, 4: BarUnit.WEEK}
"""The wire's bar types of 200 and 202."""

REGULAR = 1
CUSTOM = 2
"""The wire's sub types of bars that are not made of time; CUSTOM ones keep to a part of the day."""

_TYPE_OF = {unit: number for number, unit in UNITS.items()}
_SECONDS = {BarUnit.SECOND: 1, BarUnit.MINUTE: 60}
_LAST_DAY_S = {BarUnit.DAY: SECONDS_PER_DAY, BarUnit.WEEK: 2 * SECONDS_PER_DAY}
"""From the last day that a bar is named by to its end: a week ends after Saturday and is named by its Friday."""


def _marker(bar: BarState) -> int:
    """The end of an intraday bar in unix seconds; a longer one has its last trade date as YYYYMMDD."""
    last_day_s = _LAST_DAY_S.get(bar.unit)
    if last_day_s is None:
        return bar.ts_end_s
    return int(datetime.fromtimestamp(bar.ts_end_s - last_day_s, UTC).strftime("%Y%m%d"))


def time_bar_fields(bar: BarState) -> dict[str, object]:
    """203 and 250; the period of intraday bars is told in seconds."""
    return {
        "symbol": bar.symbol,
        "exchange": bar.exchange,
        "type": _TYPE_OF[bar.unit],
        "period": str(bar.period * _SECONDS.get(bar.unit, 1)),
        "marker": _marker(bar),
        "num_trades": bar.trades,
        "volume": bar.volume,
        "bid_volume": bar.bid_volume,
        "ask_volume": bar.ask_volume,
        "open_price": bar.open,
        "close_price": bar.close,
        "high_price": bar.high,
        "low_price": bar.low,
    }


def tick_bar_fields(
    symbol: str, exchange: str, terms: TickBarTerms, bar: TickBar, open_ns: int | None = None
) -> dict[str, object]:
    """207 and 251; ``open_ns`` is told instead of the first trade's own time."""
    times_ns = (bar.ts_open_ns if open_ns is None else open_ns, bar.ts_close_ns)
    return {
        "symbol": symbol,
        "exchange": exchange,
        "type": int(terms.kind),
        "sub_type": REGULAR if terms.span is None else CUSTOM,
        "type_specifier": str(terms.size),
        "num_trades": bar.trades,
        "volume": bar.volume,
        "bid_volume": bar.bid_volume,
        "ask_volume": bar.ask_volume,
        "open_price": bar.open,
        "close_price": bar.close,
        "high_price": bar.high,
        "low_price": bar.low,
        "custom_session_open_ssm": None if terms.span is None else terms.span.open_s,
        "data_bar_ssboe": [ts_ns // NS_PER_S for ts_ns in times_ns],
        "data_bar_usecs": [ts_ns % NS_PER_S // 1000 for ts_ns in times_ns],
    }


def profile_bar_fields(symbol: str, exchange: str, period: int, bar: ProfileBar) -> dict[str, object]:
    """209: the bar and, price by price from the lowest, who was the aggressor in how many contracts and trades."""
    prices = sorted(bar.levels)
    levels = [bar.levels[price] for price in prices]
    bids, asks = [each.bid_volume for each in levels], [each.ask_volume for each in levels]
    others = [each.no_aggressor_volume for each in levels]
    return {
        "symbol": symbol,
        "exchange": exchange,
        "period": str(period),
        "marker": bar.ts_end_s,
        "num_trades": sum(each.bid_trades + each.ask_trades + each.no_aggressor_trades for each in levels),
        "volume": sum(bids) + sum(asks) + sum(others),
        "bid_volume": sum(bids),
        "ask_volume": sum(asks),
        "open_price": bar.open,
        "close_price": bar.close,
        "high_price": prices[-1],
        "low_price": prices[0],
        "profile_price": prices,
        "profile_no_aggressor_volume": [min(each, COUNT_MAX) for each in others],
        "profile_bid_volume": [min(each, COUNT_MAX) for each in bids],
        "profile_ask_volume": [min(each, COUNT_MAX) for each in asks],
        "profile_no_aggressor_trades": [each.no_aggressor_trades for each in levels],
        "profile_bid_aggressor_trades": [each.bid_trades for each in levels],
        "profile_ask_aggressor_trades": [each.ask_trades for each in levels],
    }
