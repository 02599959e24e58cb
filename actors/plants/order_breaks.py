"""Makes strategies flat before the breaks over which they are to hold nothing.

Nothing of it is written down: in its time to be flat a strategy that holds something, or has an order at work, is
closed until it is flat. So an order plant that was killed in between goes on where it is, and one that comes back after
it is done finds nothing to do.
"""

import asyncio
from dataclasses import dataclass

import msgspec

from actors.plants.market_herald import utc_text
from actors.plants.order_account import Account
from actors.plants.order_flatten import Flattener
from actors.plants.order_gate import Gate
from actors.plants.order_sender import Sender
from nightdesk.messages import Severity, StrategyId, TradingState
from nightdesk.trading.order import Order, Purpose
from nightdesk.trading.session_rules import FlatTime

_Pair = tuple[StrategyId, str]


class BreakPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """In seconds of this machine: at high speed a time to be flat is over in less than one."""

    poll_s: float = 0.05
    retry_s: float = 0.5
    """After the first attempt; doubled with each further one."""
    retry_max_s: float = 30.0
    cancel_retry_s: float = 5.0
    """Between two cancels of an order that could not be canceled."""


@dataclass(slots=True)
class _Episode:
    """One strategy and symbol in one time to be flat."""

    flat: FlatTime
    retry_s: float
    next_try_s: float = 0.0
    next_cancel_s: float = 0.0
    is_at_work: bool = False
    is_begun: bool = False
    is_problem_told: bool = False
    held: int = 0
    """What was held when the break was last looked at."""
    is_held_told: bool = False


class BreakKeeper:
    """Looks a few times a second; one attempt at a time for a strategy and symbol."""

    def __init__(self, account: Account, gate: Gate, sender: Sender, flattener: Flattener, policy: BreakPolicy) -> None:
        self._account = account
        self._gate = gate
        self._sender = sender
        self._flattener = flattener
        self._policy = policy
        self._episodes: dict[_Pair, _Episode] = {}

    async def run(self) -> None:
        """Until cancelled; returns at once where no strategy is to be flat over any break."""
        while self._account.markets.flat_strategies:
            self.look()
            await asyncio.sleep(self._policy.poll_s)

    def look(self) -> None:
        """Begin what is to be begun, and tell of what was not done in time."""
        for strategy_id in self._account.markets.flat_strategies:
            for pair in self._flattener.pairs(strategy_id, ""):
                flat = self._account.markets.flat_time(*pair)
                if flat is not None:
                    self._treat(pair, self._episode(pair, flat))
        for pair, episode in list(self._episodes.items()):
            self._finish(pair, episode)

    def _episode(self, pair: _Pair, flat: FlatTime) -> _Episode:
        episode = self._episodes.get(pair)
        if episode is None or episode.flat.stops_ns != flat.stops_ns:
            episode = self._episodes[pair] = _Episode(flat, self._policy.retry_s)
        return episode

    def _treat(self, pair: _Pair, episode: _Episode) -> None:
        account = self._account
        if account.markets.time.now_ns() >= episode.flat.stops_ns:
            # The market has stopped: what is held now is held over the break.
            self._cancel_entries(pair, episode)
            episode.held = account.ledger.quantity(*pair)
            self._tell_held(pair, episode)
            return
        if not self._is_settled() or account.journal.failed or not account.markets.is_trading(pair[1]):
            return
        if account.trading_state is TradingState.HALTED:
            # The operator (or an alarm) has stopped everything but cancels.
            self._cancel_entries(pair, episode)
            return
        is_waiting = account.context.clock.monotonic_s() < episode.next_try_s
        if episode.is_at_work or is_waiting or pair in self._gate.flattening or self._is_closing(pair):
            return
        episode.is_at_work = True
        account.context.spawn(self._attempt(pair, episode), name=f"flatten {pair[0]} before the break")

    async def _attempt(self, pair: _Pair, episode: _Episode) -> None:
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
            episode.next_try_s = account.context.clock.monotonic_s() + episode.retry_s
            episode.retry_s = min(2 * episode.retry_s, self._policy.retry_max_s)
        if problem and not episode.is_problem_told:
            episode.is_problem_told = True
            self._tell(pair, episode, problem)

    def _finish(self, pair: _Pair, episode: _Episode) -> None:
        """Forget what is flat, and what the opening has ended."""
        if episode.is_at_work:
            return
        if self._flattener.is_flat(*pair):
            del self._episodes[pair]
            if episode.is_begun:
                kind = episode.flat.kind
                self._account.log.info("break_flatten_done", strategy_id=pair[0], symbol=pair[1], kind=kind)
        elif self._is_settled() and self._account.markets.time.now_ns() >= episode.flat.opens_ns:
            self._tell_held(pair, episode)
            del self._episodes[pair]

    def _tell_held(self, pair: _Pair, episode: _Episode) -> None:
        """Once it is certain: without the link a closing order may have filled unheard."""
        if episode.held and self._is_settled() and not episode.is_at_work and not episode.is_held_told:
            episode.is_held_told = True
            self._tell(pair, episode, f"position {episode.held} is held over it")

    def _is_settled(self) -> bool:
        return self._account.connected and not self._account.reconciling

    def _tell(self, pair: _Pair, episode: _Episode, problem: str) -> None:
        strategy_id, symbol = pair
        text = f"{strategy_id} {symbol} is not flat for the {episode.flat.kind} break: {problem}"
        self._account.log.error("break_flatten_incomplete", strategy_id=strategy_id, symbol=symbol, text=text)
        self._account.context.alert("flatten_incomplete", Severity.ERROR, text, strategy_id=strategy_id)

    def _cancel_entries(self, pair: _Pair, episode: _Episode) -> None:
        now_s = self._account.context.clock.monotonic_s()
        if now_s < episode.next_cancel_s:
            return
        episode.next_cancel_s = now_s + self._policy.cancel_retry_s
        for order in self._working(pair):
            if order.purpose is Purpose.STRATEGY and not order.protective and not order.cancel_wanted:
                self._sender.request_cancel(order)

    def _is_closing(self, pair: _Pair) -> bool:
        """A closing order is at work, and nothing else: it needs the market, not a further order."""
        working = self._working(pair)
        return bool(working) and all(order.purpose is Purpose.EXIT for order in working)

    def _working(self, pair: _Pair) -> list[Order]:
        return self._account.table.open_orders(*pair)
