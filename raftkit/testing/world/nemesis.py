"""What happens to the servers of a simulated world, and to what lies between them.

Each fault is a method; `Swarm.faults` names those that a world has. Most end by themselves after a while.
Two are no faults but legal behaviour that is rare in life: old messages arrive again, and a leader probes
lower than it needs to.

Law: only `forge` makes messages that a correct server could not have sent, and tells the ghosts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, permutations

import attrs

from raftkit.messages import AppendEntries, Message, PeerUnreachable, Receive
from raftkit.model import Identity, Index, NodeId
from raftkit.testing.world.churn import Churn
from raftkit.testing.world.disk import WorldDisk
from raftkit.testing.world.forgery import forge
from raftkit.testing.world.network import Link, Network
from raftkit.testing.world.server import STALL_TICKS, Server
from raftkit.testing.world.stage import Stage
from raftkit.testing.world.swarm import FAULTS, MULTICAST_FAULTS

__all__ = ["Nemesis"]


class Nemesis:
    """Does harm, at random, at the rates of the swarm."""

    def __init__(
        self,
        stage: Stage,
        network: Network,
        servers: dict[NodeId, Server],
        churn: Churn,
    ) -> None:
        self.stage = stage
        self.network = network
        self.servers = servers
        self.churn = churn
        self.over = False
        "Set when the world calms down: nothing is harmed or mended from then on."
        self.count: Counter[str] = Counter()
        "How often each fault happened."
        self._backups: dict[Identity, WorldDisk] = {}
        self._rate = sum(stage.swarm.faults.values()) / 100.0

    def begin(self) -> None:
        """Let faults happen from now on."""
        if self._rate:
            self.stage.agenda.after(self.stage.rng.expovariate(self._rate), self._strike)

    def crashed(self, server: Server) -> None:
        """A server crashed: others may see its connections close, and it comes back."""
        stage = self.stage
        self.count["any crash"] += 1
        if stage.rng.random() < 0.5:
            for other in self._alive():
                self._lost_connection(other, server)
        if not self.over:
            stage.agenda.after(stage.around(stage.swarm.downtime), self._restart, server)

    # ── faults ──

    def crash(self) -> None:
        """One server."""
        if alive := self._alive():
            self.stage.rng.choice(alive).crash()

    def power_failure(self) -> None:
        """All servers at once."""
        for server in self._alive():
            server.crash()

    def pause(self) -> None:
        """A server stands still, as in a long collection or under a debugger, and knows nothing of it."""
        running = [s for s in self._alive() if not s.paused]
        if running:
            server = self.stage.rng.choice(running)
            server.paused = True
            self.stage.agenda.after(self.stage.around(60.0), self._resume, server, server.life)

    def stall(self) -> None:
        """The disk of a server, mostly a leader, finishes nothing for a while."""
        server = self.stage.rng.choice(self._leaders() or [*self.servers.values()])
        server.stalled_until = self.stage.agenda.now + self.stage.around(3 * STALL_TICKS)

    def isolate_leader(self) -> None:
        """The leader, or one of several, alone on its side."""
        leaders = self._leaders()
        if leaders:
            self._separate([self.stage.rng.choice(leaders).identity.id])

    def partition(self) -> None:
        """Two sides, of any size."""
        self._separate(self._some(self.stage.rng.randrange(1, max(2, len(self.servers)))))

    def one_way(self) -> None:
        """One side is not heard by the other, but hears it."""
        some = self._some(self.stage.rng.randrange(1, max(2, len(self.servers))))
        self._cut((a, b) for a in some for b in self.servers if b not in some)

    def partial(self) -> None:
        """Some pairs don't reach each other."""
        rng = self.stage.rng
        pairs = [pair for pair in combinations(self.servers, 2) if rng.random() < 0.4]
        self._cut(link for a, b in pairs for link in ((a, b), (b, a)))

    def deafen(self) -> None:
        """Some hear no multicasts of some others, as behind a switch that has forgotten who listens."""
        rng = self.stage.rng
        ways = [way for way in permutations(self.servers, 2) if rng.random() < 0.4]
        self.network.deaf = frozenset(ways)
        self.stage.agenda.after(self.stage.around(70.0), self._hear, self.network.deaf)

    def clog(self) -> None:
        """A link holds everything for a while and then delivers it."""
        if len(self.servers) > 1:
            a, b = self.stage.rng.sample(list(self.servers), 2)
            self.network.clogged[a, b] = self.stage.agenda.now + self.stage.around(40.0)

    def clog_server(self) -> None:
        """All links of a server, mostly a leader, hold everything for a while, each for its own."""
        name = self.stage.rng.choice(self._leaders() or [*self.servers.values()]).identity.id
        for other in self.servers:
            for link in ((name, other), (other, name)):
                self.network.clogged[link] = self.stage.agenda.now + self.stage.around(40.0)

    def replay(self) -> None:
        """A few old messages arrive again: of any age, or all from one moment."""
        rng, history = self.stage.rng, self.network.history
        if not history:
            return
        place = rng.randrange(len(history))
        for sender, target, message in history[place : place + rng.randint(1, 8)]:
            self.network.carry(sender, target, message)

    def probe_lower(self) -> None:
        """A leader sends once more what it sent, beginning lower than it needs to and ending lower."""
        rng = self.stage.rng
        for sender, target, message in self._recent():
            server = self.servers.get(sender.id)
            if (
                isinstance(message, AppendEntries)
                and server is not None
                and server.raft is not None
                and server.shadow.leads == message.term
            ):
                log = server.shadow.issued
                if log.base_index > message.last_index:
                    continue
                prev_index = Index(rng.randint(log.base_index, message.last_index))
                prev_term = log.term(prev_index)
                assert prev_term is not None
                last = Index(rng.randint(prev_index, message.last_index))
                lower = attrs.evolve(
                    message,
                    prev_index=prev_index,
                    prev_term=prev_term,
                    commit_index=rng.choice((message.commit_index, server.raft.commit_index)),
                    runs=log.read(Index(prev_index + 1), last, 1 << 30),
                )
                self.network.carry(sender, target, lower)
                return

    def snapshot(self) -> None:
        """A server takes a snapshot of its machine, and compacts its log."""
        if alive := self._alive():
            self.stage.rng.choice(alive).take_snapshot()

    def step_clock(self) -> None:
        """Somebody sets a wall clock."""
        server = self.stage.rng.choice(list(self.servers.values()))
        server.wall_offset_ns = round(self.stage.rng.gauss(0.0, 20e9))

    def unreachable(self) -> None:
        """A connection breaks while nothing is wrong at either end."""
        alive = self._alive()
        if len(alive) > 1:
            self._lost_connection(*self.stage.rng.sample(alive, 2))

    def outdate(self) -> None:
        """A server runs older code than the others, for good, and meets an entry that it can't apply."""
        if able := self._spare():
            self.stage.rng.choice(able).outdated = True

    def roll_back(self) -> None:
        """A backup of a disk is taken; or takes its place, and its server is barred for good."""
        server = self.stage.rng.choice(list(self.servers.values()))
        image = self._backups.pop(server.identity, None)
        if image is None or server not in self._spare():
            self._backups[server.identity] = server.disk.copy()
            return
        if server.raft is not None:
            server.crash()
        server.roll_back(image)

    def transfer(self) -> None:
        """A leader is asked to hand over, to anybody or to a server that may be ill."""
        if leaders := self._leaders():
            rng = self.stage.rng
            rng.choice(leaders).transfer(rng.choice([None, *self.servers]))

    def step_down(self) -> None:
        """A leader is asked to step down, with or without handing over."""
        if leaders := self._leaders():
            rng = self.stage.rng
            rng.choice(leaders).step_down(hand_over=rng.random() < 0.5)

    def forge(self) -> None:
        """A server gets a message that nobody sent, and that Raft must survive."""
        alive = self._alive()
        if not alive or len(self.servers) == 1:
            return
        server = self.stage.rng.choice(alive)
        others = [it.identity for it in self.servers.values() if it is not server]
        raft, ghosts = server.raft, server.ghosts
        assert raft is not None
        sender, message = forge(self.stage.rng, raft, others, ghosts.leader_of.get(raft.term))
        ghosts.forged(server.shadow, sender, message)
        self.stage.tell(f"forged {sender}→{server.identity.id}: {message}")
        server.take(Receive(sender=sender, message=message))

    def change_group(self) -> None:
        """Somebody asks for another group."""
        self.churn.change()

    # ── how ──

    def _strike(self) -> None:
        if self.over:
            return
        faults = self.stage.swarm.faults
        (name,) = self.stage.rng.choices(list(faults), list(faults.values()))
        self.count[name] += 1
        self.stage.note(f"nemesis: {name}")
        _FAULTS[name](self)
        self.begin()

    def _alive(self) -> list[Server]:
        return [s for s in self.servers.values() if s.raft is not None]

    def _leaders(self) -> list[Server]:
        return [s for s in self._alive() if s.shadow.leads is not None]

    def _spare(self) -> list[Server]:
        """Those that may vote and lead, of which any one can be missed for good."""
        return [s for s in self.servers.values() if s.able and self.churn.can_miss(s)]

    def _some(self, count: int) -> list[NodeId]:
        return sorted(self.stage.rng.sample(list(self.servers), count))

    def _recent(self) -> Iterator[tuple[Identity, NodeId, Message]]:
        """Some of the last messages sent."""
        recent = self.network.history[-200:]
        return (self.stage.rng.choice(recent) for _ in range(min(20, len(recent))))

    def _separate(self, side: Sequence[NodeId]) -> None:
        others = [b for b in self.servers if b not in side]
        self._cut(link for a in side for b in others for link in ((a, b), (b, a)))

    def _cut(self, links: Iterable[Link]) -> None:
        """In the place of what was cut before. Healed after a while, unless cut otherwise by then."""
        self.network.cut = frozenset(links)
        self.stage.agenda.after(self.stage.around(70.0), self._heal, self.network.cut)

    def _heal(self, cut: frozenset[Link]) -> None:
        if self.network.cut is cut:
            self.network.cut = frozenset()

    def _hear(self, deaf: frozenset[Link]) -> None:
        if self.network.deaf is deaf:
            self.network.deaf = frozenset()

    def _resume(self, server: Server, life: int) -> None:
        if server.life == life and server.paused:
            server.resume()

    def _restart(self, server: Server) -> None:
        if server.raft is None and not self.over and not server.retired:
            server.start()

    def _lost_connection(self, server: Server, peer: Server) -> None:
        delay = self.stage.around(1.0)
        self.stage.agenda.after(
            delay, self._tell_unreachable, server, server.life, peer.identity.id
        )

    def _tell_unreachable(self, server: Server, life: int, peer: NodeId) -> None:
        if server.life == life and server.raft is not None:
            # What others said of their logs may be of any age: any order, of anybody.
            heard = self._some(self.stage.rng.randint(0, len(self.servers)))
            self.stage.rng.shuffle(heard)
            server.take(PeerUnreachable(peer=peer, succession=tuple(heard)))


_FAULTS: dict[str, Callable[[Nemesis], None]] = {
    name: getattr(Nemesis, name) for name in (*FAULTS, *MULTICAST_FAULTS)
}
