"""The kit takes a machine through all its versions, as the log of its group does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis.stateful import run_state_machine_as_test

from raftkit.errors import LocalProtocolError, NotYetEnabled
from raftkit.testing.applying import applying, unchanged
from raftkit.testing.machine_conformance import (
    DefectFound,
    Step,
    check_deterministic,
    check_machine,
    check_rejections,
)
from raftkit.testing.machines.exploring import logs
from raftkit.testing.machines.group import Group
from raftkit.testing.machines.story import InForce
from raftkit.testing.rules import GroupRules
from tests.kit.shops import ClockTill, EarlyTill, Item, Shop, Sku, Till, ZeroTill


@pytest.mark.slow
def test_a_good_machine_of_three_versions_passes() -> None:
    check_machine(Till, examples=20)
    check_machine(Till, commands=[Till.count(), Till.sell("a", 5, times=2)])


def test_logs_go_through_all_versions_with_commands_of_each() -> None:
    seen = set[tuple[int, str, int | None]]()

    @settings(max_examples=50, database=None, derandomize=True, deadline=None)
    @given(logs(Till, None))
    def look(log: list[Step]) -> None:
        version = 1
        for step in log:
            if isinstance(step.command, InForce):
                version += 1
                assert step.command == InForce(version)
            else:
                times = dict(enumerate(step.command.arguments)).get(2)
                seen.add((version, step.command.name, None if times == 1 else 2))
        assert version == 3

    look()
    assert {it for it in seen if it[0] == 1} == {(1, "sell", None)}
    assert {(2, "count", 2), (2, "sell", 2), (3, "sell", 2)} <= seen


@pytest.mark.slow
@pytest.mark.parametrize(
    "machine, line",
    [
        (
            EarlyTill,
            r"EarlyTill\.start left at index 1 what can't be written: sales = int 1 needs version 2",
        ),
        (
            ZeroTill,
            r"version 3 comes in force at step \d would end every node: ZeroTill\.close_the_book",
        ),
    ],
)
def test_what_a_version_breaks_is_found_with_the_log_that_shows_it(machine: Any, line: str) -> None:
    with pytest.raises(DefectFound, match=line) as caught:
        check_rejections(machine)

    assert len(caught.value.log) <= 4


@pytest.mark.slow
def test_an_upgrade_that_looks_at_a_clock_is_found() -> None:
    with pytest.raises(DefectFound, match=r"version 3 comes in force at step 2 .*(clock|time)"):
        check_deterministic(ClockTill, examples=5)


class TillRules(GroupRules):
    factory = Till


@pytest.mark.slow
def test_a_group_and_its_model_begin_with_the_newest_version() -> None:
    run_state_machine_as_test(
        TillRules, settings=settings(max_examples=10, database=None, phases=(Phase.generate,))
    )
    group = Group(Till)
    assert group.members["a"].replica.version == 3
    with pytest.raises(NotYetEnabled):  # the others have applied nothing yet
        group.members["b"].replica.encode(Till.count())


# ── unit tests of one version ────────────────────────────────────────────────────────────────────────


def test_a_command_of_an_older_version_leaves_later_fields_alone() -> None:
    with applying(Till(), version=2) as till:
        till.count()
    with applying(Till(), version=1) as till:
        till.sell("a", 5)
    with (
        pytest.raises(
            AssertionError, match=r"a command changed EarlyTill\.sales: .* needs version 2"
        ),
        applying(EarlyTill(), version=1) as early,
    ):
        early.start()


def test_values_of_a_later_version_may_be_left_unchanged() -> None:
    shop = Shop(stock={"a": Item(Sku("a"), note="later")})

    with unchanged(shop), pytest.raises(LocalProtocolError):
        _ = shop.ctx
