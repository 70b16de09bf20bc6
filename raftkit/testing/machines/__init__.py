"""How a state machine is tried: the parts of `machine_conformance` and of the rules.

    story        logs as people read them, and the error that says what is wrong
    copy         one copy of a machine, given the entries of a log one by one
    strategies   its commands and queries, from its annotations
    exploring    looks for the shortest log in which a promise is broken
    determinism  the same log, the same state and answers, in every process
    twin         a copy in a second process, under another hash seed
    traps        clocks, chance, files and names of the process, seen when they are read
    snapshots    a snapshot is the whole state, as it was when it was captured
    rejections   a command that refuses changes nothing
    golden       what was written yesterday is read today, and is written the same
    group        one agreed log, and members that follow it unevenly

Nothing is imported here: `twin` runs in processes that need little of it.
"""
