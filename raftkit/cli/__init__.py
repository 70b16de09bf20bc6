"""The command line, on the top floor: what people type.

    app            names, options and their errors: one line on stderr, exit 2
    demo/          `raftkit demo`: replicate a text, kill a node half-way, compare every line
    init           `raftkit init`: a new data directory, and how its node is to be run
    node_file      node.toml: what a node is opened with
    config_yaml    QLUSTER's config.yaml, in our words
    run_node       `raftkit run`: the node of a data directory, until Ctrl-C
    lines          what is said of it, never in its way
    status         `raftkit status`: what nodes say of themselves
    status_look    a node by its directory: what it answers, or what it left there
    status_view    its status for people
    membership     `raftkit members`, `admit`, `remove`, `promote`, `demote`
    links          `raftkit links`: who hears whom
    links_view     it as a table
    leadership     `raftkit transfer-leadership`, `step-down`
    upgrade        `raftkit upgrade`: a newer version of the machine comes in force now
    discovered     `raftkit discovered`: who says hello on a multicast network, member or not
    doctor/        `raftkit doctor`: what is wrong with a node, its disk and its network, and what to do next
    order          what these tell a node, over the socket in its data directory
    bench/         `raftkit bench`: writes a second, how long they take, what is saturated
    log            `raftkit log show` and `log verify`: a data directory looked at, not touched
    log_rows       one entry in words, and as JSON
    replay         `raftkit replay`: a recording played again, told and drawn
    factory        a machine by its name: `package.module:Counter`, `path/file.py:Counter`
    starting       what commands that run nodes share: names, a directory, Ctrl-C
    network        TCP or multicast between the nodes of a command
    child          a node process of ours: started, asked, heard, ended by SIGKILL
    pipe           how a command and its node processes talk
    percentile     of what was measured

Needs the extra `cli` (cyclopts, rich, pyyaml). Exit codes: 0 all went well, 1 it did not, 2 it was not
understood or could not start, 130 interrupted.

The door is `raftkit.cli.app.run`. It is not opened here: the node processes of the demo and the benchmark are
modules in it, and must not load all that a terminal needs.
"""
