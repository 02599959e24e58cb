"""Faults that are none: what an operator may do at the worst moment."""

import asyncio
from random import Random

from nightdesk.chaos.schedule import Strike
from nightdesk.chaos.toll import SYSTEM, Row, Toll
from nightdesk.chaos.world import HALTED, NotNowError, World
from nightdesk.errors import ConfigurationError, LinkError, NightdeskError

CONTROL = "the control socket"
REASON = "a chaos run"
ANSWERED_S = 30.0
"""What control may take to be back when it has just been killed."""

AGAIN_S = 0.5
ON_ITS_WAY_S = 0.5
"""Orders that had passed the gate before are sent within this."""

_UNKNOWN_VERB = "no such verb"


async def operate(world: World, verb: str, **arguments: object) -> None:
    """Carry out a verb as an operator does: again, when nobody answered; a refusal with a reason is an answer.

    Raises ``NotNowError`` when nobody has answered in time, or where there is no such verb.
    """
    ends_s = world.clock.monotonic_s() + ANSWERED_S
    while True:
        try:
            await world.control(verb, arguments)
            return
        except ConfigurationError as error:
            if _UNKNOWN_VERB in str(error):
                raise NotNowError(str(error)) from None
            if "no system is running" not in str(error):
                return
        except LinkError:
            pass
        except NightdeskError as error:
            raise NotNowError(str(error)) from None
        if world.clock.monotonic_s() > ends_s:
            raise NotNowError(f"{verb}: nobody answered within {ANSWERED_S:g} s")
        await asyncio.sleep(AGAIN_S)


def _strategy(world: World, chance: Random) -> str:
    return f"strategies/{chance.choice(sorted(world.job.strategies))}"


async def _pause(world: World, strike: Strike, chance: Random) -> Toll:
    child_id = _strategy(world, chance)
    await operate(world, "pause", id=child_id, reason=REASON)
    await asyncio.sleep(strike.spell_s)
    await operate(world, "resume", id=child_id)
    return Toll()


async def _halt(world: World, strike: Strike, chance: Random) -> Toll:
    await operate(world, "halt", reason=REASON)
    await asyncio.sleep(ON_ITS_WAY_S)
    before = world.recorder.sent
    await asyncio.sleep(strike.spell_s)
    sent = world.recorder.sent - before
    status = await world.status()
    is_halted = status is not None and status["trading_state"] == HALTED
    await operate(world, "resume-trading", reason=REASON)
    problems = (f"{sent} orders were sent while trading was halted",) if sent and is_halted else ()
    return Toll(may_halt=True, problems=problems)


async def _reduce(world: World, strike: Strike, chance: Random) -> Toll:
    await operate(world, "reduce", reason=REASON)
    await asyncio.sleep(strike.spell_s)
    await operate(world, "resume-trading", reason=REASON)
    return Toll(may_halt=True)


async def _flatten_one(world: World, strike: Strike, chance: Random) -> Toll:
    await operate(world, "flatten", id=_strategy(world, chance))
    return Toll()


async def _flatten_all(world: World, strike: Strike, chance: Random) -> Toll:
    await operate(world, "flatten")
    return Toll()


async def _cancel_one(world: World, strike: Strike, chance: Random) -> Toll:
    await operate(world, "cancel-all", id=_strategy(world, chance))
    return Toll()


async def _cancel_all(world: World, strike: Strike, chance: Random) -> Toll:
    await operate(world, "cancel-all")
    return Toll()


async def _restart(world: World, strike: Strike, chance: Random) -> Toll:
    """Any worker but control, whose own restart cannot be answered by itself."""
    workers = [child for child in sorted(world.recorder.pids) if "/" in child and child != "services/control"]
    if not workers:
        raise NotNowError("nobody has been started yet")
    child_id = chance.choice(workers)
    await operate(world, "restart", id=child_id)
    return Toll(frozenset({child_id}))


async def _terminate(world: World, strike: Strike, chance: Random) -> Toll:
    child_id = _strategy(world, chance)
    await operate(world, "terminate", id=child_id)
    await asyncio.sleep(strike.spell_s)
    await operate(world, "restart", id=child_id)
    return Toll(frozenset({child_id}))


_WHOLE = frozenset({SYSTEM})

CONTROL_FAULTS: tuple[Row, ...] = (
    Row("pause_resume", "-", 3, "pause a strategy, resume it", CONTROL, _pause, _WHOLE),
    Row("halt_resume", "-", 2, "halt trading: no order may leave; resume it", CONTROL, _halt, _WHOLE),
    Row("reduce_resume", "-", 2, "reduce trading, resume it", CONTROL, _reduce, _WHOLE),
    Row("flatten_one", "-", 3, "flatten a strategy that goes on trading", CONTROL, _flatten_one),
    Row("flatten_all", "-", 2, "flatten the account", CONTROL, _flatten_all),
    Row("cancel_one", "-", 3, "cancel all orders of a strategy", CONTROL, _cancel_one),
    Row("cancel_all", "-", 2, "cancel all orders of the account", CONTROL, _cancel_all),
    Row("restart_worker", "31", 3, "restart a worker", CONTROL, _restart),
    Row("terminate_strategy", "-", 2, "terminate a strategy, start it again", CONTROL, _terminate, _WHOLE),
)
"""Rows of the table about the operator. Those that must be taken back are never beside the end of the whole system."""
