"""A pytest plugin that counts in how many tests each template went over the exchange's wire, in either direction.

``python -m pytest -p tests.template_counts --template-counts counts.json``; the counts are printed as a table by
``python -m nightdesk.simulator.wire.coverage counts.json``. Counted is what exchanges of this process take and send,
whoever the client is; exchanges in processes of their own are not. A test that sends more different requests than
``SWEEP_TEMPLATES_MAX`` is a sweep over everything, proves little of a single template, and is left out.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nightdesk.simulator.wire import gateway
from nightdesk.simulator.wire.coverage import TemplateCounts
from nightdesk.simulator.wire.framing import OutgoingFrame
from nightdesk.simulator.wire.session import Session
from nightdesk.simulator.wire.templates import decode

SWEEP_TEMPLATES_MAX = 40


class _Counter:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts = TemplateCounts()
        self.taken: set[int] = set()
        self.sent: set[int] = set()

    def install(self) -> None:
        dispatch, send = gateway._dispatch, Session.send

        def counted_dispatch(session: Session, template_id: int, request: Any) -> None:
            self.taken.add(template_id)
            dispatch(session, template_id, request)

        def counted_send(session: Session, frame: OutgoingFrame) -> None:
            self.sent.add(decode(frame.payload)[0])
            send(session, frame)

        gateway._dispatch = counted_dispatch
        Session.send = counted_send  # type: ignore[method-assign]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Iterator[None]:
        self.taken.clear()
        self.sent.clear()
        result = yield
        if self.taken and len(self.taken) <= SWEEP_TEMPLATES_MAX:
            self.counts.tests += 1
            for seen, totals in ((self.taken, self.counts.taken), (self.sent, self.counts.sent)):
                for template_id in seen:
                    totals[template_id] = totals.get(template_id, 0) + 1
        return result

    def pytest_sessionfinish(self) -> None:
        self.path.write_bytes(msgspec.json.encode(self.counts))


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--template-counts PATH`` switches the counting on."""
    parser.addoption("--template-counts", type=Path, help="write how often each template was used")


def pytest_configure(config: pytest.Config) -> None:
    """Nothing is counted without the option."""
    path = config.getoption("--template-counts")
    if path is not None:
        counter = _Counter(path)
        counter.install()
        config.pluginmanager.register(counter)
