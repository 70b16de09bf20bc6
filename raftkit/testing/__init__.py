"""Tools with which raftkit tests itself, for testing what is built on it.

`local_cluster` runs a whole group in one process, with real drivers and files, to crash, restart and
partition. `applying` lends a machine its `ctx`, for unit tests of commands without any node.
`raftkit.testing.machine_conformance` checks a machine with generated logs, and `raftkit.testing.rules`
compares it in a played group with a model, `raftkit.testing.cluster_rules` in one that elects and crashes
(`docs/testing-your-machine.md`).
`raftkit.testing.scenario` plays stories about a few cores that are written as text (`docs/scenarios.md`).
`raftkit.testing.append_lists` and `raftkit.testing.linearizability` judge what clients were told.

Nothing imported here needs pytest or Hypothesis. `machine_conformance`, the rules and `strategies` need the
extra `testing`, `plugin` needs pytest, and all are imported by their own names.
"""

from raftkit.testing.applying import applying
from raftkit.testing.cluster import Cluster, local_cluster

__all__ = ["Cluster", "applying", "local_cluster"]
