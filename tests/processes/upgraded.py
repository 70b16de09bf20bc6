"""The member of a storm with newer code: `Lists` of version 2.

python -m tests.processes.upgraded NAME DIRECTORY NAME=HOST:PORT …
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import attrs

from raftkit import Node, command, open_node, since, upgrade
from tests.processes.machine import Lists
from tests.processes.member import SNAPSHOT_ENTRIES, Service, main

__all__ = ["Tagged"]

HOLD_SECONDS = 1.0
"Long enough for a test to see that a version is not in force yet."


@attrs.define
class Tagged(Lists):
    """Lists, and a tag for some; the chain knows at which entry it became this."""

    tags: dict[str, int] = attrs.field(factory=dict[str, int], metadata=since(2))
    "By key."

    @command(since=2)
    def tag(self, key: str, tag: int) -> int:
        """Tag a list, there or not; how many have a tag."""
        self._note(f"tag {key} {tag}")
        self.tags[key] = tag
        return len(self.tags)

    @upgrade(to=2)
    def begin(self) -> None:
        """One more thing in the chain, so that a replica that does it elsewhere, or twice, differs."""
        self._note(f"version 2 at {self.ctx.index} after {self.count}")


class Newer(Service):
    """Serves what `Tagged` can do."""

    @classmethod
    def open(
        cls, name: str, addresses: Mapping[str, str], directory: str
    ) -> AbstractAsyncContextManager[Node[Any]]:
        """See `Service`."""
        return open_node(
            Tagged,
            id=name,
            members=addresses,
            data_dir=directory,
            snapshot_entries=SNAPSHOT_ENTRIES,
            upgrade_hold=HOLD_SECONDS,
        )

    async def done(self, verb: object, arguments: list[Any]) -> list[object]:
        """See `Service`."""
        match [verb, *arguments]:
            case ["tag", key, tag, timeout]:
                node: Node[Any] = self.node
                return [await node.execute(Tagged.tag(key=key, tag=tag), timeout=timeout)]
            case ["version"]:
                return [self.node.statistics().version]
            case _:
                return await super().done(verb, arguments)


if __name__ == "__main__":
    main(Newer, *sys.argv[1:])
