"""A little cluster on a bad wire, whose inputs and effects are kept: material for properties of the core."""

from __future__ import annotations

import random

import attrs

from raftkit.config import Config
from raftkit.core import Raft
from raftkit.messages import (
    Applied,
    Effects,
    Fetched,
    Input,
    PeerUnreachable,
    Persisted,
    Propose,
    Read,
    Receive,
    SnapshotRead,
    SnapshotTaken,
)
from raftkit.model import Index, NodeId, Run
from tests.paper.cluster import Cluster, cluster
from tests.paper.server import Server, server, snapshot_of

DATA = b"all that was ever said"


@attrs.define
class Recording:
    """What came in and what went out."""

    config: dict[NodeId, Config]
    inputs: dict[NodeId, list[list[Input]]]
    effects_of: dict[NodeId, list[Effects]]
    effects: list[Effects] = attrs.field(factory=list[Effects])

    def fresh(self, name: NodeId, rng: random.Random) -> Raft:
        """The server as it began."""
        return Raft(self.config[name], newborn(name).disk.found(), rng)


def newborn(name: NodeId) -> Server:
    """A server as these runs begin with; small limits bring it to all corners."""
    return server(
        "1 1",
        name,
        append_bytes_max=8,
        inflight_messages_max=3,
        tail_bytes_max=6,
        compaction_tail_entries=2,
        snapshot_chunk_bytes=8,
        uncommitted_bytes_max=40,
    )


def record(seed: int, *, ticks: int) -> Recording:
    """A run of three servers, the same for the same seed."""
    world = World(random.Random(seed))
    for _ in range(ticks):
        world.advance()
    return world.recording


class World:
    """Three servers; messages are lost, repeated and overtaken; disks are slow, machines too."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.cluster: Cluster = cluster(*(newborn(name) for name in "abc"))
        self.recording = Recording(
            config={name: it.config for name, it in self.cluster.servers.items()},
            inputs={name: [] for name in "abc"},
            effects_of={name: [] for name in "abc"},
        )
        self.said = 0
        self.questions: dict[NodeId, list[Input]] = {name: [] for name in "abc"}

    def advance(self) -> None:
        """A tick at every server, with what arrived there until then."""
        for name in "abc":
            self.step(name, self.batch(name))

    def step(self, name: NodeId, batch: list[Input]) -> None:
        """One batch, recorded."""
        effects = self.cluster.step(name, *batch)
        self.recording.inputs[name].append(batch)
        self.recording.effects_of[name].append(effects)
        self.recording.effects.append(effects)
        self.questions[name] += [
            Fetched(fetch=it, runs=self.fetch(name, it.first)) for it in effects.fetch
        ]
        self.questions[name] += [
            SnapshotRead(request=it, data=DATA[it.offset : it.offset + it.bytes_max])
            for it in effects.read_snapshot
        ]

    def batch(self, name: NodeId) -> list[Input]:
        """What happens at a server in this tick."""
        it, rng = self.cluster[name], self.rng
        batch: list[Input] = [it.passes(rng.choice((1, 1, 1, 3)))]
        batch += self.arrivals(name)
        if it.unwritten and rng.random() < 0.6:
            it.perform(rng.randint(1, len(it.unwritten)))
            batch.append(Persisted(sequence=it.disk.written))
        state = it.raft.state
        if rng.random() < 0.5 and state.applying_index > state.applied_index:
            batch.append(Applied(index=state.applying_index))
        if rng.random() < 0.3:
            self.said += 1
            origin = rng.choice((None, *"abc"))
            batch.append(
                Propose(ticket=self.said, payloads=(b"%d" % self.said,) * 2, origin=origin)
            )
        if rng.random() < 0.1:
            self.said += 1
            batch.append(Read(ticket=self.said))
        if rng.random() < 0.02:
            lost = rng.choice([p for p in "abc" if p != name])
            heard = rng.sample("abc", rng.randint(0, 3))
            batch.append(PeerUnreachable(peer=lost, succession=tuple(heard)))
        if rng.random() < 0.03 and state.applied_index > state.log.base_index + 4:
            batch.append(self.snapshot(it))
        batch += self.questions[name]
        self.questions[name] = []
        return batch

    def arrivals(self, name: NodeId) -> list[Input]:
        """Letters that arrive now, in any order, some of them again later."""
        found: list[Input] = []
        for letter in [it for it in self.cluster.wire if it.target == name]:
            chance = self.rng.random()
            if chance < 0.75:
                found.append(Receive(sender=letter.sender, message=letter.message))
            if chance < 0.65 or chance > 0.95:
                self.cluster.wire.remove(letter)
        self.rng.shuffle(found)
        return found

    def snapshot(self, it: Server) -> SnapshotTaken:
        """The machine's state at what it has applied."""
        state = it.raft.state
        index = state.applied_index
        term = state.log.term(index)
        assert term is not None
        taken = snapshot_of(DATA, index=index, term=term)
        it.disk.snapshot = taken
        return SnapshotTaken(snapshot=taken)

    def fetch(self, name: NodeId, first: Index) -> tuple[Run, ...]:
        """What storage has from `first` on: a run or two."""
        runs = self.cluster[name].disk.runs
        found = [run.cut(max(run.first, first), run.last) for run in runs if run.last >= first]
        return tuple(found[:2])
