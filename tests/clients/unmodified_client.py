"""An unmodified async_rithmic client against the exchange: URL, CA file, tag of its orders; prints JSON."""

import asyncio
import json
import ssl
import sys
from datetime import UTC, datetime, timedelta

from async_rithmic import DataType, OrderType, RithmicClient, TimeBarType, TransactionType

ES = {"symbol": "ESH4", "exchange": "CME"}


async def main(url: str, ca_file: str, tag: str) -> None:
    client = RithmicClient("nightdesk", "nightdesk", "Nightdesk Simulator", "test", "1.0", url)
    client.ssl_context = ssl.create_default_context(cafile=ca_file)
    ticks, fills, pnl = [], asyncio.Queue(), []
    client.on_tick += ticks.append
    client.on_exchange_order_notification += lambda each: fills.put_nowait(each) if each.notify_type == 5 else None
    client.on_instrument_pnl_update += pnl.append
    await client.connect(plant_connect_delay=0.01)
    await client.subscribe_to_pnl_updates()
    for kind in (DataType.LAST_TRADE, DataType.BBO):
        await client.subscribe_to_market_data(*ES.values(), kind)
    while len({tick["data_type"] for tick in ticks}) < 2 or len(ticks) < 20:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    side, quantity = TransactionType.BUY, 2
    limit = {"order_type": OrderType.LIMIT, "price": 4000.0}
    accepted = await client.submit_order(f"{tag}-rests", **ES, qty=quantity, transaction_type=side, **limit)
    modified = await client.modify_order(order_id=f"{tag}-rests", price=4001.0, qty=1)
    canceled = await client.cancel_order(order_id=f"{tag}-rests")
    await client.submit_order(f"{tag}-fills", **ES, qty=quantity, transaction_type=side, order_type=OrderType.MARKET)
    fill = await asyncio.wait_for(fills.get(), 10)
    positions, summary = await client.list_positions(), await client.list_account_summary()
    now = datetime.now(UTC)
    span = (now - timedelta(hours=1), now + timedelta(hours=1))
    seconds = await client.get_historical_time_bars(*ES.values(), *span, TimeBarType.SECOND_BAR, 1)
    minutes = await client.get_historical_time_bars(*ES.values(), *span, TimeBarType.MINUTE_BAR, 1)
    history = await client.get_historical_tick_data(*ES.values(), *span)
    cancel_all, left = await client.cancel_all_orders(), await client.exit_position(**ES)
    await asyncio.wait_for(fills.get(), 10)
    orders = await client.list_orders()
    seen = {
        "ticks": len(ticks), "seconds": len(seconds), "minutes": len(minutes), "history": len(history),
        "accepted": len(accepted), "modified": modified[0].basket_id == accepted[0].basket_id,
        "canceled": canceled[0].basket_id == accepted[0].basket_id, "fill": [fill.user_tag, fill.fill_price > 0],
        "position": [each.net_quantity for each in positions], "balance": summary[0].account_balance, "pnl": len(pnl),
        "open_pnl": summary[0].open_position_pnl,
        "cancel_all": len(cancel_all), "exit": len(left),
        "front": await client.get_front_month_contract("ES", "CME"),
        "tick_size": (await client.get_reference_data(**ES)).min_qprice_change,
        "orders": [[order.user_tag, order.status, order.total_fill_size] for order in orders],
        "flat": [each.net_quantity for each in await client.list_positions()],
    }  # fmt: skip
    await client.disconnect()
    print(json.dumps(seen))


asyncio.run(main(*sys.argv[1:]))
