"""Thespian's asynchronous transport over Unix-domain sockets."""

import threading
from collections import deque
from multiprocessing import util
from typing import Any

from thespian.actors import ActorAddress, ActorExitRequest, InvalidActorAddress, WatchMessage
from thespian.system.addressManager import ActorLocalAddress
from thespian.system.messages.multiproc import ChildMayHaveDied
from thespian.system.transport import (
    ExternalInterfaceTransportInit,
    ReceiveEnvelope,
    SendStatus,
    Thespian__Run_Expired,
    Thespian__Run_HandlerResult,
    Thespian__Run_Terminated,
    TransmitIntent,
    TransmitOnly,
    TransportInit__Base,
)
from thespian.system.transport.asyncTransportBase import asyncTransportBase
from thespian.system.transport.wakeupTransportBase import wakeupTransportBase

from nightdesk.clocks import SystemClock
from supervisors.substrate import folder
from supervisors.substrate.address import MailboxAddress
from supervisors.substrate.frames import FRAME_BYTES_MAX, pack
from supervisors.substrate.inbox import Inbox
from supervisors.substrate.outbox import Outbox
from supervisors.substrate.poller import Poller

FOLDER = "Mailbox Folder"
"""The capability that names the folder of the sockets; see ``folder.prepare``."""

ADMIN_SOCKET = "Admin Socket"
"""The capability that names the admin's socket in it."""


class Endpoint(TransportInit__Base):  # type: ignore[misc]
    """What a process hands to one that it starts, for its transport."""

    def __init__(
        self, instance: int | None, assigned: ActorAddress | None, admin: ActorAddress, socket_folder: str
    ) -> None:
        self.addrInst = instance
        self.assigned = assigned
        self.admin = admin
        self.folder = socket_folder


class UnixTransport(asyncTransportBase, wakeupTransportBase):  # type: ignore[misc]
    """One listening socket, one connection to each peer.

    What Thespian asks of a transport has Thespian's names. Sending may be called from any thread; ``run`` belongs to
    one at a time, and handlers and callbacks are called within it only.
    """

    frame_bytes_max = FRAME_BYTES_MAX

    def __init__(self, prepared: object, *details: Any) -> None:
        super().__init__()
        path = None
        if isinstance(prepared, ExternalInterfaceTransportInit):
            capabilities = details[0]
            self._folder: str = capabilities[FOLDER]
            self._adminAddr = self.getAdminAddr(capabilities)
        elif isinstance(prepared, Endpoint):
            self._folder = prepared.folder
            self._adminAddr = prepared.admin
            if prepared.assigned is not None:
                path = prepared.assigned.addressDetails.path
        else:
            raise TypeError(f"no transport can be made from {type(prepared).__name__}")
        if path is None:
            folder.sweep(self._folder)
            path = folder.new_path(self._folder)
        self._path: str = path
        self.myAddress = ActorAddress(MailboxAddress(path))
        self._lock = threading.RLock()
        self._received: deque[ReceiveEnvelope] = deque()
        self._finished: deque[tuple[TransmitIntent, object]] = deque()
        self._running_thread: int | None = None
        self._aborting = False
        self._draining = False
        self._children_died = False
        self._shutdown_signalled = False
        self._clock = SystemClock()
        self._poller = Poller()
        self._outbox = Outbox(self._poller, self._finish, self._clock)
        listener = folder.listen_at(path)
        self._inbox = Inbox(listener, self._poller, self._take, self._clock, self.frame_bytes_max)
        # Thespian's processes end without closing their transport; ours do not even end through here.
        self._remove = util.Finalize(None, folder.remove, args=(path,), exitpriority=0)

    # -- making endpoints -------------------------------------------------------------------------------------------

    @staticmethod
    def getAdminAddr(capabilities: dict[str, Any]) -> ActorAddress:
        """Where the admin listens, or will."""
        return ActorAddress(MailboxAddress(capabilities[ADMIN_SOCKET]))

    @staticmethod
    def getAddressFromString(text: Any) -> ActorAddress:
        """Other systems cannot be reached from this one."""
        raise InvalidActorAddress(text, "this actor system talks within one host and one user")

    @staticmethod
    def getConventionAddress(_capabilities: dict[str, Any]) -> None:
        """There is no convention of several systems."""

    @staticmethod
    def probeAdmin(address: ActorAddress) -> bool:
        """Whether somebody listens where the admin should."""
        return folder.is_served(address.addressDetails.path)

    def prepEndpoint(self, assigned: ActorAddress, _capabilities: dict[str, Any]) -> Endpoint:
        """In the parent: what the child's transport is made from."""
        details = assigned.addressDetails
        if isinstance(details, ActorLocalAddress):
            return Endpoint(details.addressInstanceNum, None, self._adminAddr, self._folder)
        return Endpoint(None, assigned, self._adminAddr, self._folder)

    def connectEndpoint(self, endpoint: Endpoint) -> None:
        """The child announces itself."""

    def external_transport_clone(self) -> "UnixTransport":
        """Another endpoint of this process, for a thread of its own."""
        return type(self)(Endpoint(None, None, self._adminAddr, self._folder))

    def protectedFileNumList(self) -> list[int]:
        """Nothing: a forked process lets go of what is its parent's by itself, see ``actors.process``."""
        return []

    childResetFileNumList = protectedFileNumList

    # -- sending ----------------------------------------------------------------------------------------------------

    def serializer(self, intent: TransmitIntent) -> bytes:
        """The frame; raises FrameError for one that is too large, and what pickle raises."""
        return pack((self.myAddress, intent.message), self.frame_bytes_max)

    def _canSendNow(self) -> bool:
        """Always: each peer has a queue and a window of its own, so no number of stuck ones may silence the rest."""
        return True

    def _scheduleTransmitActual(self, intent: TransmitIntent, has_exclusive_flag: bool = False) -> None:
        details = intent.targetAddr.addressDetails
        with self._lock:
            if not isinstance(details, MailboxAddress):
                self._finish(intent, SendStatus.DeadTarget)
            elif details.path == self._path:
                self._take(intent.targetAddr, intent.message)
                self._finish(intent, SendStatus.Sent)
            else:
                self._outbox.send(details.path, intent, intent.serMsg)
        if self._running_thread != threading.get_ident():
            self._poller.wake()

    def deadAddress(self, addressManager: Any, childAddr: ActorAddress) -> None:
        """What waits for a dead child fails at once."""
        known = addressManager.exportAddr(childAddr)
        if known is not None and isinstance(known.addressDetails, MailboxAddress):
            with self._lock:
                self._outbox.abandon(known.addressDetails.path)
            folder.remove(known.addressDetails.path)
        super().deadAddress(addressManager, childAddr)

    # -- running ----------------------------------------------------------------------------------------------------

    def set_watch(self, descriptors: list[int]) -> None:
        """What an actor's ``ThespianWatch`` lists; a ``WatchMessage`` says which of them are readable."""
        with self._lock:
            self._poller.watch(descriptors)

    def interrupt_wait(self, signal_shutdown: bool = False, check_children: bool = False) -> None:
        """From a signal handler or another thread: look at what has changed."""
        self._shutdown_signalled |= signal_shutdown
        self._children_died |= check_children
        self._poller.wake()

    def abort_run(self, drain: bool = False) -> None:
        """End ``run`` soon; with ``drain`` when everything has been sent."""
        self._aborting = True
        self._draining = drain

    def _runWithExpiry(self, handler: Any) -> Any:
        transmit_only = handler is TransmitOnly or isinstance(handler, TransmitOnly)
        self._aborting = self._draining = False
        self._running_thread = threading.get_ident()
        while True:
            expired = self.run_time.view().expired()
            before = self._outbox.pending
            self._turn(0.0 if expired else self._delay_s(transmit_only))
            if self._aborting and not (self._draining and self._outbox.pending):
                return Thespian__Run_Terminated()
            if transmit_only:
                if not self._outbox.pending or self._outbox.pending < before:
                    return self._outbox.pending
            else:
                result = self._hand_over(handler)
                if result is not None:
                    return result
            if expired:
                return Thespian__Run_Expired()

    def _turn(self, delay_s: float | None) -> None:
        """Wait, then read, write and finish what is possible."""
        ready = self._poller.wait(delay_s)
        with self._lock:
            watched = self._poller.dispatch(ready)
            self._inbox.turn()
            self._outbox.turn()
        if self._children_died:
            self._children_died = False
            self._take(self.myAddress, ChildMayHaveDied())
        if self._shutdown_signalled:
            self._shutdown_signalled = False
            self._take(self.myAddress, ActorExitRequest())
        if watched:
            # After the mail: a child's last words come before the end of its process.
            self._take(self.myAddress, WatchMessage(watched))
        while self._finished:
            intent, status = self._finished.popleft()
            intent.tx_done(status)

    def _delay_s(self, transmit_only: bool) -> float | None:
        if self._finished or (self._received and not transmit_only) or (transmit_only and not self._outbox.pending):
            return 0.0
        if self._aborting:
            return 0.0 if not self._draining else self._outbox.next_delay_s()
        with self._lock:
            delays = (
                self.run_time.view().remainingSeconds(),
                self._inbox.next_delay_s(),
                self._outbox.next_delay_s(),
            )
        return min((delay for delay in delays if delay is not None), default=None)

    def _hand_over(self, handler: Any) -> Any:
        """Pass on what has come so far; what that makes come, in the next turn. None: go on."""
        for _ in range(len(self._received)):
            envelope = self._received.popleft()
            if handler is None:
                return envelope
            result = Thespian__Run_HandlerResult(handler(envelope))
            if not result:
                return result
        return None

    def _take(self, sender: ActorAddress, message: object) -> None:
        self._received.append(ReceiveEnvelope(sender, message))

    def _finish(self, intent: TransmitIntent, status: object) -> None:
        self._finished.append((intent, status))

    def _updateStatusResponse(self, response: Any) -> None:
        for intent in self._outbox.intents:
            response.addPendingMessage(self.myAddress, intent.targetAddr, str(intent.message))
        for envelope in self._received:
            response.addReceivedMessage(envelope.sender, self.myAddress, str(envelope.message))
        asyncTransportBase._updateStatusResponse(self, response)
        wakeupTransportBase._updateStatusResponse(self, response)

    def close(self) -> None:
        """Release everything; a second call changes nothing."""
        if self._remove.still_active():
            self._outbox.close()
            self._inbox.close()
            self._remove()
            self._poller.close()
            while self._finished:
                intent, status = self._finished.popleft()
                intent.tx_done(status)
