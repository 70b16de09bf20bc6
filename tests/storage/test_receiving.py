"""A snapshot that was being received goes on after a restart, from bytes that are right, or from nothing."""

from __future__ import annotations

import itertools

import attrs
import pytest

from raftkit.messages import SnapshotWrite, Write
from raftkit.snapshot import SnapshotBeginning
from raftkit.storage import FileStorage
from raftkit.testing.simulated_disk import PowerCut, SimulatedDisk
from raftkit.testing.storage_conformance import founding_record, snapshot_writes
from tests.storage.model import founded, images, open_small

CONTENT = b"".join(b"%07d\n" % n for n in range(500))
CHUNK = 400  # so that every second chunk is marked


def writes(storage: FileStorage, index: int = 10) -> list[Write]:
    return snapshot_writes(storage, 1, index, 1, CONTENT, chunk=CHUNK)


def receiving(chunks: int) -> tuple[SimulatedDisk, FileStorage]:
    """A storage that has so many chunks of a snapshot."""
    disk = SimulatedDisk()
    storage = founded(disk)
    for write in writes(storage)[:chunks]:
        storage.perform([write])
    return disk, storage


def beginning(storage: FileStorage) -> SnapshotBeginning | None:
    return storage.recovered.received


def size(storage: FileStorage) -> int:
    found = beginning(storage)
    return 0 if found is None else found.size


def receive_the_rest(storage: FileStorage) -> None:
    found = beginning(storage)
    whole = writes(storage)[0].chunk
    assert whole is not None
    offset = 0 if found is None else found.size
    part = SnapshotWrite(snapshot=whole.snapshot, offset=offset, data=CONTENT[offset:])
    storage.perform([Write(sequence=storage.recovered.write_sequence + 1, chunk=part)])


def test_what_was_marked_outlives_a_power_cut() -> None:
    disk, _ = receiving(5)

    again = open_small(disk.crash())

    assert size(again) == 4 * CHUNK
    receive_the_rest(again)
    assert b"".join(again.open_snapshot()) == CONTENT


def test_a_second_restart_goes_on_where_the_life_between_left_off() -> None:
    disk, _ = receiving(3)
    again = open_small(after := disk.crash())
    for write in writes(again)[2:7]:
        again.perform([attrs.evolve(write, sequence=write.sequence + 20)])

    third = open_small(after.crash())

    assert size(third) == 6 * CHUNK
    receive_the_rest(third)
    assert b"".join(third.open_snapshot()) == CONTENT


@pytest.mark.slow
def test_no_power_cut_leaves_bytes_that_the_sender_did_not_send() -> None:
    """At every operation of a reception that is given up for another, in every image that is left."""
    found: set[int] = set()
    for cut in itertools.count():
        disk = SimulatedDisk()
        storage = founded(disk)
        disk.crash_at(disk.operations + cut)
        try:
            for n, write in enumerate([*writes(storage)[:5], *writes(storage, 12)], 1):
                storage.perform([attrs.evolve(write, sequence=n)])
        except PowerCut:
            pass
        else:
            assert cut > 40
            break
        for image in images(disk, 24, seed=cut):
            again = open_small(image)
            found.add(size(again))
            if beginning(again) is not None:
                again.close()
                receive_and_check(image.crash())
    assert {0, 2 * CHUNK, 4 * CHUNK, 8 * CHUNK} <= found


def receive_and_check(disk: SimulatedDisk) -> None:
    """Whatever this disk goes on from, the whole is right: storage checks it, and so does reading."""
    storage = open_small(disk)
    found = beginning(storage)
    assert found is not None
    part = SnapshotWrite(snapshot=found.snapshot, offset=found.size, data=CONTENT[found.size :])
    storage.perform([Write(sequence=99, chunk=part)])
    assert b"".join(storage.open_snapshot()) == CONTENT


def test_marks_of_another_reception_vouch_for_nothing() -> None:
    """A power cut may leave the marks of one snapshot beside the bytes of the next."""
    disk, storage = receiving(5)
    storage.close()
    partial = disk.open("received.partial")
    partial.write_at(0, bytes(partial.size()))
    partial.sync()

    again = open_small(disk)

    assert beginning(again) is None
    assert not [name for name in disk.names() if name.startswith("received")]
    receive_the_rest(again)
    assert b"".join(again.open_snapshot()) == CONTENT


def test_bytes_that_rotted_are_received_again() -> None:
    disk, storage = receiving(7)
    storage.close()
    partial = disk.open("received.partial")
    at = partial.size() - 2 * CHUNK  # behind the second mark
    partial.write_at(at, bytes([partial.read_at(at, 1)[0] ^ 1]))

    again = open_small(disk)

    assert size(again) == 4 * CHUNK
    receive_the_rest(again)
    assert b"".join(again.open_snapshot()) == CONTENT


@pytest.mark.parametrize("file", ["received.partial", "received.marks"])
def test_what_is_left_of_half_a_reception_is_removed(file: str) -> None:
    disk, storage = receiving(5)
    storage.close()
    disk.remove(file)

    again = open_small(disk)

    assert beginning(again) is None
    assert not [name for name in disk.names() if name.startswith("received")]


@pytest.mark.parametrize("at", [3, 30])
def test_marks_without_a_whole_head_are_of_no_use(at: int) -> None:
    disk, storage = receiving(5)
    storage.close()
    marks = disk.open("received.marks")
    marks.write_at(at, b"\xff")

    assert beginning(open_small(disk)) is None


def test_a_torn_mark_costs_what_it_counted() -> None:
    disk, storage = receiving(5)
    storage.close()
    marks = disk.open("received.marks")
    marks.write_at(marks.size() - 4, b"torn")

    assert size(open_small(disk)) == 2 * CHUNK


def test_reception_of_another_cluster_is_removed() -> None:
    disk, storage = receiving(5)
    storage.close()
    other = SimulatedDisk()
    stranger = open_small(other)
    stranger.found(founding_record(stranger, cluster=b"another cluster!"))
    stranger.close()
    for name in ("received.partial", "received.marks"):
        file = disk.open(name)
        other.create(name).write_at(0, file.read_at(0, file.size()))

    again = open_small(other)

    assert beginning(again) is None
    assert not [name for name in other.names() if name.startswith("received")]


def test_a_short_snapshot_is_not_worth_a_mark() -> None:
    disk, storage = receiving(1)

    assert "received.marks" not in disk.names()
    storage.close()
    assert beginning(open_small(disk)) is None
    assert "received.partial" not in disk.names()


def test_a_whole_snapshot_leaves_no_marks() -> None:
    disk, storage = receiving(99)

    assert storage.read_snapshot(writes(storage)[0].chunk.snapshot, 0, 9) == CONTENT[:9]  # type: ignore[union-attr]
    assert not [name for name in disk.names() if name.startswith("received")]
