"""What people are told of strategies that are not flat when they are to be."""

from actors.plants.order_account import Account
from actors.plants.order_flatten import Pair
from nightdesk.messages import OrderStatus, Severity, Side
from nightdesk.trading.order import Order
from nightdesk.trading.protection import is_leaving, is_protection
from nightdesk.trading.session_rules import FlatTime
from nightdesk.trading.sessions import NS_PER_S


class BreakNews:
    """Log lines and alerts; how often is the keeper's matter."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def incomplete(self, pair: Pair, flat: FlatTime, problem: str) -> None:
        """Something stood against it."""
        text = f"{pair[0]} {pair[1]} is not flat for {flat}: {problem}"
        self._account.log.error("break_flatten_incomplete", strategy_id=pair[0], symbol=pair[1], text=text)
        self._account.context.alert("flatten_incomplete", Severity.ERROR, text, strategy_id=pair[0])

    def held(self, pair: Pair, flat: FlatTime, held: int, *, is_missed: bool) -> None:
        """The market has stopped, and this is held; ``is_missed``: that is found long after the opening."""
        found = ", found after it; flatten closes it" if is_missed else ""
        self.incomplete(pair, flat, f"position {held} is held over it{found}")

    def half_over(self, pair: Pair, flat: FlatTime, why: str) -> None:
        """Half of the time is over: a person may still act before the market stops."""
        account = self._account
        held = account.ledger.quantity(*pair)
        left_s = max(0.0, (flat.due_ns - account.markets.time.now_ns()) / NS_PER_S)
        text = (
            f"{pair[0]} {pair[1]} is not flat {left_s:.0f} s before {flat}: position {held}, "
            f"{len(account.table.open_orders(*pair))} orders at work: {why}"
        )
        account.log.critical("break_flatten_late", strategy_id=pair[0], symbol=pair[1], position=held, text=text)
        account.context.alert("break_flatten_late", Severity.CRITICAL, text, strategy_id=pair[0], symbol=pair[1])

    def is_naked(self, pair: Pair, held: int) -> bool:
        """Whether less than the position is protected by stops that will still be there when trading begins."""
        working = self._account.table.open_orders(*pair)
        return sum(order.leaves_quantity for order in working if self._protects(order, held)) < abs(held)

    def naked(self, pair: Pair, flat: FlatTime, held: int, *, is_certain: bool) -> None:
        """What is held has no stop."""
        text = f"{pair[0]} {pair[1]}: position {held} is held over {flat} without protection"
        if not is_certain:
            text += ", as far as is known: the broker has not settled its orders"
        fields = {"strategy_id": pair[0], "symbol": pair[1], "position": held}
        self._account.log.critical("held_without_protection", **fields, text=text)
        self._account.context.alert("held_without_protection", Severity.CRITICAL, text, **fields)

    def _protects(self, order: Order, held: int) -> bool:
        is_sure = order.status is not OrderStatus.UNKNOWN and not is_leaving(order)
        against = Side.SELL if held > 0 else Side.BUY
        lives_on = not self._account.markets.is_day_over(order)
        return is_protection(order) and order.side is against and is_sure and lives_on
