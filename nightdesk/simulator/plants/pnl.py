"""The pnl plant: positions and money, as images, on each fill, and marked to the market at most once a second."""

from typing import Any

from nightdesk.clocks import Clock
from nightdesk.simulator.model import (
    AccountState,
    AccountTerms,
    OrderEventKind,
    OrderHappened,
    PositionSettled,
    PositionState,
)
from nightdesk.simulator.plants.reference import root_of
from nightdesk.simulator.plants.requests import Handler, guarded, missing, require_account
from nightdesk.simulator.plants.subscribers import Subscribers
from nightdesk.simulator.venue.venue import Venue
from nightdesk.simulator.wire.framing import OutgoingFrame
from nightdesk.simulator.wire.order_words import stamp
from nightdesk.simulator.wire.session import FCM_ID, IB_ID, Session
from nightdesk.simulator.wire.templates import encode

SUBSCRIBE = 1
UNSUBSCRIBE = 2
MARK_INTERVAL_S = 1.0
"""Open positions are marked to the market, and changes of working orders told, at most so often."""

_CHANGES_WORKING = frozenset(
    {
        OrderEventKind.OPENED,
        OrderEventKind.RELEASE_PENDING,
        OrderEventKind.TRIGGER_PENDING,
        OrderEventKind.MODIFIED,
        OrderEventKind.COMPLETED,
    }
)
"""After these an account's working quantities are others."""

_NOTHING = "0.00"
_NO_OPTIONS = dict.fromkeys(
    ("open_long_options_value", "open_short_options_value", "closed_options_value", "option_cash_reserved"), _NOTHING
)


class PnlFeed:
    """Who gets the position updates of which account, and when."""

    def __init__(self, venue: Venue, clock: Clock) -> None:
        self._venue = venue
        self._clock = clock
        self._positions = Subscribers()
        self._money = Subscribers()
        self._marked_s = clock.monotonic_s()
        self._is_mark_due = False
        self._moved: dict[str, set[str]] = {}
        """The contracts in which an account's working orders changed since the last marks."""

    def subscribe(self, session: Session, account_id: str, *, money_only: bool = False) -> None:
        """From now on the session gets the account's 450 and 451, or 451 alone; the last request counts."""
        self._money.add(session, account_id)
        (self._positions.remove if money_only else self._positions.add)(session, account_id)

    def unsubscribe(self, session: Session, account_id: str) -> None:
        """No more updates of this account to the session."""
        self._positions.remove(session, account_id)
        self._money.remove(session, account_id)

    def forget(self, session: Session) -> None:
        """The session is gone."""
        self._positions.forget(session)
        self._money.forget(session)

    def traded(self) -> None:
        """A price has changed: open positions are marked to it soon."""
        self._is_mark_due = True

    def order_happened(self, event: OrderHappened) -> None:
        """Tell of a fill at once, of other changes of what works soon."""
        terms = event.order.terms
        if event.kind in _CHANGES_WORKING:
            self._moved.setdefault(terms.account_id, set()).add(terms.symbol)
        elif event.kind is OrderEventKind.FILLED:
            self._changed(terms.account_id, terms.symbol, event.ts_ns)

    def position_settled(self, event: PositionSettled) -> None:
        """Tell at once that a position has become cash."""
        self._changed(event.account_id, event.symbol, event.ts_ns)

    def tend(self, now_ns: int) -> None:
        """Send what has changed, at most once in ``MARK_INTERVAL_S``; ``now_ns`` is market time."""
        now_s = self._clock.monotonic_s()
        if not (self._is_mark_due or self._moved) or now_s - self._marked_s < MARK_INTERVAL_S:
            return
        self._marked_s = now_s
        for account_id in self._money.keys:
            moved = self._moved.get(account_id, ())
            positions = self._venue.positions(account_id, now_ns, also=moved)
            moving = [each for each in positions if each.net_quantity or each.symbol in moved]
            if moving or moved:
                self._send(account_id, positions, moving, now_ns)
        self._is_mark_due = False
        self._moved.clear()

    def _changed(self, account_id: str, symbol: str, now_ns: int) -> None:
        if self._money.of(account_id):
            positions = self._venue.positions(account_id, now_ns)
            self._send(account_id, positions, [each for each in positions if each.symbol == symbol], now_ns)

    def _send(self, account_id: str, positions: list[PositionState], changed: list[PositionState], now_ns: int) -> None:
        account, terms = self._venue.account(account_id, now_ns), self._venue.terms(account_id)
        self._positions.send(account_id, [instrument_update(each, now_ns) for each in changed])
        self._money.send(account_id, (account_update(account, positions, now_ns, terms=terms),))


def instrument_update(position: PositionState, now_ns: int, *, is_snapshot: bool | None = None) -> bytes:
    """450: one contract's position; prices and day values are numbers, the other money is text, before commission."""
    day_pnl = position.day_realized_pnl + position.unrealized_pnl
    return encode(
        450,
        is_snapshot=is_snapshot,
        fcm_id=FCM_ID,
        ib_id=IB_ID,
        account_id=position.account_id,
        symbol=position.symbol,
        exchange=position.exchange,
        product_code=root_of(position.symbol),
        instrument_type="Future",
        **_quantities([position]),
        **_NO_OPTIONS,
        avg_open_fill_price=position.average_price,
        day_open_pnl=position.unrealized_pnl,
        day_closed_pnl=position.day_realized_pnl,
        day_pnl=day_pnl,
        day_open_pnl_offset=0.0,
        day_closed_pnl_offset=0.0,
        mtm_security=_money(day_pnl),
        open_position_pnl=_money(position.unrealized_pnl),
        closed_position_pnl=_money(position.day_realized_pnl),
        **stamp(now_ns),
    )


def account_update(
    account: AccountState,
    positions: list[PositionState],
    now_ns: int,
    *,
    terms: AccountTerms | None = None,
    is_snapshot: bool | None = None,
) -> bytes:
    """451: the account's money; every amount is text.

    The account's balance is what it is worth at the market's prices, its cash what it had when the day began; the
    difference is the day's profit, after commission. Buying power is that worth: used by the margin of its positions,
    reserved by that of its working orders, and available for the rest.
    """
    worth = account.balance + account.unrealized_pnl
    day_pnl = worth - account.day_start_balance
    closed = _money(sum(each.day_realized_pnl for each in positions))
    available = _money(worth - account.margin_used - account.margin_reserved)
    return encode(
        451,
        is_snapshot=is_snapshot,
        fcm_id=FCM_ID,
        ib_id=IB_ID,
        account_id=account.account_id,
        **_quantities(positions),
        **_NO_OPTIONS,
        option_open_pnl=_NOTHING,
        option_closed_pnl=_NOTHING,
        rms_account_commission=_money(sum(each.day_commission for each in positions)),
        open_position_pnl=_money(account.unrealized_pnl),
        closed_position_pnl=closed,
        margin_balance=_money(worth - account.margin_used),
        min_margin_balance=_NOTHING,
        min_account_balance=_money(terms.min_account_balance if terms is not None else 0.0),
        percent_maximum_allowable_loss=_money(_loss_percent(day_pnl, terms)),
        excess_buy_margin=available,
        excess_sell_margin=available,
        account_balance=_money(worth),
        cash_on_hand=_money(account.day_start_balance),
        mtm_account=_money(day_pnl),
        available_buying_power=available,
        used_buying_power=_money(account.margin_used),
        reserved_buying_power=_money(account.margin_reserved),
        day_open_pnl=_money(account.unrealized_pnl),
        day_closed_pnl=closed,
        day_pnl=_money(day_pnl),
        day_open_pnl_offset=_NOTHING,
        day_closed_pnl_offset=_NOTHING,
        **stamp(now_ns),
    )


def _quantities(positions: list[PositionState]) -> dict[str, int]:
    """The day's fills, what works, and what each side would come to if it were filled; contracts closed count twice,
    when they were opened and when they were closed."""
    bought, sold = sum(each.day_buy_quantity for each in positions), sum(each.day_sell_quantity for each in positions)
    buying = sum(each.working_buy_quantity for each in positions)
    selling = sum(each.working_sell_quantity for each in positions)
    net = sum(each.net_quantity for each in positions)
    return {
        "fill_buy_qty": bought,
        "fill_sell_qty": sold,
        "order_buy_qty": buying,
        "order_sell_qty": selling,
        "buy_qty": net + buying,
        "sell_qty": selling - net,
        "open_position_quantity": sum(abs(each.net_quantity) for each in positions),
        "closed_position_quantity": sum(map(_closed_quantity, positions)),
        "net_quantity": net,
    }


def _closed_quantity(position: PositionState) -> int:
    bought, sold = position.day_buy_quantity, position.day_sell_quantity
    before = position.net_quantity - bought + sold
    return bought + sold + abs(before) - abs(position.net_quantity)


def _loss_percent(day_pnl: float, terms: AccountTerms | None) -> float:
    """How much of the day's loss limit has been lost; 0 without a limit or a loss."""
    if terms is None or not terms.loss_limit:
        return 0.0
    return max(0.0, -day_pnl / terms.loss_limit * 100)


def _money(amount: float) -> str:
    # What rounds to nothing is written without a sign.
    return f"{round(amount, 2) + 0.0:.2f}"


def updates(session: Session, request: Any) -> None:
    """400 → 401, then 450 and 451 as they change."""
    require_account(session, request)
    feed = session.exchange.pnl_feed
    if request.request == SUBSCRIBE:
        feed.subscribe(session, request.account_id, money_only=request.rms_updates_only)
    elif request.request == UNSUBSCRIBE:
        feed.unsubscribe(session, request.account_id)
    else:
        raise missing("request")
    session.done(401, request)


def snapshots(session: Session, request: Any) -> None:
    """402 → an image of each open position and of the account, then a bare 403; a flat account yields only 451."""
    require_account(session, request)
    venue, now_ns = session.exchange.venue, session.exchange.now_ns()
    positions = venue.positions(request.account_id, now_ns)
    for position in positions:
        if position.net_quantity:
            session.send(OutgoingFrame(instrument_update(position, now_ns, is_snapshot=True)))
    account, terms = venue.account(request.account_id, now_ns), venue.terms(request.account_id)
    session.send(OutgoingFrame(account_update(account, positions, now_ns, terms=terms, is_snapshot=True)))
    session.done(403, request)


HANDLERS: dict[int, Handler] = {
    template_id: guarded(template_id, handler) for template_id, handler in ((400, updates), (402, snapshots))
}
