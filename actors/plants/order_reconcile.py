"""Reconciliation: after each login, and whenever an outcome is unknown, the broker's lists settle what we hold.

Until every order is settled, opening orders are denied. An empty or short list proves nothing: an order counts as never
received only when several complete answers in a row, over a span of time, did not show it.
"""

import asyncio
from collections.abc import Callable

import msgspec

from actors.plants import order_events as events
from actors.plants.order_account import Account
from actors.plants.order_sender import Link, Sender
from actors.plants.order_waiting import until
from nightdesk.errors import InvariantError, LinkError
from nightdesk.messages import OrderModifyRejected, OrderStatus, Severity, TimeInForce
from nightdesk.rithmic import orders as wire
from nightdesk.rithmic.session import PlantSession, RequestRefused
from nightdesk.trading.broker import COMPLETIONS, BrokerUpdate, UpdateKind
from nightdesk.trading.order import Operation, Order
from nightdesk.trading.order_transitions import Step

BUFFER_MAX = 100_000
"""Live reports that wait while lists are read; a broker that sends more in that time is beyond what this can hold."""

ALERTS_AFTER_S = (10.0, 30.0, 60.0)
"""A reconciliation that does not end is told to the operator at these times."""

QUIET_POLL_S = 0.1

REPLAY_MARGIN_S = 60
REPLAY_AHEAD_S = 86_400


class ReconcilePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and for how long to ask before an order counts as never received."""

    attempts: int = 3
    span_s: float = 30.0
    """From the first answer that did not show an order to the one that ends it."""
    quiet_s: float = 0.25
    """Stragglers of a list may follow its end; so long the list is still listened to."""
    retry_s: float = 1.0
    quiet_retry_s: float = 60.0
    """How much longer it may be while no market trades."""
    """The pause after an answer that failed."""
    replay_everything: bool = False
    """Ask for all executions: market time may have been set back (the embedded exchange plays tapes)."""


SIMULATION = ReconcilePolicy(span_s=3.0, quiet_s=0.05, quiet_retry_s=2.0, replay_everything=True)
"""The embedded exchange answers from memory: what it does not show within seconds it does not have."""


class Reconciler:
    """One task at a time; ``on_reconciled`` runs when the gate may open."""

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
        self._again = False
        self._buffer: list[BrokerUpdate] | None = None
        self._seen: set[str] = set()
        self._unplaced: list[BrokerUpdate] = []
        """Images of finished orders that nobody here knows, until an execution makes one of them known."""
        self._counts = True
        """Whether the lists last asked for were asked for while some market traded."""
        self._not_found = 0
        self._in_doubt = 0

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
        self._task = self._account.context.spawn(self._run(session), name="reconcile")

    def stop(self) -> None:
        """The link is gone: the next one begins anew. What was buffered is counted now."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._account.reconciling = True
        self._drain()

    def on_update(self, update: BrokerUpdate) -> None:
        """Every report passes here: images at once, live ones after the lists that are being read."""
        if not (update.is_snapshot and update.kind is UpdateKind.FILLED):
            # A replayed execution says that the order filled once, not that it still works.
            self._seen.add(update.venue_order_id)
        if self._buffer is not None and not update.is_snapshot:
            if len(self._buffer) >= BUFFER_MAX:
                raise InvariantError(f"more than {BUFFER_MAX} reports while the broker's lists are read")
            self._buffer.append(update)
            return
        if self._account.on_update(update) is None and update.is_snapshot and update.kind in COMPLETIONS:
            self._unplaced.append(update)

    async def _run(self, session: PlantSession) -> None:
        clock = self._account.context.clock
        started_s = clock.monotonic_s()
        alerts = list(ALERTS_AFTER_S)
        self._not_found = self._account.recovered_fills = 0
        self._in_doubt = self._account.table.counts[OrderStatus.UNKNOWN]
        # Each order is judged by the answers of this reconciliation alone.
        for order in self._account.table.open_orders():
            order.misses = 0
        while True:
            is_complete = await self._ask(session)
            unsettled = self._unsettled() if is_complete else None
            if unsettled == [] and not self._again:
                break
            self._again = False
            waited_s = clock.monotonic_s() - started_s
            # While no market trades nobody misses anything; the first answer of the session tells.
            if alerts and waited_s >= alerts[0] and self._counts:
                alerts.pop(0)
                self._alert_unsettled(unsettled, waited_s)
            await self._pause(has_answer=bool(unsettled))
        self._task = None
        self._finish(clock.monotonic_s() - started_s)

    async def _pause(self, *, has_answer: bool) -> None:
        """Until the lists are asked for again; longer while no market trades, since nothing is decided then."""
        policy, markets = self._policy, self._account.markets
        pause_s = policy.span_s / max(1, policy.attempts - 1) if has_answer else policy.retry_s
        await asyncio.sleep(pause_s)
        await until(markets.is_any_trading, poll_s=QUIET_POLL_S, timeout_s=policy.quiet_retry_s)

    async def _ask(self, session: PlantSession) -> bool:
        """Read both lists; False when an answer failed and so proves nothing."""
        account = self._account
        self._counts = account.markets.is_any_trading()
        self._seen.clear()
        self._unplaced.clear()
        self._buffer = []
        try:
            await session.request(wire.SHOW_ORDERS, account_id=account.account_id)
            await asyncio.sleep(self._policy.quiet_s)
            await session.request(
                wire.REPLAY_EXECUTIONS,
                account_id=account.account_id,
                start_index=self._replay_start_s(),
                finish_index=self._replay_finish_s(),
            )
            await asyncio.sleep(self._policy.quiet_s)
        except (LinkError, RequestRefused) as error:
            account.log.warning("reconcile_answer_failed", reason=str(error))
            return False
        finally:
            self._drain()
        for update in self._unplaced:
            account.on_update(update)
        self._unplaced.clear()
        return True

    def _replay_start_s(self) -> int:
        """From the oldest open intent, in the broker's time, with a margin; everything where that is not known."""
        account = self._account
        if self._policy.replay_everything or account.table.missing_fills():
            return wire.REPLAY_START_MIN_S
        times = [order.broker_ts_ns for order in account.table.open_orders()] + [account.broker_ts_ns]
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

    def _unsettled(self) -> list[Order]:
        """Judge every open order by the lists just read; what must be asked for again."""
        account = self._account
        unsettled = list(account.table.missing_fills())
        for order in account.table.open_orders():
            if order.operation is Operation.SUBMIT:
                # Sent while the lists were on their way (an operator's exit); its own answer or time-out decides.
                continue
            if order.venue_order_id is not None and order.venue_order_id in self._seen:
                order.misses = 0
                if order.status is OrderStatus.UNKNOWN:
                    account.table.step(order, Step.SETTLE)
                    account.commit(order)
                continue
            if not self._is_gone(order):
                unsettled.append(order)
        return unsettled

    def _is_gone(self, order: Order) -> bool:
        """Count a list that did not show the order; True when that was often enough and its end is journalled."""
        account = self._account
        if account.markets.is_day_over(order):
            # Expected: it ended with its session. Fills that it had before count whenever they come.
            account.end(order, Step.EXPIRE, "its day is over, and the broker does not list it any more")
            return True
        if not self._counts:
            # A gateway under maintenance may show nothing at all: it is asked again until a market trades.
            return False
        now_s = account.context.clock.monotonic_s()
        if order.misses == 0:
            order.first_miss_s = now_s
            account.doubt(order, "the broker's list does not show the order")
        order.misses += 1
        if order.misses < self._policy.attempts or now_s - order.first_miss_s < self._policy.span_s:
            return False
        self._not_found += 1
        if order.venue_order_id is None:
            order.tombstone = True
            account.end(order, Step.NOT_FOUND, f"NOT_FOUND: {order.misses} lists of the broker do not show it")
        else:
            # The broker had it: a day order is over with its session, anything else was canceled behind our back.
            is_day_order = order.time_in_force is TimeInForce.DAY
            text = "NOT_FOUND: the broker no longer lists the order"
            account.end(order, Step.EXPIRE if is_day_order else Step.CANCELED, text)
        account.context.alert(
            "order_not_found", Severity.ERROR, f"{order.client_order_id}: {order.text}", **events.order_fields(order)
        )
        return True

    def _alert_unsettled(self, unsettled: list[Order] | None, waited_s: float) -> None:
        account = self._account
        what = "the broker's answers" if unsettled is None else f"{len(unsettled)} orders"
        ids = [order.client_order_id for order in unsettled or ()][:5]
        account.log.error("reconcile_unsettled", waited_s=round(waited_s, 1), client_order_ids=ids)
        text = f"trading is blocked for {waited_s:.0f} s: still waiting for {what}"
        account.context.alert("reconcile_unsettled", Severity.CRITICAL, text, client_order_ids=" ".join(ids))

    def _finish(self, took_s: float) -> None:
        account = self._account
        for order in account.table.open_orders():
            if order.operation is None and order.status is OrderStatus.PENDING_UPDATE:
                self._settle_update(order)
            if order.operation is None and order.status is OrderStatus.PENDING_CANCEL:
                order.cancel_wanted = True
        account.reconciling = False
        account.log.info(
            "reconciled",
            open_orders=account.table.open_count(),
            recovered_fills=account.recovered_fills,
            adopted=max(0, self._in_doubt - self._not_found),
            not_found=self._not_found,
            external=len(account.new_externals),
            took_ms=round(took_s * 1000),
        )
        account.alert_externals()
        self._on_change()
        for order in account.table.open_orders():
            self._sender.pump(order)

    def _settle_update(self, order: Order) -> None:
        """A change was on its way when the link was lost: the list told which terms hold."""
        account = self._account
        wanted, order.pending_terms = order.pending_terms, None
        account.table.step(order, Step.SETTLE)
        fields = account.event_fields(order)
        refused = wanted is not None and wanted != order.terms()
        text = "the link was lost and the broker holds the former terms"
        message = OrderModifyRejected(**fields, text=text) if refused else events.updated(order, fields)
        account.commit(order, message)
        account.tell(order, message)
