"""The history plant on the wire: fields of each frame, refusals, counts and orders, live bars."""

from pathlib import Path
from typing import Any

import pytest

from nightdesk.messages.enums import AggressorSide
from nightdesk.simulator.plants import bar_feed
from tests.history_support import ES, SPAN, START_S, TICKS, fields, play, scenario
from tests.simulator_support import RawClient

BUY, SELL, NONE = AggressorSide.BUY, AggressorSide.SELL, AggressorSide.NONE
FOUR = ((0.25, 5000.0, 2, BUY), (0.5, 5001.0, 3, SELL), (1.0, 4999.5, 5, NONE), (70.0, 5000.25, 7, BUY))


def test_time_bar_has_these_fields(tmp_path: Path) -> None:
    """203: the marker is the bar's end; a day is marked with its date, a week with its Friday's."""

    async def act(exchange: Any, client: RawClient) -> None:
        play(exchange, *FOUR)
        first, _, last = [fields(m) for _, m in await client.ask_all(202, **ES, bar_type=2, **SPAN)]
        minute = START_S // 60 * 60 + 60
        assert first == ES | {
            "rq_handler_rp_code": ["0"],
            "type": 2,
            "period": "60",
            "marker": minute,
            "num_trades": 3,
            "volume": 10,
            "bid_volume": 3,
            "ask_volume": 2,
            "open_price": 5000.0,
            "close_price": 4999.5,
            "high_price": 5001.0,
            "low_price": 4999.5,
        }
        assert last == {"rp_code": ["0"]}
        for bar_type, marker in ((3, 20231114), (4, 20231117)):
            answer = await client.ask_all(202, **ES, bar_type=bar_type, start_index=20231114, finish_index=20231114)
            (bar, end) = [fields(m) for _, m in answer]
            assert (bar["marker"], bar["period"], bar["volume"], end) == (marker, "1", 17, {"rp_code": ["0"]})
        seconds = await client.ask_all(202, **ES, bar_type=4, **SPAN)
        assert [list(m.rp_code) for _, m in seconds] == [["7", "no data"]]

    scenario(tmp_path, act)


def test_tick_bar_has_these_fields(tmp_path: Path) -> None:
    """207: two times each; the first bar of an interval that begins in its first second has no microseconds there."""

    async def act(exchange: Any, client: RawClient) -> None:
        play(exchange, *FOUR)
        *bars, last = [fields(m) for _, m in await client.ask_all(206, **(TICKS | {"bar_type_specifier": "2"}), **SPAN)]
        assert bars[0] == ES | {
            "rq_handler_rp_code": ["0"],
            "type": 1,
            "sub_type": 1,
            "type_specifier": "2",
            "num_trades": 2,
            "volume": 5,
            "bid_volume": 3,
            "ask_volume": 2,
            "open_price": 5000.0,
            "close_price": 5001.0,
            "high_price": 5001.0,
            "low_price": 5000.0,
            "data_bar_ssboe": [START_S, START_S],
            "data_bar_usecs": [0, 500_000],
        }
        assert (bars[1]["data_bar_ssboe"], bars[1]["data_bar_usecs"]) == ([START_S + 1, START_S + 70], [0, 0])
        assert last == {"rp_code": ["0"]}
        earlier = await client.ask_all(206, **TICKS, start_index=START_S - 5, finish_index=START_S)
        assert list(earlier[0][1].data_bar_usecs) == [250_000, 250_000]

    scenario(tmp_path, act)


def test_bars_of_range_and_volume_and_of_a_part_of_the_day(tmp_path: Path) -> None:
    """Types 2 and 3; the specifier is ticks of the price or contracts; with CUSTOM the session's opening is told."""

    async def act(exchange: Any, client: RawClient) -> None:
        play(exchange, *FOUR)

        async def volumes(**changed: Any) -> list[int]:
            frames = await client.ask_all(206, **(TICKS | SPAN | changed))
            assert list(frames[-1][1].rp_code) in (["0"], ["7", "no data"])
            return [m.volume for _, m in frames[:-1]]

        assert await volumes(bar_type=2, bar_type_specifier="4") == [5, 12]
        assert await volumes(bar_type=3, bar_type_specifier="4") == [5, 5, 7]
        minute_of_day = START_S % 86_400 // 60
        custom = {"bar_sub_type": 2, "custom_session_open_ssm": minute_of_day * 60, "bar_type_specifier": "100"}
        assert await volumes(**custom, custom_session_close_ssm=minute_of_day * 60 + 60) == [10]
        assert await volumes(**custom, custom_session_close_ssm=minute_of_day * 60 + 120) == [17]
        assert await volumes(**(custom | {"custom_session_open_ssm": 0}), custom_session_close_ssm=1) == []
        (frame, _) = await client.ask_all(206, **(TICKS | SPAN | custom), custom_session_close_ssm=86_400)
        assert (frame[1].sub_type, frame[1].custom_session_open_ssm) == (2, minute_of_day * 60)

    scenario(tmp_path, act)


def test_volume_profile_has_these_fields(tmp_path: Path) -> None:
    """209: parallel arrays from the lowest price up, by who was the aggressor."""

    async def act(exchange: Any, client: RawClient) -> None:
        play(exchange, *FOUR, (70.5, 5000.25, 1, SELL))
        *bars, last = [fields(m) for _, m in await client.ask_all(208, **ES, bar_type_period=1, **SPAN)]
        assert bars[0] == ES | {
            "rq_handler_rp_code": ["0"],
            "period": "1",
            "marker": START_S // 60 * 60 + 60,
            "num_trades": 3,
            "volume": 10,
            "bid_volume": 3,
            "ask_volume": 2,
            "open_price": 5000.0,
            "close_price": 4999.5,
            "high_price": 5001.0,
            "low_price": 4999.5,
            "profile_price": [4999.5, 5000.0, 5001.0],
            "profile_no_aggressor_volume": [5, 0, 0],
            "profile_bid_volume": [0, 0, 3],
            "profile_ask_volume": [0, 2, 0],
            "profile_no_aggressor_trades": [1, 0, 0],
            "profile_bid_aggressor_trades": [0, 0, 1],
            "profile_ask_aggressor_trades": [0, 1, 0],
        }
        assert (bars[1]["profile_ask_volume"], bars[1]["profile_bid_volume"]) == ([7], [1])
        assert last == {"rp_code": ["0"]}
        assert len(await client.ask_all(208, **ES, bar_type_period=5, **SPAN)) == 2
        assert len(await client.ask_all(208, **ES, bar_type_period=1, user_max_count=1, **SPAN)) == 2

    scenario(tmp_path, act)


NO_DATA, BAD_INPUT = ["7", "no data"], ["6", "bad input"]
NOTHING = {"symbol": "NONE", "exchange": "CME"}
EARLY = {"start_index": 1, "finish_index": 2}
OUT_OF_DAY = {"bar_sub_type": 2, "custom_session_open_ssm": -1}
REFUSED: dict[str, tuple[int, dict[str, Any], list[str]]] = {
    "unknown contract's bars": (202, NOTHING | SPAN | {"bar_type": 1}, NO_DATA),
    "unknown contract's ticks": (206, TICKS | SPAN | NOTHING, ["7", "reference data not available"]),
    "unknown contract's profile": (208, NOTHING | SPAN, NO_DATA),
    "unknown contract's live bars": (200, NOTHING | {"request": 1, "bar_type": 1}, NO_DATA),
    "unknown contract's live ticks": (204, TICKS | NOTHING | {"request": 1}, NO_DATA),
    "no bars": (202, ES | EARLY | {"bar_type": 1}, NO_DATA),
    "no ticks": (206, TICKS | EARLY, NO_DATA),
    "no profile": (208, ES | EARLY, NO_DATA),
    "an interval backwards": (202, ES | {"bar_type": 1, "start_index": START_S, "finish_index": 1}, NO_DATA),
    "no period": (202, ES | SPAN | {"bar_type": 1, "bar_type_period": 0}, BAD_INPUT),
    "a specifier in words": (206, TICKS | SPAN | {"bar_type_specifier": "ten"}, BAD_INPUT),
    "a specifier of nothing": (206, TICKS | SPAN | {"bar_type_specifier": "0"}, BAD_INPUT),
    "a specifier out of bounds": (206, TICKS | SPAN | {"bar_type_specifier": "9" * 40}, BAD_INPUT),
    "a session out of bounds": (206, TICKS | SPAN | OUT_OF_DAY, BAD_INPUT),
    "profiles of no period": (208, ES | SPAN | {"bar_type_period": 0}, BAD_INPUT),
    "an unknown key": (210, {"request_key": "7"}, BAD_INPUT),
}
"""What is asked for: (request, fields, code); one frame answers."""


def test_refusals_and_empty_answers_are_one_frame_with_a_code(tmp_path: Path) -> None:
    """The code, the text and the echo, nothing else."""

    async def act(exchange: Any, client: RawClient) -> None:
        play(exchange, *FOUR)
        for what, (request_id, asked, code) in REFUSED.items():
            frames = await client.ask_all(request_id, **asked)
            assert [(t, fields(m)) for t, m in frames] == [(request_id + 1, {"rp_code": code})], what

    scenario(tmp_path, act)


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"time_order": 2}, [5, 4, 3, 2, 1, 0]),
        ({"direction": 2}, [4, 5, 6, 7, 8, 9]),
        ({"direction": 2, "time_order": 2}, [9, 8, 7, 6, 5, 4]),
        ({"direction": 1, "user_max_count": 2}, [0, 1]),
        ({"direction": 2, "user_max_count": 2}, [8, 9]),
        ({"user_max_count": 9}, [0, 1, 2, 3, 4, 5]),
        ({"resume_bars": True}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ({"resume_bars": True, "user_max_count": 7, "direction": 2}, [3, 4, 5, 6, 7, 8, 9]),
    ],
)
def test_count_direction_and_order_of_a_replay(wanted: dict[str, Any], numbers: list[int], tmp_path: Path) -> None:
    """The cap is the exchange's, here 6, unless the client resumes; the last frame looks complete all the same."""

    async def act(exchange: Any, client: RawClient) -> None:
        play(exchange, *((number + 0.5, 5000.0 + number, 1, BUY) for number in range(10)))
        for request_id, asked in ((202, ES | {"bar_type": 1}), (206, TICKS), (206, TICKS | {"bar_type": 3})):
            frames = await client.ask_all(request_id, **asked, **SPAN, **wanted)
            assert [m.open_price - 5000 for _, m in frames[:-1]] == numbers
            assert list(frames[-1][1].rp_code) == ["0"]

    scenario(tmp_path, act, history_records_max=6)


def test_volume_beyond_the_fields_width_is_shown_as_the_most_it_holds(tmp_path: Path) -> None:
    """Volumes by price are 32 bits wide, those of bars 64; a tape's sizes may add up to more."""
    most = 2**31 - 1

    async def act(exchange: Any, client: RawClient) -> None:
        play(exchange, (0.0, 5000.0, most, BUY), (0.5, 5000.0, most, BUY))
        [(_, bar), _] = await client.ask_all(208, **ES, bar_type_period=1, **SPAN)
        assert (bar.volume, list(bar.profile_ask_volume)) == (2 * most, [most])

    scenario(tmp_path, act)


def test_live_bars_of_trades_range_and_volume(tmp_path: Path) -> None:
    """251 comes with the trade that ends the bar, once to each subscriber, and no more after the last 204."""

    async def act(exchange: Any, client: RawClient) -> None:
        for bar_type, specifier in ((1, "2"), (2, "2"), (3, "6")):
            asked = TICKS | {"bar_type": bar_type, "bar_type_specifier": specifier}
            for _ in range(2):
                assert fields((await client.ask(204, **asked, request=1))[1]) == {"rp_code": ["0"]}
        play(exchange, *FOUR[:3])
        frames = [await client.receive() for _ in range(4)]
        assert {template_id for template_id, _ in frames} == {251}
        assert sorted((m.type, m.volume) for _, m in frames) == [(1, 5), (2, 2), (2, 3), (3, 10)]
        (of_range,) = [fields(m) for _, m in frames if (m.type, m.volume) == (2, 2)]
        assert of_range == ES | {
            "type": 2,
            "sub_type": 1,
            "type_specifier": "2",
            "num_trades": 1,
            "volume": 2,
            "bid_volume": 0,
            "ask_volume": 2,
            "open_price": 5000.0,
            "close_price": 5000.0,
            "high_price": 5000.0,
            "low_price": 5000.0,
            "data_bar_ssboe": [START_S, START_S],
            "data_bar_usecs": [250_000, 250_000],
        }
        for bar_type, specifier in ((1, "2"), (2, "2"), (3, "6")):
            asked = TICKS | {"bar_type": bar_type, "bar_type_specifier": specifier}
            await client.ask(204, **asked, request=2)
        play(exchange, *FOUR)
        assert (await client.ask(18))[0] == 19

    scenario(tmp_path, act)


def test_live_bars_of_a_session_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than the bound is refused, of either kind; room is made by unsubscribing."""
    monkeypatch.setattr(bar_feed, "LIVE_BARS_MAX", 4)

    async def act(_: Any, client: RawClient) -> None:
        async def code(template_id: int, request: int, number: int) -> str:
            asked = {"bar_type_period": number} if template_id == 200 else {"bar_type_specifier": str(number)}
            _, answer = await client.ask(template_id, **ES, bar_type=1, request=request, **asked)
            return "".join(answer.rp_code[:1])

        assert [await code(200, 1, number) for number in (1, 2)] == ["0", "0"]
        assert [await code(204, 1, number) for number in (1, 2, 3)] == ["0", "0", "6"]
        assert await code(200, 1, 3) == "6"
        assert [await code(204, 2, 1), await code(200, 1, 3)] == ["0", "0"]

    scenario(tmp_path, act)


def test_live_week_closes_with_its_saturday(tmp_path: Path) -> None:
    """250 of a week comes when market time has passed it."""

    async def act(exchange: Any, client: RawClient) -> None:
        await client.ask(200, **ES, bar_type=4, bar_type_period=1, request=1)
        play(exchange, *FOUR, (6 * 86_400.0, 5000.0, 1, BUY))
        template_id, week = await client.receive()
        assert (template_id, week.type, week.marker, week.volume) == (250, 4, 20231117, 17)

    scenario(tmp_path, act)
