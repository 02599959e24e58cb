"""Whether a plant may log in now: what the gateway has refused to any plant counts for all of them."""

from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.plants.link_schedule import LinkSchedule
from nightdesk.clocks import Clock, MarketTime
from nightdesk.errors import CredentialsError, LinkError
from nightdesk.rithmic.login_refusals import REASON_CHARACTERS_MAX, LoginRefusals, Refusals
from nightdesk.settings.section import DAY_S

REFUSED_AGAIN_DELAYS_S: Final = (60.0, 300.0)
"""The waits after a refused login where a plant was logged in before: minutes, so that a gateway that is not ready
right after its maintenance does not end the system."""


class LoginsEndedError(CredentialsError):
    """The system has been refused too often: nobody tries again before somebody has started it anew, by hand."""


class LoginPostponedError(LinkError):
    """Another plant has just been refused: this one waits ``delay_s`` before it looks again; nothing was tried."""

    def __init__(self, delay_s: float, reason: str) -> None:
        super().__init__(f"no login is tried for {delay_s:.0f} s after a refusal: {reason}")
        self.delay_s = delay_s


class LoginGate:
    """One plant's look at the refusals of all. Its methods are called while the login lock is held."""

    def __init__(
        self,
        refusals: LoginRefusals,
        *,
        refusals_max: int,
        link_schedule: LinkSchedule,
        market_time: MarketTime,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        self._refusals = refusals
        self._max = refusals_max
        self._link_schedule = link_schedule
        self._market_time = market_time
        self._clock = clock
        self._log = log
        self.has_logged_in = False
        """Whether this plant was logged in before."""
        self.event_ns = 0
        """The newest of the calendar's events that this plant has waited for: it allows one more quiet try of all."""
        self.last = Refusals()
        """What this plant's own last refusal has made of the file."""
        self.is_last_quiet = False
        """Whether nothing was expected of the link then."""

    def before_login(self) -> None:
        """Raises ``LoginsEndedError`` or ``LoginPostponedError`` where no login may be tried."""
        known = self._refusals.read()
        if known.counted >= self._max:
            raise LoginsEndedError(
                f"the gateway has refused {known.counted} logins of this system, and nobody tries again before it is "
                f"started anew: {known.reason}"
            )
        if not self._link_schedule.is_trading():
            if known.quiet >= self._max and known.market_ns >= self.event_ns:
                # More of them could lock the user; the calendar's next event ends this wait.
                raise LoginPostponedError(DAY_S, known.reason)
        elif self.has_logged_in and known.counted:
            left_s = again_delay_s(known.counted) - max(0.0, self._clock.monotonic_s() - known.monotonic_s)
            if left_s > 0:
                raise LoginPostponedError(left_s, known.reason)

    def login_refused(self, reason: str) -> None:
        """The gateway has denied the login: all plants are to know."""
        known = self._refusals.read()
        self.is_last_quiet = not self._link_schedule.is_trading()
        self.last = Refusals(
            counted=known.counted + (not self.is_last_quiet),
            quiet=known.quiet + self.is_last_quiet,
            wall_ns=self._clock.now_ns(),
            market_ns=self._market_time.now_ns(),
            monotonic_s=self._clock.monotonic_s(),
            reason=reason[:REASON_CHARACTERS_MAX],
        )
        try:
            self._refusals.write(self.last)
        except OSError as error:
            # This plant counts for itself, too.
            self._log.error("login_refusals_unwritten", reason=str(error))

    def login_accepted(self) -> None:
        """The words are good: what was refused before does not count any more."""
        self.has_logged_in = True
        try:
            self._refusals.clear()
        except OSError as error:
            self._log.error("login_refusals_unwritten", reason=str(error))


def again_delay_s(refusals: int) -> float:
    """How long nobody tries after so many refusals."""
    return REFUSED_AGAIN_DELAYS_S[min(refusals, len(REFUSED_AGAIN_DELAYS_S)) - 1]
