"""A whole group as its users run it, in one thread and in virtual time, from one seed.

    report = FullWorld(7).run()

Nothing is left out but what can't be repeated: real drivers and nodes, the real log over `SimulatedDisk`, a
real machine, on trio's scheduler under a `MockClock`, over a `MemoryNetwork` or, each third seed, over
datagrams by the endpoint of the multicast transport. First a storm, in which faults of network, disks,
clocks and machines, changes of the group and upgrades meet while clients work. Then calm among a random
quorum, while the others stay broken for good: it must elect, answer everyone, go on, and agree. At last
every answer that any client got is held against what was promised.

Laws: one seed is one world, on any machine and under any hash seed. A failure raises
`InvariantViolated` with its seed, and its line of the story.
"""

from __future__ import annotations

import gc
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import attrs
import trio
from trio.testing import MockClock

from raftkit.driver.guarding import meaningful
from raftkit.membership import Configuration
from raftkit.model import NodeId
from raftkit.node import Node
from raftkit.testing.append_lists import Outcome
from raftkit.testing.full.churn import FullChurn
from raftkit.testing.full.clients import Client
from raftkit.testing.full.memory import FullMemory
from raftkit.testing.full.multicast import FullMulticast
from raftkit.testing.full.nemesis import FullNemesis
from raftkit.testing.full.network import FullNetwork
from raftkit.testing.full.operator import Operator
from raftkit.testing.full.server import FullServer
from raftkit.testing.full.stage import Story, repeatable
from raftkit.testing.full.swarm import DatagramSwarm, FullSwarm
from raftkit.testing.full.upgrades import FullUpgrades
from raftkit.testing.full.views import (
    are_all,
    are_equally_far,
    have_a_leader,
    in_words,
    members_of,
    owe_nothing,
    states_of,
    stay_members,
    wait_until,
)
from raftkit.testing.full.witness import Witness
from raftkit.testing.full.workloads import (
    AppendLists,
    Asked,
    CountingMachine,
    How,
    Workload,
    slipping,
)
from raftkit.testing.world.shadows import InvariantViolated, fail

__all__ = ["FullReport", "FullWorld", "InvariantViolated", "Transport"]

Transport = Literal["memory", "multicast"]
NAMES = "abcdefg"
"Of founders."
CLIENTS = 5
FOUNDING_SECONDS = 20.0
"A group in which nothing goes wrong is born and has a leader after this long."
TRANSPORTS: tuple[Transport, ...] = ("memory", "memory", "multicast")
"Of seeds 0, 1, 2, and so on."
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
    transport: str
    "What they talked over."
    trace_hash: str
    "Of the whole story: equal for equal worlds."
    ticks: int
    "Virtual time, in ticks of 10 ms."
    deliveries: int
    "Frames, or datagrams, given to the network."
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
    network: dict[str, int]
    "What endpoints of datagrams did."
    faults: dict[str, int]
    "How often each fault happened."
    orders: dict[str, int]
    "How often each kind of order was carried out."
    version: int
    "Of the machine, as it was in force in the end."


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
        transport: Transport | None = None,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        """`nodes` from 1 to 7; a storm of so many virtual `seconds`; `trace` is told all that happens.

        `workload` says what the machine is, what clients ask of it, and what must hold of the answers.
        Without one they are lists, in some worlds with newer code to come, in others with slips. `slips`
        says that its state may become wrong on a node, now and then: then snapshots are cut often, no
        directory is harmed, the group stays, all servers see the calm, and there such a state must be
        found and mended. `transport` is what nodes talk over; without one, the seed says.
        """
        self.seed = seed
        self.rng = random.Random(f"raftkit full world {seed}")
        self.swarm = FullSwarm.draw(self.rng)
        if workload is None:
            workload, slips = _lists(self.swarm), self.swarm.slip is not None
        if slips:
            self.swarm = self.swarm.with_digests()
        self.story = Story(trace)
        self.witness = Witness(self.story, slips, "change_group" not in self.swarm.faults)
        self.workload = workload
        self.network = self._network(transport or TRANSPORTS[seed % len(TRANSPORTS)])
        self.history: list[Asked] = []
        self.seconds = seconds
        members: dict[NodeId, str] = {name: self.network.address_of(name) for name in NAMES[:nodes]}
        self.servers = [self._server(name, members) for name in members]
        self.clients = [self._client(f"c{number}") for number in range(CLIENTS)]
        self.operator = Operator(rng=self._chance(), story=self.story)
        self.upgrades = FullUpgrades(
            rng=self._chance(),
            story=self.story,
            servers=self.servers,
            witness=self.witness,
            older=self.workload.factory,
            newer=self.workload.newer,
        )
        self.churn: FullChurn
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
            self._prepare(nursery)
            self.story.tell(f"world {self.seed}: {self.swarm}")
            self.network.begin(nursery)
            await self._is_founded(nursery)
            async with trio.open_nursery() as callers:
                for client in self.clients:
                    callers.start_soon(client.run)
                await self._storm(nursery)
                quorum = await self._calm(nursery)
                await self._elects(quorum)
                await self._answers(callers)
            members = await self._stays(quorum)
            await self._settles(members)
            if self.witness.planted:
                await self._mends(members)
            await self._upgrades(members)
            await self._reads(members)
            await self._agrees(members)
            nursery.cancel_scope.cancel()
        self.workload.check(self.history)
        return self._report()

    def _prepare(self, nursery: trio.Nursery) -> None:
        self.churn = FullChurn(
            rng=self._chance(),
            story=self.story,
            servers=self.servers,
            make=partial(self._newcomer, nursery),
            address_of=self.network.address_of,
            operator=self.operator,
            nursery=nursery,
        )
        self.nemesis = FullNemesis(
            rng=self._chance(),
            swarm=self.swarm,
            servers=self.servers,
            network=self.network,
            churn=self.churn,
            upgrades=self.upgrades,
            operator=self.operator,
            story=self.story,
            nursery=nursery,
        )

    def _network(self, transport: Transport) -> FullNetwork:
        seed = self.rng.getrandbits(64)
        if transport == "memory":
            return FullMemory(seed=seed, story=self.story)
        # Drawn apart, so that who adds a switch there changes no world over memory.
        rng = random.Random(f"raftkit full datagrams {self.seed}")
        swarm = DatagramSwarm.draw(rng)
        self.swarm = attrs.evolve(self.swarm, faults=self.swarm.faults | swarm.harm)
        return FullMulticast(rng=rng, swarm=swarm, story=self.story)

    def _chance(self) -> random.Random:
        """A generator for one part of the world, so that no part changes another."""
        return random.Random(self.rng.getrandbits(64))

    def _server(self, name: NodeId, members: dict[NodeId, str]) -> FullServer:
        return FullServer(
            id=name,
            members=members,
            factory=self.workload.factory,
            swarm=self.swarm,
            network=self.network,
            story=self.story,
            witness=self.witness,
            rng=self._chance(),
        )

    def _newcomer(self, nursery: trio.Nursery, name: NodeId, group: Configuration) -> FullServer:
        """One that begins to live with the newest code, and waits to be admitted to `group`."""
        server = self._server(name, {})
        server.renew(group)
        self.upgrades.finish(server)
        nursery.start_soon(self.nemesis.keep, server)
        return server

    def _client(self, name: str) -> Client:
        return Client(
            name=name,
            workload=self.workload,
            swarm=self.swarm,
            servers=self.servers,
            story=self.story,
            rng=self._chance(),
            history=self.history,
        )

    # ── storm ────────────────────────────────────────────────────────────────────────────────────────

    async def _is_founded(self, nursery: trio.Nursery) -> None:
        for server in self.servers:
            nursery.start_soon(self.nemesis.keep, server)
        await wait_until(FOUNDING_SECONDS, "L0 Founded", self.servers, have_a_leader)

    async def _storm(self, nursery: trio.Nursery) -> None:
        self.story.tell("storm")
        self.network.weather(self.swarm.weather(self.rng))
        nursery.start_soon(self.nemesis.run)
        await trio.sleep(self.seconds)

    # ── calm ─────────────────────────────────────────────────────────────────────────────────────────

    async def _calm(self, nursery: trio.Nursery) -> list[FullServer]:
        """Mend a random quorum and its links; leave the others broken for good, each in its way.

        Whatever configuration comes into force in the end, they are a quorum of it.
        """
        self.nemesis.over = True
        for client in self.clients:
            client.over = True
        quorum = self._some_quorum()
        self.network.calm()
        for server in self.servers:
            server.sync, server.stalled_until = min(server.sync, 0.02), 0.0
            if server not in quorum:
                self._break(server, quorum)
        self.story.tell(f"calm among {[it.id for it in quorum]}")
        for server in quorum:
            server.mend()
            self.upgrades.finish(server)
            nursery.start_soon(self._keep_alive, server)
        return quorum

    def _some_quorum(self) -> list[FullServer]:
        """Servers whose directories are whole: a quorum of whatever may be in force, or more."""
        chosen = [it for it in self.servers if it.harmed is None]
        if self.witness.planted:
            return chosen
        possible = self.churn.possible()
        for server in self.rng.sample(chosen, self.rng.randint(0, len(chosen))):
            rest = [it for it in chosen if it is not server]
            chosen = rest if self.churn.suffice(rest, possible) else chosen
        return chosen

    def _break(self, server: FullServer, quorum: list[FullServer]) -> None:
        """Break a server that is not of the quorum, by its power or its links."""
        fate = self.rng.choice(("dead", "dead", "isolated", "deaf", "mute", "half"))
        self.story.tell(f"{server.id} is {fate} for good")
        others = [it.id for it in self.servers if it is not server]
        # Two connected servers must be no quorum: so this one can disturb, but not lead.
        smallest = min(len(half) for it in self.churn.possible() for half in it.halves)
        friend = self.rng.choice(quorum).id if fate == "half" and smallest >= 5 else None
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

    async def _elects(self, quorum: list[FullServer]) -> None:
        """L1: all members of the quorum follow one of them before long."""
        await wait_until(LEADER_SECONDS, "L1 Elects", quorum, have_a_leader)

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

    async def _stays(self, quorum: list[FullServer]) -> list[FullServer]:
        """L4, L5: every order returns, and so does every change of the group end; who is a member then."""
        with trio.move_on_after(SETTLE_SECONDS) as patience:
            while self.operator.open or self.churn.asking:  # noqa: ASYNC110 - a simulated clock
                await trio.sleep(0.1)
        if patience.cancelled_caught:
            fail("L4 Stranded", f"{self.operator.open} orders after {SETTLE_SECONDS} s of calm")
        await wait_until(SETTLE_SECONDS, "L5 Stays", quorum, stay_members)
        return members_of(quorum)

    async def _settles(self, members: list[FullServer]) -> None:
        """L2, L4: what was given up can be told, and something new can be done."""
        auditor = self._client("auditor")
        self.clients.append(auditor)
        for client in self.clients:
            await client.settle(self._node_of(members), timeout=SETTLE_SECONDS)
        before = len(self.history)
        with trio.move_on_after(SETTLE_SECONDS):
            while not any(it.outcome is Outcome.OK for it in self.history[before:]):
                await auditor.write_at(self._node_of(members))
            return
        fail("L2 Progress", f"not in {SETTLE_SECONDS} s of calm: {in_words(members)}")

    async def _reads(self, members: list[FullServer]) -> None:
        """L2: everything that was written can be read, everywhere."""
        auditor = self.clients[-1]
        with trio.move_on_after(SETTLE_SECONDS):
            for server in members:
                for question in self.workload.all_reads():
                    while not await auditor.ask(server, question, How.READ):  # noqa: ASYNC110
                        await trio.sleep(0.05)  # who is divergent refuses at once
            return
        fail("L2 Reads", f"not in {SETTLE_SECONDS} s of calm: {in_words(members)}")

    async def _mends(self, servers: list[FullServer]) -> None:
        """F17: at the next cuts, whoever is wrong is found, and soon has the right state."""
        auditor = self.clients[-1]
        with trio.move_on_after(SETTLE_SECONDS):
            while len(states_of(servers)) > 1:
                await auditor.write_at(self._node_of(servers))
                await trio.sleep(0.5)
            return
        fail("F17 Mended", f"not in {SETTLE_SECONDS} s: {in_words(servers)}")

    async def _upgrades(self, members: list[FullServer]) -> None:
        """U2: what the code of all has is in force before long, and what was in force anywhere."""
        version = self.witness.version
        if self.workload.newer is not None and are_all(members):
            version = 2
        await wait_until(
            SETTLE_SECONDS,
            "U2 Raised",
            members,
            lambda them: all(
                it.server is not None and it.server.replica.version >= version for it in them
            ),
        )

    async def _agrees(self, members: list[FullServer]) -> None:
        """L2: all have applied the same, their states are equal, and nobody waits for anything."""
        await wait_until(SETTLE_SECONDS, "L2 Agrees", members, are_equally_far)
        digests = {it.id: it.server.replica.digest() for it in members if it.server is not None}
        if len(set(digests.values())) != 1:
            fail("S11 StatesEqual", f"{in_words(members)}: {digests}")
        await wait_until(SETTLE_SECONDS, "L4 Stranded", members, owe_nothing)
        for server in self.servers:
            if (
                server.harmed == "wiped"
                and server.node is not None
                and server.node.status != "unborn"
            ):
                fail("S26 WipedStaysOut", f"{server.id} is {server.node.status}")

    def _node_of(self, members: list[FullServer]) -> Node[Any]:
        node = self.rng.choice(members).node
        assert node is not None
        return node

    def _report(self) -> FullReport:
        writes = Counter(it.outcome for it in self.history if it.how is How.WRITE)
        return FullReport(
            seed=self.seed,
            nodes=len(self.servers),
            transport=self.network.name,
            trace_hash=self.story.digest,
            ticks=int(trio.current_time() * 100),
            deliveries=self.network.carried,
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
            version=self.witness.version,
            refused=sum(it.refused for it in self.servers),
            network=dict(self.network.figures),
            faults=dict(self.nemesis.count),
            orders=dict(self.operator.done),
        )


def _lists(swarm: FullSwarm) -> AppendLists:
    """The workload of a world for which nothing else is wanted."""
    if swarm.slip is not None:
        return AppendLists(slipping({swarm.slip}))
    return AppendLists(newer=CountingMachine if "upgrade" in swarm.faults else None)
