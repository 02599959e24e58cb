"""What we rely on inside Thespian, which is pinned exactly: after an upgrade this says what has changed."""

import inspect
import logging
import socket
from importlib.metadata import version

import thespian.actors
from thespian.system import actorManager, multiprocCommon, multiprocTCPBase, systemBase, systemCommon, utilis
from thespian.system.transport import IPBase, TransmitIntent
from thespian.system.transport.TCPTransport import TCPTransport

PINNED = "4.0.1"


def _source(thing: object) -> str:
    return inspect.getsource(thing)  # type: ignore[arg-type]


def test_thespian_is_the_version_whose_internals_we_know() -> None:
    """Read the other tests of this file against the new version before changing this number and the pin."""
    assert version("thespian") == PINNED


def test_pid_of_a_child_is_where_the_supervisor_looks_for_it() -> None:
    """supervisors.supervisor takes ``self._myRef._child_procs[-1].childProc.pid`` right after ``createActor``."""
    start = _source(multiprocCommon.MultiProcReplicator._startChildActor)
    assert "self._child_procs.append(ChildInfo(childAddr, childClass, child," in start
    assert "mp.Process(target=startChild" in start
    info = multiprocCommon.ChildInfo("address", "class", "process", 1)
    assert info.childProc == "process"
    assert "self.actorInst._myRef = self" in _source(actorManager.ActorManager._createInstance)


def test_send_intent_reports_the_end_of_a_transmission_once() -> None:
    """actors.mailbox sends with ``_myRef._send_intent(TransmitIntent(..., onSuccess=, onError=))``."""
    assert list(inspect.signature(systemCommon.systemCommonBase._send_intent).parameters)[:2] == ["self", "intent"]
    assert {"targetAddr", "msg", "onSuccess", "onError"} <= inspect.signature(TransmitIntent).parameters.keys()
    ended: list[object] = []
    from thespian.system.transport import SendStatus

    intent = TransmitIntent("address", "message", onSuccess=lambda *_: ended.append("sent"), onError=ended.append)
    intent.tx_done(SendStatus.Sent)
    intent.tx_done(SendStatus.Sent)
    assert ended == ["sent"]


def test_watch_is_set_from_what_every_call_of_receive_message_returns() -> None:
    """Descriptors are watched only as long as each call returns them; the base class does."""
    handle = _source(actorManager.ActorManager._handleOneMessage)
    assert "self.transport.set_watch(actor_result.filenos if isinstance(actor_result, ThespianWatch) else [])" in handle
    assert "WatchMessage(watchready)" in _source(TCPTransport._runWithExpiry)
    assert thespian.actors.ThespianWatch([3]).filenos == [3]
    assert thespian.actors.WatchMessage([3]).ready == [3]


def test_handler_that_raises_is_run_a_second_time() -> None:
    """The reason for catching everything in ``receiveMessage``; if it is mended upstream, the guard may stay."""
    assert "receiveMessage(copy.deepcopy(msg)" in _source(actorManager.ActorManager._handleOneMessage)


def test_actor_process_replaces_logging_and_catches_every_signal() -> None:
    """What ``actors.process.take_over`` undoes."""
    start = _source(multiprocCommon.startChild)
    assert "logging.root = ThespianLogForwarder" in start
    assert "for each in range(1, signal.NSIG):" in start
    assert start.index("set_signal_handler(each") < start.index("am.run()")


def test_admin_is_started_by_the_function_that_we_wrap() -> None:
    """supervisors.system replaces ``multiprocCommon.startAdmin`` while ``_startAdmin`` runs, and its ``os.fork``."""
    assert "mp.Process(target=startAdmin," in _source(multiprocCommon.multiprocessCommon._startAdmin)
    start = _source(multiprocCommon.startAdmin)
    assert start.count("os.fork()") == 1
    assert "if os.fork(): sys.exit(0)" in start
    assert start.index("os.fork()") < start.index("transportClass(endpointPrep)")
    assert issubclass(multiprocTCPBase.ActorSystemBase, multiprocCommon.multiprocessCommon)


def test_listeners_bind_to_what_bind_args_says() -> None:
    """supervisors.system turns ``IPActorAddress.bindArgs`` into a loopback address."""
    assert "self.socket.bind(*templateAddr.addressDetails.bindArgs)" in _source(TCPTransport.__init__)
    assert isinstance(inspect.getattr_static(IPBase.IPActorAddress, "bindArgs"), property)
    address = IPBase.TCPv4ActorAddress(None, 1900, external=("", 1900))
    assert address.bindname == ("", 1900)
    assert address.af == socket.AF_INET


def test_announced_address_can_be_set_to_loopback() -> None:
    """By the environment variable that the runner sets."""
    assert "THESPIAN_BASE_IPADDR" in _source(IPBase.IPActorAddress.__init__)


def test_limits_of_the_outside_interface_are_module_globals() -> None:
    """The runner shortens them, so that a hung root or admin cannot hold up the end of a run."""
    assert "MAX_TELL_PERIOD" in _source(systemBase.ExternalOpsToActors.tell)
    assert "MAX_SYSTEM_SHUTDOWN_DELAY" in _source(systemBase.systemBase.shutdown)


def test_thespians_own_log_can_be_silenced() -> None:
    """With a threshold above every level and no file."""
    before = utilis._thesplog_control_settings
    utilis.thesplog_control(logging.CRITICAL + 1, False, 0)
    assert utilis._thesplog_control_settings == (logging.CRITICAL + 1, False, 0)
    utilis._thesplog_control_settings = before


def test_a_ready_system_base_may_be_handed_in() -> None:
    """``ActorSystem(systemBase=object)`` takes the object as it is."""
    assert "# else systemBase should be a valid object already" in _source(thespian.actors.ActorSystem._startupActorSys)
