"""Who is told what on the order plant: notifications, brackets and risk limits by account, trade routes for all."""

from collections.abc import Sequence

from nightdesk.simulator.model import BracketChanged, OrderEventKind, OrderHappened, VenueEvent
from nightdesk.simulator.plants.subscribers import Subscribers
from nightdesk.simulator.venue.venue import Venue
from nightdesk.simulator.wire.order_frames import bracket_update, cancel_stages, frames_of
from nightdesk.simulator.wire.session import FCM_ID, IB_ID, TRADE_ROUTE, Session
from nightdesk.simulator.wire.templates import encode

ROUTE_UP = "UP"


class OrderFeed:
    """The order plant's subscriptions, and what is pushed for them."""

    def __init__(self) -> None:
        self._orders = Subscribers()
        self._brackets = Subscribers()
        self._limits = Subscribers()
        self._routes = Subscribers()
        self._is_followed: set[str] = set()
        self._status_of_route: dict[str, str] = {}
        self._peaks: dict[str, tuple[float, int]] = {}
        self._venue: Venue | None = None

    def attach(self, venue: Venue) -> None:
        """Let the venue ask who follows an account's brackets. Those of a former run were taken while somebody did."""
        self._venue = venue
        self._is_followed.update(account_id for account_id in venue.accounts() if venue.brackets(account_id))
        venue.bracket_subscribers = self.follows_brackets

    def subscribe(self, session: Session, account_id: str) -> None:
        """From now on the session gets the account's 351 and 352."""
        self._orders.add(session, account_id)

    def subscribe_brackets(self, session: Session, account_id: str) -> None:
        """From now on the session gets the account's 353, and the exits of the account's brackets are taken."""
        self._brackets.add(session, account_id)
        self._is_followed.add(account_id)

    def follows_brackets(self, account_id: str) -> bool:
        """Whether anybody has ever asked for the account's brackets: a lost link does not take a position's stop."""
        return account_id in self._is_followed

    def subscribe_limits(self, session: Session, account_id: str, *, is_on: bool) -> None:
        """From now on the session gets the account's 356, or no longer."""
        (self._limits.add if is_on else self._limits.remove)(session, account_id)

    def subscribe_routes(self, session: Session) -> None:
        """From now on the session gets a 350 for each change of a trade route."""
        self._routes.add(session, TRADE_ROUTE)

    def forget(self, session: Session) -> None:
        """The session is gone."""
        for subscribers in (self._orders, self._brackets, self._limits, self._routes):
            subscribers.forget(session)

    def order_happened(self, happened: OrderHappened, *, is_requested_cancel: bool = False) -> None:
        """Send the frames of one event to the account's subscribers."""
        account_id = happened.order.terms.account_id
        if self._orders.of(account_id):
            stages = cancel_stages(happened.order, happened.ts_ns) if is_requested_cancel else ()
            self._orders.send(account_id, (*stages, *frames_of(happened)))
        if happened.kind is OrderEventKind.FILLED:
            self._balance_changed(account_id, happened.ts_ns)

    def tell(self, account_id: str, payload: bytes) -> None:
        """Send the account's subscribers a notification of something that is no event of the market."""
        self._orders.send(account_id, (payload,))

    def bracket(self, changed: BracketChanged) -> None:
        """Send 353 to those who follow the account's brackets."""
        self._brackets.send(changed.account_id, (bracket_update(changed),))

    def route_status(self, exchange: str) -> str:
        """The state of the route to an exchange, ``UP`` unless something has changed it."""
        return self._status_of_route.get(exchange, ROUTE_UP)

    def is_route_up(self, exchange: str) -> bool:
        """Whether orders can go to the exchange."""
        return self.route_status(exchange) == ROUTE_UP

    def set_route_status(self, exchange: str, status: str) -> None:
        """A route comes up or goes down: 350 to those who asked for updates; ``status`` is the wire's word."""
        if status == self.route_status(exchange):
            return
        self._status_of_route[exchange] = status
        route = encode(
            350,
            fcm_id=FCM_ID,
            ib_id=IB_ID,
            exchange=exchange,
            trade_route=TRADE_ROUTE,
            status=status,
            is_default=True,
        )
        self._routes.send(TRADE_ROUTE, (route,))

    def limits(self, venue: Venue, account_id: str, now_ns: int) -> bytes:
        """356 of the account: the balance below which it may only reduce, and the highest balance seen so far."""
        balance = venue.account(account_id).balance
        terms = venue.terms(account_id)
        peak, since_s = self._peaks.setdefault(account_id, (max(balance, terms.starting_balance), now_ns // 10**9))
        return encode(
            356,
            update_bits=1,
            fcm_id=FCM_ID,
            ib_id=IB_ID,
            account_id=account_id,
            auto_liq_threshold_current_value=f"{terms.min_account_balance:.2f}",
            auto_liq_peak_account_balance=f"{peak:.2f}",
            auto_liq_peak_account_balance_ssboe=str(since_s),
        )

    def _balance_changed(self, account_id: str, now_ns: int) -> None:
        venue = self._venue
        if venue is None or not self._limits.of(account_id):
            return
        balance = venue.account(account_id).balance
        peak = self._peaks.get(account_id)
        if peak is None or balance > peak[0]:
            self._peaks[account_id] = (balance, now_ns // 10**9)
            self._limits.send(account_id, (self.limits(venue, account_id, now_ns),))


def requested_cancels(events: Sequence[VenueEvent]) -> set[str]:
    """The orders that a client's cancel ended: not those which the same events first brought in (an IOC's rest)."""
    canceled: set[str] = set()
    for event in events:
        if isinstance(event, OrderHappened):
            if event.kind is OrderEventKind.RECEIVED:
                return set()
            if event.kind is OrderEventKind.CANCELED:
                canceled.add(event.order.basket_id)
    return canceled
