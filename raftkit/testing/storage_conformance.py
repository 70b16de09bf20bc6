"""What every `Storage` must do, as a class of tests that needs no test framework.

    class TestMine(StorageConformance):
        def fresh(self) -> Storage: return MyStorage(tempfile.mkdtemp())
        def reopen(self, storage: Storage) -> Storage: storage.close(); return MyStorage(…)

Law: nothing here looks behind the protocol. What a crash may leave is checked on simulated disks, by
`tests/storage/test_crash_points.py`, since it depends on how a storage writes.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NoReturn

import attrs

from raftkit.driver_messages import FoundingRecord, Remembered, Scope
from raftkit.errors import LocalProtocolError, RaftError, StorageError, WrongCluster
from raftkit.membership import Configuration, Epoch, Member
from raftkit.messages import PersistentState, SnapshotWrite, Write
from raftkit.model import Identity, Index, Kind, Run, Term
from raftkit.snapshot import SnapshotMeta
from raftkit.storage import Storage

__all__ = [
    "StorageConformance",
    "a_run",
    "founding_record",
    "own_snapshot",
    "snapshot_writes",
]

PEER = Identity(id="b", incarnation=0xB0B)


def founding_record(storage: Storage, *, cluster: bytes = b"0123456789abcdef") -> FoundingRecord:
    """A founding of a group of one, the node that `storage` belongs to."""
    owner = storage.record.identity
    member = Member(id=owner.id, incarnation=owner.incarnation, address="127.0.0.1:1")
    entry = a_run(1, 1, Configuration(members=(member,)).encode(), kinds=(Kind.CONFIGURATION,))
    return FoundingRecord(scope=Scope(cluster=cluster, epoch=Epoch(nonce=7)), entry=entry)


def a_run(first: int, term: int, *payloads: bytes, kinds: tuple[Kind, ...] | None = None) -> Run:
    """Entries from `first` on, stamped so that each run's stamps differ."""
    return Run(
        first=Index(first),
        term=Term(term),
        time_ns=1_000_000_000 + first,
        elapsed_ns=first,
        kinds=kinds,
        payloads=payloads,
    )


def snapshot_writes(
    storage: Storage, sequence: int, index: int, term: int, content: bytes, *, chunk: int
) -> list[Write]:
    """The writes by which a leader's snapshot is received, `chunk` bytes in each."""
    founding = storage.record.founding
    assert founding is not None
    meta = SnapshotMeta(
        index=Index(index),
        term=Term(term),
        configuration=Configuration.decode(founding.entry.payloads[0]),
        configuration_index=Index(1),
        time_ns=1_000_000_000 + index,
        elapsed_ns=index,
        size=len(content),
        checksum=zlib.crc32(content),
    )
    offsets = range(0, len(content) or 1, chunk)
    return [
        Write(
            sequence=sequence + n,
            chunk=SnapshotWrite(snapshot=meta, offset=at, data=content[at : at + chunk]),
        )
        for n, at in enumerate(offsets)
    ]


def own_snapshot(
    storage: Storage, index: int, content: Iterable[bytes], *, term: int = 1
) -> SnapshotMeta:
    """A snapshot that the node takes of its own machine."""
    founding = storage.record.founding
    assert founding is not None
    return storage.take_snapshot(
        index=Index(index),
        term=Term(term),
        configuration=Configuration.decode(founding.entry.payloads[0]),
        configuration_index=Index(1),
        time_ns=1_000_000_000 + index,
        elapsed_ns=index,
        content=content,
    )


class StorageConformance:
    """Subclass it, say how to make a storage, and run every method whose name starts with `test_`."""

    def fresh(self) -> Storage:
        """A storage of node "a" in a place of its own."""
        raise NotImplementedError

    def reopen(self, storage: Storage) -> Storage:
        """Close `storage`; what the next process finds in its place."""
        raise NotImplementedError

    # ── identity ─────────────────────────────────────────────────────────────────────────────────────

    def test_each_opening_is_a_boot_with_a_nonce_of_its_own(self) -> None:
        """Peers recognise a directory that was rolled back by this."""
        first = self.fresh()
        before = first.record
        second = self.reopen(first)

        assert (before.boot, second.record.boot) == (1, 2)
        assert before.identity == second.record.identity
        assert before.nonce != second.record.nonce

    def test_what_is_remembered_of_peers_survives(self) -> None:
        """It is replaced as a whole."""
        storage = self._founded()
        seen = Remembered(boot=3, nonce=4, term=Term(5), index=Index(6))
        storage.remember({PEER: seen})
        storage = self.reopen(storage)

        assert storage.record.remembered == {PEER: seen}

    def test_an_unborn_node_has_no_log(self) -> None:
        """It starts from nothing, and is refused when it writes."""
        storage = self.fresh()

        assert storage.recovered == PersistentState()
        assert storage.record.founding is None
        _raises(LocalProtocolError, lambda: storage.perform([Write(sequence=1)]))

    def test_founding_is_entry_1_and_term_1(self) -> None:
        """Found twice is found once."""
        storage = self.fresh()
        record = founding_record(storage)
        state = storage.found(record)
        again = storage.found(record)

        assert _entries(state) == _entries(again) == _entries_of([record.entry])
        assert (state.term, state.voted_for, state.base_index) == (1, None, 0)
        assert storage.record.founding == record

    def test_another_founding_is_refused(self) -> None:
        """A node belongs to one cluster for ever."""
        storage = self._founded()
        other = founding_record(storage, cluster=b"another cluster!")

        _raises(WrongCluster, lambda: storage.found(other))

    # ── the log ──────────────────────────────────────────────────────────────────────────────────────

    def test_what_was_performed_is_there_again(self) -> None:
        """Entries, their kinds and stamps, term and vote, and the sequence."""
        storage = self._founded()
        runs = (a_run(2, 1, b"x", b"", kinds=(Kind.COMMAND, Kind.NOOP)), a_run(4, 2, b"y"))
        storage.perform(
            [Write(sequence=3, hard_state=(Term(2), PEER)), Write(sequence=9, runs=runs)]
        )
        state = self.reopen(storage).recovered

        assert (state.term, state.voted_for, state.write_sequence) == (2, PEER, 9)
        assert _entries(state)[1:] == _entries_of(runs)

    def test_truncation_removes_an_entry_and_all_after_it(self) -> None:
        """Also in the middle of a run; what replaces them is what is read."""
        storage = self._founded()
        storage.perform([Write(sequence=1, runs=(a_run(2, 1, b"a", b"b", b"c"),))])
        storage.perform([Write(sequence=2, truncate_from=Index(3), runs=(a_run(3, 2, b"B"),))])
        storage.perform([Write(sequence=3, hard_state=(Term(2), None))])
        state = self.reopen(storage).recovered

        assert [it[2] for it in _entries(state)[1:]] == [b"a", b"B"]

    def test_writes_of_one_call_see_each_other(self) -> None:
        """A group of writes is done in order, and each write in the order of its fields."""
        storage = self._founded()
        storage.perform(
            [
                Write(sequence=1, hard_state=(Term(2), None), runs=(a_run(2, 1, b"a", b"b"),)),
                Write(sequence=2, truncate_from=Index(2), runs=(a_run(2, 2, b"A"),)),
                Write(sequence=3, truncate_from=Index(3)),
            ]
        )

        expected = [b"A"]
        assert [it[2] for it in _entries_of(storage.read(Index(2), 99))] == expected
        assert [it[2] for it in _entries(self.reopen(storage).recovered)[1:]] == expected

    def test_read_returns_what_fits_but_at_least_one(self) -> None:
        """Bytes of payload are counted; nothing beyond the log, or before its base."""
        storage = self._founded()
        storage.perform([Write(sequence=1, runs=(a_run(2, 1, b"aa", b"bb"), a_run(4, 1, b"cc")))])

        sizes = {0: [2], 1: [2], 2: [2], 3: [2], 4: [2, 3], 5: [2, 3], 6: [2, 3, 4], 99: [2, 3, 4]}
        for bytes_max, expected in sizes.items():
            assert [it[0] for it in _entries_of(storage.read(Index(2), bytes_max))] == expected
        assert [it[0] for it in _entries_of(storage.read(Index(3), 99))] == [3, 4]
        assert storage.read(Index(5), 99) == ()
        assert storage.read(Index(0), 99) == ()

    # ── snapshots ────────────────────────────────────────────────────────────────────────────────────

    def test_own_snapshot_lets_the_log_be_compacted(self) -> None:
        """Entries up to it are gone, those after it stay; its content is what was given."""
        storage = self._founded()
        storage.perform([Write(sequence=1, runs=(a_run(2, 1, b"a", b"b", b"c"),))])
        meta = own_snapshot(storage, 3, [b"state", b" at 3"])
        storage.perform([Write(sequence=2, compact_to=Index(3))])

        assert storage.read(Index(3), 99) == ()
        assert storage.read_snapshot(meta, 6, 99) == b"at 3"
        assert b"".join(storage.open_snapshot()) == b"state at 3"
        storage = self.reopen(storage)
        state = storage.recovered
        assert (state.base_index, state.base_term, state.snapshot) == (3, 1, meta)
        assert [it[0] for it in _entries(state)] == [4]
        assert b"".join(storage.open_snapshot()) == b"state at 3"

    def test_snapshot_whose_content_fails_leaves_nothing(self) -> None:
        """The machine's own trouble is not the disk's."""
        storage = self._founded()

        def content() -> Iterator[bytes]:
            yield b"half"
            raise ValueError("no more")

        _raises(ValueError, lambda: own_snapshot(storage, 1, content()))
        assert own_snapshot(storage, 1, [b"whole"]).size == 5
        assert b"".join(storage.open_snapshot()) == b"whole"

    def test_received_snapshot_replaces_the_log(self) -> None:
        """In parts; the log is then empty and begins after it."""
        storage = self._founded()
        storage.perform([Write(sequence=1, runs=(a_run(2, 1, b"a", b"b"),))])
        writes = snapshot_writes(storage, 2, 10, 4, b"of the leader", chunk=5)
        writes[-1] = attrs.evolve(
            writes[-1], hard_state=(Term(4), None), runs=(a_run(11, 4, b"k"),)
        )
        storage.perform(writes[:2])

        assert storage.read(Index(2), 99) != ()
        storage.perform(writes[2:])
        meta = writes[0].chunk.snapshot if writes[0].chunk else None
        storage = self.reopen(storage)
        state = storage.recovered
        assert (state.base_index, state.base_term, state.snapshot) == (10, 4, meta)
        assert [it[0] for it in _entries(state)] == [11]
        assert b"".join(storage.open_snapshot()) == b"of the leader"

    def test_receiving_starts_anew_with_offset_0_or_another_snapshot(self) -> None:
        """What was received before is dropped."""
        storage = self._founded()
        storage.perform(snapshot_writes(storage, 1, 10, 1, b"abandoned", chunk=3)[:2])
        storage.perform(snapshot_writes(storage, 5, 10, 1, b"abandoned", chunk=4)[:1])
        storage.perform(snapshot_writes(storage, 9, 12, 1, b"", chunk=4))

        assert storage.recovered.base_index == 0
        state = self.reopen(storage).recovered
        assert state.base_index == 12
        assert state.snapshot is not None
        assert state.snapshot.size == 0

    def test_received_part_of_a_snapshot_is_gone_on_from_after_a_restart(self) -> None:
        """As much of it as was found again; the rest makes it whole."""
        storage = self._founded()
        content = bytes(range(256)) * 64
        writes = snapshot_writes(storage, 1, 10, 1, content, chunk=1024)
        storage.perform(writes[:9])
        storage = self.reopen(storage)
        found = storage.recovered.received

        assert found is not None
        assert writes[0].chunk is not None
        assert found.snapshot == writes[0].chunk.snapshot
        assert found.checksum == zlib.crc32(content[: found.size])
        part = SnapshotWrite(snapshot=found.snapshot, offset=found.size, data=content[found.size :])
        storage.perform([Write(sequence=20, chunk=part)])
        storage = self.reopen(storage)
        assert storage.recovered.received is None
        assert b"".join(storage.open_snapshot()) == content

    def test_received_part_that_the_log_has_overtaken_is_forgotten(self) -> None:
        """A leader that sends it would be told that all of it is here."""
        storage = self._founded()
        storage.perform(snapshot_writes(storage, 1, 3, 1, bytes(9000), chunk=8000)[:1])
        storage.perform([Write(sequence=5, runs=(a_run(2, 1, b"a", b"b", b"c"),))])

        assert self.reopen(storage).recovered.received is None

    def test_received_part_of_less_than_a_snapshot_of_its_own_is_forgotten(self) -> None:
        """Nobody sends it any more."""
        storage = self._founded()
        storage.perform([Write(sequence=1, runs=(a_run(2, 1, b"a", b"b", b"c"),))])
        storage.perform(snapshot_writes(storage, 2, 3, 2, bytes(9000), chunk=8000)[:1])
        own_snapshot(storage, 4, [b"state"])

        assert self.reopen(storage).recovered.received is None

    def test_snapshot_that_is_not_what_its_sender_said_is_final(self) -> None:
        """It can't be acknowledged, nor can what comes after it."""
        storage = self._founded()
        (write,) = snapshot_writes(storage, 1, 10, 1, b"good", chunk=9)
        assert write.chunk is not None
        write = attrs.evolve(write, chunk=attrs.evolve(write.chunk, data=b"evil"))

        _raises(StorageError, lambda: storage.perform([write]))

    def test_snapshot_that_is_read_stays_while_the_log_reaches_back_to_it(self) -> None:
        """However many newer ones there are: it is on its way to somebody."""
        storage = self._founded()
        entries = a_run(2, 1, b"a", b"b", b"c", b"d")
        storage.perform([Write(sequence=1, runs=(entries,))])
        read = own_snapshot(storage, 2, [b"read"])
        assert storage.read_snapshot(read, 0, 2) == b"re"
        for index in (3, 4, 5):
            own_snapshot(storage, index, [b"newer"])
        assert storage.read_snapshot(read, 2, 2) == b"ad"
        storage.perform([Write(sequence=2, compact_to=Index(2))])
        assert storage.read_snapshot(read, 2, 2) == b"ad"
        storage.perform([Write(sequence=3, compact_to=Index(3))])

        assert storage.read_snapshot(read, 0, 2) is None

    def test_snapshot_that_was_replaced_is_gone(self) -> None:
        """Who was reading it is told, by None."""
        storage = self._founded()
        storage.perform([Write(sequence=1, runs=(a_run(2, 1, b"a", b"b", b"c"),))])
        old = own_snapshot(storage, 2, [b"old"])
        new = own_snapshot(storage, 4, [b"new"])
        storage.perform([Write(sequence=2, compact_to=Index(4))])

        assert storage.read_snapshot(old, 0, 99) is None
        assert storage.read_snapshot(new, 0, 99) == b"new"

    def test_proof_changes_nothing(self) -> None:
        """Twice neither."""
        storage = self._founded()
        storage.prove()
        storage.prove()
        storage.perform([Write(sequence=1, runs=(a_run(2, 1, b"a"),))])
        storage.prove()
        state = self.reopen(storage).recovered

        assert [it[0] for it in _entries(state)] == [1, 2]
        assert (state.term, state.write_sequence) == (1, 1)

    def test_closed_storage_refuses(self) -> None:
        """Nothing is silently lost after it."""
        storage = self._founded()
        storage.close()

        _raises(StorageError, lambda: storage.perform([Write(sequence=1)]))
        _raises(StorageError, lambda: storage.read(Index(1), 1))

    def _founded(self) -> Storage:
        storage = self.fresh()
        storage.found(founding_record(storage))
        return storage


def _entries(state: PersistentState) -> list[tuple[object, ...]]:
    return _entries_of(state.runs)


def _entries_of(runs: Iterable[Run]) -> list[tuple[object, ...]]:
    """Entries one by one, since a storage may cut runs otherwise than they were written."""
    entries = chain.from_iterable(runs)
    return [(e.index, e.term, e.payload, e.kind, e.time_ns, e.elapsed_ns) for e in entries]


def _raises(expected: type[RaftError | ValueError], call: Callable[[], object]) -> None:
    try:
        call()
    except expected:
        return
    _fail(f"{expected.__name__} was not raised")


def _fail(why: str) -> NoReturn:
    raise AssertionError(why)
