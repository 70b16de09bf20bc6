"""For unit tests of a machine without a node: `self.ctx`, and the promise of `Rejected`.

Law: nothing here replicates. A test calls a command as what it is, a method of a plain object.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TypeVar

from raftkit import encoding
from raftkit.errors import LocalProtocolError, NotYetEnabled
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
    version: int | None = None,
) -> Generator[M]:
    """Within the block `machine.ctx` is there, as if the entry at `index` were being applied.

    `version` says which version of the machine is in force, by default the newest. What is called is your
    choice; asserts at the end that fields of later versions still hold their defaults, for until theirs is
    in force they are in no snapshot. Raises LocalProtocolError for a machine that a node owns, or that is
    being applied to already.
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
    if version is not None:
        _check_later_fields(machine, version)


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


def _check_later_fields(machine: StateMachine, version: int) -> None:
    for field in schema_of(type(machine), version).fields:
        if field.since > version:
            try:
                field.leave_out(getattr(machine, field.name), version)
            except NotYetEnabled as error:
                name = type(machine).__name__
                raise AssertionError(f"a command changed {name}.{field.name}: {error}") from None


def _fields(machine: StateMachine) -> dict[str, bytes]:
    newest = schema_of(type(machine), 1).newest
    fields = schema_of(type(machine), newest).fields
    return {it.name: encoding.dumps(it.encode(getattr(machine, it.name))) for it in fields}
