"""The pnl plant: the broker's own view of our positions, for the order plant to compare with its journal.

An answer to *which positions are there* counts only as a whole: with the account's own line, which comes for a flat
account, too, and with positions that add up to what that line says. Anything else is *unknown*, never *flat*.
"""

import asyncio
from collections.abc import Collection
from typing import Any, ClassVar, Final

import msgspec

from actors.base import Context
from actors.lanes import LaneClient, Peer, lane_path
from actors.plants.margin_watch import MarginWatch
from actors.plants.plant import PlantBody
from nightdesk.errors import LaneError, LinkError
from nightdesk.messages import (
    AccountIdentity,
    AuditHello,
    BrokerPosition,
    BrokerSnapshotEnd,
    ChildId,
    Message,
)
from nightdesk.rithmic.decode import INSTRUMENT_POSITION, AccountTotals, decode_position, decode_totals
from nightdesk.rithmic.limits import ACCOUNT_MONEY, decode_money
from nightdesk.rithmic.session import PlantSession, RequestRefused
from nightdesk.rithmic.words import SUBSCRIBE

ORDER_PLANT: Final = ChildId("plants/order")
POSITION_UPDATES: Final = 400
POSITION_SNAPSHOT: Final = 402
SNAPSHOT_INTERVAL_S: Final = 60.0
LANE_RECONNECT_MAX_S: Final = 0.1
"""An order plant that comes back waits for our word on positions before orders pass."""


class PnlPlantBody(PlantBody):
    """Logs in once the order plant has told who we are; reports positions as they change and whole once a minute."""

    kind: ClassVar[str] = "pnl"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._identity: AccountIdentity | None = None
        self._identified = asyncio.Event()
        self._snapshot_due = asyncio.Event()
        self._margin = MarginWatch(context)
        self._listed: dict[str, BrokerPosition] | None = None
        """While a list is asked for: what it has named so far, as it stands now."""
        self._images: dict[str, int] = {}
        """The same as the list has it: its sum is what the account's line says."""
        self._totals: AccountTotals | None = None
        """What it says of all of them together."""
        self._breaks = 0
        """Counts what may have cost the order plant a report: a new lane, or a report that could not be sent."""
        self._lane = LaneClient(
            lane_path(self.run.runtime_dir, ORDER_PLANT, "audit"),
            on_open=self._on_open,
            on_message=self._take,
            on_close=lambda: None,
            reconnect_max_s=LANE_RECONNECT_MAX_S,
        )

    async def start(self) -> None:
        """Connect to the order plant, then to the gateway."""
        await self._lane.start()
        self.context.spawn(self._snapshots(), name="pnl_snapshots")
        await super().start()

    async def stop(self) -> None:
        """Log out and close the lane."""
        await super().stop()
        await self._lane.close()

    async def wait_until_ready(self) -> None:
        """The gateway tells fcm_id, ib_id and the accounts on the order plant only."""
        await self._identified.wait()

    def identity(self) -> AccountIdentity | None:
        return self._identity

    async def on_link_up(self, session: PlantSession) -> None:
        """Subscribe first, so that nothing is missed between the snapshot and the first change."""
        for account_id in self._accounts():
            await session.request(POSITION_UPDATES, account_id=account_id, request=SUBSCRIBE)
        self._snapshot_due.set()

    def on_link_down(self, reason: str) -> None:
        """What was told before is void: positions may change unheard. The next link-up brings a whole list."""
        super().on_link_down(reason)
        self._report(self._hello())

    def on_push(self, template_id: int, message: Any) -> None:
        """Positions, and the account's money: it may become short."""
        if template_id == INSTRUMENT_POSITION:
            self._take_position(decode_position(message))
        elif template_id == ACCOUNT_MONEY and message.account_id in self._accounts():
            self._margin.on_money(decode_money(message))
            if message.is_snapshot:
                self._totals = decode_totals(message)

    def _take_position(self, position: BrokerPosition) -> None:
        """Changes are told at once; images only when their list turns out to be whole."""
        if self._listed is not None and (position.is_snapshot or position.symbol in self._listed):
            self._listed[position.symbol] = msgspec.structs.replace(position, is_snapshot=True)
        if position.is_snapshot:
            self._images[position.symbol] = position.quantity
        if not position.is_snapshot:
            self._report(position)

    def _accounts(self) -> tuple[str, ...]:
        configured = self.run.settings.account
        if configured is not None:
            return (configured,)
        return self._identity.account_ids if self._identity is not None else ()

    async def _snapshots(self) -> None:
        """At each link-up, when the order plant asks, and every minute; what a snapshot does not name is flat."""
        while True:
            try:
                async with asyncio.timeout(SNAPSHOT_INTERVAL_S):
                    await self._snapshot_due.wait()
            except TimeoutError:
                self.context.log.debug("pnl_snapshot_interval_over")
            self._snapshot_due.clear()
            session = self.session
            if session is None:
                continue
            try:
                for account_id in self._accounts():
                    await self._snapshot(session, account_id)
            except (LinkError, RequestRefused) as error:
                self.context.log.warning("pnl_snapshot_failed", reason=str(error))

    async def _snapshot(self, session: PlantSession, account_id: str) -> None:
        """The end is reported only for a whole list, since what a list does not name counts as flat."""
        breaks = self._breaks
        self._listed, self._images, self._totals = {}, {}, None
        try:
            await session.request(POSITION_SNAPSHOT, account_id=account_id)
            listed, totals = self._listed, self._totals
        finally:
            self._listed = None
        problem = _doubt(account_id, self._images.values(), totals)
        if problem:
            self.context.log.warning("pnl_snapshot_doubtful", reason=problem, positions=len(listed))
            return
        if self._breaks == breaks:
            for position in listed.values():
                self._report(position)
            self._report(BrokerSnapshotEnd(account_id=account_id, ts_event_ns=self.context.market_time.now_ns()))

    def _report(self, message: Message) -> None:
        try:
            self._lane.send(message)
        except LaneError:
            # Nobody listens: the order plant gets a whole snapshot when its lane is back.
            self._breaks += 1
            self.context.log.debug("audit_lane_down", message=type(message).__name__)

    def _on_open(self, peer: Peer) -> None:
        self._breaks += 1
        peer.send(self._hello())
        self._snapshot_due.set()

    def _hello(self) -> AuditHello:
        return AuditHello(child_id=self.context.child_id, incarnation=self.context.incarnation)

    def _take(self, message: Message) -> None:
        if not isinstance(message, AccountIdentity):
            self.context.log.warning("lane_message_refused", message=type(message).__name__)
            return
        is_new = message != self._identity
        self._identity = message
        self._identified.set()
        # Told once more: the order plant wants to compare, as at an opening.
        self._snapshot_due.set()
        if is_new and self.session is not None:
            # Another account: log in anew as that one.
            self.context.spawn(self.session.close(), name="pnl_identity_changed")


def _doubt(account_id: str, listed: Collection[int], totals: AccountTotals | None) -> str:
    """Why a list may not be whole, empty for no reason."""
    if totals is None or totals.account_id != account_id:
        return "the account's own line is missing"
    net, held = sum(listed), sum(map(abs, listed))
    if totals.net_quantity and totals.net_quantity != net:
        return f"its positions come to {net}, the account's line says {totals.net_quantity}"
    if totals.open_quantity and totals.open_quantity != held:
        return f"its positions have {held} contracts, the account's line says {totals.open_quantity}"
    return ""
