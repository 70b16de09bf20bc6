"""What a storage must hold after each step: the reference that recovery is compared with."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator

import attrs

from raftkit.messages import PersistentState, Write
from raftkit.model import Identity, Index, Run, Term
from raftkit.storage import FileStorage, open_storage
from raftkit.testing.simulated_disk import SimulatedDisk
from raftkit.testing.storage_conformance import (
    a_run,
    founding_record,
    own_snapshot,
    snapshot_writes,
)

SEGMENT_BYTES = 1536
PEERS = (Identity(id="b", incarnation=11), Identity(id="c", incarnation=12))


def counter() -> Callable[[], int]:
    """Entropy without chance: 1, 2, 3, …"""
    numbers = iter(range(1, 1 << 30))
    return lambda: next(numbers)


def open_small(disk: SimulatedDisk, **settings: int) -> FileStorage:
    """A storage whose segments hold a few records."""
    sizes = {
        "segment_bytes": SEGMENT_BYTES,
        "preallocate_bytes": 512,
        "reserve_bytes": 64,
        "mark_bytes": 500,
    }
    return open_storage("", "a", disk=disk, entropy=counter(), **(sizes | settings))


def founded(disk: SimulatedDisk) -> FileStorage:
    """A storage that is born, on an empty disk."""
    storage = open_small(disk)
    storage.found(founding_record(storage))
    return storage


@attrs.frozen(kw_only=True)
class State:
    """All that a storage holds, comparable."""

    term: int = 1
    voted_for: Identity | None = None
    base: tuple[int, int] = (0, 0)
    entries: tuple[tuple[int, int, bytes], ...] = ()
    snapshot: tuple[int, int, bytes] | None = None

    @property
    def last(self) -> int:
        return self.entries[-1][0] if self.entries else self.base[0]

    def appended(self, *runs: Run) -> State:
        more = tuple((e.index, e.term, e.payload) for run in runs for e in run)
        return attrs.evolve(self, entries=self.entries + more)

    def truncated(self, first: int) -> State:
        return attrs.evolve(self, entries=tuple(e for e in self.entries if e[0] < first))

    def compacted(self, index: int) -> State:
        term = next(term for at, term, _ in self.entries if at == index)
        kept = tuple(e for e in self.entries if e[0] > index)
        return attrs.evolve(self, base=(index, term), entries=kept)


def state_of(storage: FileStorage, found: PersistentState | None = None) -> State:
    """What `storage` recovered, every byte of it read."""
    found = found or storage.recovered
    content = b"".join(storage.open_snapshot()) if found.snapshot is not None else b""
    return State(
        term=found.term,
        voted_for=found.voted_for,
        base=(found.base_index, found.base_term),
        entries=tuple((e.index, e.term, e.payload) for run in found.runs for e in run),
        snapshot=None
        if found.snapshot is None
        else (found.snapshot.index, found.snapshot.term, content),
    )


@attrs.define
class Script:
    """Steps taken on a storage, and all states that a crash in the last of them may leave."""

    state: State
    sequence: int = 0
    allowed: list[State] = attrs.field(factory=list[State])
    "From the last acknowledged state to the one that the step under way leads to."

    def step(self, name: str, storage: FileStorage) -> None:
        """Take the step `name`; when it returns it is acknowledged."""
        self.allowed = [self.state]
        getattr(self, name)(storage)
        self.allowed = [self.state]

    def append(self, storage: FileStorage) -> None:
        first = self.state.last + 1
        runs = (a_run(first, self.state.term, b"a", b"bb"), a_run(first + 2, self.state.term, b"c"))
        self._write(storage, runs=runs)

    def truncate(self, storage: FileStorage) -> None:
        """Replace the last entry, in a new term, as a new leader does."""
        floor = max(self.state.base[0], self.state.snapshot[0] if self.state.snapshot else 1)
        first = max(self.state.last, floor + 1)
        term = Term(self.state.term + 1)
        runs = (a_run(first, term, b"replacement"),)
        cut = Index(first) if first <= self.state.last else None
        self._write(storage, hard_state=(term, None), truncate_from=cut, runs=runs)

    def vote(self, storage: FileStorage) -> None:
        voted_for = PEERS[self.state.term % 2]
        self._write(storage, hard_state=(Term(self.state.term + 1), voted_for))

    def rotate(self, storage: FileStorage) -> None:
        """An entry that fills a segment, and one that begins the next."""
        first, term = self.state.last + 1, self.state.term
        runs = (a_run(first, term, bytes(range(256)) * 6), a_run(first + 1, term, b"next"))
        self._write(storage, runs=runs)

    def snapshot(self, storage: FileStorage) -> None:
        if not self.state.entries:
            return
        index, term, _ = self.state.entries[(len(self.state.entries) - 1) // 2]
        if self.state.snapshot is not None and self.state.snapshot[0] > index:
            return
        content = b"state at %d " % index * 50
        before = self.state
        self.state = attrs.evolve(before, snapshot=(index, term, content))
        self.allowed.append(self.state)
        own_snapshot(storage, index, [content[:100], content[100:]], term=term)

    def compact(self, storage: FileStorage) -> None:
        if self.state.snapshot is not None and self.state.snapshot[0] > self.state.base[0]:
            self._write(storage, compact_to=Index(self.state.snapshot[0]))

    def receive(self, storage: FileStorage) -> None:
        """A leader's snapshot in three parts, then an entry in the write of the last one."""
        index, term = self.state.last + 3, self.state.term
        content = b"received %d " % index * 60
        writes = snapshot_writes(storage, self.sequence + 1, index, term, content, chunk=300)
        run = a_run(index + 1, term, b"after")
        writes[-1] = attrs.evolve(writes[-1], hard_state=(Term(term + 1), None), runs=(run,))
        self.sequence += len(writes)
        self._pass(attrs.evolve(self.state, term=term + 1, voted_for=None))
        snapshot = (index, term, content)
        self._pass(attrs.evolve(self.state, base=(index, term), entries=(), snapshot=snapshot))
        self._pass(self.state.appended(run))
        storage.perform(writes[:1])
        storage.perform(writes[1:])

    def prove(self, storage: FileStorage) -> None:
        storage.prove()

    def _write(self, storage: FileStorage, **fields: object) -> None:
        """One write; each of its fields leads to a state that a crash may leave."""
        self.sequence += 1
        write = Write(sequence=self.sequence, **fields)  # type: ignore[arg-type]
        if write.hard_state is not None:
            term, voted_for = write.hard_state
            self._pass(attrs.evolve(self.state, term=term, voted_for=voted_for))
        if write.truncate_from is not None:
            self._pass(self.state.truncated(write.truncate_from))
        for run in write.runs:
            self._pass(self.state.appended(run))
        if write.compact_to is not None:
            self._pass(self.state.compacted(write.compact_to))
        storage.perform([write])

    def _pass(self, state: State) -> None:
        self.state = state
        self.allowed.append(state)


STEPS = ("append", "truncate", "vote", "rotate", "snapshot", "compact", "receive")


def images(disk: SimulatedDisk, most: int, seed: int) -> Iterator[SimulatedDisk]:
    """What a power cut may have left on `disk`: every possibility if there are at most `most`.

    Otherwise nothing, everything, and chance from `seed`, `most` in all. If the last operation was a
    write, also what is left when it is torn at some of the places where it can be, `most` of them.
    """
    chance = random.Random(seed)
    points = disk.torn_points
    for at in points if len(points) <= most else sorted(chance.sample(points, most)):
        yield disk.crash(torn=at)
    some = list(itertools.islice(_every(disk), most + 1))
    if len(some) <= most:
        yield from some
        return
    yield some[0]
    yield disk.crash(choose=lambda n: n - 1)
    for _ in range(most - 2):
        yield disk.crash(chance)


def _every(disk: SimulatedDisk) -> Iterator[SimulatedDisk]:
    """All possibilities, depth first: each choice is tried with all that may follow it."""
    todo: list[list[int]] = [[]]
    while todo:
        choices = Choices(todo.pop())
        yield disk.crash(choose=choices)
        for at in range(len(choices.fixed), len(choices.made)):
            todo += [[*choices.made[:at], other] for other in range(1, choices.widths[at])]


@attrs.define
class Choices:
    """Makes the choices that are fixed, and 0 from then on."""

    fixed: list[int]
    made: list[int] = attrs.field(factory=list[int])
    widths: list[int] = attrs.field(factory=list[int])

    def __call__(self, width: int) -> int:
        at = len(self.made)
        self.made.append(self.fixed[at] if at < len(self.fixed) else 0)
        self.widths.append(width)
        return self.made[-1]
