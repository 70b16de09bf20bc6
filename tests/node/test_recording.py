"""A live node records what enters its core, and a replay of that does the same."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import trio

from raftkit import ConfigError, MemoryNetwork, open_node
from raftkit.driver import RecordingStopped, open_recorder, open_server
from raftkit.driver.recording import read_recording
from raftkit.driver.replica import Replica
from raftkit.storage import MemoryStorage
from raftkit.testing.replay import Crashed, Heard, Played, Started, replay
from tests.driver.plans import plan_of_a
from tests.node.machines import Counter

NAMES = "abc"


def names_in(directory: Path) -> list[str]:
    return [it.name for it in directory.iterdir()]


async def live(record: Path, data: Path, commands: int) -> None:
    """A life of three nodes in one process, each with a directory and a recording."""
    network = MemoryNetwork()

    async def one(name: str, done: trio.Event) -> None:
        members = {it: it for it in NAMES}
        async with open_node(
            Counter,
            id=name,
            members=members,
            data_dir=data / name,
            transport=network,
            record=record / f"{name}.rec",
            snapshot_entries=5,
        ) as node:
            if name == "a":
                for _ in range(commands):
                    await node.execute(Counter.add(1))
                await node.read(Counter.value())
                done.set()
            await done.wait()

    done = trio.Event()
    async with trio.open_nursery() as nursery:
        for name in NAMES:
            nursery.start_soon(one, name, done)


@pytest.mark.slow
async def test_a_replay_of_each_node_has_the_effects_that_the_node_had(tmp_path: Path) -> None:
    """In two lives each: files are read back, snapshots are taken."""
    for _ in range(2):
        await live(tmp_path, tmp_path, commands=12)

    for name in NAMES:
        told = list(replay(read_recording(tmp_path / f"{name}.rec")))
        assert sum(isinstance(it, Started) for it in told) == 2
        assert sum(isinstance(it, Crashed) for it in told) == 2
        assert not any(isinstance(it, Heard) for it in told)
        steps = [it for it in told if isinstance(it, Played)]
        assert steps[-1].commit_index > 24
    leaders = {
        (it.term, it.server.id)
        for name in NAMES
        for it in replay(read_recording(tmp_path / f"{name}.rec"))
        if isinstance(it, Played) and it.role == "leader"
    }
    assert len({term for term, _ in leaders}) == len(leaders) >= 1


async def test_a_recording_that_is_full_is_an_event_and_the_node_goes_on(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    plan = plan_of_a({"a": "a"})
    storage = MemoryStorage("a")
    with closing(open_recorder(tmp_path / "a.rec", bytes_max=800)) as recorder:
        async with open_server(
            plan, Replica(Counter), storage, MemoryNetwork(), recorder
        ) as server:
            stream = server.events.subscribe()
            await server.wait_leader()
            with trio.fail_after(60):
                for _ in range(20):
                    await server.calling.execute_once(Counter.add(1), within=10)
                event: object = None
                while not isinstance(event, RecordingStopped):
                    event = await stream.receive()

            assert event == RecordingStopped(why="it has reached its 800 bytes")
            assert "a: nothing is recorded any more: it has reached its 800 bytes" in caplog.text
    *_, last = replay(read_recording(tmp_path / "a.rec"))
    assert isinstance(last, Heard)
    assert last.words == "nothing is recorded from here on: it has reached its 800 bytes"


@pytest.mark.parametrize(
    "record, why",
    [
        ("no/such/a.rec", r"record .*a\.rec: No such file or directory"),
        (
            "notes.txt",
            r"record: .*notes\.txt is no recording of raftkit: give the path of a new file",
        ),
        (7, "record must be the path of a file, got 7"),
    ],
)
async def test_a_recording_that_can_not_be_is_refused_before_anything_is_started(
    tmp_path: Path, record: str | int, why: str
) -> None:
    (tmp_path / "notes.txt").write_text("my notes, which are dear to me")
    path = tmp_path / record if isinstance(record, str) else record

    with pytest.raises(ConfigError, match=why):
        async with open_node(
            Counter,
            id="a",
            members={"a": "a"},
            data_dir=tmp_path / "a",
            record=path,  # type: ignore[arg-type]
        ):
            pass

    assert names_in(tmp_path) == ["notes.txt"]
