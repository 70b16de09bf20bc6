"""Where a benchmark runs, and who uses its processors meanwhile. Figures mean nothing without it. Linux.

Law: what can't be found out is None, never guessed.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

__all__ = ["LOSING", "Environment", "Usage", "cpus", "environment_of", "file_system_of"]

LOSING: Final = frozenset({"tmpfs", "ramfs"})
"File systems that lose everything when the machine does."
SYNCS = 300
"Writes of the measurement of fdatasync."
_SYNC_BYTES = 64
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@attrs.frozen(kw_only=True)
class Environment:
    """The machine under all nodes."""

    python: str
    "Implementation and version."
    cpus: int
    "Cores that these processes may use."
    cpu_model: str | None
    "As the kernel calls it."
    kernel: str
    "Name and release."
    file_system: str | None
    "Under the nodes' directories."
    fsync_ms: float
    "Median of a write of 64 bytes and its fdatasync there, on an idle disk."

    @property
    def is_durable(self) -> bool:
        """Whether what is written there would survive a loss of power, as far as its kind tells."""
        return self.file_system not in LOSING


def environment_of(directory: Path) -> Environment:
    """Of this process, with its nodes in `directory`. Takes as long as `SYNCS` writes."""
    return Environment(
        python=f"{platform.python_implementation()} {platform.python_version()}",
        cpus=cpus(),
        cpu_model=_cpu_model(),
        kernel=f"{platform.system()} {platform.release()}",
        file_system=file_system_of(directory),
        fsync_ms=_sync_ms(directory),
    )


def cpus() -> int:
    """Cores that this process and its children may use."""
    return len(os.sched_getaffinity(0))


def _cpu_model() -> str | None:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return None


def file_system_of(directory: Path) -> str | None:
    """The type of the mount that `directory` is on: the last one on the deepest mount point above it."""
    path, deepest, kind = directory.resolve(), -1, None
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, source = line.partition(" - ")
        point = Path(mount.split()[4])
        if path.is_relative_to(point) and len(point.parts) >= deepest:
            deepest, kind = len(point.parts), source.split()[0]
    return kind


def _sync_ms(directory: Path) -> float:
    """Median of `SYNCS` small writes at the end of a file, each made durable."""
    path, took = directory / "fsync", list[float]()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        for _ in range(SYNCS):
            began = time.perf_counter()
            os.write(descriptor, bytes(_SYNC_BYTES))
            os.fdatasync(descriptor)
            took.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
        path.unlink()
    return statistics.median(took) * 1000


@attrs.frozen(kw_only=True)
class Usage:
    """Processor time used up to a moment."""

    at: float
    "The moment, in seconds of the monotonic clock."
    nodes: Mapping[str, float]
    "By each node's process, user and system, in seconds; it counts in hundredths."
    machine: float
    "By everything that runs on this machine, in seconds."

    @classmethod
    def now(cls, pids: Mapping[str, int]) -> Usage:
        """At this moment, by the processes `pids`, by node."""
        return cls(
            at=time.monotonic(),
            nodes={name: _seconds_of(pid) for name, pid in pids.items()},
            machine=_seconds_of_all(),
        )

    def percent_since(self, before: Usage) -> tuple[Mapping[str, float], float]:
        """By each node, and by everything else, since `before`, in percent of one core."""
        seconds = self.at - before.at
        nodes = {name: 100 * (it - before.nodes[name]) / seconds for name, it in self.nodes.items()}
        everything = 100 * (self.machine - before.machine) / seconds
        return nodes, max(everything - sum(nodes.values()), 0.0)


def _seconds_of(pid: int) -> float:
    """0 for a process that has ended: whoever hears it tells how."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    # The name, in parentheses, may hold anything; behind it comes the third field.
    fields = words.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def _seconds_of_all() -> float:
    """What all processors were busy, summed: all but idle and waiting for disks."""
    words = Path("/proc/stat").read_text().split(None, 9)[1:9]
    user, nice, system, _idle, _iowait, *others = map(int, words)
    return (user + nice + system + sum(others)) / _TICKS_PER_SECOND
