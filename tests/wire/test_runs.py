"""What is not a run is refused, and a run that is none can't be written."""

from __future__ import annotations

import attrs
import pytest

from raftkit import encoding
from raftkit.encoding import U63_MAX, U64_MAX, MalformedError
from raftkit.model import Index, Kind, Run, Term
from raftkit.wire import decode_run, encode_run
from tests.wire.examples import COMMANDS, reason_of

HUGE = 1 << 40


def _run(*positions: object) -> bytes:
    return encoding.dumps(list(positions))


@pytest.mark.parametrize(
    "data, why",
    [
        (b"", "no CBOR of type 4 at byte 0"),
        (_run(1, 1, 0, 0, None), "5 positions where 6 belong"),
        (_run(1, 1, 0, 0, None, [b""], 0), "7 positions where 6 belong"),
        (encoding.dumps({}), "no CBOR of type 4 at byte 0"),
        (b"\x9f\x01\x01\x00\x00\xf6\x81\x40\xff", "no plain CBOR at byte 0"),  # without a length
        # index
        (_run(0, 1, 0, 0, None, [b""]), "1 entries from index 0"),
        (_run(U63_MAX + 1, 1, 0, 0, None, [b""]), f"1 entries from index {U63_MAX + 1}"),
        (_run(U63_MAX, 1, 0, 0, None, [b"", b""]), f"2 entries from index {U63_MAX}"),
        (_run(-1, 1, 0, 0, None, [b""]), "no CBOR of type 0 at byte 1"),
        (_run(True, 1, 0, 0, None, [b""]), "no CBOR of type 0 at byte 1"),
        (_run(1.0, 1, 0, 0, None, [b""]), "no CBOR of type 0 at byte 1"),
        (_run(1 << 64, 1, 0, 0, None, [b""]), "no CBOR of type 0 at byte 1"),
        (b"\x86\x18\x17\x01\x00\x00\xf6\x81\x40", "not in its shortest form, at byte 1"),
        (b"\x86\x19\x00\xff\x01\x00\x00\xf6\x81\x40", "not in its shortest form, at byte 1"),
        (b"\x86\x1a\x00\x00\xff\xff\x01\x00\x00\xf6\x81\x40", "not in its shortest form"),
        (b"\x86\x1b\0\0\0\0\xff\xff\xff\xff\x01\0\0\xf6\x81\x40", "not in its shortest form"),
        (b"\x86\x1c\x01\x01\x00\x00\xf6\x81\x40", "no plain CBOR at byte 1"),
        (b"\x86\x1b\xff\xff", "a number cut off"),
        (b"\x86\x1a\xff\xff\xff", "a number cut off"),
        # term and stamps
        (_run(1, 0, 0, 0, None, [b""]), "entries of term 0"),
        (_run(1, U63_MAX + 1, 0, 0, None, [b""]), f"entries of term {U63_MAX + 1}"),
        (_run(1, 1, -1, 0, None, [b""]), "no CBOR of type 0 at byte 3"),
        (_run(1, 1, 0, None, None, [b""]), "no CBOR of type 0 at byte 4"),
        # kinds
        (_run(1, 1, 0, 0, b"\x01\x01", [b""]), "2 kinds of 1 entries"),
        (_run(1, 1, 0, 0, b"", [b""]), "0 kinds of 1 entries"),
        (_run(1, 1, 0, 0, b"\0\0", [b"", b""]), "kinds where all are commands"),
        (_run(1, 1, 0, 0, b"\x08", [b""]), "8 is not a valid Kind"),
        (_run(1, 1, 0, 0, "\x01", [b""]), "no CBOR of type 2 at byte 5"),
        (_run(1, 1, 0, 0, [1], [b""]), "no CBOR of type 2 at byte 5"),
        (b"\x86\x01\x01\x00\x00\x5b" + b"\x7f" + b"\xff" * 7, "no CBOR of type 4"),
        # payloads
        (_run(1, 1, 0, 0, None, []), "0 entries, from 1 to"),
        (_run(1, 1, 0, 0, None, b""), "no CBOR of type 4 at byte 6"),
        (_run(1, 1, 0, 0, None, [b"", ""]), "a payload that is not bytes"),
        (_run(1, 1, 0, 0, None, [b"", []]), "a payload that is not bytes"),
        (_run(1, 1, 0, 0, None, [[b""]]), "not plain CBOR: maximum container nesting depth"),
        (_run(1, 1, 0, 0, None, [b""]) + b"\0", "1 bytes too many"),
        (b"\x86\x01\x01\x00\x00\xf6\x9b" + HUGE.to_bytes(8, "big"), f"{HUGE} entries, from 1"),
        (b"\x86\x01\x01\x00\x00\xf6\x81\x5b" + HUGE.to_bytes(8, "big"), "not plain CBOR"),
    ],
    ids=reason_of,
)
def test_what_is_not_a_run_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(MalformedError, match=why):
        decode_run(data)
    with pytest.raises(MalformedError, match=why):
        decode_run(memoryview(data))


def test_run_at_the_highest_index_and_term_is_read() -> None:
    run = Run(
        first=Index(U63_MAX),
        term=Term(U63_MAX),
        time_ns=U64_MAX,
        elapsed_ns=U64_MAX,
        kinds=(Kind.OUTBOX,),
        payloads=(b"",),
    )

    assert decode_run(encode_run(run)) == run


def test_number_of_entries_is_bounded_by_the_caller() -> None:
    data = encode_run(COMMANDS)

    assert decode_run(data, entries_max=3) == COMMANDS
    with pytest.raises(MalformedError, match="3 entries, from 1 to 2 are allowed"):
        decode_run(data, entries_max=2)


def test_commands_spelled_out_have_the_form_of_commands() -> None:
    spelled = attrs.evolve(COMMANDS, kinds=(Kind.COMMAND,) * 3)

    assert encode_run(spelled) == encode_run(COMMANDS)


@pytest.mark.parametrize(
    "run",
    [
        attrs.evolve(COMMANDS, first=Index(0)),
        attrs.evolve(COMMANDS, first=Index(U63_MAX - 1)),
        attrs.evolve(COMMANDS, term=Term(0)),
        attrs.evolve(COMMANDS, term=Term(U63_MAX + 1)),
        attrs.evolve(COMMANDS, time_ns=-1),
        attrs.evolve(COMMANDS, time_ns=U64_MAX + 1),
        attrs.evolve(COMMANDS, elapsed_ns=-1),
        attrs.evolve(COMMANDS, elapsed_ns=U64_MAX + 1),
        attrs.evolve(COMMANDS, payloads=()),
        attrs.evolve(COMMANDS, kinds=(Kind.NOOP,)),
    ],
)
def test_run_that_could_not_be_read_again_is_not_written(run: Run) -> None:
    with pytest.raises(AssertionError):
        encode_run(run)
