"""Every fault once over real sockets: an unmodified client sees what the fault promises, and trades on after it."""

import asyncio
from collections.abc import Callable

import pytest

from tests.clients.fault_table import CASES, Seen, observe_all, quiet_library, table

LIFE = ["313", "352 status", "351 open", "352 fill", "351 complete"]
"""What a client is told of a market order when nothing is wrong."""


@pytest.fixture(scope="module")
def rows() -> dict[str, Seen]:
    """All rows of the table, observed once."""
    with quiet_library():
        return asyncio.run(observe_all(list(CASES)))


def _times_out(seen: Seen) -> bool:
    return seen.order.startswith("TimeoutError")


def _is_answered(seen: Seen) -> bool:
    return seen.order.startswith("acknowledged") and seen.received == 1


def _seconds(seen: Seen) -> float:
    return float(seen.order.rpartition("after ")[2].removesuffix(" s"))


EXPECTED: dict[str, Callable[[Seen], bool]] = {
    "drop": lambda seen: "order" in seen.reconnected and seen.received <= 1,
    "rst": lambda seen: "order" in seen.reconnected and seen.received <= 1,
    "half_open": lambda seen: _times_out(seen) and seen.ticks < 25 and seen.orders == "TimeoutError",
    "delay": lambda seen: _is_answered(seen) and _seconds(seen) >= 0.3 and seen.events == LIFE,
    "slow_read": _times_out,
    "trickle": lambda seen: _is_answered(seen) and seen.events == LIFE,
    "mute": lambda seen: _times_out(seen) and seen.received == 1 and seen.events == LIFE[1:],
    "mute (lost)": lambda seen: _times_out(seen) and seen.received == 1 and seen.events == [] and seen.orders == "1",
    "duplicate": lambda seen: seen.events.count("352 fill") == 2 and seen.positions == "+2,+2",
    "reorder": lambda seen: _is_answered(seen) and seen.events != LIFE and sorted(seen.events) == sorted(LIFE),
    "corrupt (flip)": lambda seen: _is_answered(seen) and seen.events == LIFE,
    "corrupt (length)": lambda seen: _is_answered(seen) and seen.ticks > 0,
    "corrupt (varint)": lambda seen: _is_answered(seen) and bool(seen.log),
    "corrupt (text)": lambda seen: _is_answered(seen) and bool(seen.log),
    "corrupt (oversize)": lambda seen: _is_answered(seen) and any("reconnect" in line for line in seen.log),
    "unknown_template": lambda seen: seen.events == LIFE and any("9999" in line for line in seen.log),
    "partial_list": lambda seen: seen.orders == "1" and seen.positions == "+2",
    "partial_list (no end)": lambda seen: seen.orders == "TimeoutError" and seen.positions == "+2",
    "refused_login": lambda seen: seen.order == "login: TimeoutError",
    "forced_logout": lambda seen: any("ForcedLogout" in line for line in seen.log) and "order" in seen.reconnected,
    "maintenance": lambda seen: "Error" in seen.orders and any("ForcedLogout" in line for line in seen.log),
    "reserved_market": lambda seen: "352 reject" in seen.events and seen.positions == "+1",
    "foreign_orders": lambda seen: seen.events.count("351 open") == 2 and seen.positions == "+5",
    "wrong_positions": lambda seen: seen.events == LIFE and seen.positions == "+9",
    "late_ack": lambda seen: seen.events.index("352 fill") < seen.events.index("313") and _seconds(seen) >= 0.5,
    "fill_before_ack": lambda seen: seen.events[:2] == ["352 fill", "313"],
    "clock_skew": lambda seen: seen.events == LIFE and 3590 <= seen.skew_s <= 3610,
}


@pytest.mark.parametrize("name", CASES)
def test_client_sees_the_fault_and_nothing_else(name: str, rows: dict[str, Seen]) -> None:
    """Acknowledgements, notifications, lists, ticks and connections are as the fault's description says."""
    assert EXPECTED[name](rows[name]), rows[name]


@pytest.mark.parametrize("name", CASES)
def test_client_trades_again_when_the_fault_is_over(name: str, rows: dict[str, Seen]) -> None:
    """Nothing of the fault is left in the exchange."""
    after = rows[name].after
    assert after == "connected" if name == "refused_login" else after.startswith("acknowledged"), rows[name]


def test_every_fault_is_in_the_table(rows: dict[str, Seen]) -> None:
    """The documentation's table is made of these rows."""
    from nightdesk.simulator.faults.spec import FAULTS

    assert {name.partition(" ")[0] for name in CASES} == set(FAULTS)
    assert table(rows).count("\n") == len(CASES) + 1
