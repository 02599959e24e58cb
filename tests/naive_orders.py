"""The naive exchange's markets, orders and brackets: what they are, and where they stand."""

from dataclasses import dataclass, field
from fractions import Fraction

STOPS = ("STOP_MARKET", "STOP_LIMIT")
TOUCHES = ("MARKET_IF_TOUCHED", "LIMIT_IF_TOUCHED")
PRICED = ("LIMIT", "STOP_LIMIT", "LIMIT_IF_TOUCHED")

TRADING = ("Open",)
QUEUEING = ("Pre Open", "Reserved")
DAY_ENDS = ("Closed", "Close")


@dataclass(eq=False)
class NaiveMarket:
    """One contract; prices in ticks, money in micro-dollars, a limit of 0 is none."""

    symbol: str
    tick_micros: int = 0
    commission_micros: int = 0
    margin_micros: int = 0
    max_quantity: int = 0
    limit_percent: Fraction = Fraction(0)
    mode: str = "Open"
    first: int | None = None
    """The session's first print."""
    last: int | None = None
    wave: list[int] = field(default_factory=list)
    """Prints that have not set off stops yet."""

    @property
    def is_trading(self) -> bool:
        return self.mode in TRADING

    @property
    def is_queueing(self) -> bool:
        return self.mode in QUEUEING

    def is_outside(self, *prices: int | None) -> bool:
        """Whether one of the prices is outside of the price limits."""
        return any(price is not None and price != self.inside(price) for price in prices)

    def inside(self, price: int) -> int:
        """The price, or the nearest one inside of the limits."""
        if self.first is None or not self.limit_percent:
            return price
        reach = self.limit_percent * self.first / 100
        while abs(price - self.first) > reach:
            price += 1 if price < self.first else -1
        return price


@dataclass
class NaiveTerms:
    """An account's money (micro-dollars) and limits; 0 is none."""

    start_micros: int
    max_quantity: int = 0
    buy_limit: int = 0
    sell_limit: int = 0
    loss_limit_micros: int = 0
    min_balance_micros: int = 0
    products: tuple[str, ...] = ()


@dataclass
class NaiveCondition:
    """An order waits until a price of a contract compares as asked with ``at``, in ticks of that contract."""

    market: NaiveMarket
    comparison: str
    what: str
    at: Fraction

    def is_met_by(self, price: Fraction | int) -> bool:
        return {
            "EQUAL": price == self.at,
            "NOT_EQUAL": price != self.at,
            "GREATER": price > self.at,
            "GREATER_EQUAL": price >= self.at,
            "LESSER": price < self.at,
            "LESSER_EQUAL": price <= self.at,
        }[self.comparison]


@dataclass
class NaiveBracket:
    """Of an entry: distances and quantities, and what became of them; times in seconds."""

    target_quantity: int
    target_ticks: int
    stop_quantity: int
    stop_ticks: int
    trail_trigger: int = 0
    by_last: bool = True
    even_ticks: int = 0
    even_trigger: int = 0
    market_on_reject: bool = False
    market_at: dict[str, int] = field(default_factory=dict)
    """By role: from when on the exit is a market order."""
    target_after: int = 0
    """The same for the target, in seconds from the entry's first fill."""
    anchor: int | None = None
    released: dict[str, int] = field(default_factory=lambda: {"TARGET": 0, "STOP": 0})
    exits: dict[str, list["NaiveOrder"]] = field(default_factory=lambda: {"TARGET": [], "STOP": []})
    ids: dict[str, int] = field(default_factory=dict)

    @property
    def roles(self) -> list[str]:
        return [role for role in ("TARGET", "STOP") if self.quantity(role)]

    def quantity(self, role: str) -> int:
        return self.target_quantity if role == "TARGET" else self.stop_quantity

    def ticks(self, role: str) -> int:
        return self.target_ticks if role == "TARGET" else self.stop_ticks

    def closed(self) -> int:
        """What the exits have closed of the entry."""
        return sum(o.filled for exits in self.exits.values() for o in exits)

    def working(self, role: str) -> "NaiveOrder | None":
        exits = self.exits[role]
        return exits[-1] if exits and exits[-1].state != "DONE" else None


@dataclass(eq=False)
class NaiveOrder:
    """``state`` is one of NEW, HELD (release), COND (its condition), TOUCH, PENDING (a stop), OPEN, DONE.

    ``place`` is its time in the queue that it stands in.
    """

    identity: int | str
    market: NaiveMarket
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
    condition: NaiveCondition | None = None
    original: str = ""
    requested: int = 0
    """The kind and the quantity that its client sent."""
    state: str = "NEW"
    is_accepted: bool = False
    end: str | None = None
    why: str = ""
    """Of a refused order: who refused it, and the risk system's text."""
    filled: int = 0
    notional: int = 0
    place: int = 0
    seen: list[int] = field(default_factory=list)
    """While it waits for prints: those that came and were not looked at."""
    group: list["NaiveOrder"] = field(default_factory=list)
    followed: int = 0
    entry: "NaiveOrder | None" = None
    role: str = ""
    is_ended_by_link: bool = False

    @property
    def leaves(self) -> int:
        return self.quantity - self.filled

    @property
    def is_working(self) -> bool:
        return self.is_accepted and self.state != "DONE"

    @property
    def waits_for(self) -> NaiveMarket:
        """The contract whose prints a held order looks at."""
        return self.condition.market if self.state == "COND" and self.condition else self.market


@dataclass
class NaiveFill:
    """One side of a trade."""

    order: NaiveOrder
    price: int
    quantity: int
    now: int

    @property
    def signed(self) -> int:
        return self.quantity if self.order.is_buy else -self.quantity
