"""Finding contracts: by text, by product, by underlying; tick-size tables, auxiliary data, exchange permissions."""

from collections.abc import Callable
from typing import Any

from nightdesk.simulator.model import Product
from nightdesk.simulator.plants.reference import is_index_future, name_of, root_of
from nightdesk.simulator.wire.definitions import BITS
from nightdesk.simulator.wire.session import BAD_INPUT, NO_DATA, PERMISSION_DENIED, SYMBOL_MISSING, Session

SEARCH_PATTERN_MISSING = ("1062", "Search pattern field is not received.")

FUTURE = "Future"
"""The name of the only instrument type that is listed; a search asks for it by number."""
_FUTURE_TYPE = 1
_EQUALS = 1

UNDERLYING_UPDATE_BITS = sum(BITS[105].values())
"""The update bits of 105; 100 has one more."""

TIMEZONE_OF_INTEREST = "US/Central"
BEGIN_OF_INTEREST_MIN = 8 * 60 + 30
END_OF_INTEREST_MIN = 15 * 60 + 15
"""The hours of a product in which most is traded, in minutes since midnight: those of the floor in Chicago."""

QUOTE_PRICE_FACTOR = 100.0
"""How many units of the fill price make one of the quoted price, after a captured frame."""

_ENABLED, _DISABLED = 1, 2


def find_contract(session: Session, response_id: int, request: Any, entitlement: str | None = None) -> Product | None:
    """The contract that a request names; None when it was refused."""
    product = session.exchange.catalog.find(request.symbol, request.exchange)
    if not request.symbol:
        session.done(response_id, request, SYMBOL_MISSING)
    elif not request.exchange:
        session.done(response_id, request, BAD_INPUT)
    elif entitlement is not None and not session.may(entitlement):
        session.done(response_id, request, PERMISSION_DENIED)
    elif product is None:
        session.done(response_id, request, NO_DATA)
    else:
        return product
    return None


def price_fields(product: Product) -> dict[str, Any]:
    """A contract's prices, as 15 and 103 have them."""
    return {
        "ftoq_price": 1 / QUOTE_PRICE_FACTOR,
        "qtof_price": QUOTE_PRICE_FACTOR,
        "min_qprice_change": product.tick_size,
        "min_fprice_change": product.tick_size * QUOTE_PRICE_FACTOR,
        "single_point_value": product.point_value,
    }


def contracts_by_underlying(session: Session, request: Any) -> list[Product]:
    """The contracts of 102 and 105: a future's underlying is its product code. All of them without an expiration."""
    contracts = session.exchange.catalog.contracts(request.underlying_symbol, request.exchange)
    if not request.expiration_date:
        return contracts
    return [each for each in contracts if _expiration(session, each) == request.expiration_date]


def _expiration(session: Session, product: Product) -> str | None:
    return session.exchange.catalog.expiration(product.symbol, session.exchange.now_ns())


def instruments_by_underlying(session: Session, request: Any) -> None:
    """102 → 103 for each contract of one expiration, then the bare end; without an expiration 104, the list of them."""
    if not request.underlying_symbol:
        session.done(104, request, BAD_INPUT)
        return
    contracts = contracts_by_underlying(session, request)
    expirations = sorted({each for product in contracts if (each := _expiration(session, product))})
    if not expirations:
        session.done(104, request, NO_DATA)
        return
    if not request.expiration_date:
        count = len(expirations)
        session.done(
            104,
            request,
            underlying_symbol=[request.underlying_symbol] * count,
            exchange=[request.exchange] * count,
            expiration_date=expirations,
        )
        return
    bits = BITS[103]
    for product in contracts:
        session.more(
            103,
            request,
            presence_bits=sum(bits.values()) - sum(bits[name] for name in _UNKNOWN_OF_103),
            clear_bits=sum(bits[name] for name in _UNKNOWN_OF_103),
            symbol=product.symbol,
            exchange=product.exchange,
            exchange_symbol=product.symbol,
            symbol_name=name_of(product.symbol),
            product_code=root_of(product.symbol),
            instrument_type=FUTURE,
            underlying_symbol=request.underlying_symbol,
            expiration_date=request.expiration_date,
            currency="USD",
            **price_fields(product),
        )
    session.done(103, request)


_UNKNOWN_OF_103 = ("PUT_CALL_INDICATOR", "STRIKE_PRICE", "TICK_SIZE_TYPE", "PRICE_DISPLAY_FORMAT")


def tick_size_table(session: Session, request: Any) -> None:
    """107 → 108: the table of a product, named by its code; ours have one tick size at every price from zero on."""
    if not request.tick_size_type:
        session.done(108, request, BAD_INPUT)
        return
    ticks = [each for each in session.exchange.catalog.products if root_of(each.symbol) == request.tick_size_type]
    if not ticks:
        session.done(108, request, NO_DATA)
        return
    bits = BITS[108]
    session.more(
        108,
        request,
        presence_bits=bits["TICK_SIZE_FIRST_PRICE"] | bits["TICK_SIZE_FP_OPERATOR"],
        tick_size_type=request.tick_size_type,
        tick_size_first_price=0.0,
        tick_size_fp_operator=">=",
        min_fprice_change=ticks[0].tick_size * QUOTE_PRICE_FACTOR,
    )
    session.done(108, request)


def search_symbols(session: Session, request: Any) -> None:
    """109 → 110 for each contract found, then the bare end. Upper and lower case are the same."""
    if not request.HasField("pattern"):
        session.done(110, request, SEARCH_PATTERN_MISSING)
        return
    found = [product for product in session.exchange.catalog.products if _matches(product, request)]
    for product in found:
        session.more(
            110,
            request,
            symbol=product.symbol,
            exchange=product.exchange,
            symbol_name=name_of(product.symbol),
            product_code=root_of(product.symbol),
            instrument_type=FUTURE,
            expiration_date=_expiration(session, product),
        )
    session.end_of_list(110, request, is_empty=not found)


def _matches(product: Product, request: Any) -> bool:
    text = request.search_text.upper()
    code = root_of(product.symbol)
    words = (product.symbol.upper(), code.upper(), name_of(product.symbol).upper())
    is_found = text in words if request.pattern == _EQUALS else any(text in word for word in words)
    return (
        is_found
        and request.exchange in ("", product.exchange)
        and request.product_code in ("", code)
        and (not request.HasField("instrument_type") or request.instrument_type == _FUTURE_TYPE)
    )


def product_codes(session: Session, request: Any) -> None:
    """111 → 112 for each product, then the bare end; all exchanges without one. Each product has hours of interest."""
    products = {
        (product.exchange, root_of(product.symbol)): product
        for product in reversed(session.exchange.catalog.products)
        if request.exchange in ("", product.exchange)
    }
    for (exchange, code), product in sorted(products.items()):
        session.more(
            112,
            request,
            exchange=exchange,
            symbol_name=name_of(product.symbol),
            product_code=code,
            timezone_time_of_interest=TIMEZONE_OF_INTEREST,
            begin_time_of_interest_msm=BEGIN_OF_INTEREST_MIN,
            end_time_of_interest_msm=END_OF_INTEREST_MIN,
        )
    session.end_of_list(112, request, is_empty=not products)


def auxiliary_reference_data(session: Session, request: Any) -> None:
    """121 → 122: the last day, of index futures the settlement; what is not known of a contract is cleared."""
    product = find_contract(session, 122, request)
    if product is None:
        return
    last_day = _expiration(session, product)
    is_cash = is_index_future(product.symbol)
    presence = (_SETTLEMENT_METHOD if is_cash else 0) | (_LAST_TRADING_DATE if last_day else 0) | _UNIT_OF_MEASURE_QTY
    session.done(
        122,
        request,
        presence_bits=presence,
        clear_bits=_AUXILIARY_ALL & ~presence,
        symbol=product.symbol,
        exchange=product.exchange,
        settlement_method="Cash" if is_cash else None,
        last_trading_date=last_day,
        unit_of_measure_qty=product.point_value,
    )


_SETTLEMENT_METHOD = 1
_LAST_TRADING_DATE = 16
_UNIT_OF_MEASURE_QTY = 1024
_AUXILIARY_ALL = 2047


def exchange_permissions(session: Session, request: Any) -> None:
    """342 → 343 for each exchange with the user's right to its market data, then the bare end."""
    if request.user and request.user != session.user_name:
        session.done(343, request, PERMISSION_DENIED)
        return
    has_data = session.may("market_data")
    exchanges = session.exchange.catalog.exchanges
    for exchange in exchanges:
        session.more(
            343,
            request,
            exchange=exchange,
            level_1_market_data=_yes_or_no(has_data),
            level_2_market_data=_yes_or_no(has_data and session.may("depth")),
            entitlement_flag=_ENABLED if has_data else _DISABLED,
        )
    session.end_of_list(343, request, is_empty=not exchanges)


def _yes_or_no(is_allowed: bool) -> str:
    # Text, as the reference data's is_tradable is; no source shows the values of these two.
    return "true" if is_allowed else "false"


HANDLERS: dict[int, Callable[[Session, Any], None]] = {
    102: instruments_by_underlying,
    107: tick_size_table,
    109: search_symbols,
    111: product_codes,
    121: auxiliary_reference_data,
    342: exchange_permissions,
}
