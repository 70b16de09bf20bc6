"""Blows that tests choose themselves, each waited for until the group has taken it.

Law: nothing here depends on how fast this machine is today.
"""

from __future__ import annotations

import trio

from tests.processes.storm import Storm

__all__ = [
    "kill_all",
    "kill_in_turn",
    "kill_leaders",
    "kill_starts",
    "stop_followers",
    "stop_leaders",
    "wait_whole",
]

LOAD_SECONDS = 0.5
"Between two blows, for clients to do something."
SERVED_MIN = 40
"Appends, and reads, that clients get done meanwhile, however long that takes."
STOP_SECONDS = 1.5
"Three times the longest election timeout."


async def kill_leaders(storm: Storm, times: int) -> None:
    """Kill whoever leads, so often. How long the group is silent then is in the report."""
    for _ in range(times):
        leader, term = await wait_whole(storm)
        assert storm.group.kill(leader, down=0.0)
        await storm.nemesis.measure("kill")
        await _wait_newer_leader(storm, term)


async def kill_in_turn(storm: Storm) -> None:
    """Kill every node once, the leader first, each when the one before is back."""
    leader, _ = await wait_whole(storm)
    await kill_leaders(storm, 1)
    for name in storm.group.names:
        if name != leader:
            await wait_whole(storm)
            assert storm.group.kill(name, down=0.0)


async def kill_all(storm: Storm, times: int) -> None:
    """Kill all nodes at once, so often."""
    for _ in range(times):
        _, term = await wait_whole(storm)
        for name in storm.group.names:
            assert storm.group.kill(name, down=0.0)
        await _wait_newer_leader(storm, term)


async def stop_leaders(storm: Storm, times: int) -> None:
    """Stop whoever leads until another one does, and a little longer, so often."""
    for _ in range(times):
        leader, term = await wait_whole(storm)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda it: storm.group.stop(it, seconds=STOP_SECONDS), leader)
            await _wait_newer_leader(storm, term)


async def stop_followers(storm: Storm, times: int) -> None:
    """Stop somebody who doesn't lead, while the others go on, so often."""
    for _ in range(times):
        leader, _ = await wait_whole(storm)
        name = next(it for it in storm.group.names if it != leader)
        await storm.group.stop(name, seconds=STOP_SECONDS)


async def kill_starts(storm: Storm, times: int) -> None:
    """Kill one node, and so many of its next processes while they open its directory or soon after."""
    await wait_whole(storm)
    name = storm.group.names[0]
    assert storm.group.kill(name, down=0.0)
    with trio.fail_after(100):
        for _ in range(times):
            await storm.nemesis.kill_next_start(name)


async def _wait_newer_leader(storm: Storm, term: int) -> None:
    """Wait until a term above `term` has a leader."""
    with trio.fail_after(60):
        await storm.group.wait_for(lambda: max(storm.group.leaders) > term)


async def wait_whole(storm: Storm) -> tuple[str, int]:
    """Wait until all nodes are up and clients were served for a while; who leads then, of which term."""
    counts = storm.load.counts
    wanted = {it: counts[it] + SERVED_MIN for it in ("appends acknowledged", "reads answered")}
    with trio.fail_after(60):
        while True:
            for name in storm.group.names:
                await storm.group.open_member(name)
            await trio.sleep(LOAD_SECONDS)
            leader, whole = storm.group.leader, len(storm.group.open_members()) == storm.nodes
            if leader is not None and whole and all(counts[it] >= wanted[it] for it in wanted):
                return leader, max(storm.group.leaders)
