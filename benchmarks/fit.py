"""The tables of ``nightdesk/simulator/flows/calibrated.py``, measured from the recorded hour.

Everything here is a sum over the hour: quantiles, means of equal parts of a distribution, shares. The habits that
cannot be read off (how takers and makers react) are found by comparing simulated hours with the recorded one.
"""

from collections.abc import Sequence
from itertools import pairwise

from benchmarks.tape_statistics import Tape, quantile
from benchmarks.tapes import Action

BURST_GAP_S = 0.003
"""Actions closer to each other than this belong to one burst: hardly a gap of the hour lies near it."""
GAP_KNOTS, SIZE_PARTS, LENGTH_PARTS = 33, 50, 40
NEAR_LEVELS, FAR_FROM = 23, 12
_TAIL_SHARE = 0.997
_KINDS = frozenset(("order", "cancel", "trade"))


def fitted(tape: Tape, actions: Sequence[Action], orders_by_level: Sequence[float]) -> dict[str, object]:
    """Parameter names and values, ready to be written down. ``orders_by_level`` are means over time of both sides."""
    acts = [action for action in actions if action.kind in _KINDS]
    gaps = [(late.ts_ns - early.ts_ns) / 1e9 for early, late in pairwise(acts)]
    bursts: list[list[Action]] = [[acts[0]]]
    for gap, action in zip(gaps, acts[1:], strict=True):
        if gap < BURST_GAP_S:
            bursts[-1].append(action)
        else:
            bursts.append([action])
    trading = [burst for burst in bursts if any(action.kind == "trade" for action in burst)]
    quiet = [burst for burst in bursts if not any(action.kind == "trade" for action in burst)]
    placed = [action for action in acts if action.kind == "order"]
    moved = [action.depth for action in acts if action.kind != "trade"]
    return {
        "published_per_s": rounded(tape.published / ((tape.end_ns - tape.start_ns) / 1e9)),
        "burst_gaps_s": knots([gap for gap in gaps if gap < BURST_GAP_S]),
        "calm_gaps_s": knots([gap for gap in gaps if gap >= BURST_GAP_S]),
        "quiet_burst_lengths": parts([len(burst) for burst in quiet], LENGTH_PARTS),
        "trading_burst_lengths": parts([len(burst) for burst in trading], LENGTH_PARTS),
        "trading_burst_share": rounded(len(trading) / len(bursts)),
        "touch_sizes": parts([action.size for action in placed if action.depth == 0], SIZE_PARTS),
        "near_sizes": parts([action.size for action in placed if 0 < action.depth < FAR_FROM], SIZE_PARTS),
        "far_sizes": parts([action.size for action in placed if action.depth >= FAR_FROM], SIZE_PARTS),
        "trade_sizes": parts([size for _, _, size in tape.trades], SIZE_PARTS),
        "level_shares": [rounded(moved.count(depth) / len(moved)) for depth in range(NEAR_LEVELS)],
        "level_orders": [rounded(orders) for orders in orders_by_level],
        "trade_after_trade": _follow_share(trading, after_trade=True),
        "trade_in_burst": _follow_share(trading, after_trade=False),
    }


def knots(values: Sequence[float]) -> list[float]:
    """Quantiles at equal distances; the last one stands for the tail."""
    ordered = sorted(values)
    shares = [step / (GAP_KNOTS - 1) for step in range(GAP_KNOTS - 1)] + [_TAIL_SHARE]
    return [rounded(quantile(ordered, share)) for share in shares]


def parts(values: Sequence[int], count: int) -> list[int]:
    """Means of equal parts of the sorted values, whole numbers with the same sum, about."""
    ordered = sorted(values)
    found: list[int] = []
    carried = 0.0
    for part in range(count):
        row = ordered[part * len(ordered) // count : (part + 1) * len(ordered) // count]
        mean = sum(row) / len(row)
        found.append(max(1, round(mean + carried)))
        carried += mean - found[-1]
    return found


def rounded(value: float) -> float:
    """Three digits are more than one hour can tell."""
    return float(f"{value:.3g}")


def _follow_share(bursts: Sequence[Sequence[Action]], *, after_trade: bool) -> float:
    """How often a trade follows within a burst, after a trade or after something else."""
    followed = [
        late.kind == "trade"
        for burst in bursts
        for early, late in pairwise(burst)
        if (early.kind == "trade") == after_trade
    ]
    return rounded(sum(followed) / len(followed))
