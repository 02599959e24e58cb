"""The protection check: a position whose stop is asked for has one that works at the exchange, gets one, or is closed.

Asked for is a stop by ``protection.required``, for the whole position at every moment, and by a bracket, for what its
entry has filled and until its stop has been there once. Only the exchange's word proves a stop. Nothing is written
down: the position, its fills and the orders say all of it, so that an order plant that was killed goes on where it is.
The clock stands while the market does. While it is not certain whether a stop works (it is on its way, in doubt, the
link is away) none is placed beside it: two of them could turn the position over; it is told all the same.
"""

import secrets
from collections import defaultdict
from dataclasses import dataclass, field

from actors.plants.order_account import Account
from actors.plants.order_flatten import Flattener, Pair
from actors.plants.order_gate import Gate
from nightdesk.messages import (
    ClientOrderId,
    OrderStatus,
    OrderType,
    Severity,
    Side,
    StrategyId,
    SubmitOrder,
    TimeInForce,
    TradingState,
)
from nightdesk.settings.strategy_protection import StrategyProtection
from nightdesk.trading.broker import BrokerUpdate
from nightdesk.trading.linked_orders import STOP_MARK, exit_id
from nightdesk.trading.order import Order, Purpose
from nightdesk.trading.stop_watch import in_transit, is_beyond, proven_quantity, stop_trigger
from nightdesk.trading.units import from_nanos, to_nanos

STOP_ID_PREFIX = "stop-"
STOP_ID_RANDOM_BYTES = 6
OPENED_BY_MAX = 200
"""Of the newest orders of a position, how many are looked at after a start."""
CLOSE_RETRY_S, CLOSE_RETRY_MAX_S = 0.5, 30.0
"""Between two attempts to close a position; doubled with each."""

_REFUSED = frozenset({OrderStatus.REJECTED, OrderStatus.DENIED, OrderStatus.EXPIRED})


@dataclass(slots=True)
class _Episode:
    """A position without its stop; seconds of this machine in which the market traded."""

    is_long: bool
    proven: int = 0
    missing_s: float = 0.0
    placed: list[Order] = field(default_factory=list)
    is_closing: bool = False
    is_at_work: bool = False
    retry_s: float = CLOSE_RETRY_S
    next_try_s: float = 0.0
    told: set[str] = field(default_factory=set)


class ProtectionWatch:
    """Looks a few times a second."""

    def __init__(self, account: Account, gate: Gate, flattener: Flattener) -> None:
        self._account = account
        self._gate = gate
        self._flattener = flattener
        self._rules = {StrategyId(each.name): each.protection for each in account.settings.strategies}
        self._episodes: dict[Pair, _Episode] = {}
        self._looked_s = self._now_s()
        self._held: defaultdict[Pair, int] = defaultdict(int)
        self._opened_by: defaultdict[Pair, dict[ClientOrderId, None]] = defaultdict(dict)
        """The orders whose fills made the present positions, as far as they asked for a stop that was not seen yet."""
        for fill, _, _ in account.journal.fills():
            signed = fill.quantity if fill.side is Side.BUY else -fill.quantity
            self._count((fill.strategy_id, fill.symbol), fill.client_order_id, signed)
        for pair, opened_by in self._opened_by.items():
            self._opened_by[pair] = dict.fromkeys(list(opened_by)[-OPENED_BY_MAX:])
        self._next = account.after_update
        account.after_update = self._after_update

    def look(self) -> None:
        """Judge every position whose strategy has rules."""
        account, now_s = self._account, self._now_s()
        passed_s, self._looked_s = now_s - self._looked_s, now_s
        for pair in account.ledger.pairs():
            rules = self._rules.get(pair[0])
            if rules is not None:
                self._judge(pair, rules, passed_s)

    def _judge(self, pair: Pair, rules: StrategyProtection, passed_s: float) -> None:
        account, position = self._account, self._account.ledger.quantity(*pair)
        episode = self._episodes.get(pair)
        if episode is not None and episode.is_at_work:
            return
        wanted = self._wanted(pair, position, rules)
        working = account.table.open_orders(*pair)
        proven = proven_quantity(position, working)
        is_leaving = pair in self._gate.flattening or any(order.purpose is Purpose.EXIT for order in working)
        is_other = episode is not None and episode.is_long != (position > 0)
        # A position that is being closed stays so, and needs no stop any more.
        if episode is not None and (not position or is_other or (proven >= wanted and not episode.is_closing)):
            self._end(pair, episode, position)
            return
        if proven >= wanted or account.markets.ended(pair[1]):
            return
        if episode is None:
            if is_leaving:
                return
            episode = self._episodes[pair] = _Episode(position > 0)
        if proven > episode.proven:
            # Stops are coming, one behind the other: each has its own time.
            episode.missing_s = 0.0
        episode.proven = proven
        if account.markets.is_trading(pair[1]) and not is_leaving:
            episode.missing_s += passed_s
            self._act(pair, rules, episode, wanted - proven)

    def _wanted(self, pair: Pair, position: int, rules: StrategyProtection) -> int:
        """Of how much of a position the stop is asked for."""
        if rules.required or not position:
            return abs(position)
        return min(abs(position), sum(order.filled_quantity for order in self._unguarded(pair, position)))

    def _unguarded(self, pair: Pair, position: int) -> list[Order]:
        """The entries of brackets whose fills are held and whose stop was never seen."""
        account, found = self._account, []
        for client_order_id in list(self._opened_by[pair]):
            order = account.find(client_order_id)
            is_guarded = account.is_used(exit_id(client_order_id, STOP_MARK, 1))
            if order is None or is_guarded or not order.stop_ticks or (order.side is Side.BUY) != (position > 0):
                del self._opened_by[pair][client_order_id]
            else:
                found.append(order)
        return found

    def _act(self, pair: Pair, rules: StrategyProtection, episode: _Episode, lacking: int) -> None:
        position = self._account.ledger.quantity(*pair)
        is_refused = any(order.status in _REFUSED for order in episode.placed)
        if episode.missing_s < rules.within_s and not is_refused and not episode.is_closing:
            return
        if not episode.placed and not episode.is_closing:
            text = f"position {position}, and {lacking} of it have no stop at the exchange after {rules.within_s:g} s"
            self._missing(pair, episode, text)
        obstacle = self._obstacle(pair, position)
        if obstacle:
            text = f"nothing can be done about it: {obstacle}; position {position} lacks a stop for {lacking}"
            self._failed(pair, episode, text)
        elif episode.is_closing or episode.placed or not self._replace(pair, rules, episode, lacking):
            self._close(pair, episode, lacking)

    def _obstacle(self, pair: Pair, position: int) -> str:
        account = self._account
        coming = in_transit(position, account.table.open_orders(*pair))
        if account.is_ending or account.journal.failed:
            return "the order plant is ending" if account.is_ending else "the journal cannot be written"
        if not account.is_settled(pair[1], pair[0]):
            return "its orders are not settled with the broker"
        if account.trading_state is TradingState.HALTED:
            return "trading is HALTED"
        return f"stop {coming[0].client_order_id} is {coming[0].status}" if coming else ""

    def _replace(self, pair: Pair, rules: StrategyProtection, episode: _Episode, lacking: int) -> bool:
        """Place a stop for what lacks one; False where the rules or the market want the position closed."""
        account, (strategy_id, symbol) = self._account, pair
        position, terms = account.ledger.quantity(*pair), account.tick_rules.get(symbol)
        asked = [order.stop_ticks for order in self._unguarded(pair, position)]
        ticks = rules.stop_ticks or min(asked, default=0)
        if rules.on_failure == "flatten" or not ticks or terms is None:
            return False
        trigger = stop_trigger(position, account.ledger.open_cost(*pair), to_nanos(terms.tick_size), ticks)
        if is_beyond(position, trigger, account.risk.book.prices.price(symbol)):
            return False
        largest = account.risk.max_order_quantity(strategy_id, symbol)
        for begin in range(0, lacking, largest):
            command = SubmitOrder(
                client_order_id=ClientOrderId(
                    f"{STOP_ID_PREFIX}{strategy_id}-{secrets.token_hex(STOP_ID_RANDOM_BYTES)}"
                ),
                strategy_id=strategy_id,
                fencing_epoch=self._gate.epochs.get(strategy_id, 0),
                symbol=symbol,
                exchange=terms.exchange,
                side=Side.SELL if position > 0 else Side.BUY,
                order_type=OrderType.STOP_MARKET,
                quantity=min(largest, lacking - begin),
                trigger_price=from_nanos(trigger),
                time_in_force=TimeInForce.GTC,
                protective=True,
            )
            order = account.table.get(command.client_order_id) if self._submit(command) else None
            if order is None:
                return False
            episode.placed.append(order)
        # What is placed now has the same time to be proven.
        episode.missing_s = 0.0
        text = f"a stop for {lacking} of {position} is placed at {from_nanos(trigger):.10g}"
        account.log.warning("protection_placed", strategy_id=strategy_id, symbol=symbol, text=text)
        account.context.alert("protection_placed", Severity.WARNING, f"{strategy_id} {symbol}: {text}", **_fields(pair))
        return True

    def _submit(self, command: SubmitOrder) -> bool:
        return self._gate.submit_exit(command, Purpose.STRATEGY)

    def _close(self, pair: Pair, episode: _Episode, lacking: int) -> None:
        account = self._account
        if not episode.is_closing:
            episode.is_closing = True
            text = f"the position is closed: no stop protects {lacking} of {account.ledger.quantity(*pair)}"
            self._failed(pair, episode, text)
        if self._now_s() < episode.next_try_s:
            return
        episode.is_at_work = True
        account.context.spawn(self._attempt(pair, episode), name=f"flatten {pair[0]} without a stop")

    async def _attempt(self, pair: Pair, episode: _Episode) -> None:
        try:
            problem = await self._flattener.flatten_all(*pair)
        finally:
            episode.is_at_work = False
            episode.next_try_s = self._now_s() + episode.retry_s
            episode.retry_s = min(2 * episode.retry_s, CLOSE_RETRY_MAX_S)
        if problem and self._is_news(episode, "problem"):
            self._account.context.alert("flatten_incomplete", Severity.ERROR, problem, **_fields(pair))

    def _end(self, pair: Pair, episode: _Episode, position: int) -> None:
        del self._episodes[pair]
        if episode.told:
            self._account.log.warning(
                "protection_restored", strategy_id=pair[0], symbol=pair[1], position=position, proven=episode.proven
            )

    def _missing(self, pair: Pair, episode: _Episode, text: str) -> None:
        if self._is_news(episode, "missing"):
            self._account.log.error("protection_missing", **_fields(pair), text=text)
            self._account.context.alert(
                "protection_missing", Severity.ERROR, f"{pair[0]} {pair[1]}: {text}", **_fields(pair)
            )

    def _failed(self, pair: Pair, episode: _Episode, text: str) -> None:
        if self._is_news(episode, text.partition(":")[0]):
            self._account.log.critical("protection_failed", **_fields(pair), text=text)
            self._account.context.alert(
                "protection_failed", Severity.CRITICAL, f"{pair[0]} {pair[1]}: {text}", **_fields(pair)
            )

    def _is_news(self, episode: _Episode, what: str) -> bool:
        """Once for each step of an episode."""
        is_new = what not in episode.told
        episode.told.add(what)
        return is_new

    def _after_update(self, order: Order, update: BrokerUpdate) -> None:
        self._next(order, update)
        pair = (order.strategy_id, order.symbol)
        moved = self._account.ledger.quantity(*pair) - self._held[pair]
        if moved:
            self._count(pair, order.client_order_id if order.stop_ticks else None, moved)

    def _count(self, pair: Pair, client_order_id: ClientOrderId | None, signed: int) -> None:
        before = self._held[pair]
        after = self._held[pair] = before + signed
        if not after or after * before < 0:
            self._opened_by[pair].clear()
        if client_order_id and after and abs(after) > (abs(before) if after * before > 0 else 0):
            self._opened_by[pair][client_order_id] = None

    def _now_s(self) -> float:
        return self._account.context.clock.monotonic_s()


def _fields(pair: Pair) -> dict[str, str]:
    return {"strategy_id": pair[0], "symbol": pair[1]}
