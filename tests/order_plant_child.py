"""An order plant in a process of its own that kills itself at a named point of an order's way; run by its test."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from actors.plants.journal import Journal
from actors.plants.order import OrderPlantBody
from actors.plants.order_reconcile import ReconcilePolicy
from nightdesk.clocks import SystemClock
from nightdesk.rithmic.orders import ANSWERS, NEW_ORDERS
from nightdesk.rithmic.session import PlantSession
from nightdesk.settings.runtime import RunConfiguration
from nightdesk.trading.order import Order
from tests.fakes import FakeContext


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingJournal(Journal):
    """Dies before or after the commit of an intent, or of an exit that the server has made."""

    point = ""

    def write_intent(self, *orders: Order) -> int:
        if self.point == "before_commit":
            _die()
        event_id = super().write_intent(*orders)
        if self.point == ("exit" if orders[0].parent_id else "commit"):
            _die()
        return event_id


class DyingPlant(OrderPlantBody):
    """Dies when the order's frame is out, when the answer is in, before or after a fill is booked."""

    point = ""

    async def on_link_up(self, session: PlantSession) -> None:
        send = session.send

        async def send_and_die(template_id: int, **fields: Any) -> None:
            await send(template_id, **fields)
            if self.point == "send" and template_id in NEW_ORDERS:
                _die()

        session.send = send_and_die  # type: ignore[method-assign]
        await super().on_link_up(session)

    def on_push(self, template_id: int, message: Any) -> None:
        is_fill = template_id == 352 and bool(message.fill_id)
        is_answer = ANSWERS.get(template_id) in NEW_ORDERS
        if (self.point == "answer" and is_answer) or (self.point == "fill" and is_fill):
            _die()
        super().on_push(template_id, message)
        if self.point == "fill_committed" and is_fill:
            _die()


async def main(run: RunConfiguration, point: str) -> None:
    """Run until it dies."""
    context = FakeContext("plants/order", run.to_json(), SystemClock())
    DyingPlant.point = DyingJournal.point = point
    body = DyingPlant(context)
    body.reconcile_policy = ReconcilePolicy(span_s=0.2, quiet_s=0.05, replay_everything=True, positions_s=0.0)
    await body.start()
    body.journal.__class__ = DyingJournal
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(RunConfiguration.from_json(Path(sys.argv[1]).read_bytes()), sys.argv[2]))
