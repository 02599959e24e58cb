"""What is certain of orders and positions while some of it is in doubt."""

from pathlib import Path

from nightdesk.errors import LinkError
from nightdesk.messages import OrderStatus, StrategyId, TimeInForce
from nightdesk.rithmic import orders as wire
from tests.calendar_support import at
from tests.order_plant_session_support import CLOSED, ONE, OPEN, REOPENED, time_of
from tests.order_plant_session_support import play as play_at
from tests.order_plant_support import FakePeer, FakeSession, Plant, complete, image, play, submit, turns, working
from tests.support import wait_until_async

TWO = StrategyId("two")


def test_one_order_in_doubt_leaves_what_others_hold_certain(tmp_path: Path) -> None:
    """Its own strategy and symbol wait for the lists; all of the account does, where all is asked about."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        account = body.account
        assert account.is_settled()
        session.fail_requests = LinkError("silence")
        session.fail = LinkError("reset")
        body.say(peer, submit("o1", epoch))
        await wait_until_async(lambda: account.table.counts[OrderStatus.UNKNOWN] == 1)
        assert account.reconciling
        assert [account.is_settled(*pair) for pair in (("ESH4", ONE), ("", ONE), ("ESH4", ""), ("", ""))] == [False] * 4
        assert account.is_settled("ESH4", TWO)
        assert account.is_settled("NQH4")
        session.fail_requests = None
        await wait_until_async(lambda: not account.reconciling)
        assert account.is_settled()

    play(tmp_path, scenario)


def test_nothing_is_certain_before_the_lists_of_a_connection(tmp_path: Path) -> None:
    """Fills of the time without a link may concern anybody."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.link_down()
        assert not body.account.is_settled("ESH4", TWO)
        session = await body.link_up(wait=False)
        session.fail_requests = LinkError("silence")
        await turns()
        assert not body.account.is_settled("ESH4", TWO)
        session.fail_requests = None
        await wait_until_async(lambda: body.account.is_settled("ESH4", TWO))

    play(tmp_path, scenario)


def test_order_that_a_list_does_not_show_is_uncertain_until_it_is_judged(tmp_path: Path) -> None:
    """The others are certain with the first whole list of a time of trading."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        body.link_down()
        body.reconciler._policy = body.reconcile_policy.__class__(attempts=3, span_s=30.0, quiet_s=0.0)
        session = await body.link_up(wait=False)
        await wait_until_async(lambda: body.account.unsettled)
        assert body.account.reconciling
        assert not body.account.is_settled("ESH4", ONE)
        assert body.account.is_settled("ESH4", TWO)
        assert len([template for template, _ in session.requests if template == wire.SHOW_ORDERS]) == 1

    play(tmp_path, scenario)


def test_lists_of_a_break_are_certain_only_at_the_end_of_the_reconciliation(tmp_path: Path) -> None:
    """A gateway under maintenance may show nothing; what it shows in the end was judged."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, time_in_force=TimeInForce.GTC)
        body.link_down()
        time_of(body).set(at(CLOSED))
        session = await body.link_up(wait=False)
        await wait_until_async(lambda: body.account.unsettled)
        assert not body.account.is_settled("ESH4", TWO)
        session.lists[320] = [image("o1", "b1")]
        await wait_until_async(lambda: not body.account.reconciling)
        session.lists[320] = []
        body.reconciler.request("the order is not listed, and not in doubt before a market trades")
        await wait_until_async(lambda: body.account.unsettled)
        assert (body.account.is_settled("ESH4", ONE), body.account.is_settled("ESH4", TWO)) == (False, True)
        session.lists[320] = [image("o1", "b1")]
        await wait_until_async(lambda: not body.account.reconciling)
        time_of(body).set(at(REOPENED))
        session.fail_requests = LinkError("silence")
        body.reconciler.request("for another reason")
        assert body.account.is_settled("ESH4", TWO)
        body.on_push(351, complete("o1", "b1", "F", 2, 0))
        assert not body.account.is_settled("ESH4", ONE)

    play_at(tmp_path, OPEN, scene)
