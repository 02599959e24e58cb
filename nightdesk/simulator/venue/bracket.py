"""One bracket: an entry, the levels of its targets and of its stops, and how much each of them should have.

The entry's fills release the levels one after the other: the first contracts that are filled belong to the first
target and the first stop. Together the exits of one side never ask for more than is open: what an exit closes the
exits of the other side lose, the first level first.
"""

import msgspec

from nightdesk.simulator.model import BracketChanged, BracketLevel, BracketTerms, ExitRole
from nightdesk.simulator.venue.client_order import ClientOrder

LEVELS_MAX = 10
"""Targets, and stops, of one bracket."""

ROLES = (ExitRole.TARGET, ExitRole.STOP)
"""The order in which exits are made and numbered."""


class Level:
    """One target or stop of a bracket: its terms, and the orders that were made of it."""

    def __init__(self, role: ExitRole, number: int, terms: BracketLevel) -> None:
        self.role = role
        self.number = number
        """Its place among the targets or the stops, from 0."""
        self.quantity = terms.quantity
        self.ticks = terms.ticks
        """The present distance from the entry's price."""
        self.released = 0
        """How much of it the entry's fills have released so far."""
        self.orders: list[ClientOrder] = []
        self.reserved_id = ""
        """The basket id of its first order, until there is one."""

    @property
    def working(self) -> ClientOrder | None:
        """The exit that works now; only the last one can."""
        return self.orders[-1] if self.orders and self.orders[-1].completion is None else None

    @property
    def leaves(self) -> int:
        """What its working exit still asks for."""
        leg = self.working
        return leg.quantity - leg.filled if leg is not None else 0


class Bracket:
    """One entry and its exits."""

    def __init__(self, entry: ClientOrder, terms: BracketTerms) -> None:
        self.entry = entry
        self.terms = terms
        self.sides = {
            role: [Level(role, number, each) for number, each in enumerate(levels)]
            for role, levels in zip(ROLES, (terms.targets, terms.stops), strict=True)
        }
        self.levels = [level for role in ROLES for level in self.sides[role]]
        """All levels, the targets first."""
        self.anchor: int | None = None
        """The price in ticks from which the exits are counted."""
        self.reported: dict[int, BracketChanged] = {}
        """What was last told of each row."""
        for number, level in enumerate(self.levels, int(entry.basket_id) + 1):
            level.reserved_id = str(number)

    def find(self, role: ExitRole, number: int) -> Level | None:
        """The target or the stop of this number, if there is one."""
        side = self.sides[role]
        return side[number] if 0 <= number < len(side) else None

    def level_of(self, leg: ClientOrder) -> Level | None:
        """The level of one of the bracket's exits."""
        return self.find(leg.exit_role, leg.exit_level) if leg.exit_role is not None else None

    @property
    def is_working(self) -> bool:
        """Whether one of its exits works."""
        return any(level.working for level in self.levels)

    @property
    def exposed(self) -> int:
        """What the entry filled and no exit has closed."""
        return self.entry.filled - sum(leg.filled for level in self.levels for leg in level.orders)

    @property
    def sign(self) -> int:
        """In whose direction the position earns."""
        return 1 if self.entry.is_buy else -1

    def away(self, level: Level) -> int:
        """The level's distance from the anchor, signed, in ticks."""
        return level.ticks * self.sign * (1 if level.role is ExitRole.TARGET else -1)

    def grown(self, level: Level) -> int:
        """How much more of the level the entry's fills have to release."""
        before = sum(each.quantity for each in self.sides[level.role][: level.number])
        return min(level.quantity, max(0, self.entry.filled - before)) - level.released

    def share(self, level: Level) -> int:
        """What the level's exit should ask for now, of what is open; 0: nothing."""
        side = self.sides[level.role]
        wishes = [each.leaves + self.grown(each) for each in side]
        excess = max(0, sum(wishes) - self.exposed)
        lost = min(wishes[level.number], max(0, excess - sum(wishes[: level.number])))
        return wishes[level.number] - lost

    def uncovered(self, level: Level) -> int:
        """What is open beyond what the other exits of the level's side ask for."""
        return self.exposed - sum(each.leaves for each in self.sides[level.role] if each is not level)

    def linked_ids(self, basket_id: str, level: Level) -> tuple[str, ...]:
        """The ids of the exits that stand beside each other, the targets first; ``basket_id`` is the level's."""
        ids = []
        for each in self.levels:
            leg = each.working
            if each is level:
                ids.append(basket_id)
            elif each.reserved_id:
                ids.append(each.reserved_id)
            elif leg is not None:
                ids.append(leg.basket_id)
        return tuple(ids)

    def row(self, number: int, now_ns: int) -> BracketChanged:
        """The present state of the target and the stop of one number."""
        target, stop = (self.find(role, number) for role in ROLES)
        return BracketChanged(
            self.entry.account_id,
            self.entry.basket_id,
            stop.ticks if stop else 0,
            stop.quantity if stop else 0,
            stop.released if stop else 0,
            target.ticks if target else 0,
            target.quantity if target else 0,
            target.released if target else 0,
            now_ns,
            number,
        )

    def rows(self, now_ns: int) -> list[BracketChanged]:
        """The present state, level by level."""
        return [self.row(number, now_ns) for number in range(max(len(side) for side in self.sides.values()))]

    def news(self, now_ns: int) -> list[BracketChanged]:
        """The rows that differ from what was last told; they count as told from now on."""
        changed = []
        for row in self.rows(now_ns):
            told = self.reported.get(row.level)
            if told is None or msgspec.structs.replace(told, ts_ns=now_ns) != row:
                self.reported[row.level] = row
                changed.append(row)
        return changed

    def take_report(self, told: BracketChanged) -> None:
        """What was last reported of a recovered bracket; its distances may differ from its entry's terms."""
        self.reported[told.level] = told
        for role, ticks, released in (
            (ExitRole.TARGET, told.target_ticks, told.target_quantity_released),
            (ExitRole.STOP, told.stop_ticks, told.stop_quantity_released),
        ):
            level = self.find(role, told.level)
            if level is not None:
                level.ticks, level.released = ticks, released


def sum_refusal(terms: BracketTerms, quantity: int) -> str:
    """Why levels do not add up to an entry of this quantity; empty: they do, or there is only one of each kind.

    The targets and the stops of a bracket with both must close all of the entry; where there is only one kind, they
    may leave a part of it open. One target and one stop alone may always be smaller than the entry.
    """
    if len(terms.targets) <= 1 and len(terms.stops) <= 1:
        return ""
    is_both = bool(terms.targets and terms.stops)
    for name, levels in (("targets", terms.targets), ("stops", terms.stops)):
        total = sum(level.quantity for level in levels)
        if len(levels) > LEVELS_MAX:
            return f"a bracket has at most {LEVELS_MAX} {name}, not {len(levels)}"
        if levels and (total > quantity or (is_both and total != quantity)):
            return f"the quantities of the {name} add up to {total}, the entry's quantity is {quantity}"
    return ""
