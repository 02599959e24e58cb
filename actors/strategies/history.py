"""A strategy's requests to the history plant, collected page by page."""

import asyncio
from collections.abc import Callable

from nightdesk.messages import Bar, HistoryPage, Message, RequestBars
from nightdesk.trading.host_api import HistoryCallback, InstrumentTerms

REQUESTS_MAX = 16
"""Requests of one strategy that may wait for their answers."""

REQUEST_TIMEOUT_S = 60.0
"""A request without its last page after so long has failed."""


class _Request:
    def __init__(self, count: int, on_result: HistoryCallback, timer: asyncio.TimerHandle) -> None:
        self.count = count
        self.on_result = on_result
        self.timer = timer
        self.bars: list[Bar] = []


class HistoryDesk:
    """Each request is answered once: with its bars, or with an error; never within the call that asked."""

    def __init__(self, name: str, send: Callable[[Message], None], is_open: Callable[[], bool]) -> None:
        self._name = name
        self._send = send
        self._is_open = is_open
        self._requests: dict[str, _Request] = {}
        self._count = 0

    def request(self, terms: InstrumentTerms, period_s: int, count: int, on_result: HistoryCallback) -> None:
        """Ask for the newest ``count`` bars."""
        loop = asyncio.get_running_loop()
        if not self._is_open():
            loop.call_soon(on_result, (), "the history plant is not connected; ask again later")
            return
        if len(self._requests) >= REQUESTS_MAX:
            loop.call_soon(on_result, (), f"{REQUESTS_MAX} requests wait already; ask again when one is answered")
            return
        self._count += 1
        request_id = f"{self._name}-{self._count}"
        timer = loop.call_later(REQUEST_TIMEOUT_S, self._fail, request_id, f"no answer within {REQUEST_TIMEOUT_S:g} s")
        self._requests[request_id] = _Request(count, on_result, timer)
        self._send(
            RequestBars(
                request_id=request_id, symbol=terms.symbol, exchange=terms.exchange, period_s=period_s, count=count
            )
        )

    def page(self, page: HistoryPage) -> None:
        """Take one page; a page of a request that was given up is dropped."""
        request = self._requests.get(page.request_id)
        if request is None:
            return
        request.bars += page.bars
        if page.error:
            self._fail(page.request_id, page.error)
        elif page.is_last:
            del self._requests[page.request_id]
            request.timer.cancel()
            request.on_result(tuple(request.bars[-request.count :]), "")

    def lane_lost(self) -> None:
        """What was asked is not answered any more."""
        for request_id in list(self._requests):
            self._fail(request_id, "the history plant was lost before it answered; ask again later")

    def close(self) -> None:
        """The strategy has ended: answer nobody."""
        for request in self._requests.values():
            request.timer.cancel()
        self._requests.clear()

    def _fail(self, request_id: str, error: str) -> None:
        request = self._requests.pop(request_id)
        request.timer.cancel()
        request.on_result((), error)
