"""A roll as a trader lives it: the whole system over two sessions at high speed, with a position in ``ES.front``."""

from pathlib import Path

from tests.e2e.agreement import agree, exchange_summary, journal_rows
from tests.e2e.harness import running, short_folder, sim_configuration, write_configuration

STRATEGY = '''
from nightdesk import Strategy


class Holder(Strategy):
    """Buys two once and writes down what becomes of them."""

    def on_start(self):
        self.sent = False
        self.set_timer("enter", 60.0)

    def on_timer(self, name):
        if not self.sent and self.trading_permitted and self.phase() == "open":
            self.sent = True
            self.buy(2)

    def on_order_denied(self, event):
        self.sent = False

    def on_order_rejected(self, event):
        self.sent = False

    def on_trade(self, trade):
        if trade.symbol != self.front() and not self.position(trade.symbol).quantity:
            self.log.error("stranger", symbol=trade.symbol)

    def on_roll(self, roll):
        self.log.info("rolled", **{name: getattr(roll, name) for name in ("alias", "old_symbol", "new_symbol")},
                      trade_date=roll.trade_date, front=self.front(), position=self.position().quantity)

    def on_session_open(self, session):
        self.log.info("opened", trade_date=session.trade_date, front=self.front())
'''
SPEED = 5000


def test_a_position_rolls_with_its_alias_while_everything_goes_on() -> None:
    """``on_roll`` comes once, at the opening; the position is in the new contract; exchange and journal agree."""
    with short_folder() as folder:
        (folder / "holder.py").write_text(STRATEGY)
        configuration = write_configuration(folder, _job(folder))
        with running(configuration) as system:
            system.wait_for("position_rolled", timeout_s=90)
            system.wait_for("rolled", timeout_s=60)
            system.wait_for("roll_done")
            system.wait_for("contract_left", symbol="ESZ6")
            (roll,) = system.events("rolled")
            expected = {"alias": "ES.front", "old_symbol": "ESZ6", "new_symbol": "ESH7", "trade_date": 20261210}
            assert {key: roll[key] for key in expected} == expected
            assert (roll["front"], roll["position"]) == ("ESH7", 2)
            opened = [(line["trade_date"], line["front"]) for line in system.events("opened")]
            assert (20261209, "ESZ6") in opened
            assert (20261210, "ESH7") in opened
            agree(system)
            positions = {symbol: held for symbol, held in exchange_summary(system.state_dir).positions.items() if held}
            assert positions == {"ESH7": 2}
            legs = journal_rows(
                system.state_dir, "SELECT symbol, side, filled_quantity FROM orders WHERE client_order_id LIKE 'roll-%'"
            )
            assert legs == [("ESZ6", "SELL", 2), ("ESH7", "BUY", 2)]
            assert not system.events("stranger")
            assert not system.events("order_denied")
            assert {line["reason"] for line in system.events("connection_lost")} <= {"forced logout"}
            assert system.stop() == 0


def _job(folder: Path) -> dict[str, object]:
    return sim_configuration(
        folder,
        instruments=[{"symbol": "ES.front", "exchange": "CME", "commission": 1.25, "roll": {"position": "roll"}}],
        strategies=[{"name": "holder", "class": "holder:Holder", "path": str(folder), "symbols": ["ES.front"]}],
        exchange={
            "speed": SPEED,
            "quiet_speed": 2 * SPEED,
            "start": "2026-12-07T16:55:00-06:00",
            "source": {"kind": "synthetic", "seed": 17, "ticks_per_second": 0.1, "start_price": 5000.0},
        },
    )
