"""How much a peer may make this node read, hold and allocate.

Law: each bound is checked on the header that announces a size, before anything of that size is
made.
"""

from __future__ import annotations

import attrs

from raftkit.encoding import MalformedError

__all__ = ["Limits", "control_part"]


@attrs.frozen(kw_only=True)
class Limits:
    """Bounds on what arrives. The same on all nodes of a group: a sender keeps to its own."""

    frame_bytes_max: int = 8 * 1024 * 1024
    "A frame after its length and checksum: header and body."
    control_bytes_max: int = 256 * 1024
    "A body without entries or snapshot data, and a configuration: what CBOR may inflate 80 times."
    entries_max: int = 65_536
    "Entries of one message."
    entry_bytes_max: int = 4 * 1024 * 1024
    "Payload of one entry. At least the group's own `entry_bytes_max`."
    snapshot_bytes_max: int = 1 << 40
    "A whole snapshot, as its first chunk announces it."


def control_part(data: bytes | memoryview, limits: Limits) -> bytes | memoryview:
    """The CBOR after version and tag, bounded, since objects take far more room than their bytes.

    Raises `MalformedError`.
    """
    if len(data) > limits.control_bytes_max:
        raise MalformedError(f"{len(data)} bytes, at most {limits.control_bytes_max} are allowed")
    return data[2:]
