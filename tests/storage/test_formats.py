"""The bytes of every format, pinned: `formats.hex` changes only with a new format number.

`RAFTKIT_REWRITE=1 pytest tests/storage/test_formats.py` writes it anew; read the difference before you
commit it, and `docs/disk-format.md` after.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from raftkit.driver_messages import FoundingRecord, Remembered, Scope
from raftkit.membership import Configuration, Epoch, Member
from raftkit.messages import Write
from raftkit.model import Identity, Index, Kind, Run, Term
from raftkit.snapshot import SnapshotMeta
from raftkit.storage import IdentityRecord, identity, records, segments, snapshots
from raftkit.storage.records import RecordType
from raftkit.testing.simulated_disk import SimulatedDisk
from raftkit.testing.storage_conformance import a_run
from tests.storage.model import PEERS, founded

GOLDEN = Path(__file__).with_name("formats.hex")
DOCUMENT = Path(__file__).parents[2] / "docs" / "disk-format.md"
OWNER = Identity(id="a", incarnation=0x0123456789ABCDEF)
SCOPE = Scope(cluster=bytes(range(16)), epoch=Epoch(number=1, nonce=0xFEDCBA98), group=0)
CONFIGURATION = Configuration(
    members=(Member(id="a", incarnation=OWNER.incarnation, address="10.0.0.1:7000"),)
)


def run(payloads: tuple[bytes, ...], kinds: tuple[Kind, ...] | None = None) -> Run:
    return Run(
        first=Index(1),
        term=Term(1),
        time_ns=1_700_000_000_000_000_000,
        elapsed_ns=5,
        kinds=kinds,
        payloads=payloads,
    )


HEADER = segments.SegmentHeader(
    scope=SCOPE,
    owner=OWNER,
    number=2,
    head=680,
    first_index=Index(100),
    previous_term=Term(3),
    chain=0xDEADBEEF,
)
COPY = identity.Copy(
    sequence=4,
    record=IdentityRecord(
        identity=OWNER,
        boot=3,
        nonce=0x1122334455667788,
        founding=FoundingRecord(
            scope=SCOPE, entry=run((CONFIGURATION.encode(),), (Kind.CONFIGURATION,))
        ),
        remembered={
            Identity(id="b", incarnation=9): Remembered(
                boot=2, nonce=8, term=Term(3), index=Index(99)
            )
        },
    ),
    log_end=(2, 4096),
)
META = SnapshotMeta(
    index=Index(99),
    term=Term(3),
    configuration=CONFIGURATION,
    configuration_index=Index(1),
    time_ns=1_700_000_000_000_000_000,
    elapsed_ns=5,
    size=7,
    checksum=zlib.crc32(b"content"),
)
STRETCHES = segments.Stretches()
STRETCHES.add(Index(100), Term(3), 512)
STRETCHES.add(Index(150), Term(4), 70_000)
BODIES = {
    RecordType.HARD_STATE: records.encode_hard_state(Term(3), OWNER),
    RecordType.RUN: records.encode_run_body(run((b"one", b"two"))),
    RecordType.TRUNCATION: records.encode_truncation(Index(7)),
    RecordType.BASE: records.encode_base(Index(99), Term(3), 2),
    RecordType.RESET: records.encode_base(Index(99), Term(3), 2),
    RecordType.PROOF: (),
    RecordType.FOOTER: records.encode_footer(Index(200), 90, STRETCHES.encode(), 1024),
}


def framed(type: RecordType, body: tuple[bytes, ...]) -> bytes:  # noqa: A002
    parts, size, _ = records.encode(
        type, body, seed=0x5EED, offset=1024, durable=512, sequence=42, previous=0xCAFE
    )
    data = b"".join(parts)
    assert len(data) == size == records.record_size(sum(map(len, body)))
    return data


def formats() -> dict[str, bytes]:
    found = {
        "segment header": HEADER.encode().rstrip(b"\0"),
        "identity": identity.encode(COPY),
        "snapshot head": snapshots.encode_head(SCOPE, META),
        "hard state without vote": framed(
            RecordType.HARD_STATE, records.encode_hard_state(Term(3), None)
        ),
    }
    return found | {f"record {kind.name}": framed(kind, body) for kind, body in BODIES.items()}


def golden() -> dict[str, bytes]:
    lines = GOLDEN.read_text(encoding="ascii").splitlines()
    return {name: bytes.fromhex(data) for name, data in (line.split(": ") for line in lines)}


if os.environ.get("RAFTKIT_REWRITE"):
    GOLDEN.write_text(
        "".join(f"{name}: {data.hex()}\n" for name, data in formats().items()), encoding="ascii"
    )


@pytest.mark.parametrize("name", sorted(formats()))
def test_bytes_are_what_they_have_always_been(name: str) -> None:
    assert formats()[name].hex() == golden()[name].hex()


def test_each_pinned_format_is_read_back() -> None:
    pinned = golden()
    preamble = pinned["segment header"].ljust(segments.PREAMBLE_SIZE, b"\0")

    assert segments.SegmentHeader.decode("", preamble) == HEADER
    assert identity.decode("", pinned["identity"]) == COPY
    assert snapshots.decode_head("", pinned["snapshot head"]) == (SCOPE.cluster, SCOPE.group, META)


@pytest.mark.parametrize("kind", RecordType)
def test_each_pinned_record_is_read_back(kind: RecordType) -> None:
    data = golden()[f"record {kind.name}"]
    record = records.decode(data, 0, seed=0x5EED, offset=1024)

    assert record is not None
    assert (record.type, record.durable, record.sequence) == (kind, 512, 42)
    assert (record.previous, record.offset, record.end) == (0xCAFE, 1024, 1024 + len(data))
    assert bytes(record.body) == b"".join(BODIES[kind])


def test_bodies_are_read_back() -> None:
    body = {kind: memoryview(b"".join(parts)) for kind, parts in BODIES.items()}

    assert records.decode_hard_state(body[RecordType.HARD_STATE]) == (3, OWNER)
    assert records.run_span(body[RecordType.RUN]) == (1, 2, 1)
    assert records.decode_run_body(body[RecordType.RUN]) == run((b"one", b"two"))
    assert records.decode_truncation(body[RecordType.TRUNCATION]) == 7
    assert records.decode_base(body[RecordType.BASE]) == (99, 3, 2)
    last, cut, stretches = records.decode_footer(body[RecordType.FOOTER])
    assert (last, cut, segments.Stretches.decode(stretches)) == (200, 90, STRETCHES)


@pytest.mark.parametrize("kind", RecordType)
def test_record_at_another_place_or_with_any_byte_changed_is_none(kind: RecordType) -> None:
    data = golden()[f"record {kind.name}"]

    assert records.decode(data, 0, seed=0x5EED, offset=1032) is None
    assert records.decode(data, 0, seed=0x5EEE, offset=1024) is None
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 0x10
        assert records.decode(bytes(flipped), 0, seed=0x5EED, offset=1024) is None
        assert records.decode(data[:at], 0, seed=0x5EED, offset=1024) is None


def test_example_in_the_documentation_is_real() -> None:
    """It is produced here as it stands there."""
    disk = SimulatedDisk()
    storage = founded(disk)
    storage.perform([Write(sequence=1, hard_state=(Term(2), PEERS[0]))])
    storage.perform([Write(sequence=2, runs=(a_run(2, 2, b"hello", b"world"),))])
    storage.prove()
    content = disk.contents(segments.name_of(1))
    text = DOCUMENT.read_text(encoding="utf-8")

    for line in hexdump(content[:0x30], 0) + hexdump(content[512:968], 512):
        assert f"\n{line}\n" in text


def hexdump(data: bytes, start: int) -> list[str]:
    lines: list[str] = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        digits = f"{row[:8].hex(' ')}  {row[8:].hex(' ')}"
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start + at:08x}  {digits:<48}  |{shown}|")
    return lines
