"""The exchange's front: takes orders, runs the markets, keeps the accounts. Pure: time comes in as an argument."""

from collections import deque
from collections.abc import Iterable, Sequence

from nightdesk.errors import NightdeskError
from nightdesk.messages.enums import AggressorSide, OrderType, Side, TimeInForce
from nightdesk.simulator.model import (
    AccountState,
    Completion,
    Execution,
    NewOrder,
    OrderEventKind,
    OrderHappened,
    OrderState,
    PositionState,
    Product,
    Quoted,
    Stage,
    Traded,
    VenueEvent,
)
from nightdesk.simulator.venue.client_order import ClientOrder
from nightdesk.simulator.venue.counters import FIRST_BASKET_ID, Counters
from nightdesk.simulator.venue.ledger import Ledger, Scale, dollars
from nightdesk.simulator.venue.market import Market
from nightdesk.simulator.venue.matching import (
    Best,
    Dropped,
    Matched,
    Matcher,
    MatchingEngine,
    Opened,
    Order,
    Outcome,
    Pending,
    Printed,
    Refused,
)
from nightdesk.simulator.venue.rms import Ticks, check, check_modify, present_request

ORDERS_KEPT_MAX = 20_000
"""Finished orders kept for the session's lists; older ones are forgotten (the log has them all)."""

TEXT_RESTARTED = "canceled - the exchange was restarted while it worked on the order"

_SECOND_NS = 1_000_000_000
_REPORTED = frozenset(OrderEventKind) - {OrderEventKind.RECEIVED, OrderEventKind.COMPLETED}
_NO_SCALE = Scale(Product("", "", 1.0, 0.0, 0.0))


class VenueRefusal(NightdeskError):
    """A modify or cancel is refused at once: "order not found", "already filled" or "already cancelled"."""


class Venue:
    """Accounts, orders and markets of the embedded exchange.

    A market is a matching engine until a flow installs another matcher (a replay). Orders of one account may trade with
    each other, and DAY orders live on until they are filled or canceled: the exchange knows no end of a session yet.
    """

    def __init__(
        self,
        products: Sequence[Product],
        accounts: Sequence[str],
        starting_balance: float,
        *,
        first_basket_id: int = FIRST_BASKET_ID,
        orders_kept_max: int = ORDERS_KEPT_MAX,
    ) -> None:
        self._markets = {product.symbol: Market(product, MatchingEngine()) for product in products}
        self._ledger = Ledger(tuple(accounts), starting_balance)
        self._starting_balance = starting_balance
        self._counters = Counters(first_basket_id)
        self._orders: dict[str, ClientOrder] = {}
        self._open: dict[str, ClientOrder] = {}
        self._finished: deque[str] = deque()
        self._orders_kept_max = orders_kept_max

    def submit(self, order: NewOrder, now_ns: int) -> tuple[str, list[VenueEvent]]:
        """Take an order; the basket id and what happened, RECEIVED first."""
        market = self._markets.get(order.symbol)
        ticks = self._check(order, market)
        scale = market.scale if market else _NO_SCALE
        client = ClientOrder(self._counters.next_basket_id(), order, scale, ticks.limit, ticks.trigger, now_ns)
        client.sequence_number = client.original_sequence_number = self._counters.next_sequence_number()
        self._orders[client.basket_id] = client
        events: list[VenueEvent] = [self._happened(OrderEventKind.RECEIVED, client, now_ns)]
        if market is None or ticks.text:
            self._complete(client, Completion.FAILED, f"Rejected at RMS - {ticks.text}", now_ns, events)
        else:
            self._open[client.basket_id] = client
            self._translate(market, market.matcher.submit(client), now_ns, events)
        return client.basket_id, events

    def modify(
        self,
        account_id: str,
        basket_id: str,
        *,
        quantity: int,
        price: float | None,
        trigger_price: float | None,
        order_type: OrderType | None,
        now_ns: int,
    ) -> list[VenueEvent]:
        """Replace the order's terms (``quantity`` is the new total); MODIFIED or MODIFY_FAILED and what follows.

        Raises ``VenueRefusal``.
        """
        order = self._find_open(account_id, basket_id)
        market = self._markets[order.terms.symbol]
        change = check_modify(
            order,
            order.filled,
            market.scale,
            market.matcher.last_price,
            order_type=present_request(order, order.terms.order_type, order_type),
            quantity=quantity,
            price=price,
            trigger_price=trigger_price,
        )
        if isinstance(change, str):
            return [self._happened(OrderEventKind.MODIFY_FAILED, order, now_ns, text=change)]
        order.sequence_number = self._counters.next_sequence_number()
        order.take_terms(quantity, change, price, trigger_price)
        outcomes = market.matcher.modify(order, change)
        events: list[VenueEvent] = [self._happened(OrderEventKind.MODIFIED, order, now_ns)]
        self._translate(market, outcomes, now_ns, events)
        return events

    def cancel(self, account_id: str, basket_id: str, now_ns: int) -> list[VenueEvent]:
        """CANCELED, COMPLETED(C). Raises ``VenueRefusal``."""
        order = self._find_open(account_id, basket_id)
        market = self._markets[order.terms.symbol]
        market.matcher.cancel(order)
        events: list[VenueEvent] = []
        self._cancel(order, "", now_ns, events)
        self._translate(market, [], now_ns, events)
        return events

    def cancel_all(self, account_id: str, now_ns: int) -> list[VenueEvent]:
        """Cancel each open order of the account, oldest first."""
        mine = [order.basket_id for order in self._open.values() if order.account_id == account_id]
        return [event for basket_id in mine for event in self.cancel(account_id, basket_id, now_ns)]

    def exit_position(self, account_id: str, symbol: str | None, user: str, now_ns: int) -> list[VenueEvent]:
        """Close positions with market orders; ``symbol`` None: all of them. Working orders are left alone."""
        events: list[VenueEvent] = []
        for name, position in list(self._ledger.positions(account_id).items()):
            if not position.net or symbol not in (None, name):
                continue
            side = Side.SELL if position.net > 0 else Side.BUY
            exchange = self._markets[name].product.exchange
            quantity = abs(position.net)
            order = NewOrder(
                account_id, user, "", name, exchange, side, OrderType.MARKET, quantity, None, None, TimeInForce.DAY
            )
            events += self.submit(order, now_ns)[1]
        return events

    def orders(self, account_id: str) -> list[OrderState]:
        """All orders of the session, finished ones too, oldest first."""
        return [order.picture() for order in self._orders.values() if order.account_id == account_id]

    def executions(self, account_id: str, start_s: int, finish_s: int) -> list[tuple[OrderState, Execution]]:
        """Fills whose second is in ``[start_s, finish_s]``, oldest first, each with its order's present state."""
        found = [
            (order.picture(), execution)
            for order in self._orders.values()
            if order.account_id == account_id
            for execution in order.executions
            if start_s <= execution.ts_ns // _SECOND_NS <= finish_s
        ]
        return sorted(found, key=lambda pair: int(pair[1].fill_id))

    def positions(self, account_id: str) -> list[PositionState]:
        """One per contract that the account ever traded or has working orders in."""
        working: dict[tuple[str, Side], int] = {}
        for order in self._open.values():
            if order.account_id == account_id:
                key = (order.terms.symbol, order.terms.side)
                working[key] = working.get(key, 0) + order.quantity - order.filled
                self._ledger.position(account_id, order.terms.symbol, order.scale)
        states = []
        for symbol, position in self._ledger.positions(account_id).items():
            market = self._markets[symbol]
            states.append(
                PositionState(
                    account_id=account_id,
                    symbol=symbol,
                    exchange=market.product.exchange,
                    net_quantity=position.net,
                    average_price=position.average_price,
                    buy_quantity=position.bought,
                    sell_quantity=position.sold,
                    realized_pnl=dollars(position.realized_micros),
                    unrealized_pnl=dollars(position.unrealized_micros(market.mark_ticks)),
                    commission=dollars(position.commission_micros),
                    working_buy_quantity=working.get((symbol, Side.BUY), 0),
                    working_sell_quantity=working.get((symbol, Side.SELL), 0),
                )
            )
        return states

    def account(self, account_id: str) -> AccountState:
        """The account's money. Raises ``VenueRefusal`` for an unknown account."""
        if account_id not in self._ledger.accounts:
            raise VenueRefusal(f"account {account_id} not found")
        positions = self._ledger.positions(account_id)
        unrealized = sum(p.unrealized_micros(self._markets[symbol].mark_ticks) for symbol, p in positions.items())
        return AccountState(
            account_id=account_id,
            balance=dollars(self._ledger.balance_micros(account_id)),
            realized_pnl=dollars(sum(p.realized_micros for p in positions.values())),
            unrealized_pnl=dollars(unrealized),
            commission=dollars(sum(p.commission_micros for p in positions.values())),
        )

    def quote(self, symbol: str) -> Quoted | None:
        """The last published quote."""
        market = self._markets.get(symbol)
        return market.quote if market else None

    def last_trade(self, symbol: str) -> Traded | None:
        """The last print since the exchange started."""
        market = self._markets.get(symbol)
        return market.trade if market else None

    def mark_price(self, symbol: str) -> float | None:
        """The last known price, from before a restart if nothing has traded since."""
        market = self._markets.get(symbol)
        return market.scale.price(market.mark_ticks) if market and market.mark_ticks is not None else None

    # What follows is for the flow and the recovery.

    def market(self, symbol: str) -> Market:
        """The market of a listed contract."""
        return self._markets[symbol]

    def install_matcher(self, symbol: str, matcher: Matcher) -> None:
        """Let another matcher run the market; open orders go over to it in their order of acceptance."""
        self._markets[symbol].matcher = matcher
        for order in self._open.values():
            if order.terms.symbol == symbol:
                matcher.restore(order)

    def step(self, symbol: str, outcomes: list[Outcome], now_ns: int) -> list[VenueEvent]:
        """What the flow did to a market, as events; the quote follows if it has changed."""
        events: list[VenueEvent] = []
        self._translate(self._markets[symbol], outcomes, now_ns, events)
        return events

    def print_trade(self, symbol: str, ticks: int, quantity: int, aggressor: AggressorSide, now_ns: int) -> Traded:
        """Publish a recorded print."""
        return self._markets[symbol].print_trade(ticks, quantity, aggressor, now_ns)

    def show_quote(self, symbol: str, best: Best, now_ns: int, *, bid_changed: bool, ask_changed: bool) -> Quoted:
        """Publish a recorded quote."""
        return self._markets[symbol].show_quote(best, now_ns, bid_changed=bid_changed, ask_changed=ask_changed)

    def restore(
        self,
        *,
        products: Iterable[Product],
        orders: Iterable[ClientOrder],
        priority: Iterable[str],
        ledger: Ledger,
        counters: Counters,
        marks: dict[str, int],
    ) -> list[VenueEvent]:
        """Take over a recovered state; ``priority`` names the resting orders in the order of their places in the book.

        The venue must be fresh. Products that are no longer listed are listed again: what was held in them stays.
        Returns the end of orders that were neither resting nor complete: the exchange died while it worked on them.
        """
        for product in products:
            self._markets.setdefault(product.symbol, Market(product, MatchingEngine()))
        self._ledger = ledger
        self._counters = counters
        for order in orders:
            self._orders[order.basket_id] = order
            if order.stage is Stage.COMPLETE:
                self._finish(order)
        for basket_id in priority:
            order = self._open[basket_id] = self._orders[basket_id]
            self._markets[order.terms.symbol].matcher.restore(order)
        for symbol, ticks in marks.items():
            self._markets[symbol].mark_ticks = ticks
            self._markets[symbol].matcher.last_price = ticks
        events: list[VenueEvent] = []
        for order in list(self._orders.values()):
            if order.completion is None and order.basket_id not in self._open:
                self._cancel(order, TEXT_RESTARTED, order.ts_last_ns, events)
        return events

    def products(self) -> list[Product]:
        """All listed contracts."""
        return [market.product for market in self._markets.values()]

    def fresh_ledger(self) -> Ledger:
        """A ledger of the configured accounts as they were opened."""
        return Ledger(self._ledger.accounts, self._starting_balance)

    def accounts(self) -> tuple[str, ...]:
        """All accounts."""
        return self._ledger.accounts

    def _check(self, order: NewOrder, market: Market | None) -> Ticks:
        if order.account_id not in self._ledger.accounts:
            return Ticks(text=f"account {order.account_id} is unknown")
        if market is None or market.product.exchange != order.exchange:
            return Ticks(text=f"instrument {order.symbol}.{order.exchange} is unknown")
        return check(
            order.order_type, order.quantity, order.price, order.trigger_price, order.time_in_force, market.scale
        )

    def _find_open(self, account_id: str, basket_id: str) -> ClientOrder:
        order = self._orders.get(basket_id)
        if order is None or order.account_id != account_id or order.completion is Completion.FAILED:
            raise VenueRefusal("order not found")
        if order.completion is not None:
            raise VenueRefusal("already filled" if order.completion is Completion.FILLED else "already cancelled")
        return order

    def _translate(self, market: Market, outcomes: list[Outcome], now_ns: int, events: list[VenueEvent]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Matched):
                self._fill(market, outcome.maker, outcome, now_ns, events)
                self._fill(market, outcome.taker, outcome, now_ns, events)
            elif isinstance(outcome, Printed):
                if market.matcher.publishes:
                    aggressor = AggressorSide.BUY if outcome.aggressor_is_buy else AggressorSide.SELL
                    events.append(market.print_trade(outcome.price, outcome.quantity, aggressor, now_ns))
            elif isinstance(outcome.order, ClientOrder):
                self._move(outcome.order, outcome, now_ns, events)
        if market.matcher.publishes:
            quote = market.refresh_quote(now_ns)
            if quote is not None:
                events.append(quote)

    def _move(self, order: ClientOrder, outcome: Outcome, now_ns: int, events: list[VenueEvent]) -> None:
        if isinstance(outcome, Dropped):
            self._cancel(order, outcome.text, now_ns, events)
        elif isinstance(outcome, Refused):
            self._complete(order, Completion.FAILED, outcome.text, now_ns, events)
        elif isinstance(outcome, Pending):
            order.stage = Stage.TRIGGER_PENDING
            events.append(self._happened(OrderEventKind.TRIGGER_PENDING, order, now_ns))
        else:
            order.stage = Stage.OPEN
            kind = OrderEventKind.OPENED if isinstance(outcome, Opened) else OrderEventKind.TRIGGERED
            events.append(self._happened(kind, order, now_ns))

    def _fill(self, market: Market, order: Order | None, match: Matched, now_ns: int, events: list[VenueEvent]) -> None:
        if not isinstance(order, ClientOrder):
            return
        scale = market.scale
        report_id = self._counters.next_report_id()
        commission = dollars(match.quantity * scale.commission_micros)
        execution = Execution(report_id, scale.price(match.price), match.quantity, commission, now_ns)
        order.book(execution, match.price)
        signed = match.quantity if order.is_buy else -match.quantity
        self._ledger.position(order.account_id, order.terms.symbol, scale).apply(signed, match.price)
        order.ts_last_ns = now_ns
        events.append(
            OrderHappened(OrderEventKind.FILLED, order.picture(), now_ns, report_id=report_id, execution=execution)
        )
        if order.filled == order.quantity:
            self._complete(order, Completion.FILLED, "", now_ns, events)

    def _cancel(self, order: ClientOrder, text: str, now_ns: int, events: list[VenueEvent]) -> None:
        order.sequence_number = self._counters.next_sequence_number()
        order.text = text or order.text
        events.append(self._happened(OrderEventKind.CANCELED, order, now_ns, text=text))
        self._complete(order, Completion.CANCELED, text, now_ns, events)

    def _complete(
        self, order: ClientOrder, completion: Completion, text: str, now_ns: int, events: list[VenueEvent]
    ) -> None:
        order.complete(completion, text)
        self._open.pop(order.basket_id, None)
        self._finish(order)
        events.append(self._happened(OrderEventKind.COMPLETED, order, now_ns, text=text))

    def _finish(self, order: ClientOrder) -> None:
        self._finished.append(order.basket_id)
        if len(self._finished) > self._orders_kept_max:
            del self._orders[self._finished.popleft()]

    def _happened(self, kind: OrderEventKind, order: ClientOrder, now_ns: int, *, text: str = "") -> OrderHappened:
        order.ts_last_ns = now_ns
        report_id = self._counters.next_report_id() if kind in _REPORTED else ""
        return OrderHappened(kind, order.picture(), now_ns, report_id=report_id, text=text)
