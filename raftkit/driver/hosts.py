"""What a replica needs of its machine, whichever kind that is.

Law: a host applies what it is given, in order, each command after asking the session table.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

from raftkit.driver.envelope import Reader
from raftkit.driver.sessions import Sessions
from raftkit.errors import Rejected
from raftkit.model import Index, Run

__all__ = ["Host", "Outcome", "is_nodes_trouble"]

Outcome = tuple[int, int, bytes]
"(session, seq, reply) of one entry, for whoever waits for it at this node; see `replies.decode_reply`."


class Host(ABC):
    """What a replica needs to know of its machine."""

    kind: str
    "Names the form of its part of a snapshot."
    newest: int
    "The newest version that the machine's code knows."

    alike: bool
    "Whether equal states are written as equal bytes at every node."

    machine: Any
    "The user's object."

    @abstractmethod
    def apply(
        self, run: Run, sessions: Sessions, bytes_max: int, cluster: bytes
    ) -> Iterator[Outcome]:
        """Apply a run of commands, one outcome each, in order.

        Raises MalformedError at a command that this code does not know, everything before it applied and
        nothing of it; StateMachineFailed where the node must halt.
        """

    @abstractmethod
    def on_clock(self, run: Run, cluster: bytes) -> None:
        """Apply the one clock entry that `run` is. Raises StateMachineFailed where the node must halt."""

    @abstractmethod
    def upgrade(self, version: int, run: Run, cluster: bytes) -> None:
        """Bring `version`, which the code knows, in force by the one entry that `run` is.

        Raises StateMachineFailed where the machine can't: then the state is of no use.
        """

    @abstractmethod
    def next_deadline(self) -> int | None:
        """The log time at which the machine wants a clock entry. Raises what the machine raises."""

    @abstractmethod
    def encode(self, command: Any) -> bytes:
        """The bytes of a command behind the header. Raises what `Schema.encode` does."""

    @abstractmethod
    def name_of(self, payload: bytes) -> str:
        """What the command in an applied entry's `payload` calls, for people."""

    @abstractmethod
    def ask(self, question: Any) -> Any:
        """The answer to a query, or to a callable that is lent the machine."""

    @abstractmethod
    def result(self, data: bytes) -> Any:
        """The value in the reply to a command that was applied."""

    @abstractmethod
    def rejection(self, plain: tuple[Any, ...]) -> Rejected:
        """The error in the reply to a command that was refused."""

    @abstractmethod
    def capture(self, index: Index) -> Callable[[], Iterator[bytes]]:
        """The state as it is now, at `index`; what comes back writes it, whatever is applied meanwhile.

        Both raise StateUnwritable for a state that has no bytes, on every node alike, and StateMachineFailed
        for this node's own trouble.
        """

    @abstractmethod
    def restore(self, reader: Reader) -> None:
        """Read what `capture` wrote into this fresh machine. Raises MalformedError."""

    @abstractmethod
    def digest(self) -> bytes | None:
        """The machine's own digest, if it has one."""


def is_nodes_trouble(error: BaseException) -> bool:
    """Whether this node lacks something, as against a bug in the machine, which all nodes have alike."""
    if isinstance(error, OSError):
        return error.errno is not None
    return isinstance(error, MemoryError | RecursionError | SystemExit)
