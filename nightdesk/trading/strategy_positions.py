"""A strategy's own small view of its positions: from its fills at once, corrected by the order plant's reports."""

from collections.abc import Iterable, Mapping

import msgspec

from nightdesk.messages import OrderFilled, PositionReport, Side, StrategyId
from nightdesk.trading.host_api import InstrumentTerms

_PRICE_DIGITS = 6
"""Average prices that agree to so many digits are the same: two sums of the same fills differ in the last bits."""


class StrategyPositions:
    """Net positions by symbol; ``fill`` and ``report`` return the position when that is news to the strategy."""

    def __init__(self, strategy_id: StrategyId, instruments: Mapping[str, InstrumentTerms]) -> None:
        self._strategy_id = strategy_id
        self._instruments = instruments
        self._positions: dict[str, PositionReport] = {}
        for symbol in instruments:
            self.add(symbol)

    def add(self, symbol: str) -> None:
        """A further one of the instruments; flat, until something else is heard."""
        if symbol not in self._positions:
            self._positions[symbol] = PositionReport(
                strategy_id=self._strategy_id,
                symbol=symbol,
                exchange=self._instruments[symbol].exchange,
                quantity=0,
                average_price=0.0,
                realized_pnl=0.0,
                unrealized_pnl=0.0,
            )

    def get(self, symbol: str) -> PositionReport:
        """The position, flat ones included."""
        return self._positions[symbol]

    def fill(self, event: OrderFilled) -> PositionReport | None:
        """Count one fill of ours, which must not have been counted before."""
        position = self._positions.get(event.symbol)
        if position is None:
            return None
        point_value = self._instruments[event.symbol].point_value
        return self._put(_filled(position, event, point_value))

    def report(self, report: PositionReport) -> PositionReport | None:
        """Take the order plant's word for one position."""
        return self._put(report) if report.symbol in self._positions else None

    def replace_all(self, reports: Iterable[PositionReport]) -> list[PositionReport]:
        """Take the order plant's word for all; what it does not name is flat. Returns those that are news."""
        named = {report.symbol: report for report in reports}
        changed = []
        for symbol, position in list(self._positions.items()):
            flat = msgspec.structs.replace(position, quantity=0, average_price=0.0, unrealized_pnl=0.0)
            news = self._put(named.get(symbol, flat))
            if news is not None:
                changed.append(news)
        return changed

    def _put(self, position: PositionReport) -> PositionReport | None:
        before = self._positions[position.symbol]
        self._positions[position.symbol] = position
        same = before.quantity == position.quantity and round(before.average_price, _PRICE_DIGITS) == round(
            position.average_price, _PRICE_DIGITS
        )
        return None if same else position


def _filled(position: PositionReport, event: OrderFilled, point_value: float) -> PositionReport:
    """Average price of what was opened, profit of what was closed."""
    signed = event.last_quantity if event.side == Side.BUY else -event.last_quantity
    before, after = position.quantity, position.quantity + signed
    realized = position.realized_pnl
    if before * signed >= 0:
        cost = position.average_price * abs(before) + event.last_price * abs(signed)
        average = cost / abs(after) if after else 0.0
    else:
        closed = min(abs(before), abs(signed))
        direction = 1 if before > 0 else -1
        realized += (event.last_price - position.average_price) * direction * closed * point_value
        crossed = before * after < 0
        average = event.last_price if crossed else position.average_price if after else 0.0
    return msgspec.structs.replace(
        position,
        quantity=after,
        average_price=average,
        realized_pnl=realized,
        commission=position.commission + event.commission,
    )
