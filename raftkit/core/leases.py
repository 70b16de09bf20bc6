"""Leader leases (§6.4.1): reads that ask nobody, in groups whose settings allow it.

Whoever hears its leader supports no campaign, its own included, for the lower election bound. So once a
quorum has answered a round of heartbeats, nobody else can lead until that long after it was *sent*.

Laws: a lease lasts `LEASE_PERCENT` of the bound, so it holds as long as no member's clock runs faster than
another's by a ninth. It counts only voters that are known to hold the settings on which it rests. There is
none in a term in which somebody was told to campaign at once. A voter keeps the longest promise of which
anybody may have counted on it, in each term that it comes to.
"""

from __future__ import annotations

from raftkit.core.state import Leader, State
from raftkit.model import Index

__all__ = ["LEASE_PERCENT", "bind", "expiry_ns", "patience", "promised"]

LEASE_PERCENT = 90
"Of the lower election bound: the rest is for clocks that differ in rate."

_NS = 1_000_000
"In a millisecond."


# ── a voter's promise ────────────────────────────────────────────────────────────────────────────────


def bind(state: State) -> bool:
    """Whether somebody may count on promises of this server: leases are on where they may be in force."""
    return any(it.settings.leases for it in state.possible_configurations)


def patience(state: State) -> int:
    """For how many ticks this server sticks to a leader that it has heard (§4.2.3).

    The bounds of a configuration that is not known committed may be void, and so may its predecessor's.
    """
    possible = state.possible_configurations
    low = max(it.settings.election_timeout_ms[0] for it in possible)
    # Ticks are counted whole: the first of them may have been nearly over when the leader was heard.
    return state.config.ticks(low) + bind(state)


def promised(state: State) -> bool:
    """Whether this server, while leases bind it, may not support anybody but the leader that it heard."""
    heard = state.heard_leader_at
    return bind(state) and heard is not None and state.now - heard < patience(state)


# ── a leader's lease ─────────────────────────────────────────────────────────────────────────────────


def expiry_ns(state: State, leader: Leader) -> int | None:
    """Until when, by the monotonic clock, nobody else leads; None if that can't be said."""
    settings = state.configuration.settings
    rests_on = _settings_index(state)
    if not settings.leases or leader.timeout_now_sent:
        return None
    # Before its no-op commits, a leader may not know what others have committed (§6.4).
    if state.commit_index < max(rests_on, leader.first_index):
        return None
    counted = leader.sent_before(state.confirmed_round(rests_on))
    if counted is None:
        return None
    return counted.sent_ns + settings.election_timeout_ms[0] * _NS * LEASE_PERCENT // 100


def _settings_index(state: State) -> Index:
    """Where the bounds and the leases that are in force were set, as far as the log tells."""
    settings = state.configuration.settings
    index = state.configurations[-1][0]
    for at, earlier in reversed(state.configurations):
        if (earlier.settings.leases, earlier.settings.election_timeout_ms) != (
            settings.leases,
            settings.election_timeout_ms,
        ):
            break
        index = at
    return index
