"""What a run came to: one document for a program, one table for a person."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nightdesk.chaos.evidence import Evidence
from nightdesk.chaos.invariants import TOLD_MAX, Losses, Verdict, losses
from nightdesk.chaos.table import DRAWN, FAULTS, kinds_required

ORDERS_A_MINUTE = 500
"""Orders that the exchange must have taken, per minute of the run, all faults included."""

RATE_MINUTES = 1 / 60


class Requirement(NamedTuple):
    """What a run must have reached to say anything."""

    name: str
    required: str
    reached: str
    holds: bool


@dataclass
class Report:
    """All of it."""

    seed: int
    minutes: float
    strategies: int
    traded_s: float
    """From everybody's first being in service to the end of the last round."""
    orders: int
    """New orders that the exchange has taken in that time."""
    struck: Counter[str]
    skipped: Counter[str]
    """Faults that did not apply at their moment; they do not count."""
    back_s: dict[str, list[float]]
    """By fault: seconds from the end of a round with it until everybody was in service again."""
    wire_requests: Counter[int]
    evidence: Evidence
    verdicts: list[Verdict]
    requirements: list[Requirement] = field(default_factory=list)
    possible: int = len(DRAWN)
    """Kinds of fault that the run drew from."""

    @property
    def ok(self) -> bool:
        """Whether every invariant holds and every requirement is met."""
        return all(each.holds for each in self.verdicts) and all(each.holds for each in self.requirements)

    @property
    def orders_a_minute(self) -> float:
        """Of the whole time, outages included."""
        return self.a_minute(self.orders)

    def a_minute(self, count: int) -> float:
        """So many per minute of the whole time."""
        return count / max(self.traded_s * RATE_MINUTES, RATE_MINUTES)

    def losses(self) -> Losses:
        """The three numbers that must be zero."""
        return losses(self.evidence)


def requirements(report: Report, problems: list[str]) -> list[Requirement]:
    """What the command demands of each seed, beside the invariants."""
    fills = len(report.evidence.exchange.fills)
    kinds = kinds_required(report.minutes, report.possible)
    reached = len(report.struck)
    rounds = report.evidence.rounds
    faulty = [text for each in rounds for text in each.problems]
    told = "; ".join([*problems, *faulty][:TOLD_MAX]) or "as it must be"
    back = [each.back_s for each in rounds if each.back_s is not None]
    longest = f"at most {max(back):.1f} s" if back else "no round"
    limit_s = max((each.limit_s for each in rounds), default=0.0)
    return [
        Requirement(
            "orders a minute", f">= {ORDERS_A_MINUTE}", f"{report.orders_a_minute:.0f}",
            report.orders_a_minute >= ORDERS_A_MINUTE,
        ),
        Requirement("fills", "> 0", str(fills), fills > 0),
        Requirement("kinds of fault", f">= {kinds}", f"{reached} of {report.possible}", reached >= kinds),
        Requirement(
            "back in service", f"each round within {limit_s:g} s", longest,
            bool(rounds) and len(back) == len(rounds),
        ),
        Requirement("nothing else", "no other surprise", told, not problems and not faulty),
    ]  # fmt: skip


def document(report: Report) -> dict[str, Any]:
    """The run as JSON."""
    lost = report.losses()
    return {
        "seed": report.seed,
        "minutes": report.minutes,
        "strategies": report.strategies,
        "ok": report.ok,
        "traded_s": round(report.traded_s, 1),
        "orders": report.orders,
        "orders_a_minute": round(report.orders_a_minute, 1),
        "orders_in_all": len(report.evidence.exchange.orders),
        "changes": report.wire_requests[314],
        "cancels": report.wire_requests[316],
        "fills": len(report.evidence.exchange.fills),
        "rounds": len(report.evidence.rounds),
        "faults": report.struck.total(),
        "faults_a_minute": round(report.a_minute(report.struck.total()), 1),
        "kinds": len(report.struck),
        "faults_by_kind": dict(sorted(report.struck.items())),
        "did_not_apply": dict(sorted(report.skipped.items())),
        "deaths": len(report.evidence.kills),
        "duplicates": lost.duplicates,
        "lost": lost.lost,
        "position_differences": lost.position_differences,
        "invariants": {
            each.name: {
                "title": each.title,
                "holds": each.holds,
                "looked_at": each.looked_at,
                "evidence": each.evidence,
                "found": len(each.found),
                "first": list(each.found[:TOLD_MAX]),
            }
            for each in report.verdicts
        },
        "requirements": {each.name: each._asdict() for each in report.requirements},
        "recovery_s": {name: _times(found) for name, found in sorted(report.back_s.items())},
    }


def _times(found: list[float]) -> dict[str, float]:
    ordered = sorted(found)
    return {
        "rounds": len(ordered),
        "median": round(ordered[len(ordered) // 2], 2),
        "longest": round(ordered[-1], 2),
    }


def tables(report: Report) -> RenderableType:
    """The run for a person."""
    lost = report.losses()
    head = Text.assemble(
        ("seed ", "dim"), str(report.seed), ("   orders ", "dim"), str(report.orders), ("   fills ", "dim"),
        str(len(report.evidence.exchange.fills)), ("   faults ", "dim"), str(report.struck.total()),
        ("   duplicates ", "dim"), str(lost.duplicates), ("   lost ", "dim"), str(lost.lost),
        ("   position differences ", "dim"), str(lost.position_differences), "   ", _mark(report.ok),
    )  # fmt: skip
    return Group(head, _faults(report), _invariants(report), _requirements(report))


def _faults(report: Report) -> Table:
    table = _table("faults", "fault", "row", "what", "times", "back in service, s (median / longest)")
    for name, count in sorted(report.struck.items()):
        times = _times(report.back_s[name]) if name in report.back_s else None
        back = f"{times['median']} / {times['longest']}" if times else "-"
        table.add_row(name, FAULTS[name].matrix, FAULTS[name].how, str(count), back)
    return table


def _invariants(report: Report) -> Table:
    table = _table("invariants", "", "what", "holds", "by what", "what breaks it")
    for each in report.verdicts:
        more = f" (and {len(each.found) - TOLD_MAX} more)" if len(each.found) > TOLD_MAX else ""
        found = "\n".join(each.found[:TOLD_MAX]) + more
        table.add_row(each.name, each.title, _mark(each.holds), each.evidence, found)
    return table


def _requirements(report: Report) -> Table:
    table = _table("required of the run", "what", "required", "reached", "met")
    for each in report.requirements:
        table.add_row(each.name, each.required, each.reached, _mark(each.holds))
    return table


def _mark(holds: bool) -> Text:
    return Text("yes", "green") if holds else Text("NO", "bold red")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
