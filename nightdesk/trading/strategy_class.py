"""What a user's strategy class must look like, checked before it runs: callbacks, constructor, parameters."""

import difflib
import inspect
import types
from collections.abc import Mapping
from types import MappingProxyType

from pydantic import BaseModel, ValidationError

from nightdesk.errors import StrategyError
from nightdesk.trading.strategy import Strategy

CALLBACKS = tuple(name for name in vars(Strategy) if name.startswith("on_"))
"""The names of all callbacks."""

_NEAR = 0.85
"""How much alike two names are that are taken for one with a slip in it."""


def class_fault(reference: str, found: object) -> str:
    """Why ``found`` (named ``module:Class``) cannot be used as a strategy, and the mend; empty if it can."""
    name = reference.partition(":")[2]
    if not (isinstance(found, type) and issubclass(found, Strategy)):
        return f"{reference} is not a subclass of nightdesk.Strategy; derive it: class {name}(Strategy)"
    if inspect.isabstract(found):
        return f"{reference} is abstract; define its abstract methods"
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        return f"{reference} cannot be made without arguments ({error}); take them from self.parameters in on_start"
    if found.Parameters is not None and not _is_model(found.Parameters):
        return f"{reference}.Parameters is not derived from nightdesk.StrategyParameters; derive it"
    for callback in CALLBACKS:
        fault = _callback_fault(found, callback)
        if fault:
            return f"{reference}.{callback} {fault}"
    return ""


def mistyped_callbacks(strategy_class: type[Strategy]) -> dict[str, str]:
    """Methods that are no callbacks but are named almost like one, with that one: they would never be called."""
    own = {name for base in strategy_class.__mro__ if base is not Strategy for name in vars(base)}
    found = {}
    for name in sorted(own - set(CALLBACKS)):
        near = difflib.get_close_matches(name, CALLBACKS, n=1, cutoff=_NEAR) if name.startswith("on_") else []
        if near:
            found[name] = near[0]
    return found


def parameter_faults(
    strategy_class: type[Strategy], parameters: Mapping[str, object]
) -> list[tuple[tuple[str | int, ...], str]]:
    """The path of each parameter that the class refuses, and why; reasons never repeat a value."""
    model = strategy_class.Parameters
    if model is None:
        return []
    try:
        model.model_validate(dict(parameters))
    except ValidationError as error:
        return [(fault["loc"], _reason(model, fault["type"], fault["loc"], fault["msg"])) for fault in error.errors()]
    return []


def checked_parameters(strategy_class: type[Strategy], parameters: Mapping[str, object]) -> object:
    """An instance of the class's ``Parameters``, or the mapping itself, read-only, where it declares none."""
    model = strategy_class.Parameters
    if model is None:
        return MappingProxyType(dict(parameters))
    if not _is_model(model):
        raise StrategyError(f"{strategy_class.__name__}.Parameters must be derived from nightdesk.StrategyParameters")
    faults = parameter_faults(strategy_class, parameters)
    if faults:
        text = "; ".join(f"parameters.{'.'.join(str(part) for part in path)}: {why}" for path, why in faults)
        raise StrategyError(f"{strategy_class.__name__}: {text}")
    return model.model_validate(dict(parameters))


def _is_model(model: object) -> bool:
    return isinstance(model, type) and issubclass(model, BaseModel)


def _callback_fault(strategy_class: type[Strategy], name: str) -> str:
    own = getattr(strategy_class, name)
    if not callable(own):
        return f"is not a method but of type {type(own).__name__}; rename it"
    if inspect.iscoroutinefunction(own) or inspect.isasyncgenfunction(own) or inspect.isgeneratorfunction(own):
        return "is async or a generator, which nobody would await; write a plain def"
    if isinstance(inspect.getattr_static(strategy_class, name), types.FunctionType):
        wanted = list(inspect.signature(getattr(Strategy, name)).parameters)
        try:
            inspect.signature(own).bind(*wanted)
        except TypeError:
            return f"takes other arguments; write def {name}({', '.join(wanted)})"
    return ""


def _reason(model: type[BaseModel], kind: str, path: tuple[str | int, ...], message: str) -> str:
    known = sorted(field.alias or name for name, field in model.model_fields.items())
    if kind == "extra_forbidden" and len(path) == 1:
        near = difflib.get_close_matches(str(path[0]), known, n=1, cutoff=0.6)
        return f"is not known; did you mean {near[0]}?" if near else f"is not known (there are {', '.join(known)})"
    if kind == "missing":
        return "is missing; add it with a value"
    return message.replace("Input should be", "must be", 1).removeprefix("Value error, ")
