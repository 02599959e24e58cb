"""Faults that look into messages: damaged, unknown, incomplete, wrong, refused, or out of turn."""

from collections.abc import Callable
from random import Random
from typing import Any

from nightdesk.simulator.faults.filters import ChosenFrames, FrameFilter, Note, PassOn
from nightdesk.simulator.faults.spec import (
    ClockSkew,
    Corrupt,
    Fault,
    FillBeforeAck,
    Maintenance,
    PartialList,
    RefusedLogin,
    UnknownTemplate,
    WrongPositions,
)
from nightdesk.simulator.wire.framing import FRAME_BYTES_MAX, OutgoingFrame, SpoiledFrame
from nightdesk.simulator.wire.peek import head_of, template_of
from nightdesk.simulator.wire.session import PERMISSION_DENIED, Plant, Session
from nightdesk.simulator.wire.templates import MalformedFrameError, UnknownTemplateError, decode

LOGIN_REQUEST, LOGIN_ANSWER = 10, 11
NEW_ORDER_ANSWER, NOTIFICATION, REPORT = 313, 351, 352
INSTRUMENT_POSITION, ACCOUNT_POSITION = 450, 451
FILL = 5
"""The notify type of a 352 that reports an execution."""

_TORN_VARINT = b"\xff" * 11
_TIMES = ("ssboe", "source_ssboe", "jop_ssboe", "data_bar_ssboe")
_SECONDS_MAX = 2**31 - 1


def _message_of(payload: bytes) -> Any:
    """The message; None for what is none."""
    try:
        return decode(payload)[1]
    except (MalformedFrameError, UnknownTemplateError):
        return None


def _frame_of(template_id: int, message: Any) -> OutgoingFrame:
    """A changed message as the exchange sends it: its template id first."""
    message.ClearField("template_id")
    return OutgoingFrame(head_of(template_id) + message.SerializeToString())


def _flipped(payload: bytes, bits: int, random: Random) -> bytes:
    damaged = bytearray(payload)
    for place in random.sample(range(len(damaged) * 8), min(bits, len(damaged) * 8)):
        damaged[place // 8] ^= 1 << place % 8
    return bytes(damaged)


_DAMAGES: dict[str, Callable[[bytes, Corrupt, Random], SpoiledFrame]] = {
    "flip": lambda payload, fault, random: SpoiledFrame(_flipped(payload, fault.bits, random)),
    "length": lambda payload, _, random: SpoiledFrame(payload, length=len(payload) + random.randint(1, 1 << 20)),
    "varint": lambda payload, _, __: SpoiledFrame(payload + _TORN_VARINT),
    "truncate": lambda payload, _, random: SpoiledFrame(payload[: random.randrange(1, max(2, len(payload)))]),
    "empty": lambda _, __, ___: SpoiledFrame(b""),
    "text": lambda _, __, ___: SpoiledFrame(b"this is no binary frame", is_text=True),
    "oversize": lambda payload, _, __: SpoiledFrame(payload + bytes(FRAME_BYTES_MAX + 1 - len(payload))),
}


class Corrupting(ChosenFrames):
    """Damaged frames in the place of good ones, or before them."""

    fault: Corrupt

    def strike(self, frame: OutgoingFrame, template_id: int | None) -> None:
        self.note(f"corrupted ({self.fault.how})", template_id)
        self.pass_on(_DAMAGES[self.fault.how](frame.payload, self.fault, self.random))
        if not self.fault.instead:
            self.pass_on(frame)


class Inventing(ChosenFrames):
    """A message that nobody knows before each good one."""

    fault: UnknownTemplate

    def strike(self, frame: OutgoingFrame, template_id: int | None) -> None:
        self.note(f"template {self.fault.unknown} sent before", template_id)
        self.pass_on(OutgoingFrame(head_of(self.fault.unknown)))
        self.pass_on(frame)


class Shortening(FrameFilter):
    """Of the answer to a request some frames are missing.

    What belongs to an answer without saying so (images of 352 after 320, of 450 after 402) lies between the request
    and the frame that ends the answer, and says that it is a snapshot.
    """

    fault: PartialList

    def __init__(self, fault: PartialList, session: Session, pass_on: PassOn, note: Note) -> None:
        super().__init__(fault, session, pass_on, note)
        self._answer = 0
        """The template of the answer that is being sent; 0 for none."""
        self._left = 0

    async def incoming(self, template_id: int | None, payload: bytes) -> bool:
        if template_id in self.fault.templates:
            self._answer, self._left = template_id + 1, self.fault.cut
        return True

    def outgoing(self, frame: OutgoingFrame) -> None:
        template_id = template_of(frame.payload)
        message = _message_of(frame.payload) if self._answer else None
        is_end = message is not None and template_id == self._answer and not _has_more(message)
        is_part = message is not None and (template_id == self._answer or getattr(message, "is_snapshot", False))
        if is_end:
            self._answer = 0
            if not self.fault.terminal:
                self.note("end of the answer not sent", template_id)
                return
        elif is_part and self._left:
            self._left -= 1
            self.note("not sent", template_id)
            return
        self.pass_on(frame)


def _has_more(message: Any) -> bool:
    """Whether a frame says that it is not the last one of its answer."""
    return bool(getattr(message, "rq_handler_rp_code", ()))


class RefusingLogins(FrameFilter):
    """10 is answered with a refusal; the target's plant and user are those of the login."""

    fault: RefusedLogin

    def applies(self) -> bool:
        return True

    async def incoming(self, template_id: int | None, payload: bytes) -> bool:
        request = _message_of(payload) if template_id == LOGIN_REQUEST else None
        if request is None or self.session.plant is not None or not self._is_meant(request):
            return True
        self.note("login refused", LOGIN_REQUEST)
        self.refuse()
        return False

    def refuse(self) -> None:
        """Say no."""
        self.session.push(LOGIN_ANSWER, rp_code=(self.fault.code, self.fault.text))

    def _is_meant(self, request: Any) -> bool:
        target = self.target
        known = {plant.value: plant.name.lower() for plant in Plant}
        return (
            target.plant in (None, known.get(request.infra_type))
            and target.user in (None, request.user)
            and target.connection in (None, self.session.outlet.number)
        )


class Closing(RefusingLogins):
    """Nobody gets in during maintenance."""

    fault: Maintenance  # type: ignore[assignment]

    def refuse(self) -> None:
        if self.fault.logins == "drop":
            self.session.outlet.abort("fault: maintenance")
        elif self.fault.logins == "refuse":
            self.session.push(LOGIN_ANSWER, rp_code=PERMISSION_DENIED)


class Misleading(FrameFilter):
    """Positions with a wrong quantity."""

    fault: WrongPositions

    def outgoing(self, frame: OutgoingFrame) -> None:
        template_id = template_of(frame.payload)
        message = _message_of(frame.payload) if template_id in (INSTRUMENT_POSITION, ACCOUNT_POSITION) else None
        is_other = template_id == INSTRUMENT_POSITION and self.fault.symbol not in (
            None,
            getattr(message, "symbol", ""),
        )
        if message is None or template_id is None or is_other:
            self.pass_on(frame)
            return
        message.net_quantity += self.fault.offset
        message.open_position_quantity = abs(message.net_quantity)
        self.note(f"told {message.net_quantity}", template_id)
        self.pass_on(_frame_of(template_id, message))


class Skewing(FrameFilter):
    """Times of another hour."""

    fault: ClockSkew

    def outgoing(self, frame: OutgoingFrame) -> None:
        template_id = template_of(frame.payload)
        message = None if frame.is_spoiled else _message_of(frame.payload)
        if message is None or template_id is None:
            self.pass_on(frame)
            return
        is_changed = False
        for name in _TIMES:
            value = getattr(message, name, None)
            if isinstance(value, int) and message.HasField(name):
                setattr(message, name, _shifted(value, self.fault.offset_s))
                is_changed = True
            elif value is not None and not isinstance(value, int):
                value[:] = [_shifted(each, self.fault.offset_s) for each in value]
                is_changed = is_changed or bool(value)
        if is_changed:
            self.note(f"shifted by {self.fault.offset_s} s", template_id)
            frame = _frame_of(template_id, message)
        self.pass_on(frame)


def _shifted(second: int, offset_s: int) -> int:
    return min(_SECONDS_MAX, max(0, second + offset_s))


class FillsFirst(FrameFilter):
    """The frames that acknowledge an order wait for its fill, or for a while."""

    fault: FillBeforeAck

    def __init__(self, fault: FillBeforeAck, session: Session, pass_on: PassOn, note: Note) -> None:
        super().__init__(fault, session, pass_on, note)
        self._held: dict[str, list[OutgoingFrame]] = {}
        """By basket id."""
        self._answered = ""
        """The basket id of the newest 313: the one that ends the answer does not name it."""

    def outgoing(self, frame: OutgoingFrame) -> None:
        template_id = template_of(frame.payload)
        message = _message_of(frame.payload) if template_id in (NEW_ORDER_ANSWER, NOTIFICATION, REPORT) else None
        if message is None or getattr(message, "is_snapshot", False):
            self.pass_on(frame)
            return
        basket_id = message.basket_id or self._answered
        if template_id == NEW_ORDER_ANSWER and message.basket_id:
            self._answered = basket_id
            self._held.setdefault(basket_id, [])
            self.later(self.fault.hold_s, lambda: self._release(basket_id))
        if template_id == REPORT and message.notify_type == FILL and self._held.get(basket_id):
            self.note("sent before the acknowledgement", template_id)
            self.pass_on(frame)
            self._release(basket_id)
        elif basket_id in self._held:
            self._held[basket_id].append(frame)
        else:
            self.pass_on(frame)

    def flush(self) -> None:
        for basket_id in list(self._held):
            self._release(basket_id)

    def _release(self, basket_id: str) -> None:
        for frame in self._held.pop(basket_id, []):
            self.pass_on(frame)


REWRITES: dict[type[Fault], type[FrameFilter]] = {
    Corrupt: Corrupting,
    UnknownTemplate: Inventing,
    PartialList: Shortening,
    RefusedLogin: RefusingLogins,
    Maintenance: Closing,
    WrongPositions: Misleading,
    ClockSkew: Skewing,
    FillBeforeAck: FillsFirst,
}
"""Who does it."""
