"""The command line: ``run`` (the default), the operator's verbs, ``simulator`` and ``check``. Defines no actor."""

import signal

_interrupted = signal.signal(signal.SIGINT, signal.SIG_DFL)
"""Ctrl-C while the modules are being loaded ends the program without a traceback; afterwards it is ours to handle."""

# ruff: noqa: E402
import asyncio
import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Annotated, Any

import orjson
import typer
from structlog.typing import FilteringBoundLogger

from nightdesk.chaos.command import chaos
from nightdesk.clocks import SystemClock
from nightdesk.console import render
from nightdesk.console.calendar import calendar_verb
from nightdesk.console.durations import seconds_of
from nightdesk.console.exchange import EXCHANGE_COMMANDS
from nightdesk.console.journal import JournalTools, journal_commands
from nightdesk.console.summary import RunSummary
from nightdesk.console.verbs import VERBS, ConfigOption, JsonOption, config_of
from nightdesk.errors import ConfigurationError, CredentialsError, NightdeskError
from nightdesk.log_output import hold_standard_streams
from nightdesk.logs import configure, drain, get_logger
from nightdesk.settings.contracts import expired
from nightdesk.settings.folders import Folders
from nightdesk.settings.load import load_folders, load_settings, prepare_folders
from nightdesk.settings.locks import Holder, lock_folder, lock_logins
from nightdesk.settings.runtime import ExchangeEndpoint, RunConfiguration
from nightdesk.settings.secrets import check_secrets

signal.signal(signal.SIGINT, _interrupted)

EXIT_INTERNAL = 70
EXIT_USAGE = 2
EXIT_HALTED = 5
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
LOG_FORMATS = ("auto", "json", "console")
LAST_LINES_S = 0.5
"""What a slow reader of the log has to take the last lines before the program ends."""

DurationOption = Annotated[
    str | None, typer.Option("--duration", metavar="TIME", help="End by itself, in order, after 60s, 5m, 2h.")
]
LogFormatOption = Annotated[
    str, typer.Option("--log-format", metavar="|".join(LOG_FORMATS), help="auto: readable on a terminal, else JSON.")
]

_CommandLineError: Any = typer.BadParameter.__mro__[2]
"""Typer's own root of complaints about the command line; it has no public name of its own there."""

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _verb in VERBS.items():
    app.command(_name)(_verb)
app.command("calendar")(calendar_verb(SystemClock()))
app.command("chaos")(chaos)
simulator_app = typer.Typer(rich_markup_mode=None)
app.add_typer(simulator_app, name="simulator")
for _name, _command in EXCHANGE_COMMANDS.items():
    simulator_app.command(_name)(_command)
journal_app = typer.Typer(rich_markup_mode=None, help="Look at the order plant's journal, take it out, mend it.")
app.add_typer(journal_app, name="journal")


def _journal_tools() -> JournalTools:
    # Only these verbs need what the order plant keeps its journal with.
    from actors.plants import journal_tools

    return journal_tools


for _name, _command in journal_commands(_journal_tools, SystemClock()).items():
    journal_app.command(_name)(_command)


@app.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    config: ConfigOption = None,
    duration: DurationOption = None,
    log_format: LogFormatOption = "auto",
) -> None:
    """Nightdesk: headless, supervised futures trading. Without a verb it runs the system until it is stopped.

    Example: python run.py --config config/sim.yaml --duration 60s
    """
    context.obj = config
    if context.invoked_subcommand is not None:
        if duration is not None:
            raise ConfigurationError(f"--duration belongs to a run, not to {context.invoked_subcommand}; remove it")
        return
    duration_s = seconds_of(duration) if duration is not None else None
    raise typer.Exit(_run_system(config_of(context, config), duration_s, _log_format(log_format)))


@app.command()
def check(context: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check a configuration and its secrets, and print the tree that it would start. Starts and creates nothing.

    Example: python run.py check --config live.yaml
    """
    # Only a run and this need what the verbs do not: the supervisors' side.
    from supervisors.plan import planned

    configuration = _checked(config_of(context, config))
    root, children = planned(configuration)
    warnings = expired(configuration.settings, SystemClock().now_ns())
    if as_json:
        answer = {**root, "children": children, "warnings": warnings}
        render.write(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
    else:
        render.show(render.planned_tree(root, children))
        for warning in warnings:
            typer.echo(f"warning: {warning}", err=True)


@simulator_app.callback(invoke_without_command=True)
def simulator(context: typer.Context, config: ConfigOption = None, log_format: LogFormatOption = "auto") -> None:
    """Run the embedded exchange alone until SIGINT or SIGTERM; it prints where it listens and its CA file.

    Example: python run.py simulator --config simulator.yaml
    """
    if config is not None:
        context.obj = config
    if context.invoked_subcommand is not None:
        return
    configuration = _checked(config_of(context, config), check_strategies=False)
    if configuration.settings.exchange is None:
        raise ConfigurationError(
            f"{configuration.config_file}: mode: has no exchange to run; name a file with mode: sim"
        )
    with _held(configuration):
        configure(log_format=_log_format(log_format), level=configuration.settings.log_level, actor="simulator")
        asyncio.run(_serve(configuration))


@simulator_app.command("log")
def simulator_log(
    context: typer.Context,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Only the last 60s, 5m, 2h before its end.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Print the exchange's record of everything received and sent, a line each; it may still be running.

    Example: python run.py simulator log --since 60s
    """
    since_s = seconds_of(since, option="--since") if since is not None else None
    folders = load_folders(config_of(context, config))
    # The reader brings the protobuf classes with it; the verbs do without.
    from nightdesk.simulator.wire.wire_log_reader import lines_of

    for line in lines_of(folders.state_dir, since_s):
        render.write(line)


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line; the exit code. Bad input is one line on standard error, never a traceback."""
    try:
        code = app(args=arguments, prog_name="run.py", standalone_mode=False)
    except NightdeskError as error:
        return _complain(str(error), error.exit_code or EXIT_INTERNAL)
    except _CommandLineError as error:
        return _complain(f"{error.format_message()} (python run.py --help)", EXIT_USAGE)
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except SystemExit as error:
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        # Whoever read our output has gone. Typer makes that code 1, which would say that a journal is unsound.
        render.discard_output()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        render.discard_output()
        return _complain("standard output cannot be written (no space left); mend where it goes", EXIT_USAGE)
    return code if isinstance(code, int) else 0


def _run_system(config: str, duration_s: float | None, log_format: str) -> int:
    configuration = _checked(config)
    settings = configuration.settings
    # Only a run needs what the verbs do not: supervisors bring Thespian with them.
    from actors.plants.last_actions import after_give_up
    from nightdesk.rithmic.login_refusals import forget
    from supervisors.system import EXIT_BUDGET_SPENT, run_tree
    from supervisors.tree import build_tree

    summary = RunSummary(_folders_of(configuration), SystemClock())
    failures: list[str] = []
    with _held(configuration):
        configure(log_format=log_format, level=settings.log_level, actor="run")
        # Only here, not in what restarts processes of a run: it is a person who says that the login may be tried again.
        forget(configuration.state_dir, get_logger())
        code: int = run_tree(
            build_tree(configuration),
            log_format=log_format,
            log_level=settings.log_level,
            duration_s=duration_s,
            deadline_s=settings.shutdown_deadline_s,
            on_stopping=summary.collect,
            runtime_dir=configuration.runtime_dir,
            on_failed=failures.append,
        )
        if code == EXIT_BUDGET_SPENT:
            summary.fields["last_actions"] = after_give_up(configuration, log_format)
        get_logger().info("run_summary", exit_code=code, **summary.fields)
        drain(LAST_LINES_S)
    if code == EXIT_HALTED:
        failures = ["stopped while trading was HALTED; it is so at the next start, until resume-trading"]
    return _complain(failures[0], code) if failures else code


async def _serve(configuration: RunConfiguration) -> None:
    # The exchange brings async_rithmic's protobuf classes with it; the verbs do without.
    from nightdesk.simulator.standalone import serve

    log = get_logger()
    serving = asyncio.create_task(
        serve(configuration, log=log, clock=SystemClock(), on_listening=lambda endpoint: _announce(endpoint, log))
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    log.info("simulator_stopped")


def _announce(endpoint: ExchangeEndpoint, log: FilteringBoundLogger) -> None:
    log.info(
        "simulator_listening",
        url=endpoint.url,
        system_name=endpoint.system_name,
        ca_file=endpoint.ca_file,
        user=endpoint.user,
    )


@contextlib.contextmanager
def _held(run: RunConfiguration) -> Iterator[None]:
    """A run's folders, created and locked, and its login locked, for as long as it lasts."""
    prepare_folders(run)
    owner = Holder(os.getpid(), run.settings.name, run.config_file)
    with contextlib.ExitStack() as held:
        for folder, key in {run.state_dir: "state_dir", run.runtime_dir: "runtime_dir"}.items():
            held.callback(lock_folder(key, folder, owner).release)
        for lock in lock_logins(run.settings, owner):
            held.callback(lock.release)
        yield


class _InternalErrors:
    """What nobody expected ends with code 70, a log line and, only here, a traceback."""

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, SystemExit):
            return
        with contextlib.suppress(OSError):
            get_logger().critical("internal_error", error_type=type(error).__name__, error_message=str(error))
        traceback.print_exception(kind, error, trace)
        raise SystemExit(EXIT_INTERNAL)


def _folders_of(configuration: RunConfiguration) -> Folders:
    return Folders(
        name=configuration.settings.name,
        state_dir=configuration.state_dir,
        runtime_dir=configuration.runtime_dir,
        config_file=configuration.config_file,
    )


def _checked(config: str, *, check_strategies: bool = True) -> RunConfiguration:
    configuration = load_settings(config, check_strategies=check_strategies)
    try:
        check_secrets(configuration.settings)
    except CredentialsError as error:
        raise CredentialsError(f"{configuration.config_file}: {error}") from None
    exchange = configuration.settings.exchange
    if exchange is not None and exchange.faults is not None:
        from nightdesk.simulator.faults.script import script_of

        script_of(configuration.settings)
    return configuration


def _log_format(name: str) -> str:
    if name not in LOG_FORMATS:
        raise ConfigurationError(f"--log-format: expected {', '.join(LOG_FORMATS)}, not {name[:40]!r}")
    if name == "auto":
        return "console" if sys.stdout is not None and sys.stdout.isatty() else "json"
    return name


def _complain(text: str, code: int) -> int:
    line = " ".join(text.split())
    # Standard error may be the same broken pipe as standard output; the exit code must still be the right one.
    with contextlib.suppress(OSError):
        print(f"nightdesk: {line}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    hold_standard_streams()
    with _InternalErrors():
        sys.exit(main())
