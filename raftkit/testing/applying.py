"""For unit tests of a machine without a node: `self.ctx`, and the promise of `Rejected`.

Law: nothing here replicates. A test calls a command as what it is, a method of a plain object.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TypeVar

from raftkit import encoding
from raftkit.errors import LocalProtocolError
from raftkit.statemachine import Context, StateMachine, schema_of

__all__ = ["applying", "unchanged"]

M = TypeVar("M", bound=StateMachine)


@contextmanager
def applying(
    machine: M,
    *,
    index: int = 1,
    term: int = 1,
    time_ns: int = 0,
    elapsed_ns: int = 0,
    cluster: bytes = bytes(16),
) -> Generator[M]:
    """Within the block `machine.ctx` is there, as if the entry at `index` were being applied.

    Raises LocalProtocolError for a machine that a node owns, or that is being applied to already.
    """
    if hasattr(machine, "__raft_context__"):
        raise LocalProtocolError(
            "this machine belongs to a node, or to another applying(…): make a new one"
        )
    machine.__raft_context__ = Context(
        index=index, term=term, time_ns=time_ns, elapsed_ns=elapsed_ns, cluster=cluster
    )
    try:
        yield machine
    finally:
        del machine.__raft_context__


@contextmanager
def unchanged(machine: StateMachine) -> Generator[None]:
    """Asserts that the block leaves every field as it was, which is what a command that rejects promises.

    ``with unchanged(account), pytest.raises(Insufficient): account.take(5)``
    """
    before = _fields(machine)
    try:
        yield
    finally:
        after = _fields(machine)
        changed = [name for name, data in before.items() if after[name] != data]
        assert not changed, f"{type(machine).__name__} changed: {', '.join(changed)}"


def _fields(machine: StateMachine) -> dict[str, bytes]:
    fields = schema_of(type(machine), 1).fields
    return {it.name: encoding.dumps(it.encode(getattr(machine, it.name))) for it in fields}
