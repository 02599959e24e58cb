"""What the tests of the embedded exchange's market share: a product, a venue with a book, orders in short form."""

from typing import Any

from nightdesk.messages.enums import OrderType, Side, TimeInForce
from nightdesk.simulator.model import NewOrder, OrderHappened, Product, Quoted, Traded, VenueEvent
from nightdesk.simulator.venue.matching import Order
from nightdesk.simulator.venue.venue import Venue

ES = Product(symbol="ESZ6", exchange="CME", tick_size=0.25, point_value=50.0, commission=2.25)
NOW_NS = 1_700_000_000_000_000_000
ACCOUNT = "SIM-1"


def new_order(side: Side, quantity: int, price: float | None = None, /, **changes: Any) -> NewOrder:
    """A limit order with a price, a market order without; ``changes`` overrides any field."""
    fields: dict[str, Any] = {
        "account_id": ACCOUNT,
        "user": "nightdesk",
        "user_tag": "tag",
        "symbol": ES.symbol,
        "exchange": ES.exchange,
        "side": side,
        "order_type": OrderType.MARKET if price is None else OrderType.LIMIT,
        "quantity": quantity,
        "price": price,
        "trigger_price": None,
        "time_in_force": TimeInForce.DAY,
    }
    return NewOrder(**{**fields, **changes})


def quiet_venue(**options: Any) -> Venue:
    """A venue with an empty book and two accounts."""
    return Venue([ES], [ACCOUNT, "SIM-2"], 100_000.0, **options)


def add_liquidity(venue: Venue, is_buy: bool, price: float, quantity: int) -> list[VenueEvent]:
    """An anonymous order in the book of ES."""
    market = venue.market(ES.symbol)
    ticks = market.scale.ticks(price)
    engine: Any = market.matcher
    return venue.step(ES.symbol, engine.submit(Order(is_buy, quantity, ticks)), NOW_NS)


def booked_venue() -> Venue:
    """A venue whose book is ten levels of ten contracts around 4999.75 / 5000.00 (nine), last trade 5000.00."""
    venue = quiet_venue()
    for distance in range(10):
        add_liquidity(venue, True, 4999.75 - 0.25 * distance, 10)
        add_liquidity(venue, False, 5000.0 + 0.25 * distance, 10)
    add_liquidity(venue, True, 5000.0, 1)
    return venue


def kinds(events: list[VenueEvent]) -> list[str]:
    """The events' names: kinds of order events, with the completion's word, ``Traded`` and ``Quoted``."""
    names = []
    for event in events:
        if isinstance(event, OrderHappened):
            completion = event.order.completion
            names.append(f"{event.kind}({completion})" if completion else str(event.kind))
        else:
            names.append(type(event).__name__)
    return names


def order_events(events: list[VenueEvent]) -> list[OrderHappened]:
    return [event for event in events if isinstance(event, OrderHappened)]


def prints(events: list[VenueEvent]) -> list[Traded]:
    return [event for event in events if isinstance(event, Traded)]


def quotes(events: list[VenueEvent]) -> list[Quoted]:
    return [event for event in events if isinstance(event, Quoted)]
