"""``journal``: look at the order plant's journal, take it out, mend it. It needs no running system."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, BinaryIO, Protocol

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nightdesk.clocks import Clock
from nightdesk.console.verbs import ConfigOption, JsonOption, config_of, print_result
from nightdesk.errors import ConfigurationError
from nightdesk.settings.folders import Folders
from nightdesk.settings.load import load_folders, load_settings
from nightdesk.settings.models import Settings

EXIT_UNSOUND = 1
NAMES_SHOWN_MAX = 40
"""Ids and ranges that are shown of each kind; ``--json`` has all."""


class JournalTools(Protocol):
    """What carries the verbs out: the order plant's side, of which the console knows nothing."""

    def verify(self, folders: Folders, load: Callable[[], Settings]) -> dict[str, Any]: ...

    def repair(
        self, folders: Folders, load: Callable[[], Settings], *, now_ns: int, is_dry: bool
    ) -> dict[str, Any]: ...

    def export(
        self,
        folders: Folders,
        load: Callable[[], Settings],
        *,
        table: str,
        form: str,
        begin: str | None,
        end: str | None,
        output: str | None,
        is_forced: bool,
        stdout: BinaryIO,
    ) -> int: ...


TableOption = Annotated[
    str, typer.Option("--table", metavar="NAME", help="orders, fills, events, positions, trading_states …")
]
FormatOption = Annotated[str, typer.Option("--format", metavar="jsonl|csv", help="JSON lines, or CSV.")]
FromOption = Annotated[
    str | None, typer.Option("--from", metavar="WHEN", help="A trade date (2026-11-20) or an instant with its offset.")
]
ToOption = Annotated[str | None, typer.Option("--to", metavar="WHEN", help="The same; it is included.")]
OutputOption = Annotated[
    str | None, typer.Option("--output", metavar="FILE", help="Where to; without it, standard output.")
]


def journal_commands(tools: Callable[[], JournalTools], clock: Clock) -> dict[str, Callable[..., None]]:
    """The verbs below ``journal``, by name; ``tools`` is asked for when one is used."""

    def verify(context: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
        """Check the journal: SQLite's own check and ours. Changes nothing; a system may run meanwhile.

        Exit code 0: sound, 1: unsound, 2: it cannot be read. Example: python run.py journal verify
        """
        result = tools().verify(*_of(context, config))
        print_result(result, as_json, _verified)
        if not result["sound"]:
            raise typer.Exit(EXIT_UNSOUND)

    def export(
        context: typer.Context,
        table: TableOption,
        form: FormatOption = "jsonl",
        begin: FromOption = None,
        end: ToOption = None,
        output: OutputOption = None,
        force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
        config: ConfigOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Write a table of the journal as JSON lines or CSV; prices and money are exact.

        Example: python run.py journal export --table fills --format csv --from 2026-11-20 --output fills.csv
        """
        if as_json and output is None:
            raise ConfigurationError("--json: tells how many rows went to a file; name one with --output")
        folders, load = _of(context, config)
        count = tools().export(
            folders, load, table=table, form=form, begin=begin, end=end, output=output, is_forced=force,
            stdout=sys.stdout.buffer,
        )  # fmt: skip
        if output is not None:
            result = {"table": table, "rows": count, "file": os.path.abspath(output)}
            print_result(result, as_json, lambda told: Text(f"{told['rows']} rows of {told['table']}: {told['file']}"))

    def repair(
        context: typer.Context,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be kept and lost.")] = False,
        yes: Annotated[bool, typer.Option("--yes", help="Do it.")] = False,
        config: ConfigOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Keep a damaged journal aside and put a sound one of all that can be read into its place.

        Example: python run.py journal repair --dry-run; python run.py journal repair --yes
        """
        is_dry = dry_run or not yes
        result = tools().repair(*_of(context, config), now_ns=clock.now_ns(), is_dry=is_dry)
        print_result(result, as_json, _repaired)
        if result["tables"] and not dry_run and not yes:
            raise ConfigurationError(
                "journal repair: nothing was changed; repeat it with --yes when this is what you want"
            )

    return {"verify": verify, "export": export, "repair": repair}


def _of(context: typer.Context, config: str | None) -> tuple[Folders, Callable[[], Settings]]:
    file = config_of(context, config)
    loaded: list[Settings] = []

    def load() -> Settings:
        if not loaded:
            loaded.append(load_settings(file, check_strategies=False).settings)
        return loaded[0]

    return load_folders(file), load


def _verified(result: dict[str, Any]) -> RenderableType:
    state = "a system runs on it" if result["running"] else "no system runs on it"
    head = Text.assemble((result["path"], "bold"), f"   version {result['version'] or '?'}, {state}")
    if result["repaired"]:
        head.append(f", repaired {result['repaired']}")
    rows = "  ".join(f"{table} {count}" for table, count in result["rows"].items())
    orders = "  ".join(f"{status} {count}" for status, count in result["orders"].items())
    parts: list[RenderableType] = [head]
    if result["rows"]:
        parts += [_line("rows", rows), _line("orders", f"{orders}  open {result['open_orders']}")]
    parts += [_positions(result["positions"])] if result["positions"] else []
    checks = Table(title="checks", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("check", "what must hold", "result"):
        checks.add_column(column, overflow="fold")
    for check in result["checks"]:
        count = check["violations"]
        words = Text("ok", "green") if check["asked"] else Text("not asked", "dim")
        checks.add_row(check["name"], check["meaning"], Text(f"{count} violations", "bold red") if count else words)
    parts.append(checks)
    for check in result["checks"]:
        parts += [Text(f"{check['name']}: {row}") for row in check["rows"]]
        if check["violations"] > len(check["rows"]):
            parts.append(Text(f"{check['name']}: and {check['violations'] - len(check['rows'])} more"))
    verdict = (
        ("sound", "bold green")
        if result["sound"]
        else ("UNSOUND: see 'The journal is damaged' in docs/runbook.md", "bold red")
    )
    return Group(*parts, Text.assemble(verdict))


def _positions(positions: Sequence[dict[str, Any]]) -> Table:
    table = Table(title="positions", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("strategy", "symbol", "quantity"):
        table.add_column(column, justify="right" if column == "quantity" else "left")
    for position in positions:
        table.add_row(position["strategy_id"], position["symbol"], str(position["quantity"]))
    return table


def _repaired(result: dict[str, Any]) -> RenderableType:
    if not result["tables"]:
        return Text(f"{result['path']}: the journal is sound; there is nothing to repair")
    table = Table(title="rows", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("table", "kept", "rebuilt", "lost"):
        table.add_column(column, overflow="fold")
    for name, told in result["tables"].items():
        table.add_row(name, str(told["kept"]), str(told["rebuilt"] or ""), _lost(told))
    parts: list[RenderableType] = [table]
    if result["wal_fault"]:
        parts.append(Text(result["wal_fault"]))
    for key, words in _NOTES.items():
        if result[key]:
            parts.append(_line(words, _shortened(result[key])))
    if result["unproven_rows"]:
        parts.append(
            _line(
                "rows without sums (an earlier version's): damage inside of them is not seen",
                str(result["unproven_rows"]),
            )
        )
    if result["halted"]:
        parts.append(Text(f"trading will be HALTED until resume-trading: {result['halted']}", "bold yellow"))
    parts.append(_positions(result["positions"]))
    parts.append(
        Text(f"{result['open_orders']} open orders; the next start asks the broker for every order and execution")
    )
    if result["done"]:
        parts.append(Text(f"the new journal is in its place; the damaged one is kept in {result['aside']}", "bold"))
    else:
        parts.append(Text("nothing was changed", "bold"))
    return Group(*parts)


_NOTES = {
    "rebuilt_orders": "orders made from their executions",
    "rebuilt_fills": "fills taken from their events",
    "adjusted_orders": "orders whose state the broker will tell",
    "unusable": "left out, since it contradicts the rest",
}


def _lost(told: dict[str, Any]) -> str:
    words = []
    if told["lost_rowids"]:
        names = f" ({_shortened(told['lost_names'])})" if told["lost_names"] else ""
        words.append(f"rows {_shortened(told['lost_rowids'])}{names}")
    words += told["unread"]
    if not words and not told["is_complete"]:
        words.append("perhaps some")
    return "; ".join(words) or "none"


def _shortened(items: Sequence[str]) -> str:
    shown = ", ".join(items[:NAMES_SHOWN_MAX])
    return shown if len(items) <= NAMES_SHOWN_MAX else f"{shown} and {len(items) - NAMES_SHOWN_MAX} more"


def _line(name: str, text: str) -> Text:
    return Text.assemble((f"{name}: ", "dim"), text)
