"""Bodies that fail in every way that a body can, each in its first process only; the next one is healthy."""

import asyncio
import ctypes
import json
import os
import resource
import sys
import threading
from pathlib import Path

from actors.base import Body, Context
from actors.lanes import LaneClient, LaneServer, Peer, lane_path
from nightdesk.messages import ChildId, Heartbeat, Message, RestartChild

LATER_S = 0.2
"""After the start, so that the fault meets a running child."""


class Healthy(Body):
    """Does nothing wrong."""


class FailsOnce(Body):
    """Calls ``fail`` a moment after its start, and says so in the log first."""

    async def start(self) -> None:
        if self.context.incarnation == 1:
            asyncio.get_running_loop().call_later(LATER_S, self._begin)

    def _begin(self) -> None:
        self.context.log.info("fault_begins")
        self.fail()

    def fail(self) -> None:
        raise NotImplementedError


class BusyLoop(FailsOnce):
    def fail(self) -> None:
        while True:
            pass


class BlockedLoop(FailsOnce):
    def fail(self) -> None:
        threading.Event().wait(3600)


class HoldsInterpreter(FailsOnce):
    """Blocks in C without letting go of the interpreter's lock: the process's main thread hangs as well."""

    def fail(self) -> None:
        ctypes.PyDLL(None).sleep(3600)


class Stopped(FailsOnce):
    def fail(self) -> None:
        os.kill(os.getpid(), 19)


class Segfault(FailsOnce):
    def fail(self) -> None:
        ctypes.string_at(0)


class Abort(FailsOnce):
    def fail(self) -> None:
        os.abort()


class SystemExitRaised(FailsOnce):
    def fail(self) -> None:
        sys.exit(0)


class ExitsAtOnce(FailsOnce):
    """Gone without a word, and with the code of a success."""

    def fail(self) -> None:
        os._exit(0)


class CallbackRaises(FailsOnce):
    def fail(self) -> None:
        raise RuntimeError("in a callback of the loop")


class TaskRaises(FailsOnce):
    def fail(self) -> None:
        async def work() -> None:
            raise RuntimeError("in a task")

        self.context.spawn(work(), name="work")


class TaskExits(FailsOnce):
    def fail(self) -> None:
        async def work() -> None:
            sys.exit(0)

        self.context.spawn(work(), name="work")


class OutOfMemory(FailsOnce):
    """Fills all that its process may have."""

    def fail(self) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + 64 * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        filled = [bytearray(1024 * 1024)]
        while True:
            filled.append(bytearray(1024 * 1024))


class OutOfDescriptors(FailsOnce):
    """Opens all files that its process may have."""

    def fail(self) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        held = []
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))


class ConstructorRaises(Body):
    """Its second process fails before there is a body."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        if context.incarnation == 2:
            context.log.info("fault_begins")
            raise RuntimeError("in the constructor")

    async def start(self) -> None:
        if self.context.incarnation == 1:
            asyncio.get_running_loop().call_later(LATER_S, os._exit, 1)


class StartRaises(Body):
    """Its second process fails to start; at boot a failed start would be the supervisor's."""

    async def start(self) -> None:
        if self.context.incarnation == 2:
            self.context.log.info("fault_begins")
            raise RuntimeError("in start")
        if self.context.incarnation == 1:
            asyncio.get_running_loop().call_later(LATER_S, os._exit, 1)


class StartHangs(Body):
    """Its second process never becomes ready."""

    async def start(self) -> None:
        if self.context.incarnation == 2:
            self.context.log.info("fault_begins")
            await asyncio.sleep(3600)
        if self.context.incarnation == 1:
            asyncio.get_running_loop().call_later(LATER_S, os._exit, 1)


class ReceiveRaises(Body):
    """Fails at its first mail."""

    def receive(self, origin: ChildId, message: Message) -> None:
        if self.context.incarnation == 1:
            self.context.log.info("fault_begins")
            raise RuntimeError("in receive")


class StopRaises(Body):
    """Fails while it is stopped in order, for an operator's restart."""

    async def stop(self) -> None:
        if self.context.incarnation == 1:
            self.context.log.info("fault_begins")
            raise RuntimeError("in stop")


class StopHangs(Body):
    """Blocks its loop while it is stopped."""

    async def stop(self) -> None:
        if self.context.incarnation == 1:
            self.context.log.info("fault_begins")
            threading.Event().wait(3600)


class LaneRaises(Body):
    """Fails in the handler of a lane's message; it is its own peer."""

    async def start(self) -> None:
        if self.context.incarnation > 1:
            return
        path = lane_path(json.loads(self.context.config)["folder"], self.context.child_id, "market")
        self._server = LaneServer(path, on_open=self._ignore, on_message=self._on_message, on_close=self._ignore)
        await self._server.start()
        self._client = LaneClient(path, on_open=self._say, on_message=lambda _: None, on_close=lambda: None)
        await self._client.start()

    def _ignore(self, peer: Peer) -> None:
        return

    def _say(self, peer: Peer) -> None:
        peer.send(Heartbeat(child_id=self.context.child_id, incarnation=1, pid=os.getpid()))

    def _on_message(self, peer: Peer, message: Message) -> None:
        self.context.log.info("fault_begins")
        raise RuntimeError("in a lane's handler")


class Operator(Body):
    """Sends a mail to each child that its configuration names, and asks for the restart of others."""

    async def start(self) -> None:
        self.context.spawn(self._work(), name="work")

    async def _work(self) -> None:
        await asyncio.sleep(LATER_S)
        plan = json.loads(self.context.config)
        me = self.context.child_id
        for child_id in plan["mail"]:
            self.context.tell(ChildId(child_id), Heartbeat(child_id=me, incarnation=1, pid=os.getpid()))
        for child_id in plan["restart"]:
            restart = RestartChild(request_id=child_id, child_id=ChildId(child_id), reply_to=me)
            self.context.tell(ChildId("root"), restart)


class FailsAtStart(Body):
    async def start(self) -> None:
        raise RuntimeError("at each start")
