"""What nodes say when they meet ⇄ bytes: the hello, the founding record, and the goodbye of who is not met.

All are rare, so they are plain positional CBOR. The founding record has the same form in the
identity file. Every function raises `MalformedError` for bytes that its counterpart does not write.
"""

from __future__ import annotations

from raftkit import encoding
from raftkit.driver_messages import WHY_MAX, FoundingRecord, Goodbye, Hello, Remembered, Scope
from raftkit.encoding import U63_MAX, MalformedError, array, octets, printable, unsigned
from raftkit.membership import ADDRESS_MAX, MEMBERS_MAX, Configuration, Epoch, node_id
from raftkit.model import Index, Kind, NodeId, Run, Term
from raftkit.wire.runs import decode_run, encode_run

__all__ = [
    "decode_founding",
    "decode_goodbye",
    "decode_hello",
    "encode_founding",
    "encode_goodbye",
    "encode_hello",
]

U32_MAX = (1 << 32) - 1
_POSITIONS = 11


def encode_hello(hello: Hello) -> bytes:
    """`[wire format, boot, nonce, address, [founder, …], settings hash, founding record or null,
    remembered or null, machine version, fingerprint, [major, minor]]`.
    """
    return encoding.dumps(
        [
            hello.wire_format,
            hello.boot,
            hello.nonce,
            hello.address,
            list(hello.founders),
            hello.settings_hash,
            None if hello.founding is None else encode_founding(hello.founding),
            None if hello.remembered is None else _remembered_out(hello.remembered),
            hello.machine_version,
            hello.fingerprint,
            list(hello.python),
        ]
    )


def decode_hello(data: bytes | memoryview, *, newer: bool = False) -> Hello:
    """The hello in `data`, which the caller has bounded. `newer`: further positions are ignored."""
    positions = array(encoding.loads(data))
    (
        wire_format,
        boot,
        nonce,
        address,
        founders,
        settings,
        founding,
        remembered,
        machine,
        fingerprint,
        python,
    ) = array(positions[:_POSITIONS] if newer else positions, _POSITIONS)
    major, minor = array(python, 2)
    return Hello(
        wire_format=unsigned(wire_format, lowest=1),
        boot=unsigned(boot, lowest=1),
        nonce=unsigned(nonce),
        address=printable(address, length_max=ADDRESS_MAX),
        founders=_founders(founders),
        settings_hash=octets(settings, 32),
        founding=None if founding is None else decode_founding(octets(founding)),
        remembered=None if remembered is None else _remembered_in(remembered),
        machine_version=unsigned(machine, lowest=1),
        fingerprint=octets(fingerprint, 32),
        python=(unsigned(major), unsigned(minor)),
    )


def encode_goodbye(goodbye: Goodbye) -> bytes:
    """`[why]`."""
    return encoding.dumps([goodbye.why])


def decode_goodbye(data: bytes | memoryview, *, newer: bool = False) -> Goodbye:
    """The goodbye in `data`, which the caller has bounded. `newer`: further positions are ignored."""
    positions = array(encoding.loads(data))
    (why,) = array(positions[:1] if newer else positions, 1)
    return Goodbye(why=printable(why, length_max=WHY_MAX))


def encode_founding(record: FoundingRecord) -> bytes:
    """`[cluster, epoch number, epoch nonce, group, run]`; the run as bytes of `encode_run`."""
    scope = record.scope
    return encoding.dumps(
        [
            scope.cluster,
            scope.epoch.number,
            scope.epoch.nonce,
            scope.group,
            encode_run(record.entry),
        ]
    )


def decode_founding(data: bytes) -> FoundingRecord:
    """The founding record that `encode_founding` wrote: of a real cluster, with a real entry 1."""
    cluster, number, nonce, group, entry = array(encoding.loads(data), 5)
    scope = Scope(
        cluster=octets(cluster, 16),
        epoch=Epoch(number=unsigned(number, lowest=1), nonce=unsigned(nonce)),
        group=unsigned(group, highest=U32_MAX),
    )
    if not any(scope.cluster):
        raise MalformedError("a founding record without a cluster")
    return FoundingRecord(scope=scope, entry=_founding_entry(octets(entry)))


def _founding_entry(data: bytes) -> Run:
    run = decode_run(data, entries_max=1)
    if (run.first, run.term, run.kinds) != (1, 1, (Kind.CONFIGURATION,)):
        raise MalformedError(f"not entry 1 of a group: {run!r:.80}")
    Configuration.decode(run.payloads[0])
    return run


def _founders(value: object) -> tuple[NodeId, ...]:
    founders = tuple(node_id(it) for it in array(value))
    if len(founders) > MEMBERS_MAX or list(founders) != sorted(set(founders)):
        raise MalformedError(f"not a list of founders: {founders!r:.80}")
    return founders


def _remembered_out(remembered: Remembered) -> list[int]:
    return [remembered.boot, remembered.nonce, remembered.term, remembered.index]


def _remembered_in(value: object) -> Remembered:
    boot, nonce, term, index = array(value, 4)
    return Remembered(
        boot=unsigned(boot),
        nonce=unsigned(nonce),
        term=Term(unsigned(term, highest=U63_MAX)),
        index=Index(unsigned(index, highest=U63_MAX)),
    )
