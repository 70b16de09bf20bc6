"""The first promise of a machine: the same log gives the same state and answers, in every process."""

from __future__ import annotations

from collections.abc import Sequence

from raftkit.testing.machines.copy import Answer, Copy, Factory
from raftkit.testing.machines.exploring import Commands, explore
from raftkit.testing.machines.story import (
    DefectFound,
    Step,
    Turn,
    apart,
    applied,
    different_fields,
    turns,
)
from raftkit.testing.machines.traps import Traps
from raftkit.testing.machines.twin import Twin, open_twin

__all__ = ["check_deterministic"]

_CHECK = "Determinism"


def check_deterministic(
    factory: Factory, *, commands: Commands = None, examples: int = 100
) -> None:
    """Apply the same logs here and in a second process with another hash seed; compare after each command.

    While a command runs, clocks, chance, the environment and files are watched. `commands` is a strategy for
    one command, by default any that the annotations allow; or the commands of one log. `factory` must have a
    name in a module, since the other process imports it.

    Raises DefectFound with the shortest log that shows it; LocalProtocolError for a factory without a name.
    """
    with open_twin(factory) as twin:

        def check(log: Sequence[Step]) -> None:
            copy = Copy(factory)
            twin.renew()
            for turn in turns(copy, log):
                _compare(copy, twin, turn, log)

        explore(factory, commands, check, examples=examples)


def _compare(copy: Copy, twin: Twin, turn: Turn, log: Sequence[Step]) -> None:
    with Traps() as traps:
        here = applied(_CHECK, copy, turn, log)
    if traps.sprung is not None:
        raise DefectFound(_CHECK, f"{turn.where} {traps.sprung}", log)
    there = twin.apply(turn.entry)
    if not isinstance(there, Answer):
        fact = f"{turn.where} was applied here, and in a second process it was not: {there}"
        raise DefectFound(_CHECK, fact, log)
    if here.reply != there.reply:
        answers = apart(_shown(copy, here.reply), _shown(copy, there.reply))
        raise DefectFound(_CHECK, f"{turn.where} was answered differently: {answers}", log)
    if here.digest != there.digest:
        states = different_fields(copy.fields(), twin.fields())
        raise DefectFound(_CHECK, f"{turn.where} left different states: {states}", log)


def _shown(copy: Copy, reply: bytes) -> str:
    try:
        return repr(copy.replica.result_of(None, reply))
    except Exception as error:  # noqa: BLE001 - what a command is answered with is an exception too
        return f"{type(error).__name__}: {error}"
