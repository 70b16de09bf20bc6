"""The plan of a node that is opened without `open_node`, whose defaults it then lacks."""

from __future__ import annotations

from collections.abc import Mapping

from raftkit.driver.planning import Plan, make_plan
from raftkit.model import NodeId

__all__ = ["plan_of_a"]


def plan_of_a(members: Mapping[NodeId, str], *, found: bool = True) -> Plan:
    """For node a among these addresses: small, checked, without own snapshots and without threads."""
    return make_plan(
        id="a",
        members=members,
        election_timeout=(0.25, 0.5),
        heartbeat_interval=0.05,
        leases=False,
        entry_bytes_max=2000,
        sessions_max=9,
        session_idle=3600.0,
        snapshot_entries=0,
        snapshot_bytes=0,
        snapshot_elapsed=0.0,
        upgrade_hold=10.0,
        found=found,
        paranoid=True,
        threads=False,
    )
