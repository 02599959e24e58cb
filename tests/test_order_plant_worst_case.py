"""Limits of the position hold for the worst case: what works, is on its way or in doubt counts as filled."""

from pathlib import Path

from nightdesk.errors import LinkError
from nightdesk.messages import Denial, OrderDenied, OrderInDoubt, OrderStatus, Side
from nightdesk.settings.models import Risk
from tests.order_plant_support import FakePeer, FakeSession, Plant, filled, play, submit, turns, working
from tests.support import wait_until_async

SIX = Risk(max_order_quantity=10, max_position=6, max_open_orders=20, max_orders_per_second=100)


def test_filled_working_and_sent_orders_count_together(tmp_path: Path) -> None:
    """Two held, two at work, two on their way: one more is too many, and so it is on the way down."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "held", "b1")
        body.on_push(352, filled("held", "b1", "f1", 2, 2, 0))
        await working(body, peer, epoch, "works", "b2")
        body.say(peer, submit("sent", epoch))
        body.say(peer, submit("more", epoch, quantity=1))
        body.say(peer, submit("down", epoch, side=Side.SELL, quantity=9, price=5001.0))
        await turns()
        denials = {event.client_order_id: event.code for event in peer.of(OrderDenied)}
        assert denials == {"more": Denial.RISK_MAX_POSITION, "down": Denial.RISK_MAX_POSITION}
        assert [fields["user_tag"] for fields in session.of(312)] == ["held", "works", "sent"]

    play(tmp_path, scenario, risk=SIX)


def test_orders_in_doubt_count_until_they_are_settled(tmp_path: Path) -> None:
    """Nobody knows whether it is at work, so it takes its room; what is found never to have arrived gives it back."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        session.fail = session.fail_requests = LinkError("reset")
        body.say(peer, submit("doubt", epoch, quantity=6))
        await wait_until_async(lambda: peer.of(OrderInDoubt))
        assert sum(order.exposure for order in body.account.table.open_orders()) == 6
        session.fail = session.fail_requests = None
        await wait_until_async(lambda: not body.account.reconciling)
        assert body.account.table.counts[OrderStatus.UNKNOWN] == 0
        body.say(peer, submit("next", epoch, quantity=6))
        body.say(peer, submit("more", epoch, quantity=1))
        await turns()
        assert [(each.client_order_id, each.code) for each in peer.of(OrderDenied)] == [
            ("more", Denial.RISK_MAX_POSITION)
        ]

    play(tmp_path, scenario, risk=SIX)
