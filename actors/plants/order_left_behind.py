"""Positions that no roll moves and no strategy looks after any more: told to a person, never traded."""

from actors.plants.market_herald import utc_text
from actors.plants.order_account import Account
from actors.plants.order_roll_book import RollBook
from nightdesk.messages import Severity, StrategyId
from nightdesk.trading.broker import EXTERNAL_STRATEGY
from nightdesk.trading.roll_step import RollState
from nightdesk.trading.sessions import NS_PER_S

REMIND_DAYS = 3
"""So many days of market time before a contract's end a position that is left in it is told again."""

_REMIND_NS = REMIND_DAYS * 86_400 * NS_PER_S


class LeftBehind:
    """Reads the ledger; each position is told once in a process, once more near the contract's end and after it."""

    def __init__(self, account: Account, book: RollBook) -> None:
        self._account = account
        self._book = book
        self._symbols = {StrategyId(each.name): each.symbols for each in account.settings.strategies}
        self._told: set[tuple[StrategyId, str, str]] = set()

    def look(self) -> None:
        """Call it often; it acts when positions are certain."""
        account = self._account
        time = account.markets.time
        if not account.connected or account.reconciling or not time.is_known:
            return
        for strategy_id, symbol in account.ledger.pairs():
            held = account.ledger.quantity(strategy_id, symbol)
            if held:
                self._judge(strategy_id, symbol, held)

    def _judge(self, strategy_id: StrategyId, symbol: str, held: int) -> None:
        account = self._account
        what = f"{strategy_id} holds {held} {symbol}"
        ended = account.markets.ended(symbol)
        if ended and not account.markets.contradicted(symbol):
            if self._is_new(strategy_id, symbol, "ended"):
                account.log.critical("position_ghost", strategy_id=strategy_id, symbol=symbol, position=held)
                text = f"by the journal {what}, which ended {ended}: the broker has settled it; nothing is sent for it"
                account.context.alert("position_ghost", Severity.CRITICAL, text, strategy_id=strategy_id, symbol=symbol)
            return
        reason = self._reason(strategy_id, symbol)
        if reason and self._is_new(strategy_id, symbol, "left"):
            self._tell(strategy_id, symbol, held, f"{what}, and nothing moves it: {reason}")
        ends_ns = account.contracts.last_trade_ns(symbol)
        is_near = ends_ns is not None and account.markets.time.now_ns() >= ends_ns - _REMIND_NS
        if ends_ns is None or not is_near or not (reason or self._is_kept(strategy_id, symbol)):
            return
        if self._is_new(strategy_id, symbol, "ends"):
            self._tell(strategy_id, symbol, held, f"{what}, which ends {utc_text(ends_ns)}")

    def _reason(self, strategy_id: StrategyId, symbol: str) -> str:
        """Why nobody moves a position, for people; empty where somebody does, or means to hold it."""
        contracts = self._account.contracts
        alias = contracts.alias_of(symbol)
        place = 0 if alias is None else contracts.place(alias, symbol)
        if strategy_id == EXTERNAL_STRATEGY:
            return f"it is not ours, and {alias} has left the contract" if place < 0 else ""
        if strategy_id not in self._symbols:
            return "no strategy of this name is configured"
        symbols = self._symbols[strategy_id]
        if symbol in symbols:
            return ""
        if alias is None or alias not in symbols:
            return "the strategy does not trade it any more"
        if place < -1:
            return f"{alias} has rolled more than once since"
        due = contracts.last_due(alias)
        if place == 0 or due is None or due.old.symbol != symbol:
            return ""
        roll = self._book.get((strategy_id, due.old.symbol, due.new.symbol))
        return "its roll has been given up" if roll is not None and roll.state is RollState.GAVE_UP else ""

    def _is_kept(self, strategy_id: StrategyId, symbol: str) -> bool:
        """Whether a position stays where it is, in a contract that its alias has left."""
        contracts = self._account.contracts
        alias = contracts.alias_of(symbol)
        if alias is None or symbol in self._symbols.get(strategy_id, ()):
            return False
        return contracts.place(alias, symbol) < 0

    def _tell(self, strategy_id: StrategyId, symbol: str, held: int, text: str) -> None:
        account = self._account
        account.log.critical("position_left_behind", strategy_id=strategy_id, symbol=symbol, position=held, text=text)
        account.context.alert("position_left_behind", Severity.CRITICAL, text, strategy_id=strategy_id, symbol=symbol)

    def _is_new(self, strategy_id: StrategyId, symbol: str, stage: str) -> bool:
        key = (strategy_id, symbol, stage)
        is_new = key not in self._told
        self._told.add(key)
        return is_new
