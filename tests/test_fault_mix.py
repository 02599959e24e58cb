"""A random mix on command: what a seed draws, that healing it heals all it began, and what is refused."""

import asyncio
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from nightdesk.errors import ConfigurationError
from nightdesk.simulator.faults.mix import mixed
from nightdesk.simulator.faults.script import MixStep, fault_of_command, load_script
from nightdesk.simulator.faults.spec import FAULTS, RandomMix
from tests.simulator_support import RawClient
from tests.support import wait_until_async
from tests.test_fault_commands import ask, with_socket

BUSY = {
    "fault": "mix",
    "seed": "7",
    "rate_per_minute": "600",
    "faults": "[delay, late_ack, {fault: duplicate, for_s: 9}]",
}


def mix_of(**words: str) -> RandomMix:
    fault = fault_of_command({"fault": "mix", **words})
    assert isinstance(fault, RandomMix)
    return fault


def test_a_command_and_a_script_draw_the_same_mix_from_the_same_seed(tmp_path: Path) -> None:
    """Times, faults and parameters; another seed draws another one; every fault there is when none is named."""
    (tmp_path / "faults.yaml").write_text(
        "faults:\n - mix: {seed: 7, rate_per_minute: 60, faults: [drop, delay, mute]}\n"
    )
    (step,) = load_script(tmp_path / "faults.yaml")
    assert isinstance(step, MixStep)
    scripted = list(islice(mixed(step.mix, step.faults), 100))

    def commanded(**words: str) -> list[Any]:
        mix = mix_of(rate_per_minute="60", **words)
        return list(islice(mixed(mix, mix.faults), 100))

    assert commanded(seed="7", faults="[drop, delay, mute]") == scripted
    assert commanded(seed="8", faults="[drop, delay, mute]") != scripted
    assert mix_of(seed="1").faults == list(FAULTS)
    assert mix_of(seed="1", faults="drop").faults == ["drop"]


def test_healing_a_mix_heals_what_it_began_and_nothing_else() -> None:
    """Its faults are listed with their origin and struck with its target; nothing new begins after it."""

    async def scenario(folder: Path, exchange: Any, server: Any) -> None:
        client = await RawClient.open(folder, server)
        await client.login(2)
        await asyncio.to_thread(ask, folder, "fault", fault="clock_skew")
        done = await asyncio.to_thread(ask, folder, "fault", **BUSY, plant="pnl", spell_s="9")
        assert done == {"number": 2, "text": "mix is active; end it with: heal 2"}
        await wait_until_async(lambda: len(exchange.injector.active) >= 5)
        listed = (await asyncio.to_thread(ask, folder, "faults"))["active"]
        assert [each["fault"] for each in listed][:2] == ["clock_skew", "mix"]
        assert {each["origin"] for each in listed[2:]} == {"mix 2"}
        assert all(each["parameters"]["target"] == {"plant": "pnl"} for each in listed[1:])
        assert all(each["left_s"] is not None for each in listed[2:])
        assert (await asyncio.to_thread(ask, folder, "heal", number=2))["text"] == "1 healed"
        assert [each["fault"] for each in exchange.injector.status()] == ["clock_skew"]
        injected = exchange.injector.injected
        await asyncio.sleep(0.5)
        assert exchange.injector.injected == injected

    with_socket(scenario)


def test_a_mix_is_over_with_all_its_faults_when_its_time_is() -> None:
    """A fault of it that was to last longer ends with it; healing everything meets mix and faults alike."""

    async def scenario(folder: Path, exchange: Any, server: Any) -> None:
        await asyncio.to_thread(ask, folder, "fault", **BUSY, for_s="0.8")
        await wait_until_async(lambda: len(exchange.injector.active) >= 2)
        await wait_until_async(lambda: not exchange.injector.active)
        assert exchange.injector.injected >= 2
        await asyncio.to_thread(ask, folder, "fault", **BUSY)
        await wait_until_async(lambda: len(exchange.injector.active) >= 3)
        await asyncio.to_thread(ask, folder, "heal")
        assert exchange.injector.active == []

    with_socket(scenario)


def test_more_faults_than_there_is_room_for_do_not_end_a_mix() -> None:
    """What cannot be begun is left out, and what can is begun."""

    async def scenario(folder: Path, exchange: Any, server: Any) -> None:
        for _ in range(62):
            exchange.injector.inject(fault_of_command({"fault": "delay"}), "test")
        await asyncio.to_thread(ask, folder, "fault", **(BUSY | {"faults": "[{fault: delay, for_s: 60}, drop]"}))
        await wait_until_async(lambda: exchange.injector.injected >= 67)
        assert len(exchange.injector.active) == 64

    with_socket(scenario)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({}, "mix: seed: is missing; add it with a value"),
        ({"seed": "-1"}, "mix: seed: must be greater than or equal to 0"),
        ({"seed": "x"}, "mix: seed: must be a valid integer, not 'x'"),
        ({"seed": "1", "rate_per_min": "3"}, "mix: rate_per_min: is not a known key; did you mean rate_per_minute"),
        ({"seed": "1", "rate_per_minute": "601"}, "rate_per_minute: must be less than or equal to 600"),
        ({"seed": "1", "for_s": "0"}, "for_s: must be greater than 0"),
        ({"seed": "1", "spell_s": "0"}, "spell_s: must be greater than 0"),
        ({"seed": "1", "templates": "[312]"}, "templates: is not a known key"),
        ({"seed": "1", "at": "3"}, "mix: at: is not a known key"),
        ({"seed": "1", "plant": "ordr"}, "target.plant: must be 'ticker'"),
        ({"seed": "1", "faults": "[]"}, "faults: must be a list of 1 to 100 faults"),
        ({"seed": "1", "faults": "7"}, "faults: must be a list of 1 to 100 faults"),
        ({"seed": "1", "faults": "[dropp]"}, r"faults\[0\]: no such fault: 'dropp'; did you mean drop"),
        ({"seed": "1", "faults": "[drop, mix]"}, r"faults\[1\]: a mix is no fault of a list"),
        ({"seed": "1", "faults": "[drop, {fault: delay, latency_s: 99}]"}, r"faults\[1\].latency_s: must be less than"),
    ],
)
def test_wrong_words_of_a_mix_are_named(words: dict[str, str], complaint: str) -> None:
    """The argument and what it must be; a mix within a mix is refused."""
    with pytest.raises(ConfigurationError, match=complaint):
        mix_of(**words)


def test_a_mix_that_names_what_is_not_here_is_refused_as_a_whole() -> None:
    """Before anything of it begins: contracts and accounts of its faults."""

    async def scenario(folder: Path, exchange: Any, server: Any) -> None:
        words = {"fault": "mix", "seed": "1", "faults": "[drop, {fault: reserved_market, symbol: XX}]"}
        with pytest.raises(ConfigurationError, match=r"mix: faults\[1\].symbol: 'XX' is not listed here"):
            await asyncio.to_thread(ask, folder, "fault", **words)
        assert exchange.injector.injected == 0

    with_socket(scenario)
