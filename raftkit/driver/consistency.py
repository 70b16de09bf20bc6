"""What a read waits for, by what its caller asks: a majority, a lease, an index, or nobody.

Law: nothing is weakened in silence. Where a lease does not hold, a majority is asked; what can't be meant, or
can't be had in this group, is refused.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Generic, Literal, TypeAlias, TypeVar

import attrs

from raftkit.errors import LocalProtocolError
from raftkit.model import Index

if TYPE_CHECKING:
    from raftkit.driver.server import Server

__all__ = ["Consistency", "LocalAnswer", "Wanted"]

R_co = TypeVar("R_co", covariant=True)

Consistency: TypeAlias = Literal["linearizable", "lease", "local"]
"See `raftkit.Node.read`."


@attrs.frozen(kw_only=True)
class LocalAnswer(Generic[R_co]):
    """What one node's copy of the state answers, and how old that may be."""

    value: R_co
    "The answer."
    index: Index
    "Everything up to this entry is in it: a read elsewhere `after` this index sees as much."
    staleness: float | None
    "It misses nothing that was decided so many seconds ago; None: this node can't say."


@attrs.frozen(kw_only=True)
class Wanted:
    """What the caller of a read asks for. Raises LocalProtocolError for what can't be meant."""

    consistency: Consistency
    "Whom to ask."
    staleness_max: float | None
    "Ask nobody while the copy here misses nothing that was decided so many seconds ago."
    after: int
    "The copy must contain the entry at this index."

    def __attrs_post_init__(self) -> None:
        if self.consistency not in ("linearizable", "lease", "local"):
            raise LocalProtocolError(
                f'consistency is "linearizable", "lease" or "local", not {self.consistency!r:.80}'
            )
        if type(self.after) is not int or self.after < 0:
            raise LocalProtocolError(f"after is an index, from 0, not {self.after!r:.80}")
        if self.staleness_max is None:
            return
        if type(self.staleness_max) not in (int, float) or not 0 <= self.staleness_max < math.inf:
            raise LocalProtocolError(
                f"staleness_max is a number of seconds, from 0, not {self.staleness_max!r:.80}"
            )
        if self.consistency == "local":
            raise LocalProtocolError(
                "a local read asks nobody, however old its answer: leave out consistency, or staleness_max"
            )

    def check(self, server: Server) -> None:
        """Raises LocalProtocolError if this group can't do that."""
        raft = server.raft
        settings = server.plan.settings if raft is None else raft.configuration.settings
        if self.consistency == "lease" and not settings.leases:
            raise LocalProtocolError(
                'consistency="lease" in a group that has none: found it with open_node(leases=True), '
                "or leave out consistency"
            )

    def holds(self, server: Server) -> bool:
        """Whether the copy at `server` is good enough as it is."""
        if server.applying.applied < self.after:
            return False
        if self.staleness_max is None:
            return self.consistency == "local"
        staleness = server.staleness
        return staleness is not None and staleness <= self.staleness_max

    async def wait(self, server: Server) -> None:
        """Wait until the copy at `server` is good enough. Raises NodeClosed when the node ends before."""
        if self.after > server.applying.applied:
            await server.applying.wait_applied(Index(self.after))
        if not self.holds(server):
            await server.catch_up(lease=self.consistency == "lease")
