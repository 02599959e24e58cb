"""What a user's strategy class must look like, and that the configuration's check says so."""

import os
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nightdesk import Strategy, StrategyParameters
from nightdesk.errors import StrategyError
from nightdesk.settings.strategy_check import ClassToCheck, Fault, check_classes
from nightdesk.trading.strategy_class import checked_parameters, class_fault, mistyped_callbacks, parameter_faults
from tests.support import wait_until


class Good(Strategy):
    class Parameters(StrategyParameters):
        fast: int = 1
        slow: int

    @staticmethod
    def on_trade(*_: Any) -> None:
        """However it is written, as long as it can be called."""


def _made(**members: Any) -> type:
    return type("Bad", (Strategy,), members)


async def _async(self: Strategy, tick: Any) -> None: ...


def _generator(self: Strategy, tick: Any) -> Any:
    yield tick


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (int, "is not a subclass of nightdesk.Strategy; derive it: class Bad(Strategy)"),
        ("text", "is not a subclass"),
        (_made(on_tick=_async), "m:Bad.on_tick is async or a generator, which nobody would await; write a plain def"),
        (_made(on_trade=_generator), "m:Bad.on_trade is async or a generator"),
        (_made(on_quote=5), "m:Bad.on_quote is not a method but of type int; rename it"),
        (_made(on_bar=lambda self: None), "m:Bad.on_bar takes other arguments; write def on_bar(self, bar)"),
        (_made(__init__=lambda self, speed: None), "m:Bad cannot be made without arguments (missing a required"),
        (_made(Parameters=dict), "m:Bad.Parameters is not derived from nightdesk.StrategyParameters"),
    ],
)
def test_class_that_cannot_work_is_told_before_it_runs(found: object, words: str) -> None:
    """Each of these would fail at the first tick, or silently do nothing."""
    assert words in class_fault("m:Bad", found)


def test_usable_class_has_no_fault() -> None:
    """The base class itself is one."""
    assert class_fault("m:Good", Good) == ""
    assert class_fault("m:Strategy", Strategy) == ""


def test_method_named_almost_like_a_callback_is_found() -> None:
    """Nobody would ever call it; other names that begin with on_ are the user's own."""
    made = _made(on_trades=print, on_order_fill=print, on_signal=print)
    assert mistyped_callbacks(made) == {"on_trades": "on_trade", "on_order_fill": "on_order_filled"}


@pytest.mark.parametrize(
    ("parameters", "faults"),
    [
        ({"slow": 2}, []),
        ({}, [(("slow",), "is missing; add it with a value")]),
        ({"slow": 2, "fats": 1}, [(("fats",), "is not known; did you mean fast?")]),
        ({"slow": 2, "colour": 1}, [(("colour",), "is not known (there are fast, slow)")]),
        ({"slow": "x"}, [(("slow",), "must be a valid integer, unable to parse string as an integer")]),
    ],
)
def test_parameters_are_checked_by_name_and_value(parameters: Mapping[str, object], faults: list[Any]) -> None:
    """The path of each is its place in the file."""
    assert parameter_faults(Good, parameters) == faults
    if faults:
        with pytest.raises(StrategyError, match=rf"Good: parameters\.{faults[0][0][0]}: "):
            checked_parameters(Good, parameters)


def test_faults_of_parameters_are_found_by_the_check_of_a_configuration(tmp_path: Path) -> None:
    """In the process that imports the class, with the key of the parameter."""
    source = """
        from nightdesk import Strategy, StrategyParameters

        class S(Strategy):
            class Parameters(StrategyParameters):
                size: int = 1

        class Async(Strategy):
            async def on_tick(self, tick): ...
    """
    (tmp_path / "mine.py").write_text(textwrap.dedent(source))
    folder = str(tmp_path)
    classes = [
        ClassToCheck("mine:S", folder, {"size": 2}),
        ClassToCheck("mine:S", folder, {"sise": 2}),
        ClassToCheck("mine:Async", folder),
    ]
    assert check_classes(classes) == [
        Fault(1, "is not known; did you mean size?", ("parameters", "sise")),
        Fault(2, "mine:Async.on_tick is async or a generator, which nobody would await; write a plain def"),
    ]


def test_module_that_never_ends_is_named_and_leaves_no_process(tmp_path: Path) -> None:
    """The strategy that is to blame is told, not the first one; whoever imports it is killed."""
    (tmp_path / "good.py").write_text("from nightdesk import Strategy\nclass S(Strategy): ...\n")
    (tmp_path / "busy.py").write_text(
        "import os, pathlib\npathlib.Path(__file__).with_name('pid').write_text(str(os.getpid()))\nwhile True: pass\n"
    )
    classes = [ClassToCheck("good:S", str(tmp_path)), ClassToCheck("busy:S", str(tmp_path))]
    (fault,) = check_classes(classes, timeout_s=3.0)
    assert (fault.position, fault.key) == (1, ("class",))
    assert fault.text.startswith("busy could not be imported within 3 s")
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not _lives(pid))


def _lives(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text() and os.path.exists(f"/proc/{pid}")
    except OSError:
        return False
