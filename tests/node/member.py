"""A node in a process of its own, until it is killed: `python -m tests.node.member ID DIRECTORY ID=ADDRESS…`.

Says `open` when its peers can reach it, and the cluster that it is of when it knows a leader.
"""

from __future__ import annotations

import sys

import trio

from raftkit import open_node
from tests.node.machines import Journal


async def run(name: str, directory: str, members: dict[str, str]) -> None:
    async with open_node(Journal, id=name, members=members, data_dir=directory) as node:
        print("open", flush=True)
        await node.wait_leader()
        await node.read(Journal.read())
        print(node.statistics().cluster, flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(run, sys.argv[1], sys.argv[2], dict(it.split("=") for it in sys.argv[3:]))
