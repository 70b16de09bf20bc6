"""PySyncObj as a subject: a dictionary replicated in the members' own processes, where the load runs, too.

It writes a journal and never calls fsync: what it acknowledges is not durable. Its default settings send
every 0.1 s; `TUNED` are the fastest that were found. It has no linearizable reads, and no planned hand-over.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs
import trio

from benchmarks.peers.member import hurt, load_of, rest_of
from benchmarks.peers.prepare import SYNCOBJ_PYTHON, Missing
from benchmarks.peers.program import Program, open_program
from benchmarks.peers.subject import Failed, Finding, Load, NotOffered
from raftkit.cli.bench.gap import Fault
from raftkit.cli.bench.workload import LOADS
from raftkit.cli.child import free_addresses

__all__ = ["DEFAULT", "TUNED", "open_syncobj", "require_syncobj"]

DEFAULT: Mapping[str, float] = {}
TUNED: Mapping[str, float] = {"appendEntriesPeriod": 0.005, "autoTickPeriod": 0.001}
MEMBERS = ("a", "b", "c")
WARM_UP_SECONDS = 1.0
_PATIENCE_SECONDS = 20.0
_PROGRAM = Path(__file__).parent / "syncobj_node.py"


def require_syncobj() -> None:
    """Raises Missing, saying what to do."""
    if not SYNCOBJ_PYTHON.exists():
        raise Missing("it is not installed in an environment of its own: make bench does it")


@asynccontextmanager
async def open_syncobj(settings: Mapping[str, float], directory: Path) -> AsyncGenerator[SyncObj]:
    """See `subject.Open`."""
    async with AsyncExitStack() as stack:
        group = SyncObj(directory, settings, free_addresses(MEMBERS), stack)
        for name in MEMBERS:
            await group.start(name)
        await group.leader()
        yield group


@attrs.define(eq=False)
class SyncObj:
    """See `Subject`."""

    _directory: Path
    _settings: Mapping[str, float]
    _addresses: Mapping[str, str]
    "By name."
    _stack: AsyncExitStack
    _members: dict[str, Program] = attrs.field(init=False, factory=dict[str, Program])
    "That run, by name."

    async def start(self, name: str) -> None:
        """Run a member."""
        own = self._addresses[name]
        others = ",".join(it for it in self._addresses.values() if it != own)
        arguments = (own, others, str(self._directory / name), json.dumps(dict(self._settings)))
        self._members[name] = await self._stack.enter_async_context(
            open_program(name, (str(SYNCOBJ_PYTHON), str(_PROGRAM), *arguments), self._directory)
        )

    async def leader(self) -> str:
        """The name of whom all know as leader. Raises Failed if there is none."""
        with trio.move_on_after(_PATIENCE_SECONDS):
            while True:
                said = {(await it.ask("leader"))["leader"] for it in self._members.values()}
                known = [name for name, address in self._addresses.items() if {address} == said]
                if known:
                    return known[0]
                await trio.sleep(0.05)
        raise Failed(f"no leader that all agree on for {_PATIENCE_SECONDS:g} s")

    async def load(self, load: Load, seconds: float) -> Finding:
        """See `Subject`."""
        mix = LOADS[load.workload]
        if mix.writes_in_ten < 10:
            raise NotOffered("linearizable reads")
        leader = await self.leader()
        member = self._members[leader if load.at == "leader" else self._other_than(leader)]
        await member.tell(
            "load",
            outstanding=load.outstanding,
            size=mix.value_bytes,
            warm_up=WARM_UP_SECONDS,
            seconds=seconds,
        )
        pids = {
            f"leader {name}" if name == leader else name: it.pid
            for name, it in self._members.items()
        }
        return await load_of(member, pids, seconds)

    async def idle(self, seconds: float) -> Finding:
        """See `Subject`."""
        return await rest_of({name: it.pid for name, it in self._members.items()}, seconds)

    async def restart(self) -> Finding:
        """See `Subject`. Ready is what it calls so: it has no linearizable read."""
        name = self._other_than(await self.leader())
        self._members[name].process.kill()
        self._members[name].process.wait()
        began = trio.current_time()
        await self.start(name)
        await self._members[name].ask("ready")
        return Finding(figures={"ready_s": trio.current_time() - began})

    async def gap(self, fault: Fault, seconds: float) -> Finding:
        """See `Subject`."""
        if fault == "transfer":
            raise NotOffered("a planned hand-over")
        leader = await self.leader()
        writer = self._members[self._other_than(leader)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hurt, self._members[leader], fault, seconds, trio.sleep_forever)
            found = await writer.ask("probe", seconds=seconds, within=seconds)
        if fault == "kill":
            del self._members[leader]
        return Finding(figures={"gap_ms": found["gap_ms"]}, failed=found["failed"])

    def _other_than(self, leader: str) -> str:
        return next(name for name in self._members if name != leader)
