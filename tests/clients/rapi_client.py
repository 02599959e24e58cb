"""An unmodified ``rithmic-rapi`` client against the exchange: URL, section to walk; prints JSON.

It runs in an environment of its own (its protobuf is not ours), with ``SSL_CERT_FILE`` naming the exchange's authority.
It checks presence, sends no length before its frames and matches requests by ``user_msg``: another reading of the
protocol than async_rithmic's.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from pydantic import SecretStr
from pyrithmic import RithmicClient, RithmicCredentials
from pyrithmic.models.enums import (
    BarSubType,
    MarketDataType,
    OrderPlacement,
    OrderType,
    TickBarType,
    TimeBarType,
    TransactionType,
)
from pyrithmic.models.oco import OcoLeg, OcoRequest
from pyrithmic.models.order import BracketSpec, OrderRequest
from pyrithmic.protocol.plants import Plant

SYMBOL, EXCHANGE = "ESH4", "CME"
SYSTEM = "Nightdesk Simulator"
PLANTS = frozenset({Plant.TICKER, Plant.ORDER, Plant.HISTORY, Plant.PNL})
FAR_BELOW, FAR_ABOVE = 4000.0, 6000.0
WAIT_S = 20.0


class Walk:
    """One client, and everything that the exchange pushed to it by the name of the callback."""

    def __init__(self, url: str) -> None:
        credentials = RithmicCredentials(
            user=SecretStr("nightdesk"), password=SecretStr("nightdesk"), system_name=SYSTEM, gateway_url=url
        )
        self.url = url
        self.client = RithmicClient(credentials, plants=PLANTS)
        self.pushed: dict[str, list] = {}
        self.account_id = ""
        for name in dir(self.client):
            if name.startswith("on_"):
                self._keep(name.removeprefix("on_"), getattr(self.client, name))

    def _keep(self, name: str, register: Callable) -> None:
        async def keep(*pushed: object) -> None:
            self.pushed.setdefault(name, []).append(pushed[0] if pushed else None)

        register(keep)

    async def until(self, predicate: Callable[[], object], what: str) -> None:
        """Wait for something that pushes bring about."""
        try:
            async with asyncio.timeout(WAIT_S):
                while not predicate():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise SystemExit(f"never came: {what}; pushed { ({k: len(v) for k, v in self.pushed.items()}) }") from None

    def orders(self, basket_id: str) -> list[str]:
        """The statuses that an order went through."""
        return [each.status.name for each in self.pushed.get("order_update", []) if each.basket_id == basket_id]

    def children(self, basket_id: str) -> dict[str, list[str]]:
        """The statuses of a bracket's exits by basket id."""
        found: dict[str, list[str]] = {}
        for each in self.pushed.get("order_update", []):
            if each.original_basket_id == basket_id and each.basket_id != basket_id:
                found.setdefault(each.basket_id, []).append(each.status.name)
        return found

    def rest(self, orders: dict[str, list[str]], count: int) -> bool:
        """Whether there are so many orders and all of them work."""
        return len(orders) == count and all(statuses[-1] == "WORKING" for statuses in orders.values())

    def order(self, side: TransactionType, kind: OrderType, price: float | None = None, **more: object) -> OrderRequest:
        """Terms of one contract."""
        return OrderRequest(
            account_id=self.account_id, symbol=SYMBOL, exchange=EXCHANGE, transaction_type=side, order_type=kind,
            quantity=1, price=price, placement=OrderPlacement.AUTO, **more,
        )  # fmt: skip


async def discover(walk: Walk) -> dict:
    """16 and 20, each on a socket of its own."""
    systems = await RithmicClient.discover_systems(walk.url)
    gateways = await RithmicClient.discover_gateways(walk.url, SYSTEM)
    return {"systems": [each.name for each in systems], "gateways": [each.uri == walk.url for each in gateways]}


async def data(walk: Walk) -> dict:
    """Every bit of market data, and the reference data."""
    client = walk.client
    contract = await client.get_front_month_contract("ES", EXCHANGE)
    await client.subscribe_market_data(SYMBOL, EXCHANGE, ~MarketDataType(0))
    await walk.until(lambda: len(walk.pushed.get("last_trade", [])) > 10, "trades")
    await walk.until(lambda: len(walk.pushed.get("best_bid_offer", [])) > 10, "quotes")
    reference = await client.get_reference_data(SYMBOL, EXCHANGE)
    await client.unsubscribe_market_data(SYMBOL, EXCHANGE, ~MarketDataType(0))
    return {
        "front": contract.trading_symbol,
        "tick": reference.min_qprice_change,
        "pushed": sorted(name for name in walk.pushed if name != "connected"),
    }


async def orders(walk: Walk) -> dict:
    """The whole life of an order: rests, is modified, is canceled; is filled; is refused."""
    client = walk.client
    await client.subscribe_order_updates(walk.account_id)
    rests = await client.submit_order(walk.order(TransactionType.BUY, OrderType.LIMIT, FAR_BELOW))
    await walk.until(lambda: "WORKING" in walk.orders(rests.basket_id), "the order rests")
    await client.modify_order(rests.basket_id, walk.account_id, new_price=FAR_BELOW + 1, new_quantity=2)
    open_orders = await client.get_open_orders(walk.account_id)
    await client.cancel_order(rests.basket_id, walk.account_id)
    await walk.until(lambda: "CANCELLED" in walk.orders(rests.basket_id), "the order is canceled")
    filled = await client.submit_and_wait(walk.order(TransactionType.BUY, OrderType.MARKET), timeout=WAIT_S)
    other = await client.submit_order(walk.order(TransactionType.SELL, OrderType.LIMIT, FAR_ABOVE))
    await walk.until(lambda: "WORKING" in walk.orders(other.basket_id), "another one rests")
    await client.cancel_all_orders(walk.account_id)
    await walk.until(lambda: "CANCELLED" in walk.orders(other.basket_id), "all are canceled")
    await client.exit_position(walk.account_id, symbol=SYMBOL, exchange=EXCHANGE)
    fills = lambda: [each for each in walk.pushed["order_update"] if each.fill_id]  # noqa: E731
    await walk.until(lambda: len({each.fill_id for each in fills()}) == 2, "the position is closed")
    history = await client.get_fill_history(walk.account_id)
    commissioned = await client.get_commissioned_fills(walk.account_id)
    today = datetime.now(UTC).strftime("%Y%m%d")
    summary = await client.get_order_history_summary(walk.account_id, today)
    rms = await client.get_account_rms_info(walk.account_id)
    products = await client.get_product_rms_info(walk.account_id)
    return {
        "rests": walk.orders(rests.basket_id),
        "open": [(each.basket_id == rests.basket_id, each.quantity) for each in open_orders],
        "filled": filled.status.name,
        "other": walk.orders(other.basket_id),
        "fill_history": len(history),
        "commissions": len(commissioned),
        "summary": len({each.basket_id for each in summary}),
        "rms": rms.account_id == walk.account_id,
        "products": [each.product_code for each in products],
    }


async def brackets(walk: Walk) -> dict:
    """A bracket whose exits appear with the fill, and one whose levels move before it."""
    client = walk.client
    await client.subscribe_order_updates(walk.account_id)
    await client.subscribe_bracket_updates(walk.account_id)
    spec = BracketSpec(stop_ticks=400, target_ticks=400)
    waiting = await client.submit_order(walk.order(TransactionType.BUY, OrderType.LIMIT, FAR_BELOW, bracket=spec))
    await walk.until(lambda: "WORKING" in walk.orders(waiting.basket_id), "the entry rests")
    await client.modify_bracket_target(walk.account_id, waiting.basket_id, 500)
    await client.modify_bracket_stop(walk.account_id, waiting.basket_id, 300)
    targets = await client.list_session_target_modifications(walk.account_id)
    stops = await client.list_session_stop_modifications(walk.account_id)
    await client.cancel_order(waiting.basket_id, walk.account_id)
    # This client knows a bracket's exits only when it has seen the answer before they appear: the entry waits first.
    entry = await client.submit_order(walk.order(TransactionType.BUY, OrderType.LIMIT, FAR_BELOW, bracket=spec))
    await walk.until(lambda: "WORKING" in walk.orders(entry.basket_id), "the entry rests")
    await client.modify_order(entry.basket_id, walk.account_id, new_price=FAR_ABOVE)
    # It moves an exit of a filled entry, or a level of one that waits: both exits and the fill must have been seen.
    await walk.until(lambda: walk.rest(walk.children(entry.basket_id), 2), "both exits rest")
    await walk.until(lambda: walk.orders(entry.basket_id)[-1] == "FILLED", "the entry is filled")
    await client.modify_bracket_target(walk.account_id, entry.basket_id, 450)
    await client.exit_position(walk.account_id, symbol=SYMBOL, exchange=EXCHANGE)
    await client.cancel_all_orders(walk.account_id)
    exits = lambda: walk.children(entry.basket_id).values()  # noqa: E731
    await walk.until(lambda: all("CANCELLED" in each for each in exits()), "the exits are canceled")
    return {
        "entry": walk.orders(entry.basket_id)[-1],
        "exits": len(walk.children(entry.basket_id)),
        "targets": [each.ticks for each in targets],
        "stops": [each.ticks for each in stops],
    }


async def oco(walk: Walk) -> dict:
    """Two legs: the one that fills ends the other."""
    client = walk.client
    await client.subscribe_order_updates(walk.account_id)
    rests = OcoLeg(
        symbol=SYMBOL,
        exchange=EXCHANGE,
        side=TransactionType.BUY,
        order_type=OrderType.LIMIT,
        quantity=1,
        price=FAR_BELOW,
    )
    fills = rests.model_copy(update={"price": FAR_ABOVE})
    result = await client.submit_oco(OcoRequest(account_id=walk.account_id, legs=(rests, fills)))
    first, second = result.basket_ids
    await walk.until(lambda: "FILLED" in walk.orders(second), "one leg is filled")
    await walk.until(lambda: "CANCELLED" in walk.orders(first), "the other one is canceled")
    await client.exit_position(walk.account_id, symbol=SYMBOL, exchange=EXCHANGE)
    return {"first": walk.orders(first)[-1], "second": walk.orders(second)[-1]}


async def history(walk: Walk) -> dict:
    """Bars of time, of ticks, volume profiles; live bars."""
    client = walk.client
    now = datetime.now(UTC)
    span = {"start": now - timedelta(hours=1), "finish": now + timedelta(hours=1)}
    await client.subscribe_time_bars(SYMBOL, EXCHANGE, TimeBarType.SECOND_BAR, 1)
    await client.subscribe_tick_bars(SYMBOL, EXCHANGE, TickBarType.TICK_BAR, BarSubType.REGULAR, "10")
    await walk.until(lambda: walk.pushed.get("time_bar") and walk.pushed.get("tick_bar"), "live bars")
    seconds = await client.replay_time_bars(SYMBOL, EXCHANGE, TimeBarType.SECOND_BAR, 1, **span)
    minutes = await client.replay_time_bars(SYMBOL, EXCHANGE, TimeBarType.MINUTE_BAR, 1, **span)
    ticks = await client.replay_tick_bars(SYMBOL, EXCHANGE, TickBarType.TICK_BAR, BarSubType.REGULAR, "1", **span)
    profile = await client.replay_volume_profile_bars(SYMBOL, EXCHANGE, 1, **span)
    await client.unsubscribe_tick_bars(SYMBOL, EXCHANGE, TickBarType.TICK_BAR, BarSubType.REGULAR, "10")
    await client.unsubscribe_time_bars(SYMBOL, EXCHANGE, TimeBarType.SECOND_BAR, 1)
    return {"seconds": len(seconds) > 0, "minutes": len(minutes), "ticks": len(ticks) > 5, "profile": len(profile)}


async def pnl(walk: Walk) -> dict:
    """A position's profit and the account's money."""
    client = walk.client
    await client.subscribe_order_updates(walk.account_id)
    await client.subscribe_pnl_updates(walk.account_id)
    flat, _ = await client.get_pnl_snapshot(walk.account_id)
    await client.submit_and_wait(walk.order(TransactionType.BUY, OrderType.MARKET), timeout=WAIT_S)
    await walk.until(lambda: walk.pushed.get("instrument_pnl_update"), "the position's profit")
    positions = await client.get_positions(walk.account_id)
    await client.exit_position(walk.account_id, symbol=SYMBOL, exchange=EXCHANGE)
    await walk.until(lambda: walk.pushed["instrument_pnl_update"][-1].net_quantity == 0, "the position is closed")
    balance = await client.get_balance(walk.account_id)
    return {
        "balance": float(flat.account_balance) > 0,
        "net": [each.net_quantity for each in positions],
        "costs": float(balance.account_balance) != float(flat.account_balance),
    }


SECTIONS = (data, orders, brackets, oco, history, pnl)


async def main(url: str, names: list[str]) -> None:
    walk = Walk(url)
    seen = {"discover": await discover(walk)}
    async with walk.client as client:
        info, accounts = await client.get_login_info(), await client.list_accounts()
        walk.account_id = accounts[0].account_id
        seen["login"] = {"firm": bool(info.fcm_id), "accounts": [each.account_id for each in accounts]}
        for section in SECTIONS:
            if not names or section.__name__ in names:
                seen[section.__name__] = await section(walk)
    print(json.dumps(seen))


asyncio.run(main(sys.argv[1], sys.argv[2:]))
