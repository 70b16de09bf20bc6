"""Random worlds of whole nodes: real drivers, logs and machines in virtual time, from one seed.

    FullWorld(7).run()

    world      a storm, then calm among a random quorum; what must come of it
    stage      what makes a run of trio repeatable, and the story that is told of it
    swarm      which faults a world has, and how often
    nemesis    what happens to servers, disks and network
    churn      changes of the group
    upgrades   servers get newer code, one by one
    operator   whoever runs the group: asks for changes and hand-overs, and hears answers
    server     one server over all its lives
    network    how nodes reach each other, and what may befall that
    memory     over a `MemoryNetwork`: every frame is part of the story
    multicast  over the endpoint of the multicast transport
    datagrams  its sockets, on a simulated network of datagrams
    clients    ask one thing after another, of any node, and keep the answers
    workloads  what they ask, and whether what they were told can be true
    views      what some servers are, seen together
    witness    what is seen of all: leaders, and snapshots at equal indexes

Worlds of cores alone, in `raftkit.testing.world`, are much faster and see inside; these see what users see.
"""

from raftkit.testing.full.world import TRANSPORTS, FullReport, FullWorld, Transport

__all__ = ["TRANSPORTS", "FullReport", "FullWorld", "Transport"]
