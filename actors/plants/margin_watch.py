"""Margin warnings: told when the broker's figures become short, or when it says so itself; not again while they are."""

from actors.body import Context
from nightdesk.messages import Severity
from nightdesk.rithmic.limits import AccountMoney
from nightdesk.trading.margin import margin_problems

AGAIN_S = 60.0
"""The same words of the broker are told again after so long."""


class MarginWatch:
    """One per plant: the pnl plant has the account's figures, the order plant the words of its reports."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._told: set[str] = set()
        self._words: dict[str, float] = {}

    def on_money(self, money: AccountMoney) -> None:
        """An account's figures; a kind of shortage is told once until it is over."""
        problems = list(
            margin_problems(
                margin_balance=money.margin_balance,
                min_margin_balance=money.min_margin_balance,
                account_balance=money.account_balance,
                min_account_balance=money.min_account_balance,
                loss_percent=money.loss_percent,
                available=money.available,
                used=money.used,
                reserved=money.reserved,
            )
        )
        kinds = {_kind(problem): problem for problem in problems}
        for kind, problem in kinds.items():
            if kind not in self._told:
                self._tell(f"account {money.account_id}: {problem}")
        self._told = set(kinds)

    def on_words(self, text: str) -> None:
        """What the broker says of an order."""
        now_s = self._context.clock.monotonic_s()
        self._words = {known: said_s for known, said_s in self._words.items() if now_s - said_s < AGAIN_S}
        if "margin" in text.lower() and text not in self._words:
            self._words[text] = now_s
            self._tell(f"the broker says: {text}")

    def _tell(self, text: str) -> None:
        self._context.log.warning("margin_warning", text=text)
        self._context.alert("margin_warning", Severity.ERROR, text)


def _kind(problem: str) -> str:
    """The words of a problem without its figures, which change with each report."""
    return " ".join(word for word in problem.split() if not word[:1].isdigit() and not word.startswith("-"))
