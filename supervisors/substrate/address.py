"""What stands inside an ``ActorAddress`` of ours."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MailboxAddress:
    """The socket of one process in one incarnation; a path is never used a second time.

    Equal by path, hashable, and picklable: Thespian sends addresses inside messages.
    """

    path: str

    def __str__(self) -> str:
        return f"(U|{os.path.basename(self.path)})"
