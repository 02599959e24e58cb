"""Brackets, held by the server: an entry whose fills bring targets and stops, of which one side replaces the other.

The exits are orders of their own. They appear with the entry's first fill, at the distance in ticks from the average
price of what is filled by then (rounded to a tick), and grow with each further fill at the same prices. What one exit
fills, the other side loses; when nothing is left to protect, what works is canceled. An exit that a client cancels
stays canceled, and the others work on. When the entry fills on after an exit is over, a new exit is made. Which level
of several has how much is said in ``bracket.py``.
"""

from typing import TYPE_CHECKING

from nightdesk.messages.enums import OrderType, Side, TimeInForce
from nightdesk.simulator.model import (
    BracketChanged,
    Completion,
    ExitRole,
    NewOrder,
    OrderEventKind,
    PriceField,
    VenueEvent,
)
from nightdesk.simulator.venue.bracket import Bracket, Level
from nightdesk.simulator.venue.client_order import ClientOrder
from nightdesk.simulator.venue.holds import price_of
from nightdesk.simulator.venue.market import Market, Phase
from nightdesk.simulator.venue.refusal import VenueRefusal
from nightdesk.simulator.venue.rms import EXCHANGE_TEXT, TICKS_MAX, Wanted
from nightdesk.simulator.venue.timers import NS_PER_S, TimerKind

if TYPE_CHECKING:
    from nightdesk.simulator.venue.floor import Floor

TEXT_RELEASED = "the entry was filled on"
TEXT_EXITED = "the bracket's other exit was filled"
TEXT_NO_SUBSCRIPTION = "bracket orders need a subscription to bracket updates"
TEXT_UPDATE_FAILED = "The bracket order management system rejected request"
TEXT_AT_MARKET = "the exit's time has come"

_TIMER_ROLES = {TimerKind.TARGET_MARKET: ExitRole.TARGET, TimerKind.STOP_MARKET: ExitRole.STOP}


class Brackets:
    """All brackets."""

    def __init__(self, floor: "Floor") -> None:
        self._floor = floor
        self._brackets: dict[str, Bracket] = {}
        """By the entry's basket id."""
        self._of_exit: dict[str, Bracket] = {}
        self.moved: dict[str, Bracket] = {}
        """Brackets of which an order was filled or ended since the exits followed last."""

    def of_account(self, account_id: str) -> list[Bracket]:
        """The account's brackets whose entries were not refused."""
        mine = [each for each in self._brackets.values() if each.entry.account_id == account_id]
        return [each for each in mine if each.entry.completion is not Completion.FAILED]

    def open(self, entry: ClientOrder) -> None:
        """An entry was accepted; the ids of its exits are its own from now on."""
        if entry.terms.bracket is None or entry.completion is Completion.FAILED:
            return
        bracket = self._brackets[entry.basket_id] = Bracket(entry, entry.terms.bracket)
        for due_ns, kind in (
            (bracket.terms.target_market_at_ns, TimerKind.TARGET_MARKET),
            (bracket.terms.stop_market_at_ns, TimerKind.STOP_MARKET),
        ):
            if due_ns is not None:
                self._floor.timers.set(due_ns, kind, entry.basket_id)
        if entry.filled:
            # Recovered: its exits may still be missing.
            self.moved[entry.basket_id] = bracket
        self._set_target_timer(bracket)

    def adopt(self, leg: ClientOrder) -> None:
        """A recovered exit comes back to its bracket."""
        bracket = self._brackets.get(leg.entry_id)
        level = bracket.level_of(leg) if bracket else None
        if bracket is None or level is None:
            return
        level.orders.append(leg)
        level.reserved_id = ""
        level.released = max(level.released, leg.released)
        self._of_exit[leg.basket_id] = bracket
        self.moved[bracket.entry.basket_id] = bracket
        at = leg.terms.price if level.role is ExitRole.TARGET else leg.terms.trigger_price
        ticks = leg.scale.ticks(at) if at is not None else None
        if bracket.anchor is None and ticks is not None:
            bracket.anchor = ticks - bracket.away(level)

    def unrelease(self, leg: ClientOrder, quantity: int) -> None:
        """A recovered exit was lost on its way: its quantity is to be released again."""
        bracket = self._of_exit.get(leg.basket_id)
        level = bracket.level_of(leg) if bracket else None
        if level is not None:
            level.released -= quantity

    def take_report(self, changed: BracketChanged) -> None:
        """What was last reported of a recovered bracket; its distances may differ from its entry's terms."""
        bracket = self._brackets.get(changed.basket_id)
        if bracket is not None:
            bracket.take_report(changed)

    def note(self, order: ClientOrder) -> None:
        """An order was filled or is complete."""
        bracket = self._brackets.get(order.basket_id) or self._of_exit.get(order.basket_id)
        if bracket is not None:
            self.moved[bracket.entry.basket_id] = bracket

    def forget(self, order: ClientOrder) -> None:
        """The table has forgotten the order; a bracket stays as long as one of its exits works."""
        bracket = self._brackets.get(order.basket_id) or self._of_exit.pop(order.basket_id, None)
        if bracket is not None and not bracket.is_working:
            self._brackets.pop(bracket.entry.basket_id, None)

    def reconcile(self, now_ns: int, events: list[VenueEvent]) -> bool:
        """Let exits follow what was filled; whether anything was done."""
        has_acted = False
        while self.moved:
            bracket = self.moved.pop(next(iter(self.moved)))
            if not bracket.entry.filled:
                continue
            has_acted = True
            if bracket.anchor is None:
                entry = bracket.entry
                bracket.anchor = (2 * entry.notional_ticks + entry.filled) // (2 * entry.filled)
                self._set_target_timer(bracket)
            for level in bracket.levels:
                self._settle(bracket, level, now_ns, events)
            events += bracket.news(now_ns)
        return has_acted

    def update(
        self, bracket_id: str, account_id: str, role: ExitRole, level: int, ticks: int, now_ns: int
    ) -> list[VenueEvent]:
        """Change a distance before the entry is filled; afterwards the request is taken and fails later.

        Several levels at the same distance move together. Raises ``VenueRefusal``.
        """
        bracket = self._brackets.get(bracket_id)
        if bracket is None or bracket.entry.account_id != account_id or not bracket.sides[role]:
            raise VenueRefusal("order not found")
        moved = [each for each in bracket.sides[role] if each.ticks == level]
        if not moved:
            raise VenueRefusal(f"level {level} is not the bracket's present level")
        if not 0 < ticks <= TICKS_MAX:
            raise VenueRefusal(f"a level must be 1 to {TICKS_MAX} ticks away")
        events: list[VenueEvent] = []
        entry = bracket.entry
        if entry.filled or entry.completion is not None:
            self._floor.table.report(OrderEventKind.MODIFY_FAILED, entry, now_ns, events, text=TEXT_UPDATE_FAILED)
            return events
        for each in moved:
            each.ticks = ticks
            bracket.reported[each.number] = bracket.row(each.number, now_ns)
            events.append(bracket.reported[each.number])
        return events

    def moves_stop(self, leg: ClientOrder) -> bool:
        """Whether the order is a stop that its bracket moves."""
        bracket = self._of_exit.get(leg.basket_id)
        if bracket is None or leg.exit_role is not ExitRole.STOP:
            return False
        return bool(bracket.terms.trailing_stop_trigger_ticks or bracket.terms.break_even_trigger_ticks)

    def stop_prices(self, leg: ClientOrder, market: Market) -> list[int]:
        """Where the bracket wants its stop at the market's present price."""
        bracket = self._of_exit.get(leg.basket_id)
        level = bracket.level_of(leg) if bracket else None
        if bracket is None or bracket.anchor is None or level is None or level.role is not ExitRole.STOP:
            return []
        terms, sign = bracket.terms, bracket.sign
        field = PriceField.BID if bracket.entry.is_buy else PriceField.OFFER
        reference = price_of(PriceField.TRADE if terms.trailing_by_last_trade else field, market)
        if reference is None:
            return []
        gain = (int(reference) - bracket.anchor) * sign
        wanted = []
        if terms.trailing_stop_trigger_ticks and gain >= terms.trailing_stop_trigger_ticks:
            wanted.append(int(reference) - level.ticks * sign)
        if terms.break_even_trigger_ticks and gain >= terms.break_even_trigger_ticks:
            wanted.append(bracket.anchor + terms.break_even_ticks * sign)
        return wanted

    def exposed(self, entry_id: str) -> int | None:
        """What an entry filled and no exit has closed; None: it is no bracket's entry, or its bracket is over."""
        bracket = self._brackets.get(entry_id)
        return bracket.exposed if bracket is not None else None

    def exit_at_market(self, entry: ClientOrder, kind: TimerKind, now_ns: int, events: list[VenueEvent]) -> None:
        """The time has come at which the exits of one side become market orders, the first level first.

        While the market does not trade it is tried again each second.
        """
        bracket = self._brackets.get(entry.basket_id)
        for level in bracket.sides[_TIMER_ROLES[kind]] if bracket else ():
            leg = level.working
            if bracket is None or leg is None:
                # Also for an entry that was refused because its contract is not listed: it has no market.
                continue
            is_trading = self._floor.markets[entry.terms.symbol].phase is Phase.TRADES
            # The prints of one level may have set off a stop: what is left may be less.
            leaves = min(level.leaves, bracket.exposed)
            if not is_trading:
                self._floor.timers.set(now_ns + NS_PER_S, kind, entry.basket_id)
                return
            if leg.order_type is not OrderType.MARKET and leaves > 0:
                wanted = Wanted(OrderType.MARKET, leg.filled + leaves, None, None, 0)
                self._floor.change(leg, wanted, now_ns, events, text=TEXT_AT_MARKET)

    def _settle(self, bracket: Bracket, level: Level, now_ns: int, events: list[VenueEvent]) -> None:
        """Give the exit of one level the quantity that it should have now."""
        share, grown = bracket.share(level), bracket.grown(level)
        level.released += grown
        leg = level.working
        if leg is not None:
            leg.released = level.released
            if share != level.leaves:
                self._floor.resize(leg, share, TEXT_RELEASED if grown else TEXT_EXITED, now_ns, events)
        elif share > 0:
            self._create(bracket, level, share, now_ns, events, is_market=self._is_late(bracket, level.role, now_ns))
        elif level.role is ExitRole.STOP and bracket.terms.stop_market_on_reject and level.orders:
            last, uncovered = level.orders[-1], bracket.uncovered(level)
            if uncovered > 0 and _was_rejected_stop(last):
                self._create(bracket, level, min(last.quantity, uncovered), now_ns, events, is_market=True)

    def _create(
        self,
        bracket: Bracket,
        level: Level,
        quantity: int,
        now_ns: int,
        events: list[VenueEvent],
        *,
        is_market: bool,
    ) -> None:
        floor, entry = self._floor, bracket.entry
        at = (bracket.anchor or 0) + bracket.away(level)
        price = entry.scale.price(at)
        is_target = level.role is ExitRole.TARGET
        order_type = OrderType.LIMIT if is_target else OrderType.STOP_MARKET
        terms = NewOrder(
            account_id=entry.account_id,
            user=entry.terms.user,
            user_tag="",
            symbol=entry.terms.symbol,
            exchange=entry.terms.exchange,
            side=Side.SELL if entry.is_buy else Side.BUY,
            order_type=OrderType.MARKET if is_market else order_type,
            quantity=quantity,
            price=price if is_target and not is_market else None,
            trigger_price=price if not is_target and not is_market else None,
            time_in_force=TimeInForce.GTC if entry.time_in_force is TimeInForce.GTC else TimeInForce.DAY,
            window_name=entry.terms.window_name,
            trade_route=entry.terms.trade_route,
        )
        basket_id = level.reserved_id or floor.table.counters.next_basket_id()
        limit = at if is_target and not is_market else None
        leg = ClientOrder(basket_id, terms, entry.scale, limit, None if is_target or is_market else at, now_ns)
        leg.entry_id, leg.exit_role, leg.bracket_kind = entry.basket_id, level.role, bracket.terms.kind
        leg.exit_level, leg.released = level.number, level.released
        leg.linked_ids = bracket.linked_ids(basket_id, level)
        level.reserved_id = ""
        level.orders.append(leg)
        self._of_exit[basket_id] = bracket
        floor.receive(leg, now_ns, events)
        if not floor.bracket_subscribers(entry.account_id):
            floor.fail(leg, TEXT_NO_SUBSCRIPTION, now_ns, events)
        elif at <= 0 and not is_market:
            floor.reject(leg, f"{EXCHANGE_TEXT}there is no price {price:g}", now_ns, events)
        else:
            floor.accept(leg, now_ns, events)

    def _is_late(self, bracket: Bracket, role: ExitRole, now_ns: int) -> bool:
        terms, entry = bracket.terms, bracket.entry
        due_ns = terms.target_market_at_ns if role is ExitRole.TARGET else terms.stop_market_at_ns
        if due_ns is not None and due_ns <= now_ns:
            return True
        after_ns = terms.target_market_after_s * NS_PER_S if role is ExitRole.TARGET else 0
        return bool(after_ns and entry.executions) and entry.executions[0].ts_ns + after_ns <= now_ns

    def _set_target_timer(self, bracket: Bracket) -> None:
        """``target_market_after_s`` counts from the entry's first fill."""
        entry = bracket.entry
        if bracket.terms.target_market_after_s and entry.executions:
            due_ns = entry.executions[0].ts_ns + bracket.terms.target_market_after_s * NS_PER_S
            self._floor.timers.set(due_ns, TimerKind.TARGET_MARKET, entry.basket_id)


def _was_rejected_stop(leg: ClientOrder) -> bool:
    is_refused = leg.completion is Completion.FAILED and leg.text.startswith(EXCHANGE_TEXT)
    return is_refused and leg.terms.order_type is OrderType.STOP_MARKET
