"""What a supervisor is given: its children as data. Nothing here knows what a child does."""

from enum import StrEnum
from typing import Any

import msgspec

from nightdesk.errors import ConfigurationError
from nightdesk.messages import ChildId

BRUTAL_KILL = 0.0
"""As ``shutdown_s``: kill at once, do not ask."""

ROOT = ChildId("root")
"""The id of the topmost supervisor; its children's ids have no prefix."""


class RestartType(StrEnum):
    """Which exits are followed by a restart: each, only abnormal ones, none."""

    PERMANENT = "PERMANENT"
    TRANSIENT = "TRANSIENT"
    TEMPORARY = "TEMPORARY"


class Strategy(StrEnum):
    """Whom a restart concerns. Only ``ONE_FOR_ONE`` is carried out so far."""

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


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One child: what runs it, when it is restarted, and how long it may take.

    A worker's ``body`` is a dotted path ``module:Class`` and its ``config`` opaque bytes; a supervisor's ``config`` is
    its packed ``SupervisorSpec`` (see ``branch``). ``intensity`` is the child's own budget of restarts within
    ``period_s``; None leaves it to its supervisor's budget alone, as in OTP. ``shutdown_s`` and ``start_timeout_s`` of
    None wait for ever; ``watchdog_s`` of None means that silence is not watched.
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

    def __post_init__(self) -> None:
        _require(bool(self.id) and not self.id.endswith(("/", "*")), self.id, "id", "a path such as plants/order")
        _require(self.kind is Kind.SUPERVISOR or ":" in self.body, self.id, "body", "module:Class")
        _require(self.intensity is None or self.intensity >= 0, self.id, "intensity", "0 or more, or None")
        for name in ("period_s", "start_timeout_s", "watchdog_s"):
            value = getattr(self, name)
            _require(value is None or value > 0, self.id, name, "more than 0")
        for name in ("shutdown_s", "backoff_initial_s", "backoff_max_s"):
            value = getattr(self, name)
            _require(value is None or value >= 0, self.id, name, "0 or more")


class SupervisorSpec(msgspec.Struct, frozen=True, kw_only=True):
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
        _require(bool(self.id), self.id, "id", "a path such as plants")
        _require(
            self.strategy is Strategy.ONE_FOR_ONE, self.id, "strategy", "ONE_FOR_ONE; the others are not built yet"
        )
        _require(self.intensity >= 0, self.id, "intensity", "0 or more")
        _require(self.period_s > 0, self.id, "period_s", "more than 0")
        prefix = "" if self.id == ROOT else f"{self.id}/"
        seen: set[ChildId] = set()
        for child in self.children:
            _require(child.id not in seen, self.id, "children", f"unique ids; {child.id} is there twice")
            _require(
                child.id.startswith(prefix), self.id, "children", f"ids that begin with {prefix!r}, not {child.id}"
            )
            seen.add(child.id)


def branch(spec: SupervisorSpec, **policy: Any) -> ChildSpec:
    """The child that runs a nested supervisor. It may take all the time it needs to start and stop, as in OTP."""
    defaults: dict[str, Any] = {"shutdown_s": None, "start_timeout_s": None}
    return ChildSpec(id=spec.id, kind=Kind.SUPERVISOR, config=pack(spec), **(defaults | policy))


def pack(spec: SupervisorSpec) -> bytes:
    """The form in which a supervisor's spec travels in mail."""
    return msgspec.msgpack.encode(spec)


def unpack(payload: bytes) -> SupervisorSpec:
    """The inverse of ``pack``; raises ``msgspec.DecodeError``."""
    return msgspec.msgpack.decode(payload, type=SupervisorSpec)


def _require(holds: bool, spec_id: str, name: str, expected: str) -> None:
    if not holds:
        raise ConfigurationError(f"{spec_id or 'a child without id'}: {name}: expected {expected}")
