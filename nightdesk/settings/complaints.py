"""Pydantic's errors in a trader's words: which key, what is wrong, how to mend it."""

import difflib
import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from nightdesk.errors import ConfigurationError
from nightdesk.settings.instruments import SYMBOL_PATTERN
from nightdesk.settings.models import Settings
from nightdesk.settings.section import NAME_PATTERN
from nightdesk.settings.yaml_source import KeyPath, YamlSource, is_secret

NAME_MEND = "must be 1 to 32 lower-case letters, digits and underscores, a letter first"
_PATTERNS = {
    NAME_PATTERN: NAME_MEND,
    r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$": "must be module:Class, such as my_strategies.cross:Cross",
    r"^[A-Z0-9]{1,16}$": "must be 1 to 16 capital letters and digits, such as ESZ6",
    SYMBOL_PATTERN: "must be 1 to 16 capital letters and digits, such as ESZ6, or an alias, such as ES.front",
    r"^([01][0-9]|2[0-3]):[0-5][0-9]$": 'must be a time of day in quotes, such as "15:55"',
    r"^[A-Z]{1,12}$": "must be 1 to 12 capital letters, such as CME",
}
_KINDS = {
    "string_type": "must be text (put it in quotes)",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "invalid-json-value": "must be text (put it in quotes), a number, true or false, a list or a mapping",
    "list_type": "must be a list (lines that begin with -)",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "model_attributes_type": "must be a mapping of keys to values",
}


def first_complaint(source: YamlSource, error: ValidationError) -> ConfigurationError:
    """The complaint that stands first in the file (what is missing: last) in one line, and the number of the others."""
    placed = [
        (_locate(source, item["loc"], is_missing=item["type"] == "missing"), item)
        for item in error.errors(include_url=False)
    ]
    # A mistyped key is the cause of a missing one, so that what is missing comes last.
    placed.sort(key=lambda pair: (pair[1]["type"] == "missing", source.line(pair[0])))
    path, item = placed[0]
    more = f" ({len(placed) - 1} more after this one)" if len(placed) > 1 else ""
    return source.error(path, _text(path, item, hidden=is_secret(path) or path in source.substituted) + more)


def known_keys(path: KeyPath) -> list[str]:
    """The keys that the mapping at this path may have."""
    return sorted({field.alias or name for model in _models_at(path) for name, field in model.model_fields.items()})


def _locate(source: YamlSource, location: tuple[int | str, ...], *, is_missing: bool) -> KeyPath:
    # Pydantic puts the tag of a union into the location; what the file does not have is not part of the path.
    path: KeyPath = ()
    for position, key in enumerate(location):
        is_missing_key = is_missing and position == len(location) - 1
        if (*path, key) in source.lines or is_missing_key:
            path = (*path, key)
    return path


def _text(path: KeyPath, item: ErrorDetails, *, hidden: bool) -> str:
    kind = item["type"]
    context = item.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(path)
    if kind == "missing":
        return f"is missing; add {path[-1]}: with a value"
    if kind == "string_pattern_mismatch":
        what = _PATTERNS.get(context["pattern"], f"must match {context['pattern']}")
    elif kind in ("literal_error", "union_tag_invalid"):
        what = f"must be {context.get('expected') or context.get('expected_tags')}"
    elif kind == "union_tag_not_found":
        return "has no kind; add kind: synthetic or kind: replay"
    elif kind == "value_error":
        return str(context["error"])
    elif kind == "string_too_short":
        return "must not be empty; write a value, or remove the key"
    elif kind == "too_short":
        return f"must have at least {context['min_length']} entry; add one"
    else:
        what = _KINDS.get(kind) or item["msg"].replace("Input should be", "must be", 1)
    # What came from the environment is not repeated: a secret may have been put into the wrong place.
    return f"{what}, not {'what stands here' if hidden else _shown(item['input'])}"


def _shown(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return repr(value)[:80]


def _unknown(path: KeyPath) -> str:
    known = known_keys(path[:-1])
    near = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.6)
    if near:
        return f"is not a known key; did you mean {near[0]}?"
    return f"is not a known key; remove it (known here: {', '.join(known)})"


def _models_at(path: KeyPath) -> list[type[BaseModel]]:
    models: list[type[BaseModel]] = [Settings]
    is_name = False
    for key in path:
        if isinstance(key, int) or is_name:
            # The place in a list, or the free key of a mapping.
            is_name = False
            continue
        annotations = [
            field.annotation
            for model in models
            for name, field in model.model_fields.items()
            if key in (name, field.alias)
        ]
        models = [inner for annotation in annotations for inner in _models_in(annotation)]
        is_name = any(typing.get_origin(annotation) is dict for annotation in annotations)
    return models


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType, list, dict, typing.Annotated):
        return [model for inner in typing.get_args(annotation) for model in _models_in(inner)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []
