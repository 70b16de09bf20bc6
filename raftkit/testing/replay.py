"""A recording played again, on the core as it is now: the same inputs must have the same effects.

Each step is checked as `paranoid=True` would, whatever the recorded node had; so is that no term has two
leaders among the recorded cores (Election Safety). A recording of another version of the core is expected to
diverge where that version decided otherwise: that is what it is for.

Laws: nothing is done but stepping cores. Cores are played one step after the other, in recorded order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from raftkit.core import Raft
from raftkit.driver.recording import (
    Begun,
    Ended,
    Logged,
    Noted,
    Record,
    RecordingUnreadable,
    Stepped,
    Stopped,
    digest_of,
)
from raftkit.errors import RaftInternalError
from raftkit.messages import Effects, Input, RoleChanged, Tick
from raftkit.model import Identity, Index, Run, Term
from raftkit.testing.world.server import timers

__all__ = ["Crashed", "Happening", "Heard", "Played", "ReplayFailed", "Started", "replay"]


class ReplayFailed(RaftInternalError):
    """A replayed step did what it must not. `step` and `server` say where."""

    def __init__(self, step: int, server: Identity, detail: str) -> None:
        super().__init__(f"step {step}, {server}: {detail}")
        self.step = step
        self.server = server
        self.detail = detail


@attrs.frozen(kw_only=True)
class Started:
    """A core began."""

    step: int
    "Of the step that is its first."
    server: Identity
    "Which."
    time_ns: int
    "See `Played`."
    term: Term
    "From its disk."
    last_index: Index
    "From its disk."


@attrs.frozen(kw_only=True)
class Played:
    """A core made the step that it made when it was recorded."""

    step: int
    "Counts the steps of the recording from 1."
    server: Identity
    "Whose."
    time_ns: int
    "Latest monotonic clock that any recorded core was told, since the first."
    inputs: tuple[Input, ...]
    "What came in."
    effects: Effects
    "What came of it."
    role: str
    "After it."
    term: Term
    "After it."
    commit_index: Index
    "After it."
    committed: bool
    "Whether that index is higher than before it."


@attrs.frozen(kw_only=True)
class Crashed:
    """A core is gone."""

    step: int
    "Of the last step before."
    server: Identity
    "Which."
    time_ns: int
    "See `Played`."
    why: str
    "In words."


@attrs.frozen(kw_only=True)
class Heard:
    """Something that no core did: a fault, or the end of the recording."""

    step: int
    "Of the last step before."
    time_ns: int
    "See `Played`."
    words: str
    "What."


Happening = Started | Played | Crashed | Heard


@attrs.define
class _Life:
    """A core on its way through the recording."""

    begun: Begun
    runs: list[Run] = attrs.field(factory=list[Run])
    raft: Raft | None = None

    @property
    def server(self) -> Identity:
        return self.begun.config.identity

    def start(self) -> Raft:
        """The core, made of what was on its disk."""
        begun = self.begun
        config = attrs.evolve(begun.config, paranoid=True)
        found = attrs.evolve(begun.persistent, runs=self.runs)
        self.raft = Raft(config, found, timers(begun.seed, extreme=begun.extreme))
        self.runs = []
        return self.raft


class _Play:
    """All cores of one recording."""

    def __init__(self) -> None:
        self.steps = 0
        self.first_ns: int | None = None
        self.now_ns = 0
        self.lives: dict[int, _Life] = {}
        self.leader_of: dict[Term, Identity] = {}

    @property
    def time_ns(self) -> int:
        return 0 if self.first_ns is None else max(self.now_ns - self.first_ns, 0)

    def take(self, record: Record) -> Iterator[Happening]:
        """What happens by `record`. Raises ReplayFailed."""
        match record:
            case Begun(life=life):
                self.lives[life] = _Life(record)
            case Logged(life=life, run=run):
                self._life(life).runs.append(run)
            case Stepped(life=life):
                yield from self._stepped(self._life(life), record)
            case Ended(life=life, why=why):
                server = self._life(life).server
                del self.lives[life]
                yield Crashed(step=self.steps, server=server, time_ns=self.time_ns, why=why)
            case Noted(words=words):
                yield Heard(step=self.steps, time_ns=self.time_ns, words=words)
            case Stopped(why=why):
                words = f"nothing is recorded from here on: {why}"
                yield Heard(step=self.steps, time_ns=self.time_ns, words=words)

    def _life(self, number: int) -> _Life:
        if number not in self.lives:
            raise RecordingUnreadable(
                f"step {self.steps + 1} is of life {number}, which did not begin"
            )
        return self.lives[number]

    def _stepped(self, life: _Life, record: Stepped) -> Iterator[Happening]:
        self.steps += 1
        self._tick(record.inputs)
        raft = life.raft
        if raft is None:
            raft = life.start()
            yield Started(
                step=self.steps,
                server=life.server,
                time_ns=self.time_ns,
                term=raft.term,
                last_index=raft.last_index,
            )
        before = raft.commit_index
        effects = self._step(raft, life.server, record)
        yield Played(
            step=self.steps,
            server=life.server,
            time_ns=self.time_ns,
            inputs=record.inputs,
            effects=effects,
            role=raft.role,
            term=raft.term,
            commit_index=raft.commit_index,
            committed=raft.commit_index > before,
        )

    def _tick(self, inputs: tuple[Input, ...]) -> None:
        if inputs and isinstance(inputs[0], Tick):
            self.now_ns = max(self.now_ns, inputs[0].monotonic_ns)
            if self.first_ns is None:
                self.first_ns = self.now_ns

    def _step(self, raft: Raft, server: Identity, record: Stepped) -> Effects:
        try:
            effects = raft.step(record.inputs)
        except Exception as error:
            what = "as when it was recorded" if record.digest is None else "which it did not then"
            said = f"the core raises {type(error).__name__}: {error} ({what})"
            raise ReplayFailed(self.steps, server, said) from error
        if record.digest is None:
            raise ReplayFailed(self.steps, server, "the core raised here and does not now")
        if digest_of(effects) != record.digest:
            said = f"the effects are not those that were recorded, but {effects}"
            raise ReplayFailed(self.steps, server, said)
        for event in effects.events:
            match event:
                case RoleChanged(role="leader", term=term):
                    self._won(term, server)
                case _:
                    pass
        return effects

    def _won(self, term: Term, server: Identity) -> None:
        if self.leader_of.setdefault(term, server) != server:
            detail = f"Election Safety: {self.leader_of[term]} leads term {term} already"
            raise ReplayFailed(self.steps, server, detail)


def replay(records: Iterable[Record], *, until: int | None = None) -> Iterator[Happening]:
    """Play `records` again, up to step `until`: what happens, while it happens.

    Raises ReplayFailed where effects differ, a law is broken, or the core raises; and what reading raises.
    """
    play = _Play()
    for record in records:
        if isinstance(record, Stepped) and play.steps == until:
            return
        yield from play.take(record)
