"""The market of a tape, or of a simulation that is faster than life, begins when every strategy is there."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from actors.plants import market_gate
from actors.plants.market_gate import MarketGate
from actors.plants.market_lane import Instrument
from actors.plants.ticker import TickerPlantBody
from nightdesk.clocks import SystemClock
from tests.fake_gateway import FakeGateway
from tests.fakes import FakeContext
from tests.support import wait_until_async
from tests.test_plants_integration import (
    EXCHANGE,
    LOG,
    SYMBOL,
    configuration,
    market_listener,
    run,
    started,
    write_endpoint,
)
from tests.test_plants_integration import folder as folder

ES, NQ = ("ESZ6", "CME"), ("NQZ6", "CME")


class Timers:
    """The loop's timers, which run when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.armed: dict[int, tuple[float, Callable[[], None]]] = {}
        self._count = 0
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: self)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> "Timer":
        self._count += 1
        self.armed[self._count] = (delay_s, callback)
        return Timer(self, self._count)

    @property
    def delays(self) -> list[float]:
        return [delay_s for delay_s, _ in self.armed.values()]

    def run(self) -> None:
        ((number, (_, callback)),) = self.armed.items()
        del self.armed[number]
        callback()


class Timer:
    def __init__(self, timers: Timers, number: int) -> None:
        self._timers, self._number = timers, number

    def cancel(self) -> None:
        self._timers.armed.pop(self._number, None)


def gate(strategies: dict[str, list[str]], *, is_closed: bool = True) -> tuple[MarketGate, list[Instrument]]:
    wanted: list[Instrument] = []
    return MarketGate(strategies, is_closed=is_closed, want=wanted.append, log=LOG), wanted


def test_market_begins_when_every_strategy_has_asked_for_all_of_its_symbols(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever else asks comes with them; who asks later is not kept waiting."""
    timers = Timers(monkeypatch)
    closed, wanted = gate({"strategies/a": ["ES.front", "NQZ6"], "strategies/b": ["NQZ6"]})
    closed.ask(ES, name="plants/order", symbol="ES.front")
    closed.ask(ES)
    closed.ask(NQ, name="strategies/b", symbol="NQZ6")
    closed.ask(NQ, name="strategies/a", symbol="NQZ6")
    assert wanted == []
    closed.ask(ES, name="strategies/a", symbol="ES.front")
    assert wanted == [ES, NQ]
    assert timers.armed == {}
    closed.ask(("GCZ6", "COMEX"), name="plants/order", symbol="GCZ6")
    assert wanted[2:] == [("GCZ6", "COMEX")]


def test_who_is_missing_is_waited_for_from_the_newest_strategy_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute for the first, ten seconds for each further one; then it begins, and a line says without whom."""
    timers = Timers(monkeypatch)
    closed, wanted = gate({f"strategies/{name}": ["ESZ6"] for name in "abc"})
    closed.ask(ES, name="plants/order", symbol="ESZ6")
    assert timers.delays == [market_gate.FIRST_GRACE_S]
    closed.ask(NQ, name="plants/order", symbol="NQZ6")
    assert list(timers.armed) == [1], "only a strategy begins the wait anew"
    for number, name in enumerate("ab", start=2):
        closed.ask(ES, name=f"strategies/{name}", symbol="ESZ6")
        assert timers.delays == [market_gate.GRACE_S]
        assert list(timers.armed) == [number]
    closed.drop(NQ)
    assert wanted == []
    with capture_logs() as lines:
        timers.run()
    assert wanted == [ES]
    (line,) = [each for each in lines if each["event"] == "replay_starts_incomplete"]
    assert (line["symbols"], line["missing"]) == (["ESZ6"], ["strategies/c"])
    closed.ask(NQ, name="strategies/c", symbol="NQZ6")
    assert wanted == [ES, NQ]


def test_gate_is_open_where_there_is_nobody_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A market that runs anyhow, and a system without strategies; a plant that stops leaves no timer."""
    timers = Timers(monkeypatch)
    for strategies, is_closed in (({"strategies/a": ["ESZ6"]}, False), ({}, True)):
        each, wanted = gate(strategies, is_closed=is_closed)
        each.ask(ES, name="plants/order", symbol="ESZ6")
        assert wanted == [ES]
        assert timers.armed == {}
    closed, _ = gate({"strategies/a": ["ESZ6"]})
    closed.ask(ES)
    closed.close()
    assert timers.armed == {}


SYNTHETIC: dict[str, Any] = {"kind": "synthetic"}
TAPE: dict[str, Any] = {"kind": "replay", "path": "tape.csv", "symbol": SYMBOL}


@pytest.mark.parametrize(
    ("exchange", "incarnation", "overflow", "waits"),
    [
        ({"source": SYNTHETIC, "speed": 1000.0}, 1, "conflate", True),
        ({"source": SYNTHETIC, "speed": 0.0, "sessions": "always"}, 1, "conflate", True),
        ({"source": TAPE, "speed": 1.0}, 1, "conflate", True),
        ({"source": SYNTHETIC, "speed": 1.0}, 1, "conflate", False),
        ({"source": SYNTHETIC, "speed": 1000.0, "sessions": "always"}, 1, "conflate", False),
        ({"source": SYNTHETIC, "speed": 1000.0}, 2, "conflate", False),
        ({"source": SYNTHETIC, "speed": 1000.0}, 2, "block", True),
    ],
)
def test_order_plant_s_prices_do_not_begin_a_market_that_waits(
    folder: Path, exchange: dict[str, Any], incarnation: int, overflow: str, waits: bool
) -> None:
    """It is subscribed long before a strategy on a busy machine; at real time nothing waits for anybody.

    A plant that is restarted by itself finds a market that has begun; in ``block`` it waits for those who listen.
    """

    async def scenario() -> None:
        strategies = [{"name": "a", "class": "some.module:Some", "symbols": [SYMBOL]}]
        lane = {"overflow": overflow}
        configured = configuration(folder, exchange=exchange, strategies=strategies, market_lane=lane)
        context = FakeContext("plants/ticker", configured.to_json(), SystemClock(), incarnation=incarnation)
        body = TickerPlantBody(context)
        async with FakeGateway() as gateway:
            write_endpoint(configured, gateway, gateway.password)
            async with started(body), market_listener(configured, "plants/order", conflate=True):
                await wait_until_async(lambda: body.session is not None)
                await wait_until_async(lambda: body._lane.names((SYMBOL, EXCHANGE)) == {"plants/order"})
                if waits:
                    assert body._wanted == set()
                    async with market_listener(configured, "strategies/a"):
                        await wait_until_async(lambda: gateway.of(100))
                else:
                    await wait_until_async(lambda: gateway.of(100))

    run(scenario)
