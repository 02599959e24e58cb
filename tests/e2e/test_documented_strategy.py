"""The guarded strategy of ``docs/strategies.md``, its code and its section as printed, in a whole running system."""

import re
import sqlite3
from contextlib import closing
from typing import Any

import yaml

from tests.e2e.harness import ROOT, running, short_folder, sim_configuration, write_configuration

NAME = "guarded_es"
SPEED = 20
"""Market seconds in one of ours: the price has to come to the exits."""
QUICK = {"period_s": 1, "stop_ticks": 2, "target_ticks": 2}


def printed() -> tuple[str, dict[str, Any]]:
    """The code and the section of the configuration."""
    text = (ROOT / "docs" / "strategies.md").read_text()
    part = text[text.index("## Guarded entries") :]
    code, section = re.search(r"```python\n(.*?)```", part, re.S), re.search(r"```yaml\n(.*?)```", part, re.S)
    assert code is not None
    assert section is not None
    (strategy,) = yaml.safe_load(section[1])["strategies"]
    return code[1], strategy


def test_guarded_strategy_of_the_documentation_trades_as_it_says() -> None:
    """Its entries bear a lease, its exits are the server's and without one, and it hears of them."""
    code, section = printed()
    with short_folder() as folder:
        (folder / "guarded.py").write_text(code)
        section |= {"path": str(folder), "parameters": QUICK}
        content = sim_configuration(folder, strategies=[section])
        content["exchange"]["speed"] = SPEED
        with running(write_configuration(folder, content)) as system:
            adopted = system.wait_for("bracket_exit_adopted", timeout_s=90, count=2, strategy_id=NAME)
            (entry,) = {line["parent_client_order_id"] for line in adopted[:2]}
            assert {line["client_order_id"] for line in adopted[:2]} == {f"{entry}-s1", f"{entry}-t1"}
            filled = system.wait_for("exit_filled", timeout_s=120, strategy_id=NAME)
            gone = system.wait_for("exit_gone", strategy_id=NAME)
            assert {filled[0]["exit"], gone[0]["exit"]} == {f"{entry}-s1", f"{entry}-t1"}
            assert filled[0]["position"] == 0
            assert not [each for each in system.events("protection_missing") if each["symbol"] == "ESZ6"]
            assert system.stop() == 0
        with closing(sqlite3.connect(system.state_dir / "journal.db")) as connection:
            leased = dict(connection.execute("SELECT parent_id <> '', min(expire_ns) > 0 FROM orders GROUP BY 1"))
        assert leased == {0: 1, 1: 0}
