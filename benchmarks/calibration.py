"""The synthetic market beside a recorded one: ``python -m benchmarks.calibration`` prints one Markdown table.

    python -m benchmarks.calibration [--data FILE] [--seeds N] [--picture FILE.png] [--fit]

The recorded market is an hour of the E-mini S&P, order by order, from ../shared/data; of it only sums are printed.
``--picture`` also draws distributions (extra ``bench``); ``--fit`` prints the tables for
``nightdesk/simulator/flows/calibrated.py`` instead.
"""

import argparse
from pathlib import Path

from benchmarks.fit import fitted
from benchmarks.tape_statistics import Tape, measure
from benchmarks.tapes import recorded_hour, simulated_hour

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "esh24_mbo_20231225.parquet"
SEEDS = 8
ERROR_MAX = 0.15


def main() -> None:
    """Read the arguments and do as told."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--fit", action="store_true")
    arguments = parser.parse_args()
    recorded = recorded_hour(arguments.data)
    if arguments.fit:
        for name, value in fitted(recorded.tape, recorded.actions, recorded.orders_by_level).items():
            print(f"{name} = {value}")
        return
    simulated = [simulated_hour(seed) for seed in range(1, arguments.seeds + 1)]
    print(table(recorded.tape, simulated))
    if arguments.picture is not None:
        from benchmarks.calibration_picture import draw

        draw(recorded.tape, simulated, arguments.picture)


def table(recorded: Tape, simulated: list[Tape]) -> str:
    """Markdown; errors above the aim are bold."""
    real, ours = measure([recorded]), measure(simulated)
    lines = ["| statistic | real | ours | relative error |", "|---|---|---|---|"]
    above = 0
    for name, value in real.items():
        error = ours[name] / value - 1.0
        is_above = not abs(error) <= ERROR_MAX  # also of what is no number
        above += is_above
        mark = "**" if is_above else ""
        lines.append(f"| {name} | {value:.3g} | {ours[name]:.3g} | {mark}{error:+.1%}{mark} |")
    lines.append("")
    lines.append(f"{len(real)} statistics, {above} of them more than {ERROR_MAX:.0%} off.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
