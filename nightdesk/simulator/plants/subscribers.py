"""Who is told of what: sessions by a key, most often an account."""

from collections.abc import Iterable, Sequence

from nightdesk.simulator.wire.framing import OutgoingFrame
from nightdesk.simulator.wire.session import Session


class Subscribers:
    """Sessions by key; one that subscribes twice is told once."""

    def __init__(self) -> None:
        self._sessions: dict[str, list[Session]] = {}

    def add(self, session: Session, key: str) -> None:
        """From now on the session is told of the key."""
        sessions = self._sessions.setdefault(key, [])
        if session not in sessions:
            sessions.append(session)

    def remove(self, session: Session, key: str) -> None:
        """No longer."""
        if session in self._sessions.get(key, ()):
            self._sessions[key].remove(session)

    def forget(self, session: Session) -> None:
        """The session is gone."""
        for key in self._sessions:
            self.remove(session, key)

    @property
    def keys(self) -> list[str]:
        """The keys that somebody is told of."""
        return [key for key, sessions in self._sessions.items() if sessions]

    def of(self, key: str) -> Sequence[Session]:
        """Who is told of the key, in the order in which they asked."""
        return self._sessions.get(key, ())

    def send(self, key: str, payloads: Iterable[bytes]) -> None:
        """Send messages to all of them; each is framed once."""
        sessions = self._sessions.get(key)
        if not sessions:
            return
        for payload in payloads:
            frame = OutgoingFrame(payload)
            for session in sessions:
                session.send(frame)
