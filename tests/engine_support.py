"""A supervisor under test as pure values: its clock, its effects, and processes that obey or fail."""

from typing import Any

from nightdesk.messages import ChildId, ChildState, ExitReason
from supervisors import engine
from supervisors.events import (
    AddRequested,
    Answer,
    Boot,
    ChildBeat,
    ChildDied,
    ChildIgnored,
    ChildSpoke,
    ChildStarted,
    DeleteRequested,
    Effect,
    Event,
    Exit,
    ProcessSpawned,
    Report,
    RestartRequested,
    StartProcess,
    StopProcess,
    StopRequested,
    TerminateRequested,
    Tick,
)
from supervisors.spec import ROOT, ChildSpec, GiveUp, Strategy, SupervisorSpec
from supervisors.state import Caller, Child, LastWords, Phase

ME = Caller("1", ChildId("me"))
CRASHED = LastWords(ExitReason.CRASHED, "ValueError", "no luck")
SHUTDOWN = LastWords(ExitReason.SHUTDOWN)


_TRANSIENT = (ChildState.STARTING, ChildState.STOPPING)


class Tree:
    """A supervisor under test with its clock, its effects and obedient or failing processes."""

    def __init__(
        self,
        *children: ChildSpec,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        intensity: int = 100,
        period_s: float = 60.0,
        incarnation: int = 1,
        id: ChildId = ROOT,
    ) -> None:
        spec = SupervisorSpec(id=id, children=children, strategy=strategy, intensity=intensity, period_s=period_s)
        self.state = engine.initial(spec, incarnation)
        self.now = 1000.0
        self.jitter = 0.0
        self.effects: list[Effect] = []

    def feed(self, event: Event) -> list[Effect]:
        self.state, effects = engine.step(self.state, event, self.now, self.jitter)
        self.effects += effects
        return list(effects)

    def boot(self) -> None:
        """Start every child, obediently."""
        effects = self.feed(Boot())
        while starts := [effect for effect in effects if isinstance(effect, StartProcess)]:
            effects = self.started(starts[0].child_id)

    def started(self, child_id: str) -> list[Effect]:
        child = self[child_id]
        self.feed(ProcessSpawned(child.id, child.incarnation, 100 + child.incarnation))
        return self.feed(ChildStarted(child.id, child.incarnation))

    def dies(self, child_id: str, words: LastWords | None = None) -> list[Effect]:
        child = self[child_id]
        if words is not None:
            self.feed(ChildSpoke(child.id, child.incarnation, words))
        return self.feed(ChildDied(child.id, child.incarnation))

    def asks(self, child_id: str) -> Answer | None:
        """The operator wants a restart; the answer if it is there already."""
        return self._answer_or_none(self.feed(RestartRequested(ChildId(child_id), ME, running_too=True)))

    def adds(self, spec: ChildSpec) -> Answer | None:
        """``start_child``; the answer if it is there already."""
        return self._answer_or_none(self.feed(AddRequested(spec, ME)))

    def terminates(self, child_id: str) -> Answer | None:
        """``terminate_child``; the answer if it is there already."""
        return self._answer_or_none(self.feed(TerminateRequested(ChildId(child_id), ME)))

    def restarts(self, child_id: str) -> Answer | None:
        """``restart_child``; the answer if it is there already."""
        return self._answer_or_none(self.feed(RestartRequested(ChildId(child_id), ME)))

    def deletes(self, child_id: str) -> Answer:
        """``delete_child``; the answer."""
        return self._answer(self.feed(DeleteRequested(ChildId(child_id), ME)))

    def stops(self, reason: str = "end", deadline_s: float | None = None) -> list[Effect]:
        """The supervisor is asked to stop."""
        return self.feed(StopRequested(deadline_s, reason))

    def ignores(self, child_id: str) -> list[Effect]:
        """The child answers its start with IGNORE and ends."""
        child = self[child_id]
        self.feed(ChildIgnored(child.id, child.incarnation))
        return self.dies(child_id, LastWords(ExitReason.NORMAL))

    def obey(self, *failing: str) -> None:
        """Carry out what was asked for until nothing is left to do: starts and stops succeed, these starts fail."""
        while open_ones := [child for child in self.state.children if child.state in _TRANSIENT]:
            assert self.state.phase is not Phase.EXITED, f"it has exited without {open_ones}"
            child = open_ones[0]
            if child.state is ChildState.STOPPING:
                self.dies(child.id, SHUTDOWN)
            elif child.id in failing:
                self.dies(child.id, CRASHED)
            else:
                self.started(child.id)

    def answers(self) -> list[tuple[bool, str]]:
        """Every answer so far: whether it is good, and the word that it begins with."""
        return [(answer.ok, answer.text.partition(":")[0]) for answer in self.of(Answer)]

    def starts_and_stops(self) -> list[str]:
        """In order: +id for a start, -id for the first rung of a stop."""
        words: list[str] = []
        for effect in self.effects:
            if isinstance(effect, StartProcess):
                words.append(f"+{effect.child_id}")
            elif isinstance(effect, StopProcess) and f"-{effect.child_id}" not in words[-1:]:
                words.append(f"-{effect.child_id}")
        return words

    def contexts(self) -> list[tuple[str, str]]:
        """The supervisor reports so far: error context and child."""
        return [(report.error_context.value, report.child_id) for report in self.of(Report) if report.error_context]

    def _answer_or_none(self, effects: list[Effect]) -> Answer | None:
        return next((effect for effect in effects if isinstance(effect, Answer)), None)

    def _answer(self, effects: list[Effect]) -> Answer:
        answer = self._answer_or_none(effects)
        assert answer is not None, "it was not answered"
        return answer

    @property
    def exit(self) -> Exit:
        """How the supervisor ended."""
        assert self.state.phase is Phase.EXITED, f"it is {self.state.phase}"
        (found,) = self.of(Exit)
        assert isinstance(found, Exit)
        return found

    @property
    def running(self) -> list[str]:
        """The children that run, in start order."""
        return [child.id for child in self.state.children if child.state is ChildState.RUNNING]

    def later(self, seconds: float) -> list[Effect]:
        """Let time pass; the supervisor wakes up as often as the engine wants."""
        end, effects = self.now + seconds, []
        while True:
            due = engine.next_deadline(self.state)
            if due is None or due > end:
                break
            self.now = max(self.now, due)
            effects += self.feed(Tick())
        self.now = end
        return effects

    def beats(self, seconds: float, *child_ids: str) -> None:
        """Let time pass in tenths while these children beat."""
        for _ in range(round(seconds * 10)):
            self.now += 0.1
            for child_id in child_ids:
                self.feed(ChildBeat(ChildId(child_id), self[child_id].incarnation))
            self.feed(Tick())

    def is_in(self, child_id: str, state: ChildState) -> bool:
        return self[child_id].state is state

    def __getitem__(self, child_id: str) -> Child:
        child = self.state.child(ChildId(child_id))
        assert child is not None, f"{child_id} is no child any more"
        return child

    def of(self, kind: type[Any]) -> list[Any]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def events(self) -> list[tuple[str, str]]:
        return [(report.event, report.child_id) for report in self.of(Report)]


def child(child_id: str, **policy: Any) -> ChildSpec:
    return ChildSpec(id=ChildId(child_id), body="m:C", **({"watchdog_s": None} | policy))


def parked(child_id: str, **policy: Any) -> ChildSpec:
    return child(child_id, **({"intensity": 1, "on_give_up": GiveUp.PARK} | policy))
