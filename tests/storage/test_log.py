"""The log's own corners: truncations across segments, compaction, and records that contradict each other."""

from __future__ import annotations

import struct

import attrs
import pytest

from raftkit.errors import LogCorrupt
from raftkit.messages import Write
from raftkit.model import Index, Term
from raftkit.storage import FileStorage, records, recovery, segments
from raftkit.storage.records import RecordType
from raftkit.storage.segments import Segment
from raftkit.testing.simulated_disk import SECTOR_BYTES, PowerCut, SimulatedDisk
from raftkit.testing.storage_conformance import a_run, own_snapshot, snapshot_writes
from tests.storage.model import SEGMENT_BYTES, founded, images, open_small, state_of

FILLING = bytes(range(256)) * (SEGMENT_BYTES // 256)


def payloads(disk: SimulatedDisk) -> list[bytes]:
    """What is read after a restart, without entry 1."""
    return [payload for _, _, payload in state_of(open_small(disk.crash())).entries[1:]]


def test_truncation_reaches_into_segments_before_its_own() -> None:
    """Also when its own is sealed, and opened by its footer: the footers before it say otherwise."""
    disk = SimulatedDisk()
    storage = founded(disk)
    runs = (a_run(2, 1, b"a", b"b", b"c"), a_run(5, 2, b"d"), a_run(6, 2, FILLING))
    storage.perform([Write(sequence=1, hard_state=(Term(2), None), runs=runs)])
    storage.perform(
        [
            Write(
                sequence=2,
                hard_state=(Term(3), None),
                truncate_from=Index(4),
                runs=(a_run(4, 3, b"C"), a_run(5, 3, FILLING), a_run(6, 3, b"D")),
            )
        ]
    )

    assert disk.names()[-4:-1] == ["log-0000000001", "log-0000000002", "log-0000000003"]
    assert payloads(disk) == [b"a", b"b", b"C", FILLING, b"D"]
    assert [len(run) for run in storage.read(Index(2), 3)] == [2, 1]


def test_entries_of_the_term_before_a_truncated_one_follow_it() -> None:
    """A leader's log may continue an older term than the one that is removed (Figure 3.6 (e), (f))."""
    disk = SimulatedDisk()
    storage = founded(disk)
    runs = (a_run(2, 1, b"a"), a_run(3, 2, b"removed"))
    storage.perform([Write(sequence=1, hard_state=(Term(3), None), runs=runs)])
    storage.perform([Write(sequence=2, truncate_from=Index(3), runs=(a_run(3, 1, b"b"),))])

    assert [run.payloads for run in storage.read(Index(2), 99)] == [(b"a",), (b"b",)]
    assert payloads(disk) == [b"a", b"b"]


def test_received_snapshot_replaces_a_log_that_goes_on_after_it() -> None:
    """It disagreed at the snapshot's index, so nothing of it may stay, in no segment."""
    disk = SimulatedDisk()
    storage = founded(disk)
    runs = (a_run(2, 1, b"a"), a_run(3, 2, b"b", FILLING), a_run(5, 3, b"c"), a_run(6, 4, b"d"))
    storage.perform([Write(sequence=1, hard_state=(Term(5), None), runs=runs)])
    (write,) = snapshot_writes(storage, 2, 3, 5, b"of the leader", chunk=99)
    storage.perform([attrs.evolve(write, runs=(a_run(4, 5, b"B"),))])
    storage.perform([Write(sequence=3, runs=(a_run(5, 5, FILLING), a_run(6, 5, b"C")))])

    assert storage.read(Index(3), 99) == ()
    assert [run.payloads for run in storage.read(Index(4), 1)] == [(b"B",)]
    state = state_of(open_small(disk.crash()))
    assert state.base == (3, 5)
    assert [payload for _, _, payload in state.entries] == [b"B", FILLING, b"C"]


def test_segment_whose_removal_was_lost_is_removed_again() -> None:
    disk = SimulatedDisk()
    storage = founded(disk)
    runs = (a_run(2, 1, FILLING), a_run(3, 1, b"a", b"b"))
    storage.perform([Write(sequence=1, runs=runs)])
    own_snapshot(storage, 3, [b"state"])
    storage.perform([Write(sequence=2, compact_to=Index(3))])
    after = disk.crash()

    assert segments.name_of(1) not in disk.names()
    assert segments.name_of(1) in after.names()
    assert [e[0] for e in state_of(open_small(after)).entries] == [4]
    assert segments.name_of(1) not in after.names()


def test_everything_can_be_compacted() -> None:
    disk = SimulatedDisk()
    storage = founded(disk)
    storage.perform([Write(sequence=1, runs=(a_run(2, 1, FILLING),))])
    own_snapshot(storage, 2, [b"state"])
    storage.perform([Write(sequence=2, compact_to=Index(2))])
    state = state_of(open_small(again := disk.crash()))

    assert (state.base, state.entries) == ((2, 1), ())
    assert segments.name_of(1) not in again.names()
    storage = open_small(after := again.crash())
    storage.perform([Write(sequence=9, runs=(a_run(3, 1, b"next"),))])
    assert state_of(open_small(after.crash())).entries == ((3, 1, b"next"),)


def test_proof_is_written_once_for_each_pause_also_after_a_restart() -> None:
    disk = SimulatedDisk()
    storage = founded(disk)
    storage.prove()
    end = end_of(storage)
    storage.prove()
    again = open_small(disk.crash())
    again.prove()

    assert end_of(storage) == end_of(again) == end


def end_of(storage: FileStorage) -> tuple[int, int]:
    """Where the log of `storage` ends."""
    assert storage._log is not None
    return storage._log.end


CONTRADICTIONS = {
    "a gap": (RecordType.RUN, records.encode_run_body(a_run(9, 2, b"x"))),
    "a term that falls": (RecordType.RUN, records.encode_run_body(a_run(4, 1, b"x"))),
    "a term above the current one": (RecordType.RUN, records.encode_run_body(a_run(4, 7, b"x"))),
    "a base after the end": (RecordType.BASE, records.encode_base(Index(9), Term(1), 1)),
    "a base in no segment": (RecordType.BASE, records.encode_base(Index(1), Term(1), 0)),
    "a base in a later segment": (RecordType.BASE, records.encode_base(Index(1), Term(1), 3)),
    "a base behind what is kept": (RecordType.BASE, records.encode_base(Index(0), Term(0), 2)),
    "a short body": (RecordType.HARD_STATE, (b"short",)),
    "a name cut off": (RecordType.HARD_STATE, (bytes(16) + b"\x05\0\0\0abc",)),
    "a name that is no text": (RecordType.HARD_STATE, (bytes(16) + b"\x01\0\0\0\xff",)),
    "an empty run": (RecordType.RUN, (bytes(24),)),
    "a short footer": (RecordType.FOOTER, (b"",)),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_records_that_contradict_each_other_are_corruption(name: str) -> None:
    """Each with a checksum that is right: written by a bug, or an enemy."""
    disk = SimulatedDisk()
    storage = founded(disk)
    runs = (a_run(2, 1, FILLING), a_run(3, 2, b"second segment"))
    storage.perform([Write(sequence=1, hard_state=(Term(2), None), runs=runs)])
    log = storage._log
    assert log is not None
    log._add(*CONTRADICTIONS[name])
    log.flush()
    log.sync()

    with pytest.raises(LogCorrupt):
        open_small(disk.crash())


def two_segments() -> tuple[SimulatedDisk, Segment]:
    """A disk whose first segment is sealed; and that segment."""
    disk = SimulatedDisk()
    storage = founded(disk)
    runs = (a_run(2, 1, b"a"), a_run(3, 1, FILLING), a_run(4, 1, b"b"))
    storage.perform([Write(sequence=1, runs=runs)])
    assert storage._log is not None
    return disk.crash(), storage._log.segments[0]


def test_footer_that_contradicts_its_successor_is_corruption() -> None:
    disk, segment = two_segments()
    content = disk.contents(segments.name_of(1))
    start = content.rindex(records.MAGIC)
    whole = records.decode(content, start, seed=segment.seed, offset=start)
    assert whole is not None
    parts, _, _ = records.encode(
        RecordType.FOOTER,
        records.encode_footer(Index(2), segment.cut, segment.stretches.encode(), start),
        seed=segment.seed,
        offset=start,
        durable=whole.durable,
        sequence=whole.sequence,
        previous=whole.previous,
    )
    disk.rot(segments.name_of(1), content[:start] + b"".join(parts))

    with pytest.raises(LogCorrupt, match="begins with entry 4, the log ends with 2"):
        open_small(disk)


def test_record_that_ends_like_a_footer_is_none() -> None:
    """A command may end with any bytes, its own place among them, and a crash leave no footer behind it."""
    _, full = two_segments()
    body = struct.pack("<QQQ4xQ", 1, 1, 1, segments.PREAMBLE_SIZE)
    segment = segments.create(
        SimulatedDisk(),
        full.header,
        [(RecordType.RUN, (body,))],
        sequence=1,
        preallocate_bytes=1,
    )
    end = segment.allocated - 12

    assert segment.file.read_at(end, 8) == struct.pack("<Q", segments.PREAMBLE_SIZE)
    assert recovery._footer(segment) is None


def test_bad_record_in_a_segment_without_footer_is_found_where_it_is() -> None:
    """The segment is scanned then, and its successor proves all of it."""
    disk, _ = two_segments()
    content = bytearray(disk.contents(segments.name_of(1)))
    content[-20] ^= 1  # the footer
    at = content.index(FILLING)
    content[at] ^= 1
    disk.rot(segments.name_of(1), bytes(content))

    with pytest.raises(LogCorrupt, match="proves that it was durable") as caught:
        open_small(disk)
    assert caught.value.path.endswith(segments.name_of(1))
    assert at - 200 < caught.value.offset < at


def test_record_may_begin_anywhere_in_a_sector_and_lose_any_of_its_sectors() -> None:
    """Its neighbours' bytes in the same sector say nothing about it."""
    for size in range(0, SECTOR_BYTES, 8):
        disk = SimulatedDisk()
        storage = founded(disk)
        storage.perform([Write(sequence=1, runs=(a_run(2, 1, bytes([7]) * size),))])
        before = state_of(open_small(disk.crash()))
        disk.crash_at(disk.operations + 1)
        run = a_run(3, 1, bytes([8]) * 700)
        with pytest.raises(PowerCut):
            storage.perform([Write(sequence=2, runs=(run,))])
        for image in images(disk, 32, seed=size):
            assert state_of(open_small(image)) in (before, before.appended(run))
