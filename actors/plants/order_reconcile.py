"""Reconciliation: after each login, and whenever an outcome is unknown, the broker's answers settle what we hold.

One code path for starts, reconnects and doubts: live reports are buffered from before the subscription on, the lists
are read (``order_lists.py``), each order is judged by them (``order_judgement.py``), positions are compared
(``order_audit.py``), and only then orders that open positions pass again.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from actors.plants.order_account import Account
from actors.plants.order_fills import FillHistory
from actors.plants.order_judgement import Judge
from actors.plants.order_lists import BrokerLists, Deadlines, Query
from actors.plants.order_sender import Link, Sender
from actors.plants.order_waiting import until
from nightdesk.errors import InvariantError, LinkError
from nightdesk.messages import OrderStatus, Severity, VenueOrderId
from nightdesk.rithmic import held_orders as held_wire
from nightdesk.rithmic import orders as wire
from nightdesk.rithmic.session import PlantSession, RequestRefused
from nightdesk.trading.broker import COMPLETIONS, BrokerUpdate, UpdateKind
from nightdesk.trading.order import Order

BUFFER_MAX = 100_000
"""Live reports that wait while lists are read; a broker that sends more in that time is beyond what this can hold."""

ALERTS_AFTER_S = (10.0, 30.0, 60.0)
"""A reconciliation that does not end is told to the operator at these times, whatever it waits for."""

WATCH_POLL_S = 0.1
QUIET_POLL_S = 0.1

REPLAY_MARGIN_S = 60
REPLAY_AHEAD_S = 86_400

SESSION_RENEWED = "an order is in doubt: a new session is to say whether the broker has it"

Differences = dict[str, tuple[int, int]]
"""By symbol: the position in our books, and the broker's."""


class ReconcilePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and for how long to ask before an order counts as never received."""

    attempts: int = 3
    span_s: float = 30.0
    """From the first answer that did not show an order to the one that ends it."""
    quiet_s: float = 0.25
    """Stragglers of a list may follow its end; so long the list is still listened to, anew after each of them."""
    retry_s: float = 1.0
    """The pause after an answer that failed."""
    quiet_retry_s: float = 60.0
    """How much longer it may be while no market trades."""
    replay_everything: bool = False
    """Ask for all executions: market time may have been set back (the embedded exchange plays tapes)."""
    positions_s: float = 5.0
    """What the pnl plant has to bring the broker's positions."""
    fresh_session: bool = True
    """Whether an order that was sent over this connection counts as never received only on another one."""
    lists_show_ended: bool = False
    """Whether the broker's lists are known to show orders that are over; else that is learned."""
    deadlines: Deadlines = Deadlines()


SIMULATION = ReconcilePolicy(
    span_s=3.0,
    quiet_s=0.03,
    quiet_retry_s=2.0,
    replay_everything=True,
    positions_s=1.0,
    lists_show_ended=True,
    deadlines=Deadlines(orders_s=5.0, orders_of_day_s=5.0, executions_s=5.0, fills_s=5.0),
)
"""The embedded exchange answers from memory: what it does not show within seconds it does not have."""


class Reconciler:
    """One task at a time; ``on_change`` runs when the gate closes and when it may open."""

    def __init__(
        self,
        account: Account,
        link: Link,
        sender: Sender,
        policy: ReconcilePolicy,
        on_change: Callable[[], None],
    ) -> None:
        self._account = account
        self._link = link
        self._sender = sender
        self._policy = policy
        self._on_change = on_change
        self._task: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._again = False
        self._buffer: list[BrokerUpdate] | None = None
        self._unplaced: list[BrokerUpdate] = []
        """Images of finished orders that nobody here knows, until an execution makes one of them known."""
        self._counts = True
        """Whether the lists last asked for were asked for while some market traded."""
        self._in_doubt = 0
        self._waits_for = ""
        self._differences = 0
        self.seen: set[VenueOrderId] = set()
        """The broker's ids of all orders of which something was heard since the lists were asked for."""
        self.lists = BrokerLists(account, policy.deadlines, policy.quiet_s)
        self.judge = Judge(account, policy)
        self.fills = FillHistory(account)
        self.captured: list[BrokerUpdate] | None = None
        """Images of a list that is only to be looked at, while somebody does."""
        self.compare_positions: Callable[[float], Awaitable[Differences | None]] = _unknown_positions
        """Has the pnl plant ask for the broker's positions and compares; None where it brings no whole list in time."""
        self.on_positions_differ: Callable[[Differences], None] = lambda differences: None
        """Told of differences that all rounds of a reconciliation have found."""

    def begin_connection(self) -> None:
        """Before the account's reports are subscribed to: they wait until the lists are read."""
        self.lists.connected()
        if self._buffer is None:
            self._buffer = []

    def request(self, reason: str) -> None:
        """Something is in doubt: close the gate and settle it. While the link is down its return does that."""
        session = self._link.session
        if session is None or not session.connected:
            return
        self._account.log.info("reconciling", reason=reason)
        if self._task is not None:
            self._again = True
            return
        self._account.reconciling = True
        self._on_change()
        self._again = False
        context = self._account.context
        self._waits_for = "the broker's answers"
        self._watch = context.spawn(self._alert(context.clock.monotonic_s()), name="reconcile_watch")
        self._task = context.spawn(self._run(session), name="reconcile")

    def stop(self) -> None:
        """The link is gone: the next one begins anew. What was buffered is counted now."""
        for task in (self._task, self._watch):
            if task is not None:
                task.cancel()
        self._task = self._watch = None
        self._account.reconciling = True
        self._account.lists_read, self._account.unsettled = False, []
        self._drain()

    def on_update(self, update: BrokerUpdate) -> None:
        """Every report passes here: images at once, live ones after the lists that are being read."""
        self.lists.images += update.is_snapshot
        if update.is_snapshot and self.captured is not None:
            self.captured.append(update)
            return
        if update.is_snapshot and update.kind is UpdateKind.FILLED:
            # A replayed execution says that the order filled once, not that it still works.
            self.fills.replayed(update)
        else:
            self.seen.add(update.venue_order_id)
        if self._buffer is not None and not update.is_snapshot:
            if len(self._buffer) >= BUFFER_MAX:
                raise InvariantError(f"more than {BUFFER_MAX} reports while the broker's lists are read")
            self._buffer.append(update)
            return
        is_ended = update.is_snapshot and update.kind in COMPLETIONS
        if is_ended:
            self.judge.shows_ended()
        if self._account.on_update(update) is None and is_ended:
            self._unplaced.append(update)

    async def _run(self, session: PlantSession) -> None:
        account = self._account
        clock = account.context.clock
        started_s = clock.monotonic_s()
        account.recovered_fills = self._differences = 0
        self._in_doubt = account.table.counts[OrderStatus.UNKNOWN]
        self.judge.begin()
        while True:
            unsettled = await self._round(session)
            is_settled = unsettled == [] and not self._again and not await self._positions_differ()
            if is_settled and not self._again:
                # Nothing has come to be in doubt while positions were compared either.
                break
            self._again = False
            if self.judge.wants_new_session:
                self._renew(session)
            await self._pause(has_answer=bool(unsettled))
        self._task = None
        self._finish(clock.monotonic_s() - started_s)

    async def _round(self, session: PlantSession) -> list[Order] | None:
        """Ask for everything once; what must be asked for again, None where the answers prove nothing."""
        account = self._account
        self._waits_for = "the broker's answers"
        if not await self._ask(session):
            return None
        unsettled = self.judge.judge(set(self.seen), self._policy, counts=self._counts)
        if not unsettled:
            self.fills.adopt_postponed()
        account.lists_read |= self._counts
        account.unsettled = unsettled
        self._waits_for = f"{len(unsettled)} orders"
        return unsettled

    async def _pause(self, *, has_answer: bool) -> None:
        """Until the lists are asked for again; longer while no market trades, since nothing is decided then."""
        policy, markets = self._policy, self._account.markets
        pause_s = policy.span_s / max(1, policy.attempts - 1) if has_answer else policy.retry_s
        await asyncio.sleep(pause_s)
        await until(markets.is_any_trading, poll_s=QUIET_POLL_S, timeout_s=policy.quiet_retry_s)

    async def _ask(self, session: PlantSession) -> bool:
        """Read the lists; False when an answer failed and so proves nothing."""
        account = self._account
        self._counts = account.markets.is_any_trading()
        self.seen.clear()
        self._unplaced.clear()
        if self._buffer is None:
            self._buffer = []
        account.resurrections.begin_list()
        start_s = self._replay_start_s()
        self.fills.begin_round(start_s * wire.NS_PER_S)
        try:
            picture = await self.lists.ask(session, start_s, self._replay_finish_s())
            if picture.is_whole and self._sender.levels.in_doubt():
                await self._ask_levels(session)
        except LinkError as error:
            account.log.warning("reconcile_answer_failed", reason=str(error))
            return False
        finally:
            self._drain()
        # After the live reports: what they have told was in the history, too.
        self.fills.take(picture.fills)
        if not picture.is_whole:
            return False
        for update in self._unplaced:
            account.on_update(update)
        self._unplaced.clear()
        self.fills.compare()
        return True

    async def _ask_levels(self, session: PlantSession) -> None:
        """How far the exits of brackets are whose change had no answer; a gateway without these lists changes nothing:
        a wrong distance of ours is refused as the key of the next change."""
        account_id = self._account.account_id
        try:
            stops = await session.request(held_wire.SHOW_STOPS, account_id=account_id)
            targets = await session.request(held_wire.SHOW_TARGETS, account_id=account_id)
        except RequestRefused as refusal:
            self._account.log.warning("bracket_levels_unknown", reason=str(refusal))
            return
        self._sender.levels.told(held_wire.decode_levels(stops, targets))

    async def _positions_differ(self) -> bool:
        """Whether the broker's positions say that something is missing in our books still.

        A difference that all rounds find is the audit's: it does not keep trading blocked.
        """
        account, policy = self._account, self._policy
        if not policy.positions_s or not self._counts or not self._is_at_stake():
            return False
        if self.lists.is_left_out(Query.POSITIONS):
            return False
        self._waits_for = "the broker's positions"
        differences = await self.compare_positions(policy.positions_s)
        if differences is None:
            self.lists.failed(
                Query.POSITIONS, f"the pnl plant has brought no whole list within {policy.positions_s:g} s"
            )
            return False
        self.lists.answered(Query.POSITIONS)
        if not differences:
            return False
        self._differences += 1
        account.log.warning(
            "reconcile_positions_differ",
            symbols=sorted(differences),
            positions=[f"{symbol}: {ours} here, {theirs} there" for symbol, (ours, theirs) in differences.items()],
        )
        if self._differences < policy.attempts:
            return True
        self.on_positions_differ(differences)
        return False

    def _is_at_stake(self) -> bool:
        """Whether our books hold anything that the broker's positions could contradict; if not, the audit will see."""
        account = self._account
        is_held = any(account.ledger.quantity(*pair) for pair in account.ledger.pairs())
        return is_held or bool(account.table.open_count() or account.recovered_fills)

    def _renew(self, session: PlantSession) -> None:
        """Log out: the return of the link reconciles anew, and what it does not show was never received there."""
        self.judge.wants_new_session = False
        self._account.log.warning("reconcile_session_renewed", reason=SESSION_RENEWED)
        self._account.context.spawn(session.close(SESSION_RENEWED), name="renew_session")

    def _replay_start_s(self) -> int:
        """From the oldest intent that may lack executions, in the broker's time; everything where that is not known."""
        account = self._account
        if self._policy.replay_everything or account.table.missing_fills():
            return wire.REPLAY_START_MIN_S
        times = [order.broker_ts_ns for order in account.table.open_orders()] + [account.broker_ts_ns]
        if account.replay_from_ns is not None:
            times.append(account.replay_from_ns)
        return max(wire.REPLAY_START_MIN_S, min(times) // wire.NS_PER_S - REPLAY_MARGIN_S)

    def _replay_finish_s(self) -> int:
        """Beyond now by far enough for any difference of clocks."""
        if self._policy.replay_everything:
            return wire.REPLAY_FINISH_MAX_S
        return self._account.context.market_time.now_ns() // wire.NS_PER_S + REPLAY_AHEAD_S

    def _drain(self) -> None:
        buffered, self._buffer = self._buffer, None
        for update in buffered or ():
            self._account.on_update(update)

    async def _alert(self, started_s: float) -> None:
        """Tell the operator that trading is blocked; while no market trades nobody misses anything."""
        account = self._account
        clock, alerts = account.context.clock, list(ALERTS_AFTER_S)
        while alerts:
            await asyncio.sleep(WATCH_POLL_S)
            waited_s = clock.monotonic_s() - started_s
            if waited_s < alerts[0] or not account.markets.is_any_trading():
                continue
            alerts.pop(0)
            ids = [order.client_order_id for order in account.unsettled][:5]
            account.log.error(
                "reconcile_unsettled", waited_s=round(waited_s, 1), waits_for=self._waits_for, client_order_ids=ids
            )
            text = f"trading is blocked for {waited_s:.0f} s: still waiting for {self._waits_for}"
            account.context.alert("reconcile_unsettled", Severity.CRITICAL, text, client_order_ids=" ".join(ids))

    def _finish(self, took_s: float) -> None:
        account = self._account
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        account.held.settle()
        self.judge.settle_updates()
        account.reconciling = False
        account.lists_read, account.unsettled = True, []
        if self._counts:
            account.keep_replay_from(None)
        account.log.info(
            "reconciled",
            open_orders=account.table.open_count(),
            recovered_fills=account.recovered_fills,
            adopted=max(0, self._in_doubt - self.judge.not_found),
            not_found=self.judge.not_found,
            external=account.externals.tell(),
            took_ms=round(took_s * 1000),
        )
        self._on_change()
        for order in account.table.open_orders():
            self._sender.pump(order)


async def _unknown_positions(timeout_s: float) -> Differences | None:
    return None
