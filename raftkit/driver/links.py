"""This node's side of its links: what the transport reports goes in, what is for peers goes out.

Laws: nothing but hellos, and who the members are, passes to or from a peer that is not heard (`greeting.py`).
Links are kept to the members of the configuration in force, to those who leave until the core is done with
them, and to those who are invited.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

from raftkit.driver.events import NameTaken, SettingsDiffer
from raftkit.driver.founding import Founding
from raftkit.driver.greeting import Greeting
from raftkit.driver.namesakes import Namesakes
from raftkit.driver.planning import Plan
from raftkit.driver.replica import Replica
from raftkit.driver_messages import (
    DriverMessage,
    FoundingRecord,
    Frame,
    Hello,
    Membership,
    Scope,
)
from raftkit.errors import WrongCluster
from raftkit.membership import Configuration
from raftkit.messages import Message
from raftkit.model import Identity, Index, NodeId
from raftkit.storage import IdentityRecord
from raftkit.transports import LossyEndpoint
from raftkit.wire import FORMAT

__all__ = ["Links"]

logger = logging.getLogger("raftkit")


@attrs.define(eq=False, kw_only=True)
class Links:
    """A `Sink`, and the way out. Give it an endpoint before anything is sent."""

    plan: Plan
    "Of this node."
    record: IdentityRecord
    "Who this node is, and what an earlier life remembered."
    replica: Replica[Any]
    "For what the hello says of the machine."
    founding: Founding
    "For what the hello says of the list and the settings."
    on_message: Callable[[Identity, Message | DriverMessage], None]
    "Somebody who is heard says something other than hello."
    on_hello: Callable[[Hello], None]
    "Somebody expected said hello."
    on_change: Callable[[], None]
    "What is known of a peer changed."
    publish: Callable[[NameTaken | SettingsDiffer], None]
    on_lost: Callable[[NodeId, bool], None]
    "What was on its way to a peer may be lost; True: and there is no link to it now."
    greeting: Greeting = attrs.field(init=False)
    "What is known of the peers."
    namesakes: Namesakes = attrs.field(init=False)
    "Who may not have the name that it gives."
    endpoint: LossyEndpoint | None = attrs.field(init=False, default=None)
    "The transport's; None before it is open."
    _born: FoundingRecord | None = attrs.field(init=False, default=None)
    _configuration: Configuration | None = attrs.field(init=False, default=None)
    "The newest one; None while unborn."
    _index: Index = attrs.field(init=False, default=Index(0))
    "Where that stands in the log."
    _staying: Mapping[NodeId, str] = attrs.field(init=False, factory=dict[NodeId, str])
    "Members, by that configuration or the list, and members of before that are not let go yet."
    _invited: dict[NodeId, str] = attrs.field(init=False, factory=dict[NodeId, str])
    "Who is to become a member as soon as it is known who that is."
    was_member: bool = attrs.field(init=False, default=False)
    "Whether this node was a member in this life, by its own log."
    _shown: tuple[Index, bool] = attrs.field(init=False, default=(Index(0), True))
    "Where the newest configuration stands that others showed, and whether it names this node."
    _told_voters: int = attrs.field(init=False, default=0)
    "How many voters there were when that was last looked at."

    def __attrs_post_init__(self) -> None:
        self.greeting = Greeting(
            identity=self.record.identity,
            send=lambda peer, hello: self._out((peer,), hello),
            hello=self._hello,
            on_change=self.on_change,
        )
        self.greeting.recall(self.record.remembered)
        self.namesakes = Namesakes(
            id=self.record.identity.id, greeting=self.greeting, publish=self.publish
        )

    # ── out ──────────────────────────────────────────────────────────────────────────────────────

    def send(self, targets: Sequence[NodeId], body: Message | DriverMessage) -> None:
        """Send to those targets that are heard, once for all."""
        heard = [target for target in targets if self.greeting.is_heard(target)]
        if heard:
            self._out(heard, body)

    def expect(self, members: Mapping[NodeId, str]) -> None:
        """These are the members; be linked to them, and to no others."""
        self._staying = members
        self._connect()

    def _connect(self) -> None:
        assert self.endpoint is not None
        self.greeting.expect(self._staying, self._index)
        wanted = {**self._staying, **self._invited}
        wanted.pop(self.record.identity.id, None)
        self.endpoint.connect(dict(sorted(wanted.items())))

    @contextmanager
    def invited(self, newcomers: Mapping[NodeId, str]) -> Generator[None]:
        """Try to be linked to these, too, while the body runs; whoever comes is a guest."""
        self._invited.update(newcomers)
        self._connect()
        try:
            yield
        finally:
            for newcomer in newcomers:
                self._invited.pop(newcomer, None)
            self._connect()

    def belong(self, scope: Scope) -> None:
        """This node is of that cluster, and says so, though it can't take part yet."""
        assert self.endpoint is not None
        self.endpoint.adopt(scope)
        self.greeting.adopt(scope)

    def adopt(self, born: FoundingRecord, index: Index, configuration: Configuration) -> None:
        """This node belongs to a group now: speak as one of it."""
        assert self.endpoint is not None
        self._born = born
        self.endpoint.adopt(born.scope)
        self._warn_of_other_members(configuration)
        self.follow(index, configuration)
        self.greeting.adopt(born.scope)

    def follow(self, index: Index, configuration: Configuration) -> None:
        """The log says who the peers are, at that index, whatever `members=` says."""
        self._configuration, self._index = configuration, index
        self.was_member |= configuration.knows(self.record.identity)
        members = {member.id: member.address for member in configuration.members}
        self._warn_of_few(len(configuration.voters))
        # Who is a member no more is told so before its link may go.
        self._staying = {**self._staying, **members}
        self._connect()

    @property
    def leaving(self) -> frozenset[NodeId]:
        """To whom there is a link though the configuration in force does not name it."""
        members = self._configuration.members if self._configuration is not None else ()
        return frozenset(self._staying.keys() - {it.id for it in members})

    @property
    def names_no_more(self) -> bool:
        """Whether others showed a configuration newer than ours, and the newest does not name this node."""
        index, named = self._shown
        return index > self._index and not named

    def let_go(self, still_wanted: Collection[NodeId]) -> None:
        """The core is done with those that leave, but for these."""
        gone = self.leaving.difference(still_wanted)
        if gone:
            self._staying = {it: at for it, at in self._staying.items() if it not in gone}
            self._connect()

    def _warn_of_other_members(self, configuration: Configuration) -> None:
        """Whoever changed `members=` may think that this changes something."""
        members = {member.id: member.address for member in configuration.members}
        if members != self.plan.members and not self.plan.joins:
            logger.warning(
                "%s: members=%s means nothing now: by the log they are %s",
                self.plan.id,
                dict(self.plan.members),
                members,
            )

    def _warn_of_few(self, voters: int) -> None:
        """A majority of one or of two is all of them, which is not what a group is for."""
        if voters < 3 and voters != self._told_voters:
            logger.warning(
                "%s: a group of %d decides nothing while one is away: for production have 3 voters",
                self.plan.id,
                voters,
            )
        self._told_voters = voters

    # ── in: a Sink ───────────────────────────────────────────────────────────────────────────────

    def linked(self, peer: NodeId) -> None:
        """See `Sink`."""
        self.on_lost(peer, False)
        self.greeting.on_linked(peer)

    def unreachable(self, peer: NodeId, why: str) -> None:
        """See `Sink`."""
        self.greeting.on_unreachable(peer, why)
        self.on_lost(peer, True)

    def received(self, frame: Frame) -> None:
        """See `Sink`."""
        if isinstance(frame.body, Hello):
            if self.greeting.on_hello(frame, frame.body):
                self.on_hello(frame.body)
                self._tell_members(frame)
        elif isinstance(frame.body, Membership):
            self._on_membership(frame.sender, frame.body)
        elif self.greeting.hear(frame.sender):
            self.on_message(frame.sender, frame.body)

    def objection(self, newcomer: Identity) -> str:
        """See `Sink`. The very member that the configuration names is never kept out."""
        if self._configuration is not None and self._configuration.knows(newcomer):
            return ""
        why = self.namesakes.objection(newcomer)
        if why:
            self.namesakes.tell(newcomer)
        return why

    def settings_differ(self, peer: NodeId) -> None:
        """See `Sink`."""
        self.publish(SettingsDiffer(peer=peer))

    def _tell_members(self, hello: Frame) -> None:
        """One of our cluster may have missed changes: whom we have as members, it may not know yet."""
        born, configuration = self._born, self._configuration
        if born is not None and configuration is not None and hello.scope == born.scope:
            news = Membership(index=self._index, configuration=configuration)
            self._out((hello.sender.id,), news)

    def _on_membership(self, sender: Identity, said: Membership) -> None:
        """If it is newer than ours, its members are heard; perhaps this node is none any more."""
        if said.configuration.knows(sender):
            self.greeting.vouch(sender, said.index)
        if said.index > self._shown[0]:
            self._shown = said.index, said.configuration.knows(self.record.identity)

    def check_cluster(self) -> None:
        """Raise WrongCluster if most members are of one other cluster: then this directory is wrong."""
        foreign = self.greeting.foreign_cluster()
        if foreign is not None:
            assert self._born is not None
            raise WrongCluster(
                f"{self.plan.id}: this directory is of cluster {self._born.scope.cluster.hex()}, "
                f"but {foreign}: start each node with its own directory"
            )

    # ── who we are ───────────────────────────────────────────────────────────────────────────────

    def _out(self, targets: Sequence[NodeId], body: Message | DriverMessage) -> None:
        if self.endpoint is not None:
            self.endpoint.send(targets, body)

    def _hello(self, peer: Identity | None) -> Hello:
        """Who this node is, said to `peer`, with the founding record if it is to be born by it."""
        offer = None
        if peer is not None and self._configuration is not None and self._configuration.knows(peer):
            offer = None if self.greeting.has_acknowledged(peer) else self._born
        return Hello(
            wire_format=FORMAT,
            # The boots of a copy are not to outnumber those of the directory that may be restored.
            boot=1 if self.greeting.is_rolled_back else self.record.boot,
            nonce=self.record.nonce,
            address=self.plan.members[self.plan.id],
            founders=self.founding.founders,
            settings_hash=self.founding.settings_hash(),
            founding=offer,
            remembered=None,
            machine_version=self.replica.newest_version,
            fingerprint=self.founding.fingerprint,
            python=(sys.version_info.major, sys.version_info.minor),
        )
