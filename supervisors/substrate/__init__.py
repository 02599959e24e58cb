"""The mailbox's substrate: a Thespian system base whose actors talk over Unix-domain sockets of one user."""

from supervisors.substrate.address import MailboxAddress
from supervisors.substrate.base import UnixSystemBase
from supervisors.substrate.folder import clear, prepare
from supervisors.substrate.transport import UnixTransport

__all__ = ["MailboxAddress", "UnixSystemBase", "UnixTransport", "clear", "prepare"]
