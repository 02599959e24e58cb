"""Brackets, held by the server: an entry whose fills bring a target and a stop, of which one replaces the other.

The exits are orders of their own. They appear with the entry's first fill, at the distance in ticks from the average
price of what is filled by then (rounded to a tick), and grow with each further fill at the same prices. What one exit
fills, the other loses; when nothing is left to protect, what works is canceled. An exit that a client cancels stays
canceled, and the other works on. When the entry fills on after an exit is over, a new exit is made.
"""

from typing import TYPE_CHECKING

import msgspec

from nightdesk.messages.enums import OrderType, Side, TimeInForce
from nightdesk.simulator.model import (
    BracketChanged,
    BracketTerms,
    Completion,
    ExitRole,
    NewOrder,
    OrderEventKind,
    PriceField,
    VenueEvent,
)
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

_ROLES = (ExitRole.TARGET, ExitRole.STOP)
_TIMER_ROLES = {TimerKind.TARGET_MARKET: ExitRole.TARGET, TimerKind.STOP_MARKET: ExitRole.STOP}


class Bracket:
    """One entry and its exits."""

    def __init__(self, entry: ClientOrder, terms: BracketTerms) -> None:
        self.entry = entry
        self.terms = terms
        self.ticks = {ExitRole.TARGET: terms.target_ticks, ExitRole.STOP: terms.stop_ticks}
        self.roles = tuple(role for role in _ROLES if role in terms.kind)
        self.exits: dict[ExitRole, list[ClientOrder]] = {role: [] for role in _ROLES}
        self.released = dict.fromkeys(_ROLES, 0)
        self.anchor: int | None = None
        """The price in ticks from which the exits are counted."""
        self.reported: BracketChanged | None = None
        first = int(entry.basket_id)
        self.ids = {role: str(first + number) for number, role in enumerate(self.roles, 1)}
        """The basket ids that the exits get, those that follow the entry's."""

    def quantity(self, role: ExitRole) -> int:
        return self.terms.target_quantity if role is ExitRole.TARGET else self.terms.stop_quantity

    def working(self, role: ExitRole) -> ClientOrder | None:
        """The exit that works now; only the last one can."""
        exits = self.exits[role]
        return exits[-1] if exits and exits[-1].completion is None else None

    @property
    def exposed(self) -> int:
        """What the entry filled and no exit has closed."""
        return self.entry.filled - sum(leg.filled for role in _ROLES for leg in self.exits[role])

    @property
    def sign(self) -> int:
        """In whose direction the position earns."""
        return 1 if self.entry.is_buy else -1

    def changed(self, now_ns: int) -> BracketChanged:
        """The present state."""
        return BracketChanged(
            self.entry.account_id,
            self.entry.basket_id,
            self.ticks[ExitRole.STOP],
            self.terms.stop_quantity if ExitRole.STOP in self.roles else 0,
            self.released[ExitRole.STOP],
            self.ticks[ExitRole.TARGET],
            self.terms.target_quantity if ExitRole.TARGET in self.roles else 0,
            self.released[ExitRole.TARGET],
            now_ns,
        )


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
        if bracket is None or leg.exit_role is None:
            return
        role = leg.exit_role
        bracket.exits[role].append(leg)
        bracket.ids.pop(role, None)
        bracket.released[role] = max(bracket.released[role], leg.released)
        self._of_exit[leg.basket_id] = bracket
        self.moved[bracket.entry.basket_id] = bracket
        at = leg.terms.price if role is ExitRole.TARGET else leg.terms.trigger_price
        ticks = leg.scale.ticks(at) if at is not None else None
        if bracket.anchor is None and ticks is not None:
            away = bracket.ticks[role] * bracket.sign
            bracket.anchor = ticks - away if role is ExitRole.TARGET else ticks + away

    def unrelease(self, leg: ClientOrder, quantity: int) -> None:
        """A recovered exit was lost on its way: its quantity is to be released again."""
        bracket = self._of_exit.get(leg.basket_id)
        if bracket is not None and leg.exit_role is not None:
            bracket.released[leg.exit_role] -= quantity

    def take_report(self, changed: BracketChanged) -> None:
        """What was last reported of a recovered bracket; its distances may differ from its entry's terms."""
        bracket = self._brackets.get(changed.basket_id)
        if bracket is not None:
            bracket.reported = changed
            bracket.ticks = {ExitRole.TARGET: changed.target_ticks, ExitRole.STOP: changed.stop_ticks}
            bracket.released = {
                ExitRole.TARGET: changed.target_quantity_released,
                ExitRole.STOP: changed.stop_quantity_released,
            }

    def note(self, order: ClientOrder) -> None:
        """An order was filled or is complete."""
        bracket = self._brackets.get(order.basket_id) or self._of_exit.get(order.basket_id)
        if bracket is not None:
            self.moved[bracket.entry.basket_id] = bracket

    def forget(self, order: ClientOrder) -> None:
        """The table has forgotten the order; a bracket stays as long as one of its exits works."""
        bracket = self._brackets.get(order.basket_id) or self._of_exit.pop(order.basket_id, None)
        if bracket is not None and not any(bracket.working(role) for role in _ROLES):
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
            for role in bracket.roles:
                self._settle(bracket, role, now_ns, events)
            state = bracket.changed(now_ns)
            if bracket.reported is None or state != _at(bracket.reported, now_ns):
                bracket.reported = state
                events.append(state)
        return has_acted

    def update(
        self, bracket_id: str, account_id: str, role: ExitRole, level: int, ticks: int, now_ns: int
    ) -> list[VenueEvent]:
        """Change a distance before the entry is filled; afterwards the request is taken and fails later."""
        bracket = self._brackets.get(bracket_id)
        if bracket is None or bracket.entry.account_id != account_id or role not in bracket.roles:
            raise VenueRefusal("order not found")
        if bracket.ticks[role] != level:
            raise VenueRefusal(f"level {level} is not the bracket's present level")
        if not 0 < ticks <= TICKS_MAX:
            raise VenueRefusal(f"a level must be 1 to {TICKS_MAX} ticks away")
        events: list[VenueEvent] = []
        entry = bracket.entry
        if entry.filled or entry.completion is not None:
            self._floor.table.report(OrderEventKind.MODIFY_FAILED, entry, now_ns, events, text=TEXT_UPDATE_FAILED)
            return events
        bracket.ticks[role] = ticks
        bracket.reported = bracket.changed(now_ns)
        return [bracket.reported]

    def moves_stop(self, leg: ClientOrder) -> bool:
        """Whether the order is a stop that its bracket moves."""
        bracket = self._of_exit.get(leg.basket_id)
        if bracket is None or leg.exit_role is not ExitRole.STOP:
            return False
        return bool(bracket.terms.trailing_stop_trigger_ticks or bracket.terms.break_even_trigger_ticks)

    def stop_prices(self, leg: ClientOrder, market: Market) -> list[int]:
        """Where the bracket wants its stop at the market's present price."""
        bracket = self._of_exit.get(leg.basket_id)
        if bracket is None or bracket.anchor is None or leg.exit_role is not ExitRole.STOP:
            return []
        terms, sign = bracket.terms, bracket.sign
        field = PriceField.BID if bracket.entry.is_buy else PriceField.OFFER
        reference = price_of(PriceField.TRADE if terms.trailing_by_last_trade else field, market)
        if reference is None:
            return []
        gain = (int(reference) - bracket.anchor) * sign
        wanted = []
        if terms.trailing_stop_trigger_ticks and gain >= terms.trailing_stop_trigger_ticks:
            wanted.append(int(reference) - bracket.ticks[ExitRole.STOP] * sign)
        if terms.break_even_trigger_ticks and gain >= terms.break_even_trigger_ticks:
            wanted.append(bracket.anchor + terms.break_even_ticks * sign)
        return wanted

    def exit_at_market(self, entry: ClientOrder, kind: TimerKind, now_ns: int, events: list[VenueEvent]) -> None:
        """The time has come at which an exit becomes a market order."""
        bracket = self._brackets.get(entry.basket_id)
        leg = bracket.working(_TIMER_ROLES[kind]) if bracket else None
        if leg is None:
            # Also for an entry that was refused because its contract is not listed: it has no market.
            return
        is_trading = self._floor.markets[entry.terms.symbol].phase is Phase.TRADES
        if leg.order_type is not OrderType.MARKET and is_trading:
            wanted = Wanted(OrderType.MARKET, leg.quantity, None, None, 0)
            self._floor.change(leg, wanted, now_ns, events, text=TEXT_AT_MARKET)

    def _settle(self, bracket: Bracket, role: ExitRole, now_ns: int, events: list[VenueEvent]) -> None:
        """Give one exit the quantity that it should have now."""
        grown = min(bracket.quantity(role), bracket.entry.filled) - bracket.released[role]
        bracket.released[role] += grown
        leg = bracket.working(role)
        exposed = bracket.exposed
        if leg is not None:
            leg.released = bracket.released[role]
            leaves = leg.quantity - leg.filled
            wanted = min(leaves + grown, exposed)
            if wanted != leaves:
                self._floor.resize(leg, wanted, TEXT_RELEASED if grown else TEXT_EXITED, now_ns, events)
        elif min(grown, exposed) > 0:
            self._create(
                bracket, role, min(grown, exposed), now_ns, events, is_market=self._is_late(bracket, role, now_ns)
            )
        elif exposed > 0 and role is ExitRole.STOP and bracket.terms.stop_market_on_reject:
            last = bracket.exits[role][-1] if bracket.exits[role] else None
            if last is not None and _was_rejected_stop(last):
                self._create(bracket, role, min(last.quantity, exposed), now_ns, events, is_market=True)

    def _create(
        self,
        bracket: Bracket,
        role: ExitRole,
        quantity: int,
        now_ns: int,
        events: list[VenueEvent],
        *,
        is_market: bool,
    ) -> None:
        floor, entry = self._floor, bracket.entry
        away = bracket.ticks[role] * bracket.sign * (1 if role is ExitRole.TARGET else -1)
        at = (bracket.anchor or 0) + away
        price = entry.scale.price(at)
        is_target = role is ExitRole.TARGET
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
        basket_id = bracket.ids.get(role) or floor.table.counters.next_basket_id()
        limit = at if is_target and not is_market else None
        leg = ClientOrder(basket_id, terms, entry.scale, limit, None if is_target or is_market else at, now_ns)
        leg.entry_id, leg.exit_role, leg.bracket_kind = entry.basket_id, role, bracket.terms.kind
        leg.released = bracket.released[role]
        leg.linked_ids = self._siblings(bracket, role, basket_id)
        bracket.ids.pop(role, None)
        bracket.exits[role].append(leg)
        self._of_exit[basket_id] = bracket
        floor.receive(leg, now_ns, events)
        if not floor.bracket_subscribers(entry.account_id):
            floor.fail(leg, TEXT_NO_SUBSCRIPTION, now_ns, events)
        elif at <= 0 and not is_market:
            floor.reject(leg, f"{EXCHANGE_TEXT}there is no price {price:g}", now_ns, events)
        else:
            floor.accept(leg, now_ns, events)

    @staticmethod
    def _siblings(bracket: Bracket, role: ExitRole, basket_id: str) -> tuple[str, ...]:
        """The ids of the exits that stand beside each other, the target first."""
        ids = []
        for each in bracket.roles:
            leg = bracket.working(each)
            if each is role:
                ids.append(basket_id)
            elif each in bracket.ids:
                ids.append(bracket.ids[each])
            elif leg is not None:
                ids.append(leg.basket_id)
        return tuple(ids)

    def _is_late(self, bracket: Bracket, role: ExitRole, now_ns: int) -> bool:
        due_ns = bracket.terms.target_market_at_ns if role is ExitRole.TARGET else bracket.terms.stop_market_at_ns
        return due_ns is not None and due_ns <= now_ns

    def _set_target_timer(self, bracket: Bracket) -> None:
        """``target_market_after_s`` counts from the entry's first fill."""
        entry = bracket.entry
        if bracket.terms.target_market_after_s and entry.executions:
            due_ns = entry.executions[0].ts_ns + bracket.terms.target_market_after_s * NS_PER_S
            self._floor.timers.set(due_ns, TimerKind.TARGET_MARKET, entry.basket_id)


def _was_rejected_stop(leg: ClientOrder) -> bool:
    is_refused = leg.completion is Completion.FAILED and leg.text.startswith(EXCHANGE_TEXT)
    return is_refused and leg.terms.order_type is OrderType.STOP_MARKET


def _at(state: BracketChanged, now_ns: int) -> BracketChanged:
    return msgspec.structs.replace(state, ts_ns=now_ns)
