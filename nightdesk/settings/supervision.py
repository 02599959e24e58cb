"""How supervisors restart what they watch over: of each child its policy, of each branch its strategy and budget."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nightdesk.settings.section import CountOrInfinity, Seconds, SecondsOrInfinity, Section, TimeOrInfinity

RestartStrategy = Literal["one_for_one", "one_for_all", "rest_for_one"]


class Supervision(Section):
    """How one child is restarted, stopped, watched, and given up on.

    ``restart``: ``permanent`` after every exit, ``transient`` after a crash only, ``temporary`` never. More than
    ``intensity`` restarts in ``period_s`` and the child is given up on: ``park`` sets it aside until ``restart ID``,
    ``escalate`` charges its supervisor, which gives up in its turn. ``intensity: infinity`` leaves it to the
    supervisor's budget alone, as in Erlang/OTP. ``shutdown_s`` is what the child has to stop (0: it is killed at once),
    ``start_timeout_s`` to start, ``watchdog_s`` the longest silence before it is killed. Between restarts it waits
    ``backoff_initial_s``, doubling up to ``backoff_max_s``.
    """

    restart: Literal["permanent", "transient", "temporary"] = "permanent"
    """``permanent``: after every exit; ``transient``: after a crash only; ``temporary``: never, and the child is
    forgotten.
    """
    intensity: CountOrInfinity = 5
    """Restarts within the period that are still all right."""
    period_s: Seconds = 60.0
    """The period in which restarts are counted."""
    on_give_up: Literal["park", "escalate"] = "park"
    """Beyond that: ``park`` sets the child aside until ``restart ID``; ``escalate`` gives the matter to its
    supervisor.
    """
    shutdown_s: TimeOrInfinity = 5.0
    """What it has to stop; 0: it is killed at once."""
    start_timeout_s: SecondsOrInfinity = 20.0
    """What it has to start."""
    watchdog_s: SecondsOrInfinity = 10.0
    """Its longest silence before it is killed and restarted."""
    backoff_initial_s: Annotated[float, Field(ge=0, le=3600)] = 0.1
    """The wait before a restart; it doubles with each one within the period."""
    backoff_max_s: Annotated[float, Field(ge=0, le=3600)] = 10.0
    """The longest such wait."""

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if self.on_give_up == "park" and self.intensity is None:
            raise ValueError("a child that is parked needs an intensity of its own; write a number, not infinity")
        if self.backoff_initial_s > self.backoff_max_s:
            raise ValueError("backoff_initial_s is more than backoff_max_s; mend one of them")
        return self


class PlantSupervision(Supervision):
    """The defaults of plants and of the embedded exchange: without them nobody trades, so that they escalate."""

    intensity: CountOrInfinity = 10
    on_give_up: Literal["park", "escalate"] = "escalate"


class ControlSupervision(Supervision):
    """The defaults of control: without it nothing that is parked can be revived, so that it is given up last of all."""

    intensity: CountOrInfinity = 100
    backoff_max_s: Annotated[float, Field(ge=0, le=3600)] = 30.0


class BranchSupervision(Supervision):
    """The defaults of a branch's own supervisor as root's child, as in Erlang/OTP: root's budget, and time to stop."""

    intensity: CountOrInfinity = None
    on_give_up: Literal["park", "escalate"] = "escalate"
    shutdown_s: TimeOrInfinity = None
    start_timeout_s: SecondsOrInfinity = None


class RootBranch(Section):
    """Root: over the branches and the exchange. When it gives up the system ends with code 6.

    Without ``intensity`` and ``period_s`` it has those of ``plant_supervision``.
    """

    strategy: RestartStrategy = "one_for_one"
    """Whom a restart concerns."""
    intensity: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """Restarts of branches and of the exchange before the system ends with code 6. Default: that of
    ``plant_supervision``.
    """
    period_s: Seconds | None = None
    """The period in which they are counted. Default: that of ``plant_supervision``."""


class Branch(Section):
    """One branch: whom a restart concerns, and how many restarts of children that escalate it takes before it gives up.

    ``one_for_one``: the child alone; ``one_for_all``: all of them; ``rest_for_one``: it and those started after it.
    Without ``intensity`` it is the sum of the children's, so that a child is given up on for its own restarts only;
    without ``period_s`` it is the longest of theirs. ``as_child`` is how root restarts the branch's own supervisor.
    """

    strategy: RestartStrategy = "one_for_one"
    """Whom a restart concerns: the child alone, all children, or it and those started after it."""
    intensity: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """Restarts of children that escalate before the branch gives up. Default: the sum of its children's."""
    period_s: Seconds | None = None
    """The period in which they are counted. Default: the longest of its children's."""
    as_child: BranchSupervision = BranchSupervision()
    """How root restarts the branch's own supervisor."""


class ServicesBranch(Branch):
    """The services; alert channels have ``supervision`` in their own sections."""

    control: ControlSupervision = ControlSupervision()
    """How the control socket's process is restarted."""


class PlantsBranch(Branch):
    """The plants. What is given for one of them replaces ``plant_supervision`` there, as a whole."""

    order: PlantSupervision | None = None
    """Instead of ``plant_supervision`` for the order plant."""
    pnl: PlantSupervision | None = None
    """Instead of ``plant_supervision`` for the PnL plant."""
    ticker: PlantSupervision | None = None
    """Instead of ``plant_supervision`` for the ticker plant."""
    history: PlantSupervision | None = None
    """Instead of ``plant_supervision`` for the history plant."""


class SupervisionTree(Section):
    """The tree: root, its three branches, and the embedded exchange; strategies have ``supervision`` of their own."""

    root: RootBranch = RootBranch()
    """Over branches and exchange."""
    services: ServicesBranch = ServicesBranch()
    """Control and alert channels."""
    exchange: PlantSupervision | None = None
    """Instead of ``plant_supervision`` for the embedded exchange."""
    plants: PlantsBranch = PlantsBranch()
    """The four plants."""
    strategies: Branch = Branch()
    """The strategies."""
