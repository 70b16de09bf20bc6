"""Who has left the group: the links to it end, and if it is this node, it says so.

Laws: a link ends when the core is done with its peer, and not before: who is removed is to hear of it, and
who removes itself leads until that is committed. Nothing here ends a node: whoever runs it does.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from raftkit.core import Raft
from raftkit.driver.links import Links
from raftkit.driver.looking import next_look
from raftkit.membership import Configuration
from raftkit.model import Identity, NodeId

__all__ = ["Departing"]

LOOK_SECONDS = 0.5
"Between two looks at whether those who left may be let go."


@attrs.define(eq=False, kw_only=True)
class Departing:
    """What is known here of those who are members no more."""

    identity: Identity
    "Of this node."
    raft: Callable[[], Raft | None]
    "The core, to be read; None while unborn."
    links: Callable[[], Links]

    @property
    def is_removed(self) -> bool:
        """Whether the group goes on without this node, as far as known: by its log, or by what others say."""
        raft, links = self.raft(), self.links()
        if raft is None or raft.role == "leader":
            return False
        if links.was_member and not any(map(self._is_in, raft.possible_configurations)):
            return True
        # Who is on its way into the group is told so by its leader, and fed.
        return raft.leader is None and links.names_no_more

    def _is_in(self, configuration: Configuration) -> bool:
        return configuration.knows(self.identity)

    async def run(self) -> None:
        """For ever: end the links to whoever left the group, once the core is done with it."""
        while True:
            await trio.sleep_until(next_look(LOOK_SECONDS))
            raft, links = self.raft(), self.links()
            if raft is not None and links.leaving:
                links.let_go(_needed(raft))


def _needed(raft: Raft) -> set[NodeId]:
    """Whom the core may still have to talk to."""
    possible = {it.id for by in raft.possible_configurations for it in by.members}
    fed = {it.id for it in raft.peers()}
    return possible | fed | ({raft.leader} if raft.leader is not None else set())
