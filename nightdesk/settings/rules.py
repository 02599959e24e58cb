"""What one key alone cannot tell: rules between keys, each with its own complaint."""

import difflib
import ipaddress
import os
from collections.abc import Iterator
from urllib.parse import urlsplit

from nightdesk.calendars.load import load_calendar
from nightdesk.errors import CalendarError
from nightdesk.settings.alert_events import ALERT_EVENTS
from nightdesk.settings.contracts import contract_complaints, start_complaints
from nightdesk.settings.exchange import DEFAULT_ACCOUNTS, Recording
from nightdesk.settings.instants import START_OPEN
from nightdesk.settings.market_time import calendar_name_for
from nightdesk.settings.models import ReplaySource, Settings
from nightdesk.settings.risk_rules import risk_complaints
from nightdesk.settings.yaml_source import KeyPath

Complaint = tuple[KeyPath, str]

FLATTEN_BEFORE_CLOSE_MIN_S = 60.0
"""At a broker; in mode sim anything goes."""


def complaints(settings: Settings) -> Iterator[Complaint]:
    """Every rule that the settings break, in the order of the file's usual layout."""
    yield from _mode(settings)
    yield from _gateway(settings)
    yield from _names(settings)
    yield from contract_complaints(settings)
    yield from _instruments(settings)
    yield from _calendars(settings)
    yield from risk_complaints(settings)
    yield from _sessions(settings)
    yield from _exchange(settings)
    yield from _events(settings)
    yield from _files(settings)


def _mode(settings: Settings) -> Iterator[Complaint]:
    if settings.mode == "sim":
        for key in ("gateway", "credentials"):
            if getattr(settings, key) is not None:
                yield (key,), "mode sim trades on the embedded exchange only; remove this, or set mode: paper"
        return
    if settings.exchange is not None:
        yield ("exchange",), f"mode {settings.mode} trades through a gateway; remove exchange, or set mode: sim"
    for key in ("gateway", "credentials"):
        if getattr(settings, key) is None:
            yield (), f"mode {settings.mode} needs {key}; copy that part from config/{settings.mode}.yaml"


def _gateway(settings: Settings) -> Iterator[Complaint]:
    if settings.gateway is None:
        return
    if not settings.gateway.system_name.strip():
        yield ("gateway", "system_name"), "must not be empty; write the system's name exactly as Rithmic does"
    path: KeyPath = ("gateway", "url")
    try:
        url = urlsplit(settings.gateway.url)
        host, _ = url.hostname, url.port
    except ValueError:
        yield path, "is not an address; write wss://HOST:PORT"
        return
    if url.scheme not in ("ws", "wss") or not host:
        yield path, "must be an address of the form wss://HOST:PORT"
    elif url.username or url.password:
        yield path, "must not contain a user or password; put them under credentials"
    elif url.scheme == "ws" and not _is_loopback(host):
        yield path, "ws:// would send the password in clear text off this machine; write wss://"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _names(settings: Settings) -> Iterator[Complaint]:
    for section in ("strategies", "alerts"):
        names: set[str] = set()
        for index, child in enumerate(getattr(settings, section)):
            if child.name in names:
                yield (section, index, "name"), f"a second child is named {child.name}; give each its own name"
            names.add(child.name)


def _instruments(settings: Settings) -> Iterator[Complaint]:
    symbols: set[str] = set()
    for index, instrument in enumerate(settings.instruments):
        if instrument.symbol in symbols:
            yield ("instruments", index, "symbol"), f"{instrument.symbol} is given twice; remove one of them"
        symbols.add(instrument.symbol)
    known = ", ".join(sorted(symbols))
    for index, strategy in enumerate(settings.strategies):
        for place, symbol in enumerate(strategy.symbols):
            path: KeyPath = ("strategies", index, "symbols", place)
            if symbol not in symbols:
                yield path, f"{symbol} is not among the instruments ({known}); add it there or mend it here"
            elif symbol in strategy.symbols[:place]:
                yield path, f"{symbol} is given twice; remove one of them"
    for where, recording in _recordings(settings):
        if recording.symbol not in symbols:
            text = f"{recording.symbol} is not among the instruments ({known}); add it there or mend it here"
            yield (*where, "symbol"), text
    for index, product in enumerate(settings.exchange.products if settings.exchange else ()):
        if product.symbol not in symbols:
            text = f"{product.symbol} is not among the instruments ({known}); add it there or mend it here"
            yield ("exchange", "products", index, "symbol"), text


def _calendars(settings: Settings) -> Iterator[Complaint]:
    for product, name in settings.market_time.calendars.items():
        try:
            load_calendar(name)
        except CalendarError as error:
            yield ("market_time", "calendars", product), str(error)
    for index, instrument in enumerate(settings.instruments):
        try:
            calendar_name_for(instrument.symbol, settings)
        except CalendarError as error:
            yield ("instruments", index, "symbol"), str(error)


def _sessions(settings: Settings) -> Iterator[Complaint]:
    for index, strategy in enumerate(settings.strategies):
        before_s = strategy.session.flatten_before_close_s
        if settings.mode != "sim" and before_s is not None and before_s < FLATTEN_BEFORE_CLOSE_MIN_S:
            yield (
                ("strategies", index, "session", "flatten_before_close_s"),
                f"{before_s:g} s are too few for cancels, a closing order and a lost link; write at least "
                f"{FLATTEN_BEFORE_CLOSE_MIN_S:g}",
            )


def _exchange(settings: Settings) -> Iterator[Complaint]:
    if settings.exchange is None:
        return
    if isinstance(settings.exchange.source, ReplaySource) and settings.exchange.start != START_OPEN:
        yield ("exchange", "start"), "a tape brings its own time; remove start, or the tape"
    yield from start_complaints(settings)
    held = {account for user in settings.exchange.users for account in user.accounts} or set(DEFAULT_ACCOUNTS)
    for index, account in enumerate(settings.exchange.accounts):
        path: KeyPath = ("exchange", "accounts", index, "id")
        if account.id not in held:
            yield path, f"{account.id} belongs to no user ({', '.join(sorted(held))}); add it there or mend it here"
        elif account.id in [other.id for other in settings.exchange.accounts[:index]]:
            yield path, f"{account.id} is given twice; remove one of them"
    for index, product in enumerate(settings.exchange.products):
        if product.symbol in [other.symbol for other in settings.exchange.products[:index]]:
            yield ("exchange", "products", index, "symbol"), f"{product.symbol} is given twice; remove one of them"


def _recordings(settings: Settings) -> Iterator[tuple[tuple[str | int, ...], Recording]]:
    if settings.exchange is None:
        return
    source = settings.exchange.source
    if isinstance(source, ReplaySource):
        for index, recording in enumerate(source.recordings):
            yield ("exchange", "source", "tapes", index) if source.tapes else ("exchange", "source"), recording
    for index, recording in enumerate(settings.exchange.history):
        yield ("exchange", "history", index), recording


def _events(settings: Settings) -> Iterator[Complaint]:
    for index, channel in enumerate(settings.alerts):
        for place, event in enumerate(channel.events):
            if event == "*" or event in ALERT_EVENTS:
                continue
            near = difflib.get_close_matches(event, ALERT_EVENTS, n=1, cutoff=0.6)
            mend = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(ALERT_EVENTS))}"
            yield ("alerts", index, "events", place), f"{event[:40]} is no alert; {mend}"


def _files(settings: Settings) -> Iterator[Complaint]:
    if settings.gateway and settings.gateway.ca_file and not os.path.isfile(settings.gateway.ca_file):
        yield ("gateway", "ca_file"), f"{settings.gateway.ca_file} is not a file; mend the path or remove the key"
    for place, recording in _recordings(settings):
        if not os.path.isfile(recording.path):
            yield (*place, "path"), f"{recording.path} is not a file; mend the path of the recorded tape"
    overrides = settings.market_time.overrides
    if overrides is not None and not os.path.isfile(overrides):
        yield ("market_time", "overrides"), f"{overrides} is not a file; mend the path of the days"
    if settings.exchange and settings.exchange.faults and not os.path.isfile(settings.exchange.faults):
        yield ("exchange", "faults"), f"{settings.exchange.faults} is not a file; mend the path of the fault script"
    for index, strategy in enumerate(settings.strategies):
        if strategy.path is not None and not os.path.isdir(strategy.path):
            yield ("strategies", index, "path"), f"{strategy.path} is not a folder; name the folder the module is in"
