"""Faults of the exchange: what it answers, when, how often, and whether it is there at all."""

import asyncio
import signal
from collections.abc import Callable
from random import Random

from nightdesk.chaos.invariants_life import ROOT
from nightdesk.chaos.job import SYMBOLS
from nightdesk.chaos.process import kill
from nightdesk.chaos.schedule import Strike
from nightdesk.chaos.toll import EXCHANGE, STRANGERS, SYSTEM, Act, Row, Toll
from nightdesk.chaos.world import RUN, NotNowError, World

Parameters = dict[str, object]
Draw = Callable[[Random], Parameters]

COMMAND = "simulator fault"
SIGNALS = "signals"

NEW, MODIFY, CANCEL = REQUESTS = (312, 314, 316)
ANSWERS = (313, 315, 317)
REPORTS = (351, 352)
WORDS = (*ANSWERS, *REPORTS)
PRICES = (150, 151)
LISTS = (320, 324, 3506, 3512)
CUTS = ("drop", "rst")
MODES = ("Reserved", "Halted")

LOGOUTS_MAX = 1
"""Forced logouts soon after a login that a plant's process is given: the third one ends the system, as it must."""

_PLANTS = ("order", "pnl", "ticker", "history")

REFUSED_S = 60.0
"""What a system has to start and to be refused."""

NOTICED_S = 6.0
"""An order without any answer is in doubt after five seconds."""

DOWN_S = (0.2, 2.0)
LISTED_AGAIN_S = 3.0


def _no_parameters(chance: Random) -> Parameters:
    return {}


def _lasting(name: str, draw: Draw = _no_parameters) -> Act:
    """A fault of the exchange that lasts for the strike's spell."""

    async def act(world: World, strike: Strike, chance: Random) -> Toll:
        number = await world.fault(name, for_s=strike.spell_s, **draw(chance))
        await asyncio.sleep(strike.spell_s)
        await world.heal(number)
        return Toll()

    return act


def _at_once(name: str) -> Act:
    """A fault of the exchange that strikes one plant's connection and is over."""

    async def act(world: World, strike: Strike, chance: Random) -> Toll:
        await world.fault(name, plant=chance.choice(_PLANTS))
        return Toll()

    return act


def _with_recovery(draw: Draw) -> Act:
    """Partial lists, and then a lost order link, so that lists are asked for."""

    async def act(world: World, strike: Strike, chance: Random) -> Toll:
        number = await world.fault("partial_list", **draw(chance))
        await world.fault("drop", plant="order")
        await asyncio.sleep(strike.spell_s + LISTED_AGAIN_S)
        await world.heal(number)
        return Toll()

    return act


async def _lost(world: World, strike: Strike, chance: Random) -> Toll:
    """New orders vanish; it is over when the order plant has had its time to notice."""
    toll = await _lasting("mute", _templates(NEW, lost=True))(world, strike, chance)
    await asyncio.sleep(NOTICED_S)
    return toll


async def _forced_logout(world: World, strike: Strike, chance: Random) -> Toll:
    """Within the limit: whoever is thrown out again and again right after his login has to give up."""
    pids = {plant: world.recorder.pids.get(f"plants/{plant}", 0) for plant in _PLANTS}
    possible = [plant for plant, pid in pids.items() if pid and world.logouts[pid] < LOGOUTS_MAX]
    if not possible:
        raise NotNowError("every plant was logged out before")
    plant = chance.choice(possible)
    world.logouts[pids[plant]] += 1
    await world.fault("forced_logout", plant=plant)
    return Toll()


async def _refused_login(world: World, strike: Strike, chance: Random) -> Toll:
    """One refusal of one plant at a new start by hand: within the three that a system may have."""
    everybody = frozenset(world.recorder.pids) | {ROOT, RUN}
    code = await world.stop_system()
    number = await world.fault("refused_login", plant="pnl")
    known = world.recorder.counts["login_refused"]
    await world.start_system()
    is_refused = await world.until(lambda: world.recorder.counts["login_refused"] > known, REFUSED_S)
    await world.heal(number)
    problems = [] if is_refused else ["no login was refused"]
    if code != 0:
        problems.append(f"the ordered stop ended with {code}")
    return Toll(everybody, frozenset({ROOT, RUN}), problems=tuple(problems))


async def _foreign(world: World, strike: Strike, chance: Random) -> Toll:
    side, count = chance.choice(("BUY", "SELL")), chance.randint(1, 3)
    symbol = chance.choice(SYMBOLS)
    await world.fault("foreign_orders", side=side, count=count, every_s=0.2, symbol=symbol)
    await asyncio.sleep(0.2 * count)
    return Toll()


async def _exchange_killed(world: World, strike: Strike, chance: Random) -> Toll:
    await world.end_exchange(is_killed=True)
    await asyncio.sleep(chance.uniform(*DOWN_S))
    await world.start_exchange()
    return Toll()


async def _exchange_frozen(world: World, strike: Strike, chance: Random) -> Toll:
    kill(world.exchange_pid, signal.SIGSTOP)
    await asyncio.sleep(strike.spell_s)
    kill(world.exchange_pid, signal.SIGCONT)
    return Toll()


def _templates(*templates: int, **more: object) -> Draw:
    return lambda chance: {"templates": list(templates), **more}


def _some(templates: tuple[int, ...], **more: object) -> Draw:
    def draw(chance: Random) -> Parameters:
        chosen = sorted(chance.sample(templates, chance.randint(1, len(templates))))
        return {"templates": chosen, **more}

    return draw


def _one(**choices: tuple[object, ...]) -> Draw:
    return lambda chance: {name: chance.choice(values) for name, values in choices.items()}


def _lists(**more: object) -> Draw:
    return _templates(*LISTS, **more)


def _copies(chance: Random) -> Parameters:
    return {"templates": list(WORDS), "copies": chance.randint(1, 3)}


def _corrupt(chance: Random) -> Parameters:
    """Flipped bits only in prices: nothing on the wire tells a message of orders that is right from one that is not."""
    how = chance.choice(("flip", "length", "varint", "truncate", "empty", "text"))
    templates = PRICES if how == "flip" else (*PRICES, *WORDS)
    return {"how": how, "templates": list(templates), "chance": 0.1, "instead": False, "seed": chance.getrandbits(31)}


def _oversize(chance: Random) -> Parameters:
    return {"how": "oversize", "templates": list(PRICES), "chance": 0.02, "instead": False}


def _rarely(chance: Random) -> Parameters:
    return {"chance": 0.2, "seed": chance.getrandbits(31)}


def _late(chance: Random) -> Parameters:
    return {"templates": chance.choice(([313], [351], [313, 351])), "delay_s": round(chance.uniform(0.1, 1.5), 3)}


def _delay(chance: Random) -> Parameters:
    return {"latency_s": round(chance.uniform(0.02, 0.5), 3), "jitter_s": round(chance.uniform(0, 0.3), 3)}


def _row(
    name: str,
    matrix: str,
    weight: int,
    how: str,
    act: Act,
    groups: frozenset[str] = frozenset(),
    needs: str = COMMAND,
) -> Row:
    return Row(name, matrix, weight, how, needs, act, groups)


_LOSES = frozenset({STRANGERS})
_FOREIGN = frozenset({EXCHANGE, STRANGERS})
_GONE = frozenset({EXCHANGE})
_WHOLE = frozenset({SYSTEM, EXCHANGE})

EXCHANGE_FAULTS: tuple[Row, ...] = (
    _row("mute_new", "18", 4, "no answer to new orders", _lasting("mute", _templates(NEW))),
    _row("mute_modify", "18", 3, "no answer to changes", _lasting("mute", _templates(MODIFY))),
    _row("mute_cancel", "18", 3, "no answer to cancels", _lasting("mute", _templates(CANCEL))),
    _row("mute_reports", "18", 3, "no report (351, 352)", _lasting("mute", _some(REPORTS)), _LOSES),
    _row("mute_all", "18", 3, "no word about orders at all", _lasting("mute", _templates(*REQUESTS, *REPORTS)), _LOSES),
    _row("lost_new", "3, 18", 1, "new orders never arrive", _lost),
    _row("lost_cancel", "18", 2, "cancels never arrive", _lasting("mute", _templates(CANCEL, lost=True))),
    _row("duplicate", "19", 4, "answers and reports come two to four times", _lasting("duplicate", _copies)),
    _row("reorder", "19", 4, "answers and reports change places", _lasting("reorder", _some(WORDS, window=6))),
    _row("fill_before_ack", "19", 4, "the fill comes before the answer", _lasting("fill_before_ack")),
    _row("late_ack", "19", 3, "answers come late", _lasting("late_ack", _late)),
    _row("delay", "15", 3, "everything comes late", _lasting("delay", _delay)),
    _row("foreign_orders", "20", 3, "somebody else's orders fill on the account", _foreign, _FOREIGN),
    _row("cut_list", "20", 3, "lists lack frames, after a lost link", _with_recovery(_lists(cut=1)), _LOSES),
    _row("endless_list", "20", 2, "lists never end, after a lost link", _with_recovery(_lists(cut=0, terminal=False))),
    _row("corrupt", "16", 4, "damaged frames before good ones", _lasting("corrupt", _corrupt)),
    _row("oversize", "16", 1, "frames over 1 MiB", _lasting("corrupt", _oversize)),
    _row("unknown_template", "16", 3, "frames of an unknown template", _lasting("unknown_template", _rarely)),
    _row("forced_logout", "21", 3, "ForcedLogout to one plant", _forced_logout),
    _row("refused_login", "21", 1, "one login refused, at a new start by hand", _refused_login, _WHOLE),
    _row("drop", "15", 4, "a connection ends without a word", _at_once("drop")),
    _row("rst", "15", 4, "a connection is reset by the exchange", _at_once("rst")),
    _row(
        "half_open", "15", 3, "a dead cable, for a while", _lasting("half_open", _one(direction=("both", "in", "out")))
    ),
    _row("slow_read", "15", 2, "the exchange reads slowly", _lasting("slow_read", _one(bytes_per_s=(500.0, 5e3)))),
    _row("trickle", "15", 2, "the exchange's bytes come slowly", _lasting("trickle", _one(bytes_per_s=(2e3, 2e4)))),
    _row("maintenance", "22", 2, "everybody is dropped, nobody may log in", _lasting("maintenance", _one(how=CUTS))),
    _row("halted_market", "23", 2, "the market is reserved or halted", _lasting("reserved_market", _one(mode=MODES))),
    _row("exchange_killed", "15", 2, "SIGKILL the exchange; it starts again", _exchange_killed, _GONE, SIGNALS),
    _row("exchange_frozen", "15", 2, "SIGSTOP the exchange for a while", _exchange_frozen, _GONE, SIGNALS),
)
"""Rows of the table about the exchange."""
