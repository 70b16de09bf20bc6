"""Versions of a machine on one replica: when one comes in force, and what is written before and after."""

from __future__ import annotations

from typing import Annotated, Any

import attrs
import pytest

from raftkit.driver.replica import Replica, UnknownCommand
from raftkit.driver.sessions import pack_header
from raftkit.errors import NotYetEnabled, StateMachineFailed
from raftkit.model import Kind
from raftkit.statemachine import StateMachine, command, since, upgrade
from tests.driver.replicas import NONCE, Echo, Entry, apply_one, ask, configuration, run


@attrs.define
class Old(StateMachine):
    """The code of version 1."""

    cents: dict[str, int] = attrs.field(factory=dict)

    @command
    def set(self, name: str, cents: int) -> int:
        self.cents[name] = cents
        return len(self.cents)


@attrs.define
class Middle(StateMachine):
    """The code of version 2: a currency, which was always the same one, and a note."""

    cents: dict[str, int] = attrs.field(factory=dict)
    currency: str = attrs.field(default="", metadata=since(2))
    notes: list[str] = attrs.field(factory=list, metadata=since(2))

    @command
    def set(self, name: str, cents: int, note: Annotated[str, since(2)] = "") -> int:
        self.cents[name] = cents
        if note:
            self.notes.append(note)
        return len(self.cents)

    @command(since=2)
    def forget(self, name: str) -> None:
        del self.cents[name]

    @upgrade(to=2)
    def name_the_currency(self) -> None:
        self.currency = "CHF"


@attrs.define
class New(Middle):
    """The code of version 3: every price is ten times as many, and where it was changed is known."""

    changed: tuple[int, int] = attrs.field(default=(0, 0), metadata=since(3))

    @upgrade(to=3)
    def count_mills(self) -> None:
        self.cents = {name: 10 * it for name, it in self.cents.items()}
        self.changed = (self.ctx.index, self.ctx.elapsed_ns)


def to(version: int) -> Entry:
    """The entry that brings `version` in force."""
    return Kind.VERSION, pack_header(NONCE, 1, 0) + version.to_bytes(8, "big")


def with_(factory: Any, *entries: Entry) -> Replica[Any]:
    replica = Replica(factory, paranoid=True)
    if entries:
        replica.apply([run(1, *entries)])
    return replica


SET = Kind.COMMAND, pack_header(NONCE, 1, 0) + Replica(Old).encode(Old.set("tea", 250))


def test_a_version_comes_in_force_by_its_entry() -> None:
    """And the answer is the version then in force."""
    replica = with_(Middle, SET)
    with pytest.raises(NotYetEnabled, match="needs version 2"):
        replica.encode(Middle.forget("tea"))
    with pytest.raises(NotYetEnabled, match="needs version 2"):
        replica.encode(Middle.set("tea", 1, note="cheap"))
    assert replica.encode(Middle.set("tea", 250)) == SET[1][24:]

    reply = apply_one(replica, to(2))

    assert (replica.version, int.from_bytes(reply[1:], "big")) == (2, 2)
    assert replica.machine == Middle(cents={"tea": 250}, currency="CHF")
    apply_one(replica, ask(replica.encode(Middle.set("tea", 1, note="cheap")), 2, NONCE))
    apply_one(replica, ask(replica.encode(Middle.forget("tea")), 3, NONCE))
    assert replica.machine == Middle(currency="CHF", notes=["cheap"])


def test_upgrades_run_one_after_the_other_each_once() -> None:
    """By one entry or by two; an entry of a version that is in force changes nothing."""
    at_once = with_(New, SET, to(3), to(3), to(2), to(1))
    in_turn = with_(New, SET, to(2), to(2), to(3), to(2))

    assert at_once.version == in_turn.version == 3
    assert at_once.machine == New(cents={"tea": 2500}, currency="CHF", changed=(2, 10))
    assert in_turn.machine == New(cents={"tea": 2500}, currency="CHF", changed=(4, 10))


def test_a_group_begins_with_the_version_that_its_configuration_names() -> None:
    founded = (Kind.CONFIGURATION, configuration(version=2).encode())
    changed = (Kind.CONFIGURATION, configuration(version=1).encode())
    replica = with_(Middle, founded, SET, changed)

    assert replica.version == 2
    assert replica.machine.currency == "CHF"


def test_a_command_of_before_means_the_same_behind_the_version_entry() -> None:
    """It was on its way when the version came in force: a leader may append it behind."""
    replica = with_(New, to(3), SET)

    assert replica.machine.cents == {"tea": 250}
    assert replica.machine.notes == []


# ── code that is older ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "entry",
    [to(3), (Kind.CONFIGURATION, configuration(version=3).encode())],
    ids=["raised", "founded"],
)
def test_older_code_stops_before_the_entry_that_brings_a_later_version(entry: Entry) -> None:
    replica, expected = with_(Middle, SET), with_(Middle, SET)

    with pytest.raises(UnknownCommand) as caught:
        replica.apply([run(2, entry, SET)])

    assert str(caught.value) == (
        "can't apply the entry at index 2: it brings version 3 of the machine in force, and this code has "
        "version 2; upgrade this node's code"
    )
    assert (replica.applied, replica.digest()) == (1, expected.digest())


def test_older_code_refuses_a_snapshot_of_a_later_version_and_stays_as_it_was() -> None:
    """Where it ran newer code before, it was downgraded: nothing is dropped of what it can't read."""
    snapshot = list(with_(Middle, SET, to(2)).snapshot())
    old, expected = with_(Old, SET), with_(Old, SET)

    with pytest.raises(UnknownCommand, match=r"a snapshot of version 2 .* this code has version 1"):
        old.restore(snapshot)

    assert old.digest() == expected.digest()


@pytest.mark.parametrize("payload", [b"", b"x" * 31, b"x" * 33])
def test_a_version_entry_that_this_code_can_not_read_is_of_newer_code(payload: bytes) -> None:
    with pytest.raises(UnknownCommand, match="bytes are no"):
        with_(Middle, (Kind.VERSION, payload))


def test_a_bytes_machine_has_one_version() -> None:
    with pytest.raises(UnknownCommand, match="this code has version 1"):
        with_(Echo, to(2))
    with_(Echo, to(1))


# ── snapshots ────────────────────────────────────────────────────────────────────────────────────────


def test_nodes_of_all_code_write_the_same_bytes_until_a_version_comes_in_force() -> None:
    """So their digests can be compared, and each restores what another wrote."""
    replicas = [with_(it, SET, SET) for it in (Old, Middle, New)]

    assert len({it.digest() for it in replicas}) == 1
    for other in (Old, Middle, New):
        restored = Replica(other)
        restored.restore(replicas[-1].snapshot())
        assert restored.machine.cents == {"tea": 250}  # type: ignore[attr-defined]


def test_a_snapshot_names_its_version_and_holds_its_fields() -> None:
    replica = with_(New, SET, to(2))
    restored = Replica(New)
    restored.restore(replica.snapshot())

    assert restored.version == 2
    assert restored.machine == replica.machine
    assert b"currency" in b"".join(replica.snapshot())
    assert b"changed" not in b"".join(replica.snapshot())
    apply_one(restored, to(3))
    apply_one(replica, to(3))
    assert restored.digest() == replica.digest()


def test_a_snapshot_is_of_the_version_in_which_it_was_captured() -> None:
    """It is written while applying goes on, and a version may come in force meanwhile."""
    replica, expected = with_(New, SET), b"".join(with_(New, SET).snapshot())
    capture = replica.capture()

    apply_one(replica, to(3))

    assert b"".join(capture) == expected


# ── upgrades that fail ───────────────────────────────────────────────────────────────────────────────


@attrs.define
class Broken(Old):
    @upgrade(to=2)
    def divide(self) -> None:
        self.cents = {name: 1 // it for name, it in self.cents.items()}


@attrs.define
class Careless(StateMachine):
    cents: int = 0

    @upgrade(to=2)
    def spoil(self) -> None:
        self.cents = "none"  # type: ignore[assignment]


def test_an_upgrade_that_raises_ends_the_node() -> None:
    """On every node alike: to go on half upgraded would part it from nodes with mended code."""
    replica = with_(lambda: Broken(cents={"tea": 0}))

    with pytest.raises(StateMachineFailed) as caught:
        apply_one(replica, to(2))

    assert str(caught.value) == (
        "Broken.divide, which makes version 2, raised at index 1 ZeroDivisionError: integer division or "
        "modulo by zero; nothing is lost: mend it and start every node again"
    )


def test_a_paranoid_node_looks_at_what_an_upgrade_left() -> None:
    with pytest.raises(StateMachineFailed, match=r"Careless\.spoil left at index 1 what can't be"):
        with_(Careless, to(2))
