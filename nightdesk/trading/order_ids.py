"""Ids of a strategy's orders: unique for ever, over restarts and over machines. Pure: chance comes in from outside."""

from collections.abc import Callable

from nightdesk.messages import ClientOrderId

CLIENT_ORDER_ID_LENGTH_MAX = 48
"""Characters; the longest strategy name is 32, which leaves at least 9 random ones to the first million orders."""

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class ClientOrderIds:
    """Makes ``<strategy>-<counter>-<random>``: the counter tells the orders of one process apart, the random part
    processes, so that nothing needs to be remembered over a crash. No time is in it: clocks are set back."""

    def __init__(self, name: str, random_text: Callable[[], str]) -> None:
        self._name = name
        self._random_text = random_text
        self._count = 0

    def next(self) -> ClientOrderId:
        """An id that was never used before; only the random part is cut where the limit is short."""
        self._count += 1
        return ClientOrderId(f"{self._name}-{_base_36(self._count)}-{self._random_text()}"[:CLIENT_ORDER_ID_LENGTH_MAX])


def _base_36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits or "0"
