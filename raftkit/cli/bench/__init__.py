"""`raftkit bench`: what a durable group does in a second, how long it takes, what is saturated.

    command      the run: a group for each machine, a measurement for each number of operations under way
    machine      the two replicated state machines
    workload     what the tasks of a load do
    load         a closed loop of tasks that write and read
    gap          how long nobody can write while leadership changes
    idle         what a group costs that has nothing to do
    subject      a node, and what is done to its machine
    node         the program of a node process, which runs the load too
    traffic      what a node sends, and what it is made to lose
    group        the node processes, seen from the benchmark
    environment  the machine under it, and who uses its processors
    report       what was measured: words, table, JSON, exit code

Nothing is imported here: `node` runs in processes that must not load all that a terminal needs.
"""
