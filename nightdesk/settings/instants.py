"""Instants in a configuration: ISO 8601 with an offset, or a word."""

import re
from datetime import UTC, date, datetime
from typing import Any

START_OPEN = "open"
START_NOW = "now"
_START_WORDS = (START_OPEN, START_NOW)

NS_PER_S = 1_000_000_000
YEAR_MIN, YEAR_MAX = 1971, 2200
_MEND = "write open, now, or an instant with its offset, such as 2024-03-10T16:55:00-05:00"
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(?P<offset>[Zz]|[+-]\d\d:?\d\d)?")


def checked_start(value: Any) -> Any:
    """A value of ``exchange.start`` as text; raises ``ValueError`` with what is wrong and the mend.

    YAML turns an instant without quotes into a date or a datetime of its own; they mean what was written.
    """
    text = value.isoformat() if isinstance(value, date) else value
    if isinstance(text, str) and text not in _START_WORDS:
        instant_ns(text)
    return text


def instant_ns(text: str) -> int:
    """Nanoseconds since the Unix epoch, UTC, of an ISO 8601 instant; raises ``ValueError``."""
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is no instant; {_MEND}")
    if match["offset"] is None:
        raise ValueError(f"{text[:40]!r} has no offset, so that it could be anywhere; {_MEND}")
    seconds, _, fraction = text.upper().partition(".")
    digits = re.match(r"\d*", fraction)
    decimals = digits.group() if digits is not None else ""
    try:
        moment = datetime.fromisoformat((seconds + fraction[len(decimals) :]).replace(" ", "T")).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text[:40]!r} is no instant ({error}); {_MEND}") from None
    if not YEAR_MIN <= moment.year <= YEAR_MAX:
        raise ValueError(f"{text[:40]!r} is not between {YEAR_MIN} and {YEAR_MAX}; {_MEND}")
    return int(moment.timestamp()) * NS_PER_S + int(decimals.ljust(9, "0"))


def iso_utc(now_ns: int) -> str:
    """A time as it stands in the log: ISO 8601 in UTC, to the microsecond."""
    seconds, rest = divmod(now_ns, NS_PER_S)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000).isoformat(timespec="microseconds")
