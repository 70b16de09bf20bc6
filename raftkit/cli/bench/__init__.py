"""`raftkit bench`: writes a second of a durable group, how long they take, what is saturated.

    command      the run: a group for each machine, a measurement for each number of writes under way
    machine      the two replicated state machines
    load         a closed loop of tasks that write
    node         the program of a node process, which runs the load too
    traffic      what a node sends, and what it is made to lose
    group        the node processes, seen from the benchmark
    environment  the machine under it, and who uses its processors
    report       what was measured: words, table, JSON, exit code

Nothing is imported here: `node` runs in processes that must not load all that a terminal needs.
"""
