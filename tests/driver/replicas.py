"""Replicas as the tests of the driver build them: runs of entries, a session, a machine of bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from raftkit.driver.replica import Replica
from raftkit.driver.sessions import pack_header
from raftkit.membership import Configuration, Member, Settings
from raftkit.model import Index, Kind, Run, Term
from raftkit.statemachine import Batch, BytesStateMachine
from tests.statemachine.bank import Bank, Colour

NONCE = 1 << 63
Entry = tuple[Kind, bytes]


def run(first: int, *entries: Entry, term: int = 1) -> Run:
    """A run whose stamps are made from its place, so that two cuts of one log have the same."""
    return Run(
        first=Index(first),
        term=Term(term),
        time_ns=1_000,
        elapsed_ns=10,
        kinds=None if not any(kind for kind, _ in entries) else tuple(kind for kind, _ in entries),
        payloads=tuple(payload for _, payload in entries),
    )


SESSION: Entry = (Kind.SESSION, pack_header(NONCE, 1, 0))


def ask(built: Any, seq: int, session: int = 1, ack_below: int = 0) -> Entry:
    """A command of the bank, or one that is bytes already, with its header."""
    body = built if isinstance(built, bytes) else Replica(Bank).encode(built)
    return Kind.COMMAND, pack_header(session, seq, ack_below) + body


def replica_with(*entries: Entry, factory: Any = Bank) -> Replica[Any]:
    """A replica with a session, and these applied."""
    replica = Replica(factory)
    replica.apply([run(1, SESSION, *entries)])
    return replica


def apply_one(replica: Replica[Any], entry: Entry) -> bytes:
    """The reply to this entry, applied next."""
    [(_, _, reply)] = replica.apply([run(replica.applied + 1, entry)])
    return reply


def configuration(**settings: Any) -> Configuration:
    """A group of one with these settings."""
    members = (Member(id="a", incarnation=1, address="x"),)
    return Configuration(members=members, settings=Settings(**settings))


def full_replica() -> Replica[Any]:
    """One with a bit of everything."""
    replica = replica_with(
        (Kind.CONFIGURATION, configuration().encode()),
        *(ask(Bank.put(f"owner {it % 100}", it * 2**60), it) for it in range(150)),
        ask(Bank.take("nobody", 1), 200),
        ask(Bank.stumble("x"), 201),
        ask(Bank.paint(Colour.GREEN), 202),
        (Kind.VOID, pack_header(1, 203, 0)),
        (Kind.CLOCK, b""),
    )
    return replica


class Echo(BytesStateMachine):
    """Answers with the index and what it was given, and remembers all of it."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.batches: list[Batch] = []

    def apply(self, batch: Batch) -> list[bytes]:
        self.batches.append(batch)
        if b"raise" in batch.commands:
            raise ValueError("no")
        self.seen += batch.commands
        return [
            b"%d:" % index + it for index, it in zip(batch.indexes, batch.commands, strict=True)
        ]

    def snapshot(self) -> Iterable[bytes]:
        return list(self.seen)

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.seen = list(chunks)
