"""Chains of contracts, their rolls, and the steps by which a position moves; pure."""

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightdesk.calendars.load import calendar_of, load_calendar
from nightdesk.calendars.terms import TERMS
from nightdesk.trading.contracts import RULES, expiry_of, parse_contract
from nightdesk.trading.roll_step import LEG_ORDERS_MAX, Act, LegKind, LegOrder, next_step
from nightdesk.trading.rolls import (
    CYCLES,
    Leg,
    around,
    chain_of,
    has_rule,
    last_close_ns,
    leg_at,
    legs_of,
    roll_opening,
)
from nightdesk.trading.sessions import AlwaysOpen, SessionCalendar
from nightdesk.trading.volume_watch import VolumeWatch
from tests.calendar_support import HOUR_NS, at, utc

ES = load_calendar("cme_equity")
PROPERTIES = Path(__file__).resolve().parents[2] / "shared" / "data" / "lean_symbol_properties_cme_excerpt.csv"
products = st.sampled_from(sorted(CYCLES))
instants = st.integers(utc("2018-06-01"), utc("2030-06-01"))


def legs(product: str, calendar: SessionCalendar, now_ns: int) -> list[Leg]:
    return legs_of(chain_of(product, calendar, now_ns), "date")


@settings(max_examples=150, deadline=None)
@given(products, instants, st.integers(0, 200 * 24))
def test_front_contract_never_goes_back_and_never_has_ended(product: str, now_ns: int, hours: int) -> None:
    """At any two moments the later one's contract is the same or a later one, and trades still."""
    calendar = load_calendar(calendar_of(product))
    ends = []
    for moment in (now_ns, now_ns + hours * HOUR_NS):
        chain = legs(product, calendar, moment)
        front = chain[leg_at(chain, moment)].symbol
        expiry = expiry_of(front, int(str(date_of_ns(moment))[:4]), calendar)
        assert expiry is not None
        assert expiry.ends_ns > moment
        ends.append(expiry.trade_date)
    assert ends[0] <= ends[1]


def date_of_ns(now_ns: int) -> int:
    return AlwaysOpen().trade_date(now_ns)


@settings(max_examples=100, deadline=None)
@given(products, instants)
def test_a_roll_takes_effect_at_an_opening(product: str, now_ns: int) -> None:
    """Whatever the product: the moment at which a contract is left begins a session, after the end of another one."""
    calendar = load_calendar(calendar_of(product))
    for leg in around(legs(product, calendar, now_ns), now_ns, behind=0, ahead=2)[1:]:
        session = calendar.session_at(leg.from_ns)
        assert session is not None
        assert (session.opens_ns, session.trade_date) == (leg.from_ns, leg.trade_date)
        assert not calendar.is_open(leg.from_ns - 1)
        assert last_close_ns(calendar, leg.from_ns) <= leg.from_ns


@pytest.mark.parametrize(
    ("product", "day", "front", "following", "opens"),
    [
        ("ES", "2026-12-09 12:00", "ESZ6", "ESH7", "2026-12-09 17:00"),
        ("ES", "2026-12-09 17:00", "ESH7", "ESM7", "2027-03-10 17:00"),
        ("ES", "2024-03-06 12:00", "ESH4", "ESM4", "2024-03-06 17:00"),
        ("CL", "2026-11-23 12:00", "CLF7", "CLG7", "2026-12-15 17:00"),
        ("GC", "2026-11-23 12:00", "GCZ6", "GCG7", "2026-11-25 17:00"),
        ("6E", "2026-11-23 12:00", "6EZ6", "6EH7", "2026-12-06 17:00"),
        ("ZC", "2026-11-23 12:00", "ZCZ6", "ZCH7", "2026-11-23 19:00"),
    ],
)
def test_front_contract_follows_the_product_s_habit(
    product: str, day: str, front: str, following: str, opens: str
) -> None:
    """Index futures roll with the second Thursday; what is delivered is left before a holder may be called upon."""
    calendar = load_calendar(calendar_of(product))
    present, coming = around(legs(product, calendar, at(day)), at(day), behind=0, ahead=1)
    assert (present.symbol, coming.symbol, coming.from_ns) == (front, following, at(opens))


def test_days_before_the_end_can_be_chosen() -> None:
    """Four days: the Monday of the week in which index futures end; none: the last day itself."""
    for days, trade_date in ((4, 20261214), (0, 20261218)):
        chain = legs_of(chain_of("ES", ES, at("2026-12-01 12:00"), days), "date")
        assert around(chain, at("2026-12-01 12:00"), behind=0, ahead=1)[1].trade_date == trade_date


def test_a_decision_comes_before_the_latest_moment_and_only_once() -> None:
    """What a rule has found moves its roll ahead; one that comes too late, or of another decade, changes nothing."""
    chain = chain_of("ES", ES, at("2026-12-01 12:00"), 1)
    early = Leg("ESH7", at("2026-12-07 17:00"), 20261208, "volume")
    found = {leg.symbol: leg for leg in legs_of(chain, "latest", {"ESH7": early})}
    assert found["ESH7"] == early
    assert found["ESM7"].reason == "latest"
    for wrong in (at("2027-01-03 17:00"), at("2017-01-03 17:00"), at("2016-12-07 17:00")):
        late = legs_of(chain, "latest", {"ESH7": early._replace(from_ns=wrong)})
        assert next(leg for leg in late if leg.symbol == "ESH7").reason == "latest"


@pytest.mark.parametrize(
    ("now", "notice_s", "opens"),
    [
        ("2026-12-07 12:00", 900, "2026-12-07 17:00"),
        ("2026-12-07 15:50", 900, "2026-12-08 17:00"),
        ("2026-12-07 16:30", 900, "2026-12-08 17:00"),
        ("2026-12-11 12:00", 900, "2026-12-13 17:00"),
        ("2026-12-11 16:30", 900, "2026-12-14 17:00"),
    ],
)
def test_a_roll_leaves_time_to_move_positions(now: str, notice_s: int, opens: str) -> None:
    """Before the opening lies the end of a session with the whole notice in it."""
    opening_ns, _ = roll_opening(ES, at(now), notice_s * 1_000_000_000)
    assert opening_ns == at(opens)


def test_a_market_that_never_closes_rolls_at_midnight() -> None:
    """Days of UTC are its sessions."""
    chain = legs_of(chain_of("ES", AlwaysOpen(), utc("2026-12-01")), "date")
    coming = around(chain, utc("2026-12-01"), behind=0, ahead=1)[1]
    assert (coming.symbol, coming.from_ns) == ("ESH7", utc("2026-12-10"))
    assert roll_opening(AlwaysOpen(), utc("2026-12-01 12:00"), 60)[0] == utc("2026-12-02")


def test_every_product_with_a_cycle_has_a_rule_and_a_calendar() -> None:
    """What can be an alias can be resolved."""
    for product in CYCLES:
        assert has_rule(product)
        assert calendar_of(product)
    assert not has_rule("FOO")
    assert CYCLES.keys() <= RULES.keys()


@settings(max_examples=100)
@given(products, st.integers(1, 12), st.integers(2014, 2033))
def test_a_contract_s_symbol_is_read_back(product: str, month: int, year: int) -> None:
    """One digit of a year is enough near it, two are as well."""
    letter = "FGHJKMNQUVXZ"[month - 1]
    for digits in (f"{year % 10}", f"{year % 100:02}"):
        assert parse_contract(f"{product}{letter}{digits}", year) == (product, month, year)


@pytest.mark.skipif(not PROPERTIES.exists(), reason="../shared/data is absent")
def test_shipped_terms_are_those_of_the_recorded_table() -> None:
    """Tick sizes and multipliers of the excerpt of LEAN's symbol properties, where it is at hand."""
    with PROPERTIES.open() as file:
        rows = {row["symbol"]: row for row in csv.DictReader(file)}
    assert rows.keys() == TERMS.keys()
    for product, terms in TERMS.items():
        row = rows[product]
        assert terms == (float(row["minimum_price_variation"]), float(row["contract_multiplier"]))


# Volume.


def test_the_next_contract_takes_over_after_a_whole_session_with_more_volume() -> None:
    """Not during the session, not of two different sessions, and not with as much."""
    watch = VolumeWatch(ES)
    for symbol in ("ESZ6", "ESH7"):
        watch.begin(symbol, at("2026-12-07 16:30"))
    day = at("2026-12-08 10:00")
    for symbol, volume in (("ESZ6", 100), ("ESH7", 100), ("ESH7", 101)):
        watch.note(symbol, day, volume)
    assert not watch.has_overtaken("ESZ6", "ESH7", day + HOUR_NS)
    assert watch.has_overtaken("ESZ6", "ESH7", at("2026-12-08 16:00"))
    watch.note("ESZ6", at("2026-12-08 18:00"), 5)
    assert watch.has_overtaken("ESZ6", "ESH7", at("2026-12-08 18:00"))
    watch.note("ESZ6", at("2026-12-09 18:00"), 5)
    assert not watch.has_overtaken("ESZ6", "ESH7", at("2026-12-09 18:00"))


# A position's way.


@settings(max_examples=300)
@given(st.integers(-9, 9).filter(bool), st.booleans(), st.data())
def test_a_position_arrives_whole_whatever_fails(held: int, reopens: bool, data: st.DataObject) -> None:
    """Orders may fill in part or not at all: in the end the old contract is empty and the new one has all, or none."""
    orders: dict[LegKind, list[LegOrder]] = {LegKind.CLOSE: [], LegKind.OPEN: []}
    position, opened = held, 0
    for _ in range(4 * LEG_ORDERS_MAX):
        step = next_step(position, orders[LegKind.CLOSE], orders[LegKind.OPEN], reopens=reopens)
        if step.act is not Act.SEND:
            break
        assert step.number == len(orders[step.leg]) + 1
        pending = [*orders[step.leg], LegOrder(0, is_final=False)]
        waiting = {**orders, step.leg: pending}
        assert next_step(position, waiting[LegKind.CLOSE], waiting[LegKind.OPEN], reopens=reopens).act is Act.WAIT
        filled = data.draw(st.integers(min(0, step.quantity), max(0, step.quantity)))
        orders[step.leg].append(LegOrder(filled, is_final=True))
        if step.leg is LegKind.CLOSE:
            position += filled
        else:
            opened += filled
        assert abs(opened) <= abs(held)
    if step.act is Act.DONE:
        assert (position, opened) == (0, held if reopens else 0)
    else:
        assert step.act is Act.GIVE_UP
