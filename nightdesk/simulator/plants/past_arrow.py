"""The quick way from a Parquet file into columns of machine numbers: whole batches, checked as a whole."""

from array import array
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

from nightdesk.errors import ConfigurationError, NightdeskError
from nightdesk.simulator.flows.columns import in_one_line
from nightdesk.simulator.plants.past_columns import BarColumns, Columns, TradeColumns
from nightdesk.simulator.plants.reference import NS_PER_S

OFF_TICK_MAX = 0.01
"""How far, in ticks, a recorded price may be from a tick: single precision is not exact."""

BAR_VOLUME_MAX = 10**12
"""Contracts of one bar: the sum over all rows of a file stays a number of 64 bits."""


class MalformedBatchError(NightdeskError):
    """Something in a batch of rows is not as it should be; reading it row by row tells what."""


def _pyarrow() -> Any:
    """pyarrow is an extra: imported only where a Parquet file is read."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigurationError(
            "a Parquet file needs the extra 'parquet': pip install 'nightdesk[parquet]', or convert the file to CSV"
        ) from error
    return pyarrow


class ParquetPast:
    """One file, opened anew for each reading of it; raises ``ConfigurationError`` when it is damaged."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._arrow = _pyarrow()
        self._compute = self._arrow.compute
        try:
            self.names: list[str] = self._open().schema_arrow.names
        except (self._arrow.ArrowException, OSError) as error:
            raise ConfigurationError(f"{path}: not a Parquet file ({in_one_line(error)})") from error

    def symbols(self) -> set[str]:
        """The different values of the column ``symbol``."""
        found: set[str] = set()
        try:
            for batch in self.batches(("symbol",), 1 << 20, 0):
                values = self._compute.unique(batch.column(0)).to_pylist()
                found.update(str(each) for each in values if each is not None)
        except self._arrow.ArrowException as error:
            raise ConfigurationError(f"{self._path}: column symbol is not text ({in_one_line(error)})") from error
        return found

    def batches(self, columns: Sequence[str], rows: int, limit: int) -> Iterator[Any]:
        """Record batches of the file in its order, ``limit`` rows in all (0: the whole file)."""
        number = 0
        try:
            for batch in self._open().iter_batches(batch_size=rows, columns=list(columns)):
                part = batch.slice(0, limit - number) if limit else batch
                number += part.num_rows
                yield part
                if limit and number >= limit:
                    return
        except (self._arrow.ArrowException, OSError) as error:
            raise ConfigurationError(f"{self._path}: damaged after row {number} ({in_one_line(error)})") from error

    def release(self) -> None:
        """Give memory back that was needed for the reading alone; a file is often one large group of rows."""
        self._arrow.default_memory_pool().release_unused()

    def append(
        self, batch: Any, columns: Columns, *, tick: Fraction, kind: str | None, symbols: set[str] | None
    ) -> None:
        """Add the batch's rows of a kind and of some symbols (None: of all); all of them or, when it raises, none."""
        try:
            batch = self._filtered(batch, "kind", None if kind is None else [kind])
            batch = self._filtered(batch, "symbol", None if symbols is None else sorted(symbols))
            new = self._trades(batch, tick) if isinstance(columns, TradeColumns) else self._bars(batch, tick)
        except self._arrow.ArrowException as error:
            raise MalformedBatchError(str(error)) from error
        if columns.starts and new["starts"]:
            is_later = new["starts"][0] - columns.starts[-1]
            if is_later < 0 or (is_later == 0 and isinstance(columns, BarColumns)):
                raise MalformedBatchError("the times are not in order")
        for name, values in new.items():
            getattr(columns, name).extend(values)

    def _open(self) -> Any:
        return self._arrow.parquet.ParquetFile(self._path)

    def _filtered(self, batch: Any, name: str, values: list[str] | None) -> Any:
        if values is None:
            return batch
        column = batch.column(name).cast(self._arrow.string())
        wanted = self._arrow.array(values, self._arrow.string())
        return batch.filter(self._compute.is_in(column, value_set=wanted))

    def _trades(self, batch: Any, tick: Fraction) -> dict[str, "array[Any]"]:
        compute = self._compute
        has_size = compute.greater(compute.fill_null(batch.column("size"), 0), 0)
        if compute.any(compute.less(batch.column("size"), 0)).as_py():
            raise MalformedBatchError("a size is negative")
        batch = batch.filter(has_size)
        sizes = self._whole(batch, "size", "i")
        bid_sizes, ask_sizes = array("i", bytes(4 * len(sizes))), array("i", bytes(4 * len(sizes)))
        if "aggressor" in batch.schema.names:
            sides = self._whole(batch, "aggressor", "i")
            if any(abs(side) > 1 for side in sides):
                raise MalformedBatchError("an aggressor is not 1, -1 or 0")
            for row, side in enumerate(sides):
                if side:
                    (ask_sizes if side > 0 else bid_sizes)[row] = sizes[row]
        return {
            "starts": _numbers(self._times(batch, compute.less_equal), "q"),
            "prices": _numbers(self._prices(batch, "price", tick), "d"),
            "sizes": sizes,
            "bid_sizes": bid_sizes,
            "ask_sizes": ask_sizes,
        }

    def _bars(self, batch: Any, tick: Fraction) -> dict[str, "array[Any]"]:
        compute = self._compute
        times = self._times(batch, compute.less)
        seconds = compute.divide(times, NS_PER_S)
        opens, highs, lows, closes = (self._prices(batch, name, tick) for name in ("open", "high", "low", "close"))
        is_enclosed = compute.and_(
            compute.less_equal(lows, compute.min_element_wise(opens, closes)),
            compute.greater_equal(highs, compute.max_element_wise(opens, closes)),
        )
        if not (self._all(is_enclosed) and self._all(compute.equal(compute.multiply(seconds, NS_PER_S), times))):
            raise MalformedBatchError("a bar's prices or its time are not right")
        return {
            "starts": _numbers(seconds, "q"),
            "opens": _numbers(opens, "d"),
            "highs": _numbers(highs, "d"),
            "lows": _numbers(lows, "d"),
            "closes": _numbers(closes, "d"),
            "volumes": self._whole(batch, "volume", "q"),
            "bid_volumes": self._whole(batch, "bid_volume", "i"),
            "ask_volumes": self._whole(batch, "ask_volume", "i"),
            "trades": self._whole(batch, "trades", "i"),
        }

    def _times(self, batch: Any, in_order: Any) -> Any:
        column = batch.column("ts_event_ns")
        if not self._arrow.types.is_integer(column.type) or column.null_count:
            raise MalformedBatchError("a time is missing or no whole number")
        times = column.cast(self._arrow.int64())
        if not self._all(self._compute.greater(times, 0)) or not self._all(in_order(times[:-1], times[1:])):
            raise MalformedBatchError("the times are not in order")
        return times

    def _prices(self, batch: Any, name: str, tick: Fraction) -> Any:
        compute = self._compute
        column = batch.column(name).cast(self._arrow.float64())
        exact = compute.divide(compute.multiply(column, float(tick.denominator)), float(tick.numerator))
        nearest = compute.round(exact)
        is_near = compute.less_equal(compute.abs(compute.subtract(exact, nearest)), OFF_TICK_MAX)
        if column.null_count or not self._all(is_near):
            raise MalformedBatchError("a price is missing or not on a tick")
        return compute.divide(compute.multiply(nearest, float(tick.numerator)), float(tick.denominator))

    def _all(self, conditions: Any) -> bool:
        return len(conditions) == 0 or bool(self._compute.all(conditions).as_py())

    def _whole(self, batch: Any, name: str, code: str) -> "array[int]":
        """A column of counts, zeros where it or a value is missing; a cast that would change a value raises."""
        if name not in batch.schema.names:
            return array(code, bytes(array(code).itemsize * batch.num_rows))
        wanted = self._arrow.int64() if code == "q" else self._arrow.int32()
        column = batch.column(name)
        if self._arrow.types.is_floating(column.type):
            column = self._compute.if_else(self._compute.is_nan(column), None, column)
        counts = _numbers(self._compute.fill_null(column.cast(wanted), 0), code)
        if name != "aggressor" and counts and min(counts) < 0:
            raise MalformedBatchError(f"a {name} is negative")
        if code == "q" and counts and max(counts) > BAR_VOLUME_MAX:
            raise MalformedBatchError(f"a {name} is too large")
        return counts


def _numbers(column: Any, code: str) -> "array[Any]":
    """The values of an Arrow array without gaps, taken from its memory."""
    numbers = array(code)
    if len(column):
        width = numbers.itemsize
        raw = memoryview(column.buffers()[1]).cast("B")
        numbers.frombytes(raw[column.offset * width : (column.offset + len(column)) * width])
    return numbers
