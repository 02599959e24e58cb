"""The order plant and a table of instruments that is gone: its journal knows that there was one."""

import asyncio
from pathlib import Path

from nightdesk.instrument_table import AliasEntry, InstrumentTable, TableFile
from nightdesk.messages import OrderType
from tests.calendar_support import at
from tests.order_plant_support import submit
from tests.roll_support import DAY_BEFORE, OLD, Broker, begun, connected, front, held
from tests.support import wait_until_async


def lost(folder: Path, broker: Broker, rule: str, *, trades: bool = False) -> bool:
    """Whether an order plant that starts in a folder says that the table is lost; it may buy something."""

    async def run() -> bool:
        body = await begun(folder, DAY_BEFORE, instruments=front("roll", rule=rule))
        if trades:
            _, peer, epoch = await connected(body, broker)
            body.say(peer, submit("o1", epoch, symbol=OLD, order_type=OrderType.MARKET, price=None))
            await wait_until_async(lambda: held(body, OLD) != 0)
        await body.stop()
        found = [each.severity.name for each in body.context.alerts if each.event == "instrument_table_lost"]  # type: ignore[attr-defined]
        assert found in ([], ["CRITICAL"])
        return bool(found)

    return asyncio.run(run())


def test_orders_that_outlived_the_table_say_that_it_is_lost(tmp_path: Path) -> None:
    """Restored without it, or made anew since the last order; a first start, and rules by dates, have lost nothing."""
    broker = Broker()
    assert not lost(tmp_path, broker, "volume", trades=True)
    assert lost(tmp_path, broker, "volume")
    assert not lost(tmp_path, broker, "date")
    file = TableFile(str(tmp_path / "state"))
    entry = AliasEntry(contract=OLD, rule="volume")
    for begun_at, is_lost in (("2023-12-05 09:00", False), ("2023-12-05 11:00", True)):
        file.write(InstrumentTable(aliases={"ES.front": entry}, market_ns=at(DAY_BEFORE), begun_ns=at(begun_at)))
        assert lost(tmp_path, broker, "volume") == is_lost
