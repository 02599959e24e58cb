"""Holds what the gateway says of contracts against the configuration and the products' rules."""

from typing import Final

import msgspec

from actors.base import Context
from actors.contracts import Contracts
from nightdesk.instrument_table import ContractFacts
from nightdesk.messages import Severity
from nightdesk.rithmic import reference
from nightdesk.rithmic.session import PlantSession, RequestRefused
from nightdesk.settings.models import Instrument
from nightdesk.trading.contracts import trade_date_of

_RELATIVE: Final = 1e-9


class ReferenceWatch:
    """What the gateway says, by contract. ``facts`` go into the table of instruments."""

    def __init__(self, context: Context, contracts: Contracts) -> None:
        self._context = context
        self._contracts = contracts
        self._told: set[tuple[str, str]] = set()
        self.facts = {symbol: self._judged(symbol, facts) for symbol, facts in contracts.table.contracts.items()}

    async def ask(self, session: PlantSession) -> None:
        """Ask for the terms of all contracts that can be traded now or next. Raises ``LinkError``."""
        for instrument in self._contracts.listed(ahead=1):
            try:
                facts = await reference.contract_facts(session, instrument.symbol, instrument.exchange)
            except RequestRefused as refusal:
                self._context.log.warning("reference_data_refused", symbol=instrument.symbol, reason=str(refusal))
                continue
            if facts is not None:
                self._take(instrument.symbol, facts)

    def _take(self, symbol: str, facts: ContractFacts) -> None:
        facts = self._judged(symbol, facts)
        self.facts[symbol] = facts
        if facts.problem and self._is_news(symbol, facts.problem):
            self._context.log.critical("instrument_mismatch", symbol=symbol, problem=facts.problem)
            text = f"{facts.problem}; its orders are denied"
            self._context.alert("instrument_mismatch", Severity.CRITICAL, text, symbol=symbol)
        if facts.expiration_date:
            self._compare_ends(symbol, facts)

    def _judged(self, symbol: str, facts: ContractFacts) -> ContractFacts:
        """The same with what is wrong by the present configuration."""
        instrument = self._contracts.instrument(symbol)
        problem = facts.problem if instrument is None else _problem(instrument, facts)
        return msgspec.structs.replace(facts, problem=problem)

    def _compare_ends(self, symbol: str, facts: ContractFacts) -> None:
        said = facts.expiration_date
        if trade_date_of(said) is None:
            if self._is_news(symbol, said):
                self._context.log.warning("expiration_unreadable", symbol=symbol, expiration_date=said[:40])
            return
        rule, exchange = self._contracts.ends(symbol, facts)
        if (
            rule is None
            or exchange is None
            or rule.trade_date == exchange.trade_date
            or not self._is_news(symbol, said)
        ):
            return
        severity, follows = Severity.WARNING, f"no position is opened after {rule.trade_date}, exits pass"
        if exchange.trade_date < rule.trade_date:
            has_ended = self._context.market_time.now_ns() >= exchange.ends_ns
            severity = Severity.CRITICAL if has_ended else Severity.ERROR
            follows = (
                "its orders are denied" if has_ended else "its orders are denied from then on, aliases leave sooner"
            )
        fields = {"symbol": symbol, "gateway": exchange.trade_date, "rule": rule.trade_date}
        log = self._context.log.warning if severity is Severity.WARNING else self._context.log.error
        log("expiration_mismatch", **fields)
        text = f"{symbol} ends on {exchange.trade_date} says the gateway, on {rule.trade_date} says its rule; {follows}"
        self._context.alert("expiration_mismatch", severity, text, **fields)

    def _is_news(self, symbol: str, what: str) -> bool:
        is_news = (symbol, what) not in self._told
        self._told.add((symbol, what))
        return is_news


def _problem(instrument: Instrument, facts: ContractFacts) -> str:
    """How the gateway contradicts the configuration; empty where it does not."""
    symbol = instrument.symbol
    for name, ours, theirs in (
        ("tick size", instrument.tick_size, facts.tick_size),
        ("point value", instrument.point_value, facts.point_value),
    ):
        if theirs is not None and abs(ours - theirs) > _RELATIVE * max(ours, theirs):
            return f"{symbol}: the gateway says {name} {theirs:g}, the configuration says {ours:g}; mend instruments"
    return ""
