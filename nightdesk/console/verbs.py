"""The operator's verbs: each one request to the running system, shown as a table or as JSON."""

from collections.abc import Callable, Mapping
from threading import Event
from typing import Annotated, Any

import orjson
import typer
from rich.console import RenderableType

from nightdesk.console import render
from nightdesk.console.client import request
from nightdesk.errors import ConfigurationError, LinkError, NightdeskError
from nightdesk.settings.folders import Folders
from nightdesk.settings.load import DEFAULT_CONFIG, load_folders
from nightdesk.settings.locks import is_locked

ConfigOption = Annotated[
    str | None, typer.Option("--config", metavar="FILE", help=f"The configuration file (default {DEFAULT_CONFIG}).")
]
ExternalOption = Annotated[
    bool, typer.Option("--external", help="Orders of others on the account, too (external_orders: adopt).")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
ChildArgument = Annotated[str, typer.Argument(metavar="ID", help="A path in the tree, such as plants/ticker.")]
StrategyArgument = Annotated[str, typer.Argument(metavar="ID", help="A strategy, such as strategies/sma_es.")]
OneStrategyArgument = Annotated[
    str | None, typer.Argument(metavar="[ID]", help="A strategy; without it, the whole account.")
]
ReasonOption = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why, for the log and the journal.")]
RequiredReason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the log and the records.")]
OwnerArgument = Annotated[str, typer.Argument(metavar="OWNER", help="account, or a strategy.")]
LimitOption = Annotated[
    int, typer.Option("--limit", metavar="N", min=1, max=2000, help="The newest N rows (at most 2000).")
]
BranchArgument = Annotated[
    str | None, typer.Argument(metavar="[BRANCH]", help="root, services, plants or strategies; without it, all.")
]

WAIT_MAX_S = 86_400
_POLL_S = 0.1


def config_of(context: typer.Context, config: str | None) -> str:
    """The file named with the verb, else the one named before it, else the default."""
    named = config if config is not None else context.obj
    if named == "":
        # An unset variable in somebody's script must not fall back to another system.
        raise ConfigurationError("--config: the name is empty; name a file")
    return named or DEFAULT_CONFIG


def status(context: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the whole system on one page: processes, plants, strategies, positions, orders.

    Example: python run.py status --json
    """
    _ask(context, config, as_json, "status", {}, render.status)


def tree(context: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the supervision tree with the process of each child.

    Example: python run.py tree
    """
    _ask(context, config, as_json, "tree", {}, render.tree)


def pause(
    context: typer.Context,
    child_id: StrategyArgument,
    reason: ReasonOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop a strategy's orders; its data keep flowing and its protective orders stay. It lasts until resume.

    Example: python run.py pause strategies/sma_es --reason "news at 14:30"
    """
    _ask(context, config, as_json, "pause", {"id": child_id, "reason": reason}, render.done)


def resume(
    context: typer.Context, child_id: StrategyArgument, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Let a paused strategy trade again.

    Example: python run.py resume strategies/sma_es
    """
    _ask(context, config, as_json, "resume", {"id": child_id}, render.done)


def restart(
    context: typer.Context,
    child_id: ChildArgument,
    wait: Annotated[float, typer.Option("--wait", metavar="SECONDS", help="How long to wait until it runs.")] = 10.0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restart one process, or revive one that is parked or terminated; a strategy's code is loaded afresh.

    Example: python run.py restart strategies/sma_es
    """
    folders = load_folders(config_of(context, config))
    wait_s = _checked_wait(wait)
    before = _child(folders, child_id) if wait_s else None
    result = request(folders, "restart", {"id": child_id})
    if before is not None:
        result["text"] = _wait_until_it_runs(folders, before, wait_s)
    print_result(result, as_json, render.done)


def terminate(
    context: typer.Context, child_id: ChildArgument, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Stop one process, or a branch, and keep it stopped until restart.

    Example: python run.py terminate strategies/sma_es
    """
    _ask(context, config, as_json, "terminate", {"id": child_id}, render.done)


def children(
    context: typer.Context, branch: BranchArgument = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """List and count the children of each supervisor, or of one.

    Example: python run.py children plants
    """
    _ask(context, config, as_json, "children", {"id": branch}, render.branches)


def spec(
    context: typer.Context, child_id: ChildArgument, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Show how a child is restarted, stopped and given up on, as its supervisor has it.

    Example: python run.py spec plants/ticker
    """
    _ask(context, config, as_json, "spec", {"id": child_id}, render.spec)


def orders(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Finished orders, too.")] = False,
    limit: LimitOption = 100,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the working orders.

    Example: python run.py orders --all --limit 20
    """
    _ask(context, config, as_json, "orders", {"all": every, "limit": limit}, render.orders)


def positions(context: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the positions of the account and of each strategy.

    Example: python run.py positions
    """
    _ask(context, config, as_json, "positions", {}, render.positions)


def fills(
    context: typer.Context, limit: LimitOption = 100, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Show the newest executions.

    Example: python run.py fills --limit 10
    """
    _ask(context, config, as_json, "fills", {"limit": limit}, render.fills)


def cancel_all(
    context: typer.Context,
    child_id: OneStrategyArgument = None,
    external: ExternalOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel every working order of the account, or of one strategy.

    Example: python run.py cancel-all strategies/quoter_es
    """
    _ask(context, config, as_json, "cancel-all", {"id": child_id, "external": external or None}, render.done)


def flatten(
    context: typer.Context,
    child_id: OneStrategyArgument = None,
    force: Annotated[bool, typer.Option("--force", help="Whatever the calendar says; the exchange decides.")] = False,
    external: ExternalOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel all orders and close every position at the market, of the account or of one strategy.

    Example: python run.py flatten --force
    """
    asked = {"id": child_id, "force": force or None, "external": external or None}
    _ask(context, config, as_json, "flatten", asked, render.done)


def risk(context: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show every limit with what is used of it.

    Example: python run.py risk
    """
    _ask(context, config, as_json, "risk", {}, render.risk)


def risk_reset(
    context: typer.Context,
    owner: OwnerArgument,
    reason: RequiredReason,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the account or a strategy go on after a loss limit or refusals in a row: they count from here.

    Example: python run.py risk-reset account --reason "new evaluation"
    """
    _ask(context, config, as_json, "risk-reset", {"id": owner, "reason": reason}, render.done)


def reduce(
    context: typer.Context, reason: RequiredReason, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Let only pass what lowers a position, and take entries back. It lasts until resume-trading.

    Example: python run.py reduce --reason "news at 14:30"
    """
    _ask(context, config, as_json, "reduce", {"reason": reason}, render.done)


def halt(
    context: typer.Context, reason: RequiredReason, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Let no order leave any more, whoever sends it; cancels still pass. It lasts until resume-trading.

    Example: python run.py halt --reason "wrong prices"
    """
    _ask(context, config, as_json, "halt", {"reason": reason}, render.done)


def resume_trading(
    context: typer.Context, reason: RequiredReason, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """End a halt, or a time of only reducing positions.

    Example: python run.py resume-trading --reason "prices are right again"
    """
    _ask(context, config, as_json, "resume-trading", {"reason": reason}, render.done)


def stop(
    context: typer.Context,
    reason: ReasonOption = None,
    wait: Annotated[float, typer.Option("--wait", metavar="SECONDS", help="How long to wait for the end.")] = 60.0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop the system in order and wait until its last process has ended.

    Example: python run.py stop
    """
    folders = load_folders(config_of(context, config))
    wait_s = _checked_wait(wait)
    result = request(folders, "stop", {"reason": reason})
    if wait_s:
        _wait_for_end(folders, wait_s)
    print_result(result, as_json, render.done)


def _checked_wait(wait_s: float) -> float:
    if not 0 <= wait_s <= WAIT_MAX_S:
        raise ConfigurationError(f"--wait: expected 0 to {WAIT_MAX_S} seconds, not {wait_s}")
    return wait_s


def _child(folders: Folders, child_id: str) -> dict[str, Any] | None:
    """The child as the tree has it now; None where there is none of that name."""
    found = {child["id"]: child for child in request(folders, "tree")["children"]}
    return found.get(child_id) or found.get(f"strategies/{child_id}")


def _wait_until_it_runs(folders: Folders, before: dict[str, Any], timeout_s: float) -> str:
    """A child that is restarted may fail to: its new code may not even load."""
    name, waiter = before["id"], Event()
    for _ in range(round(timeout_s / _POLL_S)):
        try:
            now = _child(folders, name)
        except NightdeskError:
            # Control, or the branch it is in, may be what is being restarted.
            now = None
        if now is not None and now["incarnation"] > before["incarnation"]:
            if now["state"] == "running":
                return f"{name} runs: pid {now['pid']}, incarnation {now['incarnation']}"
            if now["state"] in ("parked", "stopped"):
                raise LinkError(f"{name} is {now['state']}: it did not stay up; look for its errors in the log")
        waiter.wait(_POLL_S)
    raise LinkError(f"{name} does not run within {timeout_s:g} s; look at tree and at the log")


def _wait_for_end(folders: Folders, timeout_s: float) -> None:
    waiter = Event()
    for _ in range(round(timeout_s / _POLL_S)):
        if not is_locked(folders.state_dir):
            return
        waiter.wait(_POLL_S)
    raise LinkError(f"{folders.name} has not ended within {timeout_s:g} s; look at its log")


def _ask(
    context: typer.Context,
    config: str | None,
    as_json: bool,
    verb: str,
    arguments: Mapping[str, object],
    rendered: Callable[[Any], RenderableType],
) -> None:
    print_result(request(load_folders(config_of(context, config)), verb, arguments), as_json, rendered)


def print_result(result: Any, as_json: bool, rendered: Callable[[Any], RenderableType]) -> None:
    """Show an answer, as JSON if so wished."""
    if as_json:
        render.write(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
    else:
        render.show(rendered(result))


VERBS: dict[str, Callable[..., None]] = {
    "status": status,
    "tree": tree,
    "pause": pause,
    "resume": resume,
    "children": children,
    "spec": spec,
    "restart": restart,
    "terminate": terminate,
    "orders": orders,
    "positions": positions,
    "fills": fills,
    "cancel-all": cancel_all,
    "flatten": flatten,
    "risk": risk,
    "risk-reset": risk_reset,
    "reduce": reduce,
    "halt": halt,
    "resume-trading": resume_trading,
    "stop": stop,
}
"""Every verb by its name on the command line."""
