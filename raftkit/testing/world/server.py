"""One server of a simulated world: a core, a disk, a state machine, and what a driver does between them.

Laws: only `_step` steps the core, and `_perform` does its effects in their order. What waits for the disk
waits in one queue. A crash ends a life: whatever was under way in it finds another life and does nothing.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from typing import TypeVarTuple

import attrs

from raftkit.changes import Change, ChangeMembership
from raftkit.core import Raft
from raftkit.driver import Freshness, Life
from raftkit.leadership import StepDown, TransferLeadership
from raftkit.membership import Configuration
from raftkit.messages import (
    Applied,
    Barred,
    ConfigurationChanged,
    Effects,
    Fetch,
    Fetched,
    Input,
    Persisted,
    Propose,
    Read,
    ReadConfirmed,
    ReadSnapshot,
    Receive,
    Send,
    SnapshotRead,
    SnapshotTaken,
    StorageStalled,
    Tick,
    Unfit,
    Write,
)
from raftkit.model import Identity, Index, NodeId
from raftkit.snapshot import SeekSnapshot, SnapshotFound, SnapshotMeta
from raftkit.testing.world.disk import WorldDisk
from raftkit.testing.world.ghosts import Ghosts
from raftkit.testing.world.network import Network
from raftkit.testing.world.shadows import Shadow, fail
from raftkit.testing.world.stage import Stage

__all__ = ["Server", "timers"]

Arguments = TypeVarTuple("Arguments")

TICK_MS = 10
"A tick by the clocks of servers."
TICK_NS = TICK_MS * 1_000_000
"The same."
NOBODY, WRONG = 0.1, 0.02
"Chances that nobody has a part of a snapshot that is sought, and that what is given of it is wrong."
EPOCH_NS = 1_700_000_000_000_000_000
"Where their wall clocks begin."
RESTS = 16
"One turn of about so many ends with a step that nothing led to (S35)."
STALL_TICKS = 100
"A disk that does nothing for around this long is said to stand still."


class Server:
    """A process that may crash, and its disk that remains."""

    def __init__(
        self,
        stage: Stage,
        network: Network,
        ghosts: Ghosts,
        identity: Identity,
        disk: WorldDisk,
        *,
        on_crash: Callable[[Server], None],
        on_configuration: Callable[[Configuration], None],
    ) -> None:
        self.stage = stage
        self.network = network
        self.ghosts = ghosts
        self.identity = identity
        self.disk = disk
        self.shadow = Shadow(identity=identity, disk=disk, issued=disk.log)
        ghosts.shadows[identity] = self.shadow
        self.raft: Raft | None = None
        self.recorded: Life | None = None
        self.life = 0
        self.paused = False
        self.wall_offset_ns = 0
        self.stalled_until = 0.0
        self.outdated = False
        self.barred = False
        self.retired = False
        self.applied_index = Index(0)
        self.writes = 0
        # Unique for its name for ever, as by the boot number in their high bits.
        self._tickets = identity.incarnation - 1 << 32
        self._inbox: list[Input] = []
        self._turn_due = False
        self._wake_at: float | None = None
        self._rate = 1.0 + stage.swarm.drift * stage.rng.uniform(-1.0, 1.0)
        self._freshness = Freshness()
        self._asked_ns: dict[int, int] = {}
        self._ticked = 0
        self._held: deque[tuple[int, Send]] = deque()
        self.applies_until = 0.0
        "When its machine is through with what it was handed."
        self._on_crash = on_crash
        self._on_configuration = on_configuration

    # ── life ──

    def start(self) -> None:
        """Boot from the disk."""
        assert self.raft is None
        stage = self.stage
        seed = stage.rng.getrandbits(64)
        extreme = stage.swarm.extreme_timers
        config, found = stage.swarm.config(self.identity), self.disk.recover()
        if stage.recorder is not None:
            self.recorded, found = stage.recorder.begin(config, found, seed, extreme=extreme)
        self.raft = Raft(config, found, rng=timers(seed, extreme=extreme))
        self._ticked = int(self._clock)
        self._freshness = Freshness()
        self._asked_ns.clear()
        self.applies_until = stage.agenda.now
        self.applied_index = Index(0) if self.disk.snapshot is None else self.disk.snapshot.index
        self.ghosts.started(self.shadow, self.raft)
        stage.tell(f"{self.identity.id} starts in term {self.raft.term}")
        self._schedule_wake()
        if self.barred:
            # First of all: a driver hears from its peers how much it wrote before it lets its core speak.
            self.take(Barred(reason="rolled back"))

    def crash(self) -> None:
        """Lose everything but what is on the disk."""
        assert self.raft is not None
        self.life += 1
        self.raft = None
        self.paused = False
        self._inbox.clear()
        self._held.clear()
        self._turn_due = False
        self._wake_at = None
        for write in self.disk.crash(self.stage.rng):
            self.ghosts.performed(self.shadow, write)
        self.ghosts.crashed(self.shadow)
        self.stage.tell(f"{self.identity.id} crashes; disk: {self.disk.term} {self.disk.voted_for}")
        if self.recorded is not None:
            self.recorded.end("crashes")
        self._on_crash(self)

    def roll_back(self, image: WorldDisk) -> None:
        """While it is down its disk becomes `image`, an older one: from now on its driver bars it."""
        assert self.raft is None
        self.stage.note(f"{self.identity.id} is rolled back to {image.log.last_index}")
        self.disk, self.barred = image, True
        self.ghosts.rolled_back(self.shadow, image)

    def free_disk(self) -> None:
        """Its disk does at once what it was at, and is as quick as the others from now on."""
        self.stalled_until = 0.0
        if self.disk.queue:
            self._synced(self.disk.queue[-1].sequence)

    @property
    def able(self) -> bool:
        """Whether it may vote and lead."""
        return not self.outdated and not self.barred

    def lose_disk(self) -> None:
        """Stop for good, and lose everything: whoever comes back under this name is another."""
        self.retire()
        self.stage.tell(f"{self.identity} has lost its disk")

    def retire(self) -> None:
        """Stop for good."""
        self.retired = True
        if self.raft is not None:
            self.crash()

    def resume(self) -> None:
        """Go on after a pause, with what arrived meanwhile and one overslept tick."""
        self.paused = False
        self._turn()

    # ── what comes in ──

    def take(self, it: Input) -> None:
        """Something happened to this server, which is alive."""
        self._inbox.append(it)
        if self._turn_due or self.paused:
            return
        if self.stage.swarm.turn == 0.0:
            self._turn()
        else:
            self._turn_due = True
            self._later(self.stage.swarm.turn, self._turn)

    def propose(self, count: int, origin: NodeId | None = None) -> None:
        """Ask this server, whether it leads or not, to append `count` entries no one else proposes.

        `origin` is the node that waits for them, if it is another.
        """
        self._tickets += 1
        filler = b"x" * self.stage.rng.randint(0, self.stage.swarm.payload)
        payloads = tuple(
            b"%s.%d.%d:%s" % (self.identity.id.encode(), self._tickets, n, filler)
            for n in range(count)
        )
        self.take(Propose(ticket=self._tickets, payloads=payloads, origin=origin))

    def read(self, *, lease: bool = False) -> None:
        """Ask this server from which index on a read is linearizable."""
        self._tickets += 1
        self._asked_ns[self._tickets] = self._monotonic_ns
        self.take(Read(ticket=self._tickets, lease=lease))

    def complete_at(self) -> float | None:
        """A moment of which its copy misses nothing, as far as this server can tell."""
        if self.raft is None:
            return None
        known = (
            self._freshness.complete_ns(self.applied_index),
            self.raft.confirmed_ns(self.applied_index),
        )
        complete_ns = max((it for it in known if it is not None), default=None)
        return None if complete_ns is None else complete_ns / TICK_NS / self._rate

    def transfer(self, target: NodeId | None) -> None:
        """Ask this server to make `target` lead, or anybody."""
        self._tickets += 1
        self.take(TransferLeadership(ticket=self._tickets, target=target))

    def step_down(self, *, hand_over: bool) -> None:
        """Ask this server to lead no more."""
        self._tickets += 1
        self.take(StepDown(ticket=self._tickets, hand_over=hand_over))

    def change(self, changes: tuple[Change, ...], based_on: Index) -> None:
        """Ask this server, whether it leads or not, to change the group."""
        self._tickets += 1
        self.take(ChangeMembership(ticket=self._tickets, changes=changes, based_on=based_on))

    def is_asked_to_change(self) -> bool:
        """Whether such a question waits here."""
        return any(isinstance(it, ChangeMembership) for it in self._inbox)

    def take_snapshot(self) -> None:
        """Begin a snapshot of the machine as it is; it becomes durable after a while."""
        index = self.applied_index
        newest = Index(0) if self.disk.snapshot is None else self.disk.snapshot.index
        if index <= newest:
            return
        snapshot, data = self.ghosts.snapshot_at(index)
        self._later(self.stage.swarm.disk, self._snapshot_taken, snapshot, data)

    def _snapshot_taken(self, snapshot: SnapshotMeta, data: bytes) -> None:
        if self.disk.snapshot is None or self.disk.snapshot.index < snapshot.index:
            self.disk.take_snapshot(snapshot, data)
            self.take(SnapshotTaken(snapshot=snapshot))

    # ── turns ──

    def _turn(self) -> None:
        """Step until there is nothing left to step with: what a driver's loop does when it wakes."""
        self._turn_due = True  # what happens meanwhile is taken up by this turn
        one_by_one = self.stage.swarm.turn == 0.0
        while self._inbox and self.raft is not None and not self.paused:
            if one_by_one:
                inputs = [self._inbox.pop(0)]
            else:
                inputs, self._inbox = self._inbox, []
            self._step(inputs)
        if self.raft is not None and not self.paused and self.ghosts.steps % RESTS == 0:
            self._step([])
        self._turn_due = False
        self._schedule_wake()

    def _step(self, inputs: list[Input]) -> None:
        raft = self.raft
        assert raft is not None
        now = int(self._clock)
        # A lease is judged by the clock: as in a driver, the read comes with what it shows.
        if now > self._ticked or any(isinstance(it, Read) and it.lease for it in inputs):
            elapsed_ns = self._monotonic_ns
            tick = Tick(
                count=now - self._ticked,
                wall_ns=EPOCH_NS + self.wall_offset_ns + elapsed_ns,
                monotonic_ns=elapsed_ns,
            )
            inputs.insert(0, tick)
            self._ticked = now
        alone = inputs[0] if len(inputs) == 1 else None
        idle = isinstance(alone, Applied | Persisted | Receive) and raft.can_wait(alone)
        effects = raft.step(inputs) if self.recorded is None else self.recorded.step(raft, inputs)
        if idle and effects != Effects():
            fail("S34 Patience", f"{self.identity} could not wait with {alone}: {effects}")
        # Entries to apply are handed over as there is room, not as much as there is room.
        if not inputs and attrs.evolve(effects, apply=()) != Effects():
            fail("S35 Settled", f"{self.identity} had not concluded all: {effects}")
        if self.stage.trace is not None:
            self.stage.tell(f"{self.identity.id} {raft.role} {raft.term}: {inputs} → {effects}")
        self.ghosts.stepped(self.shadow, inputs, effects)
        for event in effects.events:
            if isinstance(event, ConfigurationChanged):
                self._on_configuration(event.configuration)
        self._perform(effects)

    def _schedule_wake(self) -> None:
        """Sleep until the core's next deadline, at most."""
        if self.raft is None or self.paused:
            return
        ticks = self.raft.ticks_until_next_deadline
        if ticks is None:
            return
        if ticks == 0:
            # Whatever was due at this tick was done in the turn that ends here, or a driver would spin.
            fail("S30 Spin", f"{self.identity.id} wants to wake at once: {self.raft.state.role}")
        deadline = float(self._ticked + ticks)
        if self._wake_at is None or deadline < self._wake_at:
            self._wake_at = deadline
            # A hair later than the tick, or rounding would wake us just before it.
            wait = max(0.0, deadline - self._clock) / self._rate + 1e-6
            self.stage.agenda.after(wait, self._wake, self.life, deadline)

    def _wake(self, life: int, deadline: float) -> None:
        if life != self.life or deadline != self._wake_at or self.raft is None:
            return
        self._wake_at = None
        if self.paused:
            return
        ticks = self.raft.ticks_until_next_deadline
        if ticks is None or self._ticked + ticks > self._clock:
            self._schedule_wake()  # the deadline has moved
        elif not self._turn_due:
            self._turn_due = True
            self._step([])
            self._turn()

    # ── effects, in their order ──

    def _perform(self, effects: Effects) -> None:
        for send in effects.send_now:
            self._send(send)
        if effects.persist is not None:
            self._write(effects.persist)
            if self.raft is None:
                return
        for send in effects.send_after_persist:
            if self.disk.queue:
                self._held.append((self.disk.queue[-1].sequence, send))
            else:
                self._send(send)
        for fetch in effects.fetch:
            self._later(self.stage.swarm.disk, self._fetch, fetch)
        for request in effects.read_snapshot:
            self._later(self.stage.swarm.disk, self._read_snapshot, request)
        if effects.seek_snapshot is not None:
            self._later(2 * self.stage.swarm.delay, self._seek, effects.seek_snapshot)
        if effects.install is not None:
            self._apply(effects.install.index)
        if effects.apply:
            self._apply(effects.apply[-1].last)
        for answer in effects.answer:
            asked_ns = self._asked_ns.pop(answer.ticket, None)
            if isinstance(answer, ReadConfirmed) and asked_ns is not None:
                self._freshness.confirmed(answer.index, asked_ns)

    def _send(self, send: Send) -> None:
        for target in send.targets:
            self.ghosts.sent(self.shadow, target, send.message)
        self.network.send(self.identity, send.targets, send.message)

    def _write(self, write: Write) -> None:
        self.writes += write.compact_to is None  # which only follows a snapshot
        idle = not self.disk.queue
        self.disk.queue.append(write)
        if self.stage.rng.random() < self.stage.swarm.crash_on_write:
            self.crash()
        elif idle:
            self._sync()

    def _sync(self) -> None:
        """All that is queued now becomes durable together, after a while."""
        sequence, stalled = self.disk.queue[-1].sequence, self.stalled_until - self.stage.agenda.now
        if stalled > 0.0:
            oldest = self.disk.queue[0].sequence
            self._later(STALL_TICKS, self.take, StorageStalled(sequence=oldest))
        if stalled < math.inf:
            self._after(
                max(stalled, self.stage.around(self.stage.swarm.disk)), self._synced, sequence
            )

    def _synced(self, sequence: int) -> None:
        if sequence <= self.disk.sequence:
            return  # the disk was mended meanwhile
        # One after the other, so that each message is judged by what was durable when it might have left.
        while self.disk.queue and self.disk.queue[0].sequence <= sequence:
            write = self.disk.perform()
            self.ghosts.performed(self.shadow, write)
            while self._held and self._held[0][0] <= write.sequence:
                _, send = self._held.popleft()
                self._send(send)
        if self.disk.queue:
            self._sync()
        self.take(Persisted(sequence=sequence))

    def _fetch(self, fetch: Fetch) -> None:
        runs = self.disk.log.read(fetch.first, fetch.last, fetch.bytes_max)
        self.take(Fetched(fetch=fetch, runs=runs))

    def _read_snapshot(self, request: ReadSnapshot) -> None:
        data = self.disk.read_snapshot(request.snapshot, request.offset, request.bytes_max)
        self.take(SnapshotRead(request=request, data=data))

    def _seek(self, request: SeekSnapshot) -> None:
        """Any other server's file will do; who is asked may be away, and may be wrong."""
        rng, snapshot = self.stage.rng, request.snapshot
        holders = [
            shadow
            for shadow in self.ghosts.shadows.values()
            if shadow.disk.snapshot == snapshot and shadow.identity != self.identity
        ]
        if not holders or rng.random() < NOBODY + self.stage.swarm.loss:
            self.take(SnapshotFound(request=request))
            return
        holder = rng.choice(holders)
        size = self.stage.swarm.config(self.identity).snapshot_chunk_bytes
        data = holder.disk.snapshot_data[request.offset : request.offset + size]
        if self.stage.swarm.faults and rng.random() < WRONG:
            data = bytes(len(data))
            self.ghosts.misled(self.shadow)
        self.take(SnapshotFound(request=request, holder=holder.identity, data=data))

    def _apply(self, index: Index) -> None:
        """The machine, which does one thing after the other, is at `index` after a while."""
        agenda = self.stage.agenda
        begins = max(agenda.now, self.applies_until)
        self.applies_until = begins + self.stage.around(self.stage.swarm.apply)
        self._after(self.applies_until - agenda.now, self._applied, index)

    def _applied(self, index: Index) -> None:
        if self.outdated:
            # In each of its lives it finds that out when it applies.
            self.take(Unfit(reason="older code"))
            return
        self.applied_index = index
        self.take(Applied(index=index))

    # ── time ──

    @property
    def _clock(self) -> float:
        """Ticks by its own clock, which is too fast or too slow."""
        return self.stage.agenda.now * self._rate

    @property
    def _monotonic_ns(self) -> int:
        return int(self._clock * TICK_NS)

    def _later(
        self, mean: float, action: Callable[[*Arguments], None], *arguments: *Arguments
    ) -> None:
        """Do something in this life, around `mean` ticks from now."""
        self._after(self.stage.around(mean), action, *arguments)

    def _after(
        self, delay: float, action: Callable[[*Arguments], None], *arguments: *Arguments
    ) -> None:
        if delay == 0.0:
            action(*arguments)
        else:
            self.stage.agenda.after(delay, self._if_alive, self.life, action, arguments)

    def _if_alive(
        self, life: int, action: Callable[[*Arguments], None], arguments: tuple[*Arguments]
    ) -> None:
        if life == self.life:
            action(*arguments)


def timers(seed: int, *, extreme: bool) -> random.Random:
    """What a core draws its timeouts from."""
    return ExtremeRandom(seed) if extreme else random.Random(seed)


class ExtremeRandom(random.Random):
    """Draws the ends of a range far more often than what lies between."""

    def randint(self, a: int, b: int) -> int:
        """A number from `a` to `b`."""
        match self.getrandbits(2):
            case 0 | 1:
                return a
            case 2:
                return b
            case _:
                return super().randint(a, b)
