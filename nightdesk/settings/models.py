"""The configuration as strict, frozen models; every key a file may hold, its unit and its limits."""

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from nightdesk.settings.section import Name as Name
from nightdesk.settings.section import Seconds as Seconds
from nightdesk.settings.section import Section as Section
from nightdesk.settings.supervision import PlantSupervision, SupervisionTree
from nightdesk.settings.supervision import Supervision as Supervision

Path = Annotated[str, Field(min_length=1, max_length=4096)]
"""A file or folder; a relative one is relative to the configuration file's folder."""

CONTRACTS_MAX = 1_000_000


class Secret(Section):
    """Where a secret comes from, never the secret itself: one environment variable or one file of mode 0600.

    In YAML it is written ``${VARIABLE}`` or ``{file: /path}``; the loader turns the first form into ``env``.
    """

    env: str | None = None
    file: Path | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError("give a secret as ${VARIABLE} or as {file: PATH}, not in clear text")
        return self


class Gateway(Section):
    """The R|Protocol gateway to log in to; ``url`` must be wss:// (ws:// only on loopback)."""

    url: str
    system_name: str
    ca_file: Path | None = None
    app_name: str = "nightdesk"
    app_version: str = "0.1.0"
    connect_timeout_s: Seconds = 10.0
    request_timeout_s: Seconds = 10.0
    reconnect_initial_s: Seconds = 0.25
    reconnect_max_s: Seconds = 30.0
    reconnect_attempts_max: Annotated[int, Field(ge=1, le=100_000)] = 1000
    login_refusals_max: Annotated[int, Field(ge=1, le=3)] = 3


class Credentials(Section):
    """The gateway's user and password; read only in the plants."""

    user: Secret
    password: Secret


class Instrument(Section):
    """One contract; ``tick_size`` in price units, ``point_value`` in currency for one whole point."""

    symbol: Annotated[str, Field(pattern=r"^[A-Z0-9]{1,16}$")]
    exchange: Annotated[str, Field(pattern=r"^[A-Z]{1,12}$")]
    tick_size: Annotated[float, Field(ge=1e-9, le=1e9)]
    point_value: Annotated[float, Field(ge=1e-9, le=1e9)]
    commission: Annotated[float, Field(ge=0, le=1e9)] = 0.0


class Risk(Section):
    """The account's limits before each order; quantities in contracts, positions as a worst case per symbol."""

    max_order_quantity: Annotated[int, Field(ge=1, le=CONTRACTS_MAX)]
    max_position: Annotated[int, Field(ge=1, le=CONTRACTS_MAX)]
    max_open_orders: Annotated[int, Field(ge=1, le=CONTRACTS_MAX)]
    max_orders_per_second: Annotated[int, Field(ge=1, le=CONTRACTS_MAX)]


class Strategy(Section):
    """One strategy: its class as ``module:Class``, where to find it, and what it trades.

    ``last_will`` is what becomes of its orders and positions when it is parked (its budget of restarts is spent).
    """

    name: Name
    strategy_class: Annotated[str, Field(alias="class", pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    path: Path | None = None
    symbols: Annotated[list[str], Field(min_length=1)]
    parameters: dict[str, JsonValue] = {}
    on_pause: Literal["keep", "cancel_entries"] = "cancel_entries"
    last_will: Literal["keep", "cancel_entries", "flatten"] = "cancel_entries"
    supervision: Supervision = Supervision()


class AlertChannel(Section):
    """One alert channel; ``events`` are event names or ``*``, ``min_severity`` the least that is passed on."""

    name: Name
    kind: Literal["log", "webhook"]
    url: Secret | None = None
    events: list[str] = ["*"]
    min_severity: Literal["info", "warning", "error", "critical"] = "info"
    timeout_s: Seconds = 5.0
    retries_max: Annotated[int, Field(ge=0, le=10)] = 3
    rate_per_minute: Annotated[int, Field(ge=1, le=6000)] = 60
    supervision: Supervision = Supervision()

    @model_validator(mode="after")
    def _webhook_has_url(self) -> Self:
        if self.kind == "webhook" and self.url is None:
            raise ValueError("a webhook channel needs a url, given as ${VARIABLE} or {file: PATH}")
        return self


class Journal(Section):
    """``process``: survives the death of any process; ``power``: survives a power loss, at a cost per order."""

    durability: Literal["process", "power"] = "process"


class MarketLane(Section):
    """What a subscriber that does not keep up gets: newest quotes and announced gaps, or (replay) all, by waiting."""

    overflow: Literal["conflate", "block"] = "conflate"
    buffer_max: Annotated[int, Field(ge=100, le=1_000_000)] = 20_000


class SyntheticSource(Section):
    """Seeded order flow around a moving price. ``ticks_per_second`` is the mean rate of events at speed 1."""

    kind: Literal["synthetic"]
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    ticks_per_second: Annotated[float, Field(gt=0, le=20_000)] = 20.0
    start_price: Annotated[float, Field(gt=0, le=1e9)] = 5000.0


class ReplaySource(Section):
    """A recorded tape: Parquet (extra ``parquet``) or CSV with the columns named in docs/simulator.md.

    ``symbol`` is the instrument that the tape is played on; ``limit`` (0: all) is the number of rows.
    """

    kind: Literal["replay"]
    path: Path
    symbol: str
    limit: Annotated[int, Field(ge=0, lt=2**63)] = 0


class ExchangeUser(Section):
    """A login at the embedded exchange and its accounts."""

    user: Secret
    password: Secret
    accounts: Annotated[list[str], Field(min_length=1)] = ["SIM-1"]


class Exchange(Section):
    """The embedded R|Protocol exchange. ``port`` 0 lets the system choose; ``speed`` 0: as fast as clients take it."""

    system_name: str = "Nightdesk Simulator"
    port: Annotated[int, Field(ge=0, le=65_535)] = 0
    source: Annotated[SyntheticSource | ReplaySource, Field(discriminator="kind")] = SyntheticSource(kind="synthetic")
    speed: Annotated[float, Field(ge=0, le=100_000)] = 1.0
    users: list[ExchangeUser] = []
    heartbeat_interval_s: Seconds = 60.0
    starting_balance: float = 100_000.0


class Settings(Section):
    """A whole configuration file.

    ``on_system_give_up`` is what becomes of all orders and positions when the system ends with code 6.
    """

    name: Name
    mode: Literal["sim", "paper", "live"]
    armed: bool = False
    account: str | None = None
    state_dir: Path | None = None
    runtime_dir: Path | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    gateway: Gateway | None = None
    credentials: Credentials | None = None
    instruments: Annotated[list[Instrument], Field(min_length=1)]
    risk: Risk
    journal: Journal = Journal()
    market_lane: MarketLane = MarketLane()
    strategies: list[Strategy] = []
    alerts: list[AlertChannel] = []
    exchange: Exchange | None = None
    plant_supervision: PlantSupervision = PlantSupervision()
    supervision: SupervisionTree = SupervisionTree()
    on_system_give_up: Literal["keep", "cancel", "flatten"] = "cancel"
    shutdown_deadline_s: Seconds = 20.0
