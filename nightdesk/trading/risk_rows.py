"""How the gate's state is written into the journal and read back: one line of JSON per state."""

from typing import Any, TypeVar

import msgspec

from nightdesk.errors import JournalError

RowStruct = TypeVar("RowStruct", bound=msgspec.Struct)


def to_text(row: msgspec.Struct) -> str:
    """One state as a journal's value."""
    return msgspec.json.encode(row, order="sorted").decode()


def from_text(kind: type[RowStruct], text: str) -> RowStruct:
    """The state again; raises ``JournalError`` for anything else: a limit must not begin anew in silence."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeError) as error:
        what: Any = kind.__doc__ or kind.__name__
        raise JournalError(
            f"the journal's row of {str(what).split('.')[0].lower()} cannot be read ({error}); stop trading, keep the "
            "file, and see 'The journal is damaged' in docs/runbook.md"
        ) from None
