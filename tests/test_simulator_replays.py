"""Long answers of the history plant: halted, resumed, given up, one after another; and the recorded past."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
import structlog

from nightdesk.clocks import ManualClock
from nightdesk.messages.enums import AggressorSide
from nightdesk.simulator.plants import bars, history, replays
from nightdesk.simulator.plants.past import Past
from nightdesk.simulator.plants.past_file import PastFile
from tests.history_support import ES, SPAN, START_S, TICKS, fields, play, scenario
from tests.simulator_support import ES as PRODUCT
from tests.simulator_support import START_NS, RawClient
from tests.support import wait_until_async

BUY = AggressorSide.BUY


def halting(records: int) -> dict[str, Any]:
    """The setting with which an answer halts after so many records."""
    return {"history_pause_s": records / replays.RECORDS_PER_OUTPUT_S}


async def until_halt(client: RawClient) -> tuple[list[float], Any]:
    """The prices of an answer's records, and the frame that is none."""
    prices: list[float] = []
    while True:
        _, message = await client.receive()
        assert list(message.user_msg) == ["long"]
        if not message.rq_handler_rp_code:
            return prices, message
        prices.append(message.open_price - 5000)


def test_long_answer_halts_and_is_resumed(tmp_path: Path) -> None:
    """A notice with the key and neither code; 210 brings 211, and the rest under the first request's user_msg."""

    async def act(exchange: Any, client: RawClient) -> None:
        play(exchange, *((number + 0.5, 5000.0 + number, 1, BUY) for number in range(10)))
        await client.send(206, **TICKS, **SPAN, user_msg=["long"])
        for first, after in ((0, 4), (4, 8)):
            prices, notice = await until_halt(client)
            assert prices == list(range(first, after))
            assert fields(notice) == {"request_key": "0"}
            assert (await client.ask(18))[0] == 19
            template_id, resumed = await client.ask(210, request_key="0", user_msg=["again"])
            assert (template_id, fields(resumed), list(resumed.user_msg)) == (211, {"rp_code": ["0"]}, ["again"])
        prices, last = await until_halt(client)
        assert (prices, fields(last)) == ([8, 9], {"rp_code": ["0"]})
        assert list((await client.ask(210, request_key="0"))[1].rp_code) == ["6", "bad input"]

    scenario(tmp_path, act, **halting(4))


def test_answer_of_just_the_halts_length_is_whole(tmp_path: Path) -> None:
    """There is no notice when nothing is left."""

    async def act(exchange: Any, client: RawClient) -> None:
        play(exchange, *((number + 0.5, 5000.0, 1, BUY) for number in range(5)))
        await client.send(202, **ES, bar_type=1, **SPAN, user_msg=["long"])
        prices, last = await until_halt(client)
        assert (len(prices), fields(last)) == (5, {"rp_code": ["0"]})

    scenario(tmp_path, act, **halting(5))


def test_answer_that_nobody_resumes_is_given_up(tmp_path: Path) -> None:
    """More than a minute later comes the last frame with code 12; other requests are answered meanwhile."""
    clock = ManualClock(START_NS)

    async def act(exchange: Any, client: RawClient) -> None:
        play(exchange, *((number + 0.5, 5000.0 + number, 1, BUY) for number in range(10)))
        await client.send(206, **TICKS, **SPAN, user_msg=["long"])
        assert (await until_halt(client))[0] == [0, 1, 2]
        frames = await client.ask_all(202, **ES, bar_type=2, **SPAN)
        assert list(frames[-1][1].rp_code) == ["0"]
        for passed_s in (replays.RESUME_WAIT_S, 0.5):
            clock.advance(passed_s)
            assert (await client.ask(18))[0] == 19
            exchange.housekeep()
        prices, last = await until_halt(client)
        assert (prices, fields(last)) == ([], {"rp_code": ["12", "output inhibited"]})
        assert list((await client.ask(210, request_key="0"))[1].rp_code) == ["6", "bad input"]

    scenario(tmp_path, act, clock=clock, heartbeat_interval_s=600.0, **halting(3))


def test_client_may_leave_few_halted_answers(tmp_path: Path) -> None:
    """One more than the bound ends the oldest of them; nothing is left of a session that is gone."""

    async def act(exchange: Any, client: RawClient) -> None:
        play(exchange, *((number + 0.5, 5000.0 + number, 1, BUY) for number in range(3)))
        for number in range(replays.HALTED_MAX):
            await client.send(206, **TICKS, **SPAN, user_msg=["long"])
            assert fields((await until_halt(client))[1]) == {"request_key": str(number)}
        await client.send(206, **TICKS, **SPAN, user_msg=["long"])
        prices, ended = await until_halt(client)
        assert (prices, fields(ended)) == ([0], {"rp_code": ["12", "output inhibited"]})
        await client.socket.close()
        await wait_until_async(lambda: not exchange.sessions)
        assert exchange.replays.sessions == 0

    scenario(tmp_path, act, **halting(1))


def test_long_answer_waits_for_a_client_that_does_not_read(tmp_path: Path) -> None:
    """It is made while it is taken: what waits in memory stays small, and nothing is lost."""
    echo = ["x" * 10_000]

    async def act(exchange: Any, client: RawClient) -> None:
        play(exchange, *((number * 0.01, 5000.0, 1, BUY) for number in range(3000)))
        await client.send(206, **TICKS, **SPAN, user_msg=echo)
        (session,) = exchange.sessions
        await wait_until_async(lambda: exchange.replays.sent(session) > 0)
        halted = -1
        while halted != exchange.replays.sent(session):
            halted = exchange.replays.sent(session)
            await asyncio.sleep(0.05)
        assert halted < 2500
        frames = [await client.receive() for _ in range(3001)]
        assert list(frames[-1][1].rp_code) == ["0"]

    scenario(tmp_path, act)


def test_recorded_past_comes_before_the_session(tmp_path: Path) -> None:
    """One answer out of a file and of what the market did; days join both; the file is read at the first request."""
    day_s = START_S // 86_400 * 86_400
    lines = "".join(
        f"{day_s - 86_400 + number * 300}000000000,10,11,9,10.25,{number + 1},1\n" for number in range(2 * 288)
    )
    path = tmp_path / "past.csv"
    path.write_text(f"ts_event_ns,open,high,low,close,volume,trades\n{lines}")
    past = Past([PastFile(str(path), PRODUCT)], structlog.get_logger())

    async def act(exchange: Any, client: RawClient) -> None:
        play(exchange, (0.25, 5000.0, 10, BUY), (70.0, 5000.25, 7, BUY))
        assert not past.is_ready("ESH4")
        days = await client.ask_all(202, **ES, bar_type=3, start_index=20231113, finish_index=20231114)
        yesterday = sum(range(1, 289))
        recorded_today = sum(range(289, 289 + (START_S - day_s) // 300))
        assert [(m.marker, m.volume) for _, m in days[:-1]] == [
            (20231113, yesterday),
            (20231114, recorded_today + 17),
        ]
        everything = ES | {"bar_type": 2, "bar_type_period": 5, "start_index": 1, "finish_index": 2**31 - 1}
        last = await client.ask_all(202, **everything, direction=2, user_max_count=3)
        present = START_S // 300 * 300
        assert [m.marker for _, m in last[:-1]] == [present - 300, present, present + 300]
        assert len(await client.ask_all(202, **everything)) == (present - day_s + 86_400) // 300 + 2

    scenario(tmp_path, act, past=past)


def test_bars_are_made_beside_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when all have to be made before the first can be sent: a long answer never holds the market up."""
    makers: list[threading.Thread] = []

    def watched(module: Any, name: str) -> None:
        make = getattr(module, name)

        def made(*arguments: Any) -> Any:
            makers.append(threading.current_thread())
            yield from make(*arguments)

        monkeypatch.setattr(module, name, made)

    watched(history, "tick_bars")
    watched(history, "profile_bars")
    base = bars._time_bars

    def time_bars(*arguments: Any) -> Any:
        makers.append(threading.current_thread())
        return base(*arguments)

    monkeypatch.setattr(bars, "_time_bars", time_bars)

    async def act(exchange: Any, client: RawClient) -> None:
        play(exchange, *((number + 0.5, 5000.0 + number, 1, BUY) for number in range(10)))
        requests: list[tuple[int, dict[str, Any]]] = [
            (202, {"bar_type": 1}),
            (202, {"bar_type": 1, "direction": 2}),
            (206, TICKS),
            (206, TICKS | {"bar_type": 2, "direction": 2}),
            (206, TICKS | {"time_order": 2}),
            (208, {}),
        ]
        for template_id, wanted in requests:
            assert len(await client.ask_all(template_id, **(ES | SPAN | wanted))) > 1
        assert len(makers) == len(requests)
        assert threading.main_thread() not in makers

    scenario(tmp_path, act)


def test_many_requests_at_once_follow_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session's answers do not mix; more than may wait are refused with code 12."""
    monkeypatch.setattr(replays, "REPLAYS_WAITING_MAX", 3)

    async def act(exchange: Any, client: RawClient) -> None:
        play(exchange, *((number * 0.01, 5000.0, 1, BUY) for number in range(600)))
        for number in range(20):
            await client.send(206, **TICKS, **SPAN, user_msg=[str(number)])
        ended: list[tuple[int, str]] = []
        under_way: set[str] = set()
        while len(ended) < 20:
            _, message = await client.receive()
            (name,) = message.user_msg
            if message.rp_code:
                ended.append((int(name), message.rp_code[0]))
                under_way.discard(name)
            else:
                under_way.add(name)
            assert len(under_way) <= 1
        served = [number for number, code in ended if code == "0"]
        assert served == sorted(served)
        assert len(served) >= replays.REPLAYS_WAITING_MAX
        assert {code for _, code in ended} <= {"0", "12"}

    scenario(tmp_path, act)


def test_recorded_trades_come_before_the_sessions(tmp_path: Path) -> None:
    """Bars of trades and volume profiles go over the seam; the newest ones are found without building the others."""
    lines = "".join(f"{START_S - 100 + second}000000000,{4000 + second},1,-1\n" for second in range(200))
    path = tmp_path / "past.csv"
    path.write_text(f"ts_event_ns,price,size,aggressor\n{lines}")
    past = Past([PastFile(str(path), PRODUCT)], structlog.get_logger())

    async def act(exchange: Any, client: RawClient) -> None:
        play(exchange, *((second + 0.5, 5000.0 + second, 1, BUY) for second in range(10)))
        interval = {"start_index": START_S - 10, "finish_index": START_S + 10}
        frames = await client.ask_all(206, **TICKS, **interval)
        assert [m.open_price for _, m in frames[:-1]] == [*range(4090, 4100), *range(5000, 5010)]
        assert [m.bid_volume for _, m in frames[:-1]] == [1] * 10 + [0] * 10
        of_four = TICKS | interval | {"bar_type_specifier": "4"}
        whole = [fields(m) for _, m in (await client.ask_all(206, **of_four))[:-1]]
        newest = [fields(m) for _, m in (await client.ask_all(206, **of_four, direction=2, user_max_count=3))[:-1]]
        assert newest == whole[-3:]
        assert whole[2]["open_price"] < 4100 < whole[2]["close_price"]
        profiles = await client.ask_all(208, **ES, bar_type_period=5, start_index=START_S - 600, finish_index=2**31 - 1)
        assert sum(m.volume for _, m in profiles[:-1]) == 110

    scenario(tmp_path, act, past=past)
