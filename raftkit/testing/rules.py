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

from raftkit.model import NodeId
from raftkit.testing.machines.copy import EPOCH_NS
from raftkit.testing.machines.group import Group
from raftkit.testing.machines.story import DefectFound
from raftkit.testing.modelled_rules import ModelledRules, Moment, outcome_of
from raftkit.testing.with_hypothesis import st, stateful

__all__ = ["GroupRules"]

_NAMES = st.sampled_from("abc")
_SECOND_NS = 1_000_000_000


class GroupRules(ModelledRules):
    """Set `factory`; override `model`, `commands` or `agree`; add rules and invariants of your own."""

    def __init__(self) -> None:
        super().__init__()
        self.group = Group(self.make())
        self.upgrade(self._now())

    # ── rules ────────────────────────────────────────────────────────────────────────────────────────

    @stateful.rule(data=st.data())
    def execute(self, data: st.DataObject) -> None:
        """A command gets the same answer from the group as from the model."""
        command = data.draw(type(self).commands())
        reply = self.group.execute(command)
        expected = self.call(command, self._now())
        replica = self.group.members[self.group.leader].replica
        answer = outcome_of(lambda: replica.result_of(command, reply))
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
            self.lend(self.free.on_clock, self._now())

    @stateful.invariant()
    def group_and_model_agree(self) -> None:
        """The leader's machine is as the model says."""
        self.agree(self.group.members[self.group.leader].replica.machine, self.free)

    def teardown(self) -> None:
        """Everyone applies the rest of the log, and is as the first who did."""
        for name in self.group.members:
            self.group.follow(name)

    def _now(self) -> Moment:
        """The newest entry."""
        return Moment(
            index=len(self.group.log),
            term=self.group.term,
            time_ns=EPOCH_NS + self.group.elapsed_ns,
            elapsed_ns=self.group.elapsed_ns,
        )
