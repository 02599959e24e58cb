"""The whole order plant: every request that it knows, who may make it, and how a refusal is answered."""

from collections.abc import Callable
from typing import Any

from nightdesk.simulator.plants import accounts, brackets, order, order_history, order_lists, rms
from nightdesk.simulator.plants.order_terms import REFUSED, RequestRefusal
from nightdesk.simulator.venue.venue import VenueRefusal
from nightdesk.simulator.wire.session import PERMISSION_DENIED, Session

Handler = Callable[[Session, Any], None]

ACTIONS = frozenset({312, 314, 316, 328, 330, 332, 334, 344, 346, 3500, 3504})
"""Requests that act on orders: only for users with the entitlement ``orders``; all others may still look."""

_ECHOED = {313: "user_tag", 331: "user_tag", 315: "basket_id", 317: "basket_id"}
"""What a refusal repeats of its request, by answer."""


def _refuse(session: Session, template_id: int, request: Any, answer: tuple[str, ...]) -> None:
    response_id = template_id + 1
    name = _ECHOED.get(response_id)
    echoed = {name: getattr(request, name) or None} if name is not None else {}
    session.done(response_id, request, answer, **echoed)


def _guarded(template_id: int, handler: Handler) -> Handler:
    def guarded(session: Session, request: Any) -> None:
        if template_id in ACTIONS and not session.may("orders"):
            _refuse(session, template_id, request, PERMISSION_DENIED)
            return
        try:
            handler(session, request)
        except RequestRefusal as refusal:
            _refuse(session, template_id, request, refusal.answer)
        except VenueRefusal as refusal:
            _refuse(session, template_id, request, (REFUSED, str(refusal)))

    return guarded


HANDLERS: dict[int, Handler] = {
    template_id: _guarded(template_id, handler)
    for module in (accounts, rms, order, brackets, order_lists, order_history)
    for template_id, handler in module.HANDLERS.items()
}

ACCOUNT_LIST = HANDLERS[302]
"""Served on the pnl plant as well."""
SESSION_CONFIG = HANDLERS[3502]
"""Has an answer on every plant."""
