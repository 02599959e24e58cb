"""Bodies for the cases with real processes: one that does as its configuration says, and a desk to send mail from."""

import asyncio
import json
import os
import threading
from pathlib import Path

from actors.base import Body, Finished, IgnoreStart
from nightdesk.messages import ChildId, Message, QueryStatus, StopSystem, decode, encode


class Scripted(Body):
    """``starts`` says how each start goes, the last word for all that follow; ``stop`` how it stops.

    A ``StopSystem`` that is sent to it is a poke: its reason says what the body does to itself.
    """

    async def start(self) -> None:
        self.script = json.loads(self.context.config)
        self.file = Path(self.script["folder"]) / self.context.child_id.replace("/", "_")
        number = self._count("starts") - 1
        words = self.script["starts"]
        match words[min(number, len(words) - 1)]:
            case "fail":
                raise ValueError(self.script["text"])
            case "ignore":
                raise IgnoreStart
            case "hang":
                await asyncio.sleep(3600)
            case "exit":
                os._exit(1)
            case "sys_exit":
                raise SystemExit(3)
            case "bad_return":
                return 5  # type: ignore[return-value]
            case _:
                self.start_info = self.script["info"]
        return None

    async def stop(self) -> None:
        self.context.log.info("body_stopped", stop_reason=self.stop_reason)
        match self.script["stop"]:
            case "hang":
                threading.Event().wait(3600)
            case "raise":
                raise ValueError("cannot stop")
            case "finish":
                raise Finished
            case "kill":
                os.kill(os.getpid(), 9)

    def receive(self, origin: ChildId, message: Message) -> None:
        if not isinstance(message, StopSystem):
            return
        self._count("mail")
        match message.reason:
            case "finish":
                raise Finished
            case "crash":
                raise RuntimeError(self.script["text"])
            case "block":
                threading.Event().wait(3600)
            case "busy":
                while True:
                    pass
            case "unlink":
                os.closerange(3, 1024)

    def _count(self, what: str) -> int:
        with self.file.with_suffix(f".{what}").open("a+") as file:
            file.write("x")
            return file.tell()


class Desk(Body):
    """Passes mail between a Unix socket and the tree: lines of JSON with ``to`` or ``origin`` and ``message``."""

    async def start(self) -> None:
        self.writers: set[asyncio.StreamWriter] = set()
        path = json.loads(self.context.config)["socket"]
        self.server = await asyncio.start_unix_server(self._serve, path, limit=8 * 1024 * 1024)

    def receive(self, origin: ChildId, message: Message) -> None:
        if isinstance(message, QueryStatus):
            return
        line = json.dumps({"origin": origin, "message": encode(message).hex()}).encode() + b"\n"
        for writer in self.writers:
            writer.write(line)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        while line := await reader.readline():
            record = json.loads(line)
            self.context.tell(ChildId(record["to"]), decode(bytes.fromhex(record["message"])))
        self.writers.discard(writer)
