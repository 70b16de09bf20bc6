"""The program of a process that answers with what it is asked, as long as its stdin lives."""

from __future__ import annotations

import trio

from raftkit.cli.pipe import NEWS, stdio_pipe


async def _run() -> None:
    pipe = stdio_pipe()
    await pipe.send([NEWS, "open"])
    while (request := await pipe.receive()) is not None:
        await pipe.send(request)


if __name__ == "__main__":
    trio.run(_run)
