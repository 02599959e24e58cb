"""What one connection's frames lead to: login first, then the table of its plant. Nothing raises on any bytes."""

from hmac import compare_digest
from typing import Any

from nightdesk.simulator.plants import history, order_plant, pnl, repository, ticker
from nightdesk.simulator.plants.requests import Handler
from nightdesk.simulator.wire.framing import Framing, detect_framing, unwrap
from nightdesk.simulator.wire.order_words import stamp
from nightdesk.simulator.wire.session import (
    BAD_INPUT,
    FCM_ID,
    IB_ID,
    NO_DATA,
    NOT_LOGGED_IN,
    PERMISSION_DENIED,
    TEMPLATE_VERSION_MISSING,
    Plant,
    Session,
    User,
)
from nightdesk.simulator.wire.templates import MESSAGE_NAMES, MalformedFrameError, UnknownTemplateError, decode

TEMPLATE_VERSION = "5.27"
MALFORMED_FRAMES_MAX = 10
"""A connection that sends more frames than this that are no messages is closed."""

LOGGED_NAME_MAX = 64
"""No more of an unknown user's name goes into the log."""

NORMAL_CLOSURE = 1000
GOING_AWAY = 1001
UNSUPPORTED_DATA = 1003
POLICY_VIOLATION = 1008
INTERNAL_ERROR = 1011
"""The close code that was seen after a forced logout."""


def receive(session: Session, frame: bytes | str) -> None:
    """Take one frame of a client; the answers are queued on the session's outlet."""
    if session.outlet.closed:
        # What was on its way when the session ended is nobody's any more.
        return
    session.last_heard_s = session.exchange.clock.monotonic_s()
    session.requests += 1
    if isinstance(frame, str):
        session.push(75, rp_code=BAD_INPUT)
        session.outlet.finish(UNSUPPORTED_DATA, "binary frames only")
        return
    is_first = session.framing is None
    framing = session.framing
    if framing is None:
        is_free = frame and not session.exchange.is_prefix_required
        framing = detect_framing(frame) if is_free else Framing.PREFIXED
        session.framing = framing
    try:
        template_id, request = decode(unwrap(frame, framing))
    except MalformedFrameError:
        session.malformed_frames += 1
        session.push(75, rp_code=BAD_INPUT)
        if session.malformed_frames > MALFORMED_FRAMES_MAX:
            session.outlet.finish(POLICY_VIOLATION, "too many malformed frames")
        if is_first:
            # Bytes that are no message do not tell which framing the client speaks.
            session.framing = None
        return
    except UnknownTemplateError:
        session.push(75, rp_code=BAD_INPUT)
        return
    _dispatch(session, template_id, request)


def _dispatch(session: Session, template_id: int, request: Any) -> None:
    if session.plant is None:
        handler = _BEFORE_LOGIN.get(template_id)
        if handler is None:
            _reject(session, request, NOT_LOGGED_IN)
        else:
            handler(session, request)
        return
    handler = _PLANTS[session.plant].get(template_id)
    if handler is not None:
        handler(session, request)
        return
    response_id = template_id + 1
    if MESSAGE_NAMES[template_id].startswith("Request") and MESSAGE_NAMES.get(response_id, "").startswith("Response"):
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


def gateway_info(session: Session, request: Any) -> None:
    """20 → 21, and the gateway closes the socket; it is answered as the very first request of a socket only."""
    exchange = session.exchange
    if session.requests > 1 or not request.system_name:
        session.done(21, request, BAD_INPUT)
        return
    if request.system_name == exchange.system_name:
        session.done(
            21,
            request,
            system_name=exchange.system_name,
            gateway_name=[f"{exchange.system_name} Gateway"],
            gateway_uri=[exchange.url],
        )
    else:
        session.done(21, request, NO_DATA)
    session.outlet.finish(NORMAL_CLOSURE, "")


def login(session: Session, request: Any) -> None:
    """10 → 11; a refusal carries the code and nothing else, and the socket stays open."""
    exchange = session.exchange
    if not request.HasField("template_version"):
        session.push(11, rp_code=TEMPLATE_VERSION_MISSING)
        return
    user = exchange.users.get(request.user)
    expected = user.password if user is not None else ""
    is_right = compare_digest(request.password.encode(), expected.encode())
    plant = request.infra_type if request.HasField("infra_type") else 0
    if user is None or not is_right or request.system_name != exchange.system_name or plant not in _PLANTS:
        exchange.logger.info("exchange_login_refused", user=request.user[:LOGGED_NAME_MAX], plant=plant)
        session.push(11, rp_code=PERMISSION_DENIED)
        return
    if not _has_room(session, user, Plant(plant)):
        exchange.logger.warning("exchange_session_limit", user=user.name, plant=plant, is_refused=True)
        session.push(11, rp_code=PERMISSION_DENIED)
        return
    session.user = user
    session.plant = Plant(plant)
    session.login_number = exchange.next_session_number()
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
        unique_user_id=f"nightdesk_srvr_01@nightdesk_domain:{session.login_number}",
    )


def _has_room(session: Session, user: User, plant: Plant) -> bool:
    """Whether the user may log in once more to a plant; where the oldest session has to go for it, it goes now."""
    exchange = session.exchange
    present = [each for each in exchange.sessions if each.plant is plant and each.user_name == user.name]
    too_many = len(present) + 1 - user.sessions_per_plant_max
    if too_many <= 0:
        return True
    if user.is_refused_over_limit:
        return False
    for oldest in sorted(present, key=lambda each: each.login_number)[:too_many]:
        exchange.logger.warning("exchange_session_limit", user=user.name, plant=int(plant), is_refused=False)
        force_logout(oldest)
    return True


def second_login(session: Session, request: Any) -> None:
    """10 on a socket that is logged in is ignored without an answer."""


def logout(session: Session, request: Any) -> None:
    """12 → 13, and the gateway closes the socket."""
    session.done(13, request)
    _end(session, NORMAL_CLOSURE)


def heartbeat(session: Session, request: Any) -> None:
    """18 → 19 with the server's own time, whatever the market's."""
    session.done(19, request, **stamp(session.exchange.now_ns()))


def force_logout(session: Session) -> None:
    """77: the session ends now; the client is not told why."""
    session.push(77)
    _end(session, INTERNAL_ERROR)


def _end(session: Session, close_code: int) -> None:
    """Nobody is logged in here any more: its place is free, and nothing more is pushed."""
    session.plant = None
    session.user = None
    session.exchange.forget(session)
    session.outlet.finish(close_code, "")


_BEFORE_LOGIN: dict[int, Handler] = {10: login, 16: system_info, 20: gateway_info}
_EVERY_PLANT: dict[int, Handler] = {
    10: second_login,
    12: logout,
    14: ticker.reference_data,
    18: heartbeat,
    3502: order_plant.SESSION_CONFIG,
}
_PLANTS: dict[int, dict[int, Handler]] = {
    Plant.TICKER: _EVERY_PLANT | ticker.HANDLERS,
    Plant.ORDER: _EVERY_PLANT | order_plant.HANDLERS,
    Plant.HISTORY: _EVERY_PLANT | history.HANDLERS,
    Plant.PNL: _EVERY_PLANT | pnl.HANDLERS | {302: order_plant.ACCOUNT_LIST},
    Plant.REPOSITORY: _EVERY_PLANT | repository.HANDLERS,
}


def served(plant: Plant | None) -> frozenset[int]:
    """The templates that a plant takes; ``None``: those that are taken before a login."""
    return frozenset(_BEFORE_LOGIN if plant is None else _PLANTS[plant])
