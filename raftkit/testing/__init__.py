"""Tools with which raftkit tests itself, for testing what is built on it.

`local_cluster` runs a whole group in one process, with real drivers and files, to crash, restart and
partition. `applying` lends a machine its `ctx`, for unit tests of commands without any node.
`raftkit.testing.scenario` plays stories about a few cores that are written as text (`docs/scenarios.md`).
`raftkit.testing.append_lists` and `raftkit.testing.linearizability` judge what clients were told.

Nothing here needs pytest or Hypothesis; `raftkit.testing.strategies` needs the extra `testing`, and is
imported by its own name.
"""

from raftkit.testing.applying import applying
from raftkit.testing.cluster import Cluster, local_cluster

__all__ = ["Cluster", "applying", "local_cluster"]
