"""The pipe between a command and its node processes: whole frames, bounded, and an end that is no error."""

from __future__ import annotations

import pytest
import trio
from trio.testing import memory_stream_one_way_pair

from raftkit.cli.pipe import FRAME_BYTES_MAX, Pipe
from raftkit.encoding import MalformedError


def _ends() -> tuple[Pipe, Pipe]:
    """Two pipes, the first of which talks to the second."""
    into, out_of = memory_stream_one_way_pair()
    back, forth = memory_stream_one_way_pair()
    return Pipe(into, forth), Pipe(back, out_of)


async def test_messages_arrive_whole_and_in_order() -> None:
    near, far = _ends()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.send, [1, "write", b"\xff" * 100_000])
        assert await far.receive() == [1, "write", b"\xff" * 100_000]
    await near.send([2])
    await near.send([3, None])
    assert [await far.receive(), await far.receive()] == [[2], [3, None]]


@pytest.mark.parametrize("rest", [b"", b"\0\0", b"\0\0\0\x05\x81"])
async def test_a_pipe_that_ends_within_a_frame_has_ended(rest: bytes) -> None:
    near, far = _ends()
    await near.send([1])
    await near._into.send_all(rest)
    await near.aclose()

    assert [await far.receive(), await far.receive()] == [[1], None]


@pytest.mark.parametrize(
    "data",
    [
        (FRAME_BYTES_MAX + 1).to_bytes(4, "big"),  # too long
        b"\0\0\0\x01\xff",  # no CBOR
        b"\0\0\0\x01\x01",  # no array
        b"\0\0\0\x02\x80\x80",  # bytes after the end
    ],
)
async def test_what_is_no_message_is_refused(data: bytes) -> None:
    near, far = _ends()
    await near._into.send_all(data)

    with pytest.raises(MalformedError):
        await far.receive()
