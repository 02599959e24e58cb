"""Where orders meet markets: sends them, books fills, and lets everything follow that a fill or a price sets off.

A command (an order, a cancel, a step of the flow) ends with ``finish``: linked orders and bracket exits follow the
fills, trailing stops follow the prices, held orders whose moment has come are sent, until nothing more happens; then
the quotes and the books that have changed are reported.
"""

from collections.abc import Callable, Iterable, Sequence

from nightdesk.errors import InvariantError
from nightdesk.messages.enums import AggressorSide, OrderType
from nightdesk.simulator.model import (
    Completion,
    Execution,
    Hold,
    IfTouched,
    OrderEventKind,
    Stage,
    VenueEvent,
)
from nightdesk.simulator.venue.book import Order
from nightdesk.simulator.venue.brackets import Brackets
from nightdesk.simulator.venue.client_order import STOP_TYPES, TOUCH_TYPES, ClientOrder
from nightdesk.simulator.venue.holds import Holds, watched
from nightdesk.simulator.venue.ledger import Ledger, dollars
from nightdesk.simulator.venue.links import Links
from nightdesk.simulator.venue.market import Market, Phase
from nightdesk.simulator.venue.matching import Change
from nightdesk.simulator.venue.order_table import OrderTable
from nightdesk.simulator.venue.outcomes import (
    Converted,
    Dropped,
    Matched,
    Opened,
    Outcome,
    Pending,
    Printed,
    Refused,
)
from nightdesk.simulator.venue.rms import EXCHANGE_TEXT, RISK_TEXT, Wanted
from nightdesk.simulator.venue.timers import NS_PER_S, TimerKind, Timers
from nightdesk.simulator.venue.trails import Trails

TEXT_CONVERTED = "what is left of the market order rests at its protection price"
TEXT_EXPIRED = "canceled - its time is over"

FOLLOW_UPS_MAX = 100_000
"""No command sets off more rounds of consequences than this; more would be an endless loop of ours."""

_AGGRESSORS = {True: AggressorSide.BUY, False: AggressorSide.SELL, None: AggressorSide.NONE}


class Floor:
    """Markets, orders and everything held beside them."""

    def __init__(self, markets: dict[str, Market], ledger: Ledger, table: OrderTable) -> None:
        self.markets = markets
        self.ledger = ledger
        self.table = table
        self.timers = Timers()
        self.holds = Holds()
        self.links = Links(self)
        self.brackets = Brackets(self)
        self.trails = Trails(self)
        self.bracket_subscribers: Callable[[str], bool] = lambda _account_id: True
        self._touched: dict[str, Market] = {}
        table.on_progress = self._note_progress
        table.on_forgotten = self._forget

    # An order's way to the exchange.

    def receive(self, order: ClientOrder, now_ns: int, events: list[VenueEvent]) -> None:
        """RECEIVED: the order exists from now on."""
        order.sequence_number = order.original_sequence_number = self.table.counters.next_sequence_number()
        self.table.add(order)
        self.brackets.open(order)
        self.table.report(OrderEventKind.RECEIVED, order, now_ns, events)

    def fail(self, order: ClientOrder, text: str, now_ns: int, events: list[VenueEvent]) -> None:
        """The risk system refuses the order: COMPLETED(FA)."""
        self.table.complete(order, Completion.FAILED, RISK_TEXT + text, now_ns, events)

    def reject(self, order: ClientOrder, text: str, now_ns: int, events: list[VenueEvent]) -> None:
        """The exchange refuses the order: REJECTED, COMPLETED(FA)."""
        order.text = text
        self.table.report(OrderEventKind.REJECTED, order, now_ns, events, text=text)
        self.table.complete(order, Completion.FAILED, text, now_ns, events)

    def accept(self, order: ClientOrder, now_ns: int, events: list[VenueEvent]) -> None:
        """The risk system has let the order pass."""
        self.table.set_open(order)
        self.set_timers(order)
        self._proceed(order, None, now_ns, events)

    def set_timers(self, order: ClientOrder) -> None:
        """The times at which the order's own terms want something."""
        terms = order.terms
        if terms.cancel_at_ns is not None:
            self.timers.set(terms.cancel_at_ns, TimerKind.CANCEL, order.basket_id)
        if terms.cancel_after_s:
            self.timers.set(order.ts_created_ns + terms.cancel_after_s * NS_PER_S, TimerKind.CANCEL, order.basket_id)
        if terms.release_at_ns is not None and order.hold in (None, Hold.RELEASE):
            self.timers.set(terms.release_at_ns, TimerKind.RELEASE, order.basket_id)

    def set_condition(self, order: ClientOrder, condition: IfTouched) -> None:
        """A held order waits for something else."""
        if order.hold is Hold.CONDITION:
            self.holds.remove(order)
            order.if_touched = condition
            market = self._touched[condition.symbol] = self.markets[condition.symbol]
            order.waits_from = market.print_count
            self.holds.add(order)
        order.if_touched = condition

    def restore_links(self, groups: Iterable[Sequence[str]]) -> None:
        """Link recovered orders again and let the legs follow that had not followed yet."""
        for ids in groups:
            legs = [self.table.orders[basket_id] for basket_id in ids if basket_id in self.table.orders]
            self.links.restore(legs)

    def resume(self, order: ClientOrder) -> None:
        """Hold or trail a recovered order as before the restart."""
        if order.hold in (Hold.CONDITION, Hold.TOUCH):
            self.holds.add(order)
        elif order.is_pending:
            self.trails.watch(order)

    def _proceed(self, order: ClientOrder, passed: Hold | None, now_ns: int, events: list[VenueEvent]) -> None:
        """Hold the order for what it waits for next (its release, its condition, its touch), or send it."""
        release_ns = order.terms.release_at_ns
        if passed is None and release_ns is not None and release_ns > now_ns:
            self._hold(order, Hold.RELEASE, now_ns, events)
        elif passed in (None, Hold.RELEASE) and order.if_touched is not None:
            self._hold(order, Hold.CONDITION, now_ns, events)
        elif order.order_type in TOUCH_TYPES:
            self._hold(order, Hold.TOUCH, now_ns, events)
        else:
            self._send(order, now_ns, events)

    def _hold(self, order: ClientOrder, hold: Hold, now_ns: int, events: list[VenueEvent]) -> None:
        order.hold = hold
        if hold is Hold.RELEASE:
            order.stage = Stage.RELEASE_PENDING
            self.table.report(OrderEventKind.RELEASE_PENDING, order, now_ns, events)
            return
        order.stage = Stage.TRIGGER_PENDING
        symbol = watched(order)
        market = self._touched[symbol] = self.markets[symbol]
        # What was printed before it began to wait does not count.
        order.waits_from = market.print_count
        self.holds.add(order)
        self.table.report(OrderEventKind.TRIGGER_PENDING, order, now_ns, events)

    def _let_go(self, order: ClientOrder, now_ns: int, events: list[VenueEvent]) -> None:
        """The moment of a held order has come."""
        passed, order.hold = order.hold, None
        if passed is Hold.TOUCH:
            is_market = order.order_type is OrderType.MARKET_IF_TOUCHED
            order.order_type = OrderType.MARKET if is_market else OrderType.LIMIT
            order.stage = Stage.OPEN
        else:
            order.stage = Stage.RECEIVED
        if passed is Hold.CONDITION:
            order.if_touched = None
        if passed is not Hold.RELEASE:
            self.table.report(OrderEventKind.TRIGGERED, order, now_ns, events)
        self._proceed(order, passed, now_ns, events)

    def _send(self, order: ClientOrder, now_ns: int, events: list[VenueEvent]) -> None:
        market = self.markets[order.terms.symbol]
        self._touched[order.terms.symbol] = market
        order.is_pending = order.order_type in STOP_TYPES
        if order.is_pending and order.trigger is None:
            order.trigger = self.trails.price(order, market)
            if order.trigger is None or order.trigger <= 0:
                self.reject(order, EXCHANGE_TEXT + "there is no price that the stop could trail", now_ns, events)
                return
            order.trigger_price = order.scale.price(order.trigger)
        text = market.refusal(
            order.limit,
            order.trigger if order.is_pending else None,
            is_market=order.limit is None and not order.is_pending,
        )
        if text:
            self.reject(order, text, now_ns, events)
            return
        self.translate(market, market.matcher.submit(order), now_ns, events)
        if order.is_pending and order.completion is None:
            self.trails.watch(order)

    # Changes of working orders.

    def take_out(self, order: ClientOrder, text: str, now_ns: int, events: list[VenueEvent]) -> None:
        """Cancel an order wherever it stands."""
        market = self.markets[order.terms.symbol]
        if order.hold is not None:
            self.holds.remove(order)
        elif order.stage is not Stage.RECEIVED:
            market.matcher.cancel(order)
            self._touched[order.terms.symbol] = market
        self.table.cancel(order, text, now_ns, events)

    def change(
        self, order: ClientOrder, wanted: Wanted, now_ns: int, events: list[VenueEvent], *, text: str = ""
    ) -> None:
        """Give a working order new terms: MODIFIED and what follows."""
        market = self.markets[order.terms.symbol]
        order.sequence_number = self.table.counters.next_sequence_number()
        order.quantity = wanted.quantity
        order.trail_by_ticks = wanted.trail_by_ticks
        leaves = wanted.quantity - order.filled
        keeps_place = (
            leaves <= order.leaves and wanted[0] is order.order_type and wanted[2:4] == (order.limit, order.trigger)
        )
        was_at_exchange = order.is_at_exchange
        is_touch = wanted.order_type in TOUCH_TYPES
        order.order_type = wanted.order_type
        outcomes: list[Outcome] = []
        if was_at_exchange and not is_touch:
            change = Change(leaves, wanted.limit, wanted.trigger, wanted.order_type in STOP_TYPES)
            if not change.is_pending:
                change = change._replace(trigger=order.trigger if not order.is_pending else None)
                order.stage = Stage.OPEN
            outcomes = market.matcher.modify(order, change)
            self._touched[order.terms.symbol] = market
        else:
            if was_at_exchange:
                market.matcher.cancel(order)
                self._touched[order.terms.symbol] = market
            elif order.hold is not Hold.RELEASE and not keeps_place:
                self.holds.lose_place(order)
            order.leaves, order.limit, order.trigger = leaves, wanted.limit, wanted.trigger
            order.is_pending = wanted.order_type in STOP_TYPES
        order.price = order.scale.price(wanted.limit) if wanted.limit is not None else None
        if wanted.trigger is not None and (is_touch or wanted.order_type in STOP_TYPES):
            order.trigger_price = order.scale.price(wanted.trigger)
        self.table.report(OrderEventKind.MODIFIED, order, now_ns, events, text=text)
        self.translate(market, outcomes, now_ns, events)
        if order.completion is not None:
            return
        if was_at_exchange and is_touch:
            self._hold(order, Hold.TOUCH, now_ns, events)
        elif order.hold is Hold.TOUCH and not is_touch:
            self.holds.remove(order)
            order.hold, order.stage = None, Stage.RECEIVED
            self._send(order, now_ns, events)
        elif order.hold is not None:
            self._touched[order.terms.symbol] = market
        elif order.is_pending:
            self.trails.watch(order)

    def resize(self, order: ClientOrder, leaves: int, text: str, now_ns: int, events: list[VenueEvent]) -> None:
        """The server gives an order another quantity, or takes it out at 0."""
        if leaves <= 0:
            self.take_out(order, text, now_ns, events)
            return
        trigger = order.trigger if order.is_pending or order.order_type in TOUCH_TYPES else None
        quantity = order.filled + leaves
        wanted = Wanted(order.order_type, quantity, order.limit, trigger, order.trail_by_ticks)
        self.change(order, wanted, now_ns, events, text=text)

    # What markets report.

    def translate(self, market: Market, outcomes: list[Outcome], now_ns: int, events: list[VenueEvent]) -> None:
        """Turn what a matcher did into events."""
        for outcome in outcomes:
            if isinstance(outcome, Matched):
                if outcome.maker is not None and outcome.maker.is_client:
                    self._fill(market, outcome.maker, outcome, now_ns, events)
                if outcome.taker is not None and outcome.taker.is_client:
                    self._fill(market, outcome.taker, outcome, now_ns, events)
            elif isinstance(outcome, Printed):
                if market.matcher.publishes:
                    aggressor = _AGGRESSORS[outcome.aggressor_is_buy]
                    events.append(market.print_trade(outcome.price, outcome.quantity, aggressor, now_ns))
            elif isinstance(outcome.order, ClientOrder):
                self._move(outcome.order, outcome, now_ns, events)
        self._touched[market.product.symbol] = market

    def _move(self, order: ClientOrder, outcome: Outcome, now_ns: int, events: list[VenueEvent]) -> None:
        match outcome:
            case Dropped():
                self.table.cancel(order, outcome.text, now_ns, events)
            case Refused():
                self.reject(order, outcome.text, now_ns, events)
            case Pending():
                order.stage = Stage.TRIGGER_PENDING
                self.table.report(OrderEventKind.TRIGGER_PENDING, order, now_ns, events)
            case Converted():
                order.order_type = OrderType.LIMIT
                order.price = order.scale.price(outcome.price)
                order.sequence_number = self.table.counters.next_sequence_number()
                self.table.report(OrderEventKind.MODIFIED, order, now_ns, events, text=TEXT_CONVERTED)
            case Opened():
                # An order that was touched has been reported as triggered; it is never reported as opened.
                if order.stage is not Stage.OPEN:
                    order.stage = Stage.OPEN
                    self.table.report(OrderEventKind.OPENED, order, now_ns, events)
            case _:
                is_market = order.order_type is OrderType.STOP_MARKET
                order.order_type = OrderType.MARKET if is_market else OrderType.LIMIT
                order.stage = Stage.OPEN
                self.table.report(OrderEventKind.TRIGGERED, order, now_ns, events)

    def _fill(self, market: Market, order: Order, match: Matched, now_ns: int, events: list[VenueEvent]) -> None:
        if not isinstance(order, ClientOrder):
            return
        scale = market.scale
        report_id = self.table.counters.next_report_id()
        commission = dollars(match.quantity * scale.commission_micros)
        execution = Execution(report_id, scale.price(match.price), match.quantity, commission, now_ns)
        order.book(execution, match.price)
        signed = match.quantity if order.is_buy else -match.quantity
        self.ledger.roll(now_ns)
        self.ledger.position(order.account_id, order.terms.symbol, scale).apply(signed, match.price)
        self.table.report(OrderEventKind.FILLED, order, now_ns, events, execution=execution)
        if order.filled == order.quantity:
            self.table.complete(order, Completion.FILLED, "", now_ns, events)
        else:
            self._note_progress(order)

    # What follows by itself.

    def finish(self, now_ns: int, events: list[VenueEvent]) -> None:
        """Let everything follow, then report the quotes and books that have changed."""
        if self.links.moved or self.brackets.moved or self.trails.stops or self.holds.orders:
            self._follow_up(now_ns, events)
        for market in self._touched.values():
            # Of a closed market nobody hears prices: what is left of its book says nothing.
            if market.matcher.publishes and market.phase is not Phase.CLOSED:
                quote = market.refresh_quote(now_ns)
                if quote is not None:
                    events.append(quote)
            book = market.take_changes(now_ns)
            if book is not None:
                events.append(book)
        self._touched.clear()

    def advance(self, now_ns: int, events: list[VenueEvent]) -> None:
        """Everything that time brings, and held orders of markets that moved outside of a command (a replay)."""
        # Each row of a tape comes here: what nobody has used yet costs nothing.
        if self.holds.orders or self.trails.stops:
            for symbol, market in self.markets.items():
                if market.is_moved and (self.holds.watches(symbol) or self.trails.watches(symbol)):
                    self._touched[symbol] = market
        next_ns = self.timers.next_ns
        if not self._touched and (next_ns is None or next_ns > now_ns):
            return
        while (due := self.timers.pop(now_ns)) is not None:
            kind, basket_id = due
            order = self.table.orders.get(basket_id)
            if order is None:
                continue
            if kind in (TimerKind.TARGET_MARKET, TimerKind.STOP_MARKET):
                self.brackets.exit_at_market(order, kind, now_ns, events)
            elif order.completion is not None:
                continue
            elif kind is TimerKind.CANCEL:
                self.take_out(order, TEXT_EXPIRED, now_ns, events)
            elif order.hold is Hold.RELEASE:
                self._let_go(order, now_ns, events)
            self.finish(now_ns, events)
        self.finish(now_ns, events)

    def _follow_up(self, now_ns: int, events: list[VenueEvent]) -> None:
        for _ in range(FOLLOW_UPS_MAX):
            if not self._follow(now_ns, events):
                return
        raise InvariantError("one command set off an endless chain of consequences")

    def _follow(self, now_ns: int, events: list[VenueEvent]) -> bool:
        has_acted = self.links.reconcile(now_ns, events)
        has_acted |= self.brackets.reconcile(now_ns, events)
        for symbol, market in list(self._touched.items()):
            has_acted |= self.trails.follow(market, now_ns, events)
            if self.holds.watches(symbol):
                for order in self.holds.take_met(market):
                    has_acted = True
                    self._let_go(order, now_ns, events)
        return has_acted

    def _note_progress(self, order: ClientOrder) -> None:
        self.links.note(order)
        self.brackets.note(order)

    def _forget(self, order: ClientOrder) -> None:
        self.links.forget(order)
        self.brackets.forget(order)
