"""`raftkit doctor`: what keeps a node's group from working, and what to do next.

    command      the run: who is asked, what is measured, in which order, for how long
    case         what is to be examined: by a directory, a config.yaml, or options
    findings     what was found, of whom, how bad it is; the order of the tree; the next step
    group        quorum and membership, as the node of the directory says itself
    datagrams    UDP with each peer, by unicast and multicast: sealed probes, and what comes back
    connections  TCP with each peer
    paths        which of these ways works, and what it means when one does not
    timing       how long answers take, and which timeouts that asks for
    disk         how long a durable write takes, and how much room is left
    clock        whether the wall clock was stepped meanwhile
    host         versions
    answering    `--listen`: the other side
    view         a table for people, JSON for programs

Laws: measuring and judging are apart: what judges has no socket, file or clock. Nothing of the group is
changed. Nobody is believed before its seal was checked, and nobody is told anything but that somebody asks.
The probes are the first step of a node's own handshake, so that running nodes answer without knowing doctors;
no link ever comes of them. The tree is walked from what people notice to what causes it: quorum, membership,
network, disk, clock.
"""
