"""Which snapshot is meant: a part of `raftkit.messages`, and of what is on disk (§5.1)."""

from __future__ import annotations

import attrs

from raftkit.membership import Configuration
from raftkit.model import Index, Term

__all__ = ["SnapshotBeginning", "SnapshotMeta"]


@attrs.frozen(kw_only=True)
class SnapshotMeta:
    """What the log up to `index` has become (§5.1)."""

    index: Index
    "Last entry that the snapshot replaces."
    term: Term
    "Its term."
    configuration: Configuration
    "The newest configuration at or below `index`."
    configuration_index: Index
    "Where it stood in the log."
    time_ns: int
    "Stamp of the entry at `index`: no later stamp is below it."
    elapsed_ns: int
    "Stamp of the entry at `index`: no later stamp is below it."
    size: int
    "Bytes of the snapshot's file."
    checksum: int
    "CRC-32 of the whole file."


@attrs.frozen(kw_only=True)
class SnapshotBeginning:
    """What is here of a snapshot that is being received (§5.3)."""

    snapshot: SnapshotMeta
    "Which one."
    size: int
    "Bytes from its start on: at least one, and not all."
    checksum: int
    "CRC-32 of those bytes."
