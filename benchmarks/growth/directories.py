"""Data directories as a group leaves them that has done much, made by the storage without the group.

    founded ──▶ a snapshot received, behind which the log begins ──▶ entries ──▶ a snapshot taken

Laws: everything goes through `raftkit.storage`, so what lies there is what a node writes, synced and sealed.
The state is a real one: the machine reads its snapshot. All entries are of term 1.
"""

from __future__ import annotations

import secrets
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import attrs

from raftkit import BytesStateMachine, StateMachine
from raftkit.driver.replica import Capture, Replica
from raftkit.driver.sessions import NONCE_BIT, pack_header
from raftkit.driver_messages import FoundingRecord, Scope
from raftkit.membership import Configuration, Epoch, Member, Settings
from raftkit.messages import SnapshotWrite, Write
from raftkit.model import Index, Kind, NodeId, Run, Term
from raftkit.snapshot import SnapshotMeta
from raftkit.storage import FileStorage, open_storage

__all__ = ["Past", "make_group"]

RUN_ENTRIES = 64
"Entries that were proposed together."
WRITE_BYTES = 4 * 1024 * 1024
"Of entries that become durable together."
_FIRST = Index(1)
"The founding entry."
_TERM = Term(1)


@attrs.frozen(kw_only=True)
class Past:
    """What a group did before it is started. By default: it was founded."""

    machine: Callable[[], StateMachine | BytesStateMachine]
    "Makes the machine as it is in the snapshot."
    base: int = 0
    "The log begins behind this entry; 0: with the founding entry."
    snapshot: int = 0
    "The last entry in the newest snapshot, at or above `base`; 0: there is none."
    last: int = 1
    "The last entry, at or above `snapshot`."
    payload_bytes: int = 64
    "Of each entry, its header included."
    settings: Settings = attrs.field(factory=Settings)
    "Of the group."

    def __attrs_post_init__(self) -> None:
        assert 0 <= self.base <= self.snapshot <= self.last
        assert self.base != 1, "behind the founding entry alone there is nothing to compact"


def make_group(
    directory: Path,
    addresses: Mapping[NodeId, str],
    past: Past,
    *,
    filled: Collection[NodeId] | None = None,
) -> FoundingRecord:
    """Directories of a group's members, each under its name in `directory`; how it was founded.

    Those not in `filled` are founded and have nothing more; None: all are filled.
    """
    with ExitStack() as stack:
        storages = [
            stack.enter_context(closing(open_storage(directory / name, name))) for name in addresses
        ]
        record = _founding(storages, addresses, past.settings)
        for storage in storages:
            storage.found(record)
            if filled is None or storage.record.identity.id in filled:
                _fill(storage, record, past)
    return record


def _founding(
    storages: list[FileStorage], addresses: Mapping[NodeId, str], settings: Settings
) -> FoundingRecord:
    epoch = Epoch(number=1, nonce=secrets.randbits(64))
    identities = [it.record.identity for it in storages]
    configuration = Configuration(
        members=tuple(
            Member(id=it.id, incarnation=it.incarnation, address=addresses[it.id])
            for it in identities
        ),
        settings=attrs.evolve(settings, epoch=epoch),
    )
    entry = Run(
        first=_FIRST,
        term=_TERM,
        time_ns=time.time_ns(),
        elapsed_ns=0,
        kinds=(Kind.CONFIGURATION,),
        payloads=(configuration.encode(),),
    )
    return FoundingRecord(scope=Scope(cluster=secrets.token_bytes(16), epoch=epoch), entry=entry)


def _fill(storage: FileStorage, record: FoundingRecord, past: Past) -> None:
    """Bring a founded directory to where `past` ends."""
    sequence = 0
    for sequence, write in enumerate(_writes(record, past), 1):
        storage.perform([attrs.evolve(write, sequence=sequence)])
    if past.snapshot > past.base:
        it = _state(record, past, Index(past.snapshot))
        assert it.configuration is not None
        storage.take_snapshot(
            index=it.index,
            term=it.term,
            configuration=it.configuration,
            configuration_index=it.configuration_index,
            time_ns=it.time_ns,
            elapsed_ns=it.elapsed_ns,
            content=it,
        )


def _writes(record: FoundingRecord, past: Past) -> Iterator[Write]:
    """All that comes behind the founding entry, but for the numbers of the writes."""
    if past.base:
        yield Write(sequence=0, chunk=_whole(_state(record, past, Index(past.base))))
    payload = pack_header(NONCE_BIT, 1, 0).ljust(past.payload_bytes, b"\0")
    each = max(WRITE_BYTES // len(payload) // RUN_ENTRIES, 1) * RUN_ENTRIES
    for first in range(max(past.base, _FIRST) + 1, past.last + 1, each):
        end = min(first + each, past.last + 1)
        yield Write(
            sequence=0,
            runs=tuple(
                Run(
                    first=Index(start),
                    term=_TERM,
                    time_ns=record.entry.time_ns,
                    elapsed_ns=0,
                    payloads=(payload,) * (min(start + RUN_ENTRIES, end) - start),
                )
                for start in range(first, end, RUN_ENTRIES)
            ),
        )


def _whole(capture: Capture) -> SnapshotWrite:
    """That state, received in one part."""
    content = b"".join(capture)
    assert capture.configuration is not None
    meta = SnapshotMeta(
        index=capture.index,
        term=capture.term,
        configuration=capture.configuration,
        configuration_index=capture.configuration_index,
        time_ns=capture.time_ns,
        elapsed_ns=capture.elapsed_ns,
        size=len(content),
        checksum=zlib.crc32(content),
    )
    return SnapshotWrite(snapshot=meta, offset=0, data=content)


def _state(record: FoundingRecord, past: Past, index: Index) -> Capture:
    """The machine as it is behind `index`, whose entry says nothing to it."""
    replica = Replica[StateMachine | BytesStateMachine](past.machine, cluster=record.scope.cluster)
    replica.apply([record.entry])
    replica.applied = Index(index - 1)
    replica.apply([attrs.evolve(record.entry, first=index, kinds=(Kind.NOOP,), payloads=(b"",))])
    return replica.capture()
