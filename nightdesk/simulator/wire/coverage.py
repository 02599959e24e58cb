"""The table of templates for docs/simulator.md: who serves each of them, and in how many tests it went over the wire.

``python -m pytest -p tests.template_counts --template-counts counts.json`` writes the counts;
``python -m nightdesk.simulator.wire.coverage counts.json`` prints the table as Markdown. Without counts the columns of
the tests stay empty.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from nightdesk.simulator.wire.gateway import served
from nightdesk.simulator.wire.session import Plant
from nightdesk.simulator.wire.templates import MESSAGE_NAMES

PLANTS = tuple(Plant)
SECOND_ANSWERS = {102: (104,)}
"""Requests that have another answer beside the one with the next number."""


class TemplateCounts(msgspec.Struct, forbid_unknown_fields=True):
    """In how many tests the exchange took a message of a template, and in how many it sent one."""

    tests: int = 0
    taken: dict[int, int] = {}
    sent: dict[int, int] = {}


class Row(msgspec.Struct, frozen=True):
    """One request with its answers, or one message that only the exchange sends."""

    templates: str
    name: str
    plants: str
    status: str
    taken: int | None
    sent: int | None


def rows(counts: TemplateCounts | None) -> list[Row]:
    """Every template that is known, in the order of their numbers."""
    requests = [each for each, name in MESSAGE_NAMES.items() if name.startswith("Request")]
    answers = {each: (each + 1, *SECOND_ANSWERS.get(each, ())) for each in requests}
    pushes = set(MESSAGE_NAMES) - set(requests) - {answer for group in answers.values() for answer in group}
    found = {each: _request_row(each, answers[each], counts) for each in requests}
    found |= {each: _push_row(each, counts) for each in pushes}
    return [found[each] for each in sorted(found)]


def _request_row(template_id: int, answers: Sequence[int], counts: TemplateCounts | None) -> Row:
    plants = [plant.name for plant in PLANTS if template_id in served(plant)]
    where = "all" if len(plants) == len(PLANTS) else ", ".join(plants)
    if template_id in served(None):
        where = "before login" if where in ("", "all") else f"before login, {where}"
    return Row(
        "/".join(map(str, (template_id, *answers))),
        MESSAGE_NAMES[template_id].removeprefix("Request"),
        where or "-",
        "served" if where else "refused",
        counts.taken.get(template_id, 0) if counts is not None else None,
        max(counts.sent.get(answer, 0) for answer in answers) if counts is not None else None,
    )


def _push_row(template_id: int, counts: TemplateCounts | None) -> Row:
    sent = counts.sent.get(template_id, 0) if counts is not None else None
    status = "sent" if sent else "never sent" if counts is not None else "sent?"
    return Row(str(template_id), MESSAGE_NAMES[template_id], "-", status, None, sent)


def markdown(counts: TemplateCounts | None) -> str:
    """The table, and how many rows there are of each class."""
    every = rows(counts)
    lines = [
        "| template | message | plant | status | tests: taken | tests: sent |",
        "|---|---|---|---|---:|---:|",
        *[
            f"| {each.templates} | {each.name} | {each.plants} | {each.status} "
            f"| {_number(each.taken)} | {_number(each.sent)} |"
            for each in every
        ],
        "",
    ]
    classes = {
        status: sum(row.status == status for row in every) for status in dict.fromkeys(row.status for row in every)
    }
    total = ", ".join(f"{count} {status}" for status, count in classes.items())
    lines.append(f"{len(MESSAGE_NAMES)} templates in {len(every)} rows: {total}. Any other id is unknown: Reject 75.")
    if counts is not None:
        lines.append(f"Counted over {counts.tests} tests in which the exchange took a message.")
    return "\n".join(lines)


def _number(count: int | None) -> str:
    return "" if count is None else str(count)


def main(arguments: Sequence[str]) -> int:
    """Print the table; the only argument is the file of counts."""
    if len(arguments) > 1:
        sys.stderr.write("usage: python -m nightdesk.simulator.wire.coverage [COUNTS.json]\n")
        return 2
    counts: TemplateCounts | None = None
    if arguments:
        try:
            counts = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=TemplateCounts, strict=False)
        except (OSError, msgspec.DecodeError) as error:
            sys.stderr.write(f"{arguments[0]}: no counts: {error}\n")
            return 2
    sys.stdout.write(markdown(counts) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
