"""This node's side of its links: what the transport reports goes in, what is for peers goes out.

Law: nothing but hellos passes to or from a peer that is not heard (`greeting.py`).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from raftkit.driver.founding import Founding
from raftkit.driver.greeting import Greeting
from raftkit.driver.planning import Plan
from raftkit.driver.replica import Replica
from raftkit.driver_messages import DriverMessage, FoundingRecord, Frame, Hello
from raftkit.errors import WrongCluster
from raftkit.membership import Configuration
from raftkit.messages import Message
from raftkit.model import Identity, NodeId
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
    on_lost: Callable[[NodeId, bool], None]
    "What was on its way to a peer may be lost; True: and there is no link to it now."
    greeting: Greeting = attrs.field(init=False)
    "What is known of the peers."
    endpoint: LossyEndpoint | None = attrs.field(init=False, default=None)
    "The transport's; None before it is open."
    _born: FoundingRecord | None = attrs.field(init=False, default=None)
    _configuration: Configuration | None = attrs.field(init=False, default=None)
    "The newest one; None while unborn."
    _told: bool = attrs.field(init=False, default=False)
    "Whether a changed `members=` was logged."
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

    # ── out ──────────────────────────────────────────────────────────────────────────────────────

    def send(self, targets: Sequence[NodeId], body: Message | DriverMessage) -> None:
        """Send to those targets that are heard, once for all."""
        heard = [target for target in targets if self.greeting.is_heard(target)]
        if heard:
            self._out(heard, body)

    def expect(self, members: Mapping[NodeId, str]) -> None:
        """Be linked to these."""
        assert self.endpoint is not None
        self.greeting.expect(members)
        self.endpoint.connect({it.id: it.address for it in self.greeting.peers.values()})

    def adopt(self, born: FoundingRecord, configuration: Configuration) -> None:
        """This node belongs to a group now: speak as one of it."""
        assert self.endpoint is not None
        self._born = born
        self.endpoint.adopt(born.scope)
        self.follow(configuration)
        self.greeting.adopt(born.scope)

    def follow(self, configuration: Configuration) -> None:
        """The log says who the peers are, whatever `members=` says."""
        self._configuration = configuration
        members = {member.id: member.address for member in configuration.members}
        if members != self.plan.members and not self._told:
            self._told = True
            logger.warning(
                "%s: members=%s means nothing now: by the log they are %s",
                self.plan.id,
                dict(self.plan.members),
                members,
            )
        self._warn_of_few(len(configuration.voters))
        self.expect(members)

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
        elif self.greeting.hears(frame.sender):
            self.on_message(frame.sender, frame.body)

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
