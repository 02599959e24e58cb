"""The ticker plant's care for contracts: it keeps the table of instruments, schedules rolls, checks reference data."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from actors.base import Context
from actors.contracts import Contracts
from actors.plants.calendar_end import CalendarEnd
from actors.plants.market_herald import utc_text
from actors.plants.reference_watch import ReferenceWatch
from actors.plants.table_loss import TableLoss
from nightdesk.calendars.load import product_of
from nightdesk.errors import CalendarError
from nightdesk.instrument_table import AliasEntry, InstrumentTable
from nightdesk.messages import Severity
from nightdesk.rithmic import reference
from nightdesk.rithmic.session import PlantSession, RequestRefused
from nightdesk.settings.contracts import days_before_end
from nightdesk.settings.models import Instrument
from nightdesk.trading.contracts import date_of
from nightdesk.trading.rolls import DECIDED_REASONS, EXPIRATION, Leg, opening_from, roll_opening
from nightdesk.trading.schedule import MarketSchedule
from nightdesk.trading.sessions import NS_PER_S
from nightdesk.trading.volume_watch import VolumeWatch

NOTICE_S: Final = 5.0
"""A roll is decided so long, in seconds of this machine, before the position's turn comes: everybody has read of it."""

FRONT_MONTH_POLL_NS: Final = 900 * NS_PER_S
"""Market time between two questions for the exchange's front month."""

LEGS_BEHIND: Final = 1
LEGS_AHEAD: Final = 2
"""Of the table. The leg in force and the one before it are facts for every reader, later ones are for people."""


class FrontWatch:
    """One per system; ``want`` subscribes to a contract that has to be watched although nobody asked for it."""

    def __init__(
        self, context: Context, contracts: Contracts, schedule: MarketSchedule, want: Callable[[str, str], None]
    ) -> None:
        self._context = context
        self._contracts = contracts
        self._schedule = schedule
        self._want = want
        self._reference = ReferenceWatch(context, contracts)
        self._calendar_end = CalendarEnd(context, schedule)
        self._loss = TableLoss(context, contracts)
        self._volumes = {
            product_of(alias): VolumeWatch(schedule.calendar(alias)) for alias in self._with_rule("volume")
        }
        self._fronts: dict[str, str] = {}
        self._scheduled: dict[str, tuple[Leg, Leg] | None] = {}
        self._written: InstrumentTable | None = None
        self._is_unwritten = False
        self._polled_ns: int | None = None
        self._down_ns: int | None = 0
        """Since when there is no link, in market time; from the beginning until the first login."""
        self.is_counting = bool(self._volumes)
        """Whether trades' volumes are of interest."""

    async def check(self, session: PlantSession) -> None:
        """At each login: hold the configured terms against the gateway's. Raises ``LinkError``."""
        self._link_found()
        await self._reference.ask(session)
        self._polled_ns = None
        await self._poll(session)
        self.look()

    async def look_and_poll(self, session: PlantSession | None) -> None:
        """Call it once a second."""
        if session is not None:
            await self._poll(session)
        self.look()

    def link_lost(self) -> None:
        """Nothing is seen from now on."""
        if self._down_ns is None:
            self._down_ns = self._context.market_time.now_ns()

    def count(self, message: Any, ts_ns: int) -> None:
        """A trade's frame, or the image of one."""
        self._link_found()
        watch = self._volumes.get(product_of(message.symbol))
        volume = reference.session_volume(message) if watch is not None else None
        if watch is not None and volume is not None:
            watch.begin(message.symbol, self._context.market_time.now_ns())
            watch.note(message.symbol, ts_ns, volume)

    def look(self) -> None:
        """Decide what is to be decided, tell what has happened, and write what has changed."""
        if not self._context.market_time.is_known:
            return
        self._calendar_end.look()
        self._contracts.refresh()
        if self._loss.look():
            self._written = None
        decided = {}
        for alias, instrument in self._contracts.aliases.items():
            roll = self._contracts.next_roll(alias)
            leg = None if roll is None else self._decision(instrument, *roll)
            if leg is not None:
                decided[alias] = leg
        if self._write(decided):
            # What was decided has moved the legs, which stand in the table as well.
            self._write({})
        for alias in self._contracts.aliases:
            self._tell(alias)

    def _with_rule(self, rule: str) -> list[str]:
        found = self._contracts.aliases.items()
        return [alias for alias, each in found if each.roll is not None and each.roll.rule == rule]

    def _link_found(self) -> None:
        if self._down_ns is not None:
            now_ns = self._context.market_time.now_ns()
            for watch in self._volumes.values():
                watch.interrupted(self._down_ns, now_ns)
            self._down_ns = None

    async def _poll(self, session: PlantSession) -> None:
        now_ns = self._context.market_time.now_ns()
        if self._polled_ns is not None and 0 <= now_ns - self._polled_ns < FRONT_MONTH_POLL_NS:
            return
        self._polled_ns = now_ns
        for alias in self._with_rule("exchange"):
            try:
                found = await reference.front_month(session, product_of(alias), self._contracts.aliases[alias].exchange)
            except RequestRefused as refusal:
                self._context.log.warning("front_month_refused", alias=alias, reason=str(refusal))
                continue
            if found:
                self._fronts[alias] = found

    # Decisions.

    def _decision(self, alias: Instrument, old: Leg, new: Leg) -> Leg | None:
        """The roll from a contract that is to come sooner than the dates say, where there is reason for it now."""
        if new.reason in DECIDED_REASONS:
            return None
        before_s = alias.roll.before_close_s if alias.roll is not None else 0.0
        notice_s = before_s + NOTICE_S * max(1.0, self._context.market_time.speed)
        now_ns = self._context.market_time.now_ns()
        try:
            opens_ns, trade_date = roll_opening(
                self._schedule.calendar(alias.symbol), now_ns, round(notice_s * NS_PER_S)
            )
        except CalendarError:
            # Somebody else tells of a calendar that has ended.
            return None
        reason = self._reason(alias, old, new, opens_ns)
        return Leg(new.symbol, opens_ns, trade_date, reason) if reason and opens_ns < new.from_ns else None

    def _reason(self, alias: Instrument, old: Leg, new: Leg, opens_ns: int) -> str:
        """Why an alias should roll with an opening; empty where nothing says so."""
        rule = alias.roll.rule if alias.roll is not None else "date"
        if self._is_left_by(alias, old, opens_ns):
            return EXPIRATION
        if rule == "volume" and self._has_overtaken(alias, old, new):
            return rule
        if rule == "exchange" and self._contracts.index(alias.symbol, self._fronts.get(alias.symbol, "")) >= 1:
            return rule
        return ""

    def _is_left_by(self, alias: Instrument, old: Leg, opens_ns: int) -> bool:
        """Whether the exchange ends a contract so much sooner than its rule that it is to be left by an opening."""
        rule, exchange = self._contracts.ends(old.symbol, self._reference.facts.get(old.symbol))
        if rule is None or exchange is None or exchange.trade_date >= rule.trade_date:
            return False
        day = date_of(exchange.trade_date) - timedelta(days=days_before_end(alias))
        return opening_from(self._schedule.calendar(alias.symbol), day)[0] <= opens_ns

    def _has_overtaken(self, alias: Instrument, old: Leg, new: Leg) -> bool:
        watch, now_ns = self._volumes[product_of(alias.symbol)], self._context.market_time.now_ns()
        for leg in (old, new):
            watch.begin(leg.symbol, now_ns)
            self._want(leg.symbol, alias.exchange)
        return self._down_ns is None and watch.has_overtaken(old.symbol, new.symbol, now_ns)

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

    # The table.

    def _write(self, decided: Mapping[str, Leg]) -> bool:
        """Whether the table is another one now, for us as well. What cannot be written is not decided either."""
        contracts = self._contracts
        table = InstrumentTable(
            begun_ns=self._loss.begun_ns,
            aliases={
                alias: AliasEntry(
                    contract=contracts.front(alias),
                    rule=each.roll.rule if each.roll is not None else "date",
                    legs=tuple(contracts.legs(alias, behind=LEGS_BEHIND, ahead=LEGS_AHEAD)),
                    decided=(*contracts.decided(alias), *([decided[alias]] if alias in decided else ())),
                )
                for alias, each in contracts.aliases.items()
            },
            contracts=dict(self._reference.facts),
        )
        if table.same_as(self._written):
            return False
        try:
            contracts.file.write(table.at(self._context.market_time.now_ns()))
        except OSError as error:
            if not self._is_unwritten:
                self._context.log.error("instrument_table_unwritten", reason=str(error))
                text = f"{contracts.file.path} cannot be written ({error.strerror}); no roll is decided meanwhile"
                self._context.alert("instrument_table_unwritten", Severity.ERROR, text)
            self._is_unwritten = True
            return False
        self._written, self._is_unwritten = table, False
        self._loss.mended()
        return contracts.refresh()
