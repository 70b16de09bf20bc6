"""A node comes and goes under full load: no write may fail, nobody be elected, and how long is it silent?

    python -m tests.processes.churn [--seconds 60] [--writers 24] [--writes-before 12000] [--json]

Each node is a process. Three founders serve writers, one command after the other; a fourth node is admitted,
gets a snapshot, becomes a voter, is removed and killed, loses its directory, and begins anew. The founders
are asked for these changes in turn, whoever leads. A *gap* is a time without any finished write; beside the
longest stands what the machine did meanwhile. Exits with 1 if a write failed or was lost, or anybody was
elected.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import cycle, pairwise
from pathlib import Path

import attrs
import trio

from tests.processes.changeable import FOUNDERS
from tests.processes.group import Group, Refused
from tests.processes.surroundings import Surroundings
from tests.processes.transfers import CALL_SECONDS, Load, p99

__all__ = ["Figures", "measure"]

NEWCOMER = "d"
LOOK_SECONDS = 0.05
"Between two looks at how far the newcomer is."
GAPS_TOLD = 5


@attrs.frozen(kw_only=True)
class Gap:
    """A time without any finished write."""

    at_seconds: float
    "Since the first change."
    ms: float
    sync_ms: float
    "The longest sync of another file on that disk meanwhile."
    lag_ms: float
    "How late this process was woken meanwhile."


@attrs.frozen(kw_only=True)
class Figures:
    """What was measured. Times are in milliseconds."""

    admitted: int
    "How often the node came, caught up, became a voter, and was removed."
    by_snapshot: int
    "How often it got a snapshot on the way."
    refused: tuple[str, ...]
    "What was said of changes that were not made."
    elections: int
    "Terms that began after the first change."
    writes: int
    "That were acknowledged."
    writes_per_second: float
    "Over all."
    failed: tuple[str, ...]
    "What was said of writes that failed, or turned out to be lost or twice."
    to_vote_median: float
    "From the order to admit until the newcomer knew that it votes."
    gap_max: float
    "The longest time without a finished write."
    gap_p99: float
    "Of the times between two finished writes."
    longest: tuple[Gap, ...]
    "The longest gaps, and what the machine did meanwhile."


@attrs.define(eq=False)
class _Churn:
    """The newcomer's lives so far."""

    group: Group
    lives: list[float] = attrs.field(factory=list[float])
    "Seconds that each took to become a voter."
    by_snapshot: int = 0
    refused: list[str] = attrs.field(factory=list[str])
    _founders: Iterator[str] = attrs.field(init=False, factory=lambda: cycle(FOUNDERS))
    "Who is asked, in turn."

    async def run(self, until: float) -> None:
        """Come and go, at least once."""
        while not self.lives or trio.current_time() < until:
            try:
                await self._come_and_go()
            except Refused as error:
                self.refused.append(str(error))
            await self._begin_anew()

    async def _come_and_go(self) -> None:
        began = time.monotonic()
        await self._ask_next("admit", NEWCOMER, self.group.addresses[NEWCOMER], CALL_SECONDS)
        installed = await self._wait_newcomer("follower", "voter")
        self.lives.append(time.monotonic() - began)
        self.by_snapshot += installed > 0
        await self._ask_next("remove", NEWCOMER, CALL_SECONDS)
        await self._wait_newcomer("removed", "")

    async def _begin_anew(self) -> None:
        """Kill the process, delete its directory, and wait until another waits to be admitted."""
        await self.group.open_member(NEWCOMER)
        self.group.kill(NEWCOMER, down=0.5)
        await trio.sleep(0.2)
        assert NEWCOMER not in self.group.members
        shutil.rmtree(self.group.directory / NEWCOMER)
        await self.group.open_member(NEWCOMER)

    async def _wait_newcomer(self, *wanted: str) -> int:
        """Wait for this status and role; how many snapshots it took over so far."""
        with trio.fail_after(CALL_SECONDS):
            while True:
                newcomer = await self.group.open_member(NEWCOMER)
                *found, installed = await newcomer.ask("progress", patience=CALL_SECONDS)
                if tuple(found) == wanted:
                    return int(installed)
                await trio.sleep(LOOK_SECONDS)

    async def _ask_next(self, verb: str, *arguments: object) -> None:
        member = await self.group.open_member(next(self._founders))
        while True:
            try:
                await member.ask(verb, *arguments, patience=2 * CALL_SECONDS)
            except Refused as error:
                if "is under way" not in str(error):  # the newcomer's promotion, say
                    raise
                await trio.sleep(LOOK_SECONDS)
            else:
                return


async def measure(directory: Path, *, seconds: float, writers: int, writes_before: int) -> Figures:
    """After so many writes, let the fourth node come and go for so long, under load."""
    names = (*FOUNDERS, NEWCOMER)
    group = Group(directory=directory, names=names, program=("tests.processes.changeable",))
    load, churn, surroundings = Load(group), _Churn(group), Surroundings(directory)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(group.run)
        nursery.start_soon(surroundings.watch)
        await group.wait_for(lambda: group.leader)
        async with trio.open_nursery() as writing:
            for number in range(writers):
                name = FOUNDERS[number % len(FOUNDERS)]
                writing.start_soon(load.write, f"list {number}", name)
            await _wait_writes(load, writes_before)
            began, first = time.monotonic(), max(group.leaders)
            await churn.run(trio.current_time() + seconds)
            ended, elections = time.monotonic(), max(group.leaders) - first
            load.over = True
        nursery.cancel_scope.cancel()
    gaps = [(b - a, a, b) for a, b in pairwise(load.finished) if a >= began and b <= ended]
    pauses = [seconds for seconds, _, _ in gaps]
    return Figures(
        admitted=len(churn.lives),
        by_snapshot=churn.by_snapshot,
        refused=tuple(churn.refused),
        elections=elections,
        writes=len(load.finished),
        writes_per_second=round(len(pauses) / (ended - began), 1),
        failed=tuple(load.failed),
        to_vote_median=round(sorted(churn.lives)[len(churn.lives) // 2] * 1000, 1),
        gap_max=round(max(pauses) * 1000, 1),
        gap_p99=p99(pauses),
        longest=tuple(
            Gap(
                at_seconds=round(a - began, 1),
                ms=round(seconds * 1000, 1),
                sync_ms=round(surroundings.longest_sync(a, b) * 1000, 1),
                lag_ms=round(surroundings.longest_lag(a, b) * 1000, 1),
            )
            for seconds, a, b in sorted(gaps, reverse=True)[:GAPS_TOLD]
        ),
    )


async def _wait_writes(load: Load, count: int) -> None:
    while len(load.finished) < count and not load.failed:  # noqa: ASYNC110 - it is looked at, not told
        await trio.sleep(LOOK_SECONDS)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.processes.churn", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=float, default=60.0, help="for so long (60)")
    parser.add_argument("--writers", type=int, default=24, help="each with one write open (24)")
    parser.add_argument(
        "--writes-before",
        type=int,
        default=12_000,
        help="so many, that whoever comes needs a snapshot (12000)",
    )
    parser.add_argument("--data", type=Path, help="an empty directory (a temporary one)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="raftkit-churn-") as made:

        async def run() -> Figures:
            directory = options.data or Path(made)
            return await measure(
                directory,
                seconds=options.seconds,
                writers=options.writers,
                writes_before=options.writes_before,
            )

        figures = attrs.asdict(trio.run(run))
    if options.json:
        print(json.dumps(figures))
    else:
        longest = figures.pop("longest")
        for name, value in figures.items():
            print(f"{name:20} {value}")
        for gap in longest:
            print("gap", ", ".join(f"{name} {value}" for name, value in gap.items()))
    return 1 if figures["failed"] or figures["elections"] else 0


if __name__ == "__main__":
    sys.exit(main())
