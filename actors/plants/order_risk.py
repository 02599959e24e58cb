"""The account's limits: fed with what the order plant knows, asked before each order, written with what it commits."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from actors.plants.journal import JournalWriteError
from nightdesk.messages import (
    Denial,
    OrderReport,
    OrderStatus,
    QuoteTick,
    StrategyId,
    SubmitOrder,
    TradeTick,
    TradingState,
)
from nightdesk.settings.risk_levels import names_of, risk_terms
from nightdesk.trading.flatten_by import flat_time_of
from nightdesk.trading.ledger import ACCOUNT, Ledger, Money
from nightdesk.trading.order import Order, Purpose
from nightdesk.trading.risk_book import Breach, OrderFacts, RiskBook
from nightdesk.trading.risk_breaches import BREACHES_KEY, BreachRecord
from nightdesk.trading.risk_exposure import Exposures
from nightdesk.trading.risk_report import LimitRow, Moment, limit_rows
from nightdesk.trading.risk_view import GateView, Refusal, only_lowers
from nightdesk.trading.risk_windows import OrderKey
from nightdesk.trading.session_rules import FlatTime
from nightdesk.trading.sessions import NS_PER_S
from nightdesk.trading.units import to_nanos

if TYPE_CHECKING:
    from actors.plants.order_account import Account

EVERYTHING_S = 60.0
"""So often the state is written whole: after a crash the open profit of no more than that is missing."""

_BEFORE_ANSWER = frozenset({OrderStatus.INITIALIZED, OrderStatus.SUBMITTED})
_TAKEN = frozenset(OrderStatus) - _BEFORE_ANSWER - {OrderStatus.DENIED, OrderStatus.REJECTED, OrderStatus.UNKNOWN}

Plan = tuple[StrategyId, str, int]


class RiskDesk:
    """One per account; raises ``JournalError`` where the journal's rows cannot be read.

    ``plans`` are what rolls will still open, ``on_breach`` is told of limits that are reached just now.
    """

    def __init__(self, account: "Account") -> None:
        self._account = account
        settings = account.settings
        self.book = RiskBook(risk_terms(settings), names_of(settings), account.markets.calendar)
        rows = account.journal.risk_state()
        self.book.load(rows)
        self.record = BreachRecord.from_row(rows[BREACHES_KEY]) if BREACHES_KEY in rows else BreachRecord()
        self.plans: Callable[[], list[Plan]] = list
        self.on_breach: Callable[[list[Breach]], None] = lambda breaches: None
        self._is_begun = False
        self._written_s = self._now_s()
        self._watches_clock = settings.mode != "sim"

    # What the order plant hears.

    def on_tick(self, tick: TradeTick | QuoteTick) -> None:
        """A tick of the market lane."""
        now_s = self._now_s()
        if isinstance(tick, TradeTick):
            self.book.on_trade(tick, now_s)
        else:
            self.book.on_quote(tick, now_s)
        self.on_sample(tick.ts_event_ns)

    def on_sample(self, ts_event_ns: int) -> None:
        """A live report came, with the exchange's time of it; an embedded exchange's clock is the one that we read."""
        if self._watches_clock and ts_event_ns:
            self.book.skew.on_sample(ts_event_ns, self._account.markets.time.now_ns(), self._now_s())

    def on_broker_positions(self) -> None:
        """The broker's whole list of positions has come."""
        self.book.on_broker_positions(self._now_s())

    def on_sent(self, command: SubmitOrder, *, is_reducing: bool = False) -> None:
        """A new order was committed and goes to the broker."""
        self.book.on_sent(command, self._now_s(), is_reducing=is_reducing)

    def on_changed(self, strategy_id: StrategyId) -> None:
        """A change goes to the broker."""
        self.book.on_changed(strategy_id, self._now_s())

    def on_canceled(self, strategy_id: StrategyId) -> None:
        """A cancel that a strategy asked for goes to the broker."""
        self.book.on_canceled(strategy_id, self._now_s())

    def on_step(self, order: Order, before: OrderStatus) -> None:
        """An order's status may have changed; before that is committed."""
        if order.purpose is Purpose.EXTERNAL:
            return
        if order.status is OrderStatus.REJECTED and before is not OrderStatus.REJECTED:
            self.book.on_rejected(order.strategy_id)
        elif before in _BEFORE_ANSWER and order.status in _TAKEN:
            self.book.on_accepted(order.strategy_id)

    def observe(self) -> list[Breach]:
        """Take in everybody's money at the present prices; the loss limits that are reached by it."""
        trade_date = self._account.markets.trade_date()
        if trade_date is None:
            return []
        if not self._is_begun:
            self._is_begun = True
            self._begin(trade_date)
        return self.book.on_money(trade_date, _money_of(self._account.ledger))

    def sweep(self) -> None:
        """Look at the money and write what has changed; call a few times a second."""
        breaches = self.observe()
        is_due = self._now_s() - self._written_s >= EVERYTHING_S
        losses = self.book.daily_loss
        # New highest profits come with each tick; where nobody has a limit on them, once a minute is enough.
        if is_due or self.book.watches_drawdown or (losses is not None and losses.is_changed):
            self.write(everything=is_due)
        self.on_breach(breaches)

    def write(self, *, everything: bool = False) -> bool:
        """Commit what has changed; False where the journal could not take it."""
        account = self._account
        if everything:
            self._written_s = self._now_s()
        rows = self.rows(everything=everything)
        if not rows:
            return True
        try:
            account.journal.write_risk_state(rows, account.context.clock.now_ns())
        except JournalWriteError as error:
            account.journal_failed(error)
            return False
        return True

    def rows(self, *, everything: bool = False) -> dict[str, str]:
        """What has changed since the last call, for the commit that is about to be made."""
        rows = self.book.rows(everything=everything)
        breaches = self.record.changed_row()
        return {**rows, BREACHES_KEY: breaches} if breaches else rows

    # What it is asked.

    def check(
        self, order: SubmitOrder, view: GateView, changed: Order | None = None, beside: Order | None = None
    ) -> Refusal | None:
        """What stands against an order whose fields are good; ``changed`` is the order whose new terms they are,
        ``beside`` the one that goes with it in one frame."""
        account = self._account
        breaches = self.observe()
        if breaches:
            self.on_breach(breaches)
        if self.book.daily_loss is None or view.tick_rules is None:
            return Refusal(Denial.STATE_DATA_STALE, "the market's time is not known yet")
        added = order.quantity
        if changed is not None:
            added = max(0, order.quantity - changed.filled_quantity - changed.exposure)
        facts = OrderFacts(
            now_s=self._now_s(),
            now_ns=account.markets.time.now_ns(),
            is_reducing=only_lowers(order, view),
            added=added,
            exposures=self._exposures(),
            orders=[
                *(each for each in account.table.open_orders() if each is not changed),
                *account.table.revived(),
                *((beside,) if beside is not None else ()),
            ],
            sent_beside=int(beside is not None),
            tick_nanos=to_nanos(view.tick_rules.tick_size),
            point_value_micros=account.ledger.point_value_micros(order.symbol),
            is_open=account.markets.is_trading(order.symbol),
            is_change=changed is not None,
        )
        return self.book.check(order, facts)

    def max_order_quantity(self, strategy_id: StrategyId, symbol: str) -> int:
        """The most contracts in one order, by the strictest level and the broker."""
        limits = [level.limits.max_order_quantity for level in self.book.levels(strategy_id, symbol)]
        return min(each for each in (*limits, self.book.broker.max_order_quantity) if each is not None)

    def is_closing_only(self, strategy_id: StrategyId, symbol: str) -> bool:
        """Whether entries of a strategy in a symbol are not only denied but taken back, too."""
        if self._account.markets.is_no_trade_window(strategy_id, symbol):
            return True
        if self._account.trading_state is TradingState.REDUCING:
            return True
        return any(owner in (ACCOUNT, strategy_id) for owner, _ in self.record.acted)

    def flat_time(self, strategy_id: StrategyId, symbol: str) -> FlatTime | None:
        """The time in which a strategy is to be flat in a symbol, by its session's rules or by ``flatten_by``."""
        account = self._account
        found = [account.markets.flat_time(strategy_id, symbol)]
        found.append(self._flat_by(strategy_id, symbol, account.markets.time.now_ns()))
        return min((each for each in found if each is not None), key=lambda each: each.begins_ns, default=None)

    def missed_flat_time(self, strategy_id: StrategyId, symbol: str) -> FlatTime | None:
        """The time to be flat that the present trading in a symbol came after; None where there was none."""
        account = self._account
        missed = account.markets.missed_flat_time(strategy_id, symbol)
        pause = account.markets.pause_before(symbol)
        if missed is not None or pause is None:
            return missed
        stopped_ns, opened_ns = pause
        flat = self._flat_by(strategy_id, symbol, stopped_ns)
        return flat if flat is not None and flat.opens_ns == opened_ns else None

    def report(self) -> list[LimitRow]:
        """Every limit that is set, with what is used of it."""
        account = self._account
        self.observe()
        if self.book.daily_loss is None:
            return []
        symbols = [each.symbol for each in account.contracts.in_force()]
        moment = Moment(
            now_s=self._now_s(),
            now_ns=account.markets.time.now_ns(),
            exposures=self._exposures(),
            orders=account.table.open_orders(),
            symbols=symbols,
            open_symbols=[symbol for symbol in symbols if account.markets.is_trading(symbol)],
        )
        return limit_rows(self.book, moment)

    def reset(self, owner: StrategyId) -> bool:
        """The operator's word that an owner goes on; False where the journal could not take it."""
        self.observe()
        self.book.reset(owner)
        return self.write(everything=True)

    def _flat_by(self, strategy_id: StrategyId, symbol: str, at_ns: int) -> FlatTime | None:
        window = self.book.flat_window(strategy_id, symbol, at_ns)
        return None if window is None else flat_time_of(window, self._account.markets.calendar(symbol))

    def _exposures(self) -> Exposures:
        account = self._account
        positions = ((*pair, account.ledger.quantity(*pair)) for pair in account.ledger.pairs())
        return Exposures(positions, account.table.carrying(), self.plans())

    def _begin(self, trade_date: int) -> None:
        """With the first known market time: a journal without rows begins its day, and equal orders are remembered."""
        account = self._account
        if self.book.daily_loss is None:
            self.book.begin(trade_date, self._money_before(trade_date))
        now_s, time = self._now_s(), account.markets.time
        window_s = self.book.duplicates.window_s
        recent = account.journal.newest_orders(RECENT_ORDERS_MAX) if window_s else ()
        for report in reversed(recent):
            age_s = max(0.0, (time.now_ns() - report.ts_init_ns) / NS_PER_S / max(1.0, time.speed))
            if report.status is not OrderStatus.DENIED and age_s < window_s:
                self.book.duplicates.note(_key_of(report), now_s - age_s)

    def _money_before(self, trade_date: int) -> Mapping[StrategyId, Money]:
        """Everybody's money before the trade date's first fill; what was open then counts as nothing."""
        account = self._account
        ledger = Ledger(account.ledger.contracts())
        for fill, price_nanos, commission in account.journal.fills():
            its_date = account.markets.trade_date(fill.ts_event_ns)
            if its_date is None or its_date < trade_date:
                ledger.book_as_charged(
                    fill.strategy_id, fill.symbol, fill.exchange, fill.side, fill.quantity, price_nanos, commission
                )
        return _money_of(ledger)

    def _now_s(self) -> float:
        return self._account.context.clock.monotonic_s()


RECENT_ORDERS_MAX = 5_000
"""Of the newest orders, what is looked through for equal ones after a start."""


def _money_of(ledger: Ledger) -> dict[StrategyId, Money]:
    return {owner: ledger.money(owner) for owner in (ACCOUNT, *ledger.owners())}


def _key_of(report: OrderReport) -> OrderKey:
    return OrderKey(
        report.strategy_id,
        report.symbol,
        report.side,
        report.quantity,
        report.order_type,
        None if report.price is None else to_nanos(report.price),
        None if report.trigger_price is None else to_nanos(report.trigger_price),
    )
