"""Handing leadership over, giving it up, and work that goes on only while this node leads.

Laws: the core answers each request, within an election timeout or so, and the end of the node those that are
left. A tenure begins when the no-op of its term is applied here, so what earlier leaders decided is seen;
its scope is cancelled in the turn in which this node learns that it leads no more.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from raftkit.core import Raft
from raftkit.driver.applying import Applying
from raftkit.driver.asking import Asking
from raftkit.errors import LeadershipLost, NodeClosed, NotLeader, OutcomeUnknown, TransferFailed
from raftkit.leadership import (
    HandOverRefusal,
    NotHandedOver,
    StepDown,
    SteppedDown,
    TransferLeadership,
)
from raftkit.model import NodeId, Term

__all__ = ["Leading"]


_Answer = SteppedDown | NotHandedOver


@attrs.define(eq=False, kw_only=True)
class Leading:
    """What callers want of this node's leadership."""

    id: NodeId
    raft: Callable[[], Raft | None]
    "The core, to be read; None while unborn."
    applying: Applying
    new_ticket: Callable[[], int]
    asking: Asking[_Answer]
    _closed: str | None = attrs.field(init=False, default=None)
    _tenures: dict[trio.CancelScope, Term] = attrs.field(
        init=False, factory=dict[trio.CancelScope, Term]
    )
    "Bodies that run while this node leads that term."
    _changed: trio.lowlevel.ParkingLot = attrs.field(init=False, factory=trio.lowlevel.ParkingLot)
    "Who waits until this node leads, or another does."

    # ── making room ──────────────────────────────────────────────────────────────────────────────

    async def transfer(self, to: NodeId | None, *, within: float) -> NodeId:
        """Have `to` lead, or anybody; returns who does. Raises NotLeader at a node that does not lead."""
        with trio.move_on_after(within):
            request = TransferLeadership(ticket=self.new_ticket(), target=to)
            leader = await self._make_room(request, to)
            if to not in (None, leader):
                raise TransferFailed(f"{leader} was elected in the place of {to}", leader)
            return leader
        raise self._unsettled(within)

    async def step_down(self, *, hand_over: bool, within: float) -> NodeId:
        """Lead no more; returns who does. See `Node.step_down`."""
        with trio.move_on_after(within):
            request = StepDown(ticket=self.new_ticket(), hand_over=hand_over)
            return await self._make_room(request, None)
        raise self._unsettled(within)

    async def _make_room(self, request: TransferLeadership | StepDown, to: NodeId | None) -> NodeId:
        """Ask the core, and then wait until it is known who leads instead."""
        await trio.lowlevel.checkpoint()
        raft = self.raft()
        if self._closed is not None:
            raise self._end()
        if raft is None:
            raise NotLeader(None)
        match await self.asking.ask(request):
            case NotHandedOver(reason=reason, leader=leader):
                raise _error(raft, reason, to, leader)
            case SteppedDown():
                return await self._wait_leader(raft)
            case None:
                # The core was asked: whoever it told to campaign may do so after this node's end.
                raise OutcomeUnknown(None, f"{self._closed}, while leadership was handed over")

    async def _wait_leader(self, raft: Raft) -> NodeId:
        while raft.leader is None:
            await self._changed.park()
            if self._closed is not None:
                raise OutcomeUnknown(None, f"this node led no more when it ended: {self._closed}")
        return raft.leader

    def _unsettled(self, within: float) -> OutcomeUnknown:
        raft = self.raft()
        leads = raft is not None and raft.role == "leader"
        words = (
            "leads still, and may hand over yet" if leads else "leads no more, nor does it know who"
        )
        return OutcomeUnknown(None, f"after {round(within, 2):g} s {self.id} {words}")

    def _end(self) -> NodeClosed:
        return NodeClosed(self._closed or "this node is closed")

    # ── tenures ──────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def tenure(self) -> AsyncGenerator[int]:
        """Run the body while this node leads. See `Node.leadership`."""
        term = await self._wait_leading()
        with trio.CancelScope() as scope:
            self._tenures[scope] = term
            try:
                yield term
            finally:
                del self._tenures[scope]
        if scope.cancelled_caught:
            raise LeadershipLost(term) if self._closed is None else self._end()

    async def _wait_leading(self) -> Term:
        """Wait until this node leads and has applied all that was decided before. Returns its term."""
        await trio.lowlevel.checkpoint()
        while self._closed is None:
            raft = self.raft()
            since = raft.leads_since if raft is not None else None
            if raft is None or since is None:
                await self._changed.park()
                continue
            term = raft.term
            await self.applying.wait_applied(since)
            if self._leads(term):
                return term
        raise self._end()

    def _leads(self, term: Term) -> bool:
        raft = self.raft()
        return raft is not None and raft.leads_since is not None and raft.term == term

    def on_change(self) -> None:
        """A leader was elected or lost, as far as this node knows."""
        for scope, term in self._tenures.items():
            if not self._leads(term):
                scope.cancel()
        self._changed.unpark_all()

    def close(self, why: str) -> None:
        """The node ends: so do all requests and tenures."""
        self._closed = why
        self.asking.close()
        for scope in self._tenures:
            scope.cancel()
        self._changed.unpark_all()


def _error(
    raft: Raft, reason: HandOverRefusal, to: NodeId | None, leader: NodeId | None
) -> NotLeader | TransferFailed:
    """What the caller is told, with what to do."""
    members = ", ".join(member.id for member in raft.configuration.members)
    match reason:
        case HandOverRefusal.NOT_LEADER:
            return NotLeader(leader)
        case HandOverRefusal.UNKNOWN:
            words = f"the group has no member {to!r}: there are {members}"
        case HandOverRefusal.LEARNER:
            words = f"{to} is a learner and can't lead: name a voter"
        case HandOverRefusal.ITSELF:
            words = f"{to} leads already: name another member"
        case HandOverRefusal.SILENT:
            words = f"{to} has not been heard for an election timeout: see whether it runs"
        case _:
            words = reason.value
    return TransferFailed(words, leader)
