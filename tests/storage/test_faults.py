"""A disk that refuses: every error is final, nothing acknowledged is lost, and a full disk says so."""

from __future__ import annotations

import errno
import itertools

import pytest

from raftkit.errors import StorageError
from raftkit.messages import Write
from raftkit.model import Identity, Index, Term
from raftkit.storage import FileStorage
from raftkit.testing.simulated_disk import SimulatedDisk
from raftkit.testing.storage_conformance import a_run
from tests.storage.model import PEERS, STEPS, Script, founded, open_small, state_of

KINDS = ("write", "sync", "truncate", "create", "rename", "remove", "sync_directory")


def begun(*steps: str) -> tuple[SimulatedDisk, FileStorage, Script]:
    disk = SimulatedDisk()
    storage = founded(disk)
    founding = storage.record.founding
    assert founding is not None
    script = Script(state=state_of(storage, storage.found(founding)))
    for step in steps:
        script.step(step, storage)
    return disk, storage, script


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("last", STEPS)
def test_error_of_any_operation_is_final_and_loses_nothing(last: str, code: int) -> None:
    injected = 0
    for kind in KINDS:
        for nth in itertools.count():
            disk, storage, script = begun("append", "rotate", "snapshot")
            disk.fail_at(kind, nth, code, drop_pages=True)
            first = refusal(script, last, storage)
            if first is None:
                break
            injected += 1
            for _ in range(2):
                with pytest.raises(StorageError) as caught:
                    storage.perform([Write(sequence=99, hard_state=(Term(99), None))])
                assert caught.value is first
            assert state_of(open_small(disk.crash(choose=lambda n: n - 1))) in script.allowed
            assert state_of(open_small(disk.crash())) in script.allowed
    assert injected >= 2


def refusal(script: Script, step: str, storage: FileStorage) -> StorageError | None:
    """The error that a step met, if it met one."""
    try:
        script.step(step, storage)
    except StorageError as error:
        return error
    return None


def test_sync_that_fails_and_then_succeeds_acknowledges_nothing() -> None:
    """Linux throws the pages away and the next sync says all is well (ATC'20): never ask again (H1)."""
    disk, storage, script = begun("append")
    before = script.state
    disk.fail_at("sync", 0, errno.EIO, drop_pages=True)
    write = Write(sequence=9, runs=(a_run(before.last + 1, 1, b"lost"),))

    for _ in range(3):
        with pytest.raises(StorageError, match="what the disk holds now is not known"):
            storage.perform([write])
    with pytest.raises(StorageError):
        storage.read(Index(1), 1)
    assert state_of(open_small(disk.crash())) == before


@pytest.mark.parametrize("name", ["", "v", "v" * 20])
def test_write_that_failed_half_way_is_cut_off_at_the_next_start(name: str) -> None:
    """Wherever its half ends: within the header's last word, right behind the header, in the body."""
    disk, storage, script = begun("append")
    disk.fail_at("write", 0)
    vote = Identity(id=name, incarnation=0) if name else None
    with pytest.raises(StorageError, match="Input/output error"):
        storage.perform([Write(sequence=99, hard_state=(Term(9), vote))])

    assert state_of(open_small(disk.kill())) == script.state


@pytest.mark.parametrize("kind", ["write", "sync", "create", "rename", "sync_directory", "read"])
def test_error_while_opening_is_told_and_harmless(kind: str) -> None:
    disk, _, script = begun("append", "snapshot", "rotate")
    for nth in range(2):
        image = disk.crash()
        image.fail_at(kind, nth)
        with pytest.raises(StorageError, match="Input/output error"):
            open_small(image)

        assert state_of(open_small(image.crash())) == script.state


# ── a full disk ──────────────────────────────────────────────────────────────────────────────────────


def fill(storage: FileStorage, script: Script, size: int) -> StorageError:
    """Append until the disk is full."""
    for n in range(1000):
        script.sequence += 1
        run = a_run(script.state.last + 1, script.state.term, bytes([n % 256]) * size)
        try:
            storage.perform([Write(sequence=script.sequence, runs=(run,))])
        except StorageError as error:
            return error
        script.state = script.state.appended(run)
    raise AssertionError("the disk has no end")


@pytest.mark.parametrize("size", range(200, 456, 16))
def test_full_disk_says_so_and_the_reserve_lets_the_node_start_and_vote(size: int) -> None:
    """However little room the last record left in the zeros written ahead."""
    disk, storage, _ = begun()
    storage.close()
    disk = disk.crash()
    disk.rot("reserve", None)
    disk.space = 30_000
    storage = open_small(disk, segment_bytes=4096, preallocate_bytes=1024, reserve_bytes=4096)
    script = Script(state=state_of(storage))
    error = fill(storage, script, size)

    assert "the disk is full: free some space" in str(error)
    assert "reserve" not in disk.names()
    again = disk.crash()
    storage = open_small(again, segment_bytes=4096, preallocate_bytes=1024, reserve_bytes=4096)
    assert state_of(storage) == script.state
    storage.perform([Write(sequence=script.sequence + 1, hard_state=(Term(7), PEERS[0]))])
    storage.close()
    storage = open_small(again.crash(), segment_bytes=4096, preallocate_bytes=1024)
    assert (storage.recovered.term, storage.recovered.voted_for) == (7, PEERS[0])


def test_node_on_a_nearly_full_disk_starts_without_reserve_and_says_so() -> None:
    disk, storage, script = begun("append")
    storage.close()
    disk = disk.crash()
    disk.rot("reserve", None)
    disk.space = sum(len(disk.contents(name)) for name in disk.names()) + 1200
    storage = open_small(disk, reserve_bytes=4096)

    assert any("nearly full" in it for it in storage.healed)
    assert "reserve" not in disk.names()
    assert state_of(storage) == script.state


# ── one at a time ────────────────────────────────────────────────────────────────────────────────────


def test_directory_in_use_is_refused_until_it_is_closed() -> None:
    disk, storage, script = begun("append")

    with pytest.raises(StorageError, match="in use by process"):
        open_small(disk)
    storage.close()
    assert state_of(open_small(disk)) == script.state


def test_what_interrupts_a_write_poisons_too() -> None:
    """A bug of ours half-way through: memory and disk may differ from then on."""
    _, storage, script = begun("append")
    gap = a_run(script.state.last + 2, 1, b"a gap")

    with pytest.raises(AssertionError):
        storage.perform([Write(sequence=9, runs=(gap,))])
    with pytest.raises(StorageError, match="interrupted"):
        storage.perform([Write(sequence=10)])
