"""The alert channel that writes to the log."""

from actors.alerts.channel import AlertChannelBody
from nightdesk.messages import Alert, Severity

_LEVELS = {
    Severity.INFO: "info",
    Severity.WARNING: "warning",
    Severity.ERROR: "error",
    Severity.CRITICAL: "critical",
}


class LogChannelBody(AlertChannelBody):
    """One line ``alert`` for each alert, with its own severity as the level."""

    async def deliver(self, alert: Alert) -> None:
        write = getattr(self.context.log, _LEVELS[alert.severity])
        write(
            "alert",
            alert_event=alert.event,
            origin=alert.origin,
            text=alert.text,
            ts_event_ns=alert.ts_event_ns,
            fields=dict(alert.fields),
        )
