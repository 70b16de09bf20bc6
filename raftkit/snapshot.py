"""Which snapshot is meant: a part of `raftkit.messages`, and of what is on disk (§5.1)."""

from __future__ import annotations

import attrs

from raftkit.membership import Configuration
from raftkit.model import Identity, Index, NodeId, Term

__all__ = ["SeekSnapshot", "SnapshotBeginning", "SnapshotFound", "SnapshotMeta"]


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


@attrs.frozen(kw_only=True)
class SeekSnapshot:
    """Look for a part of the snapshot that is being received, elsewhere than at the leader."""

    snapshot: SnapshotMeta
    "The very one."
    offset: int
    "Where the part begins, in bytes; before the end."
    leader: NodeId
    "Who sends it if nobody else does."


@attrs.frozen(kw_only=True)
class SnapshotFound:
    """What came of an effect `seek_snapshot`."""

    request: SeekSnapshot
    "The question."
    holder: Identity | None = None
    "Who gave it. None: nobody has it, or nobody answered."
    data: bytes = b""
    "From `request.offset` on, not beyond the end; not empty if there is a holder."
