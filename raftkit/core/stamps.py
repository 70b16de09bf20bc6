"""Log time: what a leader stamps its entries with (`docs/architecture.md`, Randomness and time).

Laws: neither stamp ever decreases along the log. `elapsed_ns` adds up leaders' monotonic clocks and gains
nothing across a change of leader. `time_ns` follows the leader's wall clock once a quorum of the voters'
clocks was heard, and the median of theirs where it stands apart from that; it follows no jump.
"""

from __future__ import annotations

from raftkit.core import quorum
from raftkit.core.state import Leader, State
from raftkit.messages import ClockStepRefused
from raftkit.model import Index, Kind, NodeId, Run

__all__ = ["elapsed_at", "hear_clock", "stamp", "stamped"]

STAMP_MAX = (1 << 63) - 1
"No stamp is above this, in the year 2262, whatever clocks say: more would not fit into the formats."


def stamp(state: State) -> tuple[int, int]:
    """(time_ns, elapsed_ns) of entries that this leader makes in this step, which began with a tick."""
    leader = state.role
    assert isinstance(leader, Leader)
    last_time, last_elapsed = state.log.last_stamps
    elapsed_ns = elapsed_at(state, leader, state.monotonic_ns)
    advance = elapsed_ns - last_elapsed
    if leader.correction_ns is None:
        leader.correction_ns = _judge(state, leader)
    else:
        leader.correction_ns -= _jump(state, leader, advance)
    leader.stamped_at = (state.wall_ns, state.monotonic_ns)
    if leader.correction_ns is None:
        time_ns = last_time + advance
    else:
        time_ns = state.wall_ns + leader.correction_ns
    return max(last_time, min(time_ns, STAMP_MAX)), elapsed_ns


def stamped(state: State, kind: Kind, payload: bytes) -> Run:
    """The next entry of this leader's log, one that only leaders make."""
    time_ns, elapsed_ns = stamp(state)
    return Run(
        first=Index(state.log.last_index + 1),
        term=state.current_term,
        time_ns=time_ns,
        elapsed_ns=elapsed_ns,
        kinds=(kind,),
        payloads=(payload,),
    )


def elapsed_at(state: State, leader: Leader, monotonic_ns: int) -> int:
    """The `elapsed_ns` of an entry that this leader makes when its monotonic clock reads so."""
    _, last_elapsed = state.log.last_stamps
    _, monotonic_before = leader.stamped_at
    advance = max(0, monotonic_ns - monotonic_before)
    return max(last_elapsed, min(last_elapsed + advance, STAMP_MAX))


def hear_clock(state: State, leader: Leader, peer: NodeId, wall_ns: int) -> None:
    """A peer says what its wall clock reads. One heard for the first time may change the judgement."""
    if peer not in leader.clocks:
        leader.correction_ns = None
    leader.clocks[peer] = wall_ns - state.monotonic_ns


def _judge(state: State, leader: Leader) -> int | None:
    """What to add to this server's wall clock, by those of a quorum; None while fewer were heard."""
    own = state.wall_ns - state.monotonic_ns
    voters = {it: clock for it, clock in leader.clocks.items() if state.configuration.votes(it)}
    clocks = {**voters, state.identity.id: own}
    if not quorum.won(state.configuration, clocks):
        return None
    # Of an even number the earlier one: a stamp can wait for time, and never goes back.
    median = sorted(clocks.values())[(len(clocks) - 1) // 2]
    return -_refused(state, own - median)


def _jump(state: State, leader: Leader, advance: int) -> int:
    """How far the wall clock jumped since the last stamp, if too far to be followed; else 0."""
    wall_before, _ = leader.stamped_at
    return _refused(state, state.wall_ns - wall_before - advance)


def _refused(state: State, step: int) -> int:
    """`step` where the wall clock is not followed so far, which people are told; else 0."""
    if abs(step) <= state.config.clock_step_max_ms * 1_000_000:
        return 0
    state.out.events.append(ClockStepRefused(step_ms=step // 1_000_000))
    return step
