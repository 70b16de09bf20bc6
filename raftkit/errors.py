"""Every error of raftkit, each named for what the caller may conclude from it (``docs/architecture.md``).

Law: an error that says *did not happen* is never raised for a command that may have happened.
Facts are attributes; the message shows the offending value and what to do next.
"""

from __future__ import annotations

__all__ = [
    "CommandFailed",
    "ConfigError",
    "DidNotHappen",
    "Diverged",
    "EntryTooLarge",
    "LeadershipLost",
    "LocalProtocolError",
    "LogCorrupt",
    "NoQuorum",
    "NodeClosed",
    "NodeFailed",
    "NotLeader",
    "NotYetEnabled",
    "OutcomeUnknown",
    "Overloaded",
    "RaftError",
    "RaftInternalError",
    "Rejected",
    "RemoteProtocolError",
    "SessionExpired",
    "StateMachineFailed",
    "StateUnwritable",
    "StorageError",
    "TransferFailed",
    "WrongCluster",
]


class RaftError(Exception):
    """The root of everything that raftkit raises on purpose."""


class DidNotHappen(RaftError):
    """The command was not decided and never will be: it is safe to send it again as a new one."""


class NoQuorum(DidNotHappen):
    """No leader could be reached in time and nothing was sent. Wait, or ask another node."""


class Overloaded(DidNotHappen):
    """The log holds as many undecided bytes as it may. Slow down and send again."""


class NotYetEnabled(DidNotHappen):
    """The command needs a version of the machine that is not in force in the group yet."""


class EntryTooLarge(DidNotHappen):
    """The encoded command exceeds `entry_bytes_max` of the configuration."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"the command takes {size} bytes, the group's limit is {limit} (entry_bytes_max): "
            "send it in parts, or raise the limit"
        )
        self.size = size
        self.limit = limit


class NodeClosed(DidNotHappen):
    """This node is closing, and the call had not been sent."""


class Diverged(DidNotHappen):
    """This node's state is not what a majority's is, so it answers nothing from it until it is mended.

    Ask another node. Nothing is to be done here: the right state is being fetched.
    """


class NotLeader(DidNotHappen):
    """Only the leader can do this, and this node does not lead. `leader` is the one it follows, if any."""

    def __init__(self, leader: str | None) -> None:
        super().__init__(
            f"not the leader; {'leader is ' + leader if leader else 'no leader known'}"
        )
        self.leader = leader


class TransferFailed(DidNotHappen):
    """Leadership did not go where it was asked to go. `leader` leads, as far as known here."""

    def __init__(self, why: str, leader: str | None) -> None:
        super().__init__(f"leadership was not handed over: {why}")
        self.why = why
        self.leader = leader


class LeadershipLost(RaftError):
    """This node leads `term` no more, so the body of its `leadership()` was cancelled.

    It learnt that late: another may have led for a while. What the body does to the outside world must be
    such that an older term can be told there and refused.
    """

    def __init__(self, term: int) -> None:
        super().__init__(f"this node leads no more: it led term {term}")
        self.term = term


class Rejected(RaftError):
    """The command was decided, and the state machine refused it. Nothing was changed.

    Raise it, or an attrs subclass named in ``@command(rejects=…)``, inside a command.
    """


class CommandFailed(RaftError):
    """The command was decided, and its own code raised: a bug in the command, the same on every node."""

    def __init__(self, type: str, index: int) -> None:  # noqa: A002 - the field's name is public
        super().__init__(
            f"the command at index {index} raised {type} in its own code: "
            "raise Rejected(…) for requests that must be refused"
        )
        self.type = type
        self.index = index


class OutcomeUnknown(RaftError):
    """The command may have happened. Ask `await node.outcome(token)`, or send it again by its token."""

    def __init__(self, token: object, why: str = "") -> None:
        super().__init__(f"the command may have happened{': ' + why if why else ''}")
        self.token = token
        self.why = why


class SessionExpired(OutcomeUnknown):
    """The group no longer remembers this session, nor which of its commands happened."""


class RemoteProtocolError(RaftError):
    """A peer sent what the protocol does not allow. Its connection is dropped, nothing else."""


class LocalProtocolError(RaftError):
    """You called something in a way that it does not allow. Fix the call."""


class ConfigError(RaftError):
    """A setting is unknown, of the wrong type, or contradicts another. Nothing was started."""


class NodeFailed(RaftError):
    """This node must not go on: its scope ends with this error."""


class StorageError(NodeFailed):
    """The disk refused a write or a sync, or can't be trusted. Never retried: restart the node."""


class LogCorrupt(StorageError):
    """Bytes on disk are not what was written, and it is not the tail of an interrupted write."""

    def __init__(self, path: str, offset: int, index: int | None, detail: str) -> None:
        where = f" (index {index})" if index is not None else ""
        super().__init__(
            f"{path}: corrupt at byte {offset}{where}: {detail}; nothing was changed: restore the "
            "directory from a copy, or delete it and admit the node again"
        )
        self.path = path
        self.offset = offset
        self.index = index
        self.detail = detail


class WrongCluster(NodeFailed):
    """The directory, or a peer, belongs to another cluster, node or epoch."""


class StateMachineFailed(NodeFailed):
    """Applying met this node's own trouble (memory, stack, disk), not the command's."""


class StateUnwritable(RaftError):
    """The machine holds what can't be written, so there is no snapshot. Nothing is lost: the node goes on.

    It keeps its log from the snapshot before. Mend the state by a command; the next snapshot is then whole.
    """

    def __init__(self, index: int, where: str, why: str) -> None:
        super().__init__(
            f"the state at index {index} can't be written: {where}: {why}; an earlier command did this: send "
            "one that mends it, the log is kept until then"
        )
        self.index = index
        self.where = where
        self.why = why


class RaftInternalError(RaftError):
    """A law of raftkit was broken: our bug. Please report it with the message."""
