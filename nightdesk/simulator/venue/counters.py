"""The exchange's three counters: order ids, report ids and sequence numbers; none is ever used twice."""

FIRST_BASKET_ID = 10_000_001
_FIRST_REPORT_ID = 20_000_001
_FIRST_SEQUENCE = 36**4
"""The first sequence number of five digits."""

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Counters:
    """The next values; recovery raises them above everything that was given out."""

    __slots__ = ("basket", "report", "sequence")

    def __init__(self, first_basket_id: int = FIRST_BASKET_ID) -> None:
        self.basket = first_basket_id
        self.report = _FIRST_REPORT_ID
        self.sequence = _FIRST_SEQUENCE

    def next_basket_id(self) -> str:
        """A numeric string, increasing."""
        self.basket += 1
        return str(self.basket - 1)

    def next_report_id(self) -> str:
        """A numeric string; one counter behind confirmed, fill, modify, cancel and trigger ids."""
        self.report += 1
        return str(self.report - 1)

    def next_sequence_number(self) -> str:
        """Base 36, capital letters."""
        self.sequence += 1
        return base36(self.sequence - 1)

    def note(self, basket_id: str, report_id: str, sequence_number: str) -> None:
        """These were given out before; empty ones are ignored."""
        if basket_id:
            self.basket = max(self.basket, int(basket_id) + 1)
        if report_id:
            self.report = max(self.report, int(report_id) + 1)
        if sequence_number:
            self.sequence = max(self.sequence, int(sequence_number, 36) + 1)


def base36(number: int) -> str:
    """A non-negative number in base 36."""
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = _DIGITS[rest] + digits
    return digits or "0"
