"""The configuration as strict, frozen models; every key a file may hold, its unit and its limits."""

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from nightdesk.settings.audit import Audit as Audit
from nightdesk.settings.exchange import Exchange as Exchange
from nightdesk.settings.exchange import ExchangeUser as ExchangeUser
from nightdesk.settings.exchange import ReplaySource as ReplaySource
from nightdesk.settings.exchange import SyntheticSource as SyntheticSource
from nightdesk.settings.instruments import Instrument as Instrument
from nightdesk.settings.instruments import Roll as Roll
from nightdesk.settings.maintenance import GatewayMaintenance
from nightdesk.settings.market_time import MarketTimeSettings
from nightdesk.settings.risk import CONTRACTS_MAX as CONTRACTS_MAX
from nightdesk.settings.risk import Risk as Risk
from nightdesk.settings.risk import StrategyRisk as StrategyRisk
from nightdesk.settings.section import DAY_S
from nightdesk.settings.section import Name as Name
from nightdesk.settings.section import Path as Path
from nightdesk.settings.section import Seconds as Seconds
from nightdesk.settings.section import Secret as Secret
from nightdesk.settings.section import Section as Section
from nightdesk.settings.section import Text as Text
from nightdesk.settings.strategy_protection import StrategyProtection
from nightdesk.settings.strategy_session import StrategySession
from nightdesk.settings.supervision import PlantSupervision, SupervisionTree
from nightdesk.settings.supervision import Supervision as Supervision


class Gateway(Section):
    """The R|Protocol gateway to log in to; ``url`` must be wss:// (ws:// only on loopback)."""

    url: str
    """Address of the gateway: ``wss://HOST:PORT``; ``ws://`` on this machine only."""
    system_name: str
    """The system behind it, exactly as Rithmic writes it, such as Rithmic Paper Trading."""
    ca_file: Path | None = None
    """Certificates to trust instead of the public authorities (PEM)."""
    app_name: Text = "nightdesk"
    """The name by which the broker knows this program."""
    app_version: Text = "0.1.0"
    """Its version, as told to the broker."""
    connect_timeout_s: Seconds = 10.0
    """The longest wait for a connection."""
    request_timeout_s: Seconds = 10.0
    """The longest wait for an answer."""
    reconnect_initial_s: Seconds = 0.25
    """The wait before the first new try after a lost connection; it doubles with each try."""
    reconnect_max_s: Seconds = 30.0
    """The longest such wait."""
    reconnect_attempts_max: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Tries in a row without success, after which the plant gives the matter to its supervisor."""
    login_refusals_max: Annotated[int, Field(ge=1, le=3)] = 3
    """Refused logins of all plants together, after which nobody tries again and the system ends with code 3; never
    more, or the broker locks the user."""
    maintenance: GatewayMaintenance | None = GatewayMaintenance()
    """When its operators maintain it: a link that is away then is no news. An empty value: never."""


class Credentials(Section):
    """The gateway's user and password; read only in the plants."""

    user: Secret
    """The user of the login."""
    password: Secret
    """Its password."""


class Strategy(Section):
    """One strategy: its class as ``module:Class``, where to find it, and what it trades.

    ``last_will`` is what becomes of its orders and positions when it is parked (its budget of restarts is spent) or
    does not come back after a crash.
    """

    name: Name
    """Its name; its id is ``strategies/<name>``."""
    strategy_class: Annotated[str, Field(alias="class", pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    """``module:Class``, derived from ``nightdesk.Strategy``."""
    path: Path | None = None
    """The folder that the module is in; without it, what Python finds by itself."""
    symbols: Annotated[list[Text], Field(min_length=1)]
    """What it trades and gets data of; each one of the instruments."""
    parameters: dict[str, JsonValue] = {}
    """Its own values, as its class ``Parameters`` has them."""
    on_pause: Literal["keep", "cancel_entries"] = "cancel_entries"
    """Whether a pause cancels working entries; protective orders always stay."""
    last_will: Literal["keep", "cancel_entries", "flatten"] = "cancel_entries"
    """What becomes of its orders and its position when it is parked, or gone for too long."""
    last_will_on: Literal["park", "crash"] = "park"
    """``park``: when its restarts are spent, or its process has been gone for ``last_will_after_s``; ``crash``: as soon
    as its process ends or is killed because it hangs, whatever its supervisor does then."""
    last_will_after_s: Seconds = 60.0
    """A process that crashed or hung and has not come back for so long counts as gone."""
    session: StrategySession = StrategySession()
    """When it opens no positions, and what becomes of them over breaks."""
    entry_lease_s: Annotated[float, Field(ge=1, le=DAY_S)] | None = None
    """After how long, in market time, the exchange cancels its entries by itself, so that none outlives this machine;
    what protects a position stays. Default: never.
    """
    protection: StrategyProtection = StrategyProtection()
    """What happens where its position has no stop at the exchange."""
    risk: StrategyRisk = StrategyRisk()
    """Limits of its own beside the account's, which they may only tighten (docs/risk.md)."""
    supervision: Supervision = Supervision()
    """How it is restarted."""


class AlertChannel(Section):
    """One alert channel; ``events`` are event names or ``*``, ``min_severity`` the least that is passed on."""

    name: Name
    """Its name; its id is ``services/alerts/<name>``."""
    kind: Literal["log", "webhook"]
    """``log`` writes into the log, ``webhook`` posts JSON."""
    url: Secret | None = None
    """Where a webhook posts to: a secret, ``${VARIABLE}`` or ``{file: PATH}``."""
    events: list[str] = ["*"]
    """Which alerts it gets; ``*`` is all."""
    min_severity: Literal["info", "warning", "error", "critical"] = "info"
    """The least severity that it gets."""
    timeout_s: Seconds = 5.0
    """The longest wait for the far side, per try."""
    retries_max: Annotated[int, Field(ge=0, le=10)] = 3
    """Further tries after a failed one."""
    rate_per_minute: Annotated[int, Field(ge=1, le=6000)] = 60
    """Alerts in one minute; more are counted and summed up. Critical ones are counted apart."""
    supervision: Supervision = Supervision()
    """How it is restarted."""

    @model_validator(mode="after")
    def _webhook_has_url(self) -> Self:
        if self.kind == "webhook" and self.url is None:
            raise ValueError("a webhook channel needs a url, given as ${VARIABLE} or {file: PATH}")
        return self


class Journal(Section):
    """``process``: survives the death of any process; ``power``: survives a power loss, at a cost per order."""

    durability: Literal["process", "power"] = "process"
    """``process``: an order is safe from the death of any process; ``power``: from a power loss, too, at a cost
    per order.
    """


class MarketLane(Section):
    """What a subscriber that does not keep up gets: newest quotes and announced gaps, or (replay) all, by waiting."""

    overflow: Literal["conflate", "block"] = "conflate"
    """``conflate``: newest quotes, and gaps that are announced; ``block``: everything, and the exchange waits
    (replay at speed 0).
    """
    buffer_max: Annotated[int, Field(ge=100, le=1_000_000)] = 20_000
    """Ticks that wait for one strategy."""


class Settings(Section):
    """A whole configuration file.

    ``on_system_give_up`` is what becomes of all orders and positions when the system ends with code 6.
    """

    name: Name
    """Names this system; its folders derive from it, and one system runs per name."""
    mode: Literal["sim", "paper", "live"]
    """``sim``: embedded exchange; ``paper``: a broker's test system; ``live``: real money."""
    armed: bool = False
    """Must be true in mode ``live``: you mean it."""
    account: Text | None = None
    """Which of your accounts; without it, the first that the broker names."""
    state_dir: Path | None = None
    """Journal, exchange's log, audit of commands. Default: ``$STATE_DIRECTORY/<name>``,
    ``$XDG_STATE_HOME/nightdesk/<name>``, else ``~/.local/state/nightdesk/<name>``.
    """
    runtime_dir: Path | None = None
    """Sockets; at most 80 characters. Default: ``$RUNTIME_DIRECTORY/<name>``,
    ``$XDG_RUNTIME_DIR/nightdesk/<name>``, else ``/tmp/nightdesk-<uid>/<name>``.
    """
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is logged."""
    gateway: Gateway | None = None
    """Required in modes ``paper`` and ``live``."""
    credentials: Credentials | None = None
    """Required in modes ``paper`` and ``live``."""
    instruments: Annotated[list[Instrument], Field(min_length=1)]
    """Every contract that may be traded, and aliases such as ES.front."""
    risk: Risk
    """Limits of the account, checked before each order."""
    journal: Journal = Journal()
    """The journal of orders and fills."""
    audit: Audit = Audit()
    """How our books are held against the broker's."""
    external_orders: Literal["adopt", "report"] = "adopt"
    """Orders of others on the account count in its position and in the worst case. ``adopt``: ``cancel-all`` and
    ``flatten`` reach them with ``--external``, and ``flatten`` their positions; ``report``: they are never touched."""
    market_lane: MarketLane = MarketLane()
    """How ticks reach strategies that do not keep up."""
    market_time: MarketTimeSettings = MarketTimeSettings()
    """When the instruments trade."""
    strategies: list[Strategy] = []
    """Each runs in a process of its own."""
    alerts: list[AlertChannel] = []
    """Each channel runs in a process of its own."""
    exchange: Exchange | None = None
    """The embedded exchange; only in mode ``sim``."""
    plant_supervision: PlantSupervision = PlantSupervision()
    """How each plant and the embedded exchange is restarted."""
    supervision: SupervisionTree = SupervisionTree()
    """Strategies and budgets of the supervisors, and what is to differ for single children."""
    on_system_give_up: Literal["keep", "cancel", "flatten"] = "cancel"
    """What becomes of all orders and positions when the system ends with code 6."""
    shutdown_deadline_s: Seconds = 20.0
    """What the whole system has to stop in order; then what is left is killed."""
