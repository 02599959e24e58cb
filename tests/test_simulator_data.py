"""History, live bars, positions and money of the exchange; and how a replay at full speed waits for its clients."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from nightdesk.clocks import ManualClock
from nightdesk.messages.enums import BarUnit
from nightdesk.simulator.engine import Exchange
from nightdesk.simulator.model import VenueEvent
from nightdesk.simulator.wire.session import Session
from tests.simulator_support import (
    ACCOUNT,
    START_NS,
    RawClient,
    ScriptedFlow,
    add_liquidity,
    running_exchange,
    trade,
)
from tests.support import wait_until_async

TICKER, ORDER, HISTORY, PNL = 1, 2, 3, 4
ES = {"symbol": "ESH4", "exchange": "CME"}
START_S = START_NS // 10**9
MARKET = {"quantity": 1, "transaction_type": 1, "duration": 1, "price_type": 2, "trade_route": "simulator"}


def run(coroutine: Any) -> None:
    """Run one test's coroutine."""
    asyncio.run(asyncio.wait_for(coroutine, 20.0))


def play(exchange: Exchange, first: int, count: int) -> None:
    """Let trades happen, a millisecond apart."""
    events: list[VenueEvent] = [trade(number, 5000.0 + number % 4) for number in range(first, first + count)]
    exchange.publish(events)


def test_time_bars_carry_the_end_of_the_bar_and_the_period_in_seconds(tmp_path: Path) -> None:
    """One 203 per bar with rq_handler, then a bare one; days are asked for and marked as YYYYMMDD."""

    async def scenario() -> None:
        async with running_exchange(tmp_path) as (exchange, server):
            play(exchange, 0, 2500)
            client = await RawClient.open(tmp_path, server)
            await client.login(HISTORY)
            span = {"start_index": START_S - 100, "finish_index": START_S + 100}
            frames = await client.ask_all(202, **ES, bar_type=1, bar_type_period=1, time_order=1, **span)
            assert [t for t, _ in frames] == [203] * 4
            bars = [m for _, m in frames[:-1]]
            assert [m.marker for m in bars] == [START_S + 1, START_S + 2, START_S + 3]
            assert [(m.num_trades, m.period, list(m.rq_handler_rp_code)) for m in bars[:2]] == [(1000, "1", ["0"])] * 2
            assert (bars[0].open_price, bars[0].high_price, bars[0].low_price) == (5000.0, 5003.0, 5000.0)
            assert [field.name for field, _ in frames[-1][1].ListFields()] == ["user_msg", "rp_code", "template_id"]
            last = await client.ask_all(
                202, **ES, bar_type=1, bar_type_period=1, direction=2, time_order=2, user_max_count=2, **span
            )
            assert [m.marker for _, m in last[:-1]] == [START_S + 3, START_S + 2]
            minutes = await client.ask_all(202, **ES, bar_type=2, bar_type_period=1, **span)
            assert [(m.period, m.num_trades) for _, m in minutes[:-1]] == [("60", 2500)]
            days = await client.ask_all(202, **ES, bar_type=3, start_index=20231114, finish_index=20231114)
            assert [(m.marker, m.num_trades) for _, m in days[:-1]] == [(20231114, 2500)]
            seconds = await client.ask_all(202, **ES, bar_type=3, **span)
            assert [list(m.rp_code) for _, m in seconds] == [["7", "no data"]]

    run(scenario())


def test_ticks_are_one_record_per_trade_and_capped(tmp_path: Path) -> None:
    """207 with both times of the bar; more than 10,000 are cut off behind a last frame that looks complete."""

    async def scenario() -> None:
        async with running_exchange(tmp_path) as (exchange, server):
            play(exchange, 0, 10_050)
            client = await RawClient.open(tmp_path, server)
            await client.login(HISTORY)
            ask = ES | {"bar_type": 1, "bar_sub_type": 1, "bar_type_specifier": "1", "start_index": START_S}
            frames = await client.ask_all(206, **ask, finish_index=START_S + 100)
            assert len(frames) == 10_001
            first = frames[0][1]
            assert (first.open_price, first.volume, first.num_trades) == (5000.0, 1, 1)
            assert (list(first.data_bar_ssboe), list(first.data_bar_usecs)) == ([START_S] * 2, [0, 0])
            everything = await client.ask_all(206, **ask, finish_index=START_S + 100, resume_bars=True)
            assert len(everything) == 10_051
            assert list(everything[-1][1].rp_code) == ["0"]
            refused = await client.ask_all(206, **(ask | {"bar_type_specifier": "x"}), finish_index=START_S)
            assert list(refused[0][1].rp_code) == ["6", "bad input"]

    run(scenario())


def test_live_bar_is_sent_when_it_closes(tmp_path: Path) -> None:
    """250 comes once per close to those who asked for that bar, and no more after they unsubscribed."""

    async def scenario() -> None:
        async with running_exchange(tmp_path) as (exchange, server):
            client = await RawClient.open(tmp_path, server)
            await client.login(HISTORY)
            bar = ES | {"bar_type": 1, "bar_type_period": 1}
            _, answer = await client.ask(200, **bar, request=1)
            assert list(answer.rp_code) == ["0"]
            play(exchange, 0, 1001)
            template_id, closed = await client.receive()
            assert (template_id, closed.marker, closed.num_trades) == (250, START_S + 1, 1000)
            await client.ask(200, **bar, request=2)
            play(exchange, 1001, 1000)
            assert (await client.ask(18))[0] == 19

    run(scenario())


def test_watched_bars_are_released_with_their_session(tmp_path: Path) -> None:
    """A client that goes away leaves no bar watched behind it."""

    async def scenario() -> None:
        async with running_exchange(tmp_path) as (exchange, server):
            client = await RawClient.open(tmp_path, server)
            await client.login(HISTORY)
            await client.ask(200, **ES, bar_type=2, bar_type_period=1, request=1)
            session: Session = next(iter(exchange.sessions))
            await client.socket.close()
            await wait_until_async(lambda: not exchange.sessions)
            assert not exchange.bar_feed.unsubscribe(session, ("ESH4", BarUnit.MINUTE, 1))

    run(scenario())


def test_positions_are_images_then_updates_on_each_fill(tmp_path: Path) -> None:
    """A flat account yields only 451; a fill brings 450 and 451; money is text in 451 and mixed in 450."""

    async def scenario() -> None:
        async with running_exchange(tmp_path) as (exchange, server):
            add_liquidity(exchange.venue)
            pnl, orders = [await RawClient.open(tmp_path, server) for _ in range(2)]
            await pnl.login(PNL)
            await orders.login(ORDER)
            flat = await pnl.ask_all(402, **ACCOUNT)
            assert [t for t, _ in flat] == [451, 403]
            assert (flat[0][1].is_snapshot, flat[0][1].account_balance) == (True, "100000.00")
            assert list((await pnl.ask(400, **ACCOUNT, request=1))[1].rp_code) == ["0"]
            await orders.send(312, **ACCOUNT, **ES, **MARKET)
            (first, position), (second, account) = await pnl.receive(), await pnl.receive()
            assert (first, second) == (450, 451)
            assert (position.net_quantity, position.avg_open_fill_price, position.fill_buy_qty) == (1, 5000.25, 1)
            assert (position.day_closed_pnl, position.closed_position_pnl) == (0.0, "0.00")
            assert position.HasField("day_closed_pnl")
            assert not position.HasField("is_snapshot")
            assert (account.account_balance, account.rms_account_commission) == ("99998.00", "2.00")
            images = await pnl.ask_all(402, **ACCOUNT)
            while images[0][1].HasField("is_snapshot") is False:
                images.pop(0)
            assert [t for t, _ in images] == [450, 451, 403]
            missing = await pnl.ask_all(400, account_id="SIM-1")
            assert missing[-1][1].rp_code[0] == "1039"

    run(scenario())


def test_open_positions_are_marked_at_most_once_a_second(tmp_path: Path) -> None:
    """Between fills the market moves positions, but updates come by the clock, not by the tick."""
    clock = ManualClock(START_NS)

    async def scenario() -> None:
        async with running_exchange(tmp_path, clock=clock) as (exchange, server):
            add_liquidity(exchange.venue)
            pnl, orders = [await RawClient.open(tmp_path, server) for _ in range(2)]
            await pnl.login(PNL)
            await orders.login(ORDER)
            await pnl.ask(400, **ACCOUNT, request=1)
            await orders.send(312, **ACCOUNT, **ES, **MARKET)
            assert [(await pnl.receive())[0] for _ in range(2)] == [450, 451]
            play(exchange, 0, 5)
            exchange.housekeep()
            assert (await pnl.ask(18))[0] == 19
            clock.advance(1.0)
            exchange.housekeep()
            exchange.housekeep()
            assert [(await pnl.receive())[0] for _ in range(2)] == [450, 451]
            assert (await pnl.ask(18))[0] == 19

    run(scenario())


def test_market_at_full_speed_waits_for_a_client_that_does_not_read(tmp_path: Path) -> None:
    """Back-pressure reaches the flow: with a reader that stands still the market stops a bounded way ahead of it."""
    count = 20_000

    async def scenario() -> None:
        flow = ScriptedFlow([trade(number) for number in range(count)])
        async with running_exchange(tmp_path, flow, speed=0.0) as (exchange, server):
            client = await RawClient.open(tmp_path, server)
            await client.login(TICKER)
            await client.ask(100, **ES, request=1, update_bits=1)
            await wait_until_async(lambda: exchange.drive.steps > 0)
            halted = -1
            while halted != exchange.drive.steps:
                halted = exchange.drive.steps
                await asyncio.sleep(0.05)
            assert halted < 2000
            frames = [await client.receive() for _ in range(count)]
            assert [m.trade_size for _, m in frames] == [number + 1 for number in range(count)]

    run(scenario())


def test_market_at_full_speed_stands_still_without_listeners(tmp_path: Path) -> None:
    """No step is taken before the first subscription, nor after the last one has gone."""

    async def scenario() -> None:
        flow = ScriptedFlow([trade(number) for number in range(50_000)])
        async with running_exchange(tmp_path, flow, speed=0.0) as (exchange, server):
            client = await RawClient.open(tmp_path, server)
            await client.login(TICKER)
            assert exchange.drive.steps == 0
            await client.ask(100, **ES, request=1, update_bits=1)
            for _ in range(100):
                await client.receive()
            await client.send(100, **ES, request=2, update_bits=1, user_msg=["stop"])
            while (await client.receive())[0] != 101:
                pass
            halted = exchange.drive.steps
            assert (await client.ask(18))[0] == 19
            assert 100 <= halted == exchange.drive.steps < 50_000

    run(scenario())


@pytest.mark.parametrize(
    ("template_id", "wanted"),
    [(200, {"bar_type": 1, "bar_type_period": 1}), (204, {"bar_type": 1, "bar_type_specifier": "100"})],
)
def test_market_at_full_speed_plays_for_a_subscriber_of_bars(
    template_id: int, wanted: dict[str, Any], tmp_path: Path
) -> None:
    """Who wants live bars alone has subscribed as well: the tape begins for it, and stops when it wants no more."""

    async def scenario() -> None:
        flow = ScriptedFlow([trade(number) for number in range(50_000)])
        played = frozenset({"ESH4"})
        async with running_exchange(tmp_path, flow, speed=0.0, played_symbols=played) as (exchange, server):
            client = await RawClient.open(tmp_path, server)
            await client.login(HISTORY)
            await client.ask(template_id, **ES, request=1, **wanted)
            live = [await client.receive() for _ in range(3)]
            volumes = [bar.volume for _, bar in live]
            step = live[0][1].num_trades
            assert volumes == [sum(range(first + 1, first + step + 1)) for first in (0, step, 2 * step)]
            await client.send(template_id, **ES, request=2, **wanted, user_msg=["stop"])
            while (await client.receive())[0] != template_id + 1:
                pass
            halted = exchange.drive.steps
            assert (await client.ask(18))[0] == 19
            assert 3 * step <= halted == exchange.drive.steps < 50_000

    run(scenario())


def test_order_acts_while_a_tape_is_played_at_full_speed(tmp_path: Path) -> None:
    """The market is a bounded number of ticks ahead of what a client has seen when its order arrives."""

    async def scenario() -> None:
        flow = ScriptedFlow([trade(number) for number in range(20_000)])
        async with running_exchange(tmp_path, flow, speed=0.0) as (exchange, server):
            add_liquidity(exchange.venue)
            ticker, orders = [await RawClient.open(tmp_path, server) for _ in range(2)]
            await orders.login(ORDER)
            await orders.ask(308, **ACCOUNT)
            await ticker.login(TICKER)
            await ticker.ask(100, **ES, request=1, update_bits=1)
            for _ in range(1000):
                await ticker.receive()
            await orders.send(312, **ACCOUNT, **ES, **MARKET)
            reader = asyncio.create_task(_read_for_ever(ticker))
            filled = await orders.receive()
            while not (filled[0] == 352 and filled[1].notify_type == 5):
                filled = await orders.receive()
            reader.cancel()
            ahead_ms = (filled[1].ssboe - START_S) * 1000 + filled[1].usecs // 1000 - 1000
            assert 0 <= ahead_ms < 4000

    run(scenario())


async def _read_for_ever(client: RawClient) -> None:
    while True:
        await client.receive()


def test_speed_scales_the_time_between_ticks(tmp_path: Path) -> None:
    """One second of tape at speed 4 takes a quarter of a second or more, and market time moves with it."""

    async def scenario() -> None:
        flow = ScriptedFlow([trade(number) for number in range(0, 1001, 100)])
        async with running_exchange(tmp_path, flow, speed=4.0, played_symbols=frozenset({"ESH4"})) as (
            exchange,
            server,
        ):
            assert exchange.now_ns() == START_NS
            client = await RawClient.open(tmp_path, server)
            await client.login(TICKER)
            await client.ask(100, **ES, request=1, update_bits=1)
            await client.receive()
            started_s = asyncio.get_running_loop().time()
            for _ in range(10):
                await client.receive()
            assert asyncio.get_running_loop().time() - started_s > 0.2
            assert exchange.now_ns() >= START_NS + 10**9

    run(scenario())
