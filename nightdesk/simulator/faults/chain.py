"""The filters of one connection, one behind the other, and the way through them."""

from collections.abc import Callable

from nightdesk.simulator.faults.filters import FrameFilter
from nightdesk.simulator.wire.framing import Framing, OutgoingFrame, detect_framing, unwrap
from nightdesk.simulator.wire.peek import template_of
from nightdesk.simulator.wire.session import Session
from nightdesk.simulator.wire.templates import MalformedFrameError

Act = Callable[[FrameFilter, str, int | None], None]


class Chain:
    """What an outlet calls while faults are active (``FrameFaults``)."""

    def __init__(self, session: Session, *, seen: Callable[[int], None]) -> None:
        """``seen`` is told the template of each message, received or sent, before anything happens to it."""
        self.session = session
        self._filters: list[FrameFilter] = []
        self._seen = seen

    def add(self, one: FrameFilter) -> None:
        """Put a filter behind the others."""
        self._filters.append(one)
        one.look()

    def remove(self, one: FrameFilter) -> None:
        """End a filter: what it holds goes on through those behind it."""
        one.end()
        if one in self._filters:
            self._filters.remove(one)

    def outgoing(self, frame: OutgoingFrame) -> None:
        """Send a frame through all filters."""
        self._look()
        template_id = template_of(frame.payload)
        if template_id is not None:
            self._seen(template_id)
        self._take(0, frame)

    async def incoming(self, frame: bytes | str) -> bool:
        """Ask all filters whether a client's frame arrives."""
        session = self.session
        if isinstance(frame, str):
            return True
        framing = session.framing or _first_framing(session, frame)
        payload = _payload_of(frame, framing)
        template_id = template_of(payload)
        if template_id is not None:
            self._seen(template_id)
        for one in list(self._filters):
            self._look()
            if not one.applies() or one.is_over:
                continue
            # A filter may answer in the gateway's place; only what it lets through is the gateway's to judge.
            known, session.framing = session.framing, framing
            if not await one.incoming(template_id, payload):
                one.note("not received", template_id)
                session.last_heard_s = session.exchange.clock.monotonic_s()
                return False
            session.framing = known
        return not session.outlet.closed

    def flush(self) -> None:
        """Let go of everything that is held, in the filters' order."""
        for one in list(self._filters):
            one.flush()

    def pass_on(self, one: FrameFilter, frame: OutgoingFrame) -> None:
        """A filter hands a frame on."""
        self._take(self._filters.index(one) + 1 if one in self._filters else len(self._filters), frame)

    def _take(self, position: int, frame: OutgoingFrame) -> None:
        for one in self._filters[position:]:
            if one.applies():
                one.outgoing(frame)
                return
        self.session.outlet.put(frame, self.session.framing or Framing.PREFIXED)

    def _look(self) -> None:
        for one in self._filters:
            one.look()


def _first_framing(session: Session, frame: bytes) -> Framing:
    return Framing.PREFIXED if session.exchange.is_prefix_required else detect_framing(frame)


def _payload_of(frame: bytes, framing: Framing) -> bytes:
    try:
        return unwrap(frame, framing)
    except MalformedFrameError:
        return b""
