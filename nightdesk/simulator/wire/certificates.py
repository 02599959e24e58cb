"""The exchange's certificates: an authority of its own and a server certificate for the loopback names."""

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

_AUTHORITY = "exchange-ca.pem"
_AUTHORITY_KEY = "exchange-ca-key.pem"
_SERVER = "exchange-server.pem"
_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Certificates:
    """The server's TLS context and the authority that a client must trust, in PEM."""

    server_context: ssl.SSLContext
    authority_pem: bytes


def load_or_create(state_dir: str) -> Certificates:
    """Keep authority and server key over restarts, so that a client's CA file stays good; all files are 0600."""
    folder = Path(state_dir)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths = [folder / _AUTHORITY, folder / _AUTHORITY_KEY, folder / _SERVER]
    if not all(path.exists() for path in paths):
        authority = trustme.CA(organization_name="Nightdesk simulator")
        server = authority.issue_cert(*_NAMES)
        chain = b"".join(blob.bytes() for blob in server.cert_chain_pems)
        write_private(paths[0], authority.cert_pem.bytes())
        write_private(paths[1], authority.private_key_pem.bytes())
        write_private(paths[2], server.private_key_pem.bytes() + chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(paths[2])
    return Certificates(context, paths[0].read_bytes())


def write_private(path: Path, content: bytes) -> None:
    """Replace a file in one step; nobody but its owner can read it at any moment."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    partial.replace(path)
