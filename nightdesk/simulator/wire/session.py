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

OK = ("0",)
BAD_INPUT = ("6", "bad input")
NO_DATA = ("7", "no data")
PERMISSION_DENIED = ("13", "permission denied")
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


class User(msgspec.Struct, frozen=True):
    """Who may log in, and to which accounts."""

    name: str
    password: str
    accounts: tuple[str, ...]


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

    @property
    def user_name(self) -> str:
        """The user's name, empty before login."""
        return self.user.name if self.user is not None else ""

    @property
    def accounts(self) -> tuple[str, ...]:
        """The accounts of the user, none before login."""
        return self.user.accounts if self.user is not None else ()

    def send(self, frame: OutgoingFrame) -> None:
        """Queue a message that other sessions may get as well."""
        self.outlet.push(frame.transport_bytes(self.framing or Framing.PREFIXED))

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

    def refuses_account(self, response_id: int, request: Any) -> bool:
        """Refuse a request that does not name the firm or names a foreign account; True when it was refused."""
        if not request.HasField("fcm_id"):
            self.done(response_id, request, FCM_MISSING)
        elif request.fcm_id != FCM_ID or request.ib_id != IB_ID or request.account_id not in self.accounts:
            self.done(response_id, request, PERMISSION_DENIED)
        else:
            return False
        return True
