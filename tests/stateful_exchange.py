"""A naive exchange for the order plant's stateful tests: lists of orders, a history of fills, and who holds what.

It knows nothing of the order plant but the frames that arrive. Requests wait in ``inbox`` until the test has them
carried out, reports wait in ``outbox`` until the test has them delivered; lists always show what is true.
"""

from dataclasses import dataclass, field
from typing import Any

from tests.order_plant_support import answer, complete, filled, historic, notice, opened

BUY, SELL = 1, 2
LIMIT, MARKET, STOP_LIMIT, STOP = 1, 2, 3, 4
WAITING = (STOP_LIMIT, STOP)
TRIGGERED_AS = {STOP_LIMIT: LIMIT, STOP: MARKET}
REPORT_OF_END = {"": 1, "F": 5, "C": 3, "FA": 6}
TICK = 0.25


@dataclass(eq=False)
class VenueOrder:
    """``tag`` is empty for orders of others and for a bracket's exits."""

    basket: str
    tag: str
    symbol: str
    side: int
    quantity: int
    price_type: int
    price: float
    trigger: float
    fills: list[tuple[str, int, float, int]] = field(default_factory=list)
    """Id, quantity, price and time of each execution."""
    time_us: int = 0
    """When something became of it last; that is the time which lists tell."""
    end: str = ""
    is_triggered: bool = False
    entry: "VenueOrder | None" = field(default=None, repr=False)
    stop_ticks: int = 0
    target_ticks: int = 0
    legs: list["VenueOrder"] = field(default_factory=list, repr=False)
    """All of a group of which one fills, this one among them."""

    @property
    def filled(self) -> int:
        return sum(fill[1] for fill in self.fills)

    @property
    def leaves(self) -> int:
        return 0 if self.end else self.quantity - self.filled

    @property
    def is_foreign(self) -> bool:
        return not self.tag and self.entry is None

    @property
    def signed(self) -> int:
        return self.filled if self.side == BUY else -self.filled


class Exchange:
    """One account. ``now`` is its time, a microsecond for each thing that happens."""

    def __init__(self, start_ns: int) -> None:
        self.orders: dict[str, VenueOrder] = {}
        self.tags: list[str] = []
        """Of every order that arrived, as often as it did."""
        self.inbox: list[tuple[int, dict[str, Any]]] = []
        self.outbox: list[tuple[int, Any]] = []
        self.is_heard = True
        """Whether anybody is connected: what is reported while nobody is, is lost."""
        self._now_us = start_ns // 1_000
        self._fill_ids = 0

    # What arrives.

    def receive(self, template_id: int, fields: dict[str, Any]) -> None:
        """A frame: it is carried out when the test says."""
        self.inbox.append((template_id, dict(fields)))
        tags = fields.get("user_tag") if template_id in (312, 330) else fields.get("user_tag", [])
        self.tags += [tags] if isinstance(tags, str) else list(tags or ())

    def carry_out(self, *, refused: bool = False) -> None:
        """The oldest request."""
        template_id, fields = self.inbox.pop(0)
        if template_id in (312, 330):
            self._new(template_id, fields, refused=refused)
        elif template_id == 328:
            self._pair(fields, refused=refused)
        elif template_id == 314:
            self._change(fields, refused=refused)
        elif template_id == 316:
            self._cancel(fields, refused=refused)

    def _new(self, template_id: int, fields: dict[str, Any], *, refused: bool) -> None:
        tag, reply = fields["user_tag"], template_id + 1
        if refused:
            self._say(reply, answer(reply, user_tag=tag, rq_handler_rp_code=["6", "no"]))
            return
        order = self._take(tag, fields)
        order.stop_ticks, order.target_ticks = fields.get("stop_ticks", 0), fields.get("target_ticks", 0)
        self._say(reply, answer(reply, user_tag=tag, basket_id=order.basket, rq_handler_rp_code=["0"]))
        self._opened(order)

    def _pair(self, fields: dict[str, Any], *, refused: bool) -> None:
        tags = fields["user_tag"]
        if refused:
            self._say(329, answer(329, user_msg=list(tags), rp_code=["6", "no"]))
            return
        columns = ("symbol", "quantity", "price", "trigger_price", "transaction_type", "price_type")
        legs = [self._take(tag, {name: fields[name][number] for name in columns}) for number, tag in enumerate(tags)]
        for leg in legs:
            leg.legs = legs
        baskets = [leg.basket for leg in legs]
        self._say(329, answer(329, user_msg=list(tags), basket_id=baskets, rq_handler_rp_code=["0"]))
        for leg in legs:
            self._opened(leg)

    def _take(self, tag: str, fields: dict[str, Any]) -> VenueOrder:
        order = VenueOrder(
            basket=f"b{len(self.orders) + 1}",
            tag=tag,
            symbol=fields["symbol"],
            side=fields["transaction_type"],
            quantity=fields["quantity"],
            price_type=fields["price_type"],
            price=fields.get("price") or 0.0,
            trigger=fields.get("trigger_price") or 0.0,
        )
        self.orders[order.basket] = order
        self._pass(order)
        return order

    def _change(self, fields: dict[str, Any], *, refused: bool) -> None:
        order = self.orders[fields["basket_id"]]
        if refused or order.end or fields["quantity"] <= order.filled:
            self._pass(order)
            self._say(351, self._notice(351, 16, order, status="Modification Failed"))
            return
        order.quantity = fields["quantity"]
        order.price, order.trigger = fields.get("price") or 0.0, fields.get("trigger_price") or 0.0
        self._changed(order)

    def _cancel(self, fields: dict[str, Any], *, refused: bool) -> None:
        order = self.orders[fields["basket_id"]]
        if refused or order.end:
            self._pass(order)
            self._say(351, self._notice(351, 17, order, text="no"))
        else:
            self.finish(order, "C")

    # What happens.

    def foreign(self, symbol: str, side: int, quantity: int) -> VenueOrder:
        """Somebody else's order on the account."""
        order = self._take("", {"symbol": symbol, "transaction_type": side, "quantity": quantity, "price_type": LIMIT})
        order.price = 5000.0
        self._opened(order)
        return order

    def working(self) -> list[VenueOrder]:
        """Everything that can fill."""
        return [order for order in self.orders.values() if not order.end]

    def trigger(self, order: VenueOrder) -> None:
        """A stop's price was reached."""
        if order.price_type in WAITING and not order.is_triggered:
            order.is_triggered = True
            self._pass(order)
            self._say(352, self._notice(352, 4, order, report_type="trigger"))

    def fill(self, order: VenueOrder, quantity: int, price: float) -> None:
        """Somebody trades with it; what hangs on it follows at once."""
        self.trigger(order)
        self._fill_ids += 1
        self._pass(order)
        order.fills.append((f"f{self._fill_ids}", quantity, price, order.time_us))
        self._say(352, self._filled(order, len(order.fills) - 1))
        if order.leaves == 0:
            order.end = "F"
            self._say(351, self._complete(order))
        self._follow_legs(order, quantity)
        self._follow_entry(order)

    def finish(self, order: VenueOrder, end: str) -> None:
        """It is canceled (``C``) or refused by the exchange (``FA``), whoever wants that."""
        order.end = end
        self._pass(order)
        if end == "C":
            self._say(352, self._notice(352, 3, order, report_type="cancel"))
        self._say(351, self._complete(order))
        for leg in order.legs:
            if not leg.end:
                self.finish(leg, "C")

    def positions(self) -> dict[str, int]:
        """Net, by symbol."""
        found: dict[str, int] = {}
        for order in self.orders.values():
            found[order.symbol] = found.get(order.symbol, 0) + order.signed
        return {symbol: quantity for symbol, quantity in found.items() if quantity}

    def _follow_legs(self, order: VenueOrder, quantity: int) -> None:
        """Of linked orders each fill is taken from the others; with the end of one all are over."""
        for leg in order.legs:
            if leg is order or leg.end:
                continue
            if order.end or leg.leaves <= quantity:
                self.finish(leg, "C")
            else:
                leg.quantity -= quantity
                self._changed(leg)

    def _follow_entry(self, entry: VenueOrder) -> None:
        """A bracket's exits are for what its entry has filled and they have not closed."""
        kinds = [(STOP, entry.stop_ticks), (LIMIT, entry.target_ticks)]
        exits = [order for order in self.orders.values() if order.entry is entry]
        if not exits:
            average = round(entry.fills[-1][2] / TICK) * TICK
            for price_type, ticks in kinds:
                if ticks:
                    exits.append(self._exit(entry, price_type, average, ticks))
            for each in exits:
                each.legs = exits
            for each in exits:
                self._opened(each)
            return
        closed = sum(each.filled for each in exits)
        for each in exits:
            if not each.end and entry.filled - closed != each.leaves:
                each.quantity = each.filled + entry.filled - closed
                self._changed(each)

    def _exit(self, entry: VenueOrder, price_type: int, average: float, ticks: int) -> VenueOrder:
        side = SELL if entry.side == BUY else BUY
        is_below = (side == SELL) == (price_type == STOP)
        at = average - ticks * TICK if is_below else average + ticks * TICK
        fields = {"symbol": entry.symbol, "transaction_type": side, "quantity": entry.filled, "price_type": price_type}
        fields |= {"trigger_price": at} if price_type == STOP else {"price": at}
        order = self._take("", fields)
        order.entry = entry
        return order

    # What is told.

    def lists(self) -> dict[int, list[Any]]:
        """By template: the frames that each question brings at this moment."""
        images, fills = [], []
        for order in self.orders.values():
            images.append(self._image(order))
            fills += [self._filled(order, index, is_snapshot=True) for index in range(len(order.fills))]
        return {320: images, 3506: fills}

    def history(self) -> list[Any]:
        """3513 of every execution."""
        return [
            historic(
                order.basket,
                fill_id,
                quantity,
                symbol=order.symbol,
                fill_price=price,
                transaction_type="BUY" if order.side == BUY else "SELL",
            )
            for order in self.orders.values()
            for fill_id, quantity, price, _ in order.fills
        ]

    def _say(self, template_id: int, message: Any) -> None:
        if self.is_heard:
            self.outbox.append((template_id, message))

    def _pass(self, order: VenueOrder) -> None:
        self._now_us += 1
        order.time_us = self._now_us

    def _about(self, order: VenueOrder) -> dict[str, Any]:
        price_type = TRIGGERED_AS.get(order.price_type, order.price_type) if order.is_triggered else order.price_type
        found = {
            "transaction_type": order.side,
            "symbol": order.symbol,
            "price_type": price_type,
            "orig_price_type": order.price_type,
            "price": order.price,
            "trigger_price": order.trigger,
            "total_fill_size": order.filled,
            "total_unfilled_size": order.quantity - order.filled,
            **_stamp(order.time_us),
        }
        if order.legs:
            found["linked_basket_ids"] = ",".join(leg.basket for leg in order.legs)
        if order.entry is not None:
            found["original_basket_id"] = order.entry.basket
        return found

    def _notice(self, template_id: int, notify_type: int, order: VenueOrder, **fields: Any) -> Any:
        return notice(template_id, notify_type, order.tag, order.basket, **(self._about(order) | fields))

    def _opened(self, order: VenueOrder) -> None:
        if order.price_type in WAITING:
            about = {"quantity": order.quantity, "status": "trigger pending"}
            self._say(351, self._notice(351, 18, order, **about))
        else:
            self._say(351, opened(order.tag, order.basket, **(self._about(order) | {"quantity": order.quantity})))

    def _changed(self, order: VenueOrder) -> None:
        self._pass(order)
        self._say(352, self._notice(352, 2, order, report_type="modify", modified_size=order.quantity))

    def _filled(self, order: VenueOrder, index: int, **fields: Any) -> Any:
        fill_id, quantity, price, time_us = order.fills[index]
        total = sum(fill[1] for fill in order.fills[: index + 1])
        about = self._about(order) | {"fill_price": price} | _stamp(time_us) | fields
        del about["total_fill_size"], about["total_unfilled_size"]
        return filled(order.tag, order.basket, fill_id, quantity, total, order.quantity - total, **about)

    def _complete(self, order: VenueOrder) -> Any:
        about = self._about(order) | {"quantity": order.quantity}
        del about["total_fill_size"], about["total_unfilled_size"]
        left = order.quantity - order.filled
        return complete(order.tag, order.basket, order.end, order.filled, left, **about)

    def _image(self, order: VenueOrder) -> Any:
        waits = order.price_type in WAITING and not order.is_triggered
        status = "complete" if order.end else "trigger pending" if waits else "open"
        about = {"is_snapshot": True, "status": status, "quantity": order.quantity}
        return self._notice(352, REPORT_OF_END[order.end], order, **about)


def _stamp(time_us: int) -> dict[str, int]:
    return {"ssboe": time_us // 1_000_000, "usecs": time_us % 1_000_000}


__all__ = ["BUY", "LIMIT", "MARKET", "SELL", "STOP", "Exchange", "VenueOrder"]
