"""What a group costs that has nothing to do: processor time and memory of each node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

__all__ = ["Idle", "memory_mb"]


@attrs.frozen(kw_only=True)
class Idle:
    """A group at rest."""

    machine: str
    "bytes or typed."
    seconds: float
    "How long was measured."
    cpu_percent: Mapping[str, float]
    "User and system, by node, in percent of a core."
    memory_mb: Mapping[str, float]
    "Resident, by node, in 10⁶ bytes."

    def as_words(self) -> str:
        """One line."""
        each = ", ".join(
            f"{name} {percent:.1f} % and {self.memory_mb[name]:.0f} MB"
            for name, percent in self.cpu_percent.items()
        )
        return f"{self.machine}, idle: {each}"

    def faults(self) -> Iterator[str]:
        """What makes the figures worthless: nothing."""
        return iter(())


def memory_mb(pid: int) -> float:
    """What a process has in memory, in 10⁶ bytes. Raises OSError for one that has ended."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == "VmRSS":
            return int(value.split()[0]) * 1024 / 1e6
    return 0.0  # it is about to be reaped
