"""Any batch equals some sequential run: batching decides nothing that single steps could not."""

from __future__ import annotations

import copy
import random
from itertools import permutations

import pytest
from hypothesis import given, settings, strategies as st

from raftkit.core import Raft
from raftkit.messages import Input, Tick
from raftkit.model import Identity, Index, Term
from tests.core.recording import World

Outcome = tuple[Term, Identity | None, Index, tuple[Term | None, ...]]
BATCH_MAX = 5


def outcome(raft: Raft) -> Outcome:
    """Term, vote, commit index and log: what other servers can ever come to know."""
    log = raft.state.log
    terms = tuple(log.term(Index(it)) for it in range(log.base_index, log.last_index + 1))
    return (raft.term, raft.state.voted_for, raft.commit_index, terms)


def one_by_one(raft: Raft, inputs: tuple[Input, ...]) -> Outcome:
    """The outcome of single steps, from a copy of this server."""
    single = copy.deepcopy(raft)
    for item in inputs:
        single.step([item])
    return outcome(single)


@pytest.mark.slow
@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), warm_up=st.integers(30, 100))
def test_any_batch_equals_some_sequence_of_single_inputs(seed: int, warm_up: int) -> None:
    """What a batch leads to, its inputs lead to in some order, one at a time."""
    world = World(random.Random(seed))
    for _ in range(warm_up):
        world.advance()

    for name in "abc":
        batch = world.batch(name)[: BATCH_MAX + 1]
        before = copy.deepcopy(world.cluster[name].raft)
        world.step(name, batch)
        tick, rest = batch[0], batch[1:]
        assert isinstance(tick, Tick)
        found = outcome(world.cluster[name].raft)
        orders = sorted(permutations(range(len(rest))))  # the order of arrival first
        assert any(
            one_by_one(before, (tick, *(rest[it] for it in order))) == found for order in orders
        )
