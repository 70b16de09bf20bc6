"""A group of processes on directories that are there: `raftkit bench`'s, at the addresses of its log."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal

import attrs
import trio

from raftkit.cli.bench.group import Group
from raftkit.cli.child import Child, open_child
from raftkit.cli.network import Network

__all__ = ["NODE", "ROOT", "Members", "arguments_of", "open_members"]

ROOT = Path(__file__).parents[2]
"From where `benchmarks` can be imported."
NODE = "raftkit.cli.bench.node"
"The program of a node of `raftkit bench`."
Machine = Literal["bytes", "typed"]


@attrs.frozen(kw_only=True)
class Members:
    """A group that is up."""

    group: Group
    "As `raftkit bench` has it."
    children: Mapping[str, Child]
    "Its processes, by name."


def arguments_of(machine: Machine, addresses: Mapping[str, str]) -> tuple[str, ...]:
    """What a node's program is given behind its name and its directory. Nothing is lost on purpose."""
    return (machine, "0", *Network(addresses=addresses, multicast=None).arguments())


@asynccontextmanager
async def open_members(
    directory: Path, addresses: Mapping[str, str], *, machine: Machine, program: str = NODE
) -> AsyncGenerator[Members]:
    """Start a process for each member, in its place in `directory`. The body begins when all are open.

    Raises BenchFailed, perhaps in a group, if one of them ends.
    """
    async with AsyncExitStack() as stack:

        async def start(name: str) -> Child:
            arguments = arguments_of(machine, addresses)
            opened = open_child(name, program, directory / name, arguments, cwd=ROOT)
            return await stack.enter_async_context(opened)

        children = {name: await start(name) for name in addresses}
        async with trio.open_nursery() as nursery:
            group = Group(machine, children, start, nursery)
            for child in children.values():
                await group.hear_one(child)
            for child in children.values():
                nursery.start_soon(group.hear, child)
            yield Members(group=group, children=children)
            nursery.cancel_scope.cancel()
