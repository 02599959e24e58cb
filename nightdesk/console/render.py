"""Answers as tables and trees for a person; what a program reads is ``--json``."""

import io
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from nightdesk.console.durations import text_of
from nightdesk.errors import ConfigurationError

WIDTH_WITHOUT_TERMINAL = 200
_STATE_STYLES = {"running": "green", "parked": "bold red", "unknown": "red", "paused": "yellow", "restarting": "yellow"}

_LIMIT_STYLES = {"reached": "bold red", "near": "yellow", "unknown": "red", "ok": "green"}


def show(renderable: RenderableType) -> None:
    """Write to standard output; a pipe gets lines wide enough to be complete."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    page = _Page()
    width = None if is_terminal else WIDTH_WITHOUT_TERMINAL
    Console(file=page, force_terminal=is_terminal, width=width).print(renderable)
    write(page.getvalue().removesuffix("\n"))


def write(text: str) -> None:
    """Write one text to standard output and make sure that it has left."""
    encoding = _encoding()
    try:
        print(text.encode(encoding, "replace").decode(encoding), flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_output()
        raise ConfigurationError(f"standard output cannot be written ({error.strerror}); mend where it goes") from None


def discard_output() -> None:
    """Let the interpreter's last flush go nowhere: it would complain about an output that is broken already."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


class _Page(io.StringIO):
    """Collects what is to be written; the encoding tells whether lines can be drawn."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return _encoding()


def _encoding() -> str:
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def status(result: dict[str, Any]) -> RenderableType:
    """Everything on one page."""
    orders = result["orders"]
    counts = "  ".join(f"{name} {'?' if count is None else count}" for name, count in orders.items())
    head = Text.assemble(
        ("mode ", "dim"), result["mode"], ("   trading ", "dim"), result["trading_state"], ("   up ", "dim"),
        text_of(result["uptime_s"]), ("   orders ", "dim"), counts,
    )  # fmt: skip
    return Group(
        head,
        *(_market(report) for report in result["market"]),
        _children(result["children"]),
        _plants(result["plants"]),
        _strategies(result["strategies"]),
        positions(result["positions"]),
    )


def _market(report: dict[str, Any]) -> Text:
    """One calendar's line: what its market does, and what comes next in how much market time."""
    phase = report["phase"].replace("_", "-")
    line = Text.assemble(
        ("market ", "dim"), " ".join(report["symbols"]), " ", (phase, "green" if phase == "open" else "yellow")
    )
    if report["pause"]:
        line.append(f" ({report['pause']})")
    if report["trade_date"]:
        line.append(f"   trade date {report['trade_date']}")
    event = report["next_event"]
    if event is not None:
        line.append("   next ", "dim")
        line.append(f"{event['kind'].replace('_', '-')} {_minute(event['ts_ns'])}")
        line.append(f" (in {text_of((event['ts_ns'] - report['now_ns']) / 1e9)})", "dim")
    if phase != "open" and report["next_open_ns"]:
        line.append("   trading begins ", "dim")
        line.append(_minute(report["next_open_ns"]))
    return line


def _minute(ts_ns: int) -> str:
    return datetime.fromtimestamp(ts_ns // 1_000_000_000, UTC).strftime("%a %Y-%m-%d %H:%M UTC")


def tree(result: dict[str, Any]) -> RenderableType:
    """The supervision tree with each process."""
    return _tree(result["children"], _node)


def planned_tree(root: dict[str, Any], children: Sequence[dict[str, Any]]) -> RenderableType:
    """The tree that a configuration would start; of each supervisor its strategy, of each child its policy."""
    return _tree(children, _planned, label=Text.assemble("root  ", (_strategy(root), "dim")))


def spec(result: dict[str, Any]) -> RenderableType:
    """One child's spec, a line for each field."""
    table = _table(result["id"], "field,value")
    for name, value in result.items():
        if name == "branch":
            table.add_row("as supervisor", _strategy(value))
        elif name == "children":
            table.add_row("children", ", ".join(value) or "none")
        elif name != "id":
            table.add_row(name, "infinity" if value is None else str(value))
    return table


def branches(result: Sequence[dict[str, Any]]) -> RenderableType:
    """Supervisors with the four counts and their direct children."""
    parts: list[RenderableType] = []
    for branch in result:
        counts = "  ".join(f"{name} {count}" for name, count in branch["counts"].items())
        parts += [Text.assemble((branch["id"], "bold"), "   ", counts), _children(branch["children"], title="")]
    return Group(*parts)


def orders(result: Sequence[dict[str, Any]]) -> RenderableType:
    """Orders, as the order plant's journal has them."""
    columns = "strategy,symbol,side,quantity,filled,type,price,trigger,status,client order id,venue order id"
    table = _table("orders", columns, numbers="quantity,filled,price,trigger")
    for order in result:
        table.add_row(
            order["strategy_id"], order["symbol"], order["side"], str(order["quantity"]),
            str(order["filled_quantity"]), order["order_type"], _number(order["price"]),
            _number(order["trigger_price"]), order["status"], order["client_order_id"], order["venue_order_id"] or "",
        )  # fmt: skip
    return table


def positions(result: Sequence[dict[str, Any]]) -> RenderableType:
    """Net positions; a row without a strategy is the account's own."""
    table = _table(
        "positions",
        "strategy,symbol,quantity,average,realized,unrealized",
        numbers="quantity,average,realized,unrealized",
    )
    for position in result:
        table.add_row(
            position.get("strategy_id") or "(account)", position["symbol"], str(position["quantity"]),
            _number(position["average_price"]), _number(position["realized_pnl"]),
            _number(position["unrealized_pnl"]),
        )  # fmt: skip
    return table


def fills(result: Sequence[dict[str, Any]]) -> RenderableType:
    """Executions, oldest first as the journal gives them."""
    columns = "time (UTC),strategy,symbol,side,quantity,price,commission,fill id,client order id"
    table = _table("fills", columns, numbers="quantity,price,commission")
    for fill in result:
        moment = datetime.fromtimestamp(fill["ts_event_ns"] / 1e9, UTC)
        table.add_row(
            moment.isoformat(sep=" ", timespec="milliseconds")[:23], fill["strategy_id"], fill["symbol"], fill["side"],
            str(fill["quantity"]), _number(fill["price"]), _number(fill["commission"]), fill["fill_id"],
            fill["client_order_id"],
        )  # fmt: skip
    return table


def risk(result: dict[str, Any]) -> RenderableType:
    """Every limit with its use."""
    table = _table("limits", "level,limit,symbol,value,used,%,state", numbers="value,used,%")
    for row in result["limits"]:
        percent = "" if row["percent"] is None else f"{row['percent']:g}"
        limit = row["limit"] if isinstance(row["limit"], str) else _short_number(row["limit"])
        table.add_row(
            row["level"],
            row["name"],
            row["symbol"],
            limit,
            _short_number(row["use"]),
            percent,
            _limit_state(row["state"]),
        )
    breaches = ", ".join(f"{each['owner']} {each['code']}" for each in result["breaches"])
    why = f" ({result['reason']})" if result["reason"] and result["trading_state"] != "ACTIVE" else ""
    head = Text.assemble(
        ("trading ", "dim"), result["trading_state"], why, ("   reached ", "dim"), breaches or "nothing"
    )
    return Group(head, table)


def done(result: dict[str, Any]) -> RenderableType:
    """The answer to a command."""
    return Text(result.get("text") or "done")


def _children(children: Sequence[dict[str, Any]], title: str = "children") -> Table:
    table = _table(title, "id,kind,pid,incarnation,state,restarts,up", numbers="pid,incarnation,restarts,up")
    for child in children:
        table.add_row(
            child["id"], child["kind"], str(child["pid"] or ""), str(child["incarnation"]), _state(child["state"]),
            str(child["restarts"]), text_of(child["uptime_s"]),
        )  # fmt: skip
    return table


def _plants(plants: dict[str, dict[str, Any]]) -> Table:
    table = _table("plants", "plant,connected,last message,messages,reconnects", numbers="messages,reconnects")
    for name, plant in plants.items():
        age_s = plant["last_message_age_s"]
        connected = Text("yes", "green") if plant["connected"] else Text("no", "bold red")
        age = "" if age_s is None else f"{age_s:.1f} s ago"
        table.add_row(name, connected, age, str(plant["messages"]), str(plant["reconnects"]))
    return table


def _strategies(strategies: dict[str, dict[str, Any]]) -> Table:
    table = _table("strategies", "strategy,state,ticks,orders sent,fills", numbers="ticks,orders sent,fills")
    for name, strategy in strategies.items():
        table.add_row(
            name,
            _state(strategy["state"]),
            str(strategy["ticks"]),
            str(strategy["orders_sent"]),
            str(strategy["fills"]),
        )
    return table


def _tree(
    children: Sequence[dict[str, Any]],
    node: Callable[[dict[str, Any]], RenderableType],
    label: RenderableType = "root",
) -> Tree:
    root = Tree(label)
    branches: dict[str, Tree] = {}
    for child in children:
        parent = branches.get(child["id"].partition("/")[0], root)
        branches[child["id"]] = parent.add(node(child))
    return root


def _node(child: dict[str, Any]) -> RenderableType:
    text = Text.assemble(f"{_short(child['id'])}  ", _state(child["state"]))
    if child["pid"]:
        text.append(f"  pid {child['pid']}, up {text_of(child['uptime_s'])}", "dim")
    text.append(f"  incarnation {child['incarnation']}, {child['restarts']} restarts", "dim")
    return text


def _planned(child: dict[str, Any]) -> RenderableType:
    text = Text(f"{_short(child['id'])}  ")
    if "branch" in child:
        text.append(f"{_strategy(child['branch'])}; as root's child: ", "dim")
    else:
        text.append(f"{child['body']}  ", "dim")
    return text.append(_policy(child))


def _strategy(branch: dict[str, Any]) -> str:
    return f"{branch['strategy'].lower()}, gives up beyond {branch['intensity']} restarts in {branch['period_s']:g} s"


def _policy(child: dict[str, Any]) -> str:
    """In one line: restart type and budget, then the times."""
    budget = "no budget of its own"
    if child["intensity"] is not None:
        budget = f"{child['intensity']} restarts in {child['period_s']:g} s, then {child['on_give_up']}"
    backoff = "no backoff"
    if child["backoff_initial_s"]:
        backoff = f"backoff {child['backoff_initial_s']:g} to {child['backoff_max_s']:g} s"
    times = [("stop", "shutdown_s"), ("start", "start_timeout_s"), ("watchdog", "watchdog_s")]
    parts = [f"{name} {_seconds(child[key])}" for name, key in times]
    return ", ".join([child["restart"].lower(), budget, backoff, *parts])


def _seconds(value: float | None) -> str:
    return "infinity" if value is None else f"{value:g} s"


def _short(child_id: str) -> str:
    return child_id.partition("/")[2] or child_id


def _table(title: str, columns: str, *, numbers: str = "") -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    right = set(numbers.split(","))
    for column in columns.split(","):
        table.add_column(column, justify="right" if column in right else "left")
    return table


def _state(state: str) -> Text:
    return Text(state, _STATE_STYLES.get(state, ""))


def _short_number(value: float | None) -> str:
    """Counts and money in one column."""
    text = _number(value)
    return text.removesuffix(".00")


def _limit_state(state: str) -> Text:
    return Text(state.replace("_", " "), style=_LIMIT_STYLES.get(state, ""))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"
