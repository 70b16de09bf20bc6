"""A `StateMachine` on one replica: its commands decoded, called and answered, its fields written and read.

Laws: what a command raises is its answer, the same on every replica; what this node lacks (memory, stack,
disk) is StateMachineFailed and ends the node. A command that this code can't decode leaves no trace. A field
that holds what it is not annotated to can't be written; that is no reason to stop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any, TypeGuard, cast

import attrs

from raftkit import encoding
from raftkit.driver.envelope import END, Reader, item
from raftkit.driver.hosts import Host, Outcome, is_nodes_trouble
from raftkit.driver.replies import VALUE, failed, rejected
from raftkit.driver.sessions import HEADER_BYTES, NONCE_BIT, Sessions, unpack_header
from raftkit.encoding import MalformedError
from raftkit.errors import (
    ConfigError,
    LocalProtocolError,
    NotYetEnabled,
    Rejected,
    StateMachineFailed,
    StateUnwritable,
)
from raftkit.model import Index, Run
from raftkit.statemachine import (
    Command,
    Context,
    MethodSchema,
    Ownership,
    Query,
    Schema,
    StateMachine,
    schema_of,
)
from raftkit.statemachine.annotations import Field
from raftkit.statemachine.schema import Upgrade
from raftkit.statemachine.values import Codec, Refused, exactly

__all__ = ["TypedHost"]

_GROUP = 64
"Elements of a dict or list field that share one item of a snapshot. In the format: never changed."
_CHECKED_MAX = 64
"A dict or list with more elements is not looked through after every command, `paranoid` or not."
_logger = logging.getLogger("raftkit")


class TypedHost(Host):
    """Holds a `StateMachine`."""

    kind = "fields"
    alike = True

    def __init__(self, machine: StateMachine, version: int, *, paranoid: bool) -> None:
        """`paranoid` looks after each command whether small fields still hold what they are annotated to.

        Raises ConfigError for a machine of which the state can't be written from the start.
        """
        if hasattr(machine, "__raft_context__"):
            raise ConfigError(
                f"the factory gave a {type(machine).__name__} that a node owns already: "
                "make a new one each time"
            )
        self.schema = schema_of(type(machine), version)
        self.newest = self.schema.newest
        self.machine = machine
        self._paranoid = paranoid
        machine.__raft_context__ = Ownership.AT_REST
        if (refused := self._refused(self.schema.fields)) is not None:
            raise ConfigError(
                f"the factory made a {type(machine).__name__} that can't be written: {refused}: mend the "
                "default, or the annotation"
            )

    def apply(
        self, run: Run, sessions: Sessions, bytes_max: int, cluster: bytes
    ) -> Iterator[Outcome]:
        """See `Host`."""
        for index, payload in enumerate(run.payloads, run.first):
            session, seq, ack_below = unpack_header(payload)
            # Decoded before it is admitted: what this code can't decode must leave no trace.
            method, arguments = self.schema.decode(payload[HEADER_BYTES:])
            if session >= NONCE_BIT:
                yield session, seq, self._call(method, arguments, index, run, cluster)
                continue
            reply = sessions.admit(session, seq, ack_below, run.elapsed_ns)
            if isinstance(reply, int):
                floor, reply = reply, self._call(method, arguments, index, run, cluster)
                sessions.record(session, seq, floor, reply, bytes_max)
            yield session, seq, reply

    def _call(
        self, method: MethodSchema, arguments: list[Any], index: int, run: Run, cluster: bytes
    ) -> bytes:
        """Run one command; its reply. Raises StateMachineFailed for what is this node's trouble."""
        self.machine.__raft_context__ = partial(_context, run, index, cluster)
        try:
            reply = _answer(method, method.call(self.machine, *arguments))
        except Rejected as error:
            reply = _rejection(method, arguments, index, error)
        except (Exception, SystemExit) as error:
            if is_nodes_trouble(error):
                raise _halted(method.where, index, error) from error
            reply = _failed(method, arguments, index, error)
        finally:
            self.machine.__raft_context__ = Ownership.AT_REST
        self._check(method.where, index)
        return reply

    def on_clock(self, run: Run, cluster: bytes) -> None:
        """See `Host`."""
        where = f"{type(self.machine).__name__}.on_clock"
        self.machine.__raft_context__ = _context(run, run.first, cluster)
        try:
            self.machine.on_clock()
        except (Exception, SystemExit) as error:
            if is_nodes_trouble(error):
                raise _halted(where, run.first, error) from error
            _logger.exception(
                "%s at index %d raised in its own code; what it changed stays", where, run.first
            )
        finally:
            self.machine.__raft_context__ = Ownership.AT_REST
        self._check(where, run.first)

    def upgrade(self, version: int, run: Run, cluster: bytes) -> None:
        """See `Host`. Versions come one after the other, each by its own upgrade."""
        while self.schema.version < version:
            self.schema = schema_of(self.schema.machine, self.schema.version + 1)
            if self.schema.upgrade is not None:
                self._upgrade(self.schema.upgrade, run, cluster)

    def _upgrade(self, upgrade: Upgrade, run: Run, cluster: bytes) -> None:
        self.machine.__raft_context__ = _context(run, run.first, cluster)
        try:
            upgrade.call(self.machine)
        except (Exception, SystemExit) as error:
            # To go on would leave replicas that are upgraded by mended code with another state.
            raise StateMachineFailed(
                f"{upgrade.where}, which makes version {self.schema.version}, raised at index {run.first} "
                f"{type(error).__name__}: {error}; nothing is lost: mend it and start every node again"
            ) from error
        finally:
            self.machine.__raft_context__ = Ownership.AT_REST
        self._check(upgrade.where, run.first)

    def _check(self, where: str, index: int) -> None:
        """Raise StateMachineFailed, under `paranoid`, after the command that left what can't be written."""
        if not self._paranoid:
            return
        small = [it for it in self.schema.fields if _is_small(self._held(it))]
        if (refused := self._refused(small)) is not None:
            raise StateMachineFailed(
                f"{where} left at index {index} what can't be written: {refused}: mend the command (only a "
                "paranoid node stops here; another can't write snapshots from now on)"
            )

    def _refused(self, fields: Iterable[Field]) -> Refused | NotYetEnabled | None:
        """Why the first of `fields` that can't be written can't."""
        for field in fields:
            try:
                if field.since <= self.schema.version:
                    field.encode(self._held(field))
                else:
                    field.leave_out(self._held(field), self.schema.version)
            except (Refused, NotYetEnabled) as refused:
                return refused
        return None

    def next_deadline(self) -> int | None:
        """See `Host`."""
        self.machine.__raft_context__ = Ownership.BEING_READ
        try:
            deadline_ns: int | None = self.machine.next_deadline()
            return deadline_ns
        finally:
            self.machine.__raft_context__ = Ownership.AT_REST

    def encode(self, command: Any) -> bytes:
        """See `Host`."""
        if not _is_command(command):
            name = type(self.machine).__name__
            raise LocalProtocolError(
                f"execute takes a command, such as {name}.…(…), got {command!r:.60}"
            )
        return self.schema.encode(command)

    def name_of(self, payload: bytes) -> str:
        """See `Host`."""
        method, _ = self.schema.decode(payload[HEADER_BYTES:])
        return method.where

    def ask(self, question: Any) -> Any:
        """See `Host`."""
        self.machine.__raft_context__ = Ownership.BEING_READ
        try:
            if _is_query(question):
                return self.schema.ask(self.machine, question)
            if not callable(question):
                raise LocalProtocolError(f"read takes a query or a function, got {question!r:.60}")
            return question(self.machine)
        finally:
            self.machine.__raft_context__ = Ownership.AT_REST

    def result(self, data: bytes) -> Any:
        """See `Host`."""
        name, plain = exactly(list, encoding.loads(data), "a result")
        return self.schema.commands[name].result.decode(plain)

    def rejection(self, plain: tuple[Any, ...]) -> Rejected:
        """See `Host`."""
        name, *error = plain
        return self.schema.commands[name].decode_rejection(error)

    def capture(self, index: Index) -> Callable[[], Iterator[bytes]]:
        """See `Host`."""
        held = {it.name: self._held(it) for it in self.schema.fields}
        copied = {name: it.copy() if type(it) in {dict, list} else it for name, it in held.items()}
        # Another version may be in force by the time that it is written.
        schema = self.schema
        if self.machine.snapshot_mode == "pause":
            written = list(self._write(index, schema, copied))
            return lambda: iter(written)
        return lambda: self._write(index, schema, copied)

    def _write(self, index: Index, schema: Schema, held: dict[str, Any]) -> Iterator[bytes]:
        for field in schema.fields:
            value = held[field.name]
            try:
                if field.since > schema.version:
                    field.leave_out(value, schema.version)
                    continue
                yield item([field.name, field.codec.schema])
                for plain in _groups(field, value):
                    yield item(plain)
                yield END
            except Refused as refused:
                where = (refused.path or field.name).removeprefix(".")
                raise StateUnwritable(index, self._named(where), refused.why) from None
            except NotYetEnabled as error:
                raise StateUnwritable(index, self._named(field.name), str(error)) from None

    def _held(self, field: Field) -> Any:
        """What it holds; one that was deleted holds nothing, which no annotation allows."""
        return getattr(self.machine, field.name, attrs.NOTHING)

    def _named(self, where: str) -> str:
        return f"{type(self.machine).__name__}.{where}"

    def restore(self, reader: Reader) -> None:
        """See `Host`."""
        for field in self.schema.fields:
            if field.since > self.schema.version:
                assert field.default is not None
                object.__setattr__(self.machine, field.name, field.default())
                continue
            expected = [field.name, field.codec.schema]
            items = reader.items()
            if (found := next(items, None)) != expected:
                raise MalformedError(
                    f"it has the field {found!r:.200}, this code {expected!r:.200}"
                )
            try:
                object.__setattr__(self.machine, field.name, _read(field.codec, items))
            except Refused as refused:
                raise MalformedError(f"{field.name}: {refused}") from None

    def digest(self) -> bytes | None:
        """None: equal states of typed machines have equal snapshots."""
        return None


def _groups(field: Field, value: Any) -> Iterator[Any]:
    """What a field holds, as items of a snapshot: a dict or list in groups, anything else by itself."""
    kinds: Any = field.codec.types
    if kinds not in {(dict,), (list,)} or type(value) is not kinds[0]:
        yield [field.encode(value)]
        return
    make: Callable[[Iterator[Any]], Any] = kinds[0]
    elements: Iterator[Any] = iter(value.items() if kinds == (dict,) else value)
    while group := make(islice(elements, _GROUP)):
        yield field.encode(group)


def _read(codec: Codec, items: Iterator[Any]) -> Any:
    if codec.types == (list,):
        return [it for group in items for it in codec.decode(group)]
    if codec.types == (dict,):
        return {key: it for group in items for key, it in codec.decode(group).items()}
    match list(items):
        case [[plain]]:
            return codec.decode(plain)
        case other:
            raise Refused(f"expected one value, got {len(other)}")


def _is_small(held: object) -> bool:
    return not isinstance(held, dict | list) or len(cast("list[Any]", held)) <= _CHECKED_MAX


def _is_command(it: object) -> TypeGuard[Command[Any, Any]]:
    return isinstance(it, Command)


def _is_query(it: object) -> TypeGuard[Query[Any, Any]]:
    return isinstance(it, Query)


def _answer(method: MethodSchema, result: object) -> bytes:
    try:
        return VALUE + method.encode_result(result)
    except Refused as refused:
        raise TypeError(f"{method.where} returned what it does not say: {refused}") from None


def _rejection(method: MethodSchema, arguments: list[Any], index: int, error: Rejected) -> bytes:
    try:
        return rejected([method.name, *method.encode_rejection(error)])
    except Refused as refused:
        return _failed(method, arguments, index, TypeError(f"{type(error).__name__}: {refused}"))


def _failed(method: MethodSchema, arguments: list[Any], index: int, error: BaseException) -> bytes:
    _logger.error(
        "the command at index %d, %s(%.200s), raised in its own code; the caller gets CommandFailed",
        index,
        method.where,
        ", ".join(map(repr, arguments)),
        exc_info=error,
    )
    return failed(type(error).__name__, index)


def _context(run: Run, index: int, cluster: bytes) -> Context:
    return Context(
        index=index,
        term=run.term,
        time_ns=run.time_ns,
        elapsed_ns=run.elapsed_ns,
        cluster=cluster,
    )


def _halted(where: str, index: int, error: BaseException) -> StateMachineFailed:
    return StateMachineFailed(
        f"{where} at index {index} met this node's own trouble: {type(error).__name__}: {error}; "
        "its state is of no use now: mend the cause and start the node again"
    )
