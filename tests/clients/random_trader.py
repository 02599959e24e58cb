"""An unmodified async_rithmic client that sends seeded random orders until it is told to stop; prints what it saw.

Arguments: URL, CA file, seed. It begins when the market's first ticks come, and ends with the first line on its
standard input: it cancels what rests, asks for its position and balance, leaves the position and asks again.
"""

import asyncio
import json
import os
import random
import ssl
import sys
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from async_rithmic import DataType, OrderType, RithmicClient, SysInfraType, TransactionType

ES = {"symbol": "ESH4", "exchange": "CME"}
TICK = 0.25
FILL = 5
AT_ONCE = 8
"""Limit orders that rest at the same time, at the most."""
NET_MAX = 40
"""From this position on new orders are against it."""
EXITS_MAX = 20
PLANTS = [SysInfraType.ORDER_PLANT, SysInfraType.TICKER_PLANT, SysInfraType.PNL_PLANT]


class Trader:
    """One client, its account of everything that it was told, and its dice."""

    def __init__(self, client: RithmicClient, seed: int) -> None:
        self.client = client
        self.rng = random.Random(seed)
        self.price = 0.0
        self.ticks = 0
        self.orders = 0
        self.net = 0
        self.done = {"market": 0, "limit": 0, "modify": 0, "cancel": 0, "refused": 0}
        self.fills: list[list[Any]] = []
        self.resting: list[SimpleNamespace] = []
        client.on_tick += self._tick
        client.on_exchange_order_notification += self._notified

    async def _tick(self, tick: dict[str, Any]) -> None:
        self.ticks += 1
        self.price = tick.get("trade_price") or tick.get("bid_price") or self.price

    async def _notified(self, told: Any) -> None:
        if told.notify_type == FILL and not told.is_snapshot:
            side = TransactionType.Name(told.transaction_type)
            self.net += told.fill_size if side == "BUY" else -told.fill_size
            self.fills.append([told.fill_id, told.basket_id, side, told.fill_price, told.fill_size])

    def _near(self) -> float:
        """A price on a tick, behind the market or through it."""
        return round(self.price / TICK + self.rng.randint(-6, 6)) * TICK

    async def act(self) -> None:
        """Roll once: a new order, or a change of one that rests."""
        kinds = ["market", "limit", "limit"]
        if self.resting:
            kinds += ["modify", "modify", "cancel"]
        kind = "cancel" if len(self.resting) >= AT_ONCE else self.rng.choice(kinds)
        self.done[kind] += 1
        # The library has nothing to hand out of a refused request: such an order was filled before the request arrived.
        self.done["refused"] += not await getattr(self, f"_{kind}")()

    async def _submit(self, order_type: OrderType, **terms: float) -> list[Any]:
        self.orders += 1
        quantity = self.rng.randint(1, 5)
        side = self.rng.choice([TransactionType.BUY, TransactionType.SELL])
        if abs(self.net) > NET_MAX:
            side = TransactionType.SELL if self.net > 0 else TransactionType.BUY
        answers: list[Any] = await self.client.submit_order(
            f"t{self.orders}", **ES, qty=quantity, transaction_type=side, order_type=order_type, **terms
        )
        return answers

    async def _market(self) -> list[Any]:
        return await self._submit(OrderType.MARKET)

    async def _limit(self) -> list[Any]:
        answers = await self._submit(OrderType.LIMIT, price=self._near())
        if answers:
            account_id = self.client.accounts[0].account_id
            terms = {"account_id": account_id, "basket_id": answers[0].basket_id, "price_type": OrderType.LIMIT}
            self.resting.append(SimpleNamespace(**ES, **terms))
        return answers

    async def _modify(self) -> list[Any]:
        order = self.rng.choice(self.resting)
        order.price, order.quantity = self._near(), self.rng.randint(1, 7)
        return list(await self.client.modify_order(order=order))

    async def _cancel(self) -> list[Any]:
        order = self.resting.pop(self.rng.randrange(len(self.resting)))
        return list(await self.client.cancel_order(basket_id=order.basket_id, account_id=order.account_id))

    async def leave(self) -> dict[str, Any]:
        """Close the position; what a market order cannot get within its protection rests, and is tried again.

        Answers come in order: with that of a cancel every fill before it is here as well, and none comes after it.
        """
        for _ in range(EXITS_MAX):
            await self.client.cancel_all_orders()
            account = await self.account()
            if not account["net"]:
                return account
            await self.client.exit_position(**ES)
        raise RuntimeError("the position cannot be closed")

    async def account(self) -> dict[str, Any]:
        """Position and balance, without open profit, as the exchange tells them."""
        positions = await self.client.list_positions()
        (money, *_) = await self.client.list_account_summary()
        balance = Decimal(money.account_balance) - Decimal(money.open_position_pnl)
        return {"net": sum(each.net_quantity for each in positions), "balance": str(balance)}


async def main(url: str, ca_file: str, seed: str) -> None:
    """Trade until told to stop."""
    client = RithmicClient("nightdesk", "nightdesk", "Nightdesk Simulator", "test", "1.0", url)
    client.ssl_context = ssl.create_default_context(cafile=ca_file)
    trader = Trader(client, int(seed))
    await client.connect(plants=PLANTS, plant_connect_delay=0.01)
    for kind in (DataType.LAST_TRADE, DataType.BBO):
        await client.subscribe_to_market_data(*ES.values(), kind)
    told_to_stop = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    while not told_to_stop.done():
        if trader.price:
            await trader.act()
        else:
            await asyncio.sleep(0.01)
    await client.cancel_all_orders()
    seen = {"open": await trader.account(), "fills_until_then": len(trader.fills)}
    flat = await trader.leave()
    seen |= {"flat": flat, "fills": trader.fills, "ticks": trader.ticks, "done": trader.done}
    print(json.dumps(seen), flush=True)
    # While ticks come, the library's disconnect may wait for ever: asyncio.wait_for can swallow a cancellation.
    os._exit(0)


asyncio.run(main(*sys.argv[1:]))
