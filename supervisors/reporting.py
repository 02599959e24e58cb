"""The supervisor's reports: one log line each with exactly these keys, and for some of them an alert."""

from nightdesk.logs import get_logger
from nightdesk.messages import Alert, ChildId, Severity
from supervisors.events import ErrorContext, Report, ReportKind

REPORT_TEXT_MAX = 1_000
"""Characters of one text in a report; the rest is cut, with a mark."""

CUT = "…[cut]"

PROGRESS_KEYS = (
    "report",
    "supervisor",
    "child_id",
    "pid",
    "incarnation",
    "child_kind",
    "restart_type",
    "shutdown_s",
    "reason",
    "restart_count",
    "downtime_ms",
)
"""Of a progress report; of them child_id, pid, incarnation, child_kind, restart_type and shutdown_s are OTP's child."""

SUPERVISOR_KEYS = (*PROGRESS_KEYS, "error_context", "cause", "error_type", "error_message")
"""Of a supervisor report and of a notice; ``error_context`` of a notice is empty."""

_ALERTS = {
    "child_restarted": Severity.WARNING,
    "child_parked": Severity.CRITICAL,
    "supervisor_gave_up": Severity.CRITICAL,
}


def keys_of(report: Report, supervisor: ChildId) -> dict[str, object]:
    """The keys of the report's line, in order."""
    spec = report.spec
    keys: dict[str, object] = {
        "report": report.kind.value,
        "supervisor": supervisor,
        "child_id": spec.id,
        "pid": report.pid,
        "incarnation": report.incarnation,
        "child_kind": spec.kind.value,
        "restart_type": spec.restart.value,
        "shutdown_s": spec.shutdown_s,
        "reason": report.reason,
        "restart_count": report.restart_count,
        "downtime_ms": report.downtime_ms,
    }
    if report.kind is not ReportKind.PROGRESS:
        keys |= {
            "error_context": report.error_context.value if report.error_context else "",
            "cause": _shortened(report.cause),
            "error_type": _shortened(report.error_type),
            "error_message": _shortened(report.error_message),
        }
    return keys


def write_report(report: Report, supervisor: ChildId, now_ns: int) -> Alert | None:
    """Write the line; the alert, where there is one, is for the caller to send."""
    keys = keys_of(report, supervisor)
    getattr(get_logger(), _level(report))(report.event, **keys)
    severity = _ALERTS.get(report.event)
    if severity is None:
        return None
    why = keys.get("cause") or report.reason
    after = f" after {why}" if why else ""
    return Alert(
        event=report.event,
        severity=severity,
        origin=supervisor,
        text=f"{report.event.replace('_', ' ')}: {report.child_id}{after}, restarts: {report.restart_count}",
        ts_event_ns=now_ns,
        fields=tuple((key, str(value)) for key, value in keys.items() if value != ""),
    )


def _level(report: Report) -> str:
    if report.error_context is ErrorContext.SHUTDOWN or report.event == "child_parked":
        return "error"
    # A restart is progress in OTP's words, but an operator wants to see it.
    worth_a_look = report.error_context is not None or report.event == "child_restarted"
    return "warning" if worth_a_look else "info"


def _shortened(text: str) -> str:
    return text if len(text) <= REPORT_TEXT_MAX else text[: REPORT_TEXT_MAX - len(CUT)] + CUT
