"""Accounts at the exchange: positions, realized and open profit, commission, in exact integers.

Money inside is micro-dollars: a tick of some contracts is worth half a cent's fraction (ZN: 15.625 dollars), which
cents cannot hold. The open cost of a position is kept, not its average price; a part that is closed takes its rounded
share of the cost away and leaves the rest, so that realized profit of a closed position is exact whatever the order
of fills.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from nightdesk.simulator.model import AccountTerms, Product

MICROS_PER_DOLLAR = 1_000_000
DAY_NS = 86_400_000_000_000
PRICE_MAX = 1e12
"""Beyond this nothing is a price: floats have no ticks there any more, and their ratio to a tick may be infinite."""


class Scale:
    """One product's conversions between the border's floats and the inside's whole ticks and micro-dollars."""

    __slots__ = (
        "_denominator",
        "_numerator",
        "_percent",
        "commission_micros",
        "margin_micros",
        "tick_micros",
        "tick_size",
    )

    def __init__(self, product: Product) -> None:
        tick = Fraction(str(product.tick_size))
        self._numerator, self._denominator = tick.numerator, tick.denominator
        self.tick_size = product.tick_size
        self.tick_micros = round(tick * Fraction(str(product.point_value)) * MICROS_PER_DOLLAR)
        self.commission_micros = micros(product.commission)
        self.margin_micros = micros(product.margin)
        self._percent = Fraction(str(product.price_limit_percent))

    def price(self, ticks: int) -> float:
        """The price as the nearest float to its decimal form."""
        return ticks * self._numerator / self._denominator

    def band(self, reference: int) -> tuple[int, int] | None:
        """The lowest and highest price within the product's limits around a reference; None: it has none."""
        if not self._percent:
            return None
        reach = int(reference * self._percent / 100)
        return max(1, reference - reach), reference + reach

    def exact_ticks(self, price: float) -> Fraction:
        """The price in ticks, also when it is not on one."""
        return Fraction(str(price)) * self._denominator / self._numerator

    def average(self, ticks: int, quantity: int) -> float:
        """The average price of a sum of ticks over a quantity; 0.0 for no quantity."""
        return ticks * self._numerator / (self._denominator * quantity) if quantity else 0.0

    def ticks(self, price: float) -> int | None:
        """The price in whole ticks; None when it is not on a tick, beyond ``PRICE_MAX`` or not a number."""
        if not -PRICE_MAX <= price <= PRICE_MAX:
            return None
        exact = price * self._denominator / self._numerator
        nearest = round(exact)
        return nearest if abs(exact - nearest) < 1e-6 else None


class Turnover(NamedTuple):
    """What an account has traded in one contract, and what came of it."""

    bought: int
    sold: int
    realized_micros: int
    commission_micros: int

    def since(self, before: "Turnover") -> "Turnover":
        """What has been added since then."""
        return Turnover(*(now - then for now, then in zip(self, before, strict=True)))


class Position:
    """One account's net position in one contract."""

    __slots__ = ("before", "bought", "commission_micros", "cost_micros", "net", "realized_micros", "scale", "sold")

    def __init__(self, scale: Scale) -> None:
        self.scale = scale
        self.net = 0
        self.cost_micros = 0
        self.bought = 0
        self.sold = 0
        self.realized_micros = 0
        self.commission_micros = 0
        self.before = Turnover(0, 0, 0, 0)
        """What had been traded when the day began."""

    @property
    def turnover(self) -> Turnover:
        """What has been traded since the account was opened."""
        return Turnover(self.bought, self.sold, self.realized_micros, self.commission_micros)

    def apply(self, signed_quantity: int, price_ticks: int) -> None:
        """Book a fill: positive quantity bought, negative sold."""
        tick_micros = self.scale.tick_micros
        closing = 0
        if self.net and (signed_quantity > 0) != (self.net > 0):
            closing = min(abs(signed_quantity), abs(self.net)) * (1 if signed_quantity > 0 else -1)
            released = self.cost_micros * -closing // self.net
            self.cost_micros -= released
            self.net += closing
            self.realized_micros += -closing * price_ticks * tick_micros - released
        opening = signed_quantity - closing
        self.net += opening
        self.cost_micros += opening * price_ticks * tick_micros
        if signed_quantity > 0:
            self.bought += signed_quantity
        else:
            self.sold -= signed_quantity
        self.commission_micros += abs(signed_quantity) * self.scale.commission_micros

    def settle(self, price_ticks: int) -> None:
        """The contract has ended: what is open becomes cash at its final price, without commission."""
        if self.net:
            self.realized_micros += self.unrealized_micros(price_ticks)
            if self.net > 0:
                self.sold += self.net
            else:
                self.bought -= self.net
            self.net = self.cost_micros = 0

    @property
    def average_price(self) -> float:
        """The average price of what is open; 0.0 when flat."""
        if not self.net:
            return 0.0
        return self.scale.average(self.cost_micros, self.net * self.scale.tick_micros)

    def unrealized_micros(self, mark_ticks: int | None) -> int:
        """Open profit at the mark; 0 while no price is known."""
        if mark_ticks is None:
            return 0
        return self.net * mark_ticks * self.scale.tick_micros - self.cost_micros


class Ledger:
    """All accounts' positions, and what each balance was when the day began."""

    def __init__(
        self,
        accounts: tuple[AccountTerms | str, ...],
        starting_balance: float,
        *,
        day_of: Callable[[int], int] = lambda now_ns: now_ns // DAY_NS,
    ) -> None:
        """``day_of`` gives the number of the day of a moment: another day, another number."""
        self._day_of = day_of
        self._otherwise_micros = micros(starting_balance)
        self._starting_micros: dict[str, int] = {}
        self._positions: dict[str, dict[str, Position]] = {}
        self._day = -1
        self._day_start_micros: dict[str, int] = {}
        for account in accounts:
            if isinstance(account, AccountTerms):
                self._starting_micros[account.account_id] = micros(account.starting_balance)
            self.add_account(account.account_id if isinstance(account, AccountTerms) else account)

    @property
    def accounts(self) -> tuple[str, ...]:
        return tuple(self._positions)

    def add_account(self, account_id: str) -> None:
        """Make sure that the account exists."""
        self._positions.setdefault(account_id, {})

    def position(self, account_id: str, symbol: str, scale: Scale) -> Position:
        """The account's position in the contract, flat if there was none."""
        positions = self._positions[account_id]
        if symbol not in positions:
            positions[symbol] = Position(scale)
        return positions[symbol]

    def positions(self, account_id: str) -> dict[str, Position]:
        """The account's positions by symbol."""
        return self._positions[account_id]

    def balance_micros(self, account_id: str) -> int:
        """Starting balance plus realized profit less commission."""
        booked = (p.realized_micros - p.commission_micros for p in self._positions[account_id].values())
        return self._starting_micros.get(account_id, self._otherwise_micros) + sum(booked)

    def roll(self, now_ns: int) -> None:
        """Remember with what a new day begins; call it before each fill."""
        day = self._day_of(now_ns)
        if day != self._day:
            self._day = day
            self._day_start_micros = {account: self.balance_micros(account) for account in self._positions}
            for positions in self._positions.values():
                for position in positions.values():
                    position.before = position.turnover

    def is_new_day(self, now_ns: int) -> bool:
        """Whether nothing has been traded yet on the day of this moment."""
        return self._day_of(now_ns) != self._day

    def day_start(self) -> tuple[int, dict[str, int]]:
        """The day's number and the balances with which it began."""
        return self._day, self._day_start_micros

    def set_day_start(self, day: int, balances: dict[str, int]) -> None:
        """Take over what ``day_start`` gave."""
        self._day, self._day_start_micros = day, dict(balances)

    def day_start_micros(self, account_id: str) -> int:
        """The balance with which the day began; the present one before anything was traded."""
        found = self._day_start_micros.get(account_id)
        return self.balance_micros(account_id) if found is None else found


def micros(money: float) -> int:
    """Dollars of the border as whole micro-dollars."""
    return round(Fraction(str(money)) * MICROS_PER_DOLLAR)


def dollars(micros: int) -> float:
    """Micro-dollars as dollars, for the border."""
    return micros / MICROS_PER_DOLLAR
