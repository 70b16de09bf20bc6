"""Strategies for a machine's calls: everything that `execute` accepts, and nothing else."""

from __future__ import annotations

from typing import Annotated, Any

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from raftkit import LocalProtocolError, StateMachine, command
from raftkit.cli.bench.machine import Table
from raftkit.cli.demo.machine import Transcript
from raftkit.statemachine import Command, schema_of
from raftkit.testing.strategies import commands, queries
from tests.kit.shops import Item, Price, Shop, Size
from tests.node.machines import Counter, Journal
from tests.processes.machine import Lists
from tests.statemachine.bank import Bank

MACHINES = [Bank, Counter, Journal, Lists, Shop, Table, Transcript]
DRAWN = settings(max_examples=60)


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("machine", MACHINES)
def test_what_execute_accepts_apply_decodes_to_an_equal_value(
    machine: type[StateMachine], version: int
) -> None:
    schema = schema_of(machine, version)

    @DRAWN
    @given(commands(machine, version=version))
    def check(drawn: Command[Any, Any]) -> None:
        method, arguments = schema.decode(schema.encode(drawn))
        assert method.name == drawn.name
        assert tuple(arguments) == drawn.arguments
        assert [type(it) for it in arguments] == [type(it) for it in drawn.arguments]
        assert repr(arguments) == repr(list(drawn.arguments))

    check()


@DRAWN
@given(queries(Bank))
def test_queries_are_drawn_too(drawn: Any) -> None:
    assert drawn.name in {"balance", "history"}


@attrs.define
class Everything(StateMachine):
    @command
    def take(self, it: list[int | str | float | bytes | Item | Price | Size | None]) -> None:
        """One of each."""


KINDS: dict[str, Any] = {
    "the longest int": lambda it: it == (1 << 512) - 1,
    "an int beyond 64 bits": lambda it: type(it) is int and it < -(1 << 64),
    "a fraction": lambda it: type(it) is float and it % 1 != 0,
    "infinity": lambda it: it == float("inf"),
    "a text that is not ASCII": lambda it: type(it) is str and not it.isascii(),
    "no bytes": lambda it: it == b"",
    "a class with a tuple": lambda it: type(it) is Item and len(it.tags) == 2,
    "a class with a validator": lambda it: type(it) is Price and it.cents > 1000,
    "a member": lambda it: it is Size.LARGE,
    "nothing": lambda it: it is None,
}


@pytest.mark.slow
def test_every_kind_of_value_is_drawn() -> None:
    seen: set[str] = set()

    @settings(max_examples=500)
    @given(commands(Everything))
    def look(drawn: Command[Any, Any]) -> None:
        values: Any = drawn.arguments[0]
        seen.update(name for name, wanted in KINDS.items() if any(map(wanted, values)))

    look()

    assert seen == set(KINDS)


@DRAWN
@given(commands(Counter, int_bits_max=8))
def test_ints_are_as_short_as_asked(drawn: Command[Any, Any]) -> None:
    assert -256 < drawn.arguments[0] < 256  # type: ignore[operator]


@DRAWN
@given(commands(Shop))
def test_what_is_of_a_later_version_keeps_its_default(drawn: Command[Any, Any]) -> None:
    assert drawn.name != "close"
    if drawn.name == "remark":
        assert drawn.arguments[-1] == ""


@pytest.mark.slow
def test_later_commands_and_values_are_drawn_for_their_version() -> None:
    seen: set[tuple[str, bool]] = set()

    @DRAWN
    @given(commands(Shop, version=2))
    def look(drawn: Command[Any, Any]) -> None:
        seen.add((drawn.name, drawn.name == "remark" and drawn.arguments[-1] != ""))

    look()

    assert {("close", False), ("remark", True)} <= seen


@attrs.define
class Dice(StateMachine):
    @command
    def throw(self, eyes: Annotated[int, st.integers(1, 6)]) -> None:
        """An annotation that says how to draw."""


@DRAWN
@given(commands(Dice))
def test_a_strategy_in_an_annotation_is_taken(drawn: Command[Any, Any]) -> None:
    assert drawn.arguments[0] in range(1, 7)


@attrs.define
class Mute(StateMachine):
    pass


def test_a_machine_without_commands_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="Mute declares nothing to call in version 1"):
        commands(Mute)


@DRAWN
@given(commands(Shop))
def test_a_new_type_is_what_it_wraps(drawn: Command[Any, Any]) -> None:
    if drawn.name == "deliver":
        sku, count, _ = drawn.arguments
        assert type(sku) is str
        assert count in {1, 2}
