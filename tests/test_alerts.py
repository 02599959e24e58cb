"""Alert channels: filter, limits, the log, and a webhook against a real local HTTP server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from actors.alerts import channel, webhook
from actors.alerts.channel import AlertChannelBody, RateLimiter
from actors.alerts.log import LogChannelBody
from actors.alerts.webhook import RETRY_AFTER_MAX_S, WebhookChannelBody, asked_patience_s
from nightdesk.errors import LinkError
from nightdesk.messages import Alert, ChildId, QueryStatus, Severity
from nightdesk.settings.models import AlertChannel, Instrument, Risk, Secret, Settings
from nightdesk.settings.runtime import RunConfiguration
from tests.fakes import FakeContext
from tests.support import wait_until_async

ORIGIN = ChildId("plants/order")
SECRET_PATH = "/hook/canary-d41d8"


def _context(**section: Any) -> FakeContext:
    settings = Settings(
        name="alerts_test",
        mode="sim",
        instruments=[Instrument(symbol="ESZ6", exchange="CME", tick_size=0.25, point_value=50.0)],
        risk=Risk(max_order_quantity=1, max_position=1, max_open_orders=1, max_orders_per_second=1),
        alerts=[AlertChannel(**({"name": "main", "kind": "log"} | section))],
    )
    run = RunConfiguration(settings=settings, config_file="/c.yaml", state_dir="/s", runtime_dir="/r")
    return FakeContext("services/alerts/main", run.to_json())


def _alert(event: str = "execution_fill", severity: Severity = Severity.INFO, text: str = "bought 1") -> Alert:
    return Alert(
        event=event,
        severity=severity,
        origin=ORIGIN,
        text=text,
        ts_event_ns=1_700_000_000_000_000_000,
        fields=(("symbol", "ESZ6"),),
    )


class _Kept(AlertChannelBody):
    """A channel that keeps what it delivers; ``gate`` holds it up."""

    def __init__(self, context: FakeContext) -> None:
        super().__init__(context)
        self.kept: list[Alert] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def deliver(self, alert: Alert) -> None:
        await self.gate.wait()
        self.kept.append(alert)

    def take(self, *alerts: Alert) -> None:
        for alert in alerts:
            self.receive(ORIGIN, alert)


def _run_kept(scenario: Callable[[_Kept, FakeContext], Any], **section: Any) -> _Kept:
    async def run() -> _Kept:
        context = _context(**section)
        body = _Kept(context)
        await body.start()
        await scenario(body, context)
        await body.stop()
        await context.cancel_tasks()
        assert context.crashed is None
        return body

    return asyncio.run(run())


def test_only_selected_events_of_enough_severity_pass() -> None:
    """Both the event's name and the least severity must agree; other mail is ignored."""

    async def scenario(body: _Kept, context: FakeContext) -> None:
        body.take(
            _alert("child_restarted", Severity.WARNING),
            _alert("child_restarted", Severity.INFO),
            _alert("execution_fill", Severity.CRITICAL),
        )
        body.receive(ORIGIN, QueryStatus(request_id="1", reply_to=ORIGIN))

    body = _run_kept(scenario, events=["child_restarted"], min_severity="warning")
    assert [(alert.event, alert.severity) for alert in body.kept] == [("child_restarted", Severity.WARNING)]


def test_alerts_over_the_limit_are_summed_up_in_one() -> None:
    """Two of five pass, the summary names what did not; critical ones have a limit of their own."""

    async def scenario(body: _Kept, context: FakeContext) -> None:
        body.take(*[_alert() for _ in range(4)], _alert("order_denied"), _alert("child_parked", Severity.CRITICAL))

    body = _run_kept(scenario, rate_per_minute=2)
    assert [alert.event for alert in body.kept] == [
        "execution_fill",
        "execution_fill",
        "child_parked",
        "alerts_suppressed",
    ]
    assert "3 alerts" in body.kept[-1].text
    assert dict(body.kept[-1].fields) == {"execution_fill": "2", "order_denied": "1"}


def test_summary_comes_by_itself_when_the_minute_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to send another alert for it."""
    monkeypatch.setattr(channel, "WINDOW_S", 0.05)

    async def scenario(body: _Kept, context: FakeContext) -> None:
        body.take(*[_alert() for _ in range(3)])
        await wait_until_async(lambda: len(body.kept) == 2)

    body = _run_kept(scenario, rate_per_minute=1)
    assert body.kept[-1].event == "alerts_suppressed"


def test_queue_of_a_slow_channel_is_bounded_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is in the summary: nothing is lost silently."""
    monkeypatch.setattr(channel, "QUEUE_MAX", 5)

    async def scenario(body: _Kept, context: FakeContext) -> None:
        body.gate.clear()
        body.take(*[_alert() for _ in range(20)])
        body.gate.set()

    body = _run_kept(scenario, rate_per_minute=100)
    assert len(body.kept) == 6
    assert "15 alerts" in body.kept[-1].text


def test_stop_does_not_wait_for_ever_and_says_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel that hangs at the end gives up after its time with one line."""
    monkeypatch.setattr(channel, "STOP_DELIVERY_S", 0.05)

    async def scenario(body: _Kept, context: FakeContext) -> None:
        body.gate.clear()
        body.take(_alert(), _alert())
        await asyncio.sleep(0)

    with capture_logs() as lines:
        _run_kept(scenario)
    assert [(line["event"], line["count"]) for line in lines] == [("alerts_not_delivered", 2)]


def test_rate_limiter_counts_each_minute_anew() -> None:
    """A minute begins with its first alert."""
    limiter = RateLimiter(2)
    assert [limiter.admit(now_s) for now_s in (0.0, 30.0, 59.9, 60.0, 60.0, 61.0)] == [
        True,
        True,
        False,
        True,
        True,
        False,
    ]
    assert limiter.remaining_s(61.0) == 59.0


def test_log_channel_writes_one_line_with_the_alerts_own_severity() -> None:
    """The event is the constant name ``alert``."""

    async def run() -> None:
        context = _context()
        body = LogChannelBody(context)
        await body.start()
        body.receive(ORIGIN, _alert("child_parked", Severity.CRITICAL, "strategies/a gave up"))
        await body.stop()
        await context.cancel_tasks()

    with capture_logs() as lines:
        asyncio.run(run())
    (line,) = lines
    assert (line["event"], line["log_level"], line["alert_event"]) == ("alert", "critical", "child_parked")
    assert (line["origin"], line["text"], line["fields"]) == (ORIGIN, "strategies/a gave up", {"symbol": "ESZ6"})


class _Server:
    """Speaks just enough HTTP/1.1; ``answers`` are consumed one per request, the last one stays."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str]] | None] = [(200, {})]
        self.bodies: list[Any] = []
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.split("content-length:")[1].split("\r\n")[0])
                self.bodies.append(orjson.loads(await reader.readexactly(length)))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if answer is None:
                    await reader.read()
                    break
                status, headers = answer
                lines = [f"HTTP/1.1 {status} Whatever", "content-length: 0", *(f"{k}: {v}" for k, v in headers.items())]
                writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        writer.close()


@contextlib.asynccontextmanager
async def _webhook(
    monkeypatch: pytest.MonkeyPatch, *, port: int | None = None, **section: Any
) -> AsyncIterator[tuple[WebhookChannelBody, _Server, FakeContext]]:
    server = _Server()
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    monkeypatch.setenv("NIGHTDESK_TEST_HOOK", f"http://127.0.0.1:{port or server.port}{SECRET_PATH}")
    monkeypatch.setattr(webhook, "BACKOFF_INITIAL_S", 0.01)
    context = _context(kind="webhook", url=Secret(env="NIGHTDESK_TEST_HOOK"), **({"timeout_s": 1.0} | section))
    body = WebhookChannelBody(context)
    await body.start()
    try:
        yield body, server, context
    finally:
        await body.stop()
        await context.cancel_tasks()
        listener.close()
    assert context.crashed is None


def test_webhook_posts_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every field of the alert, the time also in ISO form."""

    async def run() -> Any:
        async with _webhook(monkeypatch) as (body, server, _):
            body.receive(ORIGIN, _alert("order_denied", Severity.WARNING, "too large"))
            await wait_until_async(lambda: body.delivered == 1)
            return server.bodies

    assert asyncio.run(run()) == [
        {
            "event": "order_denied",
            "severity": "warning",
            "origin": "plants/order",
            "text": "too large",
            "timestamp": "2023-11-14T22:13:20+00:00",
            "ts_event_ns": 1_700_000_000_000_000_000,
            "fields": {"symbol": "ESZ6"},
        }
    ]


@pytest.mark.parametrize(
    "answers",
    [
        [(500, {}), (503, {}), (200, {})],
        [(429, {"retry-after": "0"}), (204, {})],
        [None, (200, {})],
    ],
    ids=["5xx", "429", "slow"],
)
def test_webhook_tries_again_where_that_makes_sense(monkeypatch: pytest.MonkeyPatch, answers: list[Any]) -> None:
    """A server in trouble, a throttled one and one that does not answer in time get the alert in the end, once."""

    async def run() -> tuple[int, int, int]:
        async with _webhook(monkeypatch, timeout_s=0.1) as (body, server, _):
            server.answers = list(answers)
            body.receive(ORIGIN, _alert())
            await wait_until_async(lambda: body.delivered == 1)
            return len(server.bodies), body.delivered, body.failed

    assert asyncio.run(run()) == (len(answers), 1, 0)


@pytest.mark.parametrize(
    ("answer", "requests", "reason"),
    [
        ((500, {}), 3, "HTTP status 500"),
        ((404, {}), 1, "HTTP status 404"),
        ((302, {"location": "http://127.0.0.1:1/"}), 1, "HTTP status 302"),
        (None, 3, "no answer within 0.5 s"),
    ],
    ids=["5xx", "404", "redirect", "hangs"],
)
def test_webhook_that_fails_for_good_is_counted_and_logged(
    monkeypatch: pytest.MonkeyPatch, answer: Any, requests: int, reason: str
) -> None:
    """Tries are bounded; the failure is one line without the URL, and the next alert is tried again."""

    async def run() -> tuple[int, int, int]:
        # Long enough for a busy machine to take a request whose answer never comes.
        async with _webhook(monkeypatch, timeout_s=0.5, retries_max=2) as (body, server, _):
            server.answers = [answer]
            body.receive(ORIGIN, _alert())
            await wait_until_async(lambda: body.failed == 1)
            count = len(server.bodies)
            server.answers = [(200, {})]
            body.receive(ORIGIN, _alert())
            await wait_until_async(lambda: body.delivered == 1)
            return count, body.failed, body.delivered

    with capture_logs() as lines:
        assert asyncio.run(run()) == (requests, 1, 1)
    (line,) = lines
    assert (line["event"], line["reason"], line["tries"]) == ("alert_delivery_failed", reason, requests)
    assert "canary" not in repr(lines)


def test_webhook_survives_a_server_that_is_down(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused connection is a failure like any other; the URL is in no log, the library's own included."""
    caplog.set_level("DEBUG")

    async def run() -> None:
        async with _webhook(monkeypatch, port=1, retries_max=1) as (body, _, _context):
            body.receive(ORIGIN, _alert())
            await wait_until_async(lambda: body.failed == 1)

    with capture_logs() as lines:
        asyncio.run(run())
    assert [line["reason"] for line in lines] == ["ConnectError"]
    assert "canary" not in caplog.text + repr(lines)


@pytest.mark.parametrize("url", ["ftp://host/canary", "not a url canary", "http:///canary", "http://host:canary/"])
def test_url_that_is_none_fails_the_start_without_telling_it(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """The channel cannot start, the system goes on; the secret is not in the error."""
    monkeypatch.setenv("NIGHTDESK_TEST_HOOK", url)
    body = WebhookChannelBody(_context(kind="webhook", url=Secret(env="NIGHTDESK_TEST_HOOK")))
    with pytest.raises(LinkError) as caught:
        asyncio.run(body.start())
    assert "canary" not in str(caught.value)
    assert caught.value.exit_code is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", 7.0),
        ("86400", RETRY_AFTER_MAX_S),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
        ("-5", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        ("9" * 400, RETRY_AFTER_MAX_S),
    ],
)
def test_retry_after_is_obeyed_within_its_bound(text: str, expected: float) -> None:
    """Seconds or a date; nonsense asks for nothing."""
    assert asked_patience_s({"retry-after": text}, 1_700_000_000_000_000_000) == expected
