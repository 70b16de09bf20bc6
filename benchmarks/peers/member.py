"""What peers have in common that are processes here: a load's figures, rest, and faults by signals."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Mapping

import trio

from benchmarks.peers.program import Program
from benchmarks.peers.subject import Finding
from raftkit.cli.bench.environment import Usage
from raftkit.cli.bench.gap import Fault
from raftkit.cli.bench.idle import memory_mb

__all__ = ["CALM_PART", "hurt", "load_of", "rest_of"]

CALM_PART = 0.2
"Of the time in which a gap is looked for, before the fault: as `raftkit bench` has it."
SILENCE_PART = 0.6
"Of the same, for which a leader is stopped."


async def load_of(said_by: Program, pids: Mapping[str, int], seconds: float) -> Finding:
    """What `said_by` found, which says so when the measured time begins and ends, and then its figures."""
    await said_by.hear()
    before = Usage.now(pids)
    await said_by.hear(within=seconds)
    cpu, others = Usage.now(pids).percent_since(before)
    found = await said_by.hear()
    return Finding(
        figures={name: found[name] for name in ("rate", "p50_ms", "p99_ms")},
        cpu={**cpu, "others": others},
        failed=found["failed"],
    )


async def rest_of(pids: Mapping[str, int], seconds: float) -> Finding:
    """Processes that nobody asks anything."""
    before = Usage.now(pids)
    await trio.sleep(seconds)
    cpu, _ = Usage.now(pids).percent_since(before)
    memory = max(memory_mb(pid) for pid in pids.values())
    return Finding(figures={"cpu_percent": max(cpu.values()), "memory_mb": memory})


async def hurt(
    leader: Program, fault: Fault, seconds: float, transfer: Callable[[], Awaitable[object]]
) -> None:
    """Do that to the leader after a while of calm; the `seconds` are those of the writer."""
    await trio.sleep(CALM_PART * seconds)
    match fault:
        case "transfer":
            await transfer()
        case "silence":
            leader.process.send_signal(signal.SIGSTOP)
            try:
                await trio.sleep(SILENCE_PART * seconds)
            finally:
                leader.process.send_signal(signal.SIGCONT)
        case "kill":
            leader.process.kill()
