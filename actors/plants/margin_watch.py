"""Margin warnings: told when the broker's figures become short, or when it says so itself; not again while they are.

Figures that go to and fro about their threshold, as each quote reserves and frees money, are one shortage.
"""

from actors.body import Context
from nightdesk.messages import Severity
from nightdesk.rithmic.limits import AccountMoney
from nightdesk.trading.margin import margin_problems

AGAIN_S = 60.0
"""The same words of the broker are told again after so long; a shortage that has been over for so long is forgotten."""


class MarginWatch:
    """One per plant: the pnl plant has the account's figures, the order plant the words of its reports."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._short: dict[tuple[str, str], float] = {}
        """When each kind of shortage of an account was seen last."""
        self._words: dict[str, float] = {}

    def on_money(self, money: AccountMoney) -> None:
        """An account's figures; a kind of shortage is told once until it is over."""
        problems = margin_problems(
            margin_balance=money.margin_balance,
            min_margin_balance=money.min_margin_balance,
            account_balance=money.account_balance,
            min_account_balance=money.min_account_balance,
            loss_percent=money.loss_percent,
            available=money.available,
            used=money.used,
            reserved=money.reserved,
        )
        kinds = {(money.account_id, _kind(problem)): problem for problem in problems}
        now_s = self._context.clock.monotonic_s()
        for key, problem in kinds.items():
            if key not in self._short:
                self._tell(f"account {money.account_id}: {problem}")
        others = {key: seen_s for key, seen_s in self._short.items() if now_s - seen_s < AGAIN_S}
        self._short = others | dict.fromkeys(kinds, now_s)

    def on_words(self, text: str) -> None:
        """What the broker says of an order."""
        now_s = self._context.clock.monotonic_s()
        self._words = {known: said_s for known, said_s in self._words.items() if now_s - said_s < AGAIN_S}
        kind = _kind(text)
        if "margin" in text.lower() and kind not in self._words:
            self._words[kind] = now_s
            self._tell(f"the broker says: {text}")

    def _tell(self, text: str) -> None:
        self._context.log.warning("margin_warning", text=text)
        self._context.alert("margin_warning", Severity.ERROR, text)


def _kind(problem: str) -> str:
    """The words of a problem without its figures, which change with each report."""
    return " ".join(word for word in problem.split() if not word[:1].isdigit() and not word.startswith("-"))
