"""A directory that is looked at is not touched, and judged exactly as opening would judge it."""

from __future__ import annotations

import hashlib
import random
import threading
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from raftkit.errors import LogCorrupt, StorageError, WrongCluster
from raftkit.messages import Write
from raftkit.model import Index, Term
from raftkit.storage import OsDisk, open_storage
from raftkit.storage.inspecting import Checked, Gap, NoDataDirectory, PlacedRecord, open_inspection
from raftkit.storage.records import RecordType
from raftkit.testing.simulated_disk import SimulatedDisk
from raftkit.testing.storage_conformance import a_run, founding_record, own_snapshot
from tests.storage.model import State, founded, images, open_small
from tests.storage.test_corruption import FIRST, damaged, directory, files, flips, outcome
from tests.storage.test_crash_points import STORIES, cuts

# A truncation in a sealed segment leaves entries there that nobody needs.
REMOVED = ("append", "append", "truncate", "rotate", "vote", "snapshot", "rotate", "append")
REPLACED = ("append", "receive", "rotate", "append", "truncate")
CHANGING = [story for story in STORIES if story[-1] not in {"compact", "snapshot"}]
"Compacting and taking a snapshot may find nothing to do."
COMPACTED = ("append", "append", "snapshot", "rotate", "compact", "append", "prove")


def _contents(disk: SimulatedDisk) -> dict[str, bytes]:
    return {name: disk.contents(name) for name in disk.names()}


def verdict(disk: SimulatedDisk) -> Checked | StorageError | WrongCluster:
    """What verifying says; whatever it is, nothing was changed by it."""
    before = _contents(disk)
    try:
        with open_inspection("", disk=disk) as found:
            checked: Checked | StorageError | WrongCluster = found.verify(lambda _: None)
    except (StorageError, WrongCluster) as error:
        checked = error
    assert _contents(disk) == before
    return checked


def _agree(disk: SimulatedDisk, what: str) -> bool:
    """Whether the node could start. Verifying and opening must say the same of it, by the same error."""
    said, opened = verdict(disk), outcome(disk)
    if isinstance(opened, State):
        assert isinstance(said, Checked), f"{what}: opening is fine, verifying says {said}"
    else:
        assert (type(said), str(said)) == (type(opened), str(opened)), what
    return isinstance(opened, State)


# ── the same verdict as opening ──────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.parametrize("steps", [REMOVED, REPLACED, COMPACTED], ids=["removed", "reset", "base"])
def test_flipped_byte_is_judged_as_opening_judges_it(steps: tuple[str, ...]) -> None:
    """Every ninth byte of every file, in each bit's turn. (All of them take a minute, and agree.)"""
    disk, _ = directory(*steps)
    fine = refused = 0
    for name in files(disk):
        for at, content in islice(flips(disk.contents(name)), len(steps), None, 9):
            if _agree(damaged(disk, name, content), f"{name} at {at}"):
                fine += 1
            else:
                refused += 1

    assert fine > 10
    assert refused > 100


@pytest.mark.slow
def test_any_cut_or_missing_file_is_judged_as_opening_judges_it() -> None:
    """The identity file, written when the node was opened again, knows where the log ended."""
    disk, _ = directory(*REMOVED)
    open_small(disk).close()
    disk = disk.crash()
    for name in files(disk):
        content = disk.contents(name)
        for size in range(0, len(content), 11):
            _agree(damaged(disk, name, content[:size]), f"{name} cut at {size}")
        _agree(damaged(disk, name, None), f"without {name}")


@pytest.mark.slow
@pytest.mark.parametrize("story", random.Random(5).sample(CHANGING, 12), ids=",".join)
def test_whatever_a_power_cut_leaves_is_fine_and_holds_what_opening_finds(
    story: tuple[str, ...],
) -> None:
    """Half-written batches, unfinished segments, snapshots that nothing joins: all that opening heals."""
    count = 0
    for _, _, disk in cuts(story):
        for image in images(disk, 4, seed=len(story)):
            assert isinstance(verdict(image), Checked)
            with open_inspection("", disk=image) as found:
                runs = [placed.run for placed in found.runs(found.first, found.last)]
                term, voted_for = found.hard_state
            opened = outcome(image)
            assert isinstance(opened, State)
            seen = tuple((e.index, e.term, e.payload) for run in runs for e in run)
            assert (seen, term, voted_for) == (opened.entries, opened.term, opened.voted_for)
            count += 1
    assert count > 3


# ── what is found ────────────────────────────────────────────────────────────────────────────────────


def test_entries_say_in_which_file_and_where_they_lie() -> None:
    disk, state = directory(*REMOVED)
    with open_inspection("", disk=disk) as found:
        placed = list(found.runs(Index(2), Index(5)))

    assert [(e.index, e.term, e.payload) for it in placed for e in it.run] == [
        entry for entry in state.entries if 2 <= entry[0] <= 5
    ]
    for it in placed:
        content = disk.contents(it.path.rpartition("/")[2])
        assert content[it.offset : it.offset + 4] == b"\xa7log"
        assert it.run.payloads[0] in content[it.offset :]


def test_removed_entries_are_counted_where_they_were() -> None:
    disk = SimulatedDisk()
    storage = founded(disk)
    first = Write(sequence=1, runs=(a_run(2, 1, b"a", b"b", b"c", b"d"),))
    second = Write(sequence=2, truncate_from=Index(4), runs=(a_run(4, 2, bytes(1600)),))
    third = Write(sequence=3, runs=(a_run(5, 2, b"e"),))
    fourth = Write(sequence=4, truncate_from=Index(4), runs=(a_run(4, 3, b"f"),))
    hard = Write(sequence=5, hard_state=(Term(3), None))
    for write in (first, second, third, fourth, hard):
        storage.perform([write])
    storage.close()

    with open_inspection("", disk=disk) as found:
        assert found.last == 4
        assert found.removed(Index(1), Index(9)) == 4  # entries 4 and 5, twice each
        assert found.removed(Index(5), Index(9)) == 2
        assert found.removed(Index(1), Index(4)) == 2
        assert found.removed(Index(1), Index(3)) == 0


def test_records_of_all_types_are_told_in_the_order_in_which_they_were_written() -> None:
    disk, _ = directory("append", "vote", "truncate", "prove")
    with open_inspection("", disk=disk) as found:
        told = list(found.records(Index(1), found.last))

    types = [it.record.type for it in told if isinstance(it, PlacedRecord)]
    assert types == [
        *(RecordType.HARD_STATE, RecordType.BASE, RecordType.RUN),  # founding
        *(RecordType.RUN, RecordType.RUN, RecordType.HARD_STATE),
        *(RecordType.HARD_STATE, RecordType.TRUNCATION, RecordType.RUN, RecordType.PROOF),
    ]
    assert len(told) == len(types)


def test_damage_among_removed_entries_is_told_and_no_reason_to_refuse() -> None:
    """It lies in a sealed segment, and nothing reads it any more."""
    disk = SimulatedDisk()
    storage = founded(disk)
    storage.perform([Write(sequence=1, runs=(a_run(2, 1, b"removed later"),))])
    storage.perform([Write(sequence=2, truncate_from=Index(2), runs=(a_run(2, 2, bytes(1600)),))])
    storage.perform([Write(sequence=3, hard_state=(Term(2), None), runs=(a_run(3, 2, b"x"),))])
    storage.close()
    content = disk.contents(FIRST)
    bad = damaged(disk, FIRST, content.replace(b"removed later", b"Removed later"))

    said = verdict(bad)
    assert isinstance(said, Checked)
    (gap,) = said.gaps
    at = content.index(b"removed later")
    assert gap.offset <= at < gap.end
    whole = verdict(disk)
    assert isinstance(whole, Checked)
    assert said.records == whole.records - 1  # it went on behind the gap
    with open_inspection("", disk=bad) as found:
        assert any(isinstance(it, Gap) for it in found.records(Index(1), Index(3)))
    assert isinstance(outcome(bad), State)


def test_half_written_batch_is_a_tail_of_so_many_bytes() -> None:
    disk, _ = directory("append", "append")
    content = disk.contents(FIRST)
    start = content.rindex(b"\xa7log")
    half = content[: start + 40].ljust(len(content), b"\0")
    with open_inspection("", disk=damaged(disk, FIRST, half)) as found:
        assert 0 < found.torn <= 40
        assert found.remarks == (
            f"simulated:/{FIRST}: an interrupted write will be cut off at byte {start}",
        )


def test_what_the_next_start_would_put_right_is_told() -> None:
    disk, _ = directory("append", "append", "snapshot", "rotate", "append")
    (snapshot,) = [name for name in disk.names() if name.endswith(".snapshot")]
    disk.rot("identity-2", b"rotten")
    disk.rot(FIRST, disk.contents(FIRST)[:-1] + b"\0")
    disk.rot(snapshot, disk.contents(snapshot)[:-1] + b"?")

    with open_inspection("", disk=disk) as found:
        copy, footer, bad = found.remarks
        assert found.snapshots == ()
    assert "identity-2: this copy is bad" in copy
    assert f"{FIRST}: the footer is missing or bad" in footer
    assert f"{snapshot}: passed over, this snapshot is bad" in bad
    assert len(open_small(disk).healed) == 3


def test_node_that_was_never_founded_has_no_log() -> None:
    disk = SimulatedDisk()
    open_small(disk).close()
    with open_inspection("", disk=disk) as found:
        assert (found.log, found.identity.identity.id, found.last) == (None, "a", 0)
        assert list(found.runs(Index(1), Index(9))) == []
        assert found.verify(lambda _: None).segments == 0


def test_progress_grows_to_the_whole() -> None:
    disk, _ = directory(*REMOVED)
    parts: list[float] = []
    with open_inspection("", disk=disk) as found:
        found.verify(parts.append)

    assert parts == sorted(parts)
    assert parts[0] > 0
    assert 0.9 < parts[-1] <= 1


# ── a directory of the operating system ──────────────────────────────────────────────────────────────


def _state_of_files(path: Path) -> dict[str, tuple[str, int, int]]:
    found = {path.name: ("", path.stat().st_mtime_ns, path.stat().st_ctime_ns)}
    for each in sorted(path.iterdir()):
        stat, content = each.stat(), each.read_bytes()
        found[each.name] = (
            hashlib.sha256(content).hexdigest(),
            stat.st_mtime_ns,
            stat.st_ctime_ns,
        )
    return found


def test_files_and_their_times_are_as_they_were(tmp_path: Path) -> None:
    """Also where opening would write: a torn tail, a bad copy, a bad footer, what is half made."""
    disk, _ = directory(*REMOVED)
    content = _contents(disk)
    content["identity-1"] = b"rotten"
    content[FIRST] = content[FIRST][:-1] + b"\0"
    content["own.partial"] = b"half"
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    before = _state_of_files(tmp_path)

    with open_inspection(tmp_path) as found:
        found.verify(lambda _: None)
        assert len(found.remarks) == 2
        list(found.records(Index(1), found.last))

    assert _state_of_files(tmp_path) == before


def test_disk_opened_for_reading_refuses_what_would_change_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    disk = OsDisk(tmp_path, read_only=True)
    file = disk.open("file")

    for change in (
        lambda: disk.create("new"),
        lambda: disk.rename("file", "other"),
        lambda: disk.remove("file"),
        disk.lock,
        lambda: file.write_at(0, b"x"),
        lambda: file.truncate(0),
    ):
        with pytest.raises(OSError):  # noqa: PT011 - ours for the directory, the kernel's for the file
            change()
    assert [it.name for it in tmp_path.iterdir()] == ["file"]
    assert file.read_at(0, 99) == b"content"
    file.close()
    disk.close()


@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_path_without_a_node_is_no_data_directory(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "empty":
        path.mkdir()
    if kind == "file":
        path.write_bytes(b"")

    with pytest.raises(NoDataDirectory, match="is no data directory"), open_inspection(path):
        pytest.fail("there is nothing to look at")
    assert kind != "missing" or not path.exists()


def test_log_whose_identity_is_gone_is_corrupt_and_not_nothing() -> None:
    disk, _ = directory("append")
    for name in ("identity-1", "identity-2"):
        disk.rot(name, None)

    said = verdict(disk)
    assert isinstance(said, LogCorrupt)
    assert "identity file is gone" in str(said)


# ── a running node ───────────────────────────────────────────────────────────────────────────────────


class Changing:
    """A directory that is another one at each look: what a race with a writer may show."""

    def __init__(self, *looks: SimulatedDisk) -> None:
        self._looks = list(looks)
        self._now = looks[0]

    def open(self, name: str) -> Any:
        if name == "identity-1":  # the first thing that is read
            self._now = self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]
        return self._now.open(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._now, name)


def test_error_that_is_met_once_is_a_race_and_not_believed() -> None:
    """A page is read before its record is written, the next page after: a hole that was never there."""
    disk, state = directory("append", "vote", "append")
    content = disk.contents(FIRST)
    starts = [at for at in range(len(content)) if content.startswith(b"\xa7log", at)]

    def hole(start: int, end: int) -> SimulatedDisk:
        return damaged(disk, FIRST, content[:start] + bytes(end - start) + content[end:])

    raced = hole(starts[-3], starts[-2])
    other = hole(starts[-4], starts[-3])
    assert isinstance(verdict(raced), LogCorrupt)
    changing: Any = Changing(other, raced, disk)
    with open_inspection("", disk=changing) as found:
        assert found.last == state.last
    twice: Any = Changing(other, raced, raced)
    with pytest.raises(LogCorrupt, match=str(starts[-3])), open_inspection("", disk=twice):
        pytest.fail("the same error was met twice")


@pytest.mark.slow
def test_node_that_writes_meanwhile_is_not_called_corrupt(tmp_path: Path) -> None:
    """It rotates, compacts and removes under our eyes; what was durable before a look is found by it."""
    storage = open_storage(tmp_path, "a", segment_bytes=8192, preallocate_bytes=4096)
    storage.found(founding_record(storage))
    durable, enough = [1], threading.Event()

    def write() -> None:
        for n in range(1, 1_000_000):
            if enough.is_set():
                return
            run = a_run(durable[0] + 1, 1, *(bytes([n % 251 + 1]) * 300 for _ in range(n % 7 + 1)))
            compact_to = None
            if n % 20 == 0:
                own_snapshot(storage, durable[0], [b"state" * 200])
                compact_to = Index(durable[0])
            storage.perform([Write(sequence=n, runs=(run,), compact_to=compact_to)])
            durable[0] = run.last

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(150):
            least = durable[0]
            with open_inspection(tmp_path) as found:
                found.verify(lambda _: None)
                assert found.last >= least
                seen = [e.index for it in found.runs(found.first, found.last) for e in it.run]
                assert seen == list(range(found.first, found.last + 1))
    finally:
        enough.set()
        writer.join()
        storage.close()
    assert durable[0] > 500
