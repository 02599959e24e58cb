"""Random mixes of faults: what a seed draws, and a mix on command at work."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from nightdesk.errors import ConfigurationError
from nightdesk.simulator.faults.spec import FAULTS, Fault, Lasting, Mix, RandomMix, Target
from nightdesk.simulator.faults.world import World

if TYPE_CHECKING:
    from nightdesk.simulator.engine import Exchange

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


def mixed(mix: Mix | RandomMix, faults: Sequence[str | Fault]) -> Iterator[tuple[float, Fault]]:
    """The faults of a mix and their seconds after its begin: the same seed gives the same ones, for ever."""
    random = Random(mix.seed)
    moment_s = 0.0
    while True:
        moment_s += random.expovariate(mix.rate_per_minute / S_PER_MINUTE)
        if mix.for_s is not None and moment_s > mix.for_s:
            return
        yield moment_s, _chosen(faults, mix, random)


def _chosen(faults: Sequence[str | Fault], mix: Mix | RandomMix, random: Random) -> Fault:
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


class Mixing(World):
    """A mix that was begun by a command: a fault among others, which begins and ends further ones."""

    fault: RandomMix

    def __init__(self, exchange: "Exchange", fault: RandomMix, over: Callable[[], None]) -> None:
        super().__init__(exchange, fault, over)
        self._drawn = mixed(fault, fault.faults)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def _origin(self) -> str:
        return f"{self.fault.fault} {self.number}"

    def begin(self) -> None:
        self._next(0.0)

    def end(self) -> None:
        self.cancel()
        for active in self.exchange.injector.active:
            if active.origin == self._origin:
                self.exchange.injector.heal(active.number)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _next(self, before_s: float) -> None:
        drawn = next(self._drawn, None)
        if drawn is None:
            return
        moment_s, fault = drawn
        if self.fault.target != Target() and fault.target == Target():
            fault = fault.model_copy(update={"target": self.fault.target})
        self._timer = asyncio.get_running_loop().call_later(moment_s - before_s, self._act, moment_s, fault)

    def _act(self, moment_s: float, fault: Fault) -> None:
        try:
            self.exchange.injector.inject(fault, self._origin)
        except ConfigurationError as error:
            # Too many at once: the mix goes on without this one.
            self.exchange.logger.error("exchange_fault_failed", origin=self._origin, reason=str(error))
        self._next(moment_s)
