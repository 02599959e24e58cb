"""The pnl plant: the broker's own view of our positions, for the order plant to compare with its journal."""

import asyncio
from typing import Any, ClassVar, Final

from actors.base import Context
from actors.lanes import LaneClient, Peer, lane_path
from actors.plants.plant import PlantBody
from nightdesk.errors import LaneError, LinkError
from nightdesk.messages import (
    AccountIdentity,
    AuditHello,
    BrokerSnapshotEnd,
    ChildId,
    Message,
)
from nightdesk.rithmic.decode import INSTRUMENT_POSITION, decode_position
from nightdesk.rithmic.session import PlantSession, RequestRefused
from nightdesk.rithmic.words import SUBSCRIBE

ORDER_PLANT: Final = ChildId("plants/order")
POSITION_UPDATES: Final = 400
POSITION_SNAPSHOT: Final = 402
SNAPSHOT_INTERVAL_S: Final = 60.0


class PnlPlantBody(PlantBody):
    """Logs in once the order plant has told who we are; reports positions as they change and whole once a minute."""

    kind: ClassVar[str] = "pnl"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._identity: AccountIdentity | None = None
        self._identified = asyncio.Event()
        self._snapshot_due = asyncio.Event()
        self._breaks = 0
        """Counts what may have cost the order plant a report: a new lane, or a report that could not be sent."""
        self._lane = LaneClient(
            lane_path(self.run.runtime_dir, ORDER_PLANT, "audit"),
            on_open=self._on_open,
            on_message=self._take,
            on_close=lambda: None,
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

    def on_push(self, template_id: int, message: Any) -> None:
        """Positions; the account's money (451) is of no use yet."""
        if template_id == INSTRUMENT_POSITION:
            self._report(decode_position(message))

    def _accounts(self) -> tuple[str, ...]:
        configured = self.run.settings.account
        if configured is not None:
            return (configured,)
        return self._identity.account_ids if self._identity is not None else ()

    async def _snapshots(self) -> None:
        """At each link-up, when the order plant is new, and every minute; what a snapshot does not name is flat."""
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
        await session.request(POSITION_SNAPSHOT, account_id=account_id)
        if self._breaks == breaks:
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
        peer.send(AuditHello(child_id=self.context.child_id, incarnation=self.context.incarnation))
        self._snapshot_due.set()

    def _take(self, message: Message) -> None:
        if not isinstance(message, AccountIdentity):
            self.context.log.warning("lane_message_refused", message=type(message).__name__)
            return
        is_new = message != self._identity
        self._identity = message
        self._identified.set()
        if is_new and self.session is not None:
            # Another account: log in anew as that one.
            self.context.spawn(self.session.close(), name="pnl_identity_changed")
