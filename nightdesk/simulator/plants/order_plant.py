"""The whole order plant: every request that it knows, who may make it, and how a refusal is answered."""

from typing import Any

from nightdesk.simulator.plants import accounts, brackets, order, order_history, order_lists, rms
from nightdesk.simulator.plants.requests import Handler, RequestRefusal, guarded
from nightdesk.simulator.wire.session import PERMISSION_DENIED, Session

ACTIONS = frozenset({312, 314, 316, 328, 330, 332, 334, 344, 346, 3500, 3504})
"""Requests that act on orders: only for users with the entitlement ``orders``; all others may still look."""


def _acting(handler: Handler) -> Handler:
    def act(session: Session, request: Any) -> None:
        if not session.may("orders"):
            raise RequestRefusal(*PERMISSION_DENIED)
        handler(session, request)

    return act


HANDLERS: dict[int, Handler] = {
    template_id: guarded(template_id, _acting(handler) if template_id in ACTIONS else handler)
    for module in (accounts, rms, order, brackets, order_lists, order_history)
    for template_id, handler in module.HANDLERS.items()
}

ACCOUNT_LIST = HANDLERS[302]
"""Served on the pnl plant as well."""
SESSION_CONFIG = HANDLERS[3502]
"""Has an answer on every plant."""
