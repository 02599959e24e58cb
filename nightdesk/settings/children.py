"""The ids of all children that a configuration asks for, in start order."""

from nightdesk.messages import ChildId
from nightdesk.settings.models import Settings
from nightdesk.settings.supervision import PlantSupervision

BRANCHES = ("services", "plants", "strategies")
PLANTS = ("order", "pnl", "ticker", "history")
CONTROL = ChildId("services/control")
EXCHANGE = ChildId("exchange")
ORDER_PLANT = ChildId("plants/order")


def children_of(supervisor: str, settings: Settings) -> tuple[ChildId, ...]:
    """A supervisor's direct children, in start order; root's are the branches and, in mode sim, the exchange."""
    match supervisor:
        case "root":
            exchange = [EXCHANGE] if settings.mode == "sim" else []
            return (ChildId("services"), *exchange, ChildId("plants"), ChildId("strategies"))
        case "services":
            return (CONTROL, *(ChildId(f"services/alerts/{channel.name}") for channel in settings.alerts))
        case "plants":
            return tuple(ChildId(f"plants/{plant}") for plant in PLANTS)
        case "strategies":
            return tuple(ChildId(f"strategies/{strategy.name}") for strategy in settings.strategies)
    return ()


def all_children(settings: Settings) -> tuple[ChildId, ...]:
    """Every child below root, each branch followed by its own children."""
    found: list[ChildId] = []
    for child in children_of("root", settings):
        found += [child, *children_of(child, settings)]
    return tuple(found)


def supervisor_of(child_id: str) -> str:
    """The id of the supervisor that has this child."""
    branch = child_id.partition("/")[0]
    return branch if branch != child_id else "root"


def plant_policy(settings: Settings, child_id: str) -> PlantSupervision:
    """How a plant is restarted: what the tree says of it alone, else what is said of all plants."""
    own: PlantSupervision | None = getattr(settings.supervision.plants, child_id.rpartition("/")[2])
    return settings.plant_supervision if own is None else own


def exchange_policy(settings: Settings) -> PlantSupervision:
    """How the embedded exchange is restarted."""
    own = settings.supervision.exchange
    return settings.plant_supervision if own is None else own
