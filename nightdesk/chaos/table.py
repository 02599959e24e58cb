"""The whole table of faults."""

from nightdesk.chaos.answered_faults import ANSWERED_FAULTS
from nightdesk.chaos.control_faults import CONTROL_FAULTS
from nightdesk.chaos.exchange_faults import EXCHANGE_FAULTS
from nightdesk.chaos.network_faults import NETWORK_FAULTS
from nightdesk.chaos.process_faults import PROCESS_FAULTS
from nightdesk.chaos.toll import Row

FAULTS: dict[str, Row] = {
    row.name: row for row in (*PROCESS_FAULTS, *EXCHANGE_FAULTS, *NETWORK_FAULTS, *CONTROL_FAULTS, *ANSWERED_FAULTS)
}
"""Every kind of fault by its name."""

DRAWN: dict[str, Row] = {name: row for name, row in FAULTS.items() if row.weight}
"""Those that a run draws from where it is not told which."""

KINDS_A_MINUTE = 4
"""Kinds of fault that a run must reach, per minute of it, until it is the whole table but those that do not apply."""

KINDS_SHARE_MAX = 0.8


def kinds_required(minutes: float, possible: int = len(DRAWN)) -> int:
    """The named minimum for a run of this length that draws from so many kinds."""
    return max(1, min(int(KINDS_A_MINUTE * minutes), int(KINDS_SHARE_MAX * possible)))
