"""The simulated disk keeps what was performed, and a prefix of what was not."""

from __future__ import annotations

import random

from raftkit.messages import Write
from raftkit.model import Identity, Index, Run, Term
from raftkit.testing.world.disk import LogImage, WorldDisk

A = Identity(id="a", incarnation=1)


def run(first: int, term: int, *payloads: bytes) -> Run:
    return Run(first=Index(first), term=Term(term), time_ns=0, elapsed_ns=0, payloads=payloads)


def image(*runs: Run) -> LogImage:
    log = LogImage()
    for it in runs:
        log.append(it)
    return log


def test_truncation_cuts_a_run() -> None:
    log = image(run(1, 1, b"a", b"b", b"c"), run(4, 2, b"d"))

    log.truncate(Index(2))

    assert log == image(run(1, 1, b"a"))


def test_compaction_cuts_a_run_and_keeps_its_term() -> None:
    log = image(run(1, 1, b"a", b"b", b"c"), run(4, 2, b"d"))

    log.compact(Index(2))

    expected = LogImage(Index(2), Term(1), [Term(1), Term(2)], [run(3, 1, b"c"), run(4, 2, b"d")])
    assert log == expected


def test_reading_gives_at_least_one_entry_and_no_more_than_fit() -> None:
    log = image(run(1, 1, b"aaa", b"b", b"c"), run(4, 2, b"d", b"e"))

    assert log.read(Index(1), Index(5), 0) == (run(1, 1, b"aaa"),)
    assert log.read(Index(2), Index(5), 3) == (run(2, 1, b"b", b"c"), run(4, 2, b"d"))
    assert log.read(Index(2), Index(3), 99) == (run(2, 1, b"b", b"c"),)
    assert log.read(Index(6), Index(9), 99) == ()


def test_a_crash_keeps_a_prefix_of_what_was_queued() -> None:
    writes = [
        Write(sequence=1, hard_state=(Term(2), A), runs=(run(1, 2, b"a", b"b"),)),
        Write(sequence=2, truncate_from=Index(2), runs=(run(2, 2, b"c"),)),
    ]
    kept: set[tuple[int, tuple[bytes, ...]]] = set()

    for seed in range(200):
        disk = WorldDisk(term=Term(1), voted_for=None, log=LogImage())
        disk.queue.extend(writes)
        disk.crash(random.Random(seed))
        payloads = tuple(p for it in disk.recover().runs for p in it.payloads)
        kept.add((disk.term, payloads))

    assert kept == {(1, ()), (2, ()), (2, (b"a",)), (2, (b"a", b"b")), (2, (b"a", b"c"))}
