"""What becomes of an order that the gate keeps: a row, a log line, an alert as loud as the matter, and the answer."""

from actors.plants.journal import JournalWriteError
from actors.plants.order_account import Account
from nightdesk.messages import ClientOrderId, Denial, OrderDenied, OrderStatus, Severity, StrategyId, SubmitOrder
from nightdesk.trading.order import NO_ORDER, Order
from nightdesk.trading.risk_view import Refusal
from nightdesk.trading.risk_windows import SlidingWindow

JOURNALLED_INTEGER_MAX = 2**31 - 1
"""A denied order may carry any number; only what fits a column is kept."""

DENIALS_KEPT_PER_SECOND = 200
"""Denials with a row and a log line each; of more within a second only the answers are sent, and the number is logged:
a strategy that has gone wild must not keep the others waiting, nor fill the disk. Protective orders have as many again
of their own."""

BY_SCHEDULE = frozenset({Denial.SESSION_CLOSED, Denial.SESSION_NO_TRADE, Denial.INSTRUMENT_ROLLED})
"""Denials that the calendar or the strategy's own configuration brings about each day: no reason to call anybody."""


class Denials:
    """Keeps and tells denials; one per gate."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._kept = {is_protective: SlidingWindow(DENIALS_KEPT_PER_SECOND) for is_protective in (False, True)}
        self._unkept = 0
        self._told_until: dict[tuple[StrategyId, str, Denial], int] = {}

    def record(self, order: Order, refusal: Refusal, *, is_used: bool) -> OrderDenied:
        """Note that an order is kept back; the answer for whoever sent it. ``is_used``: its id is another order's."""
        account = self._account
        order.status = OrderStatus.DENIED
        now_s, kept = account.context.clock.monotonic_s(), self._kept[order.protective]
        if kept.count(now_s) >= DENIALS_KEPT_PER_SECOND:
            self._unkept += 1
            account.table.counts[OrderStatus.DENIED] += 1
            return OrderDenied(**account.event_fields(order), code=refusal.code, text=refusal.text)
        kept.note(now_s)
        order.text = f"{refusal.code}: {refusal.text}"
        order.fencing_epoch = min(order.fencing_epoch, JOURNALLED_INTEGER_MAX)
        fits = abs(order.quantity) <= JOURNALLED_INTEGER_MAX and order.fencing_epoch >= 0
        if refusal.code is not Denial.ORDER_DUPLICATE_ID and fits and not is_used:
            try:
                account.journal.write_intent(order)
            except JournalWriteError as error:
                account.journal_failed(error)
            account.table.add(order)
        message = OrderDenied(**account.event_fields(order), code=refusal.code, text=refusal.text)
        account.record(order, message, alert=self._severity(order, refusal.code))
        return message

    def sweep(self) -> None:
        """Tell of the denials that were answered only; call a few times a second."""
        count, self._unkept = self._unkept, 0
        if count:
            self._account.log.error("orders_denied_unkept", count=count)
            text = f"{count} further orders were denied within a second; they are counted, not kept"
            self._account.context.alert("orders_denied_unkept", Severity.ERROR, text, count=count)

    def _severity(self, order: SubmitOrder | Order, code: Denial) -> Severity | None:
        """Each time where a position is concerned; else what the calendar denies is told once until its next event.

        A strategy may ask all through a break, and nobody is called for that.
        """
        if order.protective:
            return Severity.ERROR
        markets, key = self._account.markets, (order.strategy_id, order.symbol, code)
        if code not in BY_SCHEDULE or self._account.ledger.quantity(order.strategy_id, order.symbol):
            return Severity.WARNING
        if markets.time.now_ns() < self._told_until.get(key, 0):
            return None
        self._told_until[key] = markets.next_event_ns(order.symbol)
        return Severity.INFO


def request_denied(
    account: Account,
    strategy_id: StrategyId,
    symbol: str,
    code: Denial,
    text: str,
    client_order_id: ClientOrderId = NO_ORDER,
) -> OrderDenied:
    """The answer to what is no order: a flatten, a question."""
    rules = account.tick_rules.get(symbol)
    return OrderDenied(
        client_order_id=client_order_id,
        strategy_id=strategy_id,
        symbol=symbol,
        exchange=rules.exchange if rules is not None else "",
        ts_event_ns=account.context.market_time.now_ns(),
        event_id=account.journal.next_event_id(),
        code=code,
        text=text,
    )
