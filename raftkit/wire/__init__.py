"""The wire: frames and messages ⇄ bytes, without I/O (`docs/wire-format.md`).

A transport reads bytes and gives them to a `FrameDecoder`; it asks for the next `Frame` until it
hears NEED_DATA. To send, it writes what `encode_frame` returns, the same bytes to every receiver.

Inwards, nothing is believed: sizes are bounded before they are waited for, the checksum comes
before the header, the scope before the message, exact types and bounds before the message exists.
What comes out is well formed, so the core checks only what depends on its state; everything else is
RemoteProtocolError, which costs the peer its connection and this node nothing. Outwards, each value
has one form, so a run is encoded once: `encode_run` is what the log writes and what
`encode_message` sends.

To read in order: `tags.py`, `lanes.py`, `limits.py`, `packed.py`, `runs.py`, `hello.py`, `codec.py`,
`frames.py`.
"""

from raftkit.wire.codec import decode_message, encode_message
from raftkit.wire.frames import FRAME_FORMAT, NEED_DATA, FrameDecoder, NeedData, encode_frame
from raftkit.wire.hello import decode_founding, encode_founding
from raftkit.wire.lanes import Lane, lane_of
from raftkit.wire.limits import Limits
from raftkit.wire.runs import decode_run, encode_run
from raftkit.wire.tags import FORMAT, Tag

__all__ = [
    "FORMAT",
    "FRAME_FORMAT",
    "NEED_DATA",
    "FrameDecoder",
    "Lane",
    "Limits",
    "NeedData",
    "Tag",
    "decode_founding",
    "decode_message",
    "decode_run",
    "encode_founding",
    "encode_frame",
    "encode_message",
    "encode_run",
    "lane_of",
]
