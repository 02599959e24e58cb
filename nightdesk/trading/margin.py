"""When an account's money becomes short by the broker's own figures. Pure; floats, for nothing is decided by it."""

from collections.abc import Iterator

SHORT_PERCENT = 80.0
"""From so much of a limit or of the buying power on somebody is told."""


def margin_problems(
    *,
    margin_balance: float | None,
    min_margin_balance: float | None,
    account_balance: float | None,
    min_account_balance: float | None,
    loss_percent: float | None,
    available: float | None,
    used: float | None,
    reserved: float | None,
) -> Iterator[str]:
    """What is short, for people; nothing of what the broker does not say. A minimum of 0 is none."""
    if min_margin_balance and margin_balance is not None and margin_balance < min_margin_balance:
        yield f"margin balance {margin_balance:.2f} is below the broker's minimum of {min_margin_balance:.2f}"
    if min_account_balance and account_balance is not None and account_balance < min_account_balance:
        yield f"account balance {account_balance:.2f} is below the broker's minimum of {min_account_balance:.2f}"
    if loss_percent is not None and loss_percent >= SHORT_PERCENT:
        yield f"{loss_percent:.0f} % of the broker's loss limit is used up"
    taken = (used or 0.0) + (reserved or 0.0)
    if taken > 0 and available is not None:
        percent = 100.0 if available <= 0 else 100.0 * taken / (taken + available)
        if percent >= SHORT_PERCENT:
            yield f"{percent:.0f} % of the buying power is used or reserved"
