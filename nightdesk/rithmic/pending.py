"""Requests that wait for their answer, matched by the ``user_msg`` that the gateway echoes."""

import asyncio
import itertools
import secrets
from typing import Any, Final

from nightdesk.errors import LinkError, NightdeskError
from nightdesk.rithmic.words import LOGIN_ANSWER, REJECT

ACCEPTED: Final = "0"
NO_DATA: Final = "7"
_NO_DATA_TEXTS: Final = frozenset({"", "no data"})
_ENVELOPE: Final = frozenset({"template_id", "user_msg", "rp_code"})


class RequestRefused(NightdeskError):
    """The gateway answered a request with an error: ``code`` and ``text`` are its words. Repeating will not help."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code} {text}".strip())
        self.code = code
        self.text = text


class PendingRequests:
    """The table of open requests of one session."""

    def __init__(self, prefix: str) -> None:
        # The random part keeps a late answer to an earlier session's request from matching one of ours.
        self._prefix = f"{prefix}-{secrets.token_hex(4)}"
        self._numbers = itertools.count(1)
        self._open: dict[str, tuple[asyncio.Future[list[Any]], list[Any]]] = {}

    def add(self) -> tuple[str, asyncio.Future[list[Any]]]:
        """A new ``user_msg`` and the future of its answer."""
        user_msg = f"{self._prefix}-{next(self._numbers)}"
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._open[user_msg] = (future, [])
        return user_msg, future

    def discard(self, user_msg: str) -> None:
        """Stop waiting; what still comes is a push."""
        self._open.pop(user_msg, None)

    def fail_all(self, error: LinkError) -> None:
        """The link is gone: nobody will answer."""
        for future, _ in self._open.values():
            if not future.done():
                future.set_exception(error)
        self._open.clear()

    def take(self, template_id: int, message: Any) -> bool:
        """Book one frame of an answer; False if no open request of ours is meant.

        A frame with ``rq_handler_rp_code`` is data and more follows, one without it and with ``rp_code`` is the last:
        presence decides, not the value. A repeated field of the library's classes is present when it is not empty.
        """
        echoed = message.user_msg
        entry = self._open.get(echoed[0]) if echoed else self._unnamed(template_id)
        if entry is None:
            return False
        future, frames = entry
        if future.done():
            return True
        handler_code = getattr(message, "rq_handler_rp_code", ())
        if template_id == REJECT:
            codes = list(message.rp_code) or [""]
            future.set_exception(RequestRefused(codes[0], " ".join(codes[1:]) or "rejected"))
        elif handler_code:
            if handler_code[0] == ACCEPTED:
                frames.append(message)
        elif message.rp_code:
            if message.rp_code[0] == ACCEPTED and not frames and _has_content(message):
                frames.append(message)
            self._finish(future, frames, list(message.rp_code))
        elif getattr(message, "request_key", ""):
            # Neither code but a key: the gateway stopped early and waits to be asked for the rest.
            future.set_exception(LinkError("the gateway cut the answer short"))
        else:
            frames.append(message)
        return True

    def _unnamed(self, template_id: int) -> tuple[asyncio.Future[list[Any]], list[Any]] | None:
        """A refused login comes back without ``user_msg``; nothing else is open while a session logs in."""
        if template_id == LOGIN_ANSWER and len(self._open) == 1:
            return next(iter(self._open.values()))
        return None

    @staticmethod
    def _finish(future: asyncio.Future[list[Any]], frames: list[Any], codes: list[str]) -> None:
        code, text = codes[0], " ".join(codes[1:])
        if code == ACCEPTED or (code == NO_DATA and text.strip().lower() in _NO_DATA_TEXTS):
            future.set_result(frames)
        else:
            # Code 7 is also used for errors: only its plain form means an empty list.
            future.set_exception(RequestRefused(code, text))


def _has_content(message: Any) -> bool:
    return any(field.name not in _ENVELOPE for field, _ in message.ListFields())
