"""What a plant counts of its link, and how long it waits for it: by a script of what happens, on a clock by hand."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from actors.plants import plant as plant_module
from actors.plants.plant import PlantBody
from nightdesk.clocks import ManualClock, ManualTime
from nightdesk.errors import CredentialsError, LinkError
from nightdesk.rithmic.login_refusals import LoginRefusals, Refusals
from nightdesk.rithmic.session import FORCED_LOGOUT_REASON
from tests.calendar_support import at
from tests.fakes import FakeContext
from tests.test_plants_integration import configuration

TRADING, BREAK = "2026-11-23 10:00", "2026-11-23 16:10"
DAY_S = 86_400.0

Step = Callable[["Scripted"], None]


class Over(Exception):
    """The script is played."""


def refused(body: "Scripted") -> None:
    body._logins.before_login()
    body._logins.login_refused("permission denied")
    raise CredentialsError("permission denied")


def down(body: "Scripted") -> None:
    raise LinkError("nobody there")


def up(lifetime_s: float, reason: str = "gone") -> Step:
    """A login that is good, and a link that stands so long."""

    def step(body: "Scripted") -> None:
        body._logins.before_login()
        body._logins.login_accepted()
        body.lifetime_s, body.reason = lifetime_s, reason

    return step


def moment(text: str) -> Step:
    """Nothing but that market time is another."""

    def step(body: "Scripted") -> None:
        body.time.set(at(text))
        body.play()

    return step


class Scripted(PlantBody):
    """Its sessions are a script; its waits are kept, and pass at once."""

    kind = "ticker"

    def __init__(self, folder: Path, start: str, script: list[Step], **gateway: Any) -> None:
        self.clock = ManualClock()
        self.time = ManualTime(self.clock, at(start))
        terms = {"url": "wss://127.0.0.1", "system_name": "-", **gateway}
        exchange = {"sessions": "calendar", "source": {"kind": "synthetic"}}
        config = configuration(folder, gateway=terms, exchange=exchange)
        Path(config.state_dir).mkdir(exist_ok=True)
        super().__init__(FakeContext("plants/ticker", config.to_json(), self.clock, market_time=self.time))
        self.script = script
        self.waits: list[float] = []
        self.lifetime_s, self.reason = 0.0, ""
        self.messages, self.last_message_s, self.connected = 0, None, True
        self.link_schedule.wait = self._wait  # type: ignore[method-assign]

    def play(self) -> None:
        """The next step of the script."""
        if not self.script:
            raise Over
        self.script.pop(0)(self)

    # A session's side.

    def _new_session(self) -> Any:
        return self

    async def open(self) -> None:
        self.play()

    async def wait_closed(self) -> str:
        self.clock.advance(self.lifetime_s)
        return self.reason

    async def close(self) -> None:
        """Nothing."""

    async def _wait(self, delay_s: float, *, is_quiet: bool = False) -> None:
        self.waits.append(delay_s)
        # What waits for the calendar's next event comes back when the script says that there was one.
        self.clock.advance(delay_s if delay_s < DAY_S else 0.0)


def waits_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch, start: str, script: list[Step], **gateway: Any
) -> tuple[list[float], BaseException, Scripted]:
    """The waits between a script's steps without their randomness, what ended it, and the plant."""
    monkeypatch.setattr(plant_module, "JITTER_MIN", 1.0)
    body = Scripted(folder, start, list(script), **gateway)
    with pytest.raises((Over, LinkError, CredentialsError)) as ended:
        asyncio.run(body._keep_link())
    return body.waits, ended.value, body


DOUBLED = [0.25 * 2**number for number in range(12)]


@pytest.mark.parametrize(
    ("start", "script", "expected", "gateway"),
    [
        pytest.param(TRADING, [down] * 9, [*DOUBLED[:7], 30.0, 30.0], {}, id="up to the longest wait"),
        pytest.param(BREAK, [down] * 12, [*DOUBLED[:11], 300.0], {}, id="in the break up to five minutes"),
        pytest.param(
            BREAK,
            [down] * 13,
            [*DOUBLED, 600.0],
            {"reconnect_max_s": 600.0},
            id="in the break up to what is configured",
        ),
        pytest.param(
            BREAK,
            [down, down, down, up(1.0), down],
            [*DOUBLED[:3], *DOUBLED[:2]],
            {},
            id="a good login ends a break's row",
        ),
        pytest.param(
            BREAK, [down, down, down, moment(TRADING), down], [*DOUBLED[:3], *DOUBLED[:1]], {}, id="so does trading"
        ),
        pytest.param(
            TRADING, [down, down, up(29.0), down], [*DOUBLED[:4]], {}, id="a link of a moment is one more failure"
        ),
        pytest.param(
            TRADING, [down, down, up(30.0), down], [*DOUBLED[:2], *DOUBLED[:2]], {}, id="a stable link ends the row"
        ),
        pytest.param(BREAK, [refused] * 3, [*DOUBLED[:2], DAY_S], {}, id="three quiet refusals wait for an event"),
        pytest.param(BREAK, [refused], [DAY_S], {"login_refusals_max": 1}, id="or one, where no more are allowed"),
        pytest.param(
            BREAK,
            [refused, refused, up(1.0), refused, refused, refused],
            [*DOUBLED[:2], *DOUBLED[:3], DAY_S],
            {},
            id="a good login ends the row of quiet refusals",
        ),
        pytest.param(
            TRADING,
            [up(1.0), refused, up(30.0), refused, refused],
            [0.25, 60.0, 0.25, 60.0, 300.0],
            {},
            id="a stable link ends a row of refusals",
        ),
        pytest.param(
            TRADING,
            [up(1.0), refused, up(29.0), refused],
            [0.25, 60.0, 1.0, 300.0],
            {},
            id="a link of a moment does not",
        ),
        pytest.param(
            TRADING, [up(1.0), refused, down], [0.25, 60.0, 1.0], {}, id="what is not refused is tried again sooner"
        ),
    ],
)
def test_waits_for_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str, script: list[Step], expected: list[float], gateway: Any
) -> None:
    """Each row doubles from the first on, and begins anew where its name says so."""
    waits, ended, _ = waits_of(tmp_path, monkeypatch, start, [*script], **gateway)
    assert isinstance(ended, Over)
    assert waits == expected


def test_attempts_end_after_the_configured_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three failures are waited for, the fourth is one too many; of the break none counts."""
    script = [*[down] * 5, moment(TRADING), *[down] * 9]
    waits, ended, _ = waits_of(tmp_path, monkeypatch, BREAK, script, reconnect_attempts_max=3)
    assert isinstance(ended, LinkError)
    assert "no lasting link after 3 attempts; the last one: nobody there" in str(ended)
    assert len(waits) == 5 + 3


def test_refusals_before_trading_do_not_shorten_its_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three in the break; in trading the row begins anew, and so does the next break's."""
    script = [*[refused] * 3, moment(TRADING), down, moment(BREAK), down]
    waits, _, _ = waits_of(tmp_path, monkeypatch, BREAK, script)
    assert waits == [0.25, 0.5, DAY_S, 0.25, 0.25]


def told(body: Scripted) -> list[tuple[str, int]]:
    context = body.context
    assert isinstance(context, FakeContext)
    found = [alert for alert in context.alerts if alert.event == "login_refused"]
    return [(alert.severity, int(dict(alert.fields)["tries"])) for alert in found]


def test_refusals_of_other_plants_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two were refused before: this plant's first one is the third, and nobody waits for a fourth."""
    (tmp_path / "s").mkdir()
    LoginRefusals(str(tmp_path / "s")).write(Refusals(counted=2))
    waits, ended, body = waits_of(tmp_path, monkeypatch, TRADING, [refused, refused])
    assert isinstance(ended, CredentialsError)
    assert waits == []
    assert told(body) == [("critical", 3)]


def test_quiet_refusals_of_other_plants_count_and_only_the_first_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has just started the system hears of it once; the third is the last before the calendar's next event."""
    (tmp_path / "s").mkdir()
    refusals = LoginRefusals(str(tmp_path / "s"))
    refusals.write(Refusals(quiet=2))
    waits, _, body = waits_of(tmp_path, monkeypatch, BREAK, [refused])
    assert waits == [DAY_S]
    assert told(body) == []
    refusals.clear()
    _, _, body = waits_of(tmp_path, monkeypatch, BREAK, [refused, refused])
    assert told(body) == [("warning", 1)]


def test_quiet_refusal_after_a_good_login_is_nobody_s_alert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is maintenance."""
    _, _, body = waits_of(tmp_path, monkeypatch, BREAK, [up(1.0), refused])
    assert told(body) == []


FORCED = up(1.0, FORCED_LOGOUT_REASON)


def test_forced_logouts_count_for_their_plant_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third ends the system; what was refused before a link that stood does not count, in the break none does."""
    script = [up(1.0), refused, refused, up(30.0), FORCED, FORCED]
    _, ended, body = waits_of(tmp_path, monkeypatch, TRADING, script)
    assert isinstance(ended, Over)
    assert told(body)[2:] == [("critical", 1), ("critical", 2)]
    _, ended, body = waits_of(tmp_path, monkeypatch, TRADING, [FORCED] * 4)
    assert isinstance(ended, CredentialsError)
    assert told(body) == [("critical", 1), ("critical", 2), ("critical", 3)]
    _, ended, body = waits_of(tmp_path, monkeypatch, BREAK, [refused, *[FORCED] * 4, moment(TRADING), FORCED])
    assert isinstance(ended, Over)
    assert told(body) == [("warning", 1), ("critical", 1)]


def test_forced_logout_of_a_link_that_stood_is_a_loss_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway ends its day: nobody else uses the login."""
    script = [up(30.0, FORCED_LOGOUT_REASON)] * 4
    _, ended, body = waits_of(tmp_path, monkeypatch, TRADING, script)
    assert isinstance(ended, Over)
    assert told(body) == []


def test_attempts_are_numbered_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From one on, in the break and in trading."""
    with capture_logs() as lines:
        waits_of(tmp_path, monkeypatch, BREAK, [down, down, moment(TRADING), down, down])
    tries = [(line["log_level"], line["tries"]) for line in lines if line["event"] == "connection_attempt_failed"]
    assert tries == [("info", 1), ("info", 2), ("warning", 1), ("warning", 2)]


def test_event_that_ends_a_wait_allows_one_more_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the very moment of the pre-open already; without an event nothing is tried."""
    monkeypatch.setattr(plant_module, "JITTER_MIN", 1.0)
    body = Scripted(tmp_path, BREAK, [*[refused] * 4, refused])
    in_time = body.link_schedule.wait

    async def wait(delay_s: float, *, is_quiet: bool = False) -> None:
        await in_time(delay_s, is_quiet=is_quiet)
        if len(body.waits) == 3:
            body.time.set(at("2026-11-23 16:45:00"))

    body.link_schedule.wait = wait  # type: ignore[method-assign]
    with pytest.raises(Over):
        asyncio.run(body._keep_link())
    assert LoginRefusals(body.run.state_dir).read().quiet == 4
    assert body.waits == [0.25, 0.5, DAY_S, DAY_S, DAY_S]
