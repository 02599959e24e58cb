"""One order plant is live: on one folder of state, and after another one has begun where it was."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from actors.plants import order
from actors.plants.journal import Journal, JournalBusyError
from actors.plants.journal_lease import JournalLease, LeaseLostError
from actors.plants.order_lease import PRUNE_EVERY_S, TOMBSTONE_KEPT_DAYS
from nightdesk.messages import ClientOrderId, OrderAccepted, OrderStatus, StrategyId
from nightdesk.trading.sessions import NS_PER_S
from tests.calendar_support import at
from tests.order_plant_session_support import OPEN, time_of
from tests.order_plant_session_support import play as play_at
from tests.order_plant_stopped_child import ENDED
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    configuration,
    image,
    play,
    started,
    submit,
    turns,
    working,
)
from tests.support import wait_until_async
from tests.test_order_plant_integration import ROOT, Trader, exchange, plant, run
from tests.test_order_plant_integration import configuration as real_configuration
from tests.test_order_plant_integration import folder as folder
from tests.test_order_table import make_order

SYSTEM = "Nightdesk Simulator"
PLENTY_S = 20.0


@pytest.fixture
def lease(tmp_path: Path) -> Iterator[JournalLease]:
    taken = JournalLease.take(str(tmp_path / "journal.db"))
    yield taken
    taken.release()


def test_lease_is_given_to_one_at_a_time_and_counts_its_holders(tmp_path: Path, lease: JournalLease) -> None:
    """The second one is told that the journal is in use; after the first has let go, its generation is the next."""
    with pytest.raises(JournalBusyError, match="another process uses this journal"):
        JournalLease.take(str(tmp_path / "journal.db"))
    assert lease.is_held()
    first = JournalLease.take(str(tmp_path / "other.db"))
    first.release()
    second = JournalLease.take(str(tmp_path / "other.db"))
    assert (first.generation, second.generation) == (1, 2)
    second.release()


@pytest.mark.parametrize("how", ["removed", "replaced", "taken over"])
def test_lease_is_lost_with_its_file_or_to_another_generation(tmp_path: Path, lease: JournalLease, how: str) -> None:
    """Somebody has removed the file and another one has begun; or a lock that is none has let another one write."""
    path = tmp_path / "journal.db.lock"
    if how == "taken over":
        path.write_bytes(b"%020d\n" % (lease.generation + 1))
    else:
        path.unlink()
    if how == "replaced":
        JournalLease.take(str(tmp_path / "journal.db")).release()
    assert not lease.is_held()


def test_journal_of_another_process_takes_no_write(tmp_path: Path) -> None:
    """Neither an intent nor anything else: the commit is refused, and the error is not that of a full disk."""
    journal = Journal.open(str(tmp_path), system_name=SYSTEM, durability="process")
    (tmp_path / "journal.db.lock").unlink()
    told: list[LeaseLostError] = []
    journal.on_lease_lost = told.append
    writes: list[Callable[[], object]] = [
        lambda: journal.write_intent(make_order()),
        lambda: journal.next_fencing_epoch(StrategyId("one")),
    ]
    for write in writes:
        with pytest.raises(LeaseLostError, match="another order plant has it"):
            write()
    assert len(told) == 1
    assert not journal.has_order(ClientOrderId("o1"))
    journal.close()


def test_second_order_plant_on_one_state_dir_does_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It neither listens nor connects; the first one trades on."""
    monkeypatch.setattr(order, "JOURNAL_WAIT_S", 0.0)

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        with pytest.raises(JournalBusyError):
            await started(configuration(tmp_path))
        await working(body, peer, epoch)
        assert len(session.of(312)) == 1

    play(tmp_path, scenario)


def test_order_plant_without_its_lease_ends_though_nothing_happens(tmp_path: Path) -> None:
    """It looks a few times a second, tells the operator, and ends its actor."""

    async def begin() -> None:
        body = await started(configuration(tmp_path))
        await body.link_up()
        body.lease.look()
        (tmp_path / "state" / "journal.db.lock").unlink()
        with pytest.raises(LeaseLostError):
            body.lease.look()
        await wait_until_async(lambda: body.context.crashed is not None)  # type: ignore[attr-defined]
        assert isinstance(body.context.crashed, LeaseLostError)  # type: ignore[attr-defined]
        assert [alert.event for alert in body.context.alerts] == ["lease_lost"]  # type: ignore[attr-defined]
        with suppress(LeaseLostError):
            await body.stop()

    asyncio.run(begin())


@pytest.mark.parametrize("point", ["idle", "committed"])
def test_order_plant_that_wakes_after_its_successor_began_sends_nothing(folder: Path, point: str) -> None:
    """Stopped with a command in its lane, or with an intent committed and not sent; its lock file was removed.

    The successor settles what it finds; the one that wakes ends, and the exchange has seen nothing of it.
    """

    async def scenario() -> None:
        configured = real_configuration(folder)
        async with exchange(configured) as server:
            config_file = folder / "run.json"
            config_file.write_bytes(configured.to_json())
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.order_plant_stopped_child", str(config_file), point),
                cwd=ROOT,
                stdout=asyncio.subprocess.PIPE,
            )
            try:
                async with Trader(configured) as trader:
                    await wait_until_async(lambda: trader.permitted)
                    if point == "idle":
                        trader.submit("before", price=4000.0)
                        await wait_until_async(lambda: trader.of(OrderAccepted))
                        os.kill(child.pid, signal.SIGSTOP)
                    trader.submit("late", price=4000.0)
                    await wait_until_async(lambda: _is_stopped(child.pid))
                    os.unlink(Path(configured.state_dir) / "journal.db.lock")
                    async with plant(configured) as successor:
                        os.kill(child.pid, signal.SIGCONT)
                        async with asyncio.timeout(PLENTY_S):
                            output, _ = await child.communicate()
                        assert child.returncode == ENDED, output
                        assert b"LeaseLostError" in output
                        assert b"alert: lease_lost" in output
                        late = successor.journal.find_order(ClientOrderId("late"))
                        if point == "idle":
                            assert late is None
                        else:
                            assert late is not None
                            assert (late.status, late.tombstone) == (OrderStatus.REJECTED, True)
                    tags = [order.terms.user_tag for order in server._exchange.venue.orders("SIM-1")]
                    assert tags == ["before"] * (point == "idle")
            finally:
                if child.returncode is None:
                    child.kill()
                    await child.wait()

    run(scenario)


def _is_stopped(pid: int) -> bool:
    return "State:\tT" in Path(f"/proc/{pid}/status").read_text()


def test_tombstones_are_kept_for_days_and_then_over_for_good(tmp_path: Path) -> None:
    """With the first sign of life one is back; after its days it is an order that is over like any other."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("o1", epoch))
        await turns()
        body.link_down()
        await body.link_up()
        found = body.account.find(ClientOrderId("o1"))
        assert found is not None
        assert found.tombstone
        body.lease.look()
        kept_ns = TOMBSTONE_KEPT_DAYS * 86_400 * NS_PER_S
        for is_kept in (True, False):
            time_of(body).set(at(OPEN) + kept_ns + (-NS_PER_S if is_kept else 60 * NS_PER_S))
            body.context.clock.advance(PRUNE_EVERY_S)  # type: ignore[attr-defined]
            time_of(body).set(at(OPEN) + kept_ns + (-NS_PER_S if is_kept else 60 * NS_PER_S))
            body.lease.look()
            assert body.journal.find_order(ClientOrderId("o1")).tombstone is is_kept  # type: ignore[union-attr]
        body.link_down()
        await body.link_up(orders=[image("o1", "b1")])
        # Two lists must show it now, as of any order that is over by the broker's own word.
        assert len(body.link.session.asked(320)) == 2  # type: ignore[union-attr]

    play_at(tmp_path, OPEN, scene)
