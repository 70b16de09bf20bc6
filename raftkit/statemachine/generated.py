"""What is written out once for each command: its arguments as bytes and back, its result as bytes.

    (5, b"x")  ── encoder ──▶  83 63 "put" 05 41 78  ──▶ ["put", 5, b"x"] ── decoder ──▶  [5, b"x"]

Laws: it does what the codecs of the parameters do, in their order, and what they refuse is refused in their
words. Of most values they only find that CBOR holds them as they are; where an expression can tell that
(`Codec.plain`), no function is called. That is all that this is for: it takes a third of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from types import CodeType
from typing import Any

from raftkit import encoding
from raftkit.statemachine.annotations import Field
from raftkit.statemachine.values import Codec

__all__ = ["Decode", "Encode", "decoder", "encoder", "result_encoder"]

Encode = Callable[[Any], bytes]
"Arguments as declared, or a result, to the bytes of an array behind a name."
Decode = Callable[[list[Any]], list[Any]]
"Such an array to arguments as declared."


def encoder(name: str, fields: Sequence[Field], places: Sequence[int], version: int) -> Encode:
    """Makes `[name, argument, …]` of a sequence of arguments, of which `fields` stand at `places`.

    Those of versions later than `version` are left out. What it makes raises Refused, or NotYetEnabled.
    """
    written = [it for it in fields if it.since <= version]
    space: dict[str, Any] = {"head": _head(name, len(written)), "dumps": encoding.dumps}
    body, left_out = "head", ""
    for number, field in enumerate(fields):
        if field.since <= version:
            body += f" + dumps({_coded(field.codec, f'encode_{number}', f'it_{number}')})"
            space[f"encode_{number}"] = field.encode
        else:
            left_out += f"    leave_out_{number}(it_{number}, {version})\n"
            space[f"leave_out_{number}"] = field.leave_out
    declared = "".join(f"it_{places.index(place)}, " for place in range(len(fields)))
    unpacked = f"    {declared}= arguments\n" if fields else ""
    source = f"def encode(arguments):\n{unpacked}    data = {body}\n{left_out}    return data\n"
    encode: Encode = _made(source, space, "encode")
    return encode


def decoder(fields: Sequence[Field], places: Sequence[int], count: int) -> Decode:
    """Takes the arguments out of `[name, argument, …]`, of which the first `count` of `fields` were written.

    The others get their defaults. What it makes raises Refused.
    """
    space: dict[str, Any] = {}
    values: list[str] = []
    for number, field in enumerate(fields):
        if number < count:
            values.append(_coded(field.codec, f"decode_{number}", f"it_{number}"))
            space[f"decode_{number}"] = field.decode
        else:
            values.append(f"default_{number}()")
            space[f"default_{number}"] = field.default
    items = "".join(f"it_{number}, " for number in range(count))
    declared = ", ".join(values[places.index(place)] for place in range(len(fields)))
    source = f"def decode(array):\n    _, {items}= array\n    return [{declared}]\n"
    decode: Decode = _made(source, space, "decode")
    return decode


def result_encoder(name: str, codec: Codec) -> Encode:
    """Makes `[name, result]` of a result. What it makes raises Refused."""
    space = {"head": _head(name, 1), "dumps": encoding.dumps, "encode_result": codec.encode}
    source = f"def encode(it):\n    return head + dumps({_coded(codec, 'encode_result', 'it')})\n"
    encode: Encode = _made(source, space, "encode")
    return encode


def _head(name: str, items: int) -> bytes:
    """What an array of `name` and so many items begins with: the bytes of the items follow as they are."""
    return encoding.dumps([name] + [None] * items)[: -items or None]  # each None is one byte


def _coded(codec: Codec, coder: str, it: str) -> str:
    """An expression: `it`, which is the name of a value, through the function that is named `coder`."""
    called = f"{coder}({it})"
    return f"{it} if {codec.plain.format(it)} else {called}" if codec.plain else called


def _made(source: str, space: dict[str, Any], name: str) -> Any:
    exec(_compiled(source), space)  # noqa: S102 - of numbers and of expressions in `values`, nothing else
    return space[name]


@cache
def _compiled(source: str) -> CodeType:
    """Commands whose parameters are of the same types have the same source; to compile it takes a while."""
    return compile(source, "<raftkit.statemachine.generated>", "exec")
