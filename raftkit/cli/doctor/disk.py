"""The disk of the data directory: how long a durable write takes, and how much room is left.

Law: what is written has no name in the directory and is gone with its descriptor, however this ends.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from raftkit.cli.bench.environment import LOSING, file_system_of
from raftkit.cli.doctor.findings import Finding, Mark
from raftkit.cli.percentile import percentile

__all__ = ["Disk", "judge_disk", "measure_disk"]

WRITES: Final = 50
"That are measured, each with its fdatasync, as an append to the log is."
WRITE_BYTES: Final = 4096
WRITES_SECONDS: Final = 1.5
"After which no more are begun."
SLOW_SECONDS: Final = 0.010
"A median above this is what spinning disks and busy virtual ones have."
STALL_SECONDS: Final = 0.250
"One write that takes so long is a stall that people notice."
ROOM_LOW_BYTES: Final = 1 << 30
ROOM_OUT_BYTES: Final = 64 << 20
"Less than this is no room for a log and a snapshot."


@attrs.frozen(kw_only=True)
class Disk:
    """What was measured."""

    writes: tuple[float, ...] = ()
    "Seconds each took, in order."
    free_bytes: int | None = None
    "That this user may write. None: it can't be told."
    file_system: str | None = None
    "Its kind. None: it can't be told."
    failure: str | None = None
    "Why nothing can be written. None: something was."


def measure_disk(directory: Path) -> Disk:
    """Write into `directory`, for `WRITES_SECONDS` and one write at most."""
    try:
        kind, free = file_system_of(directory), shutil.disk_usage(directory).free
    except OSError as error:
        return Disk(failure=f"{error.strerror or error}")
    try:
        writes = tuple(_synced_writes(directory))
    except OSError as error:
        return Disk(free_bytes=free, file_system=kind, failure=f"{error.strerror or error}")
    return Disk(writes=writes, free_bytes=free, file_system=kind)


def _synced_writes(directory: Path) -> Iterator[float]:
    ends, data = time.monotonic() + WRITES_SECONDS, os.urandom(WRITE_BYTES)
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(WRITES):
            before = time.perf_counter()
            file.write(data)
            os.fdatasync(file.fileno())
            yield time.perf_counter() - before
            if time.monotonic() > ends:
                return


def judge_disk(directory: Path, disk: Disk | None) -> list[Finding]:
    """What that means. None: it took so long that nobody waited for it."""
    if disk is None:
        return [
            Finding(
                check="disk.fsync",
                mark=Mark.WRONG,
                words=f"the disk of {directory} stands still: a write of {WRITE_BYTES} bytes did not end",
                advice="look at the kernel's log (dmesg) and at what else uses the disk",
            )
        ]
    return [_writing(directory, disk), *_room(directory, disk)]


def _writing(directory: Path, disk: Disk) -> Finding:
    if disk.failure is not None or not disk.writes:
        return Finding(
            check="disk.fsync",
            mark=Mark.WRONG,
            words=f"{directory} can't be written to: {disk.failure}",
            advice="mend the file system or its permissions: a node stops when it can't write",
        )
    ordered = sorted(disk.writes)
    median, longest = percentile(ordered, 0.5) or 0.0, ordered[-1]
    words = f"a durable write takes {median * 1000:.1f} ms, at most {longest * 1000:.1f} ms"
    mark, advice = Mark.OK, ""
    if disk.file_system in LOSING:
        mark = Mark.WARNING
        words = f"{disk.file_system} keeps nothing over a restart of this host; {words}"
        advice = (
            "have the data directory on a disk: a node that forgets its votes breaks its promises"
        )
    elif median > SLOW_SECONDS or longest > STALL_SECONDS:
        mark = Mark.WARNING
        advice = (
            "every write of the group waits for such writes: give the directory a solid-state disk of its "
            "own, best one that keeps what it has when power fails"
        )
    facts = {
        "writes": len(ordered),
        "median_ms": round(median * 1000, 3),
        "max_ms": round(longest * 1000, 3),
        "file_system": disk.file_system,
    }
    return Finding(check="disk.fsync", mark=mark, words=words, advice=advice, facts=facts)


def _room(directory: Path, disk: Disk) -> Iterator[Finding]:
    free = disk.free_bytes
    if free is None:
        return
    words = f"{free / (1 << 30):,.1f} GiB are free at {directory}"
    mark, advice = Mark.OK, ""
    if free < ROOM_LOW_BYTES:
        mark = Mark.WRONG if free < ROOM_OUT_BYTES else Mark.WARNING
        words = f"only {free / (1 << 20):,.0f} MiB are free at {directory}"
        advice = "make room: a node whose disk is full stops"
    yield Finding(
        check="disk.room", mark=mark, words=words, advice=advice, facts={"free_bytes": free}
    )
