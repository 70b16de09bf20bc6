"""Writes a second, with much behind the group and with nothing, and with more and more nodes.

Laws: all groups are started on directories that were made beside them, a new one's too, so that they differ
in what lies there and in nothing else. What 10⁷ entries left is what compaction leaves: a snapshot, and
the log from a little before it on.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import attrs

from benchmarks.growth.directories import Past, make_group
from benchmarks.growth.part import Part
from benchmarks.growth.processes import open_members
from benchmarks.growth.turns import Say, by_turns, median_of
from raftkit.cli.bench.group import BenchFailed
from raftkit.cli.bench.machine import Register
from raftkit.cli.child import free_addresses
from raftkit.cli.starting import names_of

__all__ = ["Case", "Figures", "cases", "growth", "measure"]

NODES = 3
"Of the groups that are compared for what lies behind them."
RATIO_MIN = 0.95
"The goal: writes a second with many entries behind the group against none."
TAIL_ENTRIES = 10_000
"That compaction leaves in the log before a snapshot."
WARM_UP_SECONDS = 1.0


@attrs.frozen(kw_only=True, order=True)
class Case:
    """A group."""

    nodes: int
    entries: int = 0
    "Written before it is started; 0: it was only founded."

    def as_words(self) -> str:
        """For people."""
        return f"{self.nodes} nodes, {self.entries:,} entries"


@attrs.frozen(kw_only=True)
class Figures:
    """Of one round, or medians of all."""

    writes_per_s: float
    p50_ms: float
    p99_ms: float
    leader_cpu_us: float
    "Processor time of a write in the leader's process, which is the load's, too."
    elections: float
    "In the measured time, and while the last writes were answered."

    def __str__(self) -> str:
        return f"{self.writes_per_s:,.0f} writes/s, {self.leader_cpu_us:.0f} µs of the leader's CPU each"


def cases(entries: int, sizes: Sequence[int]) -> tuple[Case, ...]:
    """All, in the order of a round."""
    grown = (Case(nodes=NODES), Case(nodes=NODES, entries=entries))
    return (*grown, *(Case(nodes=it) for it in sizes if it != NODES))


def past_of(case: Case) -> Past:
    """What a group of that case has done."""
    machine = partial(Register, count=case.entries)
    if not case.entries:
        return Past(machine=machine)
    base = max(case.entries - TAIL_ENTRIES, case.entries // 2)
    return Past(machine=machine, base=base, snapshot=case.entries, last=case.entries)


async def measure(
    case: Case, *, outstanding: int, seconds: float, data: Path | None = None
) -> Figures:
    """One round of one case. Raises BenchFailed, perhaps in a group."""
    addresses = free_addresses(names_of(case.nodes))
    with tempfile.TemporaryDirectory(prefix="raftkit-growth-", dir=data) as directory:
        place = Path(directory)
        make_group(place, addresses, past_of(case))
        async with open_members(place, addresses, machine="bytes") as members:
            warm_up = min(WARM_UP_SECONDS, seconds)
            it = await members.group.measure(outstanding, warm_up=warm_up, seconds=seconds)
    if not it.writes or it.p50_ms is None or it.p99_ms is None:
        raise BenchFailed("nothing was written")
    return Figures(
        writes_per_s=it.writes_per_s,
        p50_ms=it.p50_ms,
        p99_ms=it.p99_ms,
        leader_cpu_us=1e4 * it.cpu_percent[it.leader] / it.writes_per_s,
        elections=it.elections,
    )


def growth(
    entries: int,
    sizes: Sequence[int],
    *,
    rounds: int,
    outstanding: int,
    seconds: float,
    data: Path | None,
    say: Say,
) -> Part:
    """Measure all cases. Raises as `measure`."""
    one = partial(measure, outstanding=outstanding, seconds=seconds, data=data)
    return told_of(entries, by_turns(cases(entries, sizes), one, rounds=rounds, say=say))


def told_of(entries: int, found: Mapping[Case, Sequence[Figures]]) -> Part:
    """What is concluded from all rounds."""
    medians = {case: median_of(rounds) for case, rounds in found.items()}
    grown, new = (found[Case(nodes=NODES, entries=it)] for it in (entries, 0))
    ratio = _ratio([it.writes_per_s for it in grown], [it.writes_per_s for it in new])
    cpu_ratio = _ratio([it.leader_cpu_us for it in grown], [it.leader_cpu_us for it in new])
    return Part(
        rows=[attrs.asdict(it) | attrs.asdict(of) for it, of in sorted(medians.items())],
        told={"ratio": ratio, "goal": RATIO_MIN, "leader_cpu_ratio": cpu_ratio},
        words=[*_table(medians), "", _conclusion(entries, ratio, cpu_ratio)],
        met=ratio >= RATIO_MIN,
    )


def _ratio(grown: Sequence[float], new: Sequence[float]) -> float:
    """Of figures of one round: the median."""
    return statistics.median(one / other for one, other in zip(grown, new, strict=True))


def _table(medians: Mapping[Case, Figures]) -> Iterator[str]:
    yield "| nodes | entries behind it | writes/s | p50 ms | p99 ms | CPU µs, leader | elections |"
    yield "|--:|--:|--:|--:|--:|--:|--:|"
    for case, it in sorted(medians.items()):
        yield (
            f"| {case.nodes} | {case.entries:,} | {it.writes_per_s:,.0f} | {it.p50_ms:.1f} "
            f"| {it.p99_ms:.1f} | {it.leader_cpu_us:.0f} | {it.elections:.0f} |"
        )


def _conclusion(entries: int, ratio: float, cpu_ratio: float) -> str:
    return (
        f"growth: {NODES} nodes with {entries:,} entries behind them write {ratio:.2f}× as much as "
        f"new ones (goal ≥ {RATIO_MIN}), at {cpu_ratio:.2f}× the leader's processor time for each"
    )
