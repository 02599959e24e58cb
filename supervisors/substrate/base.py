"""The system base over Unix-domain sockets, handed to ``ActorSystem(systemBase=...)`` as an object.

Thespian's admin forks away from whoever starts it and outlives him, and it ends when its logger does. This one stays
a child of its starter, dies with him, and takes everything below it along; it starts a logger anew.
"""

import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from thespian.actors import ActorAddress, ActorSystemFailure, ActorSystemRequestTimeout, InvalidActorAddress
from thespian.system.messages.admin import SystemShutdown, SystemShutdownCompleted
from thespian.system.messages.multiproc import EndpointConnected
from thespian.system.multiprocCommon import (
    MAX_ADMIN_STARTUP_DELAY,
    MultiProcAdmin,
    _startLogger,
    detach_child,
    multiprocessCommon,
)
from thespian.system.timing import ExpirationTimer, unexpired
from thespian.system.transport import ReceiveEnvelope, SendStatus

from actors.process import die_with_parent, die_with_parent_from_now_on
from supervisors.substrate.folder import new_path
from supervisors.substrate.transport import ADMIN_SOCKET, FOLDER, UnixTransport

TELL_S = 60.0
"""What a peer has to acknowledge a ``tell`` from outside; Thespian's own default."""

SHUTDOWN_S = 10.0
"""What the actors have to end at a shutdown; Thespian's own default."""

ADMIN_END_S = 2.0
"""What the admin's process has to end after it has said that the system is shut down."""


class Admin(MultiProcAdmin):  # type: ignore[misc]
    """Thespian's admin."""

    @property
    def logDefs(self) -> Any:
        """Thespian looks here when its logger has died; without it the admin would die, too."""
        return self.logdefs


class UnixSystemBase(multiprocessCommon):  # type: ignore[misc]
    """``system`` is anything with ``capabilities``; they name the folder of the sockets, see ``transport.FOLDER``.

    ``on_admin`` is called in the admin's process before anything else: for its logging.
    """

    transportType = UnixTransport

    def __init__(
        self,
        system: Any,
        logDefs: Any = None,
        *,
        on_admin: Callable[[], None] | None = None,
        tell_s: float = TELL_S,
        shutdown_s: float = SHUTDOWN_S,
    ) -> None:
        self.admin_pid = 0
        self._admin: Any = None
        self._on_admin = on_admin
        self._tell_s = tell_s
        self._shutdown_s = shutdown_s
        system.capabilities.setdefault(ADMIN_SOCKET, new_path(system.capabilities[FOLDER]))
        system.capabilities["Thespian ActorSystem Name"] = "UnixSystemBase"
        system.capabilities["Thespian ActorSystem Version"] = 1
        system.capabilities["Thespian Watch Supported"] = True
        super().__init__(system, logDefs)

    def _startAdmin(
        self, adminAddr: ActorAddress, addrOfStarter: ActorAddress, capabilities: dict[str, Any], logDefs: Any
    ) -> None:
        context = self.mpcontext or multiprocessing.get_context("fork")
        endpoint = self.transport.prepEndpoint(adminAddr, capabilities)
        arguments = (addrOfStarter, endpoint, type(self.transport), capabilities, logDefs, context)
        self._admin = context.Process(target=_run_admin, args=(os.getpid(), self._on_admin, arguments), daemon=False)
        self._admin.start()
        # It is ended by a shutdown or by the death of this process, not waited for at its exit.
        detach_child(self._admin)
        self.admin_pid = self._admin.pid
        response = self.transport.run(None, MAX_ADMIN_STARTUP_DELAY)
        if not isinstance(response, ReceiveEnvelope) or not isinstance(response.message, EndpointConnected):
            raise InvalidActorAddress(adminAddr, "not a valid ActorSystem admin")

    def tell(self, anActor: ActorAddress, msg: object) -> None:
        """Send and wait for the acknowledgement; raises ActorSystemException when it does not come in time.

        A dead actor's mail goes to the dead letters, without an error here.
        """
        watch = self._tx_to_actor(anActor, msg)
        for left in unexpired(ExpirationTimer(timedelta(seconds=self._tell_s))):
            if self._run_transport(left.remaining(), txonly=True) == 0 and not watch.failed:
                return
            if watch.failure == SendStatus.DeadTarget:
                return
            if watch.failed:
                raise ActorSystemFailure(f"{anActor} was not reached: {watch.failure}")
        raise ActorSystemRequestTimeout(f"{anActor} did not take a message within {self._tell_s} s")

    def shutdown(self) -> None:
        """End all actors, then the admin; what does not end in time is left to whoever called."""
        watch = self._tx_to_admin(SystemShutdown())
        for left in unexpired(ExpirationTimer(timedelta(seconds=self._shutdown_s))):
            response = self._run_transport(left.remaining())
            completed = isinstance(response, ReceiveEnvelope) and isinstance(response.message, SystemShutdownCompleted)
            if completed or watch.failed:
                break
        self.transport.close()
        if self._admin is not None:
            self._admin.join(ADMIN_END_S)


def _run_admin(starter_pid: int, on_admin: Callable[[], None] | None, arguments: tuple[Any, ...]) -> None:
    """The admin's process; what Thespian's own ``startAdmin`` does without forking away."""
    die_with_parent(starter_pid)
    die_with_parent_from_now_on()
    if on_admin is not None:
        on_admin()
    starter, endpoint, transport_class, capabilities, log_definitions, context = arguments
    # Signals that a terminal sends to run.py and its group are run.py's business.
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    transport = transport_class(endpoint)
    admin = Admin(transport, transport.myAddress, capabilities, log_definitions, context)
    admin.addrOfStarter = starter
    signal.signal(signal.SIGCHLD, admin.signalChildDied)
    # The starter is told that the admin is there when its logger is.
    _startLogger(transport_class, transport, admin, capabilities, log_definitions, context)
    admin.run()
