"""Which faults a full-stack world has, and how often: drawn anew for each seed.

Law: a fault class is off in about half of the worlds, as in the worlds of cores, and for the same
reason.
"""

from __future__ import annotations

import random

import attrs

from raftkit.testing.datagrams import DatagramFaults
from raftkit.transports import Faults

__all__ = ["DATAGRAM_FAULTS", "FAULTS", "DatagramSwarm", "FullSwarm"]

FAULTS = {
    "crash": 0.3,
    "crash_at": 0.3,
    "power_failure": 0.06,
    "io_error": 0.12,
    "disk_full": 0.08,
    "stall": 0.3,
    "isolate_leader": 0.25,
    "partition": 0.25,
    "one_way": 0.2,
    "partial": 0.2,
    "clog": 0.3,
    "close_links": 0.4,
    "weather": 0.4,
    "step_clock": 0.15,
    "snapshot": 0.5,
    "wipe": 0.04,
    "rot": 0.06,
    "transfer": 0.25,
    "step_down": 0.15,
    "change_group": 1.5,
    "upgrade": 0.5,
}
"How often each happens in a second where it is on. The names are methods of `FullNemesis`."
DATAGRAM_FAULTS = {"deafen": 0.4}
"The same, of worlds in which nodes multicast."


def _maybe(rng: random.Random, most: float) -> float:
    """Off, or up to `most`; small values as likely as large ones."""
    return 0.0 if rng.random() < 0.5 else most * rng.random() ** 2


@attrs.frozen(kw_only=True)
class DatagramSwarm:
    """The switches of a network of datagrams, beside those that any has."""

    faults: DatagramFaults
    "What happens to datagrams and not to frames, whatever the weather."
    harm: dict[str, float]
    "How often each of `DATAGRAM_FAULTS` happens in a second."
    datagram_bytes: int
    "See `MulticastTransport`, as for all below."
    buffer_capacity: int
    "Messages that wait in a lane, are kept for repair, or wait behind a gap."
    recv_buffer_size: int
    pacing_rate: int
    hello_interval: float

    @classmethod
    def draw(cls, rng: random.Random) -> DatagramSwarm:
        """The switches of one seed."""
        return cls(
            faults=DatagramFaults(
                loss_at_source=_maybe(rng, 0.3),
                bursts=_maybe(rng, 0.02),
                burst_seconds=rng.choice((0.01, 0.1)),
                straggle=_maybe(rng, 0.1),
            ),
            harm={
                name: rate * (0.3 + rng.random())
                for name, rate in DATAGRAM_FAULTS.items()
                if rng.random() < 0.5
            },
            datagram_bytes=rng.choice((512, 1200, 1200, 8000)),
            buffer_capacity=rng.choice((2, 16, 256)),
            recv_buffer_size=rng.choice((4096, 1 << 20, 1 << 20)),
            pacing_rate=rng.choice((256 * 1024, 64 * 1024 * 1024)),
            hello_interval=rng.choice((0.2, 1.0)),
        )


@attrs.frozen(kw_only=True)
class FullSwarm:
    """The switches of one world. Times are in seconds, chances from 0 to 1."""

    loss: float
    "Most that the weather may lose."
    duplication: float
    "Most that it may send twice."
    delay: float
    "Most that a frame travels."
    sync: float
    "Mean time of a sync; 0 is done at once."
    downtime: float
    "Mean time from a crash to the next start."
    faults: dict[str, float]
    "How often each happens in a second."
    pause: float
    "Mean time between two calls of a client."
    patience: float
    "Mean time for which a call may last."
    calls: dict[str, float]
    "What clients do, by weight. The names are methods of `Client`."
    heartbeat: float
    "See `open_node`."
    snapshot_entries: int
    "See `open_node`."
    session_idle: float
    "See `open_node`; a short one makes sessions expire."
    sessions_max: int
    "See `open_node`."
    drift: float
    "Most by which a node's clocks are too fast or too slow."
    segment_bytes: int
    "See `open_storage`."
    limits: dict[str, int]
    "Fields of `Config`."
    leases: bool
    "See `open_node`; then some of the reads go by lease."
    upgrade_hold: float
    "See `open_node`."
    slip: int | None
    "The first replica to apply this write miscounts. Never two, lest no majority be right meanwhile."

    @classmethod
    def draw(cls, rng: random.Random) -> FullSwarm:
        """The switches of one seed."""
        intensity = rng.choice((0.5, 1.0, 2.0))
        calls = {
            "by_token": 3.0,
            "plainly": 2.0,
            "once": 1.0,
            "many": 1.0,
            "read": 3.0,
            "peek": 1.0,
            "read_of_an_age": 1.0,
        }
        return cls(
            loss=_maybe(rng, 0.3),
            duplication=_maybe(rng, 0.5),
            delay=rng.choice((0.0, 0.005, 0.05, 0.2)),
            sync=rng.choice((0.0, 0.002, 0.02, 0.1)),
            downtime=rng.choice((0.1, 1.0, 4.0)),
            faults={
                name: rate * intensity * (0.3 + rng.random())
                for name, rate in FAULTS.items()
                if rng.random() < 0.5
            },
            pause=rng.choice((0.05, 0.1, 0.5)),
            patience=rng.choice((0.3, 1.0, 5.0)),
            calls={name: weight for name, weight in calls.items() if rng.random() < 0.8}
            or {"by_token": 1.0},
            heartbeat=rng.choice((0.03, 0.05, 0.075)),
            snapshot_entries=rng.choice((0, 3, 3, 10)),
            session_idle=rng.choice((3600.0, 3600.0, 2.0)),
            sessions_max=rng.choice((4096, 4096, 4)),
            drift=_maybe(rng, 0.05),
            segment_bytes=rng.choice((2048, 8192, 65536)),
            limits={
                "append_bytes_max": rng.choice((1, 100, 256 * 1024)),
                "inflight_messages_max": rng.choice((1, 3, 64)),
                "uncommitted_bytes_max": rng.choice((400, 64 * 1024 * 1024)),
                "apply_bytes_max": rng.choice((1, 4 * 1024 * 1024)),
                "tail_bytes_max": rng.choice((0, 200, 64 * 1024 * 1024)),
                "snapshot_chunk_bytes": rng.choice((64, 256 * 1024)),
                "snapshot_bytes_per_second": rng.choice((0, 0, 20_000)),
                "compaction_tail_entries": rng.choice((0, 0, 0, 5, 10_000)),
                "compaction_wait_bytes": rng.choice((0, 64 * 1024 * 1024)),
            },
            leases=rng.random() < 0.5,
            upgrade_hold=rng.choice((0.3, 1.0, 4.0)),
            slip=rng.randrange(5, 40) if rng.random() < 0.15 else None,
        )

    def with_digests(self) -> FullSwarm:
        """The same, with a cut every few entries, and all members stay: three states can be compared."""
        never = ("wipe", "rot", "change_group")
        kept = {name: rate for name, rate in self.faults.items() if name not in never}
        return attrs.evolve(self, snapshot_entries=10, faults=kept)

    def weather(self, rng: random.Random) -> Faults:
        """What happens to frames for a while."""
        return Faults(
            loss=self.loss * rng.random(),
            duplication=self.duplication * rng.random(),
            delay=(0.0, self.delay * rng.random()),
        )
