"""The order plant's groups of orders: OCO (328), brackets (330 to 341), orders linked afterwards (344)."""

from collections.abc import Callable
from typing import Any

import msgspec

from nightdesk.simulator.model import BracketChanged, Stage
from nightdesk.simulator.plants.order_terms import bracket_of, legs_of, order_of
from nightdesk.simulator.plants.requests import REFUSED, RequestRefusal, require, require_account
from nightdesk.simulator.venue.links import LEGS_MAX
from nightdesk.simulator.venue.venue import VenueRefusal
from nightdesk.simulator.wire.order_frames import link_failed
from nightdesk.simulator.wire.order_words import NS_PER_S
from nightdesk.simulator.wire.session import ACCOUNT_DENIED, FCM_ID, FCM_MISSING, IB_ID, Session

_LINK_COLUMNS = ("fcm_id", "ib_id", "account_id")


def oco_order(session: Session, request: Any) -> None:
    """328 → 329 with a basket id for each leg, a bare 329, then the notifications of all legs."""
    legs = legs_of(session, request)
    exchange = session.exchange
    now_ns = exchange.now_ns()
    basket_ids, events = exchange.venue.submit_oco(legs, now_ns)
    exchange.record(events)
    ssboe, nanoseconds = divmod(now_ns, NS_PER_S)
    session.more(
        329,
        request,
        user_tag=list(request.user_tag),
        basket_id=basket_ids,
        ssboe=[ssboe] * len(legs),
        usecs=[nanoseconds // 1000] * len(legs),
    )
    session.done(329, request)
    exchange.publish(events)


def bracket_order(session: Session, request: Any) -> None:
    """330 → 331 with the entry's basket id, a bare 331, then the notifications; its exits follow the entry's fills."""
    entry = order_of(session, request)
    order = msgspec.structs.replace(entry, bracket=bracket_of(request))
    exchange = session.exchange
    now_ns = exchange.now_ns()
    basket_id, events = exchange.venue.submit(order, now_ns)
    exchange.record(events)
    ssboe, nanoseconds = divmod(now_ns, NS_PER_S)
    session.more(
        331, request, basket_id=basket_id, ssboe=ssboe, usecs=nanoseconds // 1000, user_tag=request.user_tag or None
    )
    session.done(331, request)
    exchange.publish(events)


def update_target(session: Session, request: Any) -> None:
    """332 → 333."""
    _update(session, request, is_target=True, response_id=333)


def update_stop(session: Session, request: Any) -> None:
    """334 → 335."""
    _update(session, request, is_target=False, response_id=335)


def _update(session: Session, request: Any, *, is_target: bool, response_id: int) -> None:
    """Move exits that have not come to the market yet; ``level`` is their present distance, the key of the change.

    After the entry's fill the answer is still ok, and a notification says that the change failed.
    """
    side = "target" if is_target else "stop"
    name = f"{side}_ticks"
    require_account(session, request)
    require(request, "basket_id", name)
    exchange = session.exchange
    level = request.level
    if not request.HasField("level"):
        # One client leaves the level out; without it the present one is meant.
        rows = [each for each in _brackets(session, request) if each.basket_id == request.basket_id]
        present = {getattr(each, name) for each in rows if getattr(each, f"{side}_quantity")}
        if len(present) > 1:
            raise RequestRefusal(REFUSED, f"the bracket has {len(present)} levels of {name}; level says which is meant")
        level = present.pop() if present else 0
    events = exchange.venue.update_bracket(
        request.account_id,
        request.basket_id,
        is_target=is_target,
        level=level,
        ticks=getattr(request, name),
        now_ns=exchange.now_ns(),
    )
    exchange.record(events)
    session.done(response_id, request)
    exchange.publish(events)


def subscribe_brackets(session: Session, request: Any) -> None:
    """336 → 337: from here on the session gets 353, and the account's brackets get their exits."""
    require_account(session, request)
    session.exchange.order_feed.subscribe_brackets(session, request.account_id)
    session.done(337, request)


def show_targets(session: Session, request: Any) -> None:
    """338 → one 339 per target of a bracket, as it is now, then a bare one; numbers are text here."""
    require_account(session, request)
    for each in _brackets(session, request):
        if each.target_quantity or each.target_ticks:
            session.more(
                339,
                request,
                basket_id=each.basket_id,
                target_quantity=str(each.target_quantity),
                target_quantity_released=str(each.target_quantity_released),
                target_ticks=str(each.target_ticks),
            )
    session.done(339, request)


def show_stops(session: Session, request: Any) -> None:
    """340 → one 341 per stop of a bracket, as it is now, then a bare one; numbers are text here."""
    require_account(session, request)
    venue = session.exchange.venue
    # A stop that trails is told by its entry's terms.
    entries = {order.basket_id: order.terms.bracket for order in venue.orders(request.account_id)}
    for each in _brackets(session, request):
        if each.stop_quantity or each.stop_ticks:
            terms = entries.get(each.basket_id)
            trigger = terms.trailing_stop_trigger_ticks if terms is not None else 0
            session.more(
                341,
                request,
                basket_id=each.basket_id,
                stop_quantity=str(each.stop_quantity),
                stop_quantity_released=str(each.stop_quantity_released),
                stop_ticks=str(each.stop_ticks),
                trailing_stop_trigger_ticks=str(trigger) if trigger else None,
            )
    session.done(341, request)


def _brackets(session: Session, request: Any) -> list[BracketChanged]:
    return session.exchange.venue.brackets(request.account_id)


def link_orders(session: Session, request: Any) -> None:
    """344 → 345; working orders become one-cancels-other. If one of them is complete, each is told that it failed."""
    account_id = _linked_account(session, request)
    basket_ids = list(request.basket_id)
    if not 2 <= len(set(basket_ids)) == len(basket_ids) <= LEGS_MAX:
        raise RequestRefusal(REFUSED, f"a link has 2 to {LEGS_MAX} different orders")
    exchange = session.exchange
    now_ns = exchange.now_ns()
    histories = [exchange.venue.order_history(account_id, basket_id) for basket_id in basket_ids]
    try:
        events = exchange.venue.link(account_id, basket_ids, now_ns)
    except VenueRefusal as refusal:
        orders = [history[-1].order for history in histories if history]
        if len(orders) != len(basket_ids) or all(order.stage is not Stage.COMPLETE for order in orders):
            raise
        session.done(345, request)
        for order in orders:
            exchange.order_feed.tell(account_id, link_failed(order, now_ns, str(refusal)))
        return
    exchange.record(events)
    session.done(345, request)
    exchange.publish(events)


def _linked_account(session: Session, request: Any) -> str:
    columns = [set(getattr(request, name)) for name in _LINK_COLUMNS]
    if not request.fcm_id:
        raise RequestRefusal(*FCM_MISSING)
    if any(len(column) != 1 for column in columns):
        raise RequestRefusal(REFUSED, "the orders of a link belong to one account")
    fcm_id, ib_id, account_id = (next(iter(column)) for column in columns)
    if fcm_id != FCM_ID or ib_id != IB_ID or account_id not in session.accounts:
        raise RequestRefusal(*ACCOUNT_DENIED)
    return str(account_id)


HANDLERS: dict[int, Callable[[Session, Any], None]] = {
    328: oco_order,
    330: bracket_order,
    332: update_target,
    334: update_stop,
    336: subscribe_brackets,
    338: show_targets,
    340: show_stops,
    344: link_orders,
}
