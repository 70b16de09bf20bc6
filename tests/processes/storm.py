"""A storm: processes under load are killed and stopped at random; then what clients were told is checked.

    python -m tests.processes.storm [--seconds 60] [--seed N] [--nodes 3] [--clients 16] [--data DIR] [--json]

Prints what happened, how long the group was silent, and every violation; with --json one object as the last
line. The first violation ends the storm, with exit status 1; then the data directories are kept. An hour
takes as much memory as a minute; run it on a copy of the tree, for every process that starts imports it anew.

What it can't see: kill -9 leaves the kernel's page cache alone, so a missing fsync goes unnoticed here (the
simulated disk of `raftkit.testing` sees that one). And SIGSTOP holds up a process, not its clock.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs
import trio

from tests.processes.clients import Client, Load
from tests.processes.group import Group, Refused, StormFailed, Unanswered
from tests.processes.nemesis import BLOWS, Blow, Nemesis
from tests.processes.report import Report

__all__ = ["Storm", "main"]

CALM_SECONDS = 90.0
"Within this after the last blow everything must be up, answered and equal again."


@attrs.define(eq=False, kw_only=True)
class Storm:
    """A group, its clients, and what befalls it."""

    directory: Path
    "Of all data. Empty, or of an earlier storm of as many nodes."
    seed: int = 0
    nodes: int = 3
    clients: int = 16
    blows: Mapping[Blow, int] = attrs.field(factory=lambda: BLOWS)
    program: tuple[str, ...] = ("tests.processes.member",)
    "See `Group`."
    tell: Callable[[Storm], Awaitable[None]] | None = None
    "A task that shows how it goes."
    group: Group = attrs.field(init=False)
    load: Load = attrs.field(init=False)
    nemesis: Nemesis = attrs.field(init=False)
    _violations: list[str] = attrs.field(init=False, factory=list[str])
    _began: float = attrs.field(init=False, factory=time.monotonic)
    _applied: int = attrs.field(init=False, default=0)
    _rss_mb: dict[str, float] = attrs.field(init=False, factory=dict[str, float])

    def __attrs_post_init__(self) -> None:
        names = tuple("abcdefg"[: self.nodes])
        self.group = Group(directory=self.directory, names=names, program=self.program)
        self.load = Load(self.group, self.seed)
        self.nemesis = Nemesis(self.group, random.Random(f"{self.seed} nemesis"), self.blows)

    async def run(
        self, strike: Callable[[], Awaitable[None]] | None = None, *, seconds: float = 0.0
    ) -> Report:
        """Strike, or let the nemesis do so for `seconds`; then calm down, check and report everything."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.group.run)
                with trio.fail_after(CALM_SECONDS):
                    await self.group.wait_for(lambda: self.group.leader)
                self._began = time.monotonic()
                if self.tell is not None:
                    nursery.start_soon(self.tell, self)
                await self._rage(strike or (lambda: self.nemesis.run(seconds)))
                with trio.fail_after(CALM_SECONDS):
                    await self._give_up_keys()
                    await self._compare()
                self._rss_mb = _rss_mb(self.group)
                nursery.cancel_scope.cancel()
        except* StormFailed as failed:
            self._violations += _words(failed)
        except* trio.TooSlowError:
            self._violations.append(f"no calm within {CALM_SECONDS:g} s after the storm")
        return self._report()

    async def _rage(self, strike: Callable[[], Awaitable[None]]) -> None:
        """Strike under load, and let clients find out what became of their calls."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.load.run, self.clients)
            await strike()
            self.load.over = True
            nursery.cancel_scope.deadline = trio.current_time() + CALM_SECONDS
        if nursery.cancel_scope.cancelled_caught:
            raise trio.TooSlowError

    async def _give_up_keys(self) -> None:
        """Read all lists a last time, and check what was told of them."""
        last = Client("last", random.Random(self.seed), self.load)
        for key in self.load.keys.active:
            key.retire()
            await last.retire(key)
            self.load.keys.check(key)

    async def _compare(self) -> None:
        """Compare the states of all nodes with each other, and with what clients know."""
        while True:
            states = [await self._state(name) for name in self.group.names]
            if len({count for count, _, _ in states}) == 1:
                break  # else something that was left unknown has just happened
        if any(it != states[0] for it in states):
            words = ", ".join(str(it[:2]) for it in states)
            self._violations.append(f"states differ after the same number of commands: {words}")
        self._applied, _, lists = states[0]
        for key, values in lists.items():
            surplus = Counter(values) - Counter(self.load.keys.open_ended.get(key, ()))
            if surplus:
                found = sorted(surplus.elements())
                self._violations.append(f"{key} was given up, and has {found} at the end")

    async def _state(self, name: str) -> tuple[int, int, dict[str, list[int]]]:
        """All that a node holds, read linearizably."""
        while True:
            member = await self.group.open_member(name)
            try:
                count, chain, lists = await member.ask("state", 5.0, patience=10)
            except (Refused, Unanswered):
                await trio.sleep(0.05)
                continue
            return count, chain, lists

    def _report(self) -> Report:
        files = [it.stat() for it in self.directory.rglob("*")]
        return Report(
            seed=self.seed,
            nodes=self.nodes,
            clients=self.clients,
            seconds=time.monotonic() - self._began,
            operations=self.load.keys.checked,
            calls=dict(sorted(self.load.counts.items())),
            blows=dict(sorted(self.nemesis.counts.items())),
            starts=self.group.starts,
            leaders=len(self.group.leaders),
            term=max(self.group.leaders, default=0),
            applied=self._applied,
            gaps=self.nemesis.gaps,
            rss_mb=self._rss_mb,
            data_mb=sum(it.st_blocks * 512 for it in files) / 1e6,
            violations=[*self._violations, *map(str, self.load.keys.violations)],
        )


def _words(failed: BaseExceptionGroup[StormFailed]) -> Iterator[str]:
    """The messages in a group of exceptions."""
    for it in failed.exceptions:
        if isinstance(it, BaseExceptionGroup):
            yield from _words(it)
        else:
            yield str(it)


def _rss_mb(group: Group) -> dict[str, float]:
    """The most that each process has had in memory."""
    processes = {"storm": "self"}
    processes |= {name: str(it.child.process.pid) for name, it in sorted(group.members.items())}
    found: dict[str, float] = {}
    for name, process in processes.items():
        status = Path(f"/proc/{process}/status").read_text()
        found[name] = int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1000
    return found


# ── the command line ─────────────────────────────────────────────────────────────────────────────────


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one storm; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.processes.storm", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--seconds", type=float, default=60, help="how long (60)")
    parser.add_argument("--seed", type=int, help="of all that is random here (a new one)")
    parser.add_argument("--nodes", type=int, default=3, choices=range(1, 8), help="processes (3)")
    parser.add_argument("--clients", type=int, default=16, help="with one call under way each (16)")
    parser.add_argument("--data", type=Path, help="directory to use and keep (a temporary one)")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object as the last line"
    )
    options = parser.parse_args(arguments)
    seed = random.randrange(1_000_000) if options.seed is None else options.seed
    directory = options.data or Path(tempfile.mkdtemp(prefix="storm-"))
    directory.mkdir(parents=True, exist_ok=True)
    print(f"storm of seed {seed} in {directory}", file=sys.stderr)
    storm = Storm(
        directory=directory,
        seed=seed,
        nodes=options.nodes,
        clients=options.clients,
        tell=_tell,
    )
    report = trio.run(lambda: storm.run(seconds=options.seconds))
    print("\n" * sys.stderr.isatty(), *report.lines(), sep="\n")
    if options.json:
        print(json.dumps(report.plain()))
    if report.violations:
        print(f"the directories are kept: {directory}", file=sys.stderr)
    elif options.data is None:
        shutil.rmtree(directory)
    return 1 if report.violations else 0


async def _tell(storm: Storm) -> None:
    """Show how it goes: on a terminal one line that changes, in a log a line every ten seconds."""
    live = sys.stderr.isatty()
    every = 1 if live else 10
    group, counts = storm.group, storm.load.counts
    began, before = time.monotonic(), 0
    while True:
        await trio.sleep(every)
        total = counts["appends acknowledged"] + counts["reads answered"]
        nodes = "  ".join(
            f"{name} {group.members[name].status if name in group.members else 'down'}"
            for name in group.names
        )
        line = (
            f"{time.monotonic() - began:5.0f} s  {total:8} operations  {(total - before) / every:5.0f}/s"
            f"  {group.starts:4} starts  term {max(group.leaders):4}"
            f"  {len(storm.load.keys.violations)} violations  {nodes}"
        )
        print(f"\r{line:<120}" if live else line, end="" if live else "\n", file=sys.stderr)
        sys.stderr.flush()
        before = total


if __name__ == "__main__":
    sys.exit(main())
