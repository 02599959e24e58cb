"""What the audit judges: facts about a run that is over, as plain values."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from nightdesk.chaos.books import ExchangeBook, JournalBook, Place

Line = dict[str, Any]
"""A record of the system's log, with the key ``generation``: the how-manieth start of ``run.py`` wrote it."""

GENERATION = "generation"

KEPT_EVENTS = frozenset(
    {
        "child_started", "child_restarted", "child_exited", "child_start_failed", "child_parked", "supervisor_gave_up",
        "system_started", "system_stopping", "root_lost", "internal_error", "actor_crashed", "journal_failed",
        "login_refused", "plant_logged_in", "reconciled", "data_gap", "chaos_ticks_missing", "chaos_gap_told",
        "chaos_position", "position_mismatch", "position_mismatch_ended", "order_external", "order_overfilled",
        "client_order_id_seen_twice", "trading_state_changed", "order_in_doubt", "order_not_found", "connection_lost",
        "connection_restored", "log_lines_dropped", "order_resurrected", "last_will_executed", "journal_refused",
    }
)  # fmt: skip
"""Of everything else the log is written to its file and forgotten."""

ORDER_PLANT = "plants/order"


class Kill(NamedTuple):
    """A process that the run has killed, or told to fail; its death must be in the log, and its restart."""

    generation: int
    round: int
    child_id: str
    pid: int


class RoundRecord(NamedTuple):
    """What a round did; ``before`` and ``after`` are the pids by child, both while everybody was in service."""

    number: int
    faults: tuple[str, ...]
    before: dict[str, int]
    after: dict[str, int]
    may_change: frozenset[str]
    """The children whose processes these faults may end."""
    must_change: frozenset[str]
    """Those that they surely end."""
    back_s: float | None
    """From the end of the last fault until everybody was in service; None: not within the time."""
    limit_s: float
    problems: tuple[str, ...] = ()
    """What the faults themselves found not to be as it must."""


class OrderLogin(NamedTuple):
    """A connection on which an order plant logged in, as the exchange saw it."""

    connection: int
    logged_in_ns: int
    last_received_ns: int
    """When the exchange read the client's last frame."""
    client_last_ns: int | None
    """When the client's last bytes came to the proxy; None: nobody knows."""


class PlantLife(NamedTuple):
    """From the first to the last line that one process of the order plant wrote, by its own stamps."""

    generation: int
    incarnation: int
    first: str
    last: str


class Span(NamedTuple):
    """A time."""

    from_ns: int
    to_ns: int


@dataclass
class Evidence:
    """All of it."""

    exchange: ExchangeBook
    journal: JournalBook
    received: Counter[str]
    """How often the exchange's wire log has each tag in a request for a new order, lost ones included."""
    system_positions: dict[Place, int]
    """What the order plant said at the end."""
    strategy_positions: dict[Place, int]
    """What each strategy itself believed at the end, by strategy and symbol."""
    lines: list[Line]
    kills: list[Kill] = field(default_factory=list)
    rounds: list[RoundRecord] = field(default_factory=list)
    order_logins: list[OrderLogin] = field(default_factory=list)
    plant_lives: list[PlantLife] = field(default_factory=list)
    alive_together: list[str] = field(default_factory=list)
    """Moments at which two processes of the order plant lived."""
    order_plants: int = 0
    """Processes of the order plant that were looked at for this."""
    tick_times: dict[tuple[int, str], list[int]] = field(default_factory=dict)
    """By connection and symbol: the exchange times of what was sent on it, states at subscriptions included; ascending.
    """
    spoiled_times: dict[str, list[int]] = field(default_factory=dict)
    """By symbol: exchange times in frames that a fault has damaged, ascending."""
    leaks: list[str] = field(default_factory=list)
    """Files with a canary in them."""
    searched: int = 0
    left: list[str] = field(default_factory=list)
    """Processes that outlived their run."""
    ends: int = 0
    """Ends of the system after which that was looked at."""
