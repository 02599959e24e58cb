"""The broker's positions against the journal's: what is compared is young enough, and silence is told."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from actors.plants.order_audit import MISMATCH_S, SNAPSHOT_AGE_MAX_S, STALE_GRACE_S
from actors.plants.pnl import POSITION_SNAPSHOT, PnlPlantBody
from nightdesk.messages import AccountIdentity, AuditHello, BrokerPosition, BrokerSnapshotEnd, ChildId, Message
from nightdesk.rithmic.library import TEMPLATES
from tests.calendar_support import at
from tests.fakes import FakeContext
from tests.order_plant_session_support import CLOSED, OPEN, REOPENED, alerts, time_of
from tests.order_plant_session_support import play as play_at
from tests.order_plant_support import IDENTITY, FakePeer, FakeSession, Plant, configuration, filled, working
from tests.support import wait_until_async

Scene = Callable[["World"], Awaitable[None]]


class World:
    """An order plant that holds two contracts, and the pnl plant beside it."""

    def __init__(self, body: Plant, pnl: FakePeer) -> None:
        self.body = body
        self.pnl = pnl

    def hello(self) -> None:
        """The pnl plant is there, or has lost its link."""
        self.body.audit.on_message(self.pnl, AuditHello(child_id=ChildId("plants/pnl"), incarnation=1))  # type: ignore[arg-type]

    def moves(self, quantity: int, *, is_snapshot: bool = False) -> None:
        """The broker tells a position, as it changes or in a list."""
        position = BrokerPosition(
            account_id="SIM-1",
            symbol="ESH4",
            exchange="CME",
            quantity=quantity,
            average_price=5000.0,
            is_snapshot=is_snapshot,
            ts_event_ns=1,
        )
        self.body.audit.on_message(self.pnl, position)  # type: ignore[arg-type]

    def tells(self, quantity: int) -> None:
        """A whole list of the broker's positions."""
        self.moves(quantity, is_snapshot=True)
        self.body.audit.on_message(self.pnl, BrokerSnapshotEnd(account_id="SIM-1", ts_event_ns=1))  # type: ignore[arg-type]

    def passes(self, seconds: float, moment: str = OPEN) -> None:
        """Time of this machine, at a moment of the market."""
        for _ in range(round(seconds)):
            self.body.context.clock.advance(1.0)  # type: ignore[attr-defined]
            time_of(self.body).set(at(moment))
            self.body.audit.check()

    def asked(self) -> int:
        """How often the pnl plant was told who we are, which has it ask for a list."""
        return len(self.pnl.of(AccountIdentity))

    async def lasts(self, moment: str = OPEN) -> None:
        """What differs has a reconciliation settle it; what differs after it is told."""
        self.passes(MISMATCH_S + 1, moment)
        await wait_until_async(lambda: not self.body.account.reconciling)
        self.passes(MISMATCH_S + 1, moment)

    def told(self) -> list[str]:
        return [name for name in alerts(self.body) if name != "trading_state_changed"]


def play(folder: Path, scene: Scene) -> None:
    async def run(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
        world = World(body, FakePeer())
        world.hello()
        world.passes(1)
        await scene(world)

    play_at(folder, OPEN, run)


def test_old_picture_is_not_compared_after_a_reopening(tmp_path: Path) -> None:
    """What the pnl plant said before the break is no mismatch; a list is asked for, and what it says is one."""

    async def scene(world: World) -> None:
        world.tells(2)
        world.passes(10)
        world.moves(0)
        world.passes(60, CLOSED)
        asked = world.asked()
        world.passes(60, REOPENED)
        assert world.told() == []
        assert world.asked() == asked + 1
        world.tells(0)
        await world.lasts(REOPENED)
        assert world.told() == ["position_mismatch"]

    play(tmp_path, scene)


def test_old_picture_is_not_compared_after_the_links_return(tmp_path: Path) -> None:
    """The lists have brought fills that the pnl plant has not heard of yet."""

    async def scene(world: World) -> None:
        world.tells(0)
        world.body.link_down()
        world.passes(1)
        asked = world.asked()
        await world.body.link_up()
        assert world.asked() == asked + 1
        world.passes(60)
        assert world.told() == []
        world.tells(0)
        await world.lasts()
        assert world.told() == ["position_mismatch"]

    play(tmp_path, scene)


def test_picture_of_a_pnl_plant_without_its_link_is_void(tmp_path: Path) -> None:
    """It says hello again: positions may change unheard until its next whole list."""

    async def scene(world: World) -> None:
        world.tells(0)
        world.hello()
        world.passes(60)
        assert world.told() == []

    play(tmp_path, scene)


def test_picture_that_is_three_minutes_old_says_nothing(tmp_path: Path) -> None:
    """Lists come every minute; a position that changed after the last one is not compared for ever."""

    async def scene(world: World) -> None:
        world.tells(2)
        world.passes(SNAPSHOT_AGE_MAX_S - 1)
        world.passes(2)
        world.moves(0)
        await world.lasts()
        assert world.told() == []
        world.tells(0)
        await world.lasts()
        assert world.told() == ["position_mismatch"]

    play(tmp_path, scene)


def test_audit_without_lists_is_told_once(tmp_path: Path) -> None:
    """After its time of grace in which a market trades; again only after it was mended."""

    async def scene(world: World) -> None:
        world.passes(STALE_GRACE_S - 2)
        world.passes(300, CLOSED)
        assert world.told() == []
        world.passes(STALE_GRACE_S - 2, REOPENED)
        assert world.told() == []
        world.passes(300, REOPENED)
        assert world.told() == ["audit_stale"]
        assert world.body.context.alerts[-1].severity == "warning"  # type: ignore[attr-defined]
        world.tells(2)
        world.passes(1, REOPENED)
        world.passes(SNAPSHOT_AGE_MAX_S + STALE_GRACE_S + 2, REOPENED)
        assert world.told() == ["audit_stale"] * 2

    play(tmp_path, scene)


class FakeGateway:
    """The pnl plant's session and its lane at once: what it asks for and what it tells."""

    connected = True

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.told: list[Message] = []

        self.lines: list[Any] = [account_line()]
        """What the answer to a question for positions brings."""
        self.on_push: Callable[[int, Any], None] = lambda template_id, message: None

    async def request(self, template_id: int, **fields: Any) -> list[Any]:
        self.asked.append(template_id)
        for line in self.lines:
            self.on_push(line.template_id, line)
        return []

    def send(self, message: Message) -> None:
        self.told.append(message)


def account_line(**fields: Any) -> Any:
    """451 in a list."""
    return TEMPLATES[451](template_id=451, account_id="SIM-1", is_snapshot=True, **fields)


def position_line(symbol: str, quantity: int, *, is_snapshot: bool = True) -> Any:
    """450 in a list, or as it changes."""
    values = {"account_id": "SIM-1", "symbol": symbol, "exchange": "CME", "net_quantity": quantity}
    return TEMPLATES[450](template_id=450, is_snapshot=is_snapshot, **values)


async def asked_once(folder: Path, lines: list[Any]) -> list[Message]:
    """What the pnl plant tells after one question for positions with this answer."""
    body = PnlPlantBody(FakeContext("plants/pnl", configuration(folder).to_json()))
    gateway = FakeGateway()
    gateway.lines, gateway.on_push = lines, body.on_push
    body._lane = gateway  # type: ignore[assignment]
    body._take(IDENTITY)
    await body._snapshot(gateway, "SIM-1")  # type: ignore[arg-type]
    return gateway.told


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [position_line("ESH4", 2)],
        [account_line(net_quantity=2, open_position_quantity=2)],
        [position_line("ESH4", 2), account_line(net_quantity=3)],
        [position_line("ESH4", 2), account_line(net_quantity=2, open_position_quantity=4)],
    ],
    ids=["empty", "without the account", "without the position", "another sum", "a spread is missing"],
)
def test_answer_that_is_not_whole_says_nothing_about_positions(tmp_path: Path, lines: list[Any]) -> None:
    """Neither its end nor what it names is told: what the order plant would not hear of would count as flat."""
    assert asyncio.run(asked_once(tmp_path, lines)) == []


def test_whole_answer_is_told_with_what_has_changed_meanwhile(tmp_path: Path) -> None:
    """A flat account has its own line alone; a fill between image and end is newer than the image."""
    told = asyncio.run(asked_once(tmp_path, [account_line()]))
    assert [type(message) for message in told] == [BrokerSnapshotEnd]
    lines = [
        position_line("ESH4", 2),
        account_line(net_quantity=2, open_position_quantity=2),
        position_line("ESH4", 3, is_snapshot=False),
    ]
    told = asyncio.run(asked_once(tmp_path, lines))
    positions = [(message.quantity, message.is_snapshot) for message in told if isinstance(message, BrokerPosition)]
    assert positions == [(3, False), (3, True)]
    assert isinstance(told[-1], BrokerSnapshotEnd)


def test_pnl_plant_asks_for_a_list_when_it_is_told_who_we_are_and_voids_what_it_said_without_its_link(
    tmp_path: Path,
) -> None:
    """The order plant tells it at an opening and at its own login; nothing waits for the next minute."""

    async def scenario() -> None:
        body = PnlPlantBody(FakeContext("plants/pnl", configuration(tmp_path).to_json()))
        gateway = FakeGateway()
        gateway.on_push = body.on_push
        body._lane = gateway  # type: ignore[assignment]
        body._take(IDENTITY)
        body.session = gateway  # type: ignore[assignment]
        task = asyncio.create_task(body._snapshots())
        await wait_until_async(lambda: gateway.asked == [POSITION_SNAPSHOT])
        body._take(IDENTITY)
        await wait_until_async(lambda: gateway.asked == [POSITION_SNAPSHOT] * 2)
        assert [type(message) for message in gateway.told] == [BrokerSnapshotEnd] * 2
        body.on_link_down("cut")
        assert isinstance(gateway.told[-1], AuditHello)
        task.cancel()

    asyncio.run(scenario())


@pytest.mark.parametrize("cause", ["reconciliation", "link", "break", "pnl plant"])
def test_difference_that_was_told_is_told_once(tmp_path: Path, cause: str) -> None:
    """Whatever interrupts the comparison, the same difference is no news afterwards; its end is."""

    async def scene(world: World) -> None:
        world.tells(0)
        await world.lasts()
        assert world.told() == ["position_mismatch"]
        if cause == "reconciliation":
            world.body.reconciler.request("test")
            world.body.audit.check()
            assert world.body.account.reconciling
            await wait_until_async(lambda: not world.body.account.reconciling)
        elif cause == "link":
            world.body.link_down()
            world.body.audit.check()
            await world.body.link_up()
        elif cause == "break":
            world.passes(10, CLOSED)
        else:
            world.hello()
            world.body.audit.check()
        world.passes(1, REOPENED)
        world.tells(0)
        world.passes(60, REOPENED)
        assert world.told() == ["position_mismatch"]
        world.tells(2)
        world.passes(1, REOPENED)
        world.tells(0)
        await world.lasts(REOPENED)
        assert world.told() == ["position_mismatch"] * 2

    play(tmp_path, scene)
