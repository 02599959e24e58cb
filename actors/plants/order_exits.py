"""Watches closing orders: one that rests is replaced, one that its market has left behind is taken back.

The rules. A closing order that is not filled after ``rest_s`` is canceled; when it is over, and only then, another one
is sent for what is left, and gets twice the time. One that is refused (a reserved or halted market) is sent anew with
growing pauses, ``refusals_max`` times; somebody is told of the first refusal, and when it is given up. When trading
stops, what rests is canceled: no order waits for an opening that nobody watches. As soon as the position is closed, the
protection that was left beside the closing order is canceled; where both filled, the position has turned over, which is
told and closed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from actors.plants.order_account import Account
from actors.plants.order_cancel_waits import PacedCancels
from actors.plants.order_flatten import Flattener, Pair, is_closing_order
from actors.plants.order_gate import Gate
from nightdesk.messages import OrderStatus, Severity, TradingState
from nightdesk.trading.order import Order

REPLACED_TOLD = 2
"""Which replacement somebody is told of."""
DOUBLINGS_MAX = 3


class ExitPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """``rest_s`` and ``expiry_s`` are the market's seconds, at least ``least_s`` of this machine; the others this
    machine's."""

    rest_s: float = 10.0
    """A market order that has not filled by then has become a limit order, or nobody takes the other side."""
    expiry_s: float = 10.0
    """After a close the exchange ends orders for the day by itself; what it has not told of by then is canceled."""
    least_s: float = 0.5
    retry_s: float = 0.5
    """Before the next closing order is tried again, where it could not be sent; doubled with each attempt."""
    retry_max_s: float = 30.0
    refusals_max: int = 100
    """In a row; with the pauses before, that is most of an hour."""


@dataclass(slots=True)
class _Watched:
    """One closing order, and how everything stood when it was seen first."""

    order: Order
    since_s: float
    held: int
    filled: int
    beside: list[tuple[Order, int]]
    """Other orders that may close the position, or turn it over, each with what it had filled."""
    number: int
    """How many closing orders it replaces."""
    retry_s: float
    is_forced: bool
    """It was sent although the calendar says that nobody trades: the exchange is to decide."""
    next_try_s: float = 0.0
    stopped_s: float | None = None
    is_replaced: bool = False
    is_at_work: bool = False
    is_told: bool = False
    refusals: int = 0
    """In a row, its own included."""
    is_refused: bool = False
    """Its own refusal has been counted."""
    is_noted: bool = False
    """It is in the journal that it is over and the next one is to follow."""

    def closed(self) -> int:
        """What has been closed since."""
        return self.order.filled_quantity - self.filled + sum(each.filled_quantity - at for each, at in self.beside)


class ExitWatch:
    """Looks a few times a second; what it knows of an order that another process sent, it knows from the books.

    ``is_kept`` says of which strategies and symbols somebody else tells that they are not flat.
    """

    def __init__(
        self,
        account: Account,
        gate: Gate,
        flattener: Flattener,
        cancels: PacedCancels,
        policy: ExitPolicy,
        is_kept: Callable[[Pair], bool],
    ) -> None:
        self._account = account
        self._gate = gate
        self._flattener = flattener
        self._cancels = cancels
        self._policy = policy
        self._is_kept = is_kept
        self._watched: dict[Pair, _Watched] = {}
        flattener.notes.is_watched = self._watched.__contains__

    def began(self, order: Order) -> None:
        """Watch a closing order; of a strategy and symbol there is never more than one at work."""
        account, pair = self._account, (order.strategy_id, order.symbol)
        before = self._watched.get(pair)
        if before is not None and before.order is order:
            return
        others = [each for each in account.table.open_orders(*pair) if each is not order and each.side is order.side]
        self._watched[pair] = _Watched(
            order,
            self._now_s(),
            held=account.ledger.quantity(*pair),
            filled=order.filled_quantity,
            beside=[(each, each.filled_quantity) for each in others],
            number=before.number + 1 if before is not None and before.is_replaced else 0,
            retry_s=before.retry_s if before is not None and before.is_refused else self._policy.retry_s,
            refusals=before.refusals if before is not None and before.is_refused else 0,
            is_forced=not account.markets.may_exit(order.symbol),
        )

    def look(self) -> None:
        """Replace, take back and tell."""
        for order in self._account.table.open_orders():
            if is_closing_order(order):
                self.began(order)
        for pair, watched in list(self._watched.items()):
            if not self._account.connected or watched.is_at_work:
                continue
            if not watched.order.is_final:
                self._at_work(watched)
            elif self._account.is_settled(pair[1], pair[0]):
                self._over(pair, watched)

    def _at_work(self, watched: _Watched) -> None:
        order, markets, now_s = watched.order, self._account.markets, self._now_s()
        if order.venue_order_id is None:
            # Its answer, or the broker's lists, say first whether it is there.
            return
        rest_s = self._seconds(self._policy.rest_s) * 2 ** min(watched.number, DOUBLINGS_MAX)
        if not markets.may_exit(order.symbol):
            watched.stopped_s = now_s if watched.stopped_s is None else watched.stopped_s
            if now_s - watched.stopped_s >= self._grace_s(watched, rest_s):
                self._cancels.request(order)
            return
        watched.stopped_s = None
        is_resting = now_s - watched.since_s >= rest_s and order.status is not OrderStatus.UNKNOWN
        if not is_resting or not self._may_replace(order.symbol):
            return
        if not watched.is_replaced:
            watched.is_replaced = True
            self._tell_replaced(watched, rest_s)
        self._cancels.request(order)

    def _grace_s(self, watched: _Watched, rest_s: float) -> float:
        """How long a closing order may stay when trading has stopped."""
        if watched.is_forced:
            return rest_s
        return self._seconds(self._policy.expiry_s) if self._account.markets.is_day_over(watched.order) else 0.0

    def _over(self, pair: Pair, watched: _Watched) -> None:
        account = self._account
        held = account.ledger.quantity(*pair)
        if not held or watched.closed() >= abs(watched.held):
            for order in self._guards(pair, watched):
                self._cancels.request(order)
            is_turned = held * watched.held < 0 and watched.closed() > abs(watched.held)
            if is_turned:
                self._tell_overshot(pair, watched, held)
                self._close(pair, watched)
            elif not self._guards(pair, watched):
                del self._watched[pair]
        elif not account.markets.may_exit(pair[1]):
            self._tell_left(pair, watched, held)
            del self._watched[pair]
        elif watched.is_replaced or self._is_to_be_tried_again(pair, watched):
            if not watched.is_noted:
                watched.is_noted = True
                self._flattener.notes.keep(pair)
            self._close(pair, watched)
        else:
            # Canceled by somebody, or refused where somebody else tries again or decides: who asked for it hears of it.
            del self._watched[pair]

    def _is_to_be_tried_again(self, pair: Pair, watched: _Watched) -> bool:
        """Whether its closing order was refused and the next one may be taken; what was forced was the operator's."""
        order = watched.order
        is_same = self._account.ledger.quantity(*pair) * watched.held > 0
        if order.status is not OrderStatus.REJECTED or watched.is_forced or not is_same or self._is_kept(pair):
            return False
        if watched.is_refused:
            return True
        watched.is_refused, watched.refusals = True, watched.refusals + 1
        watched.next_try_s = self._now_s() + watched.retry_s
        is_over = watched.refusals >= self._policy.refusals_max
        if is_over or watched.refusals == 1:
            further = "and is given up" if is_over else "and is sent again until it is taken"
            text = f"{pair[0]} {pair[1]}: closing order {order.client_order_id} was refused ({order.text}), {further}"
            self._account.context.alert("flatten_incomplete", Severity.ERROR, text, strategy_id=pair[0])
        return not is_over

    def _guards(self, pair: Pair, watched: _Watched) -> list[Order]:
        """What protected the position; what is younger than the closing order protects another one."""
        younger_ns = watched.order.ts_init_ns
        working = self._account.table.open_orders(*pair)
        return [order for order in working if order.protective and order.ts_init_ns <= younger_ns]

    def _close(self, pair: Pair, watched: _Watched) -> None:
        """Send the next closing order, when that may be."""
        if self._now_s() < watched.next_try_s or pair in self._gate.flattening or not self._may_replace(pair[1]):
            return
        watched.is_at_work = True
        self._account.context.spawn(self._attempt(pair, watched), name=f"close {pair[0]} {pair[1]} further")

    async def _attempt(self, pair: Pair, watched: _Watched) -> None:
        try:
            problem = await self._flattener.flatten_all(*pair)
        finally:
            watched.is_at_work = False
            watched.next_try_s = self._now_s() + watched.retry_s
            watched.retry_s = min(2 * watched.retry_s, self._policy.retry_max_s)
        if problem and not self._is_kept(pair) and not watched.is_told:
            watched.is_told = True
            self._account.context.alert("flatten_incomplete", Severity.ERROR, problem, strategy_id=pair[0])

    def _may_replace(self, symbol: str) -> bool:
        account = self._account
        if account.trading_state is TradingState.HALTED or account.journal.failed or account.is_ending:
            return False
        return account.markets.is_trading(symbol) or account.markets.contradicted(symbol)

    def _tell_replaced(self, watched: _Watched, rest_s: float) -> None:
        order, number = watched.order, watched.number + 1
        fields = {"strategy_id": order.strategy_id, "symbol": order.symbol, "client_order_id": order.client_order_id}
        self._account.log.warning("exit_replaced", **fields, leaves_quantity=order.leaves_quantity, number=number)
        if number == REPLACED_TOLD:
            text = (
                f"{order.strategy_id} {order.symbol}: closing orders do not fill: {order.client_order_id} is "
                f"{order.status} after {rest_s:g} s with {order.leaves_quantity} left, and is replaced like the one "
                "before it"
            )
            self._account.context.alert("exit_not_filling", Severity.ERROR, text, **fields)

    def _tell_overshot(self, pair: Pair, watched: _Watched, held: int) -> None:
        if watched.is_told:
            return
        watched.is_told = True
        filled = ", ".join(each.client_order_id for each, at in watched.beside if each.filled_quantity > at)
        text = (
            f"{pair[0]} {pair[1]}: {watched.held} were to be closed, {filled} filled beside the closing order "
            f"{watched.order.client_order_id}: the position is {held}, and is closed"
        )
        fields = {"strategy_id": pair[0], "symbol": pair[1], "position": held}
        # That a position was opened which nobody wanted is told by whoever counts the fills, as critical.
        self._account.log.error("flatten_overshot", **fields, text=text)
        self._account.context.alert("flatten_overshot", Severity.ERROR, text, **fields)

    def _tell_left(self, pair: Pair, watched: _Watched, held: int) -> None:
        if self._is_kept(pair):
            return
        text = (
            f"{pair[0]} {pair[1]}: closing order {watched.order.client_order_id} was not filled before trading "
            f"stopped; position {held} is held"
        )
        self._account.log.error("exit_left_over", strategy_id=pair[0], symbol=pair[1], position=held, text=text)
        self._account.context.alert("flatten_incomplete", Severity.ERROR, text, strategy_id=pair[0])

    def _seconds(self, market_s: float) -> float:
        return max(market_s / max(1.0, self._account.markets.time.speed), self._policy.least_s)

    def _now_s(self) -> float:
        return self._account.context.clock.monotonic_s()
