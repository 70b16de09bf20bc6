"""Which faults a world has, and how often: drawn anew for each seed, so that they meet in all mixtures.

Law: a fault class is off in about half of the worlds (swarm testing): when everything is
always on, what only shows in the absence of something is never seen.
"""

from __future__ import annotations

import random

import attrs

from raftkit.config import Config
from raftkit.model import Identity

__all__ = ["ENTRY_BYTES_MAX", "FAULTS", "MULTICAST_FAULTS", "Swarm"]

ENTRY_BYTES_MAX = 1024
"Of all worlds."

FAULTS = {
    "crash": 1.0,
    "power_failure": 0.15,
    "pause": 0.6,
    "stall": 0.6,
    "isolate_leader": 0.8,
    "partition": 0.8,
    "one_way": 0.6,
    "partial": 0.6,
    "clog": 1.0,
    "clog_server": 0.5,
    "replay": 6.0,
    "probe_lower": 6.0,
    "snapshot": 6.0,
    "step_clock": 0.3,
    "unreachable": 0.5,
    "outdate": 0.1,
    "transfer": 1.0,
    "step_down": 0.3,
    "forge": 6.0,
    "roll_back": 1.0,
    "change_group": 4.0,
}
"How often each happens in 100 ticks where it is on. The names are methods of `Nemesis`."
MULTICAST_FAULTS = {"deafen": 1.0}
"The same, of worlds in which servers multicast."


@attrs.frozen(kw_only=True)
class Swarm:
    """The switches of one world. Times are in ticks, chances from 0 to 1."""

    loss: float
    "Chance that a message is lost."
    duplication: float
    "Chance that it arrives twice."
    delay: float
    "Mean one-way delay."
    straggle: float
    "Chance that a delay is thirty times as long."
    disk: float
    "Mean time of a sync; 0 is done at once."
    apply: float
    "Mean time to apply what is handed over; 0 is done at once."
    turn: float
    "How long a server collects inputs before it steps; 0 gives each input a step of its own."
    crash_on_write: float
    "Chance that a server crashes between issuing a write and its sync."
    downtime: float
    "Mean time until a crashed server is back."
    faults: dict[str, float]
    "Name and rate in 100 ticks of the faults that this world has."
    proposals: float
    "Proposals a tick."
    reads: float
    "Reads a tick."
    payload: int
    "Largest payload, in bytes; above `ENTRY_BYTES_MAX` some are refused."
    heartbeat_ms: int
    "See `Config`."
    append_bytes_max: int
    "See `Config`; 1 makes each entry a message."
    inflight_messages_max: int
    "See `Config`."
    uncommitted_bytes_max: int
    "See `Config`."
    apply_bytes_max: int
    "See `Config`."
    tail_bytes_max: int
    "See `Config`; 0 makes leaders fetch what is applied."
    snapshot_chunk_bytes: int
    "See `Config`."
    snapshot_bytes_per_second: int
    "See `Config`."
    compaction_tail_entries: int
    "See `Config`."
    compaction_wait_bytes: int
    "See `Config`; 0 waits for as many as the snapshot has."
    extreme_timers: bool
    "Timeouts are drawn mostly from the ends of their range."
    leases: bool
    "See `Settings`; then some of the reads go by lease."
    drift: float
    "Most by which a server's clock is too fast or too slow."

    multicast: bool = False
    "Whether a message to several travels as one."
    vote_timeout_ms: tuple[int, int] | None = None
    "See `Config`."
    retry_ms: int = 100
    "See `Config`."

    @classmethod
    def draw(cls, rng: random.Random) -> Swarm:
        """The switches of one seed."""

        def maybe(most: float) -> float:
            """Off, or up to `most`; small values as likely as large ones."""
            return 0.0 if rng.random() < 0.5 else most * rng.random() ** 2

        intensity = rng.choice((0.5, 1.0, 2.0))
        leases = rng.random() < 0.5
        return cls(
            loss=maybe(0.3),
            duplication=maybe(0.5),
            delay=rng.choice((0.1, 0.3, 1.0, 3.0)),
            straggle=maybe(0.1),
            disk=rng.choice((0.0, 0.2, 2.0, 10.0)),
            apply=rng.choice((0.0, 0.0, 2.0, 20.0)),
            turn=rng.choice((0.0, 0.05, 0.3, 1.0)),
            crash_on_write=maybe(0.04),
            downtime=rng.choice((2.0, 30.0, 100.0)),
            faults={
                name: rate * intensity * (0.3 + rng.random())
                for name, rate in FAULTS.items()
                if rng.random() < 0.5
            },
            proposals=rng.choice((0.02, 0.1, 0.3)),
            reads=maybe(0.3),
            payload=rng.choice((0, 8, 100, 1500)),
            heartbeat_ms=rng.choice((20, 50, 120)),
            append_bytes_max=rng.choice((1, 60, 256 * 1024)),
            inflight_messages_max=rng.choice((1, 3, 64)),
            uncommitted_bytes_max=rng.choice((200, 1024 * 1024)),
            apply_bytes_max=rng.choice((1, 4 * 1024 * 1024)),
            tail_bytes_max=rng.choice((0, 100, 1024 * 1024)),
            snapshot_chunk_bytes=rng.choice((16, 100, 256 * 1024)),
            snapshot_bytes_per_second=rng.choice((0, 0, 5000)),
            compaction_tail_entries=rng.choice((0, 0, 3, 30)),
            compaction_wait_bytes=rng.choice((0, 1024 * 1024)),
            extreme_timers=rng.random() < 0.2,
            leases=leases,
            # Leases bear a tenth between two clocks; what else holds, holds whatever clocks do.
            drift=maybe(0.05 if leases else 0.25),
        )

    def multicasting(self, rng: random.Random) -> Swarm:
        """The same servers, that multicast."""
        harm = {
            name: rate * (0.3 + rng.random())
            for name, rate in MULTICAST_FAULTS.items()
            if rng.random() < 0.5
        }
        return attrs.evolve(self, multicast=True, faults=self.faults | harm)

    def with_timing(self, rng: random.Random) -> Swarm:
        """The same servers, whose rounds of votes have times of their own, and that retry sooner or later."""
        return attrs.evolve(
            self,
            vote_timeout_ms=rng.choice(((100, 200), (150, 250), (400, 900))),
            retry_ms=rng.choice((30, 100, 300)),
        )

    def calm(self) -> Swarm:
        """The same servers without any fault of network, disk or machine: what liveness is judged in."""
        return attrs.evolve(
            self,
            loss=0.0,
            duplication=0.0,
            delay=min(self.delay, 0.5),
            straggle=0.0,
            disk=min(self.disk, 0.2),
            apply=min(self.apply, 0.2),
            turn=min(self.turn, 0.3),
            crash_on_write=0.0,
            faults={},
            proposals=0.0,
            reads=0.0,
            payload=min(self.payload, 100),
            extreme_timers=False,
        )

    def config(self, identity: Identity) -> Config:
        """The local settings of each server."""
        return Config(
            identity=identity,
            heartbeat_ms=self.heartbeat_ms,
            vote_timeout_ms=self.vote_timeout_ms,
            retry_ms=self.retry_ms,
            append_bytes_max=self.append_bytes_max,
            inflight_messages_max=self.inflight_messages_max,
            uncommitted_bytes_max=self.uncommitted_bytes_max,
            apply_bytes_max=self.apply_bytes_max,
            tail_bytes_max=self.tail_bytes_max,
            snapshot_chunk_bytes=self.snapshot_chunk_bytes,
            snapshot_bytes_per_second=self.snapshot_bytes_per_second,
            compaction_tail_entries=self.compaction_tail_entries,
            compaction_wait_bytes=self.compaction_wait_bytes,
        )
