"""The supervision tree of a configuration: the only place that names all children."""

from nightdesk.messages import ChildId
from nightdesk.settings.children import CONTROL, EXCHANGE, children_of
from nightdesk.settings.models import Settings, Supervision
from nightdesk.settings.runtime import RunConfiguration
from supervisors.spec import ROOT, ChildSpec, GiveUp, SupervisorSpec, branch

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

_CONTROL_SUPERVISION = Supervision(intensity=100, backoff_max_s=30.0)
"""Without control nothing that is parked can be revived, so that control itself is given up last of all."""


def build_tree(run: RunConfiguration) -> SupervisorSpec:
    """Root with its branches, in start order: services, exchange (mode sim), plants, strategies."""
    settings = run.settings
    config = run.to_json()
    # Root restarts whole branches and the exchange, and what it gives up on ends the system: the plants' own measure.
    plants = settings.plant_supervision
    children = [branch(_services(settings, config))]
    if settings.mode == "sim":
        children.append(_worker(EXCHANGE, _EXCHANGE_BODY, config, plants))
    children += [branch(_plants(settings, config)), branch(_strategies(settings, config))]
    return SupervisorSpec(id=ROOT, children=tuple(children), intensity=plants.intensity, period_s=plants.period_s)


def _services(settings: Settings, config: bytes) -> SupervisorSpec:
    workers = [_worker(CONTROL, _CONTROL_BODY, config, _CONTROL_SUPERVISION)]
    for channel in settings.alerts:
        child_id = ChildId(f"services/alerts/{channel.name}")
        workers.append(_worker(child_id, _ALERT_BODIES[channel.kind], config, channel.supervision))
    return _supervisor("services", workers)


def _plants(settings: Settings, config: bytes) -> SupervisorSpec:
    ids = children_of("plants", settings)
    workers = [_worker(child_id, _PLANT_BODIES[child_id], config, settings.plant_supervision) for child_id in ids]
    return _supervisor("plants", workers)


def _strategies(settings: Settings, config: bytes) -> SupervisorSpec:
    workers = [
        _worker(ChildId(f"strategies/{strategy.name}"), _STRATEGY_BODY, config, strategy.supervision)
        for strategy in settings.strategies
    ]
    return _supervisor("strategies", workers)


def _supervisor(name: str, workers: list[ChildSpec]) -> SupervisorSpec:
    # Each child has a budget of its own; the branch's is their sum, so that only a child that has spent its own one
    # is given up on, and not the branch because several of them were restarted once each.
    intensity = sum(worker.intensity or 0 for worker in workers)
    period_s = max((worker.period_s for worker in workers), default=60.0)
    return SupervisorSpec(id=ChildId(name), children=tuple(workers), intensity=intensity, period_s=period_s)


def _worker(child_id: ChildId, body: str, config: bytes, supervision: Supervision) -> ChildSpec:
    return ChildSpec(
        id=child_id,
        body=body,
        config=config,
        intensity=supervision.intensity,
        period_s=supervision.period_s,
        shutdown_s=supervision.shutdown_s,
        start_timeout_s=supervision.start_timeout_s,
        watchdog_s=supervision.watchdog_s,
        backoff_initial_s=supervision.backoff_initial_s,
        backoff_max_s=supervision.backoff_max_s,
        on_give_up=GiveUp(supervision.on_give_up),
    )
