"""The project's exceptions: one root, few children; each docstring says what to do."""


class NightdeskError(Exception):
    """Root of all of ours; never raised itself. ``exit_code`` ends the whole system where it is not None."""

    exit_code: int | None = None


class ConfigurationError(NightdeskError):
    """The configuration or a command's words are wrong: mend what the message names and start again."""

    exit_code = 2


class CredentialsError(NightdeskError):
    """Credentials are missing, readable by others, or refused by the gateway: mend them; never retried by itself."""

    exit_code = 3


class JournalError(NightdeskError):
    """The journal is damaged or belongs to another account: see the runbook before trading on."""

    exit_code = 4


class CalendarError(NightdeskError):
    """A calendar does not know a time or a product: name another calendar, or compile a longer one."""

    exit_code = 2

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(f"{what}; {mend}")


class InvariantError(NightdeskError):
    """A rule that guards money does not hold: a defect of ours. The actor ends and its supervisor restarts it."""


class LinkError(NightdeskError):
    """A connection could not be made or was lost, or an answer did not come: the caller decides what that means."""


class LaneError(NightdeskError):
    """A lane is not connected or its peer does not keep up: the message was not sent; decide again when it is back."""


class StrategyError(NightdeskError, ValueError):
    """A strategy (or its parameters) used the API wrongly: mend the strategy's code or its section of the file.

    Raised inside the strategy's own call. Not caught, it ends the strategy's actor, never the system.
    """
