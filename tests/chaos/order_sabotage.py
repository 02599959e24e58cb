"""What keeps orders safe, switched off one thing at a time, in a process of tests: then a named test must fail.

As a plugin of pytest (``-p tests.chaos.order_sabotage``) it takes the name from the environment, and the order plants
that a test has in processes of their own (``nursery``) inherit it. Nothing of the product knows of this.
"""

import asyncio
import functools
import itertools
import os
from collections.abc import Callable
from typing import Any

import msgspec

from actors.plants import order_account, order_gate, order_lane, order_reconcile, order_resurrection, order_sender
from actors.plants.journal import EVENTS_PER_INTENT, Journal
from nightdesk.messages import FillId, OrderStatus
from nightdesk.trading.broker import BrokerUpdate, FillKey
from nightdesk.trading.order import Order
from nightdesk.trading.order_transitions import Step

VARIABLE = "NIGHTDESK_TEST_SWITCHED_OFF"
"""The environment variable with the name of what is off in this process."""

LATE_S = 0.005
"""How long after its frame or its word something is written, where it is not written before it."""


def _commit_after_send() -> None:
    """The intent is written, but only when its frame is on its way."""
    write = Journal.write_intent

    def write_later(self: Journal, *orders: Order) -> int:
        event_id = self._next_event_id
        self._next_event_id += EVENTS_PER_INTENT * len(orders)
        asyncio.get_running_loop().call_later(LATE_S, write, self, *orders)
        return event_id

    _replace(Journal, "write_intent", write_later)


class _AnyEpoch(int):
    """Equal to every number."""

    def __eq__(self, _other: object) -> bool:
        return True

    def __ne__(self, _other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 0


class _Unfenced(dict[Any, Any]):
    def get(self, key: Any, default: Any = None) -> Any:
        return _AnyEpoch(super().get(key, default) or 0)


def _no_fencing() -> None:
    """Whoever names a strategy speaks for it, whatever its epoch and its connection."""
    begin = order_gate.Gate.__init__

    def begin_unfenced(self: Any, *arguments: Any) -> None:
        begin(self, *arguments)
        self.epochs = _Unfenced()

    _replace(order_gate.Gate, "__init__", begin_unfenced)
    assert isinstance(order_lane.NO_EPOCH, int)


def _no_fill_key() -> None:
    """Each report of an execution is a new one, in memory and in the journal."""
    number = itertools.count(1)
    key_of = BrokerUpdate.fill_key

    def new_key(self: BrokerUpdate) -> FillKey:
        key = key_of(self)
        return msgspec.structs.replace(key, fill_id=FillId(f"{key.fill_id}/{next(number)}"))

    write = Journal.write_order

    def write_anew(self: Journal, order: Order, events: Any = (), fill: Any = None, *rest: Any, **more: Any) -> None:
        if fill is not None:
            report, account_id = fill
            fill = (msgspec.structs.replace(report, fill_id=FillId(f"{report.fill_id}/{next(number)}")), account_id)
        write(self, order, events, fill, *rest, **more)

    _replace(BrokerUpdate, "fill_key", new_key)
    _replace(Journal, "write_order", write_anew)


def _no_doubt() -> None:
    """An order without an answer is taken for one that never arrived."""

    def give_up(self: Any, order: Order, text: str) -> None:
        order.operation = None
        if order.status in (OrderStatus.INITIALIZED, OrderStatus.SUBMITTED):
            self.end(order, Step.REJECT, f"taken for lost: {text}")

    _replace(order_account.Account, "doubt", give_up)


def _tell_before_commit() -> None:
    """What came of an order is told at once, and written a little later."""
    commit = order_account.Account.commit

    def commit_later(self: Any, order: Order, *messages: Any, fill: Any = None) -> bool:
        asyncio.get_running_loop().call_later(LATE_S, functools.partial(commit, self, order, *messages, fill=fill))
        return True

    _replace(order_account.Account, "commit", commit_later)


def _no_tombstones() -> None:
    """An order that the broker's silence has ended is over, whatever comes of it."""
    revive = order_resurrection.Resurrections._revive

    def revive_others(self: Any, order: Order) -> None:
        if not order.tombstone:
            revive(self, order)

    _replace(order_resurrection.Resurrections, "_revive", revive_others)


def _any_connection() -> None:
    """An intent is sent over whichever connection there is."""
    _replace(order_sender.Sender, "_is_unsent", lambda self, order: order.status is OrderStatus.INITIALIZED)


def _no_buffer() -> None:
    """Live reports count as they come, in the middle of lists that are older."""
    take = order_reconcile.Reconciler.on_update

    def take_at_once(self: Any, update: BrokerUpdate) -> None:
        self._buffer = None
        take(self, update)

    _replace(order_reconcile.Reconciler, "on_update", take_at_once)


def _forget_cancels() -> None:
    """A cancel that has to wait is remembered by the process alone."""
    request = order_sender.Sender.request_cancel

    def request_unwritten(self: Any, order: Order) -> None:
        commit, self._account.commit = self._account.commit, lambda *_arguments, **_more: True
        request(self, order)
        self._account.commit = commit

    _replace(order_sender.Sender, "request_cancel", request_unwritten)


def _no_worst_case() -> None:
    """Limits count what is filled, and nothing of what works, is on its way, or in doubt."""
    _replace(Order, "exposure", property(lambda self: 0))


SABOTAGES: dict[str, Callable[[], None]] = {
    "commit before the send": _commit_after_send,
    "fencing": _no_fencing,
    "duplicate-fill key": _no_fill_key,
    "in-doubt rule": _no_doubt,
    "worst-case exposure": _no_worst_case,
    "commit before the word": _tell_before_commit,
    "tombstones": _no_tombstones,
    "connection epoch": _any_connection,
    "lists before live reports": _no_buffer,
    "memory of cancels": _forget_cancels,
}


def apply(name: str) -> None:
    """Switch one thing off in this process, for good."""
    SABOTAGES[name]()


def pytest_configure() -> None:
    """As a plugin: what the environment says, nothing where it says nothing."""
    name = os.environ.get(VARIABLE, "")
    if name:
        apply(name)


def _replace(owner: type, name: str, value: object) -> None:
    """A thing that is not there any more must not pass as switched off."""
    if name not in vars(owner):
        raise AssertionError(f"{owner.__name__} has no {name} of its own any more: this sabotage switches off nothing")
    setattr(owner, name, value)
