"""A machine in a played group against its model: good ones agree, planted defects are found."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from raftkit import Rejected, StateMachine, command
from raftkit.testing.machine_conformance import DefectFound
from raftkit.testing.machines.group import Group
from raftkit.testing.rules import GroupRules
from tests.kit.shops import Shop, Sku
from tests.node.machines import Counter

FEW = settings(max_examples=20, stateful_step_count=20, deadline=None)


class ShopRules(GroupRules):
    factory = Shop


TestShop = ShopRules.TestCase
TestShop.settings = FEW
TestShop = pytest.mark.slow(TestShop)


@attrs.define
class Leases(StateMachine):
    """Names that are free again after a minute."""

    held: dict[str, int] = attrs.field(factory=dict)

    @command
    def take(self, name: str) -> int:
        if name in self.held:
            raise Rejected(f"{name} is held")
        self.held[name] = self.ctx.elapsed_ns + 60_000_000_000
        return self.ctx.index

    def next_deadline(self) -> int | None:
        return min(self.held.values(), default=None)

    def on_clock(self) -> None:
        self.held = {k: v for k, v in self.held.items() if v > self.ctx.elapsed_ns}


class LeaseRules(GroupRules):
    factory = Leases


TestLeases = LeaseRules.TestCase
TestLeases.settings = FEW
TestLeases = pytest.mark.slow(TestLeases)


class Tally:
    """A model that is no machine, and knows only sums."""

    def __init__(self) -> None:
        self.total = 0

    def add(self, amount: int) -> int:
        self.total += amount
        return self.total

    def take(self, amount: int) -> int:
        if amount > self.total:
            raise Rejected(f"only {self.total} left")
        return self.add(-amount)

    def divide(self, by: int) -> int:
        self.total //= by
        return self.total


class TallyRules(GroupRules):
    factory = Counter

    def model(self) -> Tally:
        return Tally()

    def agree(self, machine: Any, model: Any) -> None:
        assert machine.total == model.total


@pytest.mark.slow
def test_a_model_may_be_any_object() -> None:
    run_state_machine_as_test(TallyRules, settings=FEW)


class Mistaken(Tally):
    def add(self, amount: int) -> int:
        return super().add(amount) + 1


@pytest.mark.slow
def test_an_answer_that_is_not_the_models_is_found() -> None:
    class Rules(TallyRules):
        def model(self) -> Tally:
            return Mistaken()

    with pytest.raises(DefectFound, match=r"gave \('result', .*\), and the model \('result'"):
        run_state_machine_as_test(Rules, settings=settings(FEW, phases=(Phase.generate,)))


@attrs.define
class Shared(StateMachine):
    """A lost update: what it counts is in the class, which all copies share and no snapshot holds."""

    total: int = 0
    _count: ClassVar[list[int]] = []

    @command
    def add(self) -> None:
        self._count.append(1)
        self.total = len(self._count)


def test_members_that_come_to_another_state_are_found() -> None:
    group = Group(Shared)
    group.execute(Shared.add())

    with pytest.raises(DefectFound, match="member b has another state at index 1 than the first"):
        group.follow("b")


class Skewed(TallyRules):
    """Its model answers as the machine does, and holds something else."""

    def agree(self, machine: Any, model: Any) -> None:
        assert machine.total < 5


@pytest.mark.slow
def test_a_state_that_is_not_the_models_is_found() -> None:
    with pytest.raises(AssertionError, match="assert"):
        run_state_machine_as_test(Skewed, settings=settings(FEW, phases=(Phase.generate,)))


# ── the group itself ─────────────────────────────────────────────────────────────────────────────────


def test_a_member_that_restarts_has_its_snapshot_and_the_log() -> None:
    group = Group(Shop)
    group.execute(Shop.deliver(Sku("a"), 1))
    group.follow("b")
    group.take_snapshot("b")
    group.execute(Shop.deliver(Sku("a"), 2))
    group.follow("b")
    group.restart("b")

    assert group.members["b"].replica.applied == 2  # the first brings version 2 in force
    group.follow("b")
    assert group.members["b"].replica.machine == group.members["a"].replica.machine


def test_a_snapshot_overtakes_only_who_lags() -> None:
    group = Group(Shop)
    for _ in range(3):
        group.execute(Shop.deliver(Sku("a"), 1))
    group.take_snapshot("a")
    group.send_snapshot("a", "c")
    group.execute(Shop.deliver(Sku("a"), 1))
    group.follow("b")
    group.send_snapshot("a", "b")

    assert [it.replica.applied for it in group.members.values()] == [5, 5, 4]


def test_a_new_leader_knows_everything_and_begins_with_a_no_op() -> None:
    group = Group(Shop)
    group.execute(Shop.deliver(Sku("a"), 1))
    group.elect("c")
    group.execute(Shop.deliver(Sku("a"), 1))

    assert (group.members["c"].replica.applied, group.term) == (4, 2)
    assert group.members["c"].replica.machine.stock["a"].count == 2
