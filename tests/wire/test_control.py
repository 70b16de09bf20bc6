"""What endpoints tell each other on stream 0: round trips, golden bytes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from raftkit.encoding import MalformedError
from raftkit.model import Identity
from raftkit.wire import DatagramKind
from raftkit.wire.control import (
    NEVER,
    NOT_INVITED,
    RANGES_MAX,
    WHY_MAX,
    Accept,
    Bye,
    Card,
    Confirm,
    Control,
    Ends,
    Gone,
    Head,
    Hello,
    Nack,
    Open,
    Ping,
    Positions,
    Status,
    Taken,
    decode_control,
    encode_control,
    packed,
)

CARD = Card(identity=Identity(id="née", incarnation=1 << 63), settings=b"settings")
ENDS = Ends(to=0x0123456789ABCDEF, mine=3, yours=5)
STATUS = Status(
    ends=ENDS,
    stamp=1_000_001,
    echo=999_999,
    held_us=250_000,
    silence_ms=NEVER,
    overruns=7,
    invitation=NOT_INVITED,
    bit=63,
    since=Positions(control=1, data=2),
    accepted=4,
    group=Positions(control=10, data=20),
    link=Positions(control=30, data=1 << 40),
)
BODIES: dict[str, Control] = {
    "hello": Hello(card=CARD, address="node.example:7400"),
    "open": Open(card=CARD, wanted="b", link=3, nonce=b"sixteen bytes it"),
    "accept": Accept(ends=ENDS, card=CARD, echo=b"sixteen bytes it", nonce=b"sixteen bytes of"),
    "confirm": Confirm(ends=ENDS, echo=b"sixteen bytes of"),
    "status": STATUS,
    "ping": Ping(ends=ENDS),
    "head": Head(stream=1, head=77),
    "nack": Nack(to=9, stream=2, ranges=((0, 1), (5, 65_540))),
    "gone": Gone(to=9, stream=4, ranges=((3, 4),)),
    "bye": Bye(ends=ENDS, why="closed the endpoint"),
    "taken": Taken(to=9, stream=4, head=2**40),
}
GOLDEN = Path(__file__).parent / "golden" / "control-1.txt"


def _written() -> str:
    lines = (
        f"{name}:\n{kind.value:02x} {data.hex()}\n"
        for name, (kind, data) in ((name, encode_control(it)) for name, it in BODIES.items())
    )
    return "Bodies of control datagrams, format 1: the kind, then the body.\n\n" + "\n".join(lines)


def test_bodies_have_their_golden_bytes() -> None:
    assert GOLDEN.read_text(encoding="utf-8") == _written()


def test_every_kind_but_a_chunk_has_a_body_here() -> None:
    assert {encode_control(it)[0] for it in BODIES.values()} == {*DatagramKind} - {
        DatagramKind.CHUNK
    }


@pytest.mark.parametrize("name", BODIES)
def test_body_comes_back_as_it_was(name: str) -> None:
    assert decode_control(*encode_control(BODIES[name])) == BODIES[name]


@pytest.mark.parametrize("name", BODIES)
def test_body_of_another_length_is_refused(name: str) -> None:
    kind, data = encode_control(BODIES[name])
    for end in range(len(data)):
        with pytest.raises(MalformedError):
            decode_control(kind, data[:end])
    with pytest.raises(MalformedError, match="1 bytes too many"):
        decode_control(kind, data + b"\0")


@given(st.sampled_from(DatagramKind), st.binary(max_size=300))
def test_garbage_is_refused_or_written_as_it_was(kind: DatagramKind, data: bytes) -> None:
    """One value has one form, but for the padding of an OPEN, which says nothing."""
    try:
        body = decode_control(kind, data)
    except MalformedError:
        return

    again = encode_control(body)
    assert again == (kind, data) or kind is DatagramKind.OPEN
    assert decode_control(*again) == body


def changed(name: str, at: int, to: bytes) -> tuple[DatagramKind, bytes]:
    """The body of that name with other bytes from `at` on."""
    kind, data = encode_control(BODIES[name])
    return kind, data[:at] + to + data[at + len(to) :]


@pytest.mark.parametrize(
    "body, why",
    [
        ((DatagramKind.CHUNK, b"anything"), "where control belongs"),
        (changed("hello", 16, b"\0\0"), "a node without a name"),
        (changed("hello", 18, b"\xff"), "not UTF-8"),
        (changed("hello", 18, b"\n"), "not a printable text"),
        (changed("open", 0, (2).to_bytes(4, "big")), "number 2 where one from 3"),
        (changed("accept", 8, (0).to_bytes(4, "big")), "number 0 where one from 3"),
        (changed("confirm", 12, (1).to_bytes(4, "big")), "number 1 where one from 3"),
        (changed("status", 16, bytes(8)), "number 0 where one from 1"),
        (changed("status", 48, b"\x40"), "bit 64 of 64"),
        (changed("head", 0, bytes(4)), "number 0 where one from 1"),
        (changed("nack", 8, bytes(4)), "number 0 where one from 1"),
        (changed("nack", 12, b"\0"), "0 ranges"),
        (changed("nack", 12, bytes([RANGES_MAX + 1])), f"{RANGES_MAX + 1} ranges"),
        (changed("nack", 21, bytes(2)), "do not ascend"),
        (changed("nack", 23, (0).to_bytes(8, "big")), "do not ascend"),
        (changed("bye", 18, b"\x07"), "not a printable text"),
    ],
)
def test_what_is_out_of_bounds_is_refused(body: tuple[DatagramKind, bytes], why: str) -> None:
    with pytest.raises(MalformedError, match=why):
        decode_control(*body)


def test_long_reason_is_cut() -> None:
    body = decode_control(*encode_control(Bye(ends=ENDS, why="é" * 1000)))

    assert body == Bye(ends=ENDS, why="é" * WHY_MAX)


def test_no_accept_is_longer_than_the_open_that_it_answers() -> None:
    """Whatever the names: the asker's may be short, but it says the answerer's."""
    for asker, answerer in (("a", "é" * 64), ("é" * 64, "b"), ("a", "b")):
        mine = Card(identity=Identity(id=asker, incarnation=1), settings=bytes(8))
        yours = Card(identity=Identity(id=answerer, incarnation=1), settings=bytes(8))
        _, opened = encode_control(Open(card=mine, wanted=answerer, link=3, nonce=bytes(16)))
        answer = Accept(ends=ENDS, card=yours, echo=bytes(16), nonce=bytes(16))
        _, accepted = encode_control(answer)

        assert len(accepted) <= len(opened)


def test_denial_is_no_longer_than_what_it_answers() -> None:
    _, denial = encode_control(Bye(ends=ENDS, why="no such link"))

    assert len(denial) <= len(encode_control(BODIES["confirm"])[1])
    assert len(denial) <= len(encode_control(STATUS)[1])


def test_most_ranges_fit_into_the_smallest_datagram_that_is_the_default() -> None:
    ranges = tuple((n, n + 1) for n in range(0, 2 * RANGES_MAX, 2))
    _, data = encode_control(Nack(to=1, stream=1, ranges=ranges))

    assert len(data) < 1100


def test_ranges_are_packed() -> None:
    """What touches is one range, unless it gets too long; no body has too many."""
    assert list(packed([])) == []
    assert list(packed([(0, 1), (1, 3), (4, 5)])) == [((0, 3), (4, 5))]
    assert list(packed([(0, 65_535), (65_535, 65_536)])) == [((0, 65_535), (65_535, 65_536))]
    many = [(n, n + 1) for n in range(0, 2 * RANGES_MAX + 10, 2)]
    assert [len(it) for it in packed(many)] == [RANGES_MAX, 5]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 40_000)), max_size=300))
def test_packed_ranges_say_the_same(steps: list[tuple[int, int]]) -> None:
    ranges, at = [], 0
    for gap, length in steps:
        ranges.append((at + gap, at + gap + length))
        at += gap + length

    bodies = list(packed(ranges))
    for it in bodies:
        body = Gone(to=1, stream=1, ranges=it)
        assert decode_control(*encode_control(body)) == body

    def edges(parts: list[tuple[int, int]]) -> list[int]:
        """Where it changes between in and out."""
        found: list[int] = []
        for part in parts:
            found = [*found[:-1], part[1]] if found and found[-1] == part[0] else [*found, *part]
        return found

    assert edges([part for body in bodies for part in body]) == edges(ranges)
