"""From the start of a node's process to its first vote, with a large log.

Three logs, all of entries of 1 KiB: none; what compaction leaves of a large one; and the large one whole,
as a crash leaves it that comes between a snapshot and the compaction behind it. A snapshot covers all but the
last 64 MB. The first row is what the interpreter, the imports and the first connection take.

Laws: each start is a process of its own, on a directory made and synced before all rounds, ended by SIGKILL.
Time ends with the vote, which is on the disk by then. Bytes are what the process asked the kernel for until
then, modules of Python included, and what of that came from the disk.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import attrs
import trio

from benchmarks.growth.candidate import Vote, open_candidate
from benchmarks.growth.directories import Past, make_group
from benchmarks.growth.part import Part
from benchmarks.growth.processes import NODE, ROOT, arguments_of
from benchmarks.growth.turns import Say, by_turns, median_of
from raftkit.cli.bench.group import BenchFailed
from raftkit.cli.bench.idle import memory_mb
from raftkit.cli.bench.machine import Register
from raftkit.cli.child import Child, free_addresses, open_child
from raftkit.cli.starting import names_of
from raftkit.driver_messages import FoundingRecord

__all__ = ["Case", "Figures", "Prepared", "drop_page_cache", "prepare", "restart", "start"]

SECONDS_MAX = 2.0
"The goal, with the whole log."
AHEAD_MB = 64
"Of the log, behind the snapshot; less of a smaller log: a half."
TAIL_ENTRIES = 10_000
"That compaction leaves in the log before a snapshot."
ENTRY_BYTES = 1024
_MB = 1024 * 1024
"Here a megabyte is this many bytes, since records are of 1024."
_PATIENCE_SECONDS = 120.0
_SWITCH = Path("/proc/sys/vm/drop_caches")
VOTER, ASKER = names_of(2)


@attrs.frozen(kw_only=True)
class Case:
    """A log."""

    name: str
    "no, compacted or whole."
    log_mb: int
    "Of entries, compacted ones included."

    def as_words(self) -> str:
        """For people."""
        return f"{self.name} log" if self.log_mb == 0 else f"{self.name} log of {self.log_mb:,} MB"

    @property
    def past(self) -> Past:
        """What was done until then."""
        if not self.log_mb:
            return Past(machine=Register)
        last = self.log_mb * _MB // ENTRY_BYTES
        snapshot = last - min(AHEAD_MB * _MB // ENTRY_BYTES, last // 2)
        base = max(snapshot - TAIL_ENTRIES, snapshot // 2) if self.name == "compacted" else 0
        return Past(
            machine=partial(Register, count=snapshot),
            base=base,
            snapshot=snapshot,
            last=last,
            payload_bytes=ENTRY_BYTES,
        )


@attrs.frozen(kw_only=True)
class Figures:
    """Of one start, or medians of all."""

    seconds: float
    "From before the process is started to the vote."
    read_mb: float
    "Asked of the kernel."
    disk_mb: float
    "Of these, read from the disk."
    memory_mb: float
    "Resident then."

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s, {self.read_mb:,.0f} MB read"


@attrs.define(eq=False, kw_only=True)
class Prepared:
    """A node that can be started."""

    directory: Path
    "Of its group; its own is in there, under its name."
    addresses: Mapping[str, str]
    "Of the group's members, none of which runs."
    record: FoundingRecord
    "How the group was founded."
    last: int
    "The node's last entry."
    term: int = 1
    "In which it has voted last."


def cases(log_mb: int) -> tuple[Case, ...]:
    """All, in the order of a round."""
    named = (Case(name=it, log_mb=log_mb) for it in ("compacted", "whole"))
    return (Case(name="no", log_mb=0), *named)


def prepare(case: Case, directory: Path) -> Prepared:
    """Make the directory, which is missing, and in it what is there before the start."""
    directory.mkdir()
    addresses, past = free_addresses(names_of(3)), case.past
    record = make_group(directory, addresses, past, filled=(VOTER,))
    return Prepared(directory=directory, addresses=addresses, record=record, last=past.last)


async def start(node: Prepared, *, behind: int = 0) -> tuple[Vote, Figures]:
    """Start the node, and ask it for its vote, as a member whose log is so many entries shorter.

    Raises ChildFailed or ChildKilled, in a group, if it ends; trio.TooSlowError if it does not answer.
    """
    node.term += 1
    arguments = arguments_of("bytes", node.addresses)
    async with open_candidate(ASKER, node.record, node.addresses) as asker:
        began = time.perf_counter()
        opened = open_child(VOTER, NODE, node.directory / VOTER, arguments, cwd=ROOT)
        async with opened as child, trio.open_nursery() as nursery:
            nursery.start_soon(_hear, child)
            with trio.fail_after(_PATIENCE_SECONDS):
                vote = await asker.ask(VOTER, node.term, node.last - behind)
            figures = _figures(vote.at - began, child.process.pid)
            nursery.cancel_scope.cancel()
    return vote, figures


async def _hear(child: Child) -> None:
    """Raise what ends it."""
    while True:
        await child.hear()


def _figures(seconds: float, pid: int) -> Figures:
    rows = Path(f"/proc/{pid}/io").read_text().splitlines()
    counts = {name: int(count) for name, count in (it.split(": ") for it in rows)}
    return Figures(
        seconds=seconds,
        read_mb=counts["rchar"] / _MB,
        disk_mb=counts["read_bytes"] / _MB,
        memory_mb=memory_mb(pid) * 1e6 / _MB,
    )


def may_drop_page_cache(switch: Path = _SWITCH) -> bool:
    """Whether this process may: only root, and not in every container."""
    return os.access(switch, os.W_OK)


def drop_page_cache(switch: Path = _SWITCH) -> None:
    """Have the kernel forget what it holds of files, for all programs: it is read from the disk then."""
    switch.write_text("1\n")


def restart(log_mb: int, *, rounds: int, cold: bool, data: Path | None, say: Say) -> Part:
    """Measure all cases; `cold`: with an empty page cache before each start. Raises as `start`."""
    chosen = cases(log_mb)
    with tempfile.TemporaryDirectory(prefix="raftkit-growth-", dir=data) as directory:
        nodes = dict[Case, Prepared]()
        for case in chosen:
            say(f"restart: making a directory with {case.as_words()}")
            nodes[case] = prepare(case, Path(directory) / case.name)

        async def one(case: Case) -> Figures:
            if cold:
                drop_page_cache()
            vote, figures = await start(nodes[case])
            if not vote.granted:
                raise BenchFailed(
                    f"a vote was refused: the {case.as_words()} is not as it was made"
                )
            return figures

        return told_of(by_turns(chosen, one, rounds=rounds, say=say), cold=cold)


def told_of(found: Mapping[Case, Sequence[Figures]], *, cold: bool) -> Part:
    """What is concluded from all rounds."""
    medians = {case: median_of(rounds) for case, rounds in found.items()}
    whole = next(it for case, it in medians.items() if case.name == "whole")
    return Part(
        rows=[attrs.asdict(it) | attrs.asdict(of) for it, of in medians.items()],
        told={"seconds": whole.seconds, "goal": SECONDS_MAX, "page_cache_dropped": cold},
        words=[*_table(medians), "", *_conclusion(whole.seconds, cold=cold)],
        met=whole.seconds <= SECONDS_MAX,
    )


def _table(medians: Mapping[Case, Figures]) -> Iterator[str]:
    yield "| log | start to vote, s | MB read | from the disk | memory, MB |"
    yield "|---|--:|--:|--:|--:|"
    for case, it in medians.items():
        yield (
            f"| {case.as_words()} | {it.seconds:.2f} | {it.read_mb:,.0f} | {it.disk_mb:,.0f} "
            f"| {it.memory_mb:,.0f} |"
        )


def _conclusion(seconds: float, *, cold: bool) -> Iterator[str]:
    yield f"restart: a node with the whole log votes after {seconds:.2f} s (goal ≤ {SECONDS_MAX:g} s)"
    if cold:
        yield "the page cache was dropped before each start"
    else:
        yield "the page cache was left alone, but raftkit has the kernel drop what it opens of the log"
