"""The group under test: node processes, who leads them, what they answer, how much they use.

Law: the processes end when the context of `open_group` is left, see `raftkit.cli.child`.
"""

from __future__ import annotations

import signal
from array import array
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs
import trio

from raftkit.cli.bench.environment import Usage, cpus
from raftkit.cli.bench.gap import Fault, Gap
from raftkit.cli.bench.idle import Idle, memory_mb
from raftkit.cli.bench.report import Measurement
from raftkit.cli.bench.traffic import Traffic
from raftkit.cli.bench.workload import Place, Workload
from raftkit.cli.child import Child, ChildFailed, ChildKilled, NoAnswer, open_child
from raftkit.cli.network import Kind, network_on_loopback
from raftkit.cli.percentile import percentile
from raftkit.encoding import MalformedError, array as items_of, octets, printable, unsigned

__all__ = ["BenchFailed", "Group", "open_group"]

PATIENCE_SECONDS = 60.0
"For an answer, beyond what the question itself takes: longer than any write may wait."
_PAGE = 1_000_000
"Latencies asked for at once."
_NAME_MAX = 80
_TRAFFIC = tuple(it.name for it in attrs.fields(Traffic))
_CALM_PART = 0.2
"Of the time in which a gap is looked for, before the fault."
_SILENCE_PART = 0.6
"Of the same, for which a leader is stopped."


class BenchFailed(Exception):
    """The benchmark can't go on; says why."""


@asynccontextmanager
async def open_group(
    machine: str,
    directory: Path,
    names: tuple[str, ...],
    transport: Kind = "tcp",
    *,
    loss: float = 0.0,
) -> AsyncGenerator[Group]:
    """Start a process for each of `names`, on a directory of its own. The body begins when all are open.

    Each loses the part `loss` of the datagrams that reach it.

    Raises BenchFailed, perhaps in a group, if one of them ends.
    """
    network = network_on_loopback(transport, names, directory).arguments()
    arguments = (machine, str(loss), *network)
    async with AsyncExitStack() as stack:

        async def start(name: str) -> Child:
            return await stack.enter_async_context(
                open_child(name, "raftkit.cli.bench.node", directory / name, arguments)
            )

        children = [await start(name) for name in names]
        async with trio.open_nursery() as nursery:
            group = Group(machine, {it.name: it for it in children}, start, nursery)
            for child in children:
                await group.hear_one(child)
            for child in children:
                nursery.start_soon(group.hear, child)
            yield group
            nursery.cancel_scope.cancel()


@attrs.define(eq=False)
class Group:
    """A group that is up. Made by `open_group`."""

    machine: str
    "bytes or typed."
    _children: dict[str, Child]
    "By name."
    _start: Callable[[str], Awaitable[Child]]
    "Starts a process, for one whose process has ended."
    _nursery: trio.Nursery
    "In which processes are listened to."
    _usages: list[Usage] = attrs.field(init=False, factory=list[Usage])
    "At the ends of the measured time."
    _applied: dict[str, int] = attrs.field(init=False)
    "What each node's machine had applied before."
    _dead: set[Child] = attrs.field(init=False, factory=set[Child])
    "Killed on purpose."

    def __attrs_post_init__(self) -> None:
        self._applied = dict.fromkeys(self._children, 0)

    async def measure(
        self,
        outstanding: int,
        *,
        warm_up: float,
        seconds: float,
        workload: Workload = "writes",
        at: Place = "leader",
    ) -> Measurement:
        """Put the leader or a follower under load, and say what came of it."""
        leader = await self.leader()
        where = leader if at == "leader" else self._follower_of(leader)
        self._usages.clear()
        measured_seconds, measured, acknowledged, errors, elections, *traffic = await self._ask(
            where, "load", workload, outstanding, warm_up, seconds, takes=warm_up + seconds
        )
        assert isinstance(measured_seconds, float)
        latencies = await self._latencies(where, unsigned(measured))
        before, after = self._usages
        nodes, others = after.percent_since(before)
        return Measurement(
            machine=self.machine,
            workload=workload,
            at=at,
            outstanding=outstanding,
            seconds=measured_seconds,
            writes=len(latencies),
            p50_ms=_ms(percentile(latencies, 0.5)),
            p99_ms=_ms(percentile(latencies, 0.99)),
            p999_ms=_ms(percentile(latencies, 0.999)),
            max_ms=_ms(percentile(latencies, 1)),
            leader=leader,
            cpu_percent=nodes,
            others_cpu_percent=others,
            cpus=cpus(),
            traffic=Traffic(**dict(zip(_TRAFFIC, map(unsigned, traffic), strict=True))),
            acknowledged=unsigned(acknowledged),
            applied=await self._newly_applied(),
            elections=unsigned(elections),
            errors=dict(_error(it) for it in items_of(errors)),
        )

    async def idle(self, seconds: float) -> Idle:
        """Leave all alone for so long, and say what they used."""
        await self.leader()
        before = Usage.now(self.pids)
        await trio.sleep(seconds)
        nodes, _ = (after := Usage.now(self.pids)).percent_since(before)
        return Idle(
            machine=self.machine,
            seconds=after.at - before.at,
            cpu_percent=nodes,
            memory_mb={name: memory_mb(pid) for name, pid in self.pids.items()},
        )

    async def gap(self, fault: Fault, seconds: float) -> Gap:
        """Do that to the leader while a follower writes for so long, and say for how long it could not.

        After "kill" the group has lost a node for good.
        """
        leader = await self.leader()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hurt, leader, fault, seconds)
            longest, acknowledged, failed = await self._ask(
                self._follower_of(leader), "probe", seconds, takes=seconds
            )
        assert isinstance(longest, float)
        return Gap(
            machine=self.machine,
            fault=fault,
            gap_ms=1000 * longest,
            acknowledged=unsigned(acknowledged),
            failed=unsigned(failed),
        )

    async def restart(self) -> float:
        """Kill a follower and start it again; seconds until it answers a linearizable read."""
        name = self._follower_of(await self.leader())
        child = self._children[name]
        self._dead.add(child)
        child.process.kill()
        await child.process.wait()
        began = trio.current_time()
        self._children[name] = again = await self._start(name)
        await self.hear_one(again)
        self._nursery.start_soon(self.hear, again)
        await self._ask(name, "written")
        return trio.current_time() - began

    async def _hurt(self, leader: str, fault: Fault, seconds: float) -> None:
        """After a while of calm, which is part of the `seconds`."""
        await trio.sleep(_CALM_PART * seconds)
        child = self._children[leader]
        process = child.process
        match fault:
            case "transfer":
                await self._ask(leader, "transfer")
            case "silence":
                process.send_signal(signal.SIGSTOP)
                try:
                    await trio.sleep(_SILENCE_PART * seconds)
                finally:
                    process.send_signal(signal.SIGCONT)
            case "kill":
                self._dead.add(child)
                process.kill()

    @property
    def pids(self) -> dict[str, int]:
        """Of the processes that run, by node."""
        return {name: it.process.pid for name, it in self._children.items() if it not in self._dead}

    def _follower_of(self, leader: str) -> str:
        """The first there is; in a group of one, the leader."""
        return next((name for name in self.pids if name != leader), leader)

    # ── what the processes say ───────────────────────────────────────────────────────────────────

    async def hear(self, child: Child) -> None:
        """Listen to a process for as long as it lives, or is to live. Raises BenchFailed as `hear_one`."""
        while child not in self._dead:
            await self.hear_one(child)

    async def hear_one(self, child: Child) -> None:
        """Hear one thing that a process says. Raises BenchFailed if it has ended, and not on purpose."""
        try:
            news = await child.hear()
        except (ChildKilled, ChildFailed, MalformedError) as error:
            if child in self._dead:
                return
            raise BenchFailed(f"node {child.name}: {error}") from error
        if news == ["edge"]:
            self._usages.append(Usage.now(self.pids))

    async def leader(self) -> str:
        """Whom every node knows as the leader."""
        with trio.move_on_after(PATIENCE_SECONDS):
            while True:
                said = {(await self._ask(name, "leader"))[0] for name in self.pids}
                if len(said) == 1:
                    return printable(said.pop(), length_max=_NAME_MAX)
                await trio.sleep(0.05)  # an election is under way
        raise BenchFailed(f"no leader that all agree on for {PATIENCE_SECONDS:g} s")

    async def _latencies(self, name: str, count: int) -> list[int]:
        """Those of the last load, in µs, ascending."""
        found = array("I")
        while len(found) < count:
            (page,) = await self._ask(name, "latencies", len(found), _PAGE)
            found.frombytes(octets(page))
        return sorted(found)

    async def _newly_applied(self) -> dict[str, int]:
        """What each node's machine has applied since this was asked last."""
        now = {name: unsigned((await self._ask(name, "written"))[0]) for name in self.pids}
        since = {name: count - self._applied[name] for name, count in now.items()}
        self._applied = now
        return since

    async def _ask(
        self, name: str, verb: str, *arguments: object, takes: float = 0.0
    ) -> list[object]:
        """A node's answer, to a question that `takes` so many seconds."""
        try:
            match await self._children[name].ask(verb, *arguments, within=takes + PATIENCE_SECONDS):
                case ["done", *answer]:
                    return answer
                case other:
                    raise BenchFailed(f"node {name}, asked for {verb}: {other[-1]}")
        except NoAnswer as error:
            # `hear` is told why, and ends all with it.
            await trio.sleep(1)
            raise BenchFailed(str(error)) from error


def _ms(microseconds: float | None) -> float | None:
    return None if microseconds is None else microseconds / 1000


def _error(item: object) -> tuple[str, int]:
    name, count = items_of(item, 2)
    return printable(name, length_max=_NAME_MAX), unsigned(count)
