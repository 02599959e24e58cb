"""An order plant in a process of its own that stops itself (SIGSTOP) at a named point; run by its test.

It ends with ``ENDED`` when its body has crashed, as an actor's process does.
"""

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
from nightdesk.settings.runtime import RunConfiguration
from nightdesk.trading.order import Order
from tests.fakes import FakeContext

ENDED = 17


class StoppingJournal(Journal):
    """Stops its process right after the commit of an intent: the frame would go out in the next turn."""

    point = ""

    def write_intent(self, *orders: Order) -> int:
        event_id = super().write_intent(*orders)
        if self.point == "committed":
            os.kill(os.getpid(), signal.SIGSTOP)
        return event_id


class EndingContext(FakeContext):
    """The first error ends the process; alerts are printed."""

    def _keep_error(self, error: BaseException) -> None:
        print(f"ended: {type(error).__name__}: {error}", flush=True)
        for alert in self.alerts:
            print(f"alert: {alert.event}", flush=True)
        os._exit(ENDED)


async def main(run: RunConfiguration, point: str) -> None:
    """Run until it ends."""
    context = EndingContext("plants/order", run.to_json(), SystemClock())

    def failed(loop: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
        context._keep_error(told.get("exception") or RuntimeError(told["message"]))

    asyncio.get_running_loop().set_exception_handler(failed)
    StoppingJournal.point = point
    body = OrderPlantBody(context)
    body.reconcile_policy = ReconcilePolicy(span_s=0.2, quiet_s=0.05, replay_everything=True, positions_s=0.0)
    await body.start()
    body.journal.__class__ = StoppingJournal
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(RunConfiguration.from_json(Path(sys.argv[1]).read_bytes()), sys.argv[2]))
