"""Fault scripts: what they may say, how they complain, when their steps act, and that a mix's seed decides it all."""

import asyncio
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import structlog

from nightdesk.errors import ConfigurationError
from nightdesk.simulator.faults.mix import mixed
from nightdesk.simulator.faults.plan import Plan
from nightdesk.simulator.faults.script import MixStep, Step, described, fault_of_command, load_script
from nightdesk.simulator.faults.spec import FAULTS, Delay, Fault, ForcedLogout, Lasting, Mix, Mute
from tests.simulator_support import running_exchange
from tests.support import wait_until_async

REQUIRED = {"mute": {"templates": [312]}, "partial_list": {"templates": [320]}}


def script(folder: Path, text: str) -> Path:
    path = folder / "faults.yaml"
    path.write_text(text)
    return path


def test_script_is_read_with_all_its_forms(tmp_path: Path) -> None:
    """At a time, again and again, at a message, and a random mix; one template may be written as a number."""
    steps = load_script(
        script(
            tmp_path,
            """
faults:
  - {at: 5, fault: drop, target: {plant: order}}
  - {at: 1, every: 30, times: 2, fault: delay, latency_s: 0.5, for_s: 3}
  - {on: {template: 312, count: 3}, fault: mute, template: 313, for_s: 2}
  - mix: {seed: 7, rate_per_minute: 12, faults: [drop, {fault: delay, latency_s: 1}]}
""",
        )
    )
    first, second, third, fourth = steps
    assert isinstance(first, Step)
    assert first.fault.target.plant == "order"
    assert isinstance(second, Step)
    assert (second.when.at, second.when.every, second.when.times) == (1, 30, 2)
    assert isinstance(third, Step)
    assert isinstance(third.fault, Mute)
    assert third.fault.templates == [313]
    assert isinstance(fourth, MixStep)
    assert fourth.faults[0] == "drop"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("faults: 7", r"faults.yaml:1: faults: must be a list"),
        ("fault:\n - {}", r":1: fault: is not a known key"),
        ("faults:\n - 7", r":2: faults\[0\]: must be a mapping"),
        ("faults:\n - {at: 1}", r":2: faults\[0\]: has no fault; add fault"),
        ("faults:\n - {fault: drp}", r":2: faults\[0\].fault: no such fault: 'drp'; did you mean drop"),
        ("faults:\n - {fault: 7}", r"no such fault: '7'"),
        ("faults:\n - {fault: drop, at: -1}", r"faults\[0\].at: must be greater than or equal to 0, not '-1'"),
        ("faults:\n - {fault: drop, at: x}", r"faults\[0\].at: must be a valid number"),
        ("faults:\n - {fault: drop, for_s: 3}", r"faults\[0\].for_s: is not a known key; remove it \(known here: "),
        ("faults:\n - fault: delay\n   latency_s: 61", r":3: faults\[0\].latency_s: must be less than or equal to 60"),
        ("faults:\n - {fault: delay, latnecy_s: 1}", r"did you mean latency_s"),
        ("faults:\n - {fault: mute}", r"faults\[0\].templates: is missing; add it"),
        ("faults:\n - {fault: drop, target: {plant: ordr}}", r"faults\[0\].target.plant: must be 'ticker', 'order'"),
        ("faults:\n - {fault: drop, target: {plnt: x}}", r"target.plnt: is not a known key; did you mean plant"),
        ("faults:\n - {fault: drop, at: 1, on: {template: 1}}", r"give either on, or at and every"),
        ("faults:\n - {fault: drop, times: 1}", r"times belongs to every"),
        ("faults:\n - {mix: {seed: 1, rate_per_minute: 1, faults: []}}", r"mix.faults: must be a list of 1 to 100"),
        ("faults:\n - {mix: {rate_per_minute: 1, faults: [drop]}}", r"mix.seed: is missing"),
        ("faults:\n - {mix: {seed: 1, rate_per_minute: 1, faults: [dr]}}", r"mix.faults\[0\]: no such fault"),
        ("faults:\n - {mix: 7}", r"mix: must be a mapping"),
        ("faults:\n - {mix: {seed: 1}, fault: drop}", r"faults\[0\].fault: does not belong beside mix"),
        ("faults:\n - {1: 2, fault: drop}", r"is not a known key"),
        ("faults: [", r"is not valid YAML"),
        ("", r"faults.yaml:1: file: is empty; start from the script in docs/simulator.md$"),
        (
            "- 7",
            r"faults.yaml:1: file: must be a mapping of keys to values; start from the script in docs/simulator.md$",
        ),
        ("faults:\n - {fault: mix, seed: 1}", r"faults\[0\].fault: a mix is no fault of a list; give it as"),
        ("faults:\n - {fault: mixx}", r"no such fault: 'mixx'; did you mean mix"),
    ],
)
def test_complaints_name_the_place_and_the_mend(text: str, complaint: str, tmp_path: Path) -> None:
    """One line with file, line, key, what is wrong, and how to mend it; exit code 2, never a traceback."""
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        load_script(script(tmp_path, text))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_a_missing_script_and_too_long_a_one_are_refused(tmp_path: Path) -> None:
    """The file is named; the limit, too."""
    with pytest.raises(ConfigurationError, match=r"no\.yaml:1: file: not found"):
        load_script(tmp_path / "no.yaml")
    with pytest.raises(ConfigurationError, match="more than 1000 steps"):
        load_script(script(tmp_path, "faults:\n" + " - {fault: drop}\n" * 1_001))


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_can_be_had_by_command_and_is_described(name: str) -> None:
    """With its defaults, for a target, and with what it does in one sentence."""
    words = {key: str(value) for key, value in REQUIRED.get(name, {}).items()}
    fault = fault_of_command({"fault": name, "plant": "order", "user": "007", "connection": "3", **words})
    assert fault.target.model_dump() == {"plant": "order", "user": "007", "connection": 3}
    assert described()[name]["does"].endswith(".")
    assert described()[name]["lasts"] == isinstance(fault, Lasting)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({}, "None: has no fault"),
        ({"fault": "drop", "latency_s": "1"}, "drop: latency_s: is not a known key"),
        ({"fault": "delay", "latency_s": "much"}, "delay: latency_s: must be a valid number, not 'much'"),
        ({"fault": "delay", "latency_s": "{"}, "cannot be read as a value"),
        ({"fault": "delay", "latency_s": ".nan"}, "latency_s: must be a finite number"),
        ({"fault": "delay", "latency_s": "[" * 3_000}, "latency_s: .* cannot be read as a value"),
        ({"fault": "delay", "target": "{plant: order}", "plant": "pnl"}, "target: stands beside plant, user or conn"),
        ({"fault": "drop", "user": ""}, "target.user: must have at least 1 character, not ''"),
        ({"fault": "mute", "templates": "[]"}, "mute: templates: "),
        ({"fault": "mute", "templates": "[0]"}, r"templates\[0\]: must be greater than or equal to 1"),
    ],
)
def test_wrong_words_of_a_command_are_named(words: dict[str, str], complaint: str) -> None:
    """The parameter and what it must be."""
    with pytest.raises(ConfigurationError, match=complaint):
        fault_of_command(words)


@pytest.mark.parametrize("given", ["13", '"13"', "'13'"])
def test_text_may_look_like_a_number(given: str) -> None:
    """A code is 13, with quotes or without them; so are users and symbols."""
    fault = fault_of_command({"fault": "refused_login", "code": given, "user": "007"})
    assert fault.code == "13"  # type: ignore[attr-defined]
    assert fault.target.user == "007"
    assert fault_of_command({"fault": "wrong_positions", "symbol": "7"}).symbol == "7"  # type: ignore[attr-defined]


def test_the_same_seed_gives_the_same_mix() -> None:
    """Times, faults and parameters; no fault lasts longer than the mix allows; another seed is another mix."""

    def first(seed: int) -> list[tuple[float, Fault]]:
        names = [name for name in FAULTS if name not in REQUIRED or name in ("mute", "partial_list")]
        return list(islice(mixed(Mix(seed=seed, rate_per_minute=60, spell_s=2.0), names), 300))

    drawn = first(7)
    assert drawn == first(7)
    assert drawn != first(8)
    assert {fault.fault for _, fault in drawn} == set(FAULTS)  # type: ignore[attr-defined]
    assert all(fault.for_s is not None and fault.for_s <= 2 for _, fault in drawn if isinstance(fault, Lasting))
    assert 200 < drawn[-1][0] < 400


def test_a_mix_ends_when_its_time_is_over() -> None:
    """No fault begins after that."""
    mix = Mix(seed=1, rate_per_minute=600, for_s=3.0)
    assert all(moment_s <= 3 for moment_s, _ in mixed(mix, ["drop"]))


def test_steps_act_at_their_times_and_at_messages(tmp_path: Path) -> None:
    """Once, again and again, and when a message was seen so many times; nothing more after the end of the plan."""

    async def scenario() -> None:
        from nightdesk.simulator.faults.script import Script

        text = """
faults:
  - {at: 0.05, fault: delay, for_s: 0.1}
  - {every: 0.1, times: 3, fault: forced_logout}
  - {on: {template: 312, count: 2}, fault: mute, template: 313}
  - {at: 0.1, fault: foreign_orders, symbol: NQH4}
"""
        steps: Script = load_script(script(tmp_path, text))
        async with running_exchange(tmp_path) as (exchange, _):
            injected: list[Fault] = []
            inject = exchange.injector.inject

            def noted(fault: Fault, origin: str) -> int:
                injected.append(fault)
                return inject(fault, origin)

            exchange.injector.inject = noted  # type: ignore[method-assign]
            plan = Plan(steps, exchange.injector, structlog.get_logger())
            plan.start()
            await wait_until_async(lambda: len(injected) == 5)
            assert [type(each) for each in injected].count(ForcedLogout) == 3
            assert isinstance(injected[0], Delay)
            exchange.injector._seen(312)
            assert len(injected) == 5
            exchange.injector._seen(312)
            assert isinstance(injected[5], Mute)
            await wait_until_async(lambda: [each["fault"] for each in exchange.injector.status()] == ["mute"])
            plan.close()
            exchange.injector.heal()

    asyncio.run(scenario())


def test_an_inventive_script_cannot_exhaust_the_exchange(tmp_path: Path) -> None:
    """The number of faults at the same time is limited; the market goes on."""

    async def scenario() -> None:
        async with running_exchange(tmp_path) as (exchange, _):
            fault: Any = fault_of_command({"fault": "delay"})
            for _ in range(64):
                exchange.injector.inject(fault, "test")
            with pytest.raises(ConfigurationError, match="64 faults are active already; heal one first"):
                exchange.injector.inject(fault, "test")
            assert exchange.injector.heal() == 64
            assert exchange.injector.status() == []

    asyncio.run(scenario())
