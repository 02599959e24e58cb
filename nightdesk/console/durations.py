"""How long: ``60s``, ``5m``, ``2h``."""

import re

from nightdesk.errors import ConfigurationError

_UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_FORM = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)")
DURATION_MAX_S = 366 * 86_400.0


def seconds_of(text: str, *, option: str = "--duration") -> float:
    """``"5m"`` is 300.0; a bare number counts seconds. Raises ``ConfigurationError``."""
    match = _FORM.fullmatch(text.strip())
    duration_s = float(match[1]) * _UNITS_S[match[2]] if match else 0.0
    if not 0 < duration_s <= DURATION_MAX_S:
        raise ConfigurationError(f"{option}: expected a time such as 60s, 5m or 2h (at most 366d), not {text[:40]!r}")
    return duration_s


def text_of(duration_s: float) -> str:
    """The two largest units: ``1h 5m``, ``42s``."""
    whole = int(duration_s)
    units = (("d", whole // 86_400), ("h", whole // 3600 % 24), ("m", whole // 60 % 60), ("s", whole % 60))
    parts = [f"{count}{unit}" for unit, count in units if count]
    return " ".join(parts[:2]) or "0s"
