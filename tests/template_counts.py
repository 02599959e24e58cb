"""A pytest plugin that counts in how many tests each template went over the exchange's wire, in either direction.

``python -m pytest -p tests.template_counts --template-counts counts.json``; the counts are printed as a table by
``python -m nightdesk.simulator.wire.coverage counts.json``. Counted is what exchanges of this process take and send,
whoever the client is; exchanges in processes of their own are not. A test that sends more different requests than
``SWEEP_TEMPLATES_MAX`` is a sweep over everything, proves little of a single template, and is left out. Where workers
share the run, each of them hands over what it counted, and the sum is written.
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
HANDED_OVER = "template_counts"
"""The key of a worker's counts in what it leaves to the run."""


class _Counter:
    def __init__(self, config: pytest.Config, path: Path) -> None:
        self.config = config
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
            _add(self.counts.taken, dict.fromkeys(self.taken, 1))
            _add(self.counts.sent, dict.fromkeys(self.sent, 1))
        return result

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker is done. One that died left nothing, and the run has failed for that."""
        handed_over = getattr(node, "workeroutput", {}).get(HANDED_OVER)
        if handed_over is not None:
            found = msgspec.json.decode(handed_over, type=TemplateCounts)
            self.counts.tests += found.tests
            _add(self.counts.taken, found.taken)
            _add(self.counts.sent, found.sent)

    def pytest_sessionfinish(self) -> None:
        encoded = msgspec.json.encode(self.counts)
        left: dict[str, object] | None = getattr(self.config, "workeroutput", None)
        if left is None:
            self.path.write_bytes(encoded)
        else:
            left[HANDED_OVER] = encoded


def _add(totals: dict[int, int], found: dict[int, int]) -> None:
    for template_id, count in found.items():
        totals[template_id] = totals.get(template_id, 0) + count


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--template-counts PATH`` switches the counting on."""
    parser.addoption("--template-counts", type=Path, help="write how often each template was used")


def pytest_configure(config: pytest.Config) -> None:
    """Nothing is counted without the option."""
    path = config.getoption("--template-counts")
    if path is not None:
        counter = _Counter(config, path)
        counter.install()
        config.pluginmanager.register(counter)
