"""What the verbs ``journal verify``, ``export`` and ``repair`` do, for the command line."""

from collections.abc import Callable
from typing import Any, BinaryIO

from actors.plants import journal_export, journal_repair, journal_verify
from nightdesk.errors import ConfigurationError
from nightdesk.settings.folders import Folders
from nightdesk.settings.instants import instant_ns
from nightdesk.settings.market_time import calendar_for
from nightdesk.settings.models import Settings
from nightdesk.trading.sessions import SessionCalendar

Load = Callable[[], Settings]
"""Reads the whole configuration; raises ``ConfigurationError``."""


def verify(folders: Folders, load: Load) -> dict[str, Any]:
    """How the journal is; see ``journal_verify``."""
    return journal_verify.verify(folders.state_dir, _strategies(load))


def repair(folders: Folders, load: Load, *, now_ns: int, is_dry: bool) -> dict[str, Any]:
    """What was put right, or would be; see ``journal_repair``."""
    return journal_repair.repair(
        folders.state_dir,
        name=folders.name,
        config_file=folders.config_file,
        strategies=_strategies(load),
        system_name=lambda: _system_name(load()),
        now_ns=now_ns,
        is_dry=is_dry,
    )


def export(
    folders: Folders,
    load: Load,
    *,
    table: str,
    form: str,
    begin: str | None,
    end: str | None,
    output: str | None,
    is_forced: bool,
    stdout: BinaryIO,
) -> int:
    """How many rows were written; see ``journal_export``."""
    calendars: dict[str, SessionCalendar] = {}

    def trade_date_of(symbol: str, ts_ns: int) -> int:
        if symbol not in calendars:
            calendars[symbol] = calendar_for(symbol, load())
        return calendars[symbol].trade_date(ts_ns)

    return journal_export.export(
        folders.state_dir,
        table=table,
        form=form,
        span=_span(begin, end),
        output=output,
        is_forced=is_forced,
        stdout=stdout,
        trade_date_of=trade_date_of,
    )


def _system_name(settings: Settings) -> str:
    # The whole order plant comes with it, and a journal that has lost its name is rare.
    from actors.plants.order import system_name_of

    return system_name_of(settings)


def _strategies(load: Load) -> frozenset[str] | None:
    try:
        return frozenset(strategy.name for strategy in load().strategies)
    except ConfigurationError:
        # A variable that is not set here must not keep anybody from looking at a journal.
        return None


def _span(begin: str | None, end: str | None) -> journal_export.Span:
    from_date, from_ns = _moment("--from", begin)
    to_date, to_ns = _moment("--to", end)
    return journal_export.Span(from_ns=from_ns, to_ns=to_ns, from_date=from_date, to_date=to_date)


def _moment(option: str, text: str | None) -> tuple[int | None, int | None]:
    """A trade date, or an instant."""
    if text is None:
        return None, None
    day = journal_export.day_of(text)
    if day is not None:
        return day, None
    try:
        return None, instant_ns(text)
    except ValueError:
        mend = "expected a trade date such as 2026-11-20, or an instant with its offset such as 2026-11-20T15:00:00Z"
        raise ConfigurationError(f"{option}: {mend}, not {text[:40]!r}") from None
