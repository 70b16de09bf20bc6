"""A recording: what entered one or more cores, from their beginning, in a file that `raftkit replay` plays.

The file is a head, then records: length and CRC-32 of a body, and the body, a CBOR array whose first
position says what it is. A life of a core is its settings, what was on its disk, and the seed of its chance;
then each batch of inputs with a digest of the effects that came of it.

Laws: a batch is on its way to the operating system before its effects are done, so that the file of a
process that was killed says what killed it; nothing is synced. At its bound, or when the disk refuses, a
recording ends for good and says so; it never stops what it records.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import attrs

from raftkit import encoding
from raftkit.config import Config
from raftkit.core import Raft
from raftkit.driver.recorded_inputs import (
    Form,
    config_form,
    input_form,
    read_config,
    read_identity,
    read_input,
    read_snapshot_meta,
    snapshot_meta_form,
    text,
)
from raftkit.encoding import MalformedError, array, octets, unsigned
from raftkit.errors import RaftError
from raftkit.messages import Effects, Input, PersistentState
from raftkit.model import Index, Run, Term
from raftkit.snapshot import SnapshotBeginning
from raftkit.wire import decode_run, encode_run

__all__ = [
    "RECORDING_BYTES_MAX",
    "Begun",
    "Ended",
    "Life",
    "Logged",
    "Noted",
    "Record",
    "Recorder",
    "RecordingUnreadable",
    "Stepped",
    "Stopped",
    "digest_of",
    "open_recorder",
    "read_recording",
]

RECORDING_BYTES_MAX = 64 * 1024 * 1024
"Where a recording ends: some ten hours of an idle node, or a few hundred thousand small writes."
FORMAT = 1
"The version of the form of the file."
_HEAD = struct.Struct(">12sI")
_MAGIC = b"raftkit rec\n"
_FRAME = struct.Struct(">II")


class Number(IntEnum):
    """Which record it is: the first position of its body. Never reused."""

    BEGUN = 1
    LOGGED = 2
    STEPPED = 3
    ENDED = 4
    NOTED = 5
    STOPPED = 6


class RecordingUnreadable(RaftError):
    """This file is no recording, or not one that this raftkit can play. Says what is wrong with it."""


# ── what a recording holds ───────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Begun:
    """A core was made from what was on its disk; the log is in the `Logged` that follow."""

    life: int
    "Names this life in this file."
    config: Config
    "Its settings."
    persistent: PersistentState
    "What was on its disk, without the log."
    seed: int
    "Of its chance, a u64."
    extreme: bool
    "Whether its timers were drawn from `raftkit.testing.world.server.ExtremeRandom`."


@attrs.frozen(kw_only=True)
class Logged:
    """A run of the log that a core began with, in their order."""

    life: int
    "Whose."
    run: Run
    "Entries."


@attrs.frozen(kw_only=True)
class Stepped:
    """A batch of inputs, and what came of it."""

    life: int
    "Whose."
    inputs: tuple[Input, ...]
    "In their order."
    digest: bytes | None
    "`digest_of` the effects. None: the core raised."


@attrs.frozen(kw_only=True)
class Ended:
    """A core is gone."""

    life: int
    "Whose."
    why: str
    "In words."


@attrs.frozen(kw_only=True)
class Noted:
    """Something happened around the cores, such as a fault."""

    words: str
    "What."


@attrs.frozen(kw_only=True)
class Stopped:
    """Nothing is recorded from here on, though it may have happened."""

    why: str
    "In words."


Record = Begun | Logged | Stepped | Ended | Noted | Stopped


def digest_of(effects: Effects) -> bytes:
    """Eight bytes by which the effects of a replayed step are told from others; none where there are none."""
    return blake2b(repr(effects).encode(), digest_size=8).digest() if effects else b""


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────


@attrs.define(eq=False)
class Recorder:
    """Writes a recording."""

    file: BinaryIO
    "Unbuffered, at its end; closed by `close`."
    size: int
    "Bytes in it."
    bytes_max: int = RECORDING_BYTES_MAX
    "Where it stops, give or take the words that say so."
    on_stop: Callable[[str], None] = lambda _: None
    "Is told once why nothing is recorded any more."
    stopped: str | None = attrs.field(init=False, default=None)
    "The same; None while it records."

    def begin(
        self, config: Config, persistent: PersistentState, seed: int, *, extreme: bool = False
    ) -> tuple[Life, PersistentState]:
        """A core begins: its life, and the state to make it of, whose log is recorded while it is read."""
        number = self.size  # nothing else begins at this place of the file
        vote, snapshot = persistent.voted_for, persistent.snapshot
        self.write(
            [
                Number.BEGUN,
                number,
                config_form(config),
                persistent.term,
                None if vote is None else [vote.id, vote.incarnation],
                persistent.base_index,
                persistent.base_term,
                None if snapshot is None else snapshot_meta_form(snapshot),
                persistent.write_sequence,
                seed,
                extreme,
                *_received_form(persistent.received),
            ]
        )
        life = Life(self, number)
        return life, attrs.evolve(persistent, runs=life.logged(persistent.runs))

    def note(self, words: str) -> None:
        """Something happened around the cores."""
        self.write([Number.NOTED, words])

    def close(self) -> None:
        """Record no more."""
        self.stopped = self.stopped or "closed"
        self.file.close()

    def write(self, form: Form) -> None:
        """Add a record, unless nothing is recorded any more."""
        if self.stopped is not None:
            return
        frame = _framed(form)
        if self.size + len(frame) > self.bytes_max:
            full = f"it has reached its {self.bytes_max:,} bytes"
            frame = _framed([Number.STOPPED, full])
            self._stop(_put(self.file, frame) or full)
        elif refused := _put(self.file, frame):
            self._stop(refused)
        self.size += len(frame)

    def _stop(self, why: str) -> None:
        self.stopped = why
        self.on_stop(why)


@attrs.frozen(eq=False)
class Life:
    """One core of a recording, from its beginning to its end."""

    recorder: Recorder
    "Where it is recorded."
    number: int
    "Its name there."

    def logged(self, runs: Iterable[Run]) -> Iterator[Run]:
        """The log that it begins with, recorded while it is read."""
        for run in runs:
            self.recorder.write([Number.LOGGED, self.number, encode_run(run)])
            yield run

    def step(self, raft: Raft, inputs: list[Input]) -> Effects:
        """`raft.step(inputs)`, recorded. Raises what that raises."""
        forms = [input_form(it) for it in inputs]
        digest = None
        try:
            effects = raft.step(inputs)
            digest = digest_of(effects)
        finally:
            self.recorder.write([Number.STEPPED, self.number, forms, digest])
        return effects

    def end(self, why: str) -> None:
        """It is gone."""
        self.recorder.write([Number.ENDED, self.number, why])


def open_recorder(
    path: Path,
    *,
    bytes_max: int = RECORDING_BYTES_MAX,
    on_stop: Callable[[str], None] = lambda _: None,
) -> Recorder:
    """Begin a recording, or go on with the one at `path`, after its last whole record.

    Raises OSError, and RecordingUnreadable if something else is there.
    """
    file = path.open("ab+", buffering=0)
    try:
        file.seek(0)
        data = file.read()
        size = _whole(path, data) if data else 0
        file.truncate(size)
        if not size:
            size = file.write(_HEAD.pack(_MAGIC, FORMAT))
    except BaseException:
        file.close()
        raise
    return Recorder(file=file, size=size, bytes_max=bytes_max, on_stop=on_stop)


def _put(file: BinaryIO, frame: bytes) -> str | None:
    """Write `frame`; why not, if so."""
    try:
        # An unbuffered file takes less than it is given when the disk becomes full.
        return None if file.write(frame) == len(frame) else "the disk is full"
    except OSError as error:
        return f"the disk refuses: {error.strerror or error}"


def _framed(form: Form) -> bytes:
    body = encoding.dumps(form)
    return _FRAME.pack(len(body), zlib.crc32(body)) + body


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────


def read_recording(path: Path) -> Iterator[Record]:
    """All records, in the order in which they were written.

    What is not whole, as a killed process or a power failure leaves it, is a `Stopped`. Raises OSError
    and RecordingUnreadable.
    """
    with path.open("rb") as file:
        data = file.read(_HEAD.size)
        at = _head(path, data)  # before all of something else is read
        data += file.read()
    for body in _bodies(data):
        try:
            yield _read(array(encoding.loads(body)))
        except (MalformedError, ValueError) as error:
            raise RecordingUnreadable(
                f"{path}: at byte {at}: {error}: it may be of another raftkit"
            ) from error
        at += _FRAME.size + len(body)
    if at < len(data):
        yield Stopped(why=f"there is no whole record at byte {at} of {len(data):,}")


def _head(path: Path, data: bytes) -> int:
    """The place after the head."""
    if len(data) < _HEAD.size or data[: len(_MAGIC)] != _MAGIC:
        raise RecordingUnreadable(f"{path} is no recording of raftkit")
    _, version = _HEAD.unpack_from(data)
    if version != FORMAT:
        raise RecordingUnreadable(
            f"{path} is a recording of format {version}, this raftkit plays format {FORMAT}"
        )
    return _HEAD.size


def _bodies(data: bytes) -> Iterator[bytes]:
    """The whole bodies, up to the first that is not."""
    at = _HEAD.size
    while at + _FRAME.size <= len(data):
        length, checksum = _FRAME.unpack_from(data, at)
        at += _FRAME.size
        body = data[at : at + length]
        if not length or len(body) < length or zlib.crc32(body) != checksum:
            return
        yield body
        at += length


def _whole(path: Path, data: bytes) -> int:
    """How many bytes of `data` are head and whole records."""
    return _head(path, data) + sum(_FRAME.size + len(body) for body in _bodies(data))


def _read(form: Form) -> Record:
    number, *rest = form or [None]
    match unsigned(number):
        case Number.BEGUN:
            return _begun(rest)
        case Number.LOGGED:
            life, run = array(rest, 2)
            return Logged(life=unsigned(life), run=decode_run(octets(run)))
        case Number.STEPPED:
            return _stepped(rest)
        case Number.ENDED:
            life, why = array(rest, 2)
            return Ended(life=unsigned(life), why=text(why))
        case Number.NOTED:
            (words,) = array(rest, 1)
            return Noted(words=text(words))
        case Number.STOPPED:
            (why,) = array(rest, 1)
            return Stopped(why=text(why))
        case unknown:
            raise MalformedError(f"a record of number {unknown}")


def _begun(rest: Form) -> Begun:
    life, config, term, vote, base, base_term, snapshot, sequence, seed, extreme = array(
        rest[:10], 10
    )
    persistent = PersistentState(
        term=Term(unsigned(term)),
        voted_for=None if vote is None else read_identity(vote),
        base_index=Index(unsigned(base)),
        base_term=Term(unsigned(base_term)),
        snapshot=None if snapshot is None else read_snapshot_meta(snapshot),
        write_sequence=unsigned(sequence),
        received=_received(rest[10:]),
    )
    return Begun(
        life=unsigned(life),
        config=read_config(config),
        persistent=persistent,
        seed=unsigned(seed),
        extreme=extreme is True,
    )


def _received_form(it: SnapshotBeginning | None) -> Form:
    return [] if it is None else [snapshot_meta_form(it.snapshot), it.size, it.checksum]


def _received(form: Form) -> SnapshotBeginning | None:
    if not form:
        return None
    snapshot, size, checksum = array(form, 3)
    return SnapshotBeginning(
        snapshot=read_snapshot_meta(snapshot), size=unsigned(size), checksum=unsigned(checksum)
    )


def _stepped(rest: Form) -> Stepped:
    life, inputs, digest = array(rest, 3)
    return Stepped(
        life=unsigned(life),
        inputs=tuple(read_input(it) for it in array(inputs)),
        digest=None if digest is None else octets(digest),
    )
