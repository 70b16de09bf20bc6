"""etcd as a subject: Debian's server with its default settings, and etcd's own client in Go as the load.

A compiled client, for one in Python would be what is measured: it takes more processor time than the group.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from benchmarks.peers.member import hurt, load_of, rest_of
from benchmarks.peers.prepare import ETCD_LOAD, Missing
from benchmarks.peers.program import Program, open_program
from benchmarks.peers.subject import Failed, Finding, Load
from raftkit.cli.bench.gap import Fault
from raftkit.cli.bench.workload import LOADS
from raftkit.cli.child import free_addresses

__all__ = ["open_etcd", "require_etcd"]

MEMBERS = ("a", "b", "c")
WARM_UP_SECONDS = 1.0
SERVER = "etcd"


def require_etcd() -> None:
    """Raises Missing, saying what to install."""
    if shutil.which(SERVER) is None:
        raise Missing("there is no etcd here: apt-get install etcd-server")
    if not ETCD_LOAD.exists():
        raise Missing(
            "its load is not built: apt-get install golang-go golang-etcd-server-dev, then make bench"
        )


@asynccontextmanager
async def open_etcd(directory: Path) -> AsyncGenerator[Etcd]:
    """See `subject.Open`."""
    clients, peers = free_addresses(MEMBERS), free_addresses(MEMBERS)
    async with AsyncExitStack() as stack:
        group = Etcd(directory, clients, peers, stack)
        for name in MEMBERS:
            await group.start(name, "new")
        await group.leader()
        yield group


@attrs.define(eq=False)
class Etcd:
    """See `Subject`."""

    _directory: Path
    _clients: Mapping[str, str]
    "Where each member is asked."
    _peers: Mapping[str, str]
    "Where members talk to each other."
    _stack: AsyncExitStack
    _members: dict[str, Program] = attrs.field(init=False, factory=dict[str, Program])
    "That run, by name."

    async def start(self, name: str, state: str) -> None:
        """Run a member; `state` is new for all but one that was there before."""
        founders = ",".join(f"{it}=http://{address}" for it, address in self._peers.items())
        options = {
            "name": name,
            "data-dir": str(self._directory / name),
            "listen-client-urls": f"http://{self._clients[name]}",
            "advertise-client-urls": f"http://{self._clients[name]}",
            "listen-peer-urls": f"http://{self._peers[name]}",
            "initial-advertise-peer-urls": f"http://{self._peers[name]}",
            "initial-cluster": founders,
            "initial-cluster-state": state,
            "logger": "zap",
        }
        arguments = [SERVER, *(f"--{key}={value}" for key, value in options.items())]
        self._members[name] = await self._stack.enter_async_context(
            open_program(name, arguments, self._directory)
        )

    async def leader(self) -> str:
        """Its name. Raises Failed if there is none."""
        said = await self._once("leader", self._members)
        return next(name for name, address in self._clients.items() if address == said["leader"])

    async def load(self, load: Load, seconds: float) -> Finding:
        """See `Subject`."""
        leader, mix = await self.leader(), LOADS[load.workload]
        at = leader if load.at == "leader" else self._other_than(leader)
        options = (
            f"-outstanding={load.outstanding}",
            f"-writes-in-ten={mix.writes_in_ten}",
            f"-bytes={mix.value_bytes}",
            f"-warm-up={WARM_UP_SECONDS}",
            f"-seconds={seconds}",
        )
        pids = {
            f"leader {name}" if name == leader else name: it.pid
            for name, it in self._members.items()
        }
        async with self._client("load", [at], *options) as client:
            return await load_of(client, {**pids, "client": client.pid}, seconds)

    async def idle(self, seconds: float) -> Finding:
        """See `Subject`."""
        return await rest_of({name: it.pid for name, it in self._members.items()}, seconds)

    async def restart(self) -> Finding:
        """See `Subject`."""
        name = self._other_than(await self.leader())
        self._members[name].process.kill()
        self._members[name].process.wait()
        began = trio.current_time()
        await self.start(name, "existing")
        await self._once("ready", [name])
        return Finding(figures={"ready_s": trio.current_time() - began})

    async def gap(self, fault: Fault, seconds: float) -> Finding:
        """See `Subject`. The client knows the other two, so that it asks none that is silent."""
        leader = await self.leader()
        others = [name for name in self._members if name != leader]

        async def transfer() -> None:
            await self._once("move", self._members)

        async with (
            self._client("probe", others, f"-seconds={seconds}") as client,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(hurt, self._members[leader], fault, seconds, transfer)
            found = await client.hear(within=seconds)
        if fault == "kill":
            del self._members[leader]
        return Finding(figures={"gap_ms": found["gap_ms"]}, failed=found["failed"])

    def _other_than(self, leader: str) -> str:
        return next(name for name in self._members if name != leader)

    @asynccontextmanager
    async def _client(
        self, verb: str, members: list[str] | Mapping[str, object], *options: str
    ) -> AsyncGenerator[Program]:
        """Its own client, see etcd_load/main.go."""
        endpoints = ",".join(self._clients[name] for name in members)
        arguments = [str(ETCD_LOAD), verb, f"-endpoints={endpoints}", *options]
        async with open_program("client", arguments, self._directory) as client:
            yield client

    async def _once(self, verb: str, members: list[str] | Mapping[str, object]) -> dict[str, Any]:
        """What a client says that has one thing to say. Raises Failed."""
        for name in members:
            if self._members[name].process.poll() is not None:
                raise Failed(f"etcd member {name} has ended: see {self._directory}")
        async with self._client(verb, members) as client:
            return await client.hear()
