"""The gateway's maintenance beside a market that never closes: what the gateway says then proves nothing."""

import asyncio
from pathlib import Path

from nightdesk.clocks import ManualClock, ManualTime
from nightdesk.messages import ClientOrderId, OrderStatus, TimeInForce
from nightdesk.settings.market_time import MarketTimeSettings
from nightdesk.settings.models import Instrument, Strategy
from tests.calendar_support import at
from tests.fakes import FakeContext
from tests.order_plant_session_support import CLOSED, OPEN, REOPENED, alerts, time_of
from tests.order_plant_support import FAST, FakePeer, Plant, configuration, image, turns, working
from tests.support import wait_until_async

ALWAYS = "ABCZ6"


async def begun(folder: Path) -> tuple[Plant, FakePeer, int]:
    """A plant that trades what has hours and what has none."""
    common = {"exchange": "CME", "tick_size": 0.25, "point_value": 50.0, "commission": 2.25}
    instruments = [Instrument.model_validate({"symbol": symbol, **common}) for symbol in ("ESH4", ALWAYS)]
    strategies = [Strategy.model_validate({"name": "one", "class": "m:C", "symbols": ["ESH4", ALWAYS]})]
    hours = MarketTimeSettings.model_validate({"calendars": {"ABC": "always"}})
    config = configuration(folder, instruments=instruments, strategies=strategies, market_time=hours).to_json()
    clock = ManualClock()
    body = Plant(FakeContext("plants/order", config, clock, market_time=ManualTime(clock, at(OPEN))))
    body.reconcile_policy = FAST
    await body.start()
    await body.link_up()
    peer, welcome = body.hello()
    return body, peer, welcome.fencing_epoch


def test_order_of_a_market_that_never_closes_is_not_ended_by_a_gateway_under_maintenance(tmp_path: Path) -> None:
    """Its lists are empty then: the order is judged when it is over, and nobody is called before."""

    async def run() -> None:
        body, peer, epoch = await begun(tmp_path)
        await working(body, peer, epoch, symbol=ALWAYS, time_in_force=TimeInForce.GTC)
        known = len(alerts(body))
        time_of(body).set(at(CLOSED))
        assert body.account.markets.is_trading(ALWAYS)
        assert not body.account.markets.is_any_trading()
        body.link_down()
        session = await body.link_up(wait=False)
        await wait_until_async(lambda: body.account.unsettled)
        body.context.clock.advance(60.0)  # type: ignore[attr-defined]
        time_of(body).set(at(CLOSED))
        await asyncio.sleep(0.15)
        order = body.account.find(ClientOrderId("o1"))
        assert order is not None
        assert order.status is OrderStatus.ACCEPTED
        assert alerts(body)[known:] == []
        session.lists[320] = [image("o1", "b1")]
        time_of(body).set(at(REOPENED))
        assert body.account.markets.is_any_trading()
        await wait_until_async(lambda: not body.account.reconciling)
        assert order.status is OrderStatus.ACCEPTED
        await turns()
        await body.stop()

    asyncio.run(run())
