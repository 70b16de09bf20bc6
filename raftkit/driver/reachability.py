"""Which members are here, and whether their votes suffice to decide anything.

Laws: a member is here if this node may talk to it now (`greeting.py`), so a link that has not been noticed
to be dead still counts. One voter, one vote; a learner has none. Founding needs everyone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from raftkit.core import PeerStatus
from raftkit.membership import Role
from raftkit.model import NodeId

if TYPE_CHECKING:
    from raftkit.driver.server import Server

__all__ = ["MemberStatus", "Votes", "members_of", "votes_of"]


@attrs.frozen(kw_only=True)
class MemberStatus:
    """One member, as one node sees it."""

    id: NodeId
    "Its name."
    address: str
    "Where peers reach it."
    role: str
    "voter, learner or witness; while this node is unborn, what the member is to be."
    votes: int
    "1 or 0."
    here: bool
    "Whether this node may talk to it now; of the node itself, always."
    why: str
    "Why it is not here; empty when it is."
    version: int | None
    "The newest version of the machine that its code has, by its hello. None while it is not here."
    progress: PeerStatus | None
    "What the leader knows of its log. None at any other node, and of the leader itself."


@attrs.frozen(kw_only=True)
class Votes:
    """What can be decided now. While joint (§4.3), of that half which is nearer to deciding nothing."""

    expected: int
    "Of all voters."
    here: int
    "Of those that are here and may vote, as far as is known."
    needed: int
    "A majority; to found the group, all."
    quorate: bool
    "Whether those suffice, in a group that is founded: otherwise nothing is written."


def members_of(server: Server) -> tuple[MemberStatus, ...]:
    """Every member, in the order of their names."""
    raft, founding = server.raft, server.founding
    peers = server.links.greeting.peers
    if raft is None:
        why = {peer.id: founding.lacks(peer) for peer in peers.values()}
        listed = [(name, server.plan.members[name], Role.VOTER) for name in founding.founders]
    else:
        why = {peer.id: peer.why for peer in peers.values()}
        listed = [(it.id, it.address, it.role) for it in raft.configuration.members]
    progress = {it.id: it for it in raft.peers()} if raft is not None else {}
    versions = server.upgrading.versions()
    return tuple(
        MemberStatus(
            id=name,
            address=address,
            role=role.name.lower(),
            votes=0 if role.learns else 1,
            here=not why.get(name),
            why=why.get(name, ""),
            version=versions.get(name),
            progress=progress.get(name),
        )
        for name, address, role in listed
    )


def votes_of(server: Server) -> Votes:
    """The votes that this node can count on."""
    raft = server.raft
    if raft is None:
        expected = len(server.plan.members)
        here = expected - len(server.founding.missing(server.links.greeting))
        return Votes(expected=expected, here=here, needed=expected, quorate=False)
    halves = [_votes_of_half(server, half) for half in raft.configuration.halves]
    return min(halves, key=lambda votes: votes.here - votes.needed)


def _votes_of_half(server: Server, half: tuple[NodeId, ...]) -> Votes:
    here = sum(_may_vote(server, voter) for voter in half)
    needed = len(half) // 2 + 1
    return Votes(expected=len(half), here=here, needed=needed, quorate=here >= needed)


def _may_vote(server: Server, voter: NodeId) -> bool:
    if voter == server.plan.id:
        return server.remembering.barred is None
    return server.links.greeting.is_heard(voter)
