"""The fourth promise of a machine: what was written yesterday is read today, and is written the same.

A golden file, kept beside the tests, holds the shape of every command, query and field by version, and
samples of their bytes. Lines of samples are never taken back while they can be read: they stand for logs.

Law: nothing is written unless it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs

from raftkit import encoding
from raftkit.encoding import MalformedError
from raftkit.errors import Rejected
from raftkit.statemachine import MethodSchema, Schema, StateMachine, schema_of
from raftkit.statemachine.annotations import hints_of
from raftkit.statemachine.declaration import methods_of
from raftkit.statemachine.values import Refused
from raftkit.testing.machines.story import DefectFound
from raftkit.testing.machines.strategies import Drawing
from raftkit.testing.with_hypothesis import UNWATCHED, hypothesis, st

__all__ = ["check_wire_stability"]

_CHECK = "Wire stability"
_HEAD = """\
# The bytes of {name}: logs and snapshots hold them. Written by check_wire_stability(…, rewrite=True).
"""
_ADVICE = """\
Logs and snapshots hold these bytes. Put it back and declare what is new beside it: a command with \
@command(since=2), a parameter with Annotated[…, since(2)] = default, a field with \
attrs.field(default=…, metadata=since(2)). If no log of this machine is worth keeping, rewrite the file."""
_SAMPLES_MAX = 10
"Of one line."
_DRAWN = 50
"From which the shortest are taken."


@attrs.frozen(kw_only=True)
class _Line:
    """A command, query or field as of one version."""

    version: int
    "The first in which it has this shape."
    shape: str
    "`command put(owner: str) -> int ! …`, `field total: int`."
    samples: tuple[str, ...] = attrs.field(default=(), eq=False)
    "`command 8263… what it says`; the words are for people."


def check_wire_stability(
    machine: type[StateMachine], golden: Path, *, rewrite: bool = False
) -> None:
    """Compare the bytes of `machine` with the file `golden`, or with `rewrite` write the file.

    Raises DefectFound with a diff, and what to do, where a shape changed, a sample can't be read or would be
    written otherwise, or the file lacks something; ConfigError for a machine that can't be replicated.
    """
    known = _parsed(golden.read_text(encoding="utf-8")) if golden.exists() else []
    newest = schema_of(machine, 1).newest
    schemas = {version: schema_of(machine, version) for version in range(1, newest + 1)}
    shapes = _shapes(schemas.values())
    if rewrite:
        golden.write_text(_written(schemas, shapes, known), encoding="utf-8")
        return
    lost = [it for it in known if it not in shapes]
    new = [it for it in shapes if it not in known]
    spoiled = [
        f"- {sample}\n+ {why}"
        for it in known
        if it in shapes
        for sample in it.samples
        if (why := _spoiled(schemas[it.version], it, sample))
    ]
    diff = [f"- {_text(it)}" for it in lost] + [f"+ {_text(it)}" for it in new] + spoiled
    if lost or spoiled:
        raise DefectFound(
            _CHECK, f"{machine.__name__} is not what {golden} says:\n" + "\n".join((*diff, _ADVICE))
        )
    if new:
        fact = f"{golden} lacks what is new in {machine.__name__}; rewrite it, and commit it:\n"
        raise DefectFound(_CHECK, fact + "\n".join(diff))


# ── shapes ───────────────────────────────────────────────────────────────────────────────────────────


def _shapes(schemas: Iterable[Schema]) -> list[_Line]:
    """Every shape, at the first version that has it; `schemas` in the order of their versions."""
    lines: list[_Line] = []
    for schema in schemas:
        before = {it.shape for it in lines}
        lines += [
            _Line(version=schema.version, shape=shape)
            for shape in _shapes_of(schema)
            if shape not in before
        ]
    return lines


def _shapes_of(schema: Schema) -> Iterator[str]:
    for kind, methods in (("command", schema.commands), ("query", schema.queries)):
        for it in methods.values():
            if it.since <= schema.version:
                yield f"{kind} {it.describe()}".removesuffix(" ! ")
    for field in schema.fields:
        if field.since <= schema.version:
            yield f"field {field.name}: {field.codec.schema}"


def _text(line: _Line) -> str:
    return f"version {line.version}: {line.shape}"


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────


def _parsed(text: str) -> list[_Line]:
    lines: list[_Line] = []
    version = 1
    for row in text.splitlines():
        if row.startswith("version "):
            version = int(row.removeprefix("version "))
        elif row.startswith("    "):
            lines[-1] = attrs.evolve(lines[-1], samples=(*lines[-1].samples, row.strip()))
        elif row.startswith("  "):
            lines.append(_Line(version=version, shape=row.strip()))
    return lines


def _written(schemas: dict[int, Schema], shapes: list[_Line], known: list[_Line]) -> str:
    samples = {(it.version, it.shape): it.samples for it in known}
    rows = [_HEAD.format(name=schemas[1].machine.__name__)]
    version = 0
    for line in shapes:
        if line.version != version:
            version = line.version
            rows.append(f"version {version}\n")
        rows.append(f"  {line.shape}\n")
        kept = [
            it
            for it in samples.get((version, line.shape), ())
            if not _spoiled(schemas[version], line, it)
        ]
        rows += [f"    {it}\n" for it in kept or _samples(schemas[version], line)]
    return "".join(rows)


# ── samples ──────────────────────────────────────────────────────────────────────────────────────────


def _spoiled(schema: Schema, line: _Line, sample: str) -> str | None:
    """Why `sample` is not what it was; None if it is."""
    kind, text = sample.split(" ", 2)[:2]
    data = bytes.fromhex(text)
    try:
        again = _recoded(schema, line, kind, data)
    except (MalformedError, Refused) as error:
        return f"can't be read: {error}"
    return None if again == data else f"{kind} {again.hex()}"


def _recoded(schema: Schema, line: _Line, kind: str, data: bytes) -> bytes:
    """`data` decoded and encoded again. Raises MalformedError, Refused."""
    name = _name_of(line)
    match kind:
        case "command":
            method, arguments = schema.decode(data)
            return method.encode(arguments)
        case "result":
            plain: Any = encoding.loads(data)
            codec = schema.commands[name].result
            return encoding.dumps(codec.encode(codec.decode(plain)))
        case "rejection":
            plain = encoding.loads(data)
            method = schema.commands[name]
            return encoding.dumps(method.encode_rejection(method.decode_rejection(plain)))
        case "value":
            (field,) = (it for it in schema.fields if it.name == name)
            return encoding.dumps(field.encode(field.decode(encoding.loads(data))))
        case _:
            raise MalformedError(f"no kind of sample: {kind!r}")


def _name_of(line: _Line) -> str:
    return line.shape.partition(" ")[2].replace(":", "(").partition("(")[0]


def _samples(schema: Schema, line: _Line) -> list[str]:
    """New ones for a shape; none for a query, which is never written."""
    machine, name, drawing = schema.machine, _name_of(line), Drawing(version=schema.version)
    if line.shape.startswith("query"):
        return []
    if line.shape.startswith("field"):
        (field,) = (it for it in schema.fields if it.name == name)
        drawn = drawing.values(hints_of(machine)[name])
        return _drawn("value", drawn, lambda it: encoding.dumps(field.encode(it)))
    method, declared = schema.commands[name], methods_of(machine)[name]
    hints = hints_of(declared.function)
    calls = drawing.calls(machine, declared)
    found = _drawn("command", calls, lambda it: method.encode(it.arguments))
    results = drawing.values(hints["return"])
    found += _drawn("result", results, lambda it: encoding.dumps(method.result.encode(it)))
    for rejection in method.rejections.values():
        errors = drawing.values(rejection.kind)
        found += _drawn("rejection", errors, _rejection_coder(method))
    return found


def _rejection_coder(method: MethodSchema) -> Callable[[Rejected], bytes]:
    return lambda error: encoding.dumps(method.encode_rejection(error))


def _drawn(
    kind: str, strategy: st.SearchStrategy[Any], encode: Callable[[Any], bytes]
) -> list[str]:
    """The shortest of some values, each once, shortest first."""
    found: dict[bytes, str] = {}

    @hypothesis.settings(
        max_examples=_DRAWN,
        database=None,
        deadline=None,
        derandomize=True,
        phases=(hypothesis.Phase.generate,),
        suppress_health_check=UNWATCHED,
    )
    @hypothesis.given(strategy)
    def collect(value: Any) -> None:
        words = str(value) if kind == "command" else repr(value)
        found.setdefault(encode(value), f"{words:.80}".replace("\n", " "))

    collect()
    shortest = sorted(found, key=lambda it: (len(it), it))[:_SAMPLES_MAX]
    return [f"{kind} {it.hex()} {found[it]}" for it in shortest]
