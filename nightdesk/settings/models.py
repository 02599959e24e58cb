"""The configuration as strict, frozen models; every key a file may hold, its unit and its limits."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
"""A name that becomes part of a path in the tree: lower case, digits and underscores, at most 32 characters."""

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Section(BaseModel):
    """A part of the file: unknown keys are refused, values are not coerced, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Secret(Section):
    """Where a secret comes from, never the secret itself: one environment variable or one file of mode 0600.

    In YAML it is written ``${VARIABLE}`` or ``{file: /path}``; the loader turns the first form into ``env``.
    """

    env: str | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError("give a secret as ${VARIABLE} or as {file: PATH}, not in clear text")
        return self


class Supervision(Section):
    """How a child is restarted: more than ``intensity`` restarts in ``period_s`` and its supervisor gives up on it."""

    intensity: Annotated[int, Field(ge=0, le=1000)] = 5
    period_s: Seconds = 60.0
    shutdown_s: Seconds = 5.0
    start_timeout_s: Seconds = 20.0
    watchdog_s: Seconds = 10.0
    backoff_initial_s: Annotated[float, Field(ge=0, le=3600)] = 0.0
    backoff_max_s: Annotated[float, Field(ge=0, le=3600)] = 10.0
    on_give_up: Literal["park", "escalate"] = "park"


class Gateway(Section):
    """The R|Protocol gateway to log in to; ``url`` must be wss:// (ws:// only on loopback)."""

    url: str
    system_name: str
    ca_file: str | None = None
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
    tick_size: Annotated[float, Field(gt=0)]
    point_value: Annotated[float, Field(gt=0)]
    commission: Annotated[float, Field(ge=0)] = 0.0


class Risk(Section):
    """The account's limits before each order; quantities in contracts, positions as a worst case per symbol."""

    max_order_quantity: Annotated[int, Field(ge=1)]
    max_position: Annotated[int, Field(ge=1)]
    max_open_orders: Annotated[int, Field(ge=1)]
    max_orders_per_second: Annotated[int, Field(ge=1)]


class Strategy(Section):
    """One strategy: its class as ``module:Class``, where to find it, and what it trades."""

    name: Name
    strategy_class: Annotated[str, Field(alias="class", pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    path: str | None = None
    symbols: Annotated[list[str], Field(min_length=1)]
    parameters: dict[str, Any] = {}
    on_pause: Literal["keep", "cancel_entries"] = "cancel_entries"
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
    seed: int = 1
    ticks_per_second: Annotated[float, Field(gt=0, le=20_000)] = 20.0
    start_price: Annotated[float, Field(gt=0)] = 5000.0


class ReplaySource(Section):
    """A recorded tape: Parquet (extra ``parquet``) or CSV with the columns named in docs/simulator.md.

    ``symbol`` is the instrument that the tape is played on; ``limit`` (0: all) is the number of rows.
    """

    kind: Literal["replay"]
    path: str
    symbol: str
    limit: Annotated[int, Field(ge=0)] = 0


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
    """A whole configuration file."""

    name: Name
    mode: Literal["sim", "paper", "live"]
    armed: bool = False
    account: str | None = None
    state_dir: str | None = None
    runtime_dir: str | None = None
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
    plant_supervision: Supervision = Supervision(on_give_up="escalate", intensity=10, period_s=60.0)
    shutdown_deadline_s: Seconds = 20.0
