"""Heartbeats, and what silence means: a leader that no majority answers stops leading (§6.2).

So does one that is unfit to lead, or no voter any more, as soon as another can.

Laws: a heartbeat claims nothing about a follower's log, so one serves all. Rounds only grow within a
leadership; an answer to a round proves contact after that round was sent, however late it comes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from raftkit.core import leases, quorum
from raftkit.core.progress import Probing, Progress, Snapshotting, Streaming
from raftkit.core.stamps import hear_clock
from raftkit.core.state import Follower, Leader, State
from raftkit.messages import Heartbeat, HeartbeatReply, PeerUnreachable, TimeoutNow
from raftkit.model import Identity, Index, NodeId

__all__ = [
    "announce_commit",
    "beat",
    "on_heartbeat",
    "on_heartbeat_reply",
    "on_peer_unreachable",
    "resign",
    "step_down",
]


def on_heartbeat(state: State, sender: Identity, message: Heartbeat) -> None:
    """The leader lives. Its commit index holds here as far as this log is proven equal to its own."""
    if not state.follow(sender):
        return
    assert isinstance(state.role, Follower)
    state.advance_commit_to(min(message.commit_index, state.verified_index))
    state.role.owes_round = max(state.role.owes_round or 0, message.round)


def on_heartbeat_reply(state: State, sender: Identity, message: HeartbeatReply) -> None:
    """A follower answers: contact, its highest round, and how much of the log it is known to hold."""
    progress = state.progress_of(sender)
    if progress is None or not isinstance(state.role, Leader):
        return
    if message.round > state.role.round or message.index > state.log.last_index:
        state.misbehaved(sender, "answers what was never sent")
        return
    progress.heard_at = state.now
    if message.round > progress.round:
        # An answer to an earlier round may have been long on its way, and its clock with it.
        hear_clock(state, state.role, sender.id, message.wall_ns)
        progress.round = message.round
    progress.acknowledge(message.index, state.now)
    if progress.match_index >= state.commit_index:
        progress.catching_up = None
    progress.revive(message.index, state.now, state.config.ticks(state.config.retry_ms))


def on_peer_unreachable(state: State, lost: PeerUnreachable) -> None:
    """A connection closed, which is news where silence would only be a suspicion.

    A leader sends that peer one message at a time. A follower that has lost its leader campaigns at once,
    and sticks to that leader no longer; who still hears it refuses. One after the other, so that few do so
    together, and first who can probably win. Not where a lease may rest on that it sticks.
    """
    if isinstance(state.role, Leader) and lost.peer in state.role.progress:
        progress = state.role.progress[lost.peer]
        match progress.mode:
            case Streaming():
                progress.probe(Index(progress.match_index + 1), state.now)
            case Snapshotting() as mode:
                mode.pause = mode.failures = 0  # of the old link; the new one is tried soon
            case Probing():
                progress.asked = 0
            case _:
                assert_never(progress.mode)
    elif state.leader == lost.peer and not leases.bind(state):
        survivors = _line_of(state, lost)
        rank = survivors.index(state.identity.id) if state.identity.id in survivors else 0
        state.become(Follower())
        state.heard_leader_at = None
        # What a step of lower priority waits, all of a higher one have ranked before.
        late = -state.config.priority * 2 * len(survivors)
        state.election_deadline = state.now + 1 + 2 * rank + late


def _line_of(state: State, lost: PeerUnreachable) -> list[NodeId]:
    """The voters that are left, in the order in which they campaign: who was not heard behind, all by name.

    What was heard may be old or wrong: it decides who tries first, never who wins (§3.6.1).
    """
    heard = {name: place for place, name in enumerate(lost.succession)}
    left = [voter for voter in state.configuration.voters if voter != lost.peer]
    return sorted(left, key=lambda it: (heard.get(it, len(heard)), it))


def step_down(state: State, leader: Leader) -> bool:
    """§6.2: a leader that hears from no majority for an election timeout is a leader no more.

    Before reads are confirmed: a leader waking from a pause must not take answers that waited for it in
    the inbox for fresh ones.
    """
    progress, me = leader.progress, state.identity.id
    _, high = state.election_ticks
    # Mostly all others answer, and then there is nothing to count.
    if state.now - min([it.heard_at for it in progress.values()], default=state.now) <= high:
        return False
    heard = quorum.confirmed(
        state.configuration,
        lambda voter: state.now if voter == me else progress[voter].heard_at,
    )
    if state.now - heard <= high:
        return False
    state.become(Follower())
    return True


def beat(state: State, leader: Leader) -> bool:
    """Let everybody hear of the leader when it is due, or when reads wait and no round is under way."""
    due = state.now >= leader.heartbeat_due
    if not due and not (leader.reads_waiting and leader.round == state.confirmed_round()):
        return False
    leader.heartbeat_due = state.now + state.config.ticks(state.config.heartbeat_ms)
    leader.next_round(state.commit_index, state.monotonic_ns)
    for progress in leader.progress.values():
        progress.told_commit = state.commit_index
    state.out.send(_heartbeat(state, leader), *leader.progress)
    return True


def announce_commit(state: State, leader: Leader) -> bool:
    """Tell nodes with waiters of a commit at once; the others learn it with the next message."""
    return _tell_commit(
        state,
        leader,
        lambda progress: progress.awaits > progress.told_commit < state.commit_index,
    )


def resign(state: State, leader: Leader) -> bool:
    """A leader that is unfit, or removed (§4.2.2), stops when another voter can be elected (§3.6.1).

    That is one that holds its whole log and is heard; it takes no proposals meanwhile, so that comes; it is
    told to campaign at once (§3.10). If nobody can be reached, `step_down` is for it.
    """
    if not state.resigns:
        return False
    voters, (low, _) = state.other_voters, state.election_ticks
    heard = [it for it in voters if state.now - leader.progress[it].heard_at < low]
    heir = state.heir(leader, heard)
    if voters and heir is None:
        return False
    # Nobody else can say what is committed before the next leader's no-op is.
    _tell_commit(state, leader, lambda progress: progress.told_commit < state.commit_index)
    if heir is not None:
        state.out.send(TimeoutNow(term=state.current_term), heir)
    state.become(Follower())
    return True


def _tell_commit(state: State, leader: Leader, wants: Callable[[Progress], bool]) -> bool:
    told = [peer for peer, progress in leader.progress.items() if wants(progress)]
    for peer in told:
        leader.progress[peer].told_commit = state.commit_index
    if told:
        state.out.send(_heartbeat(state, leader), *told)
    return bool(told)


def _heartbeat(state: State, leader: Leader) -> Heartbeat:
    return Heartbeat(
        term=state.current_term, round=leader.round, commit_index=Index(state.commit_index)
    )
