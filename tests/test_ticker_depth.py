"""A client that follows the book by level and by order has the venue's own book, whatever happens in it."""

import asyncio
import random
from pathlib import Path
from typing import Any

from nightdesk.messages.enums import Side
from nightdesk.simulator.engine import Exchange
from nightdesk.simulator.plants.depth_window import ORDER_BOOK_LEVELS_MAX
from nightdesk.simulator.venue.matching import Order
from tests.simulator_support import ACCOUNT, START_NS, RawClient, add_liquidity, running_exchange

TICKER, ORDER = 1, 2
ES = {"symbol": "ESH4", "exchange": "CME"}
STEPS = 400


class Follower:
    """What a client makes of the frames: levels of the order book, and single orders."""

    def __init__(self) -> None:
        self.levels: dict[tuple[int, float], tuple[int, int]] = {}
        self.orders: dict[str, tuple[int, float, int, int]] = {}
        self.sequence = 0
        self.last_end = 0

    def take(self, template_id: int, message: Any) -> None:
        if template_id == 156:
            self._take_levels(message)
        elif template_id == 160:
            self._take_orders(message)
        elif template_id == 161:
            assert message.sequence_number == self.sequence
            self.last_end = message.sequence_number

    def _take_levels(self, message: Any) -> None:
        if message.update_type in (1, 2, 3):
            self.levels.clear()
        sides = (
            (1, message.bid_price, message.bid_size, message.bid_orders),
            (2, message.ask_price, message.ask_size, message.ask_orders),
        )
        for side, prices, sizes, counts in sides:
            for price, size, count in zip(prices, sizes, counts, strict=True):
                self.levels[side, price] = (size, count)
                if not size:
                    del self.levels[side, price]

    def _take_orders(self, message: Any) -> None:
        assert message.sequence_number > self.last_end
        self.sequence = message.sequence_number
        for index, update_type in enumerate(message.update_type):
            order_id = message.exchange_order_id[index]
            if update_type == 3:
                del self.orders[order_id]
                continue
            assert (order_id in self.orders) is (update_type == 2)
            self.orders[order_id] = (
                message.transaction_type[index],
                message.depth_price[index],
                message.depth_size[index],
                message.depth_order_priority[index],
            )


def _book_of(exchange: Exchange) -> dict[tuple[int, float], tuple[int, int]]:
    book: dict[tuple[int, float], tuple[int, int]] = {}
    for side, number in ((Side.BUY, 1), (Side.SELL, 2)):
        levels = [level for level in exchange.venue.book("ESH4") if level.side is side][:ORDER_BOOK_LEVELS_MAX]
        book |= {(number, level.price): (level.size, level.orders) for level in levels}
    return book


def _orders_of(exchange: Exchange) -> dict[str, tuple[int, float, int, int]]:
    return {
        order.exchange_order_id: (1 if order.side is Side.BUY else 2, order.price, order.size, order.priority)
        for order in exchange.venue.book_orders("ESH4")
    }


def _step(exchange: Exchange, chance: random.Random, resting: list[Order]) -> None:
    engine = exchange.venue.market("ESH4").matcher
    if resting and chance.random() < 0.3:
        order = resting.pop(chance.randrange(len(resting)))
        if order.leaves:
            engine.cancel(order)
        events = exchange.venue.step("ESH4", [], START_NS)
    else:
        price = 20_000 + chance.randint(-15, 15)
        order = Order(chance.random() < 0.5, chance.randint(1, 9), price)
        resting.append(order)
        events = exchange.venue.step("ESH4", engine.submit(order), START_NS)
    exchange.publish(events)


def test_follower_of_both_depth_feeds_has_the_venues_book(tmp_path: Path) -> None:
    """Images, then deltas: after many random orders, cancels and a client's own, nothing is missing or left over."""
    seed = random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)

    async def scenario() -> None:
        async with running_exchange(tmp_path) as (exchange, server):
            add_liquidity(exchange.venue)
            client, trader = [await RawClient.open(tmp_path, server) for _ in range(2)]
            await client.login(TICKER)
            await trader.login(ORDER)
            follower = Follower()
            assert list((await client.ask(117, **ES, request=1))[1].rp_code) == ["0"]
            for _, level in (await client.ask_all(115, **ES))[:-1]:
                rows = zip(level.exchange_order_id, level.depth_size, level.depth_order_priority, strict=True)
                for order_id, size, priority in rows:
                    follower.orders[order_id] = (level.depth_side, level.depth_price, size, priority)
            await client.ask(100, **ES, request=1, update_bits=4)
            follower.take(*await client.receive())
            assert (follower.levels, follower.orders) == (_book_of(exchange), _orders_of(exchange)), seed
            resting: list[Order] = []
            for number in range(STEPS):
                _step(exchange, chance, resting)
                if number % 40 == 20:
                    await trader.ask(312, **ACCOUNT, **ES, **LIMIT, price=5000.0 + chance.randint(-8, 8) / 4)
            await client.send(18, user_msg=["end"])
            while (frame := await client.receive())[0] != 19:
                follower.take(*frame)
            assert follower.levels == _book_of(exchange), seed
            assert follower.orders == _orders_of(exchange), seed
            assert follower.last_end == exchange.venue.book_sequence("ESH4")
            await client.ask(100, **ES, request=2, update_bits=4)
            await client.ask(117, **ES, request=2)
            _step(exchange, chance, resting)
            assert (await client.ask(18))[0] == 19

    asyncio.run(asyncio.wait_for(scenario(), 20.0))


LIMIT = {"quantity": 3, "transaction_type": 1, "duration": 1, "price_type": 1, "trade_route": "simulator"}
