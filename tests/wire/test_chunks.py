"""Messages are cut into datagrams that the network carries whole, and each piece says where it belongs."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, strategies as st

from raftkit.encoding import U64_MAX, MalformedError
from raftkit.errors import ConfigError, LocalProtocolError
from raftkit.wire import (
    DATAGRAM_BYTES_MAX,
    HMAC,
    UNSEALED,
    Chunk,
    Lane,
    chunk_bytes_max,
    decode_chunk,
    encode_chunk,
)
from raftkit.wire.chunks import CHUNKS_MAX, DATAGRAM_BYTES_MIN, split

CHUNK = Chunk(lane=Lane.BULK, i=2, n=3, targets=5, data=b"x")
bits = st.integers(1, U64_MAX)


@given(st.binary(min_size=1, max_size=300), st.sampled_from(Lane), bits, st.integers(1, 50))
def test_pieces_are_of_one_size_and_make_the_message(
    message: bytes, lane: Lane, targets: int, size: int
) -> None:
    pieces = split(message, lane, targets, chunk_bytes=size)

    assert b"".join(it.data for it in pieces) == message
    assert {len(it.data) for it in pieces[:-1]} <= {size}
    assert 1 <= len(pieces[-1].data) <= size
    assert [(it.i, it.n) for it in pieces] == [(i, len(pieces)) for i in range(len(pieces))]
    assert {(it.lane, it.targets) for it in pieces} == {(lane, targets)}
    assert [decode_chunk(encode_chunk(it)) for it in pieces] == list(pieces)


def test_a_message_takes_as_many_datagrams_as_can_be_numbered() -> None:
    assert len(split(bytes(CHUNKS_MAX), Lane.BULK, 1, chunk_bytes=1)) == CHUNKS_MAX
    with pytest.raises(LocalProtocolError, match="takes 65536 datagrams, at most 65535"):
        split(bytes(CHUNKS_MAX + 1), Lane.BULK, 1, chunk_bytes=1)


def test_a_piece_and_all_around_it_fill_a_datagram() -> None:
    assert chunk_bytes_max(1200, HMAC) == 1200 - 32 - 1 - 13 - 16
    assert chunk_bytes_max(1200, UNSEALED) == 1200 - 32 - 1 - 13


@pytest.mark.parametrize("size", [DATAGRAM_BYTES_MIN, DATAGRAM_BYTES_MAX])
def test_sizes_of_datagrams_up_to_their_bounds_are_taken(size: int) -> None:
    assert 0 < chunk_bytes_max(size, HMAC) < size


@pytest.mark.parametrize("size", [0, DATAGRAM_BYTES_MIN - 1, DATAGRAM_BYTES_MAX + 1])
def test_sizes_of_datagrams_beyond_their_bounds_are_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=f"datagrams of {size} bytes: choose from 512 to 65507"):
        chunk_bytes_max(size, HMAC)


@pytest.mark.parametrize(
    "fields, said",
    [
        pytest.param((3, 0, 1, 1), "lane 3, the last is 2", id="lane"),
        pytest.param((0, 1, 1, 1), "chunk 1 of 1", id="beyond the last"),
        pytest.param((0, 0, 0, 1), "chunk 0 of 0", id="of none"),
        pytest.param((0, 0, 1, 0), "for nobody", id="for nobody"),
    ],
)
def test_a_piece_that_nobody_writes_is_refused(fields: tuple[int, ...], said: str) -> None:
    with pytest.raises(MalformedError, match=said):
        decode_chunk(struct.pack(">BHHQ", *fields) + b"x")


def test_a_piece_without_data_is_refused() -> None:
    whole = encode_chunk(CHUNK)

    assert decode_chunk(whole) == CHUNK
    for end in range(len(whole)):
        with pytest.raises(MalformedError, match=f"a chunk of {end} bytes"):
            decode_chunk(whole[:end])


@given(st.binary(max_size=40))
def test_arbitrary_piece_is_refused_or_well_formed(body: bytes) -> None:
    try:
        found = decode_chunk(body)
    except MalformedError:
        return
    assert encode_chunk(found) == body
