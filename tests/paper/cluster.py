"""Several servers and a wire of which one decides what arrives: scripted scenarios, one letter at a time.

Nothing moves by itself: a letter arrives or is lost, a disk writes, time passes, when a test says so.
`elect` and `settle` are the two longer phrases that most scripts are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from raftkit.messages import (
    Effects,
    Input,
    Message,
    PreVoteReply,
    PreVoteRequest,
    Receive,
    VoteReply,
    VoteRequest,
)
from raftkit.model import Identity, NodeId
from tests.paper.server import ELECTION_MAX, Server


@attrs.frozen
class Letter:
    """A message on its way."""

    sender: Identity
    target: NodeId
    message: Message


@attrs.define
class Cluster:
    """Servers by name, and the letters between them in the order in which they were sent."""

    servers: dict[NodeId, Server]
    wire: list[Letter] = attrs.field(factory=list[Letter])
    delivered: list[Letter] = attrs.field(factory=list[Letter])
    "All that arrived, in order."

    def __getitem__(self, name: NodeId) -> Server:
        return self.servers[name]

    def step(self, name: NodeId, *inputs: Input) -> Effects:
        """One batch at one server; what it sends is on the wire afterwards."""
        effects = self.servers[name].step(*inputs)
        self.collect()
        return effects

    def collect(self) -> None:
        """Put on the wire what has left the servers."""
        for server in self.servers.values():
            for send in server.take_sent():
                for target in send.targets:
                    self.wire.append(Letter(server.config.identity, target, send.message))

    def deliver(self, letter: Letter) -> Effects:
        """This letter arrives, which may have been held for long."""
        self.delivered.append(letter)
        return self.step(letter.target, Receive(sender=letter.sender, message=letter.message))

    def lose(self) -> None:
        """All that is on the wire is lost."""
        self.collect()
        self.wire.clear()

    def settle(
        self,
        among: Iterable[NodeId] | None = None,
        *,
        only: Callable[[Letter], bool] | None = None,
        stuck: NodeId | None = None,
    ) -> None:
        """Deliver and write until nothing moves. Letters to or from others than `among` are lost.

        The disk of `stuck` does nothing.
        """
        ids = set(self.servers) if among is None else set(among)
        self.collect()
        while True:
            for name in sorted(ids - {stuck}):
                self.servers[name].persist_all()
            self.collect()
            if not self.wire:
                return
            letter = self.wire.pop(0)
            if {letter.sender.id, letter.target} <= ids and (only is None or only(letter)):
                self.deliver(letter)

    def pass_time(self, ticks: int, among: Iterable[NodeId] | None = None) -> None:
        """Time passes for these, a tick at a time; what they send arrives, and is written, at once."""
        ids = sorted(self.servers if among is None else among)
        for _ in range(ticks):
            for name in ids:
                self.servers[name].tick()
            self.settle(ids)

    def silence(self, ids: Iterable[NodeId]) -> None:
        """These hear of nobody for long: their leader is forgotten, and what they sent is lost."""
        for name in ids:
            self.servers[name].tick(ELECTION_MAX + 1)
        self.lose()

    def campaign(self, name: NodeId, voters: Iterable[NodeId]) -> None:
        """After a silence `id` asks the voters, again if it was behind in term; only votes travel."""
        everyone = {name, *voters}
        for _ in range(2):
            self.silence(everyone)
            self.servers[name].time_out()
            self.settle(everyone, only=lambda it: isinstance(it.message, VOTING))
            if self.servers[name].raft.role == "leader":
                break
        self.lose()

    def elect(self, name: NodeId, voters: Iterable[NodeId]) -> None:
        """`id` wins the votes of `voters`, and nobody else hears of it. Its entries reach nobody yet."""
        self.campaign(name, voters)
        assert self.servers[name].raft.role == "leader", f"{name} was not elected"


VOTING = PreVoteRequest | PreVoteReply | VoteRequest | VoteReply


def cluster(*servers: Server) -> Cluster:
    """A cluster of these."""
    return Cluster({server.id: server for server in servers})
