"""The calendars that are shipped, loaded once per process."""

import difflib
from functools import cache
from importlib.resources import files

from nightdesk.calendars.overrides import NO_OVERRIDES, CalendarOverrides, corrected
from nightdesk.calendars.products import calendar_names as calendar_names
from nightdesk.calendars.products import calendar_of as calendar_of
from nightdesk.calendars.products import product_of as product_of
from nightdesk.calendars.table import Table, parsed
from nightdesk.errors import CalendarError
from nightdesk.trading.sessions import ALWAYS, AlwaysOpen
from nightdesk.trading.sessions import SessionCalendar as SessionCalendar

TABLES = files("nightdesk.calendars") / "tables"


def table_file(name: str) -> str:
    """What a calendar's table is called on disk."""
    return f"{name}.txt"


def load_calendar(name: str, overrides: CalendarOverrides | None = None) -> SessionCalendar:
    """A calendar by its name (``always`` is one that never closes), with a user's corrections.

    One object per process for the same arguments. Raises ``CalendarError`` for a name that there is not.
    """
    return _loaded(name, overrides or NO_OVERRIDES)


@cache
def _loaded(name: str, overrides: CalendarOverrides) -> SessionCalendar:
    if name == ALWAYS:
        return AlwaysOpen()
    table = load_table(name)
    return corrected(table, overrides) if overrides.days else table.calendar()


@cache
def load_table(name: str) -> Table:
    """A shipped table as it is on disk."""
    if name not in calendar_names():
        near = difflib.get_close_matches(name, (*calendar_names(), ALWAYS), n=1, cutoff=0.6)
        mend = f"did you mean {near[0]}?" if near else f"there are {', '.join(calendar_names())} and {ALWAYS}"
        raise CalendarError(f"there is no calendar {name[:40]!r}", mend)
    file = TABLES / table_file(name)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CalendarError(f"the table of {name} is missing ({file})", "install nightdesk again") from None
    return parsed(text, str(file))
