"""What a configuration would start, as plain values: every child's policy, every supervisor's strategy and budget."""

from typing import Any

import msgspec

from nightdesk.settings.runtime import RunConfiguration
from supervisors.spec import ChildSpec, Kind, SupervisorSpec, unpack
from supervisors.tree import build_tree


def planned(run: RunConfiguration) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Root, and all children in start order, each branch followed by its own."""
    tree = build_tree(run)
    children: list[dict[str, Any]] = []
    for child in tree.children:
        children.append(_fields(child))
        if child.kind is Kind.SUPERVISOR:
            below = unpack(child.config)
            children[-1]["branch"] = _branch(below)
            children += [_fields(worker) for worker in below.children]
    return {"id": tree.id, **_branch(tree)}, children


def _fields(spec: ChildSpec) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(spec)
    del fields["config"]
    return fields


def _branch(spec: SupervisorSpec) -> dict[str, Any]:
    return {"strategy": spec.strategy.value, "intensity": spec.intensity, "period_s": spec.period_s}
