"""Orders of which one cancels the others (OCO), held by the server.

When a leg is over (filled, canceled by its client, refused), the others are canceled. A partial fill of one leg
reduces the others by the same quantity, so that together they never trade more than the largest of them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nightdesk.simulator.model import VenueEvent
from nightdesk.simulator.venue.client_order import ClientOrder

if TYPE_CHECKING:
    from nightdesk.simulator.venue.floor import Floor

LEGS_MAX = 10
"""Orders in one group."""

TEXT_OTHER_LEG = "canceled - a linked order is complete"
TEXT_REDUCED = "reduced - a linked order was filled in part"

_ENDED_BY_LINK = frozenset({TEXT_OTHER_LEG, TEXT_REDUCED})
"""A leg that was reduced to nothing ends nobody else: the leg that is being filled works on."""


class Links:
    """All groups of linked orders."""

    def __init__(self, floor: "Floor") -> None:
        self._floor = floor
        self._groups: dict[str, tuple[ClientOrder, ...]] = {}
        """The group of each leg, by basket id."""
        self.moved: dict[str, ClientOrder] = {}
        """Legs that were filled or ended since the others followed last."""

    def is_linked(self, order: ClientOrder) -> bool:
        return order.basket_id in self._groups

    def link(self, legs: Sequence[ClientOrder]) -> None:
        """Make a group; what the legs filled before does not count."""
        group = tuple(legs)
        ids = tuple(leg.basket_id for leg in group)
        for leg in group:
            self._groups[leg.basket_id] = group
            leg.linked_ids = ids
            leg.linked_fills = sum(other.filled for other in group if other is not leg)

    def restore(self, legs: Sequence[ClientOrder]) -> None:
        """A recovered group; each leg remembers which fills of the others it has followed."""
        group = tuple(legs)
        for leg in group:
            self._groups[leg.basket_id] = group
            self.moved[leg.basket_id] = leg

    def note(self, order: ClientOrder) -> None:
        """An order was filled or is complete."""
        if order.basket_id in self._groups:
            self.moved[order.basket_id] = order

    def forget(self, order: ClientOrder) -> None:
        self._groups.pop(order.basket_id, None)

    def reconcile(self, now_ns: int, events: list[VenueEvent]) -> bool:
        """Let the other legs follow; whether anything was done."""
        has_acted = False
        while self.moved:
            moved = self.moved.pop(next(iter(self.moved)))
            for leg in self._groups.get(moved.basket_id, ()):
                if leg is not moved and leg.completion is None:
                    has_acted |= self._follow(leg, now_ns, events)
        return has_acted

    def _follow(self, leg: ClientOrder, now_ns: int, events: list[VenueEvent]) -> bool:
        others = [other for other in self._groups[leg.basket_id] if other is not leg]
        if any(other.completion is not None and other.text not in _ENDED_BY_LINK for other in others):
            self._floor.take_out(leg, TEXT_OTHER_LEG, now_ns, events)
            return True
        filled = sum(other.filled for other in others)
        reduction, leg.linked_fills = filled - leg.linked_fills, filled
        if reduction <= 0:
            return False
        self._floor.resize(leg, leg.quantity - leg.filled - reduction, TEXT_REDUCED, now_ns, events)
        return True
