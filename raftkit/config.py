"""A node's local settings for the core. Nothing here decides safety; that is in `membership.Settings`.

Law: what two nodes may set differently without harm is here, in the core's units; everything else is
in the configuration entry. `raftkit.open_node` takes seconds and builds this.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NotRequired, TypedDict

import attrs

from raftkit.errors import ConfigError
from raftkit.membership import Settings
from raftkit.model import Identity, NodeId

__all__ = [
    "ENTRY_BYTES_MAX",
    "PRESETS",
    "PRIORITY_MIN",
    "Config",
    "Timing",
    "check_bounds",
    "check_settings",
]

ENTRY_BYTES_MAX = 4 * 1024 * 1024
"No group may allow larger payloads: no receiver does (`wire.Limits`)."
PRIORITY_MIN = -10
"More patience than this would be no leader for long, should all others be gone."


class Timing(TypedDict):
    """How soon a silent leader is replaced: settings of `raftkit.open_node`, in seconds."""

    election_timeout: tuple[float, float]
    heartbeat_interval: float
    vote_timeout: NotRequired[tuple[float, float]]


PRESETS: Final[Mapping[str, Timing]] = MappingProxyType(
    {
        "lan": {"election_timeout": (0.25, 0.5), "heartbeat_interval": 0.05},
        "wan": {"election_timeout": (3.0, 6.0), "heartbeat_interval": 0.5},
        "chronos": {"election_timeout": (1.0, 2.0), "heartbeat_interval": 0.5},
        "proxmox": {"election_timeout": (3.0, 4.0), "heartbeat_interval": 1.0},
        "omnitron": {"election_timeout": (5.0, 15.0), "heartbeat_interval": 2.0},
        "qluster": {
            "election_timeout": (30.0, 40.0),
            "heartbeat_interval": 10.0,
            "vote_timeout": (5.0, 10.0),
        },
    }
)
"Timings by name, as in `open_node(…, **PRESETS['wan'])`: two networks, then what other systems wait."


@attrs.frozen(kw_only=True)
class Config:
    """Local settings of one core."""

    identity: Identity
    "Who this node is."
    tick_ms: int = 10
    "Length of a tick. Timeouts in ms are rounded up to whole ticks."
    heartbeat_ms: int = 50
    "A leader lets a peer hear of it this often. At most half of the lower election bound."
    retry_ms: int = 100
    "What a follower has not acknowledged for this long is asked for; in vain, ever less often."
    vote_timeout_ms: tuple[int, int] | None = None
    "Bounds of the time after which a round of votes that nobody won is repeated; None: as for silence."
    append_bytes_max: int = 256 * 1024
    "Payload bytes of one AppendEntries; at least one entry goes whatever its size."
    inflight_messages_max: int = 64
    "Unacknowledged AppendEntries of one streaming follower."
    inflight_bytes_max: int = 8 * 1024 * 1024
    "Their payload bytes; at least one message goes whatever its size."
    uncommitted_bytes_max: int = 64 * 1024 * 1024
    "Payload bytes a leader holds uncommitted; beyond it proposals are refused `Overloaded`."
    apply_bytes_max: int = 4 * 1024 * 1024
    "Payload bytes given out to be applied and not yet reported so; at least one run goes."
    tail_bytes_max: int = 64 * 1024 * 1024
    "Payload bytes of applied entries kept in memory for followers; older ones are fetched."
    snapshot_chunk_bytes: int = 256 * 1024
    "Bytes of one SnapshotChunk."
    snapshot_bytes_per_second: int = 0
    "That a leader sends of snapshots, to all followers together; 0: as fast as they are taken."
    compaction_tail_entries: int = 10_000
    "Entries before a snapshot that stay in the log for followers slightly behind."
    compaction_wait_bytes: int = 64 * 1024 * 1024
    "While the log waits for who is sent a snapshot, so much may be written, or the snapshot's size if more."
    clock_step_max_ms: int = 10_000
    "A wall clock that steps further than this against the monotonic clock is not followed."
    priority: int = 0
    "From `PRIORITY_MIN` to 0. Each step down lets the others campaign one width of the bounds earlier."
    appointed_leader: NodeId | None = None
    "The only server that campaigns by itself; others only when it hands over to them. None: all do."
    paranoid: bool = True
    "Check `core/invariants.py` after every step."

    def __attrs_post_init__(self) -> None:
        for name in (
            "tick_ms", "heartbeat_ms", "retry_ms", "append_bytes_max", "inflight_messages_max",
            "inflight_bytes_max", "uncommitted_bytes_max", "apply_bytes_max", "snapshot_chunk_bytes",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.vote_timeout_ms is not None:
            check_bounds("vote_timeout", self.vote_timeout_ms)
        if not PRIORITY_MIN <= self.priority <= 0:
            raise ConfigError(
                f"priority must lie between {PRIORITY_MIN} and 0, got {self.priority}: "
                "0 campaigns first, each step below waits longer"
            )

    def ticks(self, ms: int) -> int:
        """`ms` in whole ticks, rounded up."""
        return -(-ms // self.tick_ms)


def check_settings(settings: Settings, *, heartbeat_ms: int, voters: int) -> None:
    """Whether these replicated settings can work. Raises ConfigError that names the offending pair."""
    check_bounds("election_timeout", settings.election_timeout_ms)
    low, _ = settings.election_timeout_ms
    if 2 * heartbeat_ms > low:
        raise ConfigError(
            f"heartbeat_interval {heartbeat_ms} ms must be at most half of the lower election_timeout "
            f"{low} ms, or healthy leaders are deposed"
        )
    if not 1 <= settings.replication_factor <= voters:
        raise ConfigError(
            f"replication_factor {settings.replication_factor} must lie between 1 and the "
            f"{voters} voters: it can raise the majority, never lower it"
        )
    if not 1024 <= settings.entry_bytes_max <= ENTRY_BYTES_MAX:
        raise ConfigError(
            f"entry_bytes_max must lie between 1024 and {ENTRY_BYTES_MAX}, "
            f"got {settings.entry_bytes_max}"
        )


def check_bounds(name: str, bounds: tuple[int, int]) -> None:
    """Whether a timeout can be drawn between these. Raises ConfigError that names the setting."""
    low, high = bounds
    if not 0 < low < high:
        raise ConfigError(f"{name} must be (low, high) with 0 < low < high, got {low, high} ms")
