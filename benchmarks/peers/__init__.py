"""Other implementations of Raft, measured as raftkit is: three members on loopback, data on the same disk.

    subject       what is asked of each of them, and what comes of it
    own           raftkit itself, by the processes of `raftkit bench`
    etcd          Debian's etcd-server, under the load of its own client: etcd_load/main.go
    syncobj       PySyncObj, in an environment of its own: syncobj_node.py runs there
    member        what peers have in common that are processes here
    program       a process that says JSON, one object a line
    prepare       `python -m benchmarks.peers.prepare`: builds and installs what the others need

Laws: nothing of a peer is ever in raftkit's environment. What can't be had is said in one line with the name
of its package, and left out. What was started is ended, even if this process is killed.
"""
