"""The wire: frames and messages ⇄ bytes, without I/O (`docs/wire-format.md`).

A transport reads bytes and gives them to a `FrameDecoder`; it asks for the next `Frame` until it
hears NEED_DATA. To send, it writes what `encode_frame` returns, the same bytes to every receiver.

Inwards, nothing is believed: sizes are bounded before they are waited for, the checksum comes
before the header, the scope before the message, exact types and bounds before the message exists.
What comes out is well formed, so the core checks only what depends on its state; everything else is
RemoteProtocolError, which costs the peer its connection and this node nothing. Outwards, each value
has one form, so a run is encoded once: `encode_run` is what the log writes and what
`encode_message` sends.

Datagrams carry the same messages where there is no connection: `Sealer` and `Opener` decide who is
believed, `OutStream` and `InStream` cut messages into pieces and mend what the network loses.

To read in order: `tags.py`, `lanes.py`, `limits.py`, `packed.py`, `runs.py`, `hello.py`,
`presence.py`, `codec.py`, `frames.py`; for datagrams `sealing.py`, `datagram.py`, `replay.py`,
`chunks.py`, `out_stream.py`, `in_stream.py`.
"""

from raftkit.wire.chunks import Chunk, chunk_bytes_max, decode_chunk, encode_chunk
from raftkit.wire.codec import decode_message, encode_message
from raftkit.wire.datagram import (
    CONTROL_STREAM,
    DATAGRAM_BYTES_MAX,
    Datagram,
    DatagramKind,
    NumberedStream,
    Opener,
    Range,
    Refused,
    Sealer,
    cluster_tag,
)
from raftkit.wire.frames import FRAME_FORMAT, NEED_DATA, FrameDecoder, NeedData, encode_frame
from raftkit.wire.hello import decode_founding, encode_founding
from raftkit.wire.in_stream import InCounts, InStream
from raftkit.wire.lanes import Lane, lane_of
from raftkit.wire.limits import Limits
from raftkit.wire.out_stream import OutCounts, OutStream, Repair
from raftkit.wire.replay import ReplayWindow
from raftkit.wire.runs import decode_run, encode_run
from raftkit.wire.sealing import (
    HEAD_BYTES,
    HMAC,
    KEY_BYTES,
    SEAL_BYTES,
    UNSEALED,
    ClusterKeys,
    Scheme,
    Seal,
)
from raftkit.wire.tags import FORMAT, Tag

__all__ = [
    "CONTROL_STREAM",
    "DATAGRAM_BYTES_MAX",
    "FORMAT",
    "FRAME_FORMAT",
    "HEAD_BYTES",
    "HMAC",
    "KEY_BYTES",
    "NEED_DATA",
    "SEAL_BYTES",
    "UNSEALED",
    "Chunk",
    "ClusterKeys",
    "Datagram",
    "DatagramKind",
    "FrameDecoder",
    "InCounts",
    "InStream",
    "Lane",
    "Limits",
    "NeedData",
    "NumberedStream",
    "Opener",
    "OutCounts",
    "OutStream",
    "Range",
    "Refused",
    "Repair",
    "ReplayWindow",
    "Scheme",
    "Seal",
    "Sealer",
    "Tag",
    "chunk_bytes_max",
    "cluster_tag",
    "decode_chunk",
    "decode_founding",
    "decode_message",
    "decode_run",
    "encode_chunk",
    "encode_founding",
    "encode_frame",
    "encode_message",
    "encode_run",
    "lane_of",
]
