"""The price at which a crossed book opens."""

from nightdesk.simulator.venue.book import BookSide


def equilibrium(bids: BookSide, asks: BookSide, last_price: int | None) -> int | None:
    """The price at which most trades; of several the one with the least left over, then the nearest to the last
    trade, then the lowest. None when nothing crosses."""
    bid, ask = bids.best, asks.best
    if bid is None or ask is None or bid < ask:
        return None
    chosen: tuple[int, int, int, int] | None = None
    # Between two prices with orders nothing changes: only the last trade and the prices beside orders can be chosen.
    candidates = {price + step for price in (*bids.levels, *asks.levels) for step in (-1, 0, 1)}
    if last_price is not None:
        candidates.add(last_price)
    for price in sorted(candidates):
        if not ask <= price <= bid:
            continue
        wanted = sum(level.total for at, level in bids.levels.items() if at >= price)
        offered = sum(level.total for at, level in asks.levels.items() if at <= price)
        distance = abs(price - last_price) if last_price is not None else 0
        rank = (-min(wanted, offered), abs(wanted - offered), distance, price)
        if chosen is None or rank < chosen:
            chosen = rank
    return chosen[3] if chosen else None
