"""A counter on three nodes, which are three processes, each in a terminal of its own.

    python examples/counter.py a
    python examples/counter.py b
    python examples/counter.py c

Take your time: the group is founded when all three are there. Each adds 5, and shows the total whenever
it changes. Stop one with Ctrl-C, or kill it, and start it again: two go on without it, it catches up
from its log in data/, and adds another 5.
"""
# ruff: noqa: INP001 - a program, not a package

from __future__ import annotations

import sys
from contextlib import suppress

import attrs
import trio

from raftkit import StateMachine, command, open_node, query

MEMBERS = {"a": "127.0.0.1:7001", "b": "127.0.0.1:7002", "c": "127.0.0.1:7003"}


@attrs.define
class Counter(StateMachine):
    """Plain Python state. Only @command methods change it."""

    total: int = 0

    @command
    def add(self, amount: int = 1) -> int:
        """Count, and say how far."""
        self.total += amount
        return self.total

    @query
    def value(self) -> int:
        """How far it is."""
        return self.total


async def main(name: str) -> None:
    """Be one of the three nodes, until Ctrl-C."""
    async with open_node(
        Counter,
        id=name,
        members=MEMBERS,
        data_dir=f"data/{name}",
    ) as node:
        print(f"{name}: at {MEMBERS[name]}, waiting for a leader", flush=True)
        print(f"{name}: {await node.wait_leader()} leads", flush=True)
        total = await node.execute(Counter.add(amount=5))  # on two disks, applied once
        print(f"{name}: added 5, which made it {total}", flush=True)
        shown = await node.read(Counter.value())  # linearizable, at any node
        print(f"{name}: the total is {shown}", flush=True)
        while True:
            await trio.sleep(0.1)
            total = await node.read(lambda it: it.total, consistency="local")
            if total != shown:
                shown = total
                print(f"{name}: the total is {shown}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] not in ([name] for name in MEMBERS):
        sys.exit("usage: python examples/counter.py a|b|c")
    with suppress(KeyboardInterrupt):
        trio.run(main, sys.argv[1])
