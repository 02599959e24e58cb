"""Fault scripts and commands: from YAML and words to checked faults; each complaint names its place and the mend."""

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from nightdesk.errors import ConfigurationError
from nightdesk.settings.exchange import DEFAULT_ACCOUNTS
from nightdesk.settings.models import Settings
from nightdesk.settings.yaml_source import KeyPath, YamlSource, dotted
from nightdesk.simulator.faults.spec import FAULTS, MIX, Fault, Lasting, Mix, OnFrames, RandomMix, When

STEPS_MAX = 1_000
"""Steps of one script."""
MIX_FAULTS_MAX = 100
"""Faults in one mix."""

_WHEN_KEYS = frozenset(When.model_fields)
_TARGET_KEYS = ("plant", "user", "connection")
_NAME_KEYS = ("fault", "user", "plant")
_TEXT_KEYS = ("code", "text", "symbol", "account")
_Model = TypeVar("_Model", bound=BaseModel)


class Step(NamedTuple):
    """One fault and when it is to be injected."""

    when: When
    fault: Fault


class MixStep(NamedTuple):
    """A random mix of these faults; of the names alone the parameters are random, too."""

    mix: Mix
    faults: Sequence["str | Fault"]


Script = Sequence[Step | MixStep]


class Names(NamedTuple):
    """What this exchange has of the things that a fault may name, by the parameter that names them."""

    symbol: Sequence[str]
    account: Sequence[str]


class _BadValueError(Exception):
    """What is wrong, and where below the mapping that was looked at."""

    def __init__(self, path: KeyPath, text: str) -> None:
        super().__init__(text)
        self.path = path
        self.text = text


def load_script(path: str | Path, names: Names | None = None) -> Script:
    """Read and check a script; raises ``ConfigurationError`` with file, line, key and mend.

    ``names``: the contracts and accounts that there are; without it they are not checked.
    """
    if not os.path.lexists(path):
        raise ConfigurationError(f"{path}:1: file: not found; set exchange.faults to a script, or remove the key")
    source = YamlSource(Path(path), os.environ, pattern="the script in docs/simulator.md")
    source.check_defined()
    unknown = sorted(set(source.tree) - {"faults"})
    if unknown:
        raise source.error((unknown[0],), "is not a known key; remove it (known here: faults)")
    steps = source.tree.get("faults")
    if not isinstance(steps, list):
        raise source.error(("faults",), "must be a list of steps (lines that begin with -); see docs/simulator.md")
    if len(steps) > STEPS_MAX:
        raise source.error(("faults",), f"more than {STEPS_MAX} steps; use every or a mix")
    found: list[Step | MixStep] = []
    for index, step in enumerate(steps):
        try:
            found.append(_listed(_step(step), names))
        except _BadValueError as error:
            raise source.error(("faults", index, *error.path), error.text) from None
    return found


def fault_of_command(arguments: Mapping[str, object]) -> Fault:
    """The fault of a command's words: ``fault``, ``plant``, ``user``, ``connection``, ``templates``, and parameters.

    A random mix is a fault here, too. Values are read as YAML (``0.5``, ``true``, ``[313, 351]``). Raises
    ``ConfigurationError``.
    """
    content: dict[str, Any] = {}
    target: dict[str, Any] = {}
    for key, value in arguments.items():
        place = target if key in _TARGET_KEYS else content
        place[key] = _scalar(key, value) if isinstance(value, str) else value
    if target and "target" in content:
        raise ConfigurationError("target: stands beside plant, user or connection; give one of the two")
    if target:
        content["target"] = target
    try:
        return _random_mix(content) if content.get("fault") == MIX else _fault(content)
    except _BadValueError as error:
        where = f"{dotted(error.path)}: " if error.path else ""
        raise ConfigurationError(f"{str(arguments.get('fault'))[:40]}: {where}{error.text}") from None


def script_of(settings: Settings) -> Script:
    """The script of a configuration, checked against its contracts and accounts; empty without one."""
    exchange = settings.exchange
    if exchange is None or exchange.faults is None:
        return ()
    accounts = [account for user in exchange.users for account in user.accounts]
    names = Names([each.symbol for each in settings.instruments], accounts or DEFAULT_ACCOUNTS)
    return load_script(exchange.faults, names)


def stranger(fault: Fault, names: Names) -> tuple[str, str] | None:
    """The parameter that names what this exchange does not have, and what is wrong; None: there is none."""
    if isinstance(fault, RandomMix):
        for index, each in enumerate(fault.faults):
            found = stranger(each, names) if isinstance(each, Fault) else None
            if found is not None:
                return f"faults[{index}].{found[0]}", found[1]
    for key, listed in names._asdict().items():
        given = getattr(fault, key, None)
        if given is not None and given not in listed:
            return key, f"{given!r} is not listed here (there are {', '.join(listed)})"
    return None


def _listed(step: Step | MixStep, names: Names | None) -> Step | MixStep:
    if names is None:
        return step
    faults: Iterable[tuple[KeyPath, str | Fault]] = (
        [((), step.fault)]
        if isinstance(step, Step)
        else [(("mix", "faults", index), each) for index, each in enumerate(step.faults)]
    )
    for path, fault in faults:
        found = stranger(fault, names) if isinstance(fault, Fault) else None
        if found is not None:
            raise _BadValueError((*path, found[0]), found[1])
    return step


def _scalar(key: str, text: str) -> Any:
    # A user may well be called 007, and a code is 13: what YAML would read as a number there is text.
    if key in _NAME_KEYS:
        return text
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigurationError(f"{key[:40]}: {text[:40]!r} cannot be read as a value; put it in quotes") from None
    return text if key in _TEXT_KEYS and not isinstance(value, str) else value


def _step(content: Any) -> Step | MixStep:
    if not isinstance(content, dict):
        raise _BadValueError((), "must be a mapping such as {at: 5, fault: drop}")
    if "mix" in content:
        return _mix_step(content)
    when = _checked(When, {key: value for key, value in content.items() if key in _WHEN_KEYS})
    return Step(when, _fault({key: value for key, value in content.items() if key not in _WHEN_KEYS}))


def _mix_step(content: dict[Any, Any]) -> MixStep:
    if len(content) > 1:
        other = next(key for key in content if key != "mix")
        raise _BadValueError((other,), "does not belong beside mix; put it into it, or remove it")
    if not isinstance(content["mix"], dict):
        raise _BadValueError(("mix",), "must be a mapping with seed, rate_per_minute and faults")
    inner = dict(content["mix"])
    try:
        faults = _mixed_faults(inner.pop("faults", None))
        return MixStep(_checked(Mix, inner), faults)
    except _BadValueError as error:
        raise _BadValueError(("mix", *error.path), error.text) from None


def _random_mix(content: dict[str, Any]) -> RandomMix:
    if "faults" in content:
        listed = content["faults"]
        content = content | {"faults": _mixed_faults([listed] if isinstance(listed, str) else listed)}
    return _checked(RandomMix, content)


def _mixed_faults(listed: Any) -> list[str | Fault]:
    if not isinstance(listed, list) or not 1 <= len(listed) <= MIX_FAULTS_MAX:
        raise _BadValueError(("faults",), f"must be a list of 1 to {MIX_FAULTS_MAX} faults, names or mappings")
    faults: list[str | Fault] = []
    for index, each in enumerate(listed):
        try:
            faults.append(_name(each) if isinstance(each, str) else _fault(each))
        except _BadValueError as error:
            raise _BadValueError(("faults", index, *error.path), error.text) from None
    return faults


def _name(given: object) -> str:
    if isinstance(given, str) and given in FAULTS:
        return given
    if given == MIX:
        raise _BadValueError(
            (), "a mix is no fault of a list; give it as a command, or as mix: with its keys in a script"
        )
    near = difflib.get_close_matches(str(given), (*FAULTS, MIX), n=1)
    mend = f"did you mean {near[0]}?" if near else f"there are {', '.join(FAULTS)}"
    raise _BadValueError((), f"no such fault: {str(given)[:40]!r}; {mend}")


def _fault(content: Any) -> Fault:
    if not isinstance(content, dict):
        raise _BadValueError((), "must be a name or a mapping such as {fault: drop}")
    if "fault" not in content:
        raise _BadValueError((), "has no fault; add fault: with a name")
    try:
        name = _name(content["fault"])
    except _BadValueError as error:
        raise _BadValueError(("fault",), error.text) from None
    kind = FAULTS[name]
    content = dict(content)
    # One template is what is wanted most often, and is then written as a number.
    if "template" in content and "template" not in kind.model_fields and "templates" not in content:
        content["templates"] = [content.pop("template")]
    elif isinstance(content.get("templates"), int):
        content["templates"] = [content["templates"]]
    return _checked(kind, content)


def _checked(model: type[_Model], content: dict[Any, Any]) -> _Model:
    strange = [key for key in content if not isinstance(key, str)]
    if strange:
        raise _BadValueError((), f"{strange[0]!r} is not a known key; remove it")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = min(error.errors(include_url=False), key=lambda item: item["type"] == "missing")
        path = tuple(key for key in first["loc"] if isinstance(key, str | int))
        raise _BadValueError(path, _text(model, path, first)) from None


def _text(model: type[BaseModel], path: KeyPath, item: ErrorDetails) -> str:
    if item["type"] == "extra_forbidden":
        inner = model.model_fields.get(str(path[0])) if len(path) > 1 else None
        owner = inner.annotation if inner is not None and isinstance(inner.annotation, type) else model
        known = sorted(getattr(owner, "model_fields", {}))
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        if near:
            return f"is not a known key; did you mean {near[0]}?"
        return f"is not a known key; remove it (known here: {', '.join(known)})"
    if item["type"] == "missing":
        return "is missing; add it with a value"
    if item["type"] == "value_error":
        return str(item.get("ctx", {}).get("error", item["msg"]))
    told = item["msg"].replace("Input should", "must", 1).replace("String should", "must", 1)
    return f"{told}, not {str(item['input'])[:60]!r}"


def parameters_of(fault: Fault) -> dict[str, Any]:
    """What was given, for logs and lists; what is at its default is left out."""
    return fault.model_dump(exclude_defaults=True, exclude={"fault"}, mode="json")


def described() -> dict[str, dict[str, Any]]:
    """Every fault: what it does, its parameters with their defaults, and whether it lasts."""
    return {
        name: {
            "does": " ".join((kind.__doc__ or "").split()),
            "parameters": {
                key: field.get_default(call_default_factory=True) if not field.is_required() else "(required)"
                for key, field in kind.model_fields.items()
                if key not in ("fault", "target")
            },
            "lasts": issubclass(kind, Lasting),
            "frames": issubclass(kind, OnFrames),
        }
        for name, kind in (FAULTS | {MIX: RandomMix}).items()
    }
