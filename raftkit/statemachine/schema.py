"""What a machine looks like while one version is in force: its commands, queries and fields, with codecs.

Laws: built when a machine is opened, and every refusal of types happens here. The bytes of a command are
final (`docs/command-format.md`): `[name, argument, …]`, parameters of later versions behind.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

import attrs

from raftkit import encoding
from raftkit.encoding import MalformedError
from raftkit.errors import ConfigError, LocalProtocolError, NotYetEnabled, Rejected
from raftkit.statemachine.annotations import (
    Field,
    codec_of,
    fields_of,
    hints_of,
    prefixes,
    since_of,
)
from raftkit.statemachine.declaration import (
    Call,
    Command,
    CommandMethod,
    Method,
    Query,
    StateMachine,
    check_decorated,
    methods_of,
)
from raftkit.statemachine.generated import Decode, Encode, decoder, encoder, result_encoder
from raftkit.statemachine.upgrades import UpgradeMethod, upgrades_of
from raftkit.statemachine.values import Codec, Refused, exactly

__all__ = ["MethodSchema", "Rejection", "Schema", "Upgrade", "schema_of"]

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Rejection:
    """A class of errors that a command may raise as its answer."""

    kind: type[Rejected]
    "`Rejected` itself, or an attrs subclass."
    fields: tuple[Field, ...]
    "What is sent of it. Empty for `Rejected` itself, which sends its words."

    def encode(self, error: Rejected) -> list[Any]:
        """`[name, field, …]`. Raises Refused for a value that is not as annotated."""
        return [self.kind.__name__, *(it.encode(getattr(error, it.name)) for it in self.fields)]

    def decode(self, plain: Sequence[object]) -> Rejected:
        """The error again. Raises Refused."""
        if len(plain) != len(self.fields):
            raise Refused(
                f"expected {self.kind.__name__} of {len(self.fields)} fields, got {len(plain)}"
            )
        aliases = [it.alias for it in attrs.fields(self.kind)]  # type: ignore[arg-type]
        values = [it.decode(item) for it, item in zip(self.fields, plain, strict=True)]
        return self.kind(**dict(zip(aliases, values, strict=True)))


@attrs.frozen(kw_only=True)
class MethodSchema:
    """A command or query while one version is in force."""

    where: str
    "For messages: `Counter.add`."
    name: str
    "Its name, on the wire too."
    since: int
    "It may be sent from this version on."
    version: int
    "The version in force."
    parameters: tuple[Field, ...]
    "In the order in which they are written."
    places: tuple[int, ...]
    "Where each of `parameters` stands among the arguments as declared."
    encode: Encode
    "Arguments as declared → its bytes. Raises Refused, or NotYetEnabled."
    decoders: dict[int, Decode]
    "By the number of arguments that some version writes."
    result: Codec
    "Of what it returns."
    encode_result: Encode
    "A result → `[name, result]`. Raises Refused."
    call: Callable[..., Any]
    "Call it with a machine and the arguments, as declared."
    rejections: dict[str, Rejection]
    "What it may reject with, by name; without `Rejected` itself."

    @property
    def versions(self) -> frozenset[int]:
        """The versions that it names."""
        rejected = [field for it in self.rejections.values() for field in it.fields]
        return self.result.versions.union(
            {self.since}, *(it.versions for it in (*self.parameters, *rejected))
        )

    def decode(self, array: list[Any]) -> list[Any]:
        """`[name, argument, …]` as any version writes it → arguments as declared. Raises Refused."""
        decode = self.decoders.get(len(array) - 1)
        if decode is None:
            raise Refused(f"expected {sorted(self.decoders)} arguments, got {len(array) - 1}")
        return decode(array)

    def encode_rejection(self, error: Rejected) -> list[Any]:
        """`[name, field, …]`, or `["Rejected", words]` for a class that is not listed. Raises Refused."""
        found = self.rejections.get(type(error).__name__)
        if found is not None and found.kind is type(error):
            return found.encode(error)
        if not all(type(it) is str for it in error.args):
            raise Refused(
                f"Rejected takes words, got {error.args!r:.80}: list an attrs subclass in rejects="
            )
        return ["Rejected", *error.args]

    def decode_rejection(self, plain: Sequence[Any]) -> Rejected:
        """The error again; a plain `Rejected` where its class is not known here. Raises Refused."""
        name, *items = plain
        found = self.rejections.get(name)
        return Rejected(*items) if found is None else found.decode(items)

    def describe(self) -> str:
        """One line that differs where meaning may differ between nodes of one version."""
        parameters = [
            f"{it.name}: {it.codec.schema}{_default_text(it)}"
            for it in self.parameters
            if it.since <= self.version
        ]
        rejections = [
            f"{name}({_fields_text(it.fields)})" for name, it in sorted(self.rejections.items())
        ]
        return f"{self.name}({', '.join(parameters)}) -> {self.result.schema} ! {', '.join(rejections)}"


@attrs.frozen(kw_only=True)
class Upgrade:
    """What makes a state of one version of one of the version before, beside the defaults of new fields."""

    where: str
    "For messages: `Counter.split`."
    call: Callable[[StateMachine], None]
    "Call it with a machine."


@attrs.frozen(kw_only=True)
class Schema:
    """A machine's class while one version is in force."""

    machine: type[StateMachine]
    "The class."
    version: int
    "The version in force."
    commands: dict[str, MethodSchema]
    "By name, sorted; those of later versions too: they are known, but may not be sent."
    queries: dict[str, MethodSchema]
    "By name, sorted."
    fields: tuple[Field, ...]
    "In the order in which a snapshot has them."
    upgrade: Upgrade | None
    "To this version; None where new fields with their defaults are all."
    newest: int
    "The newest version that anything in the class names."

    @property
    def fingerprint(self) -> bytes:
        """32 bytes over what the log and the state may hold in this version and those before, by version.

        The same in every process and on every Python. Queries are not in it: they never leave their node.
        """
        hasher = blake2b(digest_size=32)
        for version in range(1, self.version + 1):
            for line in schema_of(self.machine, version).lines():
                hasher.update(f"{version} {line}\n".encode())
        return hasher.digest()

    def lines(self) -> Iterator[str]:
        """What the log and the state may hold while this version is in force, in words."""
        for command in self.commands.values():
            if command.since <= self.version:
                yield f"command {command.describe()}"
        for field in self.fields:
            if field.since <= self.version:
                yield f"field {field.name}: {field.codec.schema}"
        if self.upgrade is not None:
            yield "upgrade"

    def encode(self, command: Command[Any, Any]) -> bytes:
        """The bytes of a command, which follow the session header in an entry.

        Raises LocalProtocolError where it is of another machine, or names the argument that has no
        codec; NotYetEnabled where it needs a later version. In each case nothing was sent.
        """
        method = self._method(self.commands, command)
        if method.since > self.version:
            raise NotYetEnabled(
                f"{method.where} needs version {method.since} of the machine, and version {self.version} "
                "is in force until every voter runs the new code"
            )
        try:
            return method.encode(command.arguments)
        except Refused as refused:
            raise LocalProtocolError(f"{method.where}: {refused}") from None

    def decode(self, body: bytes) -> tuple[MethodSchema, list[Any]]:
        """The command in `body`, and its arguments as declared.

        Raises MalformedError if this code does not know it: whatever some node's code sends, that
        node's code knows, so this node's code is older (or other).
        """
        try:
            array = exactly(list, encoding.loads(body), "a command")
            name = array[0] if array else None
            method = self.commands.get(name) if type(name) is str else None
            if method is None:
                raise Refused(f"{self.machine.__name__} has no command {name!r:.80}")
            return method, method.decode(array)
        except Refused as refused:
            raise MalformedError(str(refused)) from None

    def ask(self, machine: StateMachine, question: Query[Any, T]) -> T:
        """The answer of `machine`; nothing in it is shared with the machine's state.

        Raises LocalProtocolError as `encode` does, and what the query raises.
        """
        method = self._method(self.queries, question)
        try:
            array: Any = encoding.loads(method.encode(question.arguments))
            answer = method.call(machine, *method.decode(array))
            codec = method.result
            return answer if codec.immutable else codec.decode(codec.encode(answer))  # type: ignore[no-any-return]
        except Refused as refused:
            raise LocalProtocolError(f"{method.where}: {refused}") from None

    def _method(self, methods: dict[str, MethodSchema], call: Call[Any, Any]) -> MethodSchema:
        if not issubclass(self.machine, call.machine) or call.name not in methods:
            raise LocalProtocolError(f"{call!s:.80} is nothing for a {self.machine.__name__}")
        return methods[call.name]


def schema_of(machine: type[StateMachine], version: int) -> Schema:
    """The schema of `machine` while `version` is in force. Made once: a finished class doesn't change.

    Raises ConfigError, in one line, for a type without a codec and what else can't be replicated.
    """
    known = _schemas.get((machine, version))
    if known is None:
        known = _schemas[machine, version] = _schema(machine, version)
    return known


_schemas: dict[tuple[type[StateMachine], int], Schema] = {}
"By class and version in force."


def _schema(machine: type[StateMachine], version: int) -> Schema:
    check_decorated(machine)
    methods = {name: _method(machine, it, version) for name, it in methods_of(machine).items()}
    kinds = methods_of(machine)
    try:
        fields = tuple(fields_of(machine, version))
    except Refused as refused:
        raise ConfigError(f"{machine.__name__}: {refused}") from None
    for field in fields:
        _check_beside(machine, field)
    upgrades = upgrades_of(machine)
    versions = {1, *upgrades}.union(*(it.versions for it in methods.values()))
    return Schema(
        machine=machine,
        version=version,
        commands={
            name: it for name, it in methods.items() if isinstance(kinds[name], CommandMethod)
        },
        queries={
            name: it for name, it in methods.items() if not isinstance(kinds[name], CommandMethod)
        },
        fields=fields,
        upgrade=None if version not in upgrades else _upgrade(machine, upgrades[version]),
        newest=_newest(machine, versions.union(*(it.versions for it in fields))),
    )


def _upgrade(machine: type[StateMachine], method: UpgradeMethod) -> Upgrade:
    return Upgrade(where=f"{machine.__name__}.{method.name}", call=method.function)


def _newest(machine: type[StateMachine], versions: set[int]) -> int:
    """The highest of the versions that `machine` names. Raises ConfigError unless they follow one another."""
    newest = max(versions)
    for version in range(1, newest):
        if version not in versions:
            raise ConfigError(
                f"{machine.__name__} names version {newest}, and nothing of version {version}: versions are "
                "counted without a gap"
            )
    return newest


def _fields_text(fields: Sequence[Field]) -> str:
    return ", ".join(f"{it.name}: {it.codec.schema}" for it in fields)


def _default_text(field: Field) -> str:
    # Only where it is filled in at apply: other defaults are in the bytes of the command.
    return (
        "" if field.default is None else f" = {encoding.dumps(field.encode(field.default())).hex()}"
    )


def _check_beside(machine: type[StateMachine], field: Field) -> None:
    codec = field.codec
    kept = codec.parts if codec.types in {(list,), (dict,)} else (codec,)
    if machine.snapshot_mode == "beside" and not all(it.immutable for it in kept):
        raise ConfigError(
            f"{machine.__name__}: {field.name}: {codec.schema} could change while a snapshot is written: "
            'keep immutable values (tuple[…, ...], @attrs.frozen), or declare snapshot_mode = "pause"'
        )


def _method(machine: type[StateMachine], method: Method[..., Any], version: int) -> MethodSchema:
    where = f"{machine.__name__}.{method.name}"
    try:
        hints = hints_of(method.function)
        result = codec_of(hints["return"], version)
        declared = [
            _parameter(it.name, hints[it.name], it.default, version) for it in method.parameters
        ]
        rejects = method.rejects if isinstance(method, CommandMethod) else ()
        rejections = {it.__name__: _rejection(it, version) for it in rejects}
    except Refused as refused:
        raise ConfigError(f"{where}: {refused}") from None
    places = sorted(range(len(declared)), key=lambda place: declared[place].since)
    return MethodSchema(
        where=where,
        name=method.name,
        since=method.since,
        version=version,
        parameters=(parameters := tuple(declared[place] for place in places)),
        places=tuple(places),
        encode=encoder(method.name, parameters, places, version),
        decoders={count: decoder(parameters, places, count) for count in prefixes(parameters)},
        result=result,
        encode_result=result_encoder(method.name, result),
        call=_caller(method),
        rejections=rejections,
    )


def _parameter(name: str, annotation: Any, default: Any, version: int) -> Field:
    begins = since_of(getattr(annotation, "__metadata__", ()))
    try:
        codec = codec_of(annotation, version)
    except Refused as refused:
        raise refused.at(f".{name}") from None
    if begins == 1:
        return Field(name=name, codec=codec)
    if default is inspect.Parameter.empty:
        raise Refused(f"{name} begins in version {begins}, so it needs a default")
    return Field(name=name, codec=codec, since=begins, default=lambda: default)


def _rejection(kind: type[Rejected], version: int) -> Rejection:
    fields = tuple(fields_of(kind, version))
    if any(it.since > 1 for it in fields):
        raise Refused(
            f"{kind.__name__} has a field of a later version: declare another class for it"
        )
    return Rejection(kind=kind, fields=fields)


def _caller(method: Method[..., Any]) -> Callable[..., Any]:
    keywords = [it.name for it in method.parameters if it.kind is it.KEYWORD_ONLY]
    if not keywords:
        return method.function
    positional = len(method.parameters) - len(keywords)

    def call(machine: StateMachine, *arguments: Any) -> Any:
        named = dict(zip(keywords, arguments[positional:], strict=True))
        return method.function(machine, *arguments[:positional], **named)

    return call
