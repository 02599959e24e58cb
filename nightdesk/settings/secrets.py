"""Secrets: their presence is checked before a run, their values are read only in the actor that uses them."""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from nightdesk.errors import CredentialsError
from nightdesk.settings.models import Secret, Settings

SECRET_BYTES_MAX = 65_536


def resolve_secret(secret: Secret, environ: Mapping[str, str] = os.environ) -> str:
    """The value; raises ``CredentialsError``, which never contains it."""
    if secret.env is not None:
        value = environ.get(secret.env, "")
        if not value:
            raise CredentialsError(f"the environment variable {secret.env} is not set; export it and start again")
        return value
    descriptor = _open_checked(Path(secret.file or ""))
    with os.fdopen(descriptor, "rb") as file:
        payload = file.read(SECRET_BYTES_MAX + 1)
    try:
        value = payload.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise CredentialsError(f"the secret file {secret.file} is not UTF-8 text") from None
    if not value or len(payload) > SECRET_BYTES_MAX:
        raise CredentialsError(f"the secret file {secret.file} is empty or too long; it holds one line, the secret")
    return value


def check_secrets(settings: Settings, environ: Mapping[str, str] = os.environ) -> None:
    """Raise ``CredentialsError`` naming every secret that is absent or readable by others; reads no value."""
    faults = []
    for key, secret in _secrets_of(settings):
        if secret.env is not None:
            if not environ.get(secret.env):
                faults.append(f"{key}: the environment variable {secret.env} is not set; export it")
            continue
        try:
            os.close(_open_checked(Path(secret.file or "")))
        except CredentialsError as error:
            faults.append(f"{key}: {error}")
    if faults:
        raise CredentialsError("; ".join(faults))


def _secrets_of(settings: Settings) -> Iterator[tuple[str, Secret]]:
    if settings.credentials is not None:
        yield "credentials.user", settings.credentials.user
        yield "credentials.password", settings.credentials.password
    for index, channel in enumerate(settings.alerts):
        if channel.url is not None:
            yield f"alerts[{index}].url", channel.url
    for index, user in enumerate(settings.exchange.users if settings.exchange else []):
        yield f"exchange.users[{index}].user", user.user
        yield f"exchange.users[{index}].password", user.password


def _open_checked(path: Path) -> int:
    """Open the file and check what was opened, so that it cannot be exchanged in between."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise CredentialsError(
            f"the secret file {path} cannot be opened ({error.strerror}); mend the path, or create it: mode 0600"
        ) from None
    status = os.fstat(descriptor)
    fault = None
    if not stat.S_ISREG(status.st_mode):
        fault = "is not a regular file"
    elif status.st_uid not in (os.geteuid(), 0):
        fault = f"belongs to user {status.st_uid}; it must belong to the user who runs nightdesk"
    elif stat.S_IMODE(status.st_mode) not in (0o600, 0o400):
        fault = f"has mode {stat.S_IMODE(status.st_mode):04o}; run: chmod 600 {path}"
    if fault is not None:
        os.close(descriptor)
        raise CredentialsError(f"the secret file {path} {fault}")
    return descriptor
