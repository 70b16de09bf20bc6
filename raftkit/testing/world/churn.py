"""Changes of a simulated group: servers come, are promoted, demoted and removed, and come back without disks.

An operator may ask for what leaves no quorum of servers alive, and then has none; this one never does, or
nothing could be expected of the calm after the storm. Otherwise it asks for anything, at any time.

Law: a server is made when a configuration names it, and ends when none does that may still be in force.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

import attrs

from raftkit.changes import (
    AddLearner,
    Change,
    ChangeRefused,
    ChangeSettings,
    Demote,
    Promote,
    Remove,
    first_step,
    next_configuration,
)
from raftkit.membership import Configuration, Role
from raftkit.model import Identity, Index, Kind, NodeId
from raftkit.testing.world.configurations import agree
from raftkit.testing.world.disk import LogImage
from raftkit.testing.world.ghosts import Ghosts
from raftkit.testing.world.server import Server
from raftkit.testing.world.stage import Stage

__all__ = ["Churn", "suffices"]

MEMBERS_MAX = 7
"Of a group that grows."
SERVERS_MAX = 9
"Members, and those that were removed and still run."
NAMES = "abcdefghijklmnop"
"Of servers."
ELECTION_TIMEOUTS_MS = ((250, 500), (150, 300), (240, 480))


class Churn:
    """Asks leaders for changes, at random."""

    def __init__(self, stage: Stage, servers: dict[NodeId, Server], ghosts: Ghosts) -> None:
        self.stage = stage
        self.servers = servers
        self.ghosts = ghosts
        self._lost: set[Identity] = set()

    def change(self) -> None:
        """Ask a leader, or who takes itself for one, for something; end servers that nobody names."""
        self._retire()
        leaders = [s for s in self.servers.values() if s.shadow.leads is not None and not s.paused]
        if not leaders:
            return
        leader = self.stage.rng.choice(leaders)
        assert leader.raft is not None
        current, based_on = leader.raft.configuration, leader.raft.configuration_index
        draws = (self._add, self._promote, self._demote, self._remove, self._several)
        more = (self._add, self._settings, self._readmit)
        changes = self.stage.rng.choice((*draws, *more))(current)
        if changes and self._is_sound(current, changes):
            self.stage.note(f"churn: asks {leader.identity.id} for {changes}")
            leader.change(changes, based_on)

    # ── what may be in force ──

    def possible_configurations(self) -> list[Configuration]:
        """The newest committed one, and whatever follows it in any log that may come back."""
        known = self.ghosts.configurations.indexes[-1]
        found = {self.ghosts.configurations.newest.encode(): self.ghosts.configurations.newest}
        for server in self.servers.values():
            for log in (server.shadow.issued, server.disk.log):
                found.update(_configurations(log, known))
        return list(found.values())

    def is_alive(self, identity: Identity) -> bool:
        """Whether this server has its disk, as it promised, whether it runs or not."""
        shadow = self.ghosts.shadows.get(identity)
        return shadow is not None and shadow.forgotten is None and identity not in self._lost

    def can_miss(self, server: Server) -> bool:
        """Whether a quorum remains without this one, whatever configuration comes into force."""
        if any(it.is_asked_to_change() for it in self.servers.values()):
            return False  # what that leads to is not known
        possible, me = self.possible_configurations(), server.identity
        joins = any(
            m.identity == me and m.role is Role.JOINING for it in possible for m in it.members
        )
        return not joins and all(
            suffices(it, lambda who: who != me and self.is_alive(who)) for it in possible
        )

    def _is_sound(self, current: Configuration, changes: tuple[Change, ...]) -> bool:
        """Whether a quorum would have its disks, at each step of the change."""
        try:
            target = next_configuration(current, changes)
            steps = (first_step(current, target), target)
        except ChangeRefused:
            return self.stage.rng.random() < 0.2  # to see it refused
        return all(suffices(step, self.is_alive) for step in steps)

    # ── what is asked for ──

    def _add(self, current: Configuration) -> tuple[Change, ...]:
        fresh = [
            name for name in NAMES if name not in self.servers and current.member(name) is None
        ]
        if len(current.members) >= MEMBERS_MAX or len(self.servers) >= SERVERS_MAX:
            return ()
        return (self._admission(fresh[0]),)

    def _admission(self, name: NodeId) -> AddLearner:
        known = [it.incarnation for it in self.ghosts.shadows if it.id == name]
        incarnation = max(known, default=0) + 1
        promote = self.stage.rng.random() < 0.6
        return AddLearner(id=name, incarnation=incarnation, address="", promote=promote)

    def _promote(self, current: Configuration) -> tuple[Change, ...]:
        return tuple(Promote(id=name) for name in self._some(current.learners))

    def _demote(self, current: Configuration) -> tuple[Change, ...]:
        return tuple(Demote(id=name) for name in self._some(current.voters))

    def _remove(self, current: Configuration) -> tuple[Change, ...]:
        return tuple(Remove(id=name) for name in self._some(m.id for m in current.members))

    def _several(self, current: Configuration) -> tuple[Change, ...]:
        """Up to three members, each in some way."""
        rng = self.stage.rng
        names = [member.id for member in current.members]
        chosen = rng.sample(names, min(len(names), rng.randint(2, 3)))
        return tuple(
            rng.choice((Promote, Remove))(id=name)
            if name in current.learners
            else rng.choice((Demote, Remove))(id=name)
            for name in sorted(chosen)
        )

    def _settings(self, current: Configuration) -> tuple[Change, ...]:
        rng = self.stage.rng
        settings = attrs.evolve(
            current.settings,
            replication_factor=rng.randint(1, len(current.voters)),
            election_timeout_ms=rng.choice(ELECTION_TIMEOUTS_MS),
        )
        return (ChangeSettings(settings=settings),)

    def _readmit(self, current: Configuration) -> tuple[Change, ...]:
        """A member loses its disk, and comes back as another."""
        for name in self._some(m.id for m in current.members):
            server = self.servers.get(name)
            if server is None or not current.knows(server.identity) or not self.can_miss(server):
                continue
            self._lost.add(server.identity)
            server.lose_disk()
            return (self._admission(name),)
        return ()

    def _some(self, names: Iterable[NodeId]) -> list[NodeId]:
        """One of them, if there is any."""
        among = list(names)
        return [self.stage.rng.choice(among)] if among else []

    def _retire(self) -> None:
        """End a server that no configuration names any more."""
        named = {m.identity for it in self.possible_configurations() for m in it.members}
        gone = [s for s in self.servers.values() if s.identity not in named]
        if gone and self.stage.rng.random() < 0.3:
            server = self.stage.rng.choice(gone)
            self.stage.note(f"churn: {server.identity} is retired")
            server.retire()
            del self.servers[server.identity.id]


def suffices(configuration: Configuration, there: Callable[[Identity], bool]) -> bool:
    """Whether these servers can elect and commit, in each half."""
    return agree(configuration, there, configuration.settings.replication_factor)


def _configurations(log: LogImage, after: Index) -> Mapping[bytes, Configuration]:
    """Those in this log after that index."""
    return {
        payload: _decoded(payload)
        for run in log.runs
        if run.last > after and run.kinds is not None and Kind.CONFIGURATION in run.kinds
        for place, (kind, payload) in enumerate(zip(run.kinds, run.payloads, strict=True))
        if kind is Kind.CONFIGURATION and run.first + place > after
    }


_decoded = lru_cache(maxsize=256)(Configuration.decode)
