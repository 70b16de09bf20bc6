"""Log time: what a leader stamps its entries with (`docs/architecture.md`, Time).

Laws: neither stamp ever decreases along the log. `time_ns` follows the wall clock but not its jumps;
`elapsed_ns` adds up leaders' monotonic clocks and gains nothing across a change of leader.
"""

from __future__ import annotations

from raftkit.core.state import State
from raftkit.messages import ClockStepRefused

__all__ = ["stamp"]


def stamp(state: State) -> tuple[int, int]:
    """(time_ns, elapsed_ns) of entries made in this step, which began with a tick."""
    last_time, last_elapsed = state.log.last_stamps
    if state.stamped_at is None:
        # A new leadership: its monotonic clock says nothing about the time since the last entry.
        time_ns, elapsed_ns = max(last_time, state.wall_ns), last_elapsed
    else:
        wall_before, monotonic_before = state.stamped_at
        advance = max(0, state.monotonic_ns - monotonic_before)
        step = (state.wall_ns - wall_before) - advance
        elapsed_ns = last_elapsed + advance
        if abs(step) > state.config.clock_step_max_ms * 1_000_000:
            state.out.events.append(ClockStepRefused(step_ms=step // 1_000_000))
            time_ns = last_time + advance
        else:
            time_ns = max(last_time, last_time + advance + step)
    state.stamped_at = (state.wall_ns, state.monotonic_ns)
    return time_ns, elapsed_ns
