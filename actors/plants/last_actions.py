"""The last actions of a system that has given up, when no order plant was left to carry them out.

A branch that gives up stops its order plant before root does, so that at the end of a run with code 6 there may be
nobody who could cancel. ``run.py`` then runs this module in a process of its own (``python -m``, the configuration on
standard input): one more order plant, without a tree, that connects, reconciles, does what ``on_system_give_up`` says,
and ends.
"""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

from actors.body import Context
from actors.process import die_with_parent
from nightdesk.clocks import SystemClock
from nightdesk.errors import NightdeskError
from nightdesk.logs import configure, get_logger
from nightdesk.messages import ChildId, Message
from nightdesk.settings.runtime import RunConfiguration

if TYPE_CHECKING:
    from actors.plants.journal import Journal

CONNECT_S = 25.0
"""What the order plant has to log in and to reconcile; the broker's lists are asked three times where they disagree."""
ACT_S = 20.0
PROCESS_S = 60.0
"""After this the process is killed, and what it has done is unknown."""
DONE, NOT_DONE = 0, 1
ORDER_PLANT = ChildId("plants/order")
POLL_S = 0.02


def after_give_up(run: RunConfiguration, log_format: str) -> str:
    """Called by the runner when the tree has ended with code 6: what was done, as one word for the closing line."""
    if run.settings.on_system_give_up == "keep":
        return "keep"
    command = [sys.executable, "-m", "actors.plants.last_actions", str(os.getpid()), log_format]
    try:
        ended = subprocess.run(command, input=run.to_json(), timeout=PROCESS_S, check=False)
    except subprocess.TimeoutExpired:
        code = NOT_DONE
    else:
        code = ended.returncode
    if code == DONE:
        return "done"
    text = "orders may work and positions may be open at the broker: look there, on the broker's own screen"
    get_logger().critical("last_actions_not_done", on_system_give_up=run.settings.on_system_give_up, text=text)
    return "not_done"


async def act(run: RunConfiguration) -> bool:
    """Carry out what is not done yet; True when all of it is."""
    # Only here: the runner imports this module, and must not load what a plant needs.
    from actors.plants.journal import Journal
    from actors.plants.order import GAVE_UP, OrderPlantBody, system_name_of
    from actors.plants.order_waiting import until

    journal = Journal.open(
        run.state_dir, system_name=system_name_of(run.settings), durability=run.settings.journal.durability
    )
    try:
        is_done = journal.gave_up_done() or _is_nothing_left(journal, run.settings.on_system_give_up)
    finally:
        journal.close()
    if is_done:
        return True
    if run.settings.mode == "sim":
        get_logger().warning("last_actions_impossible", reason="the embedded exchange has ended with the system")
        return False
    failures: list[BaseException] = []
    context = Context(
        child_id=ORDER_PLANT,
        incarnation=0,
        config=run.to_json(),
        clock=SystemClock(),
        log=get_logger(),
        post=_nobody,
        end=failures.append,
    )
    body = OrderPlantBody(context)
    await body.start()
    # Nothing is begun here, a roll least of all: what is left undone is all that this process is for.
    body.account.is_ending = True
    await until(
        lambda: bool(failures) or (body.account.connected and not body.account.reconciling),
        poll_s=POLL_S,
        timeout_s=CONNECT_S,
    )
    body.stop_reason, body.stop_deadline_s = GAVE_UP, ACT_S
    await body.stop()
    await context.cancel_tasks()
    for failure in failures:
        get_logger().error("last_actions_failed", error_type=type(failure).__name__, error_message=str(failure))
    return body.last_actions.is_done


def _is_nothing_left(journal: "Journal", action: str) -> bool:
    """Whether the journal alone says so: it has nothing open that would have to go, and holds nothing to be closed."""
    from nightdesk.messages import Side
    from nightdesk.trading.order import Purpose

    orders = journal.open_orders()
    if action == "cancel":
        return not any(order.purpose is Purpose.STRATEGY and not order.protective for order in orders)
    held: Counter[tuple[str, str]] = Counter()
    for fill, _, _ in journal.fills():
        held[(fill.strategy_id, fill.symbol)] += fill.quantity if fill.side is Side.BUY else -fill.quantity
    return not orders and not any(held.values())


def _nobody(_destination: ChildId, _message: Message) -> None:
    """Mail has no tree to travel along any more; what matters is in the log."""


def main(arguments: list[str]) -> int:
    """``PARENT_PID LOG_FORMAT``, and the configuration on standard input."""
    die_with_parent(int(arguments[0]))
    run = RunConfiguration.from_json(sys.stdin.buffer.read())
    level = run.settings.log_level
    configure(log_format=arguments[1], level=level, actor="LastActions", child_id=ORDER_PLANT, incarnation=0)
    try:
        return DONE if asyncio.run(act(run)) else NOT_DONE
    except NightdeskError as error:
        get_logger().critical("last_actions_failed", error_type=type(error).__name__, error_message=str(error))
        return NOT_DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
