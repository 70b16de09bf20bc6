"""The second promise of a machine: a snapshot is the whole state, as it was when it was captured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from raftkit.driver.replica import Capture
from raftkit.errors import RaftError, StateUnwritable
from raftkit.testing.machines.copy import Answer, Copy, Factory
from raftkit.testing.machines.exploring import Commands, explore
from raftkit.testing.machines.story import (
    DefectFound,
    Step,
    Turn,
    applied,
    different_fields,
    turns,
)

__all__ = ["check_snapshot_round_trip"]

_CHECK = "Snapshots"
_HIDDEN = "some state is not in the snapshot"


@attrs.frozen(kw_only=True)
class _Taken:
    """A snapshot behind one entry, written twice: at once, and slowly while further commands are applied."""

    where: str
    content: bytes
    "Written at once."
    begun: bytes
    "The first piece of the other."
    rest: Iterator[bytes]
    "Its other pieces, not written yet."
    copy: Copy
    "What was restored from it."


def check_snapshot_round_trip(
    factory: Factory, *, commands: Commands = None, examples: int = 50
) -> None:
    """Behind every command of a log: capture the state, restore it into a fresh machine, compare the two.

    They must have the same digest, and answer and change alike under the rest of the log. Each snapshot is
    also written slowly, while the rest of the log is applied, and must not change by that. `commands` is as
    for `check_deterministic`.

    Raises DefectFound with the shortest log that shows it.
    """
    explore(factory, commands, lambda log: _check(factory, log), examples=examples)


def _check(factory: Factory, log: Sequence[Step]) -> None:
    copy = Copy(factory)
    taken = [_take(copy, "the fresh machine", log)]
    for turn in turns(copy, log):
        answer = applied(_CHECK, copy, turn, log)
        for it in taken:
            _compare(it, copy, answer, turn, log)
        taken.append(_take(copy, turn.where, log))
    for it in taken:
        if it.begun + b"".join(it.rest) != it.content:
            fact = (
                f"the snapshot behind {it.where} changed while further commands were applied: it must hold "
                "the state as it was, so copy what a command may change in place"
            )
            raise DefectFound(_CHECK, fact, log)


def _take(copy: Copy, where: str, log: Sequence[Step]) -> _Taken:
    try:
        content = b"".join(copy.replica.capture())
        capture: Capture = copy.replica.capture()
        # The first piece of the machine's own: what stands before it is ours.
        front, own = b"".join(capture.front()), capture.machine()
        begun = front + next(own, b"")
    except StateUnwritable as error:
        raise DefectFound(_CHECK, f"the state behind {where} has no bytes: {error}", log) from error
    try:
        restored = copy.restored([content])
    except RaftError as error:
        fact = f"the snapshot behind {where} can't be restored: {error}"
        raise DefectFound(_CHECK, fact, log) from error
    if restored.digest() != copy.digest():
        states = different_fields(copy.fields(), restored.fields())
        fact = f"the snapshot behind {where} was restored to another state: {states}"
        raise DefectFound(_CHECK, fact, log)
    return _Taken(where=where, content=content, begun=begun, rest=own, copy=restored)


def _compare(it: _Taken, copy: Copy, answer: Answer, turn: Turn, log: Sequence[Step]) -> None:
    """`turn`, which was applied to `copy`, does the same to what was restored earlier."""
    later = applied(_CHECK, it.copy, turn, log)
    since = f"{turn.where}, applied to what was restored from the snapshot behind {it.where},"
    if later.reply != answer.reply:
        raise DefectFound(_CHECK, f"{since} was answered differently: {_HIDDEN}", log)
    if later.digest != answer.digest:
        states = different_fields(copy.fields(), it.copy.fields())
        raise DefectFound(_CHECK, f"{since} left another state: {states}: {_HIDDEN}", log)
