"""Handing leadership over (§3.10), and giving it up.

Asked to make another server lead, a leader takes no more proposals and feeds that server until it holds the
whole log; then `hand_over` tells it to campaign at once. To the protocol that is an election timeout that
came early, so nothing here decides safety, and what is lost or comes twice does no harm.

A leader does so unasked when its own disk stands still and those of a quorum do not: its heartbeats go on
whatever its disk does, so nobody else would ever notice.

Laws: a transfer ends, by another leader or after an election timeout; then the leader goes on, and takes
proposals again. Nothing is appended while one is under way. Only a server that this leader has heard of
late is told, and a server obeys only the leader of its own term.
"""

from __future__ import annotations

from raftkit.core import quorum
from raftkit.core.state import Follower, Leader, State, Transfer
from raftkit.leadership import (
    HandOverRefusal,
    NotHandedOver,
    StepDown,
    SteppedDown,
    TransferLeadership,
)
from raftkit.messages import PriorityHeard, TimeoutNow
from raftkit.model import Identity, NodeId

__all__ = [
    "hand_over",
    "make_room",
    "on_priority_heard",
    "on_step_down",
    "on_timeout_now",
    "on_transfer_leadership",
]


# ── facts ────────────────────────────────────────────────────────────────────────────────────────────


def on_transfer_leadership(state: State, asked: TransferLeadership) -> None:
    """Begin to hand over to `target`, or to whoever holds the whole log and takes it."""
    _begin(state, asked.ticket, asked.target, insists=False)


def on_step_down(state: State, asked: StepDown) -> None:
    """Begin to hand over to anybody, and insist; or lead no more from now on."""
    if asked.hand_over:
        _begin(state, asked.ticket, None, insists=True)
    elif isinstance(state.role, Leader):
        state.out.answers.append(SteppedDown(ticket=asked.ticket, term=state.current_term))
        _step_down(state)
    else:
        _refuse(state, asked.ticket, HandOverRefusal.NOT_LEADER)


def on_timeout_now(state: State, sender: Identity, message: TimeoutNow) -> None:  # noqa: ARG001
    """This term's leader wants this server to lead. Of an earlier term it never gets here (§3.3)."""
    if state.follow(sender):
        assert isinstance(state.role, Follower)
        state.role.told_to_campaign = True


def on_priority_heard(state: State, heard: PriorityHeard) -> None:
    """A member would rather have others lead, or no more. Of who is a member no more nothing is kept."""
    state.priorities[heard.peer] = heard.priority
    for peer in [it for it in state.priorities if state.configuration.member(it) is None]:
        del state.priorities[peer]


def _begin(state: State, ticket: int, target: NodeId | None, *, insists: bool) -> None:
    objection = _objection(state, target)
    if objection is not None:
        _refuse(state, ticket, objection)
        return
    assert isinstance(state.role, Leader)
    _, high = state.election_ticks
    state.role.transfer = Transfer(
        ticket=ticket, target=target, insists=insists, deadline=state.now + high
    )


def _objection(state: State, target: NodeId | None) -> HandOverRefusal | None:
    """Why leadership can't begin to be handed to `target`, or to anybody."""
    leader = state.role
    if not isinstance(leader, Leader):
        return HandOverRefusal.NOT_LEADER
    if leader.transfer is not None:
        return HandOverRefusal.UNDER_WAY
    if target is not None:
        return _unable(state, leader, target)
    if all(_unable(state, leader, voter) for voter in state.other_voters):
        return HandOverRefusal.NOBODY
    return None


def _unable(state: State, leader: Leader, target: NodeId) -> HandOverRefusal | None:
    """Why `target` can't lead, as far as this leader knows."""
    low, _ = state.election_ticks
    if target == state.identity.id:
        return HandOverRefusal.ITSELF
    if target not in leader.progress:
        return HandOverRefusal.UNKNOWN
    if not state.configuration.votes(target):
        return HandOverRefusal.LEARNER
    if state.now - leader.progress[target].heard_at >= low:
        return HandOverRefusal.SILENT
    return None


# ── conclusions ──────────────────────────────────────────────────────────────────────────────────────


def make_room(state: State, leader: Leader) -> bool:
    """This server's disk stands still, and a quorum without it has what waits here: one of them takes over.

    With fewer nobody could win, as when all share a disk; then a slow leader is better than none.
    """
    durability = state.durability
    if not durability.stalled or leader.transfer is not None:
        return False
    waits = durability.pending[0].last
    better = [it for it in state.other_voters if leader.progress[it].match_index >= waits]
    if not quorum.won(
        state.configuration, [it for it in better if _unable(state, leader, it) is None]
    ):
        return False
    _, high = state.election_ticks
    leader.transfer = Transfer(ticket=None, target=None, insists=True, deadline=state.now + high)
    return True


def hand_over(state: State, leader: Leader) -> bool:
    """The successor holds the whole log: tell it to campaign, again if nothing comes of it (§3.10)."""
    transfer = leader.transfer
    if transfer is None:
        return False
    if _lapses(state, leader, transfer):
        return True
    again = state.config.ticks(state.config.retry_ms)
    if transfer.told_at is not None and state.now - transfer.told_at < again:
        return False
    target = _successor(state, leader, transfer) if transfer.target is None else transfer.target
    if target is None or leader.progress[target].match_index < state.log.last_index:
        return False
    # Lost, it would cost an election timeout. The second of two finds a candidate of a later term.
    transfer.told_at = state.now
    leader.timeout_now_sent = True
    state.out.send(TimeoutNow(term=state.current_term), target)
    return True


def _successor(state: State, leader: Leader, transfer: Transfer) -> NodeId | None:
    """Who is told, where none is named: the best that is heard and holds the whole log, then the next such.

    Whoever can't apply what is in force, or whose disk stands still, does not campaign, and nobody hears why.
    """
    low, _ = state.election_ticks
    able = [voter for voter in state.other_voters if _unable(state, leader, voter) is None]
    # A candidate that was told is heard before long: two at a time would only take each other's votes.
    busy = [it for it in able if it in transfer.tried and state.now < transfer.tried[it] + low // 2]
    fresh = [it for it in able if it not in transfer.tried]
    target = state.heir(leader, busy) or state.heir(leader, fresh) or state.heir(leader, able)
    if target is not None:
        transfer.tried.setdefault(target, state.now)
    return target


def _lapses(state: State, leader: Leader, transfer: Transfer) -> bool:
    """Whether it has come to nothing, because of time or of who was named; then whoever asked is told.

    What nobody asked for ends with its reason, the disk being at work again, unless a successor was told.
    """
    if transfer.ticket is None and transfer.told_at is None and not state.durability.stalled:
        leader.transfer = None
        return True
    reason = None if transfer.target is None else _unable(state, leader, transfer.target)
    if state.now >= transfer.deadline:
        reason = HandOverRefusal.ABANDONED
    if reason is None:
        return False
    if transfer.insists:
        _step_down(state)
    else:
        assert transfer.ticket is not None, "who goes unasked insists"
        leader.transfer = None
        _refuse(state, transfer.ticket, reason)
    return True


def _step_down(state: State) -> None:
    """Follow, and let the others campaign first: who was asked to make room does not come back at once."""
    state.become(Follower())
    _, high = state.election_ticks
    state.election_deadline += high


def _refuse(state: State, ticket: int, reason: HandOverRefusal) -> None:
    state.out.answers.append(NotHandedOver(ticket=ticket, reason=reason, leader=state.leader))
