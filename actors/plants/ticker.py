"""The ticker plant: market data from the gateway to everybody on the market lane."""

import asyncio
from typing import Any, ClassVar, Final

from actors.base import Context
from actors.contracts import Contracts
from actors.lanes import lane_path
from actors.plants.front_watch import FrontWatch
from actors.plants.market_gate import MarketGate
from actors.plants.market_lane import Instrument, MarketLane, Subscriber, Tick
from actors.plants.plant import PlantBody
from nightdesk.errors import LinkError
from nightdesk.messages import (
    ConnectionLost,
    ConnectionRestored,
    DataGap,
    QuoteTick,
    Severity,
    SubscribeMarketData,
    UnsubscribeMarketData,
)
from nightdesk.rithmic.decode import BEST_BID_OFFER, LAST_TRADE, MarketDecoder
from nightdesk.rithmic.session import PlantSession, RequestRefused
from nightdesk.rithmic.words import SUBSCRIBE, UNSUBSCRIBE, UpdateBits
from nightdesk.settings.market_time import begins_with_subscriber
from nightdesk.trading.stale_watch import Silence, StaleWatch

MARKET_DATA_UPDATE: Final = 100
SILENCE_POLL_S: Final = 1.0

_UPDATE_BITS: Final = int(UpdateBits.LAST_TRADE | UpdateBits.BBO)


class TickerPlantBody(PlantBody):
    """Asks the gateway for what somebody on the lane wants, and asks again after each loss of the link.

    A subscription at the gateway stays when its last subscriber leaves: that one is most likely being restarted. Only
    one that was given back by all, of a contract that an alias has left, is ended.
    """

    kind: ClassVar[str] = "ticker"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        settings = self.run.settings
        self._decoder = MarketDecoder()
        self._lane = MarketLane(
            lane_path(self.run.runtime_dir, context.child_id, "market"),
            settings.market_lane,
            on_subscribe=self._on_subscribe,
            on_unsubscribe=self._on_unsubscribe,
            on_gap=self._tell_gap,
            pause=self._pause,
            resume=self._resume,
        )
        self._contracts = Contracts(self.run, context.market_time)
        # Who restarts this plant alone is in a market that has begun; in ``block`` it waits for those who listen.
        is_first = context.incarnation == 1 and begins_with_subscriber(settings)
        self._gate = MarketGate(
            {f"strategies/{each.name}": each.symbols for each in settings.strategies},
            is_closed=self._lane.is_blocking or is_first,
            want=self._want,
            log=context.log,
        )
        self._fronts = FrontWatch(context, self._contracts, self.schedule, lambda *instrument: self._ask(instrument))
        self._wanted: set[Instrument] = set()
        self._subscribed: set[Instrument] = set()
        self._last_tick_ns: dict[Instrument, int] = {}
        self._open_gaps: dict[Instrument, int] = {}
        self._gaps_of_maintenance: set[Instrument] = set()
        self._down_since_ns: int | None = None
        self._stale = StaleWatch(self.schedule, settings.market_time.stale_after_s)
        self._lost_since_s: float | None = None
        self.images = 0

    @property
    def ticks(self) -> int:
        """Live trades and quotes received and published."""
        return self._lane.published

    async def start(self) -> None:
        """Open the lane, then begin to connect."""
        await self._lane.start()
        self.context.spawn(self._watch_silence(), name="ticker_silence")
        await super().start()

    async def stop(self) -> None:
        """Log out and close the lane."""
        await super().stop()
        self._gate.close()
        self.context.log.info("market_data_summary", ticks=self.ticks, images=self.images, sent=self._lane.sent)
        await self._lane.close()

    async def on_link_up(self, session: PlantSession) -> None:
        """Ask again for everything that is wanted."""
        self._forget_quiet_gaps()
        self._subscribed.clear()
        self.context.spawn(self._check_contracts(session), name="ticker_reference_data")
        for instrument in sorted(self._wanted):
            await self._subscribe(session, instrument)
        if self._lane.is_paused:
            session.pause_reading()
        if self._lost_since_s is not None:
            clock = self.context.clock
            downtime_ms = round((clock.monotonic_s() - self._lost_since_s) * 1000)
            self._lost_since_s = None
            plant = self.context.child_id
            self._lane.broadcast(ConnectionRestored(plant=plant, downtime_ms=downtime_ms, ts_recv_ns=clock.now_ns()))

    def on_link_down(self, reason: str) -> None:
        """What happens until the first tick after this is lost, and nobody can know how much it is."""
        self._open_gaps.update(self._last_tick_ns)
        if self._down_since_ns is None:
            self._down_since_ns = self.context.market_time.now_ns()
        self._decoder.forget()
        self._fronts.link_lost()
        if self._lost_since_s is None:
            self._lost_since_s = self.context.clock.monotonic_s()
        self._lane.broadcast(self._connection_lost(reason))

    async def _watch_silence(self) -> None:
        while True:
            await asyncio.sleep(SILENCE_POLL_S)
            await self._look_at_contracts()
            if self.session is None or self._lane.is_paused:
                self._stale.forget()
                continue
            newest_ns = {each[0]: self._last_tick_ns.get(each, 0) for each in self._subscribed}
            newest_ns = self._by_configured_symbol(newest_ns)
            clock, time = self.context.clock, self.context.market_time
            for silence in self._stale.look(newest_ns, time.now_ns(), clock.monotonic_s(), speed=time.speed):
                self._tell_silence(silence)

    async def _check_contracts(self, session: PlantSession) -> None:
        try:
            await self._fronts.check(session)
        except LinkError as error:
            self.context.log.info("reference_data_unknown", reason=str(error))

    async def _look_at_contracts(self) -> None:
        try:
            await self._fronts.look_and_poll(self.session)
        except LinkError as error:
            # The link is gone, or has just come: it is asked again.
            self.context.log.info("front_month_unknown", reason=str(error))

    def _by_configured_symbol(self, newest_ns: dict[str, int]) -> dict[str, int]:
        """Of an alias that which was heard of last counts: a contract that it has left trades less each day."""
        found: dict[str, int] = {}
        for symbol, tick_ns in newest_ns.items():
            configured = self._contracts.configured(symbol) or symbol
            found[configured] = max(tick_ns, found.get(configured, 0))
        return found

    def _tell_silence(self, silence: Silence) -> None:
        fields = {"symbol": silence.symbol, "seconds": round(silence.seconds, 1)}
        if silence.is_stale:
            self.context.log.warning("market_data_stale", **fields)
            text = f"{silence.symbol}: nothing heard for {silence.seconds:.0f} s although its market is open"
            self.context.alert("market_data_stale", Severity.WARNING, text, **fields)
        else:
            self.context.log.info("market_data_resumed", **fields)
            text = f"{silence.symbol}: market data are back after {silence.seconds:.0f} s"
            self.context.alert("market_data_resumed", Severity.INFO, text, **fields)

    def _forget_quiet_gaps(self) -> None:
        """Of a market that did not trade while the link was away nothing is lost."""
        since_ns, self._down_since_ns = self._down_since_ns, None
        if since_ns is None:
            return
        now_ns = self.context.market_time.now_ns()
        for instrument in list(self._open_gaps):
            configured = self._contracts.configured(instrument[0]) or instrument[0]
            if not self.link_schedule.was_trading(configured, since_ns, now_ns):
                del self._open_gaps[instrument]
        self._gaps_of_maintenance = set(self._open_gaps if self.link_schedule.was_maintained(since_ns, now_ns) else ())

    def on_push(self, template_id: int, message: Any) -> None:
        """Trades and quotes; called for each frame."""
        ts_recv_ns = self.context.clock.now_ns()
        tick: Tick | None
        if template_id == LAST_TRADE:
            tick = self._decoder.trade(message, ts_recv_ns)
        elif template_id == BEST_BID_OFFER:
            tick = self._decoder.quote(message, ts_recv_ns)
        else:
            return
        if tick is None:
            return
        if self._fronts.is_counting and template_id == LAST_TRADE:
            self._fronts.count(message, tick.ts_event_ns)
        if message.is_snapshot:
            self._take_image(tick)
            return
        instrument = (tick.symbol, tick.exchange)
        if self._open_gaps and instrument in self._open_gaps:
            self._close_gap(instrument, tick.ts_event_ns)
        self._last_tick_ns[instrument] = tick.ts_event_ns
        self._lane.publish(tick)

    def _take_image(self, tick: Tick) -> None:
        """The state at the subscription: an image of a trade is no new print; of a quote it is news after a gap."""
        self.images += 1
        if type(tick) is QuoteTick and not self._lane.is_blocking:
            self._lane.announce((tick.symbol, tick.exchange), tick)

    def _close_gap(self, instrument: Instrument, ts_to_ns: int) -> None:
        ts_from_ns = self._open_gaps.pop(instrument)
        gap = DataGap(
            symbol=instrument[0],
            exchange=instrument[1],
            ts_from_ns=ts_from_ns,
            ts_to_ns=max(ts_from_ns, ts_to_ns),
            lost_trades=-1,
            cause="connection lost",
        )
        self._lane.announce(instrument, gap)
        if instrument in self._gaps_of_maintenance:
            self._gaps_of_maintenance.discard(instrument)
            ts = {"ts_from_ns": gap.ts_from_ns, "ts_to_ns": gap.ts_to_ns}
            self.context.log.info("data_gap", symbol=gap.symbol, **ts, cause=gap.cause, scheduled=True)
        else:
            self._tell_gap(gap)

    def _tell_gap(self, gap: DataGap) -> None:
        fields = {"symbol": gap.symbol, "lost_trades": gap.lost_trades, "cause": gap.cause}
        self.context.log.warning("data_gap", ts_from_ns=gap.ts_from_ns, ts_to_ns=gap.ts_to_ns, **fields)
        seconds = (gap.ts_to_ns - gap.ts_from_ns) / 1e9
        text = f"{gap.symbol}: market data of {seconds:.1f} s are lost ({gap.cause})"
        self.context.alert("data_gap", Severity.WARNING, text, **fields)

    def _on_subscribe(self, subscriber: Subscriber, request: SubscribeMarketData) -> None:
        instrument = (request.symbol, request.exchange)
        configured = self._contracts.instrument(request.symbol)
        if configured is None or configured.exchange != request.exchange:
            text = f"{request.subscriber} asks for {request.symbol} on {request.exchange}, which is not configured"
            self.context.alert("market_data_refused", Severity.ERROR, text, symbol=request.symbol)
            self.context.log.error("market_data_refused", subscriber=request.subscriber, symbol=request.symbol)
            return
        self._tell_state(subscriber, instrument)
        self._ask(instrument, subscriber.name)

    def _ask(self, instrument: Instrument, name: str = "") -> None:
        symbol = self._contracts.configured(instrument[0]) or instrument[0]
        self._gate.ask(instrument, name=name, symbol=symbol)

    def _on_unsubscribe(self, request: UnsubscribeMarketData) -> None:
        """An alias has left the contract, and nobody holds it any more."""
        instrument = (request.symbol, request.exchange)
        alias = self._contracts.configured(request.symbol)
        if self._lane.names(instrument) or alias == request.symbol:
            return
        if alias is not None and self._contracts.index(alias, request.symbol) >= 0:
            return
        self._gate.drop(instrument)
        if instrument not in self._wanted:
            return
        self._wanted.discard(instrument)
        self._open_gaps.pop(instrument, None)
        self._last_tick_ns.pop(instrument, None)
        self.context.spawn(self._unsubscribe(instrument), name=f"unsubscribe_{request.symbol}")

    async def _unsubscribe(self, instrument: Instrument) -> None:
        self._subscribed.discard(instrument)
        symbol, exchange = instrument
        try:
            # Without a link there is nothing to end: the next one asks for what is wanted then.
            if self.session is not None:
                await self.session.request(
                    MARKET_DATA_UPDATE, symbol=symbol, exchange=exchange, request=UNSUBSCRIBE, update_bits=_UPDATE_BITS
                )
        except (LinkError, RequestRefused) as error:
            self.context.log.info("unsubscribe_failed", symbol=symbol, reason=str(error))
        else:
            self.context.log.info("contract_left", symbol=symbol)

    def _tell_state(self, subscriber: Subscriber, instrument: Instrument) -> None:
        """What somebody who subscribes late could not hear before."""
        if self.session is not None:
            quote = self._decoder.last_quote(*instrument)
            if quote is not None and not self._lane.is_blocking:
                subscriber.tell(quote)
        elif self._lost_since_s is not None or self.context.incarnation > 1:
            if self._lost_since_s is None:
                self._lost_since_s = self.context.clock.monotonic_s()
            subscriber.tell(self._connection_lost("not connected"))

    def _connection_lost(self, reason: str) -> ConnectionLost:
        return ConnectionLost(
            plant=self.context.child_id,
            reason=reason,
            ts_recv_ns=self.context.clock.now_ns(),
            scheduled=not self.link_schedule.is_trading(),
        )

    def _want(self, instrument: Instrument) -> None:
        if instrument not in self._wanted:
            self._wanted.add(instrument)
            self.context.spawn(self._subscribe_now(instrument), name=f"subscribe_{instrument[0]}")

    async def _subscribe_now(self, instrument: Instrument) -> None:
        session = self.session
        if session is None:
            # The next link-up asks for everything that is wanted.
            return
        try:
            await self._subscribe(session, instrument)
        except LinkError as error:
            if session.connected:
                self._tell_refused(instrument, str(error))

    async def _subscribe(self, session: PlantSession, instrument: Instrument) -> None:
        if instrument in self._subscribed:
            return
        self._subscribed.add(instrument)
        symbol, exchange = instrument
        try:
            await session.request(
                MARKET_DATA_UPDATE, symbol=symbol, exchange=exchange, request=SUBSCRIBE, update_bits=_UPDATE_BITS
            )
        except RequestRefused as refusal:
            self._tell_refused(instrument, str(refusal))

    def _tell_refused(self, instrument: Instrument, reason: str) -> None:
        symbol, exchange = instrument
        self.context.log.error("market_data_refused", symbol=symbol, exchange=exchange, reason=reason)
        text = f"no market data of {symbol} on {exchange}: {reason}"
        self.context.alert("market_data_refused", Severity.ERROR, text, symbol=symbol, reason=reason)

    def _pause(self) -> None:
        if self.session is not None:
            self.session.pause_reading()

    def _resume(self) -> None:
        if self.session is not None:
            self.session.resume_reading()
