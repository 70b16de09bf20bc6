"""A server for as long as a body runs.

Law: every caller is answered, and the storage closed, before the scope ends.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio

from raftkit.driver.guarding import open_guarded
from raftkit.driver.planning import Plan
from raftkit.driver.recording import Recorder
from raftkit.driver.replica import Replica
from raftkit.driver.server import Server
from raftkit.storage import Storage
from raftkit.transports import LossyTransport

__all__ = ["open_server"]


@asynccontextmanager
async def open_server(
    plan: Plan,
    replica: Replica[Any],
    storage: Storage,
    transport: LossyTransport,
    recorder: Recorder | None = None,
) -> AsyncGenerator[Server]:
    """Run a server with a fresh `replica` on `storage`, which is closed at the end.

    Raises NodeFailed, with the body's error as its cause, if this node must not go on.
    """
    try:
        server = Server(plan, storage, replica, recorder)

        async def run(task_status: trio.TaskStatus[Server]) -> None:
            await server.run(transport, task_status)

        async with open_guarded(run) as running:
            yield running
    finally:
        storage.close()
