from __future__ import annotations

from enum import Enum, Flag, IntEnum
from typing import Annotated, Any, Literal, NewType

import attrs
import pytest
from hypothesis import given, strategies as st

from raftkit import encoding
from raftkit.errors import LocalProtocolError, NotYetEnabled
from raftkit.statemachine import since
from raftkit.statemachine.annotations import DEPTH_MAX, codec_of
from raftkit.statemachine.values import Refused

Name = NewType("Name", str)


class Colour(Enum):
    RED = 1
    GREEN = "g"


class Level(IntEnum):
    LOW = 1


class Bits(Flag):
    A = 1


@attrs.frozen
class Point:
    x: int
    y: float = 0.0
    names: tuple[Name, ...] = ()


def _upper(text: str) -> str:
    return text.upper()


@attrs.frozen
class Odd:
    """Init aliases, converters and fields that no argument sets come back as they were."""

    _hidden: int
    upper: str = attrs.field(converter=_upper)
    length: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "length", len(self.upper))


@attrs.frozen
class Later:
    a: int
    b: str = attrs.field(default="", metadata=since(3))
    c: float = 0.0
    d: tuple[int, ...] = attrs.field(factory=tuple, metadata=since(2))


@attrs.frozen
class Tree:
    children: tuple[Tree, ...] = ()


@attrs.define
class Loose:
    x: int = 0


FIVE: Any = 5
INTS = st.integers(-(2**512) + 1, 2**512 - 1)
FLOATS = st.floats(allow_nan=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
POINTS = st.builds(Point, INTS, FLOATS, st.lists(TEXT, max_size=3).map(tuple))


def _same(a: object, b: object) -> bool:
    # By repr as well: 1 equals True and 1.0, -0.0 equals 0.0.
    return a == b and type(a) is type(b) and repr(a) == repr(b)


def _round_trip(annotation: Any, value: object) -> None:
    codec = codec_of(annotation, 1)
    data = encoding.dumps(codec.encode(value))

    found = codec.decode(encoding.loads(data))

    assert _same(found, value)
    assert encoding.dumps(codec.encode(found)) == data
    assert not isinstance(found, list | dict) or found is not value


@pytest.mark.parametrize(
    "annotation, values",
    [
        (None, st.none()),
        (bool, st.booleans()),
        (int, INTS),
        (float, FLOATS | INTS),
        (str, TEXT),
        (bytes, st.binary()),
        (list[int], st.lists(INTS)),
        (tuple[int, ...], st.lists(INTS).map(tuple)),
        (tuple[str, int, bool], st.tuples(TEXT, INTS, st.booleans())),
        (tuple[()], st.just(())),
        (dict[str, int], st.dictionaries(TEXT, INTS)),
        (dict[int, list[bytes]], st.dictionaries(INTS, st.lists(st.binary()))),
        (dict[Point, None], st.dictionaries(POINTS, st.none(), max_size=3)),
        (int | None, INTS | st.none()),
        (int | bool | str | bytes | None, INTS | st.booleans() | TEXT | st.binary() | st.none()),
        (int | float, INTS | FLOATS),
        (
            Point | Colour | list[int] | None,
            POINTS | st.sampled_from(Colour) | st.lists(INTS) | st.none(),
        ),
        (Colour, st.sampled_from(Colour)),
        (Level, st.sampled_from(Level)),
        (Literal["a", 1, True, None, b"x"], st.sampled_from(["a", 1, True, None, b"x"])),  # noqa: PYI061
        (Literal[2**100, -(2**80)], st.sampled_from([2**100, -(2**80)])),
        (Name, TEXT),
        (Annotated[int, "words"], INTS),
        (Point, POINTS),
        (Odd, st.builds(Odd, INTS, TEXT)),
    ],
    ids=str,
)
@given(data=st.data())
def test_a_value_comes_back_as_it_went_in(
    annotation: Any, values: Any, data: st.DataObject
) -> None:
    _round_trip(annotation, data.draw(values))


@pytest.mark.parametrize("size", [63, 64, 65, 511, 512])
@pytest.mark.parametrize("by", [-1, 0, 1])
@pytest.mark.parametrize("sign", [-1, 1])
def test_ints_at_every_bound(size: int, by: int, sign: int) -> None:
    value = sign * (2**size + by)
    if value.bit_length() > 512:
        with pytest.raises(Refused, match="expected int of at most 512 bits, got int of 513 bits"):
            codec_of(int, 1).encode(value)
    else:
        _round_trip(int, value)


def test_a_dict_keeps_its_order() -> None:
    codec = codec_of(dict[str, int], 1)

    assert list(codec.decode(codec.encode({"z": 1, "a": 2}))) == ["z", "a"]


@pytest.mark.parametrize(
    "annotation, value, line",
    [
        (int, "5", "expected int, got str '5'"),
        (int, True, "expected int, got bool True"),
        (int, 5.0, "expected int, got float 5.0"),
        (int, Level.LOW, "expected int, got Level <Level.LOW: 1>"),
        (int, 10**5000, "expected int of at most 512 bits, got int of 16610 bits"),
        (str, 10**5000, "expected str, got int of 16610 bits"),
        (bool, 1, "expected bool, got int 1"),
        (float, True, "expected float, got bool True"),
        (float, "x", "expected float, got str 'x'"),
        (float, float("nan"), "NaN"),
        (str, b"x", "expected str, got bytes b'x'"),
        (str, "a\ud800", "expected text, got a lone surrogate"),
        (bytes, bytearray(b"x"), "expected bytes, got bytearray"),
        (None, 0, "expected None, got int 0"),
        (list[int], (1,), r"expected list\[int\], got tuple \(1,\)"),
        (list[int], [1, "x"], r"\[1\]: expected int, got str 'x'"),
        (tuple[int, ...], [1], r"expected tuple\[int, \.\.\.\], got list"),
        (tuple[int, ...], (1, None), r"\[1\]: expected int, got None"),
        (tuple[int, str], (1,), r"expected tuple\[int, str\], got 1 items"),
        (tuple[int, str], (1, 2), r"\[1\]: expected str, got int 2"),
        (dict[str, int], {"a": "b"}, r"\['a'\]: expected int, got str 'b'"),
        (dict[str, int], {1: 1}, r"\[1\]: expected str, got int 1"),
        (int | str, 5.0, r"expected int \| str, got float 5\.0"),
        (int | None, "x", r"expected int \| None, got str 'x'"),
        (Colour, "RED", "expected Colour, got str 'RED'"),
        (Literal["a"], "b", "expected one of 'a', got str 'b'"),
        (Literal[1], True, "expected one of 1, got bool True"),
        (Literal["a"], [], "expected one of 'a', got list"),
        (Point, 5, "expected Point, got int 5"),
        (
            list[Point],
            [Point(1, 0.0, (Name("a"), FIVE))],
            r"\[0\]\.names\[1\]: expected str, got int 5",
        ),
    ],
    ids=range(30),
)
def test_what_is_not_as_annotated_is_refused_with_its_path(
    annotation: Any, value: object, line: str
) -> None:
    with pytest.raises(Refused, match=line):
        codec_of(annotation, 1).encode(value)


@pytest.mark.parametrize(
    "annotation, plain",
    [
        (int, "5"),
        (int, True),
        (int, b"\x05"),  # one number, one way to write it
        (int, (2**64).to_bytes(10, "big")),
        (int, (2**513).to_bytes(66, "big")),
        (int, (2**512).to_bytes(66, "big")),
        (float, float("nan")),
        (list[int], {}),
        (tuple[int, ...], ()),
        (dict[str, int], ["a"]),
        (dict[str, int], ["a", 1, "a", 2]),
        (dict[str, int], {"a": 1}),
        (int | str, 5),
        (int | str, ["float", 5.0]),
        (int | str, ["int", "5"]),
        (Colour, "BLUE"),
        (Colour, 1),
        (Literal["a"], "b"),
        (Literal["a"], b"xx"),
        (Point, [1]),
        (Point, [1, 0.0, [], 4]),
        (Point, None),
    ],
)
def test_bytes_that_encode_would_not_write_are_refused(annotation: Any, plain: object) -> None:
    with pytest.raises(Refused):
        codec_of(annotation, 1).decode(plain)


@pytest.mark.parametrize(
    "annotation, line",
    [
        (set[int], r"a set has another order in every process: use dict\[…, None\]"),
        (frozenset[int], "a frozenset has another order"),
        (set, "a set has another order"),
        (list, r"list of what\? Write list\[str\]"),
        (dict, r"dict of what\? Write dict\[str, int\]"),
        (object, "object has no codec"),
        (Any, "Any has no codec"),
        (complex, "complex has no codec"),
        (bytearray, "bytearray has no codec"),
        (Bits, "Bits has no codec"),
        (type[int], "type has no codec"),
        (dict[list[int], int], r"a key must be immutable: list\[int\]"),
        (list[int] | list[str], "can't be told apart"),
        (int | Literal[1], "can't be told apart"),  # noqa: PYI051
        (Literal[Colour.RED], "Literal of Colour .* has no codec"),
        (Loose, r"Loose must be @attrs\.frozen"),
        (Tree, r"children: Tree contains itself"),
    ],
)
def test_annotations_without_a_codec_are_refused_with_one_line(annotation: Any, line: str) -> None:
    with pytest.raises(Refused, match=line):
        codec_of(annotation, 1)


def test_depth_is_bounded_where_the_decoder_is() -> None:
    annotation: Any = int
    value: Any = 1
    for _ in range(DEPTH_MAX):
        annotation, value = list[annotation], [value]
    codec = codec_of(annotation, 1)

    # A command and a group of a snapshot wrap it in lists.
    assert encoding.loads(encoding.dumps(["name", codec.encode(value)])) == ["name", value]
    with pytest.raises(Refused, match="nested 15 deep, the limit is 14"):
        codec_of(list[annotation], 1)


# ── fields of later versions ─────────────────────────────────────────────────────────────────────────


def test_fields_are_written_by_version_and_older_values_are_prefixes() -> None:
    value = Later(1, "", 2.0)

    assert codec_of(Later, 1).encode(value) == [1, 2.0]
    assert codec_of(Later, 2).encode(value) == [1, 2.0, []]
    assert codec_of(Later, 3).encode(value) == [1, 2.0, [], ""]
    for version in 1, 2, 3:
        assert codec_of(Later, version).versions == {1, 2, 3}
        plains: list[Any] = [[1, 2.0], [1, 2.0, []], [1, 2.0, [], ""]]
        for plain in plains:
            assert codec_of(Later, version).decode(plain) == value
        for plain in ([1], [1, 2.0, [], "", 4]):
            with pytest.raises(Refused):
                codec_of(Later, version).decode(plain)


def test_a_later_field_off_its_default_waits_for_its_version() -> None:
    value = Later(1, d=(4,))

    with pytest.raises(
        NotYetEnabled, match=r"d = tuple \(4,\) needs version 2 of the machine, and version 1"
    ):
        codec_of(Later, 1).encode(value)
    assert codec_of(Later, 2).encode(value) == [1, 0.0, [4]]


@attrs.frozen
class Signed:
    zero: float = attrs.field(default=0.0, metadata=since(2))


def test_defaults_are_compared_as_they_are_written() -> None:
    codec = codec_of(Signed, 1)

    assert codec.encode(Signed(float("0"))) == []
    for other in -0.0, 0:
        with pytest.raises(NotYetEnabled):
            codec.encode(Signed(other))


def test_refused_is_internal() -> None:
    assert not issubclass(Refused, LocalProtocolError)
