"""TCP between nodes: one connection a pair, heartbeats first, in the clear.

sockets    where a node listens, how it dials, and whom it talks to in the clear
link       one connection: frames out by lane, frames in as they come
transport  who is linked to whom, and what is told of it
"""

from raftkit.transports.tcp.transport import TcpEndpoint, TcpStatistics, TcpTransport

__all__ = ["TcpEndpoint", "TcpStatistics", "TcpTransport"]
