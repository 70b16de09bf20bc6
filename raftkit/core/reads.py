"""Linearizable reads without the log (§6.4), at the leader and at followers.

Laws: a read joins the first round of heartbeats sent *after* it arrived, so neither duplicated nor
delayed answers can confirm it; it is confirmed when a quorum answered that round or a later one; and none
is confirmed before the leader's no-op commits, since until then it may not know the latest commit. A read
that may go by the lease waits for nothing where there is one, and is like all others where there is none.
"""

from __future__ import annotations

from raftkit.core import leases
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

__all__ = [
    "ask_again",
    "confirm",
    "confirm_by_lease",
    "on_read",
    "on_read_reply",
    "on_read_request",
]


def on_read(state: State, read: Read) -> None:
    """A local read: joins the leader's next round, here or at the leader.

    A follower's read never goes by the lease: who asks another server may as well ask for a majority.
    """
    match state.role:
        case Leader() if read.lease:
            state.role.reads_by_lease.append(read.ticket)
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


def confirm_by_lease(state: State, leader: Leader) -> bool:
    """Answer reads by the lease while it holds (§6.4.1); otherwise they join the next round."""
    if not leader.reads_by_lease:
        return False
    until_ns = leases.expiry_ns(state, leader)
    holds = until_ns is not None and state.monotonic_ns < until_ns
    for ticket in leader.reads_by_lease:
        if holds:
            state.out.answers.append(
                ReadConfirmed(ticket=ticket, index=state.commit_index, expires_ns=until_ns)
            )
        else:
            leader.reads_waiting[state.identity.id, ticket] = None
    leader.reads_by_lease.clear()
    return True


def confirm(state: State, leader: Leader) -> bool:
    """Answer the reads whose round a quorum has answered (§6.4, steps 1 to 3)."""
    if not leader.reads or state.commit_index < leader.first_index:
        return False
    confirmed = state.confirmed_round()
    ready = [key for key, read in leader.reads.items() if read.round <= confirmed]
    for node, ticket in ready:
        index = leader.reads.pop((node, ticket)).index
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
