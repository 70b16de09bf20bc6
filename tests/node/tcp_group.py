"""Whole nodes over TCP with directories of their own, to be started, killed, wiped and rolled back.

Laws: a node is killed by cancelling its scope, without a goodbye. What ends a node by itself is kept in
`Group.failures`, not raised, so that a test may expect it; leaving `open_group` raises what was not taken.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from raftkit import Node, open_node
from raftkit.driver_messages import Hello
from raftkit.errors import RaftError
from raftkit.model import Identity
from raftkit.transports import TcpEndpoint, TcpTransport
from tests.node.machines import Journal
from tests.transports.parts import free_addresses

WAIT_SECONDS = 15.0
"Until something that should happen counts as not happening."


async def until(condition: Callable[[], bool], within: float = WAIT_SECONDS) -> None:
    """Wait until `condition` holds. Raises trio.TooSlowError after `within` seconds."""
    with trio.fail_after(within):
        while not condition():  # noqa: ASYNC110 - what is waited for is anything a test can see
            await trio.sleep(0.005)


@attrs.define(eq=False)
class Life:
    """One node from start to end."""

    node: Node[Any]
    scope: trio.CancelScope
    ended: trio.Event


@attrs.define(eq=False, kw_only=True)
class Group:
    """Nodes by name. Made by `open_group`."""

    root: Path
    "Holds one directory for each node, by its name."
    members: dict[str, str]
    nursery: trio.Nursery
    lives: dict[str, Life] = attrs.field(init=False, factory=dict[str, Life])
    "Of nodes that run."
    failures: dict[str, RaftError] = attrs.field(init=False, factory=dict[str, RaftError])
    "What ended nodes by itself. A test takes out what it expected."

    def __getitem__(self, name: str) -> Node[Any]:
        return self.lives[name].node

    def __iter__(self) -> Any:
        """The running nodes, by name."""
        return iter([self.lives[name].node for name in sorted(self.lives)])

    async def start(self, name: str, machine: Any = Journal, **settings: Any) -> Node[Any]:
        """Start a node on its directory. Returns when its peers can reach it, born or not."""
        given: dict[str, Any] = {"members": self.members, "transport": TcpTransport()}
        life: Life = await self.nursery.start(self._live, name, machine, given | settings)
        return life.node

    async def start_all(self) -> None:
        """Start whoever does not run, and wait until each knows a leader."""
        for name in self.members:
            if name not in self.lives:
                await self.start(name)
        with trio.fail_after(WAIT_SECONDS):
            for node in self:
                await node.wait_leader()

    async def kill(self, *names: str) -> None:
        """End nodes without a goodbye, and wait until they are gone."""
        lives = [self.lives[name] for name in names]
        for life in lives:
            life.scope.cancel()
        for life in lives:
            await life.ended.wait()

    def wipe(self, name: str) -> None:
        """Delete a directory."""
        shutil.rmtree(self.root / name)

    def copy(self, name: str, *, as_: str = "copy") -> Path:
        """Take a copy of the directory of a node that does not run."""
        assert name not in self.lives
        copy = self.root / as_
        shutil.copytree(self.root / name, copy)
        return copy

    def roll_back(self, name: str, copy: Path) -> None:
        """Replace the directory of a node that does not run by a copy."""
        self.wipe(name)
        shutil.copytree(copy, self.root / name)

    async def write(self, name: str, line: str) -> int:
        """Have a line decided, at that node; how many lines there are then."""
        count: int = await self[name].execute(Journal.write(line=line), timeout=WAIT_SECONDS)
        return count

    async def lines(self, name: str) -> list[str]:
        """All lines, read at that node."""
        lines: list[str] = await self[name].read(Journal.read(), timeout=WAIT_SECONDS)
        return lines

    async def wait_leader(self) -> Node[Any]:
        """Wait until a node leads the latest term that any running node knows."""

        def newest() -> Node[Any]:
            return max(self, key=lambda node: (node.statistics().term, node.status == "leader"))

        await until(lambda: newest().status == "leader")
        return newest()

    def identity(self, name: str) -> Identity:
        """Whose directory a running node has."""
        return self[name]._server.storage.record.identity

    def endpoint(self, name: str) -> TcpEndpoint:
        """The sockets of a running node."""
        endpoint = self[name]._server.links.endpoint
        assert isinstance(endpoint, TcpEndpoint)
        return endpoint

    def hello(self, name: str, **facts: Any) -> Hello:
        """The hello of a running node, with some facts changed."""
        return attrs.evolve(self[name]._server.links._hello(None), **facts)

    def clusters(self) -> set[bytes | None]:
        """The clusters to which the running nodes belong; None for an unborn one."""
        founded = [node._server.storage.record.founding for node in self]
        return {None if it is None else it.scope.cluster for it in founded}

    async def _live(
        self, name: str, machine: Any, settings: dict[str, Any], task_status: trio.TaskStatus[Life]
    ) -> None:
        assert name not in self.lives
        ended = trio.Event()
        try:
            with trio.CancelScope() as scope:
                async with open_node(
                    machine, id=name, data_dir=self.root / name, paranoid=True, **settings
                ) as node:
                    self.lives[name] = life = Life(node, scope, ended)
                    task_status.started(life)
                    await trio.sleep_forever()
        except RaftError as error:
            if name not in self.lives:
                raise  # it never started
            self.failures[name] = error
        finally:
            self.lives.pop(name, None)
            ended.set()


@asynccontextmanager
async def open_group(
    root: Path, names: str = "abc", *, start: bool = True
) -> AsyncGenerator[Group]:
    """A group of these nodes in directories under `root`; all run when the body begins, or none."""
    members = dict(zip(names, free_addresses(len(names)), strict=True))
    async with trio.open_nursery() as nursery:
        group = Group(root=root, members=members, nursery=nursery)
        if start:
            await group.start_all()
        yield group
        nursery.cancel_scope.cancel()
    for failure in group.failures.values():
        raise failure
