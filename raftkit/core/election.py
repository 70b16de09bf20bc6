"""Leader election (§3.4), who may win one (§3.6.1), and how campaigns stay harmless (§9.6, §4.2.3).

Handlers record votes. `campaign`, `campaign_when_told` and `take_office` conclude. A vote is given at most
once a term and is durable before it is told, one's own included. Asking beforehand changes nothing.
"""

from __future__ import annotations

from raftkit.core import leases, quorum
from raftkit.core.progress import Progress
from raftkit.core.stamps import stamped
from raftkit.core.state import Candidate, Follower, Leader, PreCandidate, State
from raftkit.messages import LeaderElected, PreVoteReply, PreVoteRequest, VoteReply, VoteRequest
from raftkit.model import Identity, Index, Kind, Term

__all__ = [
    "campaign",
    "campaign_when_told",
    "on_pre_vote_reply",
    "on_pre_vote_request",
    "on_vote_reply",
    "on_vote_request",
    "sticks_to_leader",
    "take_office",
    "time_out",
]


def time_out(state: State) -> bool:
    """§3.4: a server that hears of no leader for an election timeout seeks election. Whether one passed.

    So does one whose round of votes came to nothing, which may have a timeout of its own. Judged after the
    inputs of its batch: what arrived with the tick may show that the leader lives.
    """
    if isinstance(state.role, Leader) or state.now < state.election_deadline:
        return False
    if leases.promised(state):
        # Its own vote is promised as well, whatever its timer was set by. A little later it may.
        assert state.heard_leader_at is not None
        state.election_deadline = state.heard_leader_at + leases.patience(state)
        return True
    if state.durability.stalled and isinstance(state.role, Candidate):
        # It has asked nobody yet: its own vote waits for the disk, and so do its requests. Another term would
        # wait behind them; on a disk that is as slow as this nobody would ever win.
        pass
    elif state.may_campaign and state.config.appointed_leader in (None, state.identity.id):
        _ask_beforehand(state)
    elif state.leader is not None or not isinstance(state.role, Follower):
        state.become(Follower())
    state.restart_election_timer()
    return True


def _ask_beforehand(state: State) -> None:
    """§9.6: asking first, so that a server cut off from the others doesn't drive their terms up."""
    state.become(PreCandidate(granted={state.identity.id}))
    state.out.send(
        PreVoteRequest(
            term=Term(state.current_term + 1),
            last_index=state.log.last_index,
            last_term=state.log.last_term,
        ),
        *state.other_voters,
    )


# ── facts ────────────────────────────────────────────────────────────────────────────────────────────


def on_pre_vote_request(state: State, sender: Identity, message: PreVoteRequest) -> None:
    """Say whether a vote request now would be granted. Nothing changes here, not even a timer."""
    granted = (
        message.term > state.current_term
        and _up_to_date(state, message.last_term, message.last_index)
        and not sticks_to_leader(state)
        and state.barred is None
        # Its vote would come too late. Whoever needs it would ask in one term after the other.
        and not state.durability.stalled
    )
    # A refusal carries the refuser's term: or a laggard with the best log could ask in vain for ever.
    term = message.term if granted else state.current_term
    state.out.send(PreVoteReply(term=term, granted=granted), sender.id)


def on_pre_vote_reply(state: State, sender: Identity, message: PreVoteReply) -> None:
    """Record who would vote for this server in the next term."""
    if (
        message.granted
        and isinstance(state.role, PreCandidate)
        and message.term == state.current_term + 1
        and state.configuration.knows(sender)
    ):
        state.role.granted.add(sender.id)


def on_vote_request(state: State, sender: Identity, message: VoteRequest) -> None:
    """Vote for the first candidate of the term whose log is up to date (§3.4, §3.6.1).

    This server's own configuration is not consulted: it may be behind (§4.1, end). A promise on which a
    lease may rest outlasts the term in which it was given.
    """
    granted = (
        state.voted_for in (None, sender)
        and _up_to_date(state, message.last_term, message.last_index)
        and state.leader is None
        and state.barred is None
        and (message.transfer or not leases.promised(state))
    )
    if granted:
        state.voted_for = sender
        if not isinstance(state.role, Follower):
            state.become(Follower())
        state.restart_election_timer()
    state.out.send(VoteReply(term=state.current_term, granted=granted), sender.id)


def on_vote_reply(state: State, sender: Identity, message: VoteReply) -> None:
    """Record a vote of this term; those of earlier terms never get here (§3.3)."""
    if message.granted and isinstance(state.role, Candidate) and state.configuration.knows(sender):
        state.role.granted.add(sender.id)


def sticks_to_leader(state: State) -> bool:
    """§4.2.3: while a leader is heard, campaigns are not listened to, or a removed server could disturb.

    A server that has just started keeps still as long: it may have promised a lease before. A leader
    sticks to itself until `contact.step_down` finds that no majority answers.
    """
    if isinstance(state.role, Leader):
        return True
    heard = state.heard_leader_at
    return heard is not None and state.now - heard < leases.patience(state)


# ── conclusions ──────────────────────────────────────────────────────────────────────────────────────


def campaign(state: State, role: PreCandidate) -> bool:
    """A quorum would vote for this server: seek election in the next term (§3.4)."""
    if not quorum.won(state.configuration, role.granted):
        return False
    _stand(state, transfer=False)
    return True


def campaign_when_told(state: State, follower: Follower) -> bool:
    """§3.10: its leader wants this server to succeed it, so it asks nobody beforehand.

    They would refuse: they have heard that leader, and stick to it (§4.2.3). In the election they don't.
    """
    told, follower.told_to_campaign = follower.told_to_campaign, False
    if not told or not state.may_campaign:
        return False
    _stand(state, transfer=True)
    return True


def take_office(state: State, role: Candidate) -> bool:
    """A quorum voted for this server: it leads its term (§3.4).

    The no-op at its start lets everything before it commit, and tells the leader how far that is (§6.4).
    """
    # Its own vote, like anyone's, counts once it is durable; and so a leader's term always is.
    if state.durability.hard_state != (state.current_term, state.identity):
        return False
    if not quorum.won(state.configuration, role.granted | {state.identity.id}):
        return False
    last, window = state.log.last_index, state.config.inflight_messages_max
    progress = {
        member.id: Progress.begin(member.identity, last, window, state.now)
        for member in state.configuration.members
        if member.id != state.identity.id
    }
    state.become(
        Leader(
            first_index=Index(last + 1),
            progress=progress,
            heartbeat_due=state.now,
            stamped_at=(state.wall_ns, state.monotonic_ns),
        )
    )
    state.append(stamped(state, Kind.NOOP, b""))
    state.out.events.append(LeaderElected(leader=state.identity.id, term=state.current_term))
    return True


def _stand(state: State, *, transfer: bool) -> None:
    state.campaign()
    state.out.send(
        VoteRequest(
            term=state.current_term,
            last_index=state.log.last_index,
            last_term=state.log.last_term,
            transfer=transfer,
        ),
        *state.other_voters,
    )


def _up_to_date(state: State, last_term: Term, last_index: Index) -> bool:
    """§3.6.1: the later last term wins; with equal terms the longer log."""
    return (last_term, last_index) >= (state.log.last_term, state.log.last_index)
