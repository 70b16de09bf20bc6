"""`raftkit demo`: a real text, line by line, over a group of nodes, of which one is killed.

    command    the run: replicate a text, kill a node half-way, compare every line
    text       what is replicated, line by line, never whole in memory
    machine    the replicated state machine: lines by number, and how often each was applied
    member     one node: what may be asked of it, wherever it runs
    cluster    the nodes as a group: who leads, who is killed, who is back
    processes  nodes as processes of their own, seen from the demo
    node       the program of such a process
    pipe       what the two say to each other
    clients    the submission: sessions, tokens, sending again, latencies
    audit      every node's state against the input, line for line
    report     what was measured and what follows: words, JSON, exit code
    view       the live view on a terminal, plain lines elsewhere

Nothing is imported here: `node` runs in processes that must not load all that a terminal needs.
"""
