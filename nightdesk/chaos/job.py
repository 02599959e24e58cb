"""The two configurations of a chaos run: the exchange, outside of the tree, and the system that trades on it."""

import secrets
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from nightdesk.chaos.strategies import KINDS
from nightdesk.settings.folders import Folders

SYSTEM_NAME = "Nightdesk Chaos"
USER = "chaos"
ACCOUNT = "CHAOS-1"
USER_VARIABLE = "NIGHTDESK_CHAOS_USER"
PASSWORD_VARIABLE = "NIGHTDESK_CHAOS_PASSWORD"

PRODUCTS = ("ES", "NQ")
SYMBOLS = ("ESZ6", "NQZ6")
TICK_SIZE = 0.25
POINT_VALUES = {"ESZ6": 50.0, "NQZ6": 20.0}
START_PRICE = 5000.0
TICKS_PER_SECOND = 60

PACE_S = (0.05, 0.05, 0.2, 0.04)
"""Of quoter, taker, protector and changer: together far more than 500 orders a minute while everybody is in service."""

WATCHDOG_S = 5.0
"""Shorter than the default, so that a long freeze fits into a short run."""

HEARTBEAT_S = 4.0
"""The exchange's: a link that is cut is found within this and the client's grace of five seconds."""

WIRE_LOG_MB = 8_000
"""Nothing of the oracle may be dropped within an hour."""

PATIENT: dict[str, Any] = {
    "intensity": 1000, "period_s": 3600.0, "backoff_max_s": 0.5, "watchdog_s": WATCHDOG_S, "start_timeout_s": 60.0,
}  # fmt: skip
"""A budget of restarts that no run spends."""

BUDGET: dict[str, Any] = PATIENT | {"intensity": 8, "period_s": 15.0, "backoff_max_s": 0.2}
"""A strategy's: spent by one that fails at each start, within seconds, and by nothing else."""

LAST_WILLS = {"quoter": "cancel_entries", "taker": "flatten", "protector": "keep", "changer": "cancel_entries"}
"""By kind of strategy; of those that are parked."""

CLOCK_SKEW_MAX_S = 60.0
"""More than any fault of the network holds a message back."""

BOUNDLESS = 100_000
CONTRACTS_BOUND = 10_000


class Job(NamedTuple):
    """Where everything of a run is."""

    folder: Path
    system: Folders
    exchange: Folders
    strategies: tuple[str, ...]
    seed: int
    password: str
    """The canary: it may be in no output and in no file."""

    @property
    def environment(self) -> dict[str, str]:
        """What both processes are given; the folder of login locks is the run's own."""
        return {
            USER_VARIABLE: USER,
            PASSWORD_VARIABLE: self.password,
            "XDG_STATE_HOME": str(self.folder / "home"),
        }

    def trouble_file(self, strategy: str) -> Path:
        """What this strategy is told to fail by."""
        return self.folder / f"trouble-{strategy}"


def make_job(folder: Path, seed: int, strategies: int) -> Job:
    """The folders of a run; nothing is written yet."""
    names = tuple(f"{KINDS[index % len(KINDS)].__name__.lower()}_{index + 1}" for index in range(strategies))
    places = {
        name: Folders(
            f"chaos_{name}", str(folder / f"{name}-state"), str(folder / f"{name}-run"), str(folder / f"{name}.yaml")
        )
        for name in ("system", "exchange")
    }
    return Job(folder, places["system"], places["exchange"], names, seed, secrets.token_hex(16))


def write_exchange(job: Job) -> None:
    """The exchange's configuration."""
    _write(job.exchange, exchange_configuration(job))


def write_system(job: Job, port: int) -> None:
    """The configuration of the system under test; ``port`` is the proxy's."""
    _write(job.system, system_configuration(job, port))


def exchange_configuration(job: Job) -> dict[str, Any]:
    """Two contracts that never close, one account without limits, and room for the whole record."""
    user = {
        "user": f"${{{USER_VARIABLE}}}", "password": f"${{{PASSWORD_VARIABLE}}}", "accounts": [ACCOUNT],
        "sessions_per_plant_max": 100,
    }  # fmt: skip
    source = {
        "kind": "synthetic", "seed": job.seed, "ticks_per_second": TICKS_PER_SECOND, "start_price": START_PRICE,
    }  # fmt: skip
    exchange = {
        "system_name": SYSTEM_NAME, "sessions": "always", "users": [user], "source": source, "starting_balance": 1e9,
        "heartbeat_interval_s": HEARTBEAT_S, "wire_log_mb": WIRE_LOG_MB,
    }  # fmt: skip
    return {**_common(job.exchange), "mode": "sim", "risk": _risk(), "exchange": exchange}


def system_configuration(job: Job, port: int) -> dict[str, Any]:
    """A client of that exchange in mode paper, with limits that let everything through but what is meant to stop."""
    gateway = {
        "url": f"wss://127.0.0.1:{port}", "system_name": SYSTEM_NAME,
        "ca_file": str(Path(job.exchange.runtime_dir) / "exchange-ca.pem"),
        "request_timeout_s": 3.0, "connect_timeout_s": 3.0,
        # A refused login must be healed before the third try, which ends a system.
        "reconnect_initial_s": 1.0, "reconnect_max_s": 1.0,
        "reconnect_attempts_max": BOUNDLESS,
    }  # fmt: skip
    as_child = {"watchdog_s": WATCHDOG_S}
    supervision = {
        "services": {"control": PATIENT, "as_child": as_child},
        "plants": {"as_child": as_child},
        "strategies": {"as_child": as_child},
    }
    return {
        **_common(job.system),
        "mode": "paper",
        "account": ACCOUNT,
        "gateway": gateway,
        "credentials": {"user": f"${{{USER_VARIABLE}}}", "password": f"${{{PASSWORD_VARIABLE}}}"},
        "risk": _risk() | {"clock_skew_max_s": CLOCK_SKEW_MAX_S},
        "market_time": {"calendars": dict.fromkeys(PRODUCTS, "always")},
        "strategies": [_strategy(job, index, name) for index, name in enumerate(job.strategies)],
        "alerts": [{"name": "log", "kind": "log", "rate_per_minute": 6000, "supervision": PATIENT}],
        "plant_supervision": PATIENT | {"on_give_up": "escalate"},
        "supervision": supervision,
    }


def _common(folders: Folders) -> dict[str, Any]:
    instruments = [
        {"symbol": symbol, "exchange": "CME", "tick_size": TICK_SIZE, "point_value": value, "commission": 1.25}
        for symbol, value in POINT_VALUES.items()
    ]
    return {
        "name": folders.name,
        "state_dir": folders.state_dir,
        "runtime_dir": folders.runtime_dir,
        "instruments": instruments,
    }


def _risk() -> dict[str, Any]:
    # Several strategies trade one contract on one account: they may meet each other.
    return {
        "max_order_quantity": 100,
        "max_position": CONTRACTS_BOUND,
        "max_open_orders": CONTRACTS_BOUND,
        "max_orders_per_second": CONTRACTS_BOUND,
        "self_trade": "allow",
    }


def _strategy(job: Job, index: int, name: str) -> dict[str, Any]:
    kind = KINDS[index % len(KINDS)]
    symbols = [SYMBOLS[index % len(SYMBOLS)]] if kind.__name__ in ("Protector",) else list(SYMBOLS)
    parameters = {
        "pace_s": PACE_S[index % len(KINDS)],
        "seed": job.seed + index,
        "trouble": str(job.trouble_file(name)),
    }
    return {
        "name": name,
        "class": f"{kind.__module__}:{kind.__name__}",
        "symbols": symbols,
        "parameters": parameters,
        "last_will": LAST_WILLS[kind.__name__.lower()],
        "supervision": BUDGET,
    }


def _write(folders: Folders, content: dict[str, Any]) -> None:
    Path(folders.config_file).write_text(yaml.safe_dump(content, sort_keys=False))
