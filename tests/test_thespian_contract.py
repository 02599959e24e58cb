"""What we rely on inside Thespian, which is pinned exactly: after an upgrade this says what has changed."""

import inspect
import logging
from importlib.metadata import version

import thespian.actors
from thespian.system import actorManager, addressManager, multiprocCommon, systemBase, systemCommon, utilis
from thespian.system.admin import adminCore
from thespian.system.transport import TransmitIntent
from thespian.system.transport.asyncTransportBase import asyncTransportBase
from thespian.system.transport.wakeupTransportBase import wakeupTransportBase

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


def test_admin_is_started_by_the_method_that_we_replace() -> None:
    """supervisors.substrate.base does the same steps in the same order, but does not fork away from its starter."""
    assert "mp.Process(target=startAdmin," in _source(multiprocCommon.multiprocessCommon._startAdmin)
    assert "isinstance(response.message, EndpointConnected)" in _source(multiprocCommon.multiprocessCommon._startAdmin)
    start = _source(multiprocCommon.startAdmin)
    steps = (
        "os.setsid()",
        "os.fork()",
        "transportClass(endpointPrep)",
        "adminClass(transport, adminAddr, capabilities, logDefs,",
        "admin.addrOfStarter = addrOfStarter",
        "admin.signalChildDied",
        "_startLogger(transportClass, transport, admin, capabilities, logDefs,",
        "admin.run()",
    )
    places = [start.index(step) for step in steps]
    assert places == sorted(places)
    arguments = ["transportClass", "transport", "admin", "capabilities", "logDefs", "concurrency_context"]
    assert list(inspect.signature(multiprocCommon._startLogger).parameters) == arguments


def test_admin_looks_for_the_log_definitions_under_a_wrong_name() -> None:
    """The reason for ``Admin.logDefs`` in supervisors.substrate.base: without it, a dead logger kills the admin."""
    assert "self.capabilities, self.logDefs" in _source(multiprocCommon.MultiProcReplicator.childDied)
    assert "self.logdefs = logdefs" in _source(adminCore.AdminCore.__init__)
    assert not hasattr(multiprocCommon.MultiProcAdmin, "logDefs")


def test_base_makes_its_transport_and_its_endpoints_as_ours_expects() -> None:
    """What ``UnixTransport`` is made from in the outside process, in the admin and in every child."""
    made = _source(multiprocCommon.multiprocessCommon.__init__)
    assert "self.transportType(ExternalInterfaceTransportInit()," in made
    assert "system.capabilities, logDefs," in made
    start = _source(multiprocCommon.MultiProcReplicator._startChildActor)
    assert "self.transport.prepEndpoint(childAddr, self.capabilities)" in start
    assert "endpointPrep.addrInst" in start
    assert "transport = transportClass(endpoint)" in _source(multiprocCommon.startChild)
    assert "self.transport.external_transport_clone()" in _source(systemBase.ExternalOpsToActors.newPrimaryActor)


def test_asynchronous_transport_hands_each_intent_to_the_methods_that_we_define() -> None:
    """``_canSendNow`` is Thespian's limit over all peers, which we lift; the rest is what a transport must bring."""
    assert "self._scheduleTransmitActual(transmitIntent" in _source(asyncTransportBase._submitTransmit)
    assert "transmitIntent.serMsg = self.serializer(transmitIntent)" in _source(asyncTransportBase.scheduleTransmit)
    prepared = _source(asyncTransportBase._schedulePreparedIntent)
    assert "if not self._canSendNow():" in prepared
    assert "while self._canSendNow():" in prepared
    assert "self._runWithExpiry(incomingHandler)" in _source(wakeupTransportBase._run_subtransport)
    assert "self.run_time" in _source(wakeupTransportBase._update_runtime)


def test_address_of_a_child_is_resolved_by_the_address_manager() -> None:
    """A local address becomes the child's own when it has announced itself; mail waits until then, in order."""
    assert "self._managed[details.addressInstanceNum]" in _source(addressManager.ActorAddressManager.exportAddr)
    waiting = systemCommon.AddressWaitTransmits()
    waiting.add("child", 1)
    waiting.add("child", 2)
    assert waiting.remove_intents_for_address("child") == [1, 2]


def test_limits_of_tell_and_shutdown_are_module_globals() -> None:
    """The reason for ``tell`` and ``shutdown`` of our own: a limit of one system is no business of the module's."""
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
