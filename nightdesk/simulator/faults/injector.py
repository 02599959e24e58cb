"""What is wrong at the moment: faults begin, act on connections, and end.

While nothing is active no connection knows of this module: its outlet's ``faults`` is None. As soon as one fault lasts,
or a script waits for a message, every connection has a chain; whom a fault strikes is decided frame by frame.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nightdesk.errors import ConfigurationError
from nightdesk.simulator.faults.chain import Chain
from nightdesk.simulator.faults.filters import FILTERS, FrameFilter, matches
from nightdesk.simulator.faults.mix import Mixing
from nightdesk.simulator.faults.rewrites import REWRITES
from nightdesk.simulator.faults.script import Names, parameters_of, stranger
from nightdesk.simulator.faults.spec import Fault, Lasting, RandomMix, name_of
from nightdesk.simulator.faults.world import STRIKES, WORLDS, Mode, World
from nightdesk.simulator.wire.session import Session

if TYPE_CHECKING:
    from nightdesk.simulator.engine import Exchange

ACTIVE_MAX = 64
"""Faults at the same time."""
WATCHES_MAX = 1_000
"""Steps of scripts that wait for a message."""
_FILTER_OF = FILTERS | REWRITES
_WORLD_OF: dict[type[Fault], type[World]] = WORLDS | {RandomMix: Mixing}


class ActiveFault:
    """A fault that lasts."""

    def __init__(self, number: int, fault: Lasting, origin: str, began_s: float) -> None:
        self.number = number
        self.fault = fault
        self.origin = origin
        self.began_s = began_s
        self.acts = 0
        """How often it did something to a frame."""
        self.filters: dict[Session, FrameFilter] = {}
        self.world: World | None = None
        self.timer: asyncio.TimerHandle | None = None


class Watch:
    """Calls back when a message of a template was seen so many times."""

    def __init__(self, template_id: int, count: int, action: Callable[[], None]) -> None:
        self.template_id = template_id
        self.left = count
        self.action = action


class Injector:
    """Injects and heals; one for each exchange, on its event loop."""

    def __init__(self, exchange: "Exchange") -> None:
        self._exchange = exchange
        self._active: dict[int, ActiveFault] = {}
        self._watches: list[Watch] = []
        self._chains: dict[Session, Chain] = {}
        self._connected: set[Session] = set()
        self._injected = 0

    @property
    def active(self) -> list[ActiveFault]:
        """The faults that last at this moment, oldest first."""
        return list(self._active.values())

    def holds_mode(self, symbol: str) -> bool:
        """Whether a fault keeps a market in a mode of its own."""
        return any(isinstance(each.world, Mode) and symbol in each.world.symbols for each in self._active.values())

    @property
    def injected(self) -> int:
        """How many faults there were, those that were over at once included."""
        return self._injected

    def connected(self, session: Session) -> None:
        """A connection was opened."""
        self._connected.add(session)
        if self._active or self._watches:
            self._attach(session)

    def disconnected(self, session: Session) -> None:
        """A connection is really gone."""
        self._connected.discard(session)
        session.outlet.faults = None
        self._chains.pop(session, None)
        for active in self._active.values():
            one = active.filters.pop(session, None)
            if one is not None:
                one.end()

    def inject(self, fault: Fault, origin: str) -> int:
        """Begin a fault; its number. Raises ``ConfigurationError`` for one that cannot be."""
        found = stranger(fault, self._names)
        if found is not None:
            raise ConfigurationError(f"{name_of(type(fault))}: {': '.join(found)}")
        if isinstance(fault, Lasting) and len(self._active) >= ACTIVE_MAX:
            raise ConfigurationError(f"{ACTIVE_MAX} faults are active already; heal one first")
        number = self._injected + 1
        strike = STRIKES.get(type(fault))
        if strike is not None:
            self._injected = number
            meant = self.meant(fault)
            self._log("begins", number, fault, origin=origin, connections=sorted(each.outlet.number for each in meant))
            for session in meant:
                strike(session)
        elif isinstance(fault, Lasting):
            self._begin(number, fault, origin)
        return number

    def meant(self, fault: Fault) -> list[Session]:
        """The connections that a fault strikes at this moment."""
        return [session for session in self._connected if matches(fault.target, session)]

    @property
    def _names(self) -> Names:
        exchange = self._exchange
        return Names(
            symbol=[product.symbol for product in exchange.catalog.products],
            account=[account for user in exchange.users.values() for account in user.accounts],
        )

    def heal(self, number: int | None = None) -> int:
        """End a fault, or all; how many. Raises ``ConfigurationError`` where there is no such fault."""
        if number is not None and number not in self._active:
            numbers = ", ".join(map(str, self._active)) or "none"
            raise ConfigurationError(f"fault {number} is not active (there are {numbers})")
        numbers_to_end = list(self._active) if number is None else [number]
        for each in numbers_to_end:
            self._end(each, "healed")
        return len(numbers_to_end)

    def watch(self, template_id: int, count: int, action: Callable[[], None]) -> None:
        """Call ``action`` when the ``count``-th message of a template is received or sent from now on."""
        if len(self._watches) >= WATCHES_MAX:
            raise ConfigurationError(f"{WATCHES_MAX} steps wait for a message already; use fewer")
        self._watches.append(Watch(template_id, count, action))
        for session in self._connected:
            self._attach(session)

    def close(self) -> None:
        """Forget everything; nothing is sent any more."""
        self._watches.clear()
        for active in self._active.values():
            if active.timer is not None:
                active.timer.cancel()
            if active.world is not None:
                active.world.cancel()

    def status(self) -> list[dict[str, Any]]:
        """The active faults, for the command that lists them."""
        now_s = self._exchange.clock.monotonic_s()
        return [
            {
                "number": active.number,
                "fault": name_of(type(active.fault)),
                "parameters": parameters_of(active.fault),
                "origin": active.origin,
                "age_s": round(now_s - active.began_s, 3),
                "left_s": None if active.fault.for_s is None else round(active.fault.for_s - now_s + active.began_s, 3),
                "acts": active.acts,
            }
            for active in self._active.values()
        ]

    def _begin(self, number: int, fault: Lasting, origin: str) -> None:
        active = ActiveFault(number, fault, origin, self._exchange.clock.monotonic_s())
        kind = _WORLD_OF.get(type(fault))
        if kind is not None:
            active.world = kind(self._exchange, fault, lambda: self._end(number, "over"))
            active.world.number = number
        self._injected = number
        self._active[number] = active
        self._log("begins", number, fault, origin=origin)
        for session in self._connected:
            self._attach(session)
        if fault.for_s is not None:
            active.timer = asyncio.get_running_loop().call_later(fault.for_s, self._end, number, "over")
        if active.world is not None:
            active.world.begin()

    def _end(self, number: int, why: str) -> None:
        active = self._active.pop(number, None)
        if active is None:
            return
        if active.timer is not None:
            active.timer.cancel()
        for session, one in active.filters.items():
            self._chains[session].remove(one)
        if active.world is not None:
            active.world.end()
        self._log(why, number, active.fault, acts=active.acts)
        self._detach_when_idle()

    def _attach(self, session: Session) -> None:
        chain = self._chains.get(session)
        if chain is None:
            chain = self._chains[session] = Chain(session, seen=self._seen)
            session.outlet.faults = chain
        for active in self._active.values():
            kind = _FILTER_OF.get(type(active.fault))
            if kind is not None and session not in active.filters:
                note = self._note_of(active)
                active.filters[session] = kind(active.fault, session, chain.pass_on, note)
                chain.add(active.filters[session])

    def _detach_when_idle(self) -> None:
        if self._active or self._watches:
            return
        for session in self._chains:
            session.outlet.faults = None
        self._chains.clear()

    def _seen(self, template_id: int) -> None:
        due = []
        for watch in self._watches:
            if watch.template_id == template_id:
                watch.left -= 1
                if watch.left <= 0:
                    due.append(watch)
        for watch in due:
            self._watches.remove(watch)
            watch.action()

    def _note_of(self, active: ActiveFault) -> Callable[[FrameFilter, str, int | None], None]:
        def note(one: FrameFilter, act: str, template_id: int | None) -> None:
            active.acts += 1
            if self._exchange.wire_log is not None:
                self._exchange.wire_log.fault(
                    number=active.number,
                    fault=name_of(type(active.fault)),
                    act=act,
                    template_id=template_id,
                    connection=one.session.outlet.number,
                )

        return note

    def _log(self, act: str, number: int, fault: Fault, **keys: object) -> None:
        name = name_of(type(fault))
        if self._exchange.wire_log is not None:
            self._exchange.wire_log.fault(number=number, fault=name, act=act, parameters=parameters_of(fault), **keys)
        if act == "begins":
            self._exchange.logger.warning(
                "exchange_fault_begins", number=number, fault=name, parameters=parameters_of(fault), **keys
            )
        else:
            self._exchange.logger.info("exchange_fault_ends", number=number, fault=name, reason=act, **keys)
