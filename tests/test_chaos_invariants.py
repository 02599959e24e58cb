"""The audit bites: of a run that is all right every invariant holds, and each planted violation is reported."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from nightdesk.chaos.books import ExchangeBook, ExchangeOrder, FillKey, JournalBook, JournalFill, JournalOrder
from nightdesk.chaos.evidence import Evidence, Kill, OrderLogin, PlantLife, RoundRecord
from nightdesk.chaos.invariants import losses
from nightdesk.chaos.invariants_life import judge

ACCOUNT, SYMBOL = "A", "ESZ6"
SECOND = 1_000_000_000
FILL: FillKey = (ACCOUNT, "1", "f1", 2, 5000.0)
EVERYBODY = {"root": 1, "plants": 2, "plants/order": 3, "strategies": 4, "strategies/a": 5}


def line(event: str, child_id: str, pid: int = 0, incarnation: int = 1, **more: Any) -> dict[str, Any]:
    """A record of the log, of the first start."""
    fields = {"event": event, "child_id": child_id, "incarnation": incarnation, "pid": pid, "generation": 1}
    return fields | {"reason": "" if event == "child_started" else "KILLED"} | more


def gap(event: str, from_s: float, to_s: float) -> dict[str, Any]:
    """What a strategy's witness says of ticks."""
    times = {"ts_from_ns": round(from_s * SECOND), "ts_to_ns": round(to_s * SECOND)}
    return line(event, "strategies/a", symbol=SYMBOL, **times)


def good_run() -> Evidence:
    """Two orders of ours and one of somebody else's, one death of the order plant, one gap in the ticks."""
    exchange = ExchangeBook(
        orders=[
            ExchangeOrder("1", ACCOUNT, "t1", SYMBOL, "FILLED", 2),
            ExchangeOrder("2", ACCOUNT, "t2", SYMBOL, "CANCELED", 0),
            ExchangeOrder("3", ACCOUNT, "", SYMBOL, "FAILED", 0),
        ],
        fills=[FILL],
        tags=Counter({"t1": 1, "t2": 1}),
        positions=Counter({(ACCOUNT, SYMBOL): 2}),
    )
    journal = JournalBook(
        orders=[
            JournalOrder("t1", "a", ACCOUNT, SYMBOL, "FILLED", "1", 2),
            JournalOrder("t2", "a", ACCOUNT, SYMBOL, "EXPIRED", "2", 0),
            JournalOrder("t3", "a", ACCOUNT, SYMBOL, "REJECTED", None, 0),
        ],
        fills=[JournalFill(FILL, "a", SYMBOL, 2)],
    )
    lines = [
        *(line("child_started", child, pid) for child, pid in EVERYBODY.items() if child != "root"),
        gap("chaos_ticks_missing", 10, 15),
        gap("chaos_gap_told", 10, 16),
        line("child_exited", "plants/order", 3),
        line("child_restarted", "plants/order", 6, 2),
    ]
    return Evidence(
        exchange=exchange,
        journal=journal,
        received=Counter({"t1": 1, "t2": 1, "t3": 1}),
        system_positions={(ACCOUNT, SYMBOL): 2},
        strategy_positions={("a", SYMBOL): 2},
        lines=lines,
        kills=[Kill(1, 1, "plants/order", 3)],
        rounds=[one_round(EVERYBODY | {"plants/order": 6}, "plants/order")],
        order_logins=[OrderLogin(1, 100, 190, 180), OrderLogin(2, 200, 290, 280)],
        plant_lives=[PlantLife(1, 1, "10:00", "10:01"), PlantLife(1, 2, "10:02", "10:03")],
        order_plants=2,
        tick_times={(1, SYMBOL): [time * SECOND for time in (5, 6, 10, 12, 15, 16, 100, 106)]},
        searched=5,
        ends=1,
    )


def one_round(after: dict[str, int], *killed: str) -> RoundRecord:
    """A round that was to end these children."""
    children = frozenset(killed)
    return RoundRecord(1, ("kill",), EVERYBODY, after, children, children, 1.0, 90.0)


def verdicts(evidence: Evidence) -> dict[str, bool]:
    """By name, whether each invariant holds."""
    return {each.name: each.holds for each in judge(evidence)}


def test_every_invariant_holds_of_a_good_run() -> None:
    """And the three numbers are zero."""
    assert [each.found for each in judge(good_run())] == [()] * 10
    assert verdicts(good_run()) == {f"I{number}": True for number in range(1, 11)}
    assert losses(good_run()) == (0, 0, 0)


def _order_without_a_row(evidence: Evidence) -> None:
    del evidence.journal.orders[0]


def _stranger_with_a_fill(evidence: Evidence) -> None:
    evidence.exchange.orders[2] = ExchangeOrder("3", ACCOUNT, "", SYMBOL, "FILLED", 1)


def _two_rows(evidence: Evidence) -> None:
    evidence.journal.orders.append(JournalOrder("x9", "EXTERNAL", ACCOUNT, SYMBOL, "FILLED", "1", 2))


def _row_of_another_order(evidence: Evidence) -> None:
    evidence.journal.orders[1] = evidence.journal.orders[1]._replace(venue_order_id=None)


def _invented_order(evidence: Evidence) -> None:
    evidence.journal.orders[2] = evidence.journal.orders[2]._replace(venue_order_id="77")


def _row_still_works(evidence: Evidence) -> None:
    evidence.journal.orders[1] = evidence.journal.orders[1]._replace(status="ACCEPTED")


def _order_still_works(evidence: Evidence) -> None:
    evidence.exchange.orders[1] = evidence.exchange.orders[1]._replace(state="OPEN")


def _other_quantity(evidence: Evidence) -> None:
    evidence.journal.orders[0] = evidence.journal.orders[0]._replace(filled_quantity=1)


def _tag_twice_on_the_wire(evidence: Evidence) -> None:
    evidence.received["t3"] = 2


def _tag_twice_in_the_log(evidence: Evidence) -> None:
    evidence.exchange.tags["t1"] = 2


def _journal_position(evidence: Evidence) -> None:
    evidence.journal.fills.append(JournalFill((ACCOUNT, "1", "f2", 1, 5000.0), "a", SYMBOL, 1))


def _exchange_position(evidence: Evidence) -> None:
    evidence.exchange.positions[ACCOUNT, "NQZ6"] = -1


def _told_position(evidence: Evidence) -> None:
    evidence.system_positions = {}


def _believed_position(evidence: Evidence) -> None:
    evidence.strategy_positions["a", SYMBOL] = 4


def _fill_twice(evidence: Evidence) -> None:
    evidence.journal.fills.append(evidence.journal.fills[0])


def _fill_missing(evidence: Evidence) -> None:
    evidence.journal.fills.clear()


def _fill_at_another_price(evidence: Evidence) -> None:
    evidence.journal.fills[0] = evidence.journal.fills[0]._replace(key=(ACCOUNT, "1", "f1", 2, 5000.25))


def _death_not_logged(evidence: Evidence) -> None:
    evidence.lines = [each for each in evidence.lines if each["event"] != "child_exited"]


def _death_told_twice(evidence: Evidence) -> None:
    evidence.lines.insert(-1, line("child_exited", "plants/order", 3))


def _no_restart(evidence: Evidence) -> None:
    evidence.lines.pop()


def _death_without_a_reason(evidence: Evidence) -> None:
    evidence.lines[-2]["reason"] = ""


def _restart_without_a_pid(evidence: Evidence) -> None:
    evidence.lines[-1]["pid"] = 0


def _incarnation_twice(evidence: Evidence) -> None:
    evidence.lines[-1]["incarnation"] = 1


def _bystander_changed(evidence: Evidence) -> None:
    evidence.rounds = [one_round(EVERYBODY | {"plants/order": 6, "strategies/a": 9}, "plants/order")]


def _bystander_gone(evidence: Evidence) -> None:
    after = EVERYBODY | {"plants/order": 6}
    del after["strategies/a"]
    evidence.rounds = [one_round(after, "plants/order")]


def _victim_unchanged(evidence: Evidence) -> None:
    evidence.rounds = [one_round(EVERYBODY, "plants/order")]


def _two_processes(evidence: Evidence) -> None:
    evidence.alive_together = ["order plants [3, 6] live at the same time"]


def _two_that_write(evidence: Evidence) -> None:
    evidence.plant_lives[0] = evidence.plant_lives[0]._replace(last="10:02:30")


def _two_that_speak(evidence: Evidence) -> None:
    evidence.order_logins[0] = OrderLogin(1, 100, 250, 240)


def _two_that_speak_past_the_proxy(evidence: Evidence) -> None:
    evidence.order_logins[0] = OrderLogin(1, 100, 250, None)


def _gap_not_told(evidence: Evidence) -> None:
    evidence.lines = [each for each in evidence.lines if each["event"] != "chaos_gap_told"]


def _gap_told_too_short(evidence: Evidence) -> None:
    evidence.lines.append(gap("chaos_ticks_missing", 200, 210))
    evidence.lines.append(gap("chaos_gap_told", 200, 209))


def _gap_told_to_another(evidence: Evidence) -> None:
    evidence.lines.append(gap("chaos_ticks_missing", 10, 15) | {"child_id": "strategies/b"})


def _tick_in_the_silence(evidence: Evidence) -> None:
    evidence.lines.append(gap("chaos_ticks_missing", 100, 106))
    evidence.tick_times[1, SYMBOL].insert(-1, 103 * SECOND)


def _two_connections_around_the_silence(evidence: Evidence) -> None:
    evidence.lines.append(gap("chaos_ticks_missing", 100, 106))
    evidence.tick_times[2, SYMBOL] = [evidence.tick_times[1, SYMBOL].pop()]


def _silence_of_another_symbol(evidence: Evidence) -> None:
    evidence.lines.append(gap("chaos_ticks_missing", 100, 106))
    evidence.tick_times[1, "NQZ6"] = evidence.tick_times.pop((1, SYMBOL))


def _secret(evidence: Evidence) -> None:
    evidence.leaks = ["system.out holds the password"]


def _process_left(evidence: Evidence) -> None:
    evidence.left = ["start 1: 2 processes left"]


VIOLATIONS: dict[Callable[[Evidence], None], set[str]] = {
    _order_without_a_row: {"I1"},
    _stranger_with_a_fill: {"I1"},
    _two_rows: {"I1"},
    _row_of_another_order: {"I1"},
    _invented_order: {"I1"},
    _row_still_works: {"I1"},
    _order_still_works: {"I1"},
    _other_quantity: {"I1"},
    _tag_twice_on_the_wire: {"I2"},
    _tag_twice_in_the_log: {"I2"},
    _journal_position: {"I3", "I4"},
    _exchange_position: {"I3"},
    _told_position: {"I3"},
    _believed_position: {"I3"},
    _fill_twice: {"I3", "I4"},
    _fill_missing: {"I3", "I4"},
    _fill_at_another_price: {"I4"},
    _death_not_logged: {"I5"},
    _death_told_twice: {"I5"},
    _no_restart: {"I5"},
    _death_without_a_reason: {"I5"},
    _restart_without_a_pid: {"I5"},
    _incarnation_twice: {"I5"},
    _bystander_changed: {"I6"},
    _bystander_gone: {"I6"},
    _victim_unchanged: {"I6"},
    _two_processes: {"I7"},
    _two_that_write: {"I7"},
    _two_that_speak: {"I7"},
    _two_that_speak_past_the_proxy: {"I7"},
    _gap_not_told: {"I8"},
    _gap_told_too_short: {"I8"},
    _gap_told_to_another: {"I8"},
    _tick_in_the_silence: {"I8"},
    _two_connections_around_the_silence: {"I8"},
    _silence_of_another_symbol: {"I8"},
    _secret: {"I9"},
    _process_left: {"I10"},
}


@pytest.mark.parametrize("plant", VIOLATIONS, ids=lambda plant: plant.__name__.strip("_"))
def test_each_planted_violation_is_reported(plant: Callable[[Evidence], None]) -> None:
    """By the invariant that it breaks, and by no other."""
    evidence = good_run()
    plant(evidence)
    assert {name for name, holds in verdicts(evidence).items() if not holds} == VIOLATIONS[plant]


def _frames_on_their_way(evidence: Evidence) -> None:
    """A dead process's last bytes arrive when the network lets them: that is no second process."""
    evidence.order_logins[0] = OrderLogin(1, 100, 250, 190)


def _died_with_its_branch(evidence: Evidence) -> None:
    """The supervisor that would have told of a death has died, too, and its own supervisor tells that."""
    evidence.lines[-2:] = [
        line("child_exited", "plants", 2),
        line("child_started", "plants/order", 6, 2),
        line("child_restarted", "plants", 7, 2),
    ]


def _died_with_the_system(evidence: Evidence) -> None:
    """Nobody was left to tell; the next start has processes of its own."""
    evidence.lines[-2:] = [line("child_started", "plants/order", 6, 1) | {"generation": 2}]
    after = {child: pid + 10 for child, pid in EVERYBODY.items()}
    evidence.rounds = [one_round(after, *EVERYBODY)]


def _silent_market(evidence: Evidence) -> None:
    """A halted market has no ticks to miss, by the exchange's own record."""
    evidence.lines.append(gap("chaos_ticks_missing", 100, 106))


def _silent_since_before_the_login(evidence: Evidence) -> None:
    """The state told at a subscription is of a moment before it: since then nothing has happened."""
    evidence.lines.append(gap("chaos_ticks_missing", 100, 106))
    evidence.tick_times[2, SYMBOL] = [100 * SECOND, evidence.tick_times[1, SYMBOL].pop()]


def _damaged_time(evidence: Evidence) -> None:
    """A tick whose time a fault has spoiled makes exchange time jump, and back."""
    evidence.lines.append(gap("chaos_ticks_missing", 6, 9))
    evidence.spoiled_times[SYMBOL] = [9 * SECOND]


ALLOWED = (
    _silent_since_before_the_login,
    _damaged_time,
    _frames_on_their_way,
    _died_with_its_branch,
    _died_with_the_system,
    _silent_market,
)


@pytest.mark.parametrize("plant", ALLOWED, ids=lambda plant: plant.__name__.strip("_"))
def test_what_only_looks_like_a_violation_is_none(plant: Callable[[Evidence], None]) -> None:
    """Each is explained where it is planted."""
    evidence = good_run()
    plant(evidence)
    assert [each.found for each in judge(evidence) if not each.holds] == []


@pytest.mark.parametrize(
    ("name", "empty"),
    [
        ("I1", {"exchange": ExchangeBook([], [], Counter(), Counter()), "journal": JournalBook([], [])}),
        ("I6", {"rounds": []}),
        ("I7", {"order_logins": []}),
        ("I8", {"lines": []}),
        ("I9", {"searched": 0}),
        ("I10", {"ends": 0}),
    ],
)
def test_nothing_is_proven_where_nothing_was_looked_at(name: str, empty: dict[str, Any]) -> None:
    """An audit of an empty run must not pass."""
    evidence = good_run()
    for key, value in empty.items():
        setattr(evidence, key, value)
    assert not verdicts(evidence)[name]


def test_the_three_numbers_count_what_went_wrong() -> None:
    """Duplicates, lost, differences; each counted where it is."""
    evidence = good_run()
    _tag_twice_on_the_wire(evidence)
    _fill_twice(evidence)
    _order_without_a_row(evidence)
    _exchange_position(evidence)
    assert losses(evidence) == (2, 1, 2)
