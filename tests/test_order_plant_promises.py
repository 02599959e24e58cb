"""What is in the journal's file at the moment at which others hear of it; and what another connection may not send."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

from actors.plants.journal import FILE_NAME
from nightdesk.messages import (
    CancelOrder,
    ChildId,
    ClientOrderId,
    Denial,
    Message,
    ModifyOrder,
    OrderAccepted,
    OrderCanceled,
    OrderDenied,
    OrderEvent,
    OrderFilled,
    OrderInitialized,
    OrderPendingCancel,
    OrderPendingUpdate,
    OrderSubmitted,
    OrderUpdated,
    StrategyHello,
    StrategyId,
    StrategyWelcome,
)
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    complete,
    configuration,
    filled,
    image,
    notice,
    play,
    started,
    submit,
    turns,
    working,
)

ONE = StrategyId("one")


def rows(folder: Path, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """What another process finds in the file: commits alone."""
    connection = sqlite3.connect(f"file:{folder / 'state' / FILE_NAME}?mode=ro", uri=True)
    try:
        return connection.execute(query, values).fetchall()
    finally:
        connection.close()


class Reader(FakePeer):
    """A strategy's process that looks into the file with each event."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.missing: list[Message] = []
        """What it was told of and did not find there."""
        self._folder = folder

    def send(self, message: Message) -> None:
        """Every order has its row before anything is told of it, what came of it its event, an execution its fill."""
        super().send(message)
        if isinstance(message, OrderEvent) and not all(rows(self._folder, *query) for query in self._queries(message)):
            self.missing.append(message)

    def _queries(self, message: OrderEvent) -> list[tuple[Any, ...]]:
        queries: list[tuple[Any, ...]] = [("SELECT 1 FROM orders WHERE client_order_id = ?", message.client_order_id)]
        if not isinstance(message, OrderInitialized | OrderSubmitted):
            queries.append(("SELECT 1 FROM events WHERE event_id = ?", message.event_id))
        if isinstance(message, OrderFilled):
            queries.append(("SELECT 1 FROM fills WHERE fill_id = ?", message.fill_id))
        return queries


def test_intent_is_in_the_file_when_its_frame_leaves(tmp_path: Path) -> None:
    """Its terms and both of its epochs, by another connection to the file, in the very turn of the send."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        query = "SELECT status, quantity, price, fencing_epoch, connection_epoch FROM orders WHERE client_order_id = ?"
        found: list[tuple[Any, ...]] = []
        session.on_send = lambda template_id, fields: found.extend(rows(tmp_path, query, fields["user_tag"]))
        body.say(peer, submit("o1", epoch))
        await turns()
        assert len(session.of(312)) == 1
        assert found == [("INITIALIZED", 2, 5000.0, epoch, body.account.connection_epoch)]

    play(tmp_path, scenario)


def test_nothing_is_told_before_it_is_in_the_file(tmp_path: Path) -> None:
    """The life of an order that is changed, fills in part and is canceled: each word of it was committed first."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        reader = Reader(tmp_path)
        body.say(reader, StrategyHello(strategy_id=ONE, child_id=ChildId("strategies/one"), incarnation=2))
        epoch = reader.of(StrategyWelcome)[0].fencing_epoch
        own: dict[str, Any] = {"client_order_id": ClientOrderId("o1"), "strategy_id": ONE, "fencing_epoch": epoch}
        await working(body, reader, epoch)
        body.say(reader, ModifyOrder(**own, price=4999.0))
        await turns()
        body.on_push(
            352, notice(352, 2, "o1", "b1", price=4999.0, quantity=2, total_fill_size=0, total_unfilled_size=2)
        )
        body.on_push(352, filled("o1", "b1", "f1", 1, 1, 1))
        body.say(reader, CancelOrder(**own))
        await turns()
        body.on_push(351, complete("o1", "b1", "C", 1, 1))
        kinds = [type(each) for each in reader.of(OrderEvent)]
        assert kinds == [
            OrderInitialized, OrderSubmitted, OrderAccepted, OrderPendingUpdate, OrderUpdated, OrderFilled,
            OrderPendingCancel, OrderCanceled,
        ]  # fmt: skip
        assert reader.missing == []

    play(tmp_path, scenario)


def test_order_of_a_former_connection_is_not_sent_over_the_next_one(tmp_path: Path) -> None:
    """The loss between the two was not even noticed: the intent's own epoch says that it was judged before it."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("o1", epoch))
        second = await body.link_up(wait=False)
        await turns()
        assert (session.of(312), second.of(312)) == ([], [])
        assert [(each.client_order_id, each.code) for each in peer.of(OrderDenied)] == [
            ("o1", Denial.STATE_DISCONNECTED)
        ]

    play(tmp_path, scenario)


def test_live_report_is_counted_after_the_lists_that_are_being_read(tmp_path: Path) -> None:
    """It came in the middle of them: what they show is of before it, and comes first."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        body.link_down()
        told: list[int] = []

        def in_the_middle(template_id: int, fields: dict[str, Any]) -> None:
            if template_id == 320:
                body.on_push(352, filled("o1", "b1", "f1", 1, 1, 1))
                told.append(len(peer.of(OrderFilled)))

        def prepare(second: FakeSession) -> None:
            second.on_request = in_the_middle

        await body.link_up(prepare=prepare, orders=[image("o1", "b1")])
        assert told == [0]
        assert [each.fill_id for each in peer.of(OrderFilled)] == ["f1"]

    play(tmp_path, scenario)


def test_cancel_that_waits_for_an_answer_outlives_its_process(tmp_path: Path) -> None:
    """The broker's id is not known yet; the next process learns it from a list and cancels what was to be canceled."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("o1", epoch))
        await turns()
        body.say(peer, CancelOrder(client_order_id=ClientOrderId("o1"), strategy_id=ONE, fencing_epoch=epoch))
        await turns()
        assert session.of(316) == []

    async def again() -> None:
        body = await started(configuration(tmp_path))
        session = await body.link_up(orders=[image("o1", "b1")])
        await turns()
        assert [fields["basket_id"] for fields in session.of(316)] == ["b1"]
        await body.stop()

    play(tmp_path, scenario)
    asyncio.run(again())
