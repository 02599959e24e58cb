"""What a market did with orders, in the order in which it happened; the venue turns it into events."""

from typing import NamedTuple

from nightdesk.simulator.venue.book import Order


class Opened(NamedTuple):
    """The exchange took a client's order into the book (or to match it at once)."""

    order: Order


class Pending(NamedTuple):
    """A stop waits for its trigger price."""

    order: Order


class Triggered(NamedTuple):
    """The last trade reached a stop's trigger price."""

    order: Order


class Matched(NamedTuple):
    """Two orders traded; in a replay one of them is None: the recorded market."""

    maker: Order | None
    taker: Order | None
    price: int
    quantity: int


class Printed(NamedTuple):
    """What one aggressor traded at one price; ``aggressor_is_buy`` says which side took, None: an auction."""

    price: int
    quantity: int
    aggressor_is_buy: bool | None


class Converted(NamedTuple):
    """What is left of a market order rests as a limit order at its protection price."""

    order: Order
    price: int


class Dropped(NamedTuple):
    """The exchange canceled what is left of an order."""

    order: Order
    text: str


class Refused(NamedTuple):
    """The exchange did not take the order."""

    order: Order
    text: str


Outcome = Opened | Pending | Triggered | Matched | Printed | Converted | Dropped | Refused
