"""raftkit as a subject: the groups of `raftkit bench`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from benchmarks.peers.subject import Failed, Finding, Load
from raftkit.cli.bench.gap import Fault
from raftkit.cli.bench.group import BenchFailed, Group, open_group
from raftkit.cli.bench.report import Measurement
from raftkit.cli.starting import first_of, names_of

__all__ = ["open_own"]

MEMBERS = names_of(3)
WARM_UP_SECONDS = 1.0


@asynccontextmanager
async def open_own(directory: Path) -> AsyncGenerator[Own]:
    """See `subject.Open`."""
    try:
        async with _open(directory, "bytes") as group:
            yield Own(directory, group)
    except* BenchFailed as failed:
        raise Failed(str(first_of(failed))) from None


@asynccontextmanager
async def _open(directory: Path, machine: str) -> AsyncGenerator[Group]:
    place = directory / machine
    await trio.Path(place).mkdir()
    async with open_group(machine, place, MEMBERS) as group:
        yield group


@attrs.define(eq=False)
class Own:
    """See `Subject`."""

    _directory: Path
    _group: Group
    "Of the bytes-level machine."

    async def load(self, load: Load, seconds: float) -> Finding:
        """See `Subject`. The typed machine has a group of its own, for this load."""
        if load.machine == "bytes":
            return await self._load(self._group, load, seconds)
        async with _open(self._directory, "typed") as group:
            return await self._load(group, load, seconds)

    async def _load(self, group: Group, load: Load, seconds: float) -> Finding:
        found = await group.measure(
            load.outstanding,
            warm_up=WARM_UP_SECONDS,
            seconds=seconds,
            workload=load.workload,
            at=load.at,
        )
        return _finding(found)

    async def idle(self, seconds: float) -> Finding:
        """See `Subject`."""
        found = await self._group.idle(seconds)
        return Finding(
            figures={
                "cpu_percent": max(found.cpu_percent.values()),
                "memory_mb": max(found.memory_mb.values()),
            }
        )

    async def restart(self) -> Finding:
        """See `Subject`."""
        return Finding(figures={"ready_s": await self._group.restart()})

    async def gap(self, fault: Fault, seconds: float) -> Finding:
        """See `Subject`."""
        found = await self._group.gap(fault, seconds)
        return Finding(figures={"gap_ms": found.gap_ms}, failed=found.failed)


def _finding(found: Measurement) -> Finding:
    """In the words that peers share. Raises Failed if the figures are worth nothing."""
    if found.p50_ms is None or found.p99_ms is None:
        raise Failed(f"{found.name}: nothing was done in the measured time")
    if found.errors or found.elections:
        raise Failed(f"{found.name}: {'; '.join(found.faults())}")
    return Finding(
        figures={"rate": found.writes_per_s, "p50_ms": found.p50_ms, "p99_ms": found.p99_ms},
        cpu={
            **{
                f"leader {name}" if name == found.leader else name: it
                for name, it in found.cpu_percent.items()
            },
            "others": found.others_cpu_percent,
        },
        failed=sum(found.errors.values()),
    )
