"""The alert channel that posts JSON to a URL."""

import asyncio
import logging
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import orjson

from actors.alerts.channel import AlertChannelBody
from actors.base import Context
from nightdesk.errors import LinkError
from nightdesk.messages import Alert
from nightdesk.settings.secrets import resolve_secret

BACKOFF_INITIAL_S = 0.5
BACKOFF_MAX_S = 30.0

RETRY_AFTER_MAX_S = 60.0
"""A server that asks for more patience than this does not get it: alerts grow stale."""

RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which another try makes sense; with any other status from 300 up it does not."""

_HEADERS = {"content-type": "application/json"}


class WebhookChannelBody(AlertChannelBody):
    """Posts each alert, and tries again, a bounded number of times, where that makes sense.

    Redirects are not followed: they would carry alerts to where the configuration does not point. The URL is a
    secret; it is in no message and no log line, which is why errors of the far side are logged by their type only.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.delivered = 0
        self.failed = 0
        self._url = httpx.URL()
        self._client: httpx.AsyncClient | None = None

    async def start(self) -> None:
        # Both log the URL of each request at INFO or DEBUG.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._url = self._resolved_url()
        self._client = httpx.AsyncClient(timeout=self.section.timeout_s, follow_redirects=False)
        await super().start()

    async def stop(self) -> None:
        await super().stop()
        if self._client is not None:
            await self._client.aclose()

    async def deliver(self, alert: Alert) -> None:
        body = orjson.dumps(_payload(alert))
        tries_max = self.section.retries_max + 1
        fault, tries = "", 0
        while tries < tries_max:
            tries += 1
            fault, patience_s = await self._post(body)
            if not fault:
                self.delivered += 1
                return
            if patience_s is None:
                break
            if tries < tries_max:
                await asyncio.sleep(max(patience_s, self._backoff_s(tries)))
        self.failed += 1
        self.context.log.error(
            "alert_delivery_failed", alert_event=alert.event, reason=fault, tries=tries, failures=self.failed
        )

    async def _post(self, body: bytes) -> tuple[str, float | None]:
        """One try: what went wrong, empty for success, and how long to wait before the next one, None: no next one."""
        if self._client is None:
            raise LinkError("the webhook channel was not started")
        try:
            # The client's own limit is per read and write; a server that sends a byte now and then must not hold us.
            # The answer's body, of whatever size, is never read.
            async with (
                asyncio.timeout(self.section.timeout_s),
                self._client.stream("POST", self._url, content=body, headers=_HEADERS) as answer,
            ):
                status, headers = answer.status_code, answer.headers
        except TimeoutError:
            return f"no answer within {self.section.timeout_s:g} s", 0.0
        except httpx.HTTPError as error:
            return type(error).__name__, 0.0
        if 200 <= status < 300:
            return "", None
        if status not in RETRIED_STATUSES:
            return f"HTTP status {status}", None
        return f"HTTP status {status}", asked_patience_s(headers, self.context.clock.now_ns())

    def _backoff_s(self, tries: int) -> float:
        """Doubling, with half of it left to chance, so that several channels do not come back at one moment."""
        full_s: float = min(BACKOFF_INITIAL_S * 2.0 ** (tries - 1), BACKOFF_MAX_S)
        return full_s * random.uniform(0.5, 1.0)

    def _resolved_url(self) -> httpx.URL:
        if self.section.url is None:
            raise LinkError("a webhook channel needs a url")
        try:
            url = httpx.URL(resolve_secret(self.section.url).strip())
        except httpx.InvalidURL:
            raise LinkError(f"the url of alert channel {self.section.name} is no URL") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise LinkError(f"the url of alert channel {self.section.name} must begin with https:// or http://")
        return url


def asked_patience_s(headers: Mapping[str, str], now_ns: int) -> float:
    """What ``Retry-After`` asks for, in seconds or as a date, within our bound; 0 where it says nothing useful."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), RETRY_AFTER_MAX_S)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0.0
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return min(max(until.timestamp() - now_ns / 1e9, 0.0), RETRY_AFTER_MAX_S)


def _payload(alert: Alert) -> dict[str, object]:
    timestamp = datetime.fromtimestamp(alert.ts_event_ns / 1e9, UTC).isoformat()
    return {
        "event": alert.event,
        "severity": alert.severity,
        "origin": alert.origin,
        "text": alert.text,
        "timestamp": timestamp,
        "ts_event_ns": alert.ts_event_ns,
        "fields": dict(alert.fields),
    }
