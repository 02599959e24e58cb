"""An exchange put together from a run's configuration, recovered from its log, and announced to its clients."""

from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from structlog.typing import FilteringBoundLogger

from nightdesk.calendars.load import product_of
from nightdesk.clocks import Clock
from nightdesk.errors import ConfigurationError
from nightdesk.market_clock_file import MarketClockWriter
from nightdesk.settings.contracts import aliases_of
from nightdesk.settings.exchange import DEFAULT_ACCOUNTS, ExchangeAccount, ExchangeProduct
from nightdesk.settings.instants import iso_utc
from nightdesk.settings.market_time import begins_with_subscriber, calendar_for, is_always_open
from nightdesk.settings.models import Exchange as ExchangeSettings
from nightdesk.settings.models import Instrument, ReplaySource
from nightdesk.settings.runtime import ExchangeEndpoint, RunConfiguration
from nightdesk.settings.secrets import resolve_secret
from nightdesk.simulator.engine import Exchange, ExchangeSetup
from nightdesk.simulator.faults.commands import CommandSocket
from nightdesk.simulator.faults.plan import Plan
from nightdesk.simulator.faults.script import Script, script_of
from nightdesk.simulator.flows.flow import make_flow
from nightdesk.simulator.flows.synthetic import SyntheticFlow
from nightdesk.simulator.listing import listed, logged, share_of
from nightdesk.simulator.model import AccountTerms, Product
from nightdesk.simulator.plants.bars import BarStore
from nightdesk.simulator.plants.past import Past
from nightdesk.simulator.plants.past_file import PastFile
from nightdesk.simulator.start import Former, start_of
from nightdesk.simulator.venue.log import ExchangeLog, rebuild
from nightdesk.simulator.venue.matching import SelfMatch
from nightdesk.simulator.venue.trade_dates import TradeDates
from nightdesk.simulator.venue.venue import Venue
from nightdesk.simulator.wire.certificates import load_or_create, write_private
from nightdesk.simulator.wire.server import ExchangeServer
from nightdesk.simulator.wire.session import User
from nightdesk.simulator.wire.wire_log import WireLog
from nightdesk.trading.rolls import is_alias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DEFAULT_USER = User("nightdesk", "nightdesk", DEFAULT_ACCOUNTS)
"""Who may log in when the configuration names nobody; the exchange listens on the loopback only."""

ENDPOINT_FILE = "exchange.json"
AUTHORITY_FILE = "exchange-ca.pem"
LOG_FILE = "exchange.log"


def _users(settings: ExchangeSettings) -> tuple[User, ...]:
    configured = tuple(
        User(
            resolve_secret(each.user),
            resolve_secret(each.password),
            tuple(each.accounts),
            entitlements=frozenset(each.entitlements),
            sessions_per_plant_max=each.sessions_per_plant_max,
            is_refused_over_limit=each.on_session_limit == "refuse",
        )
        for each in settings.users
    )
    return configured or (DEFAULT_USER,)


def _products(instruments: Sequence[Instrument], settings: ExchangeSettings) -> tuple[Product, ...]:
    terms = {each.symbol: each for each in settings.products}
    # Terms of an alias are those of each of its contracts.
    by_alias = {product_of(symbol): each for symbol, each in terms.items() if is_alias(symbol)}
    return tuple(
        Product(
            each.symbol,
            each.exchange,
            each.tick_size,
            each.point_value,
            each.commission,
            margin=own.margin,
            max_order_quantity=own.max_order_quantity,
            price_limit_percent=own.price_limit_percent,
        )
        for each in instruments
        for own in [
            terms.get(each.symbol) or by_alias.get(product_of(each.symbol)) or ExchangeProduct(symbol=each.symbol)
        ]
    )


def _accounts(users: Sequence[User], settings: ExchangeSettings) -> list[AccountTerms]:
    given = {each.id: each for each in settings.accounts}
    return [
        AccountTerms(
            account_id,
            settings.starting_balance if own.starting_balance is None else own.starting_balance,
            max_order_quantity=own.max_order_quantity,
            buy_limit=own.buy_limit,
            sell_limit=own.sell_limit,
            loss_limit=own.loss_limit,
            min_account_balance=own.min_account_balance,
            products=tuple(own.products),
        )
        for account_id in dict.fromkeys(account for user in users for account in user.accounts)
        for own in [given.get(account_id) or ExchangeAccount(id=account_id)]
    ]


def _wire_log(
    run: RunConfiguration, settings: ExchangeSettings, users: Sequence[User], clock: Clock, logger: FilteringBoundLogger
) -> WireLog | None:
    if not settings.wire_log_mb:
        return None
    secrets = [user.password for user in users]
    return WireLog(run.state_dir, limit_bytes=settings.wire_log_mb << 20, clock=clock, logger=logger, secrets=secrets)


def _past(settings: ExchangeSettings, products: Sequence[Product], logger: FilteringBoundLogger) -> Past:
    by_symbol = {product.symbol: product for product in products}
    files = []
    for each in settings.history:
        product = by_symbol.get(each.symbol)
        if product is None:
            raise ConfigurationError(f"exchange.history: {each.symbol} is none of instruments; add it there")
        files.append(PastFile(str(each.path), product, each.limit))
    return Past(files, logger)


def _exchange_settings(run: RunConfiguration) -> ExchangeSettings:
    if run.settings.exchange is None:
        raise ConfigurationError(f"{run.config_file}: exchange: the section is missing; add it to run the exchange")
    return run.settings.exchange


def _start_ns(
    run: RunConfiguration,
    clock: Clock,
    market_clock: MarketClockWriter | None,
    logged_ns: int,
    logger: FilteringBoundLogger,
) -> int:
    """The market time at which a market without tapes begins; never before the one that it had reached."""
    former = Former(market_clock.resumed if market_clock is not None else None, logged_ns)
    calendars = {calendar_for(each.symbol, run.settings) for each in run.settings.instruments}
    start = start_of(_exchange_settings(run).start, calendars, clock.now_ns(), clock.monotonic_s(), former)
    if start.ns != start.wanted_ns:
        logger.info("exchange_time_continues", market_time=iso_utc(start.ns), start=iso_utc(start.wanted_ns))
    return start.ns


def _listed(
    run: RunConfiguration, clock: Clock, market_clock: MarketClockWriter | None, logger: FilteringBoundLogger
) -> list[Instrument]:
    """The contracts to list; which ones an alias means depends on the market time at which the exchange begins."""
    if not aliases_of(run.settings):
        return run.settings.instruments
    former = logged(Path(run.state_dir) / LOG_FILE)
    now_ns = _start_ns(run, clock, market_clock, former.newest_ns, logger)
    return listed(run.settings, now_ns, former.symbols)


def assemble(
    run: RunConfiguration, *, clock: Clock, logger: FilteringBoundLogger, market_clock: MarketClockWriter | None = None
) -> tuple[Exchange, ExchangeLog]:
    """Build the exchange and bring it to the state in which its log left it; its time goes to ``market_clock``."""
    settings = _exchange_settings(run)
    instruments = _listed(run, clock, market_clock, logger)
    products = _products(instruments, settings)
    users = _users(settings)
    calendars = {each.symbol: calendar_for(each.symbol, run.settings) for each in instruments}
    venue = Venue(
        products,
        _accounts(users, settings),
        settings.starting_balance,
        self_match=SelfMatch(settings.self_match.upper()),
        dates=TradeDates(calendars),
    )
    exchange_log = ExchangeLog(Path(run.state_dir) / LOG_FILE)
    records = rebuild(exchange_log, venue)
    logger.info("exchange_recovered", records=records)
    source = settings.source
    is_played = isinstance(source, ReplaySource)
    start_ns = None if is_played else _start_ns(run, clock, market_clock, exchange_log.newest_ns, logger)
    setup = ExchangeSetup(
        system_name=settings.system_name,
        products=products,
        users=users,
        speed=settings.speed,
        played_symbols=frozenset(each.symbol for each in source.recordings)
        if isinstance(source, ReplaySource)
        else frozenset(),
        heartbeat_interval_s=settings.heartbeat_interval_s,
        history_records_max=settings.history_records_max,
        history_pause_s=settings.history_pause_s,
        is_prefix_required=settings.framing == "prefixed",
        start_ns=start_ns,
        quiet_speed=settings.quiet_speed,
        front_month_days=settings.front_month_days,
        waits_for_clients=begins_with_subscriber(run.settings),
    )
    flow_ns = clock.now_ns() if start_ns is None else start_ns
    flow = make_flow(source, venue, products, flow_ns, share_of(run.settings))
    exchange = Exchange(
        setup,
        venue=venue,
        flow=flow,
        bars=BarStore(),
        past=_past(settings, products, logger),
        exchange_log=exchange_log,
        clock=clock,
        logger=logger,
        wire_log=_wire_log(run, settings, users, clock, logger),
        market_clock=market_clock,
    )
    if not is_always_open(run.settings) and any(not each.never_closes for each in calendars.values()):
        exchange.keep_days(calendars, settings.maintenance, flow if isinstance(flow, SyntheticFlow) else None)
    return exchange, exchange_log


def _make_folders(run: RunConfiguration) -> None:
    for folder in (run.state_dir, run.runtime_dir):
        Path(folder).mkdir(parents=True, exist_ok=True, mode=0o700)


@asynccontextmanager
async def _on_command(
    run: RunConfiguration, exchange: Exchange, script: Script, logger: FilteringBoundLogger
) -> "AsyncIterator[None]":
    """Faults from the script and from the command socket while the block lasts."""
    commands = CommandSocket(exchange, run.runtime_dir, logger)
    plan = Plan(script, exchange.injector, logger)
    await commands.start()
    plan.start()
    try:
        yield
    finally:
        plan.close()
        exchange.injector.close()
        await commands.close()


@asynccontextmanager
async def listening(
    run: RunConfiguration,
    *,
    clock: Clock,
    logger: FilteringBoundLogger,
    on_listening: Callable[[ExchangeEndpoint], None] | None = None,
) -> "AsyncIterator[ExchangeServer]":
    """Run the exchange of a configuration; its endpoint file exists while it listens."""
    script = script_of(run.settings)
    _make_folders(run)
    certificates = load_or_create(run.state_dir)
    market_clock = MarketClockWriter(run.runtime_dir, speed=_exchange_settings(run).speed, clock=clock)
    exchange, exchange_log = assemble(run, clock=clock, logger=logger, market_clock=market_clock)
    endpoint_path = Path(run.runtime_dir) / ENDPOINT_FILE
    try:
        async with ExchangeServer(exchange, certificates, _exchange_settings(run).port) as server:
            authority_path = Path(run.runtime_dir) / AUTHORITY_FILE
            write_private(authority_path, certificates.authority_pem)
            user = next(iter(exchange.users.values()))
            endpoint = ExchangeEndpoint(
                url=server.url,
                system_name=exchange.system_name,
                ca_file=str(authority_path),
                user=user.name,
                password=user.password,
            )
            write_private(endpoint_path, endpoint.model_dump_json().encode())
            logger.info(
                "exchange_listening", url=server.url, system_name=exchange.system_name, ca_file=str(authority_path)
            )
            async with _on_command(run, exchange, script, logger):
                if on_listening is not None:
                    on_listening(endpoint)
                try:
                    yield server
                finally:
                    endpoint_path.unlink(missing_ok=True)
    finally:
        market_clock.close()
        exchange_log.close()
        if exchange.wire_log is not None:
            exchange.wire_log.close()
