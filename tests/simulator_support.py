"""What tests of the exchange share: an exchange on a real socket, a market that follows a script, and a raw client."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import structlog
from websockets.asyncio.client import ClientConnection, connect

from nightdesk.clocks import Clock, SystemClock
from nightdesk.messages.enums import AggressorSide
from nightdesk.simulator.engine import Exchange, ExchangeSetup
from nightdesk.simulator.model import Product, Quoted, Traded, VenueEvent
from nightdesk.simulator.plants.bars import BarStore
from nightdesk.simulator.plants.past import Past
from nightdesk.simulator.venue.log import ExchangeLog
from nightdesk.simulator.venue.matching import Order
from nightdesk.simulator.venue.venue import Venue
from nightdesk.simulator.wire.certificates import load_or_create
from nightdesk.simulator.wire.framing import Framing, unwrap
from nightdesk.simulator.wire.server import ExchangeServer
from nightdesk.simulator.wire.session import FCM_ID, IB_ID, User
from nightdesk.simulator.wire.templates import decode, encode

ES = Product("ESH4", "CME", 0.25, 50.0, 2.0)
USER = User("trader", "secret", ("SIM-1",))
SYSTEM = "Nightdesk Simulator"
START_NS = 1_700_000_000_000_000_000
ANSWER_S = 5.0


class StillFlow:
    """A market in which nothing happens by itself."""

    def next(self) -> None:
        return None


class ScriptedFlow:
    """A market that plays a list of events, one a step, whatever the venue thinks of them."""

    def __init__(self, events: Sequence[Traded | Quoted]) -> None:
        self._events = iter(events)

    def next(self) -> tuple[int, Callable[[], list[VenueEvent]]] | None:
        event = next(self._events, None)
        if event is None:
            return None
        only: list[VenueEvent] = [event]
        return event.ts_ns, lambda: only


def trade(number: int, price: float = 5000.25) -> Traded:
    """The ``number``-th print of a script, a millisecond after the one before."""
    ts_ns = START_NS + number * 1_000_000
    return Traded("ESH4", "CME", price, number + 1, AggressorSide.BUY, ts_ns, volume=number + 1, vwap=price)


def quote(number: int, *, bid: bool = True, ask: bool = True) -> Quoted:
    """The ``number``-th quote of a script."""
    ts_ns = START_NS + number * 1_000_000
    return Quoted("ESH4", "CME", 5000.0, number + 1, 1, 5000.25, number + 2, 2, bid, ask, ts_ns)


def add_liquidity(venue: Venue, bid: float = 5000.0, ask: float = 5000.25, size: int = 100) -> None:
    """Let anonymous orders rest on both sides of the book."""
    market = venue.market("ESH4")
    for price, is_buy in ((bid, True), (ask, False)):
        outcomes = market.matcher.submit(Order(is_buy, size, round(price / ES.tick_size)))
        venue.step("ESH4", outcomes, START_NS)


@asynccontextmanager
async def running_exchange(
    folder: Path,
    flow: Any = None,
    *,
    clock: Clock | None = None,
    products: Sequence[Product] = (ES,),
    users: Sequence[User] = (USER,),
    past: Past | None = None,
    **setup: Any,
) -> AsyncIterator[tuple[Exchange, ExchangeServer]]:
    """An exchange that listens; its CA is in ``folder``."""
    venue = Venue(products, list(dict.fromkeys(account for user in users for account in user.accounts)), 100_000.0)
    exchange_log = ExchangeLog(folder / "exchange.log")
    exchange = Exchange(
        ExchangeSetup(SYSTEM, tuple(products), tuple(users), **setup),
        venue=venue,
        flow=flow or StillFlow(),
        bars=BarStore(),
        past=past,
        exchange_log=exchange_log,
        clock=clock or SystemClock(),
        logger=structlog.get_logger(),
    )
    async with ExchangeServer(exchange, load_or_create(str(folder)), 0) as server:
        yield exchange, server
    exchange_log.close()


class RawClient:
    """Speaks frames to the exchange, in either framing, and knows nothing else of the protocol."""

    def __init__(self, socket: ClientConnection, framing: Framing) -> None:
        self.socket = socket
        self.framing = framing

    @classmethod
    async def open(cls, folder: Path, server: ExchangeServer, framing: Framing = Framing.PREFIXED) -> Self:
        context = ssl.create_default_context(cafile=str(folder / "exchange-ca.pem"))
        return cls(await connect(server.url, ssl=context, compression=None), framing)

    async def send(self, template_id: int, **fields: Any) -> None:
        payload = encode(template_id, **fields)
        await self.send_raw(payload if self.framing is Framing.BARE else len(payload).to_bytes(4, "big") + payload)

    async def send_raw(self, frame: bytes | str) -> None:
        await self.socket.send(frame)

    async def receive(self) -> tuple[int, Any]:
        frame = await asyncio.wait_for(self.socket.recv(), ANSWER_S)
        assert isinstance(frame, bytes)
        return decode(unwrap(frame, self.framing))

    async def ask(self, template_id: int, **fields: Any) -> tuple[int, Any]:
        """One request, one frame of an answer."""
        await self.send(template_id, **fields)
        return await self.receive()

    async def ask_all(self, template_id: int, **fields: Any) -> list[tuple[int, Any]]:
        """All frames until the one that ends the answer."""
        await self.send(template_id, user_msg=["all"], **fields)
        frames = [await self.receive()]
        while not (getattr(frames[-1][1], "user_msg", None) and frames[-1][1].rp_code):
            frames.append(await self.receive())
        return frames

    async def login(self, plant: int, **changed: Any) -> Any:
        fields = {
            "template_version": "3.9",
            "user": USER.name,
            "password": USER.password,
            "system_name": SYSTEM,
            "app_name": "test",
            "app_version": "1",
            "infra_type": plant,
        }
        template_id, answer = await self.ask(10, **(fields | changed))
        assert template_id == 11
        return answer

    async def closed(self) -> int | None:
        """Read until the server closes; its close code, None for a bare end."""
        await asyncio.wait_for(self.socket.wait_closed(), ANSWER_S)
        return self.socket.close_code


FIRM = {"fcm_id": FCM_ID, "ib_id": IB_ID}
ACCOUNT = FIRM | {"account_id": "SIM-1"}
