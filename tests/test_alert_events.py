"""The list of alerts by which a configuration selects is complete, and has nothing that nobody sends."""

import ast
from collections.abc import Iterator
from pathlib import Path

from nightdesk.settings.alert_events import ALERT_EVENTS
from supervisors import reporting

ROOT = Path(__file__).resolve().parents[1]
OF_ORDERS = {"execution_fill", "order_denied", "order_rejected", "order_in_doubt"}
"""Sent with the name of the order event's log line."""


def _named_in_calls() -> Iterator[str]:
    for folder in ("actors", "supervisors"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
                    continue
                name = node.args[0]
                if node.func.attr in ("alert", "_send_alert") and isinstance(name, ast.Constant):
                    yield str(name.value)


def test_every_alert_that_is_sent_can_be_selected() -> None:
    """A channel with a list of events would never get it otherwise; and a name without a sender would never come."""
    sent = {*_named_in_calls(), *reporting._ALERTS, *OF_ORDERS}
    assert sent == set(ALERT_EVENTS)
