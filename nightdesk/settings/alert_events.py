"""The names of all alerts, by which the channels in a configuration select; each with what it means."""

from collections.abc import Mapping

ALERT_EVENTS: Mapping[str, str] = {
    "child_restarted": "a process ended and was started again",
    "child_parked": "a process spent its restarts and was set aside; its siblings go on",
    "supervisor_gave_up": "a supervisor spent its restarts; what is above it decides, in the end the system ends",
    "connection_lost": "a plant lost its connection to the gateway, and tries again",
    "connection_restored": "a plant is connected and subscribed again",
    "login_refused": "the gateway refused a login",
    "market_data_refused": "the gateway refused a contract's market data",
    "data_gap": "ticks were lost; between which times is said",
    "execution_fill": "an order of ours was filled, wholly or in part",
    "order_denied": "an order was denied before it left, with the code of the rule",
    "order_rejected": "the broker or the exchange rejected an order",
    "order_in_doubt": "nobody knows whether the broker has an order; it is settled by the broker's lists",
    "answer_overdue": "the broker has not answered a modification or a cancel",
    "order_not_found": "the broker knows nothing of an order that was sent or that it had",
    "order_resurrected": "an order that counted as never received has shown up at the broker",
    "order_overfilled": "more was filled than ordered; trading is halted",
    "order_external": "orders on the account that are not ours; they count in its position",
    "position_mismatch": "the broker's position is not the journal's",
    "reconcile_unsettled": "trading stays blocked, because the broker's answers are missing or contradict the journal",
    "journal_failed": "the journal cannot be written: no new orders are sent, cancels pass",
    "journal_refused": "the journal is damaged or belongs to another account: the system ends with code 4",
    "strategy_paused": "a strategy was paused",
    "strategy_resumed": "a paused strategy trades again",
    "trading_state_changed": "the account's trading was halted or resumed",
    "flatten_incomplete": "a position could not be closed wholly",
    "last_will_incomplete": "the last will of a parked strategy could not be carried out wholly",
    "last_actions": "what was done with orders and positions when the system gave up",
    "alerts_suppressed": "alerts over a limit, counted instead of passed on",
}
