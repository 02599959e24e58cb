"""What a subscriber may have missed while its market lane was away. Pure."""


class GapWatch:
    """Remembers the newest tick of each symbol; after an outage the first newer tick shows where the gap ends."""

    def __init__(self) -> None:
        self._last_seen_ns: dict[str, int] = {}
        self._open_ns: dict[str, int] = {}

    def lane_lost(self) -> None:
        """From now on every symbol misses what happens, until its next tick."""
        self._open_ns.update(self._last_seen_ns)

    def announced(self, symbol: str, ts_to_ns: int) -> None:
        """The plant itself has announced a gap up to this time: nothing is left for us to say."""
        self._open_ns.pop(symbol, None)
        self._last_seen_ns[symbol] = max(self._last_seen_ns.get(symbol, 0), ts_to_ns)

    def seen(self, symbol: str, ts_event_ns: int) -> int | None:
        """Take a tick; returns where a gap began that ends with it. The image of an old trade ends no gap."""
        if self._open_ns:
            from_ns = self._open_ns.get(symbol)
            if from_ns is not None:
                if ts_event_ns <= from_ns:
                    return None
                del self._open_ns[symbol]
                self._last_seen_ns[symbol] = ts_event_ns
                return from_ns
        self._last_seen_ns[symbol] = ts_event_ns
        return None

    def forget(self) -> None:
        """Market time was set anew: what was seen before says nothing any more."""
        self._last_seen_ns.clear()
        self._open_ns.clear()
