"""The exchange's history: bars of seconds, minutes, days and trades; live closes; bounded memory."""

import pytest

from nightdesk.messages.enums import AggressorSide, BarUnit
from nightdesk.simulator.model import Traded
from nightdesk.simulator.plants import bars
from nightdesk.simulator.plants.bars import BarStore
from tests.market_support import ES

START_S = 1_700_000_040
"""The start of a minute."""


def test_bars_hold_prices_volumes_and_times() -> None:
    """Open, high, low, close, both volumes; a second without a trade has no bar; the end is exclusive."""
    store = BarStore()
    for second, price, quantity, aggressor in (
        (0, 10.0, 1, AggressorSide.BUY),
        (0, 12.0, 2, AggressorSide.SELL),
        (0, 9.0, 4, AggressorSide.NONE),
        (3, 11.0, 8, AggressorSide.BUY),
    ):
        store.add(_trade(second, price, quantity, aggressor))
    first, last = store.bars(ES.symbol, BarUnit.SECOND, 1, START_S, START_S + 10)
    assert (first.open, first.high, first.low, first.close) == (10.0, 12.0, 9.0, 9.0)
    assert (first.volume, first.ask_volume, first.bid_volume, first.trades) == (7, 1, 2, 3)
    assert (first.ts_start_s, first.ts_end_s, last.ts_start_s) == (START_S, START_S + 1, START_S + 3)
    (minute,) = store.bars(ES.symbol, BarUnit.MINUTE, 1, START_S, START_S + 60)
    assert (minute.open, minute.close, minute.volume, minute.trades) == (10.0, 11.0, 15, 4)
    assert [bar.volume for bar in store.bars(ES.symbol, BarUnit.SECOND, 2, START_S, START_S + 60)] == [7, 8]
    (day,) = store.bars(ES.symbol, BarUnit.DAY, 1, 0, 2**40)
    assert (day.volume, day.ts_start_s % 86_400) == (15, 0)


def test_interval_of_a_request_is_about_ends() -> None:
    """A bar belongs to the answer when its end lies in the interval."""
    store = BarStore()
    for second in range(10):
        store.add(_trade(second, 10.0))
    found = store.bars(ES.symbol, BarUnit.SECOND, 1, START_S + 3, START_S + 5)
    assert [bar.ts_end_s - START_S for bar in found] == [3, 4, 5]
    assert [tick.ts_ns // 10**9 - START_S for tick in store.ticks(ES.symbol, START_S + 3, START_S + 5)] == [3, 4, 5]


def test_week_begins_on_sunday() -> None:
    """Days of one week make one bar, the Sunday evening's opening included."""
    sunday_s = 1_699_747_200  # 2023-11-12 00:00 UTC
    store = BarStore()
    for day in range(-1, 8):
        store.add(_trade(sunday_s + day * 86_400 - START_S, 10.0 + day))
    weeks = store.bars(ES.symbol, BarUnit.WEEK, 1, 0, 2**40)
    assert [(bar.ts_start_s - sunday_s, bar.open, bar.trades) for bar in weeks] == [
        (-604_800, 9.0, 1),
        (0, 10.0, 7),
        (604_800, 17.0, 1),
    ]


def test_watched_bar_closes_with_time_or_with_the_next_trade() -> None:
    """Once each; whoever watches from the middle gets the whole bar."""
    store = BarStore()
    store.add(_trade(0, 10.0))
    store.watch(ES.symbol, BarUnit.SECOND, 2)
    assert store.add(_trade(1, 11.0)) == []
    (closed,) = store.add(_trade(2, 12.0))
    assert (closed.open, closed.close, closed.trades, closed.ts_end_s) == (10.0, 11.0, 2, START_S + 2)
    assert store.advance((START_S + 3) * 10**9) == []
    (closed,) = store.advance((START_S + 4) * 10**9)
    assert (closed.open, closed.ts_start_s) == (12.0, START_S + 2)
    assert store.advance((START_S + 9) * 10**9) == []


def test_watchers_are_counted() -> None:
    """Two watchers need two unwatches; one more is ignored."""
    store = BarStore()
    for _ in range(2):
        store.watch(ES.symbol, BarUnit.SECOND, 1)
    closed = []
    for second in range(6):
        closed.append(len(store.add(_trade(second, 10.0))))
        if second >= 2:
            store.unwatch(ES.symbol, BarUnit.SECOND, 1)
    assert closed == [0, 1, 1, 1, 0, 0]


def test_tape_that_begins_again_begins_a_new_history() -> None:
    """Times in an answer never go backwards; watchers stay."""
    store = BarStore()
    store.watch(ES.symbol, BarUnit.SECOND, 1)
    for second in (50, 51, 0, 1):
        store.add(_trade(second, 10.0))
    assert [bar.ts_start_s - START_S for bar in store.bars(ES.symbol, BarUnit.SECOND, 1, 0, 2**40)] == [0, 1]
    assert len(store.add(_trade(2, 10.0))) == 1


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old ticks and bars are forgotten."""
    monkeypatch.setattr(bars, "TICKS_KEPT_MAX", 100)
    monkeypatch.setitem(bars._KEPT_MAX, BarUnit.SECOND, 50)
    store = BarStore()
    for second in range(1000):
        store.add(_trade(second, 10.0))
    assert len(store.ticks(ES.symbol, 0, 2**40)) == 100
    assert len(store.bars(ES.symbol, BarUnit.SECOND, 1, 0, 2**40)) == 50


def test_unknown_symbol_has_no_history() -> None:
    """An empty answer, no error; a period of nothing is refused."""
    store = BarStore()
    assert store.bars("NQZ6", BarUnit.MINUTE, 1, 0, 2**40) == []
    assert store.ticks("NQZ6", 0, 2**40) == []
    with pytest.raises(ValueError, match="at least 1"):
        store.watch(ES.symbol, BarUnit.SECOND, 0)


def test_watching_a_bar_does_not_build_the_history_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar that has begun is put together from its own seconds; those of the other watched bars stay as they are."""
    store = BarStore()
    for second in range(2_000):
        store.add(_trade(second, 10.0))
    looked_at: list[int] = []
    start_of = bars.start_of

    def counting(second: int, unit: BarUnit, period: int) -> int:
        looked_at.append(second)
        return start_of(second, unit, period)

    monkeypatch.setattr(bars, "start_of", counting)
    for period in range(1, 61):
        store.watch(ES.symbol, BarUnit.SECOND, period)
    assert len(looked_at) < 4_000
    closed = store.advance((START_S + 10_000) * 10**9)
    assert [bar.period for bar in closed] == list(range(1, 61))
    assert all(bar.volume == bar.trades == 2_000 - max(bar.ts_start_s - START_S, 0) for bar in closed)


def test_bars_of_a_moment_are_not_changed_by_what_follows() -> None:
    """They are made later, in another thread, while the market goes on."""
    store = BarStore()
    store.add(_trade(0, 10.0))
    store.add(_trade(60, 10.0))
    make = store.bars_as_now(ES.symbol, BarUnit.MINUTE, 1, 0, 2**40)
    store.add(_trade(61, 10.0))
    store.add(_trade(120, 10.0))
    assert [bar.volume for bar in make()] == [1, 1]


def _trade(second: int, price: float, quantity: int = 1, aggressor: AggressorSide = AggressorSide.BUY) -> Traded:
    return Traded(ES.symbol, ES.exchange, price, quantity, aggressor, (START_S + second) * 10**9, 0, 0.0)
