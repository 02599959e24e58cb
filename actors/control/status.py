"""The answer to ``status``: an interface, put together from what everybody answered; who did not is shown as such."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from nightdesk.messages import (
    AccountStatus,
    ChildReport,
    ChildState,
    Message,
    PlantStatus,
    PositionReport,
    StrategyId,
    StrategyStatus,
    TreeStatus,
)
from nightdesk.settings.children import BRANCHES, ORDER_PLANT, PLANTS, all_children, children_of, supervisor_of
from nightdesk.settings.models import Settings

Answers = Mapping[str, Message]
"""Answers by ``key_of``."""

_UNKNOWN = "unknown"
_DELETED = "deleted"
_ACTIVE = frozenset({ChildState.RUNNING, ChildState.STOPPING})
_ORDER_COUNTS = ("working", "filled", "canceled", "denied", "rejected", "unknown")


def key_of(origin: str, message: Message) -> str:
    """Under which key an answer is filed; one actor may give several of different kinds."""
    match message:
        case TreeStatus():
            return f"tree:{origin}"
        case PlantStatus():
            return f"plant:{message.child_id}"
        case StrategyStatus():
            return f"strategy:strategies/{message.strategy_id}"
        case AccountStatus():
            return "account"
    return "result"


def tree_keys() -> set[str]:
    """The answers that show every child."""
    return {f"tree:{supervisor}" for supervisor in ("root", *BRANCHES)}


def status_keys(settings: Settings) -> set[str]:
    """The answers that a whole status is made of."""
    plants = {f"plant:{child_id}" for child_id in children_of("plants", settings)}
    strategies = {f"strategy:{child_id}" for child_id in children_of("strategies", settings)}
    return {*tree_keys(), *plants, *strategies, "account"}


def keys_without_hope(settings: Settings, origin: str, message: Message) -> set[str]:
    """The answers that nobody will give, because the child, or the branch it is in, has no process that runs."""
    if not isinstance(message, TreeStatus):
        return set()
    running = {child.child_id for child in message.children if child.state is ChildState.RUNNING}
    silent = set(children_of(origin, settings)) - running
    silent |= {below for child_id in silent for below in children_of(child_id, settings)}
    keys = {f"{kind}:{child_id}" for child_id in silent for kind in ("plant", "strategy", "tree")}
    return keys | {"account"} if ORDER_PLANT in silent else keys


def status(settings: Settings, answers: Answers, market: list[dict[str, Any]]) -> dict[str, Any]:
    """The whole status; ``market`` is what ``market_report`` gives."""
    account = answers.get("account")
    known = account if isinstance(account, AccountStatus) else None
    reports = _reports(answers)
    everyone = children(settings, answers)
    by_id = {child["id"]: child for child in everyone}
    uptime_s = max((report.uptime_s for report in reports.values() if report.kind == "supervisor"), default=0.0)
    return {
        "mode": settings.mode,
        "trading_state": known.trading_state if known else "UNKNOWN",
        "uptime_s": round(uptime_s, 3),
        "market": market,
        "children": everyone,
        "plants": {plant: _plant(answers.get(f"plant:plants/{plant}")) for plant in PLANTS},
        "strategies": {
            child_id: _strategy(child_id, answers.get(f"strategy:{child_id}"), known, by_id[child_id])
            for child_id in children_of("strategies", settings)
        },
        "positions": [_position(report) for report in known.positions if not report.strategy_id] if known else [],
        "orders": {name: getattr(known.orders, name) if known else None for name in _ORDER_COUNTS},
    }


def children(settings: Settings, answers: Answers) -> list[dict[str, Any]]:
    """Every child in start order; where a supervisor did not answer, its children's state is ``unknown``.

    Children of a branch without a process have its state; a temporary one that has ended is ``deleted``.
    """
    reports = _reports(answers)
    expected = list(all_children(settings))
    expected += [report.child_id for report in reports.values() if report.child_id not in set(expected)]
    return [_child(child_id, reports.get(child_id), _state_without_report(child_id, answers)) for child_id in expected]


def branches(settings: Settings, answers: Answers, names: Sequence[str]) -> list[dict[str, Any]]:
    """Each of these supervisors with OTP's four counts and its direct children."""
    everyone = children(settings, answers)
    found = []
    for name in names:
        own = [child for child in everyone if supervisor_of(child["id"]) == name and child["state"] != _DELETED]
        supervisors = sum(child["kind"] == "supervisor" for child in own)
        counts = {
            "specs": len(own),
            "active": sum(child["state"] in _ACTIVE for child in own),
            "supervisors": supervisors,
            "workers": len(own) - supervisors,
        }
        found.append({"id": name, "counts": counts, "children": own})
    return found


def _state_without_report(child_id: str, answers: Answers) -> str:
    parent = supervisor_of(child_id)
    if f"tree:{parent}" in answers:
        return _DELETED
    above = _reports(answers).get(parent)
    return _UNKNOWN if above is None or above.state is ChildState.RUNNING else above.state


def _reports(answers: Answers) -> dict[str, ChildReport]:
    return {
        child.child_id: child
        for message in answers.values()
        if isinstance(message, TreeStatus)
        for child in message.children
    }


def _child(child_id: str, report: ChildReport | None, state: str) -> dict[str, Any]:
    if report is None:
        kind = "supervisor" if child_id in BRANCHES else "worker"
        return {
            "id": child_id,
            "kind": kind,
            "pid": 0,
            "incarnation": 0,
            "state": state,
            "restarts": 0,
            "uptime_s": 0.0,
        }
    return {
        "id": report.child_id,
        "kind": report.kind,
        "pid": report.pid,
        "incarnation": report.incarnation,
        "state": report.state,
        "restarts": report.restarts,
        "uptime_s": round(report.uptime_s, 3),
    }


def _plant(answer: Message | None) -> dict[str, Any]:
    if not isinstance(answer, PlantStatus):
        return {"connected": False, "last_message_age_s": None, "messages": 0, "reconnects": 0}
    return {
        "connected": answer.connected,
        "last_message_age_s": answer.last_message_age_s,
        "messages": answer.messages,
        "reconnects": answer.reconnects,
    }


def _strategy(
    child_id: str, answer: Message | None, account: AccountStatus | None, report: dict[str, Any]
) -> dict[str, Any]:
    name = child_id.partition("/")[2]
    own = answer if isinstance(answer, StrategyStatus) else None
    state = own.state if own else _UNKNOWN
    if own is None and report["state"] != ChildState.RUNNING:
        state = report["state"]
    elif account is not None and name in account.paused_strategies:
        # The order plant's gate decides; the strategy may not have heard of it yet.
        state = "paused"
    # The journal counts over crashes and restarts, the strategy only since its own start.
    orders = dict(account.orders_by_strategy) if account else {}
    fills = dict(account.fills_by_strategy) if account else {}
    return {
        "state": state,
        "ticks": own.ticks if own else 0,
        "orders_sent": orders.get(StrategyId(name), own.orders_sent if own else 0),
        "fills": fills.get(StrategyId(name), own.fills if own else 0),
    }


def _position(report: PositionReport) -> dict[str, Any]:
    full = msgspec.structs.asdict(report)
    return {key: full[key] for key in ("symbol", "quantity", "average_price", "realized_pnl", "unrealized_pnl")}
