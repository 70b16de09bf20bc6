"""Two nodes of one name: the one that lives keeps its link, and the other is told to take another name.

    a hello of b@2, while b@1 is linked ── said something in the last second ──▶ refused
                                        └─ is asked for a word ── none in a second ──▶ b@2 takes its place

Laws: whose incarnation the configuration names is never kept from its link. A name is free as soon as its
link is closed, as it is when a process ends; a machine that vanished without a word keeps its name for some
seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import attrs
import trio

from raftkit.driver.events import NameTaken
from raftkit.driver.greeting import COMPLAIN_SECONDS, Greeting, Peer
from raftkit.model import Identity, NodeId

__all__ = ["Namesakes"]

LIVES_SECONDS = 1.0
"Who said something so lately is not asked whether it lives."
ANSWER_SECONDS = 1.0
"For its answer to whom is asked."

logger = logging.getLogger("raftkit")


@attrs.define(eq=False, kw_only=True)
class Namesakes:
    """Who comes under a name that is in use."""

    id: NodeId
    "Of this node."
    greeting: Greeting
    "Who is linked, and what was heard of it."
    publish: Callable[[NameTaken], None]
    _asked_at: dict[Identity, float] = attrs.field(init=False, factory=dict[Identity, float])
    "When each that is linked was last asked whether it lives, in trio's time."
    _told_at: dict[NodeId, float] = attrs.field(init=False, factory=dict[NodeId, float])
    "When the log was last told of that name."

    def objection(self, newcomer: Identity) -> str:
        """Why `newcomer` can't have its name, in words for it; empty if nobody else of that name lives."""
        peer = self.greeting.find(newcomer.id)
        if peer is None or not peer.linked or peer.identity in (None, newcomer):
            return ""
        if not self._lives(peer):
            return ""
        return (
            f"another node named {peer.id} is alive at {peer.address}: give this one another name"
        )

    def _lives(self, peer: Peer) -> bool:
        """Whether `peer`, which is linked, has said something; if not of late, it is asked first."""
        assert peer.identity is not None
        now = trio.current_time()
        if now - peer.heard_at < LIVES_SECONDS:
            return True
        asked_at = self._asked_at.get(peer.identity, peer.heard_at)
        if asked_at <= peer.heard_at:
            self._asked_at = {peer.identity: now}
            self.greeting.ask(peer)
            return True
        return now - asked_at < ANSWER_SECONDS

    def tell(self, newcomer: Identity) -> None:
        """It was refused: one line, and an event, but not for each of its attempts."""
        now, peer = trio.current_time(), self.greeting.find(newcomer.id)
        last = self._told_at.get(newcomer.id, float("-inf"))
        if peer is not None and now >= last + COMPLAIN_SECONDS:
            self._told_at[newcomer.id] = now
            logger.warning(
                "%s: refused %s, for another node named %s is alive at %s: give the new one another name",
                *(self.id, newcomer, peer.id, peer.address),
            )
            self.publish(NameTaken(newcomer=newcomer, address=peer.address))
