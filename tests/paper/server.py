"""A server to talk to, in small verbs: each is one step of its core, and returns what that step obliges.

Logs are written as the terms of their entries: "1 1 2". The entry at index 1 is the configuration, as in
every real log; the others are commands whose payload is their term and index, so that two logs that look
alike are alike. `Disk` keeps what was persisted, so a server can be restarted from it.
"""

from __future__ import annotations

import random
import zlib
from collections import deque
from collections.abc import Iterable
from typing import Any

import attrs

from raftkit.config import Config
from raftkit.core import Raft
from raftkit.core.state import Leader
from raftkit.membership import Configuration, Member, Role, Settings
from raftkit.messages import (
    AppendAccepted,
    AppendEntries,
    Applied,
    Effects,
    Event,
    Heartbeat,
    HeartbeatReply,
    Input,
    Message,
    Persisted,
    PersistentState,
    PreVoteReply,
    Propose,
    Receive,
    Send,
    Tick,
    VoteReply,
    Write,
)
from raftkit.model import Identity, Index, Kind, NodeId, Run, Term
from raftkit.snapshot import SnapshotBeginning, SnapshotMeta

# Timeouts of the default settings, in ticks of 10 ms.
ELECTION_MIN, ELECTION_MAX = 25, 50
HEARTBEAT = 5
RETRY = 10

TICK_NS = 10_000_000


def who(name: NodeId, incarnation: int = 1) -> Identity:
    """The identity of a server named by a letter."""
    return Identity(id=name, incarnation=incarnation)


# ── configurations and logs ──────────────────────────────────────────────────────────────────────────


def group(
    voters: str,
    *,
    learners: str = "",
    joining: str = "",
    leaving: str = "",
    outgoing: str = "",
    settings: Settings | None = None,
) -> Configuration:
    """A configuration whose members are letters: `group("abc", learners="d")`."""
    roles = {
        **dict.fromkeys(learners, Role.LEARNER),
        **dict.fromkeys(joining, Role.JOINING),
        **dict.fromkeys(leaving, Role.LEAVING),
        **dict.fromkeys(voters, Role.VOTER),
    }
    return Configuration(
        members=tuple(
            Member(id=name, incarnation=1, address=f"{name}:1", role=role)
            for name, role in roles.items()
        ),
        outgoing=tuple(outgoing),
        settings=settings or Settings(),
    )


ABC = group("abc")


def commands(terms: str, *, first: int) -> tuple[Run, ...]:
    """One run for each term, from `first` on: `commands('2 2 3', first=4)` is 4 and 5, then 6."""
    runs: list[Run] = []
    index = first
    values = [int(term) for term in terms.split()]
    while values:
        term = values[0]
        count = next((n for n, it in enumerate(values) if it != term), len(values))
        runs.append(
            Run(
                first=Index(index),
                term=Term(term),
                time_ns=0,
                elapsed_ns=0,
                payloads=tuple(f"{term}@{index + n}".encode() for n in range(count)),
            )
        )
        index += count
        del values[:count]
    return tuple(runs)


def entry(index: int, term: int, *, kind: Kind, payload: bytes = b"") -> Run:
    """A run of one entry that is no command."""
    return Run(
        first=Index(index),
        term=Term(term),
        time_ns=0,
        elapsed_ns=0,
        kinds=(kind,),
        payloads=(payload,),
    )


def founding(configuration: Configuration) -> Run:
    """Entry 1 of every log."""
    return entry(1, 1, kind=Kind.CONFIGURATION, payload=configuration.encode())


def noop(index: int, term: int) -> Run:
    """What a leader's term begins with."""
    return entry(index, term, kind=Kind.NOOP)


def snapshot_of(
    data: bytes, *, index: int, term: int, configuration: Configuration = ABC
) -> SnapshotMeta:
    """What describes a snapshot file of these bytes."""
    return SnapshotMeta(
        index=Index(index),
        term=Term(term),
        configuration=configuration,
        configuration_index=Index(1),
        time_ns=0,
        elapsed_ns=0,
        size=len(data),
        checksum=zlib.crc32(data),
    )


# ── a server ─────────────────────────────────────────────────────────────────────────────────────────


@attrs.define
class Disk:
    """What a crash leaves behind."""

    hard_state: tuple[Term, Identity | None]
    base: tuple[Index, Term] = (Index(0), Term(0))
    snapshot: SnapshotMeta | None = None
    runs: list[Run] = attrs.field(factory=list[Run])
    written: int = 0
    received: SnapshotBeginning | None = None

    def perform(self, write: Write) -> None:
        """Make one write durable, in the order of its fields."""
        assert write.sequence == self.written + 1
        self.written = write.sequence
        if write.hard_state is not None:
            self.hard_state = write.hard_state
        if write.chunk is not None and write.chunk.last:
            self.snapshot = write.chunk.snapshot
            self.base = (self.snapshot.index, self.snapshot.term)
            self.runs.clear()
        if write.truncate_from is not None:
            self._keep_below(write.truncate_from)
        for run in write.runs:
            assert run.first == (self.runs[-1].last if self.runs else self.base[0]) + 1
            self.runs.append(run)

    def _keep_below(self, index: Index) -> None:
        kept = [run for run in self.runs if run.first < index]
        self.runs = [run.cut(run.first, min(run.last, Index(index - 1))) for run in kept]

    def found(self) -> PersistentState:
        """What storage finds when it is opened again."""
        return PersistentState(
            term=self.hard_state[0],
            voted_for=self.hard_state[1],
            base_index=self.base[0],
            base_term=self.base[1],
            snapshot=self.snapshot,
            runs=tuple(self.runs),
            write_sequence=self.written,
            received=self.received,
        )


@attrs.define
class Server:
    """A core, its disk, and the messages that wait for the disk."""

    config: Config
    disk: Disk
    raft: Raft
    unwritten: deque[Write] = attrs.field(factory=deque[Write])
    waiting: deque[tuple[int, tuple[Send, ...]]] = attrs.field(
        factory=deque[tuple[int, tuple[Send, ...]]]
    )
    sent: list[Send] = attrs.field(factory=list[Send])
    "What has left it, in order."
    events: list[Event] = attrs.field(factory=list[Event])
    "What it has published, in order."
    applied: list[Run] = attrs.field(factory=list[Run])
    "What it gave out to be applied, in order."

    # ── verbs ──

    def step(self, *inputs: Input) -> Effects:
        """One batch."""
        effects = self.raft.step(inputs)
        if effects.persist is not None:
            self.unwritten.append(effects.persist)
        self.sent.extend(effects.send_now)
        if effects.send_after_persist:
            last = self.unwritten[-1].sequence if self.unwritten else self.disk.written
            self.waiting.append((last, effects.send_after_persist))
        self._release()
        self.events.extend(effects.events)
        self.applied.extend(effects.apply)
        return effects

    def receive(self, sender: NodeId | Identity, *messages: Message) -> Effects:
        """These messages arrive together."""
        sender = who(sender) if isinstance(sender, str) else sender
        return self.step(*(Receive(sender=sender, message=message) for message in messages))

    def tick(self, count: int = 1) -> Effects:
        """Time passes; both clocks agree with it."""
        return self.step(self.passes(count))

    def passes(self, count: int) -> Tick:
        """The tick that says so, to be batched with something else."""
        now = (self.raft.state.now + count) * TICK_NS
        return Tick(count=count, wall_ns=now, monotonic_ns=now)

    def time_out(self) -> Effects:
        """Time passes until its election timer fires."""
        return self.tick(self.raft.state.election_deadline - self.raft.state.now)

    def forget_leader(self) -> None:
        """Time passes until it listens to campaigns, and its own election timer is not due."""
        while (now := self.raft.state.now) < ELECTION_MIN or self._heard_of_late():
            self.tick(min(ELECTION_MIN, self.raft.state.election_deadline - now))

    def propose(self, *payloads: bytes, ticket: int = 1) -> Effects:
        """A client's commands."""
        return self.step(Propose(ticket=ticket, payloads=payloads))

    def stand(self) -> None:
        """It times out, everybody would vote for it, and its own vote is durable: a candidate."""
        self.time_out()
        for voter in self.raft.state.other_voters:
            self.receive(voter, PreVoteReply(term=Term(self.raft.term + 1), granted=True))
        self.persist_all()

    def win(self) -> None:
        """It stands, everybody votes for it, and its no-op is durable: a leader."""
        self.stand()
        for voter in self.raft.state.other_voters:
            self.receive(voter, VoteReply(term=self.raft.term, granted=True))
        self.persist_all()
        assert self.raft.role == "leader"

    def perform(self, count: int | None = None) -> None:
        """The disk performs its oldest `count` writes, or all; the core has not heard of it."""
        for _ in range(len(self.unwritten) if count is None else count):
            self.disk.perform(self.unwritten.popleft())
        self._release()

    def persist(self, count: int | None = None) -> Effects:
        """The disk performs its oldest `count` writes, or all, and reports so."""
        self.perform(count)
        return self.step(Persisted(sequence=self.disk.written))

    def persist_all(self) -> None:
        """The disk performs all writes, and those that follow from its report."""
        while self.unwritten:
            self.persist()

    def apply_all(self) -> None:
        """The state machine catches up."""
        self.step(Applied(index=self.raft.state.applying_index))

    def restart(self, seed: int = 1) -> None:
        """Crash, and start again from what is on disk."""
        self.unwritten.clear()
        self.waiting.clear()
        self.raft = Raft(self.config, self.disk.found(), random.Random(seed))

    # ── looks ──

    @property
    def id(self) -> NodeId:
        """Its name."""
        return self.config.identity.id

    @property
    def terms(self) -> str:
        """Its log, as it is written in these tests."""
        log = self.raft.state.log
        return " ".join(str(log.term(Index(it))) for it in range(1, log.last_index + 1))

    @property
    def voted_for(self) -> NodeId | None:
        """Whom it voted for in its current term."""
        vote = self.raft.state.voted_for
        return None if vote is None else vote.id

    @property
    def leadership(self) -> Leader:
        """What it keeps as a leader."""
        assert isinstance(self.raft.state.role, Leader)
        return self.raft.state.role

    def take_sent(self) -> list[Send]:
        """What has left it since this was asked last."""
        sent, self.sent = self.sent, []
        return sent

    def _heard_of_late(self) -> bool:
        heard = self.raft.state.heard_leader_at
        return heard is not None and self.raft.state.now - heard < ELECTION_MIN

    def _release(self) -> None:
        while self.waiting and self.waiting[0][0] <= self.disk.written:
            self.sent.extend(self.waiting.popleft()[1])


def server(
    terms: str = "1",
    name: NodeId = "a",
    *,
    term: int | None = None,
    voted_for: NodeId | None = None,
    configuration: Configuration = ABC,
    snapshot: SnapshotMeta | None = None,
    base: tuple[int, int] | None = None,
    received: SnapshotBeginning | None = None,
    seed: int | None = None,
    **settings: Any,
) -> Server:
    """A server that starts with this log; the rest of its state is as one would find it.

    With a snapshot, the log begins after `base`, or after the snapshot's last entry.
    """
    base_index, base_term = (0, 0) if snapshot is None else (snapshot.index, snapshot.term)
    if base is not None:
        base_index, base_term = base
    if base_index:
        runs = commands(terms, first=base_index + 1)
    else:
        runs = (founding(configuration), *commands(" ".join(terms.split()[1:]), first=2))
    last_term = runs[-1].term if runs else base_term
    disk = Disk(
        hard_state=(
            Term(last_term if term is None else term),
            None if voted_for is None else who(voted_for),
        ),
        base=(Index(base_index), Term(base_term)),
        snapshot=snapshot,
        runs=list(runs),
        received=received,
    )
    config = Config(identity=who(name), **settings)
    rng = random.Random(name if seed is None else seed)
    return Server(config=config, disk=disk, raft=Raft(config, disk.found(), rng))


def follower(terms: str = "1", *, of: NodeId = "b", **more: Any) -> Server:
    """A server that has just heard of its leader, `of`, and has nothing left to write or to say."""
    it = server(terms, **more)
    it.receive(of, Heartbeat(term=it.raft.term, round=1, commit_index=Index(0)))
    it.persist_all()
    it.take_sent()
    it.events.clear()
    return it


def pre_candidate(terms: str = "1", **more: Any) -> Server:
    """A server that has just timed out."""
    it = server(terms, **more)
    it.time_out()
    return it


def candidate(terms: str = "1", **more: Any) -> Server:
    """A server that campaigns; its own vote is durable, its vote requests have left."""
    it = server(terms, **more)
    it.stand()
    it.take_sent()
    it.events.clear()
    return it


def leader(terms: str = "1", *, matched: bool = True, **more: Any) -> Server:
    """A server that was just elected, and its no-op is durable here.

    With `matched`, every follower holds its whole log, the no-op is committed, and everybody answered
    its heartbeats.
    """
    it = server(terms, **more)
    it.win()
    if matched:
        everyone_answers(it)
        it.apply_all()
    it.take_sent()
    it.events.clear()
    it.applied.clear()
    return it


def everyone_answers(it: Server, ids: Iterable[NodeId] | None = None) -> None:
    """The others, or these, hold the leader's whole log and answer its last round."""
    ids = it.raft.state.others if ids is None else ids
    for other in ids:
        accepted = AppendAccepted(term=it.raft.term, index=it.raft.last_index)
        it.receive(other, accepted, beat(it, index=it.raft.last_index))


def accepted_by(it: Server, follower: NodeId, *, incarnation: int = 1) -> Effects:
    """This follower holds the leader's whole log."""
    message = AppendAccepted(term=it.raft.term, index=it.raft.last_index)
    return it.receive(who(follower, incarnation), message)


def beat(it: Server, *, index: int = 0, round: int | None = None) -> HeartbeatReply:  # noqa: A002
    """An answer to the leader's last round, or to `round`, by a follower whose clock is the leader's."""
    return HeartbeatReply(
        term=it.raft.term,
        round=it.leadership.round if round is None else round,
        index=Index(index),
        wall_ns=it.raft.state.wall_ns,
    )


def append(term: int, prev: tuple[int, int], terms: str = "", *, commit: int = 0) -> AppendEntries:
    """AppendEntries after the entry (index, term) `prev`."""
    index, prev_term = prev
    return AppendEntries(
        term=Term(term),
        prev_index=Index(index),
        prev_term=Term(prev_term),
        commit_index=Index(commit),
        runs=commands(terms, first=index + 1),
    )


def heartbeat(term: int, *, round: int = 1, commit: int = 0) -> Heartbeat:  # noqa: A002
    """A leader's heartbeat."""
    return Heartbeat(term=Term(term), round=round, commit_index=Index(commit))


def messages_to(target: NodeId, effects: Effects) -> list[Message]:
    """What a step sends to one server, at once or after the disk."""
    sends = (*effects.send_now, *effects.send_after_persist)
    return [send.message for send in sends if target in send.targets]
