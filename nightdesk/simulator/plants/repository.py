"""The repository plant: agreements that a user has to accept, and those accepted, for as long as the exchange runs."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from nightdesk.simulator.wire.session import BAD_INPUT, FCM_ID, IB_ID, NO_DATA, Session

NS_PER_S = 1_000_000_000
ACCEPTED = "Accepted"
NOT_ACCEPTED = "Not accepted"
CAPACITY_TEXT_MAX = 64
"""No source lists the words for how market data are used: any text of this length is taken."""


class Agreement(msgspec.Struct, frozen=True):
    """One text that a user has to agree to; ``is_self_certification`` ones ask how market data will be used."""

    agreement_id: str
    title: str
    text: str
    is_mandatory: bool = True
    is_self_certification: bool = False
    is_accepted_at_first: bool = False
    """Every user has accepted it before the exchange starts."""


AGREEMENTS: tuple[Agreement, ...] = (
    Agreement(
        "1",
        "Nightdesk Simulator Terms of Use",
        "This exchange is a simulator. Nothing that is traded here is real, and nothing that it says is advice.",
        is_accepted_at_first=True,
    ),
    Agreement(
        "2",
        "Market Data Self-Certification",
        "Say whether you use market data as a professional or as a non-professional subscriber.",
        is_self_certification=True,
    ),
)
"""The examples that every user has: one accepted, one not."""


class Agreements:
    """Who has accepted what, and when."""

    def __init__(self, agreements: tuple[Agreement, ...] = AGREEMENTS) -> None:
        self._agreements = {each.agreement_id: each for each in agreements}
        self._accepted: dict[tuple[str, str], tuple[int, str]] = {}

    def find(self, agreement_id: str) -> Agreement | None:
        """The agreement of this id."""
        return self._agreements.get(agreement_id)

    def accepted_at_s(self, user: str, agreement: Agreement) -> int | None:
        """The unix second of a user's acceptance, 0 for one of before the exchange's start; None: not accepted."""
        accepted = self._accepted.get((user, agreement.agreement_id))
        if accepted is not None:
            return accepted[0]
        return 0 if agreement.is_accepted_at_first else None

    def accept(self, user: str, agreement: Agreement, now_s: int, capacity: str) -> None:
        """From now on it is accepted; the first acceptance's time stays."""
        first_s = self._accepted.get((user, agreement.agreement_id), (now_s, ""))[0]
        self._accepted[user, agreement.agreement_id] = (first_s, capacity)

    def of(self, user: str, *, accepted: bool) -> Iterator[Agreement]:
        """The user's agreements that are, or are not, accepted."""
        for agreement in self._agreements.values():
            if (self.accepted_at_s(user, agreement) is not None) is accepted:
                yield agreement


def _listed(agreement: Agreement) -> dict[str, object]:
    return {
        "fcm_id": FCM_ID,
        "ib_id": IB_ID,
        "agreement_title": agreement.title,
        "agreement_id": agreement.agreement_id,
        "agreement_acceptance_request": _acceptance_request(agreement),
    }


def _acceptance_request(agreement: Agreement) -> str:
    return "self certification" if agreement.is_self_certification else "accept"


def unaccepted(session: Session, request: Any) -> None:
    """500 → one 501 per agreement that is still to be accepted, then a bare one; code 7 without any."""
    listed = list(session.exchange.agreements.of(session.user_name, accepted=False))
    for agreement in listed:
        session.more(501, request, **_listed(agreement))
    session.end_of_list(501, request, is_empty=not listed)


def accepted(session: Session, request: Any) -> None:
    """502 → one 503 per accepted agreement, then a bare one; code 7 without any."""
    agreements = session.exchange.agreements
    listed = list(agreements.of(session.user_name, accepted=True))
    for agreement in listed:
        session.more(
            503,
            request,
            **_listed(agreement),
            agreement_acceptance_ssboe=agreements.accepted_at_s(session.user_name, agreement),
            agreement_acceptance_status=ACCEPTED,
        )
    session.end_of_list(503, request, is_empty=not listed)


def _agreement(session: Session, response_id: int, request: Any) -> Agreement | None:
    """The agreement that a request names; None when the request has been refused."""
    if not request.agreement_id:
        session.done(response_id, request, BAD_INPUT)
        return None
    agreement = session.exchange.agreements.find(request.agreement_id)
    if agreement is None:
        session.done(response_id, request, NO_DATA)
    return agreement


def accept(session: Session, request: Any) -> None:
    """504 → 505: accepted from now on; an agreement that was accepted before stays so."""
    _take(session, 505, request, needs_capacity=False)


def certify(session: Session, request: Any) -> None:
    """508 → 509: the user says how it uses market data, which is also the acceptance of that agreement."""
    _take(session, 509, request, needs_capacity=True)


def _take(session: Session, response_id: int, request: Any, *, needs_capacity: bool) -> None:
    agreement = _agreement(session, response_id, request)
    if agreement is None:
        return
    capacity = request.market_data_usage_capacity
    if needs_capacity and (not agreement.is_self_certification or not capacity):
        session.done(response_id, request, BAD_INPUT)
        return
    if len(capacity) > CAPACITY_TEXT_MAX:
        session.done(response_id, request, BAD_INPUT)
        return
    now_s = session.exchange.now_ns() // NS_PER_S
    session.exchange.agreements.accept(session.user_name, agreement, now_s, capacity)
    session.done(response_id, request)


def show(session: Session, request: Any) -> None:
    """506 → the agreement's text in one 507, then a bare one; without an id code 6."""
    agreement = _agreement(session, 507, request)
    if agreement is None:
        return
    is_accepted = session.exchange.agreements.accepted_at_s(session.user_name, agreement) is not None
    session.more(
        507,
        request,
        agreement_title=agreement.title,
        agreement_id=agreement.agreement_id,
        agreement=agreement.text.encode(),
        agreement_html=f"<html><body><h1>{agreement.title}</h1><p>{agreement.text}</p></body></html>".encode(),
        agreement_mandatory_flag="true" if agreement.is_mandatory else "false",
        agreement_status=ACCEPTED if is_accepted else NOT_ACCEPTED,
        agreement_acceptance_request=_acceptance_request(agreement),
    )
    session.done(507, request)


HANDLERS: dict[int, Callable[[Session, Any], None]] = {
    500: unaccepted,
    502: accepted,
    504: accept,
    506: show,
    508: certify,
}
