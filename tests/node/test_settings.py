"""Settings that can't work: one line each, before anything is started."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from raftkit import ConfigError, LocalProtocolError, MemoryNetwork, StateMachine, open_node
from tests.node.machines import Counter

GOOD: dict[str, Any] = {"id": "a", "members": {"a": "memory:a", "b": "memory:b"}}


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"election_timout": (1, 2)}, "did you mean election_timeout"),
        ({"wibble": 1}, "there are"),
        ({"id": "z"}, "not in members"),
        ({"id": ""}, "id must be"),
        ({"id": 7}, "id must be"),
        ({"members": ["a", "b"]}, "members must be"),
        ({"members": {"a": 1}}, "address of 'a'"),
        ({"members": {"a": ""}}, "address of 'a'"),
        ({"members": {"a": "x", "b": "x"}}, "same address"),
        ({"members": {"a": "x", "b\n": "y"}}, "printable"),
        ({"members": {"a": "x", **{f"n{n}": f"{n}" for n in range(64)}}}, "at most 64"),
        ({"election_timeout": 0.5}, "election_timeout must be two"),
        ({"election_timeout": ("1", "2")}, "election_timeout must be two"),
        ({"election_timeout": (0.5, 0.25)}, "low"),
        ({"election_timeout": (True, 2)}, "number of seconds"),
        ({"election_timeout": (0.25, float("inf"))}, "finite"),
        ({"election_timeout": (0.25, float("nan"))}, "finite"),
        ({"vote_timeout": 0.5}, "vote_timeout must be two"),
        ({"vote_timeout": (0.5, 0.5)}, "vote_timeout must be .low, high. with 0 < low < high"),
        ({"retry_interval": 0}, "retry_interval must be at least 0.001"),
        ({"heartbeat_interval": 0.2}, "at most half"),
        ({"heartbeat_interval": "fast"}, "number of seconds"),
        ({"heartbeat_interval": 0}, "at least 0.001"),
        ({"entry_bytes_max": 10}, "entry_bytes_max"),
        ({"entry_bytes_max": 1e6}, "whole number"),
        ({"sessions_max": 0}, "at least 1"),
        ({"session_idle": -1}, "session_idle"),
        ({"snapshot_entries": -1}, "snapshot_entries must be a whole number, at least 0"),
        ({"snapshot_bytes": 1e6}, "snapshot_bytes must be a whole number"),
        ({"snapshot_elapsed": False}, "snapshot_elapsed must be a number of seconds"),
        ({"snapshot_elapsed": -1}, "snapshot_elapsed must be 0 or at least 0.001"),
        ({"snapshot_bytes_per_second": -1}, "snapshot_bytes_per_second must be a whole number"),
        ({"priority": 1}, "priority must be a whole number from -10 to 0, got 1"),
        ({"priority": -11}, "priority must be a whole number"),
        ({"priority": 0.0}, "priority must be a whole number"),
        ({"appointed_leader": "z"}, "appointed_leader 'z' is not in members"),
        ({"appointed_leader": 7}, "appointed_leader must be a member's name or None"),
        ({"storage_stall_timeout": 0}, "storage_stall_timeout must be a number of seconds above 0"),
        ({"storage_stall_timeout": "1"}, "storage_stall_timeout must be a number of seconds"),
        ({"found": "yes"}, "True or False"),
        ({"paranoid": 1}, "True or False"),
        ({"data_dir": 7}, "data_dir"),
        ({"transport": "tcp"}, "transport"),
        ({"listen": "127.0.0.1:7001"}, "settings of TCP"),
        ({"insecure": True}, "settings of TCP"),
    ],
)
@pytest.mark.accept("O-95", "U-33")
async def test_what_cannot_work_is_refused(
    settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    given: dict[str, Any] = (
        {"transport": MemoryNetwork(), "data_dir": tmp_path / "home"} | GOOD | settings
    )
    with pytest.raises(ConfigError, match=words) as caught:
        async with open_node(Counter, **given):
            pass

    assert "\n" not in str(caught.value)
    assert not (tmp_path / "home").exists()


async def test_a_machine_that_cannot_be_replicated_is_refused_before_anything_is_made(
    tmp_path: Path,
) -> None:
    class Forgotten(StateMachine):
        total: int = 0

    with pytest.raises(ConfigError, match="needs its own"):
        async with open_node(
            Forgotten, transport=MemoryNetwork(), data_dir=tmp_path / "home", **GOOD
        ):
            pass

    assert not (tmp_path / "home").exists()


def test_asyncio_is_told_that_raftkit_needs_trio() -> None:
    async def main() -> None:
        async with open_node(Counter, transport=MemoryNetwork(), **GOOD):
            pass

    with pytest.raises(LocalProtocolError, match="needs trio"):
        asyncio.run(main())
