"""Flattens that somebody has asked for, noted from the first cancel to the closing order's answer: none is half done.

An order plant that is killed in between, or loses its link, may have canceled what protected the position, and nobody
asks again: the next one, or this one, goes on as soon as everything is certain, and tells. What asks again by itself (a
last will, a loss limit, a break) needs no note.
"""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from actors.plants.journal import JournalWriteError
from actors.plants.order_account import Account
from actors.plants.order_waiting import until
from nightdesk.errors import JournalError
from nightdesk.messages import Severity, StrategyId, TradingState

if TYPE_CHECKING:
    from actors.plants.order_flatten import Flattener

Pair = tuple[StrategyId, str]
"""A strategy and a symbol."""

POLL_S = 0.05
_KEY = "flattens"


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

    def begun(self, pairs: Iterable[Pair]) -> None:
        """Before the first cancel."""
        self._change(Counter(pairs))

    def ended(self, pairs: Iterable[Pair]) -> None:
        """The broker has its closing order, there is nothing to close, or whoever asked is told why not.

        While this process ends nobody hears of it any more: the next one goes on.
        """
        if not self._account.is_ending:
            self._change(Counter(dict.fromkeys(pairs, -1)))

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
    await flattener.end_notes([pair])
