"""The supervisor's reports: one log line each, and for some of them an alert."""

from nightdesk.logs import get_logger
from nightdesk.messages import Alert, ChildId, ExitReason, Severity
from supervisors.state import Report

_LEVELS = {
    "child_started": "info",
    "child_exited": "warning",
    "child_restarted": "warning",
    "child_start_failed": "warning",
    "child_parked": "error",
    "supervisor_gave_up": "error",
}
_ALERTS = {
    "child_restarted": Severity.WARNING,
    "child_parked": Severity.CRITICAL,
    "supervisor_gave_up": Severity.CRITICAL,
}


def write_report(report: Report, supervisor: ChildId, now_ns: int) -> Alert | None:
    """Write the line; the alert, where there is one, is for the caller to send."""
    keys: dict[str, object] = {
        "child_id": report.child_id,
        "pid": report.pid,
        "incarnation": report.incarnation,
        "reason": report.reason,
        "restart_count": report.restart_count,
        "downtime_ms": report.downtime_ms,
        "supervisor": supervisor,
    }
    extra = {"cause": report.cause, "error_type": report.error_type, "error_message": report.error_message}
    keys |= {key: value for key, value in extra.items() if value}
    orderly = report.event == "child_exited" and report.reason == ExitReason.SHUTDOWN
    getattr(get_logger(), "info" if orderly else _LEVELS[report.event])(report.event, **keys)
    severity = _ALERTS.get(report.event)
    if severity is None:
        return None
    last_exit = f" after {report.reason}" if report.reason else ""
    return Alert(
        event=report.event,
        severity=severity,
        origin=supervisor,
        text=f"{report.event.replace('_', ' ')}: {report.child_id}{last_exit}",
        ts_event_ns=now_ns,
        fields=tuple((key, str(value)) for key, value in keys.items()),
    )
