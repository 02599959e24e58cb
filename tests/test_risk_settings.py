"""The section ``risk``: its levels, which may only tighten one another, and what a live file must have."""

import re
from datetime import time
from pathlib import Path

import pytest

from nightdesk.calendars.terms import TERMS
from nightdesk.messages import StrategyId
from nightdesk.settings.load import CONFIG_FOLDER, load_settings
from nightdesk.settings.risk import Risk
from nightdesk.settings.risk_levels import WEIGHTS, names_of, risk_terms
from nightdesk.settings.risk_rules import LIVE_NEEDS
from nightdesk.trading.risk_terms import AccountRules, Collar, LevelLimits, LossBasis, MarkTime, OnBreach, Scope
from tests.test_settings import GOOD, LIMITS, LIVE, complaint, load, swap

COUNTS = "max_order_quantity: 5, max_position: 10, max_open_orders: 20, max_orders_per_second: 20"
STRICT = """\
  max_order_quantity: 5
  max_position: 10
  max_open_orders: 20
  max_orders_per_second: 20
  max_cancels_per_second: 30
  max_order_notional: 500000
  max_contracts: 5
  price_collar: {ticks: 40}
  market_data_stale_s: 5
  duplicate_window_s: 2
  rejects_in_row_max: 4
  daily_loss_limit: 1000.5
  trailing_drawdown_limit: 2000
  flatten_by: "15:10"
"""


def with_risk(account: str = COUNTS, *, strategy: str = "") -> str:
    """The good file with this account's section, and with one strategy's."""
    text = swap(f"risk: {{{COUNTS}}}", f"risk: {{{account}}}")
    return (
        text if not strategy else text.replace("    symbols: [ESZ6]", f"    symbols: [ESZ6]\n    risk: {{{strategy}}}")
    )


def strict(level: str, limit: str) -> str:
    """A file with every limit at the account, and one more at a lower level."""
    text = swap(f"risk: {{{COUNTS}}}\n", f"risk:\n{STRICT}")
    if level == "strategy":
        return text.replace("    symbols: [ESZ6]", f"    symbols: [ESZ6]\n    risk: {{{limit}}}")
    return text.replace("strategies:", f"  instruments: {{ES: {{{limit}}}}}\nstrategies:")


PER_ORDER = [
    ("max_order_quantity: 5", "max_order_quantity: 6", "at most 5"),
    ("max_position: 10", "max_position: 11", "at most 10"),
    ("max_order_notional: 500000", "max_order_notional: 500000.01", "at most 500000"),
    ("price_collar: {ticks: 40}", "price_collar: {ticks: 41}", "at most ticks 40"),
    ("price_collar: {percent: 50}", "price_collar: {ticks: 41}", "at most ticks 40"),
    ("market_data_stale_s: 5", "market_data_stale_s: 5.1", "at most 5"),
    ('flatten_by: "15:10"', 'flatten_by: "15:11"', "not later than 15:10"),
    ('flatten_by: "17:00"', 'flatten_by: "16:59"', "not later than 15:10"),
]
PER_STRATEGY = [
    *PER_ORDER,
    ("max_open_orders: 20", "max_open_orders: 21", "at most 20"),
    ("max_orders_per_second: 20", "max_orders_per_second: 21", "at most 20"),
    ("max_cancels_per_second: 30", "max_cancels_per_second: 31", "at most 30"),
    ("max_contracts: 5", "max_contracts: 5.001", "at most 5"),
    ("duplicate_window_s: 2", "duplicate_window_s: 1.9", "at least 2"),
    ("rejects_in_row_max: 4", "rejects_in_row_max: 5", "at most 4"),
    ("daily_loss_limit: 1000.5", "daily_loss_limit: 1000.51", "at most 1000.5"),
    ("trailing_drawdown_limit: 2000", "trailing_drawdown_limit: 2001", "at most 2000"),
]
LEVELS = [("instrument", *case) for case in PER_ORDER] + [("strategy", *case) for case in PER_STRATEGY]


@pytest.mark.parametrize(("level", "allowed", "looser", "bound"), LEVELS, ids=lambda value: str(value)[:40])
def test_a_lower_level_may_only_be_stricter(tmp_path: Path, level: str, allowed: str, looser: str, bound: str) -> None:
    """As strict as the account's is all right; looser is one line with both values and the bound."""
    load(tmp_path, strict(level, allowed))
    line = complaint(tmp_path, strict(level, looser))
    key = looser.partition(":")[0]
    where = rf"strategies\[0\]\.risk\.{key}" if level == "strategy" else rf"risk\.instruments\.ES\.{key}"
    assert re.search(rf"{where}: .* is looser than the account's .*\(risk\.{key}\)", line), line
    assert line.endswith(bound)


def test_every_key_of_a_lower_level_is_compared() -> None:
    """A key that is added later must not be able to loosen anything."""
    from nightdesk.settings import risk_rules
    from nightdesk.settings.risk import InstrumentRisk, StrategyRisk

    compared = set(risk_rules._RULES)
    assert set(StrategyRisk.model_fields) == compared
    assert set(InstrumentRisk.model_fields) - compared == {"contract_weight"}
    assert compared <= set(Risk.model_fields)


def test_a_limit_that_the_account_does_not_have_may_be_a_strategys_own(tmp_path: Path) -> None:
    """It is stricter than none."""
    run = load(tmp_path, with_risk(strategy="daily_loss_limit: 250, price_collar: {percent: 0.5}"))
    limits = risk_terms(run.settings).strategies[StrategyId("cross")]
    assert limits == LevelLimits(daily_loss_micros=250_000_000, price_collar=Collar(percent=500_000))


BAD = {
    "two collars": ("price_collar: {ticks: 4, percent: 1}", r"risk\.price_collar: a price collar is \{ticks: 40\} or"),
    "no collar": ("price_collar: {}", r"risk\.price_collar: a price collar is"),
    "collar below a tick": ("price_collar: {ticks: 0}", r"ticks: must be greater than or equal to 1"),
    "a floor of nothing": ("drawdown_floor_max: 0", r"risk: drawdown_floor_max bounds nothing; add trailing_drawdown"),
    "inexact cap": ("max_contracts: 1.0001", r"risk: max_contracts 1\.0001 has more than 3 decimals"),
    "inexact weight": ("instruments: {ES: {contract_weight: 0.0015}}", r"contract_weight 0\.0015 has more than 3 dec"),
    "no limit at all": ("daily_loss_limit: 0", r"daily_loss_limit: must be greater than or equal to 0\.01, not 0"),
    "unknown instrument": ("instruments: {NQ: {max_position: 1}}", r"instruments\.NQ: NQ is of none of the .*\(ES\)"),
    "bad name of one": ("instruments: {es: {max_position: 1}}", r"must be 1 to 16 capital letters"),
    "unknown key of one": (
        "instruments: {ES: {max_positon: 1}}",
        r"instruments\.ES\.max_positon: .* did you mean max_position\?",
    ),
    "account's key in one": ("instruments: {ES: {daily_loss_limit: 1}}", r"daily_loss_limit: is not a known key"),
    "too long a window": ("duplicate_window_s: 61", r"duplicate_window_s: must be less than or equal to 60"),
    "faster than the broker": ("position_stale_s: 60", r"position_stale_s: must be greater than or equal to 90"),
    "no time of day": ("flatten_by: 15:10", r"flatten_by: 15:10 is ambiguous"),
}


@pytest.mark.parametrize(("limit", "pattern"), BAD.values(), ids=BAD)
def test_bad_limit_gets_one_line(tmp_path: Path, limit: str, pattern: str) -> None:
    """With file, line, key and mend."""
    assert re.search(rf"desk\.yaml:5: .*{pattern}", complaint(tmp_path, with_risk(f"{COUNTS}, {limit}")))


@pytest.mark.parametrize("name", ["ES", "ESZ6", "ESH7"])
def test_an_instrument_may_be_a_product_or_a_contract(tmp_path: Path, name: str) -> None:
    """A contract of another month, too, for an alias comes to it."""
    load(tmp_path, with_risk(f"{COUNTS}, instruments: {{{name}: {{max_position: 1}}}}"))


def test_a_live_file_without_limits_is_refused_with_all_that_is_missing(tmp_path: Path) -> None:
    """Each key, with an example that can be copied."""
    line = complaint(tmp_path, swap(f", {LIMITS}", "", LIVE))
    for keys, example in LIVE_NEEDS:
        assert f"{' or '.join(keys)} (such as {example})" in line
    assert "risk: mode live needs 6 more of its limits" in line
    copied = ", ".join(example for _, example in LIVE_NEEDS)
    load(tmp_path, swap(LIMITS, copied, LIVE))


@pytest.mark.parametrize("part", range(6))
def test_each_limit_that_a_live_file_lacks_is_named(tmp_path: Path, part: int) -> None:
    """And no other; either of notional and contracts will do."""
    limits = LIMITS.split(", ")
    line = complaint(tmp_path, swap(LIMITS, ", ".join(limits[:part] + limits[part + 1 :]), LIVE))
    assert "needs 1 more of its limits" in line
    assert limits[part].partition(":")[0] in line
    load(tmp_path, LIVE.replace("max_contracts: 5", "max_order_notional: 1"))


def test_no_other_mode_needs_more_than_before(tmp_path: Path) -> None:
    """Without a new key nothing new is limited but trades with oneself."""
    terms = risk_terms(load(tmp_path, GOOD).settings)
    counts = {"max_order_quantity": 5, "max_position": 10, "max_open_orders": 20, "max_orders_per_second": 20}
    assert terms.account == LevelLimits(**counts)
    assert terms.rules == AccountRules()
    assert terms.strategies == {StrategyId("cross"): LevelLimits()}


def test_limits_become_exact_integers(tmp_path: Path) -> None:
    """Money in millionths, weights in thousandths, percent in millionths."""
    extra = "drawdown_basis: realized, drawdown_mark: end_of_day, drawdown_floor_max: 0.1, on_breach: flatten"
    text = strict("instrument", "contract_weight: 0.1, price_collar: {percent: 0.07}").replace(
        "  flatten_by", f"  {extra.replace(', ', chr(10) + '  ')}\n  self_trade: allow\n  flatten_by"
    )
    terms = risk_terms(load(tmp_path, text).settings)
    assert terms.account == LevelLimits(
        max_order_quantity=5,
        max_position=10,
        max_open_orders=20,
        max_orders_per_second=20,
        max_cancels_per_second=30,
        max_order_notional_micros=500_000_000_000,
        max_contracts=5000,
        price_collar=Collar(ticks=40),
        market_data_stale_s=5.0,
        duplicate_window_s=2.0,
        rejects_in_row_max=4,
        daily_loss_micros=1_000_500_000,
        drawdown_micros=2_000_000_000,
        flatten_by=time(15, 10),
    )
    assert terms.rules == AccountRules(
        is_self_trade_denied=False,
        loss_basis=LossBasis.REALIZED,
        mark_time=MarkTime.END_OF_DAY,
        floor_max_micros=100_000,
        on_breach=OnBreach.FLATTEN,
    )
    assert terms.instruments == {"ES": LevelLimits(price_collar=Collar(percent=70_000))}
    assert terms.weight(("ESZ6", "ES")) == 100


def test_all_levels_that_fit_an_order_hold(tmp_path: Path) -> None:
    """Account, contract, alias, product, strategy; a configured contract is of no alias."""
    text = with_risk(
        f"{COUNTS}, instruments: {{ES: {{max_position: 3}}, ESZ6: {{max_position: 2}}, ES.front: {{max_position: 1}}}}",
        strategy="max_position: 4",
    )
    front = swap("symbol: ESZ6,", "symbol: ES.front, roll: {position: roll},", text).replace("[ESZ6]", "[ES.front]")
    for source, expected in ((text, ["", "ESZ6", "ES", "cross"]), (front, ["", "ESZ6", "ES.front", "ES", "cross"])):
        settings = load(tmp_path, source).settings
        levels = risk_terms(settings).levels(StrategyId("cross"), names_of(settings)("ESZ6"))
        assert [each.name for each in levels] == expected
        assert [each.scope for each in levels][-1] is Scope.STRATEGY


def test_micros_count_what_they_are_of_their_contract() -> None:
    """By their point values, where both are known; a weight of crypto's is rounded up."""
    wholes = {"MES": "ES", "MNQ": "NQ", "M2K": "RTY", "MYM": "YM", "MGC": "GC", "SIL": "SI", "MCL": "CL"}
    for micro, whole in wholes.items():
        assert TERMS[whole].point_value * WEIGHTS[micro] == TERMS[micro].point_value * 1000


def test_the_shipped_rule_set_of_a_firm_is_complete() -> None:
    """It passes all checks, and would as a live one: every limit that such firms set is in it."""
    risk = load_settings("prop_firm.yaml", environ={}).settings.risk
    assert not [keys for keys, _ in LIVE_NEEDS if all(getattr(risk, key) is None for key in keys)]
    for key in ("daily_loss_limit", "trailing_drawdown_limit", "drawdown_floor_max", "max_contracts", "flatten_by"):
        assert getattr(risk, key) is not None
    assert risk.on_breach == "flatten"


def test_the_shipped_live_file_has_every_limit() -> None:
    """Also those that are not required; only a time of day and single instruments are left to its user."""
    text = (CONFIG_FOLDER / "live.yaml").read_text()
    section = text[text.index("\nrisk:") : text.index("\nstrategies:")]
    named = set(re.findall(r"^  (?:# )?(\w+):", section, re.M))
    assert named == set(Risk.model_fields) - {"drawdown_floor_max"}
