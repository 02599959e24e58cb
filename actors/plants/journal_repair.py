"""Repair: the damaged journal is kept aside, and a new one of all that can be read takes its place.

The original is copied before anything else and never written to. While the new file takes its place a marker beside
it keeps every start away; a repair that was broken off there begins again with the copy.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from actors.plants.journal import FILE_NAME, REPAIRING, JournalBusyError, lock_journal
from actors.plants.journal_pages import Gap, Pages
from actors.plants.journal_rebuild import Rebuilder, Rebuilt
from actors.plants.journal_salvage import Salvage
from actors.plants.journal_verify import is_running, journal_path, verify_file
from nightdesk.errors import ConfigurationError, JournalError
from nightdesk.settings.instants import iso_utc
from nightdesk.settings.locks import Holder, lock_folder

PARTS = ("", "-wal", "-shm")
"""What belongs to a journal, by how the names end."""
NEW = ".new-repaired"
ASIDE = "journal.damaged-"
ASIDE_MAX = 1000
COPY_BYTES = 1 << 20
GAP_MAX = 10_000
"""Of the rows of one page or of one damaged part of the tree; more cannot be meant."""
COUNTED = ("orders", "trading_states")
"""Tables whose rows are numbered from 1 and never deleted."""


def repair(
    state_dir: str,
    *,
    name: str,
    config_file: str,
    strategies: Iterable[str] | None,
    system_name: Callable[[], str],
    now_ns: int,
    is_dry: bool,
) -> dict[str, Any]:
    """Put a sound journal into the place of a damaged one; what was kept and what is lost.

    ``is_dry``: all the same, but nothing is put into its place. ``system_name`` is asked only where the file does not
    say it. Raises ``ConfigurationError`` while a system runs, and where no sound journal can be made.
    """
    path = journal_path(state_dir)
    with _alone(state_dir, path, Holder(os.getpid(), name, config_file)):
        source, is_unfinished = _source(path)
        before = verify_file(source, strategies)
        if before["sound"] and not is_unfinished:
            return {"path": path, "done": False, "dry_run": is_dry, "sound": True, "tables": {}}
        aside = None
        try:
            if not is_dry:
                aside = os.path.dirname(source) if is_unfinished else _put_aside(path, iso_utc(now_ns))
                source = os.path.join(aside, FILE_NAME)
            result = _made(path, source, strategies, system_name, now_ns)
            if aside is not None:
                _replace(path, aside)
        except ConfigurationError:
            if aside is not None and not is_unfinished:
                # Nothing was done, and the original stands where it stood.
                shutil.rmtree(aside)
            raise
        finally:
            _remove(path + NEW)
    return {**result, "done": not is_dry, "dry_run": is_dry, "aside": aside}


def _made(
    path: str, source: str, strategies: Iterable[str] | None, system_name: Callable[[], str], now_ns: int
) -> dict[str, Any]:
    """Write the new journal beside the old one, and look at it as at any other."""
    fresh = path + NEW
    _remove(fresh)
    note = f"{iso_utc(now_ns)} from {source}"
    result = _rebuild(path, source, system_name, now_ns, note)
    after = verify_file(fresh, strategies)
    if not after["sound"]:
        raise _refusal(path, f"the rows that can be read contradict each other ({_first_violation(after)})")
    return {"path": path, "sound": True, **result, **{key: after[key] for key in ("open_orders", "positions")}}


@contextmanager
def _alone(state_dir: str, path: str, owner: Holder) -> Iterator[None]:
    """Keep every system away for as long as it lasts."""
    if is_running(state_dir):
        raise ConfigurationError(f"{path}: a system runs on it; stop it first: python run.py stop")
    with ExitStack() as held:
        held.callback(lock_folder("state_dir", state_dir, owner).release)
        try:
            held.callback(os.close, lock_journal(path))
        except JournalBusyError:
            raise ConfigurationError(f"{path}: another process uses this journal; stop it first") from None
        yield


def _source(path: str) -> tuple[str, bool]:
    """The damaged file: the copy of a repair that was broken off while the new one took its place, else the journal."""
    if not os.path.exists(path + REPAIRING):
        return path, False
    aside = Path(path + REPAIRING).read_text(errors="replace").strip()
    source = os.path.join(aside, FILE_NAME)
    if not os.path.isfile(source):
        raise ConfigurationError(
            f"{path}{REPAIRING}: names {aside or 'nothing'}, where no journal is; put it back there"
        )
    return source, True


def _rebuild(path: str, source: str, system_name: Callable[[], str], now_ns: int, note: str) -> dict[str, Any]:
    with closing(Pages(source)) as pages:
        salvage = Salvage(pages)
        try:
            with closing(Rebuilder(path + NEW, salvage)) as rebuilder:
                rebuilt = rebuilder.write(system_name=system_name, now_ns=now_ns, note=note)
                return {**_told(salvage, rebuilt), "wal_fault": pages.wal_fault}
        except JournalError as error:
            raise _refusal(path, str(error)) from None
        except sqlite3.Error as error:
            raise _refusal(path, f"it does not fit into a journal: {error}") from None


def _refusal(path: str, why: str) -> ConfigurationError:
    words = " ".join(why.split())
    return ConfigurationError(
        f"{path}: it cannot be repaired: {words}; keep the file, give the system another state_dir, and see "
        "'The journal is damaged' in docs/runbook.md"
    )


def _first_violation(verified: dict[str, Any]) -> str:
    found = next(check for check in verified["checks"] if check["violations"])
    return f"{found['name']}: {found['rows'][0][:200]}"


def _told(salvage: Salvage, rebuilt: Rebuilt) -> dict[str, Any]:
    """The result in words and numbers, table by table."""
    tables: dict[str, dict[str, Any]] = {}
    rebuilt_rows: dict[str, int] = {"orders": len(rebuilt.rebuilt_orders), "fills": len(rebuilt.rebuilt_fills)}
    for table, gaps in salvage.gaps.items():
        lost = _lost_rowids(table, salvage, rebuilt)
        names = [name for name, rowid in salvage.order_rowids.items() if rowid in lost] if table == "orders" else []
        tables[table] = {
            "kept": rebuilt.kept.get(table, 0),
            "rebuilt": rebuilt_rows.get(table, 0),
            "lost_rowids": ranges(lost),
            "lost_names": sorted(names),
            "unread": [_unread(gap) for gap in gaps if gap.rows is None and not (gap.high and table in COUNTED)],
            "is_complete": not salvage.is_incomplete(table) and not lost,
        }
    return {
        "tables": tables,
        "rebuilt_orders": rebuilt.rebuilt_orders,
        "rebuilt_fills": ranges(rebuilt.rebuilt_fills),
        "adjusted_orders": rebuilt.adjusted_orders,
        "unusable": rebuilt.unusable,
        "unproven_rows": salvage.unproven,
        "halted": rebuilt.halted,
    }


def _lost_rowids(table: str, salvage: Salvage, rebuilt: Rebuilt) -> set[int]:
    """Rows that an index names, that were read and are not as written, or that a table without deletions must have."""
    if not salvage.has_rowids(table):
        return set()
    there = rebuilt.kept_rowids.get(table, set()) | rebuilt.rebuilt_rowids.get(table, set())
    known = salvage.indexed_rowids(table) | set(salvage.rejected[table])
    if table in COUNTED:
        known |= set(range(1, max(there, default=0)))
        for gap in salvage.gaps[table]:
            known |= set(range((gap.low or 0) + 1, (gap.high or 0) + 1)[:GAP_MAX])
    return {rowid for rowid in known - there if rowid > 0}


def ranges(numbers: Iterable[int]) -> list[str]:
    """``{1, 2, 3, 7}`` is ``["1-3", "7"]``."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return [f"{first}-{last}" if first != last else str(first) for first, last in found]


def _unread(gap: Gap) -> str:
    if gap.low is None and gap.high is None:
        return "a page of rows"
    if gap.high is None:
        return f"rows after {gap.low}"
    return f"rows up to {gap.high}" if gap.low is None else f"rows after {gap.low}, up to {gap.high}"


def _put_aside(path: str, when: str) -> str:
    """Copy the original, all its parts, into a folder of its own, and make sure that the copy is on the disk."""
    stamp = when[:19].replace("-", "").replace(":", "")
    state_dir = os.path.dirname(path)
    for number in range(ASIDE_MAX):
        folder = os.path.join(state_dir, f"{ASIDE}{stamp}Z" + (f"-{number}" if number else ""))
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)
            break
    else:
        raise ConfigurationError(f"{state_dir}: there are {ASIDE_MAX} copies of this second already; remove some")
    for part in PARTS:
        if os.path.exists(path + part):
            _copy(path + part, os.path.join(folder, FILE_NAME + part))
    _sync(folder)
    _sync(state_dir)
    return folder


def _copy(source: str, target: str) -> None:
    with open(source, "rb") as old, open(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as new:
        shutil.copyfileobj(old, new, COPY_BYTES)
        new.flush()
        os.fsync(new.fileno())


def _replace(path: str, aside: str) -> None:
    """Put the new file into the place of the old one; the old ``-wal`` must be gone before, and no start in between."""
    _sync(path + NEW)
    with open(os.open(path + REPAIRING, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as marker:
        marker.write(aside + "\n")
        marker.flush()
        os.fsync(marker.fileno())
    folder = os.path.dirname(path)
    _sync(folder)
    for part in PARTS[1:]:
        with suppress(FileNotFoundError):
            os.unlink(path + part)
    os.rename(path + NEW, path)
    _sync(folder)
    os.unlink(path + REPAIRING)
    _sync(folder)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: str) -> None:
    for part in (*PARTS, "-journal"):
        with suppress(FileNotFoundError):
            os.unlink(path + part)
