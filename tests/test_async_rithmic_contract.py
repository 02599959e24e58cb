"""What we rely on in async_rithmic; an upgrade that changes it must fail here, naming what changed."""

import asyncio
import inspect
import logging
from pathlib import Path
from typing import Any

import async_rithmic
import pytest
import structlog
from async_rithmic import OrderPlacement, RithmicClient
from async_rithmic import protocol_buffers as pb
from async_rithmic.plants.base import TEMPLATES_MAP, BasePlant

from nightdesk.clocks import SystemClock
from nightdesk.errors import LinkError
from nightdesk.messages.orders import AccountIdentity
from nightdesk.rithmic import library, words
from nightdesk.rithmic.session import PlantSession
from tests.fake_gateway import FakeGateway, frame

VERSION = "1.6.6"

TEMPLATE_ID_FIELD = 154467
FIELDS: dict[int, dict[str, int]] = {
    10: {"user": 131003, "password": 130004, "infra_type": 153621, "system_name": 153628, "template_version": 153634},
    11: {"rp_code": 132766, "user_msg": 132760, "heartbeat_interval": 153633},
    75: {"rp_code": 132766, "user_msg": 132760},
    100: {"symbol": 110100, "exchange": 110101, "request": 100000, "update_bits": 154211},
    150: {
        "symbol": 110100,
        "exchange": 110101,
        "presence_bits": 149138,
        "is_snapshot": 110121,
        "trade_price": 100006,
        "trade_size": 100178,
        "aggressor": 112003,
        "ssboe": 150100,
        "usecs": 150101,
        "source_ssboe": 150400,
        "source_usecs": 150401,
        "source_nsecs": 150404,
    },
    151: {
        "symbol": 110100,
        "exchange": 110101,
        "presence_bits": 149138,
        "clear_bits": 154571,
        "is_snapshot": 110121,
        "bid_price": 100022,
        "bid_size": 100030,
        "ask_price": 100025,
        "ask_size": 100031,
        "ssboe": 150100,
        "usecs": 150101,
    },
    203: {"rq_handler_rp_code": 132764, "request_key": 132758, "marker": 119100, "period": 119112, "type": 119200},
    207: {"data_bar_ssboe": 119202, "data_bar_usecs": 119203, "ask_volume": 119214, "bid_volume": 119213},
    301: {"fcm_id": 154013, "ib_id": 154014, "user_type": 154036},
    303: {"account_id": 154008},
    311: {"trade_route": 112016, "is_default": 154689},
    312: {
        "user_tag": 154119,
        "user_msg": 132760,
        "manual_or_auto": 154710,
        "price_type": 112008,
        "trailing_stop": 157063,
        "trail_by_ticks": 157064,
        "trail_by_price_id": 157065,
        "cancel_at_ssboe": 157085,
    },
    313: {"basket_id": 110300, "user_tag": 154119, "rq_handler_rp_code": 132764},
    330: {
        "user_tag": 154119,
        "user_type": 154036,
        "bracket_type": 157087,
        "stop_ticks": 154458,
        "stop_quantity": 154459,
        "target_ticks": 154456,
        "target_quantity": 154457,
        "cancel_at_ssboe": 157085,
    },
    331: {"basket_id": 110300, "user_tag": 154119, "rq_handler_rp_code": 132764},
    332: {"basket_id": 110300, "level": 154244, "target_ticks": 154456},
    334: {"basket_id": 110300, "level": 154244, "stop_ticks": 154458},
    339: {"basket_id": 110300, "target_ticks": 154456},
    341: {"basket_id": 110300, "stop_ticks": 154458},
    351: {
        "user_tag": 154119,
        "basket_id": 110300,
        "original_basket_id": 154497,
        "linked_basket_ids": 110358,
        "notify_type": 153625,
        "completion_reason": 149273,
    },
    352: {
        "user_tag": 154119,
        "basket_id": 110300,
        "original_basket_id": 154497,
        "linked_basket_ids": 110358,
        "notify_type": 153625,
        "fill_id": 110311,
        "is_snapshot": 110121,
    },
    353: {"account_id": 154008, "basket_id": 110300, "stop_ticks": 154458, "target_ticks": 154456},
    450: {"account_id": 154008, "net_quantity": 156967, "avg_open_fill_price": 154434, "is_snapshot": 110121},
}
NAMES = {
    12: "RequestLogout",
    14: "RequestReferenceData",
    16: "RequestRithmicSystemInfo",
    18: "RequestHeartbeat",
    77: "ForcedLogout",
    202: "RequestTimeBarReplay",
    206: "RequestTickBarReplay",
    300: "RequestLoginInfo",
    302: "RequestAccountList",
    308: "RequestSubscribeForOrderUpdates",
    310: "RequestTradeRoutes",
    314: "RequestModifyOrder",
    316: "RequestCancelOrder",
    320: "RequestShowOrders",
    321: "ResponseShowOrders",
    333: "ResponseUpdateTargetBracketLevel",
    335: "ResponseUpdateStopBracketLevel",
    336: "RequestSubscribeToBracketUpdates",
    338: "RequestShowBrackets",
    340: "RequestShowBracketStops",
    350: "TradeRoute",
    400: "RequestPnLPositionUpdates",
    402: "RequestPnLPositionSnapshot",
    403: "ResponsePnLPositionSnapshot",
    3504: "RequestExitPosition",
    3506: "RequestReplayExecutions",
}


def client(**keywords: Any) -> Any:
    return RithmicClient(
        user="u",
        password="p",
        system_name="s",
        app_name="a",
        app_version="v",
        url="wss://gateway.example",
        manual_or_auto=OrderPlacement.AUTO,
        **keywords,
    )


def test_version_is_the_one_that_was_read() -> None:
    """Everything here was read in one release; another one has to be read again first."""
    assert async_rithmic.__version__ == VERSION, (
        f"async_rithmic is {async_rithmic.__version__}, the adapter was written against {VERSION}: read "
        "nightdesk/rithmic/library.py and session.py beside the new source, then change VERSION here and in setup.cfg"
    )


@pytest.mark.parametrize("template_id", sorted(FIELDS))
def test_field_numbers_of_the_templates_we_read(template_id: int) -> None:
    """A field that moved would decode as zero, silently."""
    descriptor = TEMPLATES_MAP[template_id].DESCRIPTOR
    found = {name: field.number for name, field in descriptor.fields_by_name.items() if name in FIELDS[template_id]}
    assert found == FIELDS[template_id], f"template {template_id} ({descriptor.name}) has other fields now"


@pytest.mark.parametrize("template_id", sorted(NAMES))
def test_template_ids_name_the_same_messages(template_id: int) -> None:
    """TEMPLATES_MAP is the table that we dispatch by."""
    found = getattr(TEMPLATES_MAP.get(template_id), "__name__", None)
    assert found == NAMES[template_id], f"template {template_id} is {found} now"


def test_template_id_is_the_field_that_we_scan_for() -> None:
    """The frame's first bytes are compared with the tag of field 154467."""
    for template_id, kind in TEMPLATES_MAP.items():
        number = kind.DESCRIPTOR.fields_by_name["template_id"].number
        assert number == TEMPLATE_ID_FIELD, f"template_id of {template_id} is field {number} now"
    for template_id in (11, 127, 128, 151, 352, 3507, 16_384):
        written = library.framed(pb.base_pb2.Base(template_id=template_id).SerializeToString())
        assert library.template_of(written) == template_id
    assert library.template_of(frame(151, symbol="ESH4", ask_size=3)) == 151


def test_live_notifications_have_no_user_msg() -> None:
    """That is how they are told from answers without looking further."""
    for template_id in (77, 150, 151, 250, 350, 351, 352, 450, 451):
        assert template_id not in library.ANSWERS, f"template {template_id} has a user_msg field now"
    for template_id in (11, 13, 15, 75, 101, 203, 207, 301, 303, 309, 311, 313, 315, 317, 321, 403, 3505, 3507):
        assert template_id in library.ANSWERS, f"template {template_id} has no user_msg field any more"


def test_enumerations_have_our_numbers() -> None:
    """``words.py`` holds numbers; the library's names for them must agree."""
    order = pb.request_new_order_pb2.RequestNewOrder
    assert {kind.value: number for kind, number in words.ORDER_TYPE_TO_WIRE.items()} == {
        name: number for name, number in order.PriceType.items() if number
    }
    assert {kind.value: number for kind, number in words.TIME_IN_FORCE_TO_WIRE.items()} == {
        name: number for name, number in order.Duration.items() if number
    }
    assert order.OrderPlacement.Value("AUTO") == words.ORDER_PLACEMENT_AUTO
    plants = dict(pb.request_login_pb2.RequestLogin.SysInfraType.items())
    assert {f"{plant.name}_PLANT": plant.value for plant in words.InfraType}.items() <= plants.items()
    notify = pb.exchange_order_notification_pb2.ExchangeOrderNotification.NotifyType
    assert {each.name: each.value for each in words.ExchangeNotify} == {n: v for n, v in notify.items() if v}
    stages = pb.rithmic_order_notification_pb2.RithmicOrderNotification.NotifyType
    assert [v for _, v in stages.items() if v] == [each.value for each in words.RithmicNotify][:20]


def test_plant_objects_have_what_we_call() -> None:
    """``_connect``, ``_build_request``, ``ws``, ``is_connected`` and the client's attributes."""

    async def scenario() -> None:
        made = client()
        assert set(made.plants) >= {"ticker", "order", "pnl", "history"}
        for plant in made.plants.values():
            assert inspect.iscoroutinefunction(plant._connect), "BasePlant._connect is no coroutine function now"
            assert list(inspect.signature(plant._connect).parameters) == []
            assert plant.ws is None
            assert plant.is_connected is False
            assert plant.client is made
        assert made.ssl_context is made.plants["ticker"].ssl_context, "plants do not read client.ssl_context any more"
        assert made.credentials["gateway"] == "wss://gateway.example"
        made.plants["order"].login_info = {"fcm_id": "F", "ib_id": "I", "user_type": 3}
        request = made.plants["pnl"]._build_request(template_id=302, user_msg="1")
        assert (request.fcm_id, request.ib_id, request.user_type, list(request.user_msg)) == ("F", "I", 3, ["1"])

    asyncio.run(scenario())


def test_library_connects_without_starting_its_own_loops(tmp_path: Path) -> None:
    """``_connect`` only opens the socket: no reader, heartbeat or reconnect task of the library runs beside ours."""

    async def scenario() -> None:
        async with FakeGateway() as gateway:
            session = PlantSession(
                "history",
                gateway=gateway.settings,
                user="u",
                password=gateway.password,
                login_lock_path=str(tmp_path / "login.lock"),
                clock=SystemClock(),
                log=structlog.get_logger(),
                on_push=lambda *_: None,
            )
            await session.open()
            names = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]
            library_loops = {name for name in names if name.startswith(("BasePlant", "BackgroundTask", "HistoryPlant"))}
            assert not library_loops, f"async_rithmic runs {library_loops} after _connect now"
            await session.close()

    asyncio.run(scenario())


def test_send_of_the_library_still_repeats_after_a_reconnect() -> None:
    """The reason why we never use it: the same bytes go out twice. Should this change, the comment must, too."""
    source = inspect.getsource(BasePlant._send)
    assert source.count("self.ws.send(message)") == 2, (
        "BasePlant._send does not send a second time any more: read it, and nightdesk/rithmic/library.py's first lines"
    )


def test_order_is_written_once_though_the_link_breaks_in_the_send(tmp_path: Path) -> None:
    """What the library would have sent again is sent once by us, and its outcome is reported as unknown."""

    async def scenario() -> None:
        async with FakeGateway() as gateway:
            gateway.answers[312] = lambda _, connection: connection.transport.abort()
            identity = AccountIdentity(fcm_id="F", ib_id="I", user_type=3, account_ids=("SIM-1",))
            for _ in range(2):
                session = PlantSession(
                    "pnl",
                    gateway=gateway.settings,
                    user="u",
                    password=gateway.password,
                    login_lock_path=str(tmp_path / "login.lock"),
                    clock=SystemClock(),
                    log=structlog.get_logger(),
                    on_push=lambda *_: None,
                    identity=identity,
                )
                await session.open()
                if not gateway.of(312):
                    with pytest.raises(LinkError):
                        await session.request(312, user_tag="nd-once")
                await session.close()
            assert [request.user_tag for request in gateway.of(312)] == ["nd-once"]

    asyncio.run(scenario())


def test_library_loggers_can_be_silenced() -> None:
    """They are all below ``rithmic``; the stdout handler that the import installs is taken away."""
    library.silence_loggers()

    async def scenario() -> None:
        made = client()
        for plant in made.plants.values():
            assert plant.logger.name.startswith("rithmic."), f"{plant.logger.name} is not below rithmic any more"
            assert not plant.logger.isEnabledFor(logging.CRITICAL)

    asyncio.run(scenario())
    assert [type(handler) for handler in logging.getLogger("rithmic").handlers] == [logging.NullHandler]
