"""One connection to the exchange: who is logged in on it, to which plant, and how an answer is put together."""

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import msgspec

from nightdesk.simulator.wire.framing import Framing, OutgoingFrame
from nightdesk.simulator.wire.outlet import Outlet
from nightdesk.simulator.wire.templates import encode

if TYPE_CHECKING:
    from nightdesk.simulator.engine import Exchange

FCM_ID = "Nightdesk-FCM"
IB_ID = "Nightdesk-IB"
TRADE_ROUTE = "simulator"

SUBSCRIBE = 1
UNSUBSCRIBE = 2
"""What the field ``request`` of every subscription says."""

OK = ("0",)
BAD_INPUT = ("6", "bad input")
NO_DATA = ("7", "no data")
REFERENCE_DATA_MISSING = ("7", "reference data not available")
PERMISSION_DENIED = ("13", "permission denied")
NOT_LOGGED_IN = ("1034", "invalid operation before login.")
ACCOUNT_DENIED = ("1088", "user has no permission to this account")
SYMBOL_MISSING = ("1003", "Symbol field is not received.")
START_INDEX_MISSING = ("1013", "Start index field is not received.")
FINISH_INDEX_MISSING = ("1014", "Finish index field is not received.")
FCM_MISSING = ("1039", "FCM Id field is not received.")
USER_TYPE_MISSING = ("1041", "User Type field is not received.")
TRADE_ROUTE_MISSING = ("1047", "Trade route field is not received.")
PRICE_TYPE_MISSING = ("1051", "Price type field is not received.")
TEMPLATE_VERSION_MISSING = ("1084", "Template version field is not received.")


class Plant(IntEnum):
    """The wire's ``infra_type``; one socket serves one of them."""

    TICKER = 1
    ORDER = 2
    HISTORY = 3
    PNL = 4
    REPOSITORY = 5


ENTITLEMENTS = frozenset({"market_data", "depth", "history", "orders"})
"""Everything that a user may be allowed, by the settings' names."""


class User(msgspec.Struct, frozen=True):
    """Who may log in, to which accounts, how often, and what is allowed."""

    name: str
    password: str
    accounts: tuple[str, ...]
    entitlements: frozenset[str] = ENTITLEMENTS
    sessions_per_plant_max: int = 16
    is_refused_over_limit: bool = False
    """A login over the limit is refused; otherwise the oldest session of the plant is logged out for it."""


class Session:
    """One connection's state; ``user`` and ``plant`` are None until its login succeeds."""

    def __init__(self, exchange: "Exchange", outlet: Outlet, opened_s: float) -> None:
        self.exchange = exchange
        self.outlet = outlet
        self.framing: Framing | None = None
        self.user: User | None = None
        self.plant: Plant | None = None
        self.last_heard_s = opened_s
        self.malformed_frames = 0
        self.requests = 0
        """Frames taken so far, whatever was in them; some requests are only answered as the first."""
        self.login_number = 0
        """Counts the exchange's logins: a lower number has been in for longer."""

    @property
    def user_name(self) -> str:
        """The user's name, empty before login."""
        return self.user.name if self.user is not None else ""

    @property
    def accounts(self) -> tuple[str, ...]:
        """The accounts of the user, none before login."""
        return self.user.accounts if self.user is not None else ()

    def may(self, entitlement: str) -> bool:
        """Whether the user is allowed this, one of ``ENTITLEMENTS``; nobody is anything before login."""
        return self.user is not None and entitlement in self.user.entitlements

    def send(self, frame: OutgoingFrame) -> None:
        """Queue a message that other sessions may get as well."""
        self.outlet.send(frame, self.framing or Framing.PREFIXED)

    def push(self, template_id: int, **fields: object) -> None:
        """Queue a message of one's own; a field given as None stays absent."""
        self.send(OutgoingFrame(encode(template_id, **fields)))

    def answer(self, template_id: int, request: Any, **fields: object) -> None:
        """Queue one frame of an answer: the request's ``user_msg`` is echoed in each."""
        self.push(template_id, user_msg=list(request.user_msg), **fields)

    def more(self, template_id: int, request: Any, **fields: object) -> None:
        """A data frame that is not the last one of its answer."""
        self.answer(template_id, request, rq_handler_rp_code=OK, **fields)

    def done(self, template_id: int, request: Any, code: tuple[str, ...] = OK, **fields: object) -> None:
        """The last frame of an answer, with its code."""
        self.answer(template_id, request, rp_code=code, **fields)

    def end_of_list(self, template_id: int, request: Any, *, is_empty: bool) -> None:
        """The bare last frame of a list; code 7 when there was nothing in it."""
        self.done(template_id, request, NO_DATA if is_empty else OK)
