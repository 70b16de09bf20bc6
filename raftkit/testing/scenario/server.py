"""One server of a scenario: a core, a disk and a state machine that do what they are told.

Laws: left alone, disk and machine are as quick as can be: what a step issues is done before anything else
happens. Held, they wait to be told. A message leaves when what it claims is on the disk, never before.
Timeouts are not drawn but set: the scenario says how patient a server is.
"""

from __future__ import annotations

import enum
import random
from collections import deque
from collections.abc import Callable
from typing import Protocol

import attrs

from raftkit.config import Config
from raftkit.core import Raft
from raftkit.errors import LocalProtocolError
from raftkit.membership import Configuration
from raftkit.messages import (
    Applied,
    ConfigurationChanged,
    Effects,
    Fetched,
    Input,
    Persisted,
    Send,
    SnapshotRead,
    SnapshotTaken,
    Tick,
    Write,
)
from raftkit.model import Index, NodeId, Term
from raftkit.snapshot import SeekSnapshot, SnapshotFound
from raftkit.testing.scenario.network import Letter, Network
from raftkit.testing.scenario.words import (
    answer_words,
    entries,
    event_words,
    message_words,
    write_words,
)
from raftkit.testing.world.disk import LogImage, WorldDisk
from raftkit.testing.world.ghosts import Ghosts
from raftkit.testing.world.shadows import Shadow, fail

__all__ = ["Batching", "Patience", "Server"]

EPOCH_NS = 1_700_000_000_000_000_000
"Where wall clocks begin."

STEPS_MAX = 10_000
"A server that makes more steps by itself, while nothing comes and no time passes, never stops."


class Batching(enum.Enum):
    """Which of the inputs of a server share a step."""

    AS_WRITTEN = "as written"
    "Those that the commands say."
    SINGLY = "singly"
    "None: each has one of its own, whatever is written."
    TOGETHER = "together"
    "All that come to it by one command, and all that its own disk and machine have done by then."


class Tell(Protocol):
    """Takes note of what happened."""

    def __call__(self, line: str, *, news: bool = False) -> None:
        """A line; `news` is worth noting even where one looks away."""
        ...


class Patience(random.Random):
    """The chance that a core is given: none, but the election timeout that a scenario names."""

    def __init__(self, ticks: int) -> None:
        super().__init__(0)
        self.ticks = ticks

    def randint(self, a: int, b: int) -> int:
        """The timeout, within the bounds in force."""
        return min(max(self.ticks, a), b)


@attrs.define(eq=False, kw_only=True)
class Server:
    """What a process and its disk are to a scenario."""

    config: Config
    "Who it is, and its local settings."
    disk: WorldDisk
    "What a crash leaves."
    patience: Patience
    "Its election timeouts."
    network: Network
    "Where its letters go."
    ghosts: Ghosts
    "Who look on."
    tell: Tell
    "Is told each line about it."
    admit: Callable[[Configuration], None]
    "Is told of each configuration that is in force here."
    give: Callable[[SeekSnapshot], SnapshotFound]
    "What others give of a snapshot."
    watch: Callable[[Effects], None] | None = None
    "Is told the effects of each step, before they are done."
    batching: Batching = Batching.AS_WRITTEN
    "What it takes in one step."
    raft: Raft | None = None
    "Its core while it runs."
    disk_held: bool = False
    "Writes wait to be told."
    machine_held: bool = False
    "Entries wait to be told."
    paused: bool = False
    "It takes nothing in; what comes waits for it."
    handed_index: Index = Index(0)
    "The state machine was given entries up to here."
    _inbox: list[Input] = attrs.field(factory=list[Input])
    "What waits for a paused server."
    _overslept: int = 0
    "Ticks that passed in a pause."
    _due: deque[Input] = attrs.field(factory=deque[Input])
    "What follows from earlier steps: it happens before anything else does."
    _unsent: deque[tuple[int, Send]] = attrs.field(factory=deque[tuple[int, Send]])
    "Letters that leave when the write of that sequence is on disk."
    shadow: Shadow = attrs.field(init=False)
    "What the ghosts remember of it."

    def __attrs_post_init__(self) -> None:
        self.shadow = Shadow(identity=self.config.identity, disk=self.disk, issued=self.disk.log)
        self.ghosts.shadows[self.config.identity] = self.shadow

    @property
    def id(self) -> NodeId:
        """Its name."""
        return self.config.identity.id

    @property
    def running(self) -> Raft:
        """Its core. Raises LocalProtocolError if it is down."""
        if self.raft is None:
            raise LocalProtocolError(f"{self.id} is down: restart it first")
        return self.raft

    # ── life ──

    def start(self) -> None:
        """Boot from the disk. With an empty one there is nothing to start: it stays unborn."""
        if self.raft is not None:
            raise LocalProtocolError(f"{self.id} runs already")
        try:
            self.raft = Raft(self.config, self.disk.recover(), self.patience)
        except LocalProtocolError as unborn:
            self.say(f"stays unborn: {unborn}", news=True)
            return
        snapshot = self.disk.snapshot
        self.handed_index = Index(0) if snapshot is None else snapshot.index
        self.ghosts.started(self.shadow, self.raft)

    def crash(self, *, kept: int = 0, parts: int = 0) -> None:
        """Lose all but the disk, on which `kept` of the waiting writes are, and `parts` of the next."""
        assert self.raft is not None
        if kept > len(self.disk.queue):
            raise LocalProtocolError(f"{len(self.disk.queue)} writes of {self.id} wait, not {kept}")
        self._end()
        lost = len(self.disk.queue) - kept
        for write in self.disk.lose(kept, parts):
            self.ghosts.performed(self.shadow, write)
        self.ghosts.crashed(self.shadow)
        self.say(f"crashes{f'; writes lost: {lost}' if lost else ''}", news=True)

    def wipe(self) -> None:
        """Lose the disk too, which is more than Raft promises to survive."""
        self._end()
        self.disk = WorldDisk(term=Term(0), voted_for=None, log=LogImage())
        self.shadow.disk = self.disk
        self.ghosts.disk_lost(self.shadow)
        self.say("loses its disk", news=True)

    def _end(self) -> None:
        self.raft, self.paused, self._overslept = None, False, 0
        self._inbox.clear()
        self._due.clear()
        self._unsent.clear()

    # ── what comes in ──

    def take(self, *inputs: Input) -> None:
        """These happen, in one step, and whatever follows from it here at once."""
        if self.paused:
            self._inbox.extend(inputs)
            return
        singly = self.batching is Batching.SINGLY
        for batch in zip(inputs, strict=True) if singly else (inputs,):
            if self.raft is not None:
                self._step(batch)
                self.catch_up()

    def tick(self, count: int = 1) -> None:
        """Time passes here, in one step."""
        if self.paused:
            self._overslept += count
        else:
            self.take(self._tick(count))

    def resume(self) -> None:
        """After a pause: the time that passed and all that came, in one step."""
        self.paused = False
        inputs, self._inbox, count, self._overslept = self._inbox, [], self._overslept, 0
        self.take(self._tick(count), *inputs)

    def _tick(self, count: int) -> Tick:
        now_ns = (self.running.state.now + count) * self.config.tick_ms * 1_000_000
        return Tick(count=count, wall_ns=EPOCH_NS + now_ns, monotonic_ns=now_ns)

    def snapshot(self) -> None:
        """The state machine as it is becomes a durable snapshot."""
        index = self.running.state.applied_index
        if index <= (0 if self.disk.snapshot is None else self.disk.snapshot.index):
            raise LocalProtocolError(f"{self.id} has applied nothing since its last snapshot")
        snapshot, data = self.ghosts.snapshot_at(index)
        self.disk.take_snapshot(snapshot, data)
        self.say(f"takes snapshot {index}, {len(data)} bytes")
        self.take(SnapshotTaken(snapshot=snapshot))

    # ── disk and machine ──

    def sync(self, count: int | None = None) -> None:
        """The oldest `count` waiting writes, or all, become durable, and the core hears of it."""
        waiting = len(self.disk.queue)
        self._perform_writes(waiting if count is None else min(count, waiting))
        self.catch_up()

    def apply(self, index: Index | None = None) -> None:
        """The state machine has applied all that it was given, or what it was given up to `index`."""
        index = self.handed_index if index is None else index
        if index > self.handed_index:
            raise LocalProtocolError(f"{self.id} was given nothing beyond {self.handed_index}")
        self._due.append(Applied(index=index))
        self.catch_up()

    def catch_up(self) -> None:
        """Let happen what follows from what happened, until nothing does."""
        steps = 0
        together = self.batching is Batching.TOGETHER
        while self._due and self.raft is not None and not self.paused:
            count = len(self._due) if together else 1
            self._step(tuple(self._due.popleft() for _ in range(count)))
            steps += 1
            if steps > STEPS_MAX:
                fail("S30 Spin", f"{self.id} has made {STEPS_MAX} steps by itself")

    # ── a step ──

    def say(self, words: str, *, news: bool = False) -> None:
        """A line about this server; `news` is told even where one looks away."""
        self.tell(f"{self.id} {words}", news=news)

    def _step(self, inputs: tuple[Input, ...]) -> None:
        raft = self.running
        committed = raft.commit_index
        effects = raft.step(inputs)
        for words in dict.fromkeys(event_words(event, self.id) for event in effects.events):
            if words:
                self.say(words, news="lead" in words)
        if raft.commit_index > committed:
            self.say(f"commits up to {raft.commit_index}", news=True)
        self.ghosts.stepped(self.shadow, inputs, effects)
        for event in effects.events:
            if isinstance(event, ConfigurationChanged):
                self.admit(event.configuration)
        if self.watch is not None:
            self.watch(effects)
        self._perform(effects)

    def _perform(self, effects: Effects) -> None:
        """The effects, in their order."""
        for send in effects.send_now:
            self._send(send)
        if effects.persist is not None:
            self._issue(effects.persist)
        for send in effects.send_after_persist:
            if self.disk.queue:
                self._unsent.append((self.disk.queue[-1].sequence, send))
            else:
                self._send(send)
        for fetch in effects.fetch:
            runs = self.disk.log.read(fetch.first, fetch.last, fetch.bytes_max)
            self.say(f"reads back {entries(runs)}")
            self._due.append(Fetched(fetch=fetch, runs=runs))
        for request in effects.read_snapshot:
            data = self.disk.read_snapshot(request.snapshot, request.offset, request.bytes_max)
            self._due.append(SnapshotRead(request=request, data=data))
        if effects.seek_snapshot is not None:
            self._due.append(self._found(effects.seek_snapshot))
        if effects.install is not None:
            self.handed_index = effects.install.index
            self.say(f"installs snapshot {effects.install.index}", news=True)
        if effects.apply:
            self.handed_index = effects.apply[-1].last
            self.say(f"applies {entries(effects.apply)}")
        for answer in effects.answer:
            self.say(answer_words(answer), news=True)
        if (effects.install is not None or effects.apply) and not self.machine_held:
            self._due.append(Applied(index=self.handed_index))
        if effects.persist is not None and not self.disk_held:
            self._perform_writes(len(self.disk.queue))

    def _found(self, request: SeekSnapshot) -> SnapshotFound:
        found = self.give(request)
        if found.holder is not None:
            end = request.offset + len(found.data)
            which = f"bytes {request.offset}-{end} of snapshot {request.snapshot.index}"
            self.say(f"is given {which} by {found.holder.id}")
        return found

    def _issue(self, write: Write) -> None:
        self.disk.queue.append(write)
        begins = "begins to write" if self.disk_held else "writes"
        self.say(f"{begins} {write_words(write)}")

    def _perform_writes(self, count: int) -> None:
        for _ in range(count):
            write = self.disk.perform()
            self.ghosts.performed(self.shadow, write)
            if self.disk_held:
                self.say(f"has on disk: {write_words(write)}")
            while self._unsent and self._unsent[0][0] <= write.sequence:
                self._send(self._unsent.popleft()[1])
            self._due.append(Persisted(sequence=write.sequence))

    def _send(self, send: Send) -> None:
        self.say(f"sends {','.join(send.targets)}: {message_words(send.message)}")
        for target in send.targets:
            self.ghosts.sent(self.shadow, target, send.message)
            self.network.send(Letter(self.config.identity, target, send.message))
