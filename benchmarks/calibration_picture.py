"""A picture of the calibration: distributions of the recorded and the simulated hour, no prices (extra ``bench``)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

from benchmarks.tape_statistics import HORIZONS_S, LEVELS, Tape, autocorrelation, gaps_s, measure

matplotlib.use("Agg")

from matplotlib import pyplot

LAG_MAX = 30
POINTS_MAX = 400
DOTS_PER_INCH = 80
_STYLES = (("recorded", "black", "-"), ("synthetic", "tab:orange", "-"))


def draw(recorded: Tape, simulated: Sequence[Tape], path: Path) -> None:
    """Six panels as PNG."""
    figure, panels = pyplot.subplots(2, 3, figsize=(13, 7.5))
    markets: list[Sequence[Tape]] = [[recorded], simulated]
    for (label, color, line), tapes in zip(_STYLES, markets, strict=True):
        found = measure(tapes)
        look = {"label": label, "color": color, "linestyle": line}
        _above(panels[0][0], [gap for tape in tapes for gap in gaps_s([ts for ts, _ in tape.orders])], look)
        _above(panels[0][1], [gap for tape in tapes for gap in gaps_s([ts for ts, _, _ in tape.trades])], look)
        for name, dashes, sizes in (
            ("orders", "-", [size for tape in tapes for _, size in tape.orders]),
            ("trades", ":", [size for tape in tapes for _, _, size in tape.trades]),
        ):
            _above(panels[0][2], sizes, look | {"label": f"{label}, {name}", "linestyle": dashes})
        levels = range(1, LEVELS + 1)
        bids = [found[f"depth, bid level {level} (contracts)"] for level in levels]
        asks = [found[f"depth, offer level {level} (contracts)"] for level in levels]
        panels[1][0].plot([-level for level in levels][::-1] + list(levels), bids[::-1] + asks, marker="o", **look)
        deviations = [found[f"mid change over {horizon} s, deviation (ticks)"] for horizon in HORIZONS_S]
        panels[1][1].plot(HORIZONS_S, deviations, marker="o", **look)
        panels[1][2].plot(range(1, LAG_MAX + 1), _signs(tapes), **look)
    _caption(panels)
    figure.tight_layout()
    figure.savefig(path, dpi=DOTS_PER_INCH)
    pyplot.close(figure)


def _above(panel: Any, values: Sequence[float], look: dict[str, str]) -> None:
    ordered = sorted(value for value in values if value > 1e-6)
    step = max(1, len(ordered) // POINTS_MAX)
    shares = [(len(ordered) - index) / len(values) for index in range(0, len(ordered), step)]
    panel.plot(ordered[::step], shares, **look)


def _signs(tapes: Sequence[Tape]) -> list[float]:
    rows = [[sign for _, sign, _ in tape.trades] for tape in tapes]
    return [sum(autocorrelation(row, lag) for row in rows) / len(rows) for lag in range(1, LAG_MAX + 1)]


def _caption(panels: Any) -> None:
    titles = (
        ("Time between orders longer than …", "seconds", "log", "log"),
        ("Time between trades longer than …", "seconds", "log", "log"),
        ("Orders and trades larger than …", "contracts", "log", "log"),
        ("Mean depth by level", "level (bids left, offers right)", "linear", "linear"),
        ("Deviation of mid changes", "horizon, seconds", "log", "log"),
        ("Autocorrelation of trade signs", "lag, trades", "linear", "linear"),
    )
    for panel, (title, below, x_scale, y_scale) in zip(panels.flat, titles, strict=True):
        panel.set_title(title)
        panel.set_xlabel(below)
        panel.set_xscale(x_scale)
        panel.set_yscale(y_scale)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    panels[0][0].set_ylim(1e-5, 1)
    panels[0][1].set_ylim(1e-4, 1)
    panels[1][0].set_ylim(bottom=0)
