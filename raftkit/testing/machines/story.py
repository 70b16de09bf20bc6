"""Logs for a machine under test, as people read them, and the error that says what is wrong with it.

Law: a log is its commands and the times between them; clock entries follow from the deadlines that the
machine names, as they do in a group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from raftkit.errors import StateMachineFailed, StateUnwritable
from raftkit.testing.machines.copy import Answer, Copy, Entry

__all__ = [
    "DefectFound",
    "InForce",
    "Step",
    "Turn",
    "apart",
    "applied",
    "different_fields",
    "turns",
]

_SHOWN = 60
"Characters of a value that are shown."


@attrs.frozen
class InForce:
    """In the place of a command: another version of the machine comes in force."""

    version: int
    "Which."

    def __str__(self) -> str:
        return f"version {self.version} comes in force"


@attrs.frozen(kw_only=True)
class Step:
    """A command in a log."""

    command: Any
    "As given to `node.execute`; or an InForce."
    after_ns: int = 1_000_000
    "How much later than the step before."


class DefectFound(AssertionError):
    """The machine breaks a promise; the message says which, at which command, and the log that shows it."""

    def __init__(self, check: str, fact: str, log: Sequence[Step] = ()) -> None:
        shown = [f"\n  {number}  {step.command!s:.200}" for number, step in enumerate(log, 1)]
        super().__init__(f"{check}: {fact}{'; the log:' if shown else ''}{''.join(shown)}")
        self.check = check
        "Which promise."
        self.fact = fact
        "What was seen, in one line."
        self.log = tuple(log)
        "The commands that lead there, from a fresh machine."


@attrs.frozen(kw_only=True)
class Turn:
    """An entry and where it came from."""

    where: str
    "For messages: `Counter.add(amount=1) at step 7`."
    entry: Entry
    "What to apply."


def turns(copy: Copy, log: Sequence[Step]) -> Iterator[Turn]:
    """The entries of `log`, each when those before it were applied to `copy`.

    Raises LocalProtocolError for what is no command of the machine.
    """
    elapsed_ns = 0
    for number, step in enumerate(log, 1):
        elapsed_ns += step.after_ns
        deadline_ns = copy.replica.next_deadline()
        if deadline_ns is not None and deadline_ns <= elapsed_ns:
            name = type(copy.replica.machine).__name__
            yield Turn(
                where=f"the clock entry of {name} before step {number}",
                entry=Entry(body=None, elapsed_ns=elapsed_ns),
            )
        if isinstance(step.command, InForce):
            entry = Entry(body=None, elapsed_ns=elapsed_ns, version=step.command.version)
        else:
            entry = Entry(body=copy.replica.encode(step.command), elapsed_ns=elapsed_ns)
        yield Turn(where=f"{step.command!s:.200} at step {number}", entry=entry)


def applied(check: str, copy: Copy, turn: Turn, log: Sequence[Step]) -> Answer:
    """What came of `turn`. Raises DefectFound where a node would have halted, or have no snapshot."""
    try:
        return copy.apply(turn.entry)
    except StateMachineFailed as error:
        fact = f"{turn.where} would end every node: {error}"
        raise DefectFound(check, fact, log) from error.__cause__
    except StateUnwritable as error:
        raise DefectFound(check, f"{turn.where} left a state without bytes: {error}", log) from None


def different_fields(before: Sequence[tuple[str, str]], after: Sequence[tuple[str, str]]) -> str:
    """The first field that differs, from where on it does: `field seen: … / …`."""
    for (name, one), (_, other) in zip(before, after, strict=True):
        if one != other:
            return f"field {name}: {apart(one, other)}"
    return "fields that look the same: is there one whose repr hides something?"


def apart(one: str, other: str) -> str:
    """Both texts from a little before where they part."""
    same = next(
        (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
    start = max(0, same - _SHOWN // 3)
    cut = ["…"[: start > 0] + it[start : start + _SHOWN] for it in (one, other)]
    ends = ["…" if len(it) > start + _SHOWN else "" for it in (one, other)]
    return f"{cut[0]}{ends[0]} / {cut[1]}{ends[1]}"
