"""One chaos run: start, rounds of faults by the seed's schedule, settling, stop, and the audit."""

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from random import Random

from nightdesk.chaos.books import exchange_book, journal_book
from nightdesk.chaos.control_faults import operate
from nightdesk.chaos.evidence import RoundRecord
from nightdesk.chaos.gather import Wire, gather
from nightdesk.chaos.invariants import differences
from nightdesk.chaos.invariants_life import judge
from nightdesk.chaos.job import Job
from nightdesk.chaos.report import ORDERS_A_MINUTE, Report, requirements
from nightdesk.chaos.schedule import Round, Strike, rounds
from nightdesk.chaos.table import DRAWN
from nightdesk.chaos.toll import BACK_S, Row, Toll
from nightdesk.chaos.world import ACTIVE, NotNowError, Status, World, is_in_service
from nightdesk.clocks import Clock
from nightdesk.errors import LinkError, NightdeskError

BEGIN_S = 180.0
"""What everything has to start on a machine that others load."""

SETTLE_S = 90.0
"""From the last cancel until the books agree."""

TRADES_AGAIN = 3
TRADES_AGAIN_S = BACK_S
"""In service means that orders go out: so many of them, in this time. A link whose loss is noticed only then leaves
orders in doubt, and the broker is asked for those during 30 s before anybody may trade again."""

AFTERSHOCK_S = 3.0
"""Whoever is not back for so long waits for something (an order of unknown fate takes 30 s): the next faults meet the
system in that state."""

AFTERSHOCKS_MAX = 4
"""Rounds that are played on top of one."""

PACE_SHARE = 1.05
"""Of the required orders a minute: what the average is brought back to between two rounds."""

PACE_S = 20.0
"""The longest peace for that."""

LOOK_S = 0.1
STATUS_POLL_S = 0.25
BOOKS_POLL_S = 1.0

Tell = Callable[[str], None]


class Driver:
    """Carries one run out with these kinds of fault, at the longest until each has struck ``times`` times."""

    def __init__(
        self,
        job: Job,
        clock: Clock,
        minutes: float,
        tell: Tell,
        faults: Mapping[str, Row] = DRAWN,
        times: float = math.inf,
    ) -> None:
        self._faults = faults
        self._times = times
        self.world = World(job, clock)
        self._job = job
        self._clock = clock
        self._minutes = minutes
        self._tell = tell
        self._records: list[RoundRecord] = []
        self._struck: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()
        self._back_s: dict[str, list[float]] = defaultdict(list)
        self._problems: list[str] = []
        self._begun_s = 0.0
        self._orders_before = 0
        self._rounds = rounds(job.seed, [row.terms for row in self._faults.values()])
        self._drawn: Round | None = None
        """The next round, where it was looked at already."""

    async def run(self) -> Report:
        """The whole run. Whatever happens, no process of it is left."""
        looking = asyncio.create_task(self._look())
        try:
            return await self._run()
        finally:
            looking.cancel()
            await self.world.destroy()

    async def _run(self) -> Report:
        world, clock = self.world, self._clock
        await world.start()
        if await self._wait_in_service(BEGIN_S) is None:
            raise LinkError(f"the system was not in service within {BEGIN_S:g} s; look at {world.outputs()[1]}")
        world.leaks += world.told_in_arguments()
        self._begun_s, self._orders_before = clock.monotonic_s(), world.orders_at_exchange()
        while not self._is_enough() and await self._play(self._draw()):
            # The outages of a round are made up for before the next one, which is to meet orders on their way.
            await world.until(self._is_on_pace, PACE_S)
        traded_s, orders = clock.monotonic_s() - self._begun_s, world.orders_at_exchange() - self._orders_before
        status = await self._settle()
        exit_code = await world.stop_system()
        if exit_code != 0:
            self._problems.append(f"the ordered stop at the end came to {exit_code}")
        await world.end_exchange(is_killed=False)
        wire = Wire()
        evidence = await asyncio.to_thread(gather, world, self._records, status, wire)
        report = Report(
            seed=self._job.seed,
            minutes=self._minutes,
            strategies=len(self._job.strategies),
            traded_s=traded_s,
            orders=orders,
            struck=self._struck,
            skipped=self._skipped,
            back_s=dict(self._back_s),
            wire_requests=wire.requests,
            evidence=evidence,
            verdicts=judge(evidence),
            possible=len(self._faults),
        )
        report.requirements = requirements(report, self._problems)
        return report

    def _is_enough(self) -> bool:
        is_over = self._clock.monotonic_s() - self._begun_s >= self._minutes * 60
        return is_over or all(self._struck[name] >= self._times for name in self._faults)

    def _is_on_pace(self) -> bool:
        minutes = (self._clock.monotonic_s() - self._begun_s) / 60
        orders = self.world.orders_at_exchange() - self._orders_before
        return orders >= PACE_SHARE * ORDERS_A_MINUTE * minutes

    async def _look(self) -> None:
        while True:
            self.world.recorder.look()
            await asyncio.sleep(LOOK_S)

    async def _play(self, each: Round) -> bool:
        """One round; False when the run cannot go on after it."""
        world = self.world
        await asyncio.sleep(each.calm_s)
        status = await self._wait_in_service(BACK_S)
        if status is None:
            self._problems.append(f"nobody was in service before round {each.number}")
            return False
        before, world.round = world.pids(status), each.number
        names, toll = await self._strike_all(each)
        if not names:
            return True
        after = await self._wait_in_service(AFTERSHOCK_S, may_halt=toll.may_halt)
        for _ in range(AFTERSHOCKS_MAX):
            if after is not None or self._groups(names) & self._groups(strike.name for strike in self._peek().strikes):
                break
            more, shock = await self._strike_all(self._draw())
            names, toll = (*names, *more), toll.plus(shock)
            after = await self._wait_in_service(AFTERSHOCK_S, may_halt=toll.may_halt)
        if after is None:
            after = await self._wait_in_service(BACK_S, may_halt=toll.may_halt)
        back_s = self._clock.monotonic_s() - toll.over_s if after is not None else None
        self._note(each.number, names, toll, before, after, back_s)
        if after is not None:
            await self._trade_again(each.number, names)
        return after is not None

    def _draw(self) -> Round:
        each, self._drawn = self._peek(), None
        return each

    def _peek(self) -> Round:
        if self._drawn is None:
            self._drawn = next(self._rounds)
        return self._drawn

    def _groups(self, names: Iterable[str]) -> set[str]:
        return {group for name in names for group in self._faults[name].groups}

    async def _strike_all(self, each: Round) -> tuple[tuple[str, ...], Toll]:
        """The faults of a round that applied, and what they may cost; all of them are over."""
        tolls = await asyncio.gather(*(self._strike(strike) for strike in each.strikes))
        total, names = Toll(), []
        for strike, toll in zip(each.strikes, tolls, strict=True):
            if toll is not None:
                names.append(strike.name)
                total = total.plus(toll)
        if names:
            await self._start_what_has_ended()
            await self.world.heal()
            self.world.proxy.release()
        return tuple(names), total

    def _note(
        self,
        number: int,
        names: tuple[str, ...],
        toll: Toll,
        before: dict[str, int],
        after: Status | None,
        back_s: float | None,
    ) -> None:
        self._struck.update(names)
        problems = toll.problems
        if back_s is None:
            problems += (f"not back in service within {BACK_S:g} s",)
        else:
            for name in names:
                self._back_s[name].append(back_s)
        pids = before if after is None else self.world.pids(after)
        may, must = toll.may_change | toll.must_change, toll.must_change
        self._records.append(RoundRecord(number, names, before, pids, may, must, back_s, BACK_S, problems))
        told = f"{back_s:.1f} s" if back_s is not None else "NOT BACK"
        self._tell(f"round {number}: {', '.join(names)}: {told}" + "".join(f"; {text}" for text in problems))

    async def _strike(self, strike: Strike) -> Toll | None:
        """One fault; None when it did not apply."""
        await asyncio.sleep(strike.after_s)
        try:
            toll = await self._faults[strike.name].act(self.world, strike, Random(strike.seed))
        except (NotNowError, ProcessLookupError):
            # Whom it was about died of another fault of the round, perhaps in this moment.
            self._skipped[strike.name] += 1
            return None
        return toll if toll.over_s else toll._replace(over_s=self._clock.monotonic_s())

    async def _wait_in_service(self, limit_s: float, *, may_halt: bool = False) -> Status | None:
        """The status once everybody is in service and trading is ACTIVE; None when that was not within the time."""
        world = self.world
        ends_s = self._clock.monotonic_s() + limit_s
        while self._clock.monotonic_s() < ends_s:
            await self._start_what_has_ended()
            status = await world.status()
            if status is not None and status["trading_state"] not in (ACTIVE, "UNKNOWN"):
                if not may_halt:
                    self._problems.append(f"trading is {status['trading_state']}, and no fault was to do that")
                await self._resume_trading()
            elif status is not None and is_in_service(status):
                return status
            await asyncio.sleep(STATUS_POLL_S)
        return None

    async def _start_what_has_ended(self) -> None:
        """No fault of a round leaves anything down: who has ended by itself is a surprise, and is started anew."""
        world = self.world
        if world.has_system_ended:
            self._problems.append(f"the system ended by itself (start {world.recorder.generation})")
            await world.system_ended()
            await world.start_system()
        if world.has_exchange_ended:
            self._problems.append("the exchange ended by itself")
            await world.end_exchange(is_killed=True)
            await world.start_exchange()

    async def _resume_trading(self) -> None:
        try:
            await operate(self.world, "resume-trading", reason="a chaos run")
        except NotNowError:
            # The next look at the status tries again.
            return

    async def _trade_again(self, number: int, names: tuple[str, ...]) -> None:
        world = self.world
        wanted = world.orders_at_exchange() + TRADES_AGAIN
        if not await world.until(lambda: world.orders_at_exchange() >= wanted, TRADES_AGAIN_S):
            text = f"round {number} ({', '.join(names)}): in service, but fewer than {TRADES_AGAIN} orders"
            self._problems.append(f"{text} in {TRADES_AGAIN_S:g} s")

    async def _settle(self) -> Status | None:
        """All faults are over: nobody trades any more, everything is canceled, and the books must come to agree."""
        world = self.world
        await world.heal()
        world.proxy.release()
        if await self._wait_in_service(BACK_S) is None:
            self._problems.append("nobody was in service in the end")
        for name in self._job.strategies:
            await self._operate("pause", id=f"strategies/{name}", reason="the run is over")
        await self._operate("cancel-all")
        ends_s = self._clock.monotonic_s() + SETTLE_S
        status = await world.status()
        while self._clock.monotonic_s() < ends_s and not await self._is_settled(status):
            await asyncio.sleep(BOOKS_POLL_S)
            if status is not None and status["orders"]["working"]:
                await self._operate("cancel-all")
            status = await world.status()
        return status

    async def _operate(self, verb: str, **arguments: object) -> None:
        try:
            await operate(self.world, verb, **arguments)
        except NotNowError as error:
            self._problems.append(f"{verb}: {error}")

    async def _is_settled(self, status: Status | None) -> bool:
        if status is None or status["orders"]["working"] or status["orders"]["unknown"]:
            return False
        return await asyncio.to_thread(self._agree)

    def _agree(self) -> bool:
        try:
            theirs = exchange_book(Path(self._job.exchange.state_dir))
            ours = journal_book(Path(self._job.system.state_dir))
        except (NightdeskError, OSError):
            return False
        is_same = Counter(theirs.fills) == Counter(fill.key for fill in ours.fills)
        is_over = all(order.is_final for order in theirs.orders) and all(row.is_final for row in ours.orders)
        return is_same and is_over and not differences(ours.positions(), theirs.positions)
