"""Commands to the embedded exchange: faults on command. What a fault is and may be, the exchange itself knows."""

from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from nightdesk.console import render
from nightdesk.console.client import request
from nightdesk.console.durations import seconds_of
from nightdesk.console.verbs import ConfigOption, JsonOption, config_of, print_result
from nightdesk.errors import ConfigurationError
from nightdesk.settings.folders import EXCHANGE_SOCKET
from nightdesk.settings.load import load_folders

NUMBER_MAX = 2**31 - 1
"""Of connections and of faults; what is longer cannot be meant."""

TemplateOption = Annotated[
    list[int] | None, typer.Option("--template", metavar="N", min=1, help="A template; may be given several times.")
]
ParameterOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the fault; may be given several times."),
]


def fault(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The fault, such as drop; faults lists them.")],
    plant: Annotated[
        str | None, typer.Option("--plant", metavar="PLANT", help="ticker, order, history, pnl or repository.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="Only this user's connections.")] = None,
    connection: Annotated[
        int | None, typer.Option("--connection", metavar="N", min=1, max=NUMBER_MAX, help="Only this connection.")
    ] = None,
    template: TemplateOption = None,
    duration: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="How long: 0.5, 10s, 5m; without it until heal.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", min=0, help="Of a mix, or of random frames.")
    ] = None,
    parameter: ParameterOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the running exchange do something wrong; mix: many things, at random by a seed.

    Example: python run.py simulator fault delay --plant order --for 10s --set latency_s=0.5
    """
    arguments: dict[str, object] = {"fault": name, "plant": plant, "user": user, "connection": connection}
    if template:
        arguments["templates"] = str(template)
    if seed is not None:
        arguments["seed"] = str(seed)
    if duration is not None:
        arguments["for_s"] = str(seconds_of(duration, option="--for"))
    for each in parameter or ():
        key, equals, value = each.partition("=")
        if not equals or not key:
            raise ConfigurationError(f"--set: expected NAME=VALUE, not {each[:40]!r}")
        if key in arguments:
            raise ConfigurationError(f"--set: {key[:40]} has an option of its own, or is given twice; give it once")
        arguments[key] = value
    _ask(context, config, as_json, "fault", arguments)


def faults(context: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List what is wrong at the moment, the connections, and every fault that there is.

    Example: python run.py simulator faults
    """
    _ask(context, config, as_json, "faults", {})


def heal(
    context: typer.Context,
    number: Annotated[
        int | None, typer.Argument(metavar="[NUMBER]", max=NUMBER_MAX, help="One fault; without it, all.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a fault that lasts, or all of them.

    Example: python run.py simulator heal 3
    """
    _ask(context, config, as_json, "heal", {"number": number})


def _ask(context: typer.Context, config: str | None, as_json: bool, verb: str, arguments: dict[str, object]) -> None:
    folders = load_folders(config_of(context, config))
    result = request(folders, verb, arguments, socket_name=EXCHANGE_SOCKET)
    print_result(result, as_json, _listed if verb == "faults" else render.done)


def _listed(result: dict[str, Any]) -> RenderableType:
    active = _table("active", "number,fault,parameters,from,age,left,acts")
    for each in result["active"]:
        left = "until heal" if each["left_s"] is None else f"{each['left_s']:.1f} s"
        active.add_row(
            str(each["number"]), each["fault"], _words(each["parameters"]), each["origin"], f"{each['age_s']:.1f} s",
            left, str(each["acts"]),
        )  # fmt: skip
    connections = _table("connections", "number,user,plant")
    for each in result["connections"]:
        connections.add_row(str(each["number"]), each["user"] or "(not logged in)", each["plant"])
    known = _table("known", "fault,does,parameters")
    for name, each in result["known"].items():
        known.add_row(name, each["does"], _words(each["parameters"]))
    return Group(active, connections, known)


def _words(parameters: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in parameters.items())


def _table(title: str, columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns.split(","):
        table.add_column(column, overflow="fold")
    return table


EXCHANGE_COMMANDS: dict[str, Callable[..., None]] = {"fault": fault, "faults": faults, "heal": heal}
"""Every command to the exchange by its name below ``simulator``."""
