"""What we take from async_rithmic, and only here: a plant object that connects and builds requests, and its templates.

Left out on purpose, because each was seen to fail (``docs/architecture.md``): its reconnect loop, its receive loop, its
``_send`` (it sends the same bytes again after a reconnect, new orders included), its logs (a refused login prints the
password). ``tests/test_async_rithmic_contract.py`` names everything below that an upgrade could change.
"""

import ipaddress
import logging
import ssl
from typing import Any, Final
from urllib.parse import urlsplit

import websockets
from async_rithmic import OrderPlacement, RithmicClient
from async_rithmic import protocol_buffers as pb
from async_rithmic.plants.base import TEMPLATES_MAP
from google.protobuf.message import DecodeError

from nightdesk.errors import ConfigurationError
from nightdesk.messages.orders import AccountIdentity
from nightdesk.rithmic.oco_messages import OCO_TEMPLATES
from nightdesk.settings.models import Gateway

TEMPLATES: Final[dict[int, Any]] = OCO_TEMPLATES | TEMPLATES_MAP
"""Template id to protobuf class; where a later release knows what we had to add, its own class counts."""

ANSWERS: Final[frozenset[int]] = frozenset(
    template_id for template_id, kind in TEMPLATES.items() if "user_msg" in kind.DESCRIPTOR.fields_by_name
)
"""Templates that can name the request they answer; live notifications have no such field."""

UNDECODABLE: Final = (DecodeError,)
CONNECTION_ERRORS: Final = (OSError, TimeoutError, websockets.exceptions.WebSocketException)

LENGTH_BYTES: Final = 4
_TEMPLATE_TAG: Final = b"\x98\xb6\x4b"
"""Field 154467, type varint: the gateway writes it first, so that most frames need no search."""
_VARINT_MORE: Final = 0x80
_base = pb.base_pb2.Base


def silence_loggers() -> None:
    """Take the library's stdout handler away and switch its loggers off: they print requests, passwords included."""
    library = logging.getLogger("rithmic")
    for handler in list(library.handlers):
        library.removeHandler(handler)
    library.addHandler(logging.NullHandler())
    library.propagate = False
    library.setLevel(logging.CRITICAL + 1)
    # At DEBUG websockets prints frames, the login among them.
    logging.getLogger("websockets").setLevel(logging.WARNING)


def build_plant(plant: str, gateway: Gateway, user: str, password: str) -> Any:
    """A fresh plant object of its own client, not connected. Raises ``ConfigurationError`` or ``OSError`` (CA file)."""
    check_url(gateway.url)
    silence_loggers()
    client = RithmicClient(
        user=user,
        password=password,
        system_name=gateway.system_name,
        app_name=gateway.app_name,
        app_version=gateway.app_version,
        url=gateway.url,
        manual_or_auto=OrderPlacement.AUTO,
    )
    if urlsplit(gateway.url).scheme == "ws":
        client.ssl_context = None
    elif gateway.ca_file is not None:
        client.ssl_context = ssl.create_default_context(cafile=gateway.ca_file)
    silence_loggers()
    return client.plants[plant]


def check_url(url: str) -> None:
    """Refuse what would send the password in the clear."""
    parts = urlsplit(url)
    if parts.scheme == "wss" and parts.hostname:
        return
    if parts.scheme == "ws" and parts.hostname and _is_loopback(parts.hostname):
        return
    raise ConfigurationError(f"gateway url {url}: use wss:// (ws:// is accepted on loopback only)")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def set_identity(plant: Any, identity: AccountIdentity) -> None:
    """Let ``_build_request`` fill fcm_id, ib_id and user_type, which only the order plant is told by the gateway."""
    plant.client.plants["order"].login_info = {
        "fcm_id": identity.fcm_id,
        "ib_id": identity.ib_id,
        "user_type": identity.user_type,
    }


def build_frame(plant: Any, template_id: int, fields: dict[str, Any]) -> bytes:
    """One request with its length prefix; a field that is None is left out."""
    present = {name: value for name, value in fields.items() if value is not None}
    if template_id in TEMPLATES_MAP:
        return framed(plant._build_request(template_id=template_id, **present).SerializeToString())
    identity = {"fcm_id": plant.client.fcm_id, "ib_id": plant.client.ib_id}
    return framed(TEMPLATES[template_id](template_id=template_id, **identity, **present).SerializeToString())


def framed(payload: bytes) -> bytes:
    """A payload behind its length."""
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


def template_of(frame: bytes) -> int:
    """The frame's template id without parsing it where it stands first; raises an ``UNDECODABLE`` error."""
    if frame.startswith(_TEMPLATE_TAG, LENGTH_BYTES) and len(frame) > LENGTH_BYTES + 4:
        low, high = frame[7], frame[8]
        if low < _VARINT_MORE:
            return low
        if high < _VARINT_MORE:
            return low - _VARINT_MORE + (high << 7)
    base = _base()
    base.ParseFromString(frame[LENGTH_BYTES:])
    template_id: int = base.template_id
    return template_id
