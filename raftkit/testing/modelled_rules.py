"""What Hypothesis state machines over a user's machine share: the machine, its commands, a model of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrs

from raftkit.driver.replica import Replica
from raftkit.errors import CommandFailed, Rejected
from raftkit.statemachine import Command, StateMachine
from raftkit.statemachine.declaration import methods_of
from raftkit.statemachine.upgrades import upgrades_of
from raftkit.testing.applying import applying
from raftkit.testing.machines.copy import Factory
from raftkit.testing.machines.strategies import commands
from raftkit.testing.with_hypothesis import st, stateful

__all__ = ["ModelledRules", "Moment", "outcome_of"]

_INT_BITS_MAX = 72


@attrs.frozen(kw_only=True)
class Moment:
    """The entry that is applied: what a machine is told of it as `ctx`."""

    index: int
    "Its index."
    term: int
    "Its term."
    time_ns: int
    "Its stamp: see `Run`."
    elapsed_ns: int
    "The same."


class ModelledRules(stateful.RuleBasedStateMachine):
    """Set `factory`; override `model`, `commands` or `agree`; add rules and invariants of your own."""

    factory: ClassVar[Factory]
    "Makes the machine, a `StateMachine`, at index 0."

    def __init__(self) -> None:
        super().__init__()
        self.free = self.model()

    @classmethod
    def make(cls) -> Factory:
        """The factory as it was written: from the class, since a function there is no method."""
        found = next(vars(it)["factory"] for it in cls.__mro__ if "factory" in vars(it))
        return found.__func__ if isinstance(found, staticmethod) else found

    @classmethod
    def commands(cls) -> st.SearchStrategy[Command[Any, Any]]:
        """What is executed; by default whatever the annotations allow in the newest version."""
        make = cls.make()
        machine: object = make()
        newest = Replica(make).newest_version
        return commands(type(machine), version=newest, int_bits_max=_INT_BITS_MAX)

    def model(self) -> Any:
        """An object with a method for each command; by default a free instance of the machine."""
        return self.make()()

    def agree(self, machine: Any, model: Any) -> None:
        """Asserts that the group's machine is as the model says; by default that the two are equal."""
        assert machine == model, f"the group has {machine!r:.300}, the model {model!r:.300}"

    def call(self, command: Command[Any, Any], moment: Moment) -> tuple[str, Any]:
        """What comes of the command at the model: as `outcome_of` says."""
        names = [it.name for it in methods_of(command.machine)[command.name].parameters]
        arguments = dict(zip(names, command.arguments, strict=True))
        method = getattr(self.free, command.name)
        return outcome_of(lambda: self.lend(lambda: method(**arguments), moment))

    def upgrade(self, moment: Moment) -> None:
        """The newest version is in force, for a model that is a machine."""
        if isinstance(self.free, StateMachine):
            for _, upgrade in sorted(upgrades_of(type(self.free)).items()):
                self.lend(getattr(self.free, upgrade.name), moment)

    def lend(self, call: Callable[[], Any], moment: Moment) -> Any:
        """What `call` returns, with `ctx` of that entry for a model that is a machine."""
        if not isinstance(self.free, StateMachine):
            return call()
        with applying(
            self.free,
            index=moment.index,
            term=moment.term,
            time_ns=moment.time_ns,
            elapsed_ns=moment.elapsed_ns,
        ):
            return call()


def outcome_of(call: Callable[[], Any]) -> tuple[str, Any]:
    """A result, a refusal with its arguments, or the type of an exception: what two calls are compared by."""
    try:
        return "result", call()
    except Rejected as error:
        return type(error).__name__, error.args
    except CommandFailed as error:
        return "exception", error.type
    except Exception as error:  # noqa: BLE001 - of the model, whose command is as broken as the group's
        return "exception", type(error).__name__
