"""The driver: one trio task owns the core and does what its effects say; the rest serves that task.

::

    callers ── calling ──▶ waiters, forwarding ─┐                          ┌─▶ send ──▶ transport ──▶ peers
    readers ── reading ─────────────────────────┤                          ├─▶ persist ──▶ writer
    peers ──▶ transport ──▶ links ──── heard? ──┼─▶ inbox ──▶ loop ──▶ core ──┼─▶ fetch ──▶ storage
    writer, storage, applying ── done ──────────┘         one step a turn  ├─▶ apply ──▶ applying ──▶ replica
                                                                           └─▶ answer, publish

A command enters through `calling`, which gives it a session and a number, and leaves when `applying` has
applied its entry at this very node and `waiters` finds who waits for that number. In between it is
`forwarding`'s, which proposes it here or sends it to the leader, again after each change of leader.

What a reader may ask for is in `consistency`. `reading` asks the core for an index, and `freshness` keeps
what its answers say of the age of this node's copy.

`links` is this node's side of the transport: `greeting` decides who is heard, `namesakes` which of two nodes
of one name, `founding` how a node is born. `composition` makes all parts of a server, and `server` holds them
together; nobody else knows every part. `serving` gives a server a scope, and `guarding` one meaningful error.

Two look on while `applying` works: `cutting` says behind which entries a snapshot is due, for `snapshotting`
to write, and `watchdog` names the commands that take too long; `stalling` looks at the disk, and tells the
core when a write does. `comparing` compares the states behind those
entries with what other nodes have, by `digests`, and has a wrong one mended. `clocking` has the leader append
an entry when the machine's own deadline has come, `upgrading` one when all members' code has a newer version
of the machine. `changing` has the group changed, `departing` ends the links to those who left it, and
`leading` hands leadership over, and cancels what may run only while this node leads; both ask the core
through `asking`, and `referring` has the leader do what was asked at another node.

Beside all that, `presence` exchanges how all members are and who hears whom, `explaining` and `reachability`
say how the node is, and `local_socket` says it to other processes. `recording` keeps what enters the core, in
the forms of `recorded_inputs`, where somebody wants to play it again.

Hardly anything here polls. What does looks when `looking` says, all at once, so that idling stays cheap.

To read in order: `loop.py`, `applying.py`, `waiters.py`, `forwarding.py`, `calling.py`, `server.py`.
"""

from raftkit.driver.consistency import Consistency, LocalAnswer, Wanted
from raftkit.driver.events import (
    DiskRecovered,
    DiskStalled,
    EventStream,
    MachineDiffers,
    NameTaken,
    NodeEvent,
    RecordingStopped,
    SettingsDiffer,
    SlowCommand,
    SnapshotFailed,
    StateDiverged,
    StateHealed,
    VersionRaised,
)
from raftkit.driver.explaining import Statistics, explain, statistics, status
from raftkit.driver.freshness import Freshness
from raftkit.driver.guarding import open_guarded
from raftkit.driver.local_socket import Orders, Questions, ask_node, open_local_socket
from raftkit.driver.planning import Plan, make_plan, refuse_unknown, refuse_unlike
from raftkit.driver.presence import MemberLinks
from raftkit.driver.reachability import MemberStatus, Votes
from raftkit.driver.recording import Life, Recorder, RecordingUnreadable, open_recorder
from raftkit.driver.replica import Replica
from raftkit.driver.server import Server
from raftkit.driver.serving import open_server
from raftkit.driver.tokens import Session, Token

__all__ = [
    "Consistency",
    "DiskRecovered",
    "DiskStalled",
    "EventStream",
    "Freshness",
    "Life",
    "LocalAnswer",
    "MachineDiffers",
    "MemberLinks",
    "MemberStatus",
    "NameTaken",
    "NodeEvent",
    "Orders",
    "Plan",
    "Questions",
    "Recorder",
    "RecordingStopped",
    "RecordingUnreadable",
    "Replica",
    "Server",
    "Session",
    "SettingsDiffer",
    "SlowCommand",
    "SnapshotFailed",
    "StateDiverged",
    "StateHealed",
    "Statistics",
    "Token",
    "VersionRaised",
    "Votes",
    "Wanted",
    "ask_node",
    "explain",
    "make_plan",
    "open_guarded",
    "open_local_socket",
    "open_recorder",
    "open_server",
    "refuse_unknown",
    "refuse_unlike",
    "statistics",
    "status",
]
