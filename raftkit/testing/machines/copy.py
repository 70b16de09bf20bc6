"""One copy of a machine under test, given the entries of a log one by one.

Laws: a copy is the replica that a node has, so nothing here decodes, answers or writes on its own. What the
machine's code raises is kept for the message, and not logged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, cast

import attrs

from raftkit.driver.replica import Replica
from raftkit.driver.sessions import NONCE_BIT, VERSION_BYTES, pack_header
from raftkit.model import Index, Kind, Run, Term
from raftkit.statemachine import BytesStateMachine, StateMachine

__all__ = ["EPOCH_NS", "Answer", "Copy", "Entry", "Factory", "overheard"]

Factory = Callable[[], StateMachine | BytesStateMachine]
EPOCH_NS = 1_700_000_000_000_000_000
"`time_ns` where `elapsed_ns` is 0: both stamps of an entry are as far apart."


@attrs.frozen(kw_only=True)
class Entry:
    """An entry of a log under test."""

    body: bytes | None
    "A command as encoded; None for a clock entry, and a version entry."
    elapsed_ns: int
    "Its stamp."
    version: int | None = None
    "What a version entry brings in force."

    @property
    def kind(self) -> Kind:
        """What it is for."""
        if self.version is not None:
            return Kind.VERSION
        return Kind.CLOCK if self.body is None else Kind.COMMAND

    def payload(self, number: int) -> bytes:
        """Its bytes, under this number of no session."""
        match self.kind:
            case Kind.CLOCK:
                return b""
            case Kind.VERSION:
                body = (self.version or 0).to_bytes(VERSION_BYTES, "big")
            case _:
                body = self.body or b""
        return pack_header(NONCE_BIT, number, 0) + body


@attrs.frozen(kw_only=True)
class Answer:
    """What came of an entry."""

    reply: bytes
    "As `raftkit.driver.replies` has it; empty for a clock entry."
    digest: bytes
    "Of the machine's state behind it."
    raised: BaseException | None = None
    "What the machine's own code raised, other than Rejected."


class Copy:
    """A machine in a replica of its own."""

    def __init__(self, factory: Factory) -> None:
        self.replica: Replica[Any] = Replica(factory, paranoid=True)
        self._factory = factory

    def apply(self, entry: Entry) -> Answer:
        """Apply the next entry.

        Raises StateMachineFailed where a node would halt, StateUnwritable for a state that has no bytes.
        """
        index = Index(self.replica.applied + 1)
        run = Run(
            first=index,
            term=Term(1),
            time_ns=EPOCH_NS + entry.elapsed_ns,
            elapsed_ns=entry.elapsed_ns,
            kinds=None if entry.kind is Kind.COMMAND else (entry.kind,),
            payloads=(entry.payload(index),),
        )
        with overheard() as raised:
            outcomes = self.replica.apply([run])
        reply = outcomes[0][2] if outcomes else b""
        return Answer(reply=reply, digest=self.digest(), raised=raised[-1] if raised else None)

    def digest(self) -> bytes:
        """32 bytes over the machine's own state, without the stamps of the entry. Raises StateUnwritable."""
        machine = self.replica.machine
        own = machine.digest() if isinstance(machine, BytesStateMachine) else None
        hasher = blake2b(digest_size=32)
        for chunk in self.replica.capture().machine() if own is None else [own]:
            hasher.update(chunk)
        return hasher.digest()

    def fields(self) -> list[tuple[str, str]]:
        """What the state holds, for people: names and values."""
        machine = self.replica.machine
        if isinstance(machine, BytesStateMachine):
            return [("snapshot", repr(b"".join(machine.snapshot())))]
        names = [it.name for it in attrs.fields(cast("type[attrs.AttrsInstance]", type(machine)))]
        return [(name, repr(getattr(machine, name, attrs.NOTHING))) for name in names]

    def restored(self, snapshot: Iterable[bytes]) -> Copy:
        """Another copy, in the state that `snapshot` holds. Raises StateMachineFailed."""
        copy = Copy(self._factory)
        copy.replica.restore(snapshot)
        return copy


@contextmanager
def overheard() -> Generator[list[BaseException]]:
    """What the driver logs about the machine's code meanwhile, instead of a log full of tracebacks."""
    logger, raised = logging.getLogger("raftkit"), list[BaseException]()

    def listen(record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            raised.append(record.exc_info[1])
        return False

    logger.addFilter(listen)
    try:
        yield raised
    finally:
        logger.removeFilter(listen)
