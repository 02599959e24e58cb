"""Everything that the gate must remember of risk, and the one question that it asks before an order. Pure.

The gate tells what happens (ticks, sends, cancels, answers, money, the broker's lists) and asks ``check``. What must
outlive the process comes out of ``rows`` and goes back in with ``load``; the rest begins anew with each process, in a
way that denies rather than lets pass: without a price, a list of positions or (with an open position) a mark nothing
is opened.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import time

import msgspec

from nightdesk.errors import InvariantError
from nightdesk.messages import Denial, QuoteTick, StrategyId, SubmitOrder, TradeTick
from nightdesk.trading.flatten_by import FlatWindow, earliest, flat_window
from nightdesk.trading.ledger import ACCOUNT, Money
from nightdesk.trading.linked_orders import exits_to_come
from nightdesk.trading.order import Order
from nightdesk.trading.risk_exposure import Exposures
from nightdesk.trading.risk_limits import Loss, RiskView, Usage, check_risk, money_text
from nightdesk.trading.risk_losses import DailyLoss, Equity, TrailingDrawdown
from nightdesk.trading.risk_prices import ClockSkew, PriceBoard
from nightdesk.trading.risk_terms import BrokerLimits, Level, LossBasis, RiskTerms, Scope
from nightdesk.trading.risk_view import Refusal
from nightdesk.trading.risk_windows import DuplicateWindow, OrderKey, RejectCounts, Throttle
from nightdesk.trading.sessions import SessionCalendar

DAILY_LOSS_KEY, DRAWDOWN_KEY, REJECTS_KEY = "daily_loss", "trailing_drawdown", "rejects"
ROW_KEYS = (DAILY_LOSS_KEY, DRAWDOWN_KEY, REJECTS_KEY)
"""The keys of the journal's table ``risk_state``."""


def no_calendar(symbol: str) -> SessionCalendar | None:
    """For books whose times of day follow the clocks alone."""
    return None


class OrderFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate knows of an order and of the moment; ``now_s`` is monotonic, ``now_ns`` the market's time."""

    now_s: float
    now_ns: int
    is_reducing: bool
    """Whether the order only lowers its strategy's position."""
    added: int
    """Its quantity; of a change what it adds to the order's present exposure, at least 0."""
    exposures: Exposures
    """Of everything, the order that is being changed included."""
    orders: Sequence[Order]
    """The account's working orders, the one that is being changed left out."""
    tick_nanos: int
    point_value_micros: int
    is_open: bool
    is_change: bool = False
    sent_beside: int = 0
    """Orders that go in the same frame; they are among ``orders``, and count as sent."""


class Breach(msgspec.Struct, frozen=True):
    """A loss limit was reached just now: ``owner`` is a strategy, or ``ACCOUNT``."""

    owner: StrategyId
    code: Denial
    text: str


class RiskBook:
    """One per account. ``names_of`` gives a contract's names: itself, its alias, its product."""

    def __init__(
        self,
        terms: RiskTerms,
        names_of: Callable[[str], tuple[str, ...]] = lambda symbol: (symbol,),
        calendar_of: Callable[[str], SessionCalendar | None] = no_calendar,
    ) -> None:
        self.terms = terms
        self.broker = BrokerLimits()
        """May be replaced whenever the broker tells its limits anew."""
        self.prices = PriceBoard()
        self.skew = ClockSkew()
        self.rejects = RejectCounts()
        self.daily_loss: DailyLoss | None = None
        """None until the trade date is known."""
        self.drawdown = TrailingDrawdown(terms.rules.mark_time, terms.rules.floor_max_micros)
        self.names_of = names_of
        self._calendar_of = calendar_of
        levels = terms.owners()
        self._owners = {level.owner: level for level in levels}
        self.order_rate = Throttle({each.owner: each.limits.max_orders_per_second for each in levels})
        self.cancel_rate = Throttle({each.owner: each.limits.max_cancels_per_second for each in levels})
        self.duplicates = DuplicateWindow(max(each.limits.duplicate_window_s or 0.0 for each in levels))
        self._positions_s: float | None = None
        self._unmarked: tuple[str, ...] = ()
        self._rejects_written = self.rejects.to_row()

    def on_trade(self, trade: TradeTick, now_s: float) -> None:
        """A print on the tape has come."""
        self.prices.on_trade(trade, now_s)

    def on_quote(self, quote: QuoteTick, now_s: float) -> None:
        """A best bid and offer has come."""
        self.prices.on_quote(quote, now_s)

    def on_broker_positions(self, now_s: float) -> None:
        """The broker's whole list of positions has come."""
        self._positions_s = now_s

    def position_age_s(self, now_s: float) -> float | None:
        """How long ago that was; None before the first."""
        return None if self._positions_s is None else now_s - self._positions_s

    def on_sent(self, order: SubmitOrder, now_s: float, *, is_reducing: bool = False) -> None:
        """A new order was committed and goes to the broker.

        After an exit an equal order is no duplicate: a reversal closes, and then opens as much.
        """
        self.order_rate.note(order.strategy_id, now_s)
        if not is_reducing:
            self.duplicates.note(OrderKey.of(order), now_s)

    def on_changed(self, strategy_id: StrategyId, now_s: float) -> None:
        """A change goes to the broker."""
        self.order_rate.note(strategy_id, now_s)

    def on_canceled(self, strategy_id: StrategyId, now_s: float) -> None:
        """A cancel goes to the broker."""
        self.cancel_rate.note(strategy_id, now_s)

    def on_rejected(self, strategy_id: StrategyId) -> None:
        """Broker or exchange refused a new order."""
        self.rejects.on_rejected(strategy_id)

    def on_accepted(self, strategy_id: StrategyId) -> None:
        """The exchange holds a new order."""
        self.rejects.on_accepted(strategy_id)

    def begin(self, trade_date: int, start: Mapping[StrategyId, Money]) -> None:
        """The trade date of a journal without rows; ``start`` is everybody's money before its first fill.

        Of no effect where rows were loaded: ``on_money`` goes on from there.
        """
        if self.daily_loss is not None:
            return
        equities = {owner: Equity(money.realized_micros, money.unrealized_micros) for owner, money in start.items()}
        self.daily_loss = DailyLoss(trade_date, equities)
        for owner, equity in equities.items():
            self.drawdown.begin(owner, equity.value(self.terms.rules.loss_basis))

    def on_money(self, trade_date: int, money: Mapping[StrategyId, Money]) -> list[Breach]:
        """Everybody's money now (the account's, and of each strategy that ever had a fill); the limits reached by it.

        To be called after each fill, before each check of an opening order, and a few times a second.
        """
        self.begin(trade_date, {})
        losses, basis = self._losses(), self.terms.rules.loss_basis
        if losses.roll(trade_date):
            self.drawdown.roll()
        for owner, each in money.items():
            equity = Equity(each.realized_micros, each.unrealized_micros)
            losses.observe(owner, equity)
            self.drawdown.observe(owner, equity.value(basis))
        self._unmarked = money[ACCOUNT].unmarked if basis is LossBasis.TOTAL else ()
        return [breach for owner, level in self._owners.items() for breach in self._breaches(owner, level)]

    def standing(self) -> list[Breach]:
        """The loss limits that are reached and noted, each with a text for people; none before any money is known."""
        if self.daily_loss is None:
            return []
        return [
            Breach(owner, code, text)
            for owner, level in self._owners.items()
            for code, is_noted, text in self._reached(owner, level)
            if is_noted
        ]

    @property
    def watches_drawdown(self) -> bool:
        """Whether new highest profits matter to anybody."""
        return any(level.limits.drawdown_micros is not None for level in self._owners.values())

    def reset(self, owner: StrategyId) -> None:
        """The operator's word that an owner goes on: losses count from here, refusals are forgotten."""
        self._losses().reset(owner)
        self.drawdown.reset(owner)
        self.rejects.reset([owner])

    def rows(self, *, everything: bool = False) -> dict[str, str]:
        """What has changed since the last call, for the journal: key and text. Call after each event that counts.

        Open profit alone changes nothing here but new highest marks; ``everything`` brings it up to date, too, for a
        call once a minute and one at the end.
        """
        found: dict[str, str] = {}
        is_changed = self.drawdown.is_changed or (self.daily_loss is not None and self.daily_loss.is_changed)
        if self.daily_loss is not None and (is_changed or everything):
            found[DAILY_LOSS_KEY] = self.daily_loss.to_row()
            found[DRAWDOWN_KEY] = self.drawdown.to_row()
        rejects = self.rejects.to_row()
        if rejects != self._rejects_written:
            found[REJECTS_KEY] = self._rejects_written = rejects
        return found

    def load(self, rows: Mapping[str, str]) -> None:
        """What the journal holds; raises ``JournalError`` for a row that cannot be read."""
        rules = self.terms.rules
        if DAILY_LOSS_KEY in rows:
            self.daily_loss = DailyLoss.from_row(rows[DAILY_LOSS_KEY])
        if DRAWDOWN_KEY in rows:
            self.drawdown = TrailingDrawdown.from_row(rows[DRAWDOWN_KEY], rules.mark_time, rules.floor_max_micros)
        if REJECTS_KEY in rows:
            self.rejects = RejectCounts.from_row(rows[REJECTS_KEY])
            self._rejects_written = self.rejects.to_row()

    def check(self, order: SubmitOrder, facts: OrderFacts) -> Refusal | None:
        """What stands against an order, or against the new terms of one; None: it may go."""
        view = self.view(order, facts)
        return check_risk(order, view, is_change=facts.is_change, is_reducing=facts.is_reducing)

    def levels(self, strategy_id: StrategyId, symbol: str) -> tuple[Level, ...]:
        """The levels that hold for a strategy in a symbol."""
        return self.terms.levels(strategy_id, self.names_of(symbol))

    def flat_window(self, strategy_id: StrategyId, symbol: str, now_ns: int) -> FlatWindow | None:
        """The time of day in which a strategy holds nothing in a symbol, if it is that; market time."""
        times = [each.limits.flatten_by for each in self.levels(strategy_id, symbol)]
        first = earliest([each for each in times if each is not None])
        return None if first is None else self.window_of(first, symbol, now_ns)

    def window_of(self, at: time, symbol: str, now_ns: int) -> FlatWindow | None:
        """The same for any time of day."""
        return flat_window(at, self._calendar_of(symbol), now_ns)

    def weights(self, symbols: Iterable[str]) -> dict[str, int]:
        """What a contract of each symbol counts."""
        return {symbol: self.terms.weight(self.names_of(symbol)) for symbol in symbols}

    def usage(
        self, level: Level, exposures: Exposures, orders: Iterable[Order], now_s: float, *, sent_beside: int = 0
    ) -> Usage:
        """What is used of one level's limits."""
        if level.scope is Scope.INSTRUMENT:
            return Usage(level=level, bounds=exposures.bounds())
        owner = level.owner
        is_own = level.scope is Scope.STRATEGY
        working = [order for order in orders if not is_own or order.strategy_id == owner]
        return Usage(
            level=level,
            bounds=exposures.bounds(owner if is_own else None),
            open_orders=len(working) + exits_to_come(working),
            recent_orders=self.order_rate.count(owner, now_s) + sent_beside,
            recent_cancels=self.cancel_rate.count(owner, now_s),
            rejects=self.rejects.count(owner),
            daily_loss=self._daily_loss_of(level),
            drawdown=self._drawdown_of(level),
        )

    def view(self, order: SubmitOrder, facts: OrderFacts) -> RiskView:
        """What the checks look at."""
        exposures, symbol, now_s = facts.exposures, order.symbol, facts.now_s
        window = self.flat_window(order.strategy_id, symbol, facts.now_ns)
        return RiskView(
            levels=[
                self.usage(level, exposures, facts.orders, now_s, sent_beside=facts.sent_beside)
                for level in self.levels(order.strategy_id, symbol)
            ],
            rules=self.terms.rules,
            broker=self.broker,
            own=exposures.own(order.strategy_id, symbol),
            added=facts.added,
            net=exposures.net(),
            weights=self.weights({symbol, *exposures.bounds()}),
            market=self.prices.price(symbol),
            market_age_s=self.prices.age_s(symbol, now_s),
            is_open=facts.is_open,
            tick_nanos=facts.tick_nanos,
            point_value_micros=facts.point_value_micros,
            unmarked=self._unmarked,
            duplicate_age_s=self.duplicates.age_s(OrderKey.of(order), now_s),
            opposite=[each for each in facts.orders if each.symbol == symbol and each.side is not order.side],
            position_age_s=self.position_age_s(now_s),
            clock_skew_s=self.skew.skew_s(),
            broker_loss_micros=self.loss_of_account_micros(LossBasis.TOTAL),
            no_trade="" if window is None else str(window),
        )

    def loss_of_account_micros(self, basis: LossBasis) -> int:
        """What the account has lost on this trade date; negative for a profit."""
        return self._losses().loss_micros(ACCOUNT, basis)

    def _losses(self) -> DailyLoss:
        if self.daily_loss is None:
            raise InvariantError("risk was asked for before it was told of any money: on_money comes first")
        return self.daily_loss

    def _breaches(self, owner: StrategyId, level: Level) -> Iterable[Breach]:
        for code, is_noted, text in self._reached(owner, level):
            if not is_noted:
                (self._losses() if code is Denial.RISK_DAILY_LOSS else self.drawdown).breach(owner)
                yield Breach(owner, code, text)

    def _reached(self, owner: StrategyId, level: Level) -> Iterable[tuple[Denial, bool, str]]:
        """The loss limits that an owner has reached: code, whether that was noted before, and a text."""
        whose = f"strategy {owner}" if owner != ACCOUNT else "the account"
        loss, fall = self._daily_loss_of(level), self._drawdown_of(level)
        if loss.is_reached:
            text = f"{whose} has lost {money_text(loss.used_micros)} today, which reaches its daily_loss_limit"
            yield Denial.RISK_DAILY_LOSS, self._losses().is_breached(owner), text
        if fall.is_reached:
            text = f"{whose} has fallen {money_text(fall.used_micros)}, which reaches its trailing_drawdown_limit"
            yield Denial.RISK_TRAILING_DRAWDOWN, self.drawdown.is_breached(owner), text

    def _daily_loss_of(self, level: Level) -> Loss:
        limit = level.limits.daily_loss_micros
        if limit is None:
            return Loss()
        used = self._losses().loss_micros(level.owner, self.terms.rules.loss_basis)
        return Loss(used, used >= limit or self._losses().is_breached(level.owner))

    def _drawdown_of(self, level: Level) -> Loss:
        limit, owner = level.limits.drawdown_micros, level.owner
        if limit is None:
            return Loss()
        is_reached = self.drawdown.is_reached(owner, limit) or self.drawdown.is_breached(owner)
        return Loss(self.drawdown.used_micros(owner, limit), is_reached)
