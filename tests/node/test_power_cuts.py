"""Power cuts at any operation of the disk, of any minority at once: what was acknowledged is there after all.

The nodes write the files that they always write, on disks that keep only what was synced: of the rest any
sector, any part of a torn one, any size and any change of a name may be there or not.
"""

from __future__ import annotations

import contextlib
import random

import attrs
import pytest
import trio
import trio.testing

from raftkit import DidNotHappen, MemoryNetwork, Node, OutcomeUnknown, RaftInternalError, open_node
from raftkit.storage import Storage, open_storage
from raftkit.testing.simulated_disk import SimulatedDisk
from tests.node.machines import Journal

MEMBERS = {name: f"memory:{name}" for name in "abcde"}
ROUNDS = 8
"Each with two cuts. Half of them tear a write, so that none does in one run of a thousand at most."


@attrs.define(eq=False)
class Machine:
    """One node's computer: its disk outlives its power."""

    name: str
    network: MemoryNetwork
    rng: random.Random
    disk: SimulatedDisk = attrs.field(factory=SimulatedDisk)
    node: Node[Journal] | None = None
    "None while it is without power."
    cuts: int = 0
    healed: int = 0
    "Starts that had to put something right."

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start from what is on the disk, and serve until the power is cut."""
        storage = open_storage(
            "",
            self.name,
            disk=self.disk,
            segment_bytes=8192,
            preallocate_bytes=2048,
            reserve_bytes=0,
        )
        self.healed += bool(storage.healed)
        with pytest.raises(RaftInternalError, match="PowerCut"):
            await self.serve(storage, task_status)
        self.node = None
        self.cuts += 1
        torn = self.disk.torn_points  # none, where the last operation was no write
        self.disk = self.disk.crash(self.rng, torn=self.rng.choice(torn) if torn else None)

    async def serve(self, storage: Storage, task_status: trio.TaskStatus[None]) -> None:
        async with open_node(
            Journal,
            id=self.name,
            members=MEMBERS,
            transport=self.network,
            data_dir=storage,
            snapshot_entries=20,
        ) as self.node:
            task_status.started()
            await trio.sleep_forever()

    def cut_soon(self) -> None:
        """Cut the power at one of the next operations of its disk."""
        self.disk.crash_at(self.disk.operations + self.rng.randrange(6))


@attrs.define
class Writer:
    """Writes numbered lines at whatever node has power, and keeps what was acknowledged."""

    rng: random.Random
    machines: list[Machine]
    acknowledged: list[str] = attrs.field(factory=list[str])
    lines: int = 0
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def run(self) -> None:
        with self.scope:
            while True:
                await self.write_one()
                await trio.sleep(0.01)

    async def write_one(self) -> None:
        node = self.rng.choice([it.node for it in self.machines if it.node is not None])
        self.lines += 1
        line = f"line {self.lines}"
        with contextlib.suppress(DidNotHappen, OutcomeUnknown):
            await node.execute(Journal.write(line=line), timeout=1.0)
            self.acknowledged.append(line)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.accept("C-04")
async def test_nothing_acknowledged_is_lost_when_any_minority_loses_power(
    autojump_clock: trio.testing.MockClock, seed: int
) -> None:
    rng, network = random.Random(seed), MemoryNetwork()
    machines = [Machine(name, network, rng) for name in MEMBERS]
    writer = Writer(rng, machines)
    async with trio.open_nursery() as nursery:
        for machine in machines:
            await nursery.start(machine.run)
        nursery.start_soon(writer.run)
        for _ in range(ROUNDS):
            await trio.sleep(0.5)
            victims = rng.sample(machines, 2)
            for machine in victims:
                machine.cut_soon()
            await wait_without_power(victims)
            await trio.sleep(rng.random())
            for machine in victims:
                await nursery.start(machine.run)
        writer.scope.cancel()
        for machine in machines:
            assert machine.node is not None
            lines = await machine.node.read(Journal.read())
            assert len(lines) == len(set(lines))
            assert [it for it in writer.acknowledged if it not in lines] == []
        nursery.cancel_scope.cancel()

    assert len(writer.acknowledged) > 50
    assert sum(it.cuts for it in machines) == 2 * ROUNDS
    assert sum(it.healed for it in machines) > 0  # something was torn or lost


async def wait_without_power(machines: list[Machine]) -> None:
    with trio.fail_after(30):
        while any(it.node is not None for it in machines):  # noqa: ASYNC110
            await trio.sleep(0.01)
