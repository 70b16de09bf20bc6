"""raftkit: your program's state, replicated, durable and linearizable over a group of processes.

Give it a state machine, plain Python whose `@command` methods change it, and every node of the group
holds the same one::

    from __future__ import annotations
    import attrs, trio
    from raftkit import StateMachine, command, query
    from raftkit.testing import local_cluster

    @attrs.define
    class Counter(StateMachine):
        total: int = 0

        @command
        def add(self, amount: int = 1) -> int:
            self.total += amount
            return self.total

        @query
        def value(self) -> int:
            return self.total

    async def main() -> None:
        async with local_cluster(Counter, 3) as cluster:
            total = await cluster["a"].execute(Counter.add(amount=5))  # by a majority, once
            value = await cluster["b"].read(Counter.value())           # linearizable, at any node
            assert total == value == 5

    trio.run(main)

`open_node` runs one member of a group. A result is given when the command is on a majority of disks and
applied here; an error says whether the command did not happen or may have (`DidNotHappen`,
`OutcomeUnknown`), and a token finds out. The floors of the house are in `docs/architecture.md`.
"""

from raftkit.changes import (
    AddLearner,
    ChangeRefused,
    ChangeSettings,
    Demote,
    Promote,
    Readdress,
    Remove,
)
from raftkit.config import PRESETS
from raftkit.driver import EventStream, LocalAnswer, MemberLinks, Session, Statistics, Token
from raftkit.driver_messages import Presence
from raftkit.errors import (
    CommandFailed,
    ConfigError,
    DidNotHappen,
    Diverged,
    EntryTooLarge,
    LeadershipLost,
    LocalProtocolError,
    LogCorrupt,
    NodeClosed,
    NodeFailed,
    NoQuorum,
    NotLeader,
    NotYetEnabled,
    OutcomeUnknown,
    Overloaded,
    RaftError,
    RaftInternalError,
    Rejected,
    RemoteProtocolError,
    SessionExpired,
    StateMachineFailed,
    StateUnwritable,
    StorageError,
    TransferFailed,
    WrongCluster,
)
from raftkit.node import NODE_SESSION, Node, NodeSession, open_node
from raftkit.statemachine import (
    BytesStateMachine,
    Command,
    Context,
    Query,
    StateMachine,
    command,
    query,
    since,
    upgrade,
)
from raftkit.transports import MemoryNetwork, MulticastTransport, TcpTransport

__all__ = [
    "NODE_SESSION",
    "PRESETS",
    "AddLearner",
    "BytesStateMachine",
    "ChangeRefused",
    "ChangeSettings",
    "Command",
    "CommandFailed",
    "ConfigError",
    "Context",
    "Demote",
    "DidNotHappen",
    "Diverged",
    "EntryTooLarge",
    "EventStream",
    "LeadershipLost",
    "LocalAnswer",
    "LocalProtocolError",
    "LogCorrupt",
    "MemberLinks",
    "MemoryNetwork",
    "MulticastTransport",
    "NoQuorum",
    "Node",
    "NodeClosed",
    "NodeFailed",
    "NodeSession",
    "NotLeader",
    "NotYetEnabled",
    "OutcomeUnknown",
    "Overloaded",
    "Presence",
    "Promote",
    "Query",
    "RaftError",
    "RaftInternalError",
    "Readdress",
    "Rejected",
    "RemoteProtocolError",
    "Remove",
    "Session",
    "SessionExpired",
    "StateMachine",
    "StateMachineFailed",
    "StateUnwritable",
    "Statistics",
    "StorageError",
    "TcpTransport",
    "Token",
    "TransferFailed",
    "WrongCluster",
    "command",
    "open_node",
    "query",
    "since",
    "upgrade",
]

__version__ = "0.1.0.dev0"
