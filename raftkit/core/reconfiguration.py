"""Changes of the group: one at a time, in force when appended, done when committed (§4).

Laws: a leader begins a change only after it has committed an entry of its own term, and only when the
configuration in force is committed: so any two in which a quorum may act share a server. A joint one is
left by whoever leads once it is committed (§4.3). Whoever is removed is told before it is let go.
"""

from __future__ import annotations

import attrs

from raftkit.changes import (
    ChangeMembership,
    ChangeRefused,
    ChangeSettings,
    MembershipChanged,
    first_step,
    next_configuration,
    only_lowers_factor,
    second_step,
)
from raftkit.config import check_settings
from raftkit.core.progress import Progress
from raftkit.core.stamps import stamped
from raftkit.core.state import Departure, Leader, State
from raftkit.errors import ConfigError
from raftkit.membership import Configuration, Role
from raftkit.messages import Refusal, Refused
from raftkit.model import Index, Kind, NodeId

__all__ = ["conclude", "let_go", "on_change_membership"]

# ── asked for ────────────────────────────────────────────────────────────────────────────────────────


def on_change_membership(state: State, asked: ChangeMembership) -> None:
    """Append the first entry of a change, or refuse it: definitely, it did not happen."""
    leader = state.role
    if not isinstance(leader, Leader) or state.resigns:
        elsewhere = None if isinstance(leader, Leader) else state.leader
        _refuse(state, asked, Refusal.NOT_LEADER, leader=elsewhere)
        return
    refusal = _refusal(state, leader, asked)
    if refusal is not None:
        _refuse(state, asked, refusal)
        return
    try:
        target = _target(state, asked)
    except (ChangeRefused, ConfigError) as error:
        _refuse(state, asked, Refusal.INVALID, str(error))
        return
    behind = _behind(state, leader, target)
    if behind:
        _refuse(state, asked, Refusal.BEHIND, ", ".join(behind))
        return
    _append(state, leader, first_step(state.configuration, target))
    leader.changes.append(asked.ticket)


def _refuse(
    state: State,
    asked: ChangeMembership,
    reason: Refusal,
    detail: str = "",
    *,
    leader: NodeId | None = None,
) -> None:
    state.out.answers.append(
        Refused(ticket=asked.ticket, reason=reason, leader=leader, detail=detail)
    )


def _refusal(state: State, leader: Leader, asked: ChangeMembership) -> Refusal | None:
    """Why not now, whatever is asked for."""
    if leader.transfer is not None:
        return Refusal.TRANSFERRING  # §3.10: nothing is appended now
    index, configuration = state.configurations[-1]
    if asked.based_on not in (None, index):
        return Refusal.OVERTAKEN
    if only_lowers_factor(configuration, asked.changes):
        # It moves no quorum of voters, and without it nothing may ever commit again.
        return None
    if state.commit_index < leader.first_index:
        # Ongaro's correction of 2015: until it has committed an entry of its term, a leader may be behind a
        # change by another leader, of which it does not know, and whose majority its own does not meet.
        return Refusal.TOO_EARLY
    return Refusal.UNDER_WAY if index > state.commit_index or configuration.outgoing else None


def _target(state: State, asked: ChangeMembership) -> Configuration:
    """What the group shall become. Raises ChangeRefused, ConfigError."""
    target = next_configuration(state.configuration, asked.changes)
    first_step(state.configuration, target)
    if any(isinstance(it, ChangeSettings) for it in asked.changes):
        check_settings(
            target.settings, heartbeat_ms=state.config.heartbeat_ms, voters=len(target.voters)
        )
    return target


def _behind(state: State, leader: Leader, target: Configuration) -> list[NodeId]:
    """Those who would become voters without having caught up (§4.2.1)."""
    new = set(target.voters) - set(state.configuration.voters)
    return [peer for peer in sorted(new) if not _caught_up(state, leader.progress[peer])]


# ── conclusions ──────────────────────────────────────────────────────────────────────────────────────


def conclude(state: State, leader: Leader) -> bool:
    """The configuration in force is committed: leave it if it is joint, say so, promote who has caught up.

    Whoever began the change: a new leader goes on with what it finds, after its no-op.
    """
    index, configuration = state.configurations[-1]
    for peer in configuration.learners:
        if peer != state.identity.id:
            _measure(state, leader.progress[peer])
    if index > state.commit_index or state.commit_index < leader.first_index:
        return False
    ends = state.resigns or leader.transfer is not None  # §3.10: another is to hold the whole log
    if configuration.outgoing:
        if not ends:
            _append(state, leader, second_step(configuration))
        return not ends
    if leader.changes:
        for ticket in leader.changes:
            state.out.answers.append(MembershipChanged(ticket=ticket, index=index))
        leader.changes.clear()
        return True
    return not ends and _promote(state, leader, configuration)


def _promote(state: State, leader: Leader, configuration: Configuration) -> bool:
    """The first of those who wait for it, if any has caught up, becomes a voter (§4.2.1)."""
    for member in configuration.members:
        if member.role is Role.JOINING and _caught_up(state, leader.progress[member.id]):
            members = {it.id: it for it in configuration.members}
            members[member.id] = attrs.evolve(member, role=Role.VOTER)
            _append(state, leader, attrs.evolve(configuration, members=members.values()))
            return True
    return False


def let_go(state: State, leader: Leader) -> bool:
    """Feed those who were removed no more once they know it, or don't answer (§4.2.2, §4.2.3)."""
    if not leader.departing:
        return False
    gone: list[NodeId] = []
    for peer, departure in leader.departing.items():
        progress = leader.progress[peer]
        told = departure.farewell is not None and progress.round >= departure.farewell
        if told or state.now - progress.heard_at > state.election_ticks[1]:
            gone.append(peer)
        elif departure.farewell is None and departure.index <= min(
            state.commit_index, progress.match_index
        ):
            departure.farewell = leader.round + 1
    for peer in gone:
        _forget(leader, peer)
    return bool(gone)


# ── who is fed ───────────────────────────────────────────────────────────────────────────────────────


def _append(state: State, leader: Leader, configuration: Configuration) -> None:
    """Append a configuration, which is in force at once (§4.1), and feed its members."""
    _follow(state, leader, configuration)
    state.append(stamped(state, Kind.CONFIGURATION, configuration.encode()))


def _follow(state: State, leader: Leader, configuration: Configuration) -> None:
    """Whoever is in `configuration`, the next entry, is fed; who is not any more departs."""
    last, window = state.log.last_index, state.config.inflight_messages_max
    for peer in state.others:
        if configuration.member(peer) is None:
            leader.departing[peer] = Departure(index=Index(last + 1))
            leader.progress[peer].awaits = Index(last + 1)
    for member in configuration.members:
        known = leader.progress.get(member.id)
        if known is not None and known.identity != member.identity:
            _forget(leader, member.id)  # another incarnation of it, whose disk is gone
        leader.departing.pop(member.id, None)
        if member.id not in leader.progress and member.id != state.identity.id:
            progress = Progress.begin(member.identity, last, window, state.now)
            leader.progress[member.id] = progress
    leader.progress = dict(sorted(leader.progress.items()))


def _forget(leader: Leader, peer: NodeId) -> None:
    """All that a leader keeps of one peer."""
    del leader.progress[peer]
    leader.departing.pop(peer, None)
    leader.clocks.pop(peer, None)
    for asked in (leader.reads_waiting, leader.reads):
        for read in [it for it in asked if it[0] == peer]:
            del asked[read]


# ── how fast a learner follows ───────────────────────────────────────────────────────────────────────


def _measure(state: State, progress: Progress) -> None:
    """A round of catching up ends when its target is held, and the next one begins (§4.2.1).

    Who holds the whole log is through with that one, too: it has nothing to bring.
    """
    rounds = progress.rounds
    if progress.match_index >= rounds.target:
        took, has_all = state.now - rounds.began_at, progress.match_index == state.log.last_index
        rounds.quick = has_all or took < state.election_ticks[0]
        rounds.target, rounds.began_at = state.log.last_index, state.now


def _caught_up(state: State, progress: Progress) -> bool:
    """Whether a learner lacks so little that waiting for it would hardly be noticed (§4.2.1).

    The last round took less than an election timeout, and so has the present one so far; and it answers.
    """
    since = min(progress.rounds.began_at, progress.heard_at)
    return progress.rounds.quick and state.now - since < state.election_ticks[0]
