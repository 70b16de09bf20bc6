"""A machine in a group that elects and crashes: good ones hold, lost updates are found and told."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar
from unittest.mock import patch

import attrs
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import rule, run_state_machine_as_test

from raftkit import StateMachine, command
from raftkit.testing.cluster_rules import ClusterRules
from raftkit.testing.machines.story import DefectFound
from raftkit.testing.world.disk import WorldDisk
from raftkit.testing.world.shadows import InvariantViolated
from tests.kit.shops import Shop

FEW = settings(max_examples=15, stateful_step_count=25, deadline=None)
FOUND = settings(max_examples=100, stateful_step_count=25, deadline=None, phases=(Phase.generate,))
HAPPENED: Counter[str] = Counter()


class ShopCluster(ClusterRules):
    factory = Shop

    @rule()
    def somebody_sleeps(self) -> None:
        """Rules of one's own act by the words of scenarios."""
        if self.group.servers["b"].raft is not None:
            self.do("pause b")
            self.do("run 6")
            self.do("resume b")

    def teardown(self) -> None:
        super().teardown()
        HAPPENED.update(executed=len(self.expected), snapshots=len(self._snapshots))
        HAPPENED.update(terms=max(it.running.term for it in self.group.alive) - 2)
        HAPPENED.update(line.split()[0] for line in self.story)


@pytest.mark.slow
def test_a_sound_machine_holds_and_everything_happens_to_it() -> None:
    run_state_machine_as_test(ShopCluster, settings=settings(FEW, max_examples=60))

    expected = {
        "executed",
        "terms",
        "snapshots",
        "crash",
        "restart",
        "cut",
        "drop",
        "pause",
        "read",
    }
    assert [it for it in sorted(expected) if not HAPPENED[it]] == []


@attrs.define
class Shared(StateMachine):
    """Updates are lost: what it counts is in the class, so copies count each other's."""

    total: int = 0
    _count: ClassVar[list[int]] = []

    @command
    def add(self) -> int:
        self._count.append(1)
        self.total = len(self._count)
        return self.total


class SharedCluster(ClusterRules):
    factory = Shared


@pytest.mark.slow
def test_a_machine_that_loses_updates_is_found_and_its_story_told() -> None:
    with pytest.raises((DefectFound, AssertionError)) as caught:
        run_state_machine_as_test(SharedCluster, settings=FOUND)

    told = "\n".join(getattr(caught.value, "__notes__", []))
    assert "nodes a b c\nelect a b c\n    a becomes leader, T2\n" in told
    assert "is asked to execute Shared.add()" in told


@attrs.define
class Sound(StateMachine):
    total: int = 0

    @command
    def add(self) -> int:
        self.total += 1
        return self.total


class SoundCluster(ClusterRules):
    factory = Sound


@pytest.mark.slow
def test_a_disk_that_loses_an_update_is_found() -> None:
    lose = WorldDisk.lose

    def lossy(disk: WorldDisk, kept: int = 0, steps: int = 0) -> object:
        survived = lose(disk, kept, steps)
        if disk.log.last_index > max(disk.log.base_index, 1):
            disk.log.truncate(disk.log.last_index)
        return survived

    with (
        patch.object(WorldDisk, "lose", lossy),
        pytest.raises(InvariantViolated, match=r"S\d+ "),
    ):
        run_state_machine_as_test(SoundCluster, settings=FOUND)


@pytest.mark.slow
def test_a_follower_is_sent_a_machine_and_goes_on_from_it() -> None:
    cluster = SoundCluster()
    cluster.do("crash c")
    cluster.ask("a", Sound.add())
    cluster.do("run 6")
    cluster.snapshot("a")
    cluster.do("restart c")
    cluster.ask("a", Sound.add())
    cluster.do("run 60")

    assert cluster.group.ghosts.snapshots_installed == 1
    assert cluster.replicas["c"].machine == Sound(total=2)
    cluster.newest_machines_and_model_agree()
