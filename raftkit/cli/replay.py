"""`raftkit replay`: a recording played again on this raftkit's core, told and drawn.

Laws: the story goes to stdout as it is played, whatever else there is to say to stderr. What was played
before a failure is told and drawn all the same: that is what the picture is for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import attrs
from cyclopts import Parameter
from cyclopts.validators import Number

from raftkit.cli.starting import CannotLook
from raftkit.driver.recording import RecordingUnreadable, read_recording
from raftkit.model import NodeId
from raftkit.testing.replay import (
    Crashed,
    Happening,
    Heard,
    Played,
    ReplayFailed,
    Started,
    replay as play,
)
from raftkit.testing.sequence import Sketch, marks_of
from raftkit.testing.sequence_svg import svg_of
from raftkit.testing.sequence_text import text_of

__all__ = ["replay"]

_DRAW = {".svg": svg_of, ".txt": text_of}
_Step = Annotated[int | None, Parameter(validator=Number(gte=1))]


@attrs.define
class _Result:
    """What there is to say at the end."""

    steps: int = 0
    commit_index: int = 0
    leaders: dict[int, NodeId] = attrs.field(factory=dict[int, NodeId])
    servers: set[NodeId] = attrs.field(factory=set[NodeId])
    failure: str | None = None

    def take(self, happening: Happening) -> None:
        self.steps = happening.step
        if not isinstance(happening, Heard):
            self.servers.add(happening.server.id)
        if isinstance(happening, Played):
            self.commit_index = max(self.commit_index, happening.commit_index)
            if happening.role == "leader":
                self.leaders[happening.term] = happening.server.id

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": self.failure is None,
            "steps": self.steps,
            "servers": sorted(self.servers),
            "leaders": {str(term): leader for term, leader in sorted(self.leaders.items())},
            "committed": self.commit_index,
            "failure": self.failure,
        }

    def as_words(self) -> str:
        who = ", ".join(sorted(self.servers)) or "no server"
        led = ", ".join(f"{leader} T{term}" for term, leader in sorted(self.leaders.items()))
        return (
            f"{self.steps:,} steps of {who} played; leaders: {led or 'none'}; committed up to "
            f"{self.commit_index:,}; "
            + ("all effects as recorded" if self.failure is None else "FAILED in the last step")
        )


def replay(
    recording: Path,
    /,
    *,
    until: _Step = None,
    diagram: Path | None = None,
    first: Annotated[_Step, Parameter(name="--from")] = None,
    last: Annotated[int, Parameter(validator=Number(gte=1, lte=100_000))] = 200,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Play a recording again on the core of this raftkit, compare each step, and tell what happened.

    Recordings are written by open_node(record=PATH) and by python -m raftkit.testing.soak --record. Exits
    with 1 where effects differ from the recorded ones, a law is broken, or the core raises.

    Parameters
    ----------
    recording
        The file.
    until
        The last step to play. Default: all.
    diagram
        Draw a sequence diagram here: a file that ends in .svg or .txt.
    first
        The first step to draw.
    last
        Draw at most so many steps in which something is to be seen, the last of them.
    json
        The story as JSON objects, one a line; the last one says how it ended.
    """
    if diagram is not None and diagram.suffix not in _DRAW:
        raise CannotLook(f"--diagram {diagram}: the name must end in .svg or .txt")
    if first is not None and until is not None and first > until:
        raise CannotLook(f"--from {first} is after --until {until}")
    sketch, result = Sketch(), _Result()
    with _pipe():
        for happening in _played(recording, until, result):
            result.take(happening)
            for words in _story(happening):
                print(dumps(_object(happening, words)) if json else _line(happening, words))
            if diagram is not None:
                sketch.take(happening)
        if diagram is not None:
            part = sketch.sequence().cut(first_step=first or 1, rows_max=last)
            _write(diagram, _DRAW[diagram.suffix](part))
        if result.failure is not None:
            print(f"raftkit: {recording}: {result.failure}", file=sys.stderr)
        print(dumps(result.as_json()) if json else result.as_words(), flush=True)
    return 0 if result.failure is None else 1


@contextmanager
def _pipe() -> Generator[None]:
    """Ends quietly when nobody reads the output any more."""
    try:
        yield
    except BrokenPipeError:
        # Python flushes stdout once more at exit, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _played(recording: Path, until: int | None, result: _Result) -> Iterator[Happening]:
    """What happens; how it failed goes into `result`. Raises CannotLook."""
    try:
        yield from play(read_recording(recording), until=until)
    except ReplayFailed as failed:
        result.steps, result.failure = failed.step, str(failed)
    except RecordingUnreadable as error:
        raise CannotLook(str(error)) from error
    except OSError as error:
        raise CannotLook(f"{recording}: {error.strerror or error}") from error


def _story(happening: Happening) -> Iterable[str]:
    """What is worth telling of it."""
    match happening:
        case Started(term=term, last_index=last):
            return [f"starts in T{term}, last {last}"]
        case Played():
            return [mark.words for mark in marks_of(happening)]
        case Crashed(why=why):
            return [why]
        case Heard(words=words):
            return [words]


def _line(happening: Happening, words: str) -> str:
    who = "" if isinstance(happening, Heard) else happening.server.id
    return f"{happening.step:>8} {happening.time_ns / 1e9:>10.3f} s  {who:<8} {words}"


def _object(happening: Happening, words: str) -> dict[str, Any]:
    return {
        "step": happening.step,
        "seconds": happening.time_ns / 1e9,
        "server": None if isinstance(happening, Heard) else happening.server.id,
        "what": words,
    }


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CannotLook(f"--diagram {path}: {error.strerror or error}") from error
    print(f"raftkit: drawn: {path}", file=sys.stderr)
