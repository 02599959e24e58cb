"""The exchange's days over kills: whatever became due while it was dead is done at its start, and only once."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nightdesk.calendars.load import load_calendar
from nightdesk.calendars.zones import local
from nightdesk.messages.enums import OrderType, Side, TimeInForce
from nightdesk.simulator.model import (
    Completion,
    ModeChanged,
    OrderHappened,
    OrderState,
    PositionSettled,
    Settled,
)
from nightdesk.simulator.venue.days import TEXT_CONTRACT_ENDED, TEXT_DAY_ENDED
from nightdesk.simulator.venue.log import read_summary, rebuild
from nightdesk.simulator.venue.venue import VenueRefusal
from tests.calendar_support import CHICAGO, at
from tests.days_support import ACCOUNT, ES, ES_NEXT, Lived

GTC = TimeInForce.GTC
BOTH = (ES, ES_NEXT)
EQUITY = load_calendar("cme_equity")
MINUTE_NS = 60 * 10**9


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    """The records of a kind in the exchange's log."""
    lines = (folder / "exchange.log").read_bytes().splitlines()
    return [record for record in map(orjson.loads, lines) if record["k"] == kind]


@pytest.mark.parametrize(
    ("killed", "started", "mode", "is_over"),
    [
        ("2026-11-25 15:59", "2026-11-25 16:01", "Closed", True),
        ("2026-11-25 15:59", "2026-11-25 16:20", "Closed", True),
        ("2026-11-25 15:59", "2026-11-25 16:50", "Pre Open", True),
        ("2026-11-25 15:59", "2026-11-25 17:05", "Open", True),
        ("2026-11-25 15:59", "2026-11-26 13:00", "Halted", True),
        ("2026-11-25 16:00", "2026-11-25 16:00", "Closed", True),
        ("2026-11-25 15:58", "2026-11-25 15:59", "Open", False),
    ],
)
def test_day_order_ends_at_the_start_when_its_session_closed_meanwhile(
    killed: str, started: str, mode: str, is_over: bool, tmp_path: Path
) -> None:
    """Before any client is served; the mode is that of the time, and GTC orders work on."""
    lived = Lived(tmp_path, "2026-11-25 15:30").until("2026-11-25 15:31")
    day, stays = lived.order(price=4000.0), lived.order(price=4000.0, time_in_force=GTC)
    lived.until(killed).killed()
    again = Lived(tmp_path, started)
    assert again.fate(day) == ((Completion.CANCELED, TEXT_DAY_ENDED) if is_over else (None, ""))
    assert again.fate(stays)[0] is None
    assert again.venue.mode("ESZ6") == mode
    is_next = is_over and mode != "Closed"
    assert again.of(ModeChanged)[0].trade_date == ("20261127" if is_next else "20261125")
    again.killed()
    third = Lived(tmp_path, started)
    assert not third.of(OrderHappened)
    assert third.fate(stays)[0] is None


def test_order_for_the_next_session_survives_a_kill_in_the_queue(tmp_path: Path) -> None:
    """It was sent after the close: its session is still to come."""
    lived = Lived(tmp_path, "2026-11-25 16:50")
    order = lived.order(price=4000.0)
    lived.until("2026-11-25 16:55").killed()
    again = Lived(tmp_path, "2026-11-26 13:00")
    assert again.fate(order)[0] is None
    again.until("2026-11-27 12:16")
    assert again.fate(order) == (Completion.CANCELED, TEXT_DAY_ENDED)


def test_session_that_closed_meanwhile_is_settled_at_the_start(tmp_path: Path) -> None:
    """At the last price before; once, however often the exchange is started."""
    lived = Lived(tmp_path, "2026-11-24 15:00").until("2026-11-24 15:50")
    mark = lived.venue.mark_price("ESZ6")
    lived.log._written_ns.clear()
    lived.log.close()
    again = Lived(tmp_path, "2026-11-24 16:20")
    [settled] = again.of(Settled)
    assert (settled.trade_date, settled.price) == ("20261124", mark)
    again.killed()
    third = Lived(tmp_path, "2026-11-24 16:50")
    assert third.of(Settled) == []
    statistics = third.exchange.market_feed.statistics("ESZ6")
    assert (statistics.settlement_price, statistics.settlement_date) == (mark, "20261124")


def test_first_start_settles_nothing_of_before(tmp_path: Path) -> None:
    """The session that closed before the contract was listed is not this exchange's."""
    lived = Lived(tmp_path, "2026-11-24 15:00", sessions="always").until("2026-11-24 15:30")
    lived.log.close()
    again = Lived(tmp_path, "2026-11-24 16:20")
    assert again.venue.mark_price("ESZ6") is not None
    assert again.of(Settled) == []


def test_contract_that_ended_meanwhile_expires_at_the_start(tmp_path: Path) -> None:
    """Orders, position and money as if the exchange had been there; the same after a further start."""
    lived = Lived(tmp_path, "2026-12-18 08:00", BOTH).until("2026-12-18 08:10")
    lived.order(quantity=3)
    working = lived.order(price=4000.0, time_in_force=GTC)
    lived.until("2026-12-18 08:20").log.close()
    again = Lived(tmp_path, "2026-12-18 12:00", BOTH)
    assert again.fate(working) == (Completion.CANCELED, TEXT_CONTRACT_ENDED)
    assert [each.net_quantity for each in again.of(PositionSettled)] == [3]
    assert again.venue.mode("ESZ6") == "Closed"
    balance = again.venue.account(ACCOUNT).balance
    again.killed()
    third = Lived(tmp_path, "2026-12-21 12:00", BOTH)
    assert third.of(PositionSettled) == []
    assert third.venue.account(ACCOUNT).balance == balance
    assert third.venue.mode("ESZ6") == "Closed"
    assert read_summary(tmp_path / "exchange.log")[ACCOUNT].positions["ESZ6"] == 0
    assert len(records(tmp_path, "EXPIRED")) == 1


def test_expiry_that_was_torn_at_any_place_is_finished_by_the_next_start(tmp_path: Path) -> None:
    """A machine that dies in the middle of the one write: the same books as without, wherever it was cut."""
    origin = tmp_path / "origin"
    lived = Lived(origin, "2026-12-18 08:00", BOTH).until("2026-12-18 08:10")
    lived.order(quantity=2)
    lived.order(price=4000.0, time_in_force=GTC)
    lived.order(price=4000.0)
    lived.until("2026-12-18 08:30")
    before = (origin / "exchange.log").stat().st_size
    lived.through(at("2026-12-18 08:30")).killed()
    whole = (origin / "exchange.log").read_bytes()
    ends = [place + 1 for place in range(before, len(whole)) if whole[place : place + 1] == b"\n"]
    lines = [orjson.loads(line)["k"] for line in whole[before:].splitlines()]
    last = lines.index("EXPIRED") + 1
    books = set()
    for cut in (before, *(end + inside for end in ends[:last] for inside in (-9, 0))):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / "exchange.log").write_bytes(whole[:cut])
        again = Lived(folder, "2026-12-18 08:45", BOTH)
        account = again.venue.account(ACCOUNT)
        books.add(
            (account.balance, account.realized_pnl, tuple(p.net_quantity for p in again.venue.positions(ACCOUNT)))
        )
        assert all(each.completion is not None for each in again.venue.orders(ACCOUNT))
        assert again.venue.is_expired("ESZ6")
        again.killed()
        shutil.rmtree(folder)
    assert len(books) == 1, books


def test_snapshot_of_the_log_keeps_what_was_decided(tmp_path: Path) -> None:
    """Listed, settled, expired and the money of a closed position survive the log's replacement."""
    lived = Lived(tmp_path, "2026-12-17 15:50", BOTH).until("2026-12-18 08:10")
    lived.order(quantity=2)
    lived.until("2026-12-18 16:30")
    balance = lived.venue.account(ACCOUNT).balance
    lived.log.close()
    again = Lived(tmp_path, "2026-12-18 16:35", BOTH)
    book = again.venue.day_book
    again.log.close()
    # The rebuild that replaces the log by its snapshot.
    fresh = Lived(tmp_path / "other", "2026-12-18 16:40", BOTH)
    fresh.log.close()
    venue = type(fresh.venue)(fresh.venue.products(), [ACCOUNT], 100_000.0, dates=fresh.venue.dates)
    log = type(fresh.log)(tmp_path / "exchange.log")
    rebuild(log, venue, log_bytes_max=0)
    log.close()
    assert records(tmp_path, "SNAPSHOT")
    assert not records(tmp_path, "POSITION_SETTLED")
    third = Lived(tmp_path, "2026-12-18 16:45", BOTH)
    assert third.venue.account(ACCOUNT).balance == balance
    for name in ("listed", "settled", "expired"):
        assert getattr(third.venue.day_book, name) == getattr(book, name), name
    assert third.venue.is_expired("ESZ6")
    assert third.of(Settled) == []


class Books:
    """Cash by hand: what came in less what went out, the final prices included."""

    def __init__(self) -> None:
        self.cash = 100_000.0
        self.net: dict[str, int] = {}

    def take(self, event: Any) -> None:
        if isinstance(event, OrderHappened) and event.execution is not None:
            terms, fill = event.order.terms, event.execution
            signed = fill.quantity if terms.side is Side.BUY else -fill.quantity
            self.cash -= signed * fill.price * 50.0 + fill.quantity * 2.0
            self.net[terms.symbol] = self.net.get(terms.symbol, 0) + signed
        elif isinstance(event, PositionSettled):
            assert self.net.pop(event.symbol) == event.net_quantity
            self.cash += event.net_quantity * event.price * 50.0


_MINUTES = st.one_of(st.integers(1, 90), st.integers(300, 2500))
_ACTIONS = st.one_of(
    st.tuples(st.just("live"), _MINUTES),
    st.tuples(st.just("die"), _MINUTES),
    st.tuples(
        st.just("order"),
        st.sampled_from(Side),
        st.sampled_from([None, -400, -4, 0, 4, 400]),
        st.integers(1, 5),
        st.sampled_from(TimeInForce),
        st.sampled_from(["ESZ6", "ESH7"]),
    ),
    st.tuples(st.just("cancel")),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    start=st.sampled_from(["2026-12-17 15:00", "2026-12-17 16:50", "2026-12-16 12:00", "2026-11-25 15:00"]),
    actions=st.lists(_ACTIONS, min_size=4, max_size=14),
)
def test_money_is_conserved_and_no_day_order_outlives_its_day(start: str, actions: list[Any]) -> None:
    """Random orders, waits, kills and starts over halts, closes, weekends and the end of a contract."""
    with tempfile.TemporaryDirectory(prefix="nd-") as path:
        books, lived = Books(), Lived(Path(path), start, BOTH, rate=0.02)
        lived.hooks.append(books.take)
        for action in actions:
            lived = _act(lived, books, Path(path), action)
            _check(lived, books)
        lived.killed()


def _act(lived: Lived, books: Books, folder: Path, action: Any) -> Lived:
    match action:
        case ("live", minutes):
            lived.through(lived.now_ns + minutes * MINUTE_NS)
        case ("die", minutes):
            lived.log.close()
            again = Lived(folder, _local(lived.now_ns + minutes * MINUTE_NS), BOTH, rate=0.02)
            for event in again.seen:
                books.take(event)
            again.hooks.append(books.take)
            return again
        case ("order", side, ticks, quantity, in_force, symbol):
            mark = lived.venue.mark_price(symbol) or 5000.0
            price = None if ticks is None else mark + 0.25 * ticks
            order_type = OrderType.MARKET if price is None else OrderType.LIMIT
            lived.order(side, price, quantity, symbol=symbol, time_in_force=in_force, order_type=order_type)
        case _:
            for order in _working(lived)[:1]:
                try:
                    events = lived.venue.cancel(ACCOUNT, order.basket_id, lived.now_ns)
                except VenueRefusal as refusal:
                    raise AssertionError(f"a working order cannot be canceled: {refusal}") from refusal
                lived.exchange._apply(events)
    return lived


def _check(lived: Lived, books: Books) -> None:
    now_ns = lived.now_ns
    for order in _working(lived):
        if order.terms.time_in_force is TimeInForce.DAY:
            assert EQUITY.next_close_ns(order.ts_created_ns) > now_ns, order
        assert order.terms.symbol != "ESZ6" or now_ns < at("2026-12-18 08:30")
    net = {each.symbol: each.net_quantity for each in lived.venue.positions(ACCOUNT) if each.net_quantity}
    assert net == {symbol: quantity for symbol, quantity in books.net.items() if quantity}
    account = lived.venue.account(ACCOUNT)
    marks = {symbol: lived.venue.mark_price(symbol) or 0.0 for symbol in net}
    cost = sum(quantity * 50.0 * marks[symbol] for symbol, quantity in net.items())
    assert account.balance + account.unrealized_pnl == pytest.approx(books.cash + cost, abs=1e-6)


def _working(lived: Lived) -> list[OrderState]:
    return [each for each in lived.venue.orders(ACCOUNT) if each.completion is None]


def _local(now_ns: int) -> str:
    return f"{local(now_ns, CHICAGO):%Y-%m-%d %H:%M:%S}"
