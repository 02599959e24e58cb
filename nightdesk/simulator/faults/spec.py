"""Every fault that can be injected, with its parameters and their limits. The name on the command line is ``fault``."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from nightdesk.settings.section import DAY_S, Section, Text

DELAY_S_MAX = 60.0
"""No single frame is held back for longer."""
TEMPLATES_MAX = 32
"""Templates in one fault."""

TemplateId = Annotated[int, Field(ge=1, le=99_999)]
Templates = Annotated[list[TemplateId], Field(max_length=TEMPLATES_MAX)]
Chance = Annotated[float, Field(gt=0, le=1)]
Wait = Annotated[float, Field(ge=0, le=DELAY_S_MAX)]
Spell = Annotated[float, Field(gt=0, le=DAY_S)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
RatePerMinute = Annotated[float, Field(gt=0, le=600)]
FaultSpell = Annotated[float, Field(gt=0, le=3600)]

PlantName = Literal["ticker", "order", "history", "pnl", "repository"]
DEFAULT_BYTES_PER_S = 200.0
DEFAULT_RATE_PER_MINUTE = 30.0
DEFAULT_SPELL_S = 3.0


class Target(Section):
    """Whom it strikes: connections for which everything that is given holds; nothing given: all."""

    plant: PlantName | None = None
    user: Text | None = None
    connection: Annotated[int, Field(ge=1, lt=2**31)] | None = None


class Fault(Section):
    """What all faults share."""

    is_lasting: ClassVar[bool] = False
    """Whether it stays until its time is over or it is healed."""

    target: Target = Target()


class Lasting(Fault):
    """A fault that stays for ``for_s`` seconds; without it until it is healed."""

    is_lasting: ClassVar[bool] = True

    for_s: Spell | None = None


class OnFrames(Lasting):
    """A fault of sent messages: of these templates (none named: all), each with this chance, by this seed."""

    templates: Templates = []
    chance: Chance = 1.0
    seed: Seed = 1


class Drop(Fault):
    """The connection ends without a close frame."""

    fault: Literal["drop"]


class Reset(Fault):
    """The connection ends with a TCP reset (SO_LINGER 0)."""

    fault: Literal["rst"]


class ForcedLogout(Fault):
    """77, and the session is over."""

    fault: Literal["forced_logout"]


class HalfOpen(Lasting):
    """As if a cable were out: nothing is read or written, the socket stays; what waited arrives when it is healed."""

    fault: Literal["half_open"]
    direction: Literal["both", "in", "out"] = "both"
    """``in``: only what the client sends is lost on the way; ``out``: only what the exchange sends."""


class Delay(OnFrames):
    """Frames leave later, in their order."""

    fault: Literal["delay"]
    latency_s: Wait = 0.2
    jitter_s: Wait = 0.0
    """A random time up to this is added to each frame's."""


class LateAck(OnFrames):
    """Acknowledgements of orders come late and are overtaken by everything else: 313, or the templates named."""

    fault: Literal["late_ack"]
    templates: Templates = [313]
    delay_s: Wait = 1.0


class FillBeforeAck(Lasting):
    """A fill (352) arrives before the 313 and 351 of its order."""

    fault: Literal["fill_before_ack"]
    hold_s: Wait = 1.0
    """An order without a fill gets its acknowledgement after this."""


class SlowRead(Lasting):
    """The exchange takes what the client sends at this rate."""

    fault: Literal["slow_read"]
    bytes_per_s: Annotated[float, Field(ge=1, le=1e9)] = DEFAULT_BYTES_PER_S


class Trickle(Lasting):
    """What the exchange sends arrives in bytes, at this rate."""

    fault: Literal["trickle"]
    bytes_per_s: Annotated[float, Field(ge=1, le=1e9)] = DEFAULT_BYTES_PER_S


class Mute(Lasting):
    """Requests of these templates get no answer; pushes of these templates are not sent."""

    fault: Literal["mute"]
    templates: Annotated[list[TemplateId], Field(min_length=1, max_length=TEMPLATES_MAX)]
    lost: bool = False
    """The request itself never arrives; otherwise it is carried out and only its answer is missing."""


class Duplicate(OnFrames):
    """Frames are sent more than once."""

    fault: Literal["duplicate"]
    copies: Annotated[int, Field(ge=1, le=10)] = 1


class Reorder(OnFrames):
    """Frames that follow each other change places."""

    fault: Literal["reorder"]
    window: Annotated[int, Field(ge=2, le=100)] = 4
    hold_s: Wait = 0.2
    """A window that does not fill is sent after this."""


class Corrupt(OnFrames):
    """Frames are replaced by damaged ones."""

    fault: Literal["corrupt"]
    how: Literal["flip", "length", "varint", "truncate", "empty", "text", "oversize"] = "flip"
    bits: Annotated[int, Field(ge=1, le=64)] = 3
    """So many bits are flipped."""
    instead: bool = True
    """Whether the good frame is lost; otherwise it follows."""


class UnknownTemplate(OnFrames):
    """A frame with a template id that nobody knows stands before each frame."""

    fault: Literal["unknown_template"]
    unknown: TemplateId = 9999


class PartialList(Lasting):
    """Of an answer of several frames some are missing, or its last one is."""

    fault: Literal["partial_list"]
    templates: Annotated[list[TemplateId], Field(min_length=1, max_length=TEMPLATES_MAX)]
    """The requests whose answers are cut, such as 320."""
    cut: Annotated[int, Field(ge=0, le=10_000)] = 1
    """So many data frames are missing, the last ones excepted that come when fewer are there."""
    terminal: bool = True
    """Whether the frame that ends the answer is sent."""


class RefusedLogin(Lasting):
    """Logins are refused, whatever the password."""

    fault: Literal["refused_login"]
    code: Annotated[str, Field(pattern=r"^[0-9]{1,6}$")] = "13"
    text: Text = "permission denied"


class Maintenance(Lasting):
    """The market is closed, every session ends, and nobody can log in until it is over."""

    fault: Literal["maintenance"]
    how: Literal["forced_logout", "drop", "rst"] = "forced_logout"
    """How the sessions end."""
    logins: Literal["drop", "ignore", "refuse"] = "drop"
    """A login meanwhile: the connection ends without a word, nothing is answered, or code 13 is."""


class ReservedMarket(Lasting):
    """The market does not trade: reserved, limit orders wait and market orders are rejected; else only cancels go."""

    fault: Literal["reserved_market"]
    symbol: Text | None = None
    """One contract; without it all."""
    mode: Literal["Reserved", "Halted", "Closed"] = "Reserved"


class ForeignOrders(Lasting):
    """Somebody else trades on the same account."""

    fault: Literal["foreign_orders"]
    account: Text | None = None
    """Without it the first user's first one."""
    symbol: Text | None = None
    """Without it the first contract."""
    side: Literal["BUY", "SELL"] = "BUY"
    quantity: Annotated[int, Field(ge=1, le=1_000)] = 1
    price: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """A limit; without it at the market."""
    count: Annotated[int, Field(ge=1, le=1_000)] = 1
    every_s: Annotated[float, Field(ge=0.01, le=3600)] = 1.0


class WrongPositions(Lasting):
    """The pnl plant tells a quantity that is wrong by ``offset`` contracts."""

    fault: Literal["wrong_positions"]
    offset: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] = 1
    symbol: Text | None = None


class ClockSkew(Lasting):
    """Every time that the exchange sends is shifted."""

    fault: Literal["clock_skew"]
    offset_s: Annotated[int, Field(ge=-DAY_S, le=DAY_S)] = 3600


_ALL: tuple[type[Fault], ...] = (
    Drop, Reset, HalfOpen, Delay, SlowRead, Trickle, Mute, Duplicate, Reorder, Corrupt, UnknownTemplate, PartialList,
    RefusedLogin, ForcedLogout, Maintenance, ReservedMarket, ForeignOrders, WrongPositions, LateAck, FillBeforeAck,
    ClockSkew,
)  # fmt: skip


def name_of(kind: type[Fault]) -> str:
    """What the fault is called in scripts and on the command line."""
    (name,) = kind.model_fields["fault"].annotation.__args__  # type: ignore[union-attr]
    return str(name)


FAULTS: dict[str, type[Fault]] = {name_of(kind): kind for kind in _ALL}
"""Every fault by its name."""


class On(Section):
    """The moment at which a message of a template was seen ``count`` times, received or sent."""

    template: TemplateId
    count: Annotated[int, Field(ge=1, le=1_000_000)] = 1


class When(Section):
    """When a step of a script acts: at a time, again and again, or at a message."""

    at: Annotated[float, Field(ge=0, le=DAY_S)] | None = None
    """Seconds after the exchange began to listen."""
    every: Annotated[float, Field(ge=0.1, le=DAY_S)] | None = None
    """And again after so many seconds."""
    times: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """How often at all, with ``every``."""
    on: On | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.on is not None and (self.at is not None or self.every is not None):
            raise ValueError("give either on, or at and every")
        if self.times is not None and self.every is None:
            raise ValueError("times belongs to every; add every")
        return self


class Mix(Section):
    """A random mix: faults from a list at random times, with random parameters where none are given; by a seed."""

    seed: Seed
    rate_per_minute: RatePerMinute
    at: Annotated[float, Field(ge=0, le=DAY_S)] = 0.0
    for_s: Spell | None = None
    """How long the mix goes on; without it for ever."""
    spell_s: FaultSpell = DEFAULT_SPELL_S
    """The longest time of one fault that lasts."""


MIX = "mix"
"""What a random mix is called on the command line; in a script it is a key of its own."""


def _every_name() -> list[str | Fault]:
    return list(FAULTS)


class RandomMix(Lasting):
    """Faults of a list at random times, by a seed; when it is over everything is that it began."""

    fault: Literal["mix"]
    seed: Seed
    rate_per_minute: RatePerMinute = DEFAULT_RATE_PER_MINUTE
    spell_s: FaultSpell = DEFAULT_SPELL_S
    """The longest time of one fault that lasts."""
    faults: list[str | SerializeAsAny[Fault]] = Field(default_factory=_every_name)
    """Names, whose parameters are random, too, or faults with parameters."""
