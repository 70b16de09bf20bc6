"""What writes suffer while the leader writes a large state to disk, beside the same load without that.

Laws: the state is there from the start, in a snapshot that every node reads back; the load, of a
`StateMachine`, exactly once, writes to the first thousand of its keys. No snapshot is due by itself. In the
one case the leader is asked for one snapshot after another for the whole of the measured time, so that every
write of that time was made during one. A gap is the longest time without an acknowledged write.
"""

from __future__ import annotations

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
from raftkit.cli.bench.machine import Table
from raftkit.cli.bench.workload import VALUE_BYTES
from raftkit.cli.child import free_addresses
from raftkit.cli.starting import names_of
from raftkit.membership import Settings

__all__ = ["Case", "Figures", "cases", "measure", "snapshots"]

NODES = 3
WARM_UP_SECONDS = 1.0
PATIENCE_SECONDS = 60.0
"For the last writes and the last snapshot."
MEMBER = "benchmarks.growth.member"


@attrs.frozen(kw_only=True, order=True)
class Case:
    """A load."""

    keys: int
    "Of the state."
    snapshots: bool
    "Whether they are taken meanwhile."

    def as_words(self) -> str:
        """For people."""
        return f"{self.keys:,} keys, {'snapshots' if self.snapshots else 'no snapshot'}"


@attrs.frozen(kw_only=True)
class Figures:
    """Of one round, or medians of all."""

    writes_per_s: float
    p50_ms: float
    p99_ms: float
    gap_ms: float
    "The longest time without a write."
    elections: float
    "In the measured time, and while the last writes were answered."
    snapshots: float
    "Begun in the measured time, and durable in the end."
    snapshot_s: float
    "Until one was durable; 0 where none was taken."
    snapshot_mb: float
    "Of one, in 10⁶ bytes."

    def __str__(self) -> str:
        return f"{self.writes_per_s:,.0f} writes/s, longest gap {self.gap_ms:.0f} ms"


def cases(keys: int) -> tuple[Case, ...]:
    """Both."""
    return tuple(Case(keys=keys, snapshots=it) for it in (False, True))


def past_of(case: Case) -> Past:
    """A state of so many keys, and nothing behind it."""
    values = {key: key.to_bytes(VALUE_BYTES, "big") for key in range(case.keys)}
    index = case.keys + 1  # as if each key had been written once
    return Past(
        machine=lambda: Table(count=case.keys, values=values),
        base=index,
        snapshot=index,
        last=index,
        settings=Settings(snapshot_entries=0, snapshot_bytes=0),
    )


async def measure(
    case: Case, *, outstanding: int, seconds: float, data: Path | None = None
) -> Figures:
    """One round of one case. Raises BenchFailed, perhaps in a group."""
    addresses = free_addresses(names_of(NODES))
    warm_up = min(WARM_UP_SECONDS, seconds)
    with tempfile.TemporaryDirectory(prefix="raftkit-growth-", dir=data) as directory:
        place = Path(directory)
        make_group(place, addresses, past_of(case))
        opened = open_members(place, addresses, machine="typed", program=MEMBER)
        async with opened as members:
            leader = members.children[await members.group.leader()]
            answer = await leader.ask(
                "load",
                outstanding,
                warm_up,
                float(seconds),
                case.snapshots,
                within=warm_up + seconds + PATIENCE_SECONDS,
            )
    return _figures(answer)


def _figures(answer: list[object]) -> Figures:
    match answer:
        case ["done", float(seconds), int(writes), int(p50), int(p99), int(gap), int(elections),
              int(count), float(each), int(size), []]:  # fmt: skip
            return Figures(
                writes_per_s=writes / seconds,
                p50_ms=p50 / 1000,
                p99_ms=p99 / 1000,
                gap_ms=gap / 1000,
                elections=elections,
                snapshots=count,
                snapshot_s=each,
                snapshot_mb=size / 1e6,
            )
        case ["failed", str(why)]:
            raise BenchFailed(why)
        case [*_, list(errors)] if errors:
            raise BenchFailed(f"writes failed: {errors}")
        case _:
            raise BenchFailed("nothing was written")


def snapshots(
    keys: int, *, rounds: int, outstanding: int, seconds: float, data: Path | None, say: Say
) -> Part:
    """Measure both cases. Raises as `measure`."""
    one = partial(measure, outstanding=outstanding, seconds=seconds, data=data)
    return told_of(by_turns(cases(keys), one, rounds=rounds, say=say))


def told_of(found: Mapping[Case, Sequence[Figures]]) -> Part:
    """What is concluded from all rounds."""
    medians = {case: median_of(rounds) for case, rounds in found.items()}
    without, during = (medians[it] for it in sorted(medians))
    return Part(
        rows=[attrs.asdict(it) | attrs.asdict(of) for it, of in medians.items()],
        told={"gap_ms": during.gap_ms, "gap_ms_without": without.gap_ms},
        words=[*_table(medians), "", *_conclusion(without, during)],
        met=True,
    )


def _table(medians: Mapping[Case, Figures]) -> Iterator[str]:
    yield "| state, meanwhile | writes/s | p50 ms | p99 ms | longest gap ms | snapshots | each, s | MB |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for case, it in medians.items():
        yield (
            f"| {case.as_words()} | {it.writes_per_s:,.0f} | {it.p50_ms:.1f} | {it.p99_ms:.1f} "
            f"| {it.gap_ms:.0f} | {it.snapshots:.0f} | {it.snapshot_s:.2f} | {it.snapshot_mb:.1f} |"
        )


def _conclusion(without: Figures, during: Figures) -> Iterator[str]:
    yield (
        f"snapshot: the longest gap is {during.gap_ms:.0f} ms while the leader takes snapshots, and "
        f"{without.gap_ms:.0f} ms without"
    )
    if without.elections or during.elections:
        yield f"snapshot: WRONG: {without.elections + during.elections:.0f} elections"
