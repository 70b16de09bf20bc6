"""Whether raftkit stays as quick as it began: `python -m benchmarks.growth`.

    writes       growth: a group with 10⁷ entries behind a snapshot beside a new one, and groups of 1 to 7
    restart      restart: from the start of a process to its first vote, with a large log
    snapshots    snapshot: what writes suffer while the leader writes a large state to disk

    __main__     the command line
    part         what each of the three tells: table, JSON, whether its goal is met
    turns        cases by turns, round by round
    directories  data directories as a group leaves them, made without the group
    processes    a group of processes on such directories
    candidate    who asks a node for its vote
    member       the program of a node that takes snapshots under load

Laws: what is compared is measured by turns, in every round anew and in alternating order, so that another
program's work falls on all. A ratio is of figures of one round; what is told is the median of the rounds.
"""
