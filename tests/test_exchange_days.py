"""The exchange's days: what happens when, to markets, orders, prices and accounts."""

from pathlib import Path
from typing import Any

import pytest

from nightdesk.messages.enums import OrderType, Side, TimeInForce
from nightdesk.simulator.model import (
    Completion,
    ModeChanged,
    OrderHappened,
    PositionSettled,
    Quoted,
    Settled,
    Traded,
)
from nightdesk.simulator.plants.market_frames import mode_frame
from nightdesk.simulator.venue.days import TEXT_CONTRACT_ENDED, TEXT_DAY_ENDED
from nightdesk.simulator.venue.market import TEXT_CLOSED, TEXT_EXPIRED, TEXT_HALTED, TEXT_NO_MARKET_ORDER
from nightdesk.simulator.wire.templates import decode
from tests.calendar_support import at
from tests.days_support import ACCOUNT, CORN, CRUDE, ES, ES_NEXT, Lived, shown

DAY, GTC = TimeInForce.DAY, TimeInForce.GTC


def modes(lived: Lived, symbol: str = "ESZ6") -> list[tuple[str, str, str]]:
    """The modes of one contract: when, what, and of which trade date."""
    return [(shown(each.ts_ns), each.mode, each.trade_date) for each in lived.of(ModeChanged) if each.symbol == symbol]


def test_week_of_thanksgiving_is_opened_halted_and_closed_as_the_calendar_says(tmp_path: Path) -> None:
    """Thursday's halt belongs to Friday's trade date, Friday closes at 12:15, and Monday begins on Sunday."""
    lived = Lived(tmp_path, "2026-11-25 15:00", rate=0.01).until("2026-11-29 17:01")
    assert modes(lived) == [
        ("Wed 15:00", "Open", "20261125"),
        ("Wed 16:00", "Closed", "20261125"),
        ("Wed 16:45", "Pre Open", "20261127"),
        ("Wed 17:00", "Open", "20261127"),
        ("Thu 12:00", "Halted", "20261127"),
        ("Thu 16:45", "Pre Open", "20261127"),
        ("Thu 17:00", "Open", "20261127"),
        ("Fri 12:15", "Closed", "20261127"),
        ("Sun 16:00", "Pre Open", "20261130"),
        ("Sun 17:00", "Open", "20261130"),
    ]


def test_clocks_that_change_move_the_opening_by_an_hour_of_utc(tmp_path: Path) -> None:
    """The Sunday of March on which Chicago's clocks go forward: 17:00 there is 22:00 UTC, a week before 23:00."""
    lived = Lived(tmp_path, "2026-03-01 16:30", [ES | {"symbol": "ESM6"}], rate=0.01).until("2026-03-08 17:01")
    opened = [each.ts_ns for each in lived.of(ModeChanged) if each.mode == "Open"]
    assert [opened[0], opened[-1]] == [at("2026-03-01 17:00"), at("2026-03-08 17:00")]
    assert opened[-1] - opened[0] == (7 * 24 - 1) * 3600 * 10**9


def test_contracts_with_other_calendars_keep_their_own_days(tmp_path: Path) -> None:
    """Corn pauses in the morning and closes at 13:20; it is quiet only when both are closed."""
    lived = Lived(tmp_path, "2026-11-23 18:00", [ES, CORN]).until("2026-11-24 13:21")
    assert [(when, mode) for when, mode, _ in modes(lived, "ZCH7")] == [
        ("Mon 18:00", "Pre Open"),
        ("Mon 19:00", "Open"),
        ("Tue 07:45", "Halted"),
        ("Tue 07:45", "Pre Open"),
        ("Tue 08:30", "Open"),
        ("Tue 13:20", "Closed"),
    ]
    assert not lived.exchange._days.is_quiet  # type: ignore[union-attr]
    assert lived.until("2026-11-24 16:01").exchange._days.is_quiet  # type: ignore[union-attr]


def test_nothing_trades_while_a_market_is_closed_or_queues(tmp_path: Path) -> None:
    """Prints are within the sessions only; the queue before an opening has quotes, the closed market has nothing."""
    lived = Lived(tmp_path, "2026-11-24 15:00").until("2026-11-25 16:00")
    closes, queues, opens = (at(f"2026-11-24 {time}") for time in ("16:00", "16:45", "17:00"))
    prints = [each.ts_ns for each in lived.of(Traded)]
    assert not [ts_ns for ts_ns in prints if closes <= ts_ns < opens]
    assert [ts_ns for ts_ns in prints if ts_ns < closes]
    quotes = [each.ts_ns for each in lived.of(Quoted)]
    assert not [ts_ns for ts_ns in quotes if closes < ts_ns < queues]
    assert [ts_ns for ts_ns in quotes if queues <= ts_ns < opens]


def test_book_is_empty_after_the_close_and_full_before_the_opening(tmp_path: Path) -> None:
    """The anonymous orders end with their day, untold; others come with the pre-open, around the last price."""
    lived = Lived(tmp_path, "2026-11-24 15:00")
    assert len(lived.until("2026-11-24 16:00").venue.book("ESZ6")) >= 10
    assert lived.until("2026-11-24 16:44").venue.book("ESZ6") == ()
    assert lived.of(Quoted)[-1].ts_ns < at("2026-11-24 16:00")
    lived.until("2026-11-24 16:59")
    mark = lived.venue.mark_price("ESZ6") or 0.0
    assert len(levels := lived.venue.book("ESZ6")) >= 10
    assert all(abs(level.price - mark) < 20 for level in levels)


def test_opening_cross_trades_everything_at_one_price(tmp_path: Path) -> None:
    """One print with the whole volume comes first, and clients who were crossed are filled at its price."""
    lived = Lived(tmp_path, "2026-11-24 16:50")
    buyer = lived.order(Side.BUY, 5010.0, 3)
    seller = lived.order(Side.SELL, 4990.0, 2)
    assert not lived.until("2026-11-24 17:00").of(Traded)
    lived.through(at("2026-11-24 17:00"))
    first = lived.of(Traded)[0]
    assert (shown(first.ts_ns), first.aggressor, first.volume) == ("Tue 17:00", "NONE", first.quantity)
    assert first.quantity > 5
    fills = {
        each.order.basket_id: each.execution.price for each in lived.of(OrderHappened) if each.execution is not None
    }
    assert fills == {buyer: first.price, seller: first.price}


def test_price_goes_on_where_it_was(tmp_path: Path) -> None:
    """The opening after a weekend is near the last price before it; meanwhile nobody does anything."""
    lived = Lived(tmp_path, "2026-11-20 15:00").until("2026-11-20 16:00")
    before = lived.venue.mark_price("ESZ6") or 0.0
    steps = lived.exchange.drive.steps
    assert lived.until("2026-11-22 16:00").exchange.drive.steps == steps
    lived.until("2026-11-22 17:01")
    assert abs(lived.of(Traded)[-1].price - before) < 10
    assert lived.of(Traded)[-1].price > 0


@pytest.mark.parametrize(
    ("moment", "order_type", "text"),
    [
        ("2026-11-24 16:20", OrderType.LIMIT, TEXT_CLOSED),
        ("2026-11-24 16:50", OrderType.MARKET, TEXT_NO_MARKET_ORDER),
        ("2026-11-24 16:50", OrderType.LIMIT, ""),
        ("2026-11-26 13:00", OrderType.LIMIT, TEXT_HALTED),
        ("2026-11-26 16:50", OrderType.LIMIT, ""),
    ],
)
def test_market_takes_what_its_phase_allows(moment: str, order_type: OrderType, text: str, tmp_path: Path) -> None:
    """Closed and halted: nothing. Pre-open: no market orders."""
    lived = Lived(tmp_path, moment)
    price = None if order_type is OrderType.MARKET else 4000.0
    completion, said = lived.fate(lived.order(Side.BUY, price))
    assert said == text
    assert completion == (Completion.FAILED if text else None)


def test_day_orders_end_with_their_trade_date_and_others_live_on(tmp_path: Path) -> None:
    """At the close, not at a halt; an order of the pre-open is of the session that it waits for."""
    lived = Lived(tmp_path, "2026-11-25 15:00", rate=0.05)
    wednesday, stays = lived.order(price=4000.0), lived.order(price=4000.0, time_in_force=GTC)
    lived.until("2026-11-25 16:50")
    assert lived.fate(wednesday) == (Completion.CANCELED, TEXT_DAY_ENDED)
    friday = lived.order(price=4000.0)
    lived.until("2026-11-26 16:50")
    halted = lived.order(price=4000.0)
    lived.until("2026-11-27 12:15")
    assert [lived.fate(each)[0] for each in (friday, halted, stays)] == [None, None, None]
    lived.through(at("2026-11-27 12:15"))
    assert [lived.fate(each)[0] for each in (friday, halted, stays)] == ["C", "C", None]
    ended = [(shown(each.ts_ns), each.kind) for each in lived.of(OrderHappened) if each.order.basket_id == friday]
    assert ended[-2:] == [("Fri 12:15", "CANCELED"), ("Fri 12:15", "COMPLETED")]


def test_settlement_is_the_last_price_at_the_close(tmp_path: Path) -> None:
    """Told once for each trade date, with its date; the statistics of 155 have it from then on."""
    lived = Lived(tmp_path, "2026-11-24 15:00").until("2026-11-24 16:30")
    [settled] = lived.of(Settled)
    last = lived.of(Traded)[-1]
    assert (settled.price, settled.trade_date, shown(settled.ts_ns)) == (last.price, "20261124", "Tue 16:00")
    assert not settled.is_final
    statistics = lived.exchange.market_feed.statistics("ESZ6")
    assert (statistics.settlement_price, statistics.settlement_date) == (last.price, "20261124")
    assert statistics.volumes
    lived.until("2026-11-24 16:50")
    assert not statistics.volumes
    assert statistics.trade_date == "20261125"
    assert (statistics.settlement_price, statistics.settlement_date) == (last.price, "20261124")


def test_volume_and_price_limits_begin_anew_with_the_trade_date(tmp_path: Path) -> None:
    """Volume from 0, limits from the settlement: a percent of it, up and down."""
    terms = [{"symbol": "ESZ6", "price_limit_percent": 1.0}]
    lived = Lived(tmp_path, "2026-11-24 15:00", products=terms).until("2026-11-24 16:50")
    settled = lived.of(Settled)[-1].price
    low, high = lived.venue.price_limits("ESZ6") or (0.0, 0.0)
    assert abs(settled - low - settled / 100) < 0.26
    assert abs(high - settled - settled / 100) < 0.26
    lived.until("2026-11-24 17:30")
    first = next(each for each in lived.of(Traded) if each.ts_ns >= at("2026-11-24 17:00"))
    assert first.volume == first.quantity


def test_day_of_the_accounts_is_the_trade_date(tmp_path: Path) -> None:
    """The day's profit and its limit begin anew when orders are taken for the next date, not at midnight."""
    limits = [{"id": ACCOUNT, "loss_limit": 30.0}]
    lived = Lived(tmp_path, "2026-11-24 15:00", accounts=limits)
    buys = lived.until("2026-11-24 15:01").order(quantity=3)
    assert lived.fate(buys)[0] == Completion.FILLED
    lived.order(Side.SELL, quantity=3)
    # Commission and spread have cost more than the limit: nothing is opened any more on this date.
    refused = lived.order(price=4000.0)
    assert lived.fate(refused)[0] == Completion.FAILED
    account = lived.venue.account(ACCOUNT, lived.now_ns)
    lost = account.balance - account.day_start_balance
    assert lost <= -30
    midnight = lived.until("2026-11-24 16:40").venue.account(ACCOUNT, lived.now_ns)
    assert midnight.balance - midnight.day_start_balance == lost
    lived.until("2026-11-24 16:50")
    after = lived.venue.account(ACCOUNT, lived.now_ns)
    assert after.balance == after.day_start_balance == account.balance
    assert lived.fate(lived.order(price=4000.0))[0] is None
    assert lived.venue.order_dates(ACCOUNT) == ["20261124", "20261125"]


def test_expiry_ends_a_contract_for_good(tmp_path: Path) -> None:
    """At 8:30 on the third Friday: orders end, positions become cash at the final price, later orders are refused."""
    lived = Lived(tmp_path, "2026-12-18 08:00", [ES, ES_NEXT]).until("2026-12-18 08:10")
    long = lived.order(quantity=2)
    [working, stays] = lived.order(price=4000.0, time_in_force=GTC), lived.order(price=4000.0, symbol="ESH7")
    assert lived.fate(long)[0] == Completion.FILLED
    paid = sum(each.execution.price * each.execution.quantity for each in lived.of(OrderHappened) if each.execution)
    lived.until("2026-12-18 08:31")
    assert lived.fate(working) == (Completion.CANCELED, TEXT_CONTRACT_ENDED)
    assert lived.fate(stays)[0] is None
    [settled] = [each for each in lived.of(Settled) if each.symbol == "ESZ6"]
    assert (settled.is_final, settled.trade_date, shown(settled.ts_ns)) == (True, "20261218", "Fri 08:30")
    [closed] = lived.of(PositionSettled)
    assert (closed.account_id, closed.net_quantity, closed.price) == (ACCOUNT, 2, settled.price)
    [position] = [each for each in lived.venue.positions(ACCOUNT) if each.symbol == "ESZ6"]
    assert (position.net_quantity, position.buy_quantity, position.sell_quantity) == (0, 2, 2)
    assert position.realized_pnl == pytest.approx(50.0 * (2 * settled.price - paid))
    assert lived.venue.account(ACCOUNT).balance == pytest.approx(100_000.0 + position.realized_pnl - 4.0)
    assert lived.fate(lived.order(price=4000.0)) == (Completion.FAILED, TEXT_EXPIRED)
    prints = len([each for each in lived.of(Traded) if each.symbol == "ESZ6"])
    lived.until("2026-12-21 09:00")
    assert modes(lived)[-1] == ("Fri 08:30", "Closed", "20261218")
    assert len([each for each in lived.of(Traded) if each.symbol == "ESZ6"]) == prints
    assert [line["symbol"] for line in lived.logged("exchange_contract_expired")] == ["ESZ6"]


def test_reference_data_agree_with_the_day_on_which_a_contract_ends(tmp_path: Path) -> None:
    """The expiration that clients are told is the last trade date, by the product's own holidays."""
    lived = Lived(tmp_path, "2026-11-24 12:00", [ES, ES_NEXT, CRUDE, CORN])
    catalog, now_ns = lived.exchange.catalog, lived.now_ns
    told = {symbol: catalog.expiration(symbol, now_ns) for symbol in ("ESZ6", "ESH7", "CLF7", "ZCH7")}
    assert told == {"ESZ6": "20261218", "ESH7": "20270319", "CLF7": "20261221", "ZCH7": "20270312"}
    days = lived.exchange._days
    assert days is not None
    assert {symbol: str(end.trade_date) for symbol, end in days._ends.items()} == told


def test_front_month_changes_before_the_contract_ends(tmp_path: Path) -> None:
    """With the trade date of the Monday of the last week, at its pre-open."""
    lived = Lived(tmp_path, "2026-12-11 15:00", [ES, ES_NEXT], rate=0.01)

    def front() -> str:
        product = lived.exchange.catalog.front_month("ES", "CME", lived.now_ns)
        assert product is not None
        return product.symbol

    assert front() == "ESZ6"
    lived.until("2026-12-13 15:59")
    assert front() == "ESZ6"
    lived.until("2026-12-13 16:01")
    assert front() == "ESH7"
    lived.until("2026-12-18 12:00")
    assert front() == "ESH7"


def test_contract_that_had_ended_before_the_market_began_is_traded_without_an_end(tmp_path: Path) -> None:
    """A symbol of years ago stays usable; the log says so once."""
    lived = Lived(tmp_path, "2026-11-24 12:00", [ES | {"symbol": "ESH4"}]).until("2026-11-24 12:10")
    assert [line["last_day"] for line in lived.logged("exchange_contract_past")] == [20240315]
    assert lived.fate(lived.order(symbol="ESH4"))[0] == Completion.FILLED


def test_mode_is_told_as_in_captured_frames(tmp_path: Path) -> None:
    """157: the schedule is the reason, and the trade date is the calendar's."""
    lived = Lived(tmp_path, "2026-11-24 16:30").until("2026-11-24 17:01")

    def fields(event: ModeChanged) -> dict[str, Any]:
        _, message = decode(mode_frame(event).payload)
        return {descriptor.name: value for descriptor, value in message.ListFields()}

    told = [fields(each) for each in lived.of(ModeChanged)]
    frame = {"template_id": 157, "symbol": "ESZ6", "exchange": "CME", "halt_reason": "Group Schedule"}
    assert told == [
        frame | {"market_mode": "Closed", "trade_date": "20261124", "ssboe": 1795559400, "usecs": 0},
        frame | {"market_mode": "Pre Open", "trade_date": "20261125", "ssboe": 1795560300, "usecs": 0},
        frame | {"market_mode": "Open", "trade_date": "20261125", "ssboe": 1795561200, "usecs": 0},
    ]


def test_fault_that_holds_a_market_gives_it_back_to_the_calendar(tmp_path: Path) -> None:
    """A reserved market does not open by the calendar; after the fault it has the mode that the calendar says."""
    lived = Lived(tmp_path, "2026-11-24 16:50")
    exchange = lived.exchange
    held: list[str] = ["ESZ6"]
    exchange.injector.holds_mode = lambda symbol: symbol in held  # type: ignore[method-assign]
    exchange.set_mode(["ESZ6"], "Reserved", "fault")
    lived.until("2026-11-24 17:10")
    assert (lived.venue.mode("ESZ6"), exchange.scheduled_mode("ESZ6")) == ("Reserved", "Open")
    held.clear()
    exchange.set_mode(["ESZ6"], exchange.scheduled_mode("ESZ6"), "fault is over")
    assert lived.until("2026-11-24 17:20").of(Traded)
