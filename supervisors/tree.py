"""The supervision tree of a configuration: the only place that names all children."""

from nightdesk.messages import ChildId
from nightdesk.settings.children import CONTROL, EXCHANGE, ORDER_PLANT, children_of, exchange_policy, plant_policy
from nightdesk.settings.models import Settings
from nightdesk.settings.runtime import RunConfiguration
from nightdesk.settings.supervision import Branch, RootBranch, Supervision
from supervisors.spec import ROOT, ChildSpec, GiveUp, RestartType, Strategy, SupervisorSpec, branch

_PLANT_BODIES = {
    "plants/order": "actors.plants.order:OrderPlantBody",
    "plants/pnl": "actors.plants.pnl:PnlPlantBody",
    "plants/ticker": "actors.plants.ticker:TickerPlantBody",
    "plants/history": "actors.plants.history:HistoryPlantBody",
}
_ALERT_BODIES = {
    "log": "actors.alerts.log:LogChannelBody",
    "webhook": "actors.alerts.webhook:WebhookChannelBody",
}
_CONTROL_BODY = "actors.control:ControlBody"
_EXCHANGE_BODY = "actors.exchange:ExchangeBody"
_STRATEGY_BODY = "actors.strategies.host:StrategyBody"


def build_tree(run: RunConfiguration) -> SupervisorSpec:
    """Root with its branches, in start order: services, exchange (mode sim), plants, strategies."""
    settings = run.settings
    config = run.to_json()
    own, plants = settings.supervision.root, settings.plant_supervision
    children = [_services(settings, config)]
    if settings.mode == "sim":
        children.append(_worker(EXCHANGE, _EXCHANGE_BODY, config, exchange_policy(settings)))
    children += [_plants(settings, config), _strategies(settings, config)]
    # Root restarts whole branches and the exchange, and what it gives up on ends the system: the plants' own measure.
    return SupervisorSpec(
        id=ROOT,
        children=tuple(children),
        strategy=_strategy(own),
        intensity=_first(own.intensity, plants.intensity, _BUDGET),
        period_s=plants.period_s if own.period_s is None else own.period_s,
    )


_BUDGET = 10
"""Restarts that a supervisor takes where neither it nor its children have a number."""


def _services(settings: Settings, config: bytes) -> ChildSpec:
    own = settings.supervision.services
    workers = [_worker(CONTROL, _CONTROL_BODY, config, own.control)]
    for channel in settings.alerts:
        child_id = ChildId(f"services/alerts/{channel.name}")
        workers.append(_worker(child_id, _ALERT_BODIES[channel.kind], config, channel.supervision))
    return _branch("services", own, workers)


def _plants(settings: Settings, config: bytes) -> ChildSpec:
    workers = [
        _worker(child_id, _PLANT_BODIES[child_id], config, plant_policy(settings, child_id))
        for child_id in children_of("plants", settings)
    ]
    return _branch("plants", settings.supervision.plants, workers)


def _strategies(settings: Settings, config: bytes) -> ChildSpec:
    workers = [
        # The order plant carries out the last will of a strategy that is parked.
        _worker(
            ChildId(f"strategies/{strategy.name}"), _STRATEGY_BODY, config, strategy.supervision, notify=ORDER_PLANT
        )
        for strategy in settings.strategies
    ]
    return _branch("strategies", settings.supervision.strategies, workers)


def _branch(name: str, own: Branch, workers: list[ChildSpec]) -> ChildSpec:
    # Each child has a budget of its own; the branch's is their sum, so that only a child that has spent its own one
    # is given up on, and not the branch because several of them were restarted once each.
    budgets = [worker.intensity for worker in workers]
    total = sum(_BUDGET if budget is None else budget for budget in budgets)
    longest_s = max((worker.period_s for worker in workers), default=60.0)
    spec = SupervisorSpec(
        id=ChildId(name),
        children=tuple(workers),
        strategy=_strategy(own),
        intensity=_first(own.intensity, total),
        period_s=longest_s if own.period_s is None else own.period_s,
    )
    policy = own.as_child
    return branch(
        spec,
        restart=RestartType[policy.restart.upper()],
        intensity=policy.intensity,
        period_s=policy.period_s,
        shutdown_s=policy.shutdown_s,
        start_timeout_s=policy.start_timeout_s,
        watchdog_s=policy.watchdog_s,
        backoff_initial_s=policy.backoff_initial_s,
        backoff_max_s=policy.backoff_max_s,
        on_give_up=GiveUp(policy.on_give_up),
    )


def _worker(child_id: ChildId, body: str, config: bytes, policy: Supervision, *, notify: str = "") -> ChildSpec:
    return ChildSpec(
        id=child_id,
        body=body,
        config=config,
        restart=RestartType[policy.restart.upper()],
        intensity=policy.intensity,
        period_s=policy.period_s,
        shutdown_s=policy.shutdown_s,
        start_timeout_s=policy.start_timeout_s,
        watchdog_s=policy.watchdog_s,
        backoff_initial_s=policy.backoff_initial_s,
        backoff_max_s=policy.backoff_max_s,
        on_give_up=GiveUp(policy.on_give_up),
        park_notify=notify,
    )


def _strategy(own: Branch | RootBranch) -> Strategy:
    return Strategy[own.strategy.upper()]


def _first(*numbers: int | None) -> int:
    return next(number for number in numbers if number is not None)
