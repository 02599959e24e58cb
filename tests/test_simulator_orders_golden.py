"""Frames of the order plant against captured ones, field by field; only ids, times and names of the firm differ."""

from pathlib import Path

from tests.simulator_order_support import (
    AT_EXCHANGE,
    ES,
    FILLED,
    HEAD,
    LIMIT,
    SEQUENCES,
    STOP_MARKET,
    UNFILLED,
    WHO,
    assert_fields,
    fields_of,
    order,
    order_client,
    receive_all,
    run,
)
from tests.simulator_support import ACCOUNT, FIRM, RawClient, add_liquidity, running_exchange


def test_login_and_account_answers_are_the_captured_ones(tmp_path: Path) -> None:
    """Golden frames 0 to 3 and 8 of the login: the same fields, the empty string of auto-liquidate included."""

    async def scenario() -> None:
        async with running_exchange(tmp_path) as (_, server):
            client = await RawClient.open(tmp_path, server)
            login = fields_of(await client.login(2))
            assert login.pop("unique_user_id")
            assert login == {
                "template_id": 11, "template_version": "5.27", "fcm_id": "Nightdesk-FCM", "ib_id": "Nightdesk-IB",
                "country_code": "US", "state_code": "NY", "heartbeat_interval": 60.0, "rp_code": ["0"],
            }  # fmt: skip
            _, info = await client.ask(300, user_msg=["info"])
            assert fields_of(info) == {
                "template_id": 301, **FIRM, "user": "trader", "first_name": "Nightdesk", "last_name": "Simulator",
                "user_type": 3, "rp_code": ["0"], "user_msg": ["info"],
            }  # fmt: skip
            accounts = await client.ask_all(302, user_type=3, **FIRM)
            assert [fields_of(message) for _, message in accounts] == [
                {
                    "template_id": 303, **ACCOUNT, "account_name": "SIM-1", "account_currency": "USD",
                    "account_auto_liquidate": "", "rq_handler_rp_code": ["0"], "user_msg": ["all"],
                },
                {"template_id": 303, "rp_code": ["0"], "user_msg": ["all"]},
            ]  # fmt: skip
            routes = await client.ask_all(310)
            assert [message.exchange for _, message in routes] == ["CME", "CBOT", "NYMEX", "COMEX", ""]
            assert fields_of(routes[0][1]) == {
                "template_id": 311, "exchange": "CME", "trade_route": "simulator", "status": "UP", **FIRM,
                "is_default": True, "rq_handler_rp_code": ["0"], "user_msg": ["all"],
            }  # fmt: skip
            assert fields_of(routes[-1][1]) == {"template_id": 311, "rp_code": ["0"], "user_msg": ["all"]}

    run(scenario())


def test_market_order_is_the_captured_sequence(tmp_path: Path) -> None:
    """Golden frames 0, 1 and 3 to 12: subscriptions, both 313, six 351 and two 352 with their zeros and absences."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            _, brackets = await client.ask(336, user_msg=["b"], **ACCOUNT)
            assert fields_of(brackets) == {"template_id": 337, "rp_code": ["0"], "user_msg": ["b"]}
            await client.send(312, **order())
            frames = await receive_all(client, 10)
            assert [(template_id, notify) for template_id, notify, _ in frames] == [
                (313, None), (313, None), (351, 1), (351, 4), (351, 7), (351, 10), (352, 1), (351, 13), (352, 5),
                (351, 15),
            ]  # fmt: skip
            messages = [message for _, _, message in frames]
            assert_fields(messages[0], {"rq_handler_rp_code": ["0"]}, HEAD)
            assert_fields(messages[1], {"rp_code": ["0"]}, {"template_id"})
            assert_fields(
                messages[2], WHO | {"status": "Order received from client", "quantity": 1, "notify_type": 1}, HEAD
            )
            stages = ((4, "open pending"), (7, "order received by exch gateway"), (10, "order sent to exch"))
            for message, (notify, status) in zip(messages[3:6], stages, strict=True):
                values = AT_EXCHANGE | UNFILLED | {"status": status, "quantity": 0, "notify_type": notify}
                assert_fields(message, values, HEAD | SEQUENCES)
            assert_fields(
                messages[6],
                AT_EXCHANGE | UNFILLED | {"report_type": "status", "confirmed_size": 1, "notify_type": 1},
                HEAD | SEQUENCES | {"exchange_order_id", "confirmed_time", "confirmed_date", "confirmed_id"},
            )
            assert_fields(
                messages[7],
                AT_EXCHANGE | UNFILLED | {"status": "open", "quantity": 1, "notify_type": 13},
                HEAD | SEQUENCES | {"exchange_order_id"},
            )
            assert_fields(
                messages[8],
                AT_EXCHANGE | FILLED | {"report_type": "fill", "fill_size": 1, "fill_price": 5000.25, "notify_type": 5},
                HEAD | SEQUENCES | {"exchange_order_id", "fill_time", "fill_date", "fill_id"},
            )
            assert_fields(
                messages[9],
                AT_EXCHANGE
                | FILLED
                | {"status": "complete", "quantity": 1, "completion_reason": "F", "notify_type": 15},
                HEAD | SEQUENCES | {"exchange_order_id"},
            )
            assert {message.basket_id for message in (messages[0], *messages[2:])} == {messages[0].basket_id}
            assert messages[0].basket_id.isdecimal()
            assert int(messages[8].fill_id) == int(messages[6].confirmed_id) + 1
            assert len({message.sequence_number for message in messages[3:]}) == 1
            times = [(message.ssboe, message.usecs) for message in (messages[0], *messages[2:])]
            assert times == sorted(times)

    run(scenario())


def test_limit_order_rests_is_modified_and_canceled(tmp_path: Path) -> None:
    """Open; 315 and 351 2/5/8/11, 352 2, 351 14; 317 and 351 3/6/9/12, 352 3 with a new sequence number, 351 15 C."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            await client.send(312, **order(price_type=LIMIT, price=4990.0, quantity=3))
            opened = await receive_all(client, 8)
            assert [notify for _, notify, _ in opened] == [None, None, 1, 4, 7, 10, 1, 13]
            assert [m.price for t, _, m in opened if t != 313] == [4990.0] * 6
            basket_id = opened[0][2].basket_id
            await client.send(
                314, **ACCOUNT, **ES, basket_id=basket_id, quantity=2, price_type=LIMIT, price=4991.0, user_msg=["m"]
            )
            changed = await receive_all(client, 7)
            assert [(t, n) for t, n, _ in changed] == [
                (315, None), (351, 2), (351, 5), (351, 8), (351, 11), (352, 2), (351, 14),
            ]  # fmt: skip
            answer = changed[0][2]
            assert (answer.basket_id, list(answer.rp_code), list(answer.user_msg)) == (basket_id, ["0"], ["m"])
            report = changed[5][2]
            assert (report.report_type, report.modified_size, report.price) == ("modify", 2, 4991.0)
            assert report.modify_id
            assert report.sequence_number != report.orig_sequence_number
            await client.send(316, **ACCOUNT, basket_id=basket_id)
            ended = await receive_all(client, 7)
            assert [(t, n) for t, n, _ in ended] == [
                (317, None), (351, 3), (351, 6), (351, 9), (351, 12), (352, 3), (351, 15),
            ]  # fmt: skip
            report, complete = ended[5][2], ended[6][2]
            assert (report.report_type, report.cancelled_size) == ("cancel", 2)
            assert report.sequence_number not in (report.orig_sequence_number, changed[5][2].sequence_number)
            assert (complete.completion_reason, complete.HasField("avg_fill_price")) == ("C", False)

    run(scenario())


def test_modify_of_a_finished_order_is_refused_at_once(tmp_path: Path) -> None:
    """One frame with the code and the text, and no notification; a cancel only if there never was such an order."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            await client.send(312, **order())
            basket_id = (await receive_all(client, 10))[0][2].basket_id
            change = {"quantity": 1, "price_type": LIMIT, "price": 1.0}
            for number, text in ((basket_id, "already filled"), ("1", "order not found")):
                await client.send(314, **ACCOUNT, **ES, basket_id=number, **change)
                ((template_id, _, refused),) = await receive_all(client, 1)
                assert (template_id, list(refused.rp_code), refused.basket_id) == (315, ["6", text], number)
            await client.send(316, **ACCOUNT, basket_id="1")
            ((template_id, _, refused),) = await receive_all(client, 1)
            assert (template_id, list(refused.rp_code)) == (317, ["6", "order not found"])

    run(scenario())


def test_unfilled_rest_of_an_ioc_order_is_canceled_without_a_request(tmp_path: Path) -> None:
    """The exchange cancels by itself: 352 and 351 C, without the stages of a client's cancel."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            await client.send(312, **order(price_type=LIMIT, price=4990.0, duration=3))
            frames = await receive_all(client, 10)
            assert [(t, n) for t, n, _ in frames[-3:]] == [(351, 13), (352, 3), (351, 15)]
            assert frames[-1][2].completion_reason == "C"

    run(scenario())


def test_order_that_risk_refuses_is_accepted_first_then_fails(tmp_path: Path) -> None:
    """313 says ok; then 351 15 with reason FA, nothing filled, and no 352: the exchange never saw it."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (_, client):
            await client.send(312, **order(symbol="NONE"))
            frames = await receive_all(client, 4)
            assert [(t, n) for t, n, _ in frames] == [(313, None), (313, None), (351, 1), (351, 15)]
            failed = frames[-1][2]
            assert (failed.completion_reason, failed.total_fill_size) == ("FA", 0)
            assert failed.report_text.startswith("Rejected at RMS")

    run(scenario())


def test_stop_waits_for_its_trigger_and_is_never_open(tmp_path: Path) -> None:
    """351 18, never 13; when triggered 352 4 with the price type gone from 4 to 2, then the fill with type 2."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            await client.send(312, **order())
            await receive_all(client, 10)
            await client.send(312, **order(price_type=STOP_MARKET, trigger_price=5001.0))
            waiting = await receive_all(client, 8)
            assert [(t, n) for t, n, _ in waiting[2:]] == [(351, 1), (351, 4), (351, 7), (351, 10), (352, 1), (351, 18)]
            add_liquidity(exchange.venue, bid=4999.0, ask=5001.0, size=5)
            await client.send(312, **order(quantity=100, user_tag="tag-2"))
            frames = []
            while not (frames and frames[-1][0] == 351 and frames[-1][1].notify_type == 15 and len(frames) > 12):
                frames.append(await client.receive())
            mine = [(t, m) for t, m in frames if t != 313 and m.basket_id == waiting[0][2].basket_id]
            assert [(t, m.notify_type) for t, m in mine] == [(352, 4), (352, 5), (351, 15)]
            assert [(m.price_type, m.orig_price_type) for _, m in mine] == [(2, 4)] * 3
            assert mine[0][1].report_type == "trigger"
            assert mine[0][1].sequence_number == waiting[-1][2].sequence_number

    run(scenario())


def test_orders_are_listed_as_images_without_user_msg(tmp_path: Path) -> None:
    """320: 352 of all orders, finished ones too, then one 321; a captured image has each last report in it, and no
    cancelled size but 0.
    """

    async def scenario() -> None:
        async with order_client(tmp_path, subscribed=False) as (_, client):
            for changed in ({}, {"price_type": LIMIT, "price": 4990.0}):
                await client.ask(312, **order(**changed))
                await client.receive()
            frames = await client.ask_all(320, **ACCOUNT)
            assert [t for t, _ in frames] == [352, 352, 321]
            images = [m for t, m in frames if t == 352]
            confirmed = {"confirmed_id", "confirmed_time", "confirmed_date"}
            known = HEAD | SEQUENCES | {"exchange_order_id"} | confirmed
            same = AT_EXCHANGE | {"is_snapshot": True, "quantity": 1, "confirmed_size": 1, "cancelled_size": 0}
            filled = {"notify_type": 5, "report_type": "fill", "status": "complete", "fill_price": 5000.25}
            assert_fields(
                images[0], same | FILLED | filled | {"fill_size": 1}, known | {"fill_id", "fill_time", "fill_date"}
            )
            resting = {"notify_type": 1, "report_type": "status", "status": "open", "price": 4990.0}
            assert_fields(images[1], same | UNFILLED | resting | {"price_type": LIMIT, "orig_price_type": LIMIT}, known)
            assert list(frames[-1][1].rp_code) == ["0"]

    run(scenario())


def test_executions_are_replayed_and_fills_are_listed(tmp_path: Path) -> None:
    """3506 sends each fill again as a 352 image, 3512 as 3513 records; an empty range is code 7."""

    async def scenario() -> None:
        async with order_client(tmp_path, subscribed=False) as (exchange, client):
            _, accepted = await client.ask(312, **order(quantity=2))
            await client.receive()
            second = exchange.now_ns() // 10**9
            span = {"start_index": second - 60, "finish_index": second + 60}
            replayed = await client.ask_all(3506, **ACCOUNT, **span)
            assert [t for t, _ in replayed] == [352, 3507]
            fill = replayed[0][1]
            assert (fill.is_snapshot, fill.notify_type, fill.fill_size, fill.basket_id) == (
                True, 5, 2, accepted.basket_id,
            )  # fmt: skip
            listed = await client.ask_all(3512, **ACCOUNT, **span, index_format="ssboe")
            assert [(t, m.fill_id) for t, m in listed] == [(3513, fill.fill_id), (3513, "")]
            nothing = await client.ask_all(3512, **ACCOUNT, start_index=1, finish_index=2)
            assert [list(m.rp_code) for _, m in nothing] == [["7", "no data"]]
            missing = await client.ask_all(3512, **ACCOUNT)
            assert missing[0][1].rp_code[0] == "1013"

    run(scenario())


def test_every_session_of_an_account_is_notified_and_none_that_did_not_ask(tmp_path: Path) -> None:
    """308 gates 351 and 352 per session; several sessions get the same frames."""

    async def scenario() -> None:
        async with running_exchange(tmp_path) as (exchange, server):
            add_liquidity(exchange.venue)
            clients = [await RawClient.open(tmp_path, server) for _ in range(3)]
            for client in clients:
                await client.login(2)
            for client in clients[:2]:
                await client.ask(308, **ACCOUNT)
            await clients[2].send(312, **order())
            assert [t for t, _, _ in await receive_all(clients[2], 2)] == [313, 313]
            seen = [[m.SerializeToString() for _, _, m in await receive_all(client, 8)] for client in clients[:2]]
            assert seen[0] == seen[1]

    run(scenario())


def test_mandatory_fields_have_codes_of_their_own(tmp_path: Path) -> None:
    """A missing firm, user type, trade route or price type is told by its code and name."""

    async def scenario() -> None:
        async with order_client(tmp_path, subscribed=False) as (_, client):
            for template_id, fields, code in (
                (308, {"account_id": "SIM-1"}, "1039"),
                (302, FIRM, "1041"),
                (346, ACCOUNT, "1041"),
                (312, {k: v for k, v in order().items() if k != "trade_route"}, "1047"),
                (312, {k: v for k, v in order().items() if k != "price_type"}, "1051"),
                (308, FIRM | {"account_id": "OTHER"}, "1088"),
            ):
                _, refused = await client.ask(template_id, **fields)
                assert refused.rp_code[0] == code

    run(scenario())


def test_order_is_in_the_log_before_its_client_hears_of_it(tmp_path: Path) -> None:
    """What was answered survives the exchange's death: the log has the order when the 313 arrives."""

    async def scenario() -> None:
        async with order_client(tmp_path, subscribed=False) as (_, client):
            await client.ask(312, **order(user_tag="remember-me"))
            assert "remember-me" in (tmp_path / "exchange.log").read_text()

    run(scenario())


def test_cancel_all_and_exit_position_leave_nothing(tmp_path: Path) -> None:
    """347 and 3505 are single frames; the orders behind them show up as any other's."""

    async def scenario() -> None:
        async with order_client(tmp_path) as (exchange, client):
            await client.send(312, **order(quantity=2))
            await receive_all(client, 10)
            await client.send(312, **order(price_type=LIMIT, price=4990.0))
            await receive_all(client, 8)
            await client.send(346, **ACCOUNT, user_type=3, user_msg=["c"])
            ended = await receive_all(client, 7)
            assert [(t, n) for t, n, _ in ended] == [
                (347, None), (351, 3), (351, 6), (351, 9), (351, 12), (352, 3), (351, 15),
            ]  # fmt: skip
            await client.send(3504, **ACCOUNT, **ES, user_msg=["e"])
            closed = await receive_all(client, 9)
            assert (closed[0][0], list(closed[0][2].rp_code)) == (3505, ["0"])
            assert closed[-1][2].completion_reason == "F"
            assert [position.net_quantity for position in exchange.venue.positions("SIM-1")] == [0]

    run(scenario())
