"""How the order and the pnl plant refuse requests: by what their handlers raise, in the answer's own template."""

from collections.abc import Callable, Container
from typing import Any

from nightdesk.errors import NightdeskError
from nightdesk.simulator.model import Condition
from nightdesk.simulator.venue.refusal import VenueRefusal
from nightdesk.simulator.wire.order_words import BRACKET_KINDS, DURATIONS, PRICE_FIELDS, PRICE_TYPES, SIDES
from nightdesk.simulator.wire.session import (
    ACCOUNT_DENIED,
    FCM_ID,
    FCM_MISSING,
    FINISH_INDEX_MISSING,
    IB_ID,
    PRICE_TYPE_MISSING,
    START_INDEX_MISSING,
    SYMBOL_MISSING,
    TRADE_ROUTE_MISSING,
    USER_TYPE_MISSING,
    Session,
)

REFUSED = "6"
TEXT_CHARACTERS_MAX = 255
"""What an order keeps of a client's own words; without a limit a few orders could hold all of the memory."""

Handler = Callable[[Session, Any], None]

_CODES = {
    "fcm_id": FCM_MISSING,
    "symbol": SYMBOL_MISSING,
    "trade_route": TRADE_ROUTE_MISSING,
    "price_type": PRICE_TYPE_MISSING,
    "user_type": USER_TYPE_MISSING,
    "start_index": START_INDEX_MISSING,
    "finish_index": FINISH_INDEX_MISSING,
}
"""The missing fields that have a code of their own in some source; the others have only a text, under code 6."""

_NUMBERS: dict[str, Container[int]] = {
    "transaction_type": frozenset(SIDES.values()),
    "duration": frozenset(DURATIONS.values()),
    "price_type": frozenset(PRICE_TYPES.values()),
    "if_touched_condition": range(1, len(Condition) + 1),
    "if_touched_price_field": frozenset(PRICE_FIELDS.values()),
    "bracket_type": frozenset(BRACKET_KINDS.values()),
}
"""The numbers of enumerations that mean something."""

_ECHOED = {313: "user_tag", 331: "user_tag", 315: "basket_id", 317: "basket_id"}
"""What a refusal repeats of its request, by answer."""


class RequestRefusal(NightdeskError):
    """A request is refused at once: ``answer`` is the code and the text for the client. The request must be mended."""

    def __init__(self, *answer: str) -> None:
        super().__init__(" ".join(answer))
        self.answer = answer


def is_given(request: Any, name: str) -> bool:
    """Whether the field carries a value; an empty text is none, nor is the zero that some enumerations have."""
    if not request.HasField(name):
        return False
    value = getattr(request, name)
    numbers = _NUMBERS.get(name)
    return value in numbers if numbers is not None else value != ""


def missing(name: str) -> RequestRefusal:
    """The refusal of a request that lacks a field."""
    words = f"{name.replace('_', ' ').capitalize()} field is not received."
    return RequestRefusal(*_CODES.get(name, (REFUSED, words)))


def require(request: Any, *names: str) -> None:
    """Refuse the request for the first of these fields that it does not have."""
    for name in names:
        if not is_given(request, name):
            raise missing(name)


def require_short(request: Any, *names: str) -> None:
    """Refuse the request for the first of these texts that is too long to be kept."""
    for name in names:
        if len(getattr(request, name)) > TEXT_CHARACTERS_MAX:
            raise RequestRefusal(REFUSED, f"{name} is longer than {TEXT_CHARACTERS_MAX} characters")


def require_account(session: Session, request: Any) -> None:
    """Refuse a request that does not name the firm, or names an account that is not the user's."""
    require(request, "fcm_id")
    if request.fcm_id != FCM_ID or request.ib_id != IB_ID or request.account_id not in session.accounts:
        raise RequestRefusal(*ACCOUNT_DENIED)


def guarded(template_id: int, handler: Handler) -> Handler:
    """The handler with its refusals, and the venue's, put into the answer's template."""
    response_id = template_id + 1
    name = _ECHOED.get(response_id)

    def handle(session: Session, request: Any) -> None:
        try:
            handler(session, request)
            return
        except RequestRefusal as refusal:
            answer = refusal.answer
        except VenueRefusal as refusal:
            answer = (REFUSED, str(refusal))
        echoed = {name: getattr(request, name) or None} if name is not None else {}
        session.done(response_id, request, answer, **echoed)

    return handle
