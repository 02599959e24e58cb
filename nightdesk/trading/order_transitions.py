"""The life of an order as one table: ``(status, step) -> status``. A pair that is not here raises.

``None`` as a target means *the status the order has at rest*: partly filled, triggered or accepted, whichever of its
facts says most. The broker's reports arrive late, twice and out of order, so every state that is over absorbs them,
with one exception: a late fill counts whenever it comes.
"""

from enum import StrEnum

from nightdesk.messages import OrderStatus as S


class Step(StrEnum):
    """What can happen to an order: our own doing first, the broker's reports after it."""

    DENY = "DENY"
    SEND = "SEND"
    DOUBT = "DOUBT"
    """No answer came, or the link was lost: the broker may have the order or not."""
    REQUEST_UPDATE = "REQUEST_UPDATE"
    REQUEST_CANCEL = "REQUEST_CANCEL"
    SETTLE = "SETTLE"
    """A fresh list of the broker shows the order at rest: what was in flight over a lost link is over."""
    NOT_FOUND = "NOT_FOUND"
    """Several complete answers of the broker did not show the order."""
    KNOWN = "KNOWN"
    OPEN = "OPEN"
    TRIGGER = "TRIGGER"
    FILL_PART = "FILL_PART"
    FILL_ALL = "FILL_ALL"
    UPDATED = "UPDATED"
    UPDATE_REFUSED = "UPDATE_REFUSED"
    CANCEL_CONFIRMED = "CANCEL_CONFIRMED"
    """The exchange took the order off; the exposure stays until the completion."""
    CANCEL_REFUSED = "CANCEL_REFUSED"
    CANCELED = "CANCELED"
    REJECT = "REJECT"
    EXPIRE = "EXPIRE"


FINAL = frozenset({S.DENIED, S.FILLED, S.CANCELED, S.REJECTED, S.EXPIRED})
"""Statuses that an order does not leave, late fills apart."""

_OVER: dict[Step, S | None] = {
    Step.FILL_ALL: S.FILLED,
    Step.CANCELED: S.CANCELED,
    Step.REJECT: S.REJECTED,
    Step.EXPIRE: S.EXPIRED,
}

_ROWS: dict[S, dict[Step, S | None]] = {
    # Reports can overtake the return of our own send, so an order that is only initialized takes them all.
    S.INITIALIZED: _OVER
    | {
        Step.DENY: S.DENIED,
        Step.SEND: S.SUBMITTED,
        Step.DOUBT: S.UNKNOWN,
        Step.REQUEST_CANCEL: S.PENDING_CANCEL,
        Step.KNOWN: S.SUBMITTED,
        Step.OPEN: None,
        Step.TRIGGER: None,
        Step.FILL_PART: None,
        Step.UPDATED: None,
        Step.UPDATE_REFUSED: S.INITIALIZED,
        Step.CANCEL_CONFIRMED: S.PENDING_CANCEL,
        Step.CANCEL_REFUSED: S.INITIALIZED,
    },
    S.SUBMITTED: _OVER
    | {
        Step.SEND: S.SUBMITTED,
        Step.DOUBT: S.UNKNOWN,
        Step.REQUEST_CANCEL: S.PENDING_CANCEL,
        Step.SETTLE: S.SUBMITTED,
        Step.KNOWN: S.SUBMITTED,
        Step.OPEN: None,
        Step.TRIGGER: None,
        Step.FILL_PART: None,
        Step.UPDATED: None,
        Step.UPDATE_REFUSED: S.SUBMITTED,
        Step.CANCEL_CONFIRMED: S.PENDING_CANCEL,
        Step.CANCEL_REFUSED: S.SUBMITTED,
    },
    S.ACCEPTED: _OVER
    | {
        Step.SEND: S.ACCEPTED,
        Step.DOUBT: S.UNKNOWN,
        Step.REQUEST_UPDATE: S.PENDING_UPDATE,
        Step.REQUEST_CANCEL: S.PENDING_CANCEL,
        Step.SETTLE: S.ACCEPTED,
        Step.KNOWN: S.ACCEPTED,
        Step.OPEN: S.ACCEPTED,
        Step.TRIGGER: None,
        Step.FILL_PART: None,
        Step.UPDATED: S.ACCEPTED,
        Step.UPDATE_REFUSED: S.ACCEPTED,
        Step.CANCEL_CONFIRMED: S.PENDING_CANCEL,
        Step.CANCEL_REFUSED: S.ACCEPTED,
    },
    S.TRIGGERED: _OVER
    | {
        Step.SEND: S.TRIGGERED,
        Step.DOUBT: S.UNKNOWN,
        Step.REQUEST_UPDATE: S.PENDING_UPDATE,
        Step.REQUEST_CANCEL: S.PENDING_CANCEL,
        Step.SETTLE: S.TRIGGERED,
        Step.KNOWN: S.TRIGGERED,
        Step.OPEN: S.TRIGGERED,
        Step.TRIGGER: S.TRIGGERED,
        Step.FILL_PART: None,
        Step.UPDATED: S.TRIGGERED,
        Step.UPDATE_REFUSED: S.TRIGGERED,
        Step.CANCEL_CONFIRMED: S.PENDING_CANCEL,
        Step.CANCEL_REFUSED: S.TRIGGERED,
    },
    S.PARTIALLY_FILLED: _OVER
    | {
        Step.SEND: S.PARTIALLY_FILLED,
        Step.DOUBT: S.UNKNOWN,
        Step.REQUEST_UPDATE: S.PENDING_UPDATE,
        Step.REQUEST_CANCEL: S.PENDING_CANCEL,
        Step.SETTLE: S.PARTIALLY_FILLED,
        Step.KNOWN: S.PARTIALLY_FILLED,
        Step.OPEN: S.PARTIALLY_FILLED,
        Step.TRIGGER: S.PARTIALLY_FILLED,
        Step.FILL_PART: S.PARTIALLY_FILLED,
        Step.UPDATED: S.PARTIALLY_FILLED,
        Step.UPDATE_REFUSED: S.PARTIALLY_FILLED,
        Step.CANCEL_CONFIRMED: S.PENDING_CANCEL,
        Step.CANCEL_REFUSED: S.PARTIALLY_FILLED,
    },
    S.PENDING_UPDATE: _OVER
    | {
        Step.SEND: S.PENDING_UPDATE,
        Step.DOUBT: S.UNKNOWN,
        Step.SETTLE: None,
        Step.KNOWN: S.PENDING_UPDATE,
        Step.OPEN: S.PENDING_UPDATE,
        Step.TRIGGER: S.PENDING_UPDATE,
        Step.FILL_PART: S.PENDING_UPDATE,
        Step.UPDATED: None,
        Step.UPDATE_REFUSED: None,
        Step.CANCEL_CONFIRMED: S.PENDING_CANCEL,
        Step.CANCEL_REFUSED: S.PENDING_UPDATE,
    },
    S.PENDING_CANCEL: _OVER
    | {
        Step.SEND: S.PENDING_CANCEL,
        Step.DOUBT: S.UNKNOWN,
        Step.REQUEST_CANCEL: S.PENDING_CANCEL,
        Step.SETTLE: None,
        Step.KNOWN: S.PENDING_CANCEL,
        Step.OPEN: S.PENDING_CANCEL,
        Step.TRIGGER: S.PENDING_CANCEL,
        Step.FILL_PART: S.PENDING_CANCEL,
        Step.UPDATED: S.PENDING_CANCEL,
        Step.UPDATE_REFUSED: S.PENDING_CANCEL,
        Step.CANCEL_CONFIRMED: S.PENDING_CANCEL,
        Step.CANCEL_REFUSED: None,
    },
    S.UNKNOWN: _OVER
    | {
        # The loss of the link was noticed before it was known that nothing of the order had left.
        Step.DENY: S.DENIED,
        Step.SEND: S.UNKNOWN,
        Step.DOUBT: S.UNKNOWN,
        # Neither a cancel nor its refusal says whether there is an order.
        Step.REQUEST_CANCEL: S.UNKNOWN,
        Step.SETTLE: None,
        Step.NOT_FOUND: S.REJECTED,
        Step.KNOWN: S.SUBMITTED,
        Step.OPEN: None,
        Step.TRIGGER: None,
        Step.FILL_PART: None,
        Step.UPDATED: None,
        Step.UPDATE_REFUSED: S.UNKNOWN,
        Step.CANCEL_CONFIRMED: S.PENDING_CANCEL,
        Step.CANCEL_REFUSED: S.UNKNOWN,
    },
}

_REPORTS = (
    Step.SEND,
    Step.DOUBT,
    Step.KNOWN,
    Step.OPEN,
    Step.TRIGGER,
    Step.FILL_PART,
    Step.UPDATED,
    Step.UPDATE_REFUSED,
    Step.CANCEL_CONFIRMED,
    Step.CANCEL_REFUSED,
    Step.CANCELED,
    Step.REJECT,
    Step.EXPIRE,
)

_ABSORBED: dict[tuple[S, Step], S | None] = {
    (status, step): status for status in (S.FILLED, S.CANCELED, S.REJECTED, S.EXPIRED) for step in _REPORTS
}

_LATE_FILLS: dict[tuple[S, Step], S | None] = {
    (S.FILLED, Step.FILL_ALL): S.FILLED,
    (S.CANCELED, Step.FILL_ALL): S.FILLED,
    (S.EXPIRED, Step.FILL_ALL): S.FILLED,
    (S.REJECTED, Step.FILL_ALL): S.FILLED,
    # An order that filled in part was not refused: what ended is its rest.
    (S.REJECTED, Step.FILL_PART): S.CANCELED,
}

TRANSITIONS: dict[tuple[S, Step], S | None] = (
    {(status, step): target for status, row in _ROWS.items() for step, target in row.items()} | _ABSORBED | _LATE_FILLS
)
"""The whole table. Nothing leads out of ``DENIED``: such an order never left, a report of it is a defect."""
