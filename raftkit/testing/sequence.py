"""A replayed run as a sequence diagram: servers side by side, time downwards, messages from one to another.

What became of a message follows from who received it: the first equal one that arrives is the oldest that
did not yet, one more is a repetition, and what never arrives at a server that went on was lost.

Law: a picture is drawn of what is here, and of nothing else: `sequence_text` and `sequence_svg` only draw.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

import attrs

from raftkit.messages import (
    AppendEntries,
    Effects,
    Input,
    LeaderElected,
    LeaderLost,
    Message,
    Receive,
    RoleChanged,
    SnapshotInstalled,
    SnapshotTaken,
)
from raftkit.model import Identity, NodeId
from raftkit.testing.replay import Crashed, Happening, Heard, Played, Started
from raftkit.testing.scenario.words import event_words, message_words, place

__all__ = ["Arrow", "Fate", "Mark", "Row", "Sequence", "Sketch", "Span", "marks_of"]

Fate = Literal["arrives", "again", "lost", "under way", "unseen"]
"What became of a message. Unseen: its receiver is not recorded; under way: it did nothing since."

MarkKind = Literal["leader", "role", "commit", "life", "crash", "snapshot", "fault"]


@attrs.frozen
class Mark:
    """A word about a server, or about all of them."""

    kind: MarkKind
    "What it is about."
    words: str
    "What happened."


@attrs.frozen(kw_only=True)
class Row:
    """A step in which something is to be seen."""

    step: int
    "Its number in the recording."
    time_ns: int
    "Since the recording began."
    server: NodeId | None
    "Whose; None: something that no server did."
    marks: tuple[Mark, ...] = ()
    "What happened in it."


@attrs.define(kw_only=True)
class Arrow:
    """A message."""

    sender: NodeId
    "Who sent it."
    target: NodeId
    "To whom."
    kind: type[Message]
    "Which message."
    words: str
    "What it says."
    departs: int | None
    "The row in which it was sent; None: before the picture, or by a server that is not recorded."
    arrives: int | None = None
    "The row in which it was received; None: it was not."
    fate: Fate = "arrives"
    "What became of it."


@attrs.define(kw_only=True)
class Span:
    """A server in one role."""

    server: NodeId
    "Which."
    role: str
    "See `Raft.role`; `down` where it did not run."
    first: int
    "The row in which it began."
    last: int | None = None
    "The row in which it ended; None: it did not."


@attrs.frozen(kw_only=True)
class Sequence:
    """What a picture shows."""

    lanes: tuple[NodeId, ...]
    "Servers, from left to right."
    rows: tuple[Row, ...]
    "From top to bottom."
    arrows: tuple[Arrow, ...]
    "Their rows may lie outside of the picture, at one end."
    spans: tuple[Span, ...]
    "The same."

    def cut(self, *, first_step: int = 1, rows_max: int | None = None) -> Sequence:
        """The part from `first_step` on; of that the last `rows_max` rows, if that is given."""
        first = sum(row.step < first_step for row in self.rows)
        if rows_max is not None:
            first = max(first, len(self.rows) - rows_max)
        return Sequence(
            lanes=self.lanes,
            rows=self.rows[first:],
            arrows=tuple(
                attrs.evolve(
                    it, departs=_moved(it.departs, first), arrives=_moved(it.arrives, first)
                )
                for it in self.arrows
                if max(it.departs or 0, it.arrives or 0) >= first
            ),
            spans=tuple(
                attrs.evolve(it, first=it.first - first, last=_moved(it.last, first))
                for it in self.spans
                if it.last is None or it.last >= first
            ),
        )


def _moved(row: int | None, by: int) -> int | None:
    """Rows above the picture are negative."""
    return None if row is None else row - by


@attrs.define
class Sketch:
    """A sequence in the making."""

    _rows: list[Row] = attrs.field(factory=list[Row])
    _arrows: list[Arrow] = attrs.field(factory=list[Arrow])
    _spans: list[Span] = attrs.field(factory=list[Span])
    _under_way: dict[tuple[Identity, NodeId, Message], deque[Arrow]] = attrs.field(
        factory=dict[tuple[Identity, NodeId, Message], deque[Arrow]]
    )
    "Sent and not arrived; of what arrived at least once, the last arrow stays."
    _now: dict[NodeId, Span] = attrs.field(factory=dict[NodeId, Span])
    "What each recorded server is."
    _acted: dict[NodeId, int] = attrs.field(factory=dict[NodeId, int])
    "The last step of each."

    def take(self, happening: Happening) -> None:
        """Add what happened."""
        match happening:
            case Started(server=server, term=term, last_index=last):
                self._row(happening, Mark("life", f"starts in T{term}, last {last}"))
                self._is(server.id, "follower")
            case Played():
                self._played(happening)
            case Crashed(server=server, why=why):
                self._row(happening, Mark("crash", why))
                self._is(server.id, "down")
            case Heard(words=words):
                self._row(happening, Mark("fault", words))

    def sequence(self) -> Sequence:
        """What there is to draw."""
        lanes = {it for arrow in self._arrows for it in (arrow.sender, arrow.target)} | {*self._now}
        return Sequence(
            lanes=tuple(sorted(lanes)),
            rows=tuple(self._rows),
            arrows=tuple(attrs.evolve(it, fate=self._fate(it)) for it in self._arrows),
            spans=tuple(self._spans),
        )

    def _played(self, played: Played) -> None:
        name = played.server.id
        self._acted[name] = played.step
        heard = [it for it in played.inputs if isinstance(it, Receive)]
        sends = (*played.effects.send_now, *played.effects.send_after_persist)
        marks = marks_of(played)
        if not (heard or sends or marks):
            return
        row = self._row(played, *marks)
        for it in heard:
            self._received(it.sender, name, it.message, row)
        for send in sends:
            for target in send.targets:
                arrow = _arrow(name, target, send.message, departs=row)
                self._arrows.append(arrow)
                key = played.server, target, send.message
                self._under_way.setdefault(key, deque()).append(arrow)
        if played.role != self._now[name].role:
            self._is(name, played.role)

    def _received(self, sender: Identity, target: NodeId, message: Message, row: int) -> None:
        sent = self._under_way.setdefault((sender, target, message), deque())
        # What arrived stays in the queue until an equal one, sent after it, does.
        if len(sent) > 1 and sent[0].arrives is not None:
            sent.popleft()
        if sent and sent[0].arrives is None:
            sent[0].arrives = row
            return
        again = _arrow(sender.id, target, message, departs=sent[0].departs if sent else None)
        again.arrives, again.fate = row, "again" if sent else "arrives"
        self._arrows.append(again)
        if not sent:
            sent.append(again)

    def _fate(self, arrow: Arrow) -> Fate:
        if arrow.arrives is not None:
            return arrow.fate
        target = self._now.get(arrow.target)
        if target is None:
            return "unseen"
        assert arrow.departs is not None
        departed = self._rows[arrow.departs].step
        silent = self._acted.get(arrow.target, 0) <= departed
        return "under way" if silent and target.role != "down" else "lost"

    def _row(self, at: Happening, *marks: Mark) -> int:
        server = None if isinstance(at, Heard) else at.server.id
        self._rows.append(Row(step=at.step, time_ns=at.time_ns, server=server, marks=marks))
        return len(self._rows) - 1

    def _is(self, name: NodeId, role: str) -> None:
        """From the last row on, `name` has that role."""
        row = len(self._rows) - 1
        if before := self._now.get(name):
            before.last = row
        self._now[name] = span = Span(server=name, role=role, first=row)
        self._spans.append(span)


def _arrow(sender: NodeId, target: NodeId, message: Message, *, departs: int | None) -> Arrow:
    return Arrow(
        sender=sender, target=target, kind=type(message), words=_said(message), departs=departs
    )


def _said(message: Message) -> str:
    """A message in a few words, however many entries it carries."""
    match message:
        case AppendEntries(runs=()):
            what = "nothing"
        case AppendEntries(runs=(first, *_)):
            last = message.last_index
            what = f"{last}" if first.first == last else f"{first.first}–{last}"
        case _:
            return message_words(message)
    after = place(message.prev_index, message.prev_term)
    return f"append T{message.term} after {after}: {what}, commit {message.commit_index}"


def marks_of(played: Played) -> tuple[Mark, ...]:
    """What a step did that people want to know."""
    marks = [*_inputs(played.inputs), *_events(played.effects, played.server.id)]
    if played.committed:
        marks.append(Mark("commit", f"commit {played.commit_index}"))
    # A later term is joined, and then a leader followed: twice a follower.
    return tuple(dict.fromkeys(marks))


def _inputs(inputs: tuple[Input, ...]) -> list[Mark]:
    taken = [it.snapshot.index for it in inputs if isinstance(it, SnapshotTaken)]
    return [Mark("snapshot", f"has a snapshot of {index}") for index in taken]


def _events(effects: Effects, me: NodeId) -> list[Mark]:
    marks: list[Mark] = []
    for event in effects.events:
        match event:
            case RoleChanged(role="leader"):
                marks.append(Mark("leader", f"leads T{event.term}"))
            case RoleChanged() | LeaderElected() | LeaderLost():
                if words := event_words(event, me):
                    marks.append(Mark("role", words))
            case SnapshotInstalled(index=index):
                marks.append(Mark("snapshot", f"installs a snapshot of {index}"))
            case _:
                marks.append(Mark("role", type(event).__name__))
    return marks
