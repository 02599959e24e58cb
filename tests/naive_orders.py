"""The naive exchange's orders and brackets: what they are, and where they stand."""

from dataclasses import dataclass, field

STOPS = ("STOP_MARKET", "STOP_LIMIT")
TOUCHES = ("MARKET_IF_TOUCHED", "LIMIT_IF_TOUCHED")
PRICED = ("LIMIT", "STOP_LIMIT", "LIMIT_IF_TOUCHED")


@dataclass
class NaiveBracket:
    """Of an entry: distances and quantities, and what became of them."""

    target_quantity: int
    target_ticks: int
    stop_quantity: int
    stop_ticks: int
    trail_trigger: int = 0
    by_last: bool = True
    even_ticks: int = 0
    even_trigger: int = 0
    market_on_reject: bool = False
    anchor: int | None = None
    released: dict[str, int] = field(default_factory=lambda: {"TARGET": 0, "STOP": 0})
    exits: dict[str, list["NaiveOrder"]] = field(default_factory=lambda: {"TARGET": [], "STOP": []})
    ids: dict[str, int] = field(default_factory=dict)

    @property
    def roles(self) -> list[str]:
        return [role for role in ("TARGET", "STOP") if self.quantity(role)]

    def quantity(self, role: str) -> int:
        return self.target_quantity if role == "TARGET" else self.stop_quantity


@dataclass(eq=False)
class NaiveOrder:
    """``state`` is one of HELD (release), TOUCH, PENDING (a stop), OPEN, DONE; ``place`` is its time in the queue."""

    identity: int | str
    account: str
    is_buy: bool
    kind: str
    quantity: int
    limit: int | None = None
    trigger: int | None = None
    tif: str = "DAY"
    trail: int = 0
    trail_by: str = "TRADE"
    release_at: int | None = None
    cancel_at: int | None = None
    bracket: NaiveBracket | None = None
    original: str = ""
    state: str = "NEW"
    end: str | None = None
    filled: int = 0
    notional: int = 0
    place: int = 0
    group: list["NaiveOrder"] = field(default_factory=list)
    followed: int = 0
    entry: "NaiveOrder | None" = None
    role: str = ""
    is_ended_by_link: bool = False
    was_rejected: bool = False
    timer: int = 0

    @property
    def leaves(self) -> int:
        return self.quantity - self.filled
