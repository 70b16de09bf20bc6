"""One server of an exploration as a value: what it is, what may happen to it, and what follows.

A server's behaviour depends on nothing but its own state and what happens to it, so each of its states is
kept once, by number, and each step is taken once: the whole exploration is then looking up numbers.

Laws: time is taken out. Timers fire when the explorer says so, whatever the clock; a state is the same at
any time, so clock fields are set to constants after each step. Nothing sticks to a leader, and what is not
answered is asked for again with the next heartbeat that is answered: both as if time had passed, which it
always may. Clocks that differ, stamps, reads, snapshots and changes of membership are given up.

A client's entry is larger than a message is meant to be, so each travels alone, and parts of what a leader
has are acknowledged by themselves.
"""

from __future__ import annotations

import pickle
import random
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, Final, cast

import attrs

from raftkit.config import Config
from raftkit.core import Raft, invariants
from raftkit.core.log import Log
from raftkit.core.state import Leader, PreCandidate
from raftkit.messages import (
    AppendAccepted,
    AppendEntries,
    AppendRejected,
    Applied,
    Effects,
    HeartbeatReply,
    Input,
    Message,
    Persisted,
    PreVoteReply,
    Propose,
    Receive,
    Send,
    Tick,
    VoteReply,
    Write,
)
from raftkit.model import Identity, Index, Kind, NodeId, Term
from raftkit.testing.world.disk import LogImage, WorldDisk

__all__ = ["UNORDERED", "Entry", "Kept", "Letter", "Outcome", "ServerStates"]

Entry = tuple[Term, Kind, bytes]
"Of a log, for comparing."
NEVER: Final = 1 << 40
"A tick that does not come."
_TICK: Final = Tick(count=1, wall_ns=0, monotonic_ns=0)

_LEFT_OUT: Final = frozenset(
    # What never changes here: settings and membership; chance that is none; what left with the step.
    {"config", "configurations", "rng", "out"}
    # Constants between steps: see `_forget_time`.
    | {"now", "wall_ns", "monotonic_ns", "election_deadline", "heard_leader_at"}
    | {"heartbeat_due", "stamped_at", "clocks", "correction_ns", "heard_at", "moved_at"}
    # Numbers that only tell a server's own writes apart.
    | {"sequence"}
)
"Fields that are no part of what a state is."
UNORDERED: Final = "in no order"
"Begins the plain form of what has no order."


@attrs.frozen(kw_only=True)
class Letter:
    """A message on its way."""

    sender: Identity
    target: NodeId
    message: Message

    def is_void(self, term: Term) -> bool:
        """Whether it can never again change anything at a target whose term is `term`, or later.

        `term` must be durable: from another the target may fall back, and would learn a term from this. A
        request of an earlier term is answered, which tells its sender. Granted votes are evidence.
        """
        match self.message:
            case VoteReply(granted=True):
                return False
            case VoteReply() | PreVoteReply():
                return self.message.term <= term
            case AppendAccepted() | AppendRejected() | HeartbeatReply():
                return self.message.term < term
            case _:
                return False

    def __str__(self) -> str:
        fields = attrs.asdict(self.message, recurse=False)
        words = ", ".join(f"{name}={value!r}" for name, value in fields.items())
        return f"{self.sender.id}→{self.target} {type(self.message).__name__}({words})"


@attrs.frozen(eq=False, kw_only=True)
class Kept:
    """One state of one server, kept for all that meet it."""

    name: NodeId
    "Whose."
    frozen: bytes
    "The server, pickled: whoever steps it gets a copy."
    plain: Any
    "The same as nested tuples, for telling states apart."
    up: bool
    "Whether it runs."
    term: Term
    "Its current term, that on disk while it is down."
    durable_term: Term
    "What a restart would find; no crash takes it back."
    leads: bool
    "Whether it leads that term."
    round: int
    "The last round of heartbeats that it sent as a leader."
    log: tuple[Entry, ...]
    "What it has in memory, or on disk while it is down."
    durable: tuple[Entry, ...]
    "What a restart would find."
    commit_index: Index
    "As far as it knows; 0 while it is down."
    writes: tuple[int, ...]
    "For each write on its way to its disk, how many changes it makes: a crash may cut it after any of them."

    @property
    def committed(self) -> tuple[Entry, ...]:
        """What it knows to be committed."""
        return self.log[: self.commit_index]


@attrs.frozen(kw_only=True)
class Outcome:
    """What a step made of a server."""

    server: int
    "The number of its state."
    letters: tuple[int, ...]
    "The numbers of what it sent."


Change = Callable[["_Life"], None]


@attrs.define(eq=False)
class ServerStates:
    """All states that the servers of one exploration were found in, by number."""

    config: Callable[[NodeId], Config]
    "For its restarts."
    asynchronous: bool
    "Writes become durable when the explorer says so; otherwise before anything else happens."
    kept: list[Kept] = attrs.field(init=False, factory=list[Kept])
    "By number."
    letters: list[Letter] = attrs.field(init=False, factory=list[Letter])
    "Every message that was ever sent, by number."
    _letter_numbers: dict[Letter, int] = attrs.field(init=False, factory=dict[Letter, int])
    _numbers: dict[Any, int] = attrs.field(init=False, factory=dict[Any, int])
    "By what they are."
    _outcomes: dict[tuple[int, object], Outcome] = attrs.field(
        init=False, factory=dict[tuple[int, object], Outcome]
    )

    def __len__(self) -> int:
        return len(self.kept)

    def found(self, name: NodeId, disk: WorldDisk) -> int:
        """A server that begins with what is on `disk`."""
        life = _Life(name, None, disk, [], asynchronous=self.asynchronous)
        life.raft = Raft(self.config(name), disk.recover(), NO_CHANCE)
        return self._add(life.keep())

    def _add(self, kept: Kept) -> int:
        """Its number, an earlier one if the same state was met before."""
        number = self._numbers.setdefault(kept.plain, len(self.kept))
        if number == len(self.kept):
            self.kept.append(kept)
        return number

    def _number(self, letter: Letter) -> int:
        number = self._letter_numbers.setdefault(letter, len(self.letters))
        if number == len(self.letters):
            self.letters.append(letter)
        return number

    # ── what may happen ──────────────────────────────────────────────────────────────────────────

    def deliver(self, server: int, number: int) -> Outcome:
        """The message of that number arrives."""
        letter = self.letters[number]
        return self._outcome(
            server,
            number,
            lambda it: it.step(Receive(sender=letter.sender, message=letter.message)),
        )

    def time_out(self, server: int) -> Outcome:
        """The election timer fires (§3.4)."""

        def fire(it: _Life) -> None:
            it.state.election_deadline = 0
            it.step()

        return self._outcome(server, "time out", fire)

    def campaign(self, server: int) -> Outcome:
        """The election timer fires, and everybody would vote for it."""

        def fire(it: _Life) -> None:
            it.state.election_deadline = 0
            it.step()
            # Where its own vote suffices it leads already.
            if isinstance(it.state.role, PreCandidate):
                it.letters.clear()
                it.state.role.granted |= set(it.state.other_voters)
                it.step()

        return self._outcome(server, "campaign", fire)

    def beat(self, server: int) -> Outcome:
        """A leader's heartbeat is due."""

        def fire(it: _Life) -> None:
            assert isinstance(it.state.role, Leader)
            it.state.role.heartbeat_due = 0
            it.step()

        return self._outcome(server, "beat", fire)

    def lose_contact(self, server: int) -> Outcome:
        """A leader heard from nobody for too long (§6.2)."""

        def fire(it: _Life) -> None:
            assert isinstance(it.state.role, Leader)
            for progress in it.state.role.progress.values():
                progress.heard_at = -NEVER
            it.step()

        return self._outcome(server, "lose contact", fire)

    def propose(self, server: int, payload: bytes) -> Outcome:
        """A client wants an entry."""
        return self._outcome(
            server, payload, lambda it: it.step(Propose(ticket=1, payloads=(payload,), origin=None))
        )

    def sync(self, server: int) -> Outcome:
        """The oldest write on its way becomes durable."""
        return self._outcome(server, "sync", _Life.sync)

    def crash(self, server: int, *, writes: int, changes: int) -> Outcome:
        """It stops; its first `writes` on their way were performed, and so many changes of the next one."""

        def fail(it: _Life) -> None:
            it.disk.lose(writes, changes)
            it.raft, it.held = None, []

        return self._outcome(server, ("crash", writes, changes), fail)

    def restart(self, server: int) -> Outcome:
        """It starts with what is on its disk."""

        def boot(it: _Life) -> None:
            it.raft = Raft(self.config(it.name), it.disk.recover(), NO_CHANCE)

        return self._outcome(server, "restart", boot)

    def _outcome(self, server: int, what: object, change: Change) -> Outcome:
        key = (server, what)
        found = self._outcomes.get(key)
        if found is None:
            kept = self.kept[server]
            life = _Life(kept.name, *pickle.loads(kept.frozen), asynchronous=self.asynchronous)  # noqa: S301
            change(life)
            letters = tuple(self._number(letter) for letter in life.letters)
            found = Outcome(server=self._add(life.keep()), letters=letters)
            self._outcomes[key] = found
        return found


class _NoChance(random.Random):
    """No timer runs by itself here, so it does not matter what is drawn."""

    def randint(self, a: int, b: int) -> int:  # noqa: ARG002 - the signature of random.Random
        return a

    def __reduce__(self) -> str:
        return "NO_CHANCE"


NO_CHANCE: Final = _NoChance(0)


class _Life:
    """A copy of a kept state, which something happens to."""

    def __init__(
        self,
        name: NodeId,
        raft: Raft | None,
        disk: WorldDisk,
        held: list[tuple[int, Letter]],
        *,
        asynchronous: bool,
    ) -> None:
        self.name = name
        self.raft = raft
        self.disk = disk
        self.held = held
        "What waits for the write of that number, each message once: to send it again later adds nothing."
        self.letters: list[Letter] = []
        self._asynchronous = asynchronous

    @property
    def state(self) -> Any:
        assert self.raft is not None
        return self.raft.state

    def step(self, *inputs: Input) -> None:
        """Step with `inputs`, and with what follows at once."""
        assert self.raft is not None
        self._perform(self.raft.step([_TICK, *inputs]))
        while self.disk.queue and not self._asynchronous:
            self.sync()

    def sync(self) -> None:
        write = self.disk.perform()
        while self.held and self.held[0][0] <= write.sequence:
            self.letters.append(self.held.pop(0)[1])
        assert self.raft is not None
        self._perform(self.raft.step([_TICK, Persisted(sequence=write.sequence)]))

    def keep(self) -> Kept:
        """What it is now, for good."""
        raft, disk = self.raft, self.disk
        if raft is not None:
            invariants.check(raft.state)
            _forget_time(raft)
        held = {(number - disk.sequence, letter) for number, letter in self.held}
        durable = _entries(disk.log)
        return Kept(
            name=self.name,
            frozen=pickle.dumps((raft, disk, self.held)),
            plain=(
                self.name,
                None if raft is None else _plain(raft.state),
                _plain(disk),
                _plain(held),
            ),
            up=raft is not None,
            term=disk.term if raft is None else raft.term,
            durable_term=disk.term,
            leads=raft is not None and isinstance(raft.state.role, Leader),
            round=self.state.role.round if raft and isinstance(raft.state.role, Leader) else 0,
            log=durable if raft is None else _entries(raft.state.log),
            durable=durable,
            commit_index=Index(0) if raft is None else raft.commit_index,
            writes=tuple(_changes(write) for write in disk.queue),
        )

    def _perform(self, effects: Effects) -> None:
        for send in effects.send_now:
            self.letters += self._letters(send)
        if effects.persist is not None:
            self.disk.queue.append(effects.persist)
        for send in effects.send_after_persist:
            if self.disk.queue:
                waiting, last = {letter for _, letter in self.held}, self.disk.queue[-1].sequence
                self.held += [(last, it) for it in self._letters(send) if it not in waiting]
            else:
                self.letters += self._letters(send)
        assert not effects.fetch
        assert not effects.read_snapshot
        if effects.apply:
            assert self.raft is not None
            self._perform(self.raft.step([Applied(index=effects.apply[-1].last)]))

    def _letters(self, send: Send) -> list[Letter]:
        message = send.message
        if isinstance(message, AppendAccepted):
            assert message.index <= self.disk.log.last_index, "acknowledged before it is durable"
        if isinstance(message, AppendEntries):
            # However its entries were batched, it is the same message.
            runs = tuple(run.cut(it.index, it.index) for run in message.runs for it in run)
            message = attrs.evolve(message, runs=runs)
        sender = self.state.identity
        return [Letter(sender=sender, target=it, message=message) for it in send.targets]


def _changes(write: Write) -> int:
    """How many changes it may be cut after (`WorldDisk.lose`); all of them are its last."""
    return 3 + sum(map(len, write.runs))


def _forget_time(raft: Raft) -> None:
    state: Any = raft.state
    state.now, state.election_deadline, state.heard_leader_at = 0, NEVER, None
    if isinstance(state.role, Leader):
        state.role.heartbeat_due = NEVER
        for progress in state.role.progress.values():
            progress.heard_at, progress.moved_at, progress.asked = 0, -NEVER, 0
            # Above the configured window a window means nothing.
            progress.window = min(progress.window, state.config.inflight_messages_max)


# ── telling states apart ─────────────────────────────────────────────────────────────────────────────


def _fields(kind: type[Any]) -> tuple[str, ...]:
    return tuple(it.name for it in attrs.fields(kind) if it.name not in _LEFT_OUT)


def _plain(value: object) -> Any:
    """The same as nested tuples: equal exactly where the states are."""
    match value:
        case None | bool() | int() | str() | bytes() | Enum():
            return value
        case dict():
            pairs = cast("dict[object, object]", value).items()
            return (UNORDERED, *sorted(((_plain(key), _plain(it)) for key, it in pairs), key=repr))
        case set() | frozenset():
            members = cast("Iterable[object]", value)
            return (UNORDERED, *sorted(map(_plain, members), key=repr))
        case list() | tuple() | deque():
            return tuple(map(_plain, cast("Iterable[object]", value)))
        case Log() | LogImage():
            # However they were batched, it is the same log.
            return (value.base_index, value.base_term, _entries(value))
        case _:
            kind = cast("type[Any]", type(value))
            return (kind.__name__, *(_plain(getattr(value, name)) for name in _fields(kind)))


def _entries(log: Log | LogImage) -> tuple[Entry, ...]:
    if isinstance(log, LogImage):
        runs = tuple(log.runs)
    else:
        runs = log.slice(Index(1), NEVER) if log.last_index else ()
    return tuple((entry.term, entry.kind, entry.payload) for run in runs for entry in run)
