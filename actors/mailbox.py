"""The mailbox: mail between actors over Thespian, in order to each peer, and bounded."""

import os
from collections.abc import Callable
from datetime import timedelta

from thespian.actors import Actor, ActorAddress, ActorExitRequest, ThespianWatch, WakeupMessage, WatchMessage
from thespian.system.transport import TransmitIntent

from actors.process import own_descriptors
from nightdesk.logs import get_logger
from nightdesk.messages import ChildId, Mail, Message, encode

MAIL_QUEUE_MAX = 1_000
"""Mail that waits for one peer; what is over is dropped and logged. The mailbox is meant for under 100 a second."""

LAST_WORDS_S = 1.0
"""How long a process waits for the acknowledgement of its last words before it exits without."""

_EXIT = "exit"


class Port:
    """The way to one peer: mail arrives in the order in which it was sent, or not at all.

    Order and credit window are the transport's (``supervisors.substrate.outbox``), which keeps its peers apart, so
    that a hung one holds up nobody else. Here is only the bound of what may wait, for a child that is just being
    started, too, which Thespian itself keeps mail for.
    """

    def __init__(self, actor: "MailActor", address: ActorAddress) -> None:
        self._actor = actor
        self.address = address
        self._waiting = 0
        self._closed = False
        self.dropped = 0

    def send(self, mail: Mail, on_done: Callable[[], None] | None = None) -> None:
        """Send mail; ``on_done`` is called when the peer has it, or when it turned out that it never will."""
        if self._closed:
            return
        if self._waiting >= MAIL_QUEUE_MAX:
            self.dropped += 1
            if self.dropped % MAIL_QUEUE_MAX == 1:
                get_logger().warning("mail_dropped", destination=mail.destination, dropped=self.dropped)
            return
        self._waiting += 1

        def done(_result: object, _intent: object) -> None:
            self._waiting -= 1
            if on_done is not None:
                on_done()

        self._actor.transmit(TransmitIntent(self.address, mail, onSuccess=done, onError=done))

    def close(self) -> None:
        """Nothing is sent any more: the peer is dead. What was on its way, the transport finds out to be lost."""
        self._closed = True


class MailActor(Actor):  # type: ignore[misc]
    """What shell and supervisor have in common: an identity, mail with sequence numbers, watched descriptors, timers.

    Everything here runs on the process's main thread, from within ``receiveMessage``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.child_id = ChildId("")
        self.incarnation = 0
        self._sequence = 0
        self._seen: dict[ChildId, tuple[int, int]] = {}
        self._terminated = False
        self._exit_code = 1
        # Anything that must be done on the main thread later makes this readable; Thespian then calls us back.
        self.wake_descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        own_descriptors.add(self.wake_descriptor)

    def on_mail(self, mail: Mail, sender: ActorAddress) -> None:
        """Take mail that is addressed to this actor or passes through it."""
        raise NotImplementedError

    def on_ready(self, ready: list[int]) -> None:
        """Watched descriptors are readable; the wake descriptor has been reset."""
        raise NotImplementedError

    def on_wakeup(self) -> None:
        """A timer has ended."""

    def on_terminate(self) -> None:
        """SIGTERM came."""
        raise NotImplementedError

    def watched(self) -> list[int]:
        """The descriptors to watch until the next call."""
        return [self.wake_descriptor]

    def handle(self, message: object, sender: ActorAddress) -> ThespianWatch:
        """Take whatever Thespian brings; what belongs to Thespian only is ignored."""
        match message:
            case Mail():
                self.on_mail(message, sender)
            case WatchMessage():
                self._on_watch(message.ready)
            case WakeupMessage() if message.payload == _EXIT:
                os._exit(self._exit_code)
            case WakeupMessage():
                self.on_wakeup()
            case ActorExitRequest():
                # An ordered stop is ``Shutdown``; this is a rung of the ladder and must not wait for anything.
                os._exit(1)
            case _:
                pass
        return ThespianWatch(self.watched())

    def make_mail(self, destination: ChildId, message: Message) -> Mail:
        """Put a message of this actor's own into an envelope."""
        self._sequence += 1
        return Mail(
            origin=self.child_id,
            destination=destination,
            incarnation=self.incarnation,
            sequence=self._sequence,
            payload=encode(message),
        )

    def is_news(self, mail: Mail) -> bool:
        """False for mail that came already and for mail of an incarnation that has been replaced since."""
        seen = self._seen.get(mail.origin, (0, 0))
        if (mail.incarnation, mail.sequence) <= seen:
            get_logger().debug("mail_refused", origin=mail.origin, incarnation=mail.incarnation, sequence=mail.sequence)
            return False
        self._seen[mail.origin] = (mail.incarnation, mail.sequence)
        return True

    def transmit(self, intent: TransmitIntent) -> None:
        """Hand an intent to Thespian: as ``Actor.send``, but with a word about its end."""
        self._myRef._send_intent(intent)

    def wake(self) -> None:
        """Have ``on_ready`` called on the main thread. May be called from any thread and from a signal handler."""
        os.eventfd_write(self.wake_descriptor, 1)

    def request_terminate(self) -> None:
        """For the signal handler: deal with SIGTERM in the next turn."""
        self._terminated = True
        self.wake()

    def wake_after(self, seconds: float) -> None:
        """Have ``on_wakeup`` called later."""
        self.wakeupAfter(timedelta(seconds=max(0.0, seconds)))

    def last_words(self, port: Port, words: Message, destination: ChildId, code: int) -> None:
        """Send what is to be the last mail of this process and exit when it has arrived, or soon."""
        port.send(self.make_mail(destination, words), on_done=lambda: os._exit(code))
        self._exit_code = code
        self.wakeupAfter(timedelta(seconds=LAST_WORDS_S), payload=_EXIT)

    def _on_watch(self, ready: list[int]) -> None:
        if self.wake_descriptor in ready:
            os.eventfd_read(self.wake_descriptor)
            if self._terminated:
                self._terminated = False
                self.on_terminate()
        self.on_ready(ready)
