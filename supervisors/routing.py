"""Where mail goes next in the tree: pure, by the ids alone."""

from collections.abc import Sequence
from enum import Enum

from nightdesk.messages import ChildId
from supervisors.spec import ROOT


class Route(Enum):
    """A next hop that is no child."""

    SELF = "self"
    PARENT = "parent"


def next_hops(own_id: ChildId, children: Sequence[ChildId], destination: ChildId) -> tuple[ChildId | Route, ...]:
    """The hops for mail at the supervisor ``own_id``, whose live children are given; none where nobody is there.

    ``destination`` is a path, ``supervisor`` (the one that the sender's mail reaches first), or a prefix and ``*``.
    """
    if destination in (own_id, "supervisor"):
        return (Route.SELF,)
    wildcard = destination.endswith("*")
    target = destination[:-1] if wildcard else destination
    if not _is_below(own_id, target):
        return (Route.PARENT,)
    if wildcard:
        # Either the child itself is meant, or the pattern lies within the child's own branch.
        return tuple(child for child in children if child.startswith(target) or target.startswith(f"{child}/"))
    return tuple(child for child in children if target == child or target.startswith(f"{child}/"))


def _is_below(own_id: ChildId, target: str) -> bool:
    return own_id == ROOT or target.startswith(f"{own_id}/")
