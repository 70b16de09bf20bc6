"""The member of a group that is changed: the first three found it, another waits to be admitted.

python -m tests.processes.changeable NAME DIRECTORY NAME=HOST:PORT …
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import attrs
import trio

from raftkit import AddLearner, Node, Remove, open_node
from raftkit.messages import SnapshotInstalled
from tests.processes.machine import Lists
from tests.processes.member import main
from tests.processes.movable import Movable

__all__ = ["FOUNDERS", "Changeable"]

FOUNDERS = ("a", "b", "c")
SNAPSHOT_ENTRIES = 500
"Few, so that many are written meanwhile."


@attrs.define(eq=False)
class Changeable(Movable):
    """Serves changes of membership, and says how far the node is."""

    installed: int = attrs.field(init=False, default=0)
    "Snapshots of leaders that it took over."

    @classmethod
    def open(
        cls, name: str, addresses: Mapping[str, str], directory: str
    ) -> AbstractAsyncContextManager[Node[Lists]]:
        """A founder lists the founders; a newcomer knocks at them."""
        listed = {it: at for it, at in addresses.items() if it in {*FOUNDERS, name}}
        return open_node(
            Lists,
            id=name,
            members=listed,
            join=name not in FOUNDERS,
            data_dir=directory,
            snapshot_entries=SNAPSHOT_ENTRIES,
        )

    async def done(self, verb: object, arguments: list[Any]) -> list[object]:
        """See `Service`."""
        match [verb, *arguments]:
            case ["admit", name, address, timeout]:
                change = AddLearner(id=name, address=address, promote=True)
                return [await self.node.change_membership(change, timeout=timeout)]
            case ["remove", name, timeout]:
                return [await self.node.change_membership(Remove(id=name), timeout=timeout)]
            case ["progress"]:
                now = self.node.statistics()
                roles = {it.id: it.role for it in now.members}
                return [now.status, roles.get(now.id, ""), self.installed]
            case _:
                return await super().done(verb, arguments)

    async def run(self) -> None:
        """See `Service`."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._count)
            await super().run()
            nursery.cancel_scope.cancel()

    async def _count(self) -> None:
        async for event in self.node.events():
            self.installed += isinstance(event, SnapshotInstalled)


if __name__ == "__main__":
    main(Changeable, *sys.argv[1:])
