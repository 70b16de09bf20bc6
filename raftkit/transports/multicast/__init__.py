"""UDP multicast between nodes: what several followers are to hear is sent once, whatever their number.

    transport   the settings, and how an endpoint is opened
    group       which group, on which interface: what the settings mean on this machine
    keys        the cluster's key, from the file that every member has
    aead        AES-256-GCM for datagrams
    endpoint    the glue: sockets, pacing and engine at work for a driver
    datagrams   what it asks of its sockets: worlds in virtual time have others
    sockets     one hears the group, the other has the node's own address
    pacing      how fast an endpoint may send
    statistics  what it did, in figures

The protocol, without clock, sockets or chance of its own:

    engine      datagrams in, datagrams and events out
    outlet      what it puts out
    ways        the sending side: to the group, or to one peer on one link
    window      how far receivers may be behind
    handshake   two endpoints prove to each other that they live now
    link        what arrives from a peer, how it is, what it is told
    pulse       whether it lives
    reach       whether it hears our multicasts
    discovery   who says hello, whether or not it is linked

`listening` only hears who is there.
"""

from raftkit.transports.multicast.endpoint import MulticastEndpoint
from raftkit.transports.multicast.statistics import MulticastStatistics
from raftkit.transports.multicast.transport import MulticastTransport

__all__ = ["MulticastEndpoint", "MulticastStatistics", "MulticastTransport"]
