"""The console's end of the control socket: one request, one answer."""

import os
import socket
from collections.abc import Mapping
from secrets import token_hex
from typing import Any

import orjson

from nightdesk.errors import ConfigurationError, CredentialsError, LinkError
from nightdesk.settings.folders import CONTROL_SOCKET, Folders

TIMEOUT_S = 15.0
"""Longer than any deadline at the other end, so that its answer, not our impatience, is what the operator sees."""
ANSWER_BYTES_MAX = 16_000_000
_PART_BYTES = 65_536


def request(
    folders: Folders, verb: str, arguments: Mapping[str, object] | None = None, *, timeout_s: float = TIMEOUT_S
) -> Any:
    """The result of a verb.

    Raises ``ConfigurationError`` where no system runs or where it refuses the command, ``CredentialsError`` where the
    socket belongs to somebody else, ``LinkError`` where no answer came.
    """
    given = {key: value for key, value in (arguments or {}).items() if value is not None}
    line = orjson.dumps({"request_id": token_hex(8), "verb": verb, "arguments": given}) + b"\n"
    answer = orjson.loads(_exchange(folders, line, timeout_s))
    if not answer["ok"]:
        raise ConfigurationError(answer["error"])
    return answer["result"]


def _exchange(folders: Folders, line: bytes, timeout_s: float) -> bytes:
    path = os.path.join(folders.runtime_dir, CONTROL_SOCKET)
    received = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(path)
            connection.sendall(line)
            while not received.endswith(b"\n") and len(received) <= ANSWER_BYTES_MAX:
                part = connection.recv(_PART_BYTES)
                if not part:
                    break
                received += part
        except FileNotFoundError:
            raise ConfigurationError(f"no system is running for {folders.name} (no socket at {path})") from None
        except ConnectionRefusedError:
            raise ConfigurationError(f"no system is running for {folders.name} (nobody listens at {path})") from None
        except PermissionError:
            raise CredentialsError(f"the system {folders.name} belongs to another user ({path})") from None
        except TimeoutError:
            raise LinkError(f"{folders.name} did not answer within {timeout_s:g} s; try again") from None
        except OSError as error:
            raise LinkError(f"the connection to {folders.name} broke ({error.strerror}); try again") from None
    if not received.endswith(b"\n"):
        raise LinkError(f"{folders.name} ended the connection without an answer; look at its log")
    return bytes(received)
