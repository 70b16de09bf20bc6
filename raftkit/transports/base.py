"""What a transport promises: a frame arrives whole, late, twice or not at all, and from our own cluster.

Laws: nothing here blocks or waits. What does not fit into a bounded queue is dropped, never kept: the core
sends again what matters. Names end in what they may do to you: a *lossy* link is all that Raft needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from raftkit.driver_messages import DriverMessage, Frame, Scope
from raftkit.messages import Message
from raftkit.model import Identity, NodeId

__all__ = ["LossyEndpoint", "LossyTransport", "Sink"]


class Sink(Protocol):
    """Where an endpoint reports what happens. Called in trio's thread; none of it waits."""

    def linked(self, peer: NodeId) -> None:
        """A link to `peer` stands, or stands anew: whatever was known of the old one is void."""
        ...

    def received(self, frame: Frame) -> None:
        """A frame arrived: well formed, of this endpoint's scope unless it is a hello."""
        ...

    def unreachable(self, peer: NodeId, why: str) -> None:
        """The link to `peer` closed, or was refused. `why` is for people."""
        ...

    def objection(self, newcomer: Identity) -> str:
        """Why a link to `newcomer` must not replace the one that stands to another node of its name.

        Empty: it may. Asked before each such replacement; the words are for `newcomer`, which is refused.
        """
        ...

    def settings_differ(self, peer: NodeId) -> None:
        """`peer` has other settings of the transport where all must agree. Told at most once a minute."""
        ...


class LossyEndpoint(Protocol):
    """One node's end of its links.

    Frames may be dropped, duplicated and reordered. They are never corrupted, never of another cluster,
    and never outlive their link: what was sent to one life of a peer does not reach the next one. (So a
    request number remembered for as long as a link stands makes a request happen at most once.)
    """

    def adopt(self, scope: Scope) -> None:
        """From now on send and hear frames of `scope` only. Hellos of any scope are always heard."""
        ...

    def connect(self, peers: Mapping[NodeId, str]) -> None:
        """Keep a link to each of these peers at its address, and to no others that this side began.

        Tries for as long as the endpoint is open, ever less often, and reports each change to the sink.
        """
        ...

    def send(self, targets: Sequence[NodeId], body: Message | DriverMessage) -> None:
        """Queue one message for each target, encoded once. Dropped where there is no link.

        Each link's queue is bounded in bytes; when it is full the new frame is dropped.
        """
        ...


class LossyTransport(Protocol):
    """A way for nodes to reach each other. Stateless towards nodes: each opens its own endpoint."""

    def open_endpoint(
        self, identity: Identity, address: str, sink: Sink
    ) -> AbstractAsyncContextManager[LossyEndpoint]:
        """Listen at `address` as `identity` until the context ends, which closes every link at once.

        Raises ConfigError if `address` can't be used.
        """
        ...
