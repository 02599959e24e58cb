"""The recovery of an order plant as a way on which it dies again; and the list of all ways."""

from actors.plants.journal import Journal
from nightdesk.messages import ClientOrderId, OrderStatus, OrderType, Side, TimeInForce
from nightdesk.simulator.faults.script import fault_of_command
from nightdesk.trading.order import Order, Purpose
from tests.chaos.crash_books import Books, is_final, read_books
from tests.chaos.crash_linked import Bracket, Oco
from tests.chaos.crash_paths import (
    FAR,
    QUANTITY,
    WRITTEN,
    Cancel,
    Fill,
    FlattenAll,
    Modify,
    NewOrder,
    Path,
    PowerOrder,
    adopted,
    cancel,
    never_received,
    resting,
)
from tests.chaos.crash_probes import SILENT, Call
from tests.chaos.crash_rig import ACCOUNT, EXCHANGE, STRATEGY, SYMBOL, Rig


class Recovery(Path):
    """The start of a plant after a death: one order rests, one has filled unheard, one never left."""

    name = "recovery"
    at_birth = True
    left_out = SILENT
    UNSETTLED = "orders are in doubt"
    # Between its last commit and its word that orders pass are a few calls only: they may all be before the next look.
    rows = frozenset({UNSETTLED})

    async def prepare(self, rig: Rig) -> None:
        await super().prepare(rig)
        await resting(rig, self._id("rests"))
        injector = rig.exchange.injector
        injector.inject(
            fault_of_command({"fault": "mute", "templates": [313, 351, 352], "target": {"plant": "order"}}), "test"
        )
        rig.strategy.submit(self._id("fills"), Side.BUY if rig.strategy.position() <= 0 else Side.SELL, QUANTITY)
        filled = self._id("fills")
        await rig.until(lambda: read_books(rig).exchanged(filled).state == "FILLED", "the exchange has filled it")
        await rig.kill()
        injector.heal()
        self._write_intent(rig)
        await rig.raise_plant(held=True)

    def act(self, rig: Rig) -> None:
        """Being released is all."""

    def passed(self, rig: Rig) -> bool:
        return rig.strategy.permitted

    def judge(self, books: Books, trace: list[Call]) -> str:
        is_settled = is_final(books.row(self._id("fills"))) and is_final(books.row(self._id("lost")))
        return WRITTEN if is_settled else self.UNSETTLED

    async def settled(self, rig: Rig, row: str) -> None:
        books = read_books(rig)
        adopted(books, self._id("rests"), OrderStatus.ACCEPTED)
        adopted(books, self._id("fills"), OrderStatus.FILLED)
        never_received(books, self._id("lost"))
        await cancel(rig, self._id("rests"))

    def _id(self, what: str) -> str:
        return f"{self.order_id}-{what}"

    def _write_intent(self, rig: Rig) -> None:
        """As a plant leaves it that dies between commit and send."""
        system = rig.exchange.system_name
        journal = Journal.open(str(rig.state_dir), system_name=system, durability="process")
        journal.write_intent(
            Order(
                client_order_id=ClientOrderId(self._id("lost")),
                strategy_id=STRATEGY,
                account_id=ACCOUNT,
                symbol=SYMBOL,
                exchange=EXCHANGE,
                side=Side.BUY,
                order_type=OrderType.LIMIT,
                time_in_force=TimeInForce.DAY,
                quantity=QUANTITY,
                price=FAR,
                trigger_price=None,
                protective=False,
                purpose=Purpose.STRATEGY,
                fencing_epoch=rig.strategy.epoch,
                connection_epoch=1,
                broker_ts_ns=0,
                ts_init_ns=rig.exchange.now_ns(),
            )
        )
        journal.close()


PATHS: dict[str, type[Path]] = {
    path.name: path for path in (NewOrder, PowerOrder, Oco, Bracket, Fill, Cancel, Modify, FlattenAll, Recovery)
}
