"""The exchange's front: takes orders, runs the markets, keeps the accounts. Pure: time comes in as an argument."""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from nightdesk.messages.enums import AggressorSide, OrderType, Side, TimeInForce
from nightdesk.simulator.model import (
    AccountTerms,
    BracketChanged,
    ExitRole,
    Hold,
    IfTouched,
    NewOrder,
    OrderEventKind,
    OrdersLinked,
    Product,
    Quoted,
    Stage,
    Traded,
    VenueEvent,
)
from nightdesk.simulator.venue.book import Best
from nightdesk.simulator.venue.client_order import STOP_TYPES, ClientOrder
from nightdesk.simulator.venue.counters import FIRST_BASKET_ID, Counters
from nightdesk.simulator.venue.day_book import DayBook
from nightdesk.simulator.venue.days import VenueDays
from nightdesk.simulator.venue.floor import Floor
from nightdesk.simulator.venue.ledger import Ledger, Scale
from nightdesk.simulator.venue.links import LEGS_MAX
from nightdesk.simulator.venue.market import Market
from nightdesk.simulator.venue.matching import Matcher, MatchingEngine, SelfMatch
from nightdesk.simulator.venue.order_table import OrderTable
from nightdesk.simulator.venue.outcomes import Outcome
from nightdesk.simulator.venue.refusal import VenueRefusal
from nightdesk.simulator.venue.risk import Risk
from nightdesk.simulator.venue.rms import EXCHANGE_TEXT, RISK_TEXT, Ticks, check, check_extras, check_modify
from nightdesk.simulator.venue.trade_dates import ALWAYS_OPEN, TradeDates

__all__ = ["ORDERS_KEPT_MAX", "Venue", "VenueRefusal"]

ORDERS_KEPT_MAX = 20_000
"""Finished orders kept for the lists; older ones are forgotten."""

TEXT_RESTARTED = "canceled - the exchange was restarted while it worked on the order"

_NO_SCALE = Scale(Product("", "", 1.0, 0.0, 0.0))


class Venue(VenueDays):
    """Accounts, orders and markets of the embedded exchange.

    A market is a matching engine until a flow installs another matcher (a replay).
    """

    def __init__(
        self,
        products: Sequence[Product],
        accounts: Sequence[AccountTerms | str],
        starting_balance: float,
        *,
        first_basket_id: int = FIRST_BASKET_ID,
        orders_kept_max: int = ORDERS_KEPT_MAX,
        self_match: SelfMatch = SelfMatch.ALLOW,
        dates: TradeDates = ALWAYS_OPEN,
    ) -> None:
        """``accounts`` are terms, or ids of accounts with ``starting_balance`` and no limits."""
        self.dates = dates
        self.day_book = DayBook()
        self._self_match = self_match
        self._starting_balance = starting_balance
        terms = [each if isinstance(each, AccountTerms) else AccountTerms(each, starting_balance) for each in accounts]
        self._terms = {each.account_id: each for each in terms}
        self._markets = {product.symbol: self._new_market(product) for product in products}
        self._orders_kept_max = orders_kept_max
        self._furnish(self.fresh_ledger(), Counters(first_basket_id))

    @property
    def bracket_subscribers(self) -> Callable[[str], bool]:
        """Whether somebody follows an account's brackets (336); without, a bracket's exits are refused."""
        return self._floor.bracket_subscribers

    @bracket_subscribers.setter
    def bracket_subscribers(self, has_subscriber: Callable[[str], bool]) -> None:
        self._floor.bracket_subscribers = has_subscriber

    def submit(self, order: NewOrder, now_ns: int) -> tuple[str, list[VenueEvent]]:
        """Take an order; the basket id and what happened, RECEIVED first."""
        events: list[VenueEvent] = []
        client, ticks = self._make(order, now_ns)
        self._floor.receive(client, now_ns, events)
        self._admit(client, ticks, now_ns, events)
        self._floor.finish(now_ns, events)
        return client.basket_id, events

    def submit_oco(self, orders: Sequence[NewOrder], now_ns: int) -> tuple[list[str], list[VenueEvent]]:
        """Orders of which one cancels the others; their basket ids in order. Raises ``VenueRefusal``."""
        if not 2 <= len(orders) <= LEGS_MAX:
            raise VenueRefusal(f"an OCO group has 2 to {LEGS_MAX} orders")
        if len({order.account_id for order in orders}) != 1:
            raise VenueRefusal("the orders of an OCO group belong to one account")
        events: list[VenueEvent] = []
        legs = [self._make(order, now_ns) for order in orders]
        for client, _ in legs:
            self._floor.receive(client, now_ns, events)
        events.append(self._link([client for client, _ in legs], now_ns))
        for client, ticks in legs:
            if client.completion is None:
                self._admit(client, ticks, now_ns, events)
                self._floor.finish(now_ns, events)
        return [client.basket_id for client, _ in legs], events

    def link(self, account_id: str, basket_ids: Sequence[str], now_ns: int) -> list[VenueEvent]:
        """Make one-cancels-other of working orders. Raises ``VenueRefusal``."""
        if not 2 <= len(set(basket_ids)) == len(basket_ids) <= LEGS_MAX:
            raise VenueRefusal(f"2 to {LEGS_MAX} different orders can be linked")
        legs = [self._table.find_open(account_id, basket_id) for basket_id in basket_ids]
        if any(self._floor.links.is_linked(leg) or leg.entry_id for leg in legs):
            raise VenueRefusal("an order is linked already")
        return [self._link(legs, now_ns)]

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
        trail_by_ticks: int | None = None,
        if_touched: IfTouched | None = None,
    ) -> list[VenueEvent]:
        """Replace the order's terms (``quantity`` is the new total); MODIFIED or MODIFY_FAILED and what follows.

        Without ``trail_by_ticks`` and ``if_touched`` those stay as they are; a distance of 0 ends the trailing.
        Raises ``VenueRefusal``.
        """
        order = self._table.find_open(account_id, basket_id)
        market = self._markets[order.terms.symbol]
        events: list[VenueEvent] = []
        wanted = check_modify(
            order,
            market.matcher.last_price,
            order_type=order_type,
            quantity=quantity,
            price=price,
            trigger_price=trigger_price,
            trail_by_ticks=trail_by_ticks,
        )
        text = wanted if isinstance(wanted, str) else ""
        if not text and not isinstance(wanted, str):
            text = self._risk.modify_refusal(order, quantity, now_ns)
            text = RISK_TEXT + text if text else ""
            if not text and order.hold is None:
                is_stop = wanted.order_type in STOP_TYPES
                trigger = wanted.trigger if is_stop else None
                text = market.refusal(wanted.limit, trigger, is_market=wanted.order_type is OrderType.MARKET)
        if not text and if_touched is not None and order.hold not in (Hold.RELEASE, Hold.CONDITION):
            text = "the order's condition is behind it"
        if not text and if_touched is not None and if_touched.symbol not in self._markets:
            text = f"instrument {if_touched.symbol} of the condition is unknown"
        if text or isinstance(wanted, str):
            self._table.report(OrderEventKind.MODIFY_FAILED, order, now_ns, events, text=text)
            return events
        self._risk.look(account_id)
        if if_touched is not None:
            self._floor.set_condition(order, if_touched)
        self._floor.change(order, wanted, now_ns, events)
        # A bracket's exit is never larger than what it protects.
        self._floor.brackets.note(order)
        self._floor.finish(now_ns, events)
        self._warn(order, now_ns, events)
        return events

    def cancel(self, account_id: str, basket_id: str, now_ns: int) -> list[VenueEvent]:
        """CANCELED, COMPLETED(C). Raises ``VenueRefusal``."""
        events: list[VenueEvent] = []
        self._floor.take_out(self._table.find_open(account_id, basket_id), "", now_ns, events)
        self._floor.finish(now_ns, events)
        return events

    def cancel_all(self, account_id: str, now_ns: int) -> list[VenueEvent]:
        """Cancel each open order of the account, oldest first."""
        events: list[VenueEvent] = []
        for order in list(self._table.open_of_account.get(account_id, {}).values()):
            if order.completion is None:
                events += self.cancel(account_id, order.basket_id, now_ns)
        return events

    def retag(self, account_id: str, basket_id: str, user_tag: str, now_ns: int) -> list[VenueEvent]:
        """Give an order, finished ones too, another tag: RETAGGED. Raises ``VenueRefusal``."""
        order = self._table.orders.get(basket_id)
        if order is None or order.account_id != account_id:
            raise VenueRefusal("order not found")
        order.terms = msgspec.structs.replace(order.terms, user_tag=user_tag)
        events: list[VenueEvent] = []
        self._table.report(OrderEventKind.RETAGGED, order, now_ns, events)
        return events

    def exit_position(
        self,
        account_id: str,
        symbol: str | None,
        user: str,
        now_ns: int,
        *,
        is_automatic: bool = True,
        window_name: str = "",
    ) -> list[VenueEvent]:
        """Close positions with market orders; ``symbol`` None: all of them. Working orders are left alone."""
        events: list[VenueEvent] = []
        for name, position in list(self._ledger.positions(account_id).items()):
            if not position.net or symbol not in (None, name):
                continue
            side = Side.SELL if position.net > 0 else Side.BUY
            exchange = self._markets[name].product.exchange
            quantity = abs(position.net)
            order = NewOrder(
                *(account_id, user, "", name, exchange, side, OrderType.MARKET, quantity, None, None),
                TimeInForce.DAY,
                window_name,
                is_automatic,
            )
            events += self.submit(order, now_ns)[1]
        return events

    def update_bracket(
        self, account_id: str, basket_id: str, *, is_target: bool, level: int, ticks: int, now_ns: int
    ) -> list[VenueEvent]:
        """Move a bracket's target or stop from ``level`` to ``ticks``, both distances; see ``Brackets.update``.

        Raises ``VenueRefusal``.
        """
        role = ExitRole.TARGET if is_target else ExitRole.STOP
        return self._floor.brackets.update(basket_id, account_id, role, level, ticks, now_ns)

    def advance(self, now_ns: int) -> list[VenueEvent]:
        """Everything that time brings: releases, cancels, exits at the market; and conditions that a tape has met."""
        events: list[VenueEvent] = []
        self._floor.advance(now_ns, events)
        return events

    # What follows is for the flow and the recovery.

    def install_matcher(self, symbol: str, matcher: Matcher) -> None:
        """Let another matcher run the market; open orders go over to it in their order of acceptance."""
        self._markets[symbol].install(matcher)
        for order in self._table.open.values():
            if order.terms.symbol == symbol and order.hold is None:
                matcher.restore(order)

    def step(self, symbol: str, outcomes: list[Outcome], now_ns: int) -> list[VenueEvent]:
        """What the flow did to a market, as events; the quote follows if it has changed."""
        events: list[VenueEvent] = []
        self._floor.translate(self._markets[symbol], outcomes, now_ns, events)
        self._floor.finish(now_ns, events)
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
        groups: Iterable[Sequence[str]],
        brackets: Iterable[BracketChanged],
        ledger: Ledger,
        counters: Counters,
        marks: dict[str, int],
        day_book: DayBook,
    ) -> list[VenueEvent]:
        """Take over a recovered state; ``priority`` names the working orders in the order of their places.

        The venue must be fresh. Products that are no longer listed are listed again: what was held in them stays.
        Returns what the exchange still had to do when it died: orders that it was working on end canceled, linked
        orders and bracket exits follow fills that they had not followed yet.
        """
        for product in products:
            if product.symbol not in self._markets:
                self._markets[product.symbol] = self._new_market(product)
        self._furnish(ledger, counters)
        self.adopt_days(day_book)
        floor, table = self._floor, self._table
        for order in orders:
            table.add(order)
        for symbol, ticks in marks.items():
            self._markets[symbol].set_reference(ticks)
            self._markets[symbol].matcher.last_price = ticks
        for order in table.orders.values():
            floor.brackets.open(order)
        for changed in brackets:
            floor.brackets.take_report(changed)
        for order in table.orders.values():
            floor.brackets.adopt(order)
        floor.restore_links(groups)
        for order in list(table.orders.values()):
            if order.stage is Stage.COMPLETE:
                table.finish(order)
        for basket_id in priority:
            order = table.orders[basket_id]
            table.set_open(order)
            floor.set_timers(order)
            if order.hold is None:
                self._markets[order.terms.symbol].matcher.restore(order)
            floor.resume(order)
        events: list[VenueEvent] = []
        for order in list(table.orders.values()):
            if order.completion is None and order.basket_id not in table.open:
                floor.brackets.unrelease(order, order.quantity - order.filled)
                table.cancel(order, TEXT_RESTARTED, order.ts_last_ns, events)
        floor.finish(max((order.ts_last_ns for order in table.orders.values()), default=0), events)
        return [event for event in events if not isinstance(event, Quoted)]

    def _furnish(self, ledger: Ledger, counters: Counters) -> None:
        self._ledger = ledger
        self._table = OrderTable(counters, self._orders_kept_max)
        self._floor = Floor(self._markets, ledger, self._table)
        self._risk = Risk(self._terms, self._markets, ledger, self._table, self._floor.brackets.exposed)

    def _new_market(self, product: Product) -> Market:
        return Market(product, MatchingEngine(self_match=self._self_match))

    def _make(self, order: NewOrder, now_ns: int) -> tuple[ClientOrder, Ticks]:
        """An order with its ids; the exits of its bracket have theirs behind it."""
        market = self._markets.get(order.symbol)
        ticks = self._check(order, market, now_ns)
        counters = self._table.counters
        client = ClientOrder(
            counters.next_basket_id(), order, market.scale if market else _NO_SCALE, ticks.limit, ticks.trigger, now_ns
        )
        if order.bracket is not None:
            for _ in range(order.bracket.exit_count):
                counters.next_basket_id()
        return client, ticks

    def _admit(self, client: ClientOrder, ticks: Ticks, now_ns: int, events: list[VenueEvent]) -> None:
        if not ticks.text:
            self._risk.look(client.account_id)
        text = ticks.text or self._risk.refusal(client.terms, client.quantity, now_ns, client.linked_ids)
        if ticks.is_exchange:
            self._floor.reject(client, EXCHANGE_TEXT + text, now_ns, events)
        elif text:
            self._floor.fail(client, text, now_ns, events)
        else:
            self._floor.accept(client, now_ns, events)
            self._warn(client, now_ns, events)

    def _warn(self, order: ClientOrder, now_ns: int, events: list[VenueEvent]) -> None:
        text = self._risk.warning(order.account_id)
        if text:
            self._table.report(OrderEventKind.WARNED, order, now_ns, events, text=text)

    def _check(self, order: NewOrder, market: Market | None, now_ns: int) -> Ticks:
        if order.account_id not in self._ledger.accounts:
            return Ticks(text=f"account {order.account_id} is unknown")
        if market is None or market.product.exchange != order.exchange:
            return Ticks(text=f"instrument {order.symbol}.{order.exchange} is unknown")
        if order.if_touched is not None and order.if_touched.symbol not in self._markets:
            return Ticks(text=f"instrument {order.if_touched.symbol} of the condition is unknown")
        text = check_extras(order, now_ns)
        if text:
            return Ticks(text=text)
        return check(
            order.order_type,
            order.quantity,
            order.price,
            order.trigger_price,
            order.time_in_force,
            market.scale,
            trail_by_ticks=order.trail_by_ticks,
        )

    def _link(self, legs: Sequence[ClientOrder], now_ns: int) -> OrdersLinked:
        self._floor.links.link(legs)
        return OrdersLinked(legs[0].account_id, tuple(leg.basket_id for leg in legs), now_ns)
