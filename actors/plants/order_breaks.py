"""Makes strategies flat before the breaks over which they are to hold nothing, and by the time of ``flatten_by``.

Nothing of it is written down: in its time to be flat a strategy that holds something, or has an order at work, is
closed until it is flat. So an order plant that was killed in between goes on where it is, and one that comes back after
it is done finds nothing to do. Each strategy and symbol is treated by what is certain of itself, whatever others are in
doubt. When half of the time is over, and when the market has stopped, a person is told of what is not flat, and why.
"""

import asyncio
from dataclasses import dataclass, field

import msgspec

from actors.plants.market_herald import utc_text
from actors.plants.order_account import Account
from actors.plants.order_break_news import BreakNews
from actors.plants.order_cancel_waits import CancelWaits, PacedCancels
from actors.plants.order_exits import ExitPolicy, ExitWatch
from actors.plants.order_flatten import Flattener, Pair
from actors.plants.order_gate import Gate
from actors.plants.order_sender import Sender
from nightdesk.messages import StrategyId, TradingState
from nightdesk.trading.broker import EXTERNAL_STRATEGY
from nightdesk.trading.order import Order, Purpose
from nightdesk.trading.session_rules import FlatTime
from nightdesk.trading.sessions import NS_PER_S

LEFT_SHARE = 0.25
"""The part of the time until the stop that a pause between two attempts may take."""

_OTHERS = StrategyId(EXTERNAL_STRATEGY)


class BreakPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """In seconds of this machine: at high speed a time to be flat is over in less than one."""

    poll_s: float = 0.05
    retry_s: float = 0.5
    """After the first attempt; doubled with each further one."""
    retry_max_s: float = 30.0
    cancel_retry_s: float = 5.0
    """Between two cancels of an order that could not be canceled; doubled with each further one."""
    cancel_retry_max_s: float = 300.0
    half_s: float = 2.0
    """Before that nobody is told that half of the time is over: at high speed all of it is shorter."""
    unsure_s: float = 60.0
    """So long after the stop what is held is told as far as it is known, where nothing certain has come."""
    opening_s: float = 3.0
    """After the opening, before what was held over the break is closed: what others have done of it is heard first."""
    exits: ExitPolicy = ExitPolicy()


@dataclass(slots=True)
class _Episode:
    """One strategy and symbol in one time to be flat."""

    flat: FlatTime
    begun_s: float
    others: int
    """What others hold on the account in the symbol."""
    retry_s: float
    next_try_s: float = 0.0
    is_at_work: bool = False
    is_begun: bool = False
    is_missed: bool = False
    """Nobody was there in the break, and the opening is long over."""
    held: int = 0
    """What was held when the break was last looked at."""
    stopped_s: float | None = None
    opened_s: float | None = None
    told: set[str] = field(default_factory=set)


class BreakKeeper:
    """Looks a few times a second; one attempt at a time for a strategy and symbol."""

    def __init__(self, account: Account, gate: Gate, sender: Sender, flattener: Flattener, policy: BreakPolicy) -> None:
        self._account = account
        self._gate = gate
        self._flattener = flattener
        self._policy = policy
        self._episodes: dict[Pair, _Episode] = {}
        self._treated: dict[Pair, int] = {}
        """The break over which a position was held that was told of, and left."""
        self._is_new = True
        self._news = BreakNews(account)
        waits = CancelWaits(account, policy.cancel_retry_s, policy.cancel_retry_max_s)
        self._cancels = PacedCancels(waits, sender.request_cancel)
        self.exits = ExitWatch(
            account, gate, flattener, self._cancels, policy.exits, lambda pair: pair in self._episodes
        )
        flattener.on_exit = self.exits.began

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(self._policy.poll_s)

    def look(self) -> None:
        """Begin what is to be begun, and tell of what was not done in time."""
        self.exits.look()
        for pair in self._flattener.pairs(StrategyId(""), ""):
            flat = self._account.risk.flat_time(*pair)
            if flat is not None:
                self._episode(pair, flat)
        account = self._account
        if not account.connected:
            # Executions of before a break may come to be known after it.
            self._is_new = True
        elif self._is_new and (account.lists_read or not account.reconciling):
            self._is_new = False
            self._find_missed()
        for pair, episode in list(self._episodes.items()):
            self._treat(pair, episode)

    def _episode(self, pair: Pair, flat: FlatTime) -> _Episode:
        episode = self._episodes.get(pair)
        if episode is None or episode.flat.stops_ns != flat.stops_ns:
            others = self._account.ledger.quantity(_OTHERS, pair[1])
            episode = self._episodes[pair] = _Episode(flat, self._now_s(), others, self._policy.retry_s)
        return episode

    def _find_missed(self) -> None:
        """What a break has found open while nobody was there, or heard, is older than that break's beginning."""
        markets, flattener = self._account.markets, self._flattener
        missed = {
            pair: flat
            for pair in flattener.pairs(StrategyId(""), "")
            if (flat := self._account.risk.missed_flat_time(*pair)) is not None and self._account.ledger.quantity(*pair)
        }
        if not missed:
            return
        newest_ns: dict[Pair, int] = {}
        for fill, _, _ in self._account.journal.fills():
            pair = (fill.strategy_id, fill.symbol)
            newest_ns[pair] = max(newest_ns.get(pair, 0), fill.ts_event_ns)
        for pair, flat in missed.items():
            is_known = pair in self._episodes or self._treated.get(pair) == flat.stops_ns
            if not is_known and newest_ns.get(pair, flat.opens_ns) < flat.stops_ns:
                episode = self._episode(pair, flat)
                episode.held = self._account.ledger.quantity(*pair)
                episode.is_missed = markets.time.now_ns() >= flat.opens_ns + (flat.stops_ns - flat.begins_ns)

    def _treat(self, pair: Pair, episode: _Episode) -> None:
        flat, now_ns = episode.flat, self._account.markets.time.now_ns()
        if now_ns < flat.begins_ns:
            # The market's time was set back.
            del self._episodes[pair]
        elif self._flattener.is_flat(*pair) and not episode.is_at_work:
            del self._episodes[pair]
            if episode.is_begun:
                self._account.log.info("break_flatten_done", strategy_id=pair[0], symbol=pair[1], kind=flat.kind)
        elif now_ns >= flat.opens_ns:
            self._after_opening(pair, episode)
        elif now_ns < flat.stops_ns or self._still_trades(pair, flat, now_ns):
            self._before_stop(pair, episode)
        else:
            self._in_break(pair, episode)

    def _still_trades(self, pair: Pair, flat: FlatTime, now_ns: int) -> bool:
        """Whether the exchange may not have stopped yet, or has not by its own trades."""
        markets = self._account.markets
        is_near_stop = now_ns - flat.stops_ns < flat.opens_ns - now_ns
        return markets.contradicted(pair[1]) or (is_near_stop and markets.may_exit(pair[1]))

    def _before_stop(self, pair: Pair, episode: _Episode) -> None:
        # Whatever stands against a closing order: a cancel needs neither the journal nor certainty.
        self._take_back(self._entries(pair))
        obstacle = self._obstacle(pair, episode)
        if not obstacle:
            self._begin(pair, episode)
        flat, now_ns = episode.flat, self._account.markets.time.now_ns()
        is_half_over = now_ns - flat.begins_ns >= flat.due_ns - now_ns
        if is_half_over and self._now_s() - episode.begun_s >= self._policy.half_s and "half" not in episode.told:
            episode.told.add("half")
            self._news.half_over(pair, flat, obstacle or "it is being closed")

    def _in_break(self, pair: Pair, episode: _Episode) -> None:
        """The market has stopped: what is held now is held over the break, and nothing may fill at its end."""
        held = self._account.ledger.quantity(*pair)
        episode.held = held
        if episode.stopped_s is None:
            episode.stopped_s = self._now_s()
        is_certain = self._is_certain(pair)
        self._take_back(self._entries(pair) if held or not is_certain else self._own(pair))
        is_sure = is_certain or self._now_s() - episode.stopped_s >= self._policy.unsure_s
        if not held or not is_sure or episode.is_at_work:
            return
        if "naked" not in episode.told and self._news.is_naked(pair, held):
            episode.told.add("naked")
            self._news.naked(pair, episode.flat, held, is_certain=is_certain)
        self._tell_held(pair, episode)

    def _after_opening(self, pair: Pair, episode: _Episode) -> None:
        """Nothing of before may go on by itself; and what is held was to be closed long ago."""
        account, now_s = self._account, self._now_s()
        if not self._is_certain(pair) or episode.is_at_work:
            return
        if episode.opened_s is None:
            episode.opened_s = now_s
        held = account.ledger.quantity(*pair)
        if episode.held:
            self._tell_held(pair, episode)
        left = [order for order in self._own(pair) if order.ts_init_ns < episode.flat.opens_ns]
        left = [order for order in left if not (episode.is_missed or (order.protective and held))]
        self._take_back(left)
        is_wanted = bool(episode.flat.at) or account.markets.closes_at_open(pair[0])
        closes = is_wanted and not episode.is_missed
        if held * episode.held <= 0 or not closes:
            if not left:
                self._treated[pair] = episode.flat.stops_ns
                del self._episodes[pair]
            return
        if now_s - episode.opened_s < self._policy.opening_s / max(1.0, account.markets.time.speed):
            return
        obstacle = self._obstacle(pair, episode)
        if not obstacle:
            self._begin(pair, episode)
        elif "opening" not in episode.told:
            episode.told.add("opening")
            self._news.incomplete(pair, episode.flat, f"position {held} is not closed at the opening: {obstacle}")

    def _obstacle(self, pair: Pair, episode: _Episode) -> str:
        """Why no closing order can be sent now, for people; empty where one can."""
        account = self._account
        acted = account.ledger.quantity(_OTHERS, pair[1]) - episode.others
        closing = next((order for order in self._working(pair) if order.purpose is Purpose.EXIT), None)
        if account.is_ending:
            return "the order plant is ending"
        if not account.connected:
            return "there is no link to the gateway"
        if account.journal.failed:
            return "the journal cannot be written"
        if not account.is_settled(pair[1], pair[0]):
            return "the broker's lists have not settled its orders yet"
        if account.trading_state is TradingState.HALTED:
            return "trading is HALTED"
        if acted * account.ledger.quantity(*pair) < 0:
            return f"others have traded {acted:+d} of it on the account meanwhile; flatten closes what is left"
        if closing is not None:
            return f"closing order {closing.client_order_id} is {closing.status} with {closing.leaves_quantity} left"
        if pair in self._gate.flattening and not episode.is_at_work:
            return "a roll or another flatten is at work"
        return ""

    def _begin(self, pair: Pair, episode: _Episode) -> None:
        if episode.is_at_work or self._now_s() < episode.next_try_s:
            return
        episode.is_at_work = True
        self._account.context.spawn(self._attempt(pair, episode), name=f"flatten {pair[0]} for the break")

    async def _attempt(self, pair: Pair, episode: _Episode) -> None:
        account, (strategy_id, symbol) = self._account, pair
        if not episode.is_begun:
            episode.is_begun = True
            account.log.info(
                "break_flatten_begun",
                strategy_id=strategy_id,
                symbol=symbol,
                kind=episode.flat.kind,
                closes=utc_text(episode.flat.stops_ns),
            )
        try:
            problem = await self._flattener.flatten_all(strategy_id, symbol)
        finally:
            episode.is_at_work = False
            episode.next_try_s = self._now_s() + min(episode.retry_s, self._pause_max_s(episode.flat))
            episode.retry_s = min(2 * episode.retry_s, self._policy.retry_max_s)
        if problem and "problem" not in episode.told:
            episode.told.add("problem")
            self._news.incomplete(pair, episode.flat, problem)

    def _pause_max_s(self, flat: FlatTime) -> float:
        """No pause may outlast the time that is left."""
        time = self._account.markets.time
        left_s = (flat.due_ns - time.now_ns()) / NS_PER_S / max(1.0, time.speed)
        return max(left_s * LEFT_SHARE, self._policy.retry_s) if left_s > 0 else self._policy.retry_max_s

    def _tell_held(self, pair: Pair, episode: _Episode) -> None:
        if "held" not in episode.told:
            episode.told.add("held")
            self._news.held(pair, episode.flat, episode.held, is_missed=episode.is_missed)

    def _take_back(self, orders: list[Order]) -> None:
        for order in orders:
            self._cancels.request(order)

    def _is_certain(self, pair: Pair) -> bool:
        """Without the link a closing order may have filled unheard."""
        return self._account.is_settled(pair[1], pair[0])

    def _entries(self, pair: Pair) -> list[Order]:
        return [order for order in self._own(pair) if not order.protective]

    def _own(self, pair: Pair) -> list[Order]:
        """The strategy's own orders, and what a roll opens for it; closing orders are watched apart."""
        return [order for order in self._working(pair) if order.purpose in (Purpose.STRATEGY, Purpose.ROLL)]

    def _working(self, pair: Pair) -> list[Order]:
        return self._account.table.open_orders(*pair)

    def _now_s(self) -> float:
        return self._account.context.clock.monotonic_s()
