"""Any bytes whatever from clients: a Reject, an answer or a close, never an exception, and others are served after."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from nightdesk.simulator.wire.framing import Framing
from nightdesk.simulator.wire.session import Plant
from nightdesk.simulator.wire.templates import MESSAGE_NAMES, encode
from tests.any_bytes import KINDS, REQUESTS, Paper, burst, framed, message, paper, settle, spoiled, valid
from tests.simulator_support import RawClient, running_exchange

EXAMPLES, EXAMPLES_LONG = 100, 5_000
ROUNDS, ROUNDS_LONG = 6, 200
SOCKET_FRAMES, SOCKET_FRAMES_LONG = 150, 5_000
SETTINGS = settings(
    deadline=None, print_blob=True, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)

_SEEDS = st.integers(0, 2**40)
_CONNECTIONS = st.lists(
    st.tuples(st.sampled_from([None, *Plant]), st.sampled_from([None, *Framing])), min_size=1, max_size=4
)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("frame"), st.integers(0, 3), st.sampled_from(KINDS), _SEEDS),
        st.tuples(st.just("burst"), st.integers(0, 3), _SEEDS),
        st.tuples(st.just("text"), st.integers(0, 3), st.text(max_size=20)),
        st.tuples(st.just("bytes"), st.integers(0, 3), st.binary(max_size=40)),
        st.tuples(st.just("again"), st.integers(0, 3)),
        st.tuples(st.just("gone"), st.integers(0, 3)),
        st.tuples(st.just("market")),
        st.tuples(st.just("time"), st.sampled_from([0.1, 2.0, 31.0, 100.0])),
    ),
    max_size=40,
)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One event loop for all examples."""
    made = asyncio.new_event_loop()
    yield made
    made.close()


async def _live(connections: list[tuple[Plant | None, Framing | None]], steps: list[tuple]) -> None:
    with paper() as world:
        exchange = world.exchange
        world.play()
        sessions = [world.connect(*each) for each in connections]
        last = b""
        for step in steps:
            at = step[1] % len(sessions) if len(step) > 1 and isinstance(step[1], int) else 0
            if sessions[at].outlet.closed:
                sessions[at] = world.connect(*connections[at])
            session = sessions[at]
            match step:
                case ("frame", _, kind, seed):
                    framing = session.framing or Framing.PREFIXED
                    last = framed(message(kind, seed, session.plant), framing, random.Random(seed))
                    note(f"{session.plant} {kind} {last!r}")
                    world.send(session, last)
                case ("burst", _, seed):
                    for payload in burst(seed, session.plant):
                        note(f"{session.plant} {payload!r}")
                        world.send(session, framed(payload, session.framing or Framing.PREFIXED, random.Random(seed)))
                case ("text" | "bytes", _, last):
                    world.send(session, last)
                case ("again", _):
                    world.send(session, last)
                case ("gone", _):
                    exchange.forget(session)
                    session.outlet.finish(1000, "")
                case ("market",):
                    world.play()
                case ("time", seconds):
                    world.clock.advance(seconds)
                    exchange.housekeep()
            await asyncio.sleep(0)
        world.play()
        await settle(exchange)
        exchange.housekeep()
        for session in sessions:
            world.answers(session)
        world.check()


def test_any_frames_in_any_order_leave_the_exchange_serving(loop: asyncio.AbstractEventLoop) -> None:
    """Several connections at a time; the market moves and time passes between; the log can be read back."""
    _any_frames(loop, EXAMPLES)


@pytest.mark.chaos
def test_any_frames_in_any_order_leave_the_exchange_serving_for_long(loop: asyncio.AbstractEventLoop) -> None:
    """The same, many times."""
    _any_frames(loop, EXAMPLES_LONG)


def _any_frames(loop: asyncio.AbstractEventLoop, examples: int) -> None:
    @settings(SETTINGS, max_examples=examples)
    @given(_CONNECTIONS, _STEPS)
    def lives(connections: list[tuple[Plant | None, Framing | None]], steps: list[tuple]) -> None:
        loop.run_until_complete(_live(connections, steps))

    lives()


def test_every_request_is_answered_with_any_fields(loop: asyncio.AbstractEventLoop, seed: int) -> None:
    """Every request of the protocol on every plant: as it should be, and with hostile values."""
    loop.run_until_complete(_every_request(seed, ROUNDS))


@pytest.mark.chaos
def test_every_request_is_answered_with_any_fields_for_long(loop: asyncio.AbstractEventLoop, seed: int) -> None:
    """The same, many times."""
    loop.run_until_complete(_every_request(seed, ROUNDS_LONG))


async def _every_request(seed: int, rounds: int) -> None:
    rng = random.Random(seed)
    for _ in range(rounds):
        with paper() as world:
            world.play()
            for plant in [None, *Plant]:
                for template_id in rng.sample(REQUESTS, len(REQUESTS)):
                    await _ask(world, plant, template_id, rng)
            await settle(world.exchange)
            world.exchange.housekeep()
            world.check()


async def _ask(world: Paper, plant: Plant | None, template_id: int, rng: random.Random) -> None:
    session = world.connect(plant, Framing.BARE)
    greeted = len(world.answers(session))
    payload = valid(template_id, rng, user_msg=["asked"])
    if rng.random() < 0.7:
        payload = spoiled(payload, template_id, rng)
    world.send(session, payload)
    await settle(world.exchange)
    if rng.random() < 0.3:
        world.play()
    answers = world.answers(session)[greeted:]
    name = MESSAGE_NAMES[template_id]
    # A second login is ignored, and a client may be told that it is to be silent.
    assert answers or (template_id == 10 and plant is not None), (name, payload)
    world.exchange.forget(session)


@pytest.fixture
def seed() -> int:
    """Of this run; it is in the output of a failure."""
    chosen = random.SystemRandom().randrange(2**32)
    print(f"seed {chosen}")
    return chosen


def test_any_bytes_over_a_socket_are_survived(tmp_path: Path, seed: int) -> None:
    """Real connections, abrupt ends among them; each new client is greeted."""
    asyncio.run(_over_sockets(tmp_path, seed, SOCKET_FRAMES))


@pytest.mark.chaos
def test_any_bytes_over_a_socket_are_survived_for_long(tmp_path: Path, seed: int) -> None:
    """The same, with many more frames."""
    asyncio.run(_over_sockets(tmp_path, seed, SOCKET_FRAMES_LONG))


async def _over_sockets(folder: Path, seed: int, frames: int) -> None:
    rng = random.Random(seed)
    failures: list[dict] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    async with running_exchange(folder) as (_, server):
        sent = 0
        while sent < frames:
            framing = rng.choice(list(Framing))
            client = await RawClient.open(folder, server, framing)
            plant = rng.choice([None, *Plant])
            if plant is not None:
                await client.login(plant)
            for _ in range(rng.randrange(1, 30)):
                sent += 1
                payload = message(rng.choice(KINDS), rng.randrange(2**40), plant)
                frame: bytes | str = framed(payload, framing, rng)
                if rng.random() < 0.02:
                    frame = "text"
                if client.socket.close_code is not None:
                    break
                await client.socket.send(frame)
            await _end(client, rng)
        last = await RawClient.open(folder, server, Framing.BARE)
        await last.login(1)
        await last.send_raw(encode(18))
        assert (await last.receive())[0] == 19
        await last.socket.close()
    assert not failures


async def _end(client: RawClient, rng: random.Random) -> None:
    if rng.random() < 0.5:
        client.socket.transport.abort()
    else:
        await client.socket.close()
