"""An exchange that keeps its calendars, lived through by hand: no sockets, no waiting, any time of any week."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import msgspec
import structlog
from structlog.testing import capture_logs

from nightdesk.calendars.zones import local
from nightdesk.clocks import ManualClock
from nightdesk.messages.enums import OrderType, Side, TimeInForce
from nightdesk.settings.models import Settings
from nightdesk.settings.runtime import RunConfiguration
from nightdesk.simulator.assembly import assemble
from nightdesk.simulator.engine import Exchange
from nightdesk.simulator.model import NewOrder, VenueEvent
from tests.calendar_support import CHICAGO, at

ACCOUNT = "SIM-1"
ES = {"symbol": "ESZ6", "exchange": "CME", "tick_size": 0.25, "point_value": 50.0, "commission": 2.0}
ES_NEXT = ES | {"symbol": "ESH7"}
CORN = {"symbol": "ZCH7", "exchange": "CBOT", "tick_size": 0.25, "point_value": 50.0}
CRUDE = {"symbol": "CLF7", "exchange": "NYMEX", "tick_size": 0.01, "point_value": 1000.0}


def shown(now_ns: int) -> str:
    """A moment as the clocks in Chicago show it."""
    return f"{local(now_ns, CHICAGO):%a %H:%M}"


class Lived:
    """One exchange's life, until it is killed or ended. ``seen`` are the events that were published, in order."""

    def __init__(
        self, folder: Path, start: str, instruments: Sequence[dict[str, Any]] = (ES,), **exchange: Any
    ) -> None:
        """``start`` is a time in Chicago. A folder with the log of another life is gone on with.

        ``rate`` are the ticks a second of each contract.
        """
        folder.mkdir(exist_ok=True, parents=True)
        (folder / "r").mkdir(exist_ok=True)
        self.folder = folder
        source = {"kind": "synthetic", "ticks_per_second": exchange.pop("rate", 0.3) * len(instruments)}
        settings = {
            "name": "test",
            "mode": "sim",
            "gateway": {"url": "wss://127.0.0.1", "system_name": "-"},
            "instruments": list(instruments),
            "risk": {"max_order_quantity": 5, "max_position": 9, "max_open_orders": 9, "max_orders_per_second": 99},
            "exchange": {"source": source, "start": _iso(start), "wire_log_mb": 0} | exchange,
        }
        run = RunConfiguration(
            settings=Settings.model_validate(settings),
            config_file=str(folder / "test.yaml"),
            state_dir=str(folder),
            runtime_dir=str(folder / "r"),
        )
        self.seen: list[VenueEvent] = []
        self.hooks: list[Callable[[VenueEvent], None]] = [self.seen.append]
        publish = Exchange.publish

        def watch(exchange: Exchange, events: Sequence[VenueEvent], **more: Any) -> None:
            for event in events:
                for hook in self.hooks:
                    hook(event)
            publish(exchange, events, **more)

        with capture_logs() as self.lines, _patched(Exchange, "publish", watch):
            self.exchange, self.log = assemble(run, clock=ManualClock(at(start)), logger=structlog.get_logger())
        self.venue = self.exchange.venue
        self._watch = watch

    @property
    def now_ns(self) -> int:
        return self.exchange.now_ns()

    def until(self, moment: str) -> Self:
        """Live on until just before a time in Chicago."""
        return self.through(at(moment) - 1)

    def through(self, now_ns: int) -> Self:
        """Live on through this time: everything that is due by then happens."""
        drive: Any = self.exchange.drive
        with capture_logs() as lines, _patched(Exchange, "publish", self._watch):
            while drive._due_ns() <= now_ns:
                drive._take_steps(lambda due_ns: due_ns <= now_ns)
            drive._last_ns = max(drive._last_ns, now_ns)
        self.lines += lines
        return self

    def order(self, side: Side = Side.BUY, price: float | None = None, quantity: int = 1, **terms: Any) -> str:
        """Send an order now; its basket id."""
        symbol = terms.pop("symbol", "ESZ6")
        product = self.venue.market(symbol).product
        new = NewOrder(
            account_id=ACCOUNT,
            user="nightdesk",
            user_tag="",
            symbol=symbol,
            exchange=product.exchange,
            side=side,
            order_type=terms.pop("order_type", OrderType.MARKET if price is None else OrderType.LIMIT),
            quantity=quantity,
            price=price,
            trigger_price=terms.pop("trigger_price", None),
            time_in_force=terms.pop("time_in_force", TimeInForce.DAY),
        )
        basket_id, events = self.venue.submit(msgspec.structs.replace(new, **terms), self.now_ns)
        with _patched(Exchange, "publish", self._watch):
            self.exchange._apply(events)
        return basket_id

    def fate(self, basket_id: str) -> tuple[str | None, str]:
        """An order's completion and text."""
        [order] = [each for each in self.venue.orders(ACCOUNT) if each.basket_id == basket_id]
        return order.completion, order.text

    def of(self, kind: type[Any]) -> list[Any]:
        """The events of a kind so far."""
        return [event for event in self.seen if isinstance(event, kind)]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The lines of the run's log so far with a name."""
        return [dict(line) for line in self.lines if line["event"] == event]

    def killed(self) -> None:
        """``kill -9``: nothing more is written."""
        self.log._last_prices = {}
        self.log.close()


@contextmanager
def _patched(owner: type[Any], name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _iso(start: str) -> str:
    return datetime.fromtimestamp(at(start) // 10**9).astimezone().isoformat()


def main() -> None:
    """Print how much processor time a week of one contract takes, and a weekend."""
    with tempfile.TemporaryDirectory(prefix="nd-") as folder:
        lived = Lived(Path(folder), "2026-11-15 15:30")
        for name, until in (("week", "2026-11-20 16:00"), ("weekend", "2026-11-22 16:00")):
            steps, began_s = lived.exchange.drive.steps, time.process_time()
            lived.until(until)
            print(f"{name}: {time.process_time() - began_s:.4f} s, {lived.exchange.drive.steps - steps} steps")


if __name__ == "__main__":
    main()
