"""When a gateway is maintained: the section ``gateway.maintenance``, and for whom it counts."""

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from nightdesk.calendars.maintenance import MaintenanceHours
from nightdesk.settings.market_time import is_always_open
from nightdesk.settings.section import Section, TimeOfDay

if TYPE_CHECKING:
    from nightdesk.settings.models import Settings


class GatewayMaintenance(Section):
    """When the gateway's operators maintain it, each day, by the exchange's clocks (Chicago's): a link that is away
    then is no news, whatever trades."""

    begins: Annotated[TimeOfDay, Field(alias="from")] = "16:00"
    """Nothing is expected of the gateway any more; the default is CME's daily break."""
    ends: Annotated[TimeOfDay, Field(alias="to")] = "17:00"
    """It must be back; later than `from`. A link that is missing then is an alert where a market trades."""
    weekend: bool = False
    """Also from Friday's `from` to Sunday's `to`. Needed only where something trades over the weekend."""

    @model_validator(mode="after")
    def _ends_later(self) -> Self:
        if self.ends <= self.begins:
            raise ValueError(
                f"from {self.begins} to {self.ends} is no time of one day; let it end later than it begins"
            )
        return self


def maintenance_hours(settings: "Settings") -> MaintenanceHours | None:
    """When nothing is expected of the gateway; None: it is never maintained, as an exchange that never closes."""
    if is_always_open(settings):
        return None
    section = GatewayMaintenance() if settings.gateway is None else settings.gateway.maintenance
    if section is None:
        return None
    return MaintenanceHours(section.begins, section.ends, is_weekend=section.weekend)
