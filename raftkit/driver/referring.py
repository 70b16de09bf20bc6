"""Changes of the group, and of who leads it, asked at any node: who does not lead refers them to the leader.

Laws: a referral has a request number that its receiver remembers, so it is served once however often it
arrives, and is not referred on. Who does not lead refuses it, definitely; then whoever leads is asked.
Where the link to the leader ends before its answer, or the time does, the outcome is unknown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar, assert_never

import attrs
import trio

from raftkit.changes import ChangeRefused
from raftkit.driver.changing import Changing, checked_changes
from raftkit.driver.leading import Leading
from raftkit.driver.origin import Origin
from raftkit.driver_messages import (
    WHY_MAX,
    ChangeMade,
    ChangeReferral,
    DriverMessage,
    LeadershipMoved,
    Referral,
    ReferralAnswer,
    ReferralFailed,
    ReferralOutcome,
    TransferReferral,
)
from raftkit.encoding import U63_MAX, MalformedError, unsigned
from raftkit.errors import NodeClosed, NoQuorum, NotLeader, OutcomeUnknown, TransferFailed
from raftkit.membership import node_id
from raftkit.model import Identity, Index, NodeId

__all__ = ["Referring"]

PAUSE_SECONDS = 0.02
"After a refusal of a node that does not lead, before somebody is asked again."
ANSWER_SECONDS = 1.0
"The leader is given so much less than there is, or a tenth less, so that its answer comes in time."
WITHIN_SECONDS_MAX = 1e9
"A leader is given no more than this."
SERVED_MAX = 64
"Referrals served at a time; what comes beyond them is not heard, and comes again."

R = TypeVar("R")
D = TypeVar("D", ChangeMade, LeadershipMoved)


@attrs.define(eq=False)
class _Open:
    """A referral that is not answered."""

    leader: NodeId
    "Who was asked."
    settled: trio.Event = attrs.field(factory=trio.Event)
    answer: ReferralAnswer | None = None
    why: str = ""
    "Why there will be no answer; empty: not known yet."


@attrs.define(eq=False, kw_only=True)
class Referring:
    """What is asked of the leader through this node, and what others ask of this one."""

    id: NodeId
    leader: Callable[[], NodeId | None]
    "Who leads, as far as known here."
    is_heard: Callable[[NodeId], bool]
    "Whether that node can be asked now."
    explain: Callable[[], str]
    "Why nobody leads, say."
    changing: Changing
    leading: Leading
    new_ticket: Callable[[], int]
    send: Callable[[Sequence[NodeId], DriverMessage], None]
    retry_seconds: float
    "An unanswered referral is sent again after this long."
    _open: dict[int, _Open] = attrs.field(init=False, factory=dict[int, _Open])
    "By request number."
    _origins: dict[Identity, Origin[ReferralAnswer]] = attrs.field(
        init=False, factory=dict[Identity, Origin[ReferralAnswer]]
    )
    "Who referred what to this node."
    _nursery: trio.Nursery | None = attrs.field(init=False, default=None)
    "Where that is served; None while nothing is."
    _closed: str | None = attrs.field(init=False, default=None)
    _news: trio.lowlevel.ParkingLot = attrs.field(init=False, factory=trio.lowlevel.ParkingLot)
    "Who waits for a leader that can be asked."

    # ── asked here ───────────────────────────────────────────────────────────────────────────────

    async def change(
        self, changes: Sequence[object], *, based_on: Index | None, within: float
    ) -> Index:
        """Have these changes made, all or none. See `Node.change_membership`."""
        wanted = checked_changes(changes)
        _check_index(based_on)

        async def refer(leader: NodeId, left: float) -> Index:
            referral = ChangeReferral(
                request=self.new_ticket(),
                within_ms=_given(left),
                changes=wanted,
                based_on=based_on,
            )
            match await self._refer(leader, referral, left, ChangeMade):
                case ChangeMade(index=index):
                    return index
                case ReferralFailed(why=why):
                    raise ChangeRefused(why)

        here = partial(self.changing.change, wanted, based_on=based_on)
        return await self._anywhere(here, refer, within)

    async def transfer(self, to: NodeId | None, *, within: float) -> NodeId:
        """Have `to` lead, or anybody; returns who does. See `Node.transfer_leadership`."""
        _check_name(to, self.leader())

        async def refer(leader: NodeId, left: float) -> NodeId:
            referral = TransferReferral(
                request=self.new_ticket(), within_ms=_given(left), target=to
            )
            match await self._refer(leader, referral, left, LeadershipMoved):
                case LeadershipMoved(leader=found):
                    return found
                case ReferralFailed(why=why, leader=found):
                    raise TransferFailed(why, found)

        return await self._anywhere(partial(self.leading.transfer, to), refer, within)

    async def _anywhere(
        self,
        here: Callable[..., Awaitable[R]],
        refer: Callable[[NodeId, float], Awaitable[R]],
        within: float,
    ) -> R:
        """What `here(within=…)` returns at the node that leads, or `refer` of that node."""
        ends = trio.current_time() + within
        while True:
            leader = await self._wait_leader(ends, within)
            left = max(0.0, ends - trio.current_time())
            try:
                if leader == self.id:
                    return await here(within=left)
                return await refer(leader, left)
            except NotLeader:
                await trio.sleep(PAUSE_SECONDS)  # what was known here is old, and soon is not

    async def _wait_leader(self, ends: float, within: float) -> NodeId:
        """Wait for a leader that can be asked. Raises NoQuorum when the time is over, NodeClosed."""
        with trio.move_on_at(ends):
            await trio.lowlevel.checkpoint()
            while self._closed is None:
                leader = self.leader()
                if leader is not None and (leader == self.id or self.is_heard(leader)):
                    return leader
                await self._news.park()
            raise NodeClosed(self._closed)
        raise NoQuorum(f"no leader could be asked within {within:g} s: {self.explain()}")

    async def _refer(
        self, leader: NodeId, referral: Referral, left: float, done: type[D]
    ) -> D | ReferralFailed:
        """That it is done, or was refused, as the leader says. Raises NotLeader, OutcomeUnknown."""
        asked = self._open[referral.request] = _Open(leader)
        try:
            with trio.move_on_after(left):
                while not asked.settled.is_set():
                    self.send((leader,), referral)
                    with trio.move_on_after(self.retry_seconds):
                        await asked.settled.wait()
        finally:
            del self._open[referral.request]
        match asked.answer:
            case None:
                late = (
                    f"{leader}, which leads and was asked, gave no answer in {round(left, 2):g} s"
                )
                raise OutcomeUnknown(None, asked.why or late)
            case ReferralFailed(outcome=ReferralOutcome.NOT_LEADER, leader=other):
                raise NotLeader(other)
            case ReferralFailed(outcome=ReferralOutcome.UNKNOWN, why=why):
                raise OutcomeUnknown(None, why)
            case ReferralFailed() as refused:
                return refused
            case answer if isinstance(answer, done):
                return answer
            case _:
                raise OutcomeUnknown(None, f"{leader}, which was asked, answered something else")

    # ── asked by others ──────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Serve what others refer to this node, for ever."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def on_message(self, sender: Identity, message: Referral | ReferralAnswer) -> None:
        """A peer refers something to this node, or answers what was referred to it."""
        match message:
            case ChangeReferral() | TransferReferral():
                self._on_referral(sender, message)
            case _:
                asked = self._open.get(message.request)
                if asked is not None and asked.leader == sender.id:
                    asked.answer = message
                    asked.settled.set()

    def _on_referral(self, sender: Identity, referral: Referral) -> None:
        origin = self._origins.setdefault(sender, Origin[ReferralAnswer]())
        answer = origin.answer_to(referral.request)
        if answer is not None:
            self.send((sender.id,), answer)
        nursery = self._nursery
        if nursery is None or len(nursery.child_tasks) >= SERVED_MAX:
            return
        if origin.begin(referral.request):
            nursery.start_soon(self._serve, sender, origin, referral)

    async def _serve(
        self, sender: Identity, origin: Origin[ReferralAnswer], referral: Referral
    ) -> None:
        answer = await self._answer(referral)
        origin.end(referral.request, answer)
        self.send((sender.id,), answer)

    async def _answer(self, referral: Referral) -> ReferralAnswer:
        """Do it, if this node leads; what became of it."""
        request, within = referral.request, referral.within_ms / 1000
        try:
            match referral:
                case ChangeReferral(changes=changes, based_on=index):
                    made = await self.changing.change(changes, based_on=index, within=within)
                    return ChangeMade(request=request, index=made)
                case TransferReferral(target=target):
                    leader = await self.leading.transfer(target, within=within)
                    return LeadershipMoved(request=request, leader=leader)
                case _:
                    assert_never(referral)
        except NotLeader as error:
            outcome, why, other = ReferralOutcome.NOT_LEADER, str(error), error.leader
        except NodeClosed as error:
            # It was not begun, and who ends leads no more.
            outcome, why, other = ReferralOutcome.NOT_LEADER, f"{self.id}: {error}", None
        except ChangeRefused as error:
            outcome, why, other = ReferralOutcome.REFUSED, str(error), self.id
        except TransferFailed as error:
            outcome, why, other = ReferralOutcome.REFUSED, error.why, error.leader
        except OutcomeUnknown as error:
            outcome, why, other = ReferralOutcome.UNKNOWN, error.why, None
        return ReferralFailed(request=request, outcome=outcome, why=_shown(why), leader=other)

    # ── what others report ───────────────────────────────────────────────────────────────────────

    def on_news(self) -> None:
        """A leader was elected, or something changed about a peer."""
        self._news.unpark_all()

    def on_link_lost(self, peer: NodeId) -> None:
        """The link to `peer` closed: another life of it would refuse what this one may have done."""
        for asked in self._open.values():
            if asked.leader == peer:
                asked.why = (
                    f"the link to {peer}, which leads and was asked, broke before its answer"
                )
                asked.settled.set()

    def close(self, why: str) -> None:
        """The node ends: so does all that was asked."""
        self._closed = why
        for asked in self._open.values():
            asked.why = f"{why}, before {asked.leader} answered, which was asked"
            asked.settled.set()
        self._news.unpark_all()


def _given(left: float) -> int:
    """The milliseconds that a leader is given of these seconds."""
    seconds = left - min(ANSWER_SECONDS, left / 10)
    return int(1000 * max(0.0, min(seconds, WITHIN_SECONDS_MAX)))


def _check_index(based_on: Index | None) -> None:
    """Raise ChangeRefused for what is the index of no configuration: it can't even be sent."""
    try:
        if based_on is not None:
            unsigned(based_on, lowest=1, highest=U63_MAX)
    except MalformedError as error:
        raise ChangeRefused(f"based_on is the index of a configuration: {error}") from error


def _check_name(to: NodeId | None, leader: NodeId | None) -> None:
    """Raise TransferFailed for what no member can be called: it can't even be sent."""
    try:
        if to is not None:
            node_id(to)
    except MalformedError as error:
        raise TransferFailed(f"{to!r:.80} is the name of no node", leader) from error


def _shown(why: str) -> str:
    """These words, as a message holds them."""
    return "".join(it if it.isprintable() else "?" for it in why)[:WHY_MAX]
