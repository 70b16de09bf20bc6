"""A stream of bytes becomes frames, however it is cut; whatever is wrong with it ends it."""

from __future__ import annotations

import time
import tracemalloc
import zlib

import attrs
import pytest

from raftkit.driver_messages import UNBORN, Frame, Scope
from raftkit.errors import LocalProtocolError, RemoteProtocolError
from raftkit.membership import Epoch
from raftkit.messages import AppendEntries
from raftkit.model import Index, Run, Term
from raftkit.wire import (
    FORMAT,
    NEED_DATA,
    FrameDecoder,
    Limits,
    encode_frame,
    encode_run,
)
from tests.wire.examples import COMMANDS, EPOCH, FRAME, MESSAGES, SCOPE, SENDER

FRAMES = [attrs.evolve(FRAME, body=body) for body in MESSAGES.values()]
LIMITS = Limits()
STREAM = b"".join(map(encode_frame, FRAMES))
PREFIX = 8
NAME_AT = PREFIX + 47


def _drain(decoder: FrameDecoder) -> list[Frame]:
    found: list[Frame] = []
    while (frame := decoder.next_frame()) is not NEED_DATA:
        found.append(frame)
    return found


def _framed(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + zlib.crc32(content).to_bytes(4, "big") + content


def _patched(at: int, value: bytes) -> bytes:
    """The golden frame with other bytes at a place of its content, and a right checksum."""
    content = bytearray(encode_frame(FRAME)[PREFIX:])
    content[at - PREFIX : at - PREFIX + len(value)] = value
    return _framed(bytes(content))


def _refused(data: bytes, limits: Limits = LIMITS) -> str:
    decoder = FrameDecoder(scope=SCOPE, limits=limits)
    decoder.receive_data(data)
    with pytest.raises(RemoteProtocolError) as caught:
        decoder.next_frame()
    return str(caught.value)


# ── however the stream is cut ────────────────────────────────────────────────────────────────────


def test_frames_in_one_segment_are_all_read() -> None:
    decoder = FrameDecoder(scope=SCOPE)
    decoder.receive_data(STREAM)

    assert _drain(decoder) == FRAMES
    decoder.receive_eof()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
def test_frames_in_segments_of_any_size_are_the_same(size: int) -> None:
    decoder = FrameDecoder(scope=SCOPE)

    found: list[Frame] = []
    for start in range(0, len(STREAM), size):
        decoder.receive_data(STREAM[start : start + size])
        found += _drain(decoder)

    assert found == FRAMES
    assert decoder.next_frame() is NEED_DATA


def test_what_follows_in_the_buffer_is_not_copied_for_each_frame() -> None:
    decoder = FrameDecoder(scope=SCOPE)
    decoder.receive_data(encode_frame(FRAME) * 300 + bytes(64 * 1024 * 1024))

    start = time.process_time()
    for _ in range(300):
        decoder.next_frame()
    took = time.process_time() - start

    assert took < 0.5  # some 0.01; with copies 3 and more


def test_connection_that_ends_between_frames_is_no_fault() -> None:
    decoder = FrameDecoder(scope=SCOPE)
    decoder.receive_eof()
    decoder.receive_data(encode_frame(FRAME))
    assert decoder.next_frame() == FRAME

    decoder.receive_eof()


@pytest.mark.parametrize("end", [1, PREFIX, PREFIX + 1, len(encode_frame(FRAME)) - 1])
def test_connection_that_ends_inside_a_frame_is_a_fault(end: int) -> None:
    decoder = FrameDecoder(scope=SCOPE)
    decoder.receive_data(encode_frame(FRAME)[:end])
    assert decoder.next_frame() is NEED_DATA

    with pytest.raises(RemoteProtocolError, match=f"ended {end} bytes into a frame"):
        decoder.receive_eof()
    with pytest.raises(RemoteProtocolError, match=f"ended {end} bytes into a frame"):
        decoder.next_frame()


# ── length and checksum ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("length", [0, 1, 49, 1001, 2**31 - 1, 2**31, 2**32 - 1])
def test_length_out_of_bounds_is_refused_before_anything_is_waited_for(length: int) -> None:
    limits = Limits(frame_bytes_max=1000)

    why = _refused(length.to_bytes(4, "big") + bytes(4), limits=limits)

    assert why == f"a frame of {length} bytes, from 50 to 1000 are allowed"


def test_length_alone_allocates_nothing() -> None:
    decoder = FrameDecoder(scope=SCOPE)
    tracemalloc.start()
    decoder.receive_data(Limits().frame_bytes_max.to_bytes(4, "big") + bytes(4))
    assert decoder.next_frame() is NEED_DATA
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 10_000


def test_frame_of_the_largest_size_is_written_and_read() -> None:
    body = AppendEntries(
        term=Term(5),
        prev_index=Index(41),
        prev_term=Term(4),
        commit_index=Index(0),
        runs=(attrs.evolve(COMMANDS, payloads=(bytes(10_000),)),),
    )
    frame = attrs.evolve(FRAME, body=body)
    size = len(encode_frame(frame)) - PREFIX
    data = encode_frame(frame, limits=Limits(frame_bytes_max=size))
    decoder = FrameDecoder(scope=SCOPE, limits=Limits(frame_bytes_max=size))
    decoder.receive_data(data)

    assert decoder.next_frame() == frame
    assert f"a frame of {size} bytes" in _refused(data, limits=Limits(frame_bytes_max=size - 1))
    with pytest.raises(LocalProtocolError, match=f"AppendEntries takes a frame of {size} bytes"):
        encode_frame(frame, limits=Limits(frame_bytes_max=size - 1))


@pytest.mark.parametrize("bit", range(8))
def test_any_flipped_bit_is_refused(bit: int) -> None:
    whole = encode_frame(FRAME)
    limits = Limits(frame_bytes_max=len(whole))
    for at in range(len(whole)):
        decoder = FrameDecoder(scope=SCOPE, limits=limits)
        decoder.receive_data(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        try:
            # A longer length waits for bytes that never come; nothing wrong is ever delivered.
            assert decoder.next_frame() is NEED_DATA
            assert at < 4
        except RemoteProtocolError:
            pass


def test_checksum_comes_before_the_header() -> None:
    data = bytearray(_patched(PREFIX, b"\x02"))
    data[4] ^= 1

    assert _refused(bytes(data)) == f"a frame of {len(data) - PREFIX} bytes fails its checksum"


# ── header ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", [0, 2, 255])
def test_frame_of_another_format_is_refused(version: int) -> None:
    why = _refused(_patched(PREFIX, bytes([version])))

    assert why == f"a frame of format {version}, this is 1: run a raftkit there that knows it"


@pytest.mark.parametrize(
    "scope, why",
    [
        (attrs.evolve(SCOPE, cluster=b"x" * 16), f"a frame of cluster {(b'x' * 16).hex()}, this"),
        (attrs.evolve(SCOPE, epoch=attrs.evolve(EPOCH, number=4)), "a frame of Epoch(number=4"),
        (attrs.evolve(SCOPE, epoch=attrs.evolve(EPOCH, nonce=4)), "a frame of Epoch(number=3"),
        (attrs.evolve(SCOPE, group=8), "a frame of group 8, this node is of 9"),
        (UNBORN, f"a frame of cluster {bytes(16).hex()}, this node is of {SCOPE.cluster.hex()}"),
    ],
    ids=["cluster", "epoch number", "epoch nonce", "group", "unborn"],
)
def test_frame_of_another_scope_is_refused_and_says_of_which(scope: Scope, why: str) -> None:
    assert _refused(encode_frame(attrs.evolve(FRAME, scope=scope))).startswith(why)


def test_scope_comes_before_the_message() -> None:
    data = encode_frame(attrs.evolve(FRAME, scope=UNBORN))
    spoiled = _framed(data[PREFIX:-1])  # the heartbeat is a byte too short

    assert _refused(spoiled).startswith("a frame of cluster")


@pytest.mark.parametrize("name", ["hello", "goodbye"])
def test_hello_and_goodbye_of_any_scope_are_read(name: str) -> None:
    foreign = attrs.evolve(FRAME, scope=UNBORN, body=MESSAGES[name])
    decoder = FrameDecoder(scope=SCOPE)
    decoder.receive_data(encode_frame(foreign))

    assert decoder.next_frame() == foreign


def test_scope_may_change_between_two_frames() -> None:
    decoder = FrameDecoder(scope=UNBORN)
    decoder.receive_data(encode_frame(attrs.evolve(FRAME, scope=UNBORN)) + encode_frame(FRAME))
    decoder.next_frame()

    decoder.scope = SCOPE

    assert decoder.next_frame() == FRAME


@pytest.mark.parametrize(
    "size, name",
    [
        (0, b"\xc3\xa4"),
        (1, b"\xc3\xa4"),  # half of a character
        (2, b"\xff\xff"),
        (2, b"\x00a"),
        (2, b"\x1b["),
        (0xFFFF, b"\xc3\xa4"),
    ],
)
def test_sender_without_a_proper_name_is_refused(size: int, name: bytes) -> None:
    why = _refused(_patched(NAME_AT - 2, size.to_bytes(2, "big") + name))

    assert why.startswith("a sender without a proper name")


def test_name_of_the_largest_size_is_read() -> None:
    frame = attrs.evolve(FRAME, sender=attrs.evolve(SENDER, id="𝕒" * 64))  # 256 bytes
    decoder = FrameDecoder(scope=SCOPE)
    decoder.receive_data(encode_frame(frame))

    assert decoder.next_frame() == frame


def test_frame_without_a_message_is_refused() -> None:
    content = bytearray(encode_frame(FRAME)[PREFIX:])
    content[-28:] = b"name"  # in place of name and message …
    content[45:47] = (4).to_bytes(2, "big")  # … up to the end of the frame

    assert _refused(_framed(bytes(content))) == "a message of 0 bytes"


def test_message_of_a_newer_sender_is_read_once_announced() -> None:
    data = _framed(
        _patched(NAME_AT + 2, bytes([FORMAT + 1]))[PREFIX:] + b"what only the newer one knows"
    )
    decoder = FrameDecoder(scope=SCOPE, sender_format=FORMAT + 1)
    decoder.receive_data(data)

    assert decoder.next_frame() == FRAME
    assert _refused(data) == "a message of version 2, from 1 to 1 was agreed"


# ── a decoder that failed ────────────────────────────────────────────────────────────────────────


def test_decoder_that_failed_stays_failed() -> None:
    decoder = FrameDecoder(scope=SCOPE)
    decoder.receive_data(_patched(PREFIX, b"\x02") + encode_frame(FRAME))
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="a frame of format 2"):
            decoder.next_frame()
        decoder.receive_data(encode_frame(FRAME))
    with pytest.raises(RemoteProtocolError, match="a frame of format 2"):
        decoder.receive_eof()


def test_decoder_that_failed_holds_nothing_and_takes_nothing_more() -> None:
    megabyte = bytes(1024 * 1024)
    decoder = FrameDecoder(scope=SCOPE)
    tracemalloc.start()
    decoder.receive_data(_patched(PREFIX, b"\x02") + megabyte)
    with pytest.raises(RemoteProtocolError):
        decoder.next_frame()
    decoder.receive_data(megabyte)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert held < 100_000


def test_frame_takes_runs_encoded_before() -> None:
    made = {id(run): encode_run(run) for run in (COMMANDS,)}

    def known(run: Run) -> bytes:
        return made[id(run)]

    body = AppendEntries(
        term=Term(6),
        prev_index=Index(41),
        prev_term=Term(4),
        commit_index=Index(0),
        runs=(COMMANDS,),
    )
    frame = attrs.evolve(FRAME, body=body)

    assert encode_frame(frame, encode_run=known) == encode_frame(frame)


def test_other_epoch_is_shown_whole() -> None:
    scope = attrs.evolve(SCOPE, epoch=Epoch(number=5, nonce=6))

    assert _refused(encode_frame(attrs.evolve(FRAME, scope=scope))) == (
        f"a frame of Epoch(number=5, nonce=6), this node is of {EPOCH}"
    )
