"""Linearizable reads without the log (§6.4), at the leader and at followers.

Laws: a read joins the first round of heartbeats sent *after* it arrived, so neither duplicated nor
delayed answers can confirm it; it is confirmed when a quorum answered that round or a later one; and none
is confirmed before the leader's no-op commits, since until then it may not know the latest commit.
"""

from __future__ import annotations

from raftkit.core.state import Follower, Leader, State
from raftkit.messages import (
    Read,
    ReadConfirmed,
    ReadReply,
    ReadRequest,
    Refusal,
    Refused,
)
from raftkit.model import Identity

__all__ = ["ask_again", "confirm", "on_read", "on_read_reply", "on_read_request"]


def on_read(state: State, read: Read) -> None:
    """A local read: joins the leader's next round, here or at the leader."""
    match state.role:
        case Leader():
            state.role.reads_waiting[state.identity.id, read.ticket] = None
        case Follower(leader=Identity() as leader):
            state.role.reads[read.ticket] = state.now
            state.out.send(ReadRequest(term=state.current_term, ticket=read.ticket), leader.id)
        case _:
            state.out.answers.append(
                Refused(ticket=read.ticket, reason=Refusal.NOT_LEADER, leader=None)
            )


def on_read_request(state: State, sender: Identity, message: ReadRequest) -> None:
    """A follower's read. Asked again, it joins nothing twice."""
    if not isinstance(state.role, Leader) or not state.configuration.knows(sender):
        return
    key = (sender.id, message.ticket)
    if key not in state.role.reads:
        state.role.reads_waiting[key] = None


def on_read_reply(state: State, sender: Identity, message: ReadReply) -> None:
    """The leader confirmed a read of this server."""
    role = state.role
    asked = isinstance(role, Follower) and role.leader == sender and role.reads
    if asked and asked.pop(message.ticket, None) is not None:
        state.out.answers.append(ReadConfirmed(ticket=message.ticket, index=message.index))


def confirm(state: State, leader: Leader) -> bool:
    """Answer the reads whose round a quorum has answered (§6.4, steps 1 to 3)."""
    if not leader.reads or state.commit_index < leader.first_index:
        return False
    confirmed = state.confirmed_round()
    ready = [key for key, read in leader.reads.items() if read.round <= confirmed]
    for node, ticket in ready:
        # Everything of earlier terms lies below the no-op, everything of this one below the commit index.
        index = max(leader.reads.pop((node, ticket)).index, leader.first_index)
        if node == state.identity.id:
            state.out.answers.append(ReadConfirmed(ticket=ticket, index=index))
        else:
            progress = leader.progress[node]
            progress.awaits = max(progress.awaits, index)
            state.out.send(ReadReply(term=state.current_term, ticket=ticket, index=index), node)
    return bool(ready)


def ask_again(state: State, follower: Follower) -> bool:
    """Ask the leader once more for reads that it has not answered in time: something was lost."""
    if not follower.reads or follower.leader is None:
        return False
    due = state.now - state.config.ticks(state.config.retry_ms)
    late = [ticket for ticket, asked in follower.reads.items() if asked <= due]
    for ticket in late:
        follower.reads[ticket] = state.now
        state.out.send(ReadRequest(term=state.current_term, ticket=ticket), follower.leader.id)
    return bool(late)
