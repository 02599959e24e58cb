"""The order lane's server side: which strategy is behind which connection, and what it may say."""

from collections.abc import Callable
from enum import StrEnum

import msgspec

from actors.lanes import LaneServer, Peer
from actors.plants.order_account import Account
from actors.plants.order_denials import request_denied
from actors.plants.order_gate import Gate
from nightdesk.errors import LaneError
from nightdesk.messages import (
    CancelAllOrders,
    CancelOrder,
    Denial,
    Flatten,
    Message,
    ModifyBracket,
    ModifyOrder,
    OrderReport,
    PauseChanged,
    QueryOrder,
    StrategyGoodbye,
    StrategyHello,
    StrategyId,
    StrategyWelcome,
    SubmitOco,
    SubmitOrder,
    TradingState,
    encode,
)

STRATEGY_BUFFER_MAX = 10_000
"""Events that wait for a strategy that does not read; one more and its lane is closed: it comes back with a hello."""

WELCOME_BYTES_MAX = 32_768
"""Of packed orders in one welcome: half of what a packet of the lane holds."""

NO_EPOCH = -2
"""No strategy ever has this fencing epoch."""

_Command = SubmitOrder | SubmitOco | ModifyOrder | ModifyBracket | CancelOrder | CancelAllOrders | Flatten


class Departure(StrEnum):
    """How a strategy's lane has ended."""

    GOODBYE = "GOODBYE"
    LOST = "LOST"
    """Its process crashed, or was killed."""
    CUT = "CUT"
    """We have ended it: the process may live, and comes back with a hello."""


class OrderLane:
    """Fences strategies by epoch: a new hello makes every command of the former process stale."""

    def __init__(
        self, path: str, *, on_flatten: Callable[[StrategyId, str], None], on_hello: Callable[[StrategyId], None]
    ) -> None:
        self._peers: dict[StrategyId, Peer] = {}
        self._on_flatten = on_flatten
        self._on_hello = on_hello
        self._leaving: set[Peer] = set()
        """Lanes whose strategies said goodbye."""
        self._cut: set[Peer] = set()
        """Lanes that were ended here, because their strategies do not keep up."""
        self.on_gone: Callable[[StrategyId, Departure], None] = lambda strategy_id, how: None
        """Told when the lane of a strategy's present process has ended, and how."""
        self._account: Account | None = None
        self._gate: Gate | None = None
        self._server = LaneServer(
            path,
            on_open=lambda peer: None,
            on_message=self.on_message,
            on_close=self._on_close,
            buffer_max=STRATEGY_BUFFER_MAX,
        )

    async def start(self, account: Account, gate: Gate) -> None:
        """Listen."""
        self._account = account
        self._gate = gate
        await self._server.start()

    async def close(self) -> None:
        """Stop listening."""
        await self._server.close()

    def publish(self, strategy_id: StrategyId, message: Message) -> None:
        """Tell one strategy, or (empty) all that are connected; one that is away learns it at its next hello."""
        if strategy_id:
            peer = self._peers.get(strategy_id)
            if peer is not None:
                self._send(peer, message)
            return
        for peer in list(self._peers.values()):
            self._send(peer, message)

    def on_message(self, peer: Peer, message: Message) -> None:
        """One command of a strategy's process."""
        account, gate = self._account, self._gate
        if account is None or gate is None:
            return

        def reply(answer: Message) -> None:
            self._send(peer, answer)

        if isinstance(message, _Command) and self._peers.get(message.strategy_id) is not peer:
            # Not the process that said hello last for this strategy: no epoch that it kept or guessed helps it.
            message = msgspec.structs.replace(message, fencing_epoch=NO_EPOCH)
        match message:
            case StrategyHello():
                self._welcome(peer, message, account, gate)
            case StrategyGoodbye():
                self._leaving.add(peer)
            case SubmitOrder():
                gate.submit(message, reply)
            case SubmitOco():
                gate.submit_oco(message, reply)
            case ModifyOrder():
                gate.modify(message, reply)
            case ModifyBracket():
                gate.modify_bracket(message, reply)
            case CancelOrder():
                gate.cancel(message, reply)
            case CancelAllOrders():
                if not gate.cancel_all(message):
                    account.log.warning("command_stale", strategy_id=message.strategy_id, command="CancelAllOrders")
            case Flatten():
                self._flatten(message, account, gate, reply)
            case QueryOrder():
                self._query(message, account, reply)
            case _:
                account.log.warning("lane_message_unexpected", message=type(message).__name__)

    def pause_changed(self, strategy_id: StrategyId, *, paused: bool, reason: str) -> None:
        """Tell a strategy that the operator paused or resumed it."""
        self.publish(strategy_id, PauseChanged(strategy_id=strategy_id, paused=paused, reason=reason))

    def is_connected(self, strategy_id: StrategyId) -> bool:
        """Whether a process of the strategy is there."""
        return strategy_id in self._peers

    def drop(self, strategy_id: StrategyId) -> None:
        """End the lane of a strategy whose process is gone for good, with whatever it has left unread."""
        peer = self._peers.pop(strategy_id, None)
        if peer is not None:
            peer.close()

    def _welcome(self, peer: Peer, hello: StrategyHello, account: Account, gate: Gate) -> None:
        if all(strategy.name != hello.strategy_id for strategy in account.settings.strategies):
            account.log.warning("lane_strategy_unknown", strategy_id=hello.strategy_id, peer_pid=peer.pid)
            peer.close()
            return
        epoch = account.next_fencing_epoch(hello.strategy_id)
        gate.epochs[hello.strategy_id] = epoch
        former = self._peers.get(hello.strategy_id)
        self._peers[hello.strategy_id] = peer
        if former is not None and former is not peer:
            former.close()
        *parts, last = _parts([order.report() for order in account.table.open_orders(hello.strategy_id)])
        welcome = StrategyWelcome(
            strategy_id=hello.strategy_id,
            fencing_epoch=epoch,
            paused=hello.strategy_id in account.pauses,
            trading_permitted=account.permission().permitted,
            orders=last,
            positions=account.ledger.reports(hello.strategy_id),
        )
        for part in parts:
            self._send(peer, msgspec.structs.replace(welcome, orders=part, positions=(), more=True))
        self._send(peer, welcome)
        self._on_hello(hello.strategy_id)
        account.log.info("strategy_welcomed", strategy_id=hello.strategy_id, fencing_epoch=epoch, strategy_pid=peer.pid)

    def _flatten(self, command: Flatten, account: Account, gate: Gate, reply: Callable[[Message], None]) -> None:
        if command.fencing_epoch != gate.epochs.get(command.strategy_id):
            account.log.warning("command_stale", strategy_id=command.strategy_id, command="Flatten")
            text = "flatten: stale fencing epoch"
            reply(request_denied(account, command.strategy_id, command.symbol, Denial.EPOCH_STALE, text))
            return
        code = None
        if account.trading_state is TradingState.HALTED:
            code, text = Denial.STATE_HALTED, "trading is HALTED"
        elif command.strategy_id in account.pauses:
            code, text = Denial.STATE_PAUSED, "the strategy is paused"
        if code is None:
            self._on_flatten(command.strategy_id, command.symbol)
            return
        # A new order, be it a closing one or another stop, only the operator may send now: what protects stays.
        gate.cancel_entries(command.strategy_id, command.symbol)
        text = f"flatten: {text}; entries are canceled, the position stays with its protection"
        reply(request_denied(account, command.strategy_id, command.symbol, code, text))

    def _query(self, query: QueryOrder, account: Account, reply: Callable[[Message], None]) -> None:
        order = account.find(query.client_order_id)
        if order is not None and order.strategy_id == query.strategy_id:
            reply(order.report())
            return
        text = "the order plant never received this order"
        reply(request_denied(account, query.strategy_id, "", Denial.ORDER_UNKNOWN, text, query.client_order_id))

    def _send(self, peer: Peer, message: Message) -> None:
        try:
            peer.send(message)
        except LaneError:
            # Nothing may be missing in the middle: without the lane the strategy starts over from a whole picture.
            self._cut.add(peer)
            peer.close()

    def _on_close(self, peer: Peer) -> None:
        how = Departure.GOODBYE if peer in self._leaving else Departure.LOST
        self._leaving.discard(peer)
        if peer in self._cut:
            self._cut.discard(peer)
            how = Departure.CUT
        for strategy_id, known in list(self._peers.items()):
            if known is peer:
                del self._peers[strategy_id]
                self.on_gone(strategy_id, how)


def _parts(reports: list[OrderReport]) -> list[tuple[OrderReport, ...]]:
    """Orders cut into pieces that fit a packet each; at least one piece."""
    parts: list[list[OrderReport]] = [[]]
    size = 0
    for report in reports:
        length = len(encode(report))
        if size + length > WELCOME_BYTES_MAX and parts[-1]:
            parts.append([])
            size = 0
        parts[-1].append(report)
        size += length
    return [tuple(part) for part in parts]
