"""What comes by time alone comes in the order of its own times, also where something later has been seen already."""

from collections.abc import Sequence

import pytest

from nightdesk.trading import agenda as agenda_module
from nightdesk.trading.agenda import NEVER_NS, Agenda

TOLD = list[tuple[str, int, bool]]


class Due:
    """Due at ``times``, each ``grace_ns`` after its own; tells its name, until when it fires, and whether together."""

    def __init__(
        self, name: str, told: TOLD, times: Sequence[int], *, grace_ns: int = 0, repeats: bool = False
    ) -> None:
        self.name, self.grace_ns = name, grace_ns
        self._told, self._times, self._repeats = told, list(times), repeats

    @property
    def due_ns(self) -> int:
        return self._times[0] + self.grace_ns if self._times else NEVER_NS

    def fire(self, to_ns: int, *, together: bool) -> None:
        self._told.append((self.name, to_ns, together))
        if not self._repeats:
            self._times.pop(0)


def never() -> bool:
    return False


def test_what_has_its_own_time_by_then_is_delivered_without_its_grace() -> None:
    """At 60 the bar of 60 comes though it would wait until 70; what is of 61 does not."""
    told: TOLD = []
    agenda = Agenda((Due("bar", told, [60, 61], grace_ns=10), Due("timer", told, [61])))
    agenda.catch_up(59, is_over=never)
    assert told == []
    agenda.catch_up(60, is_over=never)
    assert told == [("bar", 60, True)]
    assert agenda.due_ns == 61


def test_catching_up_goes_by_own_times_and_then_by_the_sources_order() -> None:
    """Not by when it would be delivered: a grace is no order. All of it, each source as often as it is due."""
    told: TOLD = []
    agenda = Agenda(
        (Due("bar", told, [40, 50], grace_ns=30), Due("close", told, [50], grace_ns=20), Due("timer", told, [45, 50]))
    )
    agenda.catch_up(50, is_over=never)
    assert [name for name, _, _ in told] == ["bar", "timer", "bar", "close", "timer"]
    assert {(to_ns, together) for _, to_ns, together in told} == {(50, True)}
    assert agenda.due_ns == NEVER_NS


def test_catching_up_ends_with_a_strategy_that_has_stopped() -> None:
    """In the first callback, or before it: nothing is delivered afterwards."""
    for fires in (0, 1):
        told: TOLD = []
        agenda = Agenda((Due("timer", told, [1, 2, 3]),))
        agenda.catch_up(3, is_over=lambda told=told, fires=fires: len(told) >= fires)  # type: ignore[misc]
        assert len(told) == fires


def test_catching_up_ends_where_a_source_never_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """A strategy that sets its timer anew to the present in each call keeps nobody for ever."""
    monkeypatch.setattr(agenda_module, "FIRES_MAX", 7)
    told: TOLD = []
    Agenda((Due("timer", told, [5], repeats=True),)).catch_up(5, is_over=never)
    assert len(told) == 7


def test_nothing_is_due_in_an_agenda_without_sources() -> None:
    """Nor is anything caught up with."""
    agenda = Agenda(())
    assert agenda.due_ns == NEVER_NS
    agenda.catch_up(NEVER_NS, is_over=never)
