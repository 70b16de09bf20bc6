"""Random worlds of cores: a whole group in one thread and in virtual time, from one seed.

    World(7).run()

    world           a storm, then calm among a random quorum; what must come of it
    stage           what all share: virtual time, one source of chance, the switches
    swarm           which faults a world has, and how often
    nemesis         what happens to the servers, and to what lies between them
    forgery         messages that no correct server sent
    churn           changes of the group
    server          a core, a disk, a state machine, and what a driver does between them
    disk            keeps what was performed, loses what was queued
    network         loses, repeats, delays and reorders messages; never changes one
    callers         what was asked and told, and whether it was true
    ghosts          what must hold across servers, after every step
    configurations  which configuration counts, when: the ghosts' view of changes
    shadows         what the ghosts remember

`python -m raftkit.testing.soak` runs many. Worlds of whole nodes are in `raftkit.testing.full`.
"""

from raftkit.testing.world.shadows import InvariantViolated
from raftkit.testing.world.world import Report, World, founding_of

__all__ = ["InvariantViolated", "Report", "World", "founding_of"]
