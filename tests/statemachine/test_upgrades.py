"""Versions of a machine: what its class may say of them, and the fingerprint by which nodes compare code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Annotated, Any

import attrs
import pytest

from raftkit.errors import ConfigError, LocalProtocolError
from raftkit.statemachine import Ownership, StateMachine, command, query, schema_of, since, upgrade
from tests.statemachine.bank import Bank


@attrs.define
class Prices(StateMachine):
    """Cents in version 1; in version 2 the currency is named, and in version 3 it is thousandths."""

    cents: dict[str, int] = attrs.field(factory=dict)
    currency: str = attrs.field(default="", metadata=since(2))
    mills: dict[str, int] = attrs.field(factory=dict, metadata=since(3))

    @command
    def set(self, name: str, cents: int) -> None:
        self.cents[name] = cents

    @upgrade(to=2)
    def name_the_currency(self) -> None:
        """It was always this one."""
        self.currency = "CHF"

    @upgrade(to=3)
    def count_mills(self) -> None:
        self.mills = {name: 10 * it for name, it in self.cents.items()}
        self.cents = {}


def test_the_newest_version_is_the_highest_that_the_class_names() -> None:
    @attrs.define
    class Renamed(StateMachine):
        @upgrade(to=2)
        def begin(self) -> None: ...

    assert [schema_of(it, 1).newest for it in (Prices, Renamed, Bank)] == [3, 2, 2]


def test_an_upgrade_is_a_plain_call_on_a_free_machine_and_refused_on_one_that_a_node_owns() -> None:
    prices = Prices(cents={"tea": 250})

    prices.name_the_currency()
    prices.count_mills()

    assert prices == Prices(currency="CHF", mills={"tea": 2500})
    owned: Any = prices
    owned.__raft_context__ = Ownership.AT_REST
    with pytest.raises(
        LocalProtocolError, match=r"Prices\.count_mills runs by itself when version 3"
    ):
        prices.count_mills()
    assert Prices.name_the_currency.__doc__ == "It was always this one."


def test_an_upgrade_may_call_that_of_its_base() -> None:
    """`super()` without arguments survives the rebuilding of the class by attrs."""

    @attrs.define
    class Stamped(Prices):
        stamp: str = ""

        @upgrade(to=2)
        def name_the_currency(self) -> None:
            super().name_the_currency()
            self.stamp = self.currency.lower()

    stamped = Stamped()

    stamped.name_the_currency()

    assert (stamped.currency, stamped.stamp) == ("CHF", "chf")


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────


def _define(**members: object) -> type:
    return attrs.define(type("It", (StateMachine,), {"__annotations__": {}, **members}))


def _to(version: Any) -> object:
    @upgrade(to=version)
    def change(self: object) -> None: ...

    return change


def _to_one() -> None:
    _to(1)


def _to_a_flag() -> None:
    _to(True)


def _async() -> None:
    @upgrade(to=2)  # type: ignore[arg-type]
    async def change(self: object) -> None: ...


def _with_a_parameter() -> None:
    @upgrade(to=2)  # type: ignore[arg-type]
    def change(self: object, how: str) -> None: ...


def _two_to_one_version() -> None:
    _define(one=_to(2), other=_to(2))


def _hidden() -> None:
    class Hiding(Prices):
        def count_mills(self) -> None: ...  # pyright: ignore[reportIncompatibleVariableOverride]

    attrs.define(Hiding)


def _named_like_a_field() -> None:
    class Both(Prices):
        @upgrade(to=4)
        def cents(self) -> None: ...  # type: ignore[override]

    attrs.define(Both)


def _gap_of_a_command() -> None:
    @command(since=3)
    def go(self: object) -> None: ...

    schema_of(_define(go=go), 1)


@attrs.define
class GapOfAParameter(StateMachine):
    @command
    def go(self, note: Annotated[str, since(4)] = "") -> None: ...

    @upgrade(to=2)
    def change(self) -> None: ...


@attrs.frozen
class Deep:
    note: str = attrs.field(default="", metadata=since(3))


@attrs.define
class GapInside(StateMachine):
    kept: dict[str, Deep] = attrs.field(factory=dict)


@pytest.mark.parametrize(
    "make, line",
    [
        (_to_one, "to=1 must be a version, from 2 on: a machine begins as version 1"),
        (_to_a_flag, "to=True must be a version, from 2 on"),
        (_async, "must be a plain function: no async, no yield"),
        (_with_a_parameter, "takes self, and nothing else"),
        (_two_to_one_version, "It has two upgrades to version 2, one and other: make them one"),
        (_hidden, r"Hiding\.count_mills hides an upgrade: decorate it with @upgrade\(to=3\)"),
        (_named_like_a_field, r"Both\.cents is both a field and a command, query or upgrade"),
        (_gap_of_a_command, "It names version 3, and nothing of version 2: versions are counted"),
        (
            lambda: schema_of(GapOfAParameter, 1),
            "GapOfAParameter names version 4, and nothing of version 3",
        ),
        (lambda: schema_of(GapInside, 1), "GapInside names version 3, and nothing of version 2"),
    ],
)
def test_what_can_not_be_a_version_is_refused_with_one_line(
    make: Callable[[], object], line: str
) -> None:
    with pytest.raises(ConfigError, match=line) as caught:
        make()

    assert "\n" not in str(caught.value)


# ── fingerprints ─────────────────────────────────────────────────────────────────────────────────────

GOLDEN: dict[tuple[type, int], str] = {
    (Bank, 1): "9e75d9a7ba63b6ba",
    (Bank, 2): "23610f66764f3ed1",
    (Prices, 3): "59426b034d6d032e",
}


@pytest.mark.parametrize("machine, version", [(Bank, 1), (Bank, 2), (Prices, 3)])
def test_a_fingerprint_is_the_same_on_every_python(machine: Any, version: int) -> None:
    """Nodes of two Pythons compare theirs, so these bytes change only when what is hashed does."""
    assert schema_of(machine, version).fingerprint.hex()[:16] == GOLDEN[machine, version]


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["1", "2"])
def test_a_fingerprint_is_the_same_in_every_process(seed: str) -> None:
    program = (
        "from raftkit.statemachine import schema_of; from tests.statemachine.bank import Bank;"
        "print(schema_of(Bank, 2).fingerprint.hex())"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )

    assert found.stdout.strip() == schema_of(Bank, 2).fingerprint.hex()


@attrs.define
class Base(StateMachine):
    @command
    def go(self, a: int) -> None: ...


@attrs.define
class AnotherParameter(StateMachine):
    @command
    def go(self, b: int) -> None: ...


@attrs.define
class AnotherType(StateMachine):
    @command
    def go(self, a: str) -> None: ...


@attrs.define
class AnotherField(Base):
    a: int = 0


@attrs.define
class NewInTwo(Base):
    @command(since=2)
    def stay(self) -> None: ...


@attrs.define
class NewInOne(Base):
    @command
    def stay(self) -> None: ...

    @upgrade(to=2)
    def change(self) -> None: ...


@attrs.define
class Upgraded(NewInTwo):
    @upgrade(to=2)
    def change(self) -> None: ...


@attrs.define
class Asked(Base):
    @query
    def value(self) -> int:
        return 1


def test_fingerprints_differ_where_the_log_may_mean_something_else() -> None:
    machines = (Base, AnotherParameter, AnotherType, AnotherField, NewInTwo, NewInOne, Upgraded)

    assert len({schema_of(it, 2).fingerprint for it in machines}) == len(machines)
    # What only a later version has does not count before, and queries are nobody else's.
    assert len({schema_of(it, 1).fingerprint for it in (Base, NewInTwo, Upgraded, Asked)}) == 1
