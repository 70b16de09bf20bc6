"""The ghosts see what they are there for: each canary breaks one promise around a correct core.

A harness that is silent because it is blind would look the same as one that has nothing to say.
Broken cores are in `tests/mutants`; here disks, state machines and networks lie.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count
from unittest.mock import patch

import attrs
import pytest

from raftkit.core import Raft, reads
from raftkit.core.raft import RULES
from raftkit.core.state import Leader, State
from raftkit.messages import AppendAccepted, Message, Write
from raftkit.model import Identity, Index, NodeId
from raftkit.testing.world import InvariantViolated, World
from raftkit.testing.world.disk import WorldDisk
from raftkit.testing.world.network import Network
from raftkit.testing.world.server import Server


def first_violation(seeds: int = 40) -> str:
    """Name of the first violation among some seeds."""
    for seed in range(seeds):
        try:
            World(seed, deliveries=1000).run()
        except InvariantViolated as violation:
            return violation.name
    return "none"


def _forget_votes(
    perform: Callable[[WorldDisk, Write], None],
) -> Callable[[WorldDisk, Write], None]:
    def forgetful(disk: WorldDisk, write: Write) -> None:
        perform(disk, attrs.evolve(write, hard_state=None))

    return forgetful


def _lose_a_synced_entry(
    crash: Callable[[WorldDisk, random.Random], list[Write]],
) -> Callable[[WorldDisk, random.Random], list[Write]]:
    def lossy(disk: WorldDisk, rng: random.Random) -> list[Write]:
        survived = crash(disk, rng)
        if disk.log.last_index > max(disk.log.base_index, 1):
            disk.log.truncate(disk.log.last_index)
        return survived

    return lossy


def _acknowledge_more(
    carry: Callable[[Network, Identity, NodeId, Message], None],
) -> Callable[[Network, Identity, NodeId, Message], None]:
    def generous(network: Network, sender: Identity, target: NodeId, message: Message) -> None:
        if isinstance(message, AppendAccepted):
            message = attrs.evolve(message, index=Index(message.index + 1))
        carry(network, sender, target, message)

    return generous


def test_correct_surroundings_raise_no_alarm() -> None:
    assert first_violation(seeds=5) == "none"


@pytest.mark.slow
def test_a_disk_that_forgets_votes_is_noticed() -> None:
    with patch.object(WorldDisk, "_perform", _forget_votes(WorldDisk._perform)):
        assert first_violation() == "S3 VoteBeforeSend"


@pytest.mark.slow
def test_a_disk_that_loses_synced_entries_is_noticed() -> None:
    with patch.object(WorldDisk, "crash", _lose_a_synced_entry(WorldDisk.crash)):
        assert first_violation() in {"S13 CommittedDurable", "S16 QuorumLog", "S24 ProgressTruth"}


@pytest.mark.slow
def test_a_network_that_changes_acknowledgements_is_noticed() -> None:
    with patch.object(Network, "carry", _acknowledge_more(Network.carry)):
        assert first_violation() in {
            "S13 CommittedDurable",
            "S24 ProgressTruth",
            "S29 NobodyMisbehaves",
        }


@pytest.mark.slow
def test_a_machine_that_is_ahead_of_its_log_is_noticed() -> None:
    def early(server: Server, index: Index) -> None:
        server._applied(Index(index + 1))

    with patch.object(Server, "_apply", early):
        assert first_violation() == "raised"


@pytest.mark.slow
def test_a_driver_that_lets_a_rolled_back_server_speak_is_noticed() -> None:
    """It has forgotten what it promised, and goes on as if it had not."""

    def unbarred(server: Server, image: WorldDisk) -> None:
        roll_back(server, image)
        server.barred = False

    roll_back = Server.roll_back
    with patch.object(Server, "roll_back", unbarred):
        assert first_violation() == "S33 BarredIsSilent"


@pytest.mark.slow
def test_a_core_that_lets_everything_wait_is_noticed() -> None:
    """A driver that believes it tells news late from which something would have come."""
    with patch.object(Raft, "can_wait", return_value=True):
        assert first_violation() == "S34 Patience"


@pytest.mark.slow
def test_a_core_that_concludes_in_two_steps_is_noticed() -> None:
    """Whatever comes of a batch comes of it at once, not with the next."""

    turns = count()

    def hesitant(state: State, leader: Leader) -> bool:
        return next(turns) % 2 == 1 and reads.confirm(state, leader)

    rules = [hesitant if it is reads.confirm else it for it in RULES[Leader]]
    with patch.dict(RULES, {Leader: tuple(rules)}):
        assert first_violation() == "S35 Settled"


@pytest.mark.slow
def test_disks_are_rolled_back_by_what_was_durable() -> None:
    """Worlds in which nothing is lost would say nothing about who is barred."""
    lost: list[int] = []

    def counting(server: Server, image: WorldDisk) -> None:
        lost.append(server.disk.sequence - image.sequence)
        roll_back(server, image)

    roll_back = Server.roll_back
    with patch.object(Server, "roll_back", counting):
        assert first_violation(seeds=30) == "none"

    assert sum(lost) > 20
    assert len(lost) > 5
