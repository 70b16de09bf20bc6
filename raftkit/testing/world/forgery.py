"""Messages that no correct server sent, for the nemesis of a simulated world to slip in.

Raft promises nothing against a member that lies about its vote or its log. What is made here, it survives:
words of somebody who has no say (a stranger, another incarnation, the server itself), claims of a member
that can't be true (of entries, rounds and snapshots that never were), and a second leader of a term.

Law: no forgery claims a vote or an entry for a member, and none that leads claims anything to be committed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from raftkit.core import Raft
from raftkit.core.state import Follower, Leader
from raftkit.messages import (
    AppendAccepted,
    AppendEntries,
    AppendRejected,
    Heartbeat,
    HeartbeatReply,
    Message,
    PreVoteReply,
    ReadReply,
    ReadRequest,
    SnapshotReply,
    VoteReply,
)
from raftkit.model import Identity, Index, Term

__all__ = ["forge"]

FAR = Index(1 << 40)
"Beyond all that a world comes to: what is claimed of it can't become true before it arrives."
STRANGER = Identity(id="stranger", incarnation=1)
"In no configuration."
PRETENDER = Identity(id="pretender", incarnation=1)
"Nor is this one. Who may be taken for a leader says nothing else, which would be believed."


def forge(
    rng: random.Random, raft: Raft, others: Sequence[Identity], leader: Identity | None
) -> tuple[Identity, Message]:
    """A message to the server `raft`, which is not alone, and who seems to have sent it.

    `others` are the other members, `leader` whoever leads the server's term, if anybody does yet.
    """
    name = rng.choice(others).id
    nobodies = [STRANGER, Identity(id=name, incarnation=FAR), raft.state.identity]
    kinds = [(nobodies, _of_nobody), ([*others], _beyond)]
    if leader is not None:
        pretenders = [PRETENDER, Identity(id=name, incarnation=0)]
        kinds.append(([*pretenders, *(it for it in others if it != leader)], _of_leader))
    senders, make = rng.choice(kinds)
    return rng.choice(senders), rng.choice(make(raft))


def _of_nobody(raft: Raft) -> list[Message]:
    """What would mean something, were it of a member."""
    term, last, role = raft.term, raft.last_index, raft.state.role
    sent = role.round if isinstance(role, Leader) else 1
    ticket = next(iter(role.reads), 1) if isinstance(role, Follower) else 1
    return [
        VoteReply(term=term, granted=True),
        PreVoteReply(term=Term(term + 1), granted=True),
        AppendAccepted(term=term, index=last),
        AppendRejected(term=term, prev_index=last, hint_index=Index(0), hint_term=Term(0)),
        HeartbeatReply(term=term, round=sent, index=last, wall_ns=0),
        SnapshotReply(term=term, index=last, offset=0, installed=True),
        ReadRequest(term=term, ticket=ticket),
        ReadReply(term=term, ticket=ticket, index=FAR),
    ]


def _beyond(raft: Raft) -> list[Message]:
    """Answers to what was never sent."""
    term, nothing = raft.term, Index(0)
    return [
        AppendAccepted(term=term, index=FAR),
        AppendRejected(term=term, prev_index=FAR, hint_index=nothing, hint_term=Term(0)),
        HeartbeatReply(term=term, round=0, index=FAR, wall_ns=0),
        HeartbeatReply(term=term, round=FAR, index=nothing, wall_ns=0),
        SnapshotReply(term=term, index=FAR, offset=0, installed=True),
        SnapshotReply(term=term, index=FAR, offset=0, installed=False),
    ]


def _of_leader(raft: Raft) -> list[Message]:
    """A leader's words. Who has not heard of its leader may believe them, and must come to no harm by it."""
    term, nothing = raft.term, Index(0)
    return [
        Heartbeat(term=term, round=FAR, commit_index=nothing),
        AppendEntries(
            term=term, prev_index=nothing, prev_term=Term(0), commit_index=nothing, runs=()
        ),
    ]
