"""An exchange put together from a run's configuration, recovered from its log, and announced to its clients."""

from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from structlog.typing import FilteringBoundLogger

from nightdesk.clocks import Clock
from nightdesk.errors import ConfigurationError
from nightdesk.settings.models import Exchange as ExchangeSettings
from nightdesk.settings.models import ReplaySource
from nightdesk.settings.runtime import ExchangeEndpoint, RunConfiguration
from nightdesk.settings.secrets import resolve_secret
from nightdesk.simulator.engine import Exchange, ExchangeSetup
from nightdesk.simulator.flows.flow import make_flow
from nightdesk.simulator.model import Product
from nightdesk.simulator.plants.bars import BarStore
from nightdesk.simulator.venue.log import ExchangeLog, rebuild
from nightdesk.simulator.venue.venue import Venue
from nightdesk.simulator.wire.certificates import load_or_create, write_private
from nightdesk.simulator.wire.server import ExchangeServer
from nightdesk.simulator.wire.session import User

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DEFAULT_USER = User("nightdesk", "nightdesk", ("SIM-1",))
"""Who may log in when the configuration names nobody; the exchange listens on the loopback only."""

ENDPOINT_FILE = "exchange.json"
AUTHORITY_FILE = "exchange-ca.pem"
LOG_FILE = "exchange.log"


def _users(settings: ExchangeSettings) -> tuple[User, ...]:
    configured = tuple(
        User(resolve_secret(each.user), resolve_secret(each.password), tuple(each.accounts)) for each in settings.users
    )
    return configured or (DEFAULT_USER,)


def _exchange_settings(run: RunConfiguration) -> ExchangeSettings:
    if run.settings.exchange is None:
        raise ConfigurationError(f"{run.config_file}: exchange: the section is missing; add it to run the exchange")
    return run.settings.exchange


def assemble(run: RunConfiguration, *, clock: Clock, logger: FilteringBoundLogger) -> tuple[Exchange, ExchangeLog]:
    """Build the exchange and bring it to the state in which its log left it."""
    settings = _exchange_settings(run)
    products = tuple(
        Product(each.symbol, each.exchange, each.tick_size, each.point_value, each.commission)
        for each in run.settings.instruments
    )
    users = _users(settings)
    accounts = list(dict.fromkeys(account for user in users for account in user.accounts))
    venue = Venue(products, accounts, settings.starting_balance)
    exchange_log = ExchangeLog(Path(run.state_dir) / LOG_FILE)
    records = rebuild(exchange_log, venue)
    logger.info("exchange_recovered", records=records)
    source = settings.source
    setup = ExchangeSetup(
        system_name=settings.system_name,
        products=products,
        users=users,
        speed=settings.speed,
        played_symbol=source.recordings[0].symbol if isinstance(source, ReplaySource) else None,
        heartbeat_interval_s=settings.heartbeat_interval_s,
    )
    exchange = Exchange(
        setup,
        venue=venue,
        flow=make_flow(source, venue, products, clock.now_ns()),
        bars=BarStore(),
        exchange_log=exchange_log,
        clock=clock,
        logger=logger,
    )
    return exchange, exchange_log


def _make_folders(run: RunConfiguration) -> None:
    for folder in (run.state_dir, run.runtime_dir):
        Path(folder).mkdir(parents=True, exist_ok=True, mode=0o700)


@asynccontextmanager
async def listening(
    run: RunConfiguration,
    *,
    clock: Clock,
    logger: FilteringBoundLogger,
    on_listening: Callable[[ExchangeEndpoint], None] | None = None,
) -> "AsyncIterator[ExchangeServer]":
    """Run the exchange of a configuration; its endpoint file exists while it listens."""
    _make_folders(run)
    certificates = load_or_create(run.state_dir)
    exchange, exchange_log = assemble(run, clock=clock, logger=logger)
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
            if on_listening is not None:
                on_listening(endpoint)
            try:
                yield server
            finally:
                endpoint_path.unlink(missing_ok=True)
    finally:
        exchange_log.close()
