"""One server of a full-stack world, over all its lives: real driver, real log, simulated disk and clocks.

Laws: the power goes off at one instant, for the disk first: what is not on it by then is lost, and nothing
can be acknowledged any more that is not there. A life that ends for no reason that the world has given
it is a violation. Chance is drawn from a generator of each life's own, so that one life changes no other.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, final

import attrs
import trio

from raftkit.core import Raft
from raftkit.driver import (
    Replica,
    Server,
    StateDiverged,
    StateHealed,
    VersionRaised,
    make_plan,
    open_server,
)
from raftkit.driver.loop import Clock
from raftkit.driver.planning import Plan
from raftkit.errors import LogCorrupt, StorageError
from raftkit.membership import Configuration
from raftkit.messages import LeaderElected, SnapshotInstalled, SnapshotTaken, Write
from raftkit.model import Identity, NodeId
from raftkit.node import Node
from raftkit.statemachine import StateMachine
from raftkit.storage import FileStorage, Storage, open_storage
from raftkit.testing.full.network import FullNetwork
from raftkit.testing.full.stage import Story
from raftkit.testing.full.swarm import FullSwarm
from raftkit.testing.full.witness import Witness
from raftkit.testing.simulated_disk import PowerCut, SimulatedDisk
from raftkit.testing.world.shadows import InvariantViolated, fail

__all__ = ["FullServer", "VirtualWriter"]

T = TypeVar("T")

ELECTION_TIMEOUT = (0.15, 0.3)
"Of all worlds, in seconds."
PROVE_SECONDS = 0.05
"Without a write, until a proof record is written, as by `DiskWriter`."


@attrs.define(eq=False, kw_only=True)
class FullServer:
    """One server. `live` is one life of it; `crash` ends that from outside."""

    id: NodeId
    members: dict[NodeId, str]
    "Addresses by name, as its next life is told."
    joins: bool = False
    "Whether its next life waits to be admitted, if its directory is new."
    factory: Callable[[], StateMachine]
    "Makes a machine at index 0, in its next life: an upgrade replaces it."
    swarm: FullSwarm
    network: FullNetwork
    story: Story
    witness: Witness
    "Hears what it says of itself."
    rng: random.Random
    "Of all that befalls it; each life gets one of its own from it."
    disk: SimulatedDisk = attrs.field(init=False, factory=SimulatedDisk)
    "Of this life; what is left of it, between two."
    node: Node[Any] | None = attrs.field(init=False, default=None)
    "While it lives."
    server: Server | None = attrs.field(init=False, default=None)
    "Behind that node."
    identity: Identity | None = attrs.field(init=False, default=None)
    "Of the directory; None until a life has opened it."
    life: int = attrs.field(init=False, default=0)
    "How many it began."
    faulty: bool = attrs.field(init=False, default=False)
    "The disk of this life was told to fail: it may end by StorageError."
    harmed: str | None = attrs.field(init=False, default=None)
    "What was done to its directory that no log can mend, if anything: it may refuse to open for good."
    refused: bool = attrs.field(init=False, default=False)
    "Its directory was refused as corrupt: it stays down."
    sync: float = attrs.field(init=False)
    "Mean time of a sync, in seconds."
    stalled_until: float = attrs.field(init=False, default=0.0)
    "No sync ends before, in trio's time."
    wall_offset_ns: int = attrs.field(init=False)
    "By which its wall clock is ahead."
    _drift: tuple[float, float] = attrs.field(init=False)
    "By which its wall clock, and its monotonic one, are too fast."
    _scope: trio.CancelScope | None = attrs.field(init=False, default=None)
    "Of the life that runs, if one does."
    _renewed: bool = attrs.field(init=False, default=False)
    "The next life begins with another directory than this one has."
    _configurations: tuple[Configuration, ...] = attrs.field(init=False, default=())
    "What the last life said."

    def __attrs_post_init__(self) -> None:
        rng, drift = self.rng, self.swarm.drift
        self.sync = self.swarm.sync
        self._drift = (rng.uniform(-drift, drift), rng.uniform(-drift, drift))
        self.wall_offset_ns = round(rng.gauss(0.0, 1e9))

    @property
    def running(self) -> bool:
        """Whether a life has begun and not ended, though it may still be opening."""
        return self._scope is not None

    @property
    def raft(self) -> Raft | None:
        """The core of its node, to be read; None while there is none."""
        return None if self.server is None else self.server.raft

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """Those that may be in force by its log, as it is or as it was at the end of its last life."""
        return self._configurations if self.raft is None else self.raft.possible_configurations

    async def live(self) -> None:
        """Live until something ends it. Raises InvariantViolated for an end without a reason."""
        assert self._scope is None
        self.life += 1
        self.story.tell(f"{self.id} begins life {self.life}")
        rng = random.Random(self.rng.getrandbits(64))
        with trio.CancelScope() as self._scope:
            try:
                await self._open(rng)
            except InvariantViolated:
                raise
            except (Exception, PowerCut) as error:  # noqa: BLE001 - a PowerCut may come as an internal error
                self._ended(error)
        self.story.note("\n".join(self.disk.log).encode())
        self._configurations = () if self._renewed else self.configurations
        self.disk = SimulatedDisk() if self._renewed else self._left(rng)
        self._scope = self.node = self.server = None
        self.faulty = self._renewed = False
        self.story.tell(f"{self.id} is down")

    def crash(self) -> None:
        """Cut its power."""
        assert self._scope is not None
        self.story.tell(f"{self.id} loses power")
        self.disk.cut_power()
        self._scope.cancel()

    def stop(self) -> None:
        """End its life as a signal does: what was written stays."""
        assert self._scope is not None
        self.story.tell(f"{self.id} is stopped")
        self._scope.cancel()

    def wipe(self) -> None:
        """Lose its directory, while it is down; it is started as before."""
        self._empty()
        self.harmed = "wiped"

    def renew(self, group: Configuration) -> None:
        """Begin again with an empty directory, as one that waits to be admitted to `group`."""
        self.joins, self.harmed, self.refused = True, None, False
        self.members = {it.id: it.address for it in group.members}
        self.members[self.id] = self.network.address_of(self.id)
        self._empty()
        self._renewed = self.running
        if self.running and not self.disk.is_off:
            self.crash()

    def _empty(self) -> None:
        self.identity, self._configurations = None, ()
        if not self.running:
            self.disk = SimulatedDisk()

    def mend(self) -> None:
        """Let nothing come that was ordered of its disk, at the price of a crash."""
        if self.disk.is_ordered and not self.running:
            self.disk = self.disk.kill()
        elif self.disk.is_ordered and not self.disk.is_off:
            self.crash()

    def delay(self, rng: random.Random) -> float:
        """How long a sync takes now."""
        stalled = self.stalled_until - trio.current_time()
        mean = self.sync
        return max(stalled, rng.expovariate(1 / mean) if mean else 0.0)

    # ── one life ─────────────────────────────────────────────────────────────────────────────────────

    async def _open(self, rng: random.Random) -> None:
        storage = open_storage(
            "",
            self.id,
            disk=self.disk,
            entropy=lambda: rng.getrandbits(64),
            segment_bytes=self.swarm.segment_bytes,
            mark_bytes=self.swarm.segment_bytes,
            preallocate_bytes=1024,
            reserve_bytes=1024,
        )
        self.identity = storage.record.identity
        for healed in storage.healed:
            self.story.tell(f"{self.id} healed: {healed}")
        replica = Replica(self.factory, paranoid=True)
        self.witness.began(self.id, replica.newest_version)
        disk = self.disk
        transport = self.network.transport(lambda: not disk.is_off)
        async with open_server(self._plan(rng), replica, storage, transport) as server:
            self.server, self.node = server, Node(server)
            await self._listen(self.node)

    async def _listen(self, node: Node[Any]) -> None:
        """Pass on what it says, for as long as it lives."""
        async for event in node.events():
            match event:
                case LeaderElected():
                    self.witness.elected(self.id, event)
                case SnapshotTaken():
                    self.witness.took(self.id, event.snapshot)
                case SnapshotInstalled():
                    self.witness.installed += 1
                    self.story.tell(f"{self.id} installs a snapshot at {event.index}")
                case StateDiverged():
                    self.witness.diverged(self.id, event)
                case VersionRaised():
                    self.witness.raised(self.id, event)
                case StateHealed():
                    self.witness.healed += 1
                    self.story.tell(f"{self.id} is healed at {event.index}")
                case _:
                    pass
        await trio.sleep_forever()

    def _plan(self, rng: random.Random) -> Plan:
        swarm = self.swarm
        plan = make_plan(
            id=self.id,
            members=self.members,
            election_timeout=ELECTION_TIMEOUT,
            heartbeat_interval=swarm.heartbeat,
            leases=swarm.leases,
            entry_bytes_max=1024,
            sessions_max=swarm.sessions_max,
            session_idle=swarm.session_idle,
            snapshot_entries=swarm.snapshot_entries,
            snapshot_bytes=0,
            snapshot_elapsed=0.0,
            upgrade_hold=swarm.upgrade_hold,
            # Whoever starts a list of one again does not say so again.
            found=len(self.members) == 1 and self.life == 1,
            join=self.joins,
            paranoid=True,
            threads=False,
        )
        return attrs.evolve(
            plan,
            clock=self._clock(rng),
            rng=random.Random(rng.getrandbits(64)),
            calls=_VirtualCalls(lambda: self.delay(rng)),
            limits=swarm.limits,
        )

    def _clock(self, rng: random.Random) -> Clock:
        """Clocks of this life: the monotonic one begins anywhere at each start."""
        wall, steady = self._drift
        start = rng.randrange(10**15)
        return Clock(
            wall_ns=lambda: _now_ns(wall) + 1_700_000_000 * 10**9 + self.wall_offset_ns,
            monotonic_ns=lambda: _now_ns(steady) + start,
            work=trio.current_time,  # how fast this machine is, is no part of the story
        )

    # ── its end ──────────────────────────────────────────────────────────────────────────────────────

    def _ended(self, error: BaseException) -> None:
        """Whether this life had a reason to end."""
        self.story.tell(f"{self.id} ends: {type(error).__name__}: {error}")
        if self.disk.is_off:
            return
        if isinstance(error, LogCorrupt) and self.harmed is not None:
            self.refused = True
            return
        if isinstance(error, LogCorrupt) or not (isinstance(error, StorageError) and self.faulty):
            fail("N1 EndedForNothing", f"{self.id}: {type(error).__name__}: {error}")

    def _left(self, rng: random.Random) -> SimulatedDisk:
        """The disk for the next life: after a power cut any part of what was not synced, mended otherwise."""
        if self.disk.is_off:
            return self.disk.crash(rng)
        return self.disk.kill()


def _now_ns(drift: float) -> int:
    return int(trio.current_time() * (1.0 + drift) * 1e9)


@final
class _VirtualCalls:
    """Calls a storage in the loop, as if it took time. Implements `StorageCalls`."""

    def __init__(self, delay: Callable[[], float]) -> None:
        self._delay = delay

    @asynccontextmanager
    async def open_writer(self, storage: Storage) -> AsyncGenerator[VirtualWriter]:
        """A writer for as long as the body runs."""
        assert isinstance(storage, FileStorage)
        writer = VirtualWriter(storage, self._delay)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            yield writer
            nursery.cancel_scope.cancel()

    async def run(self, function: Callable[[], T]) -> T:
        """Wait, then call it."""
        await trio.sleep(self._delay())
        return function()


@final
class VirtualWriter:
    """A `Writer` that takes virtual time before and after it writes. What waits meanwhile goes together."""

    def __init__(self, storage: Storage, delay: Callable[[], float]) -> None:
        self._storage = storage
        self._delay = delay
        self._queue: deque[Write] = deque()
        self._completed = self._told = 0
        self._failure: BaseException | None = None
        self._submitted = trio.Event()
        self._done = trio.lowlevel.ParkingLot()

    def submit(self, write: Write) -> bool:
        """Queue a write. Raises what an earlier one failed with."""
        if self._failure is not None:
            raise self._failure
        self._queue.append(write)
        self._submitted.set()
        return False

    async def wait_completed(self) -> int:
        """Wait until more writes are durable; the sequence of the last. Raises what they failed with."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._completed == self._told:
            if self._failure is not None:
                raise self._failure
            await self._done.park()
        self._told = self._completed
        return self._told

    async def run(self) -> None:
        """Perform what is submitted, until something fails."""
        proved = True
        while self._failure is None:
            with trio.move_on_after(PROVE_SECONDS if not proved else 1e9):
                await self._submitted.wait()
            await trio.sleep(self._delay() / 2)
            self._submitted = trio.Event()
            writes = list(self._queue)
            self._queue.clear()
            proved = not writes
            try:
                if writes:
                    self._storage.perform(writes)
                else:
                    self._storage.prove()
            except (Exception, PowerCut) as error:  # noqa: BLE001 - wait_completed raises it
                self._failure = error
                self._done.unpark_all()
                return
            await trio.sleep(self._delay() / 2)
            if writes:
                self._completed = writes[-1].sequence
                self._done.unpark_all()
