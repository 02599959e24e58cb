"""Answers of the history plant under way: sent as the client takes them, halted with a notice, resumed or given up.

A long answer is made while it is sent, in pieces, and never lies in memory as a whole. One session's answers follow one
another, so that their records do not mix.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any

from structlog.typing import FilteringBoundLogger

from nightdesk.clocks import Clock
from nightdesk.simulator.wire.session import NO_DATA, OK, Session

RECORDS_PER_OUTPUT_S = 2_500
"""How many records count as a second of output: the real gateway halts after some four, and its cap is 10,000."""

RESUME_WAIT_S = 60.0
"""An answer that nobody resumes for longer than this ends with ``OUTPUT_INHIBITED``."""

REPLAYS_WAITING_MAX = 64
"""Requests of one session that wait for the one being answered; more are refused."""

HALTED_MAX = 16
"""Halted answers that one session may leave; a further one ends the oldest."""

PIECE_RECORDS = 256
OUTPUT_INHIBITED = ("12", "output inhibited")


def records_of_output(seconds: float) -> int:
    """How many records so much output is; 0 for no time at all, otherwise at least one."""
    return math.ceil(seconds * RECORDS_PER_OUTPUT_S)


Fields = dict[str, object]
Source = Callable[[], Iterator[Fields]]


class _Replay:
    """One answer: where it goes, and what of it is still to be sent."""

    def __init__(
        self, session: Session, response_id: int, request: Any, source: Source, prepare: Callable[[], None]
    ) -> None:
        self.session = session
        self.response_id = response_id
        self.request = request
        self.source = source
        self.prepare = prepare
        self.records: Iterator[Fields] | None = None
        self.sent = 0
        self.key: str | None = None

    async def piece(self, count: int) -> list[Fields]:
        """The next records, ``count`` at most."""
        if self.records is None:
            await asyncio.to_thread(self.prepare)
            self.records = self.source()
        return await asyncio.to_thread(list, islice(self.records, count))

    def put_back(self, pieces: list[Fields]) -> None:
        """These were not sent yet."""
        self.records = chain(pieces, self.records or ())

    def end(self, code: tuple[str, ...]) -> None:
        """The last frame, bare."""
        self.session.done(self.response_id, self.request, code)


class _Line:
    """One session's answers: those that wait, those that are halted, and the task that sends."""

    def __init__(self) -> None:
        self.waiting: deque[_Replay] = deque()
        self.halted: dict[str, tuple[_Replay, float]] = {}
        self.task: asyncio.Task[None] | None = None
        self.keys = 0


class ReplayDesk:
    """Every session's answers. ``halt_records`` records are sent at a stretch, 0: without end."""

    def __init__(self, halt_records: int, clock: Clock, logger: FilteringBoundLogger) -> None:
        self._halt_records = halt_records
        self._clock = clock
        self._logger = logger
        self._lines: dict[Session, _Line] = {}

    @property
    def sessions(self) -> int:
        """How many sessions have an answer under way, waiting or halted."""
        return len(self._lines)

    def sent(self, session: Session) -> int:
        """Records sent so far of the answer that is under way; 0 when there is none."""
        line = self._lines.get(session)
        return line.waiting[0].sent if line is not None and line.waiting else 0

    def start(
        self,
        session: Session,
        response_id: int,
        request: Any,
        source: Source,
        prepare: Callable[[], None],
    ) -> None:
        """Answer with a frame for each of the source's records and a bare last one.

        When its turn has come ``prepare`` is called in a thread, then ``source`` on the loop; the records themselves
        are made in a thread.
        """
        line = self._lines.setdefault(session, _Line())
        replay = _Replay(session, response_id, request, source, prepare)
        if len(line.waiting) >= REPLAYS_WAITING_MAX:
            replay.end(OUTPUT_INHIBITED)
            return
        self._queue(line, replay)

    def is_halted(self, session: Session, key: str) -> bool:
        """Whether there is an answer to be resumed under this key."""
        line = self._lines.get(session)
        return line is not None and key in line.halted

    def resume(self, session: Session, key: str) -> None:
        """Go on with a halted answer, under its own request."""
        line = self._lines[session]
        replay, _ = line.halted.pop(key)
        self._queue(line, replay)

    def forget(self, session: Session) -> None:
        """The session is gone."""
        line = self._lines.pop(session, None)
        if line is not None and line.task is not None:
            line.task.cancel()

    def tend(self) -> None:
        """End what nobody resumes; raise what went wrong while sending."""
        now_s = self._clock.monotonic_s()
        for session, line in list(self._lines.items()):
            for key, (replay, deadline_s) in list(line.halted.items()):
                if now_s > deadline_s:
                    del line.halted[key]
                    self._give_up(replay)
            if line.task is not None and line.task.done():
                line.task.result()
                line.task = None
            if line.task is None and not line.halted and not line.waiting:
                del self._lines[session]

    def _give_up(self, replay: _Replay) -> None:
        self._logger.info("exchange_replay_not_resumed", user=replay.session.user_name, sent=replay.sent)
        replay.end(OUTPUT_INHIBITED)

    def _queue(self, line: _Line, replay: _Replay) -> None:
        line.waiting.append(replay)
        if line.task is None or line.task.done():
            if line.task is not None:
                line.task.result()
            line.task = asyncio.get_running_loop().create_task(self._serve(line), name="replay")

    async def _serve(self, line: _Line) -> None:
        while line.waiting:
            await self._output(line, line.waiting[0])
            line.waiting.popleft()

    async def _output(self, line: _Line, replay: _Replay) -> None:
        session = replay.session
        left = self._halt_records or None
        while not session.outlet.closed:
            piece = await replay.piece(PIECE_RECORDS)
            if not piece:
                replay.end(OK if replay.sent else NO_DATA)
                return
            now, later = piece[:left], piece[left:] if left is not None else []
            for record in now:
                session.more(replay.response_id, replay.request, **record)
            replay.sent += len(now)
            if left is not None:
                left -= len(now)
            if later or left == 0:
                replay.put_back(later)
                if later or await self._has_more(replay):
                    self._halt(line, replay)
                else:
                    replay.end(OK)
                return
            await session.outlet.room()
            # Others on the loop have their turn even while this client takes everything at once.
            await asyncio.sleep(0)

    async def _has_more(self, replay: _Replay) -> bool:
        ahead = await replay.piece(1)
        replay.put_back(ahead)
        return bool(ahead)

    def _halt(self, line: _Line, replay: _Replay) -> None:
        if replay.key is None:
            replay.key = str(line.keys)
            line.keys += 1
        if len(line.halted) >= HALTED_MAX:
            oldest, _ = line.halted.pop(next(iter(line.halted)))
            self._give_up(oldest)
        line.halted[replay.key] = (replay, self._clock.monotonic_s() + RESUME_WAIT_S)
        replay.session.answer(replay.response_id, replay.request, request_key=replay.key)
