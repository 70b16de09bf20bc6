"""Floor 1: what a user's state machine is, and how its commands become bytes. No I/O, no clock.

    declaration   StateMachine, @command, @query: what the class says, and the refusals of a class
    annotations   from annotations to codecs, attrs classes, since(…)
    values        codecs of primitives, containers and choices
    generated     the functions that are written out for each command: arguments and results as bytes
    upgrades      @upgrade: what a machine does when a version comes in force
    schema        a machine's class while one version is in force: its commands as bytes, its fields
    context       self.ctx: index, stamps, chance
    bytes_machine the lower level: bytes in, bytes out

A command is built on the class (`Counter.add(amount=5)`), encoded by `Schema.encode` at the node where
`execute` was called, and decoded by `Schema.decode` on every replica, whose driver calls the method.
"""

from raftkit.statemachine.annotations import since
from raftkit.statemachine.bytes_machine import Batch, BytesStateMachine
from raftkit.statemachine.context import Context, Rng
from raftkit.statemachine.declaration import (
    Command,
    Ownership,
    Query,
    StateMachine,
    command,
    query,
)
from raftkit.statemachine.schema import MethodSchema, Schema, schema_of
from raftkit.statemachine.upgrades import upgrade

__all__ = [
    "Batch",
    "BytesStateMachine",
    "Command",
    "Context",
    "MethodSchema",
    "Ownership",
    "Query",
    "Rng",
    "Schema",
    "StateMachine",
    "command",
    "query",
    "schema_of",
    "since",
    "upgrade",
]
