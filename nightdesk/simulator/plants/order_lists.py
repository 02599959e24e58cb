"""The order plant's lists of orders: of the session (320), of a day (318, 324), of one order (322, 326)."""

from collections.abc import Callable, Iterable
from typing import Any

from nightdesk.simulator.model import OrderState
from nightdesk.simulator.plants.reference import day_of_index
from nightdesk.simulator.plants.requests import RequestRefusal, require, require_account
from nightdesk.simulator.wire.framing import OutgoingFrame
from nightdesk.simulator.wire.order_images import images_of, snapshot
from nightdesk.simulator.wire.session import BAD_INPUT, NO_DATA, OK, Session

_DATE_DIGITS = 8


def _send_images(session: Session, orders: Iterable[OrderState]) -> int:
    venue = session.exchange.venue
    count = 0
    for order in orders:
        history = venue.order_history(order.terms.account_id, order.basket_id)
        session.send(OutgoingFrame(snapshot(order, history)))
        count += 1
    return count


def show_orders(session: Session, request: Any) -> None:
    """320 → a burst of 352 images without ``user_msg``, finished orders too, then 321; an account without any is ok."""
    require_account(session, request)
    _send_images(session, session.exchange.venue.orders(request.account_id))
    session.done(321, request)


def order_dates(session: Session, request: Any) -> None:
    """318 → one 319 with the days of which orders of any of the user's accounts are kept, then a bare one."""
    venue = session.exchange.venue
    dates = sorted({date for account_id in session.accounts for date in venue.order_dates(account_id)})
    if dates:
        session.more(319, request, date=dates)
    session.done(319, request, OK if dates else NO_DATA)


def orders_of_day(session: Session, request: Any) -> None:
    """324 → the images of one day's orders, then 325."""
    require_account(session, request)
    date = _date_of(request)
    count = _send_images(session, session.exchange.venue.orders(request.account_id, date=date))
    session.done(325, request, OK if count else NO_DATA)


def order_history(session: Session, request: Any) -> None:
    """322 → every 351 and 352 of one order again, as images, then 323."""
    require_account(session, request)
    require(request, "basket_id")
    _send_history(session, request, 323, None)


def order_detail(session: Session, request: Any) -> None:
    """326 → the same of what happened to one order on one day, then 327."""
    require_account(session, request)
    require(request, "basket_id")
    _send_history(session, request, 327, _date_of(request))


def _send_history(session: Session, request: Any, response_id: int, date: str | None) -> None:
    venue = session.exchange.venue
    happened = venue.order_history(request.account_id, request.basket_id)
    found = [each for each in happened if date in (None, venue.dates.date_of(each.order.terms.symbol, each.ts_ns))]
    for each in found:
        for payload in images_of(each):
            session.send(OutgoingFrame(payload))
    session.done(response_id, request, OK if found else NO_DATA)


def _date_of(request: Any) -> str:
    require(request, "date")
    date = str(request.date)
    if len(date) != _DATE_DIGITS or not (date.isascii() and date.isdecimal()) or day_of_index(int(date)) is None:
        raise RequestRefusal(*BAD_INPUT)
    return date


HANDLERS: dict[int, Callable[[Session, Any], None]] = {
    318: order_dates,
    320: show_orders,
    322: order_history,
    324: orders_of_day,
    326: order_detail,
}
