"""The member whose leadership is handed over: it writes in its node's own session, and hands over when asked.

python -m tests.processes.movable NAME DIRECTORY NAME=HOST:PORT …
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from raftkit import Node, open_node
from tests.processes.machine import Lists
from tests.processes.member import Service, main

__all__ = ["Movable"]


class Movable(Service):
    """Serves writes without tokens, as programs call `Node.execute`."""

    @classmethod
    def open(
        cls, name: str, addresses: Mapping[str, str], directory: str
    ) -> AbstractAsyncContextManager[Node[Lists]]:
        """As a program would: what is measured here is not what the invariants cost."""
        return open_node(Lists, id=name, members=addresses, data_dir=directory)

    async def done(self, verb: object, arguments: list[Any]) -> list[object]:
        """See `Service`."""
        match [verb, *arguments]:
            case ["write", key, value, timeout]:
                command = Lists.append(key=key, value=value)
                return [await self.node.execute(command, timeout=timeout)]
            case ["hand over", to, timeout]:
                return [await self.node.transfer_leadership(to, timeout=timeout)]
            case _:
                return await super().done(verb, arguments)


if __name__ == "__main__":
    main(Movable, *sys.argv[1:])
