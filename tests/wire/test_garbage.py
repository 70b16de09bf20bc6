"""Whatever arrives: RemoteProtocolError or a well-formed message, in bounded memory and time."""

from __future__ import annotations

import tracemalloc
import zlib

import pytest
from hypothesis import example, given, settings, strategies as st

from raftkit.driver_messages import UNBORN, Frame
from raftkit.encoding import MalformedError
from raftkit.errors import RemoteProtocolError
from raftkit.testing.strategies import driver_messages, frames, messages, runs
from raftkit.wire import (
    FORMAT,
    NEED_DATA,
    FrameDecoder,
    Limits,
    Tag,
    decode_message,
    decode_run,
    encode_frame,
    encode_message,
    encode_run,
)

LIMITS = Limits()


@st.composite
def spoiled(draw: st.DrawFn, valid: st.SearchStrategy[bytes]) -> bytes:
    """Something valid with bytes changed, put in, taken out, or with its end cut off."""
    data = bytearray(draw(valid))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 8)))
        data[start:end] = draw(st.binary(max_size=8) | st.sampled_from([b"\xff" * 8, bytes(8)]))
    return bytes(data[: draw(st.integers(0, len(data)) | st.just(len(data)))])


def _survives_message(data: bytes) -> None:
    try:
        message = decode_message(data, limits=LIMITS)
    except RemoteProtocolError:
        return
    assert decode_message(encode_message(message), limits=LIMITS) == message


@given(st.binary(max_size=200))
def test_arbitrary_message_is_refused_or_well_formed(data: bytes) -> None:
    _survives_message(data)


@given(st.sampled_from(Tag), st.binary(max_size=200))
def test_arbitrary_body_of_any_tag_is_refused_or_well_formed(tag: Tag, body: bytes) -> None:
    _survives_message(bytes([FORMAT, tag]) + body)


@settings(max_examples=400)
@given(spoiled((messages() | driver_messages()).map(encode_message)))
def test_spoiled_message_is_refused_or_well_formed(data: bytes) -> None:
    _survives_message(data)


@settings(max_examples=200)
@given(spoiled(runs().map(encode_run)))
def test_spoiled_run_is_refused_or_well_formed(data: bytes) -> None:
    try:
        run = decode_run(data)
    except MalformedError:
        return
    assert decode_run(encode_run(run)) == run


@given(st.lists(st.binary(max_size=80), max_size=5))
@example([b"\x00\x00\x00\x40", bytes(100)])
def test_arbitrary_stream_never_raises_another_error(segments: list[bytes]) -> None:
    decoder = FrameDecoder(scope=UNBORN)
    try:
        for segment in segments:
            decoder.receive_data(segment)
            assert decoder.next_frame() is NEED_DATA  # no checksum is right by chance
        decoder.receive_eof()
    except RemoteProtocolError:
        return
    assert not any(segments)


@given(frames(), st.data())
def test_spoiled_frame_with_a_right_checksum_never_raises_another_error(
    frame: Frame, data: st.DataObject
) -> None:
    content = data.draw(spoiled(st.just(encode_frame(frame)[8:])))
    checksum = zlib.crc32(content).to_bytes(4, "big")
    decoder = FrameDecoder(scope=frame.scope)
    decoder.receive_data(len(content).to_bytes(4, "big") + checksum + content)
    try:
        found = decoder.next_frame()
    except RemoteProtocolError:
        return
    assert isinstance(found, Frame)


MEGABYTES = 8


def _bomb(tag: Tag, head: bytes, filling: bytes) -> bytes:
    data = bytes([FORMAT, tag]) + head
    return data + filling * ((MEGABYTES * 1024 * 1024 - 100 - len(data)) // len(filling))


def _run_bomb(start: bytes, filling: bytes) -> bytes:
    """A whole frame's worth of one run that CBOR would inflate."""
    run = start + filling * ((MEGABYTES * 1024 * 1024 - 200) // len(filling))
    header = b"".join(n.to_bytes(8, "big") for n in (1, 0, 0, 0)) + (1).to_bytes(4, "big")
    return bytes([FORMAT, Tag.APPEND_ENTRIES]) + header + len(run).to_bytes(4, "big") + run


COUNT = (8_000_000).to_bytes(4, "big")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(_bomb(Tag.HELLO, b"\x9a" + COUNT, b"\x80"), id="hello of empty arrays"),
        pytest.param(_bomb(Tag.HELLO, b"\x9a" + COUNT, b"\xa1\x00\x00"), id="hello of maps"),
        pytest.param(_bomb(Tag.FORWARD_REFUSED, b"\x9a" + COUNT, b"\x80"), id="refusal"),
        pytest.param(_bomb(Tag.HELLO, b"", b"\x81"), id="hello of depth"),
        pytest.param(_run_bomb(b"\x86\x01\x01\0\0\xf6\x9a" + COUNT, b"\x80"), id="payloads"),
        pytest.param(_run_bomb(b"\x86\x01\x01\0\0\xf6\x9a" + COUNT, b"\x40"), id="empty payloads"),
        pytest.param(_run_bomb(b"\x86\x9a" + COUNT, b"\x80"), id="array for an index"),
        pytest.param(
            _run_bomb(b"\x86\x01\x01\0\0\xf6\x82\x9a" + COUNT, b"\x80"), id="array for a payload"
        ),
        pytest.param(_run_bomb(b"\x86\x01\x01\0\0\x5a" + COUNT, b"\x01") + b"\x81\x40", id="kinds"),
        pytest.param(
            _bomb(Tag.FORWARD, bytes(8) + COUNT + b"\x82\xf6\x9a" + COUNT, b"\x80"), id="forward"
        ),
    ],
)
def test_frame_of_the_largest_size_never_takes_much_more_memory(data: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(RemoteProtocolError):
        decode_message(memoryview(data), limits=LIMITS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 32 * 1024 * 1024
