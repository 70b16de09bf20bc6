"""What of a log a core is given at its start."""

from __future__ import annotations

import random
from collections.abc import Generator
from pathlib import Path

import pytest

from raftkit.config import Config
from raftkit.core import Raft
from raftkit.driver.storing import InLoop, Storing
from raftkit.messages import Write
from raftkit.model import Index
from raftkit.storage import FileStorage, open_storage
from raftkit.testing.storage_conformance import a_run, founding_record, own_snapshot


@pytest.fixture
def storage(tmp_path: Path) -> Generator[FileStorage]:
    """Entries 2 to 30, ten of term 1 and the others of term 2, and a snapshot at 20: a crash came before
    the log was compacted."""
    storage = open_storage(tmp_path, "a")
    storage.found(founding_record(storage))
    runs = [a_run(first, term, *[b"x"] * 5) for first, term in ((2, 1), (7, 1), (12, 2), (17, 2))]
    rest = a_run(22, 2, *[b"x"] * 9)
    writes = [
        Write(sequence=1, hard_state=(rest.term, None)),
        Write(sequence=2, runs=(*runs, rest)),
    ]
    storage.perform(writes)
    own_snapshot(storage, 20, [b"state"], term=2)
    storage.close()
    storage = open_storage(tmp_path, "a")
    yield storage
    storage.close()


@pytest.mark.parametrize("tail, base, term", [(0, 20, 2), (5, 15, 2), (9, 11, 1), (19, 1, 1)])
async def test_what_a_snapshot_covers_is_not_taken_into_memory_but_for_a_tail(
    storage: FileStorage, tail: int, base: int, term: int
) -> None:
    """In the log on disk it stays: nothing is written at a start."""
    found = await Storing(storage, InLoop()).shorten(storage.recovered, tail)
    identity = storage.record.identity
    raft = Raft(Config(identity=identity), found, random.Random(0))

    assert storage.recovered.base_index == 0
    assert (found.base_index, found.base_term) == (base, term)
    assert (raft.first_index, raft.last_index, raft.commit_index) == (base + 1, 30, 20)
    assert raft.term == raft.last_term == 2


async def test_a_log_that_was_compacted_is_taken_as_it_is(storage: FileStorage) -> None:
    storing = Storing(storage, InLoop())
    whole = storage.recovered

    assert await storing.shorten(whole, 20) is whole

    storage.perform([Write(sequence=3, compact_to=Index(18))])
    compacted = storage._state()
    assert compacted.base_index == 18
    assert await storing.shorten(compacted, 5) is compacted


async def test_a_log_without_a_snapshot_is_needed_whole(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "b", "b")
    storage.found(founding_record(storage))
    found = storage._state()

    assert await Storing(storage, InLoop()).shorten(found, 0) is found
    storage.close()
