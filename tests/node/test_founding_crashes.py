"""Members that die at any moment of the founding and come back: one group in the end, never two, never stuck.

Every write, sync and change of a name that a member does, from opening its directory to the first entries
of its log, is once where it dies: with all that it wrote (the process was killed), with nothing that was not
synced, or with any part of it (the power failed).
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from raftkit import MemoryNetwork, Node, open_node
from raftkit.driver_messages import FoundingRecord
from raftkit.errors import RaftInternalError
from raftkit.storage import FileStorage, open_storage
from raftkit.testing.simulated_disk import PowerCut, SimulatedDisk
from tests.node.machines import Journal
from tests.transports.parts import free_addresses

MEMBERS = {name: f"memory:{name}" for name in "abc"}
FOUNDED_SECONDS = 60.0
"Of virtual time, for a group to be founded with the last member up."


@attrs.define(eq=False)
class Home:
    """One member's disk, and what is started on it."""

    name: str
    network: MemoryNetwork
    disk: SimulatedDisk = attrs.field(factory=SimulatedDisk)
    node: Node[Journal] | None = None
    "While it runs."

    def open(self) -> FileStorage:
        return open_storage(
            "", self.name, disk=self.disk, preallocate_bytes=4096, reserve_bytes=4096
        )

    async def run(self, survive: Callable[[SimulatedDisk], SimulatedDisk], pause: float) -> None:
        """Run for ever; after a power cut go on, `pause` seconds later, with what `survive` leaves."""
        while True:
            try:
                async with open_node(
                    Journal,
                    id=self.name,
                    members=MEMBERS,
                    transport=self.network,
                    data_dir=self.open(),
                    paranoid=True,
                ) as self.node:
                    await trio.sleep_forever()
            except PowerCut:
                pass  # while it opened
            except RaftInternalError as error:
                if "PowerCut" not in str(error):
                    raise
            finally:
                self.node = None
            self.disk = survive(self.disk)
            await trio.sleep(pause)


async def found_in_spite(
    cuts: dict[str, int], survive: Callable[[SimulatedDisk], SimulatedDisk], pause: float
) -> bool:
    """Found a group of which these members die at these operations. Whether one of them was that late."""
    network = MemoryNetwork()
    homes = {name: Home(name, network) for name in MEMBERS}
    first = {name: home.disk for name, home in homes.items()}
    for name, cut in cuts.items():
        first[name].crash_at(cut)
    async with trio.open_nursery() as nursery:
        for home in homes.values():
            nursery.start_soon(home.run, survive, pause)
        await wait_founded(homes)
        late = any(homes[name].disk is first[name] for name in cuts)
        for disk in first.values():
            disk.crash_at(-1)
        await check_one_group(homes)
        nursery.cancel_scope.cancel()
    return late


async def wait_founded(homes: dict[str, Home]) -> None:
    """Wait until every member knows a leader."""
    with trio.fail_after(FOUNDED_SECONDS):
        while any(it.node is None or it.node.leader is None for it in homes.values()):  # noqa: ASYNC110
            await trio.sleep(0.05)


async def check_one_group(homes: dict[str, Home]) -> None:
    """All decide together, and remember the same founding."""
    for name, home in homes.items():
        assert home.node is not None
        await home.node.execute(Journal.write(line=name))
    records: list[FoundingRecord | None] = []
    for home in homes.values():
        assert home.node is not None
        assert await home.node.read(Journal.read()) == sorted(MEMBERS)
        records.append(home.node._server.storage.record.founding)
    assert records[0] is not None
    assert records[0] == records[1] == records[2]


def killed(disk: SimulatedDisk) -> SimulatedDisk:
    """The process died; the machine did not."""
    return disk.kill()


def power_failed(disk: SimulatedDisk) -> SimulatedDisk:
    """Nothing un-synced is left."""
    return disk.crash()


async def operations(name: str) -> int:
    """How many operations that member does until all know a leader."""
    network = MemoryNetwork()
    homes = {it: Home(it, network) for it in MEMBERS}
    async with trio.open_nursery() as nursery:
        for home in homes.values():
            nursery.start_soon(home.run, killed, 1.0)
        await wait_founded(homes)
        nursery.cancel_scope.cancel()
    return homes[name].disk.operations


def virtually(function: Callable[..., Any], *args: object) -> Any:
    """Run it by a clock that jumps."""
    return trio.run(function, *args, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.slow
@pytest.mark.parametrize("survive", [killed, power_failed])
@pytest.mark.parametrize("name", ["a", "c"])
def test_a_member_that_dies_at_any_moment_of_the_founding_is_in_the_one_group(
    name: str, survive: Callable[[SimulatedDisk], SimulatedDisk]
) -> None:
    """The founder, and one that is brought in. Elections are by chance, so the last moments may not come."""
    count = virtually(operations, name)
    late = [virtually(found_in_spite, {name: cut}, survive, 1.0) for cut in range(count)]

    assert count > 30
    assert not any(late[:-3])


@pytest.mark.parametrize("seed", range(60))
def test_members_that_die_together_are_in_the_one_group(seed: int) -> None:
    """Two or three die, each at some moment; what was not synced is there or not; they come back by turns."""
    rng = random.Random(seed)

    def some_of_it(disk: SimulatedDisk) -> SimulatedDisk:
        return disk.crash(rng)

    names = rng.sample("abc", rng.choice([2, 3]))
    cuts = {name: rng.randrange(33) for name in names}
    virtually(found_in_spite, cuts, some_of_it, rng.choice([0.0, 0.3, 2.0, 5.0]))


# ── processes ────────────────────────────────────────────────────────────────────────────────────────


@attrs.define(eq=False)
class Process:
    """One member as a process."""

    process: trio.Process
    rest: bytes = b""
    "What it said of a line that is not whole yet."

    async def hear(self) -> str:
        """The next line that it says."""
        assert self.process.stdout is not None
        while b"\n" not in self.rest:
            data = await self.process.stdout.receive_some()
            assert data, "it ended by itself"
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\n")
        return line.decode()


@asynccontextmanager
async def running(name: str, root: Path, members: dict[str, str]) -> AsyncGenerator[Process]:
    """The member, from when its peers can reach it until SIGKILL."""
    listed = (f"{it}={address}" for it, address in members.items())
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.node.member", name, str(root / name), *listed],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    made = Process(process)
    try:
        assert await made.hear() == "open"
        yield made
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            assert process.stdout is not None
            await process.stdout.aclose()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
async def test_processes_killed_while_they_found_are_in_one_group(
    tmp_path: Path, seed: int
) -> None:
    """From when the last one is there, a founding takes some 20 ms."""
    rng = random.Random(seed)
    members = dict(zip("abc", free_addresses(3), strict=True))
    clusters: set[str] = set()

    async def found(survives: bool) -> None:
        everyone = Crowd(size=len(members))
        async with trio.open_nursery() as nursery:
            for name in members:
                nursery.start_soon(live, name, everyone, survives)

    async def live(name: str, everyone: Crowd, survives: bool) -> None:
        async with running(name, tmp_path, members) as process:
            if survives:
                clusters.add(await process.hear())
            await everyone.join()
            if not survives:
                await trio.sleep(rng.random() * 0.03)

    with trio.fail_after(60):
        await found(survives=False)
        await found(survives=True)

    assert len(clusters) == 1


@attrs.define(eq=False, kw_only=True)
class Crowd:
    """Waits until so many have come."""

    size: int
    _all: trio.Event = attrs.field(init=False, factory=trio.Event)

    async def join(self) -> None:
        """Return when the last one has come."""
        self.size -= 1
        if not self.size:
            self._all.set()
        await self._all.wait()
