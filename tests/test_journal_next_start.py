"""What the order plant does on a journal that was repaired."""

import asyncio
from pathlib import Path

from actors.plants.order_reconcile import ReconcilePolicy
from nightdesk.rithmic import orders as wire
from tests.journal_support import leaves, make_journal, mend, overwrite
from tests.order_plant_support import configuration, started


def test_the_next_start_asks_the_broker_for_every_execution(tmp_path: Path) -> None:
    """Also where it would only ask from the oldest open order on; once it has them all, it is a journal like any."""
    folder = tmp_path / "state"
    make_journal(folder, orders=40)

    async def first_asked() -> int:
        policy = ReconcilePolicy(span_s=0.0, quiet_s=0.0, retry_s=0.01, positions_s=0.0)
        body = await started(configuration(tmp_path), policy)
        session = await body.link_up()
        assert not body.journal.needs_full_replay()
        await body.stop()
        asked = [fields for template, fields in session.requests if template == wire.REPLAY_EXECUTIONS]
        return int(asked[0]["start_index"])

    assert asyncio.run(first_asked()) > wire.REPLAY_START_MIN_S
    overwrite(folder, leaves(folder, "events")[0])
    mend(folder)
    assert asyncio.run(first_asked()) == wire.REPLAY_START_MIN_S
    assert asyncio.run(first_asked()) > wire.REPLAY_START_MIN_S
