"""A whole group in one process: real drivers and, unless asked otherwise, real files.

Laws: a node is crashed by cancelling its scope, without a goodbye: its links close and its directory is
left as it is. A node that fails fails the cluster's scope with its own error.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs
import trio

from raftkit.driver import open_guarded
from raftkit.errors import LocalProtocolError
from raftkit.model import NodeId
from raftkit.node import Node, open_node
from raftkit.statemachine import BytesStateMachine, StateMachine
from raftkit.storage import MemoryStorage
from raftkit.transports import MemoryNetwork

__all__ = ["Cluster", "local_cluster"]

M = TypeVar("M", bound=StateMachine | BytesStateMachine)


@attrs.define(eq=False)
class _Life:
    """One node from start to crash."""

    node: Node[Any]
    scope: trio.CancelScope
    ended: trio.Event


@attrs.define(eq=False, kw_only=True)
class Cluster(Generic[M]):
    """Nodes named a, b, c, … Made by `local_cluster`."""

    factory: Callable[[], M]
    "Makes a machine at index 0."
    network: MemoryNetwork
    "Between the nodes; set its `faults`, cut it, close its links."
    members: dict[NodeId, str]
    "Addresses by name."
    homes: dict[NodeId, Path | MemoryStorage]
    "Where each node keeps its log."
    settings: dict[str, Any]
    "Of `open_node`, the same for every node."
    _nursery: trio.Nursery = attrs.field(init=False)
    _lives: dict[NodeId, _Life] = attrs.field(init=False, factory=dict[NodeId, _Life])
    "Nodes that run, in the order in which they were started."

    def __getitem__(self, id: NodeId) -> Node[M]:  # noqa: A002 - the field's name
        """The running node of that name. Raises KeyError if there is none."""
        return self._lives[id].node

    def __iter__(self) -> Iterator[Node[M]]:
        """The running nodes, in the order of their names."""
        return iter([self._lives[name].node for name in sorted(self._lives)])

    def __len__(self) -> int:
        return len(self._lives)

    def leader(self) -> Node[M] | None:
        """The running node that leads the latest term, if any does."""
        leaders = [node for node in self if node.status == "leader"]
        return max(leaders, key=lambda node: node.statistics().term, default=None)

    async def wait_leader(self) -> Node[M]:
        """Wait until some running node leads."""
        while True:
            leader = self.leader()
            if leader is not None:
                return leader
            await trio.sleep(0.01)

    async def start(self, id: NodeId) -> Node[M]:  # noqa: A002
        """Start a node that does not run. Returns when its peers can reach it, born or not."""
        if id in self._lives:
            raise LocalProtocolError(f"node {id} runs already")
        life: _Life = await self._nursery.start(self._live, id)
        return life.node

    async def restart(self, id: NodeId) -> Node[M]:  # noqa: A002
        """Start a crashed node again, on what it left behind."""
        return await self.start(id)

    async def crash(self, id: NodeId) -> None:  # noqa: A002
        """End a node without a goodbye, and wait until it is gone."""
        life = self._lives[id]
        life.scope.cancel()
        await life.ended.wait()

    def partition(self, *groups: str | list[NodeId]) -> None:
        """Lose everything between any two of `groups`: `partition("a", "bc")`."""
        self.network.partition(*groups)

    def isolate(self, id: NodeId) -> None:  # noqa: A002
        """Lose everything from and to one node."""
        self.network.partition([id], [other for other in self.members if other != id])

    def heal(self) -> None:
        """Undo every partition."""
        self.network.heal()

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """Hold the nodes' tasks, for ever. Raises what ends a node."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    async def _live(self, id: NodeId, task_status: trio.TaskStatus[_Life]) -> None:  # noqa: A002
        home = self.homes[id]
        if isinstance(home, MemoryStorage):
            home = self.homes[id] = home.reopen()
        ended = trio.Event()
        with trio.CancelScope() as scope:
            async with open_node(
                self.factory,
                id=id,
                members=self.members,
                transport=self.network,
                data_dir=home,
                **self.settings,
            ) as node:
                life = self._lives[id] = _Life(node, scope, ended)
                try:
                    task_status.started(life)
                    await trio.sleep_forever()
                finally:
                    del self._lives[id]
        ended.set()


@asynccontextmanager
async def local_cluster(
    factory: Callable[[], M],
    size: int = 3,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    in_memory: bool = False,
    network: MemoryNetwork | None = None,
    start: bool = True,
    paranoid: bool = True,
    **settings: Any,
) -> AsyncGenerator[Cluster[M]]:
    """Run `size` nodes of one group in this process, over a `MemoryNetwork`.

    Their files are in `data_dir`, by default a temporary directory; `in_memory=True` keeps everything in
    memory and uses no threads, as a `MockClock` needs it. `start=False` leaves it to you to start nodes;
    otherwise the body begins when a leader is known. `settings` are those of `open_node`.
    """
    ids = [chr(ord("a") + place) for place in range(size)]
    directory = (
        tempfile.TemporaryDirectory(prefix="raftkit-")
        if data_dir is None and not in_memory
        else nullcontext(data_dir)
    )
    with directory as root:
        homes: dict[NodeId, Path | MemoryStorage] = {
            name: MemoryStorage(name) if root is None else Path(root) / name for name in ids
        }
        cluster = Cluster(
            factory=factory,
            network=network or MemoryNetwork(),
            members={name: f"memory:{name}" for name in ids},
            homes=homes,
            settings={"paranoid": paranoid, "found": size == 1, **settings},
        )
        async with open_guarded(cluster.run):
            if start:
                for name in ids:
                    await cluster.start(name)
                for node in cluster:
                    await node.wait_leader()
            yield cluster
