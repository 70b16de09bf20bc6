"""Snapshots and digests of a replica: whole or refused, the same bytes for the same state."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from raftkit.driver.replica import Replica, UnknownCommand
from raftkit.driver.replies import (
    Void,
    decode_reply,
)
from raftkit.errors import (
    ConfigError,
    LocalProtocolError,
    Rejected,
    StateMachineFailed,
    StateUnwritable,
)
from raftkit.model import Kind
from raftkit.statemachine import StateMachine, command, query, since
from tests.driver.replicas import (
    NONCE,
    Echo,
    apply_one,
    ask,
    full_replica,
    replica_with,
    run,
)
from tests.statemachine.bank import Bank, Colour


def test_a_snapshot_holds_everything() -> None:
    full, fresh = full_replica(), Replica(Bank)
    data = b"".join(full.snapshot())

    fresh.restore([data])

    assert b"".join(fresh.snapshot()) == data
    assert fresh.digest() == full.digest()
    assert fresh.machine == full.machine
    assert list(fresh.machine.accounts) == list(full.machine.accounts)
    for name in [
        "applied",
        "applied_term",
        "time_ns",
        "elapsed_ns",
        "version",
        "configuration",
        "configuration_index",
    ]:
        assert getattr(fresh, name) == getattr(full, name), name
    assert decode_reply(apply_one(fresh, ask(Bank.put("late"), 203))) == Void()
    assert (
        fresh.result_of(None, apply_one(fresh, ask(Bank.put("owner 1", 2**60), 101))) == 102 * 2**60
    )
    with pytest.raises(LocalProtocolError):
        fresh.machine.put("x")


@pytest.mark.parametrize("size", [1, 3, 64, 4096])
def test_a_snapshot_is_read_in_chunks_of_any_size(size: int) -> None:
    data = b"".join(full_replica().snapshot())
    fresh = Replica(Bank)

    fresh.restore(data[at : at + size] for at in range(0, len(data), size))

    assert b"".join(fresh.snapshot()) == data


def test_the_bytes_of_a_snapshot_are_golden() -> None:
    replica = replica_with(
        ask(Bank.put("ann", 5), 1), ask(Bank.paint(Colour.GREEN), 2, ack_below=1)
    )

    assert b"".join(replica.snapshot()).hex() == GOLDEN


GOLDEN = (
    "000000218767726166746b697402666669656c6473018403011903e80a8200f683031860000000000000000023840101"
    "0a8401470082637075740502530082657061696e74826352454465475245454e000000000000003882686163636f756e"
    "7473782c646963745b7374722c204163636f756e74286f776e65723a207374722c2062616c616e63653a20696e74295d"
    "0000000b8263616e6e8263616e6e05000000000000001b82636c6f67756c6973745b7475706c655b7374722c20696e74"
    "5d5d00000007818263616e6e05000000000000000f8266636f6c6f757266436f6c6f7572000000078165475245454e00"
    "0000000000000b8265647261776e63696e7400000002810000000000"
)


def test_applying_goes_on_while_a_snapshot_is_written() -> None:
    full = full_replica()
    expected = b"".join(full.snapshot())
    writing = iter(full.capture())
    head = next(writing)

    for _ in range(3):
        full.apply(
            [run(full.applied + 1, ask(Bank.put("owner 3"), 300 + _, ack_below=300), term=9)]
        )

    assert head + b"".join(writing) == expected
    assert b"".join(full.snapshot()) != expected


@given(st.data())
def test_any_cut_or_flip_is_refused_whole_or_read_whole(data: st.DataObject) -> None:
    snapshot = b"".join(_SMALL.snapshot())
    at = data.draw(st.integers(0, len(snapshot) - 1))
    flip = data.draw(st.integers(0, 255))
    bad = (
        snapshot[:at]
        if flip == 0
        else snapshot[:at] + bytes([snapshot[at] ^ flip]) + snapshot[at + 1 :]
    )
    replica = replica_with(ask(Bank.put("zoe"), 1))
    before, machine = replica.digest(), replica.machine

    try:
        replica.restore([bad])
    except (StateMachineFailed, UnknownCommand):
        assert replica.digest() == before
        assert replica.machine is machine
    else:
        # Whether the bytes are the right ones is for checksums to say.
        assert flip
        assert replica.machine is not machine


_SMALL = replica_with(ask(Bank.put("ann", 5), 1))


def _refusing() -> Iterable[bytes]:
    yield from [b"".join(_SMALL.snapshot())[:40]]
    raise OSError(5, "Input/output error")


def test_a_read_that_fails_half_way_leaves_the_old_state() -> None:
    replica = replica_with(ask(Bank.put("zoe"), 1))
    before = replica.digest()

    with pytest.raises(OSError, match="Input/output"):
        replica.restore(_refusing())
    with pytest.raises(StateMachineFailed, match="goes on after its end"):
        replica.restore([*_SMALL.snapshot(), b"x"])

    assert replica.digest() == before


@attrs.define
class Renamed(StateMachine):
    accounts: dict[str, int] = attrs.field(factory=dict)


def test_a_snapshot_of_other_fields_or_of_newer_code_is_refused() -> None:
    with pytest.raises(
        StateMachineFailed, match=r"it has the field \['accounts', 'dict\[str, Account"
    ):
        Replica(Renamed).restore(_SMALL.snapshot())
    with pytest.raises(
        StateMachineFailed, match="it is of a machine of fields, this one is of bytes"
    ):
        Replica(Echo).restore(_SMALL.snapshot())
    data = b"".join(_SMALL.snapshot())
    newer = data.replace(b"\x67raftkit\x02", b"\x67raftkit\x03")
    with pytest.raises(UnknownCommand, match="a snapshot of format 3, this code knows 2"):
        Replica(Renamed).restore([newer])
    older = data.replace(b"\x67raftkit\x02", b"\x67raftkit\x01")
    with pytest.raises(StateMachineFailed, match="of format 1, from before the first release"):
        Replica(Renamed).restore([older])
    later = data.replace(b"\x66fields\x01", b"\x66fields\x02")
    with pytest.raises(UnknownCommand, match="a snapshot of version 2"):
        Replica(Renamed).restore([later])


def test_a_later_version_reads_a_snapshot_with_its_fields() -> None:
    replica = Replica(Bank)
    replica.restore(_SMALL.snapshot())

    assert replica.machine.label == "plain"
    assert replica.newest_version == 2
    assert b"label" not in b"".join(_SMALL.snapshot())


@attrs.define
class Nested(StateMachine):
    snapshot_mode = "pause"
    queues: dict[str, list[int]] = attrs.field(factory=dict)

    @command
    def push(self, name: str, item: int) -> None:
        self.queues.setdefault(name, []).append(item)

    @query
    def all(self) -> dict[str, list[int]]:
        return self.queues


def test_a_machine_that_pauses_is_written_at_the_point() -> None:
    replica = Replica(Nested)
    push = replica.encode(Nested.push("a", 1))
    apply_one(replica, ask(push, 1, NONCE))
    expected, capture = b"".join(replica.snapshot()), replica.capture()
    apply_one(replica, ask(push, 2, NONCE))

    assert b"".join(capture) == expected
    assert replica.query(Nested.all()) == {"a": [1, 1]}


# ── a state that can't be written ────────────────────────────────────────────────────────────────────


@attrs.define
class Sloppy(StateMachine):
    total: int = 0
    names: dict[str, int] = attrs.field(factory=dict)
    label: str = attrs.field(default="plain", metadata=since(2))

    @command
    def spoil(self, how: str) -> None:
        match how:
            case "value":
                self.total = "x"  # type: ignore[assignment]
            case "element":
                self.names["a"] = None  # type: ignore[assignment]
            case "field":
                self.names = None  # type: ignore[assignment]
            case "gone":
                del self.total
            case "later":
                self.label = "fancy"
            case "refused":
                self.total = "x"  # type: ignore[assignment]
                raise Rejected("no, but too late")
            case _:
                self.names = {str(it): it for it in range(64)}

    @command
    def mend(self) -> None:
        self.total, self.names = 0, {}

    def on_clock(self) -> None:
        self.total = None  # type: ignore[assignment]


@attrs.define
class Pausing(Sloppy):
    snapshot_mode = "pause"


SPOILT = {
    "value": ("total", "expected int, got str 'x'"),
    "element": ("names['a']", "expected int, got None"),
    "field": ("names", "expected dict[str, int], got None"),
    "gone": ("total", "expected int, got _Nothing NOTHING"),
    "later": ("label", "label = str 'fancy' needs version 2"),
}


def spoil(replica: Replica[Any], how: str) -> None:
    apply_one(replica, ask(replica.encode(Sloppy.spoil(how)), 1, NONCE))


@pytest.mark.parametrize("how, named", SPOILT.items())
def test_a_field_that_is_not_as_annotated_can_not_be_written(
    how: str, named: tuple[str, str]
) -> None:
    """What is wrong is named, and where it stands; the capture of it goes well where writing comes later."""
    replica = Replica(Sloppy)
    spoil(replica, how)
    capture = replica.capture()

    with pytest.raises(StateUnwritable) as caught:
        b"".join(capture)
    with pytest.raises(StateUnwritable):
        replica.digest()

    where, why = named
    assert (caught.value.index, caught.value.where) == (1, f"Sloppy.{where}")
    assert caught.value.why.startswith(why)


def test_a_machine_that_pauses_says_at_once_that_it_can_not_be_written() -> None:
    replica = Replica(Pausing)
    spoil(replica, "value")

    with pytest.raises(StateUnwritable, match=r"at index 1 can't be written: Pausing\.total: "):
        replica.capture()


def test_a_command_that_mends_the_field_lets_it_be_written_again() -> None:
    replica, fresh = Replica(Sloppy), Replica(Sloppy)
    spoil(replica, "element")
    apply_one(replica, ask(replica.encode(Sloppy.mend()), 2, NONCE))

    fresh.restore(replica.snapshot())

    assert fresh.digest() == replica.digest()


@attrs.define
class Empty(StateMachine):
    total: int = None  # type: ignore[assignment]


def test_a_machine_that_can_not_be_written_from_the_start_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Empty that can't be written: total: expected int"):
        Replica(lambda: Empty())  # noqa: PLW0108 - as a class it is no factory of its type


@pytest.mark.parametrize("how", [*SPOILT, "refused"])
def test_a_paranoid_replica_halts_at_the_command_that_left_what_can_not_be_written(
    how: str,
) -> None:
    replica = Replica(Sloppy, paranoid=True)
    apply_one(replica, ask(replica.encode(Sloppy.mend()), 1, NONCE))

    with pytest.raises(StateMachineFailed, match=r"Sloppy\.spoil left at index 2 what can't be"):
        spoil(replica, how)


def test_a_paranoid_replica_halts_at_the_clock_entry_that_left_what_can_not_be_written() -> None:
    replica = Replica(Sloppy, paranoid=True)

    with pytest.raises(StateMachineFailed, match=r"Sloppy\.on_clock left at index 1"):
        replica.apply([run(1, (Kind.CLOCK, b""))])


def test_a_paranoid_replica_does_not_look_through_large_fields() -> None:
    """A command on a large state would cost as much as a snapshot of it."""
    replica = Replica(Sloppy, paranoid=True)
    spoil(replica, "large")

    spoil(replica, "element")  # the 65th

    with pytest.raises(StateUnwritable):
        replica.digest()


# ── digests ──────────────────────────────────────────────────────────────────────────────────────────

HASHED = """
import logging
logging.disable()
from tests.driver.replicas import full_replica
print(full_replica().digest().hex())
"""


@pytest.mark.slow
def test_digests_do_not_depend_on_the_hash_seed() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", HASHED],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("0", "1", "77")
    }

    assert digests == {full_replica().digest().hex() + "\n"}
