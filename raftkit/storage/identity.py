"""The identity file: whose directory this is, how often it was opened, how the group began.

Laws: two copies, `identity-1` and `identity-2`, each replaced by rename and each with its own checksum. A
record counts only when both copies hold it, so either copy alone is enough to go on with. Both bad: the
node refuses, for nobody else could say what it has promised.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from raftkit.driver_messages import FoundingRecord, Remembered, Scope
from raftkit.encoding import MalformedError, array, octets, unsigned
from raftkit.errors import LogCorrupt, WrongCluster
from raftkit.membership import Epoch, node_id
from raftkit.model import Identity, Index, NodeId, Term
from raftkit.storage import envelope
from raftkit.storage.base import Disk, IdentityRecord
from raftkit.wire.codec import decode_run, encode_run

__all__ = ["COPIES", "Copy", "Entropy", "IdentityFile", "Place", "decode", "encode"]

MAGIC = b"raftnode"
COPIES = ("identity-1", "identity-2")
Entropy = Callable[[], int]
"Draws a u64 that nobody has drawn before."
Place = tuple[int, int]
"A segment's number and an offset in it."


@attrs.frozen(kw_only=True)
class Copy:
    """What one copy holds."""

    sequence: int
    "Counts rewritings, from 1."
    record: IdentityRecord
    "Whose directory."
    log_end: Place = (0, 0)
    "Where the log ended, at least, when this was written: a shorter one was cut or replaced."


def encode(copy: Copy) -> bytes:
    """The bytes of one copy."""
    record = copy.record
    identity = record.identity
    return envelope.seal(
        MAGIC,
        [
            copy.sequence,
            identity.id,
            identity.incarnation,
            record.boot,
            record.nonce,
            None if record.founding is None else _founding_out(record.founding),
            [
                [peer.id, peer.incarnation, seen.boot, seen.nonce, seen.term, seen.index]
                for peer, seen in sorted(record.remembered.items())
            ],
            list(copy.log_end),
        ],
    )


def decode(path: str, data: bytes) -> Copy:
    """What `encode` was given. Raises LogCorrupt; StorageError if a newer raftkit wrote it."""
    fields = envelope.unseal(path, MAGIC, data)
    if len(data) != envelope.sealed_size(path, data):
        raise LogCorrupt(path, envelope.sealed_size(path, data), None, "bytes after the end")
    try:
        sequence, name, incarnation, boot, nonce, founding, remembered, end = array(fields, 8)
        record = IdentityRecord(
            identity=Identity(id=node_id(name), incarnation=unsigned(incarnation)),
            boot=unsigned(boot, lowest=1),
            nonce=unsigned(nonce),
            founding=None if founding is None else _founding_in(founding),
            remembered=dict(_remembered_in(row) for row in array(remembered)),
        )
        segment, offset = map(unsigned, array(end, 2))
        return Copy(sequence=unsigned(sequence, lowest=1), record=record, log_end=(segment, offset))
    except MalformedError as error:
        raise LogCorrupt(path, envelope.PREFIX_SIZE, None, str(error)) from error


def _founding_out(founding: FoundingRecord) -> list[object]:
    scope = founding.scope
    entry = encode_run(founding.entry)
    return [scope.cluster, scope.epoch.number, scope.epoch.nonce, scope.group, entry]


def _founding_in(value: object) -> FoundingRecord:
    cluster, epoch, nonce, group, entry = array(value, 5)
    scope = Scope(
        cluster=octets(cluster, 16),
        epoch=Epoch(number=unsigned(epoch), nonce=unsigned(nonce)),
        group=unsigned(group),
    )
    return FoundingRecord(scope=scope, entry=decode_run(octets(entry)))


def _remembered_in(row: object) -> tuple[Identity, Remembered]:
    name, *numbers = array(row, 6)
    incarnation, boot, nonce, term, index = map(unsigned, numbers)
    peer = Identity(id=node_id(name), incarnation=incarnation)
    return peer, Remembered(boot=boot, nonce=nonce, term=Term(term), index=Index(index))


@attrs.define
class IdentityFile:
    """Both copies in one directory."""

    _disk: Disk
    _copy: Copy
    _broken: tuple[LogCorrupt, ...] = ()

    @property
    def broken(self) -> tuple[LogCorrupt, ...]:
        """What was wrong with the other copy, if anything, when this was read."""
        return self._broken

    @property
    def record(self) -> IdentityRecord:
        """What both copies hold."""
        return self._copy.record

    @property
    def log_end(self) -> Place:
        """See `Copy`."""
        return self._copy.log_end

    @classmethod
    def read(cls, disk: Disk) -> IdentityFile | None:
        """The identity in `disk`, whoever it is; None if there is none. Writes nothing.

        Raises LogCorrupt, StorageError, OSError.
        """
        whole, broken = _copies(disk)
        if not whole and broken:
            raise broken[0]
        if not whole:
            return None
        return cls(disk, max(whole, key=lambda copy: copy.sequence), tuple(broken))

    @classmethod
    def open(cls, disk: Disk, id: NodeId, entropy: Entropy) -> IdentityFile:  # noqa: A002
        """The identity in `disk`, not yet of this boot. Writes nothing.

        A directory without one is new. Raises LogCorrupt, WrongCluster, StorageError, OSError.
        """
        found = cls.read(disk)
        if found is None:
            identity = Identity(id=id, incarnation=entropy() or 1)  # 0 says "not known yet"
            record = IdentityRecord(identity=identity, boot=0, nonce=0)
            return cls(disk, Copy(sequence=0, record=record))
        if found.record.identity.id != id:
            raise WrongCluster(
                f"{disk.path} belongs to node {found.record.identity.id!r}, not to {id!r}: give this "
                "node a directory of its own"
            )
        return found

    def store(self, record: IdentityRecord, log_end: Place) -> None:
        """Make `record` durable in both copies. A crash leaves the old or the new one. Raises OSError."""
        assert log_end >= self._copy.log_end
        copy = Copy(sequence=self._copy.sequence + 1, record=record, log_end=log_end)
        data = encode(copy)
        for name in COPIES:
            partial = f"{name}.partial"
            file = self._disk.create(partial)
            try:
                file.write_at(0, data)
                file.sync()
            finally:
                file.close()
            self._disk.rename(partial, name)
            self._disk.sync_directory()
        self._copy = copy


def _copies(disk: Disk) -> tuple[list[Copy], list[LogCorrupt]]:
    """The copies that are whole, and what is wrong with those that are not."""
    whole: list[Copy] = []
    broken: list[LogCorrupt] = []
    for name in COPIES:
        path = f"{disk.path}/{name}"
        try:
            file = disk.open(name)
        except FileNotFoundError:
            continue
        try:
            whole.append(decode(path, file.read_at(0, file.size())))
        except LogCorrupt as error:
            broken.append(error)
        finally:
            file.close()
    return whole, broken
