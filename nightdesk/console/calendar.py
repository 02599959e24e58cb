"""``calendar``: a product's sessions as the system will live them, and what its market does now."""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nightdesk.calendars.listing import listed, present
from nightdesk.calendars.load import load_calendar, product_of
from nightdesk.calendars.zones import local, zone_of
from nightdesk.clocks import Clock
from nightdesk.console.verbs import ConfigOption, JsonOption, config_of, print_result
from nightdesk.errors import CalendarError, ConfigurationError
from nightdesk.instrument_table import TableFile
from nightdesk.market_clock_file import PublishedTime
from nightdesk.settings.contracts import next_roll_of
from nightdesk.settings.load import load_settings
from nightdesk.settings.market_time import calendar_for, calendar_name_for
from nightdesk.settings.runtime import RunConfiguration

DAYS_SHOWN = 14
"""Trade dates from the first on, where ``--to`` is not given."""
DAYS_MAX = 4000

ProductOption = Annotated[
    list[str] | None,
    typer.Option(
        "--product", metavar="PRODUCT", help="A product or contract; several times. Without: the instruments' products."
    ),
]
FromOption = Annotated[
    str | None, typer.Option("--from", metavar="YYYY-MM-DD", help="The first trade date. Without: today.")
]
ToOption = Annotated[
    str | None, typer.Option("--to", metavar="YYYY-MM-DD", help=f"The last one. Without: {DAYS_SHOWN} days on.")
]
ZoneOption = Annotated[
    str | None,
    typer.Option("--time-zone", metavar="ZONE", help="Local times of this zone. Without: the exchange's own."),
]


def calendar_verb(clock: Clock) -> Callable[..., None]:
    """The verb; ``clock`` tells the time where no exchange of the configuration publishes its own."""

    def calendar(
        context: typer.Context,
        product: ProductOption = None,
        first: FromOption = None,
        last: ToOption = None,
        time_zone: ZoneOption = None,
        config: ConfigOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Show when a product trades: sessions, halts, holidays and early closes, and what the market does now.

        Example: python run.py calendar --product ES --from 2026-11-20 --to 2026-12-01
        """
        run = load_settings(config_of(context, config), check_strategies=False)
        symbols = product or [each.symbol for each in run.settings.instruments]
        products = list(dict.fromkeys(product_of(symbol.strip().upper()) for symbol in symbols))
        now_ns, time_of = _now(run, clock)
        results = [_answer(run, each, first, last, time_zone, now_ns) for each in products]
        print_result([{**each, "time_of": time_of} for each in results], as_json, _rendered)

    return calendar


def _answer(
    run: RunConfiguration, product: str, first: str | None, last: str | None, time_zone: str | None, now_ns: int
) -> dict[str, Any]:
    try:
        sessions = calendar_for(product, run.settings)
    except CalendarError as error:
        raise CalendarError(f"--product: {error}", f"configuration: {run.config_file}") from None
    zone = time_zone or sessions.zone
    try:
        zone_of(zone)
    except CalendarError as error:
        raise ConfigurationError(f"--time-zone: {error}") from None
    begin = _date("--from", first) if first is not None else local(now_ns, sessions.zone).date()
    shown = min(DAYS_SHOWN - 1, (date.max - begin).days)
    end = _date("--to", last) if last is not None else begin + timedelta(days=shown)
    if end < begin:
        raise ConfigurationError(f"--to: {end} is before --from {begin}; exchange them")
    if (end - begin).days >= DAYS_MAX:
        raise ConfigurationError(f"--to: more than {DAYS_MAX} days after --from; ask for a shorter time")
    name = calendar_name_for(product, run.settings)
    answer: dict[str, Any] = {"product": product, "calendar": name, "exchange_zone": sessions.zone, "zone": zone}
    answer["next_roll"] = _next_roll(run, product, zone, now_ns)
    if sessions.never_closes:
        return {**answer, "sessions": [], "now": {"at": local(now_ns, zone).isoformat(), "phase": "open"}}
    return {
        **answer,
        "sessions": listed(sessions, begin, end, zone=zone, shipped=load_calendar(name)),
        "now": {"at": local(now_ns, zone).isoformat(), **present(sessions, now_ns, zone=zone)},
    }


def _next_roll(run: RunConfiguration, product: str, zone: str, now_ns: int) -> dict[str, Any] | None:
    roll = next_roll_of(product, run.settings, now_ns, TableFile(run.state_dir).read())
    if roll is None:
        return None
    opening_ns = roll.pop("opening_ns")
    return {**roll, "at": local(opening_ns, zone).isoformat()}


def _now(run: RunConfiguration, clock: Clock) -> tuple[int, str]:
    if run.settings.mode == "sim":
        published = PublishedTime(run.runtime_dir, speed=1.0, clock=clock)
        try:
            record = published.record()
            # What an exchange that has ended leaves behind is nobody's time any more.
            if record is not None and not record.stopped and record.monotonic_s <= clock.monotonic_s():
                return published.now_ns(), "market"
        finally:
            published.close()
    return clock.now_ns(), "machine"


def _date(option: str, text: str) -> date:
    try:
        if len(text) == len("YYYY-MM-DD"):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise ConfigurationError(f"{option}: expected a date such as 2026-11-27, not {text[:40]!r}")


def _rendered(results: Sequence[dict[str, Any]]) -> RenderableType:
    return Group(*(part for result in results for part in _page(result)))


def _page(result: dict[str, Any]) -> list[RenderableType]:
    title = f"{result['product']}: calendar {result['calendar']}, times of {result['zone']}"
    if not result["sessions"]:
        words = "It never closes." if "next_event" not in result["now"] else "No session."
        return [Text(title, "bold"), Text(words), *_roll(result)]
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("trade date", "pre-open", "opens", "closes", "opens (UTC)", "closes (UTC)", ""):
        table.add_column(column, overflow="fold")
    for session in result["sessions"]:
        day = date.fromisoformat(session["trade_date"])
        marks = "; ".join(session["marks"])
        for index, segment in enumerate(session["segments"]):
            opens, closes = _clock(segment["opens"]), _clock(segment["closes"])
            more = index + 1 < len(session["segments"])
            note = "then a halt" if more else marks
            table.add_row(
                f"{day:%a %Y-%m-%d}" if index == 0 else "", _clock(segment["pre_open"])[-5:], opens, closes,
                _clock(segment["opens_utc"]), _clock(segment["closes_utc"]), note,
            )  # fmt: skip
        if not session["segments"]:
            table.add_row(f"{day:%a %Y-%m-%d}", "", "", "", "", "", marks)
    return [table, _present(result), *_roll(result)]


def _present(result: dict[str, Any]) -> Text:
    now = result["now"]
    text = Text.assemble(("now ", "dim"), f"{_clock(now['at'])} ", (f"({result['time_of']} time)  ", "dim"))
    text.append(now["phase"], "bold")
    event, pause = now["next_event"], now["next_break"]
    text.append(f", trade date {now['trade_date']}; next: {event['kind']} at {_clock(event['at'])}")
    what = f"{pause['kind']} {'halt' if pause['is_halt'] else 'break'}"
    text.append(f"; next break: {_clock(pause['from'])} to {_clock(pause['to'])} ({what})\n")
    return text


def _roll(result: dict[str, Any]) -> list[RenderableType]:
    roll = result["next_roll"]
    if roll is None:
        return []
    text = Text.assemble(("next roll ", "dim"), (f"{roll['old']} to {roll['new']}", "bold"))
    text.append(f" with the opening of {_clock(roll['at'])}, trade date {roll['trade_date']} (by {roll['rule']}")
    text.append(f"; positions: {roll['position']})" if roll["position"] else "; no alias is configured)")
    text.append(f"; {roll['old']} ends on {roll['old_ends']}\n")
    return [text]


def _clock(stamp: str) -> str:
    return f"{datetime.fromisoformat(stamp):%a %m-%d %H:%M}"
