"""Which kinds of fault a run draws from: ``--faults kill_run,row:15`` names kinds and whole rows of the matrix."""

from collections.abc import Iterator, Mapping

from nightdesk.chaos.toll import Row
from nightdesk.errors import ConfigurationError

ROW_PREFIX = "row:"
OPTION = "--faults"


def chosen(text: str | None, table: Mapping[str, Row]) -> dict[str, Row]:
    """The rows of the table that these words name, in its order; without words all of them that have a weight.

    Raises ``ConfigurationError`` for a word that names nothing.
    """
    if text is None:
        return {name: row for name, row in table.items() if row.weight}
    names: set[str] = set()
    for word in (part.strip() for part in text.split(",")):
        names.update(_named(word, table))
    return {name: row._replace(weight=max(1, row.weight)) for name, row in table.items() if name in names}


def matrix_rows(row: Row) -> Iterator[int]:
    """The numbers of the matrix's rows that a fault is of: of ``2-7`` and ``3, 18`` each; none of ``-``."""
    for part in row.matrix.split(","):
        first, _, last = part.strip().partition("-")
        if first:
            yield from range(int(first), int(last or first) + 1)


def _named(word: str, table: Mapping[str, Row]) -> set[str]:
    if word in table:
        return {word}
    if not word.startswith(ROW_PREFIX):
        raise ConfigurationError(
            f"{OPTION}: no fault is called {word!r}; write names of the table in docs/reliability.md, or {ROW_PREFIX}15"
        )
    number = word.removeprefix(ROW_PREFIX)
    numbers = sorted({each for row in table.values() for each in matrix_rows(row)})
    if number not in map(str, numbers):
        raise ConfigurationError(
            f"{OPTION}: no fault is of row {number!r}; there are some of {', '.join(map(str, numbers))}"
        )
    return {name for name, row in table.items() if int(number) in matrix_rows(row)}
