"""Planned transfers under full load: no write may fail, and how long does nobody get an answer?

    python -m tests.processes.transfers [--transfers 100] [--writers 24] [--nodes 3] [--data DIR] [--json]

Each node is a process. Writers execute one command after the other, spread over the nodes, while leadership
goes from node to node. A *gap* is the longest time without any finished write around a transfer, from 0.1 s
before it is asked for to 0.2 s after it is done. Exits with 1 if a write failed or was lost.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import attrs
import trio

from tests.processes.group import Group, Refused, Unanswered

__all__ = ["Figures", "Load", "measure", "p99"]

CALL_SECONDS = 20.0
"No write may take so long."
PAUSE_SECONDS = 0.3
"Between two transfers."
BEFORE_SECONDS, AFTER_SECONDS = 0.1, 0.2
"Around a transfer, where its gap is looked for."


@attrs.frozen(kw_only=True)
class Figures:
    """What was measured. Times are in milliseconds."""

    transfers: int
    "That succeeded, each to the node that was named."
    refused: int
    "Others, after which the leader led on, or somebody else did: on a busy machine a node may seem dead."
    writes: int
    "That were acknowledged."
    writes_per_second: float
    "Over all, transfers included."
    failed: tuple[str, ...]
    "What was said of writes that failed, or turned out to be lost or twice."
    gap_median: float
    "Of the longest time without a finished write around each transfer."
    gap_p99: float
    "The same; the longest, where there are fewer than a hundred."
    usual_gap_p99: float
    "Between any two finished writes of the whole run."


@attrs.define(eq=False)
class Load:
    """Writers and what they were told."""

    group: Group
    finished: list[float] = attrs.field(factory=list[float])
    "When each write was acknowledged."
    failed: list[str] = attrs.field(factory=list[str])
    over: bool = False

    async def write(self, key: str, name: str) -> None:
        """One value after the other into a list of its own, at one node; then see what is in it."""
        member, written = await self.group.open_member(name), 0
        while not self.over:
            try:
                await member.ask("write", key, written, CALL_SECONDS, patience=2 * CALL_SECONDS)
            except (Refused, Unanswered) as error:
                self.failed.append(f"{key} {written}: {error}")
                return
            self.finished.append(time.monotonic())
            written += 1
        (found,) = await member.ask("read", key, CALL_SECONDS, patience=2 * CALL_SECONDS)
        if list(found) != list(range(written)):
            self.failed.append(f"{key}: wrote {written}, found {found!r:.200}")


async def measure(directory: Path, *, transfers: int, writers: int, nodes: int) -> Figures:
    """Hand leadership over so many times under load, to each node in turn."""
    names = tuple("abcdefg"[:nodes])
    group = Group(directory=directory, names=names, program=("tests.processes.movable",))
    load, moved, refused = Load(group), list[tuple[float, float]](), 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(group.run)
        await group.wait_for(lambda: group.leader)
        async with trio.open_nursery() as writing:
            for number in range(writers):
                writing.start_soon(load.write, f"list {number}", names[number % nodes])
            await trio.sleep(1.0)
            began = time.monotonic()
            while len(moved) < transfers and refused <= transfers:
                if not await _hand_over(group, moved):
                    refused += 1
                await trio.sleep(PAUSE_SECONDS)
            ended = time.monotonic()
            load.over = True
        nursery.cancel_scope.cancel()
    return _figures(load, moved, refused, began, ended)


async def _hand_over(group: Group, moved: list[tuple[float, float]]) -> bool:
    """Have the next node lead, and note when that was. Whether it succeeded."""
    leader = await group.wait_for(lambda: group.leader)
    target = group.names[(group.names.index(leader) + 1) % len(group.names)]
    member = await group.open_member(leader)
    asked = time.monotonic()
    try:
        (found,) = await member.ask("hand over", target, CALL_SECONDS, patience=2 * CALL_SECONDS)
    except Refused:
        return False
    assert found == target
    moved.append((asked, time.monotonic()))
    return True


def _figures(
    load: Load, moved: Sequence[tuple[float, float]], refused: int, began: float, ended: float
) -> Figures:
    pauses = [(one, other) for one, other in pairwise(load.finished) if one >= began]
    gaps = [
        max(
            other - one
            for one, other in pauses
            if other >= asked - BEFORE_SECONDS and one <= done + AFTER_SECONDS
        )
        for asked, done in moved
    ]
    return Figures(
        transfers=len(moved),
        refused=refused,
        writes=len(load.finished),
        writes_per_second=round(len(pauses) / (ended - began), 1),
        failed=tuple(load.failed),
        gap_median=round(statistics.median(gaps) * 1000, 1),
        gap_p99=p99(gaps),
        usual_gap_p99=p99([other - one for one, other in pauses]),
    )


def p99(seconds: Sequence[float]) -> float:
    """In milliseconds, the time that a hundredth of these exceed; the longest of fewer than a hundred."""
    return round(sorted(seconds)[-1 - len(seconds) // 100] * 1000, 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.processes.transfers", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--transfers", type=int, default=100, help="in a row (100)")
    parser.add_argument("--writers", type=int, default=24, help="each with one write open (24)")
    parser.add_argument("--nodes", type=int, default=3, choices=range(2, 8), help="processes (3)")
    parser.add_argument("--data", type=Path, help="an empty directory (a temporary one)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="raftkit-transfers-") as made:

        async def run() -> Figures:
            return await measure(
                options.data or Path(made),
                transfers=options.transfers,
                writers=options.writers,
                nodes=options.nodes,
            )

        figures = attrs.asdict(trio.run(run))
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:20} {value}")
    return 1 if figures["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
