"""What multicast saves and costs beside TCP, and what losses cost it: `python -m benchmarks.multicast`.

    rounds ─▶ groups of processes (`raftkit bench`'s), one after the other ─▶ medians ─▶ table, JSON

Laws: what is compared is measured by turns, in every round anew and in alternating order, so that another
program's work falls on both. A figure is the median of its rounds. Bytes and packets are of the leader,
everything that it sends, heartbeats and words about links included, without the kernel's headers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs
import trio

from raftkit.cli.bench.environment import Environment, environment_of
from raftkit.cli.bench.group import open_group
from raftkit.cli.bench.report import Measurement
from raftkit.cli.network import Kind
from raftkit.cli.starting import names_of

__all__ = ["Case", "Figures", "Result", "main", "measure"]

SIZES = (3, 5, 7, 9)
LOSSES = (0.01, 0.05, 0.2)
"Beside none."
LOSSY_SIZE = 5
GROWTH_MAX = 1.2
"The goal for the leader's bytes an entry: in a group of nine against one of three."
WARM_UP_SECONDS = 1.0
_KINDS: tuple[Kind, ...] = ("tcp", "multicast")


@attrs.frozen(kw_only=True, order=True)
class Case:
    """What is measured."""

    nodes: int
    transport: Kind
    loss: float = 0.0
    "Part of the datagrams that each node loses on purpose."

    def as_words(self) -> str:
        """For people."""
        lossy = f", {100 * self.loss:g} % lost" if self.loss else ""
        return f"{self.nodes} nodes, {self.transport}{lossy}"


@attrs.frozen(kw_only=True)
class Figures:
    """Of one round, or medians of all."""

    writes_per_s: float
    p50_ms: float
    p99_ms: float
    bytes_per_write: float
    packets_per_write: float
    leader_cpu_us: float
    "Processor time of a write in the leader's process, which is the load's, too."
    group_cpu_us: float
    "The same in all processes together."
    elections: float
    "In the measured time, and while the last writes were answered."
    repairs_per_s: float
    "Datagrams that the leader sent again."

    @classmethod
    def of(cls, it: Measurement) -> Figures:
        """Of one measurement. Raises ValueError if nothing was written."""
        if not it.writes or it.p50_ms is None or it.p99_ms is None:
            raise ValueError("nothing was written")
        cpu_us = {name: 1e4 * used / it.writes_per_s for name, used in it.cpu_percent.items()}
        return cls(
            writes_per_s=it.writes_per_s,
            p50_ms=it.p50_ms,
            p99_ms=it.p99_ms,
            bytes_per_write=it.traffic.bytes_sent / it.writes,
            packets_per_write=it.traffic.packets_sent / it.writes,
            leader_cpu_us=cpu_us[it.leader],
            group_cpu_us=sum(cpu_us.values()),
            elections=it.elections,
            repairs_per_s=it.traffic.repaired / it.seconds,
        )

    @classmethod
    def median(cls, rounds: Sequence[Figures]) -> Figures:
        """Of each figure by itself; elections are summed, for none may hide."""
        middle = {
            it.name: statistics.median(getattr(each, it.name) for each in rounds)
            for it in attrs.fields(cls)
        }
        return cls(**(middle | {"elections": sum(it.elections for it in rounds)}))


@attrs.frozen(kw_only=True)
class Result:
    """Everything that was measured."""

    environment: Environment
    outstanding: int
    "Writes under way at any time."
    seconds: float
    "Of each round."
    rounds: int
    load: float
    "Processes that wanted to run at the beginning, on average of a minute: others' work."
    figures: Mapping[Case, Figures]

    @property
    def sizes(self) -> tuple[int, int]:
        """Nodes of the smallest group and of the largest."""
        return min(it.nodes for it in self.figures), max(it.nodes for it in self.figures)

    def growth(self, transport: Kind) -> tuple[float, float]:
        """The leader's bytes and packets an entry, in the largest group against the smallest."""
        small, large = (self.figures[Case(nodes=it, transport=transport)] for it in self.sizes)
        return (
            large.bytes_per_write / small.bytes_per_write,
            large.packets_per_write / small.packets_per_write,
        )

    def as_json(self) -> str:
        """One object."""
        rows = [attrs.asdict(it) | attrs.asdict(of) for it, of in sorted(self.figures.items())]
        growth = {kind: self.growth(kind) for kind in _KINDS}
        whole = attrs.asdict(self, filter=lambda it, _: it.name != "figures")
        return json.dumps({**whole, "rows": rows, "growth": growth}, indent=2)

    def as_words(self) -> Iterator[str]:
        """Tables in Markdown, and what belongs below them."""
        yield (
            "| nodes | transport | writes/s | × TCP | p50 ms | bytes/write | packets/write "
            "| CPU µs, leader | all |"
        )
        yield "|--:|---|--:|--:|--:|--:|--:|--:|--:|"
        for case, it in sorted(self.figures.items(), key=lambda row: (row[0].nodes, row[0].loss)):
            if not case.loss:
                over_tcp = self.figures[attrs.evolve(case, transport="tcp")]
                ratio = it.writes_per_s / over_tcp.writes_per_s
                yield (
                    f"| {case.nodes} | {case.transport} | {it.writes_per_s:,.0f} | {ratio:.2f} "
                    f"| {it.p50_ms:.1f} | {it.bytes_per_write:.0f} | {it.packets_per_write:.3f} "
                    f"| {it.leader_cpu_us:.0f} | {it.group_cpu_us:.0f} |"
                )
        yield ""
        yield "| nodes | lost | writes/s | p50 ms | p99 ms | elections | repairs/s |"
        yield "|--:|--:|--:|--:|--:|--:|--:|"
        for case, it in sorted(self.figures.items(), key=lambda row: row[0].loss):
            if case.transport == "multicast" and case.nodes == LOSSY_SIZE:
                yield (
                    f"| {case.nodes} | {100 * case.loss:g} % | {it.writes_per_s:,.0f} | {it.p50_ms:.1f} "
                    f"| {it.p99_ms:.1f} | {it.elections:.0f} | {it.repairs_per_s:.0f} |"
                )
        yield ""
        small, large = self.sizes
        for kind in _KINDS:
            size, packets = self.growth(kind)
            goal = f" (goal ≤ {GROWTH_MAX})" if kind == "multicast" else ""
            yield (
                f"{kind}: leader's bytes per entry, {large} nodes against {small}: {size:.2f}×{goal}, "
                f"packets {packets:.2f}×"
            )
        here = self.environment
        yield (
            f"{here.python}, {here.cpus} × {here.cpu_model or 'an unknown processor'}, {here.kernel}, "
            f"{here.file_system or 'an unknown file system'}, fdatasync {here.fsync_ms:.2f} ms; load "
            f"{self.load:.1f}; {self.outstanding} writes of 32 bytes under way, medians of {self.rounds} "
            f"rounds of {self.seconds:g} s"
        )


def cases() -> tuple[Case, ...]:
    """All, in the order of a round."""
    pairs = (Case(nodes=nodes, transport=kind) for nodes in SIZES for kind in _KINDS)
    lossy = (Case(nodes=LOSSY_SIZE, transport="multicast", loss=loss) for loss in LOSSES)
    return (*pairs, *lossy)


async def measure(case: Case, *, outstanding: int, seconds: float) -> Figures:
    """One round of one case. Raises BenchFailed, perhaps in a group; ValueError if nothing was written."""
    with tempfile.TemporaryDirectory(prefix="raftkit-bench-") as directory:
        names = names_of(case.nodes)
        opened = open_group("bytes", Path(directory), names, case.transport, loss=case.loss)
        async with opened as group:
            warm_up = min(WARM_UP_SECONDS, seconds)
            return Figures.of(await group.measure(outstanding, warm_up=warm_up, seconds=seconds))


def compare(
    chosen: Sequence[Case],
    *,
    rounds: int,
    outstanding: int,
    seconds: float,
    say: Callable[[str], None],
) -> Result:
    """Measure each case once a round, every other round in reverse."""
    with tempfile.TemporaryDirectory(prefix="raftkit-bench-") as directory:
        environment = environment_of(Path(directory))
    load, found = os.getloadavg()[0], {case: list[Figures]() for case in chosen}
    for number in range(rounds):
        for case in chosen if number % 2 == 0 else reversed(chosen):

            async def one(case: Case = case) -> Figures:
                return await measure(case, outstanding=outstanding, seconds=seconds)

            figures = trio.run(one)
            found[case].append(figures)
            speed = f"{figures.writes_per_s:,.0f} writes/s"
            say(f"round {number + 1} of {rounds}: {case.as_words()}: {speed}")
    return Result(
        environment=environment,
        outstanding=outstanding,
        seconds=seconds,
        rounds=rounds,
        load=load,
        figures={case: Figures.median(them) for case, them in found.items()},
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 1 if the goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.multicast", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each figure (3)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (3)")
    parser.add_argument("--outstanding", type=int, default=64, help="writes under way (64)")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.seconds <= 0 or options.outstanding < 1:
        parser.error("--rounds and --outstanding must be at least 1, --seconds above 0")
    result = compare(
        cases(),
        rounds=options.rounds,
        outstanding=options.outstanding,
        seconds=options.seconds,
        say=lambda words: print(words, file=sys.stderr, flush=True),
    )
    for words in [result.as_json()] if options.json else result.as_words():
        print(words)
    return 0 if result.growth("multicast")[0] <= GROWTH_MAX else 1


if __name__ == "__main__":
    sys.exit(main())
