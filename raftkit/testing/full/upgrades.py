"""Upgrades of a full-stack world: servers get newer code one by one; its version comes in force by itself.

Law: until a version was in force anywhere a server may go back to the old code, and never afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import attrs

from raftkit.statemachine import StateMachine
from raftkit.testing.full.server import FullServer
from raftkit.testing.full.stage import Story
from raftkit.testing.full.witness import Witness

__all__ = ["FullUpgrades"]


@attrs.define(eq=False, kw_only=True)
class FullUpgrades:
    """Decides which code each server's next life has."""

    rng: random.Random
    story: Story
    servers: list[FullServer]
    witness: Witness
    older: Callable[[], StateMachine]
    "The machine that the group is founded with."
    newer: Callable[[], StateMachine] | None
    "The same by code of the next version, if there is any."

    def replace(self) -> bool:
        """Stop a server, which goes on with newer code, or, at times, with the old one again."""
        if self.newer is None:
            return False
        server = self.rng.choice(self.servers)
        if server.factory is not self.newer:
            self._give(server, self.newer)
        elif self.witness.version == 1 and self.rng.random() < 0.3:
            self._give(server, self.older)
        else:
            return False
        return True

    def finish(self, server: FullServer) -> None:
        """Let a server have the newest code, at last."""
        if self.newer is not None and server.factory is not self.newer:
            self._give(server, self.newer)

    def _give(self, server: FullServer, factory: Callable[[], StateMachine]) -> None:
        self.story.tell(f"{server.id} gets {'newer' if factory is self.newer else 'older'} code")
        server.factory = factory
        if server.running and not server.disk.is_off:
            server.stop()
