"""Flattens that somebody has asked for, noted from the first cancel to the closing order's answer: none is half done.

An order plant that is killed in between, or loses its link, may have canceled what protected the position, and nobody
asks again: the next one, or this one, goes on as soon as everything is certain, and tells. What asks again by itself (a
last will, a loss limit, a break) needs no note.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from actors.plants.journal import JournalWriteError
from actors.plants.order_account import Account
from actors.plants.order_waiting import until
from nightdesk.errors import JournalError
from nightdesk.messages import OrderStatus, Severity, StrategyId, TradingState
from nightdesk.trading.order import Purpose

if TYPE_CHECKING:
    from actors.plants.order_flatten import Flattener

Pair = tuple[StrategyId, str]
"""A strategy and a symbol."""

POLL_S = 0.02
_KEY = "flattens"
_UNANSWERED = frozenset({OrderStatus.INITIALIZED, OrderStatus.SUBMITTED, OrderStatus.UNKNOWN})


class FlattenNotes:
    """One per account; raises ``JournalError`` where the note cannot be read."""

    def __init__(self, account: Account) -> None:
        self._account = account
        text = account.journal.note(_KEY) or "[]"
        try:
            found = msgspec.json.decode(text, type=list[tuple[str, str]])
        except msgspec.DecodeError as error:
            raise JournalError(f"{account.journal.path}: the note {_KEY} cannot be read: {error}") from error
        self.left: list[Pair] = [(StrategyId(strategy_id), symbol) for strategy_id, symbol in found]
        """What a former process has begun and not ended."""
        self._at_work = Counter(self.left)
        self.is_watched: Callable[[Pair], bool] = lambda pair: False
        """Whether somebody sends the next closing order where one was refused or is replaced."""

    def begun(self, pairs: Iterable[Pair]) -> None:
        """Before the first cancel."""
        self._change(Counter(pairs))

    def keep(self, pair: Pair) -> None:
        """A closing order is over and the next one is to follow: the note is there until that is taken."""
        self.begun([pair])
        self._account.context.spawn(self.end([pair]), name=f"end the note of {pair[0]} {pair[1]}")

    async def end(self, pairs: Iterable[Pair]) -> None:
        """Once the exchange has the closing orders, there is nothing to close, or whoever asked is told why not.

        Until then another process may have to send them. While this process ends nobody hears of it any more: the next
        one goes on.
        """
        closing = list(pairs)
        await until(lambda: all(self._is_done(pair) for pair in closing), poll_s=POLL_S)
        if not self._account.is_ending:
            self._change(Counter(dict.fromkeys(closing, -1)))

    def _is_done(self, pair: Pair) -> bool:
        table = self._account.table
        revived = [order for order in table.revived() if (order.strategy_id, order.symbol) == pair]
        exits = [order for order in (*table.open_orders(*pair), *revived) if order.purpose is Purpose.EXIT]
        if exits:
            return all(order.status not in _UNANSWERED for order in exits)
        return not self.is_watched(pair) or not self._account.ledger.quantity(*pair)

    def _change(self, changes: Counter[Pair]) -> None:
        before = set(self._at_work)
        self._at_work.update(changes)
        self._at_work = +self._at_work
        if set(self._at_work) == before:
            return
        try:
            self._account.journal.write_note(_KEY, msgspec.json.encode(sorted(self._at_work)).decode())
        except JournalWriteError as error:
            self._account.journal_failed(error)


def resume(account: Account, flattener: "Flattener") -> None:
    """Go on with what a former process left half done."""
    keep_on(account, flattener, flattener.notes.left)


def keep_on(account: Account, flattener: "Flattener", pairs: Iterable[Pair]) -> None:
    """Close what is held as soon as that is certain, over as many links as it takes; the notes end with it."""
    for pair in pairs:
        account.context.spawn(_go_on(account, flattener, pair), name=f"flatten {pair[0]} {pair[1]} to its end")


async def _go_on(account: Account, flattener: "Flattener", pair: Pair) -> None:
    def may_close() -> bool:
        is_certain = account.is_settled(pair[1], pair[0])
        return is_certain and account.trading_state is not TradingState.HALTED and not account.is_ending

    is_left = True
    while is_left:
        await until(may_close, poll_s=POLL_S)
        held = account.ledger.quantity(*pair)
        if held:
            fields = {"strategy_id": pair[0], "symbol": pair[1]}
            text = f"{pair[0]} {pair[1]}: a flatten was broken off; position {held} is closed now"
            account.log.warning("flatten_resumed", **fields, position=held)
            account.context.alert("flatten_resumed", Severity.WARNING, text, **fields)
        problem = await flattener.flatten_all(*pair)
        if problem:
            account.context.alert("flatten_incomplete", Severity.ERROR, problem, strategy_id=pair[0])
        is_left = flattener.is_broken_off(pair)
    await flattener.notes.end([pair])
