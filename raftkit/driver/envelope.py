"""The bytes of a snapshot: framed items, so that it can be written and read piece by piece.

Laws: the same state gives the same bytes. An end is written, so that a beginning is never taken for the
whole. Whether the bytes are those that were written, storage knows by its checksums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from raftkit import encoding
from raftkit.encoding import MalformedError

__all__ = ["END", "Reader", "frame", "item"]

_LENGTH_BYTES = 4
END = bytes(_LENGTH_BYTES)
"An empty frame: ends a series of frames."


def frame(data: bytes) -> bytes:
    """`data`, at least one byte, behind its length."""
    assert data
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


def item(plain: object) -> bytes:
    """A frame of one CBOR value."""
    return frame(encoding.dumps(plain))


class Reader:
    """Frames out of chunks, wherever those were cut. `tell` is given all bytes in order, as they are read."""

    def __init__(
        self, chunks: Iterable[bytes], tell: Callable[[bytes], object] = lambda _: None
    ) -> None:
        self._chunks = iter(chunks)
        self._tell = tell
        self._buffer = bytearray()

    def frames(self) -> Iterator[bytes]:
        """The frames of one series, up to its END. Raises MalformedError where they stop before it."""
        while data := self._take(int.from_bytes(self._take(_LENGTH_BYTES), "big")):
            yield data

    def items(self) -> Iterator[object]:
        """The values of one series. Raises MalformedError."""
        return map(encoding.loads, self.frames())

    def close(self) -> None:
        """Raises MalformedError unless everything was read."""
        if self._buffer or any(self._chunks):
            raise MalformedError("the snapshot goes on after its end")

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise MalformedError("the snapshot ends before its end")
            self._buffer += chunk
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._tell(data)
        return data
