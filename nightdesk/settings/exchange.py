"""The embedded exchange's part of the configuration: its market, its users, its accounts and their limits."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from nightdesk.settings.instants import checked_start
from nightdesk.settings.section import Path, Seconds, Secret, Section, Text, TimeOfDay

Money = Annotated[float, Field(ge=0, le=1e12)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]


DEFAULT_ACCOUNTS = ("SIM-1",)
"""Of the user that there is when the configuration names none."""


class SyntheticSource(Section):
    """Seeded order flow around a moving price. ``ticks_per_second`` is the mean rate of events at speed 1."""

    kind: Literal["synthetic"]
    """Made-up order flow around a price that wanders."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    """The same seed gives the same market."""
    ticks_per_second: Annotated[float, Field(gt=0, le=20_000)] = 20.0
    """Mean rate of events at speed 1."""
    start_price: Annotated[float, Field(gt=0, le=1e9)] = 5000.0
    """Where the price begins, in price units."""


class Recording(Section):
    """A recorded file and the instrument whose past it is."""

    path: Path
    """A ``.parquet`` (extra ``parquet``) or ``.csv`` file with the columns of docs/simulator.md."""
    symbol: Text
    """The instrument that it belongs to."""
    limit: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Rows to take; 0 is all."""
    contract: Text | None = None
    """Of a file with several contracts: the one whose rows to take, as its column ``symbol`` has it."""


class ReplaySource(Section):
    """Recorded tapes: Parquet (extra ``parquet``) or CSV with the columns named in docs/simulator.md.

    One tape is named by ``path`` and ``symbol``; several, also of several instruments, by ``tapes``.
    """

    kind: Literal["replay"]
    """Recorded tapes."""
    path: Path | None = None
    """A ``.parquet`` (extra ``parquet``) or ``.csv`` file with the columns of docs/simulator.md."""
    symbol: Text | None = None
    """The instrument that the tape is played on."""
    limit: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Rows to play; 0 is all."""
    contract: Text | None = None
    """Of a file with several contracts: the one whose rows to play, as its column ``symbol`` has it."""
    tapes: list[Recording] = []
    """Instead of ``path`` and ``symbol``: several files; their rows are played in the order of their times."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        is_single = self.path is not None and self.symbol is not None
        is_part = self.path is not None or self.symbol is not None
        if self.tapes and is_part:
            raise ValueError("give either path and symbol, or tapes")
        if not self.tapes and not is_single:
            raise ValueError("give path and symbol of a recorded tape, or a list of tapes")
        return self

    @property
    def recordings(self) -> list[Recording]:
        """All tapes, however they were named."""
        if self.path is not None and self.symbol is not None:
            return [Recording(path=self.path, symbol=self.symbol, limit=self.limit, contract=self.contract)]
        return self.tapes


class ExchangeUser(Section):
    """A login at the embedded exchange and its accounts."""

    user: Secret
    """The user of a login at the embedded exchange."""
    password: Secret
    """Its password."""
    accounts: Annotated[list[Text], Field(min_length=1)] = ["SIM-1"]
    """Its accounts."""
    entitlements: list[Literal["market_data", "depth", "history", "orders"]] = [
        "market_data",
        "depth",
        "history",
        "orders",
    ]
    """What the user may do; anything else is refused with code 13."""
    sessions_per_plant_max: Annotated[int, Field(ge=1, le=100)] = 16
    """Logins of this user to one plant at the same time."""
    on_session_limit: Literal["force_logout", "refuse"] = "force_logout"
    """A login over the limit: the oldest session is logged out (77), or the new one is refused (13)."""


class ExchangeAccount(Section):
    """One account's money and limits; 0 is no limit."""

    id: Text
    """The account, one of those that a user names."""
    starting_balance: Money | None = None
    """In currency; without it the exchange's own."""
    max_order_quantity: Count = 0
    """Contracts in one order."""
    buy_limit: Count = 0
    """Contracts long, working orders included, over all products."""
    sell_limit: Count = 0
    """Contracts short, working orders included, over all products."""
    loss_limit: Money = 0.0
    """A day's loss, in currency, from which on only orders that reduce a position are taken."""
    min_account_balance: Money = 0.0
    """A balance, in currency, below which only orders that reduce a position are taken."""
    products: list[Text] = []
    """Product codes that it may trade, such as ES; without any: all."""


class ExchangeProduct(Section):
    """The exchange's own terms for one listed contract; 0 is none."""

    symbol: Text
    """The contract, one of ``instruments``."""
    margin: Money = 0.0
    """Initial margin of one contract, in currency."""
    max_order_quantity: Count = 0
    """Contracts in one order."""
    price_limit_percent: Annotated[float, Field(ge=0, le=100)] = 0.0
    """How far from the reference price (the session's first) it may trade, up or down."""


class Maintenance(Section):
    """When the embedded exchange keeps everybody out, by the exchange's clocks (Chicago's)."""

    begins: Annotated[TimeOfDay, Field(alias="from")] = "16:10"
    """Sessions end, and nobody can log in. A day on which a market trades or takes orders then has none."""
    ends: Annotated[TimeOfDay, Field(alias="to")] = "16:40"
    """Logins are taken again; later than `from`."""
    weekend: bool = True
    """Over a weekend it lasts until half an hour before a market takes orders again."""

    @model_validator(mode="after")
    def _ends_later(self) -> Self:
        if self.ends <= self.begins:
            raise ValueError(
                f"from {self.begins} to {self.ends} is no time of one day; let it end later than it begins"
            )
        return self


class Exchange(Section):
    """The embedded R|Protocol exchange. ``port`` 0 lets the system choose; ``speed`` 0: as fast as clients take it."""

    system_name: Text = "Nightdesk Simulator"
    """What the exchange calls itself at a login."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """The TCP port on the loopback; 0: any free one."""
    source: Annotated[SyntheticSource | ReplaySource, Field(discriminator="kind")] = SyntheticSource(kind="synthetic")
    """Where the market comes from."""
    speed: Annotated[float, Field(ge=0, le=100_000)] = 1.0
    """Market seconds for one second of yours; 0: as fast as everybody keeps up."""
    start: Text = "open"
    """Market time at the first start: `now`; `open` (now where the market is open for ten more minutes, else five
    seconds before the next opening); or an instant with its offset, such as 2024-03-10T16:55:00-05:00. Tapes bring
    their own."""
    sessions: Literal["calendar", "always"] | None = None
    """Whether markets open and close by their calendar or never close; without it by the calendar, tapes never."""
    quiet_speed: Annotated[float, Field(gt=0, le=100_000)] | None = None
    """Market seconds for one second of yours while every market is closed, where that is faster than `speed`."""
    maintenance: Maintenance | None = Maintenance()
    """When nobody can be logged in; only where markets keep a calendar. An empty value: never."""
    front_month_days: Annotated[int, Field(ge=0, le=60)] = 4
    """Days before a contract's last one from which the next contract is the front month; 4 is the Monday of the week
    in which stock index futures end."""
    users: list[ExchangeUser] = []
    """Logins; without any: user ``nightdesk``, password ``nightdesk``, account ``SIM-1``."""
    accounts: list[ExchangeAccount] = []
    """Accounts with limits of their own; one that is not listed has none."""
    products: list[ExchangeProduct] = []
    """Contracts with terms of their own."""
    history: list[Recording] = []
    """The recorded past that the history plant serves before the session: trades or bars."""
    history_records_max: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    """Records in one answer of the history plant, unless the client resumes."""
    history_pause_s: Annotated[float, Field(ge=0, le=3600)] = 0.0
    """Seconds of output after which an answer stops until the client resumes it; 0: never."""
    framing: Literal["either", "prefixed"] = "either"
    """Whether frames without the four-byte length before the message are served or rejected."""
    heartbeat_interval_s: Seconds = 60.0
    """How often a client must be heard of."""
    starting_balance: Money = 100_000.0
    """Of each new account, in currency."""
    self_match: Literal["allow", "cancel_resting", "cancel_aggressor"] = "allow"
    """When an account's order meets one of its own in the book: they trade, or the older or the newer is canceled."""
    faults: Path | None = None
    """A script of faults to inject (YAML, docs/simulator.md)."""
    wire_log_mb: Annotated[int, Field(ge=0, le=100_000)] = 256
    """Space for the record of everything received and sent, in MiB; the oldest is dropped; 0: no record."""

    @field_validator("start", mode="before")
    @classmethod
    def _start_is_an_instant(cls, value: Any) -> Any:
        return checked_start(value)
