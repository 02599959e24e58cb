"""The session against a gateway of a few lines, over a real socket."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import structlog

from nightdesk.clocks import SystemClock
from nightdesk.errors import ConfigurationError, CredentialsError, LinkError
from nightdesk.messages.orders import AccountIdentity
from nightdesk.rithmic import library
from nightdesk.rithmic import session as session_module
from nightdesk.rithmic.login_lock import login_lock
from nightdesk.rithmic.session import NotSentError, PlantSession, RequestRefused
from tests.fake_gateway import FakeGateway, account_answers, eventually, frame, framed

CANARY = "canary-password-7c1"


class Opened:
    """A session with what it pushed."""

    def __init__(self, gateway: FakeGateway, folder: Path, plant: str = "ticker", **keywords: Any) -> None:
        self.pushed: list[tuple[int, Any]] = []
        settings = keywords.pop("settings", None) or gateway.settings
        self.session = PlantSession(
            plant,
            gateway=settings,
            user="trader",
            password=keywords.pop("password", gateway.password),
            login_lock_path=str(folder / "login.lock"),
            clock=SystemClock(),
            log=structlog.get_logger(),
            on_push=keywords.pop("on_push", None)
            or (lambda template_id, message: self.pushed.append((template_id, message))),
            **keywords,
        )

    def _keep(self, template_id: int, message: Any) -> None:
        self.pushed.append((template_id, message))

    async def __aenter__(self) -> PlantSession:
        await self.session.open()
        return self.session

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()


def run(test: Callable[[FakeGateway], Awaitable[None]], **keywords: Any) -> None:
    """Run one coroutine with a fresh gateway."""

    async def scenario() -> None:
        async with FakeGateway(**keywords) as gateway:
            async with asyncio.timeout(10):
                await test(gateway)

    asyncio.run(scenario())


def test_login_names_the_plant_and_sends_a_heartbeat_at_once(tmp_path: Path) -> None:
    """A gateway expects one heartbeat right after the login."""

    async def scenario(gateway: FakeGateway) -> None:
        async with Opened(gateway, tmp_path, "history") as session:
            assert session.connected
            await eventually(lambda: gateway.of(18))
            assert [request.infra_type for request in gateway.of(10)] == [3]
            assert session.last_message_s is not None

    run(scenario)


def test_refused_login_is_a_credentials_error_without_the_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Code 13 ends in ``CredentialsError``; the library, which would print the request, is silent."""

    async def scenario(gateway: FakeGateway) -> None:
        with caplog.at_level(logging.DEBUG), pytest.raises(CredentialsError) as raised:
            async with Opened(gateway, tmp_path, password=CANARY):
                pass
        assert "permission denied" in str(raised.value)
        assert CANARY not in str(raised.value)

    run(scenario)
    output = capfd.readouterr()
    assert CANARY not in caplog.text + output.out + output.err


def test_order_plant_learns_identity_accounts_and_routes(tmp_path: Path) -> None:
    """300, 302 and 310 are asked at the order plant's login; the account list is asked with the ids from 301."""

    async def scenario(gateway: FakeGateway) -> None:
        account_answers(gateway)
        async with Opened(gateway, tmp_path, "order") as session:
            assert session.identity == AccountIdentity(fcm_id="F", ib_id="I", user_type=3, account_ids=("SIM-1",))
            assert session.trade_routes == {"CME": "simulator"}
            assert [(request.fcm_id, request.user_type) for request in gateway.of(302)] == [("F", 3)]

    run(scenario)


def test_answer_in_several_frames_is_collected_to_its_terminal(tmp_path: Path) -> None:
    """Frames with rq_handler_rp_code are data; the one with rp_code ends the answer; other frames are pushes."""

    async def scenario(gateway: FakeGateway) -> None:
        def bars(request: Any, _: object) -> list[bytes]:
            echoed = {"user_msg": list(request.user_msg)}
            return [
                frame(203, rq_handler_rp_code=["0"], marker=60, **echoed),
                frame(150, symbol="ESH4", presence_bits=1),
                frame(203, rq_handler_rp_code=["0"], marker=120, **echoed),
                frame(203, rp_code=["0"], **echoed),
            ]

        gateway.answers[202] = bars
        opened = Opened(gateway, tmp_path)
        async with opened as session:
            answer = await session.request(202, symbol="ESH4")
            assert [message.marker for message in answer] == [60, 120]
            assert [template_id for template_id, _ in opened.pushed] == [150]

    run(scenario)


def test_new_order_answer_in_two_frames_gives_one_data_frame(tmp_path: Path) -> None:
    """313 comes as data and a bare terminal, in the same user_msg."""

    async def scenario(gateway: FakeGateway) -> None:
        def accept(request: Any, _: object) -> list[bytes]:
            echoed = {"user_msg": list(request.user_msg)}
            data = frame(313, rq_handler_rp_code=["0"], basket_id="77", user_tag=request.user_tag, **echoed)
            return [data, frame(313, rp_code=["0"], **echoed)]

        gateway.answers[312] = accept
        identity = AccountIdentity(fcm_id="F", ib_id="I", user_type=3, account_ids=("SIM-1",))
        async with Opened(gateway, tmp_path, "pnl", identity=identity) as session:
            answer = await session.request(312, user_tag="nd-1", price=None)
            assert [(message.basket_id, message.user_tag) for message in answer] == [("77", "nd-1")]

    run(scenario)


def test_snapshot_list_frames_are_pushed_and_the_terminal_ends_the_request(tmp_path: Path) -> None:
    """450 and 451 of a snapshot carry no user_msg."""

    async def scenario(gateway: FakeGateway) -> None:
        gateway.answers[402] = lambda request, _: [
            frame(450, symbol="ESH4", net_quantity=2, is_snapshot=True),
            frame(451, account_id="SIM-1", is_snapshot=True),
            frame(403, rp_code=["0"], user_msg=list(request.user_msg)),
        ]
        identity = AccountIdentity(fcm_id="F", ib_id="I", user_type=3, account_ids=("SIM-1",))
        opened = Opened(gateway, tmp_path, "pnl", identity=identity)
        async with opened as session:
            assert await session.request(402, account_id="SIM-1") == []
            assert [(template_id, message.is_snapshot) for template_id, message in opened.pushed] == [
                (450, True),
                (451, True),
            ]

    run(scenario)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (["7", "no data"], []),
        (["7", "an error occurred while parsing data."], RequestRefused),
        (["1039", "FCM Id field is not received."], RequestRefused),
    ],
)
def test_only_plain_no_data_is_an_empty_answer(tmp_path: Path, codes: list[str], expected: Any) -> None:
    """Code 7 is also used for real errors, and every other code is a refusal."""

    async def scenario(gateway: FakeGateway) -> None:
        gateway.answers[14] = lambda request, _: [frame(15, rp_code=codes, user_msg=list(request.user_msg))]
        async with Opened(gateway, tmp_path) as session:
            if expected == []:
                assert await session.request(14, symbol="ESH4") == []
            else:
                with pytest.raises(RequestRefused) as raised:
                    await session.request(14, symbol="ESH4")
                assert (raised.value.code, raised.value.text) == (codes[0], codes[1])

    run(scenario)


def test_reject_with_our_user_msg_refuses_that_request(tmp_path: Path) -> None:
    """Template 75 answers a bad request."""

    async def scenario(gateway: FakeGateway) -> None:
        gateway.answers[14] = lambda request, _: [
            frame(75, rp_code=["6", "bad input"], user_msg=list(request.user_msg))
        ]
        async with Opened(gateway, tmp_path) as session:
            with pytest.raises(RequestRefused, match="6 bad input"):
                await session.request(14, symbol="ESH4")

    run(scenario)


def test_request_without_answer_is_sent_once_and_its_late_answer_is_pushed(tmp_path: Path) -> None:
    """A time-out means *unknown*: nothing is repeated, and what comes later reaches the plant."""

    async def scenario(gateway: FakeGateway) -> None:
        gateway.mute.add(14)
        opened = Opened(gateway, tmp_path)
        async with opened as session:
            with pytest.raises(LinkError, match="no answer to template 14"):
                await session.request(14, timeout_s=0.05, symbol="ESH4")
            (request,) = gateway.of(14)
            await gateway.push(frame(15, rp_code=["0"], symbol="ESH4", user_msg=list(request.user_msg)))
            await eventually(lambda: opened.pushed)
            assert [template_id for template_id, _ in opened.pushed] == [15]
            assert len(gateway.of(14)) == 1

    run(scenario)


def test_answer_cut_short_is_unknown_not_an_end(tmp_path: Path) -> None:
    """A frame with neither code but a request_key says that more would follow if asked."""

    async def scenario(gateway: FakeGateway) -> None:
        gateway.answers[202] = lambda request, _: [frame(203, request_key="k", user_msg=list(request.user_msg))]
        async with Opened(gateway, tmp_path) as session:
            with pytest.raises(LinkError, match="cut the answer short"):
                await session.request(202, symbol="ESH4")

    run(scenario)


def test_drop_fails_open_requests_and_names_the_reason(tmp_path: Path) -> None:
    """A lost connection ends ``wait_closed``; nothing can be sent any more, and the caller can tell that it was not."""

    async def scenario(gateway: FakeGateway) -> None:
        gateway.answers[14] = lambda _, connection: connection.transport.abort()
        async with Opened(gateway, tmp_path) as session:
            with pytest.raises(LinkError) as raised:
                await session.request(14, symbol="ESH4")
            assert not isinstance(raised.value, NotSentError)
            assert "connection lost" in await session.wait_closed()
            assert not session.connected
            with pytest.raises(NotSentError):
                await session.send(100, symbol="ESH4")

    run(scenario)


def test_forced_logout_ends_the_session(tmp_path: Path) -> None:
    """After template 77 the session is dead at the gateway."""

    async def scenario(gateway: FakeGateway) -> None:
        async with Opened(gateway, tmp_path) as session:
            await gateway.push(frame(77))
            assert await session.wait_closed() == "forced logout"

    run(scenario)


def test_silence_while_heartbeats_go_unanswered_ends_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half-open link is found by the watchdog, not by the kernel."""
    monkeypatch.setattr(session_module, "SILENCE_GRACE_S", 0.1)

    async def scenario(gateway: FakeGateway) -> None:
        gateway.mute.add(18)
        async with Opened(gateway, tmp_path) as session:
            assert (await session.wait_closed()).startswith("no frame for")
        assert len(gateway.of(18)) >= 2

    run(scenario, heartbeat_interval_s=0.2)


def test_silence_is_no_loss_while_reading_is_paused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-pressure is our own silence; heartbeats go on."""
    monkeypatch.setattr(session_module, "SILENCE_GRACE_S", 0.05)

    async def scenario(gateway: FakeGateway) -> None:
        opened = Opened(gateway, tmp_path)
        async with opened as session:
            session.pause_reading()
            await gateway.push(frame(150, symbol="A"), frame(150, symbol="B"))
            await eventually(lambda: len(gateway.of(18)) >= 6)
            assert session.connected
            # At most the frame that the reader was already waiting for came through.
            assert len(opened.pushed) <= 1
            session.resume_reading()
            await eventually(lambda: len(opened.pushed) == 2)

    run(scenario, heartbeat_interval_s=0.1)


def test_corrupt_frames_are_counted_and_dropped(tmp_path: Path) -> None:
    """A text frame, a wrong length, an empty frame, broken protobuf and an unknown template harm nobody."""

    async def scenario(gateway: FakeGateway) -> None:
        opened = Opened(gateway, tmp_path)
        async with opened as session:
            await gateway.connections[-1].send("text")
            await gateway.push(b"", b"\x00\x00\x00\x09ab", framed(b"\xff\xff\xff"), framed(b"\x98\xb6\x4b\xe6\x02"))
            await gateway.push(framed(b"\x98\xb6\x4b\x96\x01\xff"), frame(151, symbol="ESH4"))
            await eventually(lambda: opened.pushed)
            assert dict(session.faults) == {"text": 1, "length": 2, "undecodable": 2, "unknown": 1}
            assert session.connected

    run(scenario)


def test_failing_push_handler_ends_wait_closed_with_its_error(tmp_path: Path) -> None:
    """A defect in a plant must end the actor, not silently end its reader."""

    def broken(template_id: int, message: object) -> None:
        raise ZeroDivisionError

    async def scenario(gateway: FakeGateway) -> None:
        async with Opened(gateway, tmp_path, on_push=broken) as session:
            await gateway.push(frame(150, symbol="ESH4"))
            with pytest.raises(ZeroDivisionError):
                await session.wait_closed()

    run(scenario)


@pytest.mark.parametrize("url", ["ws://gateway.example:80", "http://127.0.0.1:80", "gateway.example", "wss://"])
def test_url_that_would_send_in_the_clear_is_refused(url: str) -> None:
    """Only wss, or ws on loopback."""
    with pytest.raises(ConfigurationError, match="use wss://"):
        library.check_url(url)


def test_system_name_that_is_not_offered_is_a_configuration_error(tmp_path: Path) -> None:
    """The ticker plant asks for the system names before its login."""

    async def scenario(gateway: FakeGateway) -> None:
        settings = gateway.settings.model_copy(update={"system_name": "Another"})
        with pytest.raises(ConfigurationError, match="system_name"):
            async with Opened(gateway, tmp_path, settings=settings):
                pass
        assert not gateway.of(10)

    run(scenario)


def test_nobody_listening_is_a_link_error(tmp_path: Path) -> None:
    """A refused connection is an operating error that the plant's reconnect loop handles."""

    async def scenario() -> None:
        async with FakeGateway() as gateway:
            settings = gateway.settings
        with pytest.raises(LinkError, match="cannot connect"):
            async with Opened(gateway, tmp_path, settings=settings):
                pass

    asyncio.run(scenario())


def test_logins_of_two_plants_wait_for_each_other(tmp_path: Path) -> None:
    """The lock is held while somebody logs in, and a second login that waits too long is a link error."""

    async def scenario() -> None:
        path = str(tmp_path / "login.lock")
        order: list[str] = []

        async def second() -> None:
            async with login_lock(path, 5.0):
                order.append("second")

        async with login_lock(path, 5.0):
            waiting = asyncio.create_task(second())
            with pytest.raises(LinkError):
                async with login_lock(path, 0.05):
                    pass
            order.append("first")
        await waiting
        assert order == ["first", "second"]

    asyncio.run(scenario())


def test_close_logs_out(tmp_path: Path) -> None:
    """An orderly end sends a logout and tells ``wait_closed``."""

    async def scenario(gateway: FakeGateway) -> None:
        async with Opened(gateway, tmp_path) as session:
            await eventually(lambda: gateway.of(18))
            waiting: Coroutine[Any, Any, str] = session.wait_closed()
            task = asyncio.create_task(waiting)
            await session.close()
            assert await task == "closed"
            await eventually(lambda: gateway.of(12))

    run(scenario)
