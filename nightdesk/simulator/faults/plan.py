"""A script at work: its steps in time, at messages, and the random mixes."""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial

from structlog.typing import FilteringBoundLogger

from nightdesk.errors import ConfigurationError
from nightdesk.simulator.faults.injector import Injector
from nightdesk.simulator.faults.mix import mixed
from nightdesk.simulator.faults.script import MixStep, Script, Step
from nightdesk.simulator.faults.spec import Fault


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
                self._later(step.mix.at, partial(self._mix, mixed(step.mix, step.faults), 0.0, origin))
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
