"""From a YAML file to a ``RunConfiguration``; every fault is one line that names file, line, key and the mend."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nightdesk.errors import ConfigurationError
from nightdesk.settings.calendar_overrides import check_overrides, read_overrides
from nightdesk.settings.complaints import NAME_MEND, first_complaint
from nightdesk.settings.folders import (
    RUNTIME_DIR_BYTES_MAX,
    Folders,
    default_runtime_dir,
    default_state_dir,
    prepare_folder,
    too_long_for_sockets,
)
from nightdesk.settings.models import Exchange, Settings
from nightdesk.settings.rules import complaints
from nightdesk.settings.runtime import RunConfiguration
from nightdesk.settings.section import NAME_PATTERN
from nightdesk.settings.strategy_check import ClassToCheck, check_classes
from nightdesk.settings.yaml_source import SECRET_PATHS, KeyPath, YamlSource

CONFIG_FOLDER = Path(__file__).resolve().parents[2] / "config"
"""The examples that ship with the repository; a bare name that is not found is looked up here."""
DEFAULT_CONFIG = "config/sim.yaml"

_PATH_KEYS: tuple[tuple[str, ...], ...] = (
    ("state_dir",),
    ("runtime_dir",),
    ("gateway", "ca_file"),
    ("strategies", "*", "path"),
    ("market_time", "overrides"),
    ("exchange", "source", "path"),
    ("exchange", "source", "tapes", "*", "path"),
    ("exchange", "history", "*", "path"),
    ("exchange", "faults"),
    *((*path, "file") for path in SECRET_PATHS),
)
"""Keys whose values are paths: relative ones are relative to the configuration file's folder."""
_FOLDER_KEYS: tuple[KeyPath, ...] = (("name",), ("state_dir",), ("runtime_dir",))


def find_config(name: str | Path) -> Path:
    """The file as named, else (a bare name, or the default) the one in the repository's ``config/``."""
    path = Path(name)
    # What exists but cannot be looked at is complained of where it is read.
    if os.path.lexists(path) or _is_hidden(path):
        return path
    bare = len(path.parts) == 1
    if (bare or str(path) == DEFAULT_CONFIG) and os.path.exists(CONFIG_FOLDER / path.name):
        found = CONFIG_FOLDER / path.name
        return found.relative_to(Path.cwd()) if found.is_relative_to(Path.cwd()) else found
    places = f"neither as given nor in {CONFIG_FOLDER}" if bare else "there is no such file"
    raise ConfigurationError(f"{path}:1: file: not found ({places}); name a file with --config FILE")


def _is_hidden(path: Path) -> bool:
    try:
        path.stat()
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def load_settings(
    path: str | Path, *, environ: Mapping[str, str] = os.environ, check_strategies: bool = True
) -> RunConfiguration:
    """Read and check a whole configuration; raises ``ConfigurationError``. Reads no secret and creates nothing."""
    file = find_config(path)
    source = YamlSource(file, environ)
    _check_armed(source, environ)
    source.check_defined()
    _resolve_paths(source, file.resolve().parent)
    try:
        settings = Settings.model_validate(source.tree)
    except ValidationError as error:
        raise first_complaint(source, error) from None
    if settings.mode == "sim" and settings.exchange is None:
        settings = settings.model_copy(update={"exchange": Exchange()})
    for where, text in complaints(settings):
        raise source.error(where, text)
    settings = _with_days(source, settings)
    folders = _folders(source, file, settings.name, settings.state_dir, settings.runtime_dir, environ)
    if check_strategies:
        _check_strategies(source, settings)
    return RunConfiguration(
        settings=settings,
        config_file=folders.config_file,
        state_dir=folders.state_dir,
        runtime_dir=folders.runtime_dir,
    )


def load_folders(path: str | Path, *, environ: Mapping[str, str] = os.environ) -> Folders:
    """Only the name and the folders, for the operator's verbs: no secret and no other variable needs to be set."""
    file = find_config(path)
    source = YamlSource(file, environ)
    source.check_defined(_FOLDER_KEYS)
    _resolve_paths(source, file.resolve().parent)
    values: dict[str, str | None] = {}
    for key in ("name", "state_dir", "runtime_dir"):
        value = source.tree.get(key)
        if not isinstance(value, str | None) or value == "" or (key == "name" and value is None):
            raise source.error((key,), "must be text; mend it or copy the line from config/sim.yaml")
        values[key] = value
    if not re.fullmatch(NAME_PATTERN, str(values["name"])):
        raise source.error(("name",), NAME_MEND)
    return _folders(source, file, str(values["name"]), values["state_dir"], values["runtime_dir"], environ)


def prepare_folders(run: RunConfiguration) -> None:
    """Create both folders for this user alone."""
    prepare_folder("state_dir", Path(run.state_dir))
    prepare_folder("runtime_dir", Path(run.runtime_dir))


def _check_armed(source: YamlSource, environ: Mapping[str, str]) -> None:
    # Before everything else, so that the shipped live.yaml says in one line all that is to be filled in.
    if source.tree.get("mode") != "live" or source.tree.get("armed") is True:
        return
    unset = [name for _, name in source.undefined] + [name for name in source.secret_variables if not environ.get(name)]
    names = ", ".join(dict.fromkeys(unset))
    text = "live trading is not armed; set armed: true here when you mean it"
    raise source.error(("armed",), f"{text}, and set {names} in the environment" if names else text)


def _resolve_paths(source: YamlSource, folder: Path) -> None:
    for pattern in _PATH_KEYS:
        for path, mapping in _mappings_at(source.tree, pattern[:-1], ()):
            value = mapping.get(pattern[-1])
            if isinstance(value, str) and value:
                mapping[pattern[-1]] = _resolved(source, (*path, pattern[-1]), value, folder)


def _resolved(source: YamlSource, key: KeyPath, value: str, folder: Path) -> str:
    try:
        return os.path.normpath(folder / Path(value).expanduser())
    except RuntimeError:
        raise source.error(key, f"{value} names no home folder that is known; write the whole path") from None


def _mappings_at(node: Any, pattern: tuple[str, ...], path: KeyPath) -> list[tuple[KeyPath, dict[str, Any]]]:
    if not pattern:
        return [(path, node)] if isinstance(node, dict) else []
    key, rest = pattern[0], pattern[1:]
    if key == "*":
        items = enumerate(node) if isinstance(node, list) else ()
        return [found for index, item in items for found in _mappings_at(item, rest, (*path, index))]
    return _mappings_at(node.get(key), rest, (*path, key)) if isinstance(node, dict) else []


def _folders(
    source: YamlSource,
    file: Path,
    name: str,
    state_dir: str | None,
    runtime_dir: str | None,
    environ: Mapping[str, str],
) -> Folders:
    state = state_dir or str(default_state_dir(name, environ))
    runtime = runtime_dir or str(default_runtime_dir(name, environ))
    if too_long_for_sockets(runtime):
        raise source.error(
            ("runtime_dir",),
            f"{runtime} is too long for the sockets in it; set a path of at most {RUNTIME_DIR_BYTES_MAX} characters",
        )
    return Folders(name=name, state_dir=state, runtime_dir=runtime, config_file=str(file.resolve()))


def _with_days(source: YamlSource, settings: Settings) -> Settings:
    # Read once, here: an edit of the file while the system runs must not reach only those that restart.
    market_time = settings.market_time
    check_overrides(market_time.days, ("market_time", "days"), source.error)
    if market_time.overrides is None:
        return settings
    if market_time.days:
        raise source.error(("market_time", "days"), "stands beside overrides; put all days into one of them")
    days = read_overrides(market_time.overrides)
    return settings.model_copy(update={"market_time": market_time.model_copy(update={"days": days})})


def _check_strategies(source: YamlSource, settings: Settings) -> None:
    if not settings.strategies:
        return
    classes = [
        ClassToCheck(strategy.strategy_class, strategy.path, strategy.parameters) for strategy in settings.strategies
    ]
    for fault in check_classes(classes):
        raise source.error(("strategies", fault.position, *fault.key), fault.text)
