"""One server with everything around its core: storage, transport, the replica and its callers.

Laws: a server is unborn, then born, then gone. Its tasks live in one nursery; the first that fails ends
all, and every caller is answered.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterable
from functools import partial
from typing import Any

import attrs
import trio

from raftkit.changes import MembershipChanged, MembershipUnknown
from raftkit.config import Config
from raftkit.core import Raft
from raftkit.driver.applying import Applying
from raftkit.driver.calling import Calling
from raftkit.driver.changing import Changing
from raftkit.driver.clocking import Clocking
from raftkit.driver.comparing import Comparing
from raftkit.driver.composition import compose
from raftkit.driver.departing import Departing
from raftkit.driver.events import Events, RecordingStopped
from raftkit.driver.explaining import explain
from raftkit.driver.forwarding import Forwarding
from raftkit.driver.founding import Founding
from raftkit.driver.guarding import meaningful
from raftkit.driver.leading import Leading
from raftkit.driver.links import Links
from raftkit.driver.looking import next_look
from raftkit.driver.loop import Duties, Loop
from raftkit.driver.planning import Plan
from raftkit.driver.presence import Presences
from raftkit.driver.reading import Reading
from raftkit.driver.recording import Recorder
from raftkit.driver.referring import Referring
from raftkit.driver.remembering import Remembering
from raftkit.driver.replica import Replica
from raftkit.driver.seeking import Seeking
from raftkit.driver.snapshotting import Snapshotting, digest_of
from raftkit.driver.stalling import Stalling
from raftkit.driver.storing import Storing
from raftkit.driver.upgrading import Upgrading
from raftkit.driver.waiters import Waiters
from raftkit.driver_messages import (
    DriverMessage,
    Forward,
    ForwardAccepted,
    ForwardRefused,
    FoundingRecord,
    Goodbye,
    Hello,
    Membership,
    Presence,
    SnapshotPart,
    SnapshotWanted,
    StateDigest,
    StateDigests,
)
from raftkit.errors import Diverged, NodeClosed, StorageError
from raftkit.leadership import NotHandedOver, SteppedDown
from raftkit.messages import (
    Answer,
    Applied,
    ConfigurationChanged,
    Event,
    Fetch,
    Input,
    LeaderElected,
    LeaderLost,
    Message,
    PeerUnreachable,
    PersistentState,
    Proposed,
    ReadConfirmed,
    ReadSnapshot,
    Receive,
    Refused,
    Send,
    SnapshotInstalled,
    SnapshotTaken,
    Unfit,
)
from raftkit.model import Identity, Index, NodeId
from raftkit.snapshot import SeekSnapshot, SnapshotMeta
from raftkit.storage import Storage, Writer
from raftkit.transports import LossyTransport

__all__ = ["Server"]

SPEAK_SECONDS = 2.0
"Without a leader, before the first warning; then twice as long each time."
HEAR_SECONDS = 1.0
"An unborn node that is offered a group waits so long for the hellos of its other members."

logger = logging.getLogger("raftkit")


@attrs.define(eq=False)
class Server:
    """Everything that runs for one node. `run` does it; the rest is for `raftkit.node`, and for the parts."""

    plan: Plan
    storage: Storage
    replica: Replica[Any]
    recorder: Recorder | None = None
    "Records what enters the core."
    storing: Storing = attrs.field(init=False)
    stalling: Stalling = attrs.field(init=False)
    snapshotting: Snapshotting = attrs.field(init=False)
    waiters: Waiters = attrs.field(init=False, factory=Waiters)
    forwarding: Forwarding = attrs.field(init=False)
    reading: Reading = attrs.field(init=False)
    applying: Applying = attrs.field(init=False)
    calling: Calling = attrs.field(init=False)
    clocking: Clocking = attrs.field(init=False)
    upgrading: Upgrading = attrs.field(init=False)
    leading: Leading = attrs.field(init=False)
    comparing: Comparing = attrs.field(init=False)
    seeking: Seeking = attrs.field(init=False)
    changing: Changing = attrs.field(init=False)
    referring: Referring = attrs.field(init=False)
    departing: Departing = attrs.field(init=False)
    presences: Presences = attrs.field(init=False)
    founding: Founding = attrs.field(init=False)
    links: Links = attrs.field(init=False)
    remembering: Remembering = attrs.field(init=False)
    events: Events = attrs.field(init=False, factory=Events)
    closed: str | None = attrs.field(init=False, default=None)
    "Why nothing is done any more; None while it runs."
    _loop: Loop | None = attrs.field(init=False, default=None)
    _tickets: int = attrs.field(init=False, default=0)
    _peers_changed: trio.Event = attrs.field(init=False, factory=trio.Event)
    _called: trio.Event = attrs.field(init=False, factory=trio.Event)
    "Somebody called before there is a loop."
    _leader_changed: trio.lowlevel.ParkingLot = attrs.field(
        init=False, factory=trio.lowlevel.ParkingLot
    )

    def __attrs_post_init__(self) -> None:
        compose(self)

    # ── what it knows ────────────────────────────────────────────────────────────────────────────

    @property
    def raft(self) -> Raft | None:
        """The core, to be read; None while unborn."""
        return self._loop.raft if self._loop is not None else None

    @property
    def living(self) -> Loop:
        """The loop, for what runs only when there is one."""
        assert self._loop is not None
        return self._loop

    @property
    def leader(self) -> NodeId | None:
        """The leader of this node's term, as far as known."""
        return self._loop.raft.leader if self._loop is not None else None

    async def wait_leader(self) -> NodeId:
        """Wait until a leader is known here. Raises NodeClosed when the node ends before."""
        await trio.lowlevel.checkpoint()
        while (leader := self.leader) is None or self.closed is not None:
            if self.closed is not None:
                raise NodeClosed(self.closed)
            await self._leader_changed.park()
        return leader

    async def catch_up(self, *, lease: bool = False) -> None:
        """Wait until all is applied here that was committed when this began.

        With `lease`, a leader that has one need not ask the others. Raises NodeClosed at the end.
        """
        why = self.closed or self.applying.stopped
        if why is not None:
            raise NodeClosed(why)
        self.refuse_divergent()
        confirmed = await self.reading.wait_confirmed(lease=lease)
        await self.applying.wait_applied(confirmed.index)
        expires_ns = confirmed.expires_ns
        if expires_ns is not None and self.plan.clock.monotonic_ns() >= expires_ns:
            # This process slept, or the state machine was behind: nobody says who leads by now.
            await self.catch_up()

    @property
    def staleness(self) -> float | None:
        """The copy here misses nothing that was decided so many seconds ago; None if that can't be said."""
        raft, applied = self.raft, self.applying.applied
        known = [self.reading.freshness.complete_ns(applied)]
        if raft is not None:
            known.append(raft.confirmed_ns(applied))
        complete_ns = max((it for it in known if it is not None), default=None)
        if complete_ns is None:
            return None
        return max(0, self.plan.clock.monotonic_ns() - complete_ns) / 1e9

    def ask(self, question: Any) -> Any:
        """The answer of the replica as it is. Raises Diverged, and what `Replica.query` does."""
        self.refuse_divergent()
        return self.replica.query(question)

    def refuse_divergent(self) -> None:
        """Raise Diverged while this node's state is not to be shown to anybody."""
        if self.applying.divergence is not None:
            raise Diverged(self.applying.divergence)

    # ── its life ─────────────────────────────────────────────────────────────────────────────────

    async def run(self, transport: LossyTransport, task_status: trio.TaskStatus[Server]) -> None:
        """Be born if need be, then take part, for ever. Started once peers can reach this node.

        Raises what ends the node, perhaps in a group. Everyone who waits is answered first.
        """
        try:
            await self._run(transport, task_status)
        except BaseException as error:
            failure = meaningful(error)
            self.close("this node is closed" if failure is None else f"this node failed: {failure}")
            raise

    async def _run(self, transport: LossyTransport, task_status: trio.TaskStatus[Server]) -> None:
        plan, identity = self.plan, self.storage.record.identity
        address = plan.members[plan.id]
        async with (
            transport.open_endpoint(identity, address, self.links) as self.links.endpoint,
            trio.open_nursery() as nursery,
        ):
            if self.storage.record.founding is not None:
                # Who was born never passes for unborn, however long it reads its state: one whose directory
                # was lost would found the group again with it.
                self.links.belong(self.storage.record.founding.scope)
            self.links.expect(plan.members)
            nursery.start_soon(self.links.greeting.repeat)
            nursery.start_soon(self._speak)
            nursery.start_soon(self._expire)
            task_status.started(self)
            record, found = await self._be_born()
            await self._live(record, found)

    async def _live(self, record: FoundingRecord, found: PersistentState) -> None:
        """Take part in the group that `record` began."""
        # The writer outlives the nursery: nobody waits for it when it closes.
        async with self.storing.open_writer() as writer, trio.open_nursery() as nursery:
            self._loop = loop = await self._begin(record, found, writer, nursery)
            self._called.set()  # calls are the loop's now
            nursery.start_soon(self._report_writes, loop, writer)
            nursery.start_soon(self.applying.run)
            nursery.start_soon(self.snapshotting.run)
            nursery.start_soon(self.upgrading.run)
            nursery.start_soon(self.comparing.run)
            nursery.start_soon(self.comparing.parts.serve)
            nursery.start_soon(self.remembering.run)
            nursery.start_soon(self.departing.run)
            nursery.start_soon(self.referring.run)
            nursery.start_soon(self.presences.run)
            nursery.start_soon(self._watch_clusters)
            self.links.adopt(record, loop.raft.configuration_index, loop.raft.configuration)
            self.remembering.begin()
            await loop.run()

    def close(self, why: str) -> None:
        """Answer everyone who waits. Nothing is done afterwards. Idempotent."""
        if self.closed is not None:
            return
        self.closed = why
        if self._loop is not None and self._loop.life is not None:
            self._loop.life.end(why)
        self.calling.close(why)
        self.reading.fail_all(lambda: NodeClosed(why))
        self.applying.close(why)
        self.leading.close(why)
        self.changing.close(why)
        self.referring.close(why)
        self._leader_changed.unpark_all()
        self.events.end()

    async def _be_born(self) -> tuple[FoundingRecord, PersistentState]:
        """Wait until this node belongs to a group. Returns at once if it was born in an earlier life."""
        record = self.storage.record.founding
        if record is not None:
            return record, self.storage.recovered
        greeting, adopt_at = self.links.greeting, math.inf
        while True:
            self._peers_changed = trio.Event()
            record, now = self.founding.adopt(greeting), trio.current_time()
            if record is None or self.founding.has_heard_all(greeting):
                adopt_at = math.inf
            else:
                # Who has not answered yet may remember a promise of this node.
                adopt_at = min(adopt_at, now + HEAR_SECONDS)
                record = record if now >= adopt_at else None
            record = record or self.founding.found(
                greeting, self.plan.rng, self.plan.clock.wall_ns()
            )
            if record is not None:
                return record, await self.storing.found(record)
            with trio.move_on_at(adopt_at):
                await self._peers_changed.wait()

    async def _begin(
        self, record: FoundingRecord, found: PersistentState, writer: Writer, nursery: trio.Nursery
    ) -> Loop:
        """The core, from what is on disk, with everyone who does what it says."""
        plan = self.plan
        config = Config(
            identity=self.storage.record.identity,
            tick_ms=plan.tick_ms,
            heartbeat_ms=plan.heartbeat_ms,
            vote_timeout_ms=plan.vote_timeout_ms,
            retry_ms=plan.retry_ms,
            priority=plan.priority,
            appointed_leader=plan.appointed_leader,
            paranoid=plan.paranoid,
            **plan.limits,
        )
        self.comparing.parts.part_bytes = config.snapshot_chunk_bytes
        self.comparing.parts.bytes_per_second = config.snapshot_bytes_per_second
        self.replica.cluster = record.scope.cluster
        found = await self.storing.shorten(found, config.compaction_tail_entries)
        if found.snapshot is not None:
            digest = await self.applying.restore()
            self.snapshotting.note(found.snapshot.index)
            if digest is not None:
                own = digest_of(found.snapshot, self.replica.version, digest)
                self.comparing.recall(found.snapshot, own)
        duties = Duties(
            collect=self._collect,
            deadline=self._deadline,
            send=self._send,
            persist=partial(self.stalling.submit, writer),
            fetch=lambda wanted: nursery.start_soon(self._fetch, wanted),
            apply=lambda items: self.applying.put(*items),
            answer=self._answer,
            publish=self._publish,
        )
        # A generator of its own, so that its chance can be recorded.
        seed, life = plan.rng.getrandbits(64), None
        if self.recorder is not None:
            life, found = self.recorder.begin(config, found, seed)
        raft = Raft(config, found, random.Random(seed))
        loop = Loop(raft, duties, plan.tick_ms / 1000, plan.clock, life)
        if self.applying.stopped is not None:
            # Its own snapshot is of newer code, which showed before there was a core to be told.
            loop.put(Unfit(reason=self.applying.stopped))
        return loop

    # ── what the loop asks of us ─────────────────────────────────────────────────────────────────

    def _collect(self, now: float) -> list[Input]:
        self.waiters.expire(now)
        raft = self.living.raft
        return [
            *self.reading.collect(raft, now),
            *self.forwarding.collect(raft, now),
            *self.clocking.collect(raft, now),
            *self.stalling.collect(now),
        ]

    def _deadline(self) -> float:
        now, raft = trio.current_time(), self.living.raft
        if self.forwarding.is_ready(raft, now) or self.reading.is_ready(raft, now):
            return now
        return min(
            self.waiters.deadline(),
            self.forwarding.deadline(now),
            self.reading.deadline(now),
            self.clocking.deadline(raft, now),
            self.stalling.deadline(),
        )

    def _answer(self, answer: Answer) -> None:
        match answer:
            case ReadConfirmed():
                self.reading.on_answer(answer)
            case Refused() if self.reading.on_answer(answer):
                pass
            case Proposed() | Refused() if self.clocking.on_answer(answer):
                pass
            case Refused() if self.changing.asking.on_answer(answer):
                pass
            case Proposed() | Refused():
                self.forwarding.on_answer(answer, self.entry_bytes_max())
            case SteppedDown() | NotHandedOver():
                self.leading.asking.on_answer(answer)
            case MembershipChanged() | MembershipUnknown():
                self.changing.asking.on_answer(answer)

    def _publish(self, event: Event) -> None:
        match event:
            case LeaderElected():
                self._leader_changed.unpark_all()
                self.leading.on_change()
                self.referring.on_news()
            case LeaderLost():
                self.leading.on_change()
                self.changing.on_news()
            case SnapshotInstalled():
                self.snapshotting.note(event.index)
            case ConfigurationChanged():
                self.links.follow(event.index, event.configuration)
            case _:
                pass
        self.events.publish(event)

    def _send(self, sends: Iterable[Send]) -> None:
        for send in sends:
            self.links.send(send.targets, send.message)

    async def _fetch(self, wanted: Fetch | ReadSnapshot | SeekSnapshot) -> None:
        if isinstance(wanted, SeekSnapshot):
            self.put(await self.seeking.find(wanted))
        else:
            self.put(await self.storing.fetch(wanted))

    # ── what the apply task reports ──────────────────────────────────────────────────────────────

    def on_applied(self, news: Applied | Unfit) -> None:
        """A command was applied, or can't be by this node."""
        self.upgrading.on_applied()
        self.changing.on_news()
        if isinstance(news, Unfit):
            self.reading.fail_all(lambda: NodeClosed(news.reason))
            self.put(news)
        elif self._loop is not None:
            self._loop.note(news)

    # ── what the links report ────────────────────────────────────────────────────────────────────

    def on_message(self, sender: Identity, body: Message | DriverMessage) -> None:
        """Somebody who is heard says something."""
        if self._loop is None:
            return
        self.presences.hear(sender.id)
        if not isinstance(body, DriverMessage):  # most are of the core
            self.links.greeting.note_message(sender, body)
            self._loop.note(Receive(sender=sender, message=body))
            return
        match body:
            case Forward() | ForwardAccepted() | ForwardRefused():
                proposal = self.forwarding.on_message(sender, body, self._loop.raft)
                if proposal is not None:
                    self._loop.put(proposal)
            case StateDigests() | SnapshotWanted() | SnapshotPart():
                self.comparing.on_message(sender, body)
            case Hello() | Goodbye() | Membership():
                pass  # the links' own
            case Presence():
                self.presences.on_presence(sender, body)
            case _:
                self.referring.on_message(sender, body)

    def on_lost(self, peer: NodeId, gone: bool) -> None:
        """What was on its way to `peer` may be lost; `gone`: and there is no link to it now."""
        self.forwarding.on_link_lost(peer)
        self.referring.on_link_lost(peer)
        if gone:
            succession = self.presences.succession()
            self.put(PeerUnreachable(peer=peer, succession=succession))

    def on_change(self) -> None:
        """What is known of a peer changed."""
        self._peers_changed.set()
        self.changing.on_news()
        self.referring.on_news()
        self.presences.on_news()

    def on_hello(self, hello: Hello) -> None:
        """Somebody expected said hello."""
        self.remembering.on_hello(hello)
        self.upgrading.on_hello()
        if self._loop is not None:
            self.comparing.tell()

    # ── beside the loop ──────────────────────────────────────────────────────────────────────────

    async def _report_writes(self, loop: Loop, writer: Writer) -> None:
        while True:
            sequence = await writer.wait_completed()
            self.stalling.on_persisted(sequence)
            loop.on_persisted(sequence)

    async def _watch_clusters(self) -> None:
        """Raise WrongCluster when that shows."""
        while True:
            self._peers_changed = trio.Event()
            self.links.check_cluster()
            await self._peers_changed.wait()

    async def _expire(self) -> None:
        """End calls whose time has come for as long as there is no loop to do it, whatever the disk does."""
        while self._loop is None:
            self._called = trio.Event()
            with trio.move_on_at(self.waiters.deadline()):
                await self._called.wait()
            self.waiters.expire(trio.current_time())

    async def _speak(self) -> None:
        """Without a leader, say why: after 2 s, then at doubling intervals."""
        since, pause = trio.current_time(), SPEAK_SECONDS
        while True:
            await trio.sleep_until(next_look(SPEAK_SECONDS / 4))
            if self.leader is not None:
                since, pause = trio.current_time(), SPEAK_SECONDS
            elif trio.current_time() - since >= pause:
                logger.warning("%s: %s", self.plan.id, explain(self))
                pause *= 2

    async def snapshot(self) -> SnapshotMeta:
        """Write the state as it is now to a durable file, and let the log before it go."""
        if self.closed is not None:
            raise NodeClosed(self.closed)
        self.refuse_divergent()
        try:
            return await self.snapshotting.take()
        except StorageError as error:
            if self.closed is not None:
                raise NodeClosed(self.closed) from error  # it was closed meanwhile
            raise

    # ── small things ─────────────────────────────────────────────────────────────────────────────

    def entry_bytes_max(self) -> int:
        """How large a command may be, by the settings in force."""
        settings = self._loop.raft.configuration.settings if self._loop else self.plan.settings
        return settings.entry_bytes_max

    def new_ticket(self) -> int:
        """Unique for this node for ever: the boot number is in the high bits."""
        self._tickets += 1
        return self.storage.record.boot << 40 | self._tickets

    def on_snapshot(self, taken: SnapshotTaken) -> None:
        """A snapshot is durable."""
        self.put(taken)
        self.events.publish(taken)

    def on_cut(self, snapshot: SnapshotMeta, digest: StateDigest) -> None:
        """A snapshot that was due is written, and that is its digest."""
        self.comparing.on_own(snapshot, digest)

    def on_replaced(self, index: Index, diverged: bool) -> None:
        """Another state took the place of the replica's, behind `index`."""
        self.comparing.on_replaced(index, diverged)

    def on_recording_stopped(self, why: str) -> None:
        """The recorder gave up."""
        logger.warning("%s: nothing is recorded any more: %s", self.plan.id, why)
        self.events.publish(RecordingStopped(why=why))

    def put(self, item: Input) -> None:
        """Give `item` to the core in its next step; while there is none it is dropped."""
        if self._loop is not None:
            self._loop.put(item)

    def wake(self) -> None:
        """There is something to collect."""
        if self._loop is not None:
            self._loop.wake()
        else:
            self._called.set()
