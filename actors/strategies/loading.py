"""Imports a user's strategy class and checks its parameters, in the strategy's own process only."""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from pydantic import BaseModel, ValidationError

from nightdesk.errors import StrategyError
from nightdesk.trading.strategy import Strategy


def load_strategy_class(reference: str, path: str | None, base: Path) -> type[Strategy]:
    """The class that ``module:Class`` names; ``path`` (from ``base`` where relative) is searched before all else.

    The module is read anew, never from a byte code cache: a restarted strategy runs what the file says now. Errors of
    the user's own module pass through as they are: their traceback names the line.
    """
    module_name, _, class_name = reference.partition(":")
    if path is not None:
        folder = str((base / Path(path).expanduser()).resolve())
        if folder not in sys.path:
            sys.path.insert(0, folder)
        sys.modules.pop(module_name, None)
    importlib.invalidate_caches()
    # A cache is found by the file's time in whole seconds and its size, which an edit may leave as they were.
    writes_caches, sys.dont_write_bytecode = sys.dont_write_bytecode, path is not None
    try:
        module = importlib.import_module(module_name)
    finally:
        sys.dont_write_bytecode = writes_caches
    found = getattr(module, class_name, None)
    if found is None:
        raise StrategyError(f"{module_name} has no class {class_name}; mend the name after the colon")
    if not (isinstance(found, type) and issubclass(found, Strategy)):
        raise StrategyError(f"{reference} is not derived from nightdesk.Strategy; write class {class_name}(Strategy)")
    return found


def checked_parameters(strategy_class: type[Strategy], parameters: Mapping[str, object]) -> object:
    """An instance of the class's ``Parameters``, or the mapping itself, read-only, where it declares none."""
    model = strategy_class.Parameters
    if model is None:
        return MappingProxyType(dict(parameters))
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise StrategyError(f"{strategy_class.__name__}.Parameters must be derived from nightdesk.StrategyParameters")
    try:
        return model.model_validate(dict(parameters))
    except ValidationError as error:
        faults = "; ".join(
            f"parameters.{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()
        )
        raise StrategyError(f"{strategy_class.__name__}: {faults}") from None
