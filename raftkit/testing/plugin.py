"""The pytest plugin: a group for a test, a seed shown when it fails, leave to rewrite golden files.

    async def test_counting(raft_cluster):                      # with pytest-trio, or anyio's trio
        async with raft_cluster(Counter, 3) as cluster:
            assert await cluster["b"].execute(Counter.add(5)) == 5

A project asks for it in its topmost conftest.py: `pytest_plugins = ["raftkit.testing.plugin"]`. It does not
come by itself with raftkit, since pytest would then import raftkit at the start of all projects.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from raftkit.testing.cluster import Cluster, local_cluster
from raftkit.transports import MemoryNetwork

__all__ = ["raft_cluster", "raft_rewrite", "raft_seed"]

_SEED = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--raft-seed`, `--raft-rewrite`."""
    group = parser.getgroup("raftkit")
    group.addoption(
        "--raft-seed",
        type=int,
        metavar="N",
        help="the seed of networks and worlds; drawn for each test without it, and shown when one fails",
    )
    group.addoption(
        "--raft-rewrite",
        action="store_true",
        help="what `raft_rewrite` says: check_wire_stability then writes its golden file",
    )


@pytest.fixture
def raft_seed(request: pytest.FixtureRequest) -> int:
    """That of `--raft-seed`, or one drawn for this test."""
    given: int | None = request.config.getoption("--raft-seed")
    seed = secrets.randbits(32) if given is None else given
    request.node.stash[_SEED] = seed
    return seed


@pytest.fixture
def raft_rewrite(request: pytest.FixtureRequest) -> bool:
    """Whether `--raft-rewrite` was given; for `check_wire_stability(…, rewrite=raft_rewrite)`."""
    return bool(request.config.getoption("--raft-rewrite"))


@pytest.fixture
def raft_cluster(raft_seed: int) -> Callable[..., AbstractAsyncContextManager[Cluster[Any]]]:
    """`raftkit.testing.local_cluster`, by default in memory and over a network with the seed of this test.

    Call it within a test that trio runs; ask for `autojump_clock` too and no time is waited for.
    """

    def opened(factory: Any, size: int = 3, **settings: Any) -> Any:
        in_memory = "data_dir" not in settings
        given: dict[str, Any] = {
            "in_memory": in_memory,
            "network": MemoryNetwork(seed=raft_seed),
            **settings,
        }
        return local_cluster(factory, size, **given)

    return opened


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the seed of a test that failed."""
    report = yield
    seed = item.stash.get(_SEED, None)
    if report.failed and seed is not None:
        report.sections.append(("raftkit", f"--raft-seed={seed} draws the same again"))
    return report
