"""Whose code counts when a version of the machine is to come in force."""

from __future__ import annotations

import math
import sys
from typing import Any, cast

import attrs
import pytest

from raftkit.driver.calling import Calling
from raftkit.driver.events import MachineDiffers, VersionRaised
from raftkit.driver.replica import Replica
from raftkit.driver.upgrading import Upgrading
from raftkit.driver_messages import Scope
from raftkit.membership import Configuration
from raftkit.model import NodeId
from tests.driver.replicas import run
from tests.driver.test_founding_rules import BORN, Bench
from tests.driver.test_versions import New, to
from tests.paper.server import group, server

PYTHON = (sys.version_info.major, sys.version_info.minor)


@attrs.define
class Watch:
    """Node a, whose code has version 3, and what it hears of its members."""

    configuration: Configuration
    told: list[MachineDiffers | VersionRaised] = attrs.field(factory=list)
    replica: Replica[New] = attrs.field(factory=lambda: Replica(New))
    bench: Bench = attrs.field(factory=Bench)
    upgrading: Upgrading = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        raft = server("1", configuration=self.configuration).raft
        self.bench.greeting.expect({it.id: it.address for it in self.configuration.members})
        self.bench.greeting.adopt(BORN)
        self.upgrading = Upgrading(
            id="a",
            replica=self.replica,
            calling=cast("Calling", None),  # nothing is called here
            greeting=lambda: self.bench.greeting,
            raft=lambda: raft,
            publish=self.told.append,
            fingerprint=bytes(32),
            hold_seconds=math.inf,
        )

    def hear(self, name: NodeId, version: int, scope: Scope = BORN, **facts: Any) -> None:
        self.bench.greeting.on_linked(name)
        facts = {"python": PYTHON, **facts}
        self.bench.hear(name, scope, machine_version=version, **facts)
        self.upgrading.on_hello()


@pytest.mark.parametrize(
    "configuration, heard, expected",
    [
        (group("abc"), {"b": 3, "c": 3}, 3),
        (group("abc"), {"b": 2, "c": 5}, 2),
        (group("abc"), {"b": 3}, 0),
        # A learner that is heard would stop applying; one that is not heard may be gone for long.
        (group("abc", learners="d"), {"b": 3, "c": 3, "d": 1}, 1),
        (group("abc", learners="d"), {"b": 3, "c": 3}, 3),
        # While joint, voters of both configurations (§4.3).
        (group("ab", leaving="c", outgoing="ac"), {"b": 3}, 0),
        (group("ab", outgoing="ab"), {"b": 3}, 3),
    ],
)
async def test_a_version_is_reached_when_every_voter_and_whoever_is_heard_has_it(
    configuration: Configuration, heard: dict[NodeId, int], expected: int
) -> None:
    watch = Watch(configuration)
    for name, version in heard.items():
        watch.hear(name, version)

    assert watch.upgrading.reachable() == expected


async def test_who_is_of_another_cluster_is_not_heard() -> None:
    watch = Watch(group("ab"))
    watch.hear("b", 3, Scope(cluster=b"y" * 16))

    assert watch.upgrading.reachable() == 0
    assert watch.upgrading.versions() == {"a": 3}


async def test_a_voter_that_goes_is_waited_for_again() -> None:
    watch = Watch(group("ab"))
    watch.hear("b", 3)
    watch.bench.greeting.on_unreachable("b", "gone")

    assert watch.upgrading.reachable() == 0
    assert "it waits for b is not heard" in watch.upgrading.explain()[0]


async def test_members_of_another_python_or_machine_are_told_once_each() -> None:
    watch = Watch(group("abcd"))
    watch.hear("b", 3, python=(3, 99))
    watch.hear("c", 3, fingerprint=b"x" * 32)
    watch.hear("d", 2, fingerprint=b"x" * 32)  # of another version: nothing to compare
    watch.hear("b", 3, python=(3, 99))

    ours = ".".join(map(str, PYTHON))
    assert [(it.peer, it.why) for it in watch.told if isinstance(it, MachineDiffers)] == [
        ("b", f"runs Python 3.99, and a {ours}: make them one"),
        (
            "c",
            (
                "has another machine than a, both of version 3: run the same code everywhere, and mark "
                "what is new with since(4)"
            ),
        ),
    ]
    watch.hear("b", 3)
    watch.hear("b", 3, python=(3, 99))
    assert len(watch.told) == 3  # it came back


async def test_a_version_in_force_is_told_once() -> None:
    watch = Watch(group("abc"))
    watch.upgrading.on_applied()
    watch.replica.apply([run(1, to(2))])
    for _ in range(2):
        watch.upgrading.on_applied()

    assert watch.told == [VersionRaised(version=2)]
