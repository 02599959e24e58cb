"""The ticker plant's care for contracts: it keeps the table of instruments, schedules rolls, checks reference data."""

from collections.abc import Callable
from typing import Any, Final

from actors.base import Context
from actors.contracts import Contracts
from actors.plants.market_herald import utc_text
from nightdesk.errors import CalendarError
from nightdesk.instrument_table import AliasEntry, ContractFacts, InstrumentTable
from nightdesk.messages import Severity
from nightdesk.rithmic import reference
from nightdesk.rithmic.session import PlantSession, RequestRefused
from nightdesk.settings.models import Instrument
from nightdesk.trading.rolls import ALIAS_MARK, Leg, roll_opening
from nightdesk.trading.schedule import MarketSchedule
from nightdesk.trading.sessions import NS_PER_S
from nightdesk.trading.volume_watch import VolumeWatch

NOTICE_S: Final = 5.0
"""A roll is decided so long, in seconds of this machine, before the position's turn comes: everybody has read of it."""

FRONT_MONTH_POLL_NS: Final = 900 * NS_PER_S
"""Market time between two questions for the exchange's front month."""

LEGS_BEHIND: Final = 1
LEGS_AHEAD: Final = 2
"""Of the table, for people: programs derive the rest."""

_RELATIVE = 1e-9


class FrontWatch:
    """One per system; ``want`` subscribes to a contract that has to be watched although nobody asked for it."""

    def __init__(
        self, context: Context, contracts: Contracts, schedule: MarketSchedule, want: Callable[[str, str], None]
    ) -> None:
        self._context = context
        self._contracts = contracts
        self._schedule = schedule
        self._want = want
        self._facts: dict[str, ContractFacts] = dict(contracts.table.contracts)
        self._decided = {alias: list(entry.decided) for alias, entry in contracts.table.aliases.items()}
        self._volumes = {
            alias.partition(ALIAS_MARK)[0]: VolumeWatch(schedule.calendar(alias)) for alias in self._with_rule("volume")
        }
        self._fronts: dict[str, str] = {}
        self._scheduled: dict[str, tuple[Leg, Leg] | None] = {}
        self._written: InstrumentTable | None = None
        self._polled_ns: int | None = None
        self._told: set[tuple[str, str]] = set()
        self.is_counting = bool(self._volumes)
        """Whether trades' volumes are of interest."""

    async def check(self, session: PlantSession) -> None:
        """At each login: hold the configured terms against the gateway's. Raises ``LinkError``."""
        for instrument in self._contracts.listed(ahead=1):
            try:
                facts = await reference.contract_facts(session, instrument.symbol, instrument.exchange)
            except RequestRefused as refusal:
                self._context.log.warning("reference_data_refused", symbol=instrument.symbol, reason=str(refusal))
                continue
            if facts is not None:
                self._take_facts(instrument, facts)
        self._polled_ns = None
        await self._poll(session)
        self.look()

    async def look_and_poll(self, session: PlantSession | None) -> None:
        """Call it once a second."""
        if session is not None:
            await self._poll(session)
        self.look()

    def count(self, message: Any, ts_ns: int) -> None:
        """A trade's frame, or the image of one."""
        volume = reference.session_volume(message)
        configured = self._contracts.configured(message.symbol) if volume is not None else None
        watch = self._volumes.get((configured or "").partition(ALIAS_MARK)[0])
        if watch is not None and volume is not None:
            watch.note(message.symbol, ts_ns, volume)

    def look(self) -> None:
        """Decide what is to be decided, tell what has happened, and write what has changed."""
        if not self._context.market_time.is_known:
            return
        self._contracts.refresh()
        for alias, instrument in self._contracts.aliases.items():
            roll = self._contracts.next_roll(alias)
            if roll is not None and instrument.roll is not None and instrument.roll.rule != "date":
                self._decide(instrument, *roll)
        if self._write():
            # What was decided has moved the legs, which stand in the table for people.
            self._write()
        for alias in self._contracts.aliases:
            self._tell(alias)

    def _with_rule(self, rule: str) -> list[str]:
        found = self._contracts.aliases.items()
        return [alias for alias, each in found if each.roll is not None and each.roll.rule == rule]

    async def _poll(self, session: PlantSession) -> None:
        now_ns = self._context.market_time.now_ns()
        if self._polled_ns is not None and 0 <= now_ns - self._polled_ns < FRONT_MONTH_POLL_NS:
            return
        self._polled_ns = now_ns
        for alias in self._with_rule("exchange"):
            product = alias.partition(ALIAS_MARK)[0]
            try:
                found = await reference.front_month(session, product, self._contracts.aliases[alias].exchange)
            except RequestRefused as refusal:
                self._context.log.warning("front_month_refused", alias=alias, reason=str(refusal))
                continue
            if found:
                self._fronts[alias] = found

    def _decide(self, alias: Instrument, old: Leg, new: Leg) -> None:
        rule = alias.roll.rule if alias.roll is not None else "date"
        now_ns = self._context.market_time.now_ns()
        if new.reason != "latest":
            return
        if rule == "volume":
            watch = self._volumes[alias.symbol.partition(ALIAS_MARK)[0]]
            for leg in (old, new):
                self._want(leg.symbol, alias.exchange)
            if not watch.has_overtaken(old.symbol, new.symbol, now_ns):
                return
        elif self._contracts.index(alias.symbol, self._fronts.get(alias.symbol, "")) < 1:
            return
        before_s = alias.roll.before_close_s if alias.roll is not None else 0.0
        notice_s = before_s + NOTICE_S * max(1.0, self._context.market_time.speed)
        try:
            opens_ns, trade_date = roll_opening(
                self._schedule.calendar(alias.symbol), now_ns, round(notice_s * NS_PER_S)
            )
        except CalendarError as error:
            self._context.log.error("calendar_ended", reason=str(error))
            return
        if opens_ns < new.from_ns:
            self._decided.setdefault(alias.symbol, []).append(Leg(new.symbol, opens_ns, trade_date, rule))

    def _tell(self, alias: str) -> None:
        before, after = self._scheduled.get(alias), self._contracts.next_roll(alias)
        self._scheduled[alias] = after
        if after is None or after == before:
            return
        log = self._context.log
        if before is not None and before[1].symbol == after[0].symbol:
            fields = {"alias": alias, "old": before[0].symbol, "new": after[0].symbol}
            log.info("roll_done", **fields, trade_date=after[0].trade_date, reason=after[0].reason)
            text = f"{alias} is {after[0].symbol} from trade date {after[0].trade_date} on, no longer {fields['old']}"
            self._context.alert("roll_done", Severity.INFO, text, **fields)
        old, new = after
        fields = {"alias": alias, "old": old.symbol, "new": new.symbol}
        log.info(
            "roll_scheduled", **fields, effective=utc_text(new.from_ns), trade_date=new.trade_date, reason=new.reason
        )

    def _take_facts(self, instrument: Instrument, facts: ContractFacts) -> None:
        problem = _problem(instrument, facts)
        self._facts[instrument.symbol] = ContractFacts(
            exchange=facts.exchange,
            tick_size=facts.tick_size,
            point_value=facts.point_value,
            expiration_date=facts.expiration_date,
            problem=problem,
        )
        if problem and (instrument.symbol, problem) not in self._told:
            self._told.add((instrument.symbol, problem))
            self._context.log.critical("instrument_mismatch", symbol=instrument.symbol, problem=problem)
            text = f"{problem}; its orders are denied"
            self._context.alert("instrument_mismatch", Severity.CRITICAL, text, symbol=instrument.symbol)

    def _write(self) -> bool:
        """Whether the table is another one now, for us as well."""
        contracts = self._contracts
        table = InstrumentTable(
            aliases={
                alias: AliasEntry(
                    contract=contracts.front(alias),
                    rule=each.roll.rule if each.roll is not None else "date",
                    legs=tuple(contracts.legs(alias, behind=LEGS_BEHIND, ahead=LEGS_AHEAD)),
                    decided=tuple(self._decided.get(alias, ())),
                )
                for alias, each in contracts.aliases.items()
            },
            contracts=dict(self._facts),
        )
        if table == self._written:
            return False
        try:
            contracts.file.write(table.at(self._context.market_time.now_ns()))
        except OSError as error:
            self._context.log.error("instrument_table_unwritten", reason=str(error))
            return False
        self._written = table
        return contracts.refresh()


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
