"""Changes of the group of a full-stack world: nodes come, are promoted, demoted and removed, and come back.

An operator may ask for what leaves no quorum of whole directories, and then has none; this one never does, or
nothing could be expected of the calm after the storm. Otherwise it asks for anything, at any time.

Laws: one change is asked for at a time, of the configuration that was looked at and of no other, so what may
be in force is known: it is in some node's log, or in what was asked last.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable
from functools import partial

import attrs
import trio

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
    second_step,
)
from raftkit.encoding import U64_MAX
from raftkit.membership import Configuration, Member, Role
from raftkit.model import Identity, Index, NodeId
from raftkit.testing.append_lists import Outcome
from raftkit.testing.full.operator import Operator
from raftkit.testing.full.server import FullServer
from raftkit.testing.full.stage import Story
from raftkit.testing.world.churn import suffices

__all__ = ["FullChurn"]

MEMBERS_MAX = 7
"Of a group that grows."
SERVERS_MAX = 9
"Members, and those that were removed."
NAMES = "abcdefghi"
"Of servers."


@attrs.define(eq=False, kw_only=True)
class FullChurn:
    """Asks leaders for changes, at random, and knows whom the group can miss."""

    rng: random.Random
    story: Story
    servers: list[FullServer]
    "Newcomers are added."
    make: Callable[[NodeId, Configuration], FullServer]
    "A server that is to join the group with these members, and is started."
    address_of: Callable[[NodeId], str]
    "Where a node is to be found."
    operator: Operator
    nursery: trio.Nursery
    asking: bool = attrs.field(init=False, default=False)
    "Whether a change is asked for, or about to be."
    _asked: list[Configuration] = attrs.field(init=False, factory=list[Configuration])
    "What the last change leads to, unless it is known what became of it."

    # ── whom the group can miss ──────────────────────────────────────────────────────────────────────

    def can_miss(self, *gone: FullServer) -> bool:
        """Whether a quorum of whole directories remains without these, whatever comes into force."""
        whole = [it for it in self.servers if it.harmed is None and it not in gone]
        return self.suffice(whole, self.possible())

    def suffice(self, servers: Collection[FullServer], among: Iterable[Configuration]) -> bool:
        """Whether these can elect and commit in each of the configurations."""
        there = {it.identity for it in servers}
        return all(suffices(_at_worst(it, there), there.__contains__) for it in among)

    def possible(self) -> list[Configuration]:
        """Every configuration that may come into force."""
        found = [*self._asked, *(it for server in self.servers for it in server.configurations)]
        return _each_once([*found, *(second_step(it) for it in found if it.outgoing)])

    # ── asking ───────────────────────────────────────────────────────────────────────────────────────

    def change(self) -> bool:
        """Ask a leader, or who takes itself for one, for something; whether there was anything to ask."""
        leader = self._some_leader()
        if self.asking or leader is None or leader.raft is None:
            return False
        current, based_on = leader.raft.configuration, leader.raft.configuration_index
        draws = (self._add, self._promote, self._demote, self._remove, self._several)
        changes = self.rng.choice((*draws, self._add, self._readmit, self._settings))(current)
        newcomers = [it.id for it in changes if isinstance(it, AddLearner)]
        if not changes or not self._is_sound(current, changes, newcomers):
            return False
        self.story.tell(f"churn: wants {changes}, as {leader.id} has the group")
        for name in newcomers:
            self._prepare(name, current)
        self.asking = True
        self.nursery.start_soon(self._ask, changes, based_on, newcomers)
        return True

    async def _ask(
        self, changes: tuple[Change, ...], based_on: Index, newcomers: list[NodeId]
    ) -> None:
        # Whoever has emptied a directory starts that node first, or its old self is met.
        if newcomers:
            await trio.sleep(self.rng.random())
        leader, outcome = self._some_leader(), Outcome.DID_NOT_HAPPEN
        if leader is not None:
            outcome = await self.operator.ask(
                leader,
                "change",
                lambda node, left: node.change_membership(
                    *changes, based_on=based_on, timeout=left
                ),
            )
        if outcome is not Outcome.UNKNOWN:
            self._asked = []  # it is nothing, or in the log of whoever leads
        self.asking = False

    def _is_sound(
        self, current: Configuration, changes: tuple[Change, ...], newcomers: list[NodeId]
    ) -> bool:
        """Whether a quorum would be whole at each step, and all the time; then it is expected."""
        # Who comes is not known yet, nor counted.
        known = (
            attrs.evolve(it, incarnation=U64_MAX) if isinstance(it, AddLearner) else it
            for it in changes
        )
        try:
            target = next_configuration(current, tuple(known))
            steps = [first_step(current, target), target]
        except ChangeRefused:
            return not newcomers and self.rng.random() < 0.2  # to see it refused
        asked, self._asked = self._asked, [*steps, *self._asked]
        sound = self.can_miss(*(it for it in self.servers if it.id in newcomers))
        self._asked = steps if sound else asked
        return sound

    def _prepare(self, name: NodeId, current: Configuration) -> None:
        """Let a newcomer wait to be admitted, with a directory that is new."""
        known = next((it for it in self.servers if it.id == name), None)
        if known is None:
            self.servers.append(self.make(name, current))
        elif known.harmed == "wiped":
            known.harmed = None  # its directory is new, and waits already
        else:
            known.renew(current)

    def _some_leader(self) -> FullServer | None:
        """One, if there is one, or who takes itself for one."""
        leaders = [it for it in self.servers if it.node is not None and it.node.status == "leader"]
        return self.rng.choice(leaders) if leaders else None

    # ── what is asked for ────────────────────────────────────────────────────────────────────────────

    def _add(self, current: Configuration) -> tuple[Change, ...]:
        """Somebody new, or who was a member once."""
        known = {it.id for it in self.servers}
        free = [name for name in NAMES if current.member(name) is None]
        names = [name for name in free if name in known or len(known) < SERVERS_MAX]
        if not names or len(current.members) >= MEMBERS_MAX:
            return ()
        return (self._admission(self.rng.choice(names)),)

    def _readmit(self, current: Configuration) -> tuple[Change, ...]:
        """A member comes back as another: one that has lost its directory, if there is any, or will."""
        names = {it.id for it in current.members}
        among = [it for it in self.servers if it.id in names]
        lost = [it for it in among if it.harmed is not None]
        return (self._admission(self.rng.choice(lost or among).id),)

    def _admission(self, name: NodeId) -> AddLearner:
        return AddLearner(id=name, address=self.address_of(name), promote=self.rng.random() < 0.7)

    def _promote(self, current: Configuration) -> tuple[Change, ...]:
        return tuple(Promote(id=name) for name in self._some(current.learners))

    def _demote(self, current: Configuration) -> tuple[Change, ...]:
        return tuple(Demote(id=name) for name in self._some(current.voters))

    def _remove(self, current: Configuration) -> tuple[Change, ...]:
        return tuple(Remove(id=name) for name in self._some(it.id for it in current.members))

    def _several(self, current: Configuration) -> tuple[Change, ...]:
        """Up to three members, each in some way."""
        names = [it.id for it in current.members]
        chosen = self.rng.sample(names, min(len(names), self.rng.randint(2, 3)))
        return tuple(map(partial(self._fate, current), sorted(chosen)))

    def _fate(self, current: Configuration, name: NodeId) -> Change:
        ways = (Promote, Remove) if name in current.learners else (Demote, Remove)
        return self.rng.choice(ways)(id=name)

    def _settings(self, current: Configuration) -> tuple[Change, ...]:
        settings = attrs.evolve(
            current.settings,
            replication_factor=self.rng.randint(1, len(current.voters)),
            snapshot_entries=self.rng.choice((3, 5, 10, 20)),
        )
        return (ChangeSettings(settings=settings),)

    def _some(self, names: Iterable[NodeId]) -> list[NodeId]:
        """One of them, if there is any."""
        among = list(names)
        return [self.rng.choice(among)] if among else []


def _each_once(configurations: Iterable[Configuration]) -> list[Configuration]:
    return list({it.encode(): it for it in configurations}.values())


def _at_worst(configuration: Configuration, there: Collection[Identity | None]) -> Configuration:
    """As it is when all who are to become voters, and will be of no use, have become it."""

    def promoted(member: Member) -> Member:
        lost = member.role is Role.JOINING and member.identity not in there
        return attrs.evolve(member, role=Role.VOTER) if lost else member

    return attrs.evolve(configuration, members=tuple(map(promoted, configuration.members)))
