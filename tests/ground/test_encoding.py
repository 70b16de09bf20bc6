"""CBOR that could surprise is refused, and positions hold exactly the types that they must."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given, strategies as st

from raftkit import encoding
from raftkit.encoding import DEPTH_MAX, U64_MAX, MalformedError

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 64), U64_MAX)
    | st.floats(allow_nan=False)
    | st.binary()
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(PLAIN)
def test_plain_value_is_read_as_written(value: object) -> None:
    assert encoding.loads(encoding.dumps(value)) == value
    assert encoding.loads(memoryview(encoding.dumps(value))) == value


@given(st.binary(max_size=100))
def test_arbitrary_bytes_raise_no_other_error(data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        encoding.loads(data)


TAGS = (0, 1, 2, 3, 4, 5, 6, 24, 25, 28, 29, 30, 32, 35, 36, 37, 42, 100, 256, 258, 260, 261)
CONTENTS = {
    "number": b"\x01",
    "text": b"\x6a2020-01-01",
    "bytes": b"\x44\x01\x02\x03\x04",
    "array": b"\x82\x01\x02",
    "map": b"\xa0",
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("tag", [*TAGS, 1004, 43000, 55799, (1 << 64) - 1])
def test_tag_is_refused_whatever_it_holds(tag: int, content: bytes) -> None:
    head = b"\xdb" + tag.to_bytes(8, "big")

    with pytest.raises(MalformedError, match=r"semantic tag|tagged value"):
        encoding.loads(head + content)
    with pytest.raises(MalformedError, match=r"semantic tag|tagged value|not plain CBOR"):
        encoding.loads(b"\x81" + head + content)


def _nested(depth: int, opening: bytes) -> bytes:
    return opening * depth + b"\x00"


@pytest.mark.parametrize("opening", [b"\x81", b"\xa1\x00"], ids=["arrays", "maps"])
def test_depth_is_bounded(opening: bytes) -> None:
    encoding.loads(_nested(DEPTH_MAX, opening))
    for depth in (DEPTH_MAX + 1, 400, 200_000):
        with pytest.raises(MalformedError, match="nesting depth"):
            encoding.loads(_nested(depth, opening))


def test_depth_may_be_bounded_further() -> None:
    assert encoding.loads(b"\x82\x01\x02", depth_max=1) == [1, 2]
    with pytest.raises(MalformedError, match="nesting depth"):
        encoding.loads(b"\x81\x81\x01", depth_max=1)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x82\x01", id="cut off"),
        pytest.param(b"\xff", id="break"),
        pytest.param(b"\x1c", id="reserved"),
        pytest.param(b"\xf8\x00", id="simple value in two bytes"),
        pytest.param(b"\x9f\x01\xff", id="array without a length"),
        pytest.param(b"\xbf\x01\x01\xff", id="map without a length"),
        pytest.param(b"\x5f\x41\x00\xff", id="bytes without a length"),
        pytest.param(b"\x7f\x61a\xff", id="text without a length"),
        pytest.param(b"\xa2\x61a\x01\x61a\x02", id="a key twice"),
        pytest.param(b"\x61\xff", id="not UTF-8"),
        pytest.param(b"\x63\xed\xa0\x80", id="a surrogate"),
        *(
            pytest.param(
                bytes([head]) + size.to_bytes(8, "big"), id=f"{size:#x} items of {head >> 5}"
            )
            for head in (0x5B, 0x7B, 0x9B, 0xBB)
            for size in (1 << 40, 1 << 63, (1 << 64) - 1)
        ),
    ],
)
def test_what_is_no_whole_plain_value_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        encoding.loads(data)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 100_000])
def test_trailing_bytes_are_refused(size: int) -> None:
    data = encoding.dumps(bytes(size))

    assert encoding.loads(data) == bytes(size)
    with pytest.raises(MalformedError, match="2 bytes too many"):
        encoding.loads(data + b"\0\0")


def test_what_is_cut_off_is_not_completed_from_what_was_read_before() -> None:
    assert encoding.loads(b"\x82\x01\x02") == [1, 2]

    with pytest.raises(MalformedError, match="premature end"):
        encoding.loads(b"\x82\x01")


def test_number_beyond_64_bits_can_not_be_read() -> None:
    with pytest.raises(MalformedError):
        encoding.loads(encoding.dumps(1 << 64))


def test_nested_value_is_refused_without_remembering_references() -> None:
    shared = b"\xd8\x1c\x81\xd8\x1d\x00"  # an array that holds itself

    with pytest.raises(MalformedError):
        encoding.loads(shared)


# ── positions ────────────────────────────────────────────────────────────────────────────────────


def test_array_is_a_list_of_the_right_length() -> None:
    assert encoding.array([1, "x"]) == encoding.array([1, "x"], 2) == [1, "x"]
    for wrong in (None, "ab", b"ab", {}, {1: 2}, (1, 2), 2):
        with pytest.raises(MalformedError, match="not an array"):
            encoding.array(wrong, 2)
    for positions in ([], [1], [1, 2, 3]):
        with pytest.raises(MalformedError, match=f"{len(positions)} positions where 2 belong"):
            encoding.array(positions, 2)


def test_number_is_an_int_within_bounds() -> None:
    assert encoding.unsigned(0) == 0
    assert encoding.unsigned(U64_MAX) == U64_MAX
    assert encoding.unsigned(5, lowest=5, highest=5) == 5
    for wrong in (True, False, 1.0, "1", b"1", None, -1, U64_MAX + 1, math.nan):
        with pytest.raises(MalformedError, match="not a number from 0 to"):
            encoding.unsigned(wrong)
    for outside in (4, 7):
        with pytest.raises(MalformedError, match="not a number from 5 to 6"):
            encoding.unsigned(outside, lowest=5, highest=6)


def test_undefined_and_simple_values_are_no_number() -> None:
    for data in (b"\xf7", b"\xe0", b"\xf8\x20", b"\xf9\x7e\x00"):
        with pytest.raises(MalformedError, match="not a number"):
            encoding.unsigned(encoding.loads(data))


def test_octets_are_bytes_of_the_right_length() -> None:
    assert encoding.octets(b"ab") == encoding.octets(b"ab", 2) == b"ab"
    for wrong in ("ab", [1, 2], None, bytearray(b"ab")):
        with pytest.raises(MalformedError, match="not  bytes"):
            encoding.octets(wrong)
    for size in (1, 3):
        with pytest.raises(MalformedError, match="not 2 bytes"):
            encoding.octets(bytes(size), 2)


def test_text_is_printable_and_bounded() -> None:
    assert encoding.printable("", length_max=0) == ""
    assert encoding.printable("ä b𝕒", length_max=4) == "ä b𝕒"
    for wrong in ("abcde", b"ab", None, "a\n", "\0", "\u202e", "\x1b", "\u2028"):
        with pytest.raises(MalformedError, match="not a printable text of up to 4"):
            encoding.printable(wrong, length_max=4)


def test_message_shows_the_value_but_not_all_of_it() -> None:
    with pytest.raises(MalformedError) as caught:
        encoding.unsigned("x" * 1000)

    assert len(str(caught.value)) < 200
