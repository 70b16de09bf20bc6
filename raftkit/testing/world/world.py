"""A whole group of cores in one thread and in virtual time, from one seed.

First a storm, in which faults of network, disks, clocks and processes meet; `ghosts.py` looks on after each
step. Then calm among a random quorum, while all others stay broken for good: it must elect, commit, agree
and fall silent. Healing everything instead would hide what only shows when somebody stays ill.

Laws: one seed is one world, on any machine and under any hash seed. Cores, disks and clients are driven
only from the agenda. A failure raises `InvariantViolated` with its seed and step.
"""

from __future__ import annotations

import hashlib
import math
import random
from bisect import bisect_right
from collections.abc import Callable
from functools import cache

import attrs

from raftkit.core.state import Leader
from raftkit.driver import Recorder
from raftkit.membership import Configuration, Member, Role, Settings
from raftkit.messages import Message, Receive
from raftkit.model import Identity, Index, Kind, NodeId, Run, Term
from raftkit.testing.world.churn import Churn, suffices
from raftkit.testing.world.disk import LogImage, WorldDisk
from raftkit.testing.world.ghosts import Ghosts
from raftkit.testing.world.nemesis import Nemesis
from raftkit.testing.world.network import Network
from raftkit.testing.world.server import TICK_MS, Server
from raftkit.testing.world.shadows import InvariantViolated, fail
from raftkit.testing.world.stage import Stage
from raftkit.testing.world.swarm import ENTRY_BYTES_MAX, Swarm

__all__ = ["InvariantViolated", "Report", "World", "founding_of"]

NAMES = "abcdefg"
MULTICASTING = 3
"In each world of so many, the last, servers multicast."
TIMED = 4
"In each world of so many, the last, rounds of votes and retries have times of their own."
ELECTION_TICKS_MAX = Settings().election_timeout_ms[1] // TICK_MS
"Longest election timeout."
LEADER_TICKS_MAX = 20 * ELECTION_TICKS_MAX
"A connected quorum has a leader after this long (L1)."
TRANSFER_TICKS_MAX = ELECTION_TICKS_MAX
"A leader hands over within this, among servers that have its whole log (L5)."
CATCH_UP_TICKS = 10
"Beyond that, a server that lacks everything catches up at a tenth of an entry a tick, or faster (L2)."
SETTLE_TICKS = 3
"Longer than anybody collects inputs before a step."
IDLE_BEATS = 10
"Heartbeats for which an idle group is watched (S30)."
IDLE_DUPLICATION = 0.5
"While it is idle, so many messages arrive twice: a group that answers answers would drown (B15)."
STORM_MESSAGES = 4
"What each server may send for a heartbeat interval or a third of an entry, on average over a storm (S30)."
IDLE_MESSAGES = 4
"What each server may send in a heartbeat interval when idle, on average over all (S30)."


@attrs.frozen(kw_only=True)
class Report:
    """What happened in a world in which nothing went wrong."""

    seed: int
    "Which world."
    nodes: int
    "Servers."
    deliveries: int
    "Messages that reached a server."
    steps: int
    "Steps of all cores."
    ticks: int
    "Virtual time."
    elections: int
    "Terms that had a leader."
    committed: int
    "Entries."
    reads: int
    "Reads confirmed."
    snapshots: int
    "Snapshots received and installed."
    changes: int
    "Changes of the group that somebody asked for, and that were made."
    writes: int
    "Writes issued."
    faults: dict[str, int]
    "How often each fault happened."
    trace_hash: str | None = None
    "SHA-256 of all that happened, in hexadecimal; None where it was not asked for."


class World:
    """One seed's group of servers, and everything that happens to it."""

    def __init__(
        self,
        seed: int,
        *,
        nodes: int = 5,
        deliveries: int = 2000,
        trace: Callable[[str], None] | None = None,
        hashed: bool = False,
        recorder: Recorder | None = None,
    ) -> None:
        """`nodes` from 1 to 7; the storm ends after `deliveries`; `trace` is told all that happens.

        `hashed` keeps a running hash of all that, for `Report.trace_hash`. `recorder` records all cores.
        """
        rng = random.Random(f"raftkit world {seed}")
        swarm = Swarm.draw(rng)
        if seed % MULTICASTING == MULTICASTING - 1:
            swarm = swarm.multicasting(rng)
        if seed % TIMED == TIMED - 1:
            swarm = swarm.with_timing(rng)
        configuration, founding = founding_of(nodes, leases=swarm.leases)
        self.seed = seed
        self.deliveries = 0
        self._trace_hash = hashlib.sha256() if hashed else None
        self.stage = Stage(
            rng=rng,
            swarm=swarm,
            trace=self._hashing(trace) if hashed else trace,
            recorder=recorder,
        )
        self.network = Network(self.stage, self._arrived)
        self.ghosts = Ghosts(configuration, founding)
        self.servers: dict[NodeId, Server] = {}
        self.churn = Churn(self.stage, self.servers, self.ghosts)
        self.nemesis = Nemesis(self.stage, self.network, self.servers, self.churn)
        self._storm_deliveries = deliveries
        self._seen: list[tuple[float, Index]] = []
        "Moments, and how much was committed by then."
        self._founding = founding
        self._most_servers = nodes
        for member in configuration.members:
            self._make(member.identity)

    def run(self) -> Report:
        """Live through storm and calm. Raises InvariantViolated."""
        try:
            self.stage.tell(f"world {self.seed}: {self.stage.swarm}")
            self._storm()
            quorum = self._settles(self._calm())
            self._agrees(quorum)
            if self._hands_over(quorum):
                self._agrees(quorum)
            self._falls_silent(quorum)
        except Exception as error:
            if isinstance(error, InvariantViolated):
                name, detail = error.name, error.detail
            else:
                # An assertion of the core or of the simulated disk, or a crash of either.
                name, detail = "raised", f"{type(error).__name__}: {error}"
            raise InvariantViolated(name, detail, seed=self.seed, step=self.ghosts.steps) from error
        return self._report()

    def _make(self, identity: Identity) -> Server:
        """A server that holds entry 1, which founds the group or is what it is admitted with."""
        log = LogImage()
        log.append(self._founding)
        server = self.servers[identity.id] = Server(
            self.stage,
            self.network,
            self.ghosts,
            identity,
            WorldDisk(term=self._founding.term, voted_for=None, log=log),
            on_crash=self.nemesis.crashed,
            on_configuration=self._admit,
        )
        self._most_servers = max(self._most_servers, len(self.servers))
        return server

    def _admit(self, configuration: Configuration) -> None:
        """Whoever is named for the first time comes into being."""
        for member in configuration.members:
            if member.identity not in self.ghosts.shadows:
                self._make(member.identity).start()

    def _hashing(self, trace: Callable[[str], None] | None) -> Callable[[str], None]:
        """`trace`, with the running hash before it."""
        running = self._trace_hash
        assert running is not None

        def tell(line: str) -> None:
            running.update(line.encode())
            if trace is not None:
                trace(line)

        return tell

    # ── storm ──

    def _storm(self) -> None:
        for server in self.servers.values():
            server.start()
        self.nemesis.begin()
        self._client_of(self.stage.swarm.proposals, self._propose)
        self._client_of(self.stage.swarm.reads, self._read)
        self._client_of(self.stage.swarm.reads, self._look)
        agenda = self.stage.agenda
        # A single server sends nothing, so time ends a storm too.
        while self.deliveries < self._storm_deliveries and agenda.now < self._storm_deliveries:
            agenda.advance()
        self._within_budget()

    def _within_budget(self) -> None:
        """S30: messages are for heartbeats and for entries, not for messages (B15)."""
        swarm = self.stage.swarm
        beats = self.stage.agenda.now * TICK_MS / swarm.heartbeat_ms
        entries = sum(len(chain.payloads) for chain in self.ghosts.chains.values())
        # What arrived twice or again is answered again.
        again = swarm.duplication * self.network.sent
        again += 8 * (self.nemesis.count["replay"] + self.nemesis.count["forge"])
        budget = STORM_MESSAGES * self._most_servers * (beats + 3 * entries + 10) + again
        if self.network.sent > budget:
            fail(
                "S30 Budget",
                f"{self.network.sent} messages > {budget:.0f} for {beats:.0f} beats, {entries} entries",
            )

    def _arrived(self, sender: Identity, target: NodeId, message: Message) -> None:
        server = self.servers.get(target)  # none where a stranger's message was answered
        if server is not None and server.raft is not None:
            self.deliveries += 1
            server.take(Receive(sender=sender, message=message))

    def _client_of(self, rate: float, action: Callable[[], None]) -> None:
        """Do `action` at random times, `rate` times a tick, while the storm lasts."""
        if rate and not self.nemesis.over:
            self.stage.agenda.after(
                self.stage.rng.expovariate(rate), self._client_acts, rate, action
            )

    def _client_acts(self, rate: float, action: Callable[[], None]) -> None:
        if not self.nemesis.over:
            action()
        self._client_of(rate, action)

    def _propose(self) -> None:
        if server := self._asked():
            rng = self.stage.rng
            count = 1 if rng.random() < 0.8 else rng.randint(2, 6)
            server.propose(count, origin=rng.choice([None, *self.servers]))

    def _read(self) -> None:
        if server := self._asked():
            server.read(lease=self.stage.swarm.leases and self.stage.rng.random() < 0.5)

    def _look(self) -> None:
        """Somebody asks a server how old its copy is: all that was committed by then must be in it."""
        self._seen.append((self.stage.agenda.now, self.ghosts.commit_index))
        server = self._asked()
        complete = None if server is None else server.complete_at()
        if server is None or complete is None:
            return
        place = bisect_right(self._seen, complete, key=lambda it: it[0])
        if place and self._seen[place - 1][1] > server.applied_index:
            fail(
                "S26 Age",
                f"{server.identity.id} at {server.applied_index} says that it misses nothing of "
                f"{complete:.2f}, when {self._seen[place - 1][1]} was committed",
            )

    def _asked(self) -> Server | None:
        """Whom a client asks: mostly a leader, or who takes itself for one."""
        alive = [s for s in self.servers.values() if s.raft is not None]
        leaders = [s for s in alive if s.shadow.leads is not None]
        if leaders and self.stage.rng.random() < 0.7:
            return self.stage.rng.choice(leaders)
        return self.stage.rng.choice(alive) if alive else None

    # ── calm ──

    def _calm(self) -> list[Server]:
        """Mend a random quorum and its links; leave the others broken for good, each in its way.

        Whatever configuration comes into force in the end, they are a quorum of it.
        """
        self.nemesis.over = True
        for server in list(self.servers.values()):
            if server.paused:
                server.resume()
            server.free_disk()
        self._pass(SETTLE_TICKS)  # what was asked is done, or refused
        self.stage.swarm = self.stage.swarm.calm()
        self.network.deaf = frozenset()
        self.network.clogged.clear()
        possible = self.churn.possible_configurations()
        quorum = self._some_quorum(possible)
        cut: set[tuple[NodeId, NodeId]] = set()
        for name in self.servers:
            if name not in quorum:
                cut |= self._break(self.servers[name], quorum, possible)
        self.network.cut = frozenset(cut)
        self.stage.note(f"calm among {quorum}, cut: {sorted(cut)}")
        for name in quorum:
            if self.servers[name].raft is None:
                self.servers[name].start()
        return [self.servers[name] for name in quorum]

    def _some_quorum(self, possible: list[Configuration]) -> list[NodeId]:
        """Enough servers that are fit to lead, or more.

        No others could elect whoever has the longest log; who is barred neither votes nor says what it has.
        Those who are to become voters belong to it: they may have caught up, and count before long.
        """
        rng = self.stage.rng
        there = {
            it.identity: it for it in self.servers.values() if not it.retired and not it.barred
        }
        if not all(suffices(it, lambda who: who in there and there[who].able) for it in possible):
            self._update()
        able = [who for who, server in there.items() if server.able]
        chosen: set[Identity] = set()
        for identity in rng.sample(able, len(able)):
            if all(suffices(it, chosen.__contains__) for it in possible):
                break
            chosen.add(identity)
        chosen |= {m.identity for it in possible for m in it.members if m.role is Role.JOINING}
        others = [who for who in there if who not in chosen]
        chosen.update(rng.sample(others, rng.randint(0, len(others))))
        return [name for name, server in self.servers.items() if server.identity in chosen]

    def _update(self) -> None:
        """All get the newest code: of those that have it, too few are left."""
        for server in self.servers.values():
            if server.outdated:
                server.outdated = False
                if server.raft is not None:
                    server.crash()

    def _break(
        self, server: Server, quorum: list[NodeId], possible: list[Configuration]
    ) -> set[tuple[NodeId, NodeId]]:
        """Break a server that is not of the quorum; the links that it has no more."""
        name = server.identity.id
        if not any(it.knows(server.identity) for it in possible) and self.stage.rng.random() < 0.5:
            return set()  # removed, and free to disturb
        others = [other for other in self.servers if other != name]
        heard = {(other, name) for other in others}
        said = {(name, other) for other in others}
        fates = ("dead", "isolated", "deaf", "mute", "half", "stalled")
        fate = self.stage.rng.choice((*fates, "barred") if server.barred else fates)
        self.stage.note(f"{name} is {fate}")
        match fate:
            case "dead":
                if server.raft is not None:
                    server.crash()
                return heard | said
            case "barred":
                return set()  # that is enough, and must disturb nobody
            case "stalled":
                # It finishes no write any more: even if it leads, the others must be able to go on.
                server.stalled_until = math.inf
                return set()
            case "deaf":
                return heard
            case "mute":
                return said
            case "half" if min(len(half) for it in possible for half in it.halves) >= 5:
                # Two connected servers are no quorum, so this one can disturb but not lead.
                friend = self.stage.rng.choice(quorum)
                return (heard | said) - {(name, friend), (friend, name)}
            case _:
                return heard | said

    def _settles(self, quorum: list[Server]) -> list[Server]:
        """L1, L5: one of them leads before long, and leaves no change half done. The members among them."""
        begin, elected = self.stage.agenda.now, False
        last = max(server.shadow.issued.last_index for server in quorum)
        while True:
            leader = max(
                (s for s in quorum if s.shadow.leads), key=lambda s: s.shadow.term, default=None
            )
            if leader is not None and leader.raft is not None:
                configuration = leader.raft.configuration
                members = [s for s in quorum if configuration.knows(s.identity)]
                elected = elected or self._leader_of(members) is leader
                if elected and _is_settled(leader, quorum) and self._leader_of(members) is leader:
                    return members
            limit = LEADER_TICKS_MAX + elected * (LEADER_TICKS_MAX + CATCH_UP_TICKS * last)
            if self.stage.agenda.now > begin + limit:
                law = "L5 Settles" if elected else "L1 Elects"
                fail(law, f"not in {limit} ticks: {_states(quorum)}")
            self._write_where_nothing_is_written()
            self._pass(1.0)

    def _write_where_nothing_is_written(self) -> None:
        """A disk that stands still, or older code, does not show in an idle leader: it is asked to write."""
        for server in self.servers.values():
            stands = server.stalled_until == math.inf and not server.disk.queue
            unaware = server.outdated and server.applied_index == server.shadow.issued.last_index
            if (stands or unaware) and server.raft is not None and server.shadow.leads:
                server.propose(1)

    def _agrees(self, quorum: list[Server]) -> None:
        """L2: a proposal commits, and all of the quorum hold, commit and apply the same log."""
        agenda, begin = self.stage.agenda, self.ghosts.commit_index
        limit: float = LEADER_TICKS_MAX
        limit += CATCH_UP_TICKS * max(s.shadow.issued.last_index for s in quorum)
        # What the storm handed to slow machines is applied as slowly as it was.
        limit += max(0.0, *(s.applies_until - agenda.now for s in quorum))
        deadline, propose_at = agenda.now + limit, agenda.now
        while agenda.now < deadline:
            leader = self._leader_of(quorum)
            if leader is not None and agenda.now >= propose_at:
                leader.propose(1)
                propose_at = agenda.now + ELECTION_TICKS_MAX
            self._pass(1.0)
            last = self.ghosts.commit_index
            if last > begin and all(_has_all(server, last) for server in quorum):
                return
        fail("L2 Agrees", f"not in {limit:.0f} ticks: {begin}, {_states(quorum)}")

    def _hands_over(self, quorum: list[Server]) -> bool:
        """L5: leadership goes where it is asked to go. False if there is nobody to take it."""
        while self._is_handing_over(quorum):
            # As the storm told it: that ends by itself, and till then others are refused.
            self._pass(1.0)
        self._settles(quorum)
        leader = self._leader_of(quorum)
        assert leader is not None
        assert leader.raft is not None
        voters = leader.raft.configuration.voters
        able = [s for s in quorum if s is not leader and not s.outdated and s.identity.id in voters]
        if not able:
            return False
        target, deadline = self.stage.rng.choice(able), self.stage.agenda.now + TRANSFER_TICKS_MAX
        leader.transfer(target.identity.id)
        while self._leader_of(quorum) is not target:
            if self.stage.agenda.now > deadline:
                detail = (
                    f"{target.identity.id}, not in {TRANSFER_TICKS_MAX} ticks: {_states(quorum)}"
                )
                fail("L5 HandsOver", detail)
            self._pass(1.0)
        return True

    def _is_handing_over(self, quorum: list[Server]) -> bool:
        roles = [s.raft.state.role for s in quorum if s.raft is not None]
        return any(isinstance(role, Leader) and role.transfer is not None for role in roles)

    def _falls_silent(self, quorum: list[Server]) -> None:
        """L3, L6, S30: the leader stays, nothing is written, little is said though much arrives twice."""
        self.network.forget()
        self.stage.swarm = attrs.evolve(self.stage.swarm, duplication=IDLE_DUPLICATION)
        leader = self._leader_of(quorum)
        writes = sum(s.writes for s in quorum)
        names, sent, seen = {s.identity.id for s in quorum}, 0, len(self.network.history)
        budget = IDLE_MESSAGES * len(quorum) * (IDLE_BEATS + 1)
        until = self.stage.agenda.now + IDLE_BEATS * self.stage.swarm.heartbeat_ms / TICK_MS
        while self.stage.agenda.now < until:
            self._pass(1.0)
            # Others may be far behind, and are fed.
            said = self.network.history[seen:]
            seen += len(said)
            sent += sum(sender.id in names and target in names for sender, target, _ in said)
            if sent > budget:
                fail("S30 Budget", f"{sent} messages > {budget} when idle")
        if sum(s.writes for s in quorum) > writes:
            fail("L6 Quiescence", "an idle group writes")
        if leader is None or self._leader_of(quorum) is not leader:
            fail("L3 Stability", f"the leader was lost: {_states(quorum)}")

    def _leader_of(self, quorum: list[Server]) -> Server | None:
        first = quorum[0].raft
        assert first is not None
        for server in quorum:
            assert server.raft is not None
            if server.raft.leader != first.leader or server.raft.term != first.term:
                return None
        leader = next((s for s in quorum if s.identity.id == first.leader), None)
        return None if leader is not None and leader.outdated else leader

    def _pass(self, ticks: float) -> None:
        """Let time go on."""
        agenda = self.stage.agenda
        until = agenda.now + ticks
        agenda.after(ticks, lambda: None)
        while agenda.now < until:
            agenda.advance()

    def _report(self) -> Report:
        servers = self.servers.values()
        return Report(
            seed=self.seed,
            nodes=len(self.servers),
            deliveries=self.deliveries,
            steps=self.ghosts.steps,
            ticks=int(self.stage.agenda.now),
            elections=len(self.ghosts.leader_of),
            committed=self.ghosts.commit_index,
            reads=self.ghosts.callers.reads_confirmed,
            snapshots=self.ghosts.snapshots_installed,
            changes=self.ghosts.changes_made,
            writes=sum(s.writes for s in servers),
            faults=dict(self.nemesis.count),
            trace_hash=None if self._trace_hash is None else self._trace_hash.hexdigest(),
        )


def _has_all(server: Server, last: Index) -> bool:
    raft = server.raft
    assert raft is not None
    if last != raft.last_index or last != raft.commit_index:
        return False
    return server.outdated or last == server.applied_index


def _is_settled(leader: Server, quorum: list[Server]) -> bool:
    """Whether no change of the group is under way here: also none that ends this leadership.

    A server that was let go too early, when nothing named it but a message on its way, will never join.
    """
    raft, there = leader.raft, {server.identity for server in quorum}
    assert raft is not None
    return (
        raft.configuration_index <= raft.commit_index
        and not raft.configuration.outgoing
        and raft.configuration.votes(leader.identity.id)
        and all(
            it.role is not Role.JOINING or it.identity not in there
            for it in raft.configuration.members
        )
    )


def _states(servers: list[Server]) -> str:
    return "; ".join(
        f"{s.identity.id} {s.raft.role} {s.raft.term} of {s.raft.leader}, last {s.raft.last_index}, "
        f"durable {s.raft.durable_index}, committed {s.raft.commit_index}, applied {s.applied_index}"
        for s in servers
        if s.raft is not None
    )


@cache
def founding_of(nodes: int, *, leases: bool = False) -> tuple[Configuration, Run]:
    """The group, and entry 1 that every member begins with."""
    configuration = Configuration(
        members=tuple(Member(id=name, incarnation=1, address="") for name in NAMES[:nodes]),
        settings=Settings(entry_bytes_max=ENTRY_BYTES_MAX, leases=leases),
    )
    founding = Run(
        first=Index(1),
        term=Term(1),
        time_ns=0,
        elapsed_ns=0,
        kinds=(Kind.CONFIGURATION,),
        payloads=(configuration.encode(),),
    )
    return configuration, founding
