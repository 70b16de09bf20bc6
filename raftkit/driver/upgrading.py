"""Which version of the machine the group's code has, and when it comes in force: rolling upgrades.

Laws: a version comes in force by an entry, which is proposed only while every voter's hello names it or a
later one, and every other member that is heard too; a leader does so by itself once that has been so for a
while. It is never taken back. Members of one version are expected to have the same machine and the same
Python: where they don't, it is said.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable
from typing import Any

import attrs
import trio

from raftkit.core import Raft
from raftkit.driver.calling import Calling
from raftkit.driver.events import MachineDiffers, VersionRaised
from raftkit.driver.greeting import Greeting
from raftkit.driver.looking import next_look
from raftkit.driver.replica import Replica
from raftkit.driver_messages import Hello
from raftkit.errors import NodeClosed, NoQuorum, NotYetEnabled, RaftError
from raftkit.model import NodeId

__all__ = ["Upgrading"]

LOOK_SECONDS = 1.0
"Between two looks at what the members' code has."
PROPOSE_SECONDS = 10.0
"A leader that can't have a version decided in this time looks again."

logger = logging.getLogger("raftkit")


@attrs.define(eq=False, kw_only=True)
class Upgrading:
    """What a node knows of its members' code."""

    id: NodeId
    "Of the node."
    replica: Replica[Any]
    calling: Calling
    greeting: Callable[[], Greeting]
    raft: Callable[[], Raft | None]
    "The core, to be read; None while unborn."
    publish: Callable[[MachineDiffers | VersionRaised], None]
    fingerprint: bytes
    "Of this node's machine, see `Hello`."
    hold_seconds: float
    "How long all must have had a version before this node, if it leads, brings it in force; inf: never."
    _told: dict[NodeId, str] = attrs.field(init=False, factory=dict[NodeId, str])
    "What was said last of each member that differs."
    _version: int = attrs.field(init=False, default=1)
    "The last that was said to be in force."

    # ── what is known ────────────────────────────────────────────────────────────────────────────

    def versions(self) -> dict[NodeId, int]:
        """The newest version that the code of each member has which is heard, this node included."""
        heard = {self.id: self.replica.newest_version}
        for peer in self.greeting().peers.values():
            if not peer.why and peer.hello is not None:
                heard[peer.id] = peer.hello.machine_version
        return heard

    def reachable(self) -> int:
        """The highest version that may come in force now; 0 while some voter is not heard, or unborn."""
        raft = self.raft()
        if raft is None:
            return 0
        heard = self.versions()
        members = heard.keys() & {it.id for it in raft.configuration.members}
        voters = {it for half in raft.configuration.halves for it in half}
        return min(heard.get(it, 0) for it in members | voters)

    def explain(self) -> list[str]:
        """In words, what keeps a version that somebody's code has from coming in force; and who differs."""
        words = [f"{name} {why}" for name, why in sorted(self._differences().items())]
        heard = self.versions()
        if max(heard.values()) > self.replica.version:
            words.insert(0, self._held_back(heard))
        return words

    def _held_back(self, heard: dict[NodeId, int]) -> str:
        newest, version = max(heard.values()), self.replica.version
        first = f"version {version} of the machine is in force, version {newest} is there"
        if self.reachable() > version:
            return f"{first}: it comes in force after upgrade_hold, or by `await node.upgrade()`"
        raft = self.raft()
        voters = (
            {it for half in raft.configuration.halves for it in half} if raft else set[NodeId]()
        )
        behind = [
            f"{name} {f'has version {heard[name]}' if name in heard else 'is not heard'}"
            for name in sorted(voters | heard.keys())
            if heard.get(name, 0) <= version
        ]
        return f"{first}; it waits for {', '.join(behind)}"

    def _differences(self) -> dict[NodeId, str]:
        """By member: what it has otherwise than this node, though it is code of one version."""
        found = {
            peer.id: self._difference(peer.hello)
            for peer in self.greeting().peers.values()
            if not peer.why and peer.hello is not None
        }
        return {name: why for name, why in found.items() if why}

    def _difference(self, hello: Hello) -> str:
        version, own = self.replica.newest_version, sys.version_info
        if hello.machine_version == version and hello.fingerprint != self.fingerprint:
            return (
                f"has another machine than {self.id}, both of version {version}: run the same code "
                f"everywhere, and mark what is new with since({version + 1})"
            )
        if hello.python != (own.major, own.minor):
            theirs = ".".join(map(str, hello.python))
            return f"runs Python {theirs}, and {self.id} {own.major}.{own.minor}: make them one"
        return ""

    # ── what is done about it ────────────────────────────────────────────────────────────────────

    def on_hello(self) -> None:
        """A member said hello: if it differs, say so, once for each way in which it does."""
        now = self._differences()
        for name, why in now.items():
            if self._told.get(name) != why:
                logger.warning("%s: %s %s", self.id, name, why)
                self.publish(MachineDiffers(peer=name, why=why))
        self._told = now

    def on_applied(self) -> None:
        """Entries were applied, or a snapshot installed: if another version is in force, say so."""
        if self.replica.version != self._version:
            self._version = self.replica.version
            self.publish(VersionRaised(version=self._version))

    async def upgrade(self, *, within: float) -> int:
        """Bring the highest version in force that may be; the version in force then.

        Raises NotYetEnabled where there is a newer one that may not; NoQuorum, OutcomeUnknown or NodeClosed.
        """
        ends = trio.current_time() + within
        with trio.move_on_at(ends) as patience:
            await self.calling.catch_up()
        if patience.cancelled_caught:
            raise NoQuorum(f"which version is in force could not be learnt within {within:g} s")
        reachable = self.reachable()
        if reachable > self.replica.version:
            left = ends - trio.current_time()
            return await self.calling.raise_version(reachable, within=left)
        heard = self.versions()
        if max(heard.values()) > self.replica.version:
            raise NotYetEnabled(self._held_back(heard))
        return self.replica.version

    async def run(self) -> None:
        """For ever: while this node leads, bring in force what all have had for `hold_seconds`."""
        since = math.inf
        while True:
            await trio.sleep_until(next_look(LOOK_SECONDS))
            raft = self.raft()
            if raft is None or raft.role != "leader" or self.reachable() <= self.replica.version:
                since = math.inf
                continue
            since = min(since, trio.current_time())
            if trio.current_time() - since >= self.hold_seconds:
                await self._raise()

    async def _raise(self) -> None:
        try:
            await self.upgrade(within=PROPOSE_SECONDS)
        except NodeClosed:
            await trio.sleep_forever()  # it is about to end, or has stopped applying
        except RaftError as error:
            logger.warning("%s: no other version came in force: %s", self.id, error)
