"""Bytes of every kind for the exchange, from a seed, and an exchange without sockets that takes them."""

import asyncio
import math
import random
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from google.protobuf.descriptor import FieldDescriptor

from nightdesk.clocks import ManualClock
from nightdesk.settings.models import SyntheticSource
from nightdesk.simulator.engine import Exchange, ExchangeSetup
from nightdesk.simulator.flows.synthetic import SyntheticFlow
from nightdesk.simulator.model import AccountTerms, Product
from nightdesk.simulator.plants.bars import BarStore
from nightdesk.simulator.venue.counters import FIRST_BASKET_ID
from nightdesk.simulator.venue.log import ExchangeLog, rebuild
from nightdesk.simulator.venue.venue import Venue
from nightdesk.simulator.wire.framing import Framing, OutgoingFrame
from nightdesk.simulator.wire.gateway import receive, served
from nightdesk.simulator.wire.session import FCM_ID, IB_ID, Plant, Session, User
from nightdesk.simulator.wire.templates import CLASSES, MESSAGE_NAMES, decode, encode
from tests.simulator_support import START_NS, SYSTEM

PRODUCTS = (
    Product("ESH4", "CME", 0.25, 50.0, 2.0, margin=1000.0, max_order_quantity=50, price_limit_percent=7.0),
    Product("NQH4", "CME", 0.25, 20.0, 2.0),
)
USERS = (User("trader", "secret", ("SIM-1", "SIM-2")), User("other", "secret", ("SIM-3",)))
ACCOUNTS = (AccountTerms("SIM-1", 1e6, loss_limit=5e4), AccountTerms("SIM-2", 1e6, buy_limit=20), "SIM-3")
_SILENT = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(50))
REQUESTS = tuple(number for number, name in MESSAGE_NAMES.items() if name.startswith("Request"))
ORDERS = (312, 312, 312, 314, 316, 328, 330, 330, 332, 334, 344, 346, 3504, 3500)
_START_S = START_NS // 1_000_000_000

PLAUSIBLE: dict[str, tuple[Any, ...]] = {
    "account_id": ("SIM-1",) * 7 + ("SIM-2", "SIM-2", "SIM-3"),
    "agreement_id": ("1", "market-data"),
    "app_name": ("app",),
    "bar_type_specifier": ("1", "5", "100"),
    "cancel_at_usecs": (0, 5),
    "release_at_usecs": (0, 5),
    "trailing_stop": (True,),
    "basket_id": tuple(str(FIRST_BASKET_ID + number) for number in range(12)),
    "cancel_after_secs": (0, 1, 60),
    "cancel_at_ssboe": (_START_S + 1, _START_S + 60),
    "custom_session_close_ssm": (0, 86_400),
    "custom_session_open_ssm": (0, 3_600),
    "date": ("20231114", "20231115"),
    "depth_price": (5000.0, 4999.75),
    "exchange": ("CME",),
    "fcm_id": (FCM_ID,),
    "finish_index": (_START_S + 100, 20231116, 2**31 - 1),
    "ib_id": (IB_ID,),
    "if_touched_exchange": ("CME",),
    "if_touched_price": (5000.0, 4990.0, 5010.0),
    "if_touched_symbol": ("ESH4", "NQH4"),
    "infra_type": (1, 2, 3, 4, 5),
    "level": (10, 20),
    "password": ("secret",),
    "pattern": (1, 2),
    "price": (4990.0, 4999.75, 5000.0, 5000.25, 5010.0),
    "product_code": ("ES", "NQ"),
    "quantity": (1, 2, 5, 60),
    "release_at_ssboe": (_START_S + 1, _START_S + 2),
    "request": (1, 2),
    "request_key": ("0", "1"),
    "search_text": ("ES", "E*"),
    "start_index": (_START_S - 100, 20231114, 0),
    "stop_quantity": (1, 2),
    "stop_ticks": (4, 10, 20),
    "symbol": ("ESH4", "ESH4", "NQH4"),
    "system_name": (SYSTEM,),
    "target_quantity": (1, 2),
    "target_ticks": (4, 10, 20),
    "template_version": ("3.9",),
    "trade_route": ("simulator",),
    "trail_by_price_id": (1, 2, 3),
    "trail_by_ticks": (1, 4),
    "trigger_price": (4990.0, 5000.0, 5010.0),
    "update_bits": (1, 3, 7, 2**20 - 1),
    "user": ("trader",),
    "user_msg": ("a", "b"),
    "user_tag": ("tag", ""),
}
GROUPS: dict[tuple[str, ...], float] = {
    ("if_touched_symbol", "if_touched_exchange", "if_touched_condition", "if_touched_price_field", "if_touched_price"):
        0.1,
    ("release_at_ssboe", "release_at_usecs"): 0.1,
    ("cancel_at_ssboe", "cancel_at_usecs"): 0.1,
    ("cancel_after_secs",): 0.1,
    ("trailing_stop", "trail_by_ticks", "trail_by_price_id"): 0.1,
    ("order_operation_type",): 0.01,
    ("target_market_order_if_touched",): 0.01,
    ("target_market_at_ssboe", "target_market_at_usecs"): 0.1,
    ("stop_market_at_ssboe", "stop_market_at_usecs"): 0.1,
    ("should_defer_request",): 0.5,
}  # fmt: skip
"""Fields that make an order something else, and how often they are given."""

_TARGET, _STOP = {"target_quantity", "target_ticks"}, {"stop_quantity", "stop_ticks"}
_EXITS_LEFT_OUT = {1: _TARGET, 2: _STOP, 4: _TARGET, 5: _STOP}
"""By the type of a bracket."""

_WHOLE = (0, 1, -1, 2**31 - 1, -(2**31), 2**32 - 1, 2**32, 2**53, 2**63 - 1, -(2**63), 2**64 - 1, 86_400, 10**9)
_DECIMAL = (
    0.0, -0.0, -1.0, math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, 1e9, 0.1, 4999.9, 2.0**53, 1e15 + 0.5
)  # fmt: skip
_TEXT = (
    b"", b"\x00", b"\xff\xfe", b"x" * 5000, "\N{SNOWMAN}".encode(), b"-1", b"99999999999999999999", b"1e9", b"[(*",
    b"\xed\xa0\x80", "\N{SUPERSCRIPT TWO}".encode(), b"ESH4\n", b"../..", b"nan", b"00000000", b"99999999",
)  # fmt: skip
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_DECIMAL_TYPES = (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT)


def varint(number: int) -> bytes:
    """A number as protobuf writes it; negative ones take ten bytes."""
    number &= 2**64 - 1
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def raw_field(number: int, wire_type: int, rng: random.Random) -> bytes:
    """A field with a hostile value, of a wire type that may be any."""
    head = varint(number << 3 | wire_type)
    if wire_type == _VARINT:
        return head + varint(rng.choice(_WHOLE))
    if wire_type == _FIXED64:
        return head + struct.pack("<d", rng.choice(_DECIMAL))
    if wire_type == _FIXED32:
        return head + rng.randbytes(4)
    text = rng.choice(_TEXT)
    return head + varint(len(text)) + text


def _plausible(field: FieldDescriptor, rng: random.Random) -> Any:
    if field.type == FieldDescriptor.TYPE_ENUM:
        # The zeros mean nothing in most enumerations.
        return rng.choice([value.number for value in field.enum_type.values if value.number or rng.random() < 0.05])
    if field.name in PLAUSIBLE:
        value = rng.choice(PLAUSIBLE[field.name])
        return str(value) if field.type == FieldDescriptor.TYPE_STRING else value
    if field.type == FieldDescriptor.TYPE_STRING:
        return "text"
    if field.type in _DECIMAL_TYPES:
        return 5000.0
    return rng.choice((0, 1))


def valid(template_id: int, rng: random.Random, **fixed: Any) -> bytes:
    """A request that makes sense, more or less."""
    left_out = {name for names, share in GROUPS.items() if rng.random() > share for name in names}
    kind = rng.randint(1, 6) if template_id == 330 else 0
    if kind:
        left_out |= _EXITS_LEFT_OUT.get(kind, set())
        fixed = {"bracket_type": kind, **fixed}
    legs = rng.choice((2, 2, 3))
    levels = rng.choice((1, 1, 2)) if kind else 1
    fields: dict[str, Any] = {}
    for field in CLASSES[template_id].DESCRIPTOR.fields:
        if field.name == "template_id" or field.name in left_out:
            continue
        count = legs if template_id == 328 else levels
        values = [_plausible(field, rng) for _ in range(count)]
        fields[field.name] = values if field.is_repeated else values[0]
    if fields and rng.random() < 0.1:
        del fields[rng.choice(list(fields))]
    return encode(template_id, **(fields | fixed))


def spoiled(payload: bytes, template_id: int, rng: random.Random) -> bytes:
    """The same request with hostile fields behind it, which win over the ones before; one in ten of a wrong type."""
    fields = CLASSES[template_id].DESCRIPTOR.fields
    for _ in range(rng.choice((1, 1, 2, 4))):
        field = rng.choice(fields)
        wire_type = _LENGTH
        if rng.random() < 0.1:
            wire_type = rng.choice((_VARINT, _FIXED64, _LENGTH, _FIXED32))
        elif field.type in _DECIMAL_TYPES:
            wire_type = _FIXED64
        elif field.type != FieldDescriptor.TYPE_STRING:
            wire_type = _VARINT
        number = field.number if rng.random() < 0.95 else rng.choice((1, 7, 2**29 - 1))
        payload += raw_field(number, wire_type, rng)
    return payload


def torn(payload: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, lost, doubled or put in."""
    changed = bytearray(payload)
    for _ in range(rng.choice((1, 1, 3, 10))):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(5):
            case 0:
                changed[at : at + 1] = rng.randbytes(1)
            case 1:
                del changed[at : at + rng.randrange(1, 8)]
            case 2:
                changed[at:at] = rng.randbytes(rng.randrange(1, 8))
            case 3:
                changed += changed[at:]
            case _:
                del changed[at:]
    return bytes(changed[:100_000])


def _noise(rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice((0, 1, 3, 4, 5, 20, 200)))


def _template(rng: random.Random, plant: Plant | None) -> int:
    """Of nine in ten requests, one that the plant serves; of two in three of those to the order plant, an order's."""
    if rng.random() < 0.1:
        return rng.choice(REQUESTS)
    if plant is Plant.ORDER and rng.random() < 0.7:
        return rng.choice(ORDERS)
    # Nothing that ends the connection.
    return rng.choice(sorted(served(plant) - {12}))


def _any_template(rng: random.Random) -> bytes:
    template_id = rng.choice(list(CLASSES))
    return spoiled(encode(template_id), template_id, rng)


KINDS = ("request", "spoiled", "torn", "any template", "two in one", "noise")
"""What a message may be."""


def message(kind: str, seed: int, plant: Plant | None) -> bytes:
    """A message of a kind for a plant, the same of the same seed."""
    rng = random.Random(seed)
    if kind == "noise":
        return _noise(rng)
    if kind == "any template":
        return _any_template(rng)
    template_id = _template(rng, plant)
    payload = valid(template_id, rng)
    if kind == "spoiled":
        return spoiled(payload, template_id, rng)
    if kind == "torn":
        return torn(payload, rng)
    if kind == "two in one":
        return payload + valid(_template(rng, plant), rng)
    return payload


def burst(seed: int, plant: Plant | None, count: int = 12) -> list[bytes]:
    """Messages of all kinds; few of those that end a connection."""
    rng = random.Random(seed)
    kinds = [*KINDS, *["request"] * 12, *["spoiled"] * 8]
    return [message(rng.choice(kinds), rng.randrange(2**40), plant) for _ in range(count)]


def framed(payload: bytes, framing: Framing, rng: random.Random) -> bytes:
    """The frame for it; in one of 20 the length before it is wrong."""
    if framing is Framing.BARE:
        return payload
    length = len(payload) if rng.random() < 0.95 else rng.choice((0, 1, len(payload) + 1, 2**32 - 1))
    return length.to_bytes(4, "big") + payload


class PaperOutlet:
    """The sending side of a connection that is not there: keeps what was sent."""

    number = 0
    faults = None

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.code: int | None = None

    @property
    def closed(self) -> bool:
        return self.code is not None

    def send(self, frame: OutgoingFrame, framing: Framing) -> None:
        if self.code is None:
            assert frame.transport_bytes(framing)
            self.payloads.append(frame.payload)

    def finish(self, code: int, reason: str) -> None:
        self.code = code if self.code is None else self.code

    def abort(self, reason: str, *, is_reset: bool = False) -> None:
        self.finish(1006, reason)

    def pace(self) -> None:
        pass

    async def room(self) -> None:
        pass


class Paper:
    """An exchange of two contracts with a synthetic market that moves when it is told to."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(START_NS)
        self.log = ExchangeLog(folder / "exchange.log")
        venue = Venue(PRODUCTS, ACCOUNTS, 100_000.0)
        rebuild(self.log, venue)
        source = SyntheticSource(kind="synthetic", seed=1, ticks_per_second=200.0)
        self.exchange = Exchange(
            ExchangeSetup(SYSTEM, PRODUCTS, USERS, history_records_max=500, history_pause_s=0.02),
            venue=venue,
            flow=SyntheticFlow(source, venue, PRODUCTS, START_NS),
            bars=BarStore(),
            exchange_log=self.log,
            clock=self.clock,
            logger=_SILENT,
        )

    def connect(self, plant: Plant | None, framing: Framing | None = None) -> Session:
        """A connection, logged in to a plant unless it is None."""
        outlet: Any = PaperOutlet()
        session = Session(self.exchange, outlet, self.clock.monotonic_s())
        self.exchange.admit(session)
        if framing is not None and plant is not None:
            login = encode(
                10, template_version="3.9", user="trader", password="secret", system_name=SYSTEM, infra_type=plant
            )
            self.send(session, framed(login, framing, random.Random(0)))
            assert session.plant is plant
        return session

    def send(self, session: Session, frame: bytes | str) -> None:
        """What the server does with a frame."""
        if not session.outlet.closed:
            receive(session, frame)

    def play(self) -> None:
        """Some steps of the market."""
        self.exchange.drive._take_steps(lambda _due_ns: True)

    def answers(self, session: Session) -> list[tuple[int, Any]]:
        """Everything that was sent to a session; each is a message that can be read."""
        outlet: Any = session.outlet
        return [decode(payload) for payload in outlet.payloads]

    def check(self) -> None:
        """Another client is served, on each plant, and the log tells of the same accounts and orders."""
        for plant in Plant:
            other = self.connect(plant, Framing.BARE)
            self.send(other, encode(18))
            assert [each for each, _ in self.answers(other)][-1:] == [19]
            self.exchange.forget(other)
        self.log.close()
        venue = self.exchange.venue
        again = Venue(PRODUCTS, ACCOUNTS, 100_000.0)
        log = ExchangeLog(self.log.path)
        try:
            rebuild(log, again)
        finally:
            log.close()
        for account_id in venue.accounts():
            assert again.account(account_id).balance == venue.account(account_id).balance
            assert _positions(again, account_id) == _positions(venue, account_id)


def _positions(venue: Venue, account_id: str) -> dict[str, int]:
    return {each.symbol: each.net_quantity for each in venue.positions(account_id) if each.net_quantity}


@contextmanager
def paper() -> Iterator[Paper]:
    """Such an exchange in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="nd-") as folder:
        yield Paper(Path(folder))


async def settle(exchange: Exchange) -> None:
    """Let the answers that are under way come to their end."""
    for _ in range(2_000):
        exchange.replays.tend()
        lines = exchange.replays._lines.values()
        if all(line.task is None for line in lines):
            return
        await asyncio.sleep(0.0005)
    raise AssertionError("an answer of history never ends")
