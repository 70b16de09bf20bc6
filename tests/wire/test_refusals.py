"""A message that is not well formed never exists: each rule, and both sides of each bound."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import attrs
import pytest

from raftkit import encoding
from raftkit.config import PRIORITY_MIN
from raftkit.driver_messages import (
    DriverMessage,
    Forward,
    ForwardAccepted,
    ForwardRefused,
    Hello,
    Membership,
)
from raftkit.encoding import U63_MAX, U64_MAX
from raftkit.errors import RemoteProtocolError
from raftkit.membership import MEMBERS_MAX
from raftkit.messages import (
    AppendAccepted,
    AppendRejected,
    Heartbeat,
    HeartbeatReply,
    Message,
    PreVoteReply,
    PreVoteRequest,
    ReadReply,
    ReadRequest,
    Refusal,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from raftkit.model import Index, Kind, Run, Term
from raftkit.wire import FORMAT, Limits, Tag, decode_message, encode_message, encode_run
from tests.wire.examples import COMMANDS, CONFIGURATION, FOUNDING, HELLO, MESSAGES, MIXED, reason_of

LIMITS = Limits(
    control_bytes_max=2000, entries_max=10, entry_bytes_max=500, snapshot_bytes_max=10_000
)
OVER = U63_MAX + 1
IN_CBOR = (
    Tag.HELLO,
    Tag.GOODBYE,
    Tag.PRESENCE,
    Tag.RANKED_PRESENCE,
    Tag.FORWARD_REFUSED,
    Tag.CHANGE_REFERRAL,
    Tag.TRANSFER_REFERRAL,
    Tag.CHANGE_MADE,
    Tag.LEADERSHIP_MOVED,
    Tag.REFERRAL_FAILED,
)


def _decode(data: bytes) -> Message | DriverMessage:
    return decode_message(data, limits=LIMITS)


def _packed(layout: str, *values: int) -> bytes:
    return struct.pack(">BB" + layout, FORMAT, *values)


# ── version and tag ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "data, why",
    [
        (b"", "a message of 0 bytes"),
        (b"\x01", "a message of 1 bytes"),
        (b"\x00\x08", "a message of version 0, from 1 to 1 was agreed"),
        (b"\x02\x08", "a message of version 2, from 1 to 1 was agreed"),
        (b"\x01\x00", "a message of tag 0: none that this node knows"),
        (b"\x01\xff", "a message of tag 255: none that this node knows"),
    ],
    ids=reason_of,
)
def test_unknown_message_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        _decode(data)


@pytest.mark.parametrize("name", MESSAGES)
def test_what_a_newer_sender_added_is_ignored(name: str) -> None:
    message = MESSAGES[name]
    data = encode_message(message)
    if data[1] in IN_CBOR:  # one more position in their array
        positions = encoding.array(encoding.loads(data[2:]))
        data = data[:2] + encoding.dumps([*positions, "new"])
    else:
        data += b"new"
    newer = bytes([FORMAT + 1]) + data[1:]

    assert decode_message(newer, limits=Limits(), sender_format=FORMAT + 1) == message
    refusal = "of version 2, from 1 to 1 was agreed|from version 2 on, this node up to 1"
    with pytest.raises(RemoteProtocolError, match=refusal):
        decode_message(newer, limits=Limits())
    with pytest.raises(RemoteProtocolError, match=r"too many|where \d+ belong"):
        decode_message(data, limits=Limits(), sender_format=FORMAT + 1)


@pytest.mark.parametrize("name", MESSAGES)
def test_newer_sender_may_not_leave_anything_out(name: str) -> None:
    data = bytes([FORMAT + 1]) + encode_message(MESSAGES[name])[1:-1]

    with pytest.raises(RemoteProtocolError):
        decode_message(data, limits=Limits(), sender_format=FORMAT + 1)


# ── packed messages ──────────────────────────────────────────────────────────────────────────────

BOUNDARIES: list[Message | DriverMessage] = [
    PreVoteRequest(term=Term(1), last_index=Index(0), last_term=Term(0)),
    PreVoteRequest(term=Term(U63_MAX), last_index=Index(U63_MAX), last_term=Term(U63_MAX - 1)),
    VoteRequest(term=Term(1), last_index=Index(0), last_term=Term(0)),
    PreVoteReply(term=Term(0), granted=False),
    PreVoteReply(term=Term(1), granted=True),
    VoteReply(term=Term(0), granted=False),
    VoteReply(term=Term(U63_MAX), granted=False),
    AppendAccepted(term=Term(1), index=Index(0)),
    AppendAccepted(term=Term(U63_MAX), index=Index(U63_MAX)),
    AppendRejected(term=Term(1), prev_index=Index(1), hint_index=Index(0), hint_term=Term(0)),
    AppendRejected(term=Term(2), prev_index=Index(5), hint_index=Index(5), hint_term=Term(2)),
    Heartbeat(term=Term(1), round=0, commit_index=Index(0)),
    Heartbeat(term=Term(U63_MAX), round=U64_MAX, commit_index=Index(U63_MAX)),
    HeartbeatReply(term=Term(1), round=0, index=Index(0), wall_ns=0),
    ReadRequest(term=Term(1), ticket=U64_MAX),
    ReadReply(term=Term(1), ticket=0, index=Index(0)),
    SnapshotReply(term=Term(1), index=Index(1), offset=U63_MAX, installed=True),
    TimeoutNow(term=Term(1)),
    TimeoutNow(term=Term(U63_MAX)),
    Membership(index=Index(1), configuration=CONFIGURATION),
    ForwardAccepted(request=U64_MAX, first=Index(1), term=Term(1)),
]


@pytest.mark.parametrize("message", BOUNDARIES, ids=str)
def test_message_on_the_bound_is_read(message: Message | DriverMessage) -> None:
    assert _decode(encode_message(message)) == message


@pytest.mark.parametrize(
    "layout, values, why",
    [
        # A term in which something is said is from 1 to 2^63 - 1.
        *(
            (layout, (tag, *before, term, *after), f"tag {int(tag)}: term {term}")
            for term in (0, OVER, U64_MAX)
            for tag, layout, before, after in [
                (Tag.PRE_VOTE_REQUEST, "QQQ", (), (0, 0)),
                (Tag.VOTE_REQUEST, "QQQB", (), (0, 0, 0)),
                (Tag.PRE_VOTE_REPLY, "QB", (), (1,)),
                (Tag.VOTE_REPLY, "QB", (), (1,)),
                (Tag.APPEND_ENTRIES, "QQQQI", (), (0, 0, 0, 0)),
                (Tag.APPEND_ACCEPTED, "QQ", (), (1,)),
                (Tag.APPEND_REJECTED, "QQQQ", (), (1, 0, 0)),
                (Tag.HEARTBEAT, "QQQ", (), (1, 1)),
                (Tag.HEARTBEAT_REPLY, "QQQQ", (), (1, 1, 1)),
                (Tag.READ_REQUEST, "QQ", (), (1,)),
                (Tag.READ_REPLY, "QQQ", (), (1, 1)),
                (Tag.SNAPSHOT_REPLY, "QQQB", (), (1, 1, 0)),
                (Tag.FORWARD_ACCEPTED, "QQQ", (1, 1), ()),
            ]
        ),
        ("QB", (Tag.PRE_VOTE_REPLY, OVER, 0), f"term {OVER}"),
        ("QB", (Tag.VOTE_REPLY, OVER, 0), f"term {OVER}"),
        # An index is at most 2^63 - 1; where an entry is meant, at least 1.
        ("QQQ", (Tag.PRE_VOTE_REQUEST, 2, OVER, 1), f"index {OVER}"),
        ("QQQB", (Tag.VOTE_REQUEST, 2, OVER, 1, 0), f"index {OVER}"),
        ("QQQQI", (Tag.APPEND_ENTRIES, 1, OVER, 1, 0, 0), f"index {OVER}"),
        ("QQQQI", (Tag.APPEND_ENTRIES, 1, 0, 0, OVER, 0), f"index {OVER}"),
        ("QQ", (Tag.APPEND_ACCEPTED, 1, OVER), f"index {OVER}"),
        ("QQQQ", (Tag.APPEND_REJECTED, 1, OVER, 0, 0), f"index {OVER}"),
        ("QQQQ", (Tag.APPEND_REJECTED, 1, OVER, OVER, 1), f"index {OVER}"),
        ("QQQ", (Tag.HEARTBEAT, 1, 1, OVER), f"index {OVER}"),
        ("QQQQ", (Tag.HEARTBEAT_REPLY, 1, 1, OVER, 1), f"index {OVER}"),
        ("QQQ", (Tag.READ_REPLY, 1, 1, OVER), f"index {OVER}"),
        ("QQQB", (Tag.SNAPSHOT_REPLY, 1, 0, 1, 0), "index 0"),
        ("QQQB", (Tag.SNAPSHOT_REPLY, 1, OVER, 1, 0), f"index {OVER}"),
        ("QQQB", (Tag.SNAPSHOT_REPLY, 1, 1, OVER, 0), f"index {OVER}"),
        ("QQQ", (Tag.FORWARD_ACCEPTED, 1, 0, 1), "index 0"),
        ("QQQ", (Tag.FORWARD_ACCEPTED, 1, OVER, 1), f"index {OVER}"),
        # Index 0 has term 0, and only it; a candidate's log ends before its term.
        ("QQQ", (Tag.PRE_VOTE_REQUEST, 2, 0, 1), "index 0 of term 1"),
        ("QQQ", (Tag.PRE_VOTE_REQUEST, 2, 1, 0), "index 1 of term 0"),
        ("QQQ", (Tag.PRE_VOTE_REQUEST, 2, 1, 2), "index 1 of term 2, where terms go up to 1"),
        ("QQQB", (Tag.VOTE_REQUEST, 2, 1, 2, 0), "index 1 of term 2, where terms go up to 1"),
        ("QQQQI", (Tag.APPEND_ENTRIES, 2, 1, 3, 0, 0), "index 1 of term 3, where terms go up to 2"),
        ("QQQQI", (Tag.APPEND_ENTRIES, 2, 0, 1, 0, 0), "index 0 of term 1"),
        ("QQQQ", (Tag.APPEND_REJECTED, 1, 1, 1, 2), "index 1 of term 2, where terms go up to 1"),
        ("QQQQ", (Tag.APPEND_REJECTED, 1, 1, 0, 1), "index 0 of term 1"),
        # Index 0 is never rejected; logs can't agree after a rejected entry.
        ("QQQQ", (Tag.APPEND_REJECTED, 1, 0, 0, 0), "index 0"),
        ("QQQQ", (Tag.APPEND_REJECTED, 1, 4, 5, 1), "index 4"),
        # Yes or no.
        ("QB", (Tag.PRE_VOTE_REPLY, 1, 2), "2 for yes or no"),
        ("QB", (Tag.VOTE_REPLY, 1, 255), "255 for yes or no"),
        ("QQQB", (Tag.VOTE_REQUEST, 1, 0, 0, 2), "2 for yes or no"),
        ("QQQB", (Tag.SNAPSHOT_REPLY, 1, 1, 1, 3), "an answer of kind 3"),
    ],
)
def test_value_out_of_bounds_is_refused(layout: str, values: tuple[int, ...], why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        _decode(_packed(layout, *values))


# ── entries ──────────────────────────────────────────────────────────────────────────────────────


def _append(
    runs: Iterable[Run | bytes],
    *,
    term: int = 6,
    prev: tuple[int, int] = (41, 4),
    count: int | None = None,
) -> bytes:
    blobs = [run if isinstance(run, bytes) else encode_run(run) for run in runs]
    header = _packed(
        "QQQQI", Tag.APPEND_ENTRIES, term, *prev, 0, len(blobs) if count is None else count
    )
    return header + b"".join(len(blob).to_bytes(4, "big") + blob for blob in blobs)


def _entries(first: int, term: int, *payloads: bytes, kinds: tuple[Kind, ...] | None = None) -> Run:
    return Run(
        first=Index(first),
        term=Term(term),
        time_ns=0,
        elapsed_ns=0,
        kinds=kinds,
        payloads=payloads,
    )


@pytest.mark.parametrize(
    "data, why",
    [
        (_append([_entries(43, 5, b"")]), "index 43 of term 5 after 41 of term 4"),  # a gap
        (_append([_entries(41, 5, b"")]), "index 41 of term 5 after 41 of term 4"),
        (_append([COMMANDS, _entries(46, 5, b"")]), "index 46 of term 5 after 44 of term 5"),
        (_append([_entries(42, 3, b"")]), "index 42 of term 3 after 41 of term 4"),
        (_append([_entries(42, 7, b"")]), "index 42 of term 7 after 41 of term 4, said in term 6"),
        (_append([COMMANDS, _entries(45, 4, b"")]), "index 45 of term 4 after 44 of term 5"),
        (_append([_entries(1, 1, b"")], prev=(U63_MAX, 4)), f"index 1 of term 1 after {U63_MAX}"),
        (_append([b""]), "no CBOR of type 4"),
        (_append([b"\0" * 10]), "no CBOR of type 4"),
        (_append([COMMANDS], count=2), "4 bytes announced, 0 there"),
        (_append([COMMANDS], count=0), "bytes too many"),
        (_append([], count=0xFFFFFFFF), "4 bytes announced, 0 there"),
        (_append([])[:-1], "37 bytes where at least 38 belong"),
        (_append([COMMANDS])[:-1], "bytes announced"),
        (_append([_entries(42, 5, *[b""] * 11)]), "11 entries, from 1 to 10 are allowed"),
        (
            _append([_entries(42, 5, *[b""] * 9), _entries(51, 5, b"", b"")]),
            "2 entries, from 1 to 1 are allowed",
        ),
        (_append([_entries(42, 5, b"", bytes(501))]), "an entry of 501 bytes, at most 500"),
        (_append([_entries(42, 5, b"x", kinds=(Kind.NOOP,))]), "a no-op of 1 bytes"),
        (
            _append([_entries(42, 5, b"", b"\0", kinds=(Kind.NOOP, Kind.CONFIGURATION))]),
            "not an array",
        ),
    ],
    ids=reason_of,
)
def test_entries_that_no_leader_sends_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        _decode(data)


def test_as_many_and_as_large_entries_as_the_limits_allow_are_read() -> None:
    _decode(_append([_entries(42, 5, *[bytes(500)] * 10)]))
    _decode(_append([_entries(42, 5, *[b""] * 9), _entries(51, 6, b"")]))
    _decode(_append([COMMANDS, MIXED]))


def test_configuration_has_the_bound_of_control_messages() -> None:
    entry = _entries(42, 5, CONFIGURATION.encode(), kinds=(Kind.CONFIGURATION,))
    size = len(CONFIGURATION.encode())

    decode_message(_append([entry]), limits=Limits(control_bytes_max=size))
    with pytest.raises(RemoteProtocolError, match=f"a configuration of {size} bytes"):
        decode_message(_append([entry]), limits=Limits(control_bytes_max=size - 1))


# ── snapshots ────────────────────────────────────────────────────────────────────────────────────


def _chunk(  # noqa: PLR0917 - the positions, as they are
    term: int = 6,
    index: int = 1000,
    last_term: int = 4,
    configuration_index: int = 900,
    size: int = 5000,
    offset: int = 4096,
    configuration: bytes = CONFIGURATION.encode(),
    data: bytes = b"data",
) -> bytes:
    return (
        _packed(
            "QQQQQQQIQII",
            Tag.SNAPSHOT_CHUNK,
            term,
            index,
            last_term,
            configuration_index,
            1,
            2,
            size,
            3,
            offset,
            len(configuration),
            len(data),
        )
        + configuration
        + data
    )


@pytest.mark.parametrize(
    "data",
    [
        _chunk(),
        _chunk(offset=4996),
        _chunk(offset=0, size=4),
        _chunk(offset=0, size=0, data=b""),
        _chunk(size=10_000),
        _chunk(index=1, configuration_index=1),
        _chunk(configuration_index=0),
        _chunk(last_term=6),
    ],
)
def test_chunk_on_the_bound_is_read(data: bytes) -> None:
    assert encode_message(_decode(data)) == data


@pytest.mark.parametrize(
    "data, why",
    [
        (_chunk(term=0), "term 0"),
        (_chunk(index=0, configuration_index=0, last_term=0), "a snapshot of 0"),
        (_chunk(index=0, configuration_index=0), "index 0 of term 4"),
        (_chunk(index=OVER), f"index {OVER}"),
        (_chunk(last_term=0), "index 1000 of term 0"),
        (_chunk(last_term=7), "index 1000 of term 7, where terms go up to 6"),
        (_chunk(configuration_index=1001), "a snapshot of 1000 with a configuration of 1001"),
        (_chunk(size=10_001), "4 bytes at 4096 of a snapshot of 10001"),
        (_chunk(size=1 << 60), "of a snapshot of"),
        (_chunk(offset=4997), "4 bytes at 4997 of a snapshot of 5000"),
        (_chunk(offset=U64_MAX), "of a snapshot of 5000"),
        (_chunk(data=b""), "0 bytes at 4096 of a snapshot of 5000"),
        (_chunk(offset=5000, data=b""), "0 bytes at 5000 of a snapshot of 5000"),
        (_chunk(offset=1, size=0, data=b""), "0 bytes at 1 of a snapshot of 0"),
        (_chunk(configuration=b""), "premature end"),
        (_chunk(configuration=bytes(2001)), "a configuration of 2001 bytes"),
        (_chunk()[:-1], "4 bytes announced, 3 there"),
        (_chunk()[:77], "bytes where at least 78 belong"),
        (_chunk() + b"x", "1 bytes too many"),
    ],
    ids=reason_of,
)
def test_chunk_that_no_leader_sends_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        _decode(data)


# ── messages between drivers ─────────────────────────────────────────────────────────────────────


def _cbor(tag: Tag, *positions: object) -> bytes:
    return bytes([FORMAT, tag]) + encoding.dumps(list(positions))


def _forward(kinds: object, payloads: object, *more: object) -> bytes:
    blob = encoding.dumps([kinds, payloads, *more])
    return _packed("QI", Tag.FORWARD, 7, len(blob)) + blob


@pytest.mark.parametrize(
    "data, why",
    [
        (_forward(None, []), "0 entries, from 1 to 10"),
        (_forward(None, [b""] * 11), "11 entries, from 1 to 10"),
        (_forward(None, [bytes(501)]), "an entry of 501 bytes, at most 500"),
        (_forward(b"\x01", [b""]), "proposed for another node"),
        (_forward(b"\x00\x02", [b"", CONFIGURATION.encode()]), "proposed for another node"),
        (_forward(b"\x00", [b""]), "kinds where all are commands"),
        (_forward(None, [None]), "a payload that is not bytes"),
        (_forward(None, [b""], 1), "3 positions where 2 belong"),
        (_forward(None, [b""])[:-1], "bytes announced"),
        (_forward(None, [b""])[:13], "13 bytes where at least 14 belong"),
        (_forward(None, [b""]) + b"x", "1 bytes too many"),
    ],
    ids=reason_of,
)
def test_malformed_forward_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        _decode(data)


def test_forward_of_commands_spelled_out_arrives_as_commands() -> None:
    spelled = Forward(request=7, payloads=(b"a", b"b"), kinds=(Kind.COMMAND, Kind.COMMAND))

    assert _decode(encode_message(spelled)) == Forward(request=7, payloads=(b"a", b"b"))


@pytest.mark.parametrize("number", range(1, len(Refusal) + 1))
def test_every_reason_of_a_refusal_has_its_number(number: int) -> None:
    message = _decode(_cbor(Tag.FORWARD_REFUSED, 7, number, None))

    assert isinstance(message, ForwardRefused)
    assert encode_message(message) == _cbor(Tag.FORWARD_REFUSED, 7, number, None)


@pytest.mark.parametrize(
    "positions, why",
    [
        ((7, 0, None), "refused for reason 0"),
        ((7, len(Refusal) + 1, None), f"refused for reason {len(Refusal) + 1}"),
        ((7, True, None), "not a number from 0"),
        ((True, 1, None), "not a number from 0"),
        ((-1, 1, None), "not a number from 0"),
        ((7, 1, ""), "a node without a name"),
        ((7, 1, "x" * 65), "not a printable text of up to 64"),
        ((7, 1, b"x"), "not a printable text of up to 64"),
        ((7, 1), "2 positions where 3 belong"),
        ((7, 1, None, None), "4 positions where 3 belong"),
    ],
)
def test_malformed_refusal_is_refused(positions: tuple[object, ...], why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        _decode(_cbor(Tag.FORWARD_REFUSED, *positions))


def _hello(**changes: object) -> bytes:
    positions = encoding.array(encoding.loads(encode_message(HELLO)[2:]))
    names = [field.name for field in attrs.fields(Hello)]
    assert set(changes) <= set(names)
    found = dict(zip(names, positions, strict=True)) | changes
    return _cbor(Tag.HELLO, *found.values())


def _founding(entry: Run | None = None, **changes: object) -> bytes:
    run = FOUNDING.entry if entry is None else entry
    found = {
        "cluster": bytes(range(16)),
        "number": 3,
        "nonce": 4,
        "group": 9,
        "entry": encode_run(run),
    }
    return encoding.dumps(list((found | changes).values()))


HELLO_FAULTS: list[tuple[bytes, str]] = [
    (_hello(boot=0), "not a number from 1"),
    (_hello(boot=True), "not a number from 1"),
    (_hello(boot=1.0), "not a number from 1"),
    (_hello(nonce=-1), "not a number from 0"),
    (_hello(address=b"a"), "not a printable text of up to 255"),
    (_hello(address="x" * 256), "not a printable text of up to 255"),
    (_hello(address="a\n"), "not a printable text of up to 255"),
    (_hello(address="\u202e"), "not a printable text of up to 255"),  # turns what follows around
    (_hello(address="\0"), "not a printable text of up to 255"),
    (_hello(founders="a"), "not an array"),
    (_hello(founders=None), "not an array"),
    (_hello(founders=["b", "a"]), "not a list of founders"),
    (_hello(founders=["a", "a"]), "not a list of founders"),
    (_hello(founders=[""]), "a node without a name"),
    (_hello(founders=[1]), "not a printable text of up to 64"),
    (_hello(founders=[f"{n:02}" for n in range(MEMBERS_MAX + 1)]), "not a list of founders"),
    (_hello(settings_hash=bytes(31)), "not 32 bytes"),
    (_hello(settings_hash="x" * 32), "not 32 bytes"),
    (_hello(fingerprint=bytes(33)), "not 32 bytes"),
    (_hello(fingerprint=None), "not 32 bytes"),
    (_hello(machine_version=0), "not a number from 1"),
    (_hello(python=[3]), "1 positions where 2 belong"),
    (_hello(python=[3, 11, 0]), "3 positions where 2 belong"),
    (_hello(python=[3, "11"]), "not a number from 0"),
    (_hello(remembered=[1, 2, 3]), "3 positions where 4 belong"),
    (_hello(remembered=[1, 2, OVER, 4]), "not a number from 0"),
    (_hello(remembered=[1, 2, 3, OVER]), "not a number from 0"),
    (_hello(remembered=False), "not an array"),
    (_hello(founding=[]), "not  bytes"),
    (_hello(founding=b""), "premature end"),
    (_hello(founding=_founding(cluster=bytes(16))), "a founding record without a cluster"),
    (_hello(founding=_founding(cluster=bytes(15))), "not 16 bytes"),
    (_hello(founding=_founding(number=0)), "not a number from 1"),
    (_hello(founding=_founding(nonce=None)), "not a number from 0"),
    (_hello(founding=_founding(group=1 << 32)), "not a number from 0 to 4294967295"),
    (_hello(founding=_founding(entry=None) + b"\0"), "1 bytes too many"),
    (_hello(founding=_founding(_entries(2, 1, b"", kinds=(Kind.NOOP,)))), "not entry 1"),
    (
        _hello(founding=_founding(attrs.evolve(FOUNDING.entry, first=Index(2)))),
        "not entry 1 of a group",
    ),
    (
        _hello(founding=_founding(attrs.evolve(FOUNDING.entry, term=Term(2)))),
        "not entry 1 of a group",
    ),
    (
        _hello(founding=_founding(attrs.evolve(FOUNDING.entry, kinds=None))),
        "not entry 1 of a group",
    ),
    (
        _hello(founding=_founding(attrs.evolve(FOUNDING.entry, payloads=(b"\0",)))),
        "not an array",
    ),
    (
        _hello(founding=_founding(_entries(1, 1, b"", b"", kinds=(Kind.CONFIGURATION,) * 2))),
        "2 entries, from 1 to 1 are allowed",
    ),
    (_cbor(Tag.HELLO), "0 positions where 11 belong"),
    (_cbor(Tag.HELLO, *range(12)), "12 positions where 11 belong"),
    (bytes([FORMAT, Tag.HELLO]) + encoding.dumps({}), "not an array"),
    (bytes([FORMAT, Tag.HELLO]), "premature end"),
    (bytes([FORMAT, Tag.HELLO]) + bytes(2000), "2002 bytes, at most 2000 are allowed"),
    (bytes([FORMAT, Tag.FORWARD_REFUSED]) + bytes(1999), "2001 bytes, at most 2000"),
]


@pytest.mark.parametrize("data, why", HELLO_FAULTS, ids=reason_of)
def test_malformed_hello_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        _decode(data)


def test_hello_on_the_bounds_is_read() -> None:
    for data in (
        _hello(),
        _hello(boot=U64_MAX, nonce=0, address="", founders=[], founding=None, remembered=None),
        _hello(founders=[f"{n:02}" for n in range(MEMBERS_MAX)], address="x" * 255),
        _hello(remembered=[0, 0, 0, 0], founding=_founding(group=0xFFFFFFFF)),
    ):
        assert encode_message(_decode(data)) == data


@pytest.mark.parametrize(
    "data, why",
    [
        (_cbor(Tag.GOODBYE), "0 positions where 1 belong"),
        (_cbor(Tag.GOODBYE, "so", "long"), "2 positions where 1 belong"),
        (_cbor(Tag.GOODBYE, 7), "not a printable text of up to 4096"),
        (_cbor(Tag.GOODBYE, "a\nb"), "not a printable text"),
        (bytes([FORMAT, Tag.GOODBYE]) + bytes(2000), "2002 bytes, at most 2000 are allowed"),
    ],
    ids=reason_of,
)
def test_malformed_goodbye_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        _decode(data)


# ── presence ─────────────────────────────────────────────────────────────────────────────────────


def _presence(tag: Tag = Tag.PRESENCE, **changes: object) -> bytes:
    found: dict[str, object] = {
        "term": 6,
        "leader": "b",
        "last_index": 9,
        "last_term": 5,
        "first_index": 3,
        "commit_index": 8,
        "applied_index": 7,
        "configuration_index": 2,
        "missing": ["b", "d"],
    }
    return _cbor(tag, *(found | changes).values())


@pytest.mark.parametrize(
    "data, why",
    [
        (_presence(term=0), "term 0"),
        (_presence(term=OVER), "term 9223372036854775808"),
        (_presence(term=True), "not a number from 0"),
        (_presence(leader=""), "a node without a name"),
        (_presence(leader=7), "not a printable text of up to 64"),
        (_presence(last_index=OVER), "index 9223372036854775808"),
        (_presence(last_term=7), "index 9 of term 7, where terms go up to 6"),
        (_presence(last_term=0), "index 9 of term 0"),
        (_presence(first_index=0), "not a number from 1 to 10"),
        (_presence(first_index=11), "not a number from 1 to 10"),
        (_presence(commit_index=10), "not a number from 0 to 9"),
        (_presence(applied_index=9), "not a number from 0 to 8"),
        (_presence(configuration_index=10), "not a number from 0 to 9"),
        (_presence(missing=None), "not an array"),
        (_presence(missing=["d", "b"]), "not a list of members"),
        (_presence(missing=["b", "b"]), "not a list of members"),
        (_presence(missing=[1]), "not a printable text of up to 64"),
        (_presence(missing=[f"{n:02}" for n in range(MEMBERS_MAX + 1)]), "not a list of members"),
        (_presence(more=1), "10 positions where 9 belong"),
        (_presence(Tag.RANKED_PRESENCE), "9 positions where 10 belong"),
        (_presence(Tag.RANKED_PRESENCE, steps=0), "not a number from 1"),
        (_presence(Tag.RANKED_PRESENCE, steps=1 - PRIORITY_MIN), "not a number from 1"),
        (_presence(Tag.RANKED_PRESENCE, steps=1, more=1), "11 positions where 10 belong"),
        (_cbor(Tag.PRESENCE), "0 positions where 9 belong"),
        (bytes([FORMAT, Tag.PRESENCE]) + bytes(2000), "2002 bytes, at most 2000 are allowed"),
    ],
    ids=reason_of,
)
def test_malformed_presence_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        _decode(data)


def test_presence_on_the_bounds_is_read() -> None:
    for data in (
        _presence(leader=None, missing=[]),
        _presence(last_term=6, first_index=10, commit_index=9, applied_index=9),
        _presence(
            last_index=0,
            last_term=0,
            first_index=1,
            commit_index=0,
            applied_index=0,
            configuration_index=0,
        ),
        _presence(term=U63_MAX, last_index=U63_MAX, first_index=1 << 63),
        _presence(missing=[f"{n:02}" for n in range(MEMBERS_MAX)]),
    ):
        assert encode_message(_decode(data)) == data


# ── digests ──────────────────────────────────────────────────────────────────────────────────────


def _digest(index: int, *, form: int = 2, version: int = 1, size: int = 5) -> bytes:
    return struct.pack(">QIIQ32s", index, form, version, size, bytes(32))


def _digests(*found: bytes, count: int | None = None) -> bytes:
    number = len(found) if count is None else count
    return bytes([FORMAT, Tag.STATE_DIGESTS, number]) + b"".join(found)


def _part(index: int, offset: int, size: int, data: bytes) -> bytes:
    return struct.pack(">BBQQI", FORMAT, Tag.SNAPSHOT_PART, index, offset, size) + data


def _wanted(index: int, offset: int) -> bytes:
    return struct.pack(">BBQQ", FORMAT, Tag.SNAPSHOT_WANTED, index, offset)


def _very_one(index: int, offset: int) -> bytes:
    return struct.pack(">BBQQI", FORMAT, Tag.VERY_SNAPSHOT_WANTED, index, offset, 7)


@pytest.mark.parametrize(
    "data, why",
    [
        (bytes([FORMAT, Tag.STATE_DIGESTS]), "2 bytes where 3 belong"),
        (_digests(), "0 digests, from 1 to 8 are allowed"),
        (_digests(*map(_digest, range(1, 10))), "9 digests, from 1 to 8 are allowed"),
        (_digests(_digest(1), count=2), "59 bytes where 115 belong"),
        (_digests(_digest(1), b"x", count=1), "60 bytes where 59 belong"),
        (_digests(_digest(0)), "index 0"),
        (_digests(_digest(1 << 63)), "index 9223372036854775808"),
        (_digests(_digest(1, form=0)), "of format 0, version 1"),
        (_digests(_digest(1, version=0)), "of format 2, version 0"),
        (_digests(_digest(1, size=(1 << 40) + 1)), "size 1099511627777"),
        (_digests(_digest(2), _digest(2)), r"indexes \[2, 2\], which don't grow"),
        (_digests(_digest(2), _digest(1)), r"indexes \[2, 1\], which don't grow"),
        (_wanted(0, 4), "index 0"),
        (_wanted(1, 1 << 63), "offset 9223372036854775808"),
        (_wanted(1, 4) + b"x", "19 bytes where 18 belong"),
        (_very_one(0, 4), "index 0"),
        (_very_one(1, 1 << 63), "offset 9223372036854775808"),
        (_very_one(1, 4)[:-1], "21 bytes where 22 belong"),
        (_part(0, 4, 0, b""), "index 0"),
        (_part(1, 1 << 63, 0, b""), "offset 9223372036854775808"),
        (_part(1, 0, 2, b"x"), "23 bytes where 24 belong"),
        (_part(1, 0, 1, b"xx"), "24 bytes where 23 belong"),
        (_part(1, 0, 0, b"")[:-1], "21 bytes where 22 belong"),
    ],
    ids=reason_of,
)
def test_bad_digests_and_parts_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        _decode(data)
