"""What is asked of a group under test, whoever made it, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal, Protocol

import attrs

from raftkit.cli.bench.gap import Fault
from raftkit.cli.bench.workload import Place, Workload

__all__ = ["Failed", "Finding", "Load", "NotOffered", "Open", "Subject"]


class Failed(Exception):
    """The measurement could not be made; says why."""


class NotOffered(Exception):
    """The peer has no such thing."""


@attrs.frozen(kw_only=True)
class Load:
    """A closed loop of operations."""

    machine: Literal["bytes", "typed"] = "bytes"
    "raftkit's: at most once, or exactly once. Peers have one kind."
    workload: Workload = "writes"
    at: Place = "leader"
    "Where raftkit's and PySyncObj's load runs, and whom etcd's client talks to."
    outstanding: int = 256
    "Operations under way."


@attrs.frozen(kw_only=True)
class Finding:
    """What was measured once."""

    figures: Mapping[str, float]
    "By name; the unit is in the name's end. `rate` is of operations a second."
    cpu: Mapping[str, float] = attrs.field(factory=dict[str, float])
    "By process, in percent of a core; what was none of the group's is under `others`."
    failed: int = 0
    "Operations."


class Subject(Protocol):
    """A group that is up. Each method raises NotOffered, or Failed."""

    async def load(self, load: Load, seconds: float) -> Finding:
        """`rate`, `p50_ms` and `p99_ms`, over so many seconds after a warm-up."""
        ...

    async def idle(self, seconds: float) -> Finding:
        """`cpu_percent` and `memory_mb`: of the member that uses most."""
        ...

    async def restart(self) -> Finding:
        """`ready_s`: from the start of a follower that was killed to its first linearizable read."""
        ...

    async def gap(self, fault: Fault, seconds: float) -> Finding:
        """`gap_ms`: the longest time without a write; "kill" costs a member."""
        ...


Open = Callable[[Path], AbstractAsyncContextManager[Subject]]
"Starts a group with its data in an empty directory. Raises Failed."
