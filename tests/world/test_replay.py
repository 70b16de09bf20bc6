"""A recorded world played again is the same run, and what differs is noticed at its step."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

import attrs
import pytest

from raftkit.core import Raft
from raftkit.driver import open_recorder
from raftkit.driver.recording import Logged, Record, RecordingUnreadable, Stepped, read_recording
from raftkit.messages import Effects, Input, Persisted
from raftkit.testing.replay import Crashed, Happening, Heard, Played, ReplayFailed, Started, replay
from raftkit.testing.world import InvariantViolated, World
from tests.driver.test_recording import CONFIG, FOUND, GROUP, later, recording


def world(seed: int, path: Path, deliveries: int = 400) -> Path:
    """A recorded world."""
    with closing(open_recorder(path)) as recorder:
        World(seed, deliveries=deliveries, recorder=recorder).run()
    return path


def played(records: list[Record]) -> tuple[list[Happening], str]:
    """What was played, and how it failed."""
    told: list[Happening] = []
    try:
        told.extend(replay(records))
    except ReplayFailed as failed:
        return told, str(failed)
    return told, ""


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 4, 6, 7])
def test_a_replayed_world_has_the_effects_of_the_world(tmp_path: Path, seed: int) -> None:
    """With crashes, restarts, snapshots and extreme timers among them."""
    path = tmp_path / "world.rec"
    with closing(open_recorder(path)) as recorder:
        report = World(seed, deliveries=1000, recorder=recorder).run()

    told, failure = played(list(read_recording(path)))

    assert failure == ""
    steps = [it for it in told if isinstance(it, Played)]
    assert len(steps) == report.steps == steps[-1].step
    assert max(it.commit_index for it in steps) == report.committed
    crashes = sum(isinstance(it, Crashed) for it in told)
    assert crashes >= report.faults.get("any crash", 0)
    assert sum(isinstance(it, Started) for it in told) <= crashes + report.nodes
    assert any(isinstance(it, Heard) and it.words.startswith("calm among") for it in told)


@pytest.mark.slow
def test_recording_a_world_does_not_change_it(tmp_path: Path) -> None:
    with closing(open_recorder(tmp_path / "world.rec")) as recorder:
        assert World(7, recorder=recorder, hashed=True).run() == World(7, hashed=True).run()


@pytest.mark.slow
def test_a_step_with_other_effects_is_named(tmp_path: Path) -> None:
    """As after a change of the core: here the change is in what was recorded."""
    records = list(read_recording(world(0, tmp_path / "world.rec")))
    places = [at for at, it in enumerate(records) if isinstance(it, Stepped) and it.digest]
    at = places[len(places) // 2]
    changed = records[at]
    assert isinstance(changed, Stepped)
    records[at] = attrs.evolve(changed, digest=b"another!")
    step = sum(isinstance(it, Stepped) for it in records[: at + 1])

    told, failure = played(records)

    assert failure.startswith(f"step {step}, ")
    assert "the effects are not those that were recorded" in failure
    assert told[-1].step == step - 1


@pytest.mark.slow
def test_a_core_that_decides_otherwise_diverges(tmp_path: Path) -> None:
    """One whose voters never find a log up to date (§3.6.1)."""
    path = world(1, tmp_path / "world.rec", deliveries=800)

    with patch("raftkit.core.election._up_to_date", lambda *_: False):
        _, failure = played(list(read_recording(path)))

    assert "the effects are not those that were recorded" in failure


def _breaks_at(
    step: Callable[[Raft, list[Input]], Effects], number: int
) -> Callable[[Raft, list[Input]], Effects]:
    counts = iter(range(number + 1))

    def broken(raft: Raft, inputs: list[Input]) -> Effects:
        assert next(counts) < number, "broken on purpose"
        return step(raft, inputs)

    return broken


@pytest.mark.slow
def test_a_core_that_raised_is_recorded_up_to_there_and_raises_again(tmp_path: Path) -> None:
    path = tmp_path / "world.rec"
    with (
        patch.object(Raft, "step", _breaks_at(Raft.step, 130)),
        pytest.raises(InvariantViolated, match="broken on purpose"),
    ):
        world(0, path)

    with patch.object(Raft, "step", _breaks_at(Raft.step, 130)):
        told, failure = played(list(read_recording(path)))
    mended, words = played(list(read_recording(path)))

    assert "the core raises AssertionError: broken on purpose" in failure
    assert failure.endswith("(as when it was recorded)")
    assert told[-1].step == mended[-1].step == 130
    assert "the core raised here and does not now" in words


def _alone(path: Path, name: str) -> None:
    """A server that is a group of its own leads term 2."""
    identity = attrs.evolve(CONFIG.identity, id=name)
    config = attrs.evolve(CONFIG, identity=identity, priority=0, appointed_leader=None)
    group = attrs.evolve(GROUP, members=(attrs.evolve(GROUP.members[0], id=name),))
    (founding,) = FOUND.runs
    found = attrs.evolve(
        FOUND, voted_for=None, runs=(attrs.evolve(founding, payloads=(group.encode(),)),)
    )
    with closing(open_recorder(path)) as recorder:
        life, state = recorder.begin(config, found, seed=7)
        raft = Raft(config, state, random.Random(7))
        life.step(raft, [later(60)])
        life.step(raft, [Persisted(sequence=7)])


def test_two_leaders_of_a_term_are_refused(tmp_path: Path) -> None:
    for name in "ab":
        _alone(tmp_path / "a.rec", name)

    _, failure = played(list(read_recording(tmp_path / "a.rec")))

    assert "Election Safety: a@0000000000000001 leads term 2 already" in failure
    assert failure.startswith("step 4, b@")


def test_until_ends_before_the_next_step(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.rec")

    assert [it.step for it in replay(read_recording(path), until=2)] == [1, 1, 2, 2]


def test_a_step_of_a_life_that_did_not_begin_is_refused(tmp_path: Path) -> None:
    def without_beginning() -> Iterator[Record]:
        yield from (
            it for it in read_recording(recording(tmp_path / "a.rec")) if isinstance(it, Logged)
        )

    with pytest.raises(RecordingUnreadable, match="life 16, which did not begin"):
        list(replay(without_beginning()))
