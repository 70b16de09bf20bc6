from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, strategies as st

from raftkit.errors import LocalProtocolError
from raftkit.statemachine import Context, Rng


def _context(index: int = 1, cluster: bytes = bytes(16)) -> Context:
    return Context(index=index, term=1, time_ns=0, elapsed_ns=0, cluster=cluster)


def test_the_numbers_are_golden() -> None:
    # SplitMix64 from seed 0, as published with the algorithm.
    rng = Rng(0)
    assert [rng._next() for _ in range(3)] == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]
    rng = Rng(1234567)
    assert rng._next() == 6457827717110365317

    rng = _context().rng
    items = list("abcdef")
    rng.shuffle(items)
    golden = (
        rng.randrange(100),
        rng.randrange(-5, 5),
        rng.random(),
        rng.choice("xyz"),
        rng.randrange(1 << 100),
    )
    assert (golden, items) == GOLDEN


GOLDEN = (
    (45, -5, 0.45755027382305347, "z", 689515371494415686866248734149),
    ["a", "c", "b", "e", "d", "f"],
)


def test_chance_is_seeded_by_cluster_and_index_and_made_once() -> None:
    context = _context()

    assert context.rng is context.rng
    drawn = {
        _context(index, cluster).rng.randrange(1 << 64)
        for index in (1, 2, 256)
        for cluster in (bytes(16), b"x" * 16)
    }
    assert len(drawn) == 6


@given(st.integers(0, 2**64 - 1), st.integers(-(2**80), 2**80), st.integers(1, 2**80))
def test_a_number_lies_in_its_range(seed: int, low: int, size: int) -> None:
    rng = Rng(seed)

    assert low <= rng.randrange(low, low + size) < low + size
    assert 0 <= rng.random() < 1


def test_numbers_are_equally_likely() -> None:
    rng = Rng(1)
    counts = Counter(rng.randrange(6) for _ in range(6000))
    orders = Counter(_shuffled(rng) for _ in range(6000))

    # 1000 each; the standard deviation is 29.
    assert all(850 < it < 1150 for it in counts.values())
    assert len(orders) == math.factorial(3)
    assert all(850 < it < 1150 for it in orders.values())


def _shuffled(rng: Rng) -> str:
    items = list("abc")
    rng.shuffle(items)
    return "".join(items)


def test_nothing_to_choose_from_is_refused() -> None:
    for low, high in ((0, None), (5, 5), (5, 4)):
        with pytest.raises(LocalProtocolError, match="there is no number in it"):
            Rng(0).randrange(low, high)
    with pytest.raises(LocalProtocolError):
        Rng(0).choice([])
