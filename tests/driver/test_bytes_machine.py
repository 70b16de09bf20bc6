"""A machine of bytes on a replica: batches, digests, and what its exceptions mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from raftkit.driver.replica import Replica, UnknownCommand
from raftkit.driver.replies import rejected
from raftkit.encoding import loads
from raftkit.errors import (
    LocalProtocolError,
    RaftInternalError,
    StateMachineFailed,
    StateUnwritable,
)
from raftkit.model import Kind
from raftkit.statemachine import Batch
from tests.driver.replicas import (
    NONCE,
    Echo,
    apply_one,
    ask,
    replica_with,
    run,
)
from tests.statemachine.bank import Bank


def test_a_bytes_machine_gets_what_is_new_in_one_batch() -> None:
    replica = replica_with(factory=Echo)
    outcomes = replica.apply(
        [
            run(2, ask(b"a", 1), ask(b"b", 2, NONCE), ask(b"c", 3)),
            run(5, ask(b"d", 4), ask(b"d", 4), ask(b"a", 1), ask(b"e", 5), term=2),
        ]
    )

    assert [it.commands for it in replica.machine.batches] == [[b"a", b"b", b"c"], [b"d"], [b"e"]]
    assert replica.machine.batches[0] == Batch(
        term=1, time_ns=1_000, elapsed_ns=10, indexes=[2, 3, 4], commands=[b"a", b"b", b"c"]
    )
    assert [replica.result_of(None, it[2]) for it in outcomes] == [
        b"2:a", b"3:b", b"4:c", b"5:d", b"5:d", b"2:a", b"8:e",
    ]  # fmt: skip
    assert replica.encode(b"x") == b"x"
    assert replica.query(lambda echo: len(echo.seen)) == 5
    fresh = Replica(Echo)
    fresh.restore(replica.snapshot())
    assert (fresh.machine.seen, fresh.digest()) == (replica.machine.seen, replica.digest())


def test_a_header_that_is_none_stops_a_bytes_machine_there_with_all_before_it_applied() -> None:
    """As a machine of commands stops: where it is, and nowhere before, however many came together."""
    replica = replica_with(ask(b"a", 1), factory=Echo)
    torn = (Kind.COMMAND, b"no header")

    with pytest.raises(UnknownCommand, match="index 5") as stopped:
        replica.apply([run(3, ask(b"b", 2), ask(b"c", 3), torn, ask(b"d", 4))])

    assert (stopped.value.index, replica.applied) == (5, 4)
    assert [replica.result_of(None, it[2]) for it in stopped.value.outcomes] == [b"3:b", b"4:c"]
    assert replica.machine.seen == [b"a", b"b", b"c"]


class Broken(Echo):
    how = ""

    def apply(self, batch: Batch) -> Any:
        match batch.commands[0]:
            case b"few":
                return []
            case b"str":
                return ["x"]
            case b"exit":
                raise SystemExit(1)
            case b"loads":
                return [loads(b"")]
            case _:
                raise ValueError("no")


@pytest.mark.parametrize(
    "body, line",
    [
        (b"few", "must return 1 results of type bytes"),
        (b"str", "must return 1 results of type bytes"),
        (b"raise", r"Broken\.apply raised ValueError: no"),
        (b"exit", r"Broken\.apply raised SystemExit: 1"),
        (b"loads", r"Broken\.apply raised MalformedError"),
    ],
)
def test_any_exception_of_a_bytes_machine_halts_the_node(body: bytes, line: str) -> None:
    with pytest.raises(StateMachineFailed, match=line):
        apply_one(Replica(Broken), ask(body, 1, NONCE))


class Half(Echo):
    def restore(self, chunks: Iterable[bytes]) -> None:
        self.seen = [next(iter(chunks))]


class Raising(Echo):
    def restore(self, chunks: Iterable[bytes]) -> None:
        raise KeyError("no")


def test_a_bytes_machine_that_can_not_be_restored_leaves_the_old_state() -> None:
    data = list(replica_with(ask(b"a", 1), ask(b"b", 2), factory=Echo).snapshot())

    for factory, line in (
        (Half, r"Half\.restore left a part of it unread"),
        (Raising, "raised KeyError"),
    ):
        replica = Replica(factory)
        before = replica.machine
        with pytest.raises(StateMachineFailed, match=line):
            replica.restore(data)
        assert (replica.machine, replica.applied) == (before, 0)


class Unwritable(Echo):
    """Its snapshots fail as it was told: at once, or with the second chunk."""

    def snapshot(self) -> Iterable[bytes]:
        match self.seen:
            case [b"now", *_]:
                raise KeyError("no")
            case [b"later", *_]:
                return self._chunks()
            case [b"disk", *_]:
                raise OSError(28, "No space left on device")
            case _:
                return super().snapshot()

    def _chunks(self) -> Iterator[bytes]:
        yield b"one"
        raise KeyError("no")


@pytest.mark.parametrize("body", [b"now", b"later"])
def test_a_bytes_machine_that_raises_in_snapshot_can_not_be_written(body: bytes) -> None:
    replica = Replica(Unwritable)
    apply_one(replica, ask(body, 1, NONCE))

    with pytest.raises(StateUnwritable) as caught:
        b"".join(replica.snapshot())

    assert (caught.value.index, caught.value.where) == (1, "Unwritable.snapshot")
    assert caught.value.why == "raised KeyError: 'no'"


def test_a_bytes_machine_that_lacks_its_disk_in_snapshot_halts_the_node() -> None:
    replica = Replica(Unwritable)
    apply_one(replica, ask(b"disk", 1, NONCE))

    with pytest.raises(StateMachineFailed, match="No space left on device"):
        b"".join(replica.snapshot())


class Digesting(Echo):
    def digest(self) -> bytes:
        return bytes([len(self.seen)])


def test_a_bytes_machine_may_have_a_digest_of_its_own() -> None:
    a, b = (replica_with(ask(it, 1, NONCE), factory=Digesting) for it in (b"a", b"b"))

    assert a.digest() == b.digest()
    assert b"".join(a.snapshot()) != b"".join(b.snapshot())
    assert a.digest() != replica_with(factory=Digesting).digest()


def test_only_bytes_are_commands_of_a_bytes_machine() -> None:
    replica = Replica(Echo)

    assert replica.newest_version == 1
    with pytest.raises(RaftInternalError):
        replica.result_of(None, rejected(["Rejected", "no"]))
    for other in "x", bytearray(b"x"), Bank.draw():
        with pytest.raises(LocalProtocolError, match="commands are bytes"):
            replica.encode(other)
    with pytest.raises(LocalProtocolError, match="takes a function of the machine"):
        replica.query(Bank.history())
