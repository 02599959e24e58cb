"""Imports a user's strategy class, in the strategy's own process only."""

import importlib
import sys
from pathlib import Path
from typing import cast

from nightdesk.errors import StrategyError
from nightdesk.trading.strategy import Strategy
from nightdesk.trading.strategy_class import class_fault


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
    fault = class_fault(reference, found)
    if fault:
        raise StrategyError(fault)
    return cast(type[Strategy], found)
