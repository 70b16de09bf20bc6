"""A Hypothesis state machine to subclass: your machine in a group against a plain object of yours.

    class CounterRules(GroupRules):
        factory = Counter

    TestCounter = CounterRules.TestCase

Commands are executed in a group of three whose members lag, crash, restart, snapshot and take over (see
`machine_group`: the log is played, elections and disks are not), and on a model, which is one free instance
of the same class unless you say otherwise. Results are compared after each command, states after each step.

Law: Hypothesis chooses everything, so a failure is found again, made shorter, and printed as a program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from raftkit.driver.replica import Replica
from raftkit.errors import CommandFailed, Rejected
from raftkit.model import NodeId
from raftkit.statemachine import Command, StateMachine
from raftkit.statemachine.declaration import methods_of
from raftkit.statemachine.upgrades import upgrades_of
from raftkit.testing.applying import applying
from raftkit.testing.machine_copy import EPOCH_NS, Factory
from raftkit.testing.machine_group import Group
from raftkit.testing.machine_story import DefectFound
from raftkit.testing.machine_strategies import commands
from raftkit.testing.with_hypothesis import st, stateful

__all__ = ["GroupRules"]

_INT_BITS_MAX = 72
_NAMES = st.sampled_from("abc")
_SECOND_NS = 1_000_000_000


class GroupRules(stateful.RuleBasedStateMachine):
    """Set `factory`; override `model`, `commands` or `agree`; add rules and invariants of your own."""

    factory: ClassVar[Factory]
    "Makes the machine, a `StateMachine`, at index 0."

    def __init__(self) -> None:
        super().__init__()
        # From the class: a function there is no method.
        make = _written(type(self), "factory")
        self.group = Group(make)
        self.free = self.model()
        if isinstance(self.free, StateMachine):
            for _, upgrade in sorted(upgrades_of(type(self.free)).items()):
                self._lent(getattr(self.free, upgrade.name))

    @classmethod
    def commands(cls) -> st.SearchStrategy[Command[Any, Any]]:
        """What is executed; by default whatever the annotations allow in the newest version."""
        make = _written(cls, "factory")
        machine: object = make()
        newest = Replica(make).newest_version
        return commands(type(machine), version=newest, int_bits_max=_INT_BITS_MAX)

    def model(self) -> Any:
        """An object with a method for each command; by default a free instance of the machine."""
        return _written(type(self), "factory")()

    def agree(self, machine: Any, model: Any) -> None:
        """Asserts that the leader's machine is as the model says; by default that the two are equal."""
        assert machine == model, f"the group has {machine!r:.300}, the model {model!r:.300}"

    # ── rules ────────────────────────────────────────────────────────────────────────────────────────

    @stateful.rule(data=st.data())
    def execute(self, data: st.DataObject) -> None:
        """A command gets the same answer from the group as from the model."""
        command = data.draw(type(self).commands())
        reply = self.group.execute(command)
        expected = _outcome(lambda: self._call(command))
        replica = self.group.members[self.group.leader].replica
        answer = _outcome(lambda: replica.result_of(command, reply))
        if answer != expected:
            raise DefectFound("Group", f"{command!s:.200} gave {answer}, and the model {expected}")

    @stateful.rule(name=_NAMES, count=st.integers(1, 3))
    def follow(self, name: NodeId, count: int) -> None:
        """A member applies some of what it lacks."""
        self.group.follow(name, count)

    @stateful.rule(name=_NAMES)
    def restart(self, name: NodeId) -> None:
        """A member crashes and begins again."""
        self.group.restart(name)

    @stateful.rule(name=_NAMES)
    def take_snapshot(self, name: NodeId) -> None:
        """A member keeps a snapshot."""
        self.group.take_snapshot(name)

    @stateful.rule(sender=_NAMES, name=_NAMES)
    def send_snapshot(self, sender: NodeId, name: NodeId) -> None:
        """A member is sent another's snapshot, if it lags."""
        self.group.send_snapshot(sender, name)

    @stateful.rule(name=_NAMES)
    def elect(self, name: NodeId) -> None:
        """A member leads from now on."""
        self.group.elect(name)

    @stateful.rule(seconds=st.sampled_from([1, 60, 3600]))
    def pass_time(self, seconds: int) -> None:
        """What is due by time alone is done by both."""
        if self.group.pass_time(seconds * _SECOND_NS):
            self._lent(self.free.on_clock)

    @stateful.invariant()
    def group_and_model_agree(self) -> None:
        """The leader's machine is as the model says."""
        self.agree(self.group.members[self.group.leader].replica.machine, self.free)

    def teardown(self) -> None:
        """Everyone applies the rest of the log, and is as the first who did."""
        for name in self.group.members:
            self.group.follow(name)

    # ── the model ────────────────────────────────────────────────────────────────────────────────────

    def _call(self, command: Command[Any, Any]) -> Any:
        names = [it.name for it in methods_of(command.machine)[command.name].parameters]
        arguments = dict(zip(names, command.arguments, strict=True))
        return self._lent(lambda: getattr(self.free, command.name)(**arguments))

    def _lent(self, call: Callable[[], Any]) -> Any:
        """What `call` returns, with `ctx` of the newest entry for a model that is a machine."""
        if not isinstance(self.free, StateMachine):
            return call()
        with applying(
            self.free,
            index=len(self.group.log),
            term=self.group.term,
            time_ns=EPOCH_NS + self.group.elapsed_ns,
            elapsed_ns=self.group.elapsed_ns,
        ):
            return call()


def _written(kind: type, name: str) -> Any:
    """The class's attribute as it was written: a function that is the `factory` is no method."""
    found = next(vars(it)[name] for it in kind.__mro__ if name in vars(it))
    return found.__func__ if isinstance(found, staticmethod) else found


def _outcome(call: Callable[[], Any]) -> tuple[str, Any]:
    try:
        return "result", call()
    except Rejected as error:
        return type(error).__name__, error.args
    except CommandFailed as error:
        return "exception", error.type
    except Exception as error:  # noqa: BLE001 - of the model, whose command is as broken as the group's
        return "exception", type(error).__name__
