"""A group whose nodes differ: in their machines, in their storage, in how they end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from raftkit import MemoryNetwork, Node, RaftError, open_node
from raftkit.storage import MemoryStorage

__all__ = ["MixedGroup", "led_by_a", "mixed_group"]

ELECTION_SECONDS = 0.5
"The longest election timeout; candidates that meet need another."


@attrs.define
class MixedGroup:
    """Running nodes, and how others ended."""

    nodes: dict[str, Node[Any]] = attrs.field(factory=dict[str, Node[Any]])
    errors: dict[str, RaftError] = attrs.field(factory=dict[str, RaftError])
    "What was raised out of the scope of each node that has failed."

    def __getitem__(self, name: str) -> Node[Any]:
        return self.nodes[name]

    async def wait_leader(self, *names: str) -> Node[Any]:
        """Wait until one of these leads."""
        while True:
            for name in names:
                if self.nodes[name].status == "leader":
                    return self.nodes[name]
            await trio.sleep(0.001)


@asynccontextmanager
async def mixed_group(
    machines: Mapping[str, Callable[[], Any]], storages: Mapping[str, Any] | None = None
) -> AsyncGenerator[MixedGroup]:
    """A node for each of `machines`; the body begins when all know a leader. None ends but by itself."""
    network, members = MemoryNetwork(), {name: f"memory:{name}" for name in machines}
    group = MixedGroup()

    async def run(name: str, task_status: Any) -> None:
        try:
            async with open_node(
                machines[name],
                id=name,
                members=members,
                transport=network,
                data_dir=(storages or {}).get(name) or MemoryStorage(name),
                paranoid=True,
            ) as group.nodes[name]:
                task_status.started()
                await trio.sleep_forever()
        except RaftError as error:
            group.errors[name] = error

    async with trio.open_nursery() as nursery:
        for name in machines:
            await nursery.start(run, name)
        for node in group.nodes.values():
            await node.wait_leader()
        yield group
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def led_by_a(
    machines: Mapping[str, Callable[[], Any]],
    storages: Callable[[], Mapping[str, Any]] = dict,
) -> AsyncGenerator[MixedGroup]:
    """One in which `a` leads: groups are founded until one is."""
    for _ in range(100):
        async with mixed_group(machines, storages()) as group:
            if group["a"].status == "leader":
                yield group
                return
    pytest.fail("a was not elected in a hundred elections")
