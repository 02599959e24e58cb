"""A YAML file as plain values that remember their lines, with ``${VARIABLE}`` put in by YAML's own rules."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from nightdesk.errors import ConfigurationError

Key = str | int
KeyPath = tuple[Key, ...]

FILE_BYTES_MAX = 1_000_000
NODES_MAX = 20_000
"""Aliases can make a short file very large; this bounds what it unfolds to."""
DEPTH_MAX = 32

SECRET_PATHS: tuple[tuple[str, ...], ...] = (
    ("credentials", "user"),
    ("credentials", "password"),
    ("alerts", "*", "url"),
    ("exchange", "users", "*", "user"),
    ("exchange", "users", "*", "password"),
)
"""Where a secret stands: there ``${VARIABLE}`` is kept as a reference and never read while loading."""

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")
"""A number such as 1e-3, which YAML 1.1 takes for text."""
_AMBIGUOUS = re.compile(r"[-+]?(0[0-9_]+|0b[01_]+|0o[0-7_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")
"""What YAML 1.1 reads as a number to another base (010 is 8, 1:30 is 90): nobody means that in this file."""
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")
"""Characters that neither a path nor JSON can hold."""


def dotted(path: KeyPath) -> str:
    """``("strategies", 0, "name")`` as a person writes it: ``strategies[0].name``."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text or "file"


def is_secret(path: KeyPath) -> bool:
    """Whether a secret stands at this path."""
    return any(
        len(pattern) == len(path) and all(want in ("*", have) for want, have in zip(pattern, path, strict=True))
        for pattern in SECRET_PATHS
    )


class _Loader(yaml.SafeLoader):
    """PyYAML composes by recursion; this stops it before the interpreter's own limit does."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem=f"nested more than {DEPTH_MAX} deep", problem_mark=mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


class YamlSource:
    """One parsed file: ``tree`` holds the values, ``lines`` the line of each key path.

    Variables that are not set are left as they stand and listed in ``undefined``: who reads only a part of the file
    must not be stopped by another part.
    """

    def __init__(self, path: Path, environ: Mapping[str, str], *, pattern: str = "config/sim.yaml") -> None:
        """``pattern`` is what a complaint of a file with nothing in it names to start from."""
        self.file = str(path)
        self._pattern = pattern
        self.tree: dict[str, Any] = {}
        self.lines: dict[KeyPath, int] = {(): 1}
        self.undefined: list[tuple[KeyPath, str]] = []
        self.substituted: set[KeyPath] = set()
        self.secret_variables: list[str] = []
        self._environ = environ
        self._nodes = 0
        self._parse(path)

    def line(self, path: KeyPath) -> int:
        """The line of a key, or of the nearest part of the file around it."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]

    def error(self, path: KeyPath, text: str) -> ConfigurationError:
        """The one form of every complaint: file, line, key, what is wrong and how to mend it."""
        return ConfigurationError(f"{self.file}:{self.line(path)}: {dotted(path)}: {text}")

    def check_defined(self, paths: tuple[KeyPath, ...] | None = None) -> None:
        """Refuse variables without a value, anywhere or only under the given keys."""
        for path, name in self.undefined:
            if paths is None or path in paths:
                raise self.error(
                    path, f"the environment variable {name} is not set; export {name} or write the value here"
                )

    def _parse(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                # A device or a pipe may never end.
                payload = file.read(FILE_BYTES_MAX + 1)
        except IsADirectoryError:
            raise ConfigurationError(f"{self.file}:1: file: this is a folder; name a YAML file") from None
        except OSError as error:
            raise ConfigurationError(
                f"{self.file}:1: file: cannot be read ({error.strerror}); check its mode"
            ) from None
        except ValueError:
            raise ConfigurationError("file: its name contains a zero byte; name a YAML file") from None
        if len(payload) > FILE_BYTES_MAX:
            raise ConfigurationError(f"{self.file}:1: file: over {FILE_BYTES_MAX} bytes; this is no configuration")
        try:
            loader = _Loader(payload.decode())
            root = loader.get_single_node()
        except UnicodeDecodeError:
            raise ConfigurationError(f"{self.file}:1: file: is not UTF-8 text; save it as UTF-8") from None
        except yaml.YAMLError as error:
            raise self._syntax_error(error, payload.decode().splitlines()) from None
        if root is None:
            raise self.error((), f"is empty; start from {self._pattern}")
        if not isinstance(root, yaml.MappingNode):
            raise self.error((), f"must be a mapping of keys to values; start from {self._pattern}")
        self.tree = self._mapping(loader, root, ())

    def _syntax_error(self, error: yaml.YAMLError, text: list[str]) -> ConfigurationError:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        line = mark.line + 1 if mark is not None else 1
        mend = "check indentation, colons and quotes"
        if line <= len(text) and "${" in text[line - 1]:
            mend = "a ${VARIABLE} within { } or [ ] needs quotes, or a line of its own"
        return ConfigurationError(f"{self.file}:{line}: file: is not valid YAML ({problem}); {mend}")

    def _value(self, loader: _Loader, node: yaml.Node, path: KeyPath) -> Any:
        self._nodes += 1
        self.lines.setdefault(path, node.start_mark.line + 1)
        if self._nodes > NODES_MAX or len(path) > DEPTH_MAX:
            raise self.error(path, "the file is nested too deeply or unfolds to too much; write it without aliases")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(loader, node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(loader, item, (*path, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self._secret(node, path) if is_secret(path) else self._scalar(loader, node, path)

    def _mapping(self, loader: _Loader, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigurationError(f"{self.file}:{line}: {dotted(path)}: a key must be one word; mend this line")
            key = key_node.value
            here = (*path, key)
            if key in result:
                first = self.lines[here]
                self.lines[here] = line
                raise self.error(here, f"is given twice (first on line {first}); remove one of them")
            self.lines[here] = line
            result[key] = self._value(loader, value_node, here)
        return result

    def _secret(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        match = _VARIABLE.fullmatch(node.value)
        if match:
            self.secret_variables.append(match[1])
            return {"env": match[1]}
        if node.tag == "tag:yaml.org,2002:null":
            return None
        # The value itself is never repeated: it may be the real secret.
        raise self.error(path, "a secret must not stand here in clear text; write ${VARIABLE} or {file: PATH}")

    def _scalar(self, loader: _Loader, node: yaml.ScalarNode, path: KeyPath) -> Any:
        text = node.value
        for name in _VARIABLE.findall(text):
            if not self._environ.get(name):
                self.undefined.append((path, name))
                return text
        if _UNUSABLE.search(text):
            raise self.error(path, "contains a zero byte or half a character; remove it")
        if "${" in _VARIABLE.sub("", text):
            raise self.error(path, "${ without a variable's name; write ${NAME} with letters, digits and underscores")
        replaced = _VARIABLE.sub(lambda match: self._environ[match[1]], text)
        if replaced != text:
            self.substituted.add(path)
            # Only the scalar is resolved again, so that a number works and nothing else can be smuggled in.
            plain = node.style is None
            tag = loader.resolve(yaml.ScalarNode, replaced, (plain, not plain))  # type: ignore[no-untyped-call]
            node = yaml.ScalarNode(tag, replaced, node.start_mark, node.end_mark, node.style)
        if node.style is None and _AMBIGUOUS.fullmatch(node.value):
            raise self.error(path, f"{node.value[:40]} is ambiguous; write a plain decimal number, or put it in quotes")
        if node.style is None and _EXPONENT.fullmatch(node.value):
            return float(node.value)
        try:
            return loader.construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError) as error:
            problem = getattr(error, "problem", None) or str(error)
            raise self.error(path, f"cannot be read as a YAML value ({problem}); put it in quotes") from None
