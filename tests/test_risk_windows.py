"""Sends, cancels, equal orders and refusals, counted over time."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightdesk.errors import JournalError
from nightdesk.messages import OrderType, Side
from nightdesk.trading import risk_windows
from nightdesk.trading.ledger import ACCOUNT
from nightdesk.trading.risk_windows import DuplicateWindow, OrderKey, RejectCounts, SlidingWindow, Throttle
from tests.risk_support import ONE, TWO, submit

TENTHS = st.lists(st.integers(0, 40), max_size=60)


def _counted(stamps: Sequence[float], now_s: float, window_s: float = 1.0) -> int:
    return sum(now_s - window_s < stamp <= now_s for stamp in stamps)


@given(TENTHS, st.integers(1, 8))
def test_a_window_counts_what_lies_within_it(steps: list[int], limit: int) -> None:
    """Compared with a list of everything, up to one over the limit, which is all that is remembered."""
    window, stamps, now_s = SlidingWindow(limit), list[float](), 0.0
    for step in steps:
        now_s += step / 16
        assert window.count(now_s) == min(_counted(stamps, now_s), limit + 1)
        window.note(now_s)
        stamps.append(now_s)
        assert len(window._stamps) <= limit + 1


def test_a_window_ends_exactly_after_a_second() -> None:
    """What was sent a second ago counts no more."""
    window = SlidingWindow(2)
    window.note(10.0)
    assert window.count(10.999) == 1
    assert window.count(11.0) == 0


def test_a_window_read_back_holds_what_is_still_within_it() -> None:
    """Not what is over, and nothing of before the machine's start, when its clock began anew."""
    window = SlidingWindow(3)
    for stamp in (10.0, 10.5, 900.0):
        window.note(stamp)
    assert SlidingWindow.from_row(window.to_row(), 3, 11.2).count(11.2) == 1


def test_a_throttle_counts_for_the_strategy_and_for_the_account() -> None:
    """One strategy's sends do not count for another one; without a limit nothing is counted."""
    throttle = Throttle({ACCOUNT: 5, ONE: 2, TWO: None})
    throttle.note(ONE, 10.0)
    throttle.note(TWO, 10.0)
    assert [throttle.count(owner, 10.0) for owner in (ACCOUNT, ONE, TWO)] == [2, 1, 0]


@pytest.mark.parametrize(
    "changes",
    [
        {"strategy_id": TWO},
        {"symbol": "MESZ6"},
        {"side": Side.SELL},
        {"quantity": 2},
        {"order_type": OrderType.STOP_LIMIT, "trigger_price": 5000.0},
        {"price": 5000.25},
        {"price": None, "order_type": OrderType.MARKET},
    ],
)
def test_an_order_that_differs_in_one_term_is_no_duplicate(changes: dict[str, object]) -> None:
    """Strategy, symbol, side, quantity, type, price, trigger; its id and time in force do not matter."""
    window = DuplicateWindow(1.0)
    window.note(OrderKey.of(submit()), 10.0)
    assert window.age_s(OrderKey.of(submit(client_order_id="o2")), 10.25) == 0.25
    assert window.age_s(OrderKey.of(submit(**changes)), 10.25) is None


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 3), st.booleans()), max_size=60))
def test_the_window_of_equal_orders_knows_the_last_send_of_each(steps: list[tuple[int, int, bool]]) -> None:
    """Compared with a table of everything, across restarts."""
    window, sent, now_s = DuplicateWindow(1.0), dict[OrderKey, float](), 100.0
    for step, quantity, is_restart in steps:
        now_s += step / 8
        if is_restart:
            window = DuplicateWindow.from_row(window.to_row(), 1.0, now_s)
        key = OrderKey.of(submit(quantity=quantity))
        age_s = now_s - sent[key] if key in sent and now_s - sent[key] < 1.0 else None
        assert window.age_s(key, now_s) == age_s
        window.note(key, now_s)
        sent[key] = now_s


def test_an_order_that_is_sent_again_does_not_keep_others_in_the_window() -> None:
    """Each has a window of its own."""
    window = DuplicateWindow(1.0)
    for quantity, sent_s in ((1, 10.0), (2, 10.5), (1, 11.0)):
        window.note(OrderKey.of(submit(quantity=quantity)), sent_s)
    assert window.age_s(OrderKey.of(submit(quantity=2)), 11.75) is None
    assert window.age_s(OrderKey.of(submit(quantity=1)), 11.75) == 0.75


def test_the_window_of_equal_orders_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest give way."""
    monkeypatch.setattr(risk_windows, "DUPLICATES_KEPT_MAX", 3)
    window = DuplicateWindow(60.0)
    keys = [OrderKey.of(submit(quantity=quantity)) for quantity in range(1, 6)]
    for key in keys:
        window.note(key, 10.0)
    assert [window.age_s(key, 10.0) is not None for key in keys] == [False, False, True, True, True]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from([ONE, TWO]), st.sampled_from("ra!")), max_size=30))
def test_refusals_count_in_a_row_for_strategy_and_account(steps: list[tuple[str, str]]) -> None:
    """An accepted order ends the row of its strategy and the account's; a restart ends none."""
    counts = RejectCounts()
    expected = {ONE: 0, TWO: 0, ACCOUNT: 0}
    for owner, what in steps:
        for each in (owner, ACCOUNT):
            expected[each] = expected[each] + 1 if what == "r" else expected[each] if what == "!" else 0
        if what == "r":
            counts.on_rejected(owner)
        elif what == "a":
            counts.on_accepted(owner)
        else:
            counts = RejectCounts.from_row(counts.to_row())
        assert {each: counts.count(each) for each in expected} == expected


def test_the_operator_forgives_refusals() -> None:
    """Of some, or of all."""
    counts = RejectCounts()
    counts.on_rejected(ONE)
    counts.on_rejected(TWO)
    counts.reset([ONE])
    assert [counts.count(owner) for owner in (ONE, TWO, ACCOUNT)] == [0, 1, 2]
    counts.reset()
    assert [counts.count(owner) for owner in (ONE, TWO, ACCOUNT)] == [0, 0, 0]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"counts": {"a": "b"}}', '{"counts": 5}'])
def test_a_row_that_cannot_be_read_is_a_damaged_journal(text: str) -> None:
    """A limit does not begin anew in silence."""
    with pytest.raises(JournalError, match=r"refusals in a row cannot be read .* keep the file"):
        RejectCounts.from_row(text)
