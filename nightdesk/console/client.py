"""The console's end of the control socket: one request, one answer."""

import os
import socket
from collections.abc import Mapping
from secrets import token_hex
from typing import Any

import orjson

from nightdesk.errors import ConfigurationError, CredentialsError, LinkError
from nightdesk.settings.folders import CONTROL_SOCKET, EXCHANGE_SOCKET, Folders

TIMEOUT_S = 15.0
"""Longer than any deadline at the other end, so that its answer, not our impatience, is what the operator sees."""
ANSWER_BYTES_MAX = 16_000_000
REQUEST_BYTES_MAX = 60_000
_PART_BYTES = 65_536


def request(
    folders: Folders,
    verb: str,
    arguments: Mapping[str, object] | None = None,
    *,
    timeout_s: float = TIMEOUT_S,
    socket_name: str = CONTROL_SOCKET,
) -> Any:
    """The result of a verb; ``socket_name`` is the system's control socket or the exchange's own.

    Raises ``ConfigurationError`` where no system runs or where it refuses the command, ``CredentialsError`` where the
    socket belongs to somebody else, ``LinkError`` where no answer came.
    """
    given = {key: value for key, value in (arguments or {}).items() if value is not None}
    # What the command line held may be no valid text; it then arrives with question marks.
    plain = {key: _valid(value) if isinstance(value, str) else value for key, value in given.items()}
    line = orjson.dumps({"request_id": token_hex(8), "verb": verb, "arguments": plain}) + b"\n"
    if len(line) > REQUEST_BYTES_MAX:
        raise ConfigurationError(f"{verb}: more than {REQUEST_BYTES_MAX} bytes of arguments; shorten them")
    answer = orjson.loads(_exchange(folders, line, timeout_s, socket_name))
    if not answer["ok"]:
        raise ConfigurationError(answer["error"])
    return answer["result"]


def _exchange(folders: Folders, line: bytes, timeout_s: float, socket_name: str) -> bytes:
    path = os.path.join(folders.runtime_dir, socket_name)
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
            raise ConfigurationError(_nobody(folders, socket_name, f"no socket at {path}")) from None
        except ConnectionRefusedError:
            raise ConfigurationError(_nobody(folders, socket_name, f"nobody listens at {path}")) from None
        except PermissionError:
            raise CredentialsError(f"the system {folders.name} belongs to another user ({path})") from None
        except TimeoutError:
            raise LinkError(f"{folders.name} did not answer within {timeout_s:g} s; try again") from None
        except OSError as error:
            raise LinkError(f"the connection to {folders.name} broke ({error.strerror}); try again") from None
    if not received.endswith(b"\n"):
        raise LinkError(f"{folders.name} ended the connection without an answer; look at its log")
    return bytes(received)


def _nobody(folders: Folders, socket_name: str, why: str) -> str:
    if socket_name == EXCHANGE_SOCKET:
        mend = f"start one with: python run.py simulator --config {folders.config_file}, or a run with mode: sim"
        return f"no exchange is running for {folders.name} ({why}); {mend}"
    mend = f"start it with: python run.py --config {folders.config_file}, or name its file with --config"
    return f"no system is running for {folders.name} ({why}); {mend}"


def _valid(text: str) -> str:
    return text.encode(errors="replace").decode()
