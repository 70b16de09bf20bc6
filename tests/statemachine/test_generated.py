"""The functions that are written out for each command do what the codecs do, and nothing else."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal, NewType

import attrs
import pytest

from raftkit import encoding
from raftkit.errors import NotYetEnabled
from raftkit.statemachine.annotations import Field, codec_of, since
from raftkit.statemachine.generated import decoder, encoder, result_encoder
from raftkit.statemachine.values import Refused

Name = NewType("Name", str)


class Colour(Enum):
    RED = 1


class Count(int):
    """No int, where types are exact."""


@attrs.frozen
class Point:
    x: int
    y: int = 0


ANNOTATIONS: list[Any] = [
    None, bool, int, float, str, bytes, Name, Colour, Point, Literal["a", 1], Annotated[int, since(2)],
    int | None, float | None, str | None, Point | None, int | float, int | str, int | str | None,
    list[int], dict[str, int], tuple[int, str], tuple[int | None, ...],
]  # fmt: skip
VALUES: list[Any] = [
    None, False, True, -5, 0, 1, 5, 1 << 600, Count(3),
    (1 << 64) - 1, 1 << 64, -(1 << 64), -(1 << 64) - 1,
    0.0, -0.0, 1.5, 1e300, float("inf"), float("nan"),
    "", "a", "b", "é", "RED", "BLUE", "\udc80",
    b"", b"a", (1 << 64).to_bytes(9, "big"), (5).to_bytes(9, "big"), bytearray(b"a"),
    Colour.RED, Point(1), Point("x"),  # type: ignore[arg-type]
    [], [1, 2], [1, None], ["a", 1], ["int", 1], ["float", 1.5], ["str", "a"], (1, "a"), (1, None), {"a": 1},
]  # fmt: skip


def _outcome(function: Any, value: object) -> object:
    """What it returns, by its repr, which tells -0.0 from 0 and True from 1; or why it refuses."""
    try:
        return repr(function(value))
    except Refused as refused:
        return refused.why


@pytest.mark.parametrize("annotation", ANNOTATIONS, ids=str)
def test_what_is_generated_takes_and_refuses_what_the_codec_does(annotation: Any) -> None:
    codec = codec_of(annotation, 1)
    field = Field(name="it", codec=codec)
    encode, decode = encoder("go", [field], [0], 1), decoder([field], [0], 1)
    encode_result = result_encoder("go", codec)

    for value in VALUES:
        encoded = _outcome(lambda it: encoding.dumps(["go", codec.encode(it)]), value)
        assert _outcome(encode, (value,)) == encoded
        assert _outcome(encode_result, value) == encoded
        decoded = _outcome(lambda it: [codec.decode(it)], value)
        assert _outcome(decode, ["go", value]) == decoded


def test_what_is_refused_is_named() -> None:
    fields = [Field(name=name, codec=codec_of(int, 1)) for name in ("a", "b")]

    with pytest.raises(Refused, match=r"^b: expected int, got str 'x'$"):
        encoder("go", fields, [0, 1], 1)((1, "x"))
    with pytest.raises(Refused, match=r"^b: expected int, got str 'x'$"):
        decoder(fields, [0, 1], 2)(["go", 1, "x"])


def test_parameters_of_later_versions_are_left_out_and_filled_in() -> None:
    late = Field(name="b", codec=codec_of(int, 1), since=2, default=lambda: 7)
    fields, places = [Field(name="a", codec=codec_of(str, 1)), late], [1, 0]  # declared: b, a

    assert encoder("go", fields, places, 2)((8, "x")) == encoding.dumps(["go", "x", 8])
    assert encoder("go", fields, places, 1)((7, "x")) == encoding.dumps(["go", "x"])
    with pytest.raises(NotYetEnabled, match="b = int 8 needs version 2"):
        encoder("go", fields, places, 1)((8, "x"))
    assert decoder(fields, places, 2)(["go", "x", 8]) == [8, "x"]
    assert decoder(fields, places, 1)(["go", "x"]) == [7, "x"]


@pytest.mark.parametrize("count", [0, 1, 23, 24, 300])
def test_any_number_of_arguments_is_an_array_of_them(count: int) -> None:
    fields = [Field(name=f"p{number}", codec=codec_of(int, 1)) for number in range(count)]
    arguments = list(range(count))

    data = encoder("go", fields, arguments, 1)(arguments)

    assert data == encoding.dumps(["go", *arguments])
    assert decoder(fields, arguments, count)(["go", *arguments]) == arguments
