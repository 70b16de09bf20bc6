"""What was measured of several systems, round by round: medians, ranges, ratios, words and JSON.

Laws: a ratio is of one system's figure and raftkit's in the same round; what is told is the median of the
rounds. Every number was measured; what was not is left out.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import attrs

from benchmarks.peers.subject import Finding
from raftkit.cli.bench.environment import Environment
from raftkit.cli.bench.report import SATURATED_PERCENT

__all__ = ["Comparison", "Key", "Spread"]

FIGURES: Mapping[str, str] = {
    "rate": "a second",
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
    "gap_ms": "longest gap, ms",
    "ready_s": "ready after, s",
    "cpu_percent": "CPU of a member, %",
    "memory_mb": "memory of a member, MB",
}
"What each is called, in the order of the table."


class Key(NamedTuple):
    """Which measurement."""

    workload: str
    system: str


@attrs.frozen
class Spread:
    """One figure over all rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Of at least one."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        if self.low == self.high:
            return _short(self.median)
        return f"{_short(self.median)} ({_short(self.low)}–{_short(self.high)})"


@attrs.define(eq=False)
class Comparison:
    """All findings of a run."""

    environment: Environment
    systems: list[str]
    "raftkit first."
    seconds: float
    "Of each measurement."
    data: Path | None
    "Where the data was, if that was said."
    load_average: float = attrs.field(init=False, factory=lambda: os.getloadavg()[0])
    "Before anything was started: others' work."
    faults: list[str] = attrs.field(init=False, factory=list[str])
    "What could not be measured."
    _findings: dict[Key, list[Finding]] = attrs.field(init=False, factory=dict[Key, list[Finding]])
    _not_offered: set[Key] = attrs.field(init=False, factory=set[Key])

    def note(self, key: Key, found: Finding) -> None:
        """One more round of that."""
        self._findings.setdefault(key, []).append(found)

    def note_not_offered(self, key: Key) -> None:
        """This system has no such thing."""
        self._not_offered.add(key)

    def note_fault(self, words: str) -> None:
        """The comparison is not whole."""
        self.faults.append(words)

    # ── what came of it ──────────────────────────────────────────────────────────────────────────

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Workloads, each with its figures, in the order in which they were measured."""
        seen: dict[tuple[str, str], None] = {}
        for key, found in self._findings.items():
            for figure in FIGURES:
                if figure in found[0].figures:
                    seen[key.workload, figure] = None
        return list(seen)

    def spread(self, key: Key, figure: str) -> Spread | None:
        """Over the rounds; None if it was never measured."""
        values = [it.figures[figure] for it in self._findings.get(key, [])]
        return Spread.of(values) if values else None

    def ratio(self, workload: str, figure: str, peer: str) -> float | None:
        """Of raftkit's figure over the peer's: the median of the rounds that have both."""
        own = self._findings.get(Key(workload, self.systems[0]), [])
        other = self._findings.get(Key(workload, peer), [])
        ratios = [
            mine.figures[figure] / its.figures[figure]
            for mine, its in zip(own, other, strict=False)
            if its.figures[figure]
        ]
        return statistics.median(ratios) if ratios else None

    def cpu(self, key: Key) -> Mapping[str, float]:
        """By role, medians; processes change their roles between rounds: followers are sorted by use."""
        rounds = [_by_role(it.cpu) for it in self._findings.get(key, []) if it.cpu]
        if not rounds:
            return {}
        roles = [it for it in rounds[0] if all(it in each for each in rounds)]
        return {role: statistics.median(each[role] for each in rounds) for role in roles}

    def saturated(self, key: Key) -> str:
        """What had nothing more to give."""
        cpu, cores = self.cpu(key), self.environment.cpus
        full = [role for role, it in cpu.items() if role != "others" and it >= SATURATED_PERCENT]
        if sum(cpu.values()) >= SATURATED_PERCENT * cores:
            full.append("all cores")
        return ", ".join(full) or "nothing"

    def as_words(self) -> Iterator[str]:
        """Tables in Markdown, and what belongs below them."""
        own, *peers = self.systems
        yield f"| workload | figure | {own} |" + "".join(f" {it} | × |" for it in peers)
        yield "|---|---|--:|" + "--:|--:|" * len(peers)
        for workload, figure in self.rows:
            cells = [self._cell(Key(workload, own), figure)]
            for peer in peers:
                ratio = self.ratio(workload, figure, peer)
                cells += [self._cell(Key(workload, peer), figure), _short(ratio) if ratio else "–"]
            yield f"| {workload} | {FIGURES[figure]} | {' | '.join(cells)} |"
        yield from self._cpu_in_words()
        yield ""
        here = self.environment
        yield (
            f"{here.python}, {here.cpus} × {here.cpu_model or 'an unknown processor'}, {here.kernel}, "
            f"{here.file_system or 'an unknown file system'}, fdatasync {here.fsync_ms:.2f} ms; load "
            f"{self.load_average:.1f} before; measurements of {self.seconds:g} s; medians (lowest–highest); "
            f"× is {own} over the other, in the same round"
        )
        for words in self.faults:
            yield f"WRONG: {words}"

    def _cpu_in_words(self) -> Iterator[str]:
        """A second table, if anything for it was measured."""
        keys = [key for key in self._findings if self.cpu(key)]
        if keys:
            yield from (
                "",
                "| workload | system | CPU, % of a core | saturated |",
                "|---|---|---|---|",
            )
        for key in keys:
            used = ", ".join(f"{role} {it:.0f}" for role, it in self.cpu(key).items())
            yield f"| {key.workload} | {key.system} | {used} | {self.saturated(key)} |"

    def _cell(self, key: Key, figure: str) -> str:
        if key in self._not_offered:
            return "none offered"
        return str(self.spread(key, figure) or "–")

    def as_json(self) -> str:
        """One object, every round in it."""
        return json.dumps(
            {
                "environment": attrs.asdict(self.environment),
                "load_average": self.load_average,
                "seconds": self.seconds,
                "systems": self.systems,
                "rounds": [
                    {**key._asdict(), "rounds": [attrs.asdict(it) for it in found]}
                    for key, found in self._findings.items()
                ],
                "medians": [
                    {
                        "workload": workload,
                        "figure": figure,
                        "values": {
                            it: self._median(Key(workload, it), figure) for it in self.systems
                        },
                        "ratios": {it: self.ratio(workload, figure, it) for it in self.systems[1:]},
                    }
                    for workload, figure in self.rows
                ],
                "not_offered": [key._asdict() for key in sorted(self._not_offered)],
                "faults": self.faults,
            },
            indent=2,
        )

    def _median(self, key: Key, figure: str) -> float | None:
        spread = self.spread(key, figure)
        return spread.median if spread else None


def _by_role(cpu: Mapping[str, float]) -> dict[str, float]:
    """Processes by what they were: the leader, followers, the busier first, and what is none of these."""
    rest = {name: cpu[name] for name in ("client", "others") if name in cpu}
    members = [
        it for name, it in cpu.items() if name not in rest and not name.startswith("leader ")
    ]
    found = {name.split()[0]: it for name, it in cpu.items() if name.startswith("leader ")}
    for number, it in enumerate(sorted(members, reverse=True), 1):
        found[f"follower {number}"] = it
    return found | rest


def _short(value: float) -> str:
    """Three figures, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
