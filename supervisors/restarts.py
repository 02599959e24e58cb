"""What the engine does about failed starts and deaths: the budgets, the three strategies, giving up. Pure."""

from dataclasses import replace

from nightdesk.messages import ChildId, ChildState, ExitReason
from supervisors.events import Acknowledge, ErrorContext, NotifyParked, ReportKind
from supervisors.spec import ROOT, ChildSpec, GiveUp, RestartType, Strategy
from supervisors.state import Child, Ending, Job, LastWords, Origin, Phase
from supervisors.turn import ORDERLY, Turn

GAVE_UP = "reached_max_restart_intensity"
"""The error type of a supervisor that ended because a budget of restarts was spent."""

GAVE_UP_REASON = "gave_up"
"""What the children are told as the reason of their shutdown when root gives up: the system ends."""

BRANCH_GAVE_UP_REASON = "branch_gave_up"
"""What they are told when a supervisor below root gives up: its parent may rebuild the branch."""

FAILED_TO_START = "failed_to_start_child"
"""The error type of a supervisor whose boot failed."""

GROUP_REASON = "restart"
"""What a bystander is told."""


def after_exit(turn: Turn, child: Child, reason: ExitReason) -> None:
    """A child that ran has ended by itself: restart it, keep it or forget it, by its restart type."""
    match child.spec.restart:
        case RestartType.TEMPORARY:
            turn.drop(child)
        case RestartType.TRANSIENT if reason in ORDERLY:
            return
        case _:
            try_again(turn, child)


def after_failed_start(turn: Turn, child: Child, words: LastWords) -> None:
    """A start has failed; who wanted it decides what follows."""
    error = f"{words.error_type or words.reason.value}: {words.error_message or child.cause}"
    match child.origin:
        case Origin.ADDED:
            child = turn.answer_starters(child, False, f"start_error: {error}")
            turn.drop(child)
        case Origin.MANUAL:
            child = turn.answer_starters(child, False, f"start_error: {error}")
            # The spec stays and there is no retry, as in OTP; what was set aside stays set aside.
            state = ChildState.PARKED if child.parked_before else ChildState.STOPPED
            turn.put(replace(child, state=state, parked_before=False))
        case Origin.SUPERVISOR:
            child = turn.answer_starters(child, False, f"start_error: {error}")
            _after_own_failed_start(turn, child, words, error)
    settled(turn, child.id)


def _after_own_failed_start(turn: Turn, child: Child, words: LastWords, error: str) -> None:
    escalates = child.spec.on_give_up is GiveUp.ESCALATE
    in_job = _is_head(turn, child.id)
    if in_job and escalates and turn.state.phase is Phase.BOOTING:
        ending = Ending(ExitReason.CRASHED, FAILED_TO_START, f"{child.id}: {error}", words.traceback)
        turn.begin_stop(ending, FAILED_TO_START)
        return
    if child.spec.restart is RestartType.TEMPORARY:
        turn.drop(child)
        return
    if in_job and escalates:
        # As in OTP the restart of a group ends with the child that failed, and the retry of that child decides anew.
        turn.state = replace(turn.state, job=None)
    if child.spec.backoff_initial_s > 0:
        try_again(turn, child)
    else:
        # The next try, and its charge, come from the supervisor's own mailbox, so that it answers in between.
        turn.put(replace(child, state=ChildState.RESTARTING, deadline_s=turn.now))
    _take_pending(turn)


def retry_is_due(turn: Turn, child: Child) -> None:
    """The time of a RESTARTING child has come."""
    if turn.state.job is not None and turn.state.spec.strategy is not Strategy.ONE_FOR_ONE:
        turn.put(replace(child, deadline_s=None))
        defer(turn, child.id)
    elif child.spec.backoff_initial_s > 0:
        # Charged when the wait began, so that a spent budget is told at once and not after a last wait.
        _restart(turn, child)
    else:
        try_again(turn, child)


def try_again(turn: Turn, child: Child) -> None:
    """Charge the budgets and restart by the strategy, now or after the backoff; or give up."""
    spec = child.spec
    child = replace(child, stamps=_window(child.stamps, spec.period_s, turn.now))
    turn.put(child)
    if spec.intensity is not None and len(child.stamps) > spec.intensity:
        if spec.on_give_up is GiveUp.PARK:
            _park(turn, child)
        else:
            _give_up(turn, child)
        return
    if spec.on_give_up is GiveUp.ESCALATE:
        stamps = _window(turn.state.stamps, turn.state.spec.period_s, turn.now)
        turn.state = replace(turn.state, stamps=stamps)
        if len(stamps) > turn.state.spec.intensity:
            _give_up(turn, child)
            return
    delay = _backoff(spec, len(child.stamps), turn.jitter)
    if delay <= 0:
        _restart(turn, child)
    else:
        turn.put(replace(child, state=ChildState.RESTARTING, deadline_s=turn.now + delay))


def _restart(turn: Turn, child: Child) -> None:
    """The child alone, or a job for all that the strategy concerns."""
    ids = tuple(other.id for other in turn.state.children)
    place = ids.index(child.id)
    if turn.state.spec.strategy is not Strategy.ONE_FOR_ONE:
        # It waits for its turn in the job now, and for no time.
        turn.put(replace(child, state=ChildState.STOPPED, deadline_s=None))
    match turn.state.spec.strategy:
        case Strategy.ONE_FOR_ONE:
            turn.launch(child)
        case Strategy.ONE_FOR_ALL:
            turn.state = replace(turn.state, job=Job(stopping=ids, starting=ids))
            advance(turn)
        case Strategy.REST_FOR_ONE:
            turn.state = replace(turn.state, job=Job(stopping=ids[place + 1 :], starting=ids[place:]))
            advance(turn)


def _park(turn: Turn, child: Child) -> None:
    child = replace(child, state=ChildState.PARKED, deadline_s=None)
    turn.put(child)
    turn.report(ReportKind.NOTICE, "child_parked", child, cause=child.last_error)
    if child.spec.park_notify:
        destination = ChildId(child.spec.park_notify)
        turn.effects.append(NotifyParked(destination, child.id, child.restarts, child.last_error))


def _give_up(turn: Turn, child: Child) -> None:
    turn.report(
        ReportKind.SUPERVISOR,
        "supervisor_gave_up",
        child,
        context=ErrorContext.SHUTDOWN,
        reason=GAVE_UP,
        cause=child.last_error,
    )
    told = GAVE_UP_REASON if turn.state.spec.id == ROOT else BRANCH_GAVE_UP_REASON
    turn.begin_stop(Ending(ExitReason.SHUTDOWN, GAVE_UP, f"{child.id}: {child.last_error}"), told)


# -- jobs: the boot, and the restart of a group -----------------------------------------------------------------------


def begin_boot(turn: Turn) -> None:
    """Start every child, in order."""
    turn.state = replace(turn.state, job=Job(starting=tuple(child.id for child in turn.state.children)))
    advance(turn)


def settled(turn: Turn, child_id: ChildId) -> None:
    """A start has ended, well or ill: if the job waited for it, its next step is due."""
    if _is_head(turn, child_id) and turn.state.job is not None:
        turn.state = replace(turn.state, job=replace(turn.state.job, starting=turn.state.job.starting[1:]))
    advance(turn)


def advance(turn: Turn) -> None:
    """Go on with what is under way, as far as it goes without waiting."""
    if turn.stopping:
        turn.stop_next()
        return
    while (job := turn.state.job) is not None:
        if job.stopping:
            if not _is_stopped(turn, job.stopping[-1]):
                return
            turn.state = replace(turn.state, job=replace(job, stopping=job.stopping[:-1]))
        elif job.starting:
            if not _is_settled(turn, job.starting[0]):
                return
            turn.state = replace(turn.state, job=replace(job, starting=job.starting[1:]))
        else:
            turn.state = replace(turn.state, job=None)
            if turn.state.phase is Phase.BOOTING:
                turn.state = replace(turn.state, phase=Phase.RUNNING)
                turn.effects.append(Acknowledge())
            _take_pending(turn)


def forget_start(turn: Turn, child_id: ChildId) -> None:
    """Take a child that has no process out of everything that would start it."""
    job = turn.state.job
    if job is not None:
        job = replace(job, starting=tuple(other for other in job.starting if other != child_id))
    turn.state = replace(turn.state, job=job, pending=tuple(other for other in turn.state.pending if other != child_id))
    advance(turn)


def defer(turn: Turn, child_id: ChildId) -> None:
    """An exit or a retry during a job waits for its end, as a message would in OTP's mailbox."""
    if child_id not in turn.state.pending:
        turn.state = replace(turn.state, pending=(*turn.state.pending, child_id))


def _take_pending(turn: Turn) -> None:
    while turn.state.pending and turn.state.job is None and not turn.stopping:
        child = turn.state.child(turn.state.pending[0])
        turn.state = replace(turn.state, pending=turn.state.pending[1:])
        if child is None or child.alive:
            # The job has restarted it meanwhile, so that the news is old.
            continue
        if child.state is ChildState.RESTARTING:
            retry_is_due(turn, child)
        else:
            after_exit(turn, child, ExitReason(child.last_exit))


def _is_head(turn: Turn, child_id: ChildId) -> bool:
    job = turn.state.job
    return job is not None and not job.stopping and job.starting[:1] == (child_id,)


def _is_stopped(turn: Turn, child_id: ChildId) -> bool:
    """See to it that a bystander is stopped; True when it is."""
    child = turn.state.child(child_id)
    if child is None or not child.alive:
        return True
    if child.state is ChildState.STOPPING:
        turn.put(replace(child, start_again=False))
    else:
        turn.ask_to_stop(child, GROUP_REASON)
    return False


def _is_settled(turn: Turn, child_id: ChildId) -> bool:
    """See to it that a member is started; True when it runs or is not to run."""
    child = turn.state.child(child_id)
    if child is None or child.state in (ChildState.RUNNING, ChildState.PARKED):
        return True
    if not child.alive:
        turn.state = replace(turn.state, pending=tuple(other for other in turn.state.pending if other != child_id))
        turn.launch(child)
    return False


def _window(stamps: tuple[float, ...], period_s: float, now: float) -> tuple[float, ...]:
    """OTP's window: what is not older than the period, inclusive, and this attempt."""
    return (*(stamp for stamp in stamps if stamp >= now - period_s), now)


def _backoff(spec: ChildSpec, tries: int, jitter: float) -> float:
    """Doubling with each try in the window, bounded, and between half and all of it."""
    longest = min(spec.backoff_max_s, spec.backoff_initial_s * 2.0 ** min(tries - 1, 60))
    return longest * (0.5 + 0.5 * jitter)
