"""What an entry costs, counted and not timed, in core, codec, log and machine: `python -m benchmarks.costs`.

    a batch of 1, a batch of 257 ─▶ calls of functions, objects that stay ─▶ for the batch, for each entry

A count is the same on a busy machine and on an idle one, so a test can hold it to a bound; it can't tell a
slow function from a fast one, but it sees at once when something is done for each entry that was done for
each batch.

Laws: a call is of any function, Python's or C's, as `sys.setprofile` sees it. An object stays if the
interpreter still holds its memory when all is done; those that were there before, such as the payloads, are
not counted. What an entry costs is the difference of the two batches.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from statistics import median_low
from types import FrameType

import attrs

from raftkit.cli.bench.machine import KEYS, Table
from raftkit.config import Config
from raftkit.core import Raft
from raftkit.driver.replica import Replica
from raftkit.driver.sessions import NONCE_BIT, pack_header
from raftkit.membership import Configuration, Member
from raftkit.messages import (
    AppendEntries,
    Applied,
    Effects,
    Input,
    Persisted,
    PersistentState,
    Propose,
    Receive,
    Send,
    Tick,
    Write,
)
from raftkit.model import Identity, Index, Kind, Run, Term
from raftkit.storage import open_storage
from raftkit.testing.storage_conformance import a_run, founding_record
from raftkit.wire import Limits, decode_message, encode_message

__all__ = ["COSTS", "Cost", "costs", "main"]

BATCH = 256
"Entries of the larger batch, beyond the one of the smaller."
REPEATS = 3
"Countings of which the middle one is told, of what other threads can disturb."
PAYLOAD_BYTES = 32
NAMES = ("a", "b", "c")
Operation = Callable[[], object]
"What is counted, and returns what it made."
Prepare = Callable[[int], AbstractContextManager[Operation]]
"Gets everything ready for a batch of so many entries."


@attrs.frozen(kw_only=True)
class Cost:
    """Of one operation."""

    batch_calls: int
    "Function calls of a batch of one entry."
    entry_calls: float
    "More of them for each entry more."
    entry_objects: float
    "Blocks of memory that stay for each entry more."


def costs() -> dict[str, Cost]:
    """Of every operation, by name."""
    return {name: _cost(prepare) for name, prepare in COSTS.items()}


def _cost(prepare: Prepare) -> Cost:
    _counted(prepare, 1)  # what is made once in a process is made now
    few_calls, few_objects = _counted(prepare, 1)
    many_calls, many_objects = _counted(prepare, 1 + BATCH)
    return Cost(
        batch_calls=few_calls,
        entry_calls=(many_calls - few_calls) / BATCH,
        entry_objects=(many_objects - few_objects) / BATCH,
    )


def _counted(prepare: Prepare, entries: int) -> tuple[int, int]:
    """Calls, and blocks that stay as long as what the operation returns.

    Calls are this thread's, and the same each time; blocks are the process's, whose other threads make some.
    """
    found: list[tuple[int, int]] = []
    for _ in range(REPEATS):
        with prepare(entries) as operation:
            found.append(_counted_of(operation))
    return found[-1][0], median_low(blocks for _, blocks in found)


def _counted_of(operation: Operation) -> tuple[int, int]:
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    gc.collect()
    gc.disable()
    before, previous = sys.getallocatedblocks(), sys.getprofile()
    sys.setprofile(count)
    try:
        kept = operation()
    finally:
        sys.setprofile(previous)
        gc.enable()
    gc.collect()
    stay = sys.getallocatedblocks() - before
    del kept
    return calls, stay


# ── operations ───────────────────────────────────────────────────────────────────────────────────


def _payloads(count: int) -> tuple[bytes, ...]:
    return tuple(number.to_bytes(PAYLOAD_BYTES, "big") for number in range(count))


@contextmanager
def _commit(count: int) -> Generator[Operation]:
    """A leader takes in a batch, two followers store it, all apply it."""
    group = Group()
    group.elect()
    group.propose(_payloads(1))  # whatever is made once is made
    payloads = _payloads(count)
    yield lambda: group.propose(payloads)


@contextmanager
def _encode(count: int) -> Generator[Operation]:
    """One message with a batch of entries becomes bytes."""
    message = _append(count)
    yield lambda: encode_message(message)


@contextmanager
def _decode(count: int) -> Generator[Operation]:
    """And is read back."""
    data, limits = encode_message(_append(count)), Limits()
    yield lambda: decode_message(data, limits=limits)


def _append(count: int) -> AppendEntries:
    group = Group()
    group.elect()
    return next(
        send.message
        for send in group.propose(_payloads(count))
        if isinstance(send.message, AppendEntries) and send.message.runs
    )


@contextmanager
def _store(count: int) -> Generator[Operation]:
    """A batch of entries goes into a log on a real disk."""
    write = Write(sequence=2, runs=(a_run(3, 1, *_payloads(count)),))
    with (
        tempfile.TemporaryDirectory(prefix="raftkit-costs-") as place,
        closing(open_storage(place, "a")) as storage,
    ):
        storage.found(founding_record(storage))
        storage.perform([Write(sequence=1, runs=(a_run(2, 1, b"first"),))])
        yield lambda: storage.perform([write])


@contextmanager
def _typed(count: int) -> Generator[Operation]:
    """Commands of a `StateMachine` are written, applied in a session and answered."""
    replica = Replica(Table)
    registered = a_run(1, 1, pack_header(NONCE_BIT, 1, 0), kinds=(Kind.SESSION,))
    replica.apply([registered])
    commands = [Table.put(number % KEYS, bytes(PAYLOAD_BYTES)) for number in range(count)]

    def operation() -> object:
        written = [
            pack_header(registered.first, number, 1) + replica.encode(command)
            for number, command in enumerate(commands, 1)
        ]
        outcomes = replica.apply([a_run(2, 1, *written)])
        return [replica.result_of(None, reply) for _, _, reply in outcomes]

    yield operation


COSTS: Mapping[str, Prepare] = {
    "commit": _commit,
    "encode": _encode,
    "decode": _decode,
    "store": _store,
    "typed": _typed,
}
"By operation."


@attrs.define(eq=False)
class Group:
    """Three cores whose disks are at once and whose messages arrive: what is left is the core."""

    _rafts: dict[str, Raft] = attrs.field(init=False)
    _waiting: list[tuple[str, Input]] = attrs.field(init=False, factory=list[tuple[str, Input]])
    "For whom, and what."

    def __attrs_post_init__(self) -> None:
        members = {name: Identity(id=name, incarnation=1) for name in NAMES}
        group = Configuration(
            members=tuple(Member(id=it, incarnation=1, address="") for it in NAMES)
        )
        founding = Run(
            first=Index(1),
            term=Term(1),
            time_ns=0,
            elapsed_ns=0,
            kinds=(Kind.CONFIGURATION,),
            payloads=(group.encode(),),
        )
        self._rafts = {
            name: Raft(
                Config(identity=identity),
                PersistentState(term=Term(1), runs=(founding,)),
                random.Random(name),
            )
            for name, identity in members.items()
        }

    def elect(self) -> None:
        """Let time pass until one of them leads."""
        for now in range(1, 200):
            tick = Tick(count=1, wall_ns=now, monotonic_ns=now)
            self._waiting += [(name, tick) for name in NAMES]
            for _ in self._deliver():
                pass
            if any(it.role == "leader" for it in self._rafts.values()):
                return
        raise AssertionError("nobody leads")

    def propose(self, payloads: tuple[bytes, ...]) -> list[Send]:
        """Have the leader replicate these until nobody has anything to say; what was said."""
        leader = next(name for name, it in self._rafts.items() if it.role == "leader")
        self._waiting.append((leader, Propose(ticket=1, payloads=payloads)))
        return list(self._deliver())

    def _deliver(self) -> Iterator[Send]:
        """What waits, and what comes of it; says every message."""
        while self._waiting:
            name, item = self._waiting.pop(0)
            effects = self._rafts[name].step([item])
            yield from self._do(name, effects)

    def _do(self, name: str, effects: Effects) -> Iterator[Send]:
        sender = Identity(id=name, incarnation=1)
        for send in (*effects.send_now, *effects.send_after_persist):
            received = Receive(sender=sender, message=send.message)
            self._waiting += [(target, received) for target in send.targets]
            yield send
        if effects.persist is not None:
            self._waiting.append((name, Persisted(sequence=effects.persist.sequence)))
        if effects.apply:
            self._waiting.append((name, Applied(index=effects.apply[-1].last)))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    options = parser.parse_args(arguments)
    found = costs()
    if options.json:
        print(json.dumps({name: attrs.asdict(it) for name, it in found.items()}, indent=2))
        return 0
    for name, it in found.items():
        print(
            f"{name}: {it.batch_calls} calls a batch, {it.entry_calls:.2f} calls and "
            f"{it.entry_objects:.2f} objects for each entry more"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
