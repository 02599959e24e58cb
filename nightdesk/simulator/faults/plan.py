"""A script at work: its steps in time, at messages, and the random mixes."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from random import Random
from typing import Any

from structlog.typing import FilteringBoundLogger

from nightdesk.errors import ConfigurationError
from nightdesk.simulator.faults.injector import Injector
from nightdesk.simulator.faults.script import MixStep, Script, Step
from nightdesk.simulator.faults.spec import FAULTS, Fault, Lasting, Mix

S_PER_MINUTE = 60.0

_ORDER_TEMPLATES = (313, 315, 317, 351, 352)
_DATA_TEMPLATES = (150, 151)


def _some(random: Random, templates: Sequence[int]) -> list[int]:
    return sorted(random.sample(templates, random.randint(1, len(templates))))


_Draw = Callable[[Random], dict[str, Any]]
_RANDOM_PARAMETERS: dict[str, _Draw] = {
    "half_open": lambda random: {"direction": random.choice(("both", "in", "out"))},
    "delay": lambda random: {"latency_s": round(random.uniform(0.01, 0.5), 3), "jitter_s": round(random.random(), 3)},
    "slow_read": lambda random: {"bytes_per_s": random.choice((50.0, 500.0, 5_000.0))},
    "trickle": lambda random: {"bytes_per_s": random.choice((200.0, 2_000.0, 20_000.0))},
    "mute": lambda random: {"templates": _some(random, _ORDER_TEMPLATES)},
    "duplicate": lambda random: {"copies": random.randint(1, 3), "chance": round(random.uniform(0.1, 1.0), 2)},
    "reorder": lambda random: {"window": random.randint(2, 8), "templates": _some(random, (351, 352))},
    "corrupt": lambda random: {
        "how": random.choice(("flip", "length", "varint", "truncate", "empty", "text")),
        "chance": 0.02,
        "instead": random.random() < 0.5,
    },
    "unknown_template": lambda random: {"chance": round(random.uniform(0.01, 0.2), 2)},
    "partial_list": lambda random: {"templates": [320, 324, 3506, 3512, 402], "terminal": random.random() < 0.5},
    "late_ack": lambda random: {
        "templates": random.choice(([313], [351], [313, 351])),
        "delay_s": round(random.uniform(0.1, 2.0), 3),
    },
    "foreign_orders": lambda random: {"side": random.choice(("BUY", "SELL")), "count": random.randint(1, 3)},
    "wrong_positions": lambda random: {"offset": random.choice((-2, -1, 1, 2))},
    "clock_skew": lambda random: {"offset_s": random.choice((-3600, -60, 60, 3600))},
    "reserved_market": lambda random: {"mode": random.choice(("Reserved", "Halted"))},
}
"""What a mix takes for parameters that nobody gave; faults that are not listed have none."""


def mixed(step: MixStep) -> Iterator[tuple[float, Fault]]:
    """The faults of a mix and their seconds after its begin: the same seed gives the same ones, for ever."""
    mix = step.mix
    random = Random(mix.seed)
    moment_s = 0.0
    while True:
        moment_s += random.expovariate(mix.rate_per_minute / S_PER_MINUTE)
        if mix.for_s is not None and moment_s > mix.for_s:
            return
        yield moment_s, _chosen(step.faults, mix, random)


def _chosen(faults: Sequence[str | Fault], mix: Mix, random: Random) -> Fault:
    chosen = random.choice(faults)
    if isinstance(chosen, Fault):
        fault = chosen
    else:
        draw = _RANDOM_PARAMETERS.get(chosen)
        parameters = draw(random) if draw is not None else {}
        kind = FAULTS[chosen]
        if "seed" in kind.model_fields:
            parameters["seed"] = random.getrandbits(32)
        fault = kind.model_validate({"fault": chosen, **parameters})
    if isinstance(fault, Lasting) and fault.for_s is None:
        spell_s = round(random.uniform(0.1, 1.0) * mix.spell_s, 3)
        fault = fault.model_copy(update={"for_s": spell_s})
    return fault


class Plan:
    """Injects what a script says, from the moment at which the exchange listens."""

    def __init__(self, script: Script, injector: Injector, logger: FilteringBoundLogger) -> None:
        self._script = script
        self._injector = injector
        self._logger = logger
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._timers_counted = 0

    def start(self) -> None:
        """Set all alarms."""
        for index, step in enumerate(self._script):
            origin = f"script, step {index + 1}"
            if isinstance(step, MixStep):
                self._later(step.mix.at, partial(self._mix, mixed(step), 0.0, origin))
            elif step.when.on is not None:
                on = step.when.on
                self._injector.watch(on.template, on.count, partial(self._inject, step.fault, origin))
            else:
                first_s = step.when.at if step.when.at is not None else step.when.every or 0.0
                self._later(first_s, partial(self._act, step, 1, origin))

    def close(self) -> None:
        """Inject nothing more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _act(self, step: Step, turn: int, origin: str) -> None:
        self._inject(step.fault, origin)
        every_s = step.when.every
        if every_s is not None and (step.when.times is None or turn < step.when.times):
            self._later(every_s, partial(self._act, step, turn + 1, origin))

    def _mix(self, faults: Iterator[tuple[float, Fault]], before_s: float, origin: str) -> None:
        found = next(faults, None)
        if found is None:
            return
        moment_s, fault = found

        def act() -> None:
            self._inject(fault, origin)
            self._mix(faults, moment_s, origin)

        self._later(moment_s - before_s, act)

    def _inject(self, fault: Fault, origin: str) -> None:
        try:
            self._injector.inject(fault, origin)
        except ConfigurationError as error:
            # Too many at once, or a contract that is not listed: the market goes on without this one.
            self._logger.error("exchange_fault_failed", origin=origin, reason=str(error))

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        self._timers_counted += 1
        number = self._timers_counted

        def act() -> None:
            self._timers.pop(number, None)
            action()

        self._timers[number] = asyncio.get_running_loop().call_later(delay_s, act)
