"""The order plant: the one process that owns the account, its journal, and the order connection."""

import asyncio
from typing import Any, ClassVar

from actors.base import Context
from actors.contracts import Contracts
from actors.lanes import LaneClient, Peer, lane_path
from actors.plants.journal import Journal, JournalBusyError, JournalWriteError
from actors.plants.market_herald import MarketHerald
from actors.plants.order_absence import AbsenceWatch
from actors.plants.order_account import Account
from actors.plants.order_audit import Audit
from actors.plants.order_breaches import BreachPolicy
from actors.plants.order_breaks import BreakKeeper, BreakPolicy
from actors.plants.order_day_ends import DayEnds
from actors.plants.order_evidence import Witness
from actors.plants.order_flatten import Flattener, FlattenPolicy
from actors.plants.order_flatten_notes import resume as resume_flattens
from actors.plants.order_gate import Gate
from actors.plants.order_give_up import LastActions
from actors.plants.order_guard import PositionGuard
from actors.plants.order_identity import choose_account as choose_account
from actors.plants.order_identity import system_name_of as system_name_of
from actors.plants.order_lane import OrderLane
from actors.plants.order_lease import LeaseKeeper, next_connection_epoch
from actors.plants.order_limits import LimitKeeper
from actors.plants.order_list_audit import ListAudit
from actors.plants.order_operator import Operator
from actors.plants.order_reconcile import SIMULATION, ReconcilePolicy, Reconciler
from actors.plants.order_roll_task import Owners, RollPolicy
from actors.plants.order_rolls import PositionRoller
from actors.plants.order_sender import Link, Sender
from actors.plants.order_wills import LastWills, WillPolicy
from actors.plants.plant import PlantBody
from actors.plants.table_loss import tell_lost_since
from nightdesk.errors import ConfigurationError, JournalError, LaneError, LinkError
from nightdesk.messages import (
    AccountIdentity,
    ChildId,
    ChildParked,
    ClientOrderId,
    ConnectionLost,
    ConnectionRestored,
    Message,
    QueryStatus,
    QuoteTick,
    Severity,
    StrategyId,
    SubscribeMarketData,
    TradeTick,
    TradingState,
    TreeStatus,
    UnsubscribeMarketData,
)
from nightdesk.rithmic import held_orders as held_wire
from nightdesk.rithmic import orders as wire
from nightdesk.rithmic.session import PlantSession
from nightdesk.settings.models import Settings
from nightdesk.trading.broker import EXTERNAL_STRATEGY
from nightdesk.trading.ledger import ACCOUNT

TICKER = ChildId("plants/ticker")
STRATEGIES_SUPERVISOR = ChildId("strategies")
GAVE_UP = "gave_up"
"""The reason of a stop that follows from a supervisor above giving up."""
LAST_ACTIONS_MIN_S = 0.5
LAST_ACTIONS_MAX_S = 20.0
"""What the last actions of a system that gives up may take of the time that this plant has to stop."""
LOGOUT_S = 1.5
"""Kept of the time to stop for logging out and closing what is open."""
SWEEP_INTERVAL_S = 0.25
JOURNAL_WAIT_S = 3.0
"""A predecessor that is being killed may hold the journal for a moment."""
EXIT_CODE_HALTED = 5


class OrderPlantBody(PlantBody):
    """Orders come in over the order lane, are checked and journalled, and leave over the one session.

    The policies may be replaced before ``start`` (tests do).
    """

    kind: ClassVar[str] = "order"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        settings = self.run.settings
        self.reconcile_policy = SIMULATION if settings.mode == "sim" else ReconcilePolicy()
        self.flatten_policy = FlattenPolicy()
        self.will_policy = WillPolicy()
        self.break_policy = BreakPolicy()
        self.roll_policy = RollPolicy()
        self.breach_policy = BreachPolicy()
        self._subscribed: dict[str, str] = {}
        self.link = Link()
        self._lacking: set[ClientOrderId] = set()
        self._lane = OrderLane(self._path("order"), on_flatten=self._on_flatten, on_hello=self._on_hello)
        self._market = LaneClient(
            lane_path(self.run.runtime_dir, TICKER, "market"),
            on_open=self._subscribe,
            on_message=self._on_market,
            on_close=lambda: None,
        )

    async def start(self) -> None:
        """Read the journal, open the lanes, begin to connect. Raises ``JournalError``."""
        settings = self.run.settings
        if any(strategy.name == EXTERNAL_STRATEGY for strategy in settings.strategies):
            raise ConfigurationError(f"strategies: the name {EXTERNAL_STRATEGY} is kept for orders of others")
        try:
            self.journal = await self._open_journal(settings)
            if settings.account is not None:
                self.journal.claim(settings.account)
            contracts = Contracts(self.run, self.context.market_time)
            self.account = Account(self.context, settings, self.journal, self._lane.publish, contracts)
        except JournalError as error:
            self._journal_refused(error)
            raise
        self.sender = Sender(self.account, self.link, self._request_reconcile)
        self.gate = Gate(self.account, self.sender)
        self.guard = PositionGuard(self.account, self.gate, self.sender)
        self.witness = Witness(self.account)
        self.flattener = Flattener(self.account, self.gate, self.sender, self.flatten_policy)
        self.wills = LastWills(self.account, self.gate, self.sender, self.flattener, self._lane.drop, self.will_policy)
        self.breaks = BreakKeeper(self.account, self.gate, self.sender, self.flattener, self.break_policy)
        owners = Owners(is_parked=self.wills.is_parked, is_connected=self._lane.is_connected)
        self.roller = PositionRoller(self.account, self.gate, self.sender, owners, self.roll_policy)
        self.flattener.on_flatten = self.roller.abandon
        self.last_actions = LastActions(self.account, self.gate, self.sender, self.roller.abandon)
        self.operator = Operator(self.account, self.sender, self._lane, self.flattener)
        self.limits = LimitKeeper(self.account, self.gate, self.flattener, self.operator, self.breach_policy)
        self.reconciler = Reconciler(
            self.account, self.link, self.sender, self.reconcile_policy, self._permission_changed
        )
        self.day_ends = DayEnds(self.account, self.sender, self._request_reconcile)
        self.reconciler.judge.on_listed = self.day_ends.listed
        lists = ListAudit(self.account, self.link, self.reconciler, settings.audit.lists_every_s)
        self.audit = Audit(self._path("audit"), self.account, lists, self._request_reconcile)
        self.reconciler.compare_positions = self.audit.compare
        self.reconciler.on_positions_differ = self.audit.confirm
        self.absence = AbsenceWatch(self.account, self.wills)
        self._lane.on_gone = self.absence.went
        self.lease = LeaseKeeper(self.account)
        self._take_back_gave_up()
        newest = self.journal.newest_orders(1)
        tell_lost_since(self.context, contracts, newest[0].ts_init_ns if newest else None)
        await self._lane.start(self.account, self.gate)
        await self.audit.start()
        await self._market.start()
        self._sweeper = self.context.spawn(self._sweep(), name="order_sweep")
        herald = MarketHerald(self.schedule, self.context.market_time, self.context.log)
        self.context.spawn(herald.run(), name="market_herald")
        self._breaks = self.context.spawn(self.breaks.run(), name="order_breaks")
        self._rolling = self.context.spawn(self.roller.run(), name="order_rolls")
        self.wills.resume()
        resume_flattens(self.account, self.flattener)
        self._ask_for_parked()
        await super().start()

    async def stop(self) -> None:
        """Log out first, so that nothing is sent any more; then the lanes and the journal.

        Where root has given up, the last actions come before.
        """
        self.account.is_ending = True
        self.wills.stop()
        self._rolling.cancel()
        self.roller.stop()
        if self.stop_reason == GAVE_UP:
            limit_s = min(LAST_ACTIONS_MAX_S, self.stop_deadline_s - LOGOUT_S)
            await self.last_actions.carry_out(max(LAST_ACTIONS_MIN_S, limit_s))
        self.reconciler.stop()
        self._breaks.cancel()
        self._sweeper.cancel()
        self.link.session = None
        await super().stop()
        await self._market.close()
        await self._lane.close()
        await self.audit.close()
        self.limits.close()
        self.journal.close()

    def exit_code(self) -> int | None:
        """A system that stopped while trading was halted says so."""
        return EXIT_CODE_HALTED if self.account.trading_state is TradingState.HALTED else None

    def receive(self, origin: ChildId, message: Message) -> None:
        """Commands of the operator, and the plants' common mail."""
        if isinstance(message, QueryStatus):
            self.context.tell(message.reply_to, self.operator.status(message))
        if isinstance(message, ChildParked):
            return self.wills.parked(message)
        if isinstance(message, TreeStatus):
            self.absence.found(message)
            return self.wills.found(message)
        if not self.operator.receive(message):
            super().receive(origin, message)
        return None

    async def on_link_up(self, session: PlantSession) -> None:
        """Choose the account, subscribe to its reports, and begin to reconcile; the gate opens when that is done."""
        identity = session.identity
        if identity is None:
            raise LinkError("the gateway did not say which accounts there are")
        account_id = choose_account(self.run.settings, identity)
        if not self.account.account_id:
            self._claim(account_id)
        self.account.account_id = account_id
        session.before_send = self.journal.require_lease
        self.reconciler.begin_connection()
        await session.request(wire.SUBSCRIBE_ORDERS, account_id=account_id)
        await session.request(wire.SUBSCRIBE_BRACKETS, account_id=account_id)
        await self.limits.ask(session)
        self.account.connection_epoch = next_connection_epoch(self.account)
        self.account.connected = True
        self.link.session = session
        self.audit.set_identity(
            AccountIdentity(
                fcm_id=identity.fcm_id,
                ib_id=identity.ib_id,
                user_type=identity.user_type,
                account_ids=(account_id,),
            )
        )
        self.reconciler.request("the order plant is connected")
        self._ask_for_parked()

    def on_link_restored(self, downtime_ms: int) -> None:
        """Tell the strategies; orders wait for the reconciliation."""
        now_ns = self.context.clock.now_ns()
        plant = self.context.child_id
        self._lane.publish(StrategyId(""), ConnectionRestored(plant=plant, downtime_ms=downtime_ms, ts_recv_ns=now_ns))

    def on_link_down(self, reason: str) -> None:
        """Nothing can be sent; what was on its way is in doubt until the next connection."""
        self.link.session = None
        self.account.connected = False
        self.reconciler.stop()
        self.account.held.link_lost()
        self.sender.link_lost()
        self._permission_changed()
        now_ns = self.context.clock.now_ns()
        is_scheduled = not self.link_schedule.is_trading()
        lost = ConnectionLost(plant=self.context.child_id, reason=reason, ts_recv_ns=now_ns, scheduled=is_scheduled)
        self._lane.publish(StrategyId(""), lost)

    def on_push(self, template_id: int, message: Any) -> None:
        """Answers and reports about orders; every other push concerns somebody else."""
        if template_id in wire.ANSWERS:
            for answer in held_wire.decode_answers(template_id, message):
                self.sender.on_answer(answer)
        elif template_id == held_wire.BRACKET_UPDATE:
            self.sender.levels.on_report(held_wire.decode_bracket_report(message))
        elif template_id in wire.NOTIFICATIONS:
            try:
                update = wire.decode_notification(template_id, message)
            except wire.ReportUnreadable as error:
                self.context.log.warning("report_dropped", reason=str(error))
                return
            self.witness.on_report(update)
            self.limits.on_report(update)
            self.reconciler.on_update(update)

    def _claim(self, account_id: str) -> None:
        try:
            self.journal.claim(account_id)
        except JournalError as error:
            self._journal_refused(error)
            raise
        except JournalWriteError as error:
            # Orders are denied from now on, so that it does not matter whose the journal would have become.
            self.account.journal_failed(error)

    def _journal_refused(self, error: JournalError) -> None:
        self.context.log.critical("journal_refused", reason=str(error))
        self.context.alert("journal_refused", Severity.CRITICAL, str(error))

    def _take_back_gave_up(self) -> None:
        """What a former system left behind when it gave up is history: this one trades."""
        try:
            self.journal.write_gave_up_done(False)
        except JournalWriteError as error:
            self.account.journal_failed(error)

    def _ask_for_parked(self) -> None:
        """Mail to a process that is not there is lost: news of a parking that came while this one was away."""
        query = QueryStatus(request_id="parked", reply_to=self.context.child_id)
        self.context.tell(STRATEGIES_SUPERVISOR, query)

    def _on_hello(self, strategy_id: StrategyId) -> None:
        self.absence.came(strategy_id)
        self.wills.revived(strategy_id)

    def _on_flatten(self, strategy_id: StrategyId, symbol: str) -> None:
        self.flattener.begin_strategy(strategy_id, symbol)

    def _request_reconcile(self, reason: str) -> None:
        self.reconciler.request(reason)

    def _permission_changed(self) -> None:
        self._lane.publish(StrategyId(""), self.account.permission())

    async def _open_journal(self, settings: Settings) -> Journal:
        deadline_s = self.context.clock.monotonic_s() + JOURNAL_WAIT_S
        while True:
            try:
                return Journal.open(
                    self.run.state_dir,
                    system_name=system_name_of(settings),
                    durability=settings.journal.durability,
                )
            except JournalBusyError:
                if self.context.clock.monotonic_s() >= deadline_s:
                    raise
            await asyncio.sleep(SWEEP_INTERVAL_S)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_S)
            self.lease.look()
            self.sender.sweep()
            self.account.held.sweep()
            self.account.externals.sweep()
            self.absence.look()
            self.gate.sweep()
            self.limits.look()
            self.guard.look()
            self.day_ends.sweep()
            self.audit.check()
            self._watch_missing_fills()
            self._follow_contracts()

    def _watch_missing_fills(self) -> None:
        """A fill follows its report at once; one that is missing for a whole interval is asked for."""
        lacking = {order.client_order_id for order in self.account.table.missing_fills()}
        if lacking & self._lacking and not self.account.reconciling:
            self._request_reconcile(f"executions are missing: {', '.join(sorted(lacking & self._lacking)[:5])}")
        self._lacking = lacking

    def _subscribe(self, peer: Peer) -> None:
        self._subscribed.clear()
        self._follow_contracts()

    def _follow_contracts(self) -> None:
        """Prices of every contract that is configured, meant by an alias, or held or about to be, which they value."""
        peer = self._market.peer
        if peer is None or peer.closed:
            return
        held = [symbol for symbol in self.account.ledger.symbols() if self.account.ledger.quantity(ACCOUNT, symbol)]
        instruments = [self.account.contracts.instrument(symbol) for symbol in (*held, *self.roller.symbols())]
        wanted = {
            each.symbol: each.exchange
            for each in (*self.account.contracts.in_force(), *instruments)
            if each is not None
        }
        child_id = self.context.child_id
        try:
            for symbol, exchange in wanted.items():
                if symbol not in self._subscribed:
                    peer.send(SubscribeMarketData(subscriber=child_id, symbol=symbol, exchange=exchange, conflate=True))
            for symbol, exchange in self._subscribed.items():
                if symbol not in wanted:
                    peer.send(UnsubscribeMarketData(subscriber=child_id, symbol=symbol, exchange=exchange))
        except LaneError:
            # Closed again already; the next connection subscribes.
            peer.close()
            return
        self._subscribed = wanted

    def _on_market(self, message: Message) -> None:
        if isinstance(message, TradeTick):
            self.account.ledger.on_trade(message)
            self.account.risk.on_tick(message)
            self.witness.on_trade(message)
            self.roller.on_tick(message.ts_event_ns)
        elif isinstance(message, QuoteTick):
            self.account.ledger.on_quote(message)
            self.account.risk.on_tick(message)
            self.roller.on_tick(message.ts_event_ns)

    def _path(self, lane: str) -> str:
        return lane_path(self.run.runtime_dir, self.context.child_id, lane)
