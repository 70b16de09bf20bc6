"""The power is cut at every operation of every short story, recovery included; nothing acknowledged is lost.

All sequences of up to three steps out of seven, cut at every write, sync and change of a name of the last
step (the earlier ones were cut as last steps of shorter stories). Of what each cut may leave, every
possibility where they are few, else nothing, everything and samples of both kinds: any subset of sectors,
and a torn sector. Recovery from every image must end in a state that the story allows; a sample of
recoveries is cut at each of their own operations, and followed by a write and another power cut.

What cuts of recoveries leave is the same again and again, and the same bytes are recovered in the same way:
they are opened once.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import pytest

from raftkit.messages import Write
from raftkit.model import Index
from raftkit.storage import FileStorage
from raftkit.testing.simulated_disk import PowerCut, SimulatedDisk
from raftkit.testing.storage_conformance import a_run, founding_record, own_snapshot
from tests.storage.model import STEPS, Script, State, founded, images, open_small, state_of

STORIES = [story for length in (1, 2, 3) for story in itertools.product(STEPS, repeat=length)]
MOST = {1: 48, 2: 10, 3: 3}
"Images of one cut, by the length of the story."
Seen = set[tuple[tuple[tuple[str, bytes], ...], tuple[State, ...]]]
"Images by their files, and the states that were allowed when they were opened."


def begun(disk: SimulatedDisk) -> tuple[Script, FileStorage]:
    """The script of a storage that is born on the empty `disk`."""
    storage = founded(disk)
    founding = storage.record.founding
    assert founding is not None
    return Script(state=state_of(storage, storage.found(founding))), storage


def cuts(story: tuple[str, ...]) -> Iterator[tuple[int, Script, SimulatedDisk]]:
    """The story cut at each operation of its last step, in turn."""
    for cut in itertools.count():
        disk = SimulatedDisk()
        script, storage = begun(disk)
        for name in story[:-1]:
            script.step(name, storage)
        disk.crash_at(disk.operations + cut)
        try:
            script.step(story[-1], storage)
        except PowerCut:
            yield cut, script, disk
        else:
            return


def recovered(disk: SimulatedDisk, script: Script, note: str) -> FileStorage:
    """The storage reopened, in a state that the story allows."""
    storage = open_small(disk)
    state = state_of(storage)
    assert state in script.allowed, f"{note}: {storage.healed}"
    return storage


def check_write_after(storage: FileStorage, disk: SimulatedDisk, note: str) -> None:
    """What is written after a recovery is there after the next one, and nothing else (H4)."""
    before = state_of(storage)
    run = a_run(before.last + 1, before.term, b"after recovery")
    sequence = storage.recovered.write_sequence + 1
    storage.perform([Write(sequence=sequence, runs=(run,))])
    again = open_small(disk.crash())
    assert state_of(again) == before.appended(run), note
    assert again.record.boot > storage.record.boot, note


def check_recovery_cut(image: SimulatedDisk, script: Script, note: str, seen: Seen) -> int:
    """Recovery from `image`, cut at each of its operations, and recovery from what was not `seen` yet."""
    for cut in itertools.count():
        disk = image.crash()
        disk.crash_at(cut)
        try:
            open_small(disk)
        except PowerCut:
            for n, again in enumerate(images(disk, 4, seed=cut)):
                files = tuple((name, again.contents(name)) for name in again.names())
                if (files, tuple(script.allowed)) not in seen:
                    recovered(again, script, f"{note}, recovery cut at {cut}, image {n}")
                    seen.add((files, tuple(script.allowed)))
        else:
            return cut
    raise AssertionError


@pytest.mark.slow
@pytest.mark.parametrize("last", STEPS)
def test_no_power_cut_loses_or_invents_anything(last: str) -> None:
    points = checked = deep = 0
    seen: Seen = set()
    for story in STORIES:
        if story[-1] != last:
            continue
        for cut, script, disk in cuts(story):
            points += 1
            for n, image in enumerate(images(disk, MOST[len(story)], seed=cut)):
                note = f"{'+'.join(story)}, cut at {cut} ({disk.log[-1]}), image {n}"
                checked += 1
                if checked % (3 if len(story) == 1 else 29) == 0:
                    deep += check_recovery_cut(image, script, note, seen)
                after = image.crash()
                storage = recovered(after, script, note)
                if checked % 3 == 0:
                    check_write_after(storage, after, note)
    print(f"{last}: {points} cuts, {checked} images, {deep} cuts of recoveries left {len(seen)}")


def test_founding_is_all_or_nothing_at_every_cut() -> None:
    for cut in itertools.count():
        disk = SimulatedDisk()
        disk.crash_at(cut)
        try:
            storage = open_small(disk)
            record = founding_record(storage)
            storage.found(record)
        except PowerCut:
            for n, image in enumerate(images(disk, 16, seed=cut)):
                again = open_small(image)
                assert again.record.founding in (None, founding_record(again)), f"{cut}, {n}"
                state = again.found(founding_record(again))
                assert [run.last for run in state.runs] == [1]
                assert [run.last for run in open_small(image.crash()).recovered.runs] == [1]
        else:
            assert cut > 10
            return


def test_a_snapshot_gives_way_to_another_of_its_index_when_that_one_is_whole() -> None:
    """The log needs what is under the name: at every cut the old one or the new one is there (F6)."""
    first, second = b"a wrong state " * 40, b"the right state " * 40
    for cut in itertools.count():
        disk = SimulatedDisk()
        script, storage = begun(disk)
        script.step("append", storage)
        own_snapshot(storage, 3, [first])
        storage.perform([Write(sequence=script.sequence + 1, compact_to=Index(3))])
        disk.crash_at(disk.operations + cut)
        try:
            own_snapshot(storage, 3, [second])
        except PowerCut:
            for n, image in enumerate(images(disk, 24, seed=cut)):
                again = open_small(image)
                assert b"".join(again.open_snapshot()) in (first, second), f"{cut}, {n}"
        else:
            assert b"".join(open_small(disk.crash()).open_snapshot()) == second
            assert cut > 4
            return


def test_what_a_killed_process_left_unsynced_is_made_durable_before_it_is_claimed() -> None:
    """The page cache outlives a process: opening reads what was never synced, and must sync it."""
    disk = SimulatedDisk()
    roomy = {"preallocate_bytes": 8192}  # nothing else gives opening a reason to sync
    storage = open_small(disk, **roomy)
    storage.found(founding_record(storage))
    disk.crash_at(disk.operations + 1)  # the write is done, its sync is not
    with pytest.raises(PowerCut):
        storage.perform([Write(sequence=1, runs=(a_run(2, 1, b"x"),))])
    seen = state_of(open_small(killed := disk.kill(), **roomy))

    assert seen.last == 2
    assert state_of(open_small(killed.crash(), **roomy)) == seen


def test_every_boot_that_was_ever_seen_is_outdone() -> None:
    """Whatever is lost of an interrupted opening, the next boot number is higher than any returned."""
    disk = SimulatedDisk()
    founded(disk)
    highest = 1
    for cut in range(12):
        disk = disk.crash()
        disk.crash_at(cut)
        with contextlib.suppress(PowerCut):
            highest = max(highest, open_small(disk).record.boot)
        for image in images(disk, 16, seed=cut):
            assert open_small(image).record.boot > highest
