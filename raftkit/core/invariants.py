"""What is true of a server at all times, and of each of its steps. Our bugs end here, not in your data.

`check` looks at one state, `check_step` at two. Both cost a few comparisons and one pass over peers. On in
every test and simulation, and in production with `open_node(paranoid=True)`.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise

from raftkit.core.progress import Snapshotting, Streaming
from raftkit.core.state import Candidate, Leader, PreCandidate, State
from raftkit.model import Identity, Index, Term

__all__ = ["Scalars", "check", "check_step", "scalars"]

Scalars = tuple[Term, Identity | None, Index, Index, Index, bool]
"current_term, voted_for, commit_index, applying_index, last_index, whether it leads."


def scalars(state: State) -> Scalars:
    """What `check_step` compares."""
    return (
        state.current_term,
        state.voted_for,
        state.commit_index,
        state.applying_index,
        state.log.last_index,
        isinstance(state.role, Leader),
    )


def check_step(before: Scalars, after: Scalars) -> None:
    """Assert what a step may not do, whatever came in."""
    term, vote, commit, applying, last, led = before
    term2, vote2, commit2, applying2, last2, leads = after
    assert term2 >= term, "terms never decrease (§3.3)"
    if term2 == term:
        assert vote in (vote2, None), "one vote a term (§3.4)"
        if led and leads:
            assert last2 >= last, "Leader Append-Only"
    assert commit2 >= commit, "what is committed stays committed"
    assert applying2 >= applying, "entries are applied once, in order"


def check(state: State) -> None:
    """Assert what holds of one server between steps."""
    log, durability = state.log, state.durability
    assert log.base_index <= state.commit_index, "what is compacted is committed"
    assert state.commit_index <= log.last_index, "what is committed is in the log"
    assert state.applied_index <= state.applying_index
    assert state.applying_index <= state.commit_index, "only committed entries are applied"
    assert state.applying_bytes == _bytes(state.applying)
    assert log.last_term <= state.current_term, "entries are of terms that began (§3.3)"
    assert durability.index <= durability.issued_index, "what is durable was issued"
    assert durability.issued_index == log.last_index, "a step issues all that it changed"
    assert durability.truncated_from is None, "a step issues all that it changed"
    assert state.snapshot is None or state.snapshot.index >= log.base_index
    assert state.snapshot is not None or log.base_index == 0
    if state.unfit is not None:
        assert not isinstance(state.role, PreCandidate | Candidate), (
            "who is unfit does not campaign"
        )
    if durability.stalled_write is not None:
        assert durability.completed < durability.stalled_write, "what stalls is under way"
        assert not isinstance(state.role, PreCandidate), "who is stalled asks for no votes"
    _check_configurations(state)
    match state.role:
        case Leader():
            _check_leader(state, state.role)
        case Candidate():
            assert state.voted_for == state.identity, "a candidate votes for itself (§3.4)"
            _check_verified(state)
        case PreCandidate():
            assert state.identity.id in state.role.granted
            _check_verified(state)
        case _:
            _check_verified(state)


def _check_verified(state: State) -> None:
    assert state.commit_index <= state.verified_index, "followers commit only what is proven equal"
    assert state.verified_index <= state.log.last_index


def _check_configurations(state: State) -> None:
    assert state.configurations, "a configuration is always in force (§4.1)"
    before = -1
    for index, _ in state.configurations:
        assert before < index
        before = index
    assert before <= state.log.last_index, "the one in force is in the log, or in its snapshot"
    if state.configuration.outgoing:
        members = {member.id for member in state.configuration.members}
        assert members.issuperset(state.configuration.outgoing), "who has a vote is a member"


def _check_fed(state: State, leader: Leader) -> None:
    fed = state.others
    if leader.departing:
        assert not set(fed) & set(leader.departing), "who departs is no member"
        fed = tuple(sorted({*fed, *leader.departing}))
    assert tuple(leader.progress) == fed, (
        "one progress for each other member and who departs, in order"
    )
    for member in state.configuration.members:
        if member.id != state.identity.id:
            assert leader.progress[member.id].identity == member.identity


def _check_changes(state: State, leader: Leader) -> None:
    """§4.1: of those that this leader made, one configuration at most moves quorums and is uncommitted."""
    known = max(state.commit_index, leader.first_index)
    if state.configurations[-1][0] <= known:
        return
    moves = 0
    for (_, before), (index, after) in pairwise(state.configurations):
        if index > known:
            moves += before.halves != after.halves
    assert moves <= 1, "one change at a time"


def _check_leader(state: State, leader: Leader) -> None:
    log = state.log
    assert state.voted_for == state.identity, "a leader voted for itself (§3.4)"
    assert log.last_term == state.current_term, "its log ends in its own term"
    assert log.base_index < leader.first_index <= log.last_index or (
        log.term(log.base_index) == state.current_term
    )
    _check_fed(state, leader)
    _check_changes(state, leader)
    assert leader.uncommitted_bytes == _bytes(leader.uncommitted)
    assert not leader.uncommitted or leader.uncommitted[0][0] > state.commit_index
    assert state.installing is None, "its vote was durable after the snapshot"
    assert not leader.fetched, "what was read back is used in its step"
    assert not leader.reads_by_lease, "a lease confirms in the step of the read, or not"
    if leader.transfer is not None:
        assert leader.transfer.target != state.identity.id, "who leads is handed nothing"
        assert leader.transfer.told_at is None or leader.timeout_now_sent
    for progress in leader.progress.values():
        assert progress.match_index < progress.next_index <= log.last_index + 1
        assert progress.round <= leader.round
        assert progress.told_commit <= state.commit_index
        match progress.mode:
            case Streaming() as mode:
                assert len(mode.in_flight) <= state.config.inflight_messages_max
                assert mode.bytes_in_flight == _bytes(mode.in_flight)
            case Snapshotting() as mode:
                assert mode.offset <= mode.snapshot.size
                assert state.snapshot is not None
            case _:
                pass


def _bytes(queue: deque[tuple[Index, int]]) -> int:
    """What a queue's accounts should say: it has a few elements, mostly none."""
    return sum([size for _, size in queue]) if queue else 0
