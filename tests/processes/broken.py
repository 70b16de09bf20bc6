"""Members that each do one thing wrong: a storm that doesn't notice them would be worth nothing.

    python -m tests.processes.broken NAME DIRECTORY FAULT NAME=HOST:PORT …

Not among them is a node that leaves out fsync: SIGKILL leaves what was written in the kernel's page cache, so
nothing is lost, and nobody could notice.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import trio

from raftkit import Node, RaftError, Token, open_node
from raftkit.messages import Write
from raftkit.storage import Storage, open_storage
from tests.processes.machine import Lists
from tests.processes.member import Service, main

__all__ = ["FAULTS"]


class ReadsLocally(Service):
    """Every node answers reads out of what it has applied."""

    async def read(self, key: str, timeout: float) -> tuple[int, ...]:  # noqa: ASYNC109
        """See `Service`."""
        return await self.node.read(Lists.values(key=key), consistency="local")


@attrs.define(eq=False)
class LeaderReadsLocally(Service):
    """A leader trusts that it still is, and looks only now and then: right until it is stopped for long."""

    reads: int = 0
    leads: bool = False

    async def read(self, key: str, timeout: float) -> tuple[int, ...]:  # noqa: ASYNC109
        """See `Service`."""
        if self.reads % 50 == 0:
            self.leads = self.node.status == "leader"
        self.reads += 1
        if self.leads:
            return await self.node.read(Lists.values(key=key), consistency="local")
        return await super().read(key, timeout)


class SendsAgainWithoutSession(Service):
    """What is sent again is a new command."""

    async def decide_again(self, command: Any, token: Token, timeout: float) -> Any:  # noqa: ASYNC109
        """See `Service`."""
        return await self.node.execute(command, timeout=timeout)


class AnswersTooSoon(Service):
    """A command is acknowledged when it is sent, before anybody decided it."""

    async def decide(self, command: Any, token: Token, timeout: float) -> Any:  # noqa: ASYNC109
        """See `Service`. Knows what an append returns; but a list that is given up must be answered."""
        if "append" not in repr(command):
            return await super().decide(command, token, timeout)
        trio.lowlevel.spawn_system_task(self._decide_later, command, token)
        await trio.lowlevel.checkpoint()
        return None

    async def _decide_later(self, command: Any, token: Token) -> None:
        await trio.sleep(0.02)
        with suppress(RaftError):
            await self.node.execute(command, token=token)


class LateStorage:
    """Says that a write is durable, and writes it when the next ones come."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._late: list[Write] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def perform(self, writes: Sequence[Write]) -> None:
        """Keep the newest writes back."""
        self._late += writes
        if len(self._late) > 40:
            self._storage.perform(self._late[:20])
            del self._late[:20]


class AcknowledgesBeforeWriting(Service):
    """A node acknowledges what its disk does not have."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls, name: str, addresses: Mapping[str, str], directory: str
    ) -> AsyncGenerator[Node[Lists]]:
        """See `Service`."""
        storage: Any = LateStorage(open_storage(directory, name))
        async with open_node(Lists, id=name, members=addresses, data_dir=storage) as node:
            yield node


FAULTS: Mapping[str, type[Service]] = {
    "reads locally": ReadsLocally,
    "leader reads locally": LeaderReadsLocally,
    "sends again without session": SendsAgainWithoutSession,
    "answers too soon": AnswersTooSoon,
    "acknowledges before writing": AcknowledgesBeforeWriting,
}
"By what is wrong."


if __name__ == "__main__":
    name, directory, fault, *places = sys.argv[1:]
    main(FAULTS[fault], name, directory, *places)
