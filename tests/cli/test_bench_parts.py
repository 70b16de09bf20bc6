"""The parts of the benchmark: the closed loop, the machines, processor time, percentiles."""

from __future__ import annotations

import itertools
import mmap
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from raftkit import NoQuorum, OutcomeUnknown
from raftkit.cli.bench.environment import Usage, environment_of
from raftkit.cli.bench.gap import ATTEMPT_SECONDS, Probe
from raftkit.cli.bench.idle import memory_mb
from raftkit.cli.bench.load import Load
from raftkit.cli.bench.machine import Register
from raftkit.cli.percentile import percentile
from raftkit.statemachine import Batch


async def _nothing() -> None:
    pass


# ── the closed loop ──────────────────────────────────────────────────────────────────────────────


async def test_as_many_writes_are_under_way_as_were_asked_for() -> None:
    under_way, seen = 0, set[int]()

    async def write(number: int) -> None:
        nonlocal under_way
        under_way += 1
        seen.add(under_way)
        await trio.sleep(0.001)
        under_way -= 1

    await Load(outstanding=5, write=write).run(0.0, 0.05, _nothing)

    assert max(seen) == 5
    assert under_way == 0


async def test_only_what_began_in_the_measured_time_is_measured() -> None:
    began: list[int] = []
    edges: list[int] = []

    async def write(number: int) -> None:
        began.append(number)
        await trio.sleep(0.005)

    async def at_edge() -> None:
        edges.append(len(began))

    load = Load(outstanding=3, write=write)
    await load.run(0.05, 0.1, at_edge)

    assert began == list(range(len(began)))
    assert load.acknowledged == len(began)
    assert len(load.latencies_us) == edges[1] - edges[0]
    assert 0 < edges[0] < edges[1] == len(began)
    assert load.measured_seconds >= 0.1


async def test_a_stall_can_not_hide_by_outlasting_the_measurement() -> None:
    edges: list[int] = []
    stalls: list[int] = []
    over = trio.Event()

    async def write(_: int) -> None:
        if len(edges) == 1 and not stalls:
            stalls.append(time.perf_counter_ns())
            await over.wait()
        await trio.lowlevel.checkpoint()

    async def at_edge() -> None:
        edges.append(time.perf_counter_ns())
        if len(edges) == 2:
            over.set()

    load = Load(outstanding=1, write=write)
    await load.run(0.0, 0.05, at_edge)

    assert max(load.latencies_us) >= (edges[1] - stalls[0]) // 1000
    assert load.latencies_us[-1] == max(load.latencies_us)  # and nothing was begun after it


async def test_failed_writes_are_counted_by_name_and_not_measured() -> None:
    async def write(number: int) -> None:
        await trio.lowlevel.checkpoint()
        if number == 1:
            raise NoQuorum("no leader")
        if number == 2:
            raise OutcomeUnknown(None, "who knows")
        await trio.sleep(0.001)

    load = Load(outstanding=1, write=write)
    await load.run(0.0, 0.05, _nothing)

    assert load.errors == {"NoQuorum": 1, "OutcomeUnknown": 1}
    assert load.acknowledged > 0
    assert len(load.latencies_us) <= load.acknowledged


async def test_an_error_that_is_none_of_the_group_ends_the_load() -> None:
    async def write(number: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as failed:
        await Load(outstanding=1, write=write).run(0.0, 0.05, _nothing)

    assert failed.group_contains(ZeroDivisionError)


async def test_of_ten_operations_as_many_write_as_the_mix_says() -> None:
    done: list[tuple[str, int]] = []

    async def write(number: int) -> None:
        done.append(("write", number))
        await trio.sleep(0.0005)

    async def read(number: int) -> None:
        done.append(("read", number))
        await trio.sleep(0.0005)

    load = Load(outstanding=2, write=write, read=read, writes_in_ten=3)
    await load.run(0.0, 0.05, _nothing)

    assert done == [("write" if it % 10 < 3 else "read", it) for it in range(len(done))]
    assert load.acknowledged == sum(what == "write" for what, _ in done) < len(load.latencies_us)


# ── the gap ──────────────────────────────────────────────────────────────────────────────────────


async def test_the_gap_is_the_longest_time_between_two_writes() -> None:
    written: list[float] = []

    async def write(number: int) -> None:
        await trio.sleep(0.08 if number == 3 else 0.002)
        written.append(time.perf_counter())

    probe = Probe(write)
    await probe.run(0.2)

    longest = max(after - before for before, after in itertools.pairwise(written))
    assert probe.gap_seconds == pytest.approx(longest, abs=0.02)
    assert probe.gap_seconds > 0.07
    assert probe.acknowledged == len(written)
    assert probe.failed == 0


async def test_a_group_that_never_comes_back_has_a_gap_up_to_the_end() -> None:
    async def write(number: int) -> None:
        await trio.sleep(0.002)
        if number >= 3:
            raise NoQuorum("no leader")

    probe = Probe(write)
    await probe.run(0.15)

    assert 0.05 < probe.gap_seconds <= 0.15
    assert probe.acknowledged == 3
    assert probe.failed > 3


@pytest.mark.slow
async def test_an_attempt_that_hangs_is_given_up() -> None:
    async def write(number: int) -> None:
        if number == 2:
            await trio.sleep_forever()
        await trio.sleep(0.002)

    probe = Probe(write)
    await probe.run(3 * ATTEMPT_SECONDS)

    assert probe.failed == 1
    assert probe.acknowledged > 2  # two before it, and the others after it
    assert probe.gap_seconds >= ATTEMPT_SECONDS


# ── what is around it ────────────────────────────────────────────────────────────────────────────


def _batch(*commands: bytes) -> Batch:
    return Batch(
        term=1, time_ns=0, elapsed_ns=0, indexes=range(1, len(commands) + 1), commands=commands
    )


def test_the_register_counts_across_a_snapshot() -> None:
    before, after = Register(), Register()
    assert list(before.apply(_batch(b"one", b"two"))) == [b"", b""]
    after.restore(before.snapshot())
    after.apply(_batch(b"three"))

    assert (after.count, after.last) == (3, b"three")
    assert (before.count, before.last) == (2, b"two")


def test_a_register_that_was_never_written_has_a_snapshot() -> None:
    after = Register()
    after.restore(Register().snapshot())

    assert (after.count, after.last) == (0, b"")


def test_a_busy_process_is_seen_to_be_busy() -> None:
    before, ends = Usage.now({"me": os.getpid()}), time.process_time() + 0.1
    while time.process_time() < ends:
        pass
    after = Usage.now({"me": os.getpid()})
    own, others = after.percent_since(before)

    assert after.nodes["me"] - before.nodes["me"] >= 0.08  # counted in hundredths
    assert own["me"] * (after.at - before.at) / 100 >= 0.08
    assert others >= 0


def test_memory_of_a_process_is_what_it_has_and_not_what_it_reserved() -> None:
    before = memory_mb(os.getpid())
    held = b"x" * 30_000_000
    with mmap.mmap(-1, 1_000_000_000):
        after = memory_mb(os.getpid())

    assert 25 < after - before < 60
    assert len(held) == 30_000_000


def test_the_file_system_of_a_directory_is_that_of_its_deepest_mount(tmp_path: Path) -> None:
    assert environment_of(tmp_path).file_system
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        environment_of(tmp_path / "missing")


@pytest.mark.parametrize(
    "values, part, expected",
    [
        ([], 0.5, None),
        ([7], 0.5, 7),
        ([1, 2, 3, 4], 0.5, 2),
        ([1, 2, 3, 4], 0.51, 3),
        ([1, 2, 3, 4], 1, 4),
        (range(1, 1001), 0.999, 999),
        (range(1, 1001), 0, 1),
    ],
)
def test_a_percentile_is_the_lowest_value_that_suffices(
    values: Sequence[float], part: float, expected: float | None
) -> None:
    assert percentile(values, part) == expected
