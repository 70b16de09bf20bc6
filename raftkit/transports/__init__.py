"""Ways for nodes to reach each other. All of them are lossy, and say so in their names.

A transport moves frames between endpoints: it knows addresses, links, queues and bytes, and nothing of
terms, logs or leaders. What it may do to a frame, and what it never does, stands in `base.py`; the core
is correct over anything that keeps to it, and the driver's hello decides who is heard at all.

`MemoryNetwork` joins nodes of one process, for tests and demonstrations, with the faults of a bad day.
`TcpTransport` joins processes: one connection a pair, heartbeats first, in the clear and so on loopback only
unless told otherwise.
`MulticastTransport` joins nodes on one network by UDP, and sends once what several are to hear; datagrams are
sealed with a key of the cluster.
"""

from raftkit.transports.base import LossyEndpoint, LossyTransport, Sink
from raftkit.transports.memory import Faults, MemoryEndpoint, MemoryNetwork
from raftkit.transports.multicast import MulticastEndpoint, MulticastStatistics, MulticastTransport
from raftkit.transports.tcp import TcpEndpoint, TcpStatistics, TcpTransport

__all__ = [
    "Faults",
    "LossyEndpoint",
    "LossyTransport",
    "MemoryEndpoint",
    "MemoryNetwork",
    "MulticastEndpoint",
    "MulticastStatistics",
    "MulticastTransport",
    "Sink",
    "TcpEndpoint",
    "TcpStatistics",
    "TcpTransport",
]
