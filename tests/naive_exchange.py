"""An exchange that is obviously right: plain lists, a full search for everything, prices in ticks, time in seconds.

It shares no code with the venue. Its rules are those of docs/simulator.md: price-time priority, protection, stops,
touched orders, conditions, trailing, times, one-cancels-other, brackets, self-match prevention, modes, limits, risk.
"""

from tests.naive_matching import EXCHANGE
from tests.naive_orders import DAY_ENDS, PRICED, STOPS, TOUCHES, NaiveCondition, NaiveMarket, NaiveOrder
from tests.naive_risk import RISK, NaiveRisk

DAY_S = 86_400


class NaiveExchange(NaiveRisk):
    """The commands; ``start`` is the second since 1970 from which ``now`` counts."""

    start = 0

    @property
    def midnight(self) -> int:
        """When the present day began."""
        return self.now - (self.start + self.now) % DAY_S

    def submit(self, order: NaiveOrder, now: int) -> None:
        self.now = now
        self.receive(order)
        self._admit(order)
        self.finish()

    def submit_oco(self, legs: list[NaiveOrder], now: int) -> None:
        self.now = now
        for leg in legs:
            self.receive(leg)
            leg.group = legs
        for leg in legs:
            if leg.state != "DONE":
                self._admit(leg)
                self.finish()

    def cancel(self, order: NaiveOrder, now: int) -> None:
        self.now = now
        self.cancel_now(order)
        self.finish()

    def modify(
        self,
        order: NaiveOrder,
        quantity: int,
        price: int,
        trigger: int,
        kind: str | None,
        now: int,
        condition: NaiveCondition | None = None,
    ) -> bool:
        """Whether it was taken."""
        self.now = now
        was_set_off = order.state == "OPEN" and order.original in STOPS + TOUCHES
        wanted = order.kind if kind is None or (was_set_off and kind == order.original) else kind
        limit = price if wanted in PRICED else None
        new_trigger = trigger if wanted in STOPS + TOUCHES else None
        if not self._can_be(order, wanted, quantity, limit, new_trigger, condition):
            return False
        self.look_at_margin(order, may_warn=False)
        if condition is not None:
            order.condition = condition
            if order.state == "COND":
                order.seen = []
                order.place = self.tick()
                self.touch(condition.market)
        self.change(order, wanted, quantity, limit, new_trigger)
        self._progress.append(order)
        self.finish()
        self.look_at_margin(order, may_warn=True)
        return True

    def _can_be(
        self,
        order: NaiveOrder,
        wanted: str,
        quantity: int,
        limit: int | None,
        trigger: int | None,
        condition: NaiveCondition | None,
    ) -> bool:
        market = order.market
        is_held = order.state in ("HELD", "COND", "TOUCH")
        if wanted in STOPS and order.tif in ("IOC", "FOK"):
            return False
        if quantity <= order.filled or self.refusal(order, quantity, self.midnight):
            return False
        if condition is not None and order.state not in ("HELD", "COND"):
            return False
        if is_held:
            return True
        if wanted in STOPS:
            is_same = order.state == "PENDING" and order.trigger == trigger
            if not is_same and self.is_wrong_side(order, trigger or 0):
                return False
        if not market.is_trading and (wanted == "MARKET" or not market.is_queueing):
            return False
        return not market.is_outside(limit, trigger if wanted in STOPS else None)

    def set_mode(self, market: NaiveMarket, mode: str, now: int) -> None:
        self.now = now
        was_trading, market.mode = market.is_trading, mode
        self.touch(market)
        if market.is_trading and not was_trading:
            self.auction(market)
        if mode in DAY_ENDS:
            for order in self.orders:
                if order.market is market and order.account and order.tif == "DAY" and order.state != "DONE":
                    self.cancel_now(order)
        self.finish()

    def move_exit(self, entry: NaiveOrder, role: str, level: int, ticks: int) -> str:
        """332 and 334: "refused" at once, "failed" after it was taken, or "moved"."""
        bracket = entry.bracket
        if bracket is None or role not in bracket.roles or bracket.ticks(role) != level or ticks <= 0:
            return "refused"
        if entry.filled or entry.state == "DONE":
            return "failed"
        if role == "TARGET":
            bracket.target_ticks = ticks
        else:
            bracket.stop_ticks = ticks
        return "moved"

    def _admit(self, order: NaiveOrder) -> None:
        if not order.account:
            # The flow's orders meet no risk system; a closed market and the price limits bind them too.
            if not (order.market.is_trading or order.market.is_queueing) or order.market.is_outside(order.limit):
                self.end(order, "FA", EXCHANGE)
            else:
                self.proceed(order, "")
            return
        self.look_at_margin(order, may_warn=False)
        text = self.refusal(order, midnight=self.midnight)
        if text:
            self.end(order, "FA", RISK + text)
            return
        self.accept(order)
        self.look_at_margin(order, may_warn=True)
