"""Whom to believe: every refusal has its reason and its turn, and strangers leave no trace."""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from raftkit.encoding import U64_MAX
from raftkit.errors import LocalProtocolError
from raftkit.transports.multicast.aead import aes_256_gcm
from raftkit.wire import (
    CONTROL_STREAM,
    DATAGRAM_BYTES_MAX,
    HEAD_BYTES,
    HMAC,
    SEAL_BYTES,
    Chunk,
    ClusterKeys,
    Datagram,
    DatagramKind,
    Lane,
    Opener,
    Refused,
    Scheme,
    Sealer,
    cluster_tag,
    encode_chunk,
)
from raftkit.wire.datagram import NUMBERS_END

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden" / "datagram-1.txt"

KEY = bytes(range(32))
TAG = cluster_tag("orders")
START = 0x0123456789ABCDEF
OWN = 0xFEDCBA9876543210
KEYS = ClusterKeys(ring={7: KEY}, sealing=7)
CHUNK = Chunk(lane=Lane.ENTRIES, i=1, n=3, targets=0b101, data=b"part of a message")
SCHEMES = {
    "hmac": KEYS,
    "aead": ClusterKeys(ring={7: KEY}, sealing=7, scheme=aes_256_gcm()),
    "none": ClusterKeys.unsealed(unsafe=True),
}


def _sealer(start: int = START, keys: ClusterKeys = KEYS) -> Sealer:
    return Sealer(cluster=TAG, keys=keys, start=start)


def _opener(keys: ClusterKeys = KEYS, **more: int) -> Opener:
    return Opener(cluster=TAG, keys=keys, own=OWN, **more)


def _hello(start: int = START, keys: ClusterKeys = KEYS) -> bytes:
    return _sealer(start, keys).control.seal(DatagramKind.HELLO, b"I am")


# ── what members say ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("keys", SCHEMES.values(), ids=SCHEMES.keys())
def test_what_a_member_sealed_is_opened(keys: ClusterKeys) -> None:
    sealer, opener = _sealer(keys=keys), _opener(keys)
    stream = sealer.open_stream()

    found = [
        opener.open(data)
        for data in (
            sealer.control.seal(DatagramKind.HELLO, b"I am"),
            stream.seal(DatagramKind.CHUNK, b"one"),
            stream.seal(DatagramKind.CHUNK, b""),
            sealer.control.seal(DatagramKind.BYE, b""),
        )
    ]

    hello, bye, chunk = DatagramKind.HELLO, DatagramKind.BYE, DatagramKind.CHUNK
    assert found == [
        Datagram(start=START, stream=CONTROL_STREAM, number=0, kind=hello, body=b"I am"),
        Datagram(start=START, stream=1, number=0, kind=chunk, body=b"one"),
        Datagram(start=START, stream=1, number=1, kind=chunk, body=b""),
        Datagram(start=START, stream=CONTROL_STREAM, number=1, kind=bye, body=b""),
    ]


def test_a_sender_gives_no_number_twice() -> None:
    """A nonce that is used twice gives the key of AES-GCM away."""
    sealer = _sealer()
    streams = [sealer.control, sealer.open_stream(), sealer.open_stream()]

    heads = [it.seal(DatagramKind.PING, b"")[:HEAD_BYTES] for it in streams for _ in range(5)]

    assert len({head[-12:] for head in heads}) == 15
    assert [it.number for it in streams] == [0, 1, 2]
    assert [it.head for it in streams] == [5, 5, 5]


def test_a_stream_ends_before_its_numbers_repeat() -> None:
    stream = _sealer().open_stream()
    stream.head = NUMBERS_END - 1

    found = _opener().open(stream.seal(DatagramKind.CHUNK, b"the last"))

    assert isinstance(found, Datagram)
    assert found.number == U64_MAX - 1
    for _ in range(2):
        with pytest.raises(
            LocalProtocolError, match="stream 1 has used up its numbers: open another"
        ):
            stream.seal(DatagramKind.CHUNK, b"one more")


def test_an_endpoint_ends_before_its_streams_repeat() -> None:
    sealer = _sealer()
    sealer._next_stream = (1 << 32) - 1

    assert sealer.open_stream().number == (1 << 32) - 1
    with pytest.raises(LocalProtocolError, match="open another endpoint"):
        sealer.open_stream()


def test_clusters_have_tags_of_their_own() -> None:
    assert len(TAG) == 8
    assert cluster_tag("orders") == TAG != cluster_tag("order")


# ── whom not to believe ──────────────────────────────────────────────────────────────────────────

# Each makes a datagram that nothing before it refuses. Sealed as the head says, where a seal is right.
FAULTS: dict[Refused, dict[str, Any]] = {
    Refused.MAGIC: {"magic": b"KR"},
    Refused.FORMAT: {"form": 0x21},
    Refused.SCHEME: {"form": 0x12},
    Refused.CLUSTER: {"tag": cluster_tag("invoices")},
    Refused.OWN: {"start": OWN},
    Refused.NUMBER: {"number": U64_MAX},
    Refused.KEY: {"key_id": 8},
    Refused.SEAL: {"spoil": True},
    Refused.KIND: {"kind": DatagramKind.CHUNK},
}


def _made(
    *,
    magic: bytes = b"RK",
    form: int = 0x11,
    key_id: int = 7,
    tag: bytes = TAG,
    start: int = START,
    stream: int = CONTROL_STREAM,
    number: int = 5,
    kind: int = DatagramKind.HELLO,
    spoil: bool = False,
) -> bytes:
    """A datagram made by hand, under the key that belongs to it."""
    head = struct.pack(">2sBB8sQIQ", magic, form, key_id, tag, start, stream, number)
    keys = ClusterKeys(ring={key_id: KEY}, sealing=key_id)
    data = keys.seal_of(key_id, start).seal(head, bytes([kind]) + b"I am")
    return data[:-1] + bytes([data[-1] ^ spoil])


def test_a_datagram_made_by_hand_is_opened() -> None:
    found = _opener().open(_made())

    assert found == Datagram(
        start=START, stream=CONTROL_STREAM, number=5, kind=DatagramKind.HELLO, body=b"I am"
    )


@pytest.mark.parametrize("refused", FAULTS, ids=lambda it: it.name)
def test_each_fault_has_its_own_refusal(refused: Refused) -> None:
    assert _opener().open(_made(**FAULTS[refused])) is refused


def test_of_many_faults_the_first_in_order_is_told() -> None:
    """So that what is cheap to see costs little, and nothing is decoded before its seal was tried."""
    order = [it for it in Refused if it in FAULTS]
    assert order == list(FAULTS)

    for position, refused in enumerate(order):
        later = {name: value for it in order[position:] for name, value in FAULTS[it].items()}

        assert _opener().open(_made(**{**later, **FAULTS[refused]})) is refused


@pytest.mark.parametrize("keys", SCHEMES.values(), ids=SCHEMES.keys())
def test_a_datagram_of_any_size_but_a_right_one_is_refused(keys: ClusterKeys) -> None:
    least = HEAD_BYTES + keys.scheme.seal_bytes + 1
    control, opener = _sealer(keys=keys).control, _opener(keys)
    largest = control.seal(DatagramKind.HELLO, bytes(DATAGRAM_BYTES_MAX - least))

    assert len(largest) == DATAGRAM_BYTES_MAX
    assert isinstance(opener.open(largest), Datagram)
    assert opener.open(control.seal(DatagramKind.HELLO, bytes(DATAGRAM_BYTES_MAX - least + 1))) is (
        Refused.LONG
    )
    for size in range(least):
        assert opener.open(largest[:size]) is Refused.SHORT


@pytest.mark.parametrize("code", [0, 12, 31, 33, 255])
def test_a_kind_that_nobody_knows_is_refused(code: int) -> None:
    assert _opener().open(_made(kind=code)) is Refused.KIND
    assert _opener().open(_made(kind=code, stream=1)) is Refused.KIND


@pytest.mark.parametrize("kind", DatagramKind, ids=lambda it: it.name)
def test_chunks_have_streams_and_nothing_else_has(kind: DatagramKind) -> None:
    is_chunk = kind is DatagramKind.CHUNK

    assert isinstance(_opener().open(_made(kind=kind)), Datagram) is not is_chunk
    assert isinstance(_opener().open(_made(kind=kind, stream=1)), Datagram) is is_chunk


@pytest.mark.parametrize("theirs", SCHEMES)
@pytest.mark.parametrize("ours", SCHEMES)
def test_nodes_that_seal_in_different_ways_say_so(theirs: str, ours: str) -> None:
    """Nobody can be talked into believing what is not sealed."""
    data = _sealer(keys=SCHEMES[theirs]).control.seal(DatagramKind.HELLO, bytes(40))

    found = _opener(SCHEMES[ours]).open(data)

    if theirs == ours:
        assert isinstance(found, Datagram)
    else:
        assert found is Refused.SCHEME


def test_who_has_another_key_of_the_same_id_is_not_believed() -> None:
    stranger = ClusterKeys(ring={7: bytes(32)}, sealing=7)

    assert _opener().open(_hello(keys=stranger)) is Refused.SEAL


def test_a_datagram_cannot_be_said_to_be_of_another_start() -> None:
    data = bytearray(_hello())
    data[12:20] = struct.pack(">Q", START + 1)

    assert _opener().open(bytes(data)) is Refused.SEAL


# ── changing the key ─────────────────────────────────────────────────────────────────────────────


def test_while_the_key_is_changed_what_either_key_sealed_is_believed() -> None:
    """In three rounds of restarts: all know both; all seal with the new one; all forget the old one."""
    old, new = KEY, bytes(reversed(KEY))
    rounds = [
        ClusterKeys(ring={1: old}, sealing=1),
        ClusterKeys(ring={1: old, 2: new}, sealing=1),
        ClusterKeys(ring={1: old, 2: new}, sealing=2),
        ClusterKeys(ring={2: new}, sealing=2),
    ]

    for before, after in pairwise(rounds):
        assert isinstance(_opener(before).open(_hello(keys=after)), Datagram)
        assert isinstance(_opener(after).open(_hello(keys=before)), Datagram)
    assert _opener(rounds[3]).open(_hello(keys=rounds[0])) is Refused.KEY
    assert _opener(rounds[3]).open(_hello(keys=rounds[1])) is Refused.KEY


# ── what is kept ─────────────────────────────────────────────────────────────────────────────────


def test_strangers_leave_no_trace() -> None:
    """Else who sends a thousand forged starts drives out the keys of those who are here."""
    opener = _opener(starts_max=4)
    opener.open(_hello())
    known = list(opener._seals)

    for start in range(1000):
        assert opener.open(_made(start=start, spoil=True)) is Refused.SEAL

    assert list(opener._seals) == known == [(7, START)]


def test_the_keys_of_those_who_spoke_last_are_kept() -> None:
    opener = _opener(starts_max=4)

    for start in range(10):
        assert isinstance(opener.open(_hello(start)), Datagram)
        assert isinstance(opener.open(_hello(99)), Datagram)

    assert [start for _, start in opener._seals] == [7, 8, 9, 99]
    assert isinstance(opener.open(_hello(0)), Datagram)


# ── whatever arrives ─────────────────────────────────────────────────────────────────────────────


def _reopened(data: bytes, keys: ClusterKeys) -> Datagram | Refused:
    """What is believed was made by a member who numbered it as it is."""
    found = _opener(keys).open(data)
    if isinstance(found, Datagram):
        sealer = _sealer(found.start, keys)
        sealer._next_stream = found.stream
        stream = sealer.open_stream()
        stream.head = found.number
        assert stream.seal(found.kind, found.body) == data
    return found


@pytest.mark.parametrize("keys", SCHEMES.values(), ids=SCHEMES.keys())
@given(data=st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(keys: ClusterKeys, data: bytes) -> None:
    assert isinstance(_opener(keys).open(data), Refused)


@pytest.mark.parametrize("scheme", ["hmac", "aead"])
@given(rest=st.binary(max_size=200))
def test_arbitrary_bytes_behind_a_right_head_are_refused(scheme: str, rest: bytes) -> None:
    head = _hello(keys=SCHEMES[scheme])[:HEAD_BYTES]

    assert _opener(SCHEMES[scheme]).open(head + rest) in (Refused.SHORT, Refused.SEAL)


@pytest.mark.parametrize("scheme", ["hmac", "aead"])
@settings(max_examples=300)
@given(at=st.integers(0, 71), change=st.integers(1, 255), cut=st.integers(0, 72))
def test_a_changed_or_cut_datagram_is_refused(scheme: str, at: int, change: int, cut: int) -> None:
    whole = _sealer(keys=SCHEMES[scheme]).control.seal(DatagramKind.HELLO, bytes(23))
    assert len(whole) == 72
    spoiled = bytearray(whole)
    spoiled[at] ^= change

    assert isinstance(_opener(SCHEMES[scheme]).open(bytes(spoiled)), Refused)
    assert isinstance(_opener(SCHEMES[scheme]).open(bytes(spoiled[:cut])), Refused)


@given(at=st.integers(0, 71), change=st.integers(0, 255), cut=st.integers(0, 72))
def test_without_seals_a_changed_datagram_is_refused_or_well_formed(
    at: int, change: int, cut: int
) -> None:
    spoiled = bytearray(_sealer(keys=SCHEMES["none"]).control.seal(DatagramKind.HELLO, bytes(39)))
    spoiled[at] ^= change

    _reopened(bytes(spoiled), SCHEMES["none"])
    _reopened(bytes(spoiled[:cut]), SCHEMES["none"])


# ── byte for byte ────────────────────────────────────────────────────────────────────────────────


def _examples() -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name, keys in SCHEMES.items():
        sealer = _sealer(keys=keys)
        stream = sealer.open_stream()
        stream.head = 0x42
        found[f"hello, {name}"] = sealer.control.seal(DatagramKind.HELLO, b"I am")
        found[f"chunk, {name}"] = stream.seal(DatagramKind.CHUNK, encode_chunk(CHUNK))
    return found


def _read_golden() -> dict[str, bytes]:
    _, *paragraphs = GOLDEN.read_text(encoding="utf-8").split("\n\n")
    parts = (paragraph.partition(":\n") for paragraph in paragraphs)
    return {name: bytes.fromhex(hexadecimal) for name, _, hexadecimal in parts}


def test_datagrams_have_their_golden_bytes() -> None:
    """Format 1: a line in `golden/` is never edited, another form is another format."""
    assert _examples() == _read_golden()


def test_worked_example_in_the_documentation_is_the_golden_chunk() -> None:
    text = (ROOT / "docs" / "wire-format.md").read_text(encoding="utf-8").split("## Datagrams")[1]
    shown = "".join(line.partition("  ")[0] for line in text.splitlines() if line.startswith("0x"))

    assert bytes.fromhex(shown.replace("0x", "").replace(" ", "")) == _read_golden()["chunk, hmac"]


def test_seals_have_the_size_that_their_scheme_says() -> None:
    schemes: list[Scheme] = [keys.scheme for keys in SCHEMES.values()]

    assert [it.seal_bytes for it in schemes] == [SEAL_BYTES, SEAL_BYTES, 0]
    assert [it.code for it in schemes] == [HMAC.code, 2, 0]
    for keys in SCHEMES.values():
        assert len(_hello(keys=keys)) == HEAD_BYTES + 1 + 4 + keys.scheme.seal_bytes
