"""A whole group as its users run it, in one thread and in virtual time, from one seed.

    report = FullWorld(7).run()

Nothing is left out but what can't be repeated: real drivers and nodes, the real log over `SimulatedDisk`, a
real machine, on trio's scheduler under a `MockClock`, over a `MemoryNetwork`. First a storm, in which faults
of network, disks, clocks and machines meet while clients work. Then calm among a random majority, while the
others stay broken for good: it must elect, answer everyone, go on, and agree. At last every answer that
any client got is held against what was promised. `world.py` is the same for cores alone, much faster, and
sees inside; this one sees what users see.

Laws: one seed is one world, on any machine and under any hash seed. A failure raises
`InvariantViolated` with its seed, and its line of the story.
"""

from __future__ import annotations

import gc
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
import trio
from trio.testing import MockClock

from raftkit.driver.guarding import meaningful
from raftkit.model import Index, NodeId
from raftkit.node import Node
from raftkit.testing.append_lists import Outcome
from raftkit.testing.full_clients import Client
from raftkit.testing.full_nemesis import FullNemesis
from raftkit.testing.full_network import FullNetwork
from raftkit.testing.full_server import FullServer
from raftkit.testing.full_stage import Story, repeatable
from raftkit.testing.full_swarm import FullSwarm
from raftkit.testing.full_witness import Witness
from raftkit.testing.full_workloads import AppendLists, Asked, How, Workload
from raftkit.testing.world_shadows import InvariantViolated, fail
from raftkit.transports import Faults

__all__ = ["FullReport", "FullWorld", "InvariantViolated"]

NAMES = "abcdefg"
CLIENTS = 5
FOUNDING_SECONDS = 20.0
"A group in which nothing goes wrong is born and has a leader after this long."
LEADER_SECONDS = 20.0
"A connected majority has a leader after this long (L1)."
SETTLE_SECONDS = 60.0
"Everyone is answered, and all of the majority agree, after this long (L2, L4)."


@attrs.frozen(kw_only=True)
class FullReport:
    """What happened in a world in which nothing went wrong."""

    seed: int
    "Which world."
    nodes: int
    "Servers."
    trace_hash: str
    "Of the whole story: equal for equal worlds."
    ticks: int
    "Virtual time, in ticks of 10 ms."
    deliveries: int
    "Frames given to the network."
    steps: int
    "Lines of the story."
    lives: int
    "Of all servers."
    elections: int
    "Terms that had a leader."
    writes: int
    "Commands asked."
    acknowledged: int
    "Of these, such as were known to have happened."
    denied: int
    "Of these, such as were known not to have."
    reads: int
    "Linearizable reads answered."
    snapshots: int
    "Taken by nodes of their own machines."
    snapshots_compared: int
    "Of these, such as another had taken at the same index."
    installed: int
    "Snapshots that travelled."
    diverged: int
    "How often a node found its own state wrong, or another's."
    healed: int
    "Wrong states that were replaced."
    refused: int
    "Directories refused as corrupt."
    faults: dict[str, int]
    "How often each fault happened."


class FullWorld:
    """One seed's group, its clients, and everything that happens to them."""

    def __init__(
        self,
        seed: int,
        *,
        workload: Workload | None = None,
        nodes: int = 3,
        seconds: float = 10.0,
        slips: bool = False,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        """`nodes` from 1 to 7; a storm of so many virtual `seconds`; `trace` is told all that happens.

        `workload` says what the machine is, what clients ask of it, and what must hold of the answers.
        `slips` says that its state may become wrong on a node, now and then: then snapshots are cut often, no
        directory is harmed, all servers see the calm, and there such a state must be found and mended.
        """
        self.seed = seed
        self.rng = random.Random(f"raftkit full world {seed}")
        self.swarm = FullSwarm.draw(self.rng)
        if slips:
            self.swarm = self.swarm.with_digests()
        self.story = Story(trace)
        self.witness = Witness(self.story, slips)
        self.workload = AppendLists() if workload is None else workload
        self.network = FullNetwork(seed=self.rng.getrandbits(64), story=self.story)
        self.history: list[Asked] = []
        self.seconds = seconds
        members: dict[NodeId, str] = {name: f"memory:{name}" for name in NAMES[:nodes]}
        self.servers = [
            FullServer(
                id=name,
                members=members,
                factory=self.workload.factory,
                swarm=self.swarm,
                network=self.network,
                story=self.story,
                witness=self.witness,
                rng=random.Random(self.rng.getrandbits(64)),
            )
            for name in members
        ]
        self.clients = [self._client(f"c{number}") for number in range(CLIENTS)]
        self.nemesis: FullNemesis

    def run(self) -> FullReport:
        """Live through storm and calm, and judge. Raises InvariantViolated. Not within a trio program."""
        try:
            with repeatable(self.seed), self.story.hearing_logs():
                return trio.run(self._run, clock=MockClock(autojump_threshold=0))
        except Exception as error:
            cause = meaningful(error)
            if isinstance(cause, InvariantViolated):
                name, detail = cause.name, cause.detail
            else:
                name, detail = "raised", f"{type(cause).__name__}: {cause}"
            raise InvariantViolated(name, detail, seed=self.seed, step=self.story.lines) from error
        finally:
            gc.collect()

    async def _run(self) -> FullReport:
        async with trio.open_nursery() as nursery:
            self.nemesis = FullNemesis(
                rng=random.Random(self.rng.getrandbits(64)),
                swarm=self.swarm,
                servers=self.servers,
                network=self.network,
                story=self.story,
                nursery=nursery,
            )
            self.story.tell(f"world {self.seed}: {self.swarm}")
            await self._is_founded(nursery)
            async with trio.open_nursery() as callers:
                for client in self.clients:
                    callers.start_soon(client.run)
                await self._storm(nursery)
                majority = await self._calm(nursery)
                await self._elects(majority)
                await self._answers(callers)
            await self._settles(majority)
            if self.witness.planted:
                await self._mends(majority)
            await self._agrees(majority)
            nursery.cancel_scope.cancel()
        self.workload.check(self.history)
        return self._report()

    def _client(self, name: str) -> Client:
        return Client(
            name=name,
            workload=self.workload,
            swarm=self.swarm,
            servers=self.servers,
            story=self.story,
            rng=random.Random(self.rng.getrandbits(64)),
            history=self.history,
        )

    # ── storm ────────────────────────────────────────────────────────────────────────────────────────

    async def _is_founded(self, nursery: trio.Nursery) -> None:
        for server in self.servers:
            nursery.start_soon(self.nemesis.keep, server)
        await _within(FOUNDING_SECONDS, "L0 Founded", self.servers, _have_a_leader)

    async def _storm(self, nursery: trio.Nursery) -> None:
        self.story.tell("storm")
        self.network.faults = self.swarm.weather(self.rng)
        nursery.start_soon(self.nemesis.run)
        await trio.sleep(self.seconds)

    # ── calm ─────────────────────────────────────────────────────────────────────────────────────────

    async def _calm(self, nursery: trio.Nursery) -> list[FullServer]:
        """Mend a random majority and its links; leave the others broken for good, each in its way."""
        self.nemesis.over = True
        for client in self.clients:
            client.over = True
        majority = self._some_majority()
        self.network.heal()
        self.network.faults = Faults()
        self.network.clogged.clear()
        for server in self.servers:
            server.sync, server.stalled_until = min(server.sync, 0.02), 0.0
            if server not in majority:
                self._break(server, majority)
        self.story.tell(f"calm among {[it.id for it in majority]}")
        for server in majority:
            server.mend()
            nursery.start_soon(self._keep_alive, server)
        return majority

    def _some_majority(self) -> list[FullServer]:
        """A majority whose directories are whole; or more."""
        whole = [it for it in self.servers if it.harmed is None]
        least = len(self.servers) if self.witness.planted else len(self.servers) // 2 + 1
        count = self.rng.randint(least, len(whole))
        chosen = self.rng.sample(whole, count)
        return [it for it in self.servers if it in chosen]

    def _break(self, server: FullServer, majority: list[FullServer]) -> None:
        """Break a server that is not of the majority, by its power or its links."""
        fate = self.rng.choice(("dead", "dead", "isolated", "deaf", "mute", "half"))
        self.story.tell(f"{server.id} is {fate} for good")
        others = [it.id for it in self.servers if it is not server]
        friend = self.rng.choice(majority).id if fate == "half" and len(self.servers) >= 5 else None
        if fate == "dead" and server.running and not server.disk.is_off:
            server.crash()
        for other in others:
            if fate != "mute" and other != friend:
                self.network.cut(other, server.id)
            if fate != "deaf" and other != friend:
                self.network.cut(server.id, other)

    async def _keep_alive(self, server: FullServer) -> None:
        while server.running:  # noqa: ASYNC110 - a simulated clock
            await trio.sleep(0.01)
        await server.live()
        fail("N1 EndedForNothing", f"{server.id} ended in the calm")

    async def _elects(self, majority: list[FullServer]) -> None:
        """L1: all of the majority follow one of them before long."""
        await _within(LEADER_SECONDS, "L1 Elects", majority, _have_a_leader)

    async def _answers(self, callers: trio.Nursery) -> None:
        """L4: every call that was begun returns."""
        with trio.move_on_after(SETTLE_SECONDS):
            while callers.child_tasks:  # noqa: ASYNC110 - a simulated clock
                await trio.sleep(0.1)
            return
        fail(
            "L4 Stranded",
            f"{len(callers.child_tasks)} clients wait after {SETTLE_SECONDS} s of calm",
        )

    async def _settles(self, majority: list[FullServer]) -> None:
        """L2, L4: what was given up can be told, something new can be done, and everything be read."""
        auditor = self._client("auditor")
        self.clients.append(auditor)
        for client in self.clients:
            await client.settle(self._node_of(majority), timeout=SETTLE_SECONDS)
        before = len(self.history)
        with trio.move_on_after(SETTLE_SECONDS):
            while not any(it.outcome is Outcome.OK for it in self.history[before:]):
                await auditor.write_at(self._node_of(majority))
            for server in majority:
                for question in self.workload.all_reads():
                    while not await auditor.ask(server, question, How.READ):  # noqa: ASYNC110
                        await trio.sleep(0.05)  # who is divergent refuses at once
            return
        fail("L2 Progress", f"not in {SETTLE_SECONDS} s of calm: {_words(majority)}")

    async def _mends(self, servers: list[FullServer]) -> None:
        """F17: at the next cuts, whoever is wrong is found, and soon has the right state."""
        auditor = self.clients[-1]
        with trio.move_on_after(SETTLE_SECONDS):
            while len(_states(servers)) > 1:
                await auditor.write_at(self._node_of(servers))
                await trio.sleep(0.5)
            return
        fail("F17 Mended", f"not in {SETTLE_SECONDS} s: {_words(servers)}")

    async def _agrees(self, majority: list[FullServer]) -> None:
        """L2: all have applied the same, their states are equal, and nobody waits for anything."""
        await _within(SETTLE_SECONDS, "L2 Agrees", majority, _are_equally_far)
        digests = {it.id: it.server.replica.digest() for it in majority if it.server is not None}
        if len(set(digests.values())) != 1:
            fail("S11 StatesEqual", f"{_words(majority)}: {digests}")
        await _within(SETTLE_SECONDS, "L4 Stranded", majority, _owe_nothing)
        for server in self.servers:
            if (
                server.harmed == "wiped"
                and server.node is not None
                and server.node.status != "unborn"
            ):
                fail("S26 WipedStaysOut", f"{server.id} is {server.node.status}")

    def _node_of(self, majority: list[FullServer]) -> Node[Any]:
        node = self.rng.choice(majority).node
        assert node is not None
        return node

    def _report(self) -> FullReport:
        writes = Counter(it.outcome for it in self.history if it.how is How.WRITE)
        return FullReport(
            seed=self.seed,
            nodes=len(self.servers),
            trace_hash=self.story.digest,
            ticks=int(trio.current_time() * 100),
            deliveries=self.network.frames,
            steps=self.story.lines,
            lives=sum(it.life for it in self.servers),
            elections=len(self.witness.leaders),
            writes=writes.total(),
            acknowledged=writes[Outcome.OK],
            denied=writes[Outcome.DID_NOT_HAPPEN],
            reads=sum(it.how is How.READ for it in self.history),
            snapshots=self.witness.taken,
            snapshots_compared=self.witness.compared,
            installed=self.witness.installed,
            diverged=self.witness.found,
            healed=self.witness.healed,
            refused=sum(it.refused for it in self.servers),
            faults=dict(self.nemesis.count),
        )


async def _within(
    seconds: float,
    name: str,
    servers: list[FullServer],
    holds: Callable[[list[FullServer]], bool],
) -> None:
    """Wait until `holds` of `servers`; `name` is violated after so many seconds."""
    with trio.move_on_after(seconds):
        while not holds(servers):  # noqa: ASYNC110 - a simulated clock
            await trio.sleep(0.05)
        return
    fail(name, f"not in {seconds} s: {_words(servers)}")


def _states(servers: list[FullServer]) -> set[tuple[Index, bytes]]:
    """How far each is, and its state there."""
    replicas = [it.server.replica for it in servers if it.server is not None]
    return {(replica.applied, replica.digest()) for replica in replicas}


def _have_a_leader(servers: list[FullServer]) -> bool:
    if any(it.node is None for it in servers):
        return False
    leaders = {it.node.leader for it in servers if it.node is not None}
    leading = [it.id for it in servers if it.node is not None and it.node.status == "leader"]
    return len(leading) == 1 and leaders == set(leading)


def _are_equally_far(servers: list[FullServer]) -> bool:
    numbers = [it.node.statistics() for it in servers if it.node is not None]
    return len({(it.last_index, it.commit_index, it.applied_index) for it in numbers}) == 1 and all(
        it.applied_index == it.last_index for it in numbers
    )


def _owe_nothing(servers: list[FullServer]) -> bool:
    numbers = [it.node.statistics() for it in servers if it.node is not None]
    return all(it.open_calls == it.open_reads == it.pending_bytes == 0 for it in numbers)


def _words(servers: list[FullServer]) -> str:
    return "; ".join(f"{it.id}: {it.node.explain() if it.node else 'down'}" for it in servers)
