"""Who is at the other end of a Unix-domain socket, as the kernel says."""

import os
import socket
import struct
from typing import NamedTuple

_UCRED = struct.Struct("3i")


class Credentials(NamedTuple):
    """Of the process that connected, or that listens."""

    pid: int
    uid: int

    @property
    def trusted(self) -> bool:
        """Only our own user may say anything: what arrives is unpickled. Not even root may."""
        return self.uid == os.geteuid()


def of_peer(sock: socket.socket) -> Credentials:
    """The credentials that the other end had when the connection was made."""
    pid, uid, _gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Credentials(pid, uid)
