"""What a supervisor is given: its children as data. Nothing here knows what a child does."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from nightdesk.errors import ConfigurationError
from nightdesk.messages import ChildId

BRUTAL_KILL = 0.0
"""As ``shutdown_s``: kill at once, do not ask."""

INFINITY = None
"""As ``shutdown_s``: ask, and wait for as long as it takes."""

ROOT = ChildId("root")
"""The id of the topmost supervisor; its children's ids have no prefix."""


class RestartType(StrEnum):
    """Which exits are followed by a restart: each, only abnormal ones, none."""

    PERMANENT = "PERMANENT"
    TRANSIENT = "TRANSIENT"
    TEMPORARY = "TEMPORARY"


class Strategy(StrEnum):
    """Whom a restart concerns: the child alone, all of them, or it and those that were started after it."""

    ONE_FOR_ONE = "ONE_FOR_ONE"
    ONE_FOR_ALL = "ONE_FOR_ALL"
    REST_FOR_ONE = "REST_FOR_ONE"


class GiveUp(StrEnum):
    """What follows when a child's own budget is spent: it is set aside, or its supervisor gives up (as in OTP)."""

    PARK = "park"
    ESCALATE = "escalate"


class Kind(StrEnum):
    WORKER = "worker"
    SUPERVISOR = "supervisor"


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One child: what runs it, when it is restarted, and how long it may take.

    A worker's ``body`` is a dotted path ``module:Class`` and its ``config`` opaque bytes; a supervisor's ``config`` is
    its packed ``SupervisorSpec`` (see ``branch``). ``intensity`` is the child's own budget of restarts within
    ``period_s``; None leaves it to its supervisor's budget alone, as in OTP. ``shutdown_s`` and ``start_timeout_s`` of
    None wait for ever; ``watchdog_s`` of None means that silence is not watched. ``park_notify`` is where
    ``ChildParked`` is sent when the child is set aside; empty: nowhere.
    """

    id: ChildId
    kind: Kind = Kind.WORKER
    body: str = ""
    config: bytes = b""
    restart: RestartType = RestartType.PERMANENT
    intensity: int | None = None
    period_s: float = 60.0
    shutdown_s: float | None = 5.0
    start_timeout_s: float | None = 20.0
    watchdog_s: float | None = 10.0
    backoff_initial_s: float = 0.0
    backoff_max_s: float = 10.0
    on_give_up: GiveUp = GiveUp.ESCALATE
    park_notify: str = ""

    def __post_init__(self) -> None:
        for name, (holds, expected) in _CHILD_FIELDS.items():
            _require(holds(getattr(self, name)), self.id, name, expected)
        _require(self.kind is Kind.SUPERVISOR or ":" in self.body, self.id, "body", "module:Class")
        parks = self.on_give_up is GiveUp.PARK
        _require(not parks or self.intensity is not None, self.id, "on_give_up", "escalate without an own intensity")


class SupervisorSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A supervisor with its children in start order.

    More than ``intensity`` restarts of children that escalate within ``period_s`` and it gives up. Children that are
    parked by their own budget do not count here: what is set aside must not bring its siblings down.
    """

    id: ChildId
    children: tuple[ChildSpec, ...] = ()
    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: int = 3
    period_s: float = 60.0

    def __post_init__(self) -> None:
        for name, (holds, expected) in _SUPERVISOR_FIELDS.items():
            _require(holds(getattr(self, name)), self.id, name, expected)
        seen: set[ChildId] = set()
        for child in self.children:
            _require(child.id not in seen, self.id, "children", f"unique ids; {child.id} is there twice")
            prefix = prefix_of(self.id)
            _require(
                child.id.startswith(prefix), self.id, "children", f"ids that begin with {prefix!r}, not {child.id}"
            )
            seen.add(child.id)


def prefix_of(supervisor_id: ChildId) -> str:
    """With what the ids of a supervisor's children begin."""
    return "" if supervisor_id == ROOT else f"{supervisor_id}/"


def branch(spec: SupervisorSpec, **policy: Any) -> ChildSpec:
    """The child that runs a nested supervisor. It may take all the time it needs to start and stop, as in OTP."""
    defaults: dict[str, Any] = {"shutdown_s": INFINITY, "start_timeout_s": None}
    return ChildSpec(id=spec.id, kind=Kind.SUPERVISOR, config=pack(spec), **(defaults | policy))


def pack(spec: SupervisorSpec) -> bytes:
    """The form in which a supervisor's spec travels in mail."""
    return msgspec.msgpack.encode(spec)


def unpack(payload: bytes) -> SupervisorSpec:
    """The inverse of ``pack``; raises ``msgspec.DecodeError``."""
    return msgspec.msgpack.decode(payload, type=SupervisorSpec)


def child_spec(fields: Mapping[str, Any]) -> ChildSpec:
    """A child spec from named fields; a faulty, missing or unknown one is a ``ConfigurationError`` with its name."""
    unknown = sorted(set(fields) - set(ChildSpec.__struct_fields__))
    _require(not unknown, str(fields.get("id", "")), ", ".join(unknown), "no such field")
    _require("id" in fields, "", "id", "a path such as plants/order")
    return ChildSpec(**fields)


def pack_child(spec: ChildSpec) -> bytes:
    """The form in which one child's spec travels in mail."""
    return msgspec.msgpack.encode(spec)


def unpack_child(payload: bytes) -> ChildSpec:
    """The inverse of ``pack_child``; raises ``msgspec.DecodeError`` or, for a faulty field, ``ConfigurationError``."""
    return msgspec.msgpack.decode(payload, type=ChildSpec)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value < float("inf")


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_time(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _or_none(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or holds(value)


def _is_one_of(kind: type[StrEnum]) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: isinstance(value, kind)), f"a {kind.__name__}: {', '.join(kind)}"


def _is_child_id(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and not value.endswith(("/", "*"))


_CHILD_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "id": (_is_child_id, "a path such as plants/order"),
    "kind": _is_one_of(Kind),
    "body": (lambda value: isinstance(value, str), "module:Class"),
    "config": (lambda value: isinstance(value, bytes), "bytes"),
    "restart": _is_one_of(RestartType),
    "intensity": (_or_none(_is_count), "0 or more, or None"),
    "period_s": (_is_positive, "more than 0"),
    "shutdown_s": (_or_none(_is_time), "0 (brutal kill) or more, or None for ever"),
    "start_timeout_s": (_or_none(_is_positive), "more than 0, or None for ever"),
    "watchdog_s": (_or_none(_is_positive), "more than 0, or None"),
    "backoff_initial_s": (_is_time, "0 or more"),
    "backoff_max_s": (_is_time, "0 or more"),
    "on_give_up": _is_one_of(GiveUp),
    "park_notify": (lambda value: isinstance(value, str), "a child's id, or empty"),
}
_SUPERVISOR_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "id": (_is_child_id, "a path such as plants"),
    "children": (lambda value: isinstance(value, tuple | list), "child specs"),
    "strategy": _is_one_of(Strategy),
    "intensity": (_is_count, "0 or more"),
    "period_s": (_is_positive, "more than 0"),
}


def _require(holds: bool, spec_id: str, name: str, expected: str) -> None:
    if not holds:
        raise ConfigurationError(f"{spec_id or 'a child without id'}: {name}: expected {expected}")
