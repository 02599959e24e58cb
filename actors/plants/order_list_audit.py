"""The light audit: the broker's list of orders against ours, every few minutes, while trading goes on.

Its images change nothing; they are only looked at. What differs is looked at again a few seconds later; what differs
twice has a reconciliation settle it, and what differs even after that is told like a position that differs
(``order_audit.py``).
"""

import asyncio
from collections.abc import Callable

from actors.plants.order_account import Account
from actors.plants.order_reconcile import Reconciler
from actors.plants.order_sender import Link
from nightdesk.messages import VenueOrderId
from nightdesk.rithmic.session import PlantSession
from nightdesk.trading.broker import BrokerUpdate
from nightdesk.trading.list_check import Difference, ListCheck, compare, resting
from nightdesk.trading.order import Order

RECHECK_S = 5.0
"""From a list that differs to the next one."""

SOON_MIN_S = 1.0
"""Lists that somebody else asks for are not closer than this."""

LOOKED_UP_PER_TURN = 200
"""A session may have thousands of orders, and everybody else waits while they are looked up."""


class ListAudit:
    """``look`` a few times a second; ``ask_soon`` where a fresh list would say more."""

    def __init__(self, account: Account, link: Link, reconciler: Reconciler, every_s: float) -> None:
        self._account = account
        self._link = link
        self._reconciler = reconciler
        self._every_s = every_s
        self._due_s = self._now_s() + every_s
        self._taken_s = self._now_s() - SOON_MIN_S
        self._task: asyncio.Task[None] | None = None
        self._before: set[Difference] = set()
        self._asked: set[Difference] = set()
        self._told: set[Difference] = set()
        self._last: ListCheck | None = None
        self.on_lasting: Callable[[list[Difference]], None] = lambda differences: None
        """Told of what a reconciliation did not settle, each once."""

    def look(self) -> None:
        """Ask when it is time; nothing is asked while nothing can be concluded."""
        account = self._account
        if self._task is not None and self._task.done():
            self._task = None
        session = self._link.session
        is_possible = account.connected and not account.reconciling and account.markets.is_any_trading()
        if session is None or not is_possible or self._task is not None or self._now_s() < self._due_s:
            return
        self._due_s = self._now_s() + self._every_s
        self._task = account.context.spawn(self._check(session), name="list_audit")

    def ask_soon(self) -> None:
        """Somebody has seen a difference of positions: what does the list say?"""
        self._due_s = min(self._due_s, max(self._now_s(), self._taken_s + SOON_MIN_S))

    def position(self, symbol: str, ours: int, since_s: float = 0.0) -> int | None:
        """The position that the newest list comes to; None where there is none since a time of this machine."""
        if self._last is None or self._taken_s < since_s:
            return None
        return ours + self._last.positions.get(symbol, 0)

    def first(self, symbol: str) -> str:
        """The first order of a symbol of which the newest list says something else; empty for none."""
        differences = () if self._last is None else self._last.differences
        return next((each.text for each in differences if each.symbol == symbol), "")

    async def _check(self, session: PlantSession) -> None:
        account, reconciler = self._account, self._reconciler
        before, since_ns = resting(account.table.open_orders()), account.broker_ts_ns
        images: list[BrokerUpdate] = []
        reconciler.captured = images
        try:
            is_whole = await reconciler.lists.orders(session)
        finally:
            reconciler.captured = None
        images = [image for image in images if image.account_id == account.account_id]
        orders = await self._orders_of(images)
        if not is_whole or account.reconciling or self._link.session is not session:
            return
        if before and not images:
            # A list that shows none of what works is no list: it says nothing, not *none*.
            account.log.warning("list_audit_empty", open_orders=len(before))
            return
        check = compare(before, since_ns, images, lambda image: orders.get(image.venue_order_id))
        self._last, self._taken_s = check, self._now_s()
        self._judge(check)

    async def _orders_of(self, images: list[BrokerUpdate]) -> dict[VenueOrderId, Order]:
        found = {}
        for number, image in enumerate(images, start=1):
            order = self._order_of(image)
            if order is not None:
                found[image.venue_order_id] = order
            if number % LOOKED_UP_PER_TURN == 0:
                await asyncio.sleep(0)
        return found

    def _order_of(self, image: BrokerUpdate) -> Order | None:
        account = self._account
        order = account.table.by_venue(image.account_id, image.venue_order_id)
        order = order or account.table.get(image.client_order_id)
        return order or account.journal.find_by_venue(image.account_id, image.venue_order_id)

    def _judge(self, check: ListCheck) -> None:
        present = set(check.differences)
        for each in sorted(self._told - present):
            self._account.log.warning("orders_mismatch_ended", symbol=each.symbol, text=each.text)
        self._told &= present
        self._asked &= present
        lasting = [each for each in check.differences if each in self._before]
        settled_before = [each for each in lasting if each in self._asked and each not in self._told]
        is_new = any(each not in self._asked for each in lasting)
        self._before = present
        if present - self._told:
            self._due_s = self._now_s() + RECHECK_S
            self._account.log.warning(
                "list_differs", symbol=check.differences[0].symbol, text=check.differences[0].text
            )
        if is_new:
            self._asked.update(lasting)
            self._reconciler.request(f"the broker's list differs twice: {lasting[0].text}")
        elif settled_before:
            self._told.update(settled_before)
            self.on_lasting(settled_before)

    def _now_s(self) -> float:
        return self._account.context.clock.monotonic_s()
