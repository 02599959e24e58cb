"""The pnl plant: positions and money, as images, on each fill, and marked to the market at most once a second."""

from collections.abc import Callable
from typing import Any

from nightdesk.simulator.model import AccountState, AccountTerms, PositionState
from nightdesk.simulator.plants.reference import root_of
from nightdesk.simulator.wire.framing import OutgoingFrame
from nightdesk.simulator.wire.session import BAD_INPUT, FCM_ID, IB_ID, Session
from nightdesk.simulator.wire.templates import encode

NS_PER_S = 1_000_000_000
SUBSCRIBE = 1
UNSUBSCRIBE = 2
_NOTHING = "0.00"


class PnlFeed:
    """Who gets the position updates of which account."""

    def __init__(self) -> None:
        self._sessions: dict[str, list[Session]] = {}
        self._money_only: set[tuple[Session, str]] = set()

    @property
    def accounts(self) -> list[str]:
        """The accounts that somebody listens to."""
        return [account_id for account_id, sessions in self._sessions.items() if sessions]

    def subscribe(self, session: Session, account_id: str, *, money_only: bool = False) -> None:
        """From now on the session gets the account's 450 and 451, or 451 alone; the last request counts."""
        (self._money_only.add if money_only else self._money_only.discard)((session, account_id))
        sessions = self._sessions.setdefault(account_id, [])
        if session not in sessions:
            sessions.append(session)

    def unsubscribe(self, session: Session, account_id: str) -> None:
        """No more updates of this account to the session."""
        if session in self._sessions.get(account_id, []):
            self._sessions[account_id].remove(session)
        self._money_only.discard((session, account_id))

    def forget(self, session: Session) -> None:
        """The session is gone."""
        for account_id in list(self._sessions):
            self.unsubscribe(session, account_id)

    def send(self, account_id: str, payloads: list[bytes]) -> None:
        """Send updates to the account's subscribers; the last payload is the account's own, 451."""
        for payload in payloads:
            frame = OutgoingFrame(payload)
            is_money = payload is payloads[-1]
            for session in self._sessions.get(account_id, []):
                if is_money or (session, account_id) not in self._money_only:
                    session.send(frame)


def instrument_update(position: PositionState, now_ns: int, *, is_snapshot: bool | None = None) -> bytes:
    """450: one contract's position; prices and day values are numbers, the other money is text."""
    ssboe, nanoseconds = divmod(now_ns, NS_PER_S)
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
        fill_buy_qty=position.buy_quantity,
        fill_sell_qty=position.sell_quantity,
        order_buy_qty=position.working_buy_quantity,
        order_sell_qty=position.working_sell_quantity,
        buy_qty=position.buy_quantity + position.working_buy_quantity,
        sell_qty=position.sell_quantity + position.working_sell_quantity,
        avg_open_fill_price=position.average_price,
        day_open_pnl=position.unrealized_pnl,
        day_closed_pnl=position.realized_pnl,
        day_pnl=position.realized_pnl + position.unrealized_pnl,
        day_open_pnl_offset=0.0,
        day_closed_pnl_offset=0.0,
        mtm_security=_money(position.realized_pnl + position.unrealized_pnl),
        open_long_options_value=_NOTHING,
        open_short_options_value=_NOTHING,
        closed_options_value=_NOTHING,
        option_cash_reserved=_NOTHING,
        open_position_pnl=_money(position.unrealized_pnl),
        open_position_quantity=abs(position.net_quantity),
        closed_position_pnl=_money(position.realized_pnl),
        closed_position_quantity=min(position.buy_quantity, position.sell_quantity),
        net_quantity=position.net_quantity,
        ssboe=ssboe,
        usecs=nanoseconds // 1000,
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

    Buying power is what an account is worth at the market's prices: used by the margin of its positions, reserved by
    that of its working orders, and available for the rest.
    """
    ssboe, nanoseconds = divmod(now_ns, NS_PER_S)
    buys, sells = sum(each.buy_quantity for each in positions), sum(each.sell_quantity for each in positions)
    working_buys = sum(each.working_buy_quantity for each in positions)
    working_sells = sum(each.working_sell_quantity for each in positions)
    worth = account.balance + account.unrealized_pnl
    available = worth - account.margin_used - account.margin_reserved
    return encode(
        451,
        is_snapshot=is_snapshot,
        fcm_id=FCM_ID,
        ib_id=IB_ID,
        account_id=account.account_id,
        fill_buy_qty=buys,
        fill_sell_qty=sells,
        order_buy_qty=working_buys,
        order_sell_qty=working_sells,
        buy_qty=buys + working_buys,
        sell_qty=sells + working_sells,
        open_long_options_value=_NOTHING,
        open_short_options_value=_NOTHING,
        closed_options_value=_NOTHING,
        option_cash_reserved=_NOTHING,
        option_open_pnl=_NOTHING,
        option_closed_pnl=_NOTHING,
        rms_account_commission=_money(account.commission),
        open_position_pnl=_money(account.unrealized_pnl),
        open_position_quantity=sum(abs(each.net_quantity) for each in positions),
        closed_position_pnl=_money(account.realized_pnl),
        closed_position_quantity=sum(min(each.buy_quantity, each.sell_quantity) for each in positions),
        net_quantity=sum(each.net_quantity for each in positions),
        margin_balance=_money(worth - account.margin_used),
        min_margin_balance=_NOTHING,
        min_account_balance=_money(terms.min_account_balance if terms is not None else 0.0),
        percent_maximum_allowable_loss=_money(_loss_percent(account, terms)),
        excess_buy_margin=_money(available),
        excess_sell_margin=_money(available),
        account_balance=_money(account.balance),
        cash_on_hand=_money(account.balance),
        mtm_account=_money(account.realized_pnl + account.unrealized_pnl),
        available_buying_power=_money(available),
        used_buying_power=_money(account.margin_used),
        reserved_buying_power=_money(account.margin_reserved),
        day_open_pnl=_money(account.unrealized_pnl),
        day_closed_pnl=_money(account.realized_pnl),
        day_pnl=_money(account.realized_pnl + account.unrealized_pnl),
        day_open_pnl_offset=_money(0.0),
        day_closed_pnl_offset=_money(0.0),
        ssboe=ssboe,
        usecs=nanoseconds // 1000,
    )


def _loss_percent(account: AccountState, terms: AccountTerms | None) -> float:
    """How much of the day's loss limit has been lost; 0 without a limit or a loss."""
    if terms is None or not terms.loss_limit:
        return 0.0
    return max(0.0, -(account.realized_pnl + account.unrealized_pnl) / terms.loss_limit * 100)


def _money(amount: float) -> str:
    # What rounds to nothing is written without a sign.
    return f"{round(amount, 2) + 0.0:.2f}"


def updates(session: Session, request: Any) -> None:
    """400 → 401, then 450 and 451 as they change."""
    if session.refuses_account(401, request):
        return
    feed = session.exchange.pnl_feed
    if request.request == SUBSCRIBE:
        feed.subscribe(session, request.account_id, money_only=request.rms_updates_only)
        session.done(401, request)
    elif request.request == UNSUBSCRIBE:
        feed.unsubscribe(session, request.account_id)
        session.done(401, request)
    else:
        session.done(401, request, BAD_INPUT)


def snapshots(session: Session, request: Any) -> None:
    """402 → an image of each open position and of the account, then a bare 403; a flat account yields only 451."""
    if session.refuses_account(403, request):
        return
    exchange = session.exchange
    now_ns = exchange.now_ns()
    positions = exchange.venue.positions(request.account_id)
    for position in positions:
        if position.net_quantity:
            session.send(OutgoingFrame(instrument_update(position, now_ns, is_snapshot=True)))
    account, terms = exchange.venue.account(request.account_id), exchange.venue.terms(request.account_id)
    session.send(OutgoingFrame(account_update(account, positions, now_ns, terms=terms, is_snapshot=True)))
    session.done(403, request)


HANDLERS: dict[int, Callable[[Session, Any], None]] = {400: updates, 402: snapshots}
