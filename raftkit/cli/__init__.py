"""The command line, on the top floor: what people type, made of nothing but the public API.

    app            names, options and their errors: one line on stderr, exit 2
    demo           `raftkit demo`: replicate a text, kill a node half-way, compare every line
    demo_input     the text, line by line, never whole in memory
    demo_machine   the replicated state machine: lines by number, and how often each was applied
    demo_member    one node: what may be asked of it, wherever it runs
    demo_cluster   the nodes as a group: who leads, who is killed, who is back
    demo_processes nodes as processes of their own, seen from the demo
    demo_node      the program of such a process
    demo_pipe      how the two talk
    demo_clients   the submission: sessions, tokens, sending again, latencies
    demo_audit     every node's state against the input, line for line
    demo_report    what was measured and what follows: words, JSON, exit code
    demo_view      the live view on a terminal, plain lines elsewhere

Needs the extra `cli` (cyclopts, rich). Exit codes: 0 all went well, 1 it did not, 2 it was not
understood or could not start, 130 interrupted.
"""

from raftkit.cli.app import run

__all__ = ["run"]
