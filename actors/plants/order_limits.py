"""What stands around the gate's limits: the broker's own, what follows from losses, and positions without a stop."""

from actors.plants.margin_watch import MarginWatch
from actors.plants.order_account import Account
from actors.plants.order_breaches import BreachKeeper, BreachPolicy
from actors.plants.order_flatten import Flattener
from actors.plants.order_gate import Gate
from actors.plants.order_operator import Operator
from actors.plants.order_protection import ProtectionWatch
from nightdesk.messages import Severity
from nightdesk.rithmic.limits import ACCOUNT_LIMITS, decode_limits
from nightdesk.rithmic.session import PlantSession, RequestRefused
from nightdesk.trading.broker import BrokerUpdate


class LimitKeeper:
    """One per order plant."""

    def __init__(
        self, account: Account, gate: Gate, flattener: Flattener, operator: Operator, policy: BreachPolicy
    ) -> None:
        self._account = account
        self._margin = MarginWatch(account.context)
        self._is_unknown_told = False
        self.breaches = BreachKeeper(account, flattener, operator.pause, operator.resume, policy)
        self.protection = ProtectionWatch(account, gate, flattener)

    async def ask(self, session: PlantSession) -> None:
        """Read the broker's limits of the account, at each login. Raises ``LinkError``.

        Where it names none of it, the former ones stay: an answer without our account is no answer.
        """
        account = self._account
        try:
            answers = await session.request(ACCOUNT_LIMITS)
        except RequestRefused as refusal:
            answers, why = [], str(refusal)
        else:
            why = "its answer does not name the account"
        own = [answer for answer in answers if answer.account_id == account.account_id]
        if own:
            account.risk.book.broker = limits = decode_limits(own[0])
            account.log.info(
                "broker_limits",
                max_order_quantity=limits.max_order_quantity,
                buy_limit=limits.buy_limit,
                sell_limit=limits.sell_limit,
                loss_limit=None if limits.loss_limit_micros is None else limits.loss_limit_micros / 1e6,
            )
        elif not self._is_unknown_told:
            self._is_unknown_told = True
            text = f"the broker's limits of account {account.account_id} are not known: {why}; only ours are kept"
            account.log.warning("broker_limits_unknown", reason=why)
            account.context.alert("broker_limits_unknown", Severity.WARNING, text)

    def on_report(self, update: BrokerUpdate) -> None:
        """A live report of an order."""
        if not update.is_snapshot:
            self._account.risk.on_sample(update.ts_event_ns)
            self._margin.on_words(update.text)

    def look(self) -> None:
        """Call a few times a second."""
        self._account.risk.sweep()
        self.breaches.look()
        self.protection.look()

    def close(self) -> None:
        """The process ends: what follows prices only is written, too."""
        self._account.risk.observe()
        self._account.risk.write(everything=True)
