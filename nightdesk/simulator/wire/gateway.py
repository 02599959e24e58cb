"""What one connection's frames lead to: login first, then the table of its plant. Nothing raises on any bytes."""

from collections.abc import Callable
from hmac import compare_digest
from typing import Any

from nightdesk.simulator.plants import history, order, order_history, pnl, ticker
from nightdesk.simulator.wire.framing import detect_framing, unwrap
from nightdesk.simulator.wire.session import (
    BAD_INPUT,
    FCM_ID,
    IB_ID,
    PERMISSION_DENIED,
    TEMPLATE_VERSION_MISSING,
    Plant,
    Session,
)
from nightdesk.simulator.wire.templates import CLASSES, MESSAGE_NAMES, MalformedFrameError, UnknownTemplateError, decode

TEMPLATE_VERSION = "5.27"
MALFORMED_FRAMES_MAX = 10
"""A connection that sends more frames than this that are no messages is closed."""

NORMAL_CLOSURE = 1000
UNSUPPORTED_DATA = 1003
POLICY_VIOLATION = 1008
INTERNAL_ERROR = 1011
"""The close code that was seen after a forced logout."""

NS_PER_S = 1_000_000_000
Handler = Callable[[Session, Any], None]


def receive(session: Session, frame: bytes | str) -> None:
    """Take one frame of a client; the answers are queued on the session's outlet."""
    session.last_heard_s = session.exchange.clock.monotonic_s()
    if isinstance(frame, str):
        session.push(75, rp_code=BAD_INPUT)
        session.outlet.finish(UNSUPPORTED_DATA, "binary frames only")
        return
    if session.framing is None:
        session.framing = detect_framing(frame)
    try:
        template_id, request = decode(unwrap(frame, session.framing))
    except MalformedFrameError:
        session.malformed_frames += 1
        session.push(75, rp_code=BAD_INPUT)
        if session.malformed_frames > MALFORMED_FRAMES_MAX:
            session.outlet.finish(POLICY_VIOLATION, "too many malformed frames")
        return
    except UnknownTemplateError:
        session.push(75, rp_code=BAD_INPUT)
        return
    _dispatch(session, template_id, request)


def _dispatch(session: Session, template_id: int, request: Any) -> None:
    if session.plant is None:
        handler = _BEFORE_LOGIN.get(template_id)
        if handler is None:
            _reject(session, request, PERMISSION_DENIED)
        else:
            handler(session, request)
        return
    handler = _PLANTS[session.plant].get(template_id)
    if handler is not None:
        handler(session, request)
        return
    response_id = template_id + 1
    if MESSAGE_NAMES[template_id].startswith("Request") and response_id in CLASSES:
        # The wrong plant, or something that is not served: refused in the answer's own template, as the real one does.
        session.done(response_id, request, BAD_INPUT)
    else:
        _reject(session, request, BAD_INPUT)


def _reject(session: Session, request: Any, code: tuple[str, ...]) -> None:
    session.push(75, user_msg=list(getattr(request, "user_msg", ())), rp_code=code)


def system_info(session: Session, request: Any) -> None:
    """16 → 17, and the gateway closes the socket."""
    session.done(17, request, system_name=[session.exchange.system_name], has_aggregated_quotes=[False])
    session.outlet.finish(NORMAL_CLOSURE, "")


def login(session: Session, request: Any) -> None:
    """10 → 11; a refusal carries the code and nothing else, and the socket stays open."""
    exchange = session.exchange
    if not request.HasField("template_version"):
        session.push(11, rp_code=TEMPLATE_VERSION_MISSING)
        return
    user = exchange.users.get(request.user)
    expected = user.password if user is not None else ""
    is_right = compare_digest(request.password.encode(), expected.encode()) and user is not None
    plant = request.infra_type if request.HasField("infra_type") else 0
    if not is_right or request.system_name != exchange.system_name or plant not in _PLANTS:
        exchange.logger.info("exchange_login_refused", user=request.user, plant=plant)
        session.push(11, rp_code=PERMISSION_DENIED)
        return
    session.user = user
    session.plant = Plant(plant)
    exchange.logger.info("exchange_login", user=request.user, plant=session.plant.name.lower())
    session.done(
        11,
        request,
        template_version=TEMPLATE_VERSION,
        fcm_id=FCM_ID,
        ib_id=IB_ID,
        country_code="US",
        state_code="NY",
        heartbeat_interval=exchange.heartbeat_interval_s,
        unique_user_id=f"nightdesk_srvr_01@nightdesk_domain:{exchange.next_session_number()}",
    )


def second_login(session: Session, request: Any) -> None:
    """10 on a socket that is logged in is ignored without an answer."""


def logout(session: Session, request: Any) -> None:
    """12 → 13, and the gateway closes the socket."""
    session.done(13, request)
    session.outlet.finish(NORMAL_CLOSURE, "")


def heartbeat(session: Session, request: Any) -> None:
    """18 → 19 with the server's own time, whatever the market's."""
    ssboe, nanoseconds = divmod(session.exchange.clock.now_ns(), NS_PER_S)
    session.done(19, request, ssboe=ssboe, usecs=nanoseconds // 1000)


def force_logout(session: Session) -> None:
    """77: the session ends now; the client is not told why."""
    session.push(77)
    session.plant = None
    session.user = None
    session.exchange.forget(session)
    session.outlet.finish(INTERNAL_ERROR, "")


_BEFORE_LOGIN: dict[int, Handler] = {10: login, 16: system_info}
_EVERY_PLANT: dict[int, Handler] = {
    10: second_login,
    12: logout,
    14: ticker.reference_data,
    18: heartbeat,
}
_PLANTS: dict[int, dict[int, Handler]] = {
    Plant.TICKER: _EVERY_PLANT | ticker.HANDLERS,
    Plant.ORDER: _EVERY_PLANT | order.HANDLERS | order_history.HANDLERS,
    Plant.HISTORY: _EVERY_PLANT | history.HANDLERS,
    Plant.PNL: _EVERY_PLANT | pnl.HANDLERS | {302: order.account_list},
}
