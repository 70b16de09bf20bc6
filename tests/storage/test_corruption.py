"""Whatever rots on disk is refused, or makes no difference; what can't be told is named here.

Exhaustive over one small directory of three segments, a snapshot and both copies of the identity: each byte
of each file with one bit flipped, and each file cut at each length.
"""

from __future__ import annotations

import errno
import itertools
import struct
import zlib
from collections.abc import Iterator

import attrs
import pytest

from raftkit.errors import LogCorrupt, StorageError, WrongCluster
from raftkit.messages import Write
from raftkit.model import Index
from raftkit.storage import open_storage, segments
from raftkit.testing.simulated_disk import SimulatedDisk
from raftkit.testing.storage_conformance import a_run, founding_record, own_snapshot
from tests.storage.model import Script, State, counter, founded, open_small, state_of

FIRST, SECOND, LAST = (segments.name_of(number) for number in (1, 2, 3))


def directory(*steps: str) -> tuple[SimulatedDisk, State]:
    """A directory after these steps, closed in order, and what it holds."""
    disk = SimulatedDisk()
    storage = founded(disk)
    founding = storage.record.founding
    assert founding is not None
    script = Script(state=state_of(storage, storage.found(founding)))
    for step in steps:
        script.step(step, storage)
    storage.close()
    return disk.crash(), script.state


def damaged(disk: SimulatedDisk, name: str, content: bytes | None) -> SimulatedDisk:
    """A copy of `disk` with other bytes in the file `name`."""
    copy = disk.crash()
    copy.rot(name, content)
    return copy


def outcome(disk: SimulatedDisk) -> State | StorageError | WrongCluster:
    """What opening `disk` and reading all of it ends in. A refused opening has changed nothing."""
    before = {name: disk.contents(name) for name in disk.names()}
    try:
        storage = open_small(disk)
    except (StorageError, WrongCluster) as error:
        assert {name: disk.contents(name) for name in disk.names()} == before
        return error
    try:
        return state_of(storage)
    except StorageError as error:
        return error


def refusal(disk: SimulatedDisk) -> StorageError | WrongCluster:
    """The error in which opening `disk` and reading all of it ends."""
    error = outcome(disk)
    assert not isinstance(error, State)
    return error


def files(disk: SimulatedDisk) -> list[str]:
    return [name for name in disk.names() if name != "reserve"]


def flips(content: bytes) -> Iterator[tuple[int, bytes]]:
    for at in range(len(content)):
        flipped = bytearray(content)
        flipped[at] ^= 1 << (at % 8)
        yield at, bytes(flipped)


# ── every byte ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_any_flipped_byte_is_refused_or_makes_no_difference() -> None:
    disk, state = directory("append", "snapshot", "rotate", "vote", "rotate", "append")
    without = attrs.evolve(state, snapshot=None)  # the log still begins with entry 1
    assert [name for name in files(disk) if name.startswith("log-")] == [FIRST, SECOND, LAST]
    refused = harmless = 0
    for name in files(disk):
        for at, content in flips(disk.contents(name)):
            found = outcome(damaged(disk, name, content))
            refused += not isinstance(found, State)
            harmless += found in (state, without)
            assert found in (state, without) or not isinstance(found, State), f"{name} at {at}"
    print(f"{refused} flips refused, {harmless} without effect")
    assert refused > 3000


@pytest.mark.slow
def test_any_cut_file_is_refused_or_makes_no_difference() -> None:
    """The identity file, which is written when the node is opened or learns of peers, knows the log's end."""
    disk, state = directory("append", "snapshot", "rotate", "rotate", "append")
    open_small(disk).close()
    disk = disk.crash()
    without = attrs.evolve(state, snapshot=None)
    for name in files(disk):
        content = disk.contents(name)
        for size in range(len(content)):
            found = outcome(damaged(disk, name, content[:size]))
            assert found in (state, without) or not isinstance(found, State), (
                f"{name} cut at {size}"
            )


@pytest.mark.slow
def test_nothing_that_a_proof_record_follows_is_taken_for_torn() -> None:
    """Everything before it that reads as zeros: 8 bytes, a sector, or all from some place on."""
    disk, state = directory("append", "vote", "prove")
    content = disk.contents(FIRST)
    proof = content.rindex(b"\xa7log")
    for start in range(0, proof, 4):
        for size in (8, 512, proof):
            end = min(start + size, proof)
            found = outcome(
                damaged(disk, FIRST, content[:start] + bytes(end - start) + content[end:])
            )
            assert found == state or not isinstance(found, State)


def test_head_of_a_segment_is_never_taken_for_torn() -> None:
    """It was durable before the file got its name, though no record after it says so."""
    disk, _ = directory("append", "rotate")
    content = disk.contents(SECOND)
    for start in range(512, 600, 8):
        zeroed = content[:start].ljust(len(content), b"\0")
        assert "durable before the file got its name" in str(refusal(damaged(disk, SECOND, zeroed)))


# ── what can't be told ───────────────────────────────────────────────────────────────────────────────


def test_undetectable_a_last_batch_that_rots_to_zeros_before_it_is_proved() -> None:
    """The same bytes as those of a write that the power cut: nobody can tell. A proof record can."""
    disk, state = directory("append")
    proved, _ = directory("append", "prove")
    content = disk.contents(FIRST)
    start = content.rindex(b"\xa7log")

    zeroed = content[:start].ljust(len(content), b"\0")
    assert state_of(open_small(damaged(disk, FIRST, zeroed))) == state.truncated(state.last)
    whole = proved.contents(FIRST)
    zeroed = whole[:start] + bytes(40) + whole[start + 40 :]
    assert isinstance(refusal(damaged(proved, FIRST, zeroed)), LogCorrupt)


def test_undetectable_a_cut_of_what_was_written_since_the_identity_file_was() -> None:
    """As a restored older copy: peers recognise it by what they remember, the node alone can't."""
    disk, state = directory("append", "vote", "append", "prove")
    content = disk.contents(FIRST)

    for size in range(512, len(content), 8):
        found = outcome(damaged(disk, FIRST, content[:size]))
        if isinstance(found, State):
            assert state.entries[: len(found.entries)] == found.entries


def test_undetectable_a_flip_in_a_last_record_that_holds_a_sector_of_zeros() -> None:
    """Its zeros look like those of a lost sector. A proof record tells here too."""
    disk, before = directory()
    storage = open_small(disk)
    storage.perform([Write(sequence=1, runs=(a_run(2, 1, b"x" + bytes(1200)),))])
    content = disk.contents(FIRST)
    flipped = content.replace(b"x" + bytes(1200), b"y" + bytes(1200))

    assert state_of(open_small(damaged(disk.crash(), FIRST, flipped))) == before
    storage.prove()
    content = disk.contents(FIRST)
    flipped = content.replace(b"x" + bytes(1200), b"y" + bytes(1200))
    assert isinstance(refusal(damaged(disk.crash(), FIRST, flipped)), LogCorrupt)


# ── where bytes went wrong ───────────────────────────────────────────────────────────────────────────


def test_error_names_file_and_offset_and_says_what_to_do() -> None:
    disk, _ = directory("append", "vote")
    content = bytearray(disk.contents(FIRST))
    at = content.index(b"bb")
    content[at] ^= 1
    error = refusal(damaged(disk, FIRST, bytes(content)))

    assert isinstance(error, LogCorrupt)
    assert error.path == f"simulated:/{FIRST}"
    assert error.offset <= at < error.offset + 200
    assert "delete it and admit the node again" in str(error)


def test_record_written_to_another_place_is_refused() -> None:
    """In the same segment, and at the same place of another."""
    disk, _ = directory("append", "vote", "rotate", "append", "append")
    content = disk.contents(LAST if LAST in disk.names() else SECOND)
    name = LAST if LAST in disk.names() else SECOND
    starts = [at for at in range(len(content)) if content.startswith(b"\xa7log", at)]
    one, two, three = starts[-3:]
    moved = content[:one] + content[two:three] + content[one + three - two :]
    other = disk.contents(FIRST)

    assert isinstance(refusal(damaged(disk, name, moved)), LogCorrupt)
    misdirected = content[:512] + other[512:1024] + content[1024:]
    assert isinstance(refusal(damaged(disk, name, misdirected)), LogCorrupt)


def test_record_of_another_history_of_the_same_segment_is_noticed_by_the_chain() -> None:
    """A write that the disk lost, and below it what a cut-off tail had left there once: all in its place."""
    base, _ = directory()
    histories: list[bytes] = []
    for payloads in (b"one", b"two"), (b"ONE", b"TWO"):
        disk = base.crash()
        storage = open_small(disk)
        for n, payload in enumerate(payloads):
            storage.perform([Write(sequence=n + 1, runs=(a_run(2 + n, 1, payload),))])
        histories.append(disk.contents(FIRST))
    old, new = histories
    last = new.rindex(b"\xa7log")
    assert last == old.rindex(b"\xa7log")

    error = refusal(damaged(base, FIRST, new[:last] + old[last:]))
    assert "does not follow the one before it" in str(error)


def test_write_that_was_lost_by_the_disk_is_noticed_by_the_records_after_it() -> None:
    """A sync that lied: later records are there, one before them is not."""
    disk, _ = directory("append", "vote", "append")
    content = disk.contents(FIRST)
    starts = [at for at in range(len(content)) if content.startswith(b"\xa7log", at)]
    lost, after = starts[-3:-1]
    hole = content[:lost] + bytes(after - lost) + content[after:]

    assert isinstance(refusal(damaged(disk, FIRST, hole)), LogCorrupt)


@pytest.mark.parametrize("name", [FIRST, SECOND, LAST])
def test_deleted_segment_is_refused(name: str) -> None:
    disk, _ = directory("append", "rotate", "rotate", "append")

    error = refusal(damaged(disk, name, None))
    assert isinstance(error, LogCorrupt)


def test_duplicated_or_swapped_segment_is_refused() -> None:
    disk, _ = directory("append", "rotate", "rotate", "append")
    swapped = damaged(disk, FIRST, disk.contents(SECOND))
    swapped.rot(SECOND, disk.contents(FIRST))
    duplicated = damaged(disk, segments.name_of(4), disk.contents(LAST))

    for each in (swapped, duplicated):
        error = refusal(each)
        assert isinstance(error, LogCorrupt)
        assert "under another name" in str(error)


def test_segment_of_another_node_or_cluster_is_refused() -> None:
    disk, _ = directory("append")
    other = SimulatedDisk()
    storage = open_storage("", "a", disk=other, entropy=iter(range(1000, 2000)).__next__)
    storage.found(founding_record(storage, cluster=b"another cluster!"))

    error = refusal(damaged(disk, FIRST, other.contents(FIRST)))
    assert isinstance(error, WrongCluster)


def test_log_without_identity_and_identity_without_log_are_refused() -> None:
    disk, _ = directory("append")
    nameless = damaged(disk, "identity-1", None)
    nameless.rot("identity-2", None)

    assert "identity file is gone" in str(refusal(nameless))
    assert "its log is gone" in str(refusal(damaged(disk, FIRST, None)))


def test_identity_from_before_the_founding_is_refused() -> None:
    """As after restoring half a backup: the log must not be mistaken for an interrupted founding."""
    disk, _ = directory("append")
    early = SimulatedDisk()
    open_small(early)
    for name in ("identity-1", "identity-2"):
        disk.rot(name, early.contents(name))

    assert "never founded" in str(refusal(disk))


def test_one_bad_copy_of_the_identity_is_healed_and_two_are_refused() -> None:
    disk, state = directory("append")
    one = damaged(disk, "identity-1", b"rotten")
    both = damaged(one, "identity-2", b"rotten")

    assert isinstance(refusal(both), LogCorrupt)
    storage = open_small(one)
    assert state_of(storage) == state
    assert any("identity-1" in it for it in storage.healed)
    assert open_small(one.crash()).healed == ()


# ── snapshots ────────────────────────────────────────────────────────────────────────────────────────


def test_bad_snapshot_falls_back_to_the_one_before_while_the_log_reaches_back_to_it() -> None:
    disk, _ = directory("append", "append")
    storage = open_small(disk)
    old = own_snapshot(storage, 2, [b"old"])
    new = own_snapshot(storage, 5, [b"new"])
    bad = disk.crash(choose=lambda n: n - 1)
    bad.rot(f"{5:020d}.snapshot", disk.contents(f"{5:020d}.snapshot").replace(b"new", b"neW"))
    again = open_small(bad)

    assert again.recovered.snapshot == old
    assert any("passed over" in it for it in again.healed)
    storage.perform([Write(sequence=3, compact_to=Index(new.index))])
    bad = disk.crash(choose=lambda n: n - 1)
    bad.rot(f"{5:020d}.snapshot", disk.contents(f"{5:020d}.snapshot").replace(b"new", b"neW"))
    assert isinstance(refusal(bad), LogCorrupt)


def test_missing_snapshot_that_the_log_needs_is_refused() -> None:
    disk, _ = directory("append", "receive")
    (name,) = [name for name in disk.names() if name.endswith(".snapshot")]

    error = refusal(damaged(disk, name, None))
    assert isinstance(error, LogCorrupt)
    assert "missing" in str(error)


def test_snapshot_that_rots_while_the_node_runs_is_noticed_when_it_is_read() -> None:
    disk, _ = directory("append")
    storage = open_small(disk)
    own_snapshot(storage, 2, [b"content"])
    name = f"{2:020d}.snapshot"
    disk.rot(name, disk.contents(name).replace(b"content", b"c0ntent"))

    with pytest.raises(LogCorrupt):
        list(storage.open_snapshot())


# ── reading, and other formats ───────────────────────────────────────────────────────────────────────


def test_sealed_segment_is_opened_by_its_footer_and_verified_when_read() -> None:
    disk, state = directory("append", "rotate", "append")
    content = bytearray(disk.contents(FIRST))
    content[content.index(b"bb")] ^= 1
    storage = open_small(damaged(disk, FIRST, bytes(content)))

    assert storage.recovered.write_sequence > 0
    for _ in range(2):  # the error is final
        with pytest.raises(LogCorrupt) as caught:
            storage.read(Index(2), 1 << 20)
        assert caught.value.index == 2
    with pytest.raises(LogCorrupt):
        storage.perform([Write(sequence=9, runs=(a_run(state.last + 1, 1, b"x"),))])


def test_bad_footer_is_written_anew() -> None:
    disk, state = directory("append", "rotate", "append")
    content = bytearray(disk.contents(FIRST))
    content[-20] ^= 1
    bad = damaged(disk, FIRST, bytes(content))
    storage = open_small(bad)

    assert state_of(storage) == state
    assert any("footer" in it for it in storage.healed)
    assert bad.contents(FIRST) == disk.contents(FIRST)


@pytest.mark.parametrize("name", [FIRST, "identity-1", "snapshot"])
def test_newer_format_is_refused_as_such(name: str) -> None:
    disk, _ = directory("append", "snapshot")
    if name.endswith("snapshot"):
        (name,) = [it for it in disk.names() if it.endswith("snapshot")]
    error = refusal(damaged(disk, name, _newer(disk.contents(name))))

    assert not isinstance(error, LogCorrupt)
    assert "written by a newer raftkit (format 2, this one reads up to 1)" in str(error)


def _newer(content: bytes) -> bytes:
    """The same file as format 2, with the checksum that goes with it."""
    length = struct.unpack_from("<I", content, 12)[0]
    prefix = content[:8] + struct.pack("<II", 2, length)
    checksum = zlib.crc32(content[20 : 20 + length], zlib.crc32(prefix))
    return prefix + struct.pack("<I", checksum) + content[20:]


def test_directory_of_another_node_is_refused_with_both_names() -> None:
    disk, _ = directory("append")

    with pytest.raises(WrongCluster, match="'a', not to 'z'"):
        open_storage("", "z", disk=disk, entropy=counter())


def test_sector_that_can_not_be_read_is_refused() -> None:
    disk, state = directory("append")
    for nth in itertools.count():
        copy = disk.crash()
        copy.fail_at("read", nth, errno.EIO)
        found = outcome(copy)
        if isinstance(found, State):  # there was no such read any more
            assert found == state
            assert nth > 4
            return
