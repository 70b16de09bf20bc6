"""What happens to the servers of a full-stack world, their disks and their network.

Each fault is a method; `FullSwarm.faults` names those that a world has. Most end by themselves after a while.

Law: harm that no log can mend, a directory lost or rotten, leaves a quorum of every configuration that may be
in force.
"""

from __future__ import annotations

import errno
import random
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from itertools import combinations, permutations

import trio

from raftkit.model import NodeId
from raftkit.testing.full.churn import FullChurn
from raftkit.testing.full.network import FullNetwork
from raftkit.testing.full.operator import Operator
from raftkit.testing.full.server import FullServer
from raftkit.testing.full.stage import Story
from raftkit.testing.full.swarm import DATAGRAM_FAULTS, FAULTS, FullSwarm
from raftkit.testing.full.upgrades import FullUpgrades

__all__ = ["FullNemesis"]

FAULT_SECONDS = 1.5
"Mean length of what ends by itself."
OPERATIONS_MAX = 40
"A fault of a disk that is ordered comes within so many operations of its kind."


class FullNemesis:
    """Does harm, at random, at the rates of the swarm."""

    def __init__(
        self,
        *,
        rng: random.Random,
        swarm: FullSwarm,
        servers: list[FullServer],
        network: FullNetwork,
        churn: FullChurn,
        upgrades: FullUpgrades,
        operator: Operator,
        story: Story,
        nursery: trio.Nursery,
    ) -> None:
        self.rng = rng
        self.swarm = swarm
        self.servers = servers
        self.network = network
        self.churn = churn
        self.upgrades = upgrades
        self.operator = operator
        self.story = story
        self.over = False
        "Set when the world calms down: nothing is harmed or mended from then on."
        self.count: Counter[str] = Counter()
        "How often each fault happened."
        self._nursery = nursery
        self._cut = 0
        "How often links were cut: an older cut does not heal a newer one."
        self._deafened = 0
        "The same for who hears no multicasts."

    async def run(self) -> None:
        """Strike until it is over."""
        faults = self.swarm.faults
        if not faults:
            return
        while True:
            await trio.sleep(self.rng.expovariate(sum(faults.values())))
            if self.over:
                return
            (name,) = self.rng.choices(list(faults), list(faults.values()))
            self.story.tell(f"nemesis: {name}")
            self.count[name] += _FAULTS[name](self)

    async def keep(self, server: FullServer) -> None:
        """Let `server` live, and live again after each end, until it is over."""
        while not self.over:
            if not server.refused:
                await server.live()
            await trio.sleep(self._around(self.swarm.downtime))

    # ── faults: each says whether there was anything to do ───────────────────────────────────────────

    def crash(self) -> bool:
        """One server loses power."""
        alive = self._alive()
        if alive:
            self.rng.choice(alive).crash()
        return bool(alive)

    def power_failure(self) -> bool:
        """All of them do."""
        for server in self._alive():
            server.crash()
        return True

    def crash_at(self) -> bool:
        """One server will lose power at some operation of its disk, maybe while it opens."""
        disk = self.rng.choice(self.servers).disk
        disk.crash_at(disk.operations + self.rng.randrange(OPERATIONS_MAX))
        return True

    def io_error(self) -> bool:
        """Some operation of a disk fails, soon."""
        kind = self.rng.choice(
            ("write", "sync", "read", "sync_directory", "create", "rename", "remove")
        )
        return self._fail(kind, errno.EIO, drop_pages=self.rng.random() < 0.5)

    def disk_full(self) -> bool:
        """Some operation of a disk finds no room, once."""
        return self._fail(self.rng.choice(("write", "create", "truncate")), errno.ENOSPC)

    def stall(self) -> bool:
        """A disk hesitates, once and long; or is slow from now on."""
        server = self.rng.choice(self.servers)
        if self.rng.random() < 0.5:
            server.stalled_until = trio.current_time() + self._around(FAULT_SECONDS)
        else:
            server.sync = self.rng.choice((0.0, self.swarm.sync, 0.2))
        return True

    def isolate_leader(self) -> bool:
        """The leader, or one of several, alone on its side."""
        leaders = self._leaders()
        if leaders:
            self._separate([self.rng.choice(leaders).id])
        return bool(leaders)

    def partition(self) -> bool:
        """Two sides, of any size."""
        self._separate(self._some())
        return True

    def one_way(self) -> bool:
        """One side is not heard by the other, but hears it."""
        some = self._some()
        self._cut_all((a, b.id) for a in some for b in self.servers if b.id not in some)
        return True

    def partial(self) -> bool:
        """Some pairs don't reach each other."""
        names = [it.id for it in self.servers]
        pairs = [pair for pair in combinations(names, 2) if self.rng.random() < 0.4]
        self._cut_all(way for a, b in pairs for way in ((a, b), (b, a)))
        return True

    def clog(self) -> bool:
        """A server's frames, in or out or both, are held for a while and then arrive."""
        server, until = self.rng.choice(self.servers), trio.current_time() + self._around(1.0)
        ways = self.rng.choice(("in", "out", "both"))
        for other in self.servers:
            if ways != "in":
                self.network.clog(server.id, other.id, until)
            if ways != "out":
                self.network.clog(other.id, server.id, until)
        return True

    def deafen(self) -> bool:
        """Some hear no multicasts of some others, as behind a switch that has forgotten who listens."""
        names = [it.id for it in self.servers]
        ways = [way for way in permutations(names, 2) if self.rng.random() < 0.4]
        self.network.deafen(ways)
        self._deafened += 1
        self._nursery.start_soon(self._hears, self._deafened, self._around(2 * FAULT_SECONDS))
        return bool(ways)

    def close_links(self) -> bool:
        """Every connection of a server breaks while nothing is wrong at either end."""
        self.network.close_links(self.rng.choice(self.servers).id)
        return True

    def weather(self) -> bool:
        """The network is another from now on."""
        self.network.weather(self.swarm.weather(self.rng))
        return True

    def step_clock(self) -> bool:
        """Somebody sets a wall clock."""
        self.rng.choice(self.servers).wall_offset_ns = round(self.rng.gauss(0.0, 20e9))
        return True

    def snapshot(self) -> bool:
        """Somebody asks a node for a snapshot."""
        alive = [it for it in self.servers if it.node is not None]
        if alive:
            self._nursery.start_soon(self.operator.snapshot, self.rng.choice(alive))
        return bool(alive)

    def transfer(self) -> bool:
        """A leader is asked to hand over, to anybody or to a server that may be ill."""
        leaders = self._leaders()
        if leaders:
            to = self.rng.choice([None, *(it.id for it in self.servers)])
            self._nursery.start_soon(self.operator.transfer, self.rng.choice(leaders), to)
        return bool(leaders)

    def step_down(self) -> bool:
        """A leader is asked to step down, with or without handing over."""
        leaders, hand_over = self._leaders(), self.rng.random() < 0.5
        if leaders:
            order = partial(self.operator.step_down, hand_over=hand_over)
            self._nursery.start_soon(order, self.rng.choice(leaders))
        return bool(leaders)

    def change_group(self) -> bool:
        """Somebody asks for another group."""
        return self.churn.change()

    def upgrade(self) -> bool:
        """A server goes on with newer code, or with the old one again."""
        return self.upgrades.replace()

    def wipe(self) -> bool:
        """A directory is lost, and the server begins with an empty one."""
        server = self._victim()
        if server is None:
            return False
        server.wipe()
        return True

    def rot(self) -> bool:
        """One bit of some file of a closed directory is not what was written."""
        server = self._victim()
        names = [it for it in server.disk.names() if server.disk.contents(it)] if server else []
        if server is None or not names:
            return False
        name = self.rng.choice(names)
        content = bytearray(server.disk.contents(name))
        # Mostly what was written: much of a segment is zeros that nobody reads.
        written = [place for place, byte in enumerate(content) if byte]
        place = self.rng.choice(written or range(len(content)))
        content[place] ^= 1 << self.rng.randrange(8)
        server.disk.rot(name, bytes(content))
        server.harmed = f"{name} rotten at {place}"
        self.story.tell(f"{server.id}: {server.harmed}")
        return True

    # ── how ──────────────────────────────────────────────────────────────────────────────────────────

    def _fail(self, kind: str, code: int, *, drop_pages: bool = False) -> bool:
        server = self.rng.choice(self.servers)
        if not server.running:
            return False
        server.disk.fail_at(kind, self.rng.randrange(OPERATIONS_MAX), code, drop_pages=drop_pages)
        server.faulty = True
        return True

    def _victim(self) -> FullServer | None:
        """Whose directory may be harmed for good: it is down, and the group can miss it."""
        down = [
            it
            for it in self.servers
            if not it.running and it.harmed is None and it.identity and self.churn.can_miss(it)
        ]
        return self.rng.choice(down) if down else None

    def _alive(self) -> list[FullServer]:
        return [it for it in self.servers if it.running and not it.disk.is_off]

    def _leaders(self) -> list[FullServer]:
        return [it for it in self.servers if it.node is not None and it.node.status == "leader"]

    def _some(self) -> list[NodeId]:
        names = [it.id for it in self.servers]
        return sorted(self.rng.sample(names, self.rng.randrange(1, max(2, len(names)))))

    def _separate(self, side: list[NodeId]) -> None:
        others = [it.id for it in self.servers if it.id not in side]
        self._cut_all(way for a in side for b in others for way in ((a, b), (b, a)))

    def _cut_all(self, ways: Iterable[tuple[NodeId, NodeId]]) -> None:
        """In the place of what was cut before. Healed after a while, unless cut otherwise by then."""
        self.network.heal()
        for a, b in ways:
            self.network.cut(a, b)
        self._cut += 1
        self._nursery.start_soon(self._heal, self._cut, self._around(FAULT_SECONDS))

    async def _heal(self, cut: int, seconds: float) -> None:
        await trio.sleep(seconds)
        if self._cut == cut and not self.over:
            self.network.heal()

    async def _hears(self, deafened: int, seconds: float) -> None:
        await trio.sleep(seconds)
        if self._deafened == deafened and not self.over:
            self.network.deafen(())

    def _around(self, mean: float) -> float:
        """A time around `mean`: uniform up to twice of it."""
        return 2.0 * mean * self.rng.random()


_FAULTS: dict[str, Callable[[FullNemesis], bool]] = {
    name: getattr(FullNemesis, name) for name in (*FAULTS, *DATAGRAM_FAULTS)
}
